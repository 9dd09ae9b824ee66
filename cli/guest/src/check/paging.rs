//! Paging: mapping, remapping, protection, accessed and dirty bits.

use super::{Verdict, passed};
use crate::paging::flags::{ACCESSED, DIRTY, PRESENT, USER, WRITE};
use crate::paging::{entry, flush, map, set_entry};
use core::cell::UnsafeCell;

/// Pages to map; their linear and their physical addresses are the same.
#[repr(C, align(4096))]
struct Page(UnsafeCell<[u64; 512]>);

// SAFETY: used by this check only, which has no second thread.
unsafe impl Sync for Page {}

static PAGES: [Page; 2] = [const { Page(UnsafeCell::new([0; 512])) }; 2];

/// Walks through what an operating system does with a page table.
pub fn paging() -> Verdict {
    const OPEN: u64 = PRESENT | WRITE | USER;
    const SLOT: usize = 3;
    let [first, second] = PAGES.each_ref().map(|page| page.0.get().cast::<u64>());
    let at = map(SLOT, first as u64, OPEN) as *mut u64;
    // SAFETY: `at` is mapped to one of the two pages whenever it is touched, save for the store that is to fault.
    unsafe {
        first.write_volatile(1);
        second.write_volatile(2);
        ensure_eq!(at.read_volatile(), 1, "the first page, through the window,");
        ensure!(entry(SLOT) & ACCESSED != 0, "a read did not set the accessed bit");
        ensure!(entry(SLOT) & DIRTY == 0, "a read set the dirty bit");
        at.write_volatile(3);
        ensure!(entry(SLOT) & DIRTY != 0, "a write did not set the dirty bit");
        ensure_eq!(first.read_volatile(), 3, "the first page");

        map(SLOT, second as u64, OPEN);
        ensure_eq!(at.read_volatile(), 2, "the page remapped and flushed");

        // Two linear pages on one physical page.
        let alias = map(SLOT + 1, second as u64, OPEN) as *mut u64;
        alias.write_volatile(4);
        ensure_eq!(at.read_volatile(), 4, "a page written by another mapping");

        // Read-only, then open again.
        set_entry(SLOT, second as u64 | PRESENT | USER);
        flush(SLOT);
        let fault = catch!("mov qword ptr [{at}], 5"; at = in(reg) at);
        ensure!(fault.is_some_and(|f| f.vector == 14), "a write to a read-only page did not fault");
        ensure_eq!(second.read_volatile(), 4, "the page after the refused write");
        map(SLOT, second as u64, OPEN);
        at.write_volatile(6);
        ensure_eq!(second.read_volatile(), 6, "the page opened again");
    }
    map(SLOT, 0, 0);
    map(SLOT + 1, 0, 0);
    passed()
}
