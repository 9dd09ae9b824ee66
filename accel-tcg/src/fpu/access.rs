//! What every x87, MMX and SSE instruction begins with: is it allowed now (SDM vol. 1, 11.6; vol. 3, tables 2-2, 11-1 and 13-1), and where
//! are its operands?

use super::vec::Vec128;
use crate::cpu::Cpu;
use crate::fault::{Exec, Fault, vector};
use crate::int::Plain;
use gearbox_core::x86::state::{cr0, cr4};
use iced_x86::{Instruction, OpKind, Register};

impl Cpu {
    /// #UD or #NM where an SSE instruction may not be executed.
    #[inline(always)]
    pub(super) fn need_sse(&self) -> Exec {
        if self.cr0 & (cr0::EM | cr0::TS) == 0 && self.cr4 & cr4::OSFXSR != 0 {
            return Ok(());
        }
        let undefined = self.cr0 & cr0::EM != 0 || self.cr4 & cr4::OSFXSR == 0;
        Err(if undefined { Fault::UD } else { Fault::NM })
    }
    /// #UD, #NM or a pending x87 exception where an MMX instruction may not be executed.
    #[inline(always)]
    pub(super) fn need_mmx(&self) -> Exec {
        if self.cr0 & (cr0::EM | cr0::TS) == 0 {
            return self.need_no_pending();
        }
        Err(if self.cr0 & cr0::EM != 0 { Fault::UD } else { Fault::NM })
    }
    /// #NM where an x87 instruction may not be executed.
    #[inline(always)]
    pub(super) fn need_x87(&self) -> Exec {
        if self.cr0 & (cr0::EM | cr0::TS) == 0 { Ok(()) } else { Err(Fault::NM) }
    }
    /// #MF if an unmasked x87 exception is pending.
    #[inline(always)]
    pub(super) fn need_no_pending(&self) -> Exec {
        if self.fpu.exception_pending() { self.math_fault() } else { Ok(()) }
    }
    #[cold]
    fn math_fault(&self) -> Exec {
        if self.cr0 & cr0::NE != 0 {
            Err(Fault::plain(vector::MF))
        } else {
            // The board has no FERR# line; the processor goes on as with IGNNE# asserted (SDM vol. 1, 8.7.2).
            Ok(())
        }
    }

    /// Reads an MMX register, or a memory operand, zero-extended.
    #[inline(always)]
    pub(super) fn mmx_or_mem<T: Plain + Into<u64>>(&mut self, i: &Instruction, n: u32) -> Exec<Vec128> {
        if i.op_kind(n) == OpKind::Register {
            return Ok(self.fpu.mmx(mmx(i, n)));
        }
        Ok(Vec128::from_low64(self.read_mem::<T>(i)?.into()))
    }
}

/// Number of the XMM or YMM register that is operand `n`.
#[inline(always)]
pub(super) fn vreg(i: &Instruction, n: u32) -> usize {
    // Both kinds begin at a multiple of sixteen from one another.
    const { assert!((Register::YMM0 as usize - Register::XMM0 as usize) & 15 == 0) };
    (i.op_register(n) as usize).wrapping_sub(Register::XMM0 as usize) & 15
}
/// Number of the MMX register that is operand `n`.
#[inline(always)]
pub(super) fn mmx(i: &Instruction, n: u32) -> usize {
    (i.op_register(n) as usize).wrapping_sub(Register::MM0 as usize) & 7
}
/// Number of the x87 register that is operand `n`.
#[inline(always)]
pub(super) fn st(i: &Instruction, n: u32) -> u8 {
    (i.op_register(n) as u32).wrapping_sub(Register::ST0 as u32) as u8 & 7
}
/// Is operand `n` an MMX register?
pub(super) fn is_mmx(i: &Instruction, n: u32) -> bool {
    i.op_kind(n) == OpKind::Register && i.op_register(n).is_mm()
}
/// Is operand `n` an XMM register?
pub(super) fn is_xmm(i: &Instruction, n: u32) -> bool {
    i.op_kind(n) == OpKind::Register && i.op_register(n).is_xmm()
}
/// Is operand `n` in memory?
pub(super) fn is_mem(i: &Instruction, n: u32) -> bool {
    i.op_kind(n) == OpKind::Memory
}
