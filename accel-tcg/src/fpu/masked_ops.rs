//! Executors that access memory lane by lane: VMASKMOVx, VPMASKMOVx and the gathers of AVX2 (SDM vol. 2; vol. 1, 14.9). Lanes that the
//! mask leaves out are not accessed: nothing is checked for them. Alignment is checked for none.

use super::access::{is_mem, vreg};
use super::shape::{Form, Shape, Vex128, Vex256, shaped_vex};
use super::vec::{Vec128, Vec256};
use crate::block::Executor;
use crate::cpu::Cpu;
use crate::fault::Exec;
use crate::int::Int;
use crate::mem::Access;
use iced_x86::{Instruction, Mnemonic, Register};

/// The executor of one of these.
pub(super) fn executor(i: &Instruction) -> Option<Executor> {
    use Mnemonic::*;
    macro_rules! masked {
        ($t:ty) => {
            if is_mem(i, 0) {
                shaped_vex!(i, S => masked_store::<S, $t>)
            } else {
                shaped_vex!(i, S => masked_load::<S, $t>)
            }
        };
    }
    Some(match i.mnemonic() {
        Vmaskmovps | Vpmaskmovd => masked!(u32),
        Vmaskmovpd | Vpmaskmovq => masked!(u64),
        Vpgatherdd | Vgatherdps => gather::<u32, u32>,
        Vpgatherqd | Vgatherqps => gather::<u32, u64>,
        Vpgatherdq | Vgatherdpd => gather::<u64, u32>,
        Vpgatherqq | Vgatherqpd => gather::<u64, u64>,
        _ => return None,
    })
}

/// A lane of a YMM register.
trait Lane: Int {
    fn get(v: &Vec256, n: usize) -> Self {
        let mut bytes = [0; 8];
        let at = n * Self::SIZE;
        bytes[..Self::SIZE].copy_from_slice(&v[at / 16].0[at % 16..][..Self::SIZE]);
        Self::cut(u64::from_le_bytes(bytes))
    }
    fn set(self, v: &mut Vec256, n: usize) {
        let at = n * Self::SIZE;
        v[at / 16].0[at % 16..][..Self::SIZE].copy_from_slice(&self.zx().to_le_bytes()[..Self::SIZE]);
    }
}
impl Lane for u32 {}
impl Lane for u64 {}

impl Cpu {
    /// The linear address of the `T` at `offset` of the memory operand's segment.
    fn lane_address<T: Lane>(&self, i: &Instruction, offset: u64, a: Access) -> Exec<u64> {
        self.linear(self.operand_seg(i), offset, T::SIZE, a)
    }
    /// The mask of the address size, where the index is a vector.
    fn vsib_mask(i: &Instruction) -> u64 {
        let size = match i.memory_base() {
            Register::None => i.memory_displ_size() as usize,
            r => r.size(),
        };
        if size == 8 { u64::MAX } else { 0xffff_ffff }
    }
}

fn masked_load<S: Shape, T: Lane>(c: &mut Cpu, i: &Instruction) -> Exec {
    c.need_avx()?;
    let mask = c.first::<S>(i);
    let (start, cut, p) = (c.ea(i), c.ea_mask(i), c.privilege());
    let mut v = Vec256::default();
    for n in (0..S::LEN / T::SIZE).filter(|&n| T::get(&mask, n).sign()) {
        let lin = c.lane_address::<T>(i, start.wrapping_add((n * T::SIZE) as u64) & cut, Access::Read)?;
        c.load_any::<T>(lin, p)?.set(&mut v, n);
    }
    c.put::<S>(i, v);
    Ok(())
}
fn masked_store<S: Shape, T: Lane>(c: &mut Cpu, i: &Instruction) -> Exec {
    c.need_avx()?;
    let (mask, v) = (c.vector::<S>(vreg(i, 1)), c.vector::<S>(vreg(i, 2)));
    let (start, cut, p) = (c.ea(i), c.ea_mask(i), c.privilege());
    let address =
        |c: &Cpu, n: usize| c.lane_address::<T>(i, start.wrapping_add((n * T::SIZE) as u64) & cut, Access::Write);
    let chosen = |n: &usize| T::get(&mask, *n).sign();
    // All or nothing: a lane that may not be written is found before the first is.
    for n in (0..S::LEN / T::SIZE).filter(chosen) {
        let lin = address(c, n)?;
        c.check_write(lin, T::SIZE, p)?;
    }
    for n in (0..S::LEN / T::SIZE).filter(chosen) {
        let lin = address(c, n)?;
        c.store_any(lin, T::get(&v, n), p)?;
    }
    Ok(())
}

/// Gathers `T` by indices `I`. What has been loaded before a fault stays, and its mask is cleared: executed again, the instruction goes on
/// where it was.
fn gather<T: Lane, I: Lane>(c: &mut Cpu, i: &Instruction) -> Exec {
    c.need_avx()?;
    let (to, by, index) = (vreg(i, 0), vreg(i, 2), i.memory_index());
    let wide = Form::of(i) == Form::Vex256 || index.is_ymm();
    let lanes = if wide { 32 } else { 16 } / T::SIZE.max(I::SIZE);
    let indices = c.vector::<Vex256>((index as usize).wrapping_sub(Register::XMM0 as usize));
    let mut v = c.vector::<Vex256>(to);
    let mut mask = c.vector::<Vex256>(by);
    let start = c.reg(i.memory_base()).wrapping_add(i.memory_displacement64());
    let (scale, cut, p) = (u64::from(i.memory_index_scale()), Cpu::vsib_mask(i), c.privilege());
    for n in 0..lanes {
        if T::get(&mask, n).sign() {
            let offset = start.wrapping_add(I::get(&indices, n).sx().wrapping_mul(scale)) & cut;
            let loaded = c.lane_address::<T>(i, offset, Access::Read).and_then(|lin| c.load_any::<T>(lin, p));
            let value = loaded.inspect_err(|_| {
                c.set_vector::<Vex256>(to, v);
                c.set_vector::<Vex256>(by, mask);
            })?;
            value.set(&mut v, n);
        }
        T::cut(0).set(&mut mask, n);
    }
    for n in lanes..32 / T::SIZE {
        T::cut(0).set(&mut v, n);
    }
    c.set_vector::<Vex256>(to, v);
    c.set_vector::<Vex128>(by, [Vec128::default(); 2]);
    Ok(())
}
