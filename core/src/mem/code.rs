//! Which pages of a RAM block hold decoded instructions: who writes to one has to tell the software CPUs.

use super::ram::PAGE_SIZE;
use std::sync::atomic::{AtomicU64, Ordering, fence};

/// log2 of the bytes that one bit of [`CodeMarks::granules`] stands for.
const GRANULE_SHIFT: u32 = 7;

/// A bit for each 128 bytes of a page that `len` bytes at `offset`, in one page, touch.
pub fn granules(offset: u64, len: usize) -> u32 {
    let at = offset as usize % PAGE_SIZE as usize;
    let last = (at + len.max(1) - 1).min(PAGE_SIZE as usize - 1);
    ((2u64 << (last >> GRANULE_SHIFT)) - (1u64 << (at >> GRANULE_SHIFT))) as u32
}

/// One word for each page. High half: how many vCPUs have decoded code there. Low half: where in the page, for all of them together.
///
/// A vCPU marks what it is going to decode before it reads the bytes for the last time; a writer looks for the mark after it wrote. Each does
/// so across a full barrier, so that either the vCPU sees the new bytes or the writer sees the mark.
pub(super) struct CodeMarks(Box<[AtomicU64]>);

const ONE: u64 = 1 << 32;

impl CodeMarks {
    pub(super) fn new(pages: u64) -> Self {
        let words = Box::new_zeroed_slice(pages as usize);
        // SAFETY: zero is a valid `AtomicU64`. Asked for as zeros, the host's pages are not touched until a mark is made.
        Self(unsafe { words.assume_init() })
    }
    fn page(&self, offset: u64) -> &AtomicU64 {
        &self.0[(offset / PAGE_SIZE) as usize]
    }
    /// One more vCPU has code in the page; how many had it before.
    pub(super) fn add(&self, offset: u64) -> u32 {
        (self.page(offset).fetch_add(ONE, Ordering::SeqCst) >> 32) as u32
    }
    /// The same, but only where another one has it already; false if none has.
    pub(super) fn join(&self, offset: u64) -> bool {
        let more = |word| (word >= ONE).then_some(word + ONE);
        self.page(offset).fetch_update(Ordering::SeqCst, Ordering::SeqCst, more).is_ok()
    }
    /// One fewer has it; the last one takes the granules with it.
    pub(super) fn remove(&self, offset: u64) {
        let less = |word: u64| Some(if word < 2 * ONE { 0 } else { word - ONE });
        let _ = self.page(offset).fetch_update(Ordering::SeqCst, Ordering::SeqCst, less);
    }
    /// Instructions in these pieces of a marked page are going to be decoded.
    pub(super) fn widen(&self, offset: u64, granules: u32) {
        self.page(offset).fetch_or(granules.into(), Ordering::SeqCst);
        fence(Ordering::SeqCst);
    }
    /// Where in the page there is code; asked by a writer after it wrote.
    pub(super) fn granules(&self, offset: u64) -> u32 {
        fence(Ordering::SeqCst);
        self.page(offset).load(Ordering::SeqCst) as u32
    }
    /// Does the page hold any?
    pub(super) fn any(&self, offset: u64) -> bool {
        self.page(offset).load(Ordering::SeqCst) >= ONE
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn granules_of_a_range() {
        assert_eq!(granules(0, 1), 1);
        assert_eq!(granules(0x107f, 2), 3);
        assert_eq!(granules(0xf80, 0x80), 1 << 31);
        assert_eq!(granules(0, 0x1000), u32::MAX);
        assert_eq!(granules(0x200, 0), 1 << 4);
    }

    #[test]
    fn the_last_one_takes_the_marks_away() {
        let m = CodeMarks::new(2);
        assert!(!m.join(0x1000));
        assert_eq!(m.add(0x1000), 0);
        m.widen(0x1004, 3);
        assert!(m.join(0x1abc));
        m.remove(0x1000);
        assert_eq!((m.any(0x1000), m.granules(0x1fff), m.any(0)), (true, 3, false));
        m.remove(0x1000);
        assert_eq!((m.any(0x1000), m.granules(0x1000)), (false, 0));
    }
}
