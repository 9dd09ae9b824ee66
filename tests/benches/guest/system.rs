//! Paging, ports, strings, self-modifying code, interrupts.

use crate::machine::{apic, apic_write, arena, out8, set_gate};
use core::arch::asm;

unsafe extern "C" {
    /// The page table of the window.
    static mut window: [u64; 512];
    /// Interrupts counted by `count_interrupt`.
    static interrupts: u64;
    fn make_present();
    fn count_interrupt();
}
/// 2 MiB of 4 KiB pages.
const WINDOW: u64 = 1 << 30;
/// Where they lead.
const FRAMES: u64 = 16 << 20;
const PRESENT: u64 = 1;
const WRITABLE: u64 = 2;

fn map(page: usize, rights: u64) {
    let entry = FRAMES + page as u64 * 4096 | rights;
    // SAFETY: one thread, and the table leads to the arena only.
    unsafe { (&raw mut window[page]).write_volatile(entry) };
}
fn touch(page: u64) -> u64 {
    // SAFETY: mapped, or made so by the handler of the page fault.
    unsafe { ((WINDOW + page * 4096) as *const u64).read_volatile() }
}

/// A CR3 reload, and 16 pages that are read afterwards.
pub fn cr3(rounds: u64) -> u64 {
    (0..16).for_each(|page| map(page, PRESENT | WRITABLE));
    for _ in 0..rounds {
        // SAFETY: the same page tables again.
        unsafe { asm!("mov {0}, cr3", "mov cr3, {0}", out(reg) _, options(nostack)) };
        (0..16).for_each(|page| {
            touch(page);
        });
    }
    rounds
}
/// A page that is not present until its fault is handled, and taken away again by INVLPG.
pub fn page_fault(rounds: u64) -> u64 {
    set_gate(14, make_present);
    for _ in 0..rounds {
        map(0, WRITABLE);
        // SAFETY: forgets a translation.
        unsafe { asm!("invlpg [{}]", in(reg) WINDOW, options(nostack)) };
        touch(0);
    }
    rounds
}
/// OUT to port 80h.
pub fn port_out(rounds: u64) -> u64 {
    (0..rounds).for_each(|n| out8(0x80, n as u8));
    rounds
}

/// REP MOVSB of `N` bytes.
fn movs<const N: usize>(rounds: u64) -> u64 {
    let (from, to) = arena::<u8>(2 * N).split_at_mut(N);
    for n in 0..rounds {
        from[0] = n as u8;
        // SAFETY: both are `N` bytes.
        unsafe {
            asm!("rep movsb", inout("rcx") N => _, inout("rsi") from.as_ptr() => _, inout("rdi") to.as_mut_ptr() => _,
                options(nostack, preserves_flags))
        };
    }
    to[0].into()
}
/// REP STOSB of `N` bytes.
fn stos<const N: usize>(rounds: u64) -> u64 {
    let to = arena::<u8>(N);
    for n in 0..rounds {
        // SAFETY: `N` bytes.
        unsafe {
            asm!("rep stosb", inout("rcx") N => _, inout("rdi") to.as_mut_ptr() => _, in("al") n as u8,
                options(nostack, preserves_flags))
        };
    }
    to[0].into()
}
/// Pages.
pub fn movs_4k(rounds: u64) -> u64 {
    movs::<4096>(rounds)
}
/// Pages.
pub fn stos_4k(rounds: u64) -> u64 {
    stos::<4096>(rounds)
}
/// Small structures.
pub fn movs_24(rounds: u64) -> u64 {
    movs::<24>(rounds)
}
/// Small structures.
pub fn stos_24(rounds: u64) -> u64 {
    stos::<24>(rounds)
}

/// Writes an immediate into a function, and calls it.
pub fn self_modifying(rounds: u64) -> u64 {
    let code = arena::<u8>(4096);
    // mov eax, imm32; ret
    (code[0], code[5]) = (0xb8, 0xc3);
    let mut sum = 0;
    for n in 0..rounds {
        let result: u32;
        // SAFETY: the function that was just put there; it changes EAX alone.
        unsafe {
            code.as_mut_ptr().add(1).cast::<u32>().write_unaligned(n as u32);
            asm!("call {}", in(reg) code.as_ptr(), out("eax") result);
        }
        sum += u64::from(result);
    }
    sum
}

/// Makes interrupts one after the other.
fn interrupt(rounds: u64, make: impl Fn()) -> u64 {
    const VECTOR: u8 = 0x40;
    set_gate(VECTOR, count_interrupt);
    for n in 1..=rounds {
        make();
        // SAFETY: the handler preserves everything. The counter is read anew each time.
        unsafe {
            asm!("sti");
            while (&raw const interrupts).read_volatile() != n {}
            asm!("cli");
        }
    }
    rounds
}
/// An interrupt that the CPU sends to itself.
pub fn self_ipi(rounds: u64) -> u64 {
    interrupt(rounds, || apic_write(apic::ICR_LOW, 0x4_0040))
}
/// The timer of the local APIC after 1000 ticks.
pub fn timer(rounds: u64) -> u64 {
    apic_write(apic::DIVIDE, 0b1011);
    apic_write(apic::LVT_TIMER, 0x40);
    interrupt(rounds, || apic_write(apic::INITIAL_COUNT, 1000))
}
