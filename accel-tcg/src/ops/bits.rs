//! Bit tests, bit scans, counts, byte swaps, BMI1 and BMI2.

use super::operand::{is_mem, size, sized};
use crate::block::Executor;
use crate::cpu::Cpu;
use crate::fault::Exec;
use crate::flags::LazyFlags;
use crate::int::Int;
use crate::mem::Access;
use crate::mem::atomic::Atomic;
use gearbox_core::x86::state::{gpr, rflags};
use iced_x86::{Instruction, Mnemonic, OpKind};

/// The executor of one of these.
pub(super) fn executor(i: &Instruction) -> Option<Executor> {
    use Mnemonic::*;
    Some(match i.mnemonic() {
        Bt => |c, i| bit(c, i, None),
        Bts => |c, i| bit(c, i, Some(|v, m| v | m)),
        Btr => |c, i| bit(c, i, Some(|v, m| v & !m)),
        Btc => |c, i| bit(c, i, Some(|v, m| v ^ m)),
        Bsf => |c, i| scan(c, i, |v, _| v.trailing_zeros()),
        Bsr => |c, i| scan(c, i, |v, _| 63 - v.leading_zeros()),
        Tzcnt => |c, i| count(c, i, |v, bits| if v == 0 { bits } else { v.trailing_zeros() }),
        Lzcnt => |c, i| count(c, i, |v, bits| v.leading_zeros() - (64 - bits)),
        Popcnt => popcnt,
        Bswap => bswap,
        Andn => |c, i| bmi_logic(c, i, |a, b| !a & b),
        Blsi => |c, i| bmi_low(c, i, |v| v.wrapping_neg() & v, |v| v != 0),
        Blsr => |c, i| bmi_low(c, i, |v| v.wrapping_sub(1) & v, |v| v == 0),
        Blsmsk => |c, i| bmi_low(c, i, |v| v.wrapping_sub(1) ^ v, |v| v == 0),
        Bextr => bextr,
        Bzhi => bzhi,
        Pdep => |c, i| plain3(c, i, deposit),
        Pext => |c, i| plain3(c, i, extract),
        Rorx => rorx,
        Sarx => |c, i| shift_x(c, i, |v, n, bits| ((v << (64 - bits)) as i64 >> (64 - bits) >> n) as u64),
        Shlx => |c, i| shift_x(c, i, |v, n, _| v << n),
        Shrx => |c, i| shift_x(c, i, |v, n, _| v >> n),
        Mulx => mulx,
        _ => return None,
    })
}

/// BT and its relatives. A register bit offset reaches beyond the memory operand (SDM vol. 2, BT).
fn bit(c: &mut Cpu, i: &Instruction, change: Option<fn(u64, u64) -> u64>) -> Exec {
    fn one<T: Int + Atomic>(c: &mut Cpu, i: &Instruction, change: Option<fn(u64, u64) -> u64>) -> Exec {
        let offset = c.read_op::<T>(i, 1)?;
        let mask = 1u64 << (offset.zx() & u64::from(T::BITS - 1));
        let old = if !is_mem(i, 0) {
            let v = c.read_op::<T>(i, 0)?.zx();
            if let Some(f) = change {
                c.write_op(i, 0, T::cut(f(v, mask)))?;
            }
            v
        } else {
            let far = if i.op_kind(1) == OpKind::Register {
                ((offset.sx() as i64) >> T::BITS.trailing_zeros()).wrapping_mul(T::SIZE as i64)
            } else {
                0
            };
            let at = c.ea(i).wrapping_add(far as u64) & c.ea_mask(i);
            let access = if change.is_some() { Access::Write } else { Access::Read };
            let lin = c.linear(c.operand_seg(i), at, T::SIZE, access)?;
            match change {
                Some(f) => c.modify::<T, _>(i, lin, |v| (T::cut(f(v.zx(), mask)), v))?.zx(),
                None => c.load::<T>(lin, c.privilege())?.zx(),
            }
        };
        c.lazy = c.lazy.with_cf(old & mask != 0);
        Ok(())
    }
    // The offset's size is the operand size; an immediate's too.
    sized!(size(i, 0), T => one::<T>(c, i, change))
}

/// BSF and BSR: ZF tells of a zero source, which leaves the destination as it is (as processors of both makers do).
fn scan(c: &mut Cpu, i: &Instruction, f: fn(u64, u32) -> u32) -> Exec {
    sized!(size(i, 0), T => {
        let v = c.read_op::<T>(i, 1)?;
        // CF, OF, SF, AF and PF are undefined: those of a comparison of the source with zero.
        c.lazy = LazyFlags::logic(v);
        if v.zx() != 0 {
            c.write_op(i, 0, T::cut(f(v.zx(), T::BITS).into()))?;
        }
    });
    Ok(())
}
/// TZCNT and LZCNT: ZF of the result, CF for a zero source.
fn count(c: &mut Cpu, i: &Instruction, f: fn(u64, u32) -> u32) -> Exec {
    sized!(size(i, 0), T => {
        let v = c.read_op::<T>(i, 1)?.zx();
        let r = T::cut(f(v, T::BITS).into());
        c.write_op(i, 0, r)?;
        c.lazy = LazyFlags::logic(r).with_cf(v == 0);
    });
    Ok(())
}
fn popcnt(c: &mut Cpu, i: &Instruction) -> Exec {
    sized!(size(i, 0), T => {
        let v = c.read_op::<T>(i, 1)?.zx();
        c.write_op(i, 0, T::cut(v.count_ones().into()))?;
        c.lazy = LazyFlags::from_bits(if v == 0 { rflags::ZF } else { 0 });
    });
    Ok(())
}
/// A 16-bit operand is undefined; processors give 0.
fn bswap(c: &mut Cpu, i: &Instruction) -> Exec {
    let (r, v) = (i.op0_register(), c.reg(i.op0_register()));
    c.set_reg(
        r,
        match r.size() {
            2 => 0,
            4 => (v as u32).swap_bytes().into(),
            _ => v.swap_bytes(),
        },
    );
    Ok(())
}

fn bmi_logic(c: &mut Cpu, i: &Instruction, f: fn(u64, u64) -> u64) -> Exec {
    sized!(size(i, 0), T => {
        let r = T::cut(f(c.read_op::<T>(i, 1)?.zx(), c.read_op::<T>(i, 2)?.zx()));
        c.write_op(i, 0, r)?;
        c.lazy = LazyFlags::logic(r);
    });
    Ok(())
}
fn bmi_low(c: &mut Cpu, i: &Instruction, f: fn(u64) -> u64, cf: fn(u64) -> bool) -> Exec {
    sized!(size(i, 0), T => {
        let v = c.read_op::<T>(i, 1)?.zx();
        let r = T::cut(f(v));
        c.write_op(i, 0, r)?;
        c.lazy = LazyFlags::logic(r).with_cf(cf(v));
    });
    Ok(())
}
fn bextr(c: &mut Cpu, i: &Instruction) -> Exec {
    sized!(size(i, 0), T => {
        let (v, control) = (c.read_op::<T>(i, 1)?.zx(), c.read_op::<T>(i, 2)?.zx());
        let (start, len) = ((control & 0xff) as u32, (control >> 8 & 0xff) as u32);
        let v = v.checked_shr(start).unwrap_or(0);
        let r = T::cut(if len < 64 { v & ((1 << len) - 1) } else { v });
        c.write_op(i, 0, r)?;
        c.lazy = LazyFlags::logic(r);
    });
    Ok(())
}
fn bzhi(c: &mut Cpu, i: &Instruction) -> Exec {
    sized!(size(i, 0), T => {
        let (v, n) = (c.read_op::<T>(i, 1)?.zx(), c.read_op::<T>(i, 2)?.zx() as u8);
        let over = u32::from(n) >= T::BITS;
        let r = T::cut(if over { v } else { v & ((1 << n) - 1) });
        c.write_op(i, 0, r)?;
        c.lazy = LazyFlags::logic(r).with_cf(over);
    });
    Ok(())
}
fn plain3(c: &mut Cpu, i: &Instruction, f: fn(u64, u64) -> u64) -> Exec {
    sized!(size(i, 0), T => {
        let r = f(c.read_op::<T>(i, 1)?.zx(), c.read_op::<T>(i, 2)?.zx());
        c.write_op(i, 0, T::cut(r))
    })
}
/// PDEP: the low bits of `v` to the places that `mask` marks.
fn deposit(v: u64, mut mask: u64) -> u64 {
    let (mut r, mut from) = (0, 0);
    while mask != 0 {
        r |= (v >> from & 1) << mask.trailing_zeros();
        mask &= mask - 1;
        from += 1;
    }
    r
}
/// PEXT: the bits that `mask` marks to the low end.
fn extract(v: u64, mut mask: u64) -> u64 {
    let (mut r, mut to) = (0, 0);
    while mask != 0 {
        r |= (v >> mask.trailing_zeros() & 1) << to;
        mask &= mask - 1;
        to += 1;
    }
    r
}
fn rorx(c: &mut Cpu, i: &Instruction) -> Exec {
    sized!(size(i, 0), T => {
        let v = c.read_op::<T>(i, 1)?.zx();
        let n = u32::from(i.immediate8()) & (T::BITS - 1);
        let r = if T::BITS == 64 { v.rotate_right(n) } else { (v as u32).rotate_right(n).into() };
        c.write_op(i, 0, T::cut(r))
    })
}
fn shift_x(c: &mut Cpu, i: &Instruction, f: fn(u64, u32, u32) -> u64) -> Exec {
    sized!(size(i, 0), T => {
        let v = c.read_op::<T>(i, 1)?.zx();
        let n = c.read_op::<T>(i, 2)?.zx() as u32 & (T::BITS - 1);
        c.write_op(i, 0, T::cut(f(v, n, T::BITS)))
    })
}
fn mulx(c: &mut Cpu, i: &Instruction) -> Exec {
    sized!(size(i, 0), T => {
        let p = u128::from(T::cut(c.gpr(gpr::RDX)).zx()) * u128::from(c.read_op::<T>(i, 2)?.zx());
        // With one destination twice the high half wins.
        c.write_op(i, 1, T::cut(p as u64))?;
        c.write_op(i, 0, T::cut((p >> T::BITS) as u64))
    })
}
