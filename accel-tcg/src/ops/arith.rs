//! The two-operand arithmetic and logical operations as types, for executors and hot handlers alike.

use crate::flags::LazyFlags;
use crate::int::Int;

/// An operation `a OP b`.
pub(crate) trait Binary {
    /// The result is stored (CMP and TEST store nothing).
    const STORES: bool = true;
    /// The flags are those of a - b.
    const IS_SUB: bool = false;
    /// Result and flags.
    fn apply<T: Int>(a: T, b: T, f: LazyFlags) -> (T, LazyFlags);
}

macro_rules! binary {
    ($($(#[$doc:meta])* $name:ident { $($konst:ident),* } |$a:ident, $b:ident, $f:ident| $body:expr;)*) => { $(
        $(#[$doc])*
        pub(crate) struct $name;
        impl Binary for $name {
            $(binary!(@ $konst);)*
            #[inline(always)]
            fn apply<T: Int>($a: T, $b: T, $f: LazyFlags) -> (T, LazyFlags) {
                $body
            }
        }
    )* };
    (@ no_store) => { const STORES: bool = false; };
    (@ is_sub) => { const IS_SUB: bool = true; };
}

#[inline(always)]
fn logic<T: Int>(r: u64) -> (T, LazyFlags) {
    let r = T::cut(r);
    (r, LazyFlags::logic(r))
}
#[inline(always)]
fn add<T: Int>(a: T, b: T, carry: bool) -> (T, LazyFlags) {
    let r = T::cut(a.zx().wrapping_add(b.zx()).wrapping_add(carry.into()));
    (r, LazyFlags::add(a, b, r))
}
#[inline(always)]
fn sub<T: Int>(a: T, b: T, borrow: bool) -> (T, LazyFlags) {
    let r = T::cut(a.zx().wrapping_sub(b.zx()).wrapping_sub(borrow.into()));
    (r, LazyFlags::sub(a, b, r))
}

binary! {
    /// ADD.
    Add {} |a, b, _f| add(a, b, false);
    /// OR.
    Or {} |a, b, _f| logic(a.zx() | b.zx());
    /// ADC.
    Adc {} |a, b, f| add(a, b, f.cf());
    /// SBB.
    Sbb {} |a, b, f| sub(a, b, f.cf());
    /// AND.
    And {} |a, b, _f| logic(a.zx() & b.zx());
    /// SUB.
    Sub {} |a, b, _f| sub(a, b, false);
    /// XOR.
    Xor {} |a, b, _f| logic(a.zx() ^ b.zx());
    /// CMP.
    Cmp { no_store, is_sub } |a, b, _f| sub(a, b, false);
    /// TEST.
    Test { no_store } |a, b, _f| logic(a.zx() & b.zx());
}

/// IMUL: the low half of the product, and flags that say whether it is all.
#[inline(always)]
pub(crate) fn multiply<T: Int>(a: T, b: T) -> (T, LazyFlags) {
    let (r, over) = if T::SIZE == 8 {
        let (r, over) = (a.zx() as i64).overflowing_mul(b.zx() as i64);
        (T::cut(r as u64), over)
    } else {
        let p = (a.sx() as i64) * (b.sx() as i64);
        let r = T::cut(p as u64);
        (r, r.sx() as i64 != p)
    };
    (r, LazyFlags::shift(r, over, over))
}

/// An operation on one operand. INC and DEC leave CF.
pub(crate) trait Unary {
    /// Flags change.
    const FLAGS: bool = true;
    /// Result and flags.
    fn apply<T: Int>(a: T, f: LazyFlags) -> (T, LazyFlags);
}
/// INC.
pub(crate) struct Inc;
impl Unary for Inc {
    #[inline(always)]
    fn apply<T: Int>(a: T, f: LazyFlags) -> (T, LazyFlags) {
        let (r, n) = add(a, T::cut(1), false);
        (r, n.with_cf(f.cf()))
    }
}
/// DEC.
pub(crate) struct Dec;
impl Unary for Dec {
    #[inline(always)]
    fn apply<T: Int>(a: T, f: LazyFlags) -> (T, LazyFlags) {
        let (r, n) = sub(a, T::cut(1), false);
        (r, n.with_cf(f.cf()))
    }
}
/// NEG.
pub(crate) struct Neg;
impl Unary for Neg {
    #[inline(always)]
    fn apply<T: Int>(a: T, _f: LazyFlags) -> (T, LazyFlags) {
        sub(T::default(), a, false)
    }
}
/// NOT.
pub(crate) struct Not;
impl Unary for Not {
    const FLAGS: bool = false;
    #[inline(always)]
    fn apply<T: Int>(a: T, f: LazyFlags) -> (T, LazyFlags) {
        (T::cut(!a.zx()), f)
    }
}

/// Kinds of shift and rotation.
pub(crate) trait Shift {
    /// Result and flags for a count that is already masked to 5 or 6 bits and not 0.
    fn apply<T: Int>(a: T, n: u32, f: LazyFlags) -> (T, LazyFlags);
}
/// SHL.
pub(crate) struct Shl;
impl Shift for Shl {
    #[inline(always)]
    fn apply<T: Int>(a: T, n: u32, _f: LazyFlags) -> (T, LazyFlags) {
        let wide = u128::from(a.zx()) << n;
        let r = T::cut(wide as u64);
        let cf = wide >> T::BITS & 1 != 0;
        (r, LazyFlags::shift(r, cf, r.sign() ^ cf))
    }
}
/// SHR.
pub(crate) struct Shr;
impl Shift for Shr {
    #[inline(always)]
    fn apply<T: Int>(a: T, n: u32, _f: LazyFlags) -> (T, LazyFlags) {
        let half = a.zx() >> (n - 1);
        let r = T::cut(half >> 1);
        (r, LazyFlags::shift(r, half & 1 != 0, a.sign()))
    }
}
/// SAR.
pub(crate) struct Sar;
impl Shift for Sar {
    #[inline(always)]
    fn apply<T: Int>(a: T, n: u32, _f: LazyFlags) -> (T, LazyFlags) {
        let half = a.sx() as i64 >> (n - 1);
        let r = T::cut((half >> 1) as u64);
        (r, LazyFlags::shift(r, half & 1 != 0, false))
    }
}
/// ROL.
pub(crate) struct Rol;
impl Shift for Rol {
    #[inline(always)]
    fn apply<T: Int>(a: T, n: u32, f: LazyFlags) -> (T, LazyFlags) {
        let r = a.rotate_left(n);
        let cf = r.zx() & 1 != 0;
        (r, f.with_cf_of(cf, r.sign() ^ cf))
    }
}
/// ROR.
pub(crate) struct Ror;
impl Shift for Ror {
    #[inline(always)]
    fn apply<T: Int>(a: T, n: u32, f: LazyFlags) -> (T, LazyFlags) {
        let r = a.rotate_right(n);
        let below = r.zx() >> (T::BITS - 2) & 1 != 0;
        (r, f.with_cf_of(r.sign(), r.sign() ^ below))
    }
}
/// RCL.
pub(crate) struct Rcl;
impl Shift for Rcl {
    fn apply<T: Int>(a: T, n: u32, f: LazyFlags) -> (T, LazyFlags) {
        let width = T::BITS + 1;
        let k = n % width;
        let wide = u128::from(f.cf()) << T::BITS | u128::from(a.zx());
        let r = wide << k | wide >> (width - k);
        let cf = r >> T::BITS & 1 != 0;
        let v = T::cut(r as u64);
        (v, f.with_cf_of(cf, v.sign() ^ cf))
    }
}
/// RCR.
pub(crate) struct Rcr;
impl Shift for Rcr {
    fn apply<T: Int>(a: T, n: u32, f: LazyFlags) -> (T, LazyFlags) {
        let width = T::BITS + 1;
        let k = n % width;
        let wide = u128::from(f.cf()) << T::BITS | u128::from(a.zx());
        let r = wide >> k | wide << (width - k);
        let cf = r >> T::BITS & 1 != 0;
        let v = T::cut(r as u64);
        let below = v.zx() >> (T::BITS - 2) & 1 != 0;
        (v, f.with_cf_of(cf, v.sign() ^ below))
    }
}
