//! Guest RAM for crates that reach it by vm-memory's traits, such as those for virtqueues.

use super::{AddressSpace, FlatKind, FlatView, RamAccess, RamBlock};
use std::iter::FusedIterator;
use std::sync::Arc;
use vm_memory::bitmap::{Bitmap, BitmapSlice, WithBitmapSlice};
use vm_memory::guest_memory::GuestMemorySliceIterator;
use vm_memory::{GuestAddress, GuestMemory, GuestMemoryError, GuestMemoryMmap, Permissions, VolatileSlice};

/// The RAM of an address space as it is in one view. A write is told to whoever follows writes, as one by DMA is.
#[derive(Clone, Copy)]
pub struct GuestRam<'s> {
    space: &'s AddressSpace,
    view: &'s FlatView,
}

impl<'s> GuestRam<'s> {
    /// The RAM in `view`, a view of `space`.
    pub fn new(space: &'s AddressSpace, view: &'s FlatView) -> Self {
        Self { space, view }
    }
    /// The block at `addr`, the offset in it, and how many of `len` bytes it has there, if it is RAM that can be accessed so.
    fn find(self, addr: u64, len: usize, write: bool) -> Option<(&'s Arc<RamBlock>, u64, usize)> {
        let range = self.view.find(addr)?;
        match &range.kind {
            FlatKind::Ram { block, offset, access } if !write || *access == RamAccess::ReadWrite => {
                Some((block, offset + (addr - range.start), range.clip(addr, len)))
            }
            _ => None,
        }
    }
}

impl<'s> GuestMemory for GuestRam<'s> {
    // It is never given out: what a guest has can be in more than one block, and change.
    type PhysicalMemory = GuestMemoryMmap<()>;
    type Bitmap = Written<'s>;

    fn check_range(&self, addr: GuestAddress, count: usize, access: Permissions) -> bool {
        let mut slices = Slices { ram: self, at: Some(addr.0), left: count, write: access.has_write() };
        slices.all(|slice| slice.is_ok())
    }
    fn get_slices<'a>(
        &'a self,
        addr: GuestAddress,
        count: usize,
        access: Permissions,
    ) -> Result<impl GuestMemorySliceIterator<'a, Written<'s>>, GuestMemoryError> {
        Ok(Slices { ram: self, at: Some(addr.0), left: count, write: access.has_write() })
    }
}

/// The pieces of host memory behind a range of guest memory, until one is missing.
struct Slices<'a, 's> {
    ram: &'a GuestRam<'s>,
    /// `None` behind the last address.
    at: Option<u64>,
    left: usize,
    write: bool,
}

impl<'a, 's> Iterator for Slices<'a, 's> {
    type Item = Result<VolatileSlice<'a, Written<'s>>, GuestMemoryError>;
    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        let found = self.at.and_then(|at| self.ram.find(at, self.left, self.write));
        let Some((block, offset, len)) = found else {
            self.left = 0;
            return Some(Err(GuestMemoryError::InvalidGuestAddress(GuestAddress(self.at.unwrap_or(u64::MAX)))));
        };
        self.at = self.at.and_then(|at| at.checked_add(len as u64));
        self.left -= len;
        let written = Written { space: self.ram.space, block, offset };
        Some(Ok(block.slice_with(offset, len, written)))
    }
}

impl FusedIterator for Slices<'_, '_> {}
impl<'a, 's> GuestMemorySliceIterator<'a, Written<'s>> for Slices<'a, 's> {}

/// Where in a block a piece of memory begins, and who hears of writes to it.
#[derive(Clone, Copy)]
pub struct Written<'s> {
    space: &'s AddressSpace,
    block: &'s Arc<RamBlock>,
    offset: u64,
}

impl std::fmt::Debug for Written<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} from {:#x} on", self.block, self.offset)
    }
}

impl<'s> WithBitmapSlice<'_> for Written<'s> {
    type S = Written<'s>;
}

impl BitmapSlice for Written<'_> {}

impl<'s> Bitmap for Written<'s> {
    fn mark_dirty(&self, offset: usize, len: usize) {
        let offset = self.offset + offset as u64;
        self.block.mark_dirty(offset, len as u64);
        self.space.code_written(self.block, offset, len as u64);
    }
    /// Nobody asks: who follows writes has a mark of their own.
    fn dirty_at(&self, _offset: usize) -> bool {
        false
    }
    fn slice_at(&self, offset: usize) -> Self {
        Self { offset: self.offset + offset as u64, ..*self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mem::{DirtyClient, MemTree};
    use std::sync::atomic::Ordering;
    use vm_memory::Bytes;

    #[test]
    fn ram_only_and_writes_are_marked() {
        let (a, b) = (RamBlock::new("a", 0x1000).unwrap(), RamBlock::new("b", 0x2000).unwrap());
        let mut t = MemTree::new("m", u64::MAX);
        let (ra, rb) = (t.ram(&a, 0, 0x1000), t.ram(&b, 0, 0x1000));
        t.map(t.root(), 0, ra, 0);
        t.map(t.root(), 0x1000, rb, 0);
        let rom = t.rom(&b, 0x1000, 0x1000);
        t.map(t.root(), 0x2000, rom, 0);
        let space = AddressSpace::new();
        space.install(t.render());
        let view = space.view();
        let ram = GuestRam::new(&space, &view);
        let allows = |addr, len, access| ram.check_range(GuestAddress(addr), len, access);
        assert!(allows(0xff0, 0x1010, Permissions::Write) && allows(0, 0x3000, Permissions::Read));
        assert!(!allows(0x1ff0, 0x11, Permissions::Write) && !allows(0x2fff, 2, Permissions::Read));
        assert!(allows(u64::MAX, 0, Permissions::Write) && !allows(u64::MAX, 2, Permissions::Read));
        ram.write_slice(&[1, 2, 3, 4], GuestAddress(0xffe)).unwrap();
        let mut bytes = [0; 4];
        ram.read_slice(&mut bytes, GuestAddress(0xffe)).unwrap();
        assert_eq!(bytes, [1, 2, 3, 4]);
        assert!(a.take_dirty(DirtyClient::Migration, 0) && b.take_dirty(DirtyClient::Migration, 0));
        ram.store(0x1234u16, GuestAddress(0x1800), Ordering::Release).unwrap();
        assert_eq!(ram.load::<u16>(GuestAddress(0x1800), Ordering::Acquire).unwrap(), 0x1234);
        assert!(b.take_dirty(DirtyClient::Migration, 0) && !a.take_dirty(DirtyClient::Migration, 0));
        assert!(ram.load::<u16>(GuestAddress(0xfff), Ordering::Acquire).is_err());
        assert!(ram.store(1u16, GuestAddress(0x2000), Ordering::Release).is_err());
        assert!(ram.load::<u16>(GuestAddress(0x3000), Ordering::Acquire).is_err());
    }
}
