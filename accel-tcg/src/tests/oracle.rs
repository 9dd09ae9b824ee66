//! The host CPU as the oracle: random integer instructions on registers, executed natively and by the interpreter.

use super::Bench;
use crate::random::Random;
use gearbox_core::vm::VcpuExit;
use gearbox_core::x86::state::rflags;
use iced_x86::{Code, Decoder, DecoderOptions, Instruction, Mnemonic, OpKind, Register, RflagsBits};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
use std::arch::global_asm;

global_asm!(
    // rdi: 16 registers in encoding order and RFLAGS; rsi: code that ends in RET. RSP is neither loaded nor stored.
    ".globl gearbox_tcg_oracle_run",
    "gearbox_tcg_oracle_run:",
    "push rbx; push rbp; push r12; push r13; push r14; push r15",
    "push rdi; push rsi",
    "push qword ptr [rdi + 128]",
    "mov rax, [rdi]; mov rcx, [rdi + 8]; mov rdx, [rdi + 16]; mov rbx, [rdi + 24]; mov rbp, [rdi + 40]",
    "mov rsi, [rdi + 48]; mov r8, [rdi + 64]; mov r9, [rdi + 72]; mov r10, [rdi + 80]; mov r11, [rdi + 88]",
    "mov r12, [rdi + 96]; mov r13, [rdi + 104]; mov r14, [rdi + 112]; mov r15, [rdi + 120]",
    "mov rdi, [rdi + 56]",
    "popfq",
    "call qword ptr [rsp]",
    "pushfq",
    "cld",
    "xchg rdi, [rsp + 16]",
    "mov [rdi], rax; mov [rdi + 8], rcx; mov [rdi + 16], rdx; mov [rdi + 24], rbx; mov [rdi + 40], rbp",
    "mov [rdi + 48], rsi; mov [rdi + 64], r8; mov [rdi + 72], r9; mov [rdi + 80], r10; mov [rdi + 88], r11",
    "mov [rdi + 96], r12; mov [rdi + 104], r13; mov [rdi + 112], r14; mov [rdi + 120], r15",
    "mov rax, [rsp + 16]; mov [rdi + 56], rax",
    "pop rax; mov [rdi + 128], rax",
    "add rsp, 16",
    "pop r15; pop r14; pop r13; pop r12; pop rbp; pop rbx",
    "ret",
);
unsafe extern "C" {
    fn gearbox_tcg_oracle_run(state: *mut u64, code: *const u8);
}

impl Random {
    /// A value with a liking for edges.
    fn operand(&mut self) -> u64 {
        match self.below(6) {
            0 => self.pick(&[
                0,
                1,
                0x7f,
                0x80,
                0xff,
                0x7fff,
                0x8000,
                0xffff,
                0x7fff_ffff,
                0x8000_0000,
                0xffff_ffff,
                1 << 63,
                !0,
            ]),
            1 => self.next() & 0x3f,
            2 => self.next() >> 32,
            _ => self.next(),
        }
    }
}

/// Opcodes (second byte for those after 0F) whose register forms are tried.
const ONE: &[u8] = &[
    0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x08, 0x09, 0x0a, 0x0b, 0x10, 0x11, 0x12, 0x13, 0x18, 0x19, 0x1a, 0x1b, 0x20,
    0x21, 0x22, 0x23, 0x28, 0x29, 0x2a, 0x2b, 0x30, 0x31, 0x32, 0x33, 0x38, 0x39, 0x3a, 0x3b, 0x3c, 0x3d, 0x63, 0x69,
    0x6b, 0x80, 0x81, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8a, 0x8b, 0x90, 0x91, 0x98, 0x99, 0x9e, 0x9f, 0xa8,
    0xa9, 0xb0, 0xb8, 0xc0, 0xc1, 0xc6, 0xc7, 0xd0, 0xd1, 0xd2, 0xd3, 0xf5, 0xf6, 0xf7, 0xf8, 0xf9, 0xfe, 0xff, 0x8d,
];
const TWO: &[u8] = &[
    0x40, 0x41, 0x42, 0x43, 0x44, 0x45, 0x46, 0x47, 0x48, 0x49, 0x4a, 0x4b, 0x4c, 0x4d, 0x4e, 0x4f, 0x90, 0x91, 0x92,
    0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9a, 0x9b, 0x9c, 0x9d, 0x9e, 0x9f, 0xa3, 0xa4, 0xa5, 0xab, 0xac, 0xad,
    0xaf, 0xb0, 0xb1, 0xb3, 0xb6, 0xb7, 0xba, 0xbb, 0xbc, 0xbd, 0xbe, 0xbf, 0xc0, 0xc1, 0xc8, 0xc9, 0xca, 0xb8,
];

fn candidate(r: &mut Random) -> ([u8; 16], Instruction) {
    loop {
        let mut b = [0u8; 16];
        let mut n = 0;
        let mut put = |v: u8| {
            b[n] = v;
            n += 1;
        };
        if r.below(4) == 0 {
            put(0x66);
        }
        if r.below(12) == 0 {
            put(0xf3);
        }
        if r.below(2) == 0 {
            put(0x40 | r.below(16) as u8);
        }
        if r.below(2) == 0 {
            put(0x0f);
            put(r.pick(TWO));
        } else {
            put(r.pick(ONE));
        }
        put(0xc0 | r.below(64) as u8);
        (0..8).for_each(|_| put(r.operand() as u8));
        let i = Decoder::with_ip(64, &b, 0, DecoderOptions::NONE).decode();
        if i.code() != Code::INVALID && tame(&i) {
            b[i.len()..].fill(0);
            return (b, i);
        }
    }
}
/// Neither memory nor RSP nor a fault nor a transfer; and the host has it.
fn tame(i: &Instruction) -> bool {
    use Mnemonic::*;
    let plain = (0..i.op_count()).all(|n| match i.op_kind(n) {
        OpKind::Register => {
            let r = i.op_register(n);
            r.is_gpr() && r.full_register() != Register::RSP
        }
        OpKind::Memory => i.mnemonic() == Lea && i.memory_base() != Register::RIP,
        OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64 => false,
        _ => true,
    });
    let host = match i.mnemonic() {
        Popcnt => std::is_x86_feature_detected!("popcnt"),
        Lzcnt => std::is_x86_feature_detected!("lzcnt"),
        Tzcnt => std::is_x86_feature_detected!("bmi1"),
        _ => true,
    };
    // PAUSE with REX.B is XCHG on some processors.
    let known = crate::ops::executor(i).is_some();
    plain
        && host
        && known
        && !matches!(i.mnemonic(), Pause | Ud2)
        && !i.has_lock_prefix()
        && !i.is_stack_instruction()
        && i.flow_control() == iced_x86::FlowControl::Next
        && !matches!(i.mnemonic(), Div | Idiv | Bswap) | (i.mnemonic() == Bswap && i.op0_register().size() > 2)
}
/// Flags that the manual leaves undefined for these operands (iced's tables do not know of counts).
fn undefined(i: &Instruction, cl: u64) -> u64 {
    use Mnemonic::*;
    let listed = i.rflags_undefined();
    let flags = [
        (RflagsBits::OF, rflags::OF),
        (RflagsBits::SF, rflags::SF),
        (RflagsBits::ZF, rflags::ZF),
        (RflagsBits::AF, rflags::AF),
        (RflagsBits::CF, rflags::CF),
        (RflagsBits::PF, rflags::PF),
    ];
    let mut u: u64 = flags.iter().filter(|(iced, _)| listed & iced != 0).map(|(_, bit)| bit).sum();
    let bits = i.op0_register().size() as u64 * 8;
    if matches!(i.mnemonic(), Shl | Sal | Shr | Sar | Rol | Ror | Rcl | Rcr | Shld | Shrd) {
        let last = i.op_count() - 1;
        let n = if i.op_kind(last) == OpKind::Register { cl } else { i.immediate(last) };
        let n = n & if bits == 64 { 63 } else { 31 };
        if n != 1 {
            u |= rflags::OF;
        }
        if matches!(i.mnemonic(), Shl | Sal | Shr | Sar | Shld | Shrd) {
            u |= rflags::AF;
            if n >= bits {
                u |= if matches!(i.mnemonic(), Shld | Shrd) { super::ALL } else { rflags::CF };
            }
        }
    }
    u
}

#[test]
fn registers_and_flags_are_the_hosts() {
    // SAFETY: a fresh anonymous mapping.
    let page = unsafe {
        mmap_anonymous(
            std::ptr::null_mut(),
            4096,
            ProtFlags::READ | ProtFlags::WRITE | ProtFlags::EXEC,
            MapFlags::PRIVATE,
        )
    };
    let Ok(page) = page else {
        eprintln!("skipped: the host gives no memory that is writable and executable");
        return;
    };
    let mut r = Random(0x1234_5678_9abc_def1);
    let mut bench = Bench::new();
    let base = bench.long_mode();
    for case in 0..60_000 {
        let (bytes, i) = candidate(&mut r);
        let mut native = [0u64; 17];
        native[..16].fill_with(|| r.operand());
        native[16] = r.next() & super::ALL | 0x202;
        let mut s = base.clone();
        s.gpr.copy_from_slice(&native[..16]);
        s.gpr[4] = base.gpr[4];
        s.rflags = native[16] & !rflags::IF;
        let cl = native[1] & 0xff;
        // SAFETY: the instruction touches only registers that the stub saves, and cannot fault; RET follows it.
        unsafe {
            let p = page.cast::<u8>();
            std::ptr::copy_nonoverlapping(bytes.as_ptr(), p, i.len());
            p.add(i.len()).write(0xc3);
            gearbox_tcg_oracle_run(native.as_mut_ptr(), p);
        }
        let mut code = bytes[..i.len()].to_vec();
        code.push(0xf4);
        // Through the shortcut with a block, and through the executor alone.
        for limit in [2, 1] {
            let (exit, t) = bench.run(&code, &s, limit);
            assert_eq!(exit, if limit == 2 { VcpuExit::Halted } else { VcpuExit::Budget });
            let mut want = native;
            want[4] = base.gpr[4];
            let scan_of_zero = matches!(i.mnemonic(), Mnemonic::Bsf | Mnemonic::Bsr) && native[16] & rflags::ZF != 0;
            let mask = super::ALL & !undefined(&i, cl);
            let over = matches!(i.mnemonic(), Mnemonic::Shld | Mnemonic::Shrd) && mask & rflags::CF == 0;
            if !scan_of_zero && !over {
                assert_eq!(t.gpr[..], want[..16], "case {case}: {i} {bytes:02x?} limit {limit} before {:x?}", s.gpr);
            }
            assert_eq!(
                t.rflags & mask,
                native[16] & mask,
                "case {case}: {i} {bytes:02x?} limit {limit} mask {mask:x} flags before {:x} gprs {:x?}",
                s.rflags,
                s.gpr
            );
        }
    }
}
