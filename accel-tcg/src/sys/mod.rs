//! Privileged and control-transfer instructions, and the delivery of events.
//!
//! | module | what it is |
//! |---|---|
//! | [`descriptor`], [`segment_load`], [`tables`] | selectors and descriptors; loads of segment registers; descriptor-table registers |
//! | [`interrupt`], [`software_interrupt`], [`iret`], [`inner_stack`] | events, and the return from them |
//! | [`transfer`], [`task`], [`syscall`] | far JMP, CALL and RET; tasks; fast system calls |
//! | [`control`], [`debug`], [`flags`], [`msr`], [`cpuid`] | control and debug registers, system flags, MSRs, CPUID |
//! | [`smm`], [`reset`] | system management mode; INIT |
//! | [`io`], [`system_instructions`] | port permission, the rest |

mod control;
mod cpuid;
mod debug;
mod descriptor;
mod flags;
mod inner_stack;
mod interrupt;
mod io;
mod iret;
mod msr;
mod reset;
mod segment_load;
mod smm;
mod software_interrupt;
mod syscall;
mod system_instructions;
mod tables;
mod task;
#[cfg(test)]
mod tests;
mod transfer;

pub(crate) use cpuid::Vendor;
pub(crate) use debug::{check_instruction_breakpoints, debug_trap};
pub(crate) use descriptor::within_limit;
pub(crate) use io::check_io;
pub(crate) use reset::init;

use crate::block::Executor;
use iced_x86::Instruction;

/// What executes `i`, if it is one of the instructions in here.
pub(crate) fn executor(i: &Instruction) -> Option<Executor> {
    let code = i.code();
    segment_load::executor(code)
        .or_else(|| system_instructions::executor(code))
        .or_else(|| flags::executor(code))
        .or_else(|| control::executor(code))
        .or_else(|| syscall::executor(code))
        .or_else(|| software_interrupt::executor(code))
        .or_else(|| iret::executor(code))
        .or_else(|| transfer::executor(code))
        .or_else(|| tables::executor(code))
        .or_else(|| cpuid::executor(code))
        .or_else(|| debug::executor(code))
        .or_else(|| smm::executor(code))
}
