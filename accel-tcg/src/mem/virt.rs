//! Logical addresses: segment checks (SDM vol. 3, 5.3 and 5.4), canonical checks, and the memory operand of an instruction.

use super::Access;
use super::tlb::Privilege;
use crate::cpu::Cpu;
use crate::fault::{Exec, Fault};
use crate::int::Plain;
use crate::sys::within_limit;
use gearbox_core::x86::state::Seg;
use iced_x86::{Instruction, Register};

/// The segment register of that name; DS for anything else.
pub(crate) fn seg_of(r: Register) -> Seg {
    match r {
        Register::ES => Seg::Es,
        Register::CS => Seg::Cs,
        Register::SS => Seg::Ss,
        Register::FS => Seg::Fs,
        Register::GS => Seg::Gs,
        _ => Seg::Ds,
    }
}

/// The violation of a segment's bounds: #SS(0) for the stack segment, #GP(0) for others.
fn violation(s: Seg) -> Fault {
    if s == Seg::Ss { Fault::SS0 } else { Fault::GP0 }
}

impl Cpu {
    /// Checks an access of `len` bytes at `seg:offset` and gives the linear address.
    pub(crate) fn linear(&self, s: Seg, offset: u64, len: usize, a: Access) -> Exec<u64> {
        let lin = self.segment_checks(s, offset, len, a)?;
        self.watch(lin, len, a);
        Ok(lin)
    }
    fn segment_checks(&self, s: Seg, offset: u64, len: usize, a: Access) -> Exec<u64> {
        let seg = self.segment(s);
        if self.code64() {
            let base = if matches!(s, Seg::Fs | Seg::Gs) { seg.base } else { 0 };
            let lin = base.wrapping_add(offset);
            let last = lin.wrapping_add(len.max(1) as u64 - 1);
            // AMD's processors want the offset to be canonical too.
            let good = |a: u64| self.canonical(a);
            let fine = good(lin) && good(last) && (good(offset) || self.vendor() == crate::sys::Vendor::Intel);
            return if fine { Ok(lin) } else { Err(violation(s)) };
        }
        if self.protected() && !self.v86() {
            let (code, rw) = (seg.typ() & 8 != 0, seg.typ() & 2 != 0);
            let denied = match a {
                Access::Write => code || !rw,
                Access::Read => code && !rw,
                Access::Execute => false,
            };
            if seg.unusable() || denied {
                return Err(violation(s));
            }
        }
        let inside = within_limit(seg, offset, len as u64);
        if inside { Ok(seg.base.wrapping_add(offset) & 0xffff_ffff) } else { Err(violation(s)) }
    }
    /// Reads a value at `seg:offset` with the rights of the present CPL.
    pub(crate) fn read_virt<T: Plain>(&mut self, s: Seg, offset: u64) -> Exec<T> {
        let lin = self.linear(s, offset, T::SIZE, Access::Read)?;
        self.load(lin, self.privilege())
    }
    /// Writes a value at `seg:offset` with the rights of the present CPL.
    pub(crate) fn write_virt<T: Plain>(&mut self, s: Seg, offset: u64, v: T) -> Exec {
        let lin = self.linear(s, offset, T::SIZE, Access::Write)?;
        self.store(lin, v, self.privilege())
    }

    /// The offset of the memory operand, cut to the address size.
    pub(crate) fn ea(&self, i: &Instruction) -> u64 {
        let base = i.memory_base();
        // iced gives the absolute address for the IP at which it decoded, which need not be where the code runs: take the difference.
        if matches!(base, Register::RIP | Register::EIP) {
            let delta = i.memory_displacement64().wrapping_sub(i.next_ip());
            let a = self.rip.wrapping_add(delta);
            return if base == Register::EIP { a & 0xffff_ffff } else { a };
        }
        let disp = i.memory_displacement64();
        let scaled = self.reg(i.memory_index()).wrapping_mul(u64::from(i.memory_index_scale()));
        let a = self.reg(base).wrapping_add(scaled).wrapping_add(disp);
        a & self.ea_mask(i)
    }
    /// The mask of the memory operand's address size.
    pub(crate) fn ea_mask(&self, i: &Instruction) -> u64 {
        let size = match i.memory_base() {
            Register::None => match i.memory_index() {
                Register::None => i.memory_displ_size(),
                r => r.size() as u32,
            },
            r => r.size() as u32,
        };
        match size {
            2 => 0xffff,
            8 => u64::MAX,
            _ => 0xffff_ffff,
        }
    }
    /// Segment of the memory operand. 64-bit code ignores overrides but FS and GS, so that the base register decides between #SS and #GP
    /// (APM vol. 1, 4.5.3).
    pub(crate) fn operand_seg(&self, i: &Instruction) -> Seg {
        match seg_of(i.memory_segment()) {
            s @ (Seg::Fs | Seg::Gs) => s,
            s if !self.code64() => s,
            _ if matches!(i.memory_base().full_register(), Register::RSP | Register::RBP) => Seg::Ss,
            _ => Seg::Ds,
        }
    }
    /// Checks the memory operand as `len` bytes and gives its linear address.
    pub(crate) fn operand_linear(&self, i: &Instruction, len: usize, a: Access) -> Exec<u64> {
        self.linear(self.operand_seg(i), self.ea(i), len, a)
    }
    /// Reads the memory operand.
    pub(crate) fn read_mem<T: Plain>(&mut self, i: &Instruction) -> Exec<T> {
        let lin = self.operand_linear(i, T::SIZE, Access::Read)?;
        self.load(lin, self.privilege())
    }
    /// Writes the memory operand.
    pub(crate) fn write_mem<T: Plain>(&mut self, i: &Instruction, v: T) -> Exec {
        let lin = self.operand_linear(i, T::SIZE, Access::Write)?;
        self.store(lin, v, self.privilege())
    }
    /// Reads the memory operand as bytes.
    pub(crate) fn read_mem_bytes(&mut self, i: &Instruction, data: &mut [u8]) -> Exec {
        let lin = self.operand_linear(i, data.len(), Access::Read)?;
        self.load_bytes(lin, data, self.privilege())
    }
    /// Writes the memory operand as bytes.
    pub(crate) fn write_mem_bytes(&mut self, i: &Instruction, data: &[u8]) -> Exec {
        let lin = self.operand_linear(i, data.len(), Access::Write)?;
        self.store_bytes(lin, data, self.privilege())
    }
    /// Reads memory that the processor itself needs (descriptor tables, TSS): always with supervisor rights.
    pub(crate) fn system_read<T: Plain>(&mut self, linear: u64) -> Exec<T> {
        self.load(linear, Privilege::SupervisorNoUser)
    }
    /// Writes memory that the processor itself needs.
    pub(crate) fn system_write<T: Plain>(&mut self, linear: u64, v: T) -> Exec {
        self.store(linear, v, Privilege::SupervisorNoUser)
    }
}
