//! String instructions. A repeated one works in chunks: between chunks RIP goes back to it, so that events are taken in time, and a
//! fault in the middle leaves the registers as after the last complete iteration.

use super::arith::{Binary, Cmp};
use super::operand::sized;
use crate::block::Executor;
use crate::cpu::Cpu;
use crate::fault::Exec;
use crate::int::Int;
use crate::mem::Access;
use gearbox_core::x86::state::gpr::{RAX, RCX, RDI, RDX, RSI};
use gearbox_core::x86::state::{Seg, rflags};
use iced_x86::{Instruction, Mnemonic, OpKind};

/// Most iterations in one go.
const CHUNK: u64 = 4096;

/// The executor of one of these.
pub(super) fn executor(i: &Instruction) -> Option<Executor> {
    use Mnemonic::*;
    if !i.is_string_instruction() {
        return None;
    }
    Some(match i.mnemonic() {
        Movsb | Movsw | Movsd | Movsq => |c, i| repeat(c, i, |c, s| sized!(s.size, T => movs::<T>(c, s))),
        Stosb | Stosw | Stosd | Stosq => |c, i| repeat(c, i, |c, s| sized!(s.size, T => stos::<T>(c, s))),
        Lodsb | Lodsw | Lodsd | Lodsq => |c, i| repeat(c, i, |c, s| sized!(s.size, T => lods::<T>(c, s))),
        Cmpsb | Cmpsw | Cmpsd | Cmpsq => |c, i| repeat(c, i, |c, s| sized!(s.size, T => cmps::<T>(c, s))),
        Scasb | Scasw | Scasd | Scasq => |c, i| repeat(c, i, |c, s| sized!(s.size, T => scas::<T>(c, s))),
        Insb | Insw | Insd => |c, i| repeat_io(c, i, ins),
        Outsb | Outsw | Outsd => |c, i| repeat_io(c, i, outs),
        _ => return None,
    })
}

/// One string instruction as decoded.
struct Form {
    /// Bytes of an element.
    size: usize,
    /// Mask of the address size.
    mask: u64,
    /// Segment of the source.
    seg: Seg,
    /// Iterations left of this chunk; 1 without a prefix.
    left: u64,
    /// REP or REPE or REPNE.
    repeated: bool,
    /// Whether ZF ends the repetition, and the value that lets it go on.
    while_zf: Option<bool>,
}

impl Form {
    fn new(c: &Cpu, i: &Instruction) -> Self {
        let kind = (0..i.op_count()).map(|n| i.op_kind(n)).find(|k| !matches!(k, OpKind::Register));
        let mask = match kind {
            Some(OpKind::MemorySegSI | OpKind::MemorySegDI | OpKind::MemoryESDI) => 0xffff,
            Some(OpKind::MemorySegESI | OpKind::MemorySegEDI | OpKind::MemoryESEDI) => 0xffff_ffff,
            _ => u64::MAX,
        };
        use Mnemonic::*;
        let compares = matches!(i.mnemonic(), Cmpsb | Cmpsw | Cmpsd | Cmpsq | Scasb | Scasw | Scasd | Scasq);
        let repeated = i.has_rep_prefix() || i.has_repne_prefix();
        Self {
            size: i.memory_size().size(),
            mask,
            seg: c.operand_seg(i),
            left: if repeated { (c.gpr(RCX) & mask).min(if c.debugged() { 1 } else { CHUNK }) } else { 1 },
            repeated,
            while_zf: (compares && repeated).then(|| !i.has_repne_prefix()),
        }
    }
    /// Moves SI, DI or CX by `n` within the address size.
    fn bump(&self, c: &mut Cpu, reg: usize, by: u64) {
        let v = c.gpr(reg).wrapping_add(by);
        match self.mask {
            0xffff => c.set_gpr_low(reg, v as u16),
            0xffff_ffff => c.set_gpr_low(reg, v as u32),
            _ => c.set_gpr(reg, v),
        }
    }
    /// Counts `n` completed iterations and moves the index registers.
    fn done(&mut self, c: &mut Cpu, n: u64, indices: &[usize]) {
        let step = (self.size as u64).wrapping_mul(n);
        let step = if c.flags & rflags::DF == 0 { step } else { step.wrapping_neg() };
        for &r in indices {
            self.bump(c, r, step);
        }
        if self.repeated {
            self.bump(c, RCX, n.wrapping_neg());
        }
        self.left -= n;
    }
    /// The address in `reg`.
    fn at(&self, c: &Cpu, reg: usize) -> u64 {
        c.gpr(reg) & self.mask
    }
    /// How many elements at offset `at` a bulk path may take: all in one page, forwards, no wrap.
    fn bulk(&self, c: &Cpu, s: Seg, at: u64) -> u64 {
        if c.flags & rflags::DF != 0 || self.left < 4 || c.align_check {
            return 0;
        }
        let base = if c.code64() && !matches!(s, Seg::Fs | Seg::Gs) { 0 } else { c.segment(s).base };
        let room = 0x1000 - (base.wrapping_add(at) & 0xfff);
        (room / self.size as u64).min(self.left).min((self.mask - at) / self.size as u64)
    }
}

/// Runs `step` until the chunk is done. `step` does at least one iteration.
fn repeat(c: &mut Cpu, i: &Instruction, step: fn(&mut Cpu, &mut Form) -> Exec) -> Exec {
    let mut f = Form::new(c, i);
    while f.left > 0 {
        step(c, &mut f)?;
        if f.while_zf.is_some_and(|w| w != c.lazy.zf()) {
            return Ok(());
        }
        // A store may have hit code, a device may have changed the map: the rest is for the next round.
        if f.left > 0 && c.leave_block {
            break;
        }
    }
    go_on(c, i, &f);
    Ok(())
}
/// Comes back to the instruction while CX is not zero.
fn go_on(c: &mut Cpu, i: &Instruction, f: &Form) {
    if f.repeated && c.gpr(RCX) & f.mask != 0 {
        let start = c.rip.wrapping_sub(i.len() as u64);
        c.rip = if c.code64() { start } else { start & 0xffff_ffff };
        c.leave_block = true;
    }
}

fn movs<T: Int>(c: &mut Cpu, f: &mut Form) -> Exec {
    let (from, to) = (f.at(c, RSI), f.at(c, RDI));
    let n = f.bulk(c, f.seg, from).min(f.bulk(c, Seg::Es, to));
    if n > 1 {
        let bytes = n as usize * T::SIZE;
        let src = c.linear(f.seg, from, bytes, Access::Read).ok();
        let dst = c.linear(Seg::Es, to, bytes, Access::Write).ok();
        if let (Some(src), Some(dst)) = (src, dst)
            && let Some(s) = c.host_span(src, bytes, Access::Read)?
            && let Some(d) = c.host_span(dst, bytes, Access::Write)?
        {
            let (s, d) = (s.cast_const(), d);
            // SAFETY: both spans lie in pages of RAM blocks that stay mapped. Where the destination begins inside the source, elements
            // must be copied one after the other, so that they repeat.
            unsafe {
                if (d as usize).wrapping_sub(s as usize) < bytes {
                    for k in 0..n as usize {
                        let v = s.cast::<T>().add(k).read_unaligned();
                        d.cast::<T>().add(k).write_unaligned(v);
                    }
                } else {
                    std::ptr::copy(s, d, bytes);
                }
            }
            f.done(c, n, &[RSI, RDI]);
            return Ok(());
        }
    }
    let v = c.read_virt::<T>(f.seg, from)?;
    c.write_virt(Seg::Es, to, v)?;
    f.done(c, 1, &[RSI, RDI]);
    Ok(())
}
fn stos<T: Int>(c: &mut Cpu, f: &mut Form) -> Exec {
    let to = f.at(c, RDI);
    let v = T::cut(c.gpr(RAX));
    let n = f.bulk(c, Seg::Es, to);
    if n > 1 {
        let bytes = n as usize * T::SIZE;
        if let Ok(dst) = c.linear(Seg::Es, to, bytes, Access::Write)
            && let Some(d) = c.host_span(dst, bytes, Access::Write)?
        {
            // SAFETY: the span lies in a page of a RAM block that stays mapped.
            unsafe {
                if v.zx() == 0 || T::SIZE == 1 {
                    std::ptr::write_bytes(d, v.zx() as u8, bytes);
                } else {
                    (0..n as usize).for_each(|k| d.cast::<T>().add(k).write_unaligned(v));
                }
            }
            f.done(c, n, &[RDI]);
            return Ok(());
        }
    }
    c.write_virt(Seg::Es, to, v)?;
    f.done(c, 1, &[RDI]);
    Ok(())
}
fn lods<T: Int>(c: &mut Cpu, f: &mut Form) -> Exec {
    let from = f.at(c, RSI);
    let v = c.read_virt::<T>(f.seg, from)?;
    c.set_gpr_low(RAX, v);
    f.done(c, 1, &[RSI]);
    Ok(())
}
fn cmps<T: Int>(c: &mut Cpu, f: &mut Form) -> Exec {
    let (from, to) = (f.at(c, RSI), f.at(c, RDI));
    // In the order of AMD's processors, should both fault.
    let b = c.read_virt::<T>(Seg::Es, to)?;
    let a = c.read_virt::<T>(f.seg, from)?;
    c.lazy = Cmp::apply(a, b, c.lazy).1;
    f.done(c, 1, &[RSI, RDI]);
    Ok(())
}
fn scas<T: Int>(c: &mut Cpu, f: &mut Form) -> Exec {
    let to = f.at(c, RDI);
    let b = c.read_virt::<T>(Seg::Es, to)?;
    c.lazy = Cmp::apply(T::cut(c.gpr(RAX)), b, c.lazy).1;
    f.done(c, 1, &[RDI]);
    Ok(())
}

/// INS and OUTS, after the permission check.
fn repeat_io(c: &mut Cpu, i: &Instruction, step: fn(&mut Cpu, &mut Form, u16) -> Exec) -> Exec {
    let mut f = Form::new(c, i);
    let port = c.gpr(RDX) as u16;
    crate::sys::check_io(c, port, f.size as u8)?;
    while f.left > 0 {
        step(c, &mut f, port)?;
        if f.left > 0 && c.leave_block {
            break;
        }
    }
    go_on(c, i, &f);
    Ok(())
}
fn ins(c: &mut Cpu, f: &mut Form, port: u16) -> Exec {
    let to = f.at(c, RDI);
    let n = f.bulk(c, Seg::Es, to).max(1);
    let bytes = n as usize * f.size;
    // The destination must be writable before the device is asked.
    let (n, bytes, lin) = match c.linear(Seg::Es, to, bytes, Access::Write) {
        Ok(lin) => (n, bytes, lin),
        Err(_) => (1, f.size, c.linear(Seg::Es, to, f.size, Access::Write)?),
    };
    let p = c.privilege();
    c.check_write(lin, bytes, p)?;
    let mut data = [0; 4096];
    let data = &mut data[..bytes];
    c.bus()?.pio_in_string(port, f.size as u8, data);
    c.board_touched();
    c.store_bytes(lin, data, p)?;
    f.done(c, n, &[RDI]);
    Ok(())
}
fn outs(c: &mut Cpu, f: &mut Form, port: u16) -> Exec {
    let from = f.at(c, RSI);
    let n = f.bulk(c, f.seg, from).max(1);
    let bytes = n as usize * f.size;
    let (n, bytes, lin) = match c.linear(f.seg, from, bytes, Access::Read) {
        Ok(lin) => (n, bytes, lin),
        Err(_) => (1, f.size, c.linear(f.seg, from, f.size, Access::Read)?),
    };
    let mut data = [0; 4096];
    let data = &mut data[..bytes];
    c.load_bytes(lin, data, c.privilege())?;
    c.bus()?.pio_out_string(port, f.size as u8, data);
    c.board_touched();
    f.done(c, n, &[RSI]);
    Ok(())
}
