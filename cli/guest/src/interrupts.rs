//! Interrupts and exceptions as the program in ring 3 sees them: counters of what came in, waiting for it, and faults
//! that are expected and caught.

use crate::ring0;
use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// First vector of the 8259A pair.
pub const PIC_BASE: u32 = 0x20;
/// Vector of the local APIC's timer.
pub const LAPIC_TIMER: u32 = 0x40;
/// Vector that the local APIC check sends to itself.
pub const SELF_IPI: u32 = 0x41;
/// Vector that the I/O APIC check routes to.
pub const IO_APIC: u32 = 0x42;
/// The local APIC's spurious vector.
pub const SPURIOUS: u32 = 0xff;

/// How often each vector came; `gates.s` counts.
pub static COUNTS: [AtomicU32; 256] = [const { AtomicU32::new(0) }; 256];
/// Address of the local APIC's EOI register, for `gates.s`.
pub static LAPIC_EOI: AtomicU64 = AtomicU64::new(0xfee0_00b0);
/// The last exception; `gates.s` writes it.
pub static FAULT: Shared<Fault> = Shared(UnsafeCell::new(Fault::NONE));
/// Where `gates.s` continues after an exception (RIP, RSP), or zero: the exception is a crash.
pub static RECOVERY: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];

/// A value that the assembler in ring 0 writes, and ring 3 reads after it.
pub struct Shared<T>(UnsafeCell<T>);

// SAFETY: one CPU; ring 0 writes only inside an exception, which the reader has waited for.
unsafe impl<T> Sync for Shared<T> {}

/// What the CPU and `gates.s` say about an exception. The layout is that of `gates.s`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Fault {
    /// Vector.
    pub vector: u64,
    /// Error code, or 0.
    pub error: u64,
    /// Instruction pointer pushed.
    pub rip: u64,
    /// Code segment pushed.
    pub cs: u64,
    /// RFLAGS pushed.
    pub rflags: u64,
    /// Stack pointer pushed.
    pub rsp: u64,
    /// CR2, which only a page fault sets.
    pub cr2: u64,
    /// RAX, RBX, RCX, RDX, RSI, RDI, RBP.
    pub registers: [u64; 7],
}

impl Fault {
    const NONE: Fault =
        Fault { vector: u64::MAX, error: 0, rip: 0, cs: 0, rflags: 0, rsp: 0, cr2: 0, registers: [0; 7] };
}

/// Forgets the last exception; half of [`catch!`].
pub fn forget_fault() {
    // SAFETY: one CPU, and no exception is under way while ring 3 runs.
    unsafe { FAULT.0.get().write_volatile(Fault::NONE) };
}

/// The exception since [`forget_fault`], if there was one; the other half of [`catch!`].
pub fn fault() -> Option<Fault> {
    // SAFETY: as above; volatile, because the assembler wrote it behind the compiler's back.
    let fault = unsafe { FAULT.0.get().read_volatile() };
    (fault.vector != u64::MAX).then_some(fault)
}

/// Runs instructions (as `asm!` takes them, label 9 excepted) that may fault, and gives the [`Fault`], if there was
/// one. Outputs must be `inout`, as a fault leaves them as they were; R10 and R11 are taken. Must stand in an
/// `unsafe` block.
macro_rules! catch {
    ($($line:literal),+ $(; $($operand:tt)+)?) => {{
        $crate::interrupts::forget_fault();
        core::arch::asm!(
            "lea r11, [rip + 9f]",
            "mov [{recovery} + 8], rsp",
            "mov [{recovery}], r11",
            $($line,)+
            "9:",
            "mov qword ptr [{recovery}], 0",
            recovery = sym $crate::interrupts::RECOVERY,
            out("r10") _,
            out("r11") _,
            $($($operand)+)?
        );
        $crate::interrupts::fault()
    }};
}

/// How often `vector` came so far.
pub fn count(vector: u32) -> u32 {
    COUNTS[vector as usize & 0xff].load(Relaxed)
}

/// Sum over all interrupts but the exceptions.
pub fn total() -> u32 {
    COUNTS[32..].iter().map(|c| c.load(Relaxed)).sum()
}

/// Masks interrupts at the CPU; true if they were open.
pub fn off() -> bool {
    // SAFETY: clears a flag of our own RFLAGS image.
    unsafe { ring0::call(ring0::interrupts_off, 0, 0, 0) != 0 }
}

/// Opens interrupts at the CPU.
pub fn on() {
    // SAFETY: every gate of the IDT is filled, so any interrupt is handled.
    unsafe { ring0::call(ring0::interrupts_on, 0, 0, 0) };
}

/// Waits for the next interrupt with the CPU halted. Interrupts must be off, and are off afterwards, so that a
/// condition checked before the call cannot become true unnoticed.
pub fn halt() {
    // SAFETY: as `on`; the routine restores the flag.
    unsafe { ring0::call(ring0::halt, 0, 0, 0) };
}

/// Where `gates.s` goes with an exception that nobody expected: says all about it, and ends.
pub extern "C" fn crashed() -> ! {
    if let Some(fault) = fault() {
        let name = EXCEPTIONS.get(fault.vector as usize).copied().unwrap_or("exception");
        println!();
        println!("gearbox guest: unexpected {name} (vector {}), error code {:#x}", fault.vector, fault.error);
        println!(
            "  rip {:016x} cs {:04x} rflags {:08x} rsp {:016x} cr2 {:016x}",
            fault.rip, fault.cs, fault.rflags, fault.rsp, fault.cr2
        );
        for (name, value) in ["rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp"].iter().zip(fault.registers) {
            print!("  {name} {value:016x}");
        }
        println!();
    }
    crate::power::end(crate::power::Ending::Broken)
}

/// Mnemonics of the exceptions (SDM vol. 3, table 6-1).
pub const EXCEPTIONS: [&str; 22] = [
    "#DE",
    "#DB",
    "NMI",
    "#BP",
    "#OF",
    "#BR",
    "#UD",
    "#NM",
    "#DF",
    "coprocessor segment overrun",
    "#TS",
    "#NP",
    "#SS",
    "#GP",
    "#PF",
    "vector 15",
    "#MF",
    "#AC",
    "#MC",
    "#XM",
    "#VE",
    "#CP",
];
