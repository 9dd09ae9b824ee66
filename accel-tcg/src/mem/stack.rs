//! The stack of the current SS.

use super::Access;
use crate::cpu::Cpu;
use crate::fault::Exec;
use crate::int::Int;
use gearbox_core::x86::state::{Seg, gpr};

impl Cpu {
    /// The mask of the stack address size: SP, ESP or RSP.
    pub(crate) fn sp_mask(&self) -> u64 {
        if self.mode.is_64() {
            u64::MAX
        } else if self.mode.stack32() {
            0xffff_ffff
        } else {
            0xffff
        }
    }
    /// The stack pointer, cut to the stack address size.
    pub(crate) fn sp(&self) -> u64 {
        self.regs[gpr::RSP] & self.sp_mask()
    }
    /// Sets the stack pointer within the stack address size.
    pub(crate) fn set_sp(&mut self, v: u64) {
        let m = self.sp_mask();
        let r = &mut self.regs[gpr::RSP];
        *r = if m == 0xffff { *r & !m | v & m } else { v & m };
    }
    /// Pushes a value. RSP is changed after the store succeeded.
    pub(crate) fn push<T: Int>(&mut self, v: T) -> Exec {
        let sp = self.sp().wrapping_sub(T::SIZE as u64) & self.sp_mask();
        self.write_virt(Seg::Ss, sp, v)?;
        self.set_sp(sp);
        Ok(())
    }
    /// Reads the value `depth` bytes above the stack pointer.
    pub(crate) fn peek<T: Int>(&mut self, depth: u64) -> Exec<T> {
        let at = self.sp().wrapping_add(depth) & self.sp_mask();
        self.read_virt(Seg::Ss, at)
    }
    /// Moves the stack pointer up.
    pub(crate) fn drop_stack(&mut self, bytes: u64) {
        self.set_sp(self.sp().wrapping_add(bytes));
    }
    /// Pushes with an operand size of 2, 4 or 8 bytes.
    pub(crate) fn push_sized(&mut self, size: usize, v: u64) -> Exec {
        match size {
            2 => self.push(v as u16),
            4 => self.push(v as u32),
            _ => self.push(v),
        }
    }
    /// Reads an operand of 2, 4 or 8 bytes `depth` bytes above the stack pointer, zero-extended.
    pub(crate) fn peek_sized(&mut self, size: usize, depth: u64) -> Exec<u64> {
        Ok(match size {
            2 => self.peek::<u16>(depth)?.into(),
            4 => self.peek::<u32>(depth)?.into(),
            _ => self.peek(depth)?,
        })
    }
    /// Faults as pushes of `bytes` bytes in all would.
    pub(crate) fn check_push(&mut self, bytes: u64) -> Exec {
        let sp = self.sp().wrapping_sub(bytes) & self.sp_mask();
        let lin = self.linear(Seg::Ss, sp, bytes as usize, Access::Write)?;
        if bytes <= 8 {
            self.check_alignment(lin, bytes as usize, self.privilege())?;
        }
        self.check_write(lin, bytes as usize, self.privilege())
    }
}
