//! Executors of the x87 instructions.

use super::Fpu;
use super::access::st;
use super::f80::F80;
use super::soft::{Format, Op, Rounding};
use super::transcendental::Function;
use super::x87::{Nans, Operand, Order, Store};
use crate::block::Executor;
use crate::cpu::Cpu;
use crate::fault::{Exec, Fault};
use crate::flags::LazyFlags;
use crate::int::Plain;
use crate::mem::Access;
use gearbox_core::x86::state::{Seg, cr0};
use iced_x86::{Instruction, MemorySize, Mnemonic, OpKind, Register};

/// The executor of an x87 instruction.
pub(super) fn executor(i: &Instruction) -> Option<Executor> {
    use Mnemonic::*;
    // Something done with a source operand: memory in any of its formats, or the last register operand.
    macro_rules! sourced {
        (|$f:ident, $i:ident, $s:ident| $e:expr) => {
            match i.memory_size() {
                MemorySize::Float32 => |c, i| with_memory(c, i, single, |$f, $i, $s| $e),
                MemorySize::Float64 => |c, i| with_memory(c, i, double, |$f, $i, $s| $e),
                MemorySize::Int16 => |c, i| with_memory(c, i, word, |$f, $i, $s| $e),
                MemorySize::Int32 => |c, i| with_memory(c, i, dword, |$f, $i, $s| $e),
                _ => |c, i| with_register(c, i, |$f, $i, $s| $e),
            }
        };
    }
    // ST(destination) = ST(destination) op source.
    macro_rules! arithmetic {
        ($op:ident, $order:ident) => {
            sourced!(|f, i, s| {
                f.arithmetic(Op::$op, Order::$order, destination(i), s);
            })
        };
        ($op:ident, $order:ident, pop) => {
            |c, i| {
                with_register(c, i, |f, i, s| {
                    if f.arithmetic(Op::$op, Order::$order, destination(i), s) {
                        f.pop();
                    }
                })
            }
        };
    }
    macro_rules! compare {
        ($nans:ident, $pops:literal) => {
            sourced!(|f, _i, s| compare(f, s, Nans::$nans, $pops))
        };
    }
    macro_rules! simple {
        (|$f:ident| $e:expr) => {
            |c, i| operate(c, i, |$f| $e)
        };
    }
    macro_rules! constant {
        ($k:path) => {
            simple!(|f| f.push($k.rounded(f.rounding())))
        };
    }
    macro_rules! function {
        ($k:ident) => {
            simple!(|f| f.transcendental(Function::$k))
        };
    }
    macro_rules! store_int {
        ($chopped:literal, $pop:literal) => {
            match i.memory_size() {
                MemorySize::Int16 => |c, i| store(c, i, |f| f.stored_int(16, $chopped), |v| v as u16, $pop),
                MemorySize::Int32 => |c, i| store(c, i, |f| f.stored_int(32, $chopped), |v| v as u32, $pop),
                _ => |c, i| store(c, i, |f| f.stored_int(64, $chopped), |v| v as u64, $pop),
            }
        };
    }
    macro_rules! move_if {
        (|$l:ident| $e:expr) => {
            |c, i| {
                let $l = c.lazy;
                operate(c, i, |f| f.move_if(st(i, 1), $e))
            }
        };
    }
    Some(match i.mnemonic() {
        Fadd | Fiadd => arithmetic!(Add, Forward),
        Fmul | Fimul => arithmetic!(Mul, Forward),
        Fsub | Fisub => arithmetic!(Sub, Forward),
        Fsubr | Fisubr => arithmetic!(Sub, Reverse),
        Fdiv | Fidiv => arithmetic!(Div, Forward),
        Fdivr | Fidivr => arithmetic!(Div, Reverse),
        Faddp => arithmetic!(Add, Forward, pop),
        Fmulp => arithmetic!(Mul, Forward, pop),
        Fsubp => arithmetic!(Sub, Forward, pop),
        Fsubrp => arithmetic!(Sub, Reverse, pop),
        Fdivp => arithmetic!(Div, Forward, pop),
        Fdivrp => arithmetic!(Div, Reverse, pop),

        Fcom | Ficom => compare!(Ordered, 0),
        Fcomp | Ficomp => compare!(Ordered, 1),
        Fucom => compare!(Unordered, 0),
        Fucomp => compare!(Unordered, 1),
        Fcompp => simple!(|f| compare(f, f.operand(1), Nans::Ordered, 2)),
        Fucompp => simple!(|f| compare(f, f.operand(1), Nans::Unordered, 2)),
        Ftst => simple!(|f| compare(f, Some(Operand::new(F80::ZERO)), Nans::Ordered, 0)),
        Fcomi => |c, i| compare_to_flags(c, i, Nans::Ordered, false),
        Fcomip => |c, i| compare_to_flags(c, i, Nans::Ordered, true),
        Fucomi => |c, i| compare_to_flags(c, i, Nans::Unordered, false),
        Fucomip => |c, i| compare_to_flags(c, i, Nans::Unordered, true),
        Fxam => simple!(|f| f.examine()),

        Fld => match i.memory_size() {
            MemorySize::Float32 => |c, i| load(c, i, |f, v: u32| f.load_ieee(v.into(), Format::SINGLE)),
            MemorySize::Float64 => |c, i| load(c, i, |f, v: u64| f.load_ieee(v, Format::DOUBLE)),
            MemorySize::Float80 => |c, i| load_ten(c, i, F80::from_bytes),
            _ => |c, i| operate(c, i, |f| f.load_register(st(i, i.op_count().saturating_sub(1)))),
        },
        Fild => match i.memory_size() {
            MemorySize::Int16 => |c, i| load(c, i, |f, v: u16| f.push(F80::from_int((v as i16).into()))),
            MemorySize::Int32 => |c, i| load(c, i, |f, v: u32| f.push(F80::from_int((v as i32).into()))),
            _ => |c, i| load(c, i, |f, v: u64| f.push(F80::from_int(v as i64))),
        },
        Fbld => |c, i| load_ten(c, i, F80::from_bcd),
        Fst | Fstp => match (i.memory_size(), i.mnemonic() == Fstp) {
            (MemorySize::Float32, false) => |c, i| store(c, i, |f| f.stored_ieee(Format::SINGLE), |v| v as u32, false),
            (MemorySize::Float32, true) => |c, i| store(c, i, |f| f.stored_ieee(Format::SINGLE), |v| v as u32, true),
            (MemorySize::Float64, false) => |c, i| store(c, i, |f| f.stored_ieee(Format::DOUBLE), |v| v, false),
            (MemorySize::Float64, true) => |c, i| store(c, i, |f| f.stored_ieee(Format::DOUBLE), |v| v, true),
            (MemorySize::Float80, _) => |c, i| store_ten(c, i, Fpu::stored_extended, F80::to_bytes),
            (_, pop) => {
                return Some(if pop { |c, i| store_register(c, i, true) } else { |c, i| store_register(c, i, false) });
            }
        },
        // FSTP that ignores an empty ST(0).
        Fstpnce => |c, i| {
            operate(c, i, |f| {
                if f.is_empty(0) {
                    f.set_c1(false);
                    f.pop();
                } else if f.store_register(st(i, 0)) {
                    f.pop();
                }
            })
        },
        Fist => store_int!(false, false),
        Fistp => store_int!(false, true),
        Fisttp => store_int!(true, true),
        Fbstp => |c, i| store_ten(c, i, Fpu::stored_bcd, |b| b),
        Fxch => |c, i| operate(c, i, |f| f.exchange(st(i, i.op_count().saturating_sub(1)))),
        Fcmovb => move_if!(|l| l.cf()),
        Fcmovnb => move_if!(|l| !l.cf()),
        Fcmove => move_if!(|l| l.zf()),
        Fcmovne => move_if!(|l| !l.zf()),
        Fcmovbe => move_if!(|l| l.cf() || l.zf()),
        Fcmovnbe => move_if!(|l| !l.cf() && !l.zf()),
        Fcmovu => move_if!(|l| l.pf()),
        Fcmovnu => move_if!(|l| !l.pf()),

        Fld1 => constant!(constants::ONE),
        Fldz => constant!(constants::ZERO),
        Fldpi => constant!(constants::PI),
        Fldl2t => constant!(constants::LOG2_10),
        Fldl2e => constant!(constants::LOG2_E),
        Fldlg2 => constant!(constants::LOG10_2),
        Fldln2 => constant!(constants::LN_2),

        Fabs => simple!(|f| f.change_sign(|_| false)),
        Fchs => simple!(|f| f.change_sign(|s| !s)),
        Fsqrt => simple!(|f| f.square_root()),
        Frndint => simple!(|f| f.round_to_int()),
        Fscale => simple!(|f| f.scale()),
        Fxtract => simple!(|f| f.extract()),
        Fprem => simple!(|f| f.remainder(false)),
        Fprem1 => simple!(|f| f.remainder(true)),
        F2xm1 => function!(Exp2MinusOne),
        Fyl2x => function!(YLog2),
        Fyl2xp1 => function!(YLog2Plus1),
        Fptan => function!(Tangent),
        Fpatan => function!(Arctangent),
        Fsin => function!(Sine),
        Fcos => function!(Cosine),
        Fsincos => function!(SineCosine),

        Fincstp => simple!(|f| {
            f.rotate(1);
            f.set_c1(false);
        }),
        Fdecstp => simple!(|f| {
            f.rotate(-1);
            f.set_c1(false);
        }),
        Ffree => |c, i| operate(c, i, |f| f.free(st(i, 0))),
        Ffreep => |c, i| {
            operate(c, i, |f| {
                f.free(st(i, 0));
                f.pop();
            })
        },
        Fnop => simple!(|_f| ()),
        Wait => |c, _| {
            if c.cr0 & (cr0::MP | cr0::TS) == cr0::MP | cr0::TS {
                return Err(Fault::NM);
            }
            c.need_no_pending()
        },
        Fninit | Finit => control_op(i, |c, _| unchecked(c, Fpu::init)),
        Fnclex | Fclex => control_op(i, |c, _| unchecked(c, Fpu::clear_exceptions)),
        // Coprocessor control of the 8087 and 80287: nothing since the 80387.
        Fneni | Feni | Fndisi | Fdisi | Fnsetpm | Fsetpm | Frstpm => |c, _| c.need_x87(),
        Fldcw => |c, i| {
            c.need_x87()?;
            c.need_no_pending()?;
            let v = c.read_mem(i)?;
            c.fpu.set_control(v);
            Ok(())
        },
        Fnstcw | Fstcw => control_op(i, |c, i| {
            c.need_x87()?;
            c.write_mem(i, c.fpu.fcw)
        }),
        Fnstsw | Fstsw => control_op(i, |c, i| {
            c.need_x87()?;
            let v = c.fpu.status();
            if i.op0_kind() == OpKind::Register {
                c.set_reg(Register::AX, v.into());
                return Ok(());
            }
            c.write_mem(i, v)
        }),
        _ => return None,
    })
}

/// The form without a preceding wait, even where the decoder has made the wait part of the instruction.
fn control_op(_i: &Instruction, f: Executor) -> Executor {
    f
}

// ---- what they have in common

/// Where ST(0)'s counterpart is: the first operand if that is a register.
fn destination(i: &Instruction) -> u8 {
    if i.op0_kind() == OpKind::Register { st(i, 0) } else { 0 }
}

/// Does something that no pending exception delays.
fn unchecked(c: &mut Cpu, f: impl FnOnce(&mut Fpu)) -> Exec {
    c.need_x87()?;
    f(&mut c.fpu);
    Ok(())
}
/// The checks of a waiting instruction.
#[inline(always)]
fn begin(c: &Cpu) -> Exec {
    c.need_x87()?;
    c.need_no_pending()
}
/// Notes where the instruction was, once it can no longer fault, and does it.
#[inline(always)]
fn finish<R>(c: &mut Cpu, i: &Instruction, f: impl FnOnce(&mut Fpu) -> R) -> R {
    c.fpu.fip = c.rip.wrapping_sub(i.len() as u64);
    let r = f(&mut c.fpu);
    if c.fpu.exception_pending() {
        note_opcode(c);
    }
    r
}
/// An instruction on registers alone.
#[inline(always)]
fn operate<R>(c: &mut Cpu, i: &Instruction, f: impl FnOnce(&mut Fpu) -> R) -> Exec<R> {
    begin(c)?;
    Ok(finish(c, i, f))
}
/// An instruction whose source is its last operand, a register.
#[inline(always)]
fn with_register(c: &mut Cpu, i: &Instruction, f: impl FnOnce(&mut Fpu, &Instruction, Option<Operand>)) -> Exec {
    operate(c, i, |fpu| {
        let source = fpu.operand(st(i, i.op_count().saturating_sub(1)));
        f(fpu, i, source)
    })
}
/// An instruction whose source is in memory.
#[inline(always)]
fn with_memory(
    c: &mut Cpu,
    i: &Instruction,
    fetch: impl FnOnce(&mut Cpu, Seg, u64) -> Exec<Operand>,
    f: impl FnOnce(&mut Fpu, &Instruction, Option<Operand>),
) -> Exec {
    begin(c)?;
    let at = c.ea(i);
    let source = fetch(c, c.operand_seg(i), at)?;
    c.fpu.fdp = at;
    finish(c, i, |fpu| f(fpu, i, Some(source)));
    Ok(())
}
fn single(c: &mut Cpu, s: Seg, at: u64) -> Exec<Operand> {
    Ok(Operand::ieee(c.read_virt::<u32>(s, at)?.into(), Format::SINGLE))
}
fn double(c: &mut Cpu, s: Seg, at: u64) -> Exec<Operand> {
    Ok(Operand::ieee(c.read_virt::<u64>(s, at)?, Format::DOUBLE))
}
fn word(c: &mut Cpu, s: Seg, at: u64) -> Exec<Operand> {
    Ok(Operand::int((c.read_virt::<u16>(s, at)? as i16).into()))
}
fn dword(c: &mut Cpu, s: Seg, at: u64) -> Exec<Operand> {
    Ok(Operand::int((c.read_virt::<u32>(s, at)? as i32).into()))
}

/// Loads a value of 2, 4 or 8 bytes.
#[inline(always)]
fn load<T: Plain>(c: &mut Cpu, i: &Instruction, f: impl FnOnce(&mut Fpu, T)) -> Exec {
    begin(c)?;
    let at = c.ea(i);
    let v = c.read_virt(c.operand_seg(i), at)?;
    c.fpu.fdp = at;
    finish(c, i, |fpu| f(fpu, v));
    Ok(())
}
/// Loads a value of ten bytes.
fn load_ten(c: &mut Cpu, i: &Instruction, f: impl FnOnce([u8; 10]) -> F80) -> Exec {
    begin(c)?;
    align_ten(c, i, Access::Read)?;
    let mut bytes = [0; 10];
    c.read_mem_bytes(i, &mut bytes)?;
    c.fpu.fdp = c.ea(i);
    finish(c, i, |fpu| fpu.push(f(bytes)));
    Ok(())
}
/// Stores a value of 2, 4 or 8 bytes.
#[inline(always)]
fn store<V: Copy, T: Plain>(
    c: &mut Cpu,
    i: &Instruction,
    value: impl FnOnce(&Fpu) -> Store<V>,
    cut: impl FnOnce(V) -> T,
    pop: bool,
) -> Exec {
    begin(c)?;
    let at = c.ea(i);
    let s = value(&c.fpu);
    if !c.fpu.suppresses(&s) {
        c.write_virt(c.operand_seg(i), at, cut(s.value))?;
    } else {
        could_store(c, i, T::SIZE)?;
    }
    c.fpu.fdp = at;
    finish(c, i, |fpu| {
        if fpu.commit_store(&s) && pop {
            fpu.pop();
        }
    });
    Ok(())
}
/// Faults as a store would: also one that an unmasked exception holds back.
#[cold]
fn could_store(c: &mut Cpu, i: &Instruction, len: usize) -> Exec {
    let (lin, p) = (c.operand_linear(i, len, Access::Write)?, c.privilege());
    c.check_alignment(lin, len, p)?;
    c.check_write(lin, len, p)
}
/// Ten bytes count as aligned where eight do.
fn align_ten(c: &Cpu, i: &Instruction, a: Access) -> Exec {
    if !c.align_check {
        return Ok(());
    }
    let lin = c.operand_linear(i, 10, a)?;
    c.check_alignment(lin, 8, c.privilege())
}
/// Stores a value of ten bytes and pops.
fn store_ten<V: Copy>(
    c: &mut Cpu,
    i: &Instruction,
    value: impl FnOnce(&Fpu) -> Store<V>,
    bytes: impl FnOnce(V) -> [u8; 10],
) -> Exec {
    begin(c)?;
    align_ten(c, i, Access::Write)?;
    let s = value(&c.fpu);
    if !c.fpu.suppresses(&s) {
        c.write_mem_bytes(i, &bytes(s.value))?;
    } else {
        could_store(c, i, 10)?;
    }
    c.fpu.fdp = c.ea(i);
    finish(c, i, |fpu| {
        if fpu.commit_store(&s) {
            fpu.pop();
        }
    });
    Ok(())
}
/// FST and FSTP to a register.
fn store_register(c: &mut Cpu, i: &Instruction, pop: bool) -> Exec {
    operate(c, i, |f| {
        if f.store_register(st(i, 0)) && pop {
            f.pop();
        }
    })
}

/// Compares, and pops if nothing unmasked came of it.
#[inline(always)]
fn compare(f: &mut Fpu, source: Option<Operand>, nans: Nans, pops: u32) {
    if f.compare(source, nans) {
        for _ in 0..pops {
            f.pop();
        }
    }
}
/// FCOMI, FCOMIP, FUCOMI, FUCOMIP.
fn compare_to_flags(c: &mut Cpu, i: &Instruction, nans: Nans, pop: bool) -> Exec {
    let result = operate(c, i, |f| {
        let result = f.compare_to_flags(f.operand(st(i, 1)), nans);
        if result.is_some() && pop {
            f.pop();
        }
        result
    })?;
    if let Some(flags) = result {
        c.lazy = LazyFlags::from_bits(flags);
    }
    Ok(())
}

/// After an unmasked exception: keeps the instruction's opcode, three bits of the escape byte and the ModRM byte (SDM vol. 1, 8.1.9).
#[cold]
fn note_opcode(c: &mut Cpu) {
    let mut bytes = [0u8; 15];
    let at = c.fpu.fip;
    let have = (0..bytes.len()).take_while(|&n| {
        let byte = c
            .linear(Seg::Cs, at.wrapping_add(n as u64) & c.addr_mask, 1, Access::Execute)
            .and_then(|lin| c.load::<u8>(lin, c.privilege()));
        byte.map(|b| bytes[n] = b).is_ok()
    });
    let have = have.count();
    let escape = bytes[..have].iter().position(|b| (0xd8..=0xdf).contains(b));
    if let Some(&[escape, modrm]) = escape.and_then(|n| bytes[..have].get(n..n + 2)) {
        c.fpu.fop = u16::from(escape & 7) << 8 | u16::from(modrm);
    }
}

/// The constants that FLD1 and its kin load.
mod constants {
    use super::{F80, Rounding};

    /// A constant: what chopping gives, and by which of the other modes the last bit is one more.
    pub(super) struct Constant {
        chopped: F80,
        up_to_nearest: bool,
        exact: bool,
    }
    impl Constant {
        const fn exact(v: F80) -> Self {
            Self { chopped: v, up_to_nearest: false, exact: true }
        }
        const fn inexact(se: u16, sig: u64, up_to_nearest: bool) -> Self {
            Self { chopped: F80::new(se, sig), up_to_nearest, exact: false }
        }
        /// The constant in a rounding mode. All are positive.
        pub(super) fn rounded(&self, r: Rounding) -> F80 {
            let up = match r {
                Rounding::Nearest => self.up_to_nearest,
                Rounding::Up => !self.exact,
                Rounding::Down | Rounding::Zero => false,
            };
            F80::new(self.chopped.se, self.chopped.sig + u64::from(up))
        }
    }
    pub(super) const ZERO: Constant = Constant::exact(F80::ZERO);
    pub(super) const ONE: Constant = Constant::exact(F80::ONE);
    pub(super) const PI: Constant = Constant::inexact(0x4000, 0xc90f_daa2_2168_c234, true);
    pub(super) const LOG2_10: Constant = Constant::inexact(0x4000, 0xd49a_784b_cd1b_8afe, false);
    pub(super) const LOG2_E: Constant = Constant::inexact(0x3fff, 0xb8aa_3b29_5c17_f0bb, true);
    pub(super) const LOG10_2: Constant = Constant::inexact(0x3ffd, 0x9a20_9a84_fbcf_f798, true);
    pub(super) const LN_2: Constant = Constant::inexact(0x3ffe, 0xb172_17f7_d1cf_79ab, true);
}
