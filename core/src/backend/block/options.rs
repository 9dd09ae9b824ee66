//! How an image is to be opened.

use crate::named::named;
use std::path::PathBuf;

named! {
    /// A format of images.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Format {
        /// The bytes of the disk as they are.
        Raw = "raw",
        /// QEMU's copy-on-write format, versions 2 and 3.
        Qcow2 = "qcow2",
    }
}

named! {
    /// What the host caches (`cache=`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum CacheMode {
        /// The host's page cache is used; a write is done when it is there.
        Writeback = "writeback",
        /// The host's page cache is used; a write is done when it is on stable storage.
        Writethrough = "writethrough",
        /// The page cache is not used; the disk's own cache is.
        None = "none",
        /// As writeback, and flushes are not passed on.
        Unsafe = "unsafe",
        /// No cache is used.
        Directsync = "directsync",
    }
}

impl CacheMode {
    /// The page cache is not used (`O_DIRECT`; QMP `direct`).
    pub fn direct(self) -> bool {
        matches!(self, Self::None | Self::Directsync)
    }
    /// Writes are done before they are on stable storage (QMP `writeback`).
    pub fn writeback(self) -> bool {
        !matches!(self, Self::Writethrough | Self::Directsync)
    }
    /// Flushes are not passed on (QMP `no-flush`).
    pub fn no_flush(self) -> bool {
        self == Self::Unsafe
    }
}

named! {
    /// What happens when a request fails (`werror=`, `rerror=`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum OnError {
        /// The guest is told.
        Report = "report",
        /// The guest is told that it went well.
        Ignore = "ignore",
        /// The machine stops, and the request is tried again when it continues.
        Stop = "stop",
        /// The machine stops if the host has no space left; else the guest is told.
        Enospc = "enospc",
    }
}

/// How an image is to be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageOptions {
    /// The file or host device.
    pub filename: PathBuf,
    /// Its format; found out without.
    pub format: Option<Format>,
    /// It is not to be written.
    pub read_only: bool,
    /// It may be opened so that it cannot be written, where the host has it so.
    pub auto_read_only: bool,
    /// What is written goes to a temporary file.
    pub snapshot: bool,
    /// What the host caches.
    pub cache: CacheMode,
    /// Discards are passed on to the host.
    pub unmap: bool,
    /// Other processes are kept from using the image in ways that do not go together.
    pub locking: bool,
}

impl ImageOptions {
    /// As `-drive` has it by default.
    pub fn new(filename: impl Into<PathBuf>) -> Self {
        Self {
            filename: filename.into(),
            format: None,
            read_only: false,
            auto_read_only: true,
            snapshot: false,
            cache: CacheMode::Writeback,
            unmap: false,
            locking: true,
        }
    }
}
