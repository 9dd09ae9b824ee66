//! What devices ask of a block back end, and what comes back.

use serde::{Deserialize, Serialize};
use std::io;

/// Bytes in a sector, the unit in which images have a size.
pub const SECTOR: u64 = 512;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Operation {
    /// Image to memory.
    Read,
    /// Memory to image.
    Write,
    /// Everything that was written, and completed, before is on stable storage.
    Flush,
    /// The contents of a range do not matter any more.
    Discard,
    /// A range reads as zeroes.
    WriteZeroes {
        /// Its space may be given back to the host.
        unmap: bool,
    },
}

impl Operation {
    /// It changes the image.
    pub fn writes(self) -> bool {
        matches!(self, Self::Write | Self::Discard | Self::WriteZeroes { .. })
    }
    /// The word that errors have for it.
    pub fn name(self) -> &'static str {
        if self == Self::Read { "read" } else { "write" }
    }
}

/// A range of guest-physical memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// Where.
    pub addr: u64,
    /// Bytes.
    pub len: u64,
}

/// Where the data of a read or a write is. It has as many bytes as the request is long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Data {
    /// There is none.
    None,
    /// In a buffer that comes back with the completion.
    Owned(Vec<u8>),
    /// In guest RAM, which is read or written while the request is carried out.
    Guest(Vec<Segment>),
}

impl Data {
    /// Bytes.
    pub fn len(&self) -> u64 {
        match self {
            Self::None => 0,
            Self::Owned(bytes) => bytes.len() as u64,
            Self::Guest(segments) => segments.iter().fold(0, |sum, s| sum.saturating_add(s.len)),
        }
    }
    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The device's own name for it, which comes back.
    pub tag: u64,
    /// What to do.
    pub operation: Operation,
    /// First byte in the image.
    pub offset: u64,
    /// Number of bytes.
    pub length: u64,
    /// What is read or written.
    pub data: Data,
}

impl Request {
    /// A read of `length` bytes into a new buffer.
    pub fn read(tag: u64, offset: u64, length: usize) -> Self {
        let data = Data::Owned(vec![0; length]);
        Self { tag, operation: Operation::Read, offset, length: length as u64, data }
    }
    /// A write.
    pub fn write(tag: u64, offset: u64, bytes: Vec<u8>) -> Self {
        Self { tag, operation: Operation::Write, offset, length: bytes.len() as u64, data: Data::Owned(bytes) }
    }
    /// A read or a write of guest RAM.
    pub fn guest(tag: u64, operation: Operation, offset: u64, segments: Vec<Segment>) -> Self {
        let data = Data::Guest(segments);
        Self { tag, operation, offset, length: data.len(), data }
    }
    /// A flush.
    pub fn flush(tag: u64) -> Self {
        Self { tag, operation: Operation::Flush, offset: 0, length: 0, data: Data::None }
    }
    /// A discard.
    pub fn discard(tag: u64, offset: u64, length: u64) -> Self {
        Self { tag, operation: Operation::Discard, offset, length, data: Data::None }
    }
    /// Zeroes.
    pub fn write_zeroes(tag: u64, offset: u64, length: u64, unmap: bool) -> Self {
        Self { tag, operation: Operation::WriteZeroes { unmap }, offset, length, data: Data::None }
    }
}

/// Why a request failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IoError {
    /// There is no medium.
    #[error("No medium found")]
    NoMedium,
    /// It reaches behind the end of the medium, or its data are of another length.
    #[error("Input/output error")]
    OutOfRange,
    /// The medium cannot be written.
    #[error("Operation not permitted")]
    ReadOnly,
    /// The host has no space left.
    #[error("No space left on device")]
    NoSpace,
    /// The data are not in guest RAM.
    #[error("Bad address")]
    NotRam,
    /// The host's reason.
    #[error("{0}")]
    Host(String),
}

impl From<io::Error> for IoError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace,
            io::ErrorKind::UnexpectedEof => Self::OutOfRange,
            _ => Self::Host(error.to_string()),
        }
    }
}

/// A request that is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completion {
    /// The request's.
    pub tag: u64,
    /// How it went.
    pub result: Result<(), IoError>,
    /// The buffer of [`Data::Owned`]; empty for others.
    pub data: Vec<u8>,
}
