//! From bytes to blocks.

use crate::block::Block;
use crate::cpu::Cpu;
use crate::fault::{Exec, Fault};
use crate::ops::hot;
use gearbox_core::mem::{FlatKind, RamBlock};
use gearbox_core::x86::state::Seg;
use iced_x86::{Code, Decoder, DecoderError, FlowControl, Instruction, Mnemonic};
use std::sync::Arc;

/// Most instructions in a block.
const MAX_INSNS: usize = 64;
/// Bytes looked at for one block.
const WINDOW: usize = 512;
/// Longest instruction.
const MAX_LEN: usize = 15;

/// Does `i` end a block: because control may go elsewhere, or because it may change what decoding depends on?
pub(crate) fn ends_block(i: &Instruction) -> bool {
    use Mnemonic::*;
    i.flow_control() != FlowControl::Next
        || matches!(
            i.mnemonic(),
            Hlt | Mwait
                | Cpuid
                | Serialize
                | Wbinvd
                | Invd
                | Popf
                | Popfd
                | Popfq
                | Lgdt
                | Lidt
                | Lldt
                | Ltr
                | Invlpg
                | Wrmsr
                | Lmsw
                | Clts
        )
        || (i.mnemonic() == Mov
            && (i.op0_register().is_segment_register() || i.op0_register().is_cr() || i.op0_register().is_dr()))
}

/// A legacy prefix.
fn is_prefix(b: u8) -> bool {
    matches!(b, 0x26 | 0x2e | 0x36 | 0x3e | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3)
}
/// The first byte of VEX, EVEX or XOP (or of what they took their room from).
fn is_vex(b: u8) -> bool {
    matches!(b, 0x62 | 0x8f | 0xc4 | 0xc5)
}

impl Cpu {
    /// Linear address of `rip` after the checks that a fetch makes, and how many bytes CS allows from there on.
    fn fetch_linear(&self, rip: u64) -> Exec<(u64, usize)> {
        if self.code64() {
            return if self.canonical(rip) { Ok((rip, usize::MAX)) } else { Err(Fault::GP0) };
        }
        let cs = self.segment(Seg::Cs);
        match u64::from(cs.limit).checked_sub(rip) {
            Some(rest) => Ok((cs.base.wrapping_add(rip) & 0xffff_ffff, (rest as usize).saturating_add(1))),
            None => Err(Fault::GP0),
        }
    }

    /// Decodes the one instruction at `rip`, from whatever memory it lies in.
    pub(crate) fn fetch_one(&mut self, rip: u64) -> Exec<Instruction> {
        let (lin, allowed) = self.fetch_linear(rip)?;
        let first = (0x1000 - (lin & 0xfff) as usize).min(MAX_LEN);
        let mut bytes = [0; MAX_LEN];
        let mut have = first.min(allowed);
        self.fetch_bytes(lin, &mut bytes[..have])?;
        loop {
            let mut d = Decoder::with_ip(self.mode.bits(), &bytes[..have], lin & 0xfff, self.isa.options());
            let i = d.decode();
            if d.last_error() != DecoderError::NoMoreBytes {
                if i.is_invalid() && i.len() == MAX_LEN && self.needs_more(&bytes) {
                    return Err(Fault::GP0);
                }
                return Ok(self.isa.admit(i, &bytes));
            }
            // All there is: too long an instruction, or one that leaves the segment. Both are #GP.
            let all = allowed.min(MAX_LEN);
            if have == all {
                return Err(Fault::GP0);
            }
            let rest = lin.wrapping_add(first as u64);
            match self.fetch_bytes(rest, &mut bytes[first..all]) {
                Ok(()) => have = all,
                Err(_) if self.undefined_already(&bytes, first) => return Ok(Instruction::default()),
                Err(f) => return Err(f),
            }
        }
    }
    /// Is an instruction of fifteen bytes, which is invalid, so because there are more? The decoder does not tell, but without segment
    /// prefixes there is room to see. (A prefix that VEX does not allow counts for more.)
    fn needs_more(&self, bytes: &[u8; MAX_LEN]) -> bool {
        let spare = bytes.iter().take_while(|b| matches!(b, 0x26 | 0x2e | 0x36 | 0x3e | 0x64 | 0x65)).count();
        let mut shorter = [0; MAX_LEN];
        shorter[..MAX_LEN - spare].copy_from_slice(&bytes[spare..]);
        let i = Decoder::with_ip(self.mode.bits(), &shorter, 0, self.isa.options()).decode();
        let vex = self.first_opcode(&shorter).is_some_and(is_vex);
        spare == 0 || (i.len() + spare > MAX_LEN && !(vex && i.is_invalid()))
    }
    /// The first byte that is no prefix.
    fn first_opcode(&self, bytes: &[u8]) -> Option<u8> {
        bytes.iter().copied().find(|&b| !(is_prefix(b) || self.mode.is_64() && b & 0xf0 == 0x40))
    }
    /// Is an instruction undefined whatever follows its first `have` bytes? Then the rest is not fetched.
    fn undefined_already(&self, bytes: &[u8; MAX_LEN], have: usize) -> bool {
        // What VEX, EVEX and XOP make of the opcode is not seen from their first bytes.
        if self.first_opcode(&bytes[..have]).is_none_or(is_vex) {
            return false;
        }
        (0..=u8::MAX).all(|next| {
            let mut all = [0; MAX_LEN];
            // Whether LOCK is allowed is seen at the end.
            all[..have].copy_from_slice(&bytes[..have]);
            all[..have].iter_mut().take_while(|b| is_prefix(**b)).filter(|b| **b == 0xf0).for_each(|b| *b = 0x3e);
            all[have] = next;
            let i = Decoder::with_ip(self.mode.bits(), &all, 0, self.isa.options()).decode();
            let i = self.isa.admit(i, &all);
            i.is_invalid() || i.mnemonic() == Mnemonic::Ud1
        })
    }
    fn fetch_bytes(&mut self, lin: u64, bytes: &mut [u8]) -> Exec {
        match self.fetch_page(lin)? {
            (Some(page), _) => {
                let at = (page + (lin & 0xfff) as usize) as *const u8;
                // SAFETY: the caller stays inside the page, which belongs to a RAM block that stays mapped.
                unsafe { std::ptr::copy_nonoverlapping(at, bytes.as_mut_ptr(), bytes.len()) };
                Ok(())
            }
            (None, phys) => self.phys_read(phys + (lin & 0xfff), bytes),
        }
    }

    /// The RAM block behind the physical page that was found at the host address `page`; `None` if the memory map has changed since.
    fn ram_of(&self, page: usize, phys: u64) -> Option<(Arc<RamBlock>, u64)> {
        let view = self.view();
        let r = view.find(phys)?;
        if r.host_ptr(phys)? as usize != page {
            return None;
        }
        match &r.kind {
            FlatKind::Ram { block, offset, .. } => Some((block.clone(), offset + (phys - r.start))),
            FlatKind::Io { .. } => None,
        }
    }
    /// Marks a page that code is going to be decoded from. False if it is no longer there.
    ///
    /// Where no vCPU had code in it, all others must have dropped what lets them write to it without a look at the mark before its bytes
    /// are read.
    fn announce_page(&mut self, page: usize, phys: u64) -> bool {
        if self.cache.has_code(page) {
            return true;
        }
        let Some((ram, offset)) = self.ram_of(page, phys) else { return false };
        if !ram.join_code(offset) {
            self.alone(|cpu| {
                if ram.set_code(offset) == 0 {
                    cpu.peers.others(&cpu.shared, |s| s.protect_page(page));
                }
            });
        }
        self.cache.add_page(page, (ram, offset));
        self.tlb.protect(page);
        true
    }

    /// The block at `rip`: from the cache, or decoded now. `None` if there can be no block there (device memory): to be stepped.
    pub(crate) fn find_block(&mut self, rip: u64) -> Exec<Option<*const Block>> {
        let (lin, allowed) = self.fetch_linear(rip)?;
        let (Some(page), phys) = self.fetch_page(lin)? else { return Ok(None) };
        let host = page + (lin & 0xfff) as usize;
        if let Some(b) = self.cache.get(host, self.mode) {
            // SAFETY: the cache gives living blocks.
            let (len, second) = unsafe { ((*b).len as usize, (*b).second) };
            if second.is_none() {
                return Ok((len <= allowed).then_some(b));
            }
            return self.crossing_block(rip, lin, host, allowed, Some(b));
        }
        if !self.announce_page(page, phys & !0xfff) {
            return Ok(None);
        }
        let window = &mut [0; WINDOW][..(0x1000 - (lin & 0xfff) as usize).min(WINDOW)];
        let mut insns = Vec::with_capacity(16);
        let len = loop {
            // SAFETY: the window lies in the page, which belongs to a RAM block that stays mapped.
            unsafe { std::ptr::copy_nonoverlapping(host as *const u8, window.as_mut_ptr(), window.len()) };
            self.straight_line(window, lin & 0xfff, &mut insns);
            let len: usize = insns.iter().map(Instruction::len).sum();
            self.cache.announce(host, len);
            // SAFETY: as above. Others may be writing, and the bytes be any: then they are looked at once more.
            let unchanged = (0..len).all(|n| unsafe { (host as *const u8).add(n).read_volatile() } == window[n]);
            if unchanged {
                break len;
            }
        };
        if insns.is_empty() {
            return self.crossing_block(rip, lin, host, allowed, None);
        }
        let ops = self.cache.lower(&insns, self.mode);
        let b = self.cache.insert(Block::new(ops, insns, host, len as u16, self.mode));
        Ok((len <= allowed).then_some(b))
    }

    /// Decodes instructions up to one that ends a block or is not all in `bytes`.
    fn straight_line(&self, bytes: &[u8], ip: u64, insns: &mut Vec<Instruction>) {
        insns.clear();
        let mut d = Decoder::with_ip(self.mode.bits(), bytes, ip, self.isa.options());
        while insns.len() < MAX_INSNS && d.can_decode() {
            let at = d.position();
            let i = d.decode();
            if d.last_error() == DecoderError::NoMoreBytes || (i.is_invalid() && i.len() == MAX_LEN) {
                // Crosses into the next page (or out of the window), or may be too long: `fetch_one` looks closer.
                return;
            }
            let i = self.isa.admit(i, &bytes[at..]);
            insns.push(i);
            if ends_block(&i) || i.code() == Code::INVALID {
                return;
            }
        }
    }

    /// The block of a single instruction that crosses into another page. The two pages must be the same as when it was decoded.
    fn crossing_block(
        &mut self,
        rip: u64,
        lin: u64,
        host: usize,
        allowed: usize,
        known: Option<*const Block>,
    ) -> Exec<Option<*const Block>> {
        let mut i = match known {
            // SAFETY: the cache gives living blocks.
            Some(b) => unsafe { (&(*b).insns)[0] },
            None => self.fetch_one(rip)?,
        };
        let first = 0x1000 - (lin & 0xfff) as usize;
        if i.len() <= first {
            return Ok(None);
        }
        let (Some(page), phys) = self.fetch_page(lin.wrapping_add(first as u64))? else { return Ok(None) };
        if i.len() > allowed {
            return Ok(None);
        }
        if let Some(b) = known {
            // SAFETY: as above.
            if unsafe { (*b).second }.is_some_and(|(at, _)| at == page) {
                return Ok(Some(b));
            }
            self.cache.remove(b);
            return self.find_block(rip);
        }
        if !self.announce_page(page, phys & !0xfff) {
            return Ok(None);
        }
        loop {
            self.cache.announce(host, first);
            self.cache.announce(page, i.len() - first);
            let again = self.fetch_one(rip)?;
            if again.eq_all_bits(&i) {
                break;
            }
            i = again;
            if i.len() > allowed || i.len() <= first {
                return Ok(None);
            }
        }
        let ops = hot::lower(&[i], self.mode);
        let mut block = Block::new(ops, vec![i], host, first as u16, self.mode);
        block.second = Some((page, (i.len() - first) as u16));
        Ok(Some(self.cache.insert(block)))
    }
}
