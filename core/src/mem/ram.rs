//! RAM blocks: host memory behind guest RAM and ROM, with dirty bitmaps.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use vm_memory::bitmap::BitmapSlice;
use vm_memory::{MmapRegion, VolatileMemory};

/// Guest page size: the granule of dirty tracking.
pub const PAGE_SIZE: u64 = 4096;

/// Who follows writes to RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirtyClient {
    /// Live migration and incremental snapshots.
    Migration,
    /// Displays that show a part of RAM.
    Display,
}

/// One bit for each page.
struct Bitmap(Vec<AtomicU64>);

impl Bitmap {
    fn new(pages: u64) -> Self {
        Self((0..pages.div_ceil(64)).map(|_| AtomicU64::new(0)).collect())
    }
    fn get(&self, page: u64) -> bool {
        self.0[(page / 64) as usize].load(Ordering::Acquire) >> (page % 64) & 1 != 0
    }
    fn set(&self, page: u64) {
        self.0[(page / 64) as usize].fetch_or(1 << (page % 64), Ordering::AcqRel);
    }
    fn take(&self, page: u64) -> bool {
        let bit = 1 << (page % 64);
        self.0[(page / 64) as usize].fetch_and(!bit, Ordering::AcqRel) & bit != 0
    }
}

/// A block of host memory that backs guest RAM or ROM. Its pages are allocated by the host when first touched, and read as zero.
pub struct RamBlock {
    name: String,
    map: MmapRegion<()>,
    migration: Bitmap,
    display: Bitmap,
    code: Bitmap,
}

impl RamBlock {
    /// Maps `size` bytes (rounded up to a page).
    ///
    /// # Errors
    /// The host refused the mapping.
    pub fn new(name: &str, size: u64) -> io::Result<Arc<Self>> {
        let size = size.div_ceil(PAGE_SIZE) * PAGE_SIZE;
        let bytes = usize::try_from(size).map_err(|_| io::ErrorKind::OutOfMemory)?;
        let map = MmapRegion::new(bytes).map_err(|e| match e {
            vm_memory::mmap::MmapRegionError::Mmap(e) => e,
            e => io::Error::other(e),
        })?;
        let pages = size / PAGE_SIZE;
        Ok(Arc::new(Self {
            name: name.to_owned(),
            map,
            migration: Bitmap::new(pages),
            display: Bitmap::new(pages),
            code: Bitmap::new(pages),
        }))
    }

    /// QEMU's name for the block, such as `pc.ram`.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// Size in bytes, a multiple of the page size.
    pub fn size(&self) -> u64 {
        self.map.size() as u64
    }
    /// Start of the mapping, valid for [`RamBlock::size`] bytes while the block lives. Guest CPUs and the host share these bytes:
    /// whoever follows the pointer must use volatile or atomic accesses, or accept torn values, and never make a `&mut` of it.
    pub fn host_ptr(&self) -> *mut u8 {
        self.map.as_ptr()
    }
    fn slice(&self, offset: u64, len: usize) -> Option<vm_memory::VolatileSlice<'_, impl BitmapSlice>> {
        self.map.get_slice(usize::try_from(offset).ok()?, len).ok()
    }
    /// Copies bytes out.
    ///
    /// # Panics
    /// The range is not inside the block.
    pub fn read(&self, offset: u64, data: &mut [u8]) {
        self.slice(offset, data.len()).expect("range inside the block").copy_to(data);
    }
    /// Copies bytes in and marks the pages dirty.
    ///
    /// # Panics
    /// The range is not inside the block.
    pub fn write(&self, offset: u64, data: &[u8]) {
        self.slice(offset, data.len()).expect("range inside the block").copy_from(data);
        self.mark_dirty(offset, data.len() as u64);
    }
    /// Marks the pages of a range as written, for every client.
    pub fn mark_dirty(&self, offset: u64, len: u64) {
        for page in offset / PAGE_SIZE..(offset + len).div_ceil(PAGE_SIZE) {
            self.migration.set(page);
            self.display.set(page);
        }
    }
    /// Has the page at `offset` been written since `client` last took it? Clears the mark.
    pub fn take_dirty(&self, client: DirtyClient, offset: u64) -> bool {
        match client {
            DirtyClient::Migration => &self.migration,
            DirtyClient::Display => &self.display,
        }
        .take(offset / PAGE_SIZE)
    }
    /// The page at `offset` holds decoded instructions: [`super::MemoryListener::code_written`] tells of writes to it that no vCPU made.
    pub fn set_code(&self, offset: u64) {
        self.code.set(offset / PAGE_SIZE);
    }
    /// The page at `offset` no longer holds decoded instructions.
    pub fn clear_code(&self, offset: u64) {
        self.code.take(offset / PAGE_SIZE);
    }
    /// Does a page of this range hold decoded instructions?
    pub fn has_code(&self, offset: u64, len: u64) -> bool {
        len != 0 && (offset / PAGE_SIZE..=(offset + len - 1) / PAGE_SIZE).any(|p| self.code.get(p))
    }
}

impl std::fmt::Debug for RamBlock {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RamBlock({}, {:#x})", self.name, self.size())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_mark_pages_dirty_once() {
        let b = RamBlock::new("t", 0x3000).unwrap();
        b.write(0xfff, &[1, 2]);
        assert!(b.take_dirty(DirtyClient::Migration, 0));
        assert!(b.take_dirty(DirtyClient::Migration, 0x1000));
        assert!(!b.take_dirty(DirtyClient::Migration, 0x2000));
        assert!(!b.take_dirty(DirtyClient::Migration, 0));
        assert!(b.take_dirty(DirtyClient::Display, 0));
        let mut two = [0; 2];
        b.read(0xfff, &mut two);
        assert_eq!(two, [1, 2]);
    }
}
