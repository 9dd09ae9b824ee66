//! Whether the host and the interpreter agree, where the manuals say what has to be.

use super::ARITH;
use super::case::{ARENA, ARENA_LEN, CODE, CODE_LEN, Case, Ending, Outcome};
use gearbox_core::x86::state::{FpuState, gpr, rflags};
use iced_x86::{Code, Instruction, Mnemonic, OpKind, Register, RflagsBits};

/// Flags that are compared.
const FLAGS: u64 = ARITH | rflags::DF | rflags::AC | rflags::NT | 1 << 21;

/// What both made of a case.
pub(super) struct Verdict<'a> {
    pub case: &'a Case,
    pub i: &'a Instruction,
    pub want: (Ending, &'a Outcome),
    pub got: (Ending, &'a Outcome),
}

impl Verdict<'_> {
    /// Every difference, in words. None is good.
    pub(super) fn differences(&self) -> Vec<String> {
        let mut d = Vec::new();
        if self.same_at_a_glance() {
            return d;
        }
        let (want, got) = (self.want.1, self.got.1);
        if self.skipped() {
            return d;
        }
        if !same_ending(self.want.0, self.got.0, !super::scope::checks_alignment(self.i.mnemonic())) {
            d.push(format!("ends: host {:x?}, here {:x?}", self.want.0, self.got.0));
            return d;
        }
        let undefined = self.undefined();
        let (count, mask) = if self.case.bits == 64 { (16, u64::MAX) } else { (8, 0xffff_ffff) };
        for (n, name) in NAMES.iter().enumerate().take(count) {
            if (want.gpr[n] ^ got.gpr[n]) & mask & !undefined.gpr[n] != 0 {
                d.push(format!("{name}: host {:x}, here {:x}", want.gpr[n], got.gpr[n]));
            }
        }
        let mut flags = FLAGS & !undefined.flags;
        use Mnemonic::{Fcomi, Fcomip, Fucomi, Fucomip};
        if matches!(self.i.mnemonic(), Fcomi | Fcomip | Fucomi | Fucomip) && want.fpu[2] & 0x80 != 0 {
            // Whether a comparison that an unmasked exception suppresses writes them differs.
            flags &= !ARITH;
        }
        if (want.rflags ^ got.rflags) & flags != 0 {
            d.push(format!("flags: host {:x}, here {:x}, of {flags:x}", want.rflags & flags, got.rflags & flags));
        }
        self.compare_fpu(&mut d);
        self.compare_memory(&undefined, &mut d);
        d
    }
    fn same_at_a_glance(&self) -> bool {
        let ((a, want), (b, got)) = (self.want, self.got);
        a == b
            && self.case.bits == 64
            && want.gpr == got.gpr
            && (want.rflags ^ got.rflags) & FLAGS == 0
            && want.fpu[..6] == got.fpu[..6]
            && want.fpu[24..28] == got.fpu[24..28]
            && want.fpu[32..416] == got.fpu[32..416]
            && want.fpu[576..] == got.fpu[576..]
            && want.memory == got.memory
    }
    /// What is accessed in parts, where a part cannot be accessed: which parts there are differs between processors.
    fn skipped(&self) -> bool {
        // Images, and 10 or 32 bytes, that go over the end of a 32-bit segment.
        let size = self.i.memory_size().size();
        let in_parts = size == 10 || size > 16 || !super::scope::checks_alignment(self.i.mnemonic());
        let over_the_end = in_parts && self.case.bits == 32 && address(self.i, self.case) > 0xffff_fe00;
        // AMD's processors read of each half only what is needed.
        let last = (address(self.i, self.case) & 0xfff) + 32;
        use Mnemonic::{Maskmovdqu, Maskmovq, Vmaskmovdqu};
        let implied = matches!(self.i.mnemonic(), Maskmovdqu | Maskmovq | Vmaskmovdqu);
        let over_the_end = over_the_end || (implied && self.case.bits == 32 && self.case.gpr[gpr::RDI] > 0xffff_ffe0);
        // AMD's processors accept prefixes before VPCMPESTRx with W set that VEX does not allow, which is no use to anybody; and LOCK
        // before PCMPESTRI with W set.
        let code = self.case.code();
        let wide_compare = |w: &[u8]| w[0] == 0xc4 && w[1] & 31 == 3 && w[2] & 0x83 == 0x81 && w[3] & !1 == 0x60;
        let locked = |w: &[u8]| code.contains(&0xf0) && w[0] & 0xf8 == 0x48 && w[1..] == [0x0f, 0x3a, 0x61];
        if self.i.is_invalid() && code.windows(4).any(|w| wide_compare(w) || locked(w)) {
            return true;
        }
        // A store over the breakpoint that ends the case.
        let in_memory = (0..self.i.op_count()).any(|n| self.i.op_kind(n) == OpKind::Memory);
        if in_memory && (CODE..CODE + CODE_LEN).contains(&address(self.i, self.case)) {
            return true;
        }
        // An invalid instruction that has no end in sight: what is found first differs.
        let endless = self.i.is_invalid() && (self.case.len == 15 || self.case.next() + 15 > CODE + CODE_LEN);
        // INT1 is a trap (SDM vol. 3, 6.3.1). Some hypervisors that the host runs on intercept it, and have its #DB delivered as a fault's.
        let as_a_fault = matches!(self.want.0, Ending::Exception { rip, .. } if rip == self.case.start());
        // CMPS has two operands in memory. Which of them is found missing first differs between processors, and on some with what makes REPE CMPSB fast.
        let both = [Code::Cmpsb_m8_m8, Code::Cmpsw_m16_m16, Code::Cmpsd_m32_m32, Code::Cmpsq_m64_m64];
        let other_first = both.contains(&self.i.code()) && self.want.0 != self.got.0;
        over_the_end
            || (self.i.code() == Code::Int1 && as_a_fault)
            || ((endless || other_first) && faults(self.want.0) && faults(self.got.0))
            || (self.i.code() == Code::VEX_Vmovddup_ymm_ymmm256
                && (last > 0x1000 || self.case.rflags & rflags::AC != 0))
    }
    fn compare_fpu(&self, d: &mut Vec<String>) {
        let [want, got] = [self.want.1, self.got.1].map(|o| FpuState::from_xsave(&o.fpu));
        let m = self.i.mnemonic();
        let excepted = matches!(self.want.0, Ending::Exception { .. });
        let has_mmx = (0..self.i.op_count()).any(|n| self.i.op_register(n).is_mm());
        // AMD has entered the MMX state before it raises #XM, which leaves everything else as it was.
        let mmx_entered = excepted && has_mmx;
        if !mmx_entered {
            // Processors differ in the condition codes once an unmasked exception has suppressed the operation.
            let suppressed = if want.fsw & 0x80 != 0 { 0x4500 } else { 0 };
            let status = !(undefined_status(m) | suppressed);
            let mut word = |name: &str, w: u16, g: u16, mask: u16| {
                if (w ^ g) & mask != 0 {
                    d.push(format!("{name}: host {:x}, here {:x}", w & mask, g & mask));
                }
            };
            word("fcw", want.fcw, got.fcw, !0);
            word("fsw", want.fsw, got.fsw, if excepted { !0 } else { status });
            word("ftw", want.ftw.into(), got.ftw.into(), !0);
            for n in 0..8 {
                if want.st[n] != got.st[n] {
                    d.push(format!("st{n}: host {:020x}, here {:020x}", want.st[n], got.st[n]));
                }
            }
        }
        if want.mxcsr != got.mxcsr {
            d.push(format!("mxcsr: host {:x}, here {:x}", want.mxcsr, got.mxcsr));
        }
        for n in 0..if self.case.bits == 64 { 16 } else { 8 } {
            if (want.xmm[n], want.ymm_hi[n]) != (got.xmm[n], got.ymm_hi[n]) {
                d.push(format!(
                    "ymm{n}: host {:032x}:{:032x}, here {:032x}:{:032x}",
                    want.ymm_hi[n], want.xmm[n], got.ymm_hi[n], got.xmm[n]
                ));
            }
        }
    }
    fn compare_memory(&self, u: &Undefined, d: &mut Vec<String>) {
        let (want, got) = (&self.want.1.memory, &self.got.1.memory);
        if want == got {
            return;
        }
        let differ = |n: usize| want[n] != got[n] && !u.memory.iter().any(|r| r.contains(&(ARENA + n as u64)));
        let Some(first) = (0..ARENA_LEN).find(|&n| differ(n)) else { return };
        let end = (first + 16).min(ARENA_LEN);
        let count = (0..ARENA_LEN).filter(|&n| differ(n)).count();
        d.push(format!(
            "memory at {:x} ({count} bytes): host {:02x?}, here {:02x?}",
            ARENA + first as u64,
            &want[first..end],
            &got[first..end]
        ));
    }

    /// What the manuals leave open for this case.
    fn undefined(&self) -> Undefined {
        use Mnemonic::*;
        let (i, c) = (self.i, self.case);
        let mut u = Undefined { flags: 0, gpr: [0; 16], memory: Vec::new() };
        if matches!(self.want.0, Ending::Exception { .. }) {
            return u;
        }
        let listed = i.rflags_undefined();
        u.flags = ICED_FLAGS.iter().filter(|(iced, _)| listed & iced != 0).map(|(_, bit)| bit).sum();
        let bits = if i.op_count() > 0 { crate::ops::operand::size(i, 0) as u64 * 8 } else { 0 };
        match i.mnemonic() {
            Shl | Sal | Shr | Sar | Rol | Ror | Rcl | Rcr | Shld | Shrd => {
                let n = count(i, c) & if bits == 64 { 63 } else { 31 };
                let double = matches!(i.mnemonic(), Shld | Shrd);
                if n == 0 {
                    u.flags = 0;
                } else {
                    u.flags |= if n != 1 { rflags::OF } else { 0 };
                    if !matches!(i.mnemonic(), Rol | Ror | Rcl | Rcr) {
                        u.flags |= rflags::AF;
                        if n >= bits {
                            u.flags |= if double { ARITH } else { rflags::CF };
                        }
                    }
                }
                if double && n > bits {
                    u.operand(i, self.case);
                }
            }
            // The 16-bit form is undefined.
            Bswap if bits == 16 => u.operand(i, self.case),
            // Pointers, selectors and opcode of the last instruction.
            Fnstenv | Fnsave => {
                let at = address(i, c);
                let step = if matches!(i.memory_size().size(), 14 | 94) { 2 } else { 4 };
                u.memory.push(at + 3 * step..at + 7 * step);
            }
            Fxsave | Fxsave64 => {
                let at = address(i, c);
                u.memory.extend([at + 6..at + 24, at + 28..at + 32, at + 416..at + 512]);
            }
            _ => {}
        }
        u
    }
}

/// What is not compared.
struct Undefined {
    flags: u64,
    gpr: [u64; 16],
    memory: Vec<std::ops::Range<u64>>,
}
impl Undefined {
    /// The destination.
    fn operand(&mut self, i: &Instruction, c: &Case) {
        let size = crate::ops::operand::size(i, 0) as u64;
        if i.op0_kind() == OpKind::Register {
            self.gpr[i.op0_register().full_register().number() & 15] = u64::MAX >> (64 - 8 * size);
        } else {
            let at = address(i, c);
            self.memory.push(at..at + size);
        }
    }
}

/// The count of a shift or rotation.
fn count(i: &Instruction, c: &Case) -> u64 {
    let last = i.op_count() - 1;
    if i.op_kind(last) == OpKind::Register { c.gpr[gpr::RCX] & 0xff } else { i.immediate(last) & 0xff }
}
/// Linear address of the memory operand.
fn address(i: &Instruction, c: &Case) -> u64 {
    if i.is_ip_rel_memory_operand() {
        return c.start().wrapping_add(i.memory_displacement64());
    }
    let reg = |r: Register| if r.is_gpr() { c.gpr[r.number() & 15] } else { 0 };
    let sum = reg(i.memory_base())
        .wrapping_add(reg(i.memory_index()).wrapping_mul(i.memory_index_scale().into()))
        .wrapping_add(i.memory_displacement64());
    let narrow = c.bits == 32 || i.memory_base().size() == 4 || i.memory_index().size() == 4;
    let base = if c.bits == 64 && i.memory_segment() == Register::GS { super::case::GS_BASE } else { 0 };
    (if narrow { sum & 0xffff_ffff } else { sum }).wrapping_add(base)
}

/// Is it the end of an invalid instruction: #UD, #GP for its length, or #PF for the rest of it?
fn faults(e: Ending) -> bool {
    matches!(e, Ending::Exception { vector: 6 | 13 | 14, .. })
}
fn same_ending(want: Ending, got: Ending, in_parts: bool) -> bool {
    match (want, got) {
        (
            Ending::Exception { vector: 14, error_code: a, cr2: x, rip: p },
            Ending::Exception { vector: 14, error_code: b, cr2: y, rip: q },
        ) => {
            // In the kernel's half the kernel says that there is a page, whether there is one or not.
            let kernel = x >= 0x7fff_ffff_f000;
            // Images are accessed in parts, in an order of the processor's own; AMD's finds the last part of one with 32-bit
            // addresses in 32 bits.
            let near = in_parts && (x.wrapping_sub(y) as u32).wrapping_add(1024) < 2048;
            p == q && (near || (x == y && (a == b || kernel)))
        }
        _ => want == got,
    }
}

const ICED_FLAGS: [(u32, u64); 6] = [
    (RflagsBits::OF, rflags::OF),
    (RflagsBits::SF, rflags::SF),
    (RflagsBits::ZF, rflags::ZF),
    (RflagsBits::AF, rflags::AF),
    (RflagsBits::CF, rflags::CF),
    (RflagsBits::PF, rflags::PF),
];

/// Status-word bits that the SDM leaves undefined after this instruction.
fn undefined_status(m: Mnemonic) -> u16 {
    use Mnemonic::*;
    const ALL_BUT_C1: u16 = 0x4500;
    let name = format!("{m:?}");
    match m {
        Fcom | Fcomp | Fcompp | Fucom | Fucomp | Fucompp | Ficom | Ficomp | Ftst | Fxam | Fprem | Fprem1 => 0,
        Fldcw | Fldenv | Frstor | Fxrstor | Fxrstor64 | Fninit | Fnsave | Fnstenv | Fnstcw | Fnstsw => 0,
        Fnclex | Ffree | Ffreep => 0x4700,
        // Intel clears C1, AMD leaves it.
        Fcomi | Fcomip | Fucomi | Fucomip => 0x4700,
        Fsin | Fcos | Fsincos | Fptan => 0x4100,
        _ if name.starts_with('F') => ALL_BUT_C1,
        _ => 0,
    }
}

/// General registers by number.
pub(super) const NAMES: [&str; 16] =
    ["rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15"];
