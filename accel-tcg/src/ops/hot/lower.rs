//! From decoded instructions to ops: choice of the handler, operands, dead flags, fusion of comparisons with branches.

use super::data::{self, MI, MR, NI, NR, RI, RM, RN, RR};
use super::{Dead, Live, Policy, ZERO, flow, handler, slow, slow_end, three};
use crate::block::{Handler, Op};
use crate::cpu::{Mode, slot};
use crate::ops::arith;
use crate::ops::integer::condition;
use crate::ops::operand::{size, sized};
use iced_x86::{Code, FlowControl, Instruction, Mnemonic, OpKind, Register, RflagsBits};

/// Operand forms of instructions with up to two operands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    RegReg,
    RegImm,
    RegMem,
    MemReg,
    MemImm,
}

/// Evaluates an expression with a type standing for the form.
macro_rules! formed {
    ($shape:expr, $F:ident => $e:expr) => {
        match $shape {
            Shape::RegReg => {
                type $F = RR;
                $e
            }
            Shape::RegImm => {
                type $F = RI;
                $e
            }
            Shape::RegMem => {
                type $F = RM;
                $e
            }
            Shape::MemReg => {
                type $F = MR;
                $e
            }
            Shape::MemImm => {
                type $F = MI;
                $e
            }
        }
    };
}
/// The same for forms with a register destination.
macro_rules! to_reg {
    ($shape:expr, $F:ident => $e:expr) => {
        match $shape {
            Shape::RegReg => {
                type $F = RR;
                $e
            }
            Shape::RegImm => {
                type $F = RI;
                $e
            }
            Shape::RegMem => {
                type $F = RM;
                $e
            }
            _ => return None,
        }
    };
}
/// Evaluates an expression with a constant standing for the condition.
macro_rules! conditional {
    ($cc:expr, $C:ident => $e:expr) => {
        conditional!(@ $cc, $C, $e, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15)
    };
    (@ $cc:expr, $C:ident, $e:expr, $($n:literal)*) => {
        match $cc {
            $($n => {
                const $C: u8 = $n;
                $e
            })*
            _ => return None,
        }
    };
}

/// Byte offset of a general register in the register file; `None` for any other register.
fn offset(r: Register) -> Option<u8> {
    match r {
        Register::None => Some(ZERO),
        Register::AH | Register::CH | Register::DH | Register::BH => Some((r.number() as u8 & 3) * 8 + 1),
        r if r.is_gpr() => Some(r.full_register().number() as u8 * 8),
        _ => None,
    }
}

fn kind(i: &Instruction, n: u32) -> Option<OpKind> {
    Some(match i.op_kind(n) {
        k @ (OpKind::Register | OpKind::Memory) => k,
        OpKind::Immediate8
        | OpKind::Immediate16
        | OpKind::Immediate32
        | OpKind::Immediate64
        | OpKind::Immediate8to16
        | OpKind::Immediate8to32
        | OpKind::Immediate8to64
        | OpKind::Immediate32to64 => OpKind::Immediate8,
        _ => return None,
    })
}
fn shape(i: &Instruction) -> Option<Shape> {
    Some(match (kind(i, 0)?, kind(i, 1)?) {
        (OpKind::Register, OpKind::Register) => Shape::RegReg,
        (OpKind::Register, OpKind::Memory) => Shape::RegMem,
        (OpKind::Register, _) => Shape::RegImm,
        (OpKind::Memory, OpKind::Register) => Shape::MemReg,
        (OpKind::Memory, _) => Shape::MemImm,
        _ => return None,
    })
}

/// Fills in the operands. `None` if one is nothing that handlers know.
pub(crate) fn operands(i: &Instruction, op: &mut Op, mode: Mode) -> Option<()> {
    for n in 0..i.op_count() {
        match i.op_kind(n) {
            OpKind::Register => {
                let at =
                    if i.op_register(n).is_xmm() { i.op_register(n).number() as u8 } else { offset(i.op_register(n))? };
                match n {
                    0 => op.dst = at,
                    1 => op.src = at,
                    _ => {}
                }
            }
            OpKind::Memory => memory(i, op, mode)?,
            OpKind::NearBranch16 | OpKind::NearBranch32 | OpKind::NearBranch64 => {
                let relative = i.near_branch_target().wrapping_sub(i.next_ip());
                // The block's first instruction was decoded at `ip - off`.
                op.disp = i32::try_from(relative as i64 + i64::from(op.off) + i64::from(op.len)).ok()?;
                if mode.bits() == 32 {
                    op.disp = (relative as i32).wrapping_add(op.off.into()).wrapping_add(op.len.into());
                }
            }
            _ => {
                kind(i, n)?;
                op.imm = i.immediate(n);
            }
        }
    }
    Some(())
}
/// Fills in the memory operand. `None` if it needs more than hot handlers do.
pub(super) fn memory(i: &Instruction, op: &mut Op, mode: Mode) -> Option<()> {
    if !mode.flat() {
        return None;
    }
    op.seg = match (i.memory_segment(), mode.is_64()) {
        (Register::FS, true) => slot::FS as u8 * 8,
        (Register::GS, true) => slot::GS as u8 * 8,
        (Register::FS | Register::GS, false) => return None,
        // Stores through CS fault outside 64-bit mode.
        (Register::CS, false) => return None,
        _ => ZERO,
    };
    let address_size = if mode.is_64() { 8 } else { 4 };
    let (base, index) = (i.memory_base(), i.memory_index());
    let displacement = i.memory_displacement64();
    if base == Register::RIP {
        op.base = slot::RIP as u8 * 8;
        let relative = displacement.wrapping_sub(i.next_ip()) as i64;
        op.disp = i32::try_from(relative + i64::from(op.off) + i64::from(op.len)).ok()?;
        return Some(());
    }
    let fits = |r: Register| r == Register::None || (r.is_gpr() && r.size() == address_size);
    if !fits(base) || !fits(index) {
        return None;
    }
    if base == Register::None && index == Register::None && i.memory_displ_size() as usize != address_size {
        return None;
    }
    op.base = offset(base)?;
    op.index = offset(index)?;
    op.scale = i.memory_index_scale().trailing_zeros() as u8;
    op.disp = if mode.is_64() { i32::try_from(displacement as i64).ok()? } else { displacement as i32 };
    // In 32-bit mode the sum wraps at 4 GiB, which the address mask does; the segment bases are zero.
    Some(())
}

/// The handler of an instruction that does not end a block.
fn straight<L: Policy>(i: &Instruction, op: &mut Op, mode: Mode) -> Option<Handler> {
    use Mnemonic::*;
    if i.has_lock_prefix() {
        return None;
    }
    if let Some(h) = super::vector::straight(i, op, mode).or_else(|| super::x87::straight(i, op, mode)) {
        return Some(h);
    }
    operands(i, op, mode)?;
    macro_rules! bin {
        ($O:ident) => {
            sized!(size(i, 0), T => formed!(shape(i)?, F => handler::<data::Bin<arith::$O, T, F, L>>))
        };
    }
    macro_rules! un {
        ($O:ident) => {
            sized!(size(i, 0), T => if i.op0_kind() == OpKind::Memory {
                handler::<data::UnMem<arith::$O, T>>
            } else {
                handler::<data::UnReg<arith::$O, T, L>>
            })
        };
    }
    macro_rules! shift {
        ($O:ident) => {{
            if i.op0_kind() != OpKind::Register {
                return None;
            }
            if i.op1_kind() == OpKind::Register {
                return Some(sized!(size(i, 0), T => handler::<data::ShiftCl<arith::$O, T>>));
            }
            op.aux = shift_count(i).into();
            if op.aux == 0 {
                return None;
            }
            sized!(size(i, 0), T => handler::<data::ShiftImm<arith::$O, T, L>>)
        }};
    }
    /// 32- and 64-bit operands only.
    macro_rules! wide {
        ($size:expr, $T:ident => $e:expr) => {
            match $size {
                4 => {
                    type $T = u32;
                    $e
                }
                8 => {
                    type $T = u64;
                    $e
                }
                _ => return None,
            }
        };
    }
    macro_rules! extend {
        ($H:ident, $shape:expr) => {
            match (size(i, 1), size(i, 0), $shape) {
                (1, 4, Shape::RegReg) => handler::<data::$H<u8, u32, RR>>,
                (1, 4, Shape::RegMem) => handler::<data::$H<u8, u32, RM>>,
                (1, 8, Shape::RegReg) => handler::<data::$H<u8, u64, RR>>,
                (1, 8, Shape::RegMem) => handler::<data::$H<u8, u64, RM>>,
                (2, 4, Shape::RegReg) => handler::<data::$H<u16, u32, RR>>,
                (2, 4, Shape::RegMem) => handler::<data::$H<u16, u32, RM>>,
                (2, 8, Shape::RegReg) => handler::<data::$H<u16, u64, RR>>,
                (2, 8, Shape::RegMem) => handler::<data::$H<u16, u64, RM>>,
                (4, 8, Shape::RegReg) => handler::<data::$H<u32, u64, RR>>,
                (4, 8, Shape::RegMem) => handler::<data::$H<u32, u64, RM>>,
                _ => return None,
            }
        };
    }
    let near = mode.is_64() && op.index == ZERO && op.seg == ZERO;
    // Stack operations need a stack as wide as the code.
    let stack_width = if mode.is_64() { 8 } else { 4 };
    let stack = mode.flat() && i.stack_pointer_increment().unsigned_abs() as usize == stack_width;
    Some(match i.mnemonic() {
        Add => bin!(Add),
        Or => bin!(Or),
        Adc => bin!(Adc),
        Sbb => bin!(Sbb),
        And => bin!(And),
        Sub => bin!(Sub),
        Xor => bin!(Xor),
        Cmp => bin!(Cmp),
        Test => bin!(Test),
        Inc => un!(Inc),
        Dec => un!(Dec),
        Neg => un!(Neg),
        Not => un!(Not),
        Shl | Sal => shift!(Shl),
        Shr => shift!(Shr),
        Sar => shift!(Sar),
        Rol => shift!(Rol),
        Ror => shift!(Ror),
        Mov => match shape(i)? {
            Shape::RegMem if near => sized!(size(i, 0), T => handler::<data::Mov<T, RN>>),
            Shape::MemReg if near => sized!(size(i, 0), T => handler::<data::Store<T, NR>>),
            Shape::MemImm if near => sized!(size(i, 0), T => handler::<data::Store<T, NI>>),
            Shape::MemReg => sized!(size(i, 0), T => handler::<data::Store<T, MR>>),
            Shape::MemImm => sized!(size(i, 0), T => handler::<data::Store<T, MI>>),
            s => sized!(size(i, 0), T => to_reg!(s, F => handler::<data::Mov<T, F>>)),
        },
        Movzx => extend!(Zx, shape(i)?),
        Movsx | Movsxd => extend!(Sx, shape(i)?),
        Lea => {
            op.seg = ZERO;
            wide!(size(i, 0), T => handler::<data::Lea<T>>)
        }
        Imul if i.op_count() == 2 => wide!(size(i, 0), T => to_reg!(shape(i)?, F => handler::<data::Imul2<T, F, L>>)),
        Imul if i.op_count() == 3 => wide!(size(i, 0), T => match shape(i)? {
            Shape::RegReg => handler::<data::Imul3<T, RR, L>>,
            Shape::RegMem => handler::<data::Imul3<T, RM, L>>,
            _ => return None,
        }),
        Mul | Div | Idiv => {
            let mem = i.op0_kind() == OpKind::Memory;
            op.src = op.dst;
            match (i.mnemonic(), size(i, 0), mem) {
                (Mul, 4, false) => handler::<data::Mul<u32, RR>>,
                (Mul, 4, true) => handler::<data::Mul<u32, RM>>,
                (Mul, 8, false) => handler::<data::Mul<u64, RR>>,
                (Mul, 8, true) => handler::<data::Mul<u64, RM>>,
                (Div, 4, false) => handler::<data::Div<u32, RR>>,
                (Div, 4, true) => handler::<data::Div<u32, RM>>,
                (Div, 8, false) => handler::<data::Div<u64, RR>>,
                (Div, 8, true) => handler::<data::Div<u64, RM>>,
                (Idiv, 4, false) => handler::<data::Idiv32<RR>>,
                (Idiv, 4, true) => handler::<data::Idiv32<RM>>,
                _ => return None,
            }
        }
        Push if stack => match kind(i, 0)? {
            OpKind::Register => {
                op.src = op.dst;
                wide!(stack_width, T => handler::<data::PushReg<T>>)
            }
            OpKind::Memory => wide!(stack_width, T => handler::<data::PushMem<T>>),
            _ => wide!(stack_width, T => handler::<data::PushImm<T>>),
        },
        Pop if stack && i.op0_kind() == OpKind::Register => wide!(stack_width, T => handler::<data::PopReg<T>>),
        Leave if mode.flat() && matches!((i.code(), stack_width), (Code::Leaveq, 8) | (Code::Leaved, 4)) => {
            wide!(stack_width, T => handler::<data::Leave<T>>)
        }
        Xchg if shape(i)? == Shape::RegReg => sized!(size(i, 0), T => handler::<data::XchgReg<T>>),
        Bt if i.op0_kind() == OpKind::Register => {
            wide!(size(i, 0), T => to_reg!(shape(i)?, F => handler::<data::BtReg<T, F>>))
        }
        Bswap => wide!(size(i, 0), T => handler::<data::Bswap<T>>),
        Cwde => handler::<data::Extend<u16, u32>>,
        Cdqe => handler::<data::Extend<u32, u64>>,
        Cdq => handler::<data::SignToDx<u32>>,
        Cqo => handler::<data::SignToDx<u64>>,
        _ if condition_of(i).is_some() && i.op_count() == 1 && i.op0_kind() == OpKind::Register => {
            conditional!(condition(i), CC => handler::<data::SetReg<CC>>)
        }
        _ if condition_of(i).is_some() && i.op_count() == 2 && i.op0_register().is_gpr() => {
            op.aux = condition(i).into();
            wide!(size(i, 0), T => to_reg!(shape(i)?, F => handler::<data::Cmov<T, F>>))
        }
        _ => return None,
    })
}
/// By how much a shift shifts, or a double shift; 0 also for one by CL.
pub(crate) fn shift_count(i: &Instruction) -> u8 {
    if i.op_kind(i.op_count() - 1) == OpKind::Immediate8 {
        i.immediate8() & if size(i, 0) == 8 { 63 } else { 31 }
    } else {
        0
    }
}
pub(crate) fn condition_of(i: &Instruction) -> Option<u8> {
    (i.condition_code() != iced_x86::ConditionCode::None && i.flow_control() == FlowControl::Next).then(|| condition(i))
}

/// The handler of a branch that ends a block.
fn ending(i: &Instruction, op: &mut Op, mode: Mode) -> Option<Handler> {
    if !mode.flat() {
        return None;
    }
    operands(i, op, mode)?;
    let near = if mode.is_64() { OpKind::NearBranch64 } else { OpKind::NearBranch32 };
    let direct = i.op_count() == 1 && i.op0_kind() == near;
    macro_rules! native {
        ($T:ident => $e:expr) => {
            if mode.is_64() {
                type $T = u64;
                $e
            } else {
                type $T = u32;
                $e
            }
        };
    }
    let width = if mode.is_64() { 8 } else { 4 };
    let indirect = i.op_count() == 1 && !direct && size(i, 0) == width;
    let in_memory = i.op_count() == 1 && i.op0_kind() == OpKind::Memory;
    if indirect && !in_memory {
        op.src = op.dst;
    }
    Some(match i.mnemonic() {
        Mnemonic::Jmp if direct => flow::jmp,
        Mnemonic::Call if direct => native!(T => flow::call::<T>),
        Mnemonic::Jmp if i.is_jmp_near_indirect() && indirect => match in_memory {
            true => native!(T => flow::jmp_indirect::<T, RM>),
            false => native!(T => flow::jmp_indirect::<T, RR>),
        },
        Mnemonic::Call if i.is_call_near_indirect() && indirect => match in_memory {
            true => native!(T => flow::call_indirect::<T, RM>),
            false => native!(T => flow::call_indirect::<T, RR>),
        },
        Mnemonic::Ret => match (i.code(), mode.is_64()) {
            (Code::Retnq | Code::Retnq_imm16, true) => flow::ret::<u64>,
            (Code::Retnd | Code::Retnd_imm16, false) => flow::ret::<u32>,
            _ => return None,
        },
        _ if direct && i.is_jcc_short_or_near() => conditional!(condition(i), CC => flow::jcc::<CC>),
        _ => return None,
    })
}

/// The fused handler of comparison `i` and a branch on `cc`.
fn fused(i: &Instruction, cc: u8) -> Option<Handler> {
    macro_rules! forms {
        ($O:ident) => {
            conditional!(cc, CC => match (size(i, 0), shape(i)?) {
                (1, Shape::RegReg) => flow::Fused::<arith::$O, u8, RR, CC>::run,
                (1, Shape::RegImm) => flow::Fused::<arith::$O, u8, RI, CC>::run,
                (1, Shape::RegMem) => flow::Fused::<arith::$O, u8, RM, CC>::run,
                (1, Shape::MemReg) => flow::Fused::<arith::$O, u8, MR, CC>::run,
                (1, Shape::MemImm) => flow::Fused::<arith::$O, u8, MI, CC>::run,
                (4, Shape::RegReg) => flow::Fused::<arith::$O, u32, RR, CC>::run,
                (4, Shape::RegImm) => flow::Fused::<arith::$O, u32, RI, CC>::run,
                (4, Shape::RegMem) => flow::Fused::<arith::$O, u32, RM, CC>::run,
                (4, Shape::MemReg) => flow::Fused::<arith::$O, u32, MR, CC>::run,
                (4, Shape::MemImm) => flow::Fused::<arith::$O, u32, MI, CC>::run,
                (8, Shape::RegReg) => flow::Fused::<arith::$O, u64, RR, CC>::run,
                (8, Shape::RegImm) => flow::Fused::<arith::$O, u64, RI, CC>::run,
                (8, Shape::RegMem) => flow::Fused::<arith::$O, u64, RM, CC>::run,
                (8, Shape::MemReg) => flow::Fused::<arith::$O, u64, MR, CC>::run,
                (8, Shape::MemImm) => flow::Fused::<arith::$O, u64, MI, CC>::run,
                _ => return None,
            })
        };
    }
    Some(match i.mnemonic() {
        Mnemonic::Cmp => forms!(Cmp),
        Mnemonic::Test => forms!(Test),
        _ => return None,
    })
}

const ARITH: u32 = RflagsBits::CF | RflagsBits::PF | RflagsBits::AF | RflagsBits::ZF | RflagsBits::SF | RflagsBits::OF;

/// Which instructions leave flags that nothing can see: all are overwritten before anything reads them or can fault (a fault shows
/// all flags).
pub(crate) fn dead_flags(insns: &[Instruction]) -> Vec<bool> {
    let mut live = ARITH;
    let mut dead = vec![false; insns.len()];
    for (k, i) in insns.iter().enumerate().rev() {
        let modified = i.rflags_modified() & ARITH;
        dead[k] = modified != 0 && modified & live == 0;
        let harmless = (0..i.op_count()).all(|n| i.op_kind(n) != OpKind::Memory)
            && i.flow_control() == FlowControl::Next
            && !i.is_stack_instruction()
            && !i.is_privileged()
            && !matches!(kind_of(i), Safe::No);
        let surely = match kind_of(i) {
            // A shift by CL or by nothing may leave the flags as they were.
            Safe::UnlessZero => 0,
            Safe::Carry => RflagsBits::CF,
            _ => modified,
        };
        live = if harmless { live & !surely | i.rflags_read() & ARITH } else { ARITH };
    }
    dead
}
/// Whether a register-only instruction always completes, and which flags it always sets: all that it may change, none, or CF.
enum Safe {
    Always,
    UnlessZero,
    /// Of those that are not defined after it, too, it changes none.
    Carry,
    No,
}
fn kind_of(i: &Instruction) -> Safe {
    use Mnemonic::*;
    match i.mnemonic() {
        Add | Or | Adc | Sbb | And | Sub | Xor | Cmp | Test | Inc | Dec | Neg | Not | Mov | Movzx | Movsx | Movsxd
        | Lea | Imul | Cdqe | Cwde | Cdq | Cqo | Bswap | Nop => Safe::Always,
        Bt | Bts | Btr | Btc => Safe::Carry,
        Shl | Sal | Shr | Sar | Rol | Ror if shift_count(i) != 0 => Safe::Always,
        Shl | Sal | Shr | Sar | Rol | Ror => Safe::UnlessZero,
        _ if condition_of(i).is_some() && i.op0_register().is_gpr() => Safe::Always,
        _ => Safe::No,
    }
}

/// The ops of a block. The last one leaves it.
pub(crate) fn lower(insns: &[Instruction], mode: Mode) -> Vec<Op> {
    ops(insns, mode, true)
}
/// The same, with an op for each instruction that does something.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(crate) fn lower_each(insns: &[Instruction], mode: Mode) -> Vec<Op> {
    ops(insns, mode, false)
}
fn ops(insns: &[Instruction], mode: Mode, pairs: bool) -> Vec<Op> {
    let dead = dead_flags(insns);
    let mut ops: Vec<Op> = Vec::with_capacity(insns.len() + 1);
    let mut off = 0;
    for (ord, i) in insns.iter().enumerate() {
        let mut op = Op {
            run: slow,
            imm: 0,
            disp: 0,
            dst: ZERO,
            src: ZERO,
            base: ZERO,
            index: ZERO,
            seg: ZERO,
            scale: 0,
            ord: ord as u8,
            len: i.len() as u8,
            off: off as u16,
            aux: 0,
        };
        off += i.len();
        let last = ord + 1 == insns.len();
        if last && crate::decode::ends_block(i) {
            let plain = op;
            match ending(i, &mut op, mode) {
                Some(run) => op.run = run,
                None => op = Op { run: slow_end, ..plain },
            }
            if i.is_jcc_short_or_near()
                && op.run as usize != slow_end as *const () as usize
                && let (Some(before), Some(c)) = (ops.last_mut(), ord.checked_sub(1).map(|k| &insns[k]))
                && usize::from(before.ord) + 1 == ord
                && before.run as usize != slow as *const () as usize
                && let Some(run) = fused(c, condition(i))
            {
                before.run = run;
            }
            ops.push(op);
            return ops;
        }
        if i.mnemonic() != Mnemonic::Nop || i.has_lock_prefix() {
            let plain = op;
            let run = if dead[ord] { straight::<Dead>(i, &mut op, mode) } else { straight::<Live>(i, &mut op, mode) };
            match run {
                Some(run) => op.run = run,
                None => op = plain,
            }
            let both = ops
                .last()
                .filter(|before| pairs && run.is_some() && usize::from(before.ord) + 1 == ord)
                .and_then(|before| {
                    let copy = &insns[ord - 1];
                    let fuse = if dead[ord] { three::fused::<Dead> } else { three::fused::<Live> };
                    fuse(copy, before, i, op)
                });
            if let Some(both) = both {
                ops.pop();
                op = both;
            }
            ops.push(op);
        }
        if last {
            // Outside flat segments the limit of CS has to be looked at before every block.
            let run = if mode.flat() { flow::fall } else { flow::fall_out };
            ops.push(Op { run, ..op });
        }
    }
    ops
}
