//! Shifts and rotations, double shifts, and the flagless shifts of BMI2.

use super::arith::{self, Shift};
use super::operand::{size, sized};
use crate::block::Executor;
use crate::cpu::Cpu;
use crate::fault::Exec;
use crate::flags::LazyFlags;
use crate::int::Int;
use crate::mem::atomic::Atomic;
use iced_x86::{Instruction, Mnemonic};

/// The executor of one of these.
pub(super) fn executor(i: &Instruction) -> Option<Executor> {
    use Mnemonic::*;
    Some(match i.mnemonic() {
        Shl | Sal => shift::<arith::Shl>,
        Shr => shift::<arith::Shr>,
        Sar => shift::<arith::Sar>,
        Rol => shift::<arith::Rol>,
        Ror => shift::<arith::Ror>,
        Rcl => shift::<arith::Rcl>,
        Rcr => shift::<arith::Rcr>,
        Shld => |c, i| sized!(size(i, 0), T => double::<T>(c, i, true)),
        Shrd => |c, i| sized!(size(i, 0), T => double::<T>(c, i, false)),
        _ => return None,
    })
}

/// The count's mask (SDM vol. 2, SAL/SAR/SHL/SHR).
pub(super) fn count_mask(bytes: usize) -> u32 {
    if bytes == 8 { 63 } else { 31 }
}

fn shift<O: Shift>(c: &mut Cpu, i: &Instruction) -> Exec {
    let bytes = size(i, 0);
    let n = u32::from(c.read_op::<u8>(i, 1)?) & count_mask(bytes);
    sized!(bytes, T => {
        // A count of 0 changes nothing, but memory is written all the same and a 32-bit register is zero-extended.
        let flags = c.lazy;
        c.lazy = c.modify_op::<T, _>(i, |a| if n == 0 { (a, flags) } else { O::apply(a, n, flags) })?;
    });
    Ok(())
}

fn double<T: Int + Atomic>(c: &mut Cpu, i: &Instruction, left: bool) -> Exec {
    let n = u32::from(c.read_op::<u8>(i, 2)?) & count_mask(T::SIZE);
    let b = c.read_op::<T>(i, 1)?;
    let flags = c.lazy;
    c.lazy = c.modify_op::<T, _>(i, |a| {
        if n == 0 {
            return (a, flags);
        }
        let (bits, x, y) = (T::BITS, u128::from(a.zx()), u128::from(b.zx()));
        // A 16-bit shift by more than 16 is undefined; processors shift a:b:a.
        let (wide, width) = match (bits, left) {
            (64, true) => (x << 64 | y, 128),
            (64, false) => (y << 64 | x, 128),
            _ => ((x << bits | y) << bits | x, 3 * bits),
        };
        let (r, cf) = if left {
            ((wide << n >> (width - bits)) as u64, wide >> (width - n) & 1 != 0)
        } else {
            ((wide >> n) as u64, wide >> (n - 1) & 1 != 0)
        };
        let r = T::cut(r);
        (r, LazyFlags::shift(r, cf, r.sign() != a.sign()))
    })?;
    Ok(())
}
