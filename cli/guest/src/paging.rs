//! A window of 2 MiB at 256 GiB, whose pages of 4 KiB the guest maps as it needs. The first 4 GiB are mapped to
//! themselves by `boot.s`.

use crate::ring0;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The page table of the window; `boot.s` hangs it in.
pub static WINDOW_TABLE: PageTable = PageTable([const { AtomicU64::new(0) }; 512]);

/// A page table, aligned as the CPU wants it.
#[repr(C, align(4096))]
pub struct PageTable([AtomicU64; 512]);

/// Linear address of the window.
pub const WINDOW: u64 = 256 << 30;

/// Entry flags (SDM vol. 3, 4.5).
pub mod flags {
    /// Present.
    pub const PRESENT: u64 = 1;
    /// Writable.
    pub const WRITE: u64 = 2;
    /// Open to ring 3.
    pub const USER: u64 = 4;
    /// Set by the CPU at the first access.
    pub const ACCESSED: u64 = 1 << 5;
    /// Set by the CPU at the first write.
    pub const DIRTY: u64 = 1 << 6;
    /// No execution.
    pub const NO_EXECUTE: u64 = 1 << 63;
}

/// Linear address of page `slot` (below 512) of the window.
pub const fn address(slot: usize) -> u64 {
    WINDOW + (slot as u64) * 4096
}

/// Maps page `slot` of the window to the physical page at `physical`, and gives its linear address. `flags` 0 unmaps
/// it.
pub fn map(slot: usize, physical: u64, flags: u64) -> u64 {
    set_entry(slot, (physical & 0x000f_ffff_ffff_f000) | flags);
    flush(slot);
    address(slot)
}

/// The entry of page `slot`.
pub fn entry(slot: usize) -> u64 {
    WINDOW_TABLE.0[slot].load(Relaxed)
}

/// Changes the entry without telling the TLB.
pub fn set_entry(slot: usize, value: u64) {
    WINDOW_TABLE.0[slot].store(value, Relaxed);
}

/// INVLPG.
pub fn flush(slot: usize) {
    // SAFETY: forgetting a translation changes no mapping.
    unsafe { ring0::call(ring0::invalidate_page, address(slot), 0, 0) };
}

/// A linear address at which `physical` can be reached up to the end of its page: itself below 4 GiB, or in the
/// window's last page.
pub fn reach(physical: u64) -> u64 {
    if physical < 1 << 32 {
        return physical;
    }
    map(511, physical, flags::PRESENT | flags::WRITE | flags::USER) + physical % 4096
}
