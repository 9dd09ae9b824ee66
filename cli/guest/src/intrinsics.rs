//! What compiled Rust expects from a C library, and the panic handler.

use crate::power::{self, Ending};
use core::arch::naked_asm;
use core::panic::PanicInfo;

/// Defines the memory functions that the compiler calls, in assembler: in Rust they would compile to calls of
/// themselves.
macro_rules! memory_functions {
    ($($name:ident($($arg:ty),+) -> $ret:ty: $($line:literal),+;)+) => {
        $(
            #[unsafe(no_mangle)]
            #[unsafe(naked)]
            unsafe extern "C" fn $name($(_: $arg),+) -> $ret {
                naked_asm!($($line,)+ "ret")
            }
        )+
    };
}

memory_functions! {
    memcpy(*mut u8, *const u8, usize) -> *mut u8:
        "mov rax, rdi", "mov rcx, rdx", "shr rcx, 3", "rep movsq", "mov ecx, edx", "and ecx, 7", "rep movsb";
    memmove(*mut u8, *const u8, usize) -> *mut u8:
        "mov rax, rdi", "mov rcx, rdx", "mov r8, rdi", "sub r8, rsi", "cmp r8, rdx", "jb 2f", "rep movsb", "ret",
        "2: lea rdi, [rdi + rdx - 1]", "lea rsi, [rsi + rdx - 1]", "std", "rep movsb", "cld";
    memset(*mut u8, i32, usize) -> *mut u8:
        "mov r8, rdi", "mov rcx, rdx", "mov eax, esi", "rep stosb", "mov rax, r8";
    memcmp(*const u8, *const u8, usize) -> i32:
        "xor eax, eax", "mov rcx, rdx", "cmp rcx, rcx", "repe cmpsb", "je 2f",
        "movzx eax, byte ptr [rdi - 1]", "movzx edx, byte ptr [rsi - 1]", "sub eax, edx", "2:";
    bcmp(*const u8, *const u8, usize) -> i32:
        "xor eax, eax", "mov rcx, rdx", "cmp rcx, rcx", "repe cmpsb", "setne al";
}

#[panic_handler]
fn panic(info: &PanicInfo) -> ! {
    println!();
    println!("gearbox guest: {info}");
    power::end(Ending::Broken)
}
