//! Random steps for the state that the CPU is in: an instruction of some kind, its operands, and what they lead to.

use super::case::{Case, Reg, Step};
use super::kinds::KINDS;
use super::switches::{SWITCHES, Switch};
use gearbox_core::x86::state::{Seg, X86State, cr0, cr4, efer, gpr, rflags};
use gearbox_tests::random::Random;
use gearbox_tests::states::{CODE, CODE0, CODE16, CODE32, CODE64, DATA0, GDT, HANDLERS, Mode, STACK, TABLES, USER};

/// Where operands are.
pub const SCRATCH: u64 = 0x8000;
/// Where stacks are put that something is popped from.
pub const FRAME: u64 = 0x8800;
/// Where far transfers go: 64 places, 16 bytes apart.
pub const TARGETS: u64 = CODE + 0x800;
/// Where IDTs are: of long mode, and of protected mode.
pub const IDTS: [u64; 2] = [0xb000, 0xc000];
/// A page whose page-table entry takes any form.
pub const PAGE: u64 = 0x1_a000;
/// A page table for it, where the mode's own tables have none.
const SPARE_TABLE: u64 = 0x20_c000;

/// Where a case starts, without steps.
pub fn start(r: &mut Random, vendors: &[bool], modes: &[usize]) -> Case {
    Case { intel: *r.pick(vendors), mode: *r.pick(modes), ring: *r.pick(&[0, 0, 3]), steps: Vec::new() }
}

/// Makes the steps of one case.
pub struct Generator {
    pub r: Random,
    switch: Option<(&'static Switch, usize)>,
    cr4: u64,
}

impl Generator {
    /// Of CPUs that have these bits of CR4.
    pub fn new(r: Random, cr4: u64) -> Self {
        Self { r, switch: None, cr4 }
    }
    /// A step for a CPU in state `s`.
    pub fn step(&mut self, case: &Case, s: &X86State) -> Step {
        if self.switch.is_none() && self.r.one_in(12) {
            let fits: Vec<_> = SWITCHES.iter().filter(|w| (w.from)(s)).collect();
            if !fits.is_empty() {
                self.switch = Some((*self.r.pick(&fits), 0));
            }
        }
        if let Some((switch, at)) = self.switch {
            self.switch = (at + 1 < switch.steps.len()).then_some((switch, at + 1));
            let mut draft = Draft::new(&mut self.r, case, s, switch.name);
            switch.steps[at](&mut draft);
            return draft.step;
        }
        loop {
            let (name, make) = self.r.pick(KINDS);
            let mut draft = Draft::new(&mut self.r, case, s, name);
            if draft.r.one_in(4) {
                draft.disturb(self.cr4);
            }
            draft.step.intr = draft.r.one_in(8);
            if make(&mut draft) {
                return draft.step;
            }
        }
    }
}

/// A step in the making.
pub struct Draft<'a> {
    pub r: &'a mut Random,
    pub s: &'a X86State,
    /// Width of code.
    pub bits: u32,
    pub ring: u8,
    pub step: Step,
    mode: &'static Mode,
}

/// Width of the code that a CPU is in.
pub fn bits(s: &X86State) -> u32 {
    let cs = s.seg(Seg::Cs);
    match (long(s) && cs.l(), cs.db()) {
        (true, _) => 64,
        (_, true) => 32,
        _ => 16,
    }
}
/// Is it in long mode?
pub fn long(s: &X86State) -> bool {
    s.efer & efer::LMA != 0
}
/// Is it in real mode, or in virtual-8086 mode?
pub fn real_like(s: &X86State) -> bool {
    s.cr0 & cr0::PE == 0 || s.rflags & rflags::VM != 0
}
/// Where its IDT should be.
pub fn idt(s: &X86State) -> u64 {
    match (s.cr0 & cr0::PE != 0, long(s)) {
        (false, _) => 0,
        (_, true) => IDTS[0],
        _ => IDTS[1],
    }
}
/// Its privilege.
pub fn ring(s: &X86State) -> u8 {
    match (s.cr0 & cr0::PE != 0, s.rflags & rflags::VM != 0) {
        (false, _) => 0,
        (_, true) => 3,
        _ => s.seg(Seg::Ss).dpl(),
    }
}

impl<'a> Draft<'a> {
    fn new(r: &'a mut Random, case: &Case, s: &'a X86State, kind: &str) -> Self {
        let step = Step { kind: kind.to_owned(), ..Step::default() };
        Self { r, s, bits: bits(s), ring: ring(s), step, mode: case.mode() }
    }

    /// Adds bytes of code.
    pub fn op(&mut self, bytes: &[u8]) -> bool {
        self.step.code.extend_from_slice(bytes);
        true
    }
    /// Gives a register a value for the instruction. Outside 64-bit mode its upper half is nobody's (vol. 1, 3.4.1.1).
    pub fn gpr(&mut self, n: usize, v: u64) {
        let v = if self.bits == 64 { v } else { v & 0xffff_ffff };
        self.step.sets.push((Reg::Gpr(n as u8), v));
    }
    pub fn set(&mut self, reg: Reg, v: u64) {
        self.step.sets.push((reg, v));
    }
    pub fn poke(&mut self, at: u64, bytes: &[u8]) {
        self.step.pokes.push((at, bytes.to_vec()));
    }
    fn base(&self, seg: Seg) -> u64 {
        let unused = self.bits == 64 && !matches!(seg, Seg::Fs | Seg::Gs);
        if unused { 0 } else { self.s.seg(seg).base }
    }

    /// Some operand-size prefix, and the width of operands in bytes that comes of it.
    pub fn width(&mut self) -> u64 {
        match (self.bits, self.r.below(4)) {
            (64, 0 | 1) => {
                self.op(&[0x48]);
                8
            }
            (16, 0) | (32 | 64, 1..) => 4,
            (16, _) => 2,
            _ => {
                self.op(&[0x66]);
                2
            }
        }
    }
    /// The same for 16-bit code as for others, with the prefix in it.
    pub fn any_width(&mut self) -> u64 {
        let wide = self.bits != 16;
        match (self.bits, self.r.below(3)) {
            (64, 0) => {
                self.op(&[0x48]);
                8
            }
            (_, 1) => {
                self.op(&[0x66]);
                if wide { 2 } else { 4 }
            }
            _ if wide => 4,
            _ => 2,
        }
    }
    /// ModRM with a memory operand at `[rbx]` for the linear address `at` in DS.
    pub fn memory(&mut self, reg: u8, at: u64) -> bool {
        let base = self.base(Seg::Ds);
        self.gpr(gpr::RBX, at.wrapping_sub(base));
        self.op(&[reg << 3 | if self.bits == 16 { 7 } else { 3 }])
    }
    /// ModRM for a register, mostly RAX, or a memory operand in the scratch area.
    pub fn register_or_memory(&mut self, reg: u8) -> bool {
        if self.r.one_in(3) { self.memory(reg, SCRATCH) } else { self.op(&[0xc0 | reg << 3]) }
    }
    /// A stack with these values of `width` bytes on top.
    pub fn stack(&mut self, width: u64, values: &[u64]) {
        let base = self.base(Seg::Ss);
        self.gpr(gpr::RSP, FRAME.wrapping_sub(base));
        let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()[..width as usize].to_vec()).collect();
        self.poke(FRAME, &bytes);
    }

    /// A number at which something changes.
    pub fn value(&mut self) -> u64 {
        match self.r.below(3) {
            0 => self.r.interesting(),
            1 => *self.r.pick(&[0, 1, SCRATCH, STACK, CODE, 0xffff, 0x1_0000, 0xffff_ffff, 1 << 47, (1 << 47) - 1]),
            _ => *self.r.pick(&[SCRATCH, SCRATCH + 8, TARGETS, 0xffff_8000_0000_0000, 0x1_b000, 0xfffe, 0x9fff]),
        }
    }
    /// Where a far transfer goes.
    pub fn target(&mut self) -> u64 {
        let at = TARGETS + 16 * self.r.below(64);
        match self.r.below(8) {
            0 => *self.r.pick(&[0, 1 << 47, 0xffff_8000_0000_0000, 0x1_8000_0000, 0x8000_0000]),
            _ if real_like(self.s) => at - CODE,
            _ => at,
        }
    }
    /// A selector of anything: of the table, of a descriptor made for it, null, or beyond the limit.
    pub fn selector(&mut self) -> u16 {
        let rpl = if self.r.one_in(2) { u16::from(self.ring) } else { self.r.below(4) as u16 };
        let index = match self.r.below(8) {
            _ if real_like(self.s) => return *self.r.pick(&[0, 0, 8, 0x800, (CODE >> 4) as u16, 0xffff]),
            0 => 0,
            1 => (self.r.below(0x24) as u16 * 8) | if self.r.one_in(4) { 4 } else { 0 },
            2..5 => {
                let at = 0xe0 + 8 * self.r.below(3);
                let d = self.descriptor();
                self.poke(GDT + at, &d.to_le_bytes());
                at as u16
            }
            _ => *self.r.pick(&[CODE0, DATA0, 0x18, 0x20, 0x48, 0x58, 0x68, 0x70, 0x78, 0x90, CODE64, CODE32, USER]),
        };
        index | rpl
    }
    /// A selector of data that can be loaded, mostly.
    pub fn data_selector(&mut self) -> u16 {
        match self.r.below(4) {
            0 => self.selector(),
            _ if real_like(self.s) => 0,
            1 => DATA0 | u16::from(self.ring),
            2 => 0x20 | 3,
            _ => (USER + 8) | 3,
        }
    }
    /// A selector of code, mostly.
    pub fn code_selector(&mut self) -> u16 {
        match self.r.below(4) {
            0 => self.selector(),
            _ if real_like(self.s) => (CODE >> 4) as u16,
            1 => *self.r.pick(&[USER, USER + 16, 0x18]) | 3,
            _ => *self.r.pick(&[CODE0, CODE16, CODE32, CODE64]) | u16::from(self.ring),
        }
    }
    /// A segment, gate or system descriptor of any type, flat or small.
    pub fn descriptor(&mut self) -> u64 {
        let typ = self.r.below(0x100) | if self.r.one_in(8) { 0 } else { 0x80 };
        let flags = self.r.below(16);
        if typ & 0x14 == 4 || typ & 0x1f == 0xc {
            let selector = if self.r.one_in(4) { u64::from(DATA0) } else { self.gate_code().into() };
            return self.gate(selector, typ, 0);
        }
        let limit = *self.r.pick(&[0xf_ffff, 0xf_ffff, 0xffff, 0x67, 0xfff, 0]);
        let base = *self.r.pick(&[0, 0, 0, 0x5000, 0x10]);
        limit & 0xffff | base << 16 | typ << 40 | (limit >> 16) << 48 | flags << 52
    }
    /// The code that handlers are in.
    pub fn gate_code(&mut self) -> u16 {
        let good = if long(self.s) { CODE64 } else { CODE0 };
        match self.r.below(6) {
            0 => self.code_selector(),
            _ => good,
        }
    }
    /// A gate's low 8 bytes.
    pub fn gate(&mut self, selector: u64, typ: u64, words: u64) -> u64 {
        let to = TARGETS + 16 * self.r.below(64);
        to & 0xffff | selector << 16 | words << 32 | typ << 40 | (to >> 16) << 48
    }
    /// Puts a gate of some kind in the IDT.
    pub fn interrupt_gate(&mut self, vector: u64) {
        let typ = match vector {
            // KVM's emulator takes anything for its exceptions in long mode.
            0..0x20 if long(self.s) => *self.r.pick(&[0xee, 0xef, 0x8e]),
            _ if self.r.one_in(6) => self.r.below(0x100),
            _ => *self.r.pick(&[0xee, 0xef, 0x8e, 0xe6, 0xe7, 0xe5]),
        };
        let selector = if typ & 0xf == 5 { 0x38 } else { u64::from(self.gate_code()) };
        let ist = if long(self.s) { self.r.below(8) } else { 0 };
        let gate = self.gate(selector, typ, ist);
        let size = if long(self.s) { 16 } else { 8 };
        self.poke(idt(self.s) + size * vector, &gate.to_le_bytes());
        if real_like(self.s) && self.s.cr0 & cr0::PE == 0 {
            self.step.pokes.pop();
            self.poke(4 * vector, &(HANDLERS as u32 + 16 * vector as u32).to_le_bytes());
        }
    }

    /// Changes something that instructions depend on.
    fn disturb(&mut self, all: u64) {
        use cr4::{DE, FSGSBASE, OSFXSR, OSXSAVE, PCE, PGE, PVI, SMAP, SMEP, TSD, UMIP, VME};
        match self.r.below(4) {
            0 => {
                let bit = *self.r.pick(&[cr0::TS, cr0::EM, cr0::MP, cr0::NE, cr0::AM, cr0::WP, cr0::TS | cr0::MP]);
                self.set(Reg::Cr0, self.s.cr0 ^ bit);
            }
            1 => {
                let bit = *self.r.pick(&[VME, PVI, TSD, DE, PGE, PCE, OSFXSR, OSXSAVE, UMIP, FSGSBASE, SMEP, SMAP]);
                self.set(Reg::Cr4, self.s.cr4 ^ (bit & all));
            }
            _ => {
                use rflags::{AC, CF, DF, ID, IF, IOPL, NT, OF, RF, TF, VIF, VIP, ZF};
                let bit = *self.r.pick(&[
                    IOPL,
                    IOPL,
                    IF,
                    IF,
                    TF,
                    TF,
                    NT,
                    AC,
                    DF,
                    RF,
                    ID,
                    VIF,
                    VIP,
                    CF | ZF | OF,
                    1 << 12,
                    2 << 12,
                ]);
                self.set(Reg::Rflags, self.s.rflags ^ bit);
            }
        }
    }
    /// The linear address of a page with a page-table entry of any form, where the mode's first tables are in force; else of the page itself.
    pub fn page(&mut self) -> u64 {
        let inside = self.r.below(3) * 0x800;
        let levels = match self.mode.name {
            "pae" => 3,
            "compatibility16" | "compatibility32" | "long" => 4,
            "long57" => 5,
            "paged32" => 2,
            _ => 0,
        };
        if levels == 0 || self.s.cr3 & !0xfff != TABLES || self.s.cr0 & cr0::PG == 0 {
            return PAGE + inside;
        }
        let flags = self.r.number() & self.r.number() & 0x1f8 | *self.r.pick(&[7, 7, 7, 5, 3, 1, 0, 6]);
        let high = match self.r.below(6) {
            0 => 1 << 63,
            1 => 1 << (32 + self.r.below(31)),
            _ => 0,
        };
        if levels == 2 {
            let inner = *self.r.pick(&[7, 7, 7, 3, 5, 1]);
            self.poke(TABLES + 4, &((SPARE_TABLE | inner) as u32).to_le_bytes());
            self.poke(SPARE_TABLE, &((PAGE | flags) as u32).to_le_bytes());
            return 0x40_0000 + inside;
        }
        let table = TABLES + 0x1000 * (levels - 1);
        self.poke(table + 8 * (PAGE >> 12), &(PAGE | flags | high).to_le_bytes());
        PAGE + inside
    }
}
