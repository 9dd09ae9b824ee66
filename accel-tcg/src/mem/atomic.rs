//! Read-modify-writes of memory: plain ones, and those that nobody may come between (SDM vol. 3, 9.1): LOCK, XCHG, and the processor's own
//! updates of page-table entries.
//!
//! An aligned one in RAM is a compare-and-swap of the host. What a host cannot do so, because it is misaligned or goes to a device, is done in
//! an exclusive section.

use super::Access;
use super::linear::Place;
use super::phys::Backing;
use crate::cpu::Cpu;
use crate::fault::Exec;
use crate::int::Plain;
use iced_x86::{Instruction, Mnemonic};
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering};

/// A value that hosts can compare and swap in memory.
pub(crate) trait Atomic: Plain + Eq {
    /// Can this host?
    fn possible() -> bool {
        true
    }
    /// Stores `new` if `old` is there; gives what was there.
    ///
    /// # Safety
    /// `p` is aligned and valid, and [`Atomic::possible`] said so.
    unsafe fn compare_and_swap(p: *mut Self, old: Self, new: Self) -> Self;
}

macro_rules! atomic {
    ($($t:ty, $a:ty);*) => { $(
        impl Atomic for $t {
            #[inline(always)]
            unsafe fn compare_and_swap(p: *mut Self, old: Self, new: Self) -> Self {
                // SAFETY: the caller's.
                let a = unsafe { <$a>::from_ptr(p) };
                match a.compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst) {
                    Ok(v) | Err(v) => v,
                }
            }
        }
    )* };
}
atomic!(u8, AtomicU8; u16, AtomicU16; u32, AtomicU32; u64, AtomicU64);

#[cfg(target_arch = "x86_64")]
impl Atomic for u128 {
    fn possible() -> bool {
        std::arch::is_x86_feature_detected!("cmpxchg16b")
    }
    unsafe fn compare_and_swap(p: *mut Self, old: Self, new: Self) -> Self {
        let (mut low, mut high) = (old as u64, (old >> 64) as u64);
        // SAFETY: the caller's. RBX, which the compiler keeps to itself, is put back.
        unsafe {
            std::arch::asm!(
                "xchg rbx, rsi",
                "lock cmpxchg16b [rdi]",
                "mov rbx, rsi",
                inout("rsi") new as u64 => _,
                in("rdi") p,
                in("rcx") (new >> 64) as u64,
                inout("rax") low,
                inout("rdx") high,
                options(nostack),
            );
        }
        Self::from(high) << 64 | Self::from(low)
    }
}
#[cfg(not(target_arch = "x86_64"))]
impl Atomic for u128 {
    fn possible() -> bool {
        false
    }
    unsafe fn compare_and_swap(_: *mut Self, old: Self, _: Self) -> Self {
        old
    }
}

/// Replaces what is at `p` by `f` of it.
///
/// # Safety
/// As for [`Atomic::compare_and_swap`].
#[inline(always)]
pub(crate) unsafe fn update<T: Atomic, R>(p: *mut T, f: impl Fn(T) -> (T, R)) -> R {
    // SAFETY: the caller's. A torn first look only makes the first try fail.
    let mut old = unsafe { p.read_volatile() };
    loop {
        let (new, r) = f(old.le());
        // SAFETY: the caller's.
        let found = unsafe { T::compare_and_swap(p, old, new.le()) };
        if found == old {
            return r;
        }
        old = found;
    }
}

/// Must nobody come between the two halves of this instruction's access to memory?
fn locked(i: &Instruction) -> bool {
    i.has_lock_prefix() || i.mnemonic() == Mnemonic::Xchg
}

impl Cpu {
    /// Replaces the memory operand by `f` of it, which gives the value to store and what comes out of the whole. It faults as a store would.
    pub(crate) fn modify_mem<T: Atomic, R>(&mut self, i: &Instruction, f: impl Fn(T) -> (T, R)) -> Exec<R> {
        let lin = self.operand_linear(i, T::SIZE, Access::Write)?;
        self.modify(i, lin, f)
    }
    /// The same at a linear address that has been checked.
    pub(crate) fn modify<T: Atomic, R>(&mut self, i: &Instruction, lin: u64, f: impl Fn(T) -> (T, R)) -> Exec<R> {
        if locked(i) { self.modify_locked(lin, f) } else { self.modify_plainly(lin, f) }
    }
    fn modify_plainly<T: Plain, R>(&mut self, lin: u64, f: impl Fn(T) -> (T, R)) -> Exec<R> {
        let p = self.privilege();
        self.check_alignment(lin, T::SIZE, p)?;
        self.check_write(lin, T::SIZE, p)?;
        let (new, r) = f(self.load(lin, p)?);
        self.store(lin, new, p)?;
        Ok(r)
    }
    fn modify_locked<T: Atomic, R>(&mut self, lin: u64, f: impl Fn(T) -> (T, R)) -> Exec<R> {
        let p = self.privilege();
        let lin = self.wrap(lin);
        self.check_alignment(lin, T::SIZE, p)?;
        if lin.is_multiple_of(T::SIZE as u64) && T::possible() {
            match self.place(lin, Access::Write, p)? {
                // SAFETY: a TLB entry points to a whole page of a RAM block that stays mapped, and the address is aligned.
                Place::Host(h) => return Ok(unsafe { update(h.cast::<T>(), f) }),
                Place::Phys(a) => {
                    if let Backing::Ram(ram) = self.ram_at(a, T::SIZE) {
                        // SAFETY: so many bytes lie in a block that stays mapped, and whose pages are aligned.
                        let r = unsafe { update(ram.host.cast::<T>(), f) };
                        self.ram_written(&ram);
                        return Ok(r);
                    }
                }
            }
        }
        self.alone(|cpu| cpu.modify_plainly(lin, f))
    }
    /// Stores `new` at a physical address if `old` is there still. ROM keeps what it has, which is no reason to try again.
    pub(crate) fn phys_compare_and_swap<T: Atomic>(&mut self, paddr: u64, old: T, new: T) -> Exec<bool> {
        match self.ram_at(paddr, T::SIZE) {
            Backing::Ram(ram) if paddr.is_multiple_of(T::SIZE as u64) => {
                // SAFETY: so many bytes lie in a block that stays mapped, and the address is aligned.
                let found = unsafe { T::compare_and_swap(ram.host.cast::<T>(), old.le(), new.le()) };
                if found != old.le() {
                    return Ok(false);
                }
                self.ram_written(&ram);
            }
            Backing::Rom => {}
            _ => self.phys_store(paddr, new)?,
        }
        Ok(true)
    }
}
