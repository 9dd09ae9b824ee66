//! The processor and the board: entry, serial port, end, interrupt gates, local APIC, and memory to work in.

use core::arch::{asm, global_asm};

global_asm!(include_str!("entry.s"));

/// The base of COM1.
const COM1: u16 = 0x3f8;
/// The port of `isa-debug-exit`.
const DEBUG_EXIT: u16 = 0xf4;
/// Registers of the local APIC (SDM vol. 3, table 12-1).
pub mod apic {
    pub const SPURIOUS: u32 = 0xf0;
    pub const ICR_LOW: u32 = 0x300;
    pub const LVT_TIMER: u32 = 0x320;
    pub const INITIAL_COUNT: u32 = 0x380;
    pub const DIVIDE: u32 = 0x3e0;
    /// Where they are.
    pub const BASE: u64 = 0xfee0_0000;
}

/// OUT, 8 bits.
#[inline(always)]
pub fn out8(port: u16, value: u8) {
    // SAFETY: ports reach devices only.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack, preserves_flags)) };
}
fn in8(port: u16) -> u8 {
    let value;
    // SAFETY: ports reach devices only.
    unsafe { asm!("in al, dx", in("dx") port, out("al") value, options(nomem, nostack, preserves_flags)) };
    value
}
/// Writes to COM1.
pub fn write_byte(byte: u8) {
    while in8(COM1 + 5) & 0x20 == 0 {}
    out8(COM1, byte);
}
/// Writes to COM1.
pub fn write(text: &str) {
    text.bytes().for_each(write_byte);
}
/// Ends the machine with status `code * 2 + 1`.
pub fn end(code: u8) -> ! {
    out8(DEBUG_EXIT, code);
    loop {
        // SAFETY: waits.
        unsafe { asm!("cli", "hlt") };
    }
}

/// Writes a register of the local APIC.
pub fn apic_write(register: u32, value: u32) {
    // SAFETY: the APIC's page is mapped, uncached, and no memory.
    unsafe { ((apic::BASE + u64::from(register)) as *mut u32).write_volatile(value) };
}

static mut IDT: [[u64; 2]; 256] = [[0; 2]; 256];

/// The interrupt descriptor table and the APIC, software-enabled; the interrupt controllers of the PC masked.
pub fn set_up() {
    let register = [(0xfffu64 << 48).to_le_bytes(), (&raw const IDT as u64).to_le_bytes()];
    // SAFETY: LIDT reads 10 bytes: limit and base lie side by side from byte 6 on.
    unsafe { asm!("lidt [{}]", in(reg) register.as_ptr().cast::<u8>().add(6), options(nostack)) };
    out8(0x21, 0xff);
    out8(0xa1, 0xff);
    apic_write(apic::SPURIOUS, 0x1ff);
}
/// Sets an interrupt gate that ring 3 may use.
pub fn set_gate(vector: u8, handler: unsafe extern "C" fn()) {
    let at = handler as usize as u64;
    let low = at & 0xffff | 0x08 << 16 | 0xee00 << 32 | (at >> 16 & 0xffff) << 48;
    // SAFETY: one thread, and interrupts are off.
    unsafe { (&raw mut IDT[vector as usize]).write_volatile([low, at >> 32]) };
}

/// 16 MiB that nothing else uses.
pub fn arena<T: Copy>(len: usize) -> &'static mut [T] {
    const AT: usize = 16 << 20;
    assert!(len * size_of::<T>() <= 16 << 20);
    // SAFETY: RAM, mapped, and every work takes it once. Its bytes are zero or whatever; the types have no invalid values.
    unsafe { core::slice::from_raw_parts_mut(AT as *mut T, len) }
}
