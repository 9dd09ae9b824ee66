//! An opened image with a name.

use super::debug::{Debug, DebugEvent, IoType};
use super::image::{self, Access, BackingFile, OpenError, PROBED, RingFile, guarded, probe};
use super::lock::ImageLock;
use super::options::{Aio, CacheMode, DetectZeroes, Format, ImageOptions, Protocol};
use super::qcow2;
use super::request::{IoError, Operation, SECTOR};
use imago::io_buffers::{IoVector, IoVectorMut};
use parking_lot::{ArcRwLockReadGuard, RawRwLock, RwLock};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// An image as lists show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub filename: PathBuf,
    /// What kind of file that is.
    pub protocol: Protocol,
    /// The name of the file's own node; its own if there is no format on the file.
    pub file_node: String,
    /// Its format.
    pub format: Format,
    /// It is not written.
    pub read_only: bool,
    /// How the host is asked.
    pub aio: Aio,
    /// What the host caches.
    pub cache: CacheMode,
    /// Discards are passed on.
    pub unmap: bool,
    /// Writes of zeroes are found out.
    pub detect_zeroes: DetectZeroes,
    /// What is written goes to a temporary file.
    pub snapshot: bool,
    /// Files that it refers to, nearest first.
    pub backing: Vec<BackingFile>,
    /// There is no file, but nothing of so many bytes.
    pub null: Option<u64>,
}

/// Largest cluster of a qcow2 image.
const LARGEST_CLUSTER: u64 = 2 << 20;

/// An opened image. Its functions wait for the host, so they are not for threads that hold the board's lock.
pub struct Node {
    info: NodeInfo,
    /// Held shared for a request that the ring has, too.
    access: Arc<RwLock<Access>>,
    ring: Option<RingFile>,
    debug: Option<Debug>,
    /// Size in bytes, in whole sectors.
    size: AtomicU64,
    probed: bool,
    /// How many were opened before it.
    number: u64,
    _locks: Vec<ImageLock>,
}

impl Node {
    /// Opens an image, to be known as `name`, and its file as `file_node`.
    ///
    /// # Errors
    /// It cannot be opened.
    pub fn open(name: &str, file_node: &str, options: &ImageOptions) -> Result<Arc<Self>, OpenError> {
        let opened = image::open(options)?;
        let size = opened.access.size().next_multiple_of(SECTOR);
        let info = NodeInfo {
            name: name.to_owned(),
            filename: options.filename.clone(),
            protocol: opened.protocol,
            file_node: file_node.to_owned(),
            format: opened.format,
            read_only: opened.read_only,
            aio: options.aio,
            cache: options.cache,
            unmap: options.unmap,
            detect_zeroes: options.detect_zeroes,
            snapshot: options.snapshot,
            backing: opened.backing,
            null: options.null,
        };
        let (access, size) = (Arc::new(RwLock::new(opened.access)), AtomicU64::new(size));
        static OPENED: AtomicU64 = AtomicU64::new(0);
        let number = OPENED.fetch_add(1, Ordering::Relaxed);
        Ok(Arc::new(Self {
            info,
            access,
            ring: opened.ring,
            debug: options.debug.as_ref().map(Debug::new),
            size,
            probed: opened.probed,
            number,
            _locks: opened.locks,
        }))
    }
    /// Its name.
    pub fn name(&self) -> &str {
        &self.info.name
    }
    /// How many were opened before it.
    pub(super) fn number(&self) -> u64 {
        self.number
    }
    /// All about it that does not change.
    pub fn info(&self) -> &NodeInfo {
        &self.info
    }
    /// Size in bytes, in whole sectors.
    pub fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }
    /// What the user should hear: an image that is written, and whose format was guessed to be raw, could not become one of another format.
    pub fn warning(&self) -> Option<String> {
        let guessed = self.probed && !self.info.read_only && !self.info.snapshot;
        guessed.then(|| {
            format!(
                "Image format was not specified for '{}' and probing guessed raw. Automatically detecting the format is dangerous for raw \
                 images, write operations on block 0 will be restricted. Specify the 'raw' format explicitly to remove the restrictions.",
                self.info.filename.display()
            )
        })
    }
    /// It is not written.
    pub fn read_only(&self) -> bool {
        self.info.read_only
    }

    /// What has requests fail or wait.
    pub fn debug(&self) -> Option<&Debug> {
        self.debug.as_ref()
    }
    fn happens(&self, event: DebugEvent) {
        self.debug.iter().for_each(|d| d.happens(event));
    }
    /// What the request of a test is to meet.
    fn meet(&self, io_type: IoType, offset: u64, length: u64) -> io::Result<()> {
        self.debug.as_ref().map_or(Ok(()), |d| d.check(io_type, offset, length))
    }

    /// The ring that takes requests.
    pub(super) fn ring(&self) -> Option<&RingFile> {
        self.ring.as_ref()
    }
    /// Access that it shares, if nobody has it alone or waits for that.
    pub(super) fn try_share(&self) -> Option<ArcRwLockReadGuard<RawRwLock, Access>> {
        RwLock::try_read_arc(&self.access)
    }
    /// Writes. What is padded, by reading what is beside it, must not meet what the ring writes there.
    fn change(
        &self,
        operation: Operation,
        offset: u64,
        length: u64,
        f: impl FnOnce(&Access) -> io::Result<()>,
    ) -> Result<(), IoError> {
        let change = |access: &Access| {
            self.prepare(access, operation, offset, length)?;
            Ok(guarded(|| f(access))?)
        };
        let alone = self.ring.as_ref().is_some_and(|r| r.req_align > 1 || r.mem_align > 1);
        if alone { change(&self.access.write()) } else { change(&self.access.read()) }
    }
    /// Checks what is to be written, and fills up an incomplete last sector for it. While `access` is held, the size stays.
    fn prepare(&self, access: &Access, operation: Operation, offset: u64, length: u64) -> Result<(), IoError> {
        self.check(operation, offset, length)?;
        if offset + length > access.size() {
            guarded(|| access.resize_grow(self.size(), imago::format::PreallocateMode::Zero))?;
        }
        Ok(())
    }
    pub(super) fn check(&self, operation: Operation, offset: u64, length: u64) -> Result<(), IoError> {
        if operation.writes() && self.info.read_only {
            return Err(IoError::ReadOnly);
        }
        match offset.checked_add(length) {
            Some(end) if end <= self.size() => Ok(()),
            _ => Err(IoError::OutOfRange),
        }
    }
    /// Reads.
    ///
    /// # Errors
    /// The range is not inside the image, or the host's reason.
    pub fn read(&self, offset: u64, data: &mut [u8]) -> Result<(), IoError> {
        self.readv(offset, data.into())
    }
    /// Reads into memory that lies in pieces.
    pub(super) fn readv(&self, offset: u64, data: IoVectorMut<'_>) -> Result<(), IoError> {
        self.happens(DebugEvent::ReadAio);
        self.meet(IoType::Read, offset, data.len())?;
        let access = self.access.read();
        self.check(Operation::Read, offset, data.len())?;
        Ok(guarded(|| access.readv(data, offset))?)
    }
    /// Writes. With a cache mode that says so, the data are on stable storage afterwards.
    ///
    /// # Errors
    /// The range is not inside the image, it is read-only, or the host's reason.
    pub fn write(&self, offset: u64, data: &[u8]) -> Result<(), IoError> {
        self.check(Operation::Write, offset, data.len() as u64)?;
        if self.info.detect_zeroes != DetectZeroes::Off && data.iter().all(|b| *b == 0) {
            return self.write_zeroes(offset, data.len() as u64, self.info.detect_zeroes == DetectZeroes::Unmap);
        }
        self.keep_format(offset, data)?;
        self.writev(offset, data.into())
    }
    /// Must data be looked at before they are written at `offset`?
    pub(super) fn looks_at_writes(&self, offset: u64) -> bool {
        self.info.detect_zeroes != DetectZeroes::Off || self.probed && offset < PROBED as u64
    }
    /// Writes from memory that lies in pieces, where nobody [looks at it](Node::looks_at_writes).
    pub(super) fn writev(&self, offset: u64, data: IoVector<'_>) -> Result<(), IoError> {
        self.happens(DebugEvent::Pwritev);
        self.happens(DebugEvent::WriteAio);
        self.meet(IoType::Write, offset, data.len())?;
        self.change(Operation::Write, offset, data.len(), |access| access.writev(data, offset))?;
        self.happens(DebugEvent::PwritevDone);
        self.written()
    }
    /// Has a range read as zeroes.
    ///
    /// # Errors
    /// As [`Node::write`].
    pub fn write_zeroes(&self, offset: u64, length: u64, unmap: bool) -> Result<(), IoError> {
        let operation = Operation::WriteZeroes { unmap };
        self.check(operation, offset, length)?;
        self.happens(DebugEvent::PwritevZero);
        self.meet(IoType::WriteZeroes, offset, length)?;
        // What `snapshot=on` lays over an image is a qcow2 image, too.
        let qcow2 = self.info.format == Format::Qcow2 || self.info.snapshot;
        if qcow2 && self.size() < LARGEST_CLUSTER {
            // imago 0.2.6 takes what follows in the cluster of such an image for zeroes, too.
            let zeroes = vec![0; length as usize];
            self.change(operation, offset, length, |access| access.write(&zeroes[..], offset))?;
        } else if unmap && self.info.unmap {
            let mut access = self.access.write();
            self.prepare(&access, operation, offset, length)?;
            guarded(|| access.discard_to_zero(offset, length))?;
        } else {
            self.change(operation, offset, length, |access| access.write_zeroes(offset, length))?;
        }
        self.happens(DebugEvent::PwritevDone);
        self.written()
    }
    /// Gives the space of a range back to the host, where that was asked for and the host can.
    ///
    /// # Errors
    /// As [`Node::write`].
    pub fn discard(&self, offset: u64, length: u64) -> Result<(), IoError> {
        if !self.info.unmap {
            return self.check(Operation::Discard, offset, length);
        }
        self.meet(IoType::Discard, offset, length)?;
        let mut access = self.access.write();
        self.check(Operation::Discard, offset, length)?;
        // The last sector of a file may be an incomplete one.
        let length = length.min(access.size().saturating_sub(offset));
        match guarded(|| access.discard_to_any(offset, length)) {
            Err(e) if e.kind() == io::ErrorKind::Unsupported => Ok(()),
            done => Ok(done?),
        }
    }
    /// Has everything written on stable storage.
    ///
    /// # Errors
    /// The host's reason.
    pub fn flush(&self) -> Result<(), IoError> {
        if self.info.read_only {
            return Ok(());
        }
        self.happens(DebugEvent::FlushToOs);
        guarded(|| self.access.read().flush())?;
        if !self.info.cache.no_flush && !self.info.snapshot {
            self.happens(DebugEvent::FlushToDisk);
            self.meet(IoType::Flush, 0, 0)?;
            guarded(|| self.access.read().sync())?;
        }
        Ok(())
    }
    /// Changes its size (`block_resize`).
    ///
    /// # Errors
    /// It is read-only, or the host's reason.
    pub fn resize(&self, size: u64) -> Result<(), IoError> {
        if self.info.read_only {
            return Err(IoError::ReadOnly);
        }
        let size = size.next_multiple_of(SECTOR);
        self.check_shrinkage(size)?;
        let mut access = self.access.write();
        guarded(|| access.resize(size, imago::format::PreallocateMode::Zero))?;
        // Whoever has access next finds both sizes changed.
        self.size.store(size, Ordering::Release);
        Ok(())
    }

    /// A hostile image may claim to be so large that making it smaller would not end.
    fn check_shrinkage(&self, size: u64) -> Result<(), IoError> {
        let most = match self.info.format {
            _ if self.info.snapshot => qcow2::most_shrinkage(None)?,
            Format::Qcow2 => qcow2::most_shrinkage(Some(&self.info.filename))?,
            _ => return Ok(()),
        };
        let less = self.size().saturating_sub(size);
        if less > most {
            return Err(IoError::Host(format!("A qcow2 image with such clusters shrinks by {most} bytes at most")));
        }
        Ok(())
    }
    fn written(&self) -> Result<(), IoError> {
        if self.info.cache.writeback { Ok(()) } else { self.flush() }
    }
    /// An image whose format was guessed to be raw must not be turned into something else, by which the guest would reach other files of the host.
    fn keep_format(&self, offset: u64, data: &[u8]) -> Result<(), IoError> {
        if !self.probed || offset >= PROBED as u64 || data.is_empty() {
            return Ok(());
        }
        let mut start = vec![0; PROBED.min(self.size() as usize)];
        guarded(|| self.access.read().read(&mut start, 0))?;
        let at = offset as usize;
        let n = data.len().min(start.len() - at);
        start[at..at + n].copy_from_slice(&data[..n]);
        if probe(&start) == Ok(Format::Raw) { Ok(()) } else { Err(IoError::ReadOnly) }
    }
}

impl std::fmt::Debug for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Node({}, {})", self.info.name, self.info.filename.display())
    }
}
