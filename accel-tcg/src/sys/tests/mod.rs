//! The system instructions on small hand-made descriptor tables.

mod control;
mod interrupts;
mod msrs;
mod returns;
mod segment_model;
mod segments;
mod smm;
mod tasks;
mod transfers;

use crate::tests::{Bench, CODE};
use gearbox_core::vm::VcpuExit;
use gearbox_core::x86::state::{DescriptorTable, Seg, Segment, X86State, cr0};

const GDT: u64 = 0x3000;
const IDT: u64 = 0x4000;
const TSS: u64 = 0x5000;
/// One HLT for each vector, 16 bytes apart: where the CPU halts tells which handler ran.
const HANDLERS: u64 = 0x6000;
const INNER_STACK: u64 = 0x9000;
const OUTER_STACK: u64 = 0xa000;

// Selectors.
const CODE0: u16 = 0x08;
const DATA0: u16 = 0x10;
const CODE3: u16 = 0x18 | 3;
const DATA3: u16 = 0x20 | 3;
const TASK: u16 = 0x28;
/// Free for a test, as are the ones after it.
const SPARE: u16 = 0x38;

const TSS_LIMIT: u64 = 0x67;

/// What a program came to.
struct Outcome {
    state: X86State,
    exit: VcpuExit,
}

impl Outcome {
    /// The vector of the handler that ran, if one did.
    fn vector(&self) -> Option<u8> {
        let off = self.state.rip.wrapping_sub(HANDLERS + 1);
        (self.exit == VcpuExit::Halted && off < 0x1000 && off.is_multiple_of(16)).then_some((off / 16) as u8)
    }
}

/// A CPU with tables, and the state in which the next program starts.
struct Rig {
    bench: Bench,
    state: X86State,
    long: bool,
}

/// A descriptor from base, limit (in units of G) and the attribute bits of [`Segment::attr`].
fn descriptor(base: u64, limit: u64, attr: u64) -> u64 {
    limit & 0xffff
        | (base & 0xff_ffff) << 16
        | (attr & 0xff) << 40
        | (limit >> 16 & 15) << 48
        | (attr >> 12 & 15) << 52
        | (base >> 24 & 0xff) << 56
}

/// A 32-bit (or 16-bit) gate.
fn gate(selector: u16, offset: u64, typ: u64) -> u64 {
    offset & 0xffff | u64::from(selector) << 16 | typ << 40 | (offset >> 16 & 0xffff) << 48
}

impl Rig {
    /// 32-bit protected mode without paging, ring 0.
    fn protected() -> Self {
        let mut r = Self::with(Bench::new(), X86State::reset(true, 0), false);
        r.state.cr0 = cr0::PE | cr0::ET | cr0::NE;
        r
    }
    /// 64-bit mode, ring 0.
    fn long() -> Self {
        let bench = Bench::new();
        let state = bench.long_mode();
        Self::with(bench, state, true)
    }
    /// Real mode, with an interrupt table at 0 whose handlers are at segment 0, offset [`HANDLERS`].
    fn real() -> Self {
        let mut r = Self::with(Bench::new(), X86State::reset(true, 0), false);
        r.state.idtr = DescriptorTable { base: 0, limit: 0x3ff };
        for v in 0..256 {
            r.put(4 * v, &((HANDLERS + 16 * v) as u32).to_le_bytes());
        }
        r.state.seg[..6].fill(Segment::real(0));
        *r.state.seg_mut(Seg::Cs) = Segment { base: CODE, ..Segment::real((CODE >> 4) as u16) };
        r.state.seg_mut(Seg::Cs).attr = 0x9b;
        r.state.rip = 0;
        r.state.gpr[4] = INNER_STACK;
        r
    }

    fn with(bench: Bench, state: X86State, long: bool) -> Self {
        let mut r = Self { bench, state, long };
        let code = if long { 0xa09b } else { 0xc09b };
        r.set_descriptor(CODE0, descriptor(0, 0xf_ffff, code));
        r.set_descriptor(DATA0, descriptor(0, 0xf_ffff, 0xc093));
        r.set_descriptor(CODE3, descriptor(0, 0xf_ffff, code | 0x60));
        r.set_descriptor(DATA3, descriptor(0, 0xf_ffff, 0xc0f3));
        r.set_descriptor(TASK, descriptor(TSS, TSS_LIMIT, 0x8b));
        r.put(TSS + 4, &INNER_STACK.to_le_bytes());
        if !long {
            r.put(TSS + 8, &u32::from(DATA0).to_le_bytes());
        }
        // No I/O permission map.
        r.put(TSS + 0x66, &0xffffu16.to_le_bytes());
        for v in 0..=255 {
            r.set_gate(v, CODE0, HANDLERS + 16 * u64::from(v), 0x8e);
            r.put(HANDLERS + 16 * u64::from(v), &[0xf4]);
        }
        r.state.gdtr = DescriptorTable { base: GDT, limit: 0xff };
        r.state.idtr = DescriptorTable { base: IDT, limit: 0xfff };
        r.state.rip = CODE;
        r.state.gpr[4] = OUTER_STACK;
        let data = Segment { selector: DATA0, base: 0, limit: u32::MAX, attr: 0xc093 };
        r.state.seg[..6].fill(data);
        *r.state.seg_mut(Seg::Cs) = Segment { selector: CODE0, attr: code as u32, ..data };
        *r.state.seg_mut(Seg::Ldtr) = Segment { attr: Segment::UNUSABLE, ..Segment::default() };
        *r.state.seg_mut(Seg::Tr) = Segment { selector: TASK, base: TSS, limit: TSS_LIMIT as u32, attr: 0x8b };
        r
    }
    /// The program runs in ring 3.
    fn user(mut self) -> Self {
        for s in [Seg::Es, Seg::Ss, Seg::Ds, Seg::Fs, Seg::Gs] {
            *self.state.seg_mut(s) = Segment { selector: DATA3, base: 0, limit: u32::MAX, attr: 0xc0f3 };
        }
        let cs = self.state.seg_mut(Seg::Cs);
        cs.selector = CODE3;
        cs.attr |= 0x60;
        self
    }
    /// A virtual-8086 program at CODE, in ring 3 of protected mode.
    fn v86(self, iopl: u64) -> Self {
        let mut r = self.user();
        for s in [Seg::Es, Seg::Ss, Seg::Ds, Seg::Fs, Seg::Gs] {
            *r.state.seg_mut(s) = Segment { attr: 0xf3, ..Segment::real(0x100) };
        }
        *r.state.seg_mut(Seg::Cs) = Segment { attr: 0xf3, base: CODE, ..Segment::real(0x1234) };
        r.state.rip = 0;
        r.state.gpr[4] = 0x8000;
        r.state.rflags = 1 << 17 | iopl << 12 | 2;
        r
    }

    fn put(&mut self, at: u64, bytes: &[u8]) {
        self.bench.memory.write(at, bytes).unwrap();
    }
    fn get32(&self, at: u64) -> u32 {
        u32::from_le_bytes(self.bench.memory.read_array(at).unwrap())
    }
    fn get64(&self, at: u64) -> u64 {
        u64::from_le_bytes(self.bench.memory.read_array(at).unwrap())
    }
    /// `N` dwords from `at` on.
    fn dwords<const N: usize>(&self, at: u64) -> [u32; N] {
        std::array::from_fn(|k| self.get32(at + 4 * k as u64))
    }
    /// `N` quadwords from `at` on.
    fn quads<const N: usize>(&self, at: u64) -> [u64; N] {
        std::array::from_fn(|k| self.get64(at + 8 * k as u64))
    }
    fn set_descriptor(&mut self, selector: u16, d: u64) {
        self.put(GDT + u64::from(selector & !7), &d.to_le_bytes());
    }
    fn access_byte(&self, selector: u16) -> u8 {
        (self.get64(GDT + u64::from(selector & !7)) >> 40) as u8
    }
    /// Sets an IDT entry; `typ` is the whole access byte.
    fn set_gate(&mut self, vector: u8, selector: u16, offset: u64, typ: u64) {
        if self.long {
            let at = IDT + 16 * u64::from(vector);
            self.put(at, &gate(selector, offset, typ).to_le_bytes());
            self.put(at + 8, &(offset >> 32).to_le_bytes());
        } else {
            self.put(IDT + 8 * u64::from(vector), &gate(selector, offset, typ).to_le_bytes());
        }
    }
    /// Runs a program, for at most 100 instructions.
    fn run(&mut self, code: &[u8]) -> Outcome {
        let (exit, state) = self.bench.run(code, &self.state.clone(), 100);
        Outcome { state, exit }
    }
    /// Runs a program that must end in the handler of `vector`; gives the error code on its stack.
    fn fault(&mut self, code: &[u8], vector: u8) -> (Outcome, u64) {
        let o = self.run(code);
        assert_eq!(o.vector(), Some(vector), "rip {:#x}, {:?}", o.state.rip, o.exit);
        let sp = o.state.gpr[4];
        let error = if self.long { self.get64(sp) } else { self.get32(sp).into() };
        (o, error)
    }
}
