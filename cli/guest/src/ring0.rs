//! The way into ring 0, and what is done there.
//!
//! The guest itself runs in ring 3. Some hosts offer a KVM that emulates ring 0 one instruction at a time: slow, and
//! without SSE or `UD2`. In ring 3 the same hosts run at full speed, so ring 0 is left to a few dozen lines of
//! assembler: the interrupt gates (`gates.s`) and the functions below, each of which does one privileged thing. The
//! gate is `INT3`, the one software interrupt that such hosts deliver too.
//!
//! It also makes the red zone of the host's x86-64 ABI harmless: an interrupt changes to another stack.

use core::arch::{asm, global_asm, naked_asm};

global_asm!(
    include_str!("gates.s"),
    counts = sym crate::interrupts::COUNTS,
    fault = sym crate::interrupts::FAULT,
    recovery = sym crate::interrupts::RECOVERY,
    lapic_eoi = sym crate::interrupts::LAPIC_EOI,
    crashed = sym crate::interrupts::crashed,
    pic_slave = const crate::interrupts::PIC_BASE + 8,
    pic_end = const crate::interrupts::PIC_BASE + 16,
    spurious = const crate::interrupts::SPURIOUS,
);

/// A function for [`call`]: assembler without a prologue, that keeps to general registers.
pub type Routine = unsafe extern "C" fn(u64, u64, u64) -> u64;

/// Runs `routine` in ring 0 with interrupts off, and returns what it returns.
///
/// # Safety
/// What the routine does must be sound with these arguments. It must use no SSE and follow the C calling convention.
#[inline(always)]
pub unsafe fn call(routine: Routine, a: u64, b: u64, c: u64) -> u64 {
    let result;
    // SAFETY: INT3's gate calls the routine and returns here; the clobbers are those of a C call without SSE, and the
    // gate has its own stack.
    unsafe {
        asm!(
            "int3",
            inout("rax") routine as usize as u64 => result,
            inout("rdi") a => _,
            inout("rsi") b => _,
            inout("rdx") c => _,
            lateout("rcx") _, lateout("r8") _, lateout("r9") _, lateout("r10") _, lateout("r11") _,
        );
    }
    result
}

/// Defines [`Routine`]s out of a line of documentation and their instructions. Arguments come in RDI, RSI, RDX.
macro_rules! routines {
    ($($(#[$doc:meta])* $name:ident: $($line:literal),+;)+) => {
        $(
            $(#[$doc])*
            #[unsafe(naked)]
            pub unsafe extern "C" fn $name(_: u64, _: u64, _: u64) -> u64 {
                naked_asm!($($line,)+ "ret")
            }
        )+
    };
}

routines! {
    /// IN AL from port RDI.
    in8: "mov edx, edi", "xor eax, eax", "in al, dx";
    /// IN AX.
    in16: "mov edx, edi", "xor eax, eax", "in ax, dx";
    /// IN EAX.
    in32: "mov edx, edi", "in eax, dx";
    /// OUT AL = RSI to port RDI.
    out8: "mov edx, edi", "mov eax, esi", "out dx, al";
    /// OUT AX.
    out16: "mov edx, edi", "mov eax, esi", "out dx, ax";
    /// OUT EAX.
    out32: "mov edx, edi", "mov eax, esi", "out dx, eax";
    /// REP INSB: RDX bytes from port RDI to RSI.
    in_string: "mov rcx, rdx", "mov edx, edi", "mov rdi, rsi", "rep insb";

    /// RDMSR of RDI.
    read_msr: "mov ecx, edi", "rdmsr", "shl rdx, 32", "or rax, rdx";
    /// CPUID of leaf RDI, subleaf RSI; EAX, EBX, ECX, EDX to the four words at RDX.
    cpuid:
        "mov r8, rdx", "mov r9, rbx", "mov eax, edi", "mov ecx, esi", "cpuid",
        "mov [r8], eax", "mov [r8 + 4], ebx", "mov [r8 + 8], ecx", "mov [r8 + 12], edx", "mov rbx, r9";
    /// CR0.
    read_cr0: "mov rax, cr0";
    /// CR4.
    read_cr4: "mov rax, cr4";
    /// INVLPG of RDI.
    invalidate_page: "invlpg [rdi]";

    /// Clears the interrupt flag of ring 3 and returns what it was (bit 9).
    interrupts_off: "mov eax, [rsp + 24]", "and eax, 0x200", "and dword ptr [rsp + 24], ~0x200";
    /// Sets the interrupt flag of ring 3.
    interrupts_on: "or dword ptr [rsp + 24], 0x200";
    /// STI; HLT: waits for an interrupt, with none lost between the two, and returns with the flag as ring 3 had it.
    halt: "sti", "hlt", "cli";
    /// Stops for good.
    halt_for_ever: "cli", "2: hlt", "jmp 2b";
    /// Nothing: what a call itself costs.
    nothing: "nop";
    /// A triple fault: an empty IDT and an exception.
    triple_fault: "push 0", "push 0", "lidt [rsp]", "ud2";

    /// Writes the RSI bytes at RDI to the UART at port RDX, polling for room; returns how many went out before it
    /// gave up.
    ///
    /// The transmitter is asked once for each 16 bytes, the depth of the 16550A's FIFO; R8 bounds the polls.
    uart_write:
        "mov r9, rsi",
        "mov rsi, rdi",
        "mov edi, edx",
        "xor r10d, r10d",
        "2: cmp r10, r9",
        "jae 6f",
        "lea edx, [rdi + 5]",
        "mov ecx, 4000000",
        "3: in al, dx",
        "test al, 0x20",
        "loopz 3b",
        "jz 6f",
        "mov edx, edi",
        "mov ecx, 16",
        "4: mov al, [rsi + r10]",
        "out dx, al",
        "inc r10",
        "cmp r10, r9",
        "jae 6f",
        "dec ecx",
        "jnz 4b",
        "jmp 2b",
        "6: mov rax, r10";
    /// RDI turns of a loop of ten plain instructions, for the speed of ring 0.
    ten_instruction_loop:
        "xor eax, eax",
        "mov r8d, 1",
        "2: add rax, rdi",
        "lea r9, [rax + r8*2]",
        "xor r9, rdi",
        "shr r9, 3",
        "and r9d, 0xffff",
        "add r8, r9",
        "imul rax, r8",
        "mov r10, rax",
        "dec rdi",
        "jnz 2b",
        "mov rax, r10";
}
