//! Shortcuts for instructions on XMM registers: the operations of [`crate::fpu`] on operands from the register file and the TLB, as far as
//! the host's arithmetic decides them.

use super::lower::operands;
use super::{Hot, address, get, handler, load, put, store};
use crate::block::{Handler, Op};
use crate::cpu::{Cpu, Mode};
use crate::flags::LazyFlags;
use crate::fpu::packed;
use crate::fpu::soft::Rounding;
use crate::fpu::sse::{self, Attempt, Lane};
use crate::fpu::sse_packed as float;
use crate::fpu::vec::Vec128;
use crate::int::{Int, Plain};
use gearbox_core::x86::state::{cr0, cr4};
use iced_x86::{Instruction, Mnemonic, OpKind};
use std::marker::PhantomData;

/// May SSE instructions be executed?
#[inline(always)]
fn ready(c: &Cpu) -> Option<()> {
    (c.cr0 & (cr0::EM | cr0::TS) == 0 && c.cr4 & cr4::OSFXSR != 0).then_some(())
}
/// An XMM register by its byte offset among them.
#[inline(always)]
fn xmm(c: &mut Cpu, at: u8) -> &mut Vec128 {
    &mut c.fpu.xmm[usize::from(at >> 4)]
}

/// Where the second operand comes from.
trait Source {
    /// Fetches it.
    fn get(c: &mut Cpu, o: &Op) -> Option<Vec128>;
}
/// A register.
struct Reg;
impl Source for Reg {
    #[inline(always)]
    fn get(c: &mut Cpu, o: &Op) -> Option<Vec128> {
        Some(*xmm(c, o.src))
    }
}
/// Sixteen bytes of memory, which must be aligned just if `ALIGNED`.
struct Mem<const ALIGNED: bool>;
impl<const ALIGNED: bool> Source for Mem<ALIGNED> {
    #[inline(always)]
    fn get(c: &mut Cpu, o: &Op) -> Option<Vec128> {
        let lin = address(c, o);
        if ALIGNED && lin & 15 != 0 { None } else { load(c, lin) }
    }
}
/// Four or eight bytes of memory, zero-extended.
struct Narrow<T>(PhantomData<T>);
impl<T: Int> Source for Narrow<T> {
    #[inline(always)]
    fn get(c: &mut Cpu, o: &Op) -> Option<Vec128> {
        Some(Vec128::from_low64(load::<T>(c, address(c, o))?.zx()))
    }
}
/// A general register, zero-extended.
struct Gpr<T>(PhantomData<T>);
impl<T: Int> Source for Gpr<T> {
    #[inline(always)]
    fn get(c: &mut Cpu, o: &Op) -> Option<Vec128> {
        Some(Vec128::from_low64(get::<T>(c, o.src).zx()))
    }
}

/// An operation that replaces its first operand.
trait Operation {
    /// It may need a longer look at what the host's arithmetic gives.
    const FLOAT: bool = false;
    /// The new value.
    fn apply<const LONG: bool>(e: &mut Attempt<LONG>, a: Vec128, b: Vec128, imm: u8) -> Vec128;
}
/// `O` with its second operand from `S`.
struct Do<O, S>(PhantomData<(O, S)>);
impl<O: Operation, S: Source> Do<O, S> {
    #[inline(always)]
    fn attempt<const LONG: bool>(c: &mut Cpu, o: &Op) -> Option<()> {
        ready(c)?;
        let mut e = Attempt::<LONG>::new(c.fpu.mxcsr);
        if O::FLOAT && !e.promises() {
            return None;
        }
        let b = S::get(c, o)?;
        let r = O::apply(&mut e, *xmm(c, o.dst), b, o.imm as u8);
        *xmm(c, o.dst) = e.result(r)?;
        Some(())
    }
}
impl<O: Operation, S: Source> Hot for Do<O, S> {
    const AGAIN: bool = O::FLOAT;
    #[inline(always)]
    unsafe fn run(c: &mut Cpu, o: &Op) -> Option<()> {
        Self::attempt::<false>(c, o)
    }
    #[inline(always)]
    unsafe fn again(c: &mut Cpu, o: &Op) -> Option<()> {
        Self::attempt::<true>(c, o)
    }
}

/// What a store takes of a register.
trait Part {
    /// Its type.
    type T: Plain;
    /// The part.
    fn of(v: Vec128) -> Self::T;
}
/// Bits 63..0.
struct Low64;
impl Part for Low64 {
    type T = u64;
    #[inline(always)]
    fn of(v: Vec128) -> u64 {
        v.low64()
    }
}
/// Bits 31..0.
struct Low32;
impl Part for Low32 {
    type T = u32;
    #[inline(always)]
    fn of(v: Vec128) -> u32 {
        v.low32()
    }
}
/// Bits 127..64.
struct High64;
impl Part for High64 {
    type T = u64;
    #[inline(always)]
    fn of(v: Vec128) -> u64 {
        v.high64()
    }
}
/// Everything.
struct All;
impl Part for All {
    type T = Vec128;
    #[inline(always)]
    fn of(v: Vec128) -> Vec128 {
        v
    }
}
/// Stores a part of a register.
struct Store<P, const ALIGNED: bool>(PhantomData<P>);
impl<P: Part, const ALIGNED: bool> Hot for Store<P, ALIGNED> {
    #[inline(always)]
    unsafe fn run(c: &mut Cpu, o: &Op) -> Option<()> {
        ready(c)?;
        let lin = address(c, o);
        if ALIGNED && lin & 15 != 0 {
            return None;
        }
        let v = P::of(*xmm(c, o.src));
        store(c, lin, v)
    }
}
/// MOVD and MOVQ to a general register.
struct ToGpr<P>(PhantomData<P>);
impl<P: Part<T: Int>> Hot for ToGpr<P> {
    #[inline(always)]
    unsafe fn run(c: &mut Cpu, o: &Op) -> Option<()> {
        ready(c)?;
        let v = P::of(*xmm(c, o.src));
        put(c, o.dst, v);
        Some(())
    }
}

/// PMOVMSKB, MOVMSKPS, MOVMSKPD.
trait Signs {
    /// The sign bits.
    fn of(v: Vec128) -> u32;
}
struct SignsToGpr<S>(PhantomData<S>);
impl<S: Signs> Hot for SignsToGpr<S> {
    #[inline(always)]
    unsafe fn run(c: &mut Cpu, o: &Op) -> Option<()> {
        ready(c)?;
        let v = S::of(*xmm(c, o.src));
        put(c, o.dst, v);
        Some(())
    }
}

/// COMIx and UCOMIx on lanes of type `T`.
struct Compare<T, S, const SIGNALS: bool>(PhantomData<(T, S)>);
impl<T: Lane, S: Source, const SIGNALS: bool> Hot for Compare<T, S, SIGNALS> {
    #[inline(always)]
    unsafe fn run(c: &mut Cpu, o: &Op) -> Option<()> {
        ready(c)?;
        let b = S::get(c, o)?;
        let a = *xmm(c, o.dst);
        let mut e = Attempt::<true>::new(c.fpu.mxcsr);
        let order = sse::compare(&mut e, T::narrow(a.low64()), T::narrow(b.low64()), SIGNALS);
        c.lazy = LazyFlags::from_bits(sse::comparison_flags(e.result(order)?));
        Some(())
    }
}

/// CVTTSS2SI and CVTTSD2SI: from lanes of type `T` to a register of type `R`.
struct Chop<T, R, S>(PhantomData<(T, R, S)>);
impl<T: Lane, R: Int, S: Source> Hot for Chop<T, R, S> {
    #[inline(always)]
    unsafe fn run(c: &mut Cpu, o: &Op) -> Option<()> {
        ready(c)?;
        let b = S::get(c, o)?;
        let mut e = Attempt::<true>::new(c.fpu.mxcsr);
        let v = sse::to_integer(&mut e, T::narrow(b.low64()), R::BITS, Rounding::Zero);
        put(c, o.dst, R::cut(e.result(v)? as u64));
        Some(())
    }
}

/// Defines operations by name.
macro_rules! operations {
    ($($name:ident = |$e:pat_param, $a:pat_param, $b:pat_param, $imm:pat_param| $r:expr;)*) => { $(
        struct $name;
        impl Operation for $name {
            #[inline(always)]
            fn apply<const LONG: bool>($e: &mut Attempt<LONG>, $a: Vec128, $b: Vec128, $imm: u8) -> Vec128 {
                $r
            }
        }
    )* };
}
operations! {
    Second = |_, _, b, _| b;
    MergeLow32 = |_, a, b, _| a.with_low32(b.low32());
    MergeLow64 = |_, a, b, _| a.with_low64(b.low64());
    Low64Alone = |_, _, b, _| Vec128::from_low64(b.low64());
    MergeHigh64 = |_, a, b, _| Vec128::from_u64s([a.low64(), b.low64()]);
    FromI32 = |e, a, b, _| a.with_low64(sse::from_integer(e, (b.low32() as i32).into()));
    FromI64 = |e, a, b, _| a.with_low64(sse::from_integer(e, b.low64() as i64));
    SingleFromI32 = |e, a, b, _| a.with_low32(sse::from_integer(e, (b.low32() as i32).into()));
    SingleFromI64 = |e, a, b, _| a.with_low32(sse::from_integer(e, b.low64() as i64));
}
macro_rules! signs {
    ($($name:ident = $f:ident;)*) => { $(
        struct $name;
        impl Signs for $name {
            #[inline(always)]
            fn of(v: Vec128) -> u32 {
                packed::$f(v)
            }
        }
    )* };
}
signs! {
    Bytes = pmovmskb;
    Singles = movmskps;
    Doubles = movmskpd;
}

/// Makes the table of operations that are alike but for their name: `$module::$function` of two operands (and an immediate).
macro_rules! table {
    (
        packed { $($p:ident $pf:ident,)* }
        immediate { $($m:ident $mf:ident,)* }
        shifts { $($s:ident $sf:ident,)* }
        full { $($f:ident $ff:ident,)* }
        single { $($n:ident $nf:ident,)* }
        double { $($d:ident $df:ident,)* }
        comparisons { $($c:ident $cf:ident $how:ident $(<$width:ty>)?,)* }
    ) => {
        /// The operations.
        mod by_name {
            use super::{Attempt, Operation, Vec128, float, packed};
            table!(@ops false |_e, a, b, _imm| $($p packed::$pf(a, b),)*);
            table!(@ops false |_e, a, b, imm| $($m packed::$mf(a, b, imm),)*);
            table!(@ops false |_e, a, b, _imm| $($s packed::$sf(a, b.low64()),)*);
            table!(@ops true |e, a, b, _imm| $($f float::$ff(e, a, b),)* $($n float::$nf(e, a, b),)* $($d float::$df(e, a, b),)*);
            table!(@ops false |e, a, b, imm| $($c float::$cf(e, a, b, imm & 7),)*);
            /// The same shifts by an immediate.
            pub(super) mod immediate {
                use super::{Attempt, Operation, Vec128, packed};
                table!(@ops false |_e, a, _b, imm| $($s packed::$sf(a, imm.into()),)*);
            }
        }
        /// The handler of one of them. Operand 0 is an XMM register.
        fn by_name(i: &Instruction) -> Option<Handler> {
            Some(match i.mnemonic() {
                $(Mnemonic::$p => full::<by_name::$p>(i),)*
                $(Mnemonic::$m => full::<by_name::$m>(i),)*
                $(Mnemonic::$s => {
                    if i.op1_kind() == OpKind::Immediate8 {
                        handler::<Do<by_name::immediate::$s, Reg>>
                    } else {
                        full::<by_name::$s>(i)
                    }
                })*
                $(Mnemonic::$f => full::<by_name::$f>(i),)*
                $(Mnemonic::$n => narrow::<by_name::$n, u32>(i),)*
                $(Mnemonic::$d => narrow::<by_name::$d, u64>(i),)*
                $(Mnemonic::$c => $how::<by_name::$c $(, $width)?>(i),)*
                _ => return None,
            })
        }
    };
    (@ops $float:literal |$e:ident, $a:ident, $b:ident, $imm:ident| $($name:ident $value:expr,)*) => { $(
        pub(in crate::ops::hot::vector) struct $name;
        impl Operation for $name {
            const FLOAT: bool = $float;
            #[inline(always)]
            fn apply<const LONG: bool>($e: &mut Attempt<LONG>, $a: Vec128, $b: Vec128, $imm: u8) -> Vec128 {
                $value
            }
        }
    )* };
}

table! {
    packed {
        Paddb paddb, Paddw paddw, Paddd paddd, Paddq paddq, Psubb psubb, Psubw psubw, Psubd psubd, Psubq psubq,
        Paddusb paddusb, Paddsw paddsw, Psubusb psubusb, Pavgb pavgb,
        Pminub pminub, Pmaxub pmaxub, Pminsw pminsw, Pmaxsw pmaxsw, Pminud pminud, Pmaxud pmaxud,
        Pcmpeqb pcmpeqb, Pcmpeqw pcmpeqw, Pcmpeqd pcmpeqd, Pcmpgtb pcmpgtb, Pcmpgtw pcmpgtw, Pcmpgtd pcmpgtd,
        Pmullw pmullw, Pmulhw pmulhw, Pmulhuw pmulhuw, Pmuludq pmuludq, Pmulld pmulld, Pmaddwd pmaddwd, Psadbw psadbw,
        Pand pand, Andps pand, Andpd pand, Pandn pandn, Andnps pandn, Andnpd pandn,
        Por por, Orps por, Orpd por, Pxor pxor, Xorps pxor, Xorpd pxor,
        Packsswb packsswb, Packuswb packuswb, Packssdw packssdw,
        Punpcklbw punpcklbw, Punpcklwd punpcklwd, Punpckldq punpckldq, Unpcklps punpckldq, Punpcklqdq punpcklqdq,
        Unpcklpd punpcklqdq, Punpckhbw punpckhbw, Punpckhwd punpckhwd, Punpckhdq punpckhdq, Unpckhps punpckhdq,
        Punpckhqdq punpckhqdq, Unpckhpd punpckhqdq, Pshufb pshufb,
    }
    immediate {
        Pshufd pshufd, Pshuflw pshuflw, Pshufhw pshufhw, Shufps shufps, Shufpd shufpd, Palignr palignr,
    }
    shifts {
        Psllw psllw, Pslld pslld, Psllq psllq, Psrlw psrlw, Psrld psrld, Psrlq psrlq, Psraw psraw, Psrad psrad,
        Pslldq pslldq, Psrldq psrldq,
    }
    full {
        Addps addps, Addpd addpd, Subps subps, Subpd subpd, Mulps mulps, Mulpd mulpd, Divps divps, Divpd divpd,
        Minps minps, Minpd minpd, Maxps maxps, Maxpd maxpd, Sqrtps sqrtps, Sqrtpd sqrtpd,
    }
    single {
        Addss addss, Subss subss, Mulss mulss, Divss divss, Minss minss, Maxss maxss, Sqrtss sqrtss, Cvtss2sd cvtss2sd,
    }
    double {
        Addsd addsd, Subsd subsd, Mulsd mulsd, Divsd divsd, Minsd minsd, Maxsd maxsd, Sqrtsd sqrtsd, Cvtsd2ss cvtsd2ss,
        Cvtps2pd cvtps2pd,
    }
    comparisons {
        Cmpps cmpps full, Cmppd cmppd full, Cmpss cmpss narrow<u32>, Cmpsd cmpsd narrow<u64>,
    }
}

/// Is operand `n` in memory?
fn mem(i: &Instruction, n: u32) -> bool {
    i.op_kind(n) == OpKind::Memory
}
/// With a register or 16 aligned bytes of memory.
fn full<O: Operation>(i: &Instruction) -> Handler {
    if mem(i, 1) { handler::<Do<O, Mem<true>>> } else { handler::<Do<O, Reg>> }
}
/// With a register or a narrower operand in memory.
fn narrow<O: Operation, T: Int>(i: &Instruction) -> Handler {
    if mem(i, 1) { handler::<Do<O, Narrow<T>>> } else { handler::<Do<O, Reg>> }
}
/// With a general register or memory.
fn integer<O: Operation, T: Int>(i: &Instruction) -> Handler {
    if mem(i, 1) { handler::<Do<O, Narrow<T>>> } else { handler::<Do<O, Gpr<T>>> }
}
/// COMIx and UCOMIx.
fn compare<T: Lane + Int, const SIGNALS: bool>(i: &Instruction) -> Handler {
    if mem(i, 1) { handler::<Compare<T, Narrow<T>, SIGNALS>> } else { handler::<Compare<T, Reg, SIGNALS>> }
}
/// CVTTSx2SI.
fn chop<T: Lane + Int>(i: &Instruction) -> Handler {
    match (mem(i, 1), i.op0_register().size()) {
        (true, 8) => handler::<Chop<T, u64, Narrow<T>>>,
        (true, _) => handler::<Chop<T, u32, Narrow<T>>>,
        (false, 8) => handler::<Chop<T, u64, Reg>>,
        (false, _) => handler::<Chop<T, u32, Reg>>,
    }
}

/// The handler of an instruction on XMM registers.
pub(super) fn straight(i: &Instruction, op: &mut Op, mode: Mode) -> Option<Handler> {
    let is_xmm = |n| i.op_kind(n) == OpKind::Register && i.op_register(n).is_xmm();
    if i.op_count() < 2 || !(is_xmm(0) || is_xmm(1)) || (0..i.op_count()).any(|n| i.op_register(n).is_mm()) {
        return None;
    }
    let h = if is_xmm(0) { by_name(i).or_else(|| to_xmm(i)) } else { from_xmm(i) }?;
    operands(i, op, mode)?;
    if is_xmm(0) {
        op.dst <<= 4;
    }
    if is_xmm(1) {
        op.src <<= 4;
    }
    Some(h)
}

/// Moves, conversions and comparisons whose first operand is an XMM register.
fn to_xmm(i: &Instruction) -> Option<Handler> {
    use Mnemonic::*;
    let wide = if mem(i, 1) { i.memory_size().size() == 8 } else { i.op1_register().size() == 8 };
    Some(match i.mnemonic() {
        Movaps | Movapd | Movdqa => full::<Second>(i),
        Movups | Movupd | Movdqu | Lddqu if mem(i, 1) => handler::<Do<Second, Mem<false>>>,
        Movups | Movupd | Movdqu => handler::<Do<Second, Reg>>,
        Movss if mem(i, 1) => handler::<Do<Second, Narrow<u32>>>,
        Movss => handler::<Do<MergeLow32, Reg>>,
        Movsd if mem(i, 1) => handler::<Do<Second, Narrow<u64>>>,
        Movsd => handler::<Do<MergeLow64, Reg>>,
        Movlps | Movlpd => handler::<Do<MergeLow64, Narrow<u64>>>,
        Movhps | Movhpd => handler::<Do<MergeHigh64, Narrow<u64>>>,
        Movlhps => handler::<Do<MergeHigh64, Reg>>,
        Movd => integer::<Second, u32>(i),
        Movq if i.op1_register().is_xmm() => handler::<Do<Low64Alone, Reg>>,
        Movq => integer::<Second, u64>(i),
        Cvtsi2sd if wide => integer::<FromI64, u64>(i),
        Cvtsi2sd => integer::<FromI32, u32>(i),
        Cvtsi2ss if wide => integer::<SingleFromI64, u64>(i),
        Cvtsi2ss => integer::<SingleFromI32, u32>(i),
        Comiss => compare::<u32, true>(i),
        Comisd => compare::<u64, true>(i),
        Ucomiss => compare::<u32, false>(i),
        Ucomisd => compare::<u64, false>(i),
        _ => return None,
    })
}

/// Instructions that only read XMM registers.
fn from_xmm(i: &Instruction) -> Option<Handler> {
    use Mnemonic::*;
    let to_mem = mem(i, 0);
    Some(match i.mnemonic() {
        Movaps | Movapd | Movdqa | Movntps | Movntpd | Movntdq if to_mem => handler::<Store<All, true>>,
        Movups | Movupd | Movdqu if to_mem => handler::<Store<All, false>>,
        Movss | Movd if to_mem => handler::<Store<Low32, false>>,
        Movsd | Movlps | Movlpd | Movq if to_mem => handler::<Store<Low64, false>>,
        Movhps | Movhpd if to_mem => handler::<Store<High64, false>>,
        Movd => handler::<ToGpr<Low32>>,
        Movq => handler::<ToGpr<Low64>>,
        Pmovmskb => handler::<SignsToGpr<Bytes>>,
        Movmskps => handler::<SignsToGpr<Singles>>,
        Movmskpd => handler::<SignsToGpr<Doubles>>,
        Cvttss2si => chop::<u32>(i),
        Cvttsd2si => chop::<u64>(i),
        _ => return None,
    })
}
