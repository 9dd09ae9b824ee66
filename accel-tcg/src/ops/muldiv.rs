//! Multiplication and division.

use super::operand::{size, sized};
use crate::block::Executor;
use crate::cpu::Cpu;
use crate::fault::{Exec, Fault};
use crate::flags::LazyFlags;
use crate::int::{Int, Plain};
use gearbox_core::x86::state::gpr::{RAX, RDX};
use iced_x86::{Instruction, Mnemonic};

/// The executor of one of these.
pub(super) fn executor(i: &Instruction) -> Option<Executor> {
    Some(match i.mnemonic() {
        Mnemonic::Mul => mul,
        Mnemonic::Imul if i.op_count() == 1 => imul1,
        Mnemonic::Imul => imul,
        Mnemonic::Div => div,
        Mnemonic::Idiv => idiv,
        _ => return None,
    })
}

/// The double-width accumulator AX, DX:AX, EDX:EAX or RDX:RAX.
fn wide(c: &Cpu, bytes: usize) -> u128 {
    let (a, d) = (c.gpr(RAX), c.gpr(RDX));
    match bytes {
        1 => (a & 0xffff).into(),
        2 => ((d & 0xffff) << 16 | a & 0xffff).into(),
        4 => (d << 32 | a & 0xffff_ffff).into(),
        _ => u128::from(d) << 64 | u128::from(a),
    }
}
/// Sets low and high half of the accumulator (AL and AH for bytes).
fn set_halves<T: Int>(c: &mut Cpu, lo: T, hi: T) {
    if T::SIZE == 1 {
        c.set_gpr_low(RAX, (hi.zx() << 8 | lo.zx()) as u16);
    } else {
        c.set_gpr_low(RAX, lo);
        c.set_gpr_low(RDX, hi);
    }
}
/// CF = OF = `over`; the others are undefined and follow the result here.
fn product_flags<T: Int>(r: T, over: bool) -> LazyFlags {
    LazyFlags::shift(r, over, over)
}

fn mul(c: &mut Cpu, i: &Instruction) -> Exec {
    sized!(size(i, 0), T => {
        let p = u128::from(c.read_op::<T>(i, 0)?.zx()) * u128::from(T::cut(c.gpr(RAX)).zx());
        let (lo, hi) = (T::cut(p as u64), T::cut((p >> T::BITS) as u64));
        set_halves(c, lo, hi);
        c.lazy = product_flags(lo, hi.zx() != 0);
    });
    Ok(())
}
fn signed_product<T: Int>(a: T, b: T) -> (T, T, bool) {
    let p = i128::from(a.sx() as i64) * i128::from(b.sx() as i64);
    let lo = T::cut(p as u64);
    (lo, T::cut((p >> T::BITS) as u64), p != i128::from(lo.sx() as i64))
}
fn imul1(c: &mut Cpu, i: &Instruction) -> Exec {
    sized!(size(i, 0), T => {
        let (lo, hi, over) = signed_product(c.read_op::<T>(i, 0)?, T::cut(c.gpr(RAX)));
        set_halves(c, lo, hi);
        c.lazy = product_flags(lo, over);
    });
    Ok(())
}
fn imul(c: &mut Cpu, i: &Instruction) -> Exec {
    let last = i.op_count() - 1;
    sized!(size(i, 0), T => {
        let (a, b) = (c.read_op::<T>(i, last - 1)?, c.read_op::<T>(i, last)?);
        let (lo, _, over) = signed_product(a, b);
        c.write_op(i, 0, lo)?;
        c.lazy = product_flags(lo, over);
    });
    Ok(())
}
fn div(c: &mut Cpu, i: &Instruction) -> Exec {
    sized!(size(i, 0), T => {
        let d = u128::from(c.read_op::<T>(i, 0)?.zx());
        let n = wide(c, T::SIZE);
        if d == 0 || (n / d) >> T::BITS != 0 {
            return Err(Fault::DE);
        }
        set_halves(c, T::cut((n / d) as u64), T::cut((n % d) as u64));
    });
    Ok(())
}
fn idiv(c: &mut Cpu, i: &Instruction) -> Exec {
    sized!(size(i, 0), T => {
        let d = i128::from(c.read_op::<T>(i, 0)?.sx() as i64);
        let unused = 128 - 2 * T::BITS;
        let n = (wide(c, T::SIZE) << unused) as i128 >> unused;
        let (Some(q), Some(r)) = (n.checked_div(d), n.checked_rem(d)) else { return Err(Fault::DE) };
        let quotient = T::cut(q as u64);
        if i128::from(quotient.sx() as i64) != q {
            return Err(Fault::DE);
        }
        set_halves(c, quotient, T::cut(r as u64));
    });
    Ok(())
}
