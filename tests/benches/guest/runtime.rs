//! What compiled Rust expects from a C library, and the panic handler.

use crate::machine;
use core::arch::naked_asm;
use core::panic::PanicInfo;

/// Defines a memory function in assembler: in Rust it would compile to a call of itself.
macro_rules! memory_functions {
    ($($name:ident($($arg:ty),+) -> $ret:ty: $($line:literal),+;)+) => { $(
        #[unsafe(no_mangle)]
        #[unsafe(naked)]
        unsafe extern "C" fn $name($(_: $arg),+) -> $ret {
            naked_asm!($($line,)+ "ret")
        }
    )+ };
}

memory_functions! {
    memcpy(*mut u8, *const u8, usize) -> *mut u8: "mov rax, rdi", "mov rcx, rdx", "rep movsb";
    memset(*mut u8, i32, usize) -> *mut u8: "mov r8, rdi", "mov rcx, rdx", "mov eax, esi", "rep stosb", "mov rax, r8";
    memcmp(*const u8, *const u8, usize) -> i32:
        "xor eax, eax", "mov rcx, rdx", "cmp rcx, rcx", "repe cmpsb", "je 2f",
        "movzx eax, byte ptr [rdi - 1]", "movzx edx, byte ptr [rsi - 1]", "sub eax, edx", "2:";
    bcmp(*const u8, *const u8, usize) -> i32:
        "xor eax, eax", "mov rcx, rdx", "cmp rcx, rcx", "repe cmpsb", "setne al";
}

#[panic_handler]
fn panic(info: &PanicInfo) -> ! {
    machine::write("panic: ");
    machine::write(info.message().as_str().unwrap_or("see the source"));
    machine::end(3)
}
