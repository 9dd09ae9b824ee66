//! Random cases from iced's table of op codes: for each code operands of the kinds that it lists, any addressing form for those in memory,
//! prefixes that are not asked for, and states that suit them or not.

use super::case::{ARENA, ARENA_LEN, CODE, CODE_LEN, Case, GS_BASE, READ_ONLY};
use super::interpreter::decode;
use super::scope;
use super::values::Values;
use crate::isa::Isa;
use crate::random::Random;
use gearbox_core::x86::state::{FpuState, gpr, rflags};
use iced_x86::{Code, Decoder, Encoder, Instruction, MemorySize, OpCodeOperandKind, OpKind, Register};

/// Registers of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    R8,
    R16,
    R32,
    R64,
    Mm,
    Xmm,
    Ymm,
    Sti,
    Seg,
    Cr,
    Dr,
}
/// An operand as a generator sees it.
#[derive(Clone, Copy, Debug)]
enum Operand {
    Reg(Class),
    RegOrMem(Class),
    Mem,
    /// Memory with a vector index.
    Gather(Class),
    Offset,
    Fixed(Register),
    Immediate(OpKind),
    One,
    Branch(OpKind),
    /// Memory at rSI, rDI or rBX, which the code implies.
    Implied,
}

/// A code and its operands in one mode.
pub(super) struct Form {
    pub code: Code,
    pub bits: u32,
    operands: Vec<Operand>,
}

fn class(name: &str) -> Option<Class> {
    Some(match name.split(['_', 'p']).next()? {
        "r8" => Class::R8,
        "r16" => Class::R16,
        "r32" => Class::R32,
        "r64" => Class::R64,
        "mm" => Class::Mm,
        "xmm" => Class::Xmm,
        "ymm" => Class::Ymm,
        "sti" => Class::Sti,
        "seg" => Class::Seg,
        "cr" => Class::Cr,
        "dr" => Class::Dr,
        _ => return None,
    })
}
fn operand(kind: OpCodeOperandKind, bits: u32) -> Option<Operand> {
    use OpCodeOperandKind as K;
    Some(match kind {
        K::mem | K::mem_mpx | K::mem_mib => Operand::Mem,
        K::mem_vsib32x | K::mem_vsib64x => Operand::Gather(Class::Xmm),
        K::mem_vsib32y | K::mem_vsib64y => Operand::Gather(Class::Ymm),
        K::mem_offs => Operand::Offset,
        K::al => Operand::Fixed(Register::AL),
        K::cl => Operand::Fixed(Register::CL),
        K::ax => Operand::Fixed(Register::AX),
        K::dx => Operand::Fixed(Register::DX),
        K::eax => Operand::Fixed(Register::EAX),
        K::rax => Operand::Fixed(Register::RAX),
        K::st0 => Operand::Fixed(Register::ST0),
        K::imm8_const_1 => Operand::One,
        K::imm8 | K::imm4_m2z => Operand::Immediate(OpKind::Immediate8),
        K::imm8sex16 => Operand::Immediate(OpKind::Immediate8to16),
        K::imm8sex32 => Operand::Immediate(OpKind::Immediate8to32),
        K::imm8sex64 => Operand::Immediate(OpKind::Immediate8to64),
        K::imm16 => Operand::Immediate(OpKind::Immediate16),
        K::imm32 => Operand::Immediate(OpKind::Immediate32),
        K::imm32sex64 => Operand::Immediate(OpKind::Immediate32to64),
        K::imm64 => Operand::Immediate(OpKind::Immediate64),
        K::br16_1 | K::br16_2 => Operand::Branch(OpKind::NearBranch16),
        K::br32_1 | K::br32_4 => Operand::Branch(OpKind::NearBranch32),
        K::br64_1 | K::br64_4 => Operand::Branch(OpKind::NearBranch64),
        K::seg_rSI | K::es_rDI | K::seg_rDI | K::seg_rBX_al => Operand::Implied,
        _ => {
            let name = format!("{kind:?}");
            let class = class(&name)?;
            if class == Class::R64 && bits != 64 {
                return None;
            }
            if name.ends_with("_or_mem") { Operand::RegOrMem(class) } else { Operand::Reg(class) }
        }
    })
}

/// Where in memory an instruction was made to work.
#[derive(Clone, Copy)]
struct Target {
    linear: u64,
}

/// Makes cases.
pub(super) struct Generator {
    pub forms: Vec<Form>,
    next: usize,
    random: Values,
    isa: Isa,
    /// Only these forms were asked for.
    only: bool,
}

impl Generator {
    /// For the codes whose name contains `only`.
    pub(super) fn new(isa: &Isa, seed: u64, only: &str, modes: &[u32]) -> Self {
        let mut forms = Vec::new();
        for code in Code::values().filter(|c| format!("{c:?}").contains(only)) {
            for &bits in modes {
                if !scope::exists(isa, code, bits) || scope::left_out(code).is_some() {
                    continue;
                }
                let operands: Option<Vec<_>> = code.op_code().op_kinds().iter().map(|k| operand(*k, bits)).collect();
                if let Some(operands) = operands {
                    forms.push(Form { code, bits, operands });
                }
            }
        }
        let random = Values(Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1));
        Self { forms, next: 0, random, isa: isa.clone(), only: !only.is_empty() }
    }

    /// The next case, and the code that it has after all prefixes.
    pub(super) fn case(&mut self) -> (Case, Code) {
        loop {
            let n = self.next;
            self.next = (n + 1) % self.forms.len();
            // Some forms are not to be had (a prefix that the mode lacks, a register that needs another).
            for _ in 0..8 {
                if let Some(c) = self.try_case(n) {
                    return c;
                }
            }
        }
    }

    fn try_case(&mut self, form: usize) -> Option<(Case, Code)> {
        let mut c = Case::new();
        let bits = self.forms[form].bits;
        c.bits = bits;
        let r = &mut self.random;
        let fpu = r.fpu();
        let mut regs = registers(r, bits);
        let (mut i, target, set, fpu) = build(&self.forms[form], r, fpu)?;
        set.iter().for_each(|&(n, v)| regs[n] = v);
        let at = place(r);
        if let Some(k) = (0..i.op_count()).find(|&k| near(i.op_kind(k))) {
            // Encoded below for where it will lie.
            let far = match i.code().op_code().op_kinds()[k as usize] {
                OpCodeOperandKind::br16_1 | OpCodeOperandKind::br32_1 | OpCodeOperandKind::br64_1 => {
                    (r.below(200) as i64) - 100
                }
                OpCodeOperandKind::br16_2 => (r.next() as i16).into(),
                _ => (r.next() as i32).into(),
            };
            let to = (CODE + u64::from(at)).wrapping_add(far as u64);
            match i.op_kind(k) {
                OpKind::NearBranch16 => i.set_near_branch16(to as u16),
                OpKind::NearBranch32 => i.set_near_branch32(to as u32),
                _ => i.set_near_branch64(to),
            }
        }
        let mut e = Encoder::new(bits);
        e.encode(&i, CODE + u64::from(at)).ok()?;
        let mut bytes = e.take_buffer();
        if r.one_in(4) {
            prefix(r, &mut bytes, bits);
        }
        if r.one_in(512) {
            // Too long, or just not.
            let n = 16usize.saturating_sub(bytes.len()) - r.below(2) as usize;
            (0..n).for_each(|_| bytes.insert(0, 0x3e));
        }
        if bytes.len() > 15 {
            bytes.truncate(16);
        }
        let len = bytes.len().min(15);
        c.set_code(&bytes[..len]);
        c.bytes[..bytes.len()].copy_from_slice(&bytes);
        c.at = at;

        // What it has become.
        let i = decode(&self.isa, bits, &c.bytes[..15]);
        let plain = Decoder::with_ip(bits, &c.bytes[..15], 0, self.isa.options()).decode();
        let hidden = i.is_invalid() && !plain.is_invalid();
        if hidden || scope::left_out(i.code()).is_some() || (self.only && i.code() != self.forms[form].code) {
            return None;
        }
        if i.segment_prefix() == Register::FS || (bits == 32 && i.segment_prefix() == Register::GS) || int80(&i) {
            return None;
        }
        if !i.is_invalid() {
            let all = c.bytes;
            c.set_code(&all[..i.len()]);
        }
        c.trap = u32::from(scope::transfers(&i));
        if r.one_in(8) {
            put_at_the_end(r, &mut c);
        }
        let repeats = i.is_string_instruction() && (i.has_rep_prefix() || i.has_repne_prefix());
        if repeats || r.one_in(4) {
            regs[gpr::RCX] = if r.one_in(8) { regs[gpr::RCX] & 0x1fff } else { r.below(80) };
        }
        c.gpr = regs.map(|v| if bits == 32 { v & 0xffff_ffff } else { v });
        if bits == 32 {
            c.gpr[8..].fill(0);
        }
        let ac = if r.one_in(8) && scope::checks_alignment(i.mnemonic()) { rflags::AC } else { 0 };
        c.rflags = r.next() & (super::ARITH | rflags::DF) | ac | 2;
        c.fpu = fpu.to_xsave();
        let stack_top = c.gpr[gpr::RSP];
        match target.and_then(|t| t.linear.checked_sub(ARENA)).filter(|o| *o < ARENA_LEN as u64) {
            Some(o) => {
                let value = r.memory_for(&i);
                c.set_patch(o as usize, &value);
            }
            None if i.is_stack_instruction() && (ARENA..ARENA + ARENA_LEN as u64 - 8).contains(&stack_top) => {
                let value = if r.one_in(4) { r.integer() } else { CODE + r.below(CODE_LEN) };
                c.set_patch((stack_top - ARENA) as usize, &value.to_le_bytes());
            }
            None => {}
        }
        Some((c, i.code()))
    }
}

fn near(k: OpKind) -> bool {
    matches!(k, OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64)
}
/// The host's kernel takes these.
fn int80(i: &Instruction) -> bool {
    i.code() == Code::Int_imm8 && i.immediate8() == 0x80
}

/// General registers: some point into the arena, most are anything.
fn registers(r: &mut Values, bits: u32) -> [u64; 16] {
    let mut regs = [0; 16];
    regs.fill_with(|| r.integer());
    for n in [gpr::RSI, gpr::RDI, gpr::RBX, gpr::RBP, gpr::RSP, gpr::RAX] {
        let likely = if n == gpr::RAX { r.one_in(8) } else { !r.one_in(8) };
        if likely {
            regs[n] = address(r, 8, true);
        }
    }
    if bits == 64 && r.one_in(16) {
        regs[gpr::RSP] = 1 << 63 | r.next() >> 1;
    }
    regs
}

/// A linear address for `size` bytes.
fn address(r: &mut Values, size: u64, inside: bool) -> u64 {
    let end = ARENA + ARENA_LEN as u64;
    let size = size.max(1);
    match r.below(if inside { 12 } else { 20 }) {
        // Up to the end.
        0 => end - size,
        // Across the middle.
        1 => ARENA + 0x1000 - r.below(size + 1),
        2 | 3 => ARENA + 64 + r.below(ARENA_LEN as u64 - 1200),
        4..12 => ARENA + (64 + r.below(ARENA_LEN as u64 - 1200)) / 64 * 64,
        // Over the end, before the beginning.
        12 => end - r.below(size + 1),
        13 => ARENA - r.below(size + 1),
        14 => READ_ONLY + r.below(0x1000),
        15 => READ_ONLY - r.below(size + 1),
        16 => r.next() & 0xffff,
        _ => ARENA + r.below(ARENA_LEN as u64 - 1100) / 16 * 16,
    }
}

fn register(r: &mut Values, class: Class, bits: u32) -> Register {
    let many = if bits == 64 { 16 } else { 8 };
    let n = |r: &mut Values, of: u64| r.below(of) as u32;
    match class {
        // AL..BH, then SPL..R15L.
        Class::R8 => Register::AL + n(r, if bits == 64 { 20 } else { 8 }),
        Class::R16 => Register::AX + n(r, many),
        Class::R32 => Register::EAX + n(r, many),
        Class::R64 => Register::RAX + n(r, 16),
        Class::Mm => Register::MM0 + n(r, 8),
        Class::Xmm => Register::XMM0 + n(r, many),
        Class::Ymm => Register::YMM0 + n(r, many),
        Class::Sti => Register::ST0 + n(r, 8),
        Class::Seg => Register::ES + n(r, 6),
        Class::Cr => r.pick(&[Register::CR0, Register::CR2, Register::CR3, Register::CR4]),
        Class::Dr => Register::DR0 + n(r, 8),
    }
}

type Built = (Instruction, Option<Target>, Vec<(usize, u64)>, FpuState);

/// An instruction with random operands, where its memory operand is, and what registers (and vector registers) this needs.
fn build(form: &Form, r: &mut Values, mut fpu: FpuState) -> Option<Built> {
    let mut i = Instruction::new();
    i.set_code(form.code);
    let (mut target, mut set) = (None, Vec::new());
    let in_memory = r.below(3) != 0;
    for (n, o) in (0..).zip(&form.operands) {
        match *o {
            Operand::Reg(class) => {
                i.set_op_kind(n, OpKind::Register);
                i.set_op_register(n, register(r, class, form.bits));
            }
            Operand::RegOrMem(class) if !in_memory => {
                i.set_op_kind(n, OpKind::Register);
                i.set_op_register(n, register(r, class, form.bits));
            }
            Operand::Fixed(reg) => {
                i.set_op_kind(n, OpKind::Register);
                i.set_op_register(n, reg);
            }
            Operand::RegOrMem(_) | Operand::Mem => {
                i.set_op_kind(n, OpKind::Memory);
                let size = operand_size(form.code, &i);
                target = Some(memory(&mut i, r, form.bits, size, &mut set));
            }
            Operand::Gather(class) => {
                i.set_op_kind(n, OpKind::Memory);
                gather(&mut i, r, form.bits, class, &mut set, &mut fpu);
            }
            Operand::Offset => {
                i.set_op_kind(n, OpKind::Memory);
                let linear = address(r, operand_size(form.code, &i), false);
                let wide = if form.bits == 64 { 8 } else { 4 };
                i.set_memory_displ_size(if form.bits == 64 && r.one_in(4) { 4 } else { wide });
                i.set_memory_displacement64(linear);
                target = Some(Target { linear });
            }
            Operand::Immediate(kind) => {
                i.set_op_kind(n, kind);
                let v = r.integer();
                match kind {
                    OpKind::Immediate8 if n + 1 == i.op_count() && n > 0 && i.op_kind(n - 1) == OpKind::Immediate8 => {
                        i.set_op_kind(n, OpKind::Immediate8_2nd);
                        i.set_immediate8_2nd(v as u8);
                    }
                    OpKind::Immediate8
                        if form.code == Code::Enterw_imm16_imm8
                            || form.code == Code::Enterd_imm16_imm8
                            || form.code == Code::Enterq_imm16_imm8 =>
                    {
                        i.set_op_kind(n, OpKind::Immediate8_2nd);
                        i.set_immediate8_2nd(r.below(40) as u8);
                    }
                    OpKind::Immediate8 => i.set_immediate8(v as u8),
                    OpKind::Immediate16 => i.set_immediate16(v as u16),
                    OpKind::Immediate32 => i.set_immediate32(v as u32),
                    OpKind::Immediate64 => i.set_immediate64(v),
                    OpKind::Immediate8to16 => i.set_immediate8to16((v as i8).into()),
                    OpKind::Immediate8to32 => i.set_immediate8to32((v as i8).into()),
                    OpKind::Immediate8to64 => i.set_immediate8to64((v as i8).into()),
                    _ => i.set_immediate32to64((v as i32).into()),
                }
            }
            Operand::One => {
                i.set_op_kind(n, OpKind::Immediate8);
                i.set_immediate8(1);
            }
            Operand::Branch(kind) => i.set_op_kind(n, kind),
            Operand::Implied => {
                use OpCodeOperandKind as K;
                let kind = match (form.code.op_code().op_kinds()[n as usize], form.bits) {
                    (K::seg_rSI, 64) => OpKind::MemorySegRSI,
                    (K::seg_rSI, _) => OpKind::MemorySegESI,
                    (K::es_rDI, 64) => OpKind::MemoryESRDI,
                    (K::es_rDI, _) => OpKind::MemoryESEDI,
                    (K::seg_rDI, 64) => OpKind::MemorySegRDI,
                    (K::seg_rDI, _) => OpKind::MemorySegEDI,
                    _ => {
                        i.set_memory_base(if form.bits == 64 { Register::RBX } else { Register::EBX });
                        i.set_memory_index(Register::AL);
                        OpKind::Memory
                    }
                };
                i.set_op_kind(n, kind);
            }
        }
    }
    if i.is_string_instruction() {
        match r.below(3) {
            0 => i.set_has_rep_prefix(true),
            1 => i.set_has_repne_prefix(true),
            _ => {}
        }
    }
    if form.code.op_code().can_use_lock_prefix() && i.op0_kind() == OpKind::Memory && r.one_in(4) {
        i.set_has_lock_prefix(true);
    }
    Some((i, target, set, fpu))
}
fn operand_size(code: Code, i: &Instruction) -> u64 {
    let size = if i.memory_size() == MemorySize::Unknown { code.op_code().memory_size() } else { i.memory_size() };
    size.size() as u64
}

/// Gives `i` a memory operand of any form.
fn memory(i: &mut Instruction, r: &mut Values, bits: u32, size: u64, set: &mut Vec<(usize, u64)>) -> Target {
    let linear = address(r, size, false);
    let mut offset = linear;
    match r.below(16) {
        0 if bits == 64 => {
            i.set_segment_prefix(Register::GS);
            offset = offset.wrapping_sub(GS_BASE);
        }
        1 => i.set_segment_prefix(r.pick(&[Register::ES, Register::SS, Register::DS])),
        2 => i.set_segment_prefix(Register::CS),
        _ => {}
    }
    let plain = i.segment_prefix() != Register::GS;
    // Without registers, or relative to RIP.
    if plain && r.one_in(12) {
        i.set_memory_displacement64(linear);
        if bits == 64 && r.one_in(2) {
            i.set_memory_base(Register::RIP);
            i.set_memory_displ_size(8);
        } else {
            i.set_memory_displ_size(if bits == 64 { 8 } else { 4 });
        }
        return Target { linear };
    }
    let short = bits == 64 && plain && r.one_in(8);
    let (first, many) = if bits == 64 && !short { (Register::RAX, 16) } else { (Register::EAX, bits / 4) };
    let base = r.below(many.into()) as u32;
    i.set_memory_base(first + base);
    if r.one_in(2) {
        let displacement = if r.one_in(2) { r.next() as i8 as i64 } else { r.next() as i32 as i64 >> r.below(16) };
        i.set_memory_displacement64(if bits == 32 || short { displacement as u32 as u64 } else { displacement as u64 });
        i.set_memory_displ_size(match i8::try_from(displacement) {
            Ok(_) if r.one_in(2) => 1,
            _ if bits == 64 && !short => 8,
            _ => 4,
        });
        offset = offset.wrapping_sub(displacement as u64);
    }
    let index = r.below(many.into()) as u32;
    if index != 4 && index != base && r.one_in(3) {
        let scale = 1 << r.below(4);
        i.set_memory_index(first + index);
        i.set_memory_index_scale(scale);
        let v = r.integer();
        set.push((index as usize, v));
        offset = offset.wrapping_sub(v.wrapping_mul(scale.into()));
    }
    if bits == 64 && !short && r.one_in(32) {
        // Not canonical.
        offset ^= 1 << (47 + r.below(17));
    }
    if short {
        // The upper half of the register does not count.
        offset = offset & 0xffff_ffff | r.next() << 32;
    }
    set.push((base as usize, offset));
    Target { linear }
}
/// Gives `i` a memory operand with a vector index: elements near the base, some far from it.
fn gather(
    i: &mut Instruction,
    r: &mut Values,
    bits: u32,
    class: Class,
    set: &mut Vec<(usize, u64)>,
    fpu: &mut FpuState,
) {
    let many = if bits == 64 { 16 } else { 8 };
    let (base, index) = (r.below(many) as u32, r.below(many) as u32);
    i.set_memory_base(if bits == 64 { Register::RAX } else { Register::EAX } + base);
    i.set_memory_index(if class == Class::Xmm { Register::XMM0 } else { Register::YMM0 } + index);
    i.set_memory_index_scale(1 << r.below(4));
    set.push((base as usize, ARENA + 0x1000));
    let narrow = r.one_in(2);
    let mut element = |v: u32| -> u128 {
        let far = if r.one_in(32) { r.next() as i32 } else { r.below(400) as i32 - 200 };
        if v == 32 { u128::from(far as u32) } else { u128::from(i64::from(far) as u64) }
    };
    let mut value = || {
        if narrow {
            (0..4).fold(0, |v, k| v | element(32) << (32 * k))
        } else {
            (0..2).fold(0, |v, k| v | element(64) << (64 * k))
        }
    };
    fpu.xmm[index as usize] = value();
    fpu.ymm_hi[index as usize] = value();
}

/// Where in the code pages an instruction may lie.
fn place(r: &mut Values) -> u32 {
    match r.below(8) {
        // Across the middle.
        0 => 0x1000 - r.below(15) as u32,
        _ => 0x100 + r.below(0xe00) as u32,
    }
}
/// Moves the instruction to the end of the code pages, or in one of eight cases over it.
fn put_at_the_end(r: &mut Values, c: &mut Case) {
    let cut = if r.one_in(8) { r.below(c.len.into()) as u32 } else { 0 };
    c.at = CODE_LEN as u32 - c.len + cut;
}

/// Puts prefixes before an instruction that it does not need.
fn prefix(r: &mut Values, bytes: &mut Vec<u8>, bits: u32) {
    for _ in 0..1 + r.below(2) {
        let all = [0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x26, 0x2e, 0x36, 0x3e, 0x66, 0xf2, 0xf3];
        let p = if bits == 64 && r.one_in(3) { 0x40 | r.below(16) as u8 } else { r.pick(&all) };
        bytes.insert(0, p);
    }
}
