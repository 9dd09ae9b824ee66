//! Shortcuts for x87 instructions: while every exception is masked, so that none can be pending.

use super::lower::memory;
use super::{Hot, address, get, handler, load, store};
use crate::block::{Handler, Op};
use crate::cpu::{Cpu, Mode, slot};
use crate::flags::LazyFlags;
use crate::fpu::Fpu;
use crate::fpu::f80::F80;
use crate::fpu::soft::Op as Arithmetic;
use crate::fpu::x87::{Operand, Order};
use crate::int::Plain;
use gearbox_core::x86::state::cr0;
use iced_x86::{Instruction, MemorySize, Mnemonic, OpKind, Register};
use std::marker::PhantomData;

/// The x87 may be used, and nothing that the instruction does can become pending.
#[inline(always)]
fn ready(c: &Cpu) -> Option<()> {
    (c.cr0 & (cr0::EM | cr0::TS) == 0 && c.fpu.all_masked()).then_some(())
}
/// Keeps the instruction's address.
#[inline(always)]
fn note(c: &mut Cpu, o: &Op) {
    c.fpu.fip = c.regs[slot::RIP].wrapping_add(o.off.into()) & c.addr_mask;
}
/// Keeps the operand's offset. It is its linear address less the segment base, which only FS and GS have here.
#[inline(always)]
fn note_operand(c: &mut Cpu, o: &Op, lin: u64) {
    c.fpu.fdp = lin.wrapping_sub(get(c, o.seg)) & c.addr_mask;
    note(c, o);
}

/// A memory operand.
trait Load {
    /// The type in memory.
    type T: Plain;
    /// What it stands for, if that is an ordinary number.
    fn value(v: Self::T) -> Option<F80>;
}
/// Where a source operand comes from.
trait Source {
    /// Fetches it; `None` inside is an empty register.
    fn get(c: &mut Cpu, o: &Op) -> Option<Option<Operand>>;
}
/// A register.
struct St;
impl Source for St {
    #[inline(always)]
    fn get(c: &mut Cpu, o: &Op) -> Option<Option<Operand>> {
        note(c, o);
        Some(c.fpu.operand(o.src))
    }
}
macro_rules! memory_operands {
    ($($(#[$doc:meta])* $name:ident: $t:ty, |$v:ident| $e:expr;)*) => { $(
        $(#[$doc])*
        struct $name;
        impl Load for $name {
            type T = $t;
            #[inline(always)]
            fn value($v: $t) -> Option<F80> {
                Some($e)
            }
        }
        impl Source for $name {
            #[inline(always)]
            fn get(c: &mut Cpu, o: &Op) -> Option<Option<Operand>> {
                let lin = address(c, o);
                let $v: $t = load(c, lin)?;
                note_operand(c, o, lin);
                Some(Some(Operand::new($e)))
            }
        }
    )* };
}
memory_operands! {
    /// m32fp.
    Single: u32, |v| F80::from_ordinary_single(v)?;
    /// m64fp.
    Double: u64, |v| F80::from_ordinary_double(v)?;
    /// m16int.
    Word: u16, |v| F80::from_int((v as i16).into());
    /// m32int.
    Dword: u32, |v| F80::from_int((v as i32).into());
    /// m64int.
    Qword: u64, |v| F80::from_int(v as i64);
}

/// An instruction on the stack and perhaps a source operand.
trait Operation {
    /// Does it, or nothing if it is out of the ordinary. `dst` is the destination register.
    fn apply(f: &mut Fpu, dst: u8, source: Option<Operand>) -> Option<()>;
}
/// `O` with its operand from `S`.
struct Do<O, S>(PhantomData<(O, S)>);
impl<O: Operation, S: Source> Hot for Do<O, S> {
    #[inline(always)]
    unsafe fn run(c: &mut Cpu, o: &Op) -> Option<()> {
        ready(c)?;
        let s = S::get(c, o)?;
        O::apply(&mut c.fpu, o.dst, s)
    }
}
macro_rules! operations {
    ($($name:ident = |$f:ident, $dst:pat_param, $s:pat_param| $e:expr;)*) => { $(
        struct $name;
        impl Operation for $name {
            #[inline(always)]
            fn apply($f: &mut Fpu, $dst: u8, $s: Option<Operand>) -> Option<()> {
                $e
            }
        }
    )* };
}
/// Operations that do what another does, and pop.
macro_rules! popping {
    ($($name:ident = $inner:ident, $times:literal;)*) => { $(
        struct $name;
        impl Operation for $name {
            #[inline(always)]
            fn apply(f: &mut Fpu, dst: u8, source: Option<Operand>) -> Option<()> {
                $inner::apply(f, dst, source)?;
                for _ in 0..$times {
                    f.pop();
                }
                Some(())
            }
        }
    )* };
}
operations! {
    Plus = |f, d, s| f.quick_arithmetic(Arithmetic::Add, Order::Forward, d, s);
    Times = |f, d, s| f.quick_arithmetic(Arithmetic::Mul, Order::Forward, d, s);
    Minus = |f, d, s| f.quick_arithmetic(Arithmetic::Sub, Order::Forward, d, s);
    MinusReversed = |f, d, s| f.quick_arithmetic(Arithmetic::Sub, Order::Reverse, d, s);
    Over = |f, d, s| f.quick_arithmetic(Arithmetic::Div, Order::Forward, d, s);
    OverReversed = |f, d, s| f.quick_arithmetic(Arithmetic::Div, Order::Reverse, d, s);
    Compare = |f, _, s| f.quick_compare(s);
    CompareSecond = |f, _, _| f.quick_compare(f.operand(1));
    LoadSt = |f, d, _| { f.load_register(d); Some(()) };
    Exchange = |f, d, _| { f.exchange(d); Some(()) };
    StoreSt = |f, d, _| f.store_register(d).then_some(());
    One = |f, _, _| { f.push(F80::ONE); Some(()) };
    Zero = |f, _, _| { f.push(F80::ZERO); Some(()) };
    ChangeSign = |f, _, _| { f.change_sign(|s| !s); Some(()) };
    Absolute = |f, _, _| { f.change_sign(|_| false); Some(()) };
}
popping! {
    PlusPop = Plus, 1;
    TimesPop = Times, 1;
    MinusPop = Minus, 1;
    MinusReversedPop = MinusReversed, 1;
    OverPop = Over, 1;
    OverReversedPop = OverReversed, 1;
    ComparePop = Compare, 1;
    ComparePopTwo = CompareSecond, 2;
    StoreStPop = StoreSt, 1;
}

/// FLD and FILD from memory.
struct LoadFrom<L>(PhantomData<L>);
impl<L: Load> Hot for LoadFrom<L> {
    #[inline(always)]
    unsafe fn run(c: &mut Cpu, o: &Op) -> Option<()> {
        ready(c)?;
        let lin = address(c, o);
        let v = L::value(load(c, lin)?)?;
        note_operand(c, o, lin);
        c.fpu.push(v);
        Some(())
    }
}
/// FST, FIST and their kin to memory.
trait Store {
    /// The type in memory.
    type T: Plain;
    /// What is stored, whether it is inexact and whether it was rounded up; if it is an ordinary number.
    fn value(f: &Fpu) -> Option<(Self::T, bool, bool)>;
}
struct StoreTo<S, const POP: bool>(PhantomData<S>);
impl<S: Store, const POP: bool> Hot for StoreTo<S, POP> {
    #[inline(always)]
    unsafe fn run(c: &mut Cpu, o: &Op) -> Option<()> {
        ready(c)?;
        let lin = address(c, o);
        let (v, inexact, up) = S::value(&c.fpu)?;
        store(c, lin, v)?;
        note_operand(c, o, lin);
        c.fpu.note_rounding(inexact, up);
        if POP {
            c.fpu.pop();
        }
        Some(())
    }
}
macro_rules! stores {
    ($($name:ident: $t:ty, |$f:ident| $e:expr;)*) => { $(
        impl Store for $name {
            type T = $t;
            #[inline(always)]
            fn value($f: &Fpu) -> Option<($t, bool, bool)> {
                let (v, inexact, up) = $e?;
                Some((v as $t, inexact, up))
            }
        }
    )* };
}
stores! {
    Single: u32, |f| f.quick_single();
    Double: u64, |f| f.quick_double();
    Word: u16, |f| f.quick_integer(16);
    Dword: u32, |f| f.quick_integer(32);
    Qword: u64, |f| f.quick_integer(64);
}

/// FCOMI, FUCOMI and their popping forms. On normal numbers they are alike.
struct ToFlags<const POP: bool>;
impl<const POP: bool> Hot for ToFlags<POP> {
    #[inline(always)]
    unsafe fn run(c: &mut Cpu, o: &Op) -> Option<()> {
        ready(c)?;
        note(c, o);
        let source = c.fpu.operand(o.src);
        c.lazy = LazyFlags::from_bits(c.fpu.quick_compare_to_flags(source)?);
        if POP {
            c.fpu.pop();
        }
        Some(())
    }
}
/// FLDCW.
struct LoadControl;
impl Hot for LoadControl {
    #[inline(always)]
    unsafe fn run(c: &mut Cpu, o: &Op) -> Option<()> {
        ready(c)?;
        let v = load(c, address(c, o))?;
        c.fpu.set_control(v);
        Some(())
    }
}
/// FNSTCW.
struct StoreControl;
impl Hot for StoreControl {
    #[inline(always)]
    unsafe fn run(c: &mut Cpu, o: &Op) -> Option<()> {
        ready(c)?;
        store(c, address(c, o), c.fpu.fcw)
    }
}
/// FNSTSW AX.
struct StatusToAx;
impl Hot for StatusToAx {
    #[inline(always)]
    unsafe fn run(c: &mut Cpu, _: &Op) -> Option<()> {
        ready(c)?;
        c.set_gpr_low(0, c.fpu.status());
        Some(())
    }
}

/// With a source in memory or a register.
fn sourced<O: Operation>(i: &Instruction) -> Option<Handler> {
    Some(match i.memory_size() {
        MemorySize::Float32 => handler::<Do<O, Single>>,
        MemorySize::Float64 => handler::<Do<O, Double>>,
        MemorySize::Int16 => handler::<Do<O, Word>>,
        MemorySize::Int32 => handler::<Do<O, Dword>>,
        _ => handler::<Do<O, St>>,
    })
}
/// To memory in the size that `i` has.
fn stored<const POP: bool>(i: &Instruction) -> Option<Handler> {
    Some(match i.memory_size() {
        MemorySize::Float32 => handler::<StoreTo<Single, POP>>,
        MemorySize::Float64 => handler::<StoreTo<Double, POP>>,
        MemorySize::Int16 => handler::<StoreTo<Word, POP>>,
        MemorySize::Int32 => handler::<StoreTo<Dword, POP>>,
        MemorySize::Int64 => handler::<StoreTo<Qword, POP>>,
        _ => return None,
    })
}
fn loaded(i: &Instruction) -> Option<Handler> {
    Some(match i.memory_size() {
        MemorySize::Float32 => handler::<LoadFrom<Single>>,
        MemorySize::Float64 => handler::<LoadFrom<Double>>,
        MemorySize::Int16 => handler::<LoadFrom<Word>>,
        MemorySize::Int32 => handler::<LoadFrom<Dword>>,
        MemorySize::Int64 => handler::<LoadFrom<Qword>>,
        _ => return None,
    })
}

/// The handler of an x87 instruction.
pub(super) fn straight(i: &Instruction, op: &mut Op, mode: Mode) -> Option<Handler> {
    use Mnemonic::*;
    let to_memory = i.op_count() == 1 && i.op0_kind() == OpKind::Memory;
    let h = match i.mnemonic() {
        Fadd | Fiadd => sourced::<Plus>(i)?,
        Fmul | Fimul => sourced::<Times>(i)?,
        Fsub | Fisub => sourced::<Minus>(i)?,
        Fsubr | Fisubr => sourced::<MinusReversed>(i)?,
        Fdiv | Fidiv => sourced::<Over>(i)?,
        Fdivr | Fidivr => sourced::<OverReversed>(i)?,
        Faddp => handler::<Do<PlusPop, St>>,
        Fmulp => handler::<Do<TimesPop, St>>,
        Fsubp => handler::<Do<MinusPop, St>>,
        Fsubrp => handler::<Do<MinusReversedPop, St>>,
        Fdivp => handler::<Do<OverPop, St>>,
        Fdivrp => handler::<Do<OverReversedPop, St>>,
        // On normal numbers the ordered and unordered comparisons are alike.
        Fcom | Ficom | Fucom => sourced::<Compare>(i)?,
        Fcomp | Ficomp | Fucomp => sourced::<ComparePop>(i)?,
        Fcompp | Fucompp => handler::<Do<ComparePopTwo, St>>,
        Fcomi | Fucomi => handler::<ToFlags<false>>,
        Fcomip | Fucomip => handler::<ToFlags<true>>,
        Fld if i.memory_size() == MemorySize::Unknown => handler::<Do<LoadSt, St>>,
        Fld | Fild => loaded(i)?,
        Fst if !to_memory => handler::<Do<StoreSt, St>>,
        Fstp if !to_memory => handler::<Do<StoreStPop, St>>,
        Fst | Fist => stored::<false>(i)?,
        Fstp | Fistp => stored::<true>(i)?,
        Fxch => handler::<Do<Exchange, St>>,
        Fld1 => handler::<Do<One, St>>,
        Fldz => handler::<Do<Zero, St>>,
        Fchs => handler::<Do<ChangeSign, St>>,
        Fabs => handler::<Do<Absolute, St>>,
        Fldcw => handler::<LoadControl>,
        Fnstcw => handler::<StoreControl>,
        Fnstsw if i.op0_register() == Register::AX => handler::<StatusToAx>,
        _ => return None,
    };
    // ST(i) by number: the destination, and the source, which is the last operand.
    let st = |n: u32| (i.op_register(n) as u8).wrapping_sub(Register::ST0 as u8) & 7;
    (op.dst, op.src) = (0, 0);
    for n in 0..i.op_count() {
        match i.op_kind(n) {
            OpKind::Memory => memory(i, op, mode)?,
            OpKind::Register if n == 0 => (op.dst, op.src) = (st(0), st(0)),
            OpKind::Register => op.src = st(n),
            _ => return None,
        }
    }
    // What works on one register besides ST(0) has it as last operand.
    if matches!(i.mnemonic(), Fld | Fxch) {
        op.dst = op.src;
    }
    Some(h)
}
