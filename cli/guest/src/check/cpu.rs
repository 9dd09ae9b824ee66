//! The processor's arithmetic, and that it notices changed code.

use super::{Verdict, passed};
use crate::cpu::{self, Feature};
use crate::digest;
use core::arch::{asm, naked_asm};

/// Multiplication, division, shifts and carries across 64 bits.
pub fn integers() -> Verdict {
    let (mut low, mut high) = (0x1234_5678_9abc_def0u64, 0xfedc_ba98_7654_3210u64);
    // SAFETY: register arithmetic; no division overflows.
    unsafe {
        asm!("mul {}", in(reg) high, inout("rax") low, out("rdx") high);
        ensure_eq!(low, 0x236d_88fe_5618_cf00, "MUL's low half");
        ensure_eq!(high, 0x121f_a00a_d77d_7422, "MUL's high half");

        (low, high) = (0x0123_4567_89ab_cdef, 0x0123_4567_89ab_cdef);
        asm!("div {}", in(reg) 0xfedc_ba98_7654_321fu64, inout("rax") low, inout("rdx") high);
        ensure_eq!(low, 0x0124_9249_2492_4923, "DIV's quotient");
        ensure_eq!(high, 0x6e34_fce9_6830_1cb2, "DIV's remainder");

        let (mut quotient, mut remainder) = (-7i64, -1i64);
        asm!("idiv {}", in(reg) 2i64, inout("rax") quotient, inout("rdx") remainder);
        ensure!((quotient, remainder) == (-3, -1), "IDIV of -7 by 2 gives {quotient}, {remainder}");

        let product: i64;
        asm!("imul {}, {}, -1000", lateout(reg) product, in(reg) 0x7654_3210i64);
        ensure_eq!(product as u64, 0xffff_fe31_c71c_7180, "IMUL");

        (low, high) = (u64::MAX, 0x7fff_ffff_ffff_ffff);
        asm!("add {}, 1", "adc {}, 0", inout(reg) low, inout(reg) high);
        ensure!((low, high) == (0, 1 << 63), "a carry over 128 bits gives {high:#x}:{low:#x}");

        let mut word = 0x8000_0000_0000_0001u64;
        asm!("rol {0}, 4", "sar {0}, 8", "shld {0}, {1}, 12", "ror {0:e}, 1", inout(reg) word, in(reg) 0xabcu64 << 52);
        ensure_eq!(word, 0x0000_055e, "ROL, SAR, SHLD, ROR");

        let mut parts = 0x1122_3344_5566_7788u64;
        asm!("xchg al, ah", "mov ah, 5", "add al, ah", inout("rax") parts);
        ensure_eq!(parts, 0x1122_3344_5566_057c, "byte registers in RAX");
        asm!("mov eax, eax", inout("rax") parts);
        ensure_eq!(parts, 0x5566_057c, "RAX after a write to EAX");
        asm!("mov ecx, 0x80", "movsx rax, cl", "cdqe", "cqo", out("rax") parts, out("rdx") high, out("rcx") _);
        ensure_eq!(parts, 0xffff_ffff_ffff_ff80, "MOVSX");
        ensure_eq!(high, u64::MAX, "CQO");
    }
    passed()
}

/// Runs an instruction on RAX and RCX and gives the status flags.
macro_rules! flags_after {
    ($line:literal, $a:expr, $b:expr) => {{
        let flags: u64;
        asm!($line, "pushfq", "pop {flags}", flags = lateout(reg) flags, inout("rax") $a as u64 => _,
            inout("rcx") $b as u64 => _, out("rdx") _);
        flags
    }};
}

/// The status flags of one operation of each kind.
pub fn flags() -> Verdict {
    /// CF, PF, AF, ZF, SF, OF.
    const ALL: u64 = 0x8d5;
    /// All but AF, which logic and shifts leave undefined.
    const NO_AF: u64 = 0x8c5;
    const CF_OF: u64 = 0x801;
    // SAFETY: register arithmetic; the stack is balanced.
    let cases = unsafe {
        [
            ("7Fh + 1", flags_after!("add al, cl", 0x7f, 1), ALL, 0x890),
            ("FFh + 1", flags_after!("add al, cl", 0xff, 1), ALL, 0x055),
            ("80h - 1", flags_after!("sub al, cl", 0x80, 1), ALL, 0x810),
            ("CMP 0, 1", flags_after!("cmp rax, rcx", 0, 1), ALL, 0x095),
            ("ADC with carry", flags_after!("stc; adc eax, ecx", 0xffff_ffffu64, 0), ALL, 0x055),
            ("SBB with carry", flags_after!("stc; sbb ax, cx", 0, 0xffff), ALL, 0x055),
            ("NEG 80h", flags_after!("neg al", 0x80, 0), ALL, 0x881),
            ("INC keeps CF", flags_after!("stc; inc al", 0xff, 0), ALL, 0x055),
            ("DEC keeps CF", flags_after!("clc; dec al", 0x80, 0), ALL, 0x810),
            ("AND to zero", flags_after!("stc; and eax, ecx", 5, 10), NO_AF, 0x044),
            ("TEST with sign", flags_after!("test rax, rcx", u64::MAX, u64::MAX), NO_AF, 0x084),
            ("SHL 80h by 1", flags_after!("shl al, 1", 0x80, 0), NO_AF, 0x845),
            ("SHR 1 by 1", flags_after!("shr eax, 1", 1, 0), NO_AF, 0x045),
            ("SAR by CL = 0", flags_after!("stc; sar eax, cl", 1, 0), 0x001, 0x001),
            ("RCR of 1", flags_after!("clc; rcr al, 1", 1, 0), 0x001, 0x001),
            ("IMUL overflow", flags_after!("imul eax, ecx", 0x10000, 0x10000), CF_OF, CF_OF),
            ("MUL without", flags_after!("mul cl", 15, 17), CF_OF, 0),
        ]
    };
    for (name, got, mask, want) in cases {
        ensure!(got & mask == want, "{name}: flags {:#x}, expected {want:#x}", got & mask);
    }
    passed()
}

/// Bit scans and tests, byte swaps, conditional moves.
pub fn bits() -> Verdict {
    let mut field = [0u32; 8];
    let (mut a, mut b): (u64, u64);
    let found: u8;
    // SAFETY: the bit instructions reach bits 0 to 255 of `field`.
    unsafe {
        asm!("bsf {a}, {x}", "bsr {b}, {x}", a = out(reg) a, b = out(reg) b, x = in(reg) 0x0000_0100_8000_0000u64);
        ensure!((a, b) == (31, 40), "BSF gives {a}, BSR {b}");
        asm!(
            "bts dword ptr [{f}], {bit:e}", "setc {found}", "bts dword ptr [{f}], {bit:e}", "adc {found}, 0",
            "btc dword ptr [{f} + 4], 7", "btr dword ptr [{f}], {bit:e}", "adc {found}, 0",
            f = in(reg) &mut field, bit = in(reg) 200u32, found = out(reg_byte) found,
        );
        ensure!(found == 2, "BTS, BTS, BTR find the bit set {found} times");
        ensure!(field == [0, 0x80, 0, 0, 0, 0, 0, 0], "BTS, BTC, BTR in memory leave {field:x?}");
        a = 0x0102_0304_0506_0708;
        asm!("bswap {}", inout(reg) a);
        ensure_eq!(a, 0x0807_0605_0403_0201, "BSWAP");
        asm!("mov {a:e}, 1", "cmp {a}, 2", "cmovb {a}, {b}", "cmova {b}, {a}",
            a = out(reg) a, b = inout(reg) 7u64 => b);
        ensure!((a, b) == (7, 7), "CMOV gives {a}, {b}");
        if cpu::has(Feature::Popcnt) {
            asm!("popcnt {}, {}", lateout(reg) a, in(reg) 0xff00_ff00_0000_0001u64);
            ensure_eq!(a, 17, "POPCNT");
        }
    }
    passed()
}

/// MOVS, STOS, LODS, SCAS, CMPS, in both directions.
pub fn strings() -> Verdict {
    let mut text = *b"abcdefgh........";
    let start = text.as_mut_ptr();
    let (mut left, mut found): (u64, u64);
    // SAFETY: the counts keep within `text`; the direction flag is cleared again.
    unsafe {
        // Upwards with an overlap repeats the beginning; downwards moves.
        asm!("rep movsb", inout("rsi") start => _, inout("rdi") start.add(2) => _, inout("rcx") 4u64 => _);
        ensure!(&text[..8] == b"abababgh", "MOVSB upwards gives {:x?}", &text[..8]);
        asm!("std", "rep movsb", "cld", inout("rsi") start.add(7) => _, inout("rdi") start.add(11) => _,
            inout("rcx") 8u64 => _);
        ensure!(&text[..12] == b"abababababgh", "MOVSB downwards gives {:x?}", &text[..12]);
        asm!("rep stosd", inout("rdi") start => _, inout("rcx") 2u64 => _, in("eax") 0x6463_6261);
        ensure!(&text[..8] == b"abcdabcd", "STOSD gives {:x?}", &text[..8]);
        asm!("repne scasb", inout("rdi") start => found, inout("rcx") 16u64 => left, in("al") b'g');
        ensure!((found - start as u64, left) == (11, 5), "SCASB stops with {left} left");
        asm!("repe cmpsw", inout("rsi") start => _, inout("rdi") start.add(4) => _, inout("rcx") 5u64 => left);
        ensure!(left == 1, "CMPSW stops with {left} left");
        let value: u64;
        asm!("lodsq", inout("rsi") start => _, out("rax") value);
        ensure_eq!(value, 0x6463_6261_6463_6261, "LODSQ");
    }
    passed()
}

#[repr(align(16))]
struct Aligned([u64; 2]);

/// The LOCK-able instructions.
pub fn atomics() -> Verdict {
    let mut cell = Aligned([5, 6]);
    let at = &raw mut cell.0;
    let (mut a, mut b): (u64, u64);
    // SAFETY: `at` is the cell, aligned to 16.
    unsafe {
        asm!("lock xadd [{at}], {a}", "lock inc qword ptr [{at} + 8]", at = in(reg) at, a = inout(reg) 10u64 => a);
        ensure!(a == 5 && cell.0 == [15, 7], "XADD, INC give {a}, {:x?}", cell.0);
        asm!("lock cmpxchg [{at}], {new}", at = in(reg) at, new = in(reg) 1u64, inout("rax") 2u64 => a);
        ensure!(a == 15 && cell.0[0] == 15, "CMPXCHG of something else gives {a:#x}, {:#x}", cell.0[0]);
        asm!("lock cmpxchg [{at}], {new}", at = in(reg) at, new = in(reg) 1u64, inout("rax") 15u64 => a);
        ensure!(a == 15 && cell.0[0] == 1, "CMPXCHG of the same gives {a:#x}, {:#x}", cell.0[0]);
        asm!("xchg rbx, {new}", "lock cmpxchg8b [{at}]", "xchg rbx, {new}", at = in(reg) at, new = inout(reg) 2u64 => _,
            in("rcx") 3u64, inout("rax") 1u64 => a, inout("rdx") 0u64 => b);
        ensure!((a, b, cell.0[0]) == (1, 0, 3 << 32 | 2), "CMPXCHG8B gives {a:#x}, {b:#x}, {:#x}", cell.0[0]);
        if !cpu::has(Feature::Cx16) {
            return passed();
        }
        for (expected, want) in [(9u64, [3 << 32 | 2, 7]), (3 << 32 | 2, [20, 30])] {
            asm!("xchg rbx, {new}", "lock cmpxchg16b [{at}]", "xchg rbx, {new}", at = in(reg) at,
                new = inout(reg) 20u64 => _, in("rcx") 30u64, inout("rax") expected => a, inout("rdx") 7u64 => b);
            ensure!((a, b) == (3 << 32 | 2, 7), "CMPXCHG16B gives {a:#x}, {b:#x}");
            ensure!(cell.0 == want, "CMPXCHG16B leaves {:x?}", cell.0);
        }
    }
    Ok(text!("with CMPXCHG16B"))
}

/// Known answers of longer computations.
pub fn digests() -> Verdict {
    let mut data = [0; 771];
    for (i, byte) in data.iter_mut().enumerate() {
        *byte = i as u8;
    }
    data[768..].copy_from_slice(b"abc");
    let data = core::hint::black_box(&data);
    ensure_eq!(digest::crc32(data), 0x9d3a_9924, "CRC-32");
    let md5 = u128::from_be_bytes(digest::md5(data));
    ensure_eq!(md5, 0x9594_0817_68e2_3901_dd37_6139_36ad_b799, "MD5");
    passed()
}

/// What [`x87_probe`] leaves.
#[repr(C)]
#[derive(Default)]
struct X87 {
    pi: u64,
    four_arctan_one: u64,
    third: [u16; 8],
    packed: [u8; 16],
    rounded: [i16; 4],
    compared: u64,
    status: u16,
}

#[unsafe(naked)]
unsafe extern "C" fn x87_probe(_: *mut X87) {
    naked_asm!(
        "fninit",
        "fldpi",
        "fstp qword ptr [rdi]",
        "fld1",
        "fld1",
        "fpatan",
        "fadd st(0), st(0)",
        "fadd st(0), st(0)",
        "fstp qword ptr [rdi + 8]",
        "push 3",
        "fld1",
        "fild dword ptr [rsp]",
        "fdivp st(1), st",
        "fstp tbyte ptr [rdi + 16]",
        "mov dword ptr [rsp], -1234567",
        "fild dword ptr [rsp]",
        "fbstp tbyte ptr [rdi + 32]",
        // 2.5 to the even neighbour, 3.5 likewise; then 2.5 upwards.
        "mov dword ptr [rsp], 0x40200000",
        "fld dword ptr [rsp]",
        "fistp word ptr [rdi + 48]",
        "mov dword ptr [rsp], 0x40600000",
        "fld dword ptr [rsp]",
        "fistp word ptr [rdi + 50]",
        "fnstcw word ptr [rsp]",
        "or word ptr [rsp], 0x800",
        "fldcw word ptr [rsp]",
        "mov dword ptr [rsp], 0x40200000",
        "fld dword ptr [rsp]",
        "fistp word ptr [rdi + 52]",
        "fninit",
        // ln 2 < log2 10: CF.
        "fldl2t",
        "fldln2",
        "fcomip st, st(1)",
        "setb byte ptr [rdi + 56]",
        "fstp st(0)",
        "fld1",
        "fldz",
        "fdivp st(1), st",
        "fnstsw word ptr [rdi + 64]",
        "fninit",
        "pop rax",
        "ret",
    )
}

/// The x87 unit: constants, arctangent, formats, rounding, comparison, the divide-by-zero flag.
pub fn x87() -> Verdict {
    let mut out = X87::default();
    // SAFETY: the probe writes an X87.
    unsafe { x87_probe(&mut out) };
    const PI: u64 = 0x4009_21fb_5444_2d18;
    ensure_eq!(out.pi, PI, "FLDPI");
    ensure_eq!(out.four_arctan_one, PI, "four times FPATAN of 1");
    ensure!(out.third[..5] == [0xaaab, 0xaaaa, 0xaaaa, 0xaaaa, 0x3ffd], "1/3 is {:x?}", &out.third[..5]);
    ensure!(out.packed[..10] == [0x67, 0x45, 0x23, 1, 0, 0, 0, 0, 0, 0x80], "FBSTP gives {:x?}", &out.packed[..10]);
    ensure!(out.rounded[..3] == [2, 4, 3], "FISTP rounds to {:?}", &out.rounded[..3]);
    ensure_eq!(out.compared, 1, "CF of FCOMI");
    ensure_eq!(out.status & 0x3f, 0x04, "the exception flags of 1/0");
    passed()
}

/// What [`sse2_probe`] leaves.
#[repr(C, align(16))]
#[derive(Default)]
struct Sse2 {
    product: u64,
    sum: u64,
    root: u64,
    truncated: i64,
    singles: [u32; 4],
    saturated: [u8; 16],
    shuffled: [u32; 4],
    wide: [u64; 2],
    mask: u64,
    unordered: u64,
    status: u32,
}

#[repr(C, align(16))]
struct Sse2In {
    doubles: [f64; 6],
    singles: [f32; 4],
    bytes: [u8; 16],
    words: [u32; 4],
}

static SSE2_IN: Sse2In = Sse2In {
    doubles: [1.1, 2.2, 3.3, 4.4, 2.0, -2.75],
    singles: [1.0, -4.0, 0.5, 3.0],
    bytes: [0, 1, 0x7f, 0x80, 0x81, 0xff, 0xfe, 200, 10, 20, 30, 40, 250, 251, 252, 253],
    words: [0xffff_ffff, 1, 0x8000_0000, 2],
};

#[unsafe(naked)]
unsafe extern "C" fn sse2_probe(_: *mut Sse2, _: *const Sse2In) {
    naked_asm!(
        "sub rsp, 8",
        "mov dword ptr [rsp], 0x1f80",
        "ldmxcsr [rsp]",
        "movsd xmm0, [rsi]",
        "mulsd xmm0, [rsi + 8]",
        "movsd [rdi], xmm0",
        "movapd xmm1, [rsi + 16]",
        "movhlps xmm2, xmm1",
        "addsd xmm1, xmm2",
        "movlpd [rdi + 8], xmm1",
        "sqrtsd xmm3, [rsi + 32]",
        "movq [rdi + 16], xmm3",
        "cvttsd2si rax, [rsi + 40]",
        "mov [rdi + 24], rax",
        "movaps xmm4, [rsi + 48]",
        "mulps xmm4, xmm4",
        "movaps [rdi + 32], xmm4",
        "movdqa xmm5, [rsi + 64]",
        "paddusb xmm5, xmm5",
        "movdqu [rdi + 48], xmm5",
        "pshufd xmm6, [rsi + 80], 0x1b",
        "movdqa [rdi + 64], xmm6",
        "movdqa xmm7, [rsi + 80]",
        "pmuludq xmm7, xmm7",
        "movdqa [rdi + 80], xmm7",
        "movdqa xmm8, [rsi + 64]",
        "pmovmskb eax, xmm8",
        "mov [rdi + 96], rax",
        // 0/0 is not a number, and unordered with everything.
        "xorpd xmm9, xmm9",
        "divsd xmm9, xmm9",
        "xor eax, eax",
        "ucomisd xmm9, xmm0",
        "setp al",
        "mov [rdi + 104], rax",
        "stmxcsr [rdi + 112]",
        "ldmxcsr [rsp]",
        "add rsp, 8",
        "ret",
    )
}

/// SSE2: scalar and packed floating point, integer vectors, the status flags.
pub fn sse2() -> Verdict {
    let mut out = Sse2::default();
    // SAFETY: the probe writes an Sse2, and leaves MXCSR at its reset value.
    unsafe { sse2_probe(&mut out, &raw const SSE2_IN) };
    ensure_eq!(out.product, 0x4003_5c28_f5c2_8f5d, "1.1 * 2.2");
    ensure_eq!(out.sum, 0x401e_cccc_cccc_cccd, "3.3 + 4.4");
    ensure_eq!(out.root, 0x3ff6_a09e_667f_3bcd, "the root of 2");
    ensure!(out.truncated == -2, "CVTTSD2SI of -2.75 gives {}", out.truncated);
    ensure!(out.singles == [1.0f32, 16.0, 0.25, 9.0].map(f32::to_bits), "MULPS gives {:x?}", out.singles);
    let doubled = SSE2_IN.bytes.map(|byte| byte.saturating_add(byte));
    ensure!(out.saturated == doubled, "PADDUSB gives {:x?}", out.saturated);
    ensure!(out.shuffled == [2, 0x8000_0000, 1, 0xffff_ffff], "PSHUFD gives {:x?}", out.shuffled);
    ensure!(out.wide == [0xffff_fffe_0000_0001, 0x4000_0000_0000_0000], "PMULUDQ gives {:x?}", out.wide);
    ensure_eq!(out.mask, 0xf0f8, "PMOVMSKB");
    ensure_eq!(out.unordered, 1, "PF of UCOMISD with a NaN");
    // Invalid by 0/0, inexact by the products; nothing else.
    ensure_eq!(out.status & 0x3f, 0x21, "the exception flags in MXCSR");
    passed()
}

/// `MOV EAX, imm32; RET`, to be changed.
#[unsafe(naked)]
unsafe extern "C" fn constant() -> u32 {
    naked_asm!(".balign 16", "mov eax, 7", "ret")
}

/// Code that has run and is changed runs as changed, also when the change is to the very next instruction.
pub fn self_modifying_code() -> Verdict {
    let code = constant as *const () as *mut u8;
    // SAFETY: the image is mapped writable; only the operand of MOV changes, and it is put back.
    unsafe {
        let immediate = code.add(1).cast::<u32>();
        for value in [8u32, 0x1234_5678, 7] {
            let before = constant();
            immediate.write_unaligned(value);
            core::sync::atomic::fence(core::sync::atomic::Ordering::SeqCst);
            let after = constant();
            ensure_eq!(after, value, "the changed constant");
            ensure!(before != after, "the constant was {before} before the change already");
        }
        for value in [0x55u8, 0x66] {
            let got: u32;
            asm!("mov byte ptr [rip + 2f + 1], {value}", "2: mov eax, 0x11",
                value = in(reg_byte) value, out("eax") got);
            ensure_eq!(got, value.into(), "the next instruction's constant");
        }
    }
    passed()
}
