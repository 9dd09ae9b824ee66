//! Page walks (SDM vol. 3, chapter 4): none, 32-bit with PSE, PAE, 4-level and 5-level.

use super::Access;
use super::tlb::{Info, Privilege};
use crate::cpu::Cpu;
use crate::fault::{Exec, Fault, vector};
use gearbox_core::x86::cpuid::{CpuidLeaf, CpuidSet};
use gearbox_core::x86::state::{cr0, cr4, efer};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Bits of a page-table entry (SDM vol. 3, table 4-19 and others).
mod pte {
    pub(super) const P: u64 = 1;
    pub(super) const W: u64 = 1 << 1;
    pub(super) const U: u64 = 1 << 2;
    pub(super) const A: u64 = 1 << 5;
    pub(super) const D: u64 = 1 << 6;
    pub(super) const PS: u64 = 1 << 7;
    pub(super) const G: u64 = 1 << 8;
    pub(super) const NX: u64 = 1 << 63;
    /// Protection key, bits 59 to 62 of an entry that maps a page in 4- and 5-level paging.
    pub(super) fn key(e: u64) -> u32 {
        (e >> 59 & 15) as u32
    }
    /// Address bits of an 8-byte entry, before MAXPHYADDR is looked at.
    pub(super) const ADDR: u64 = 0x000f_ffff_ffff_f000;
}

/// Bits of a page fault's error code (SDM vol. 3, figure 4-12).
mod code {
    pub(super) const PRESENT: u32 = 1;
    pub(super) const WRITE: u32 = 1 << 1;
    pub(super) const USER: u32 = 1 << 2;
    pub(super) const RESERVED: u32 = 1 << 3;
    pub(super) const FETCH: u32 = 1 << 4;
    pub(super) const KEY: u32 = 1 << 5;
}

/// What CPUID says about paging; looked up once.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Facts {
    /// 1-GiB pages.
    huge: bool,
    /// Address bits of a 4-MiB page (SDM vol. 3, table 4-4): 32 without PSE-36, at most 40.
    pse_bits: u32,
    /// Linear-address bits of the widest paging mode.
    linear_bits: u32,
}

impl Facts {
    /// From the leaves of a CPU with `phys_bits` physical address bits.
    pub(crate) fn of(cpuid: &CpuidSet, phys_bits: u32) -> Self {
        let bit = |function, bit: u32, reg: fn(&CpuidLeaf) -> u32| {
            cpuid.get(function, 0).is_some_and(|l| reg(l) >> bit & 1 != 0)
        };
        Self {
            huge: bit(0x8000_0001, 26, |l| l.edx),
            pse_bits: if bit(1, 17, |l| l.edx) { phys_bits.min(40) } else { 32 },
            linear_bits: if bit(7, 16, |l| l.ecx) { 57 } else { 48 },
        }
    }
}

/// Why a walk found no translation; holds the error code's P and RSVD bits.
#[derive(Debug)]
struct Denied(u32);

impl Denied {
    /// An entry changed between the look at it and the update of its accessed and dirty flags: the walk begins again.
    const CHANGED: Self = Self(u32::MAX);
}

/// The shape of a paging mode.
#[derive(Clone, Copy)]
struct Shape {
    /// Levels walked.
    levels: u32,
    /// log2 of the entries in a table.
    index_bits: u32,
    /// Bytes of an entry.
    entry: u64,
}

const BITS32: Shape = Shape { levels: 2, index_bits: 10, entry: 4 };
const PAE: Shape = Shape { levels: 2, index_bits: 9, entry: 8 };
const LEVEL4: Shape = Shape { levels: 4, index_bits: 9, entry: 8 };
const LEVEL5: Shape = Shape { levels: 5, index_bits: 9, entry: 8 };

impl Cpu {
    fn shape(&self) -> Shape {
        if self.cr4 & cr4::PAE == 0 {
            BITS32
        } else if !self.long_mode() {
            PAE
        } else if self.cr4 & cr4::LA57 == 0 {
            LEVEL4
        } else {
            LEVEL5
        }
    }

    /// Translates `linear` for an access and sets accessed and dirty flags. On failure CR2 is set and #PF returned.
    pub(crate) fn walk(&mut self, linear: u64, access: Access, p: Privilege) -> Exec<Info> {
        if self.cr0 & cr0::PG == 0 {
            return Ok(Info { phys: linear & !0xfff, global: false, shift: 12 });
        }
        match self.walk_tables(linear, access, p, true)? {
            Ok(m) => Ok(m),
            Err(Denied(found)) => {
                let fetch_known = self.cr4 & cr4::SMEP != 0 || self.nx();
                let error = found
                    | if access == Access::Write { code::WRITE } else { 0 }
                    | if p == Privilege::User { code::USER } else { 0 }
                    | if access == Access::Execute && fetch_known { code::FETCH } else { 0 };
                self.cr2 = linear;
                Err(Fault::coded(vector::PF, error))
            }
        }
    }
    /// Translates `linear` without side effects, with the rights of the system.
    pub(crate) fn translate_quietly(&mut self, linear: u64) -> Option<u64> {
        if self.cr0 & cr0::PG == 0 {
            return Some(linear);
        }
        let m = self.walk_tables(linear, Access::Read, Privilege::Supervisor, false).ok()?.ok()?;
        Some(m.phys | linear & 0xfff)
    }
    /// Execute-disable is in use: IA32_EFER.NXE, in a mode with 8-byte entries.
    fn nx(&self) -> bool {
        self.efer & efer::NXE != 0 && self.cr4 & cr4::PAE != 0
    }

    fn walk_tables(&mut self, linear: u64, access: Access, p: Privilege, update: bool) -> Exec<Result<Info, Denied>> {
        loop {
            match self.walk_once(linear, access, p, update)? {
                Err(Denied(n)) if n == Denied::CHANGED.0 => {}
                found => return Ok(found),
            }
        }
    }
    fn walk_once(&mut self, linear: u64, access: Access, p: Privilege, update: bool) -> Exec<Result<Info, Denied>> {
        let shape = self.shape();
        let reserved = if shape.entry == 8 {
            let above = pte::ADDR & !((1u64 << self.phys_bits.clamp(32, 52)) - 1);
            above | if self.nx() { 0 } else { pte::NX } | if self.long_mode() { 0 } else { 0x7ff0 << 48 }
        } else {
            0
        };
        let mut table = match (shape.entry, self.long_mode()) {
            (4, _) => self.cr3 & 0xffff_f000,
            (_, true) => self.cr3 & pte::ADDR,
            (_, false) => {
                let e = self.pdpte[(linear >> 30 & 3) as usize];
                if e & pte::P == 0 {
                    return Ok(Err(Denied(0)));
                }
                e & pte::ADDR
            }
        };
        // Rights are the AND (NX: the OR) over the levels.
        let mut rights = pte::W | pte::U;
        let mut nx = false;
        for level in (0..shape.levels).rev() {
            let shift = 12 + level * shape.index_bits;
            let at = table + (linear >> shift & ((1 << shape.index_bits) - 1)) * shape.entry;
            let e = self.read_entry(at, shape.entry)?;
            if e & pte::P == 0 {
                return Ok(Err(Denied(0)));
            }
            if e & reserved != 0 {
                return Ok(Err(Denied(code::PRESENT | code::RESERVED)));
            }
            rights &= e;
            nx |= e & pte::NX != 0 && shape.entry == 8;
            let large = level > 0 && e & pte::PS != 0 && (shape.entry == 8 || self.cr4 & cr4::PSE != 0);
            if level > 0 && !large {
                if update && e & pte::A == 0 && !self.update_entry(at, shape.entry, e, e | pte::A)? {
                    return Ok(Err(Denied::CHANGED));
                }
                table = if shape.entry == 4 { e & 0xffff_f000 } else { e & pte::ADDR };
                continue;
            }
            // PS is reserved above the directory-pointer level; a large page's low address bits are too, but for PAT (bit 12).
            let low = ((1u64 << shift) - 1) & !0x1fff;
            let base = match (large, shape.entry) {
                (true, 4) => {
                    // Bits 32 and up of the address lie in bits 13 and up of the entry (SDM vol. 3, table 4-4).
                    let high = e >> 13 & 0x1ff;
                    if high >> (self.paging.pse_bits - 32) != 0 {
                        return Ok(Err(Denied(code::PRESENT | code::RESERVED)));
                    }
                    e & 0xffc0_0000 | high << 32
                }
                (true, _) if level > 2 || e & low != 0 || (level == 2 && !self.paging.huge) => {
                    return Ok(Err(Denied(code::PRESENT | code::RESERVED)));
                }
                (true, _) => e & pte::ADDR & !((1 << shift) - 1),
                (false, 4) => e & 0xffff_f000,
                (false, _) => e & pte::ADDR,
            };
            let key_denies = access != Access::Execute && self.key_denies(rights, pte::key(e), access, p);
            if key_denies || !self.allowed(rights, nx && self.nx(), access, p) {
                let key = if key_denies { code::KEY } else { 0 };
                return Ok(Err(Denied(code::PRESENT | key)));
            }
            let dirty = if access == Access::Write { pte::D } else { 0 };
            let new = e | pte::A | dirty;
            if update && new != e && !self.update_entry(at, shape.entry, e, new)? {
                return Ok(Err(Denied::CHANGED));
            }
            let page = base | linear & ((1 << shift) - 1) & !0xfff;
            let global = e & pte::G != 0 && self.cr4 & cr4::PGE != 0;
            return Ok(Ok(Info { phys: page, global, shift: shift as u8 }));
        }
        Err(Fault::Internal("a page walk ran out of levels"))
    }
    /// Do the protection keys forbid a data access: PKRU for user pages, IA32_PKRS for the others (SDM vol. 3, 4.6.2)?
    #[inline]
    fn key_denies(&self, rights: u64, key: u32, access: Access, p: Privilege) -> bool {
        let (enable, rules) = match rights & pte::U {
            0 => (cr4::PKS, self.pkrs),
            _ => (cr4::PKE, self.pkru),
        };
        if self.cr4 & enable == 0 || !self.long_mode() {
            return false;
        }
        let (no_access, no_write) = (rules >> (2 * key) & 1 != 0, rules >> (2 * key) & 2 != 0);
        no_access || no_write && access == Access::Write && (p == Privilege::User || self.cr0 & cr0::WP != 0)
    }
    /// May `v` be loaded as a base: of a segment, a descriptor table or a handler? A CPU with 57-bit linear addresses takes them whether
    /// 5-level paging is on or not.
    pub(crate) fn canonical_base(&self, v: u64) -> bool {
        let unused = 64 - self.paging.linear_bits;
        ((v << unused) as i64 >> unused) as u64 == v
    }
    /// Sets PKRU and forgets the translations that it let through.
    pub(crate) fn set_pkru(&mut self, v: u32) {
        let changed = std::mem::replace(&mut self.pkru, v) != v;
        if changed && self.cr4 & cr4::PKE != 0 {
            self.flush_tlb(true);
        }
    }
    /// Sets IA32_PKRS likewise.
    pub(crate) fn set_pkrs(&mut self, v: u32) {
        let changed = std::mem::replace(&mut self.pkrs, v) != v;
        if changed && self.cr4 & cr4::PKS != 0 {
            self.flush_tlb(true);
        }
    }
    /// SDM vol. 3, 4.6.1.
    fn allowed(&self, rights: u64, nx: bool, access: Access, p: Privilege) -> bool {
        let user_page = rights & pte::U != 0;
        if p == Privilege::User {
            return user_page
                && !(access == Access::Write && rights & pte::W == 0)
                && !(access == Access::Execute && nx);
        }
        match access {
            Access::Execute => !(nx || user_page && self.cr4 & cr4::SMEP != 0),
            _ if user_page && p == Privilege::SupervisorNoUser && self.cr4 & cr4::SMAP != 0 => false,
            Access::Read => true,
            Access::Write => rights & pte::W != 0 || self.cr0 & cr0::WP == 0,
        }
    }
    fn read_entry(&mut self, at: u64, size: u64) -> Exec<u64> {
        let (page, offset) = (at & !0xfff, (at & 0xfff) as usize);
        let host = self.tlb.table(page).or_else(|| {
            let host = self.readable_page(page)?;
            self.tlb.keep_table(page, host);
            Some(host)
        });
        if let Some(host) = host {
            // SAFETY: an aligned entry in a page of a RAM block that stays mapped.
            return Ok(unsafe {
                if size == 4 {
                    u32::from_le((*((host + offset) as *const AtomicU32)).load(Ordering::Relaxed)).into()
                } else {
                    u64::from_le((*((host + offset) as *const AtomicU64)).load(Ordering::Relaxed))
                }
            });
        }
        if size == 4 { self.phys_load::<u32>(at).map(u64::from) } else { self.phys_load::<u64>(at) }
    }
    /// Sets flags of an entry, unless it is no longer what it was.
    fn update_entry(&mut self, at: u64, size: u64, old: u64, new: u64) -> Exec<bool> {
        if size == 4 {
            self.phys_compare_and_swap(at, old as u32, new as u32)
        } else {
            self.phys_compare_and_swap(at, old, new)
        }
    }
}
