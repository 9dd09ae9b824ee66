//! Shortcuts for moves and arithmetic.

use super::{Hot, Policy, address, get, load, put, store, writable};
use crate::block::Op;
use crate::cpu::Cpu;
use crate::flags::LazyFlags;
use crate::int::Int;
use crate::ops::arith::{self, Binary, Shift, Unary};
use gearbox_core::x86::state::gpr::{RAX, RCX, RDX, RSP};
use std::marker::PhantomData;

const AX: u8 = RAX as u8 * 8;
const DX: u8 = RDX as u8 * 8;

/// Operands: where the second comes from, and where the first is.
pub(super) trait Form {
    /// The first operand is in memory.
    const TO_MEMORY: bool = false;
    /// The second operand.
    ///
    /// # Safety
    /// As for [`Hot::run`].
    unsafe fn source<T: Int>(c: &Cpu, o: &Op) -> Option<T>;
    /// Linear address of the operand in memory.
    #[inline(always)]
    fn address(c: &Cpu, o: &Op) -> u64 {
        address(c, o)
    }
}
macro_rules! form {
    ($($(#[$doc:meta])* $name:ident, $to_mem:expr, $(at $address:ident,)? |$c:ident, $o:ident| $e:expr;)*) => { $(
        $(#[$doc])*
        pub(super) struct $name;
        impl Form for $name {
            const TO_MEMORY: bool = $to_mem;
            #[inline(always)]
            unsafe fn source<T: Int>($c: &Cpu, $o: &Op) -> Option<T> {
                $e
            }
            $(
                #[inline(always)]
                fn address(c: &Cpu, o: &Op) -> u64 {
                    $address(c, o)
                }
            )?
        }
    )* };
}
form! {
    /// Register, register.
    RR, false, |c, o| Some(get(c, o.src));
    /// Register, immediate.
    RI, false, |_c, o| Some(T::cut(o.imm));
    /// Register, memory.
    RM, false, |c, o| load(c, address(c, o));
    /// Memory, register.
    MR, true, |c, o| Some(get(c, o.src));
    /// Memory, immediate.
    MI, true, |_c, o| Some(T::cut(o.imm));
    /// Register, memory at [`near`].
    RN, false, at near, |c, o| load(c, near(c, o));
    /// Memory at [`near`], register.
    NR, true, at near, |c, o| Some(get(c, o.src));
    /// Memory at [`near`], immediate.
    NI, true, at near, |_c, o| Some(T::cut(o.imm));
}
/// Linear address of a memory operand that is a base and a displacement, in 64-bit code.
#[inline(always)]
fn near(c: &Cpu, o: &Op) -> u64 {
    get::<u64>(c, o.base).wrapping_add(o.disp as i64 as u64)
}

macro_rules! hot {
    ($($(#[$doc:meta])* $name:ident<$($g:ident $(: $bound:path)?),*> |$c:ident, $o:ident| $body:block)*) => { $(
        $(#[$doc])*
        pub(super) struct $name<$($g),*>(PhantomData<($($g,)*)>);
        impl<$($g $(: $bound)?),*> Hot for $name<$($g),*> {
            #[inline(always)]
            unsafe fn run($c: &mut Cpu, $o: &Op) -> Option<()> {
                $body
                Some(())
            }
        }
    )* };
}

hot! {
    /// `a OP b`.
    Bin<O: Binary, T: Int, F: Form, L: Policy> |c, o| {
        // SAFETY: the caller's.
        let b = unsafe { F::source::<T>(c, o)? };
        if F::TO_MEMORY {
            let lin = address(c, o);
            if O::STORES {
                let p = writable::<T>(c, lin)?;
                // SAFETY: see `writable`.
                unsafe {
                    let (r, f) = O::apply(p.read_unaligned().le(), b, c.lazy);
                    p.write_unaligned(r.le());
                    L::set(c, f);
                }
            } else {
                let a = load::<T>(c, lin)?;
                let f = O::apply(a, b, c.lazy).1;
                L::set(c, f);
            }
        } else {
            let (r, f) = O::apply(get::<T>(c, o.dst), b, c.lazy);
            if O::STORES {
                put(c, o.dst, r);
            }
            L::set(c, f);
        }
    }
    /// An operation on one register.
    UnReg<O: Unary, T: Int, L: Policy> |c, o| {
        let (r, f) = O::apply(get::<T>(c, o.dst), c.lazy);
        put(c, o.dst, r);
        if O::FLAGS {
            L::set(c, f);
        }
    }
    /// An operation on memory.
    UnMem<O: Unary, T: Int> |c, o| {
        let p = writable::<T>(c, address(c, o))?;
        // SAFETY: see `writable`.
        unsafe {
            let (r, f) = O::apply(p.read_unaligned().le(), c.lazy);
            p.write_unaligned(r.le());
            if O::FLAGS {
                c.lazy = f;
            }
        }
    }
    /// A shift of a register by an immediate, which is masked and not 0.
    ShiftImm<O: Shift, T: Int, L: Policy> |c, o| {
        let (r, f) = O::apply(get::<T>(c, o.dst), o.aux.into(), c.lazy);
        put(c, o.dst, r);
        L::set(c, f);
    }
    /// A shift of a register by CL.
    ShiftCl<O: Shift, T: Int> |c, o| {
        let n = get::<u8>(c, RCX as u8 * 8) as u32 & if T::SIZE == 8 { 63 } else { 31 };
        let a = get::<T>(c, o.dst);
        if n != 0 {
            let (r, f) = O::apply(a, n, c.lazy);
            put(c, o.dst, r);
            c.lazy = f;
        } else {
            put(c, o.dst, a);
        }
    }
    /// MOV to a register.
    Mov<T: Int, F: Form> |c, o| {
        // SAFETY: the caller's.
        let v = unsafe { F::source::<T>(c, o)? };
        put(c, o.dst, v);
    }
    /// MOV to memory.
    Store<T: Int, F: Form> |c, o| {
        // SAFETY: the caller's.
        let v = unsafe { F::source::<T>(c, o)? };
        store(c, F::address(c, o), v)?;
    }
    /// MOVZX.
    Zx<S: Int, D: Int, F: Form> |c, o| {
        // SAFETY: the caller's.
        let v = unsafe { F::source::<S>(c, o)? };
        put(c, o.dst, D::cut(v.zx()));
    }
    /// MOVSX and MOVSXD.
    Sx<S: Int, D: Int, F: Form> |c, o| {
        // SAFETY: the caller's.
        let v = unsafe { F::source::<S>(c, o)? };
        put(c, o.dst, D::cut(v.sx()));
    }
    /// LEA. The segment slot is the zero slot here.
    Lea<T: Int> |c, o| {
        let a = address(c, o);
        put(c, o.dst, T::cut(a));
    }
    /// IMUL with two operands.
    Imul2<T: Int, F: Form, L: Policy> |c, o| {
        // SAFETY: the caller's.
        let b = unsafe { F::source::<T>(c, o)? };
        multiply::<T, L>(c, o, get(c, o.dst), b);
    }
    /// IMUL with three.
    Imul3<T: Int, F: Form, L: Policy> |c, o| {
        // SAFETY: the caller's.
        let a = unsafe { F::source::<T>(c, o)? };
        multiply::<T, L>(c, o, a, T::cut(o.imm));
    }
    /// MUL of a 32- or 64-bit operand.
    Mul<T: Int, F: Form> |c, o| {
        // SAFETY: the caller's.
        let b = unsafe { F::source::<T>(c, o)? };
        let p = u128::from(get::<T>(c, AX).zx()) * u128::from(b.zx());
        let (lo, hi) = (T::cut(p as u64), T::cut((p >> T::BITS) as u64));
        put(c, AX, lo);
        put(c, DX, hi);
        let over = hi.zx() != 0;
        c.lazy = LazyFlags::shift(lo, over, over);
    }
    /// DIV of a 32- or 64-bit operand whose dividend fits 64 bits.
    Div<T: Int, F: Form> |c, o| {
        // SAFETY: the caller's.
        let d = unsafe { F::source::<T>(c, o)? }.zx();
        let (lo, hi) = (get::<T>(c, AX).zx(), get::<T>(c, DX).zx());
        if d == 0 || (T::SIZE == 8 && hi != 0) {
            return None;
        }
        let n = if T::SIZE == 8 { lo } else { hi << 32 | lo };
        let q = n / d;
        if T::SIZE == 4 && q >> 32 != 0 {
            return None;
        }
        put(c, AX, T::cut(q));
        put(c, DX, T::cut(n % d));
    }
    /// IDIV of a 32-bit operand.
    Idiv32<F: Form> |c, o| {
        // SAFETY: the caller's.
        let d = unsafe { F::source::<u32>(c, o)? } as i32 as i64;
        let n = (get::<u64>(c, DX) << 32 | get::<u64>(c, AX) & 0xffff_ffff) as i64;
        let q = n.checked_div(d)?;
        if q != q as i32 as i64 {
            return None;
        }
        put(c, AX, q as u32);
        put(c, DX, (n % d) as u32);
    }
    /// PUSH of a register; `T` is the stack's and the operand's size.
    PushReg<T: Int> |c, o| {
        let v = get::<T>(c, o.src);
        push(c, v)?;
    }
    /// PUSH of an immediate.
    PushImm<T: Int> |c, o| {
        push(c, T::cut(o.imm))?;
    }
    /// PUSH of memory.
    PushMem<T: Int> |c, o| {
        let v = load::<T>(c, address(c, o))?;
        push(c, v)?;
    }
    /// POP of a register.
    PopReg<T: Int> |c, o| {
        let sp = get::<T>(c, SP).zx();
        let v = load::<T>(c, sp)?;
        put(c, SP, T::cut(sp.wrapping_add(T::SIZE as u64)));
        put(c, o.dst, v);
    }
    /// LEAVE.
    Leave<T: Int> |c, o| {
        let bp = get::<T>(c, BP).zx();
        let v = load::<T>(c, bp)?;
        put(c, SP, T::cut(bp.wrapping_add(T::SIZE as u64)));
        put(c, BP, v);
        let _ = o;
    }
    /// CMOVcc.
    Cmov<T: Int, F: Form> |c, o| {
        // SAFETY: the caller's.
        let v = unsafe { F::source::<T>(c, o)? };
        let v = if c.lazy.cond(o.aux as u8) { v } else { get(c, o.dst) };
        put(c, o.dst, v);
    }
    /// XCHG of registers.
    XchgReg<T: Int> |c, o| {
        let (a, b) = (get::<T>(c, o.dst), get::<T>(c, o.src));
        put(c, o.dst, b);
        put(c, o.src, a);
    }
    /// BT of a register by an immediate or a register.
    BtReg<T: Int, F: Form> |c, o| {
        // SAFETY: the caller's.
        let n = unsafe { F::source::<T>(c, o)? }.zx() & u64::from(T::BITS - 1);
        let bit = get::<T>(c, o.dst).zx() >> n & 1 != 0;
        c.lazy = c.lazy.with_cf(bit);
    }
    /// BSWAP.
    Bswap<T: Int> |c, o| {
        let v = get::<T>(c, o.dst).swap_bytes();
        put(c, o.dst, v);
    }
    /// CBW, CWDE, CDQE: `S` to `D` in the accumulator.
    Extend<S: Int, D: Int> |c, o| {
        let v = get::<S>(c, AX).sx();
        put(c, AX, D::cut(v));
        let _ = o;
    }
    /// CDQ, CQO.
    SignToDx<T: Int> |c, o| {
        let v = (get::<T>(c, AX).sx() as i64 >> 63) as u64;
        put(c, DX, T::cut(v));
        let _ = o;
    }
}

const SP: u8 = RSP as u8 * 8;
const BP: u8 = SP + 8;

#[inline(always)]
fn multiply<T: Int, L: Policy>(c: &mut Cpu, o: &Op, a: T, b: T) {
    let (r, f) = arith::multiply(a, b);
    put(c, o.dst, r);
    L::set(c, f);
}
/// Pushes a value on a flat stack of the same width.
#[inline(always)]
pub(super) fn push<T: Int>(c: &mut Cpu, v: T) -> Option<()> {
    let sp = T::cut(get::<T>(c, SP).zx().wrapping_sub(T::SIZE as u64));
    store(c, sp.zx(), v)?;
    put(c, SP, sp);
    Some(())
}
/// Reads the value at the stack pointer, and what the stack pointer will be.
#[inline(always)]
pub(super) fn top<T: Int>(c: &Cpu, extra: u64) -> Option<(T, T)> {
    let sp = get::<T>(c, SP).zx();
    Some((load(c, sp)?, T::cut(sp.wrapping_add(T::SIZE as u64 + extra))))
}
/// Sets the stack pointer.
#[inline(always)]
pub(super) fn set_sp<T: Int>(c: &mut Cpu, v: T) {
    put(c, SP, v);
}

/// SETcc of a register; the condition is a constant, because each compiles to little more than one test.
pub(super) struct SetReg<const CC: u8>;
impl<const CC: u8> Hot for SetReg<CC> {
    #[inline(always)]
    unsafe fn run(c: &mut Cpu, o: &Op) -> Option<()> {
        let v = u8::from(c.lazy.cond(CC));
        put(c, o.dst, v);
        Some(())
    }
}
