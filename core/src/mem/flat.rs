//! The flat view: what answers each address, as sorted ranges.

use super::{IoTarget, RamBlock};
use std::sync::Arc;

/// What a store to a RAM range does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RamAccess {
    /// Stores change it.
    ReadWrite,
    /// ROM: stores are dropped.
    ReadOnly,
    /// Loads are served from memory, stores go to a device (flash); the number is the offset of the range in the device's region.
    RomDevice(IoTarget, u64),
}

/// What answers a range.
#[derive(Clone, Debug)]
pub enum FlatKind {
    /// Host memory.
    Ram {
        /// The block.
        block: Arc<RamBlock>,
        /// Offset in the block of the range's first byte.
        offset: u64,
        /// What stores do.
        access: RamAccess,
    },
    /// A device.
    Io {
        /// Device and region.
        target: IoTarget,
        /// Offset in the region of the range's first byte.
        offset: u64,
    },
}

impl PartialEq for FlatKind {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Ram { block: a, offset: o, access: x }, Self::Ram { block: b, offset: p, access: y }) => {
                Arc::ptr_eq(a, b) && o == p && x == y
            }
            (Self::Io { target: a, offset: o }, Self::Io { target: b, offset: p }) => a == b && o == p,
            _ => false,
        }
    }
}

impl FlatKind {
    /// The same, `delta` bytes further on.
    pub(super) fn advanced(&self, delta: u64) -> Self {
        let mut k = self.clone();
        match &mut k {
            Self::Ram { offset, access, .. } => {
                *offset += delta;
                if let RamAccess::RomDevice(_, o) = access {
                    *o += delta;
                }
            }
            Self::Io { offset, .. } => *offset += delta,
        }
        k
    }
}

/// One range of the flat view.
#[derive(Clone, Debug, PartialEq)]
pub struct FlatRange {
    /// First address.
    pub start: u64,
    /// Last address (inclusive).
    pub last: u64,
    /// What answers.
    pub kind: FlatKind,
}

impl FlatRange {
    /// Bytes from `addr` to the end of the range, at most `len`.
    pub fn clip(&self, addr: u64, len: usize) -> usize {
        usize::try_from(self.last - addr).map_or(len, |rest| len.min(rest.saturating_add(1)))
    }
    /// The host address of `addr`, where the range is RAM or ROM.
    pub fn host_ptr(&self, addr: u64) -> Option<*mut u8> {
        match &self.kind {
            FlatKind::Ram { block, offset, .. } => {
                let o = offset + (addr - self.start);
                debug_assert!(o < block.size());
                Some(block.host_ptr().wrapping_add(o as usize))
            }
            FlatKind::Io { .. } => None,
        }
    }
}

/// An immutable map of a whole address space. Ranges are sorted and do not overlap; what lies between them answers nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FlatView {
    pub(super) ranges: Vec<FlatRange>,
}

impl FlatView {
    /// All ranges, in order.
    pub fn ranges(&self) -> &[FlatRange] {
        &self.ranges
    }
    /// The range that answers `addr`.
    pub fn find(&self, addr: u64) -> Option<&FlatRange> {
        let i = self.ranges.partition_point(|r| r.last < addr);
        self.ranges.get(i).filter(|r| r.start <= addr)
    }
    /// How many bytes from an unanswered `addr` on remain unanswered, at most `len`.
    pub fn gap(&self, addr: u64, len: usize) -> usize {
        let i = self.ranges.partition_point(|r| r.last < addr);
        self.ranges.get(i).map_or(len, |r| usize::try_from(r.start.saturating_sub(addr)).map_or(len, |g| g.min(len)))
    }
    /// Adds `kind` at `start..=last` wherever nothing answers yet (what was added before is of higher priority).
    pub(super) fn fill(&mut self, start: u64, last: u64, kind: &FlatKind) {
        let mut at = start;
        let mut i = self.ranges.partition_point(|r| r.last < start);
        loop {
            let (free_last, next) = match self.ranges.get(i) {
                Some(r) if r.start <= at => {
                    if r.last >= last {
                        return;
                    }
                    at = r.last + 1;
                    i += 1;
                    continue;
                }
                Some(r) if r.start <= last => (r.start - 1, Some(r.last)),
                _ => (last, None),
            };
            self.ranges.insert(i, FlatRange { start: at, last: free_last, kind: kind.advanced(at - start) });
            match next {
                Some(l) if l < last => {
                    at = l + 1;
                    i += 2;
                }
                _ => return,
            }
        }
    }
    /// Joins neighbours that continue one another.
    pub(super) fn simplify(&mut self) {
        self.ranges.dedup_by(|b, a| {
            let joins = a.last.checked_add(1) == Some(b.start) && a.kind.advanced(b.start - a.start) == b.kind;
            if joins {
                a.last = b.last;
            }
            joins
        });
    }
}
