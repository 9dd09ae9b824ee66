//! Translated code does what the interpreter does, instruction by instruction: random programs on both.

use super::{ALL, Bench, CODE};
use crate::random::Random;
use gearbox_core::vm::{Limit, VcpuExit};
use gearbox_core::x86::state::{Seg, X86State};

/// Where data is, across the edge of a page.
const DATA: u64 = 0x30_0f80;
/// Where a device is.
const DEVICE: u64 = 0x50_0000;
/// Bytes of data that are compared.
const COMPARED: usize = 0x200;
/// Most instructions that a program executes.
const STEPS: u64 = 120;

/// Registers that programs change: RBX and RBP stay bases, R15 a small index, and RSP the stack.
const FREE: [u8; 12] = [0, 1, 2, 6, 7, 8, 9, 10, 11, 12, 13, 14];

/// An instruction's bytes as they come about.
struct Code<'a> {
    r: &'a mut Random,
    bytes: Vec<u8>,
}

impl Code<'_> {
    fn free(&mut self) -> u8 {
        self.r.pick(&FREE)
    }
    /// Any register to be read.
    fn any(&mut self) -> u8 {
        self.r.below(16) as u8
    }
    /// Operand size prefix, REX, opcode and ModRM with a register or memory. `rm` is the register, unless it is memory.
    fn operands(&mut self, byte: bool, opcode: &[u8], reg: u8, rm: Option<u8>, immediate: bool) {
        let size = if byte { 1 } else { self.r.pick(&[2u8, 4, 4, 8, 8]) };
        let segment = self.r.below(8);
        match segment {
            0 if rm.is_none() => self.bytes.push(0x65),
            1 if rm.is_none() => self.bytes.push(0x64),
            _ => {}
        }
        if size == 2 {
            self.bytes.push(0x66);
        }
        let w = u8::from(size == 8) << 3;
        match rm {
            Some(rm) => {
                self.bytes.push(0x40 | w | (reg >> 3) << 2 | rm >> 3);
                self.bytes.extend(opcode);
                self.bytes.push(0xc0 | (reg & 7) << 3 | rm & 7);
            }
            None if segment == 0 => {
                // GS makes data of what is near the instruction.
                self.bytes.push(0x40 | w | (reg >> 3) << 2);
                self.bytes.extend(opcode);
                self.bytes.extend([5 | (reg & 7) << 3, self.r.below(0xc0) as u8, 0, 0, 0]);
            }
            None => {
                // RBX or RBP, or their sum with R15, which is small, times something.
                let (base, scaled) = (self.r.pick(&[3u8, 5]), self.r.below(3) == 0);
                let rex = 0x40 | w | (reg >> 3) << 2 | u8::from(scaled) << 1;
                self.bytes.push(rex);
                self.bytes.extend(opcode);
                let disp = self.r.pick(&[0u8, 8, 0x10, 0x78, 0x7c, 0x7f, 0xf8]);
                if scaled {
                    self.bytes.extend([0x44 | (reg & 7) << 3, (self.r.below(4) as u8) << 6 | 7 << 3 | base, disp]);
                } else {
                    self.bytes.extend([0x40 | (reg & 7) << 3 | base, disp]);
                }
            }
        }
        if immediate {
            let n = match size {
                1 => 1,
                2 => 2,
                _ => 4,
            };
            let v = self.r.next().to_le_bytes();
            self.bytes.extend(&v[..n]);
        }
    }
    /// A register to be written, or memory.
    fn place(&mut self) -> Option<u8> {
        (self.r.below(2) == 0).then(|| self.free())
    }
    fn source(&mut self) -> Option<u8> {
        (self.r.below(2) == 0).then(|| self.any())
    }
    fn instruction(&mut self) {
        let byte = self.r.below(4) == 0;
        let b = u8::from(!byte);
        match self.r.below(42) {
            0..=5 => {
                // ADD, OR, ADC, SBB, AND, SUB, XOR, CMP: both ways.
                let op = self.r.pick(&[0u8, 0, 1, 2, 3, 4, 5, 5, 6, 7, 7]) << 3;
                if self.r.below(2) == 0 {
                    let (reg, place) = (self.any(), self.place());
                    self.operands(byte, &[op | b], reg, place, false);
                } else {
                    let (reg, source) = (self.free(), self.source());
                    self.operands(byte, &[op | 2 | b], reg, source, false);
                }
            }
            6..=8 => {
                let (op, place) = (self.r.below(8) as u8, self.place());
                self.operands(byte, &[0x80 | b], op, place, true);
            }
            9 | 10 => {
                let (reg, source) = (self.any(), self.source());
                self.operands(byte, &[0x84 | b], reg, source, false);
            }
            11 => {
                let source = self.source();
                self.operands(byte, &[0xf6 | b], 0, source, true);
            }
            12..=15 => {
                if self.r.below(2) == 0 {
                    let (reg, place) = (self.any(), self.place());
                    self.operands(byte, &[0x88 | b], reg, place, false);
                } else {
                    let (reg, source) = (self.free(), self.source());
                    self.operands(byte, &[0x8a | b], reg, source, false);
                }
            }
            16 => {
                let place = self.place();
                self.operands(byte, &[0xc6 | b], 0, place, true);
            }
            17 => {
                // LEA
                let reg = self.free();
                self.operands(false, &[0x8d], reg, None, false);
            }
            18 | 19 => {
                let op = self.r.pick(&[0xb6u8, 0xb7, 0xbe, 0xbf]);
                let (reg, source) = (self.free(), self.source());
                self.operands(false, &[0x0f, op], reg, source, false);
            }
            20 => {
                let (reg, source) = (self.free(), self.source());
                self.operands(false, &[0x63], reg, source, false);
            }
            21 | 22 => {
                let (op, place, n) = (self.r.below(8) as u8, self.place(), self.r.next() as u8);
                if self.r.below(3) == 0 {
                    self.operands(byte, &[0xd2 | b], op, place, false);
                } else {
                    self.operands(byte, &[0xc0 | b], op, place, false);
                    self.bytes.push(n);
                }
            }
            23 => {
                let (op, place) = (self.r.below(2) as u8, self.place());
                self.operands(byte, &[0xfe | b], op, place, false);
            }
            24 => {
                let (op, place) = (self.r.pick(&[2u8, 3]), self.place());
                self.operands(byte, &[0xf6 | b], op, place, false);
            }
            25 => {
                let (reg, source) = (self.free(), self.source());
                match self.r.below(2) {
                    0 => self.operands(false, &[0x0f, 0xaf], reg, source, false),
                    _ => self.operands(false, &[0x69], reg, source, true),
                }
            }
            26 => {
                let r = self.r.pick(&[0u8, 1, 2, 6, 7]);
                let op = self.r.pick(&[0x50u8, 0x58]);
                self.bytes.push(op | r);
            }
            27 => {
                let (cc, place) = (self.r.below(16) as u8, self.place());
                self.operands(true, &[0x0f, 0x90 | cc], 0, place, false);
            }
            28 | 29 => {
                let (cc, reg, source) = (self.r.below(16) as u8, self.free(), self.source());
                self.operands(false, &[0x0f, 0x40 | cc], reg, source, false);
            }
            30 => {
                // XCHG, BSWAP, CDQE, CQO, CDQ
                let (a, c) = (self.r.below(8) as u8 & 1, self.free());
                match self.r.below(5) {
                    0 => self.operands(false, &[0x87], a, Some(c), false),
                    1 => self.bytes.extend([0x48 | c >> 3, 0x0f, 0xc8 | c & 7]),
                    2 => self.bytes.extend([0x48, 0x98]),
                    3 => self.bytes.extend([0x48, 0x99]),
                    _ => self.bytes.push(0x99),
                }
            }
            31 => {
                // PUSHFQ with POP; LAHF; CMC; STC; what reads and writes flags only.
                match self.r.below(4) {
                    0 => self.bytes.extend([0x9c, 0x59]),
                    1 => self.bytes.push(0x9f),
                    2 => self.bytes.push(0xf5),
                    _ => self.bytes.push(0xf9),
                }
            }
            32 => {
                // AH and its like: without REX.
                let (op, reg, rm) =
                    (self.r.pick(&[0x00u8, 0x28, 0x38, 0x88]), self.r.below(8) as u8, self.r.below(8) as u8);
                // Not into BL, BH: the base stays.
                let rm = if rm & 3 == 3 { 4 } else { rm };
                self.bytes.extend([op, 0xc0 | reg << 3 | rm]);
            }
            33 | 34 => {
                // With LOCK or without: ADD to XOR, INC, DEC, XADD, CMPXCHG; XCHG.
                let reg = self.free();
                if self.r.below(2) == 0 {
                    self.bytes.push(0xf0);
                }
                match self.r.below(6) {
                    0 => {
                        let op = self.r.pick(&[0u8, 1, 4, 5, 6]) << 3;
                        self.operands(byte, &[op | b], reg, None, false);
                    }
                    1 => {
                        let op = self.r.pick(&[0u8, 1, 4, 5, 6]);
                        self.operands(byte, &[0x80 | b], op, None, true);
                    }
                    2 => {
                        let op = self.r.below(2) as u8;
                        self.operands(byte, &[0xfe | b], op, None, false);
                    }
                    3 => self.operands(byte, &[0x0f, 0xc0 | b], reg, None, false),
                    4 => self.operands(byte, &[0x0f, 0xb0 | b], reg, None, false),
                    _ => self.operands(byte, &[0x86 | b], reg, None, false),
                }
            }
            35 | 36 => {
                // BT, BTS, BTR, BTC: of a bit in a register, or one near enough in memory.
                let (test, place) = (4 + self.r.below(4) as u8, self.place());
                if place.is_none() && test != 4 && self.r.below(2) == 0 {
                    self.bytes.push(0xf0);
                }
                if self.r.below(2) == 0 {
                    self.operands(false, &[0x0f, 0xba], test, place, false);
                    let n = self.r.next() as u8;
                    self.bytes.push(n);
                } else {
                    let number = if place.is_none() { 15 } else { self.any() };
                    self.operands(false, &[0x0f, 0x83 | test << 3], number, place, false);
                }
            }
            38 => {
                // CLI, STI, LFENCE, MFENCE, PREFETCHW
                let op = self.r.pick(&[
                    &[0xfau8][..],
                    &[0xfb],
                    &[0x0f, 0xae, 0xe8],
                    &[0x0f, 0xae, 0xf0],
                    &[0x0f, 0x0d, 0x0b],
                ]);
                self.bytes.extend(op);
            }
            39 => {
                let (op, reg, source) = (self.r.pick(&[0xbcu8, 0xbd]), self.free(), self.source());
                self.operands(false, &[0x0f, op], reg, source, false);
            }
            37 => {
                // SHLD, SHRD
                let (op, reg, place, n) = (self.r.pick(&[0xa4u8, 0xac]), self.any(), self.place(), self.r.next() as u8);
                self.operands(false, &[0x0f, op], reg, place, false);
                self.bytes.push(n);
            }
            _ => {
                // SAHF; MUL; MOVAPS: what the interpreter does in between.
                let c = self.free();
                match self.r.below(3) {
                    0 => self.bytes.push(0x9e),
                    1 => self.operands(false, &[0xf7], 4, Some(c), false),
                    _ => self.bytes.extend([0x0f, 0x28, 0xc1]),
                }
            }
        }
    }
}

/// A program: instructions, branches among them, HLT at the end.
fn program(r: &mut Random) -> Vec<u8> {
    enum Part {
        Plain(Vec<u8>),
        /// A jump over so many parts, forth or back; the condition, or 16 for a JMP, 17 for a CALL.
        Branch(u8, i32),
    }
    let count = 3 + r.below(14) as usize;
    let mut parts = Vec::new();
    for n in 0..count {
        if n > 0 && r.below(7) == 0 {
            let by = if r.below(3) == 0 { -(r.below(n as u64 + 1) as i32) } else { 1 + r.below(3) as i32 };
            parts.push(Part::Branch(r.below(18) as u8, by));
        } else {
            let mut code = Code { r: &mut *r, bytes: Vec::new() };
            code.instruction();
            parts.push(Part::Plain(code.bytes));
        }
    }
    let length = |p: &Part| match p {
        Part::Plain(b) => b.len(),
        Part::Branch(0..=15, _) => 6,
        Part::Branch(..) => 5,
    };
    let starts: Vec<usize> = std::iter::once(0)
        .chain(parts.iter().scan(0, |at, p| {
            *at += length(p);
            Some(*at)
        }))
        .collect();
    let mut code = Vec::new();
    for (n, p) in parts.iter().enumerate() {
        match p {
            Part::Plain(b) => code.extend(b),
            Part::Branch(cc, by) => {
                let to = (n as i32 + by).clamp(0, count as i32) as usize;
                let distance = (starts[to] as i32 - starts[n + 1] as i32).to_le_bytes();
                match cc {
                    0..=15 => code.extend([0x0f, 0x80 | cc]),
                    16 => code.push(0xe9),
                    _ => code.push(0xe8),
                }
                code.extend(distance);
            }
        }
    }
    code.push(0xf4);
    code
}

fn start(r: &mut Random, base: &X86State) -> X86State {
    let mut s = base.clone();
    for n in FREE {
        s.gpr[usize::from(n)] = match r.below(4) {
            0 => r.below(4),
            1 => u64::MAX - r.below(3),
            // Not where the page tables are: how soon a change of those is seen is not said.
            2 => 1 << (24 + r.below(40)),
            _ => r.next(),
        };
    }
    s.gpr[15] = r.below(16);
    s.seg[Seg::Gs as usize].base = DATA - CODE;
    s.seg[Seg::Fs as usize].base = 8;
    let near = |r: &mut Random| match r.below(8) {
        0 => DEVICE,
        1 => CODE,
        _ => DATA + r.below(8),
    };
    (s.gpr[3], s.gpr[5]) = (near(r), near(r));
    s.gpr[4] = CODE - 0x1000 - 8 * r.below(3);
    s.rflags = r.next() & ALL | 2;
    s
}

/// What is seen of a machine at the end.
fn seen(bench: &mut Bench) -> (Vec<u8>, X86State, Vec<(u16, u8, u32)>) {
    let mut data = vec![0; COMPARED];
    bench.memory.read(DATA - 0x80, &mut data).unwrap();
    (data, bench.vcpu.get_state().unwrap(), std::mem::take(&mut *bench.board.out.lock()))
}

fn compare(programs: u64, seed: u64) {
    let mut r = Random(seed);
    let (mut translating, mut stepping) = (Bench::translating(Some(1)), Bench::translating(None));
    let base = translating.long_mode();
    stepping.long_mode();
    let mut ends = 0;
    for case in 0..programs {
        let code = program(&mut r);
        let first = start(&mut r, &base);
        let data: Vec<u8> = (0..COMPARED).map(|_| r.next() as u8).collect();
        for bench in [&mut translating, &mut stepping] {
            bench.memory.write(DATA - 0x80, &data).unwrap();
        }
        let (exit, _) = translating.run(&code, &first, STEPS);
        let whole = seen(&mut translating);
        stepping.memory.write(CODE, &code).unwrap();
        stepping.vcpu.set_state(&first).unwrap();
        let mut by_steps = VcpuExit::Budget;
        for _ in 0..STEPS {
            by_steps = stepping.vcpu.run(&stepping.board, Limit { instructions: Some(1) });
            if by_steps != VcpuExit::Budget {
                break;
            }
        }
        let stepped = seen(&mut stepping);
        ends += u64::from(exit == VcpuExit::Halted);
        let bytes: Vec<_> = code.iter().map(|b| format!("{b:02x}")).collect();
        assert!(
            exit == by_steps && whole == stepped,
            "case {case} of seed {seed:#x}: {}\nfrom {:x?} {:x}\n{exit:?} {:x?} {:x} {:x}\n{by_steps:?} {:x?} {:x} {:x}\n{:02x?}\n{:02x?}",
            bytes.join(" "),
            first.gpr,
            first.rflags,
            whole.1.gpr,
            whole.1.rflags,
            whole.1.rip,
            stepped.1.gpr,
            stepped.1.rflags,
            stepped.1.rip,
            whole.0,
            stepped.0,
        );
    }
    assert!(ends > programs / 4, "{ends} of {programs} came to their end");
}

#[test]
fn programs_do_what_they_do_step_by_step() {
    compare(20_000, 0x9e37_79b9_7f4a_7c15);
}
mod long {
    /// For `GEARBOX_ORACLE_SECONDS`, or ten minutes.
    #[test]
    fn programs_do_what_they_do_step_by_step() {
        let seconds = std::env::var("GEARBOX_ORACLE_SECONDS").ok().and_then(|v| v.parse().ok()).unwrap_or(600);
        let began = std::time::Instant::now();
        let mut seed = 1u64;
        while began.elapsed().as_secs() < seconds {
            super::compare(10_000, seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
            seed += 1;
        }
        println!("{} programs", (seed - 1) * 10_000);
    }
}
