//! RAM blocks: host memory behind guest RAM and ROM, with dirty bitmaps.

use super::code::CodeMarks;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use vm_memory::bitmap::BitmapSlice;
use vm_memory::mmap::MmapRegionError;
use vm_memory::{FileOffset, MmapRegion, VolatileMemory, VolatileSlice};

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
    code: CodeMarks,
}

/// A number of bytes in whole pages.
fn whole_pages(size: u64) -> io::Result<usize> {
    let size = size.checked_next_multiple_of(PAGE_SIZE).ok_or(io::ErrorKind::OutOfMemory)?;
    usize::try_from(size).map_err(|_| io::ErrorKind::OutOfMemory.into())
}

/// A file in a directory that nobody else can open, and that goes with the last mapping.
fn unnamed_file(directory: &Path) -> io::Result<File> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
    Ok(rustix::fs::open(directory, flags, Mode::RUSR | Mode::WUSR)?.into())
}

impl RamBlock {
    /// Maps `size` bytes (rounded up to a page).
    ///
    /// # Errors
    /// The host refused the mapping.
    pub fn new(name: &str, size: u64) -> io::Result<Arc<Self>> {
        Self::mapped(name, MmapRegion::new(whole_pages(size)?))
    }
    /// Maps `size` bytes (rounded up to a page) of a file, which is made or made longer where it has to be; of one without a name if `path` is a
    /// directory. With `share`, what is written to the block goes to the file.
    ///
    /// # Errors
    /// The host refused.
    pub fn in_file(name: &str, path: &Path, size: u64, share: bool) -> io::Result<Arc<Self>> {
        let size = whole_pages(size)?;
        let file = if path.is_dir() {
            unnamed_file(path)?
        } else {
            File::options().read(true).write(true).create(true).truncate(false).open(path)?
        };
        if file.metadata()?.len() < size as u64 {
            file.set_len(size as u64)?;
        }
        let protection = rustix::mm::ProtFlags::READ | rustix::mm::ProtFlags::WRITE;
        let kind = if share { rustix::mm::MapFlags::SHARED } else { rustix::mm::MapFlags::PRIVATE };
        let (protection, kind) = (protection.bits() as i32, kind.bits() as i32);
        Self::mapped(name, MmapRegion::build(Some(FileOffset::new(file, 0)), size, protection, kind))
    }
    fn mapped(name: &str, map: Result<MmapRegion<()>, MmapRegionError>) -> io::Result<Arc<Self>> {
        let map = map.map_err(|e| match e {
            MmapRegionError::Mmap(e) => e,
            e => io::Error::other(e),
        })?;
        let pages = map.size() as u64 / PAGE_SIZE;
        Ok(Arc::new(Self {
            name: name.to_owned(),
            map,
            migration: Bitmap::new(pages),
            display: Bitmap::new(pages),
            code: CodeMarks::new(pages),
        }))
    }

    /// Has the host allocate every page now.
    pub fn touch(&self) {
        for at in (0..self.size()).step_by(PAGE_SIZE as usize) {
            let mut byte = [0];
            self.read(at, &mut byte);
            self.write(at, &byte);
        }
    }
    /// Gives the host back what is behind whole pages, which read as zero from then on. False, with nothing done, where the host cannot do that without
    /// showing something else: in a file that is not shared.
    ///
    /// # Panics
    /// The range is not inside the block, or not of whole pages.
    pub fn discard(&self, offset: u64, len: usize) -> bool {
        assert!(offset.is_multiple_of(PAGE_SIZE) && (len as u64).is_multiple_of(PAGE_SIZE), "whole pages");
        let slice = self.slice(offset, len).expect("range inside the block");
        if let Some(file) = self.map.file_offset() {
            let hole = rustix::fs::FallocateFlags::PUNCH_HOLE | rustix::fs::FallocateFlags::KEEP_SIZE;
            if self.map.flags() & rustix::mm::MapFlags::SHARED.bits() as i32 == 0
                || rustix::fs::fallocate(file.file(), hole, file.start() + offset, len as u64).is_err()
            {
                return false;
            }
        }
        let at = slice.ptr_guard_mut().as_ptr();
        // SAFETY: the range is inside the mapping, which stays as it is. Its bytes change as by a store of a guest CPU, which may come at any time: nobody
        // holds a reference to them.
        let done = unsafe { rustix::mm::madvise(at.cast(), len, rustix::mm::Advice::LinuxDontNeed) }.is_ok();
        self.mark_dirty(offset, len as u64);
        done
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
    fn slice(&self, offset: u64, len: usize) -> Option<VolatileSlice<'_, impl BitmapSlice>> {
        self.map.get_slice(usize::try_from(offset).ok()?, len).ok()
    }
    /// A piece of the block whose writes are told to `bitmap`.
    ///
    /// # Panics
    /// The range is not inside the block.
    pub(super) fn slice_with<B: BitmapSlice>(&self, offset: u64, len: usize, bitmap: B) -> VolatileSlice<'_, B> {
        let slice = self.slice(offset, len).expect("range inside the block");
        // SAFETY: another slice of this range has just been made, which says that it is inside the mapping; the result lives no longer than the
        // block, which keeps the mapping.
        unsafe { VolatileSlice::with_bitmap(slice.ptr_guard_mut().as_ptr(), len, bitmap, None) }
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
    /// One more vCPU has decoded instructions of the page at `offset`: [`super::MemoryListener::code_written`] tells of writes to it that no
    /// vCPU made. How many had some before.
    pub fn set_code(&self, offset: u64) -> u32 {
        self.code.add(offset)
    }
    /// The same, but only if another vCPU has some already; false, with nothing done, if none has.
    pub fn join_code(&self, offset: u64) -> bool {
        self.code.join(offset)
    }
    /// The instructions are in these [pieces](super::granules) of the page. The bytes must be read (again) after this.
    pub fn widen_code(&self, offset: u64, granules: u32) {
        self.code.widen(offset, granules);
    }
    /// One vCPU fewer has decoded instructions of the page at `offset`.
    pub fn clear_code(&self, offset: u64) {
        self.code.remove(offset);
    }
    /// In which pieces of the page at `offset` there may be decoded instructions, for whoever has just written to it.
    pub fn code_granules(&self, offset: u64) -> u32 {
        self.code.granules(offset)
    }
    /// Does a page of this range hold decoded instructions?
    pub fn has_code(&self, offset: u64, len: u64) -> bool {
        len != 0 && (offset / PAGE_SIZE..=(offset + len - 1) / PAGE_SIZE).any(|p| self.code.any(p * PAGE_SIZE))
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
    fn discarded_pages_are_zero_and_no_longer_the_hosts() {
        let b = RamBlock::new("t", 0x4000).unwrap();
        b.write(0, &[7; 0x4000]);
        assert!(b.discard(0x1000, 0x2000));
        let mut bytes = [1; 0x4000];
        b.read(0, &mut bytes);
        assert!(bytes[..0x1000].iter().chain(&bytes[0x3000..]).all(|b| *b == 7));
        assert!(bytes[0x1000..0x3000].iter().all(|b| *b == 0));
        let path = std::env::temp_dir().join(format!("gearbox-discard-{}", std::process::id()));
        for share in [true, false] {
            std::fs::write(&path, [5; 0x2000]).unwrap();
            let b = RamBlock::in_file("f", &path, 0x2000, share).unwrap();
            b.write(0x1000, &[7]);
            assert_eq!(b.discard(0x1000, 0x1000), share);
            let mut byte = [1];
            b.read(0x1000, &mut byte);
            assert_eq!(byte, if share { [0] } else { [7] }, "only what is shared can be given back");
        }
        std::fs::remove_file(&path).unwrap();
    }

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
