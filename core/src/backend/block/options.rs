//! How an image is to be opened.

use super::debug::DebugOptions;
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
    /// What the bytes of an image are in, by QEMU's name for the driver.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum Protocol {
        /// A regular file.
        File = "file",
        /// A device.
        HostDevice = "host_device",
        /// Nothing: what is written is lost, and what is read are zeroes.
        NullCo = "null-co",
        /// The same.
        NullAio = "null-aio",
        /// A regular file or one of the others, whose requests fail or wait as [`DebugOptions`] say.
        Blkdebug = "blkdebug",
    }
}

/// What the host caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheMode {
    /// The host's page cache is not used (`O_DIRECT`).
    pub direct: bool,
    /// A write is done before it is on stable storage.
    pub writeback: bool,
    /// Flushes are not passed on.
    pub no_flush: bool,
}

impl CacheMode {
    /// The default.
    pub const WRITEBACK: Self = Self { direct: false, writeback: true, no_flush: false };
    /// All that have a name (`cache=`).
    pub const NAMED: &'static [(&'static str, Self)] = &[
        ("writeback", Self::WRITEBACK),
        ("none", Self { direct: true, ..Self::WRITEBACK }),
        ("unsafe", Self { no_flush: true, ..Self::WRITEBACK }),
        ("writethrough", Self { writeback: false, ..Self::WRITEBACK }),
        ("directsync", Self { direct: true, writeback: false, no_flush: false }),
    ];

    /// By QEMU's name.
    pub fn from_name(name: &str) -> Option<Self> {
        // "off" is an old name.
        let name = if name == "off" { "none" } else { name };
        Self::NAMED.iter().find(|(n, _)| *n == name).map(|(_, mode)| *mode)
    }
}

named! {
    /// How the host is asked (`aio=`).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub enum Aio {
        /// By threads that wait.
        #[default]
        Threads = "threads",
        /// By its io_uring, which only raw images can.
        IoUring = "io_uring",
    }
}

named! {
    /// Whether writes of nothing but zeroes are found out (`detect-zeroes=`).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub enum DetectZeroes {
        /// They are not.
        #[default]
        Off = "off",
        /// They are written as zeroes, which takes less space where the format can.
        On = "on",
        /// The same, and the space is given back to the host.
        Unmap = "unmap",
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
    /// What kind of file it must be; any without.
    pub protocol: Option<Protocol>,
    /// There is no file, but nothing of so many bytes.
    pub null: Option<u64>,
    /// Requests fail or wait.
    pub debug: Option<DebugOptions>,
    /// What the host caches.
    pub cache: CacheMode,
    /// Discards are passed on to the host.
    pub unmap: bool,
    /// Writes of zeroes are found out.
    pub detect_zeroes: DetectZeroes,
    /// How the host is asked.
    pub aio: Aio,
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
            protocol: None,
            null: None,
            debug: None,
            cache: CacheMode::WRITEBACK,
            unmap: false,
            detect_zeroes: DetectZeroes::Off,
            aio: Aio::Threads,
            locking: true,
        }
    }
    /// An image in nothing.
    pub fn null(protocol: Protocol) -> Self {
        const SIZE: u64 = 1 << 30;
        let name = format!("{}://", protocol.name());
        Self { format: Some(Format::Raw), protocol: Some(protocol), null: Some(SIZE), ..Self::new(name) }
    }
}
