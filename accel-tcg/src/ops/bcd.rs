//! Decimal adjustment, BOUND, XLAT. All but XLAT are invalid in 64-bit mode, where iced does not decode them.

use super::operand::{size, sized};
use crate::block::Executor;
use crate::cpu::Cpu;
use crate::fault::{Exec, Fault, vector};
use crate::flags::LazyFlags;
use crate::int::{Int, Plain};
use gearbox_core::x86::state::gpr::{RAX, RBX};
use gearbox_core::x86::state::rflags;
use iced_x86::{Instruction, Mnemonic};

/// The executor of one of these.
pub(super) fn executor(i: &Instruction) -> Option<Executor> {
    use Mnemonic::*;
    Some(match i.mnemonic() {
        Daa => |c, _| packed(c, false),
        Das => |c, _| packed(c, true),
        Aaa => |c, _| unpacked(c, |ax| ax.wrapping_add(0x106)),
        Aas => |c, _| unpacked(c, |ax| ax.wrapping_sub(0x106)),
        Aam => aam,
        Aad => aad,
        Bound => bound,
        Xlatb => xlat,
        _ => return None,
    })
}

/// Flags of AL, with AF and CF given and OF clear.
fn result(c: &mut Cpu, al: u8, af: bool, cf: bool) {
    let mut f = LazyFlags::logic(al).with_cf(cf).bits();
    f |= if af { rflags::AF } else { 0 };
    c.lazy = LazyFlags::from_bits(f & !rflags::OF);
    c.set_gpr_low(RAX, al);
}
/// DAA and DAS (SDM vol. 2).
fn packed(c: &mut Cpu, subtract: bool) -> Exec {
    let al = c.gpr(RAX) as u8;
    let (old_cf, old_af) = (c.lazy.cf(), c.lazy.af());
    let adjust = |v: u8, by: u8| if subtract { v.wrapping_sub(by) } else { v.wrapping_add(by) };
    let af = al & 15 > 9 || old_af;
    let high = al > 0x99 || old_cf;
    let mut r = al;
    let mut cf = high;
    if af {
        r = adjust(r, 6);
        cf |= if subtract { al < 6 } else { al > 0xf9 };
    }
    if high {
        r = adjust(r, 0x60);
    }
    result(c, r, af, cf);
    Ok(())
}
/// AAA and AAS.
fn unpacked(c: &mut Cpu, f: fn(u16) -> u16) -> Exec {
    let ax = c.gpr(RAX) as u16;
    let adjust = ax & 15 > 9 || c.lazy.af();
    let ax = if adjust { f(ax) } else { ax } & 0xff0f;
    c.set_gpr_low(RAX, ax);
    result(c, ax as u8, adjust, adjust);
    Ok(())
}
fn aam(c: &mut Cpu, i: &Instruction) -> Exec {
    let (al, base) = (c.gpr(RAX) as u8, i.immediate8());
    let (Some(q), Some(r)) = (al.checked_div(base), al.checked_rem(base)) else { return Err(Fault::DE) };
    c.set_gpr_low(RAX, u16::from(q) << 8 | u16::from(r));
    result(c, r, false, false);
    Ok(())
}
fn aad(c: &mut Cpu, i: &Instruction) -> Exec {
    let ax = c.gpr(RAX) as u16;
    let al = (ax as u8).wrapping_add(((ax >> 8) as u8).wrapping_mul(i.immediate8()));
    c.set_gpr_low(RAX, u16::from(al));
    result(c, al, false, false);
    Ok(())
}
fn bound(c: &mut Cpu, i: &Instruction) -> Exec {
    sized!(size(i, 0), T => {
        let index = c.reg(i.op0_register());
        let index = T::cut(index).sx() as i64;
        let (seg, at) = (c.operand_seg(i), c.ea(i));
        let low = c.read_virt::<T>(seg, at)?.sx() as i64;
        let high = c.read_virt::<T>(seg, at.wrapping_add(T::SIZE as u64) & c.ea_mask(i))?.sx() as i64;
        if (low..=high).contains(&index) { Ok(()) } else { Err(Fault::plain(vector::BR)) }
    })
}
fn xlat(c: &mut Cpu, i: &Instruction) -> Exec {
    let mask = match i.memory_base() {
        iced_x86::Register::BX => 0xffff,
        iced_x86::Register::EBX => 0xffff_ffff,
        _ => u64::MAX,
    };
    let at = c.gpr(RBX).wrapping_add(c.gpr(RAX) & 0xff) & mask;
    let v = c.read_virt::<u8>(c.operand_seg(i), at)?;
    c.set_gpr_low(RAX, v);
    Ok(())
}
