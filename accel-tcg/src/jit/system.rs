//! Hints, fences, and the interrupt flag.

use super::asm::{Alu, RAX, RDI, at, cc};
use super::translate::Translator;
use crate::cpu::Cpu;
use gearbox_core::x86::state::rflags;
use iced_x86::{Instruction, Mnemonic};
use std::mem::offset_of;

impl Translator {
    /// Translates op `k`, which is `i`, if it is one of these.
    pub(super) fn system(&mut self, k: usize, i: &Instruction) -> bool {
        use Mnemonic::*;
        match i.mnemonic() {
            // Loads and stores of the host are in its order already.
            Prefetchnta | Prefetcht0 | Prefetcht1 | Prefetcht2 | Prefetchw | Prefetch | Lfence | Sfence => {}
            Mfence => self.a.mfence(),
            Cli => self.mask_interrupts(k),
            Sti => return self.allow_interrupts(k),
            _ => return false,
        }
        true
    }
    /// CLI at CPL 0, which holds off what nobody waits for here.
    fn mask_interrupts(&mut self, k: usize) {
        self.a.alu_imm(Alu::Cmp, 1, at(RDI, offset_of!(Cpu, cpl)), 0);
        self.slow_if(cc::NE, k);
        self.a.alu_imm(Alu::And, 4, at(RDI, offset_of!(Cpu, flags)), !(rflags::IF as i32));
        self.host_flags_gone();
    }
    /// STI where no interrupt waits. Nothing looks for one before the next instruction, which has to be in the block.
    fn allow_interrupts(&mut self, k: usize) -> bool {
        if self.op(k + 1).ord == self.op(k).ord {
            return false;
        }
        self.a.constant(RAX, allow_interrupts as *const () as u64);
        self.a.call_to(self.thunks.helper);
        self.a.test(4, RAX, RAX);
        self.slow_if(cc::E, k);
        self.host_flags_gone();
        true
    }
}

/// Sets IF at CPL 0. 0, with nothing changed, if an interrupt would follow or the run loop has to look for another reason.
///
/// # Safety
/// `c` is the CPU whose translated code calls.
unsafe extern "C" fn allow_interrupts(c: *mut Cpu) -> u32 {
    // SAFETY: the caller's.
    let c = unsafe { &mut *c };
    let before = c.flags;
    if c.cpl != 0 {
        return 0;
    }
    c.flags |= rflags::IF;
    if !c.undisturbed() {
        c.flags = before;
        return 0;
    }
    1
}
