//! Hot handlers: shortcuts for frequent instructions in flat segments.
//!
//! A handler does its instruction and calls the next op's handler in tail position, which the compiler turns into a jump. When anything
//! is out of the ordinary (a TLB miss, a device, code in the page, a page crossing) it changes nothing and goes to [`slow`], which runs the
//! checked executor instead. So every handler is only ever an optimisation of its executor.

mod data;
mod flow;
mod lower;
mod three;
mod vector;
mod x87;

pub(crate) use lower::lower;
// For translation.
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(crate) use flow::{NEXT, TAKEN};
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
pub(crate) use lower::{condition_of, dead_flags, lower_each, operands, shift_count};

use crate::block::{Executor, Op};
use crate::cpu::{Cpu, slot};
use crate::fault::Fault;
use crate::flags::LazyFlags;
use crate::int::{Int, Plain};
use crate::mem::tlb::{OFFSET, index};

/// Byte offset of the slot that is always zero.
pub(crate) const ZERO: u8 = (slot::ZERO * 8) as u8;

/// A shortcut for one instruction.
pub(super) trait Hot {
    /// Does the instruction; `None`, with nothing changed, when it has to go the slow way.
    ///
    /// # Safety
    /// `o` is an op of the executing block, lowered for this handler.
    unsafe fn run(c: &mut Cpu, o: &Op) -> Option<()>;
    /// There is a longer way before the slow one.
    const AGAIN: bool = false;
    /// The longer way, as `run`: apart from it, so that `run` calls nothing and saves no registers.
    ///
    /// # Safety
    /// As for `run`.
    unsafe fn again(_c: &mut Cpu, _o: &Op) -> Option<()> {
        None
    }
}

/// The handler made of a shortcut.
pub(super) unsafe extern "C" fn handler<H: Hot>(c: *mut Cpu, o: *const Op) {
    // SAFETY: the engine and the previous handler pass the CPU and an op of its block; the last op of a block is never one of these.
    unsafe {
        if H::run(&mut *c, &*o).is_none() {
            return if H::AGAIN { handler_again::<H>(c, o) } else { slow(c, o) };
        }
        next(c, o)
    }
}
#[inline(never)]
unsafe extern "C" fn handler_again<H: Hot>(c: *mut Cpu, o: *const Op) {
    // SAFETY: as for `handler`.
    unsafe {
        if H::again(&mut *c, &*o).is_none() {
            return slow(c, o);
        }
        next(c, o)
    }
}

/// In front of a block that is to be translated when it has been entered often.
pub(crate) unsafe extern "C" fn warm(c: *mut Cpu, o: *const Op) {
    // SAFETY: as for `handler`; `block` is that of `o`.
    unsafe {
        let block = (*c).block;
        let heat = &(*block).heat;
        heat.set(heat.get() + 1);
        if heat.get() < (*c).cache.hot() {
            return next(c, o);
        }
        let first = (*c).cache.promote(block, (*c).regs[slot::RIP]);
        ((*first).run)(c, first)
    }
}

/// Goes on with the op after `o`.
#[inline(always)]
unsafe fn next(c: *mut Cpu, o: *const Op) {
    // SAFETY: the caller's: `o` is not the last op of its block.
    unsafe {
        let n = o.add(1);
        ((*n).run)(c, n)
    }
}

/// Executes the instruction of `o` by its executor. True if the block may go on.
unsafe fn execute(c: *mut Cpu, o: *const Op) -> bool {
    // SAFETY: `block` is the block of `o`, alive or dead but not freed while it executes.
    unsafe {
        let (c, o) = (&mut *c, &*o);
        let block = &*c.block;
        let i = &block.insns[o.ord as usize];
        let start = c.regs[slot::RIP].wrapping_add(o.off.into()) & c.addr_mask;
        c.rip = start.wrapping_add(o.len.into()) & c.addr_mask;
        c.ahead = block.count - i64::from(o.ord);
        let known = &block.executors[o.ord as usize];
        let executor = known.get().unwrap_or_else(|| {
            let f: Executor = crate::ops::executor(i).unwrap_or(|c, i| Err(c.unknown(i)));
            known.set(Some(f));
            f
        });
        let done = match executor(c, i) {
            Ok(()) if !c.leave_block => return true,
            Ok(()) => 1,
            Err(f) => {
                let complete = matches!(f, Fault::Exit(_));
                if !complete {
                    c.rip = start;
                }
                c.stop = Some(f);
                i64::from(complete)
            }
        };
        c.budget += block.count - i64::from(o.ord) - done;
        false
    }
}

/// An instruction without a shortcut, or one whose shortcut gave up.
#[inline(never)]
pub(crate) unsafe extern "C" fn slow(c: *mut Cpu, o: *const Op) {
    // SAFETY: as for `handler`.
    unsafe { if execute(c, o) { next(c, o) } else { flow::go_on(c) } }
}
/// The same for the last instruction of a block.
#[inline(never)]
pub(crate) unsafe extern "C" fn slow_end(c: *mut Cpu, o: *const Op) {
    // SAFETY: as for `handler`.
    unsafe {
        execute(c, o);
        flow::go_on(c)
    }
}

// ---- what handlers are made of

/// Reads a register by its byte offset.
#[inline(always)]
fn get<T: Int>(c: &Cpu, at: u8) -> T {
    debug_assert!(at as usize + T::SIZE <= slot::COUNT * 8);
    // SAFETY: lowering gives offsets inside the register file only.
    unsafe { c.regs.as_ptr().cast::<u8>().add(at as usize).cast::<T>().read_unaligned() }
}
/// Writes a register by its byte offset; 32 bits clear the upper half.
#[inline(always)]
fn put<T: Int>(c: &mut Cpu, at: u8, v: T) {
    debug_assert!(at as usize + T::SIZE <= 16 * 8);
    // SAFETY: as for `get`.
    unsafe {
        let p = c.regs.as_mut_ptr().cast::<u8>().add(at as usize);
        if T::SIZE == 4 { p.cast::<u64>().write_unaligned(v.zx()) } else { p.cast::<T>().write_unaligned(v) }
    }
}
/// Linear address of the memory operand.
#[inline(always)]
fn address(c: &Cpu, o: &Op) -> u64 {
    let a = get::<u64>(c, o.base)
        .wrapping_add(get::<u64>(c, o.index) << o.scale)
        .wrapping_add(o.disp as i64 as u64)
        .wrapping_add(get(c, o.seg));
    a & c.addr_mask
}
/// Reads memory, if it is plain and in the TLB.
#[inline(always)]
fn load<T: Plain>(c: &Cpu, lin: u64) -> Option<T> {
    // SAFETY: the index is below the array's length; a hit points to a page of a RAM block that stays mapped.
    unsafe {
        let e = *c.tlb_read.add(index(lin));
        if e.tag != lin.wrapping_add(T::SIZE as u64 - 1) & !OFFSET {
            return None;
        }
        Some((lin.wrapping_add(e.addend) as *const T).read_unaligned().le())
    }
}
/// Where to write memory, if it is plain, without code, and in the TLB.
#[inline(always)]
fn writable<T: Plain>(c: &Cpu, lin: u64) -> Option<*mut T> {
    // SAFETY: as for `load`.
    unsafe {
        let e = *c.tlb_write.add(index(lin));
        if e.tag != lin.wrapping_add(T::SIZE as u64 - 1) & !OFFSET {
            return None;
        }
        Some(lin.wrapping_add(e.addend) as *mut T)
    }
}
/// Writes memory, if it is plain, without code, and in the TLB.
#[inline(always)]
fn store<T: Plain>(c: &Cpu, lin: u64, v: T) -> Option<()> {
    let p = writable::<T>(c, lin)?;
    // SAFETY: see `writable`.
    unsafe { p.write_unaligned(v.le()) };
    Some(())
}

/// Whether an operation has to leave its flags.
pub(super) trait Policy {
    /// Sets them, or not.
    fn set(c: &mut Cpu, f: LazyFlags);
}
/// They may be looked at.
pub(super) struct Live;
impl Policy for Live {
    #[inline(always)]
    fn set(c: &mut Cpu, f: LazyFlags) {
        c.lazy = f;
    }
}
/// They are overwritten before anything can look.
pub(super) struct Dead;
impl Policy for Dead {
    #[inline(always)]
    fn set(_: &mut Cpu, _: LazyFlags) {}
}
