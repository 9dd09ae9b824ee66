//! Stacks that are about to become current: the pointers in the TSS, and pushes that only take effect when all else has succeeded
//! (SDM vol. 3, 5.8.5 and 8.2).

use super::descriptor::{Blame, Selector, null_stack, system, within_limit};
use crate::cpu::Cpu;
use crate::fault::{Exec, Fault};
use crate::mem::Access;
use crate::mem::tlb::Privilege;
use gearbox_core::x86::state::{Seg, Segment, cr4, gpr, rflags};

/// A stack on which an event or a call puts its frame. Nothing of the CPU changes until [`InnerStack::enter`].
pub(crate) struct InnerStack {
    ss: Segment,
    sp: u64,
    mask: u64,
    cpl: u8,
    /// What a #SS for lack of room names: the new stack's selector, nothing for the present stack.
    overflow: Fault,
}

impl InnerStack {
    /// The present stack, for privilege level `cpl`.
    pub(crate) fn current(cpu: &Cpu, blame: Blame) -> Self {
        let overflow = blame.stack(Selector(0));
        Self { ss: *cpu.segment(Seg::Ss), sp: cpu.gpr(gpr::RSP), mask: cpu.sp_mask(), cpl: cpu.cpl, overflow }
    }

    /// The stack that a 16- or 32-bit TSS names for privilege level `cpl`.
    pub(crate) fn from_tss(cpu: &mut Cpu, cpl: u8, blame: Blame) -> Exec<Self> {
        let tr = *cpu.segment(Seg::Tr);
        let wide = tr.typ() & !system::BUSY == system::TSS32;
        let (at, size) = if wide { (4 + 8 * u64::from(cpl), 6) } else { (2 + 4 * u64::from(cpl), 4) };
        if !within_limit(&tr, at, size) {
            return Err(blame.ts().of(Selector(tr.selector)));
        }
        let at = tr.base.wrapping_add(at);
        let (sp, selector) = if wide {
            (cpu.system_read::<u32>(at)?.into(), cpu.system_read::<u16>(at.wrapping_add(4))?)
        } else {
            (cpu.system_read::<u16>(at)?.into(), cpu.system_read::<u16>(at.wrapping_add(2))?)
        };
        let selector = Selector(selector);
        if selector.is_null() {
            return Err(blame.ts().zero());
        }
        let ss = cpu.stack_segment_for(selector, cpl, blame.ts())?;
        let mask = if ss.db() { 0xffff_ffff } else { 0xffff };
        Ok(Self { ss, sp, mask, cpl, overflow: blame.stack(selector) })
    }

    /// The stack pointer at byte `at` of the 64-bit TSS, with a null SS of `cpl`.
    fn from_tss64(cpu: &mut Cpu, at: u64, cpl: u8, blame: Blame) -> Exec<Self> {
        let tr = *cpu.segment(Seg::Tr);
        if !within_limit(&tr, at, 8) {
            return Err(blame.ts().of(Selector(tr.selector)));
        }
        let sp: u64 = cpu.system_read(tr.base.wrapping_add(at))?;
        if !cpu.canonical(sp) {
            return Err(blame.stack(Selector(0)));
        }
        let ss = null_stack(Selector(cpl.into()));
        Ok(Self { ss, sp, mask: u64::MAX, cpl, overflow: blame.stack(Selector(0)) })
    }
    /// RSPn of the 64-bit TSS.
    pub(crate) fn rsp(cpu: &mut Cpu, cpl: u8, blame: Blame) -> Exec<Self> {
        Self::from_tss64(cpu, 4 + 8 * u64::from(cpl), cpl, blame)
    }
    /// ISTn (1 to 7) of the 64-bit TSS, for privilege level `cpl`; at the same level SS stays.
    pub(crate) fn ist(cpu: &mut Cpu, n: u8, cpl: u8, blame: Blame) -> Exec<Self> {
        let new = Self::from_tss64(cpu, 0x1c + 8 * u64::from(n), cpl, blame)?;
        let ss = if cpl == cpu.cpl { *cpu.segment(Seg::Ss) } else { new.ss };
        Ok(Self { ss, ..new })
    }
    /// Makes it count in 64 bits, as an interrupt from compatibility mode does.
    pub(crate) fn wide(self) -> Self {
        let sp = if self.mask == u64::MAX { self.sp } else { self.sp & 0xffff_ffff };
        Self { mask: u64::MAX, sp, ..self }
    }
    /// Rounds the pointer down to 16 bytes.
    pub(crate) fn align(&mut self) {
        self.sp &= !15;
    }

    fn privilege(&self, cpu: &Cpu) -> Privilege {
        if self.cpl == 3 {
            Privilege::User
        } else if cpu.cr4 & cr4::SMAP != 0 && cpu.flags & rflags::AC == 0 {
            Privilege::SupervisorNoUser
        } else {
            Privilege::Supervisor
        }
    }
    /// Linear address of `size` bytes at the offset `at`, checked.
    fn linear(&self, cpu: &Cpu, at: u64, size: u64) -> Exec<u64> {
        let (fits, linear) = if self.mask == u64::MAX {
            (cpu.canonical(at) && cpu.canonical(at.wrapping_add(size - 1)), at)
        } else {
            (within_limit(&self.ss, at, size), self.ss.base.wrapping_add(at) & 0xffff_ffff)
        };
        if fits { Ok(linear) } else { Err(self.overflow.clone()) }
    }
    /// Faults as pushes of `bytes` bytes in all would.
    pub(crate) fn check(&self, cpu: &mut Cpu, bytes: u64) -> Exec {
        let at = self.sp.wrapping_sub(bytes) & self.mask;
        // A frame that wraps around a 16-bit stack is checked push by push.
        if self.mask == 0xffff && self.sp & self.mask < bytes && self.sp & self.mask != 0 {
            return Ok(());
        }
        let lin = self.linear(cpu, at, bytes)?;
        cpu.check_write(lin, bytes as usize, self.privilege(cpu))
    }
    /// Pushes `size` (2, 4 or 8) bytes.
    pub(crate) fn push(&mut self, cpu: &mut Cpu, size: u64, v: u64) -> Exec {
        let at = self.sp.wrapping_sub(size) & self.mask;
        let lin = self.linear(cpu, at, size)?;
        let p = self.privilege(cpu);
        match size {
            2 => cpu.store(lin, v as u16, p)?,
            4 => cpu.store(lin, v as u32, p)?,
            _ => cpu.store(lin, v, p)?,
        }
        // A stack that counts in 16 bits leaves the rest of ESP alone.
        self.sp = if self.mask == 0xffff { self.sp & 0xffff_0000 | at } else { at };
        Ok(())
    }
    /// Pushes several values of one size, after a check of the room for all.
    pub(crate) fn push_all(&mut self, cpu: &mut Cpu, size: u64, values: &[u64]) -> Exec {
        self.check(cpu, size * values.len() as u64)?;
        values.iter().try_for_each(|&v| self.push(cpu, size, v))
    }
    /// The full stack pointer.
    pub(crate) fn pointer(&self) -> u64 {
        self.sp
    }
    /// Becomes the current stack, with its privilege level. CS must have been loaded.
    pub(crate) fn enter(self, cpu: &mut Cpu) {
        cpu.set_seg(Seg::Ss, self.ss);
        cpu.set_cpl(self.cpl);
        cpu.regs[gpr::RSP] = self.sp;
    }
}

/// Faults as a write of these bytes by the system itself would: for structures that must not be half updated.
pub(crate) fn check_system_write(cpu: &mut Cpu, linear: u64, len: usize) -> Exec {
    cpu.check(linear, len, Access::Write, Privilege::SupervisorNoUser)?;
    cpu.check_write(linear, len, Privilege::SupervisorNoUser)
}
