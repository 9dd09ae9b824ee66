//! Shortcuts for near branches, which end a block and enter the next.

use super::data::{Form, push, set_sp, top};
use super::{address, get, load, slow, slow_end};
use crate::block::{Block, Op};
use crate::cpu::{Cpu, slot};
use crate::int::Int;
use crate::ops::arith::Binary;
use gearbox_core::x86::state::rflags;
use std::marker::PhantomData;

/// Where the block is left: at the branch's target, or after it.
pub(crate) const TAKEN: usize = 0;
pub(crate) const NEXT: usize = 1;

/// Instruction pointer where `o`, the last op of its block, leads.
#[inline(always)]
unsafe fn destination<const WAY: usize>(c: &Cpu, o: &Op) -> u64 {
    let delta = if WAY == TAKEN { o.disp as i64 as u64 } else { u64::from(o.off) + u64::from(o.len) };
    c.regs[slot::RIP].wrapping_add(delta) & c.addr_mask
}
/// Enters `b`, which begins at `rip`.
#[inline(always)]
unsafe fn enter(c: *mut Cpu, rip: u64, b: *const Block) {
    // SAFETY: `b` is a living block of the present mode.
    unsafe {
        let c = &mut *c;
        c.regs[slot::RIP] = rip;
        let left = c.budget - (*b).count;
        if left < 0 {
            c.rip = rip;
            return;
        }
        c.budget = left;
        c.block = b;
        let op = (*b).start;
        ((*op).run)(c, op)
    }
}
/// Leaves by a direct branch.
#[inline(always)]
unsafe fn leave<const WAY: usize>(c: *mut Cpu, o: *const Op) {
    // SAFETY: the callers pass the last op of the executing block.
    unsafe {
        let b = (*(*c).block).links[WAY];
        if b.is_null() {
            return leave_unlinked::<WAY>(c, o);
        }
        enter(c, destination::<WAY>(&*c, &*o), b)
    }
}
/// The block at `rip` from the jump cache; inside the page of the present block it is linked from now on.
unsafe fn resolve<const WAY: usize>(c: *mut Cpu, rip: u64) -> *const Block {
    // SAFETY: called on the vCPU thread; the present block is not freed while it executes.
    unsafe {
        let c = &mut *c;
        let b = c.jump(rip);
        let from = c.block;
        let inside = (c.regs[slot::RIP] ^ rip) >> 12 == 0;
        // One that crosses into another page is looked at each time.
        if inside && !b.is_null() && (*b).second.is_none() && (*from).host != 0 {
            c.cache.link(from, WAY, b);
        }
        b
    }
}
#[inline(never)]
unsafe fn leave_unlinked<const WAY: usize>(c: *mut Cpu, o: *const Op) {
    // SAFETY: as for `leave`.
    unsafe {
        let rip = destination::<WAY>(&*c, &*o);
        let b = resolve::<WAY>(c, rip);
        if b.is_null() {
            return lost::<WAY>(c, o);
        }
        enter(c, rip, b)
    }
}
/// The destination is not known yet: the executor checks the branch, and the run loop finds the block.
#[cold]
unsafe fn lost<const WAY: usize>(c: *mut Cpu, o: *const Op) {
    // SAFETY: as for `leave`.
    unsafe {
        if WAY == NEXT {
            (*c).rip = destination::<NEXT>(&*c, &*o);
            return;
        }
        slow_end(c, o)
    }
}

/// Goes on at RIP after an executor that ended the block: directly if nothing needs the run loop and the block is known.
#[inline(always)]
pub(super) unsafe fn go_on(c: *mut Cpu) {
    // SAFETY: called on the vCPU thread; `jump` gives a living block of the present mode.
    unsafe {
        let rip = (*c).rip;
        if !(*c).undisturbed() {
            return;
        }
        let b = (*c).jump(rip);
        if b.is_null() {
            return;
        }
        (*c).leave_block = false;
        // Without breakpoints it holds off nothing.
        (*c).flags &= !rflags::RF;
        enter(c, rip, b)
    }
}
/// Goes on with what follows the block's last instruction. The op's `off` and `len` are those of that instruction.
pub(super) unsafe extern "C" fn fall(c: *mut Cpu, o: *const Op) {
    // SAFETY: as for `leave`.
    unsafe { leave::<NEXT>(c, o) }
}
/// The same, by way of the run loop.
pub(super) unsafe extern "C" fn fall_out(c: *mut Cpu, o: *const Op) {
    // SAFETY: as for `leave`.
    unsafe { (*c).rip = destination::<NEXT>(&*c, &*o) }
}
/// JMP.
pub(super) unsafe extern "C" fn jmp(c: *mut Cpu, o: *const Op) {
    // SAFETY: as for `leave`.
    unsafe { leave::<TAKEN>(c, o) }
}
/// Jcc.
pub(super) unsafe extern "C" fn jcc<const CC: u8>(c: *mut Cpu, o: *const Op) {
    // SAFETY: as for `leave`.
    unsafe { if (*c).lazy.cond(CC) { leave::<TAKEN>(c, o) } else { leave::<NEXT>(c, o) } }
}

/// A comparison whose flags the branch after it tests. The next op is that branch, complete, for when the comparison goes the slow way.
pub(super) struct Fused<O, T, F, const CC: u8>(PhantomData<(O, T, F)>);
impl<O: Binary, T: Int, F: Form, const CC: u8> Fused<O, T, F, CC> {
    #[inline(always)]
    unsafe fn compare(c: &mut Cpu, o: &Op) -> Option<bool> {
        // SAFETY: the caller's.
        let b = unsafe { F::source::<T>(c, o)? };
        let a = if F::TO_MEMORY { load::<T>(c, address(c, o))? } else { get::<T>(c, o.dst) };
        let (r, f) = O::apply(a, b, c.lazy);
        c.lazy = f;
        Some(if O::IS_SUB { compared(a, b, f, CC) } else { tested(r, f, CC) })
    }
    pub(super) unsafe extern "C" fn run(c: *mut Cpu, o: *const Op) {
        // SAFETY: as for `leave`; a fused op is followed by its branch.
        unsafe {
            match Self::compare(&mut *c, &*o) {
                None => slow(c, o),
                Some(true) => leave::<TAKEN>(c, o.add(1)),
                Some(false) => leave::<NEXT>(c, o.add(1)),
            }
        }
    }
}
/// Condition `cc` after comparing `a` with `b`, from the operands where that is shorter.
#[inline(always)]
fn compared<T: Int>(a: T, b: T, f: crate::flags::LazyFlags, cc: u8) -> bool {
    let (sa, sb) = (a.sx() as i64, b.sx() as i64);
    match cc {
        2 => a.zx() < b.zx(),
        3 => a.zx() >= b.zx(),
        4 => a.zx() == b.zx(),
        5 => a.zx() != b.zx(),
        6 => a.zx() <= b.zx(),
        7 => a.zx() > b.zx(),
        12 => sa < sb,
        13 => sa >= sb,
        14 => sa <= sb,
        15 => sa > sb,
        _ => f.cond(cc),
    }
}
/// Condition `cc` of a logical result.
#[inline(always)]
fn tested<T: Int>(r: T, f: crate::flags::LazyFlags, cc: u8) -> bool {
    let s = r.sx() as i64;
    match cc {
        4 | 6 => s == 0,
        5 | 7 => s != 0,
        8 | 12 => s < 0,
        9 | 13 => s >= 0,
        14 => s <= 0,
        15 => s > 0,
        _ => f.cond(cc),
    }
}

/// CALL.
pub(super) unsafe extern "C" fn call<T: Int>(c: *mut Cpu, o: *const Op) {
    // SAFETY: as for `leave`.
    unsafe {
        let b = (*(*c).block).links[TAKEN];
        if b.is_null() {
            return call_unlinked::<T>(c, o);
        }
        call_block::<T>(c, o, b)
    }
}
#[inline(always)]
unsafe fn call_block<T: Int>(c: *mut Cpu, o: *const Op, b: *const Block) {
    // SAFETY: as for `leave`.
    unsafe {
        let back = destination::<NEXT>(&*c, &*o);
        if push(&mut *c, T::cut(back)).is_none() {
            return slow_end(c, o);
        }
        enter(c, destination::<TAKEN>(&*c, &*o), b)
    }
}
#[inline(never)]
unsafe fn call_unlinked<T: Int>(c: *mut Cpu, o: *const Op) {
    // SAFETY: as for `leave`.
    unsafe {
        let b = resolve::<TAKEN>(c, destination::<TAKEN>(&*c, &*o));
        if b.is_null() {
            return slow_end(c, o);
        }
        call_block::<T>(c, o, b)
    }
}

/// RET; the immediate is what it drops besides.
pub(super) unsafe extern "C" fn ret<T: Int>(c: *mut Cpu, o: *const Op) {
    // SAFETY: as for `leave`.
    unsafe {
        let Some((to, sp)) = top::<T>(&*c, (*o).imm) else { return slow_end(c, o) };
        let b = (*c).jump(to.zx());
        if b.is_null() {
            return slow_end(c, o);
        }
        set_sp(&mut *c, sp);
        enter(c, to.zx(), b)
    }
}
/// JMP through a register or memory.
pub(super) unsafe extern "C" fn jmp_indirect<T: Int, F: Form>(c: *mut Cpu, o: *const Op) {
    // SAFETY: as for `leave`.
    unsafe {
        let Some(to) = F::source::<T>(&*c, &*o) else { return slow_end(c, o) };
        let b = (*c).jump(to.zx());
        if b.is_null() {
            return slow_end(c, o);
        }
        enter(c, to.zx(), b)
    }
}
/// CALL through a register or memory.
pub(super) unsafe extern "C" fn call_indirect<T: Int, F: Form>(c: *mut Cpu, o: *const Op) {
    // SAFETY: as for `leave`.
    unsafe {
        let Some(to) = F::source::<T>(&*c, &*o) else { return slow_end(c, o) };
        let b = (*c).jump(to.zx());
        if b.is_null() {
            return slow_end(c, o);
        }
        let back = destination::<NEXT>(&*c, &*o);
        if push(&mut *c, T::cut(back)).is_none() {
            return slow_end(c, o);
        }
        enter(c, to.zx(), b)
    }
}
