//! From ring 3 to ring 0 and back.

use crate::machine::set_gate;
use core::arch::{asm, global_asm};

global_asm!(include_str!("rings.s"));

unsafe extern "C" {
    fn in_ring3(code: unsafe extern "C" fn(), rounds: u64);
    fn leave_ring3();
    fn user_int();
    fn user_syscall();
    fn only_iret();
    fn only_sysret();
}

fn run(code: unsafe extern "C" fn(), rounds: u64) -> u64 {
    set_gate(0x81, leave_ring3);
    // SAFETY: `code` ends by INT 81h, changes RCX, RDI and R11 only, and its gates are set.
    unsafe { in_ring3(code, rounds) };
    rounds
}
fn wrmsr(index: u32, value: u64) {
    // SAFETY: the MSRs of SYSCALL, which change nothing else.
    unsafe { asm!("wrmsr", in("ecx") index, in("eax") value as u32, in("edx") (value >> 32) as u32, options(nostack)) };
}

/// INT 80h and IRETQ.
pub fn int_iret(rounds: u64) -> u64 {
    set_gate(0x80, only_iret);
    run(user_int, rounds)
}
/// SYSCALL and SYSRETQ.
pub fn syscall_sysret(rounds: u64) -> u64 {
    // STAR, LSTAR, SFMASK.
    wrmsr(0xc000_0081, 0x08 << 32 | (0x10 | 3) << 48);
    wrmsr(0xc000_0082, only_sysret as *const () as u64);
    wrmsr(0xc000_0084, 0x200);
    run(user_syscall, rounds)
}
