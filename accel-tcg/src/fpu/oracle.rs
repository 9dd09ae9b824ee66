//! The host's processor as the oracle: every x87, MMX, SSE and AVX instruction that the executors know and the host has is encoded, executed
//! natively and by the interpreter from the same random state, and the results are compared bit for bit: registers, flags, status
//! words, memory, and whether #XM was raised.
//!
//! `GEARBOX_ORACLE_CASES` sets the number of cases for each instruction form (default 200), `GEARBOX_ORACLE_ONLY` a part of the names of the
//! codes to run, `GEARBOX_ORACLE_SEED` the seed.

use super::Fpu;
use super::oracle_native::{Image, Native, State};
use super::testing::{CODE, Machine, OPERAND};
use crate::fault::{Fault, vector};
use crate::random::Random;
use gearbox_core::vm::{Limit, VcpuExit};
use gearbox_core::x86::state::{Activity, FpuState};
use iced_x86::{
    Code, CpuidFeature, Decoder, DecoderOptions, Encoder, Instruction, Mnemonic, OpCodeOperandKind as K, Register,
};

impl Random {
    /// Two values that are often close to one another, so that sums cancel and quotients are short.
    fn vector(&mut self) -> u128 {
        match self.below(5) {
            0 => (0..4).fold(0, |v, i| v | u128::from(self.single()) << (32 * i)),
            1 | 2 => (0..2).fold(0, |v, i| v | u128::from(self.double()) << (64 * i)),
            3 => (0..16).fold(0, |v, i| v | u128::from(self.pick(&[0u8, 1, 0x7f, 0x80, 0xff, 0x41, 0x20])) << (8 * i)),
            _ => u128::from(self.next()) << 64 | u128::from(self.next()),
        }
    }
    fn gpr(&mut self) -> u64 {
        match self.below(4) {
            0 => self.below(20),
            1 => (self.below(40)).wrapping_sub(20),
            2 => self.double(),
            _ => self.next() >> self.below(64),
        }
    }
    /// A register file. `sse_masks` are the MXCSR masks to set.
    fn fpu(&mut self, unmask: bool) -> FpuState {
        let mut s = FpuState::default();
        let masks = if unmask { self.next() as u16 & 0x3f } else { 0x3f };
        let precision = if self.one_in(3) { self.below(4) as u16 } else { 3 };
        s.fcw = masks | precision << 8 | (self.below(4) as u16) << 10 | 0x40;
        let flags = if self.one_in(2) { self.next() as u16 & masks } else { 0 };
        s.fsw = flags | (self.below(8) as u16) << 11 | self.next() as u16 & 0x4700;
        s.ftw = if self.one_in(4) { self.next() as u8 } else { !(1 << self.below(8)) };
        for v in &mut s.st {
            *v = self.extended();
        }
        if self.one_in(4) {
            s.st[1] = s.st[0] ^ u128::from(self.below(8)) ^ u128::from(self.below(2)) << 79;
        }
        let sse_masks = if unmask { self.next() as u32 & 0x1f80 } else { 0x1f80 };
        s.mxcsr = sse_masks | (self.below(4) as u32) << 13;
        if self.one_in(2) {
            s.mxcsr |= 0x20;
            s.mxcsr &= !0x6000;
        }
        if self.one_in(3) {
            s.mxcsr |= self.next() as u32 & 0x8040;
        }
        if self.one_in(3) {
            s.mxcsr |= self.next() as u32 & 0x3f;
        }
        for v in s.xmm.iter_mut().chain(&mut s.ymm_hi) {
            *v = self.vector();
        }
        if self.one_in(4) {
            let flip = 1 << self.below(128);
            s.xmm[1] = s.xmm[0] ^ flip;
        }
        s
    }
}

/// Where the memory operand lies.
pub(super) const MEM_LEN: usize = 1024;
/// Registers that instructions may use; RSI is the base of the memory operand.
const GPRS: [usize; 6] = [0, 1, 2, 3, 6, 7];
const BASE: Register = Register::RSI;

/// Does the host have `f`? No for whatever is not ours to test.
fn host_has(f: CpuidFeature) -> bool {
    use CpuidFeature::*;
    macro_rules! detect {
        ($name:tt) => {
            std::arch::is_x86_feature_detected!($name)
        };
    }
    match f {
        FPU | FPU287 | FPU287XL_ONLY | FPU387 | MMX | SSE | SSE2 | FXSR => true,
        SSE3 => detect!("sse3"),
        SSSE3 => detect!("ssse3"),
        SSE4_1 => detect!("sse4.1"),
        SSE4_2 => detect!("sse4.2"),
        SSE4A => detect!("sse4a"),
        AVX => detect!("avx"),
        AVX2 => detect!("avx2"),
        FMA => detect!("fma"),
        F16C => detect!("f16c"),
        AES => detect!("aes"),
        PCLMULQDQ => detect!("pclmulqdq"),
        SHA => detect!("sha"),
        GFNI => detect!("gfni"),
        VAES => detect!("vaes"),
        VPCLMULQDQ => detect!("vpclmulqdq"),
        _ => false,
    }
}

/// Is this one of ours, and does this host have it?
fn testable(code: Code) -> bool {
    let ours = code.cpuid_features().iter().all(|&f| host_has(f));
    use Mnemonic::*;
    // Fences, hints and privileged instructions, which others execute; and those whose images hold what differs between processors.
    let elsewhere = matches!(
        code.mnemonic(),
        Lfence
            | Mfence
            | Sfence
            | Prefetchnta
            | Prefetcht0
            | Prefetcht1
            | Prefetcht2
            | Pause
            | Clflush
            | Xsetbv
            | Xgetbv
            | Monitor
            | Mwait
    );
    // The decoder makes two instructions of these.
    let with_wait = matches!(code.mnemonic(), Fstcw | Fstenv | Fsave | Fstsw | Fclex | Finit | Feni | Fdisi | Fsetpm);
    ours && !elsewhere && code.op_code().mode64() && !with_wait
}

/// An instruction of form `code` with random operands; `None` if it has operands that are not tested here.
fn instruction(code: Code, memory: bool, r: &mut Random) -> Option<Instruction> {
    let mut i = Instruction::default();
    i.set_code(code);
    let info = code.op_code();
    let mut memory_used = false;
    let gpr32 = [Register::EAX, Register::ECX, Register::EDX, Register::EBX];
    let gpr64 = [Register::RAX, Register::RCX, Register::RDX, Register::RBX];
    for n in 0..info.op_count() {
        let xmm = Register::XMM0 + r.below(16) as u32;
        let ymm = Register::YMM0 + r.below(16) as u32;
        let mm = Register::MM0 + r.below(8) as u32;
        let sti = Register::ST0 + r.below(8) as u32;
        let register = match info.op_kind(n) {
            K::xmm_reg | K::xmm_rm | K::xmm_vvvv | K::xmm_is4 => xmm,
            K::xmm_or_mem if !memory => xmm,
            K::ymm_reg | K::ymm_rm | K::ymm_vvvv | K::ymm_is4 => ymm,
            K::ymm_or_mem if !memory => ymm,
            K::mm_reg | K::mm_rm => mm,
            K::mm_or_mem if !memory => mm,
            K::r32_reg | K::r32_rm | K::r32_reg_mem => r.pick(&gpr32),
            K::r64_reg | K::r64_rm | K::r64_reg_mem => r.pick(&gpr64),
            K::r32_or_mem if !memory => r.pick(&gpr32),
            K::r64_or_mem if !memory => r.pick(&gpr64),
            K::r8_or_mem if !memory => r.pick(&[Register::AL, Register::CL, Register::DL, Register::BL]),
            K::r16_or_mem if !memory => r.pick(&[Register::AX, Register::CX, Register::DX, Register::BX]),
            K::ax => Register::AX,
            K::st0 => Register::ST0,
            K::sti_opcode => sti,
            K::mem_vsib32x | K::mem_vsib32y | K::mem_vsib64x | K::mem_vsib64y if memory => {
                let narrow = matches!(info.op_kind(n), K::mem_vsib32x | K::mem_vsib64x);
                i.set_op_kind(n, iced_x86::OpKind::Memory);
                i.set_memory_base(BASE);
                i.set_memory_index(if narrow { xmm } else { ymm });
                i.set_memory_index_scale(r.pick(&[1, 2, 4, 8]));
                memory_used = true;
                continue;
            }
            K::xmm_or_mem
            | K::ymm_or_mem
            | K::mm_or_mem
            | K::r32_or_mem
            | K::r64_or_mem
            | K::r8_or_mem
            | K::r16_or_mem
            | K::mem => {
                i.set_op_kind(n, iced_x86::OpKind::Memory);
                i.set_memory_base(BASE);
                memory_used = true;
                continue;
            }
            K::imm8 if n > 0 && matches!(info.op_kind(n - 1), K::imm8) => {
                i.set_op_kind(n, iced_x86::OpKind::Immediate8_2nd);
                let length = r.below(64) as u8;
                i.set_immediate8(length);
                i.set_immediate8_2nd(index_of_field(length, r));
                continue;
            }
            K::imm8 => {
                i.set_op_kind(n, iced_x86::OpKind::Immediate8);
                i.set_immediate8(if r.one_in(2) { r.below(32) as u8 } else { r.next() as u8 });
                continue;
            }
            K::seg_rDI => {
                i.set_op_kind(n, iced_x86::OpKind::MemorySegRDI);
                memory_used = true;
                continue;
            }
            _ => return None,
        };
        i.set_op_kind(n, iced_x86::OpKind::Register);
        i.set_op_register(n, register);
    }
    // A gather's three registers must be different ones.
    let gathered = [i.op0_register(), i.memory_index(), i.op2_register()].map(|r| r.number() % 16);
    if i.is_vsib() && (0..3).any(|n| gathered[n] == gathered[(n + 1) % 3]) {
        return instruction(code, memory, r);
    }
    (memory_used == memory || info.op_kind(0) == K::seg_rDI).then_some(i)
}

/// Where a bit field of that length may begin (EXTRQ, INSERTQ): beyond the quadword is undefined, as is a length of zero elsewhere than at
/// zero, where it stands for 64.
fn index_of_field(length: u8, r: &mut Random) -> u8 {
    if length == 0 { 0 } else { r.below(u64::from(65 - length)) as u8 & 63 }
}

/// Brings the indices of a gather into the operand's memory, and bit fields into their quadword.
fn tame_operands(i: &Instruction, s: &mut FpuState, r: &mut Random) {
    if matches!(i.code(), Code::Extrq_xmm_xmm | Code::Insertq_xmm_xmm) {
        let (length, shift) = (r.below(64) as u8, if i.code() == Code::Insertq_xmm_xmm { 64 } else { 0 });
        let field = u128::from(length) | u128::from(index_of_field(length, r)) << 8;
        let n = i.op1_register().number() % 16;
        s.xmm[n] = s.xmm[n] & !(0xffff << shift) | field << shift;
    }
    if !i.is_vsib() {
        return;
    }
    let (n, lane) = (i.memory_index().number() % 16, if i.is_vsib64() { 64 } else { 32 });
    let mut draw = || (0..128 / lane).fold(0, |v, n| v | u128::from(r.below(100)) << (n * lane));
    (s.xmm[n], s.ymm_hi[n]) = (draw(), draw());
}

/// Status-word bits that the SDM leaves undefined after this instruction.
fn undefined_status(m: Mnemonic) -> u16 {
    use Mnemonic::*;
    const ALL_BUT_C1: u16 = 0x4500;
    match m {
        Fcom | Fcomp | Fcompp | Fucom | Fucomp | Fucompp | Ficom | Ficomp | Ftst | Fxam | Fprem | Fprem1 => 0,
        Fldcw | Fldenv | Frstor | Fxrstor | Fxrstor64 | Fninit | Fnsave | Fnstenv | Fnstcw | Fnstsw => 0,
        Fnclex | Ffree | Ffreep => 0x4700,
        // Intel clears C1, AMD leaves it.
        Fcomi | Fcomip | Fucomi | Fucomip => 0x4700,
        Fsin | Fcos | Fsincos | Fptan => 0x4100,
        _ => ALL_BUT_C1,
    }
}

/// Brings the memory operand into the shape that the instruction expects.
fn memory_for(i: &Instruction, r: &mut Random) -> [u8; MEM_LEN] {
    use Mnemonic::*;
    let mut m = [0; MEM_LEN];
    for chunk in m.chunks_exact_mut(16) {
        chunk.copy_from_slice(&r.vector().to_le_bytes());
    }
    let size = i.memory_size();
    match i.mnemonic() {
        Fxrstor | Fxrstor64 => {
            m[..512].copy_from_slice(&r.fpu(true).to_xsave()[..512]);
            m[512..].fill(0);
        }
        Fldcw => m[0] |= r.pick(&[0x3f, 0]),
        Ldmxcsr | Vldmxcsr => m[..4].copy_from_slice(&(r.next() as u32 & 0xffff).to_le_bytes()),
        Fld if size == iced_x86::MemorySize::Float80 => m[..10].copy_from_slice(&r.extended().to_le_bytes()[..10]),
        Fbld => {
            for b in &mut m[..9] {
                *b = (r.below(10) << 4 | r.below(10)) as u8;
            }
        }
        Fldenv | Frstor => {
            for n in 0..8 {
                m[28 + 10 * n..38 + 10 * n].copy_from_slice(&r.extended().to_le_bytes()[..10]);
            }
        }
        _ => match size {
            iced_x86::MemorySize::Float32 => m[..4].copy_from_slice(&r.single().to_le_bytes()),
            iced_x86::MemorySize::Float64 => m[..8].copy_from_slice(&r.double().to_le_bytes()),
            _ => {}
        },
    }
    m
}

impl Machine {
    /// Executes `i`, which is `bytes`, from `s` with `mem` as memory operand, which lies at `native` in `s`.
    fn run(
        &mut self,
        how: How,
        (i, bytes): (&Instruction, &[u8]),
        s: &State,
        mem: &[u8; MEM_LEN],
        native: u64,
    ) -> Outcome {
        let (cpu, mut out) = (&mut self.cpu, s.clone());
        cpu.fpu = Fpu::from_state(&FpuState::from_xsave(&s.image));
        for n in GPRS {
            cpu.set_gpr(n, s.gpr[n]);
        }
        // RSI and RDI point into the operand.
        for n in [6, 7] {
            cpu.set_gpr(n, s.gpr[n] - native + OPERAND);
        }
        cpu.set_rflags(s.rflags);
        self.memory.write(OPERAND, mem).unwrap();
        out.raised = match how {
            How::Executor => match super::executor(i).expect("looked up before")(cpu, i) {
                Ok(()) => false,
                Err(f) if f == Fault::plain(vector::XM) => true,
                Err(f) => panic!("{:?}: {f:?}", i.code()),
            },
            How::Engine => {
                let mut code = bytes.to_vec();
                code.push(0xf4);
                self.memory.write(CODE, &code).unwrap();
                cpu.rip = CODE;
                cpu.activity = Activity::Active;
                // There is no IDT: any exception is a triple fault.
                match cpu.run(&self.board, Limit { instructions: None }) {
                    VcpuExit::Halted => false,
                    VcpuExit::TripleFault => true,
                    exit => panic!("{:?}: {exit:?}", i.code()),
                }
            }
        };
        out.image = cpu.fpu.to_state().to_xsave();
        for n in GPRS {
            out.gpr[n] = cpu.gpr(n);
        }
        for n in [6, 7] {
            out.gpr[n] = cpu.gpr(n).wrapping_sub(OPERAND).wrapping_add(native);
        }
        out.rflags = cpu.rflags();
        (out, self.memory.read_array(OPERAND).unwrap())
    }
}

/// How the interpreter executes an instruction.
#[derive(Clone, Copy, Debug)]
enum How {
    /// By its executor.
    Executor,
    /// As a block of code, with the shortcut that belongs to it.
    Engine,
}

/// What an instruction leaves, and the memory operand.
type Outcome = (State, [u8; MEM_LEN]);

/// Status-word bits that differ between processors once an unmasked exception has suppressed the operation.
fn conditions_if_suppressed(image: &[u8]) -> u16 {
    if image[2] & 0x80 != 0 { 0x4500 } else { 0 }
}

/// What of an image is compared: not the pointers and the opcode, which processors keep differently, nor the MXCSR mask.
fn comparable(image: &Image, m: Mnemonic) -> Image {
    let mut c = *image;
    c[6..24].fill(0);
    c[28..32].fill(0);
    c[416..576].fill(0);
    for st in c[32..160].chunks_exact_mut(16) {
        st[10..].fill(0);
    }
    let status = u16::from_le_bytes([c[2], c[3]]) & !undefined_status(m) & !conditions_if_suppressed(image);
    c[2..4].copy_from_slice(&status.to_le_bytes());
    c
}

/// Arithmetic flags that are compared: all, for those that define them; the others leave them alone.
const FLAGS: u64 = 0x8d5;

/// The bytes of memory that are compared.
fn comparable_memory(mem: &[u8; MEM_LEN], m: Mnemonic) -> [u8; MEM_LEN] {
    use Mnemonic::*;
    let mut c = *mem;
    match m {
        Fxsave | Fxsave64 => {
            let mut image = [0; FpuState::XSAVE_SIZE];
            image[..512].copy_from_slice(&c[..512]);
            c[..512].copy_from_slice(&comparable(&image, m)[..512]);
        }
        // Pointers, selectors and opcode.
        Fnstenv | Fnsave => c[12..28].fill(0),
        _ => {}
    }
    c
}

/// A failure in short: the operands, and what differs.
fn report(i: &Instruction, [start, want, got]: [&State; 3], memory: [&[u8; MEM_LEN]; 3]) -> String {
    let mut text = format!("{i}");
    let name = |r: Register| format!("{r:?}").to_lowercase().trim_start_matches(['x', 'y']).to_string();
    let operands: Vec<_> = (0..i.op_count()).map(|n| name(i.op_register(n))).collect();
    for (((name, s), (_, w)), (_, g)) in start.list().into_iter().zip(want.list()).zip(got.list()) {
        let control = ["fcw", "fsw", "ftw", "mxcsr", "st0", "st1"].contains(&name.as_str());
        if w != g {
            text += &format!("\n  {name}: {s} -> host {w}, here {g}");
        } else if control || operands.contains(&name) {
            text += &format!("\n  {name}: {s} -> {w}");
        }
    }
    let words = |m: &[u8; MEM_LEN]| m[..32].iter().map(|b| format!("{b:02x}")).collect::<String>();
    if i.op_count() > 0 && (0..i.op_count()).any(|n| i.op_kind(n) == iced_x86::OpKind::Memory) {
        text += &format!("\n  memory: {} -> host {}, here {}", words(memory[0]), words(memory[1]), words(memory[2]));
    }
    text
}

fn env(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

/// The instruction in the bytes that it has.
fn encoded(i: &Instruction) -> Option<(Instruction, Vec<u8>)> {
    let mut e = Encoder::new(64);
    e.encode(i, 0).ok()?;
    let bytes = e.take_buffer();
    let decoded = Decoder::with_ip(64, &bytes, 0, DecoderOptions::NONE).decode();
    assert_eq!((decoded.code(), decoded.len()), (i.code(), bytes.len()), "{:?} does not survive encoding", i.code());
    Some((decoded, bytes))
}

/// A shortcut that calls the next instead of jumping to it would let the host's stack grow. Debug builds do call.
#[cfg(not(debug_assertions))]
#[test]
fn shortcuts_end_in_jumps() {
    let mut r = Random(1);
    let mut seen = std::collections::BTreeSet::new();
    for code in Code::values().filter(|&c| testable(c)) {
        for memory in [false, true] {
            let Some((i, _)) = instruction(code, memory, &mut r).and_then(|i| encoded(&i)) else { continue };
            let hlt = Instruction::with(Code::Hlt);
            let handler = crate::ops::hot::lower(&[i, hlt], Machine::new().cpu.mode)[0].run as usize;
            if !seen.insert(handler) {
                continue;
            }
            // SAFETY: code of this program; functions are padded with INT3, and the last is followed by others.
            let bytes = unsafe { std::slice::from_raw_parts(handler as *const u8, 4096) };
            let body = Decoder::with_ip(64, bytes, handler as u64, DecoderOptions::NONE);
            let calls = body.into_iter().take_while(|i| i.mnemonic() != Mnemonic::Int3).any(|i| {
                i.code() == Code::Call_rm64 && i.op0_register() != Register::None
                    || i.code() == Code::Call_rm64 && i.memory_base() != Register::RIP
            });
            assert!(!calls, "{i}: a call through a pointer");
        }
    }
    assert!(seen.len() > 200, "only {} handlers were looked at", seen.len());
}

#[test]
fn equals_the_host() {
    if !host_has(CpuidFeature::AVX) {
        println!("skipped: this host has no AVX, with which states are compared");
        return;
    }
    let (cases, seed) = (env("GEARBOX_ORACLE_CASES", 200), env("GEARBOX_ORACLE_SEED", 1));
    let only = std::env::var("GEARBOX_ORACLE_ONLY").unwrap_or_default();
    let mut native = Native::new();
    let mut interpreter = Machine::new();
    let (mut forms, mut total, mut failures) = (0u64, 0u64, Vec::new());
    for code in Code::values().filter(|&c| testable(c) && format!("{c:?}").contains(&only)) {
        for memory in [false, true] {
            let mut r = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ (code as u64) << 32 | 1);
            let mut failed = 0;
            let mut ran = 0u64;
            for case in 0..cases {
                let Some(i) = instruction(code, memory, &mut r) else { break };
                let Some((i, bytes)) = encoded(&i) else { break };
                assert!(super::executor(&i).is_some(), "no executor for {code:?} ({i:?})");
                ran += 1;

                let mut fpu = r.fpu(case % 4 == 3);
                tame_operands(&i, &mut fpu, &mut r);
                let mem = memory_for(&i, &mut r);
                let mut start = State::new(&fpu, r.next() & FLAGS | 2);
                for n in GPRS {
                    start.gpr[n] = r.gpr();
                }
                start.gpr[6] = native.memory_address();
                start.gpr[7] = native.memory_address() + r.below(64);
                *native.memory() = mem;
                let mut want = native.run(&bytes, &start);
                let want_mem = *native.memory();
                let at = native.memory_address();
                let m = code.mnemonic();
                for how in [How::Executor, How::Engine] {
                    let (got, got_mem) = interpreter.run(how, (&i, &bytes), &start, &mem, at);
                    // AMD has entered the MMX state before it raises #XM, which leaves everything else as it was.
                    if want.raised && (0..i.op_count()).any(|n| i.op_register(n).is_mm()) {
                        want.image[..24].copy_from_slice(&got.image[..24]);
                        want.image[32..160].copy_from_slice(&got.image[32..160]);
                    }
                    let same = comparable(&want.image, m) == comparable(&got.image, m)
                        && want.gpr == got.gpr
                        && ((want.rflags ^ got.rflags) & FLAGS == 0 || conditions_if_suppressed(&want.image) != 0)
                        && want.raised == got.raised
                        && comparable_memory(&want_mem, m) == comparable_memory(&got_mem, m);
                    if !same {
                        failed += 1;
                        if failed <= env("GEARBOX_ORACLE_SHOW", 1) {
                            let text = report(&i, [&start, &want, &got], [&mem, &want_mem, &got_mem]);
                            failures.push(format!("{how:?}: {text}"));
                        }
                    }
                }
            }
            if failed > 0 {
                failures.push(format!("{code:?} (memory: {memory}): {failed} of {cases} cases differ\n"));
            }
            forms += u64::from(ran > 0);
            total += ran;
        }
    }
    println!("{forms} forms, {total} cases");
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(!only.is_empty() || forms > 600, "only {forms} forms were tried");
}
