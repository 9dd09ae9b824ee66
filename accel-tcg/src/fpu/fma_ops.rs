//! FMA3 (SDM vol. 1, 14.5; vol. 2, VFMADD132PD and its kin): a product and a sum with one rounding.

use super::access::vreg;
use super::shape::{Shape, Vex128, halves, shaped_vex};
use super::sse::{self, Env, Lane};
use super::sse_float_ops::apply;
use super::vec::Vec128;
use crate::block::Executor;
use crate::cpu::Cpu;
use crate::fault::Exec;
use iced_x86::{Instruction, Mnemonic};

/// Which operands are multiplied, first and second, and which is added.
type Order = [usize; 3];
/// Of even and of odd lanes: is the product, is the addend negated?
type Signs = [sse::Fused; 2];

const fn both(negate_product: bool, negate_addend: bool) -> Signs {
    [sse::Fused { negate_product, negate_addend }; 2]
}
const MADD: Signs = both(false, false);
const MSUB: Signs = both(false, true);
const NMADD: Signs = both(true, false);
const NMSUB: Signs = both(true, true);
const MADDSUB: Signs = [MSUB[0], MADD[0]];
const MSUBADD: Signs = [MADD[0], MSUB[0]];

/// The executor of one of these.
pub(super) fn executor(i: &Instruction) -> Option<Executor> {
    use Mnemonic::*;
    macro_rules! packed {
        ($t:ty, $order:expr, $signs:expr) => {
            shaped_vex!(i, S => |c, i| packed::<S, $t>(c, i, $order, $signs))
        };
    }
    macro_rules! fused {
        ($([$ps132:ident $pd132:ident $($ss132:ident $sd132:ident)?] [$ps213:ident $pd213:ident $($ss213:ident $sd213:ident)?]
            [$ps231:ident $pd231:ident $($ss231:ident $sd231:ident)?]: $signs:ident;)*) => {
            match i.mnemonic() {
                $(
                    $ps132 => packed!(u32, [0, 2, 1], $signs),
                    $pd132 => packed!(u64, [0, 2, 1], $signs),
                    $ps213 => packed!(u32, [1, 0, 2], $signs),
                    $pd213 => packed!(u64, [1, 0, 2], $signs),
                    $ps231 => packed!(u32, [1, 2, 0], $signs),
                    $pd231 => packed!(u64, [1, 2, 0], $signs),
                    $(
                        $ss132 => |c, i| scalar::<u32>(c, i, [0, 2, 1], $signs),
                        $sd132 => |c, i| scalar::<u64>(c, i, [0, 2, 1], $signs),
                    )?
                    $(
                        $ss213 => |c, i| scalar::<u32>(c, i, [1, 0, 2], $signs),
                        $sd213 => |c, i| scalar::<u64>(c, i, [1, 0, 2], $signs),
                    )?
                    $(
                        $ss231 => |c, i| scalar::<u32>(c, i, [1, 2, 0], $signs),
                        $sd231 => |c, i| scalar::<u64>(c, i, [1, 2, 0], $signs),
                    )?
                )*
                _ => return None,
            }
        };
    }
    Some(fused! {
        [Vfmadd132ps Vfmadd132pd Vfmadd132ss Vfmadd132sd] [Vfmadd213ps Vfmadd213pd Vfmadd213ss Vfmadd213sd]
            [Vfmadd231ps Vfmadd231pd Vfmadd231ss Vfmadd231sd]: MADD;
        [Vfmsub132ps Vfmsub132pd Vfmsub132ss Vfmsub132sd] [Vfmsub213ps Vfmsub213pd Vfmsub213ss Vfmsub213sd]
            [Vfmsub231ps Vfmsub231pd Vfmsub231ss Vfmsub231sd]: MSUB;
        [Vfnmadd132ps Vfnmadd132pd Vfnmadd132ss Vfnmadd132sd] [Vfnmadd213ps Vfnmadd213pd Vfnmadd213ss Vfnmadd213sd]
            [Vfnmadd231ps Vfnmadd231pd Vfnmadd231ss Vfnmadd231sd]: NMADD;
        [Vfnmsub132ps Vfnmsub132pd Vfnmsub132ss Vfnmsub132sd] [Vfnmsub213ps Vfnmsub213pd Vfnmsub213ss Vfnmsub213sd]
            [Vfnmsub231ps Vfnmsub231pd Vfnmsub231ss Vfnmsub231sd]: NMSUB;
        [Vfmaddsub132ps Vfmaddsub132pd] [Vfmaddsub213ps Vfmaddsub213pd] [Vfmaddsub231ps Vfmaddsub231pd]: MADDSUB;
        [Vfmsubadd132ps Vfmsubadd132pd] [Vfmsubadd213ps Vfmsubadd213pd] [Vfmsubadd231ps Vfmsubadd231pd]: MSUBADD;
    })
}

/// The lanes of three registers, fused.
#[inline(always)]
fn lanes<T: Lane>(e: &mut Env, operands: [Vec128; 3], order: Order, signs: Signs) -> Vec128 {
    let bits = 8 * size_of::<T>();
    let ordered = order.map(|n| operands[n].u128());
    Vec128::from_u128((0..128 / bits).fold(0, |r, n| {
        let lane = sse::fused(e, ordered.map(|v| T::narrow((v >> (n * bits)) as u64)), signs[n & 1]);
        r | u128::from(lane.wide()) << (n * bits)
    }))
}

#[inline(always)]
fn packed<S: Shape, T: Lane>(c: &mut Cpu, i: &Instruction, order: Order, signs: Signs) -> Exec {
    c.need_avx()?;
    let third = c.source::<S>(i)?;
    let destination = c.vector::<S>(vreg(i, 0));
    apply::<S>(c, i, |e, second| halves::<S>(|h| lanes::<T>(e, [destination[h], second[h], third[h]], order, signs)))
}
/// On the low lane: the rest is the destination's.
#[inline(always)]
fn scalar<T: Lane>(c: &mut Cpu, i: &Instruction, order: Order, signs: Signs) -> Exec {
    c.need_avx()?;
    let third = c.xmm_or_bytes(i, 2, size_of::<T>())?;
    let [destination, _] = c.vector::<Vex128>(vreg(i, 0));
    apply::<Vex128>(c, i, |e, second| {
        let operands = [destination, second[0], third].map(|v| T::narrow(v.low64()));
        let r = sse::fused(e, order.map(|n| operands[n]), signs[0]).wide();
        [
            if size_of::<T>() == 4 { destination.with_low32(r as u32) } else { destination.with_low64(r) },
            Vec128::default(),
        ]
    })
}
