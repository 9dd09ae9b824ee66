//! Block back ends: what is behind a disk, a CD-ROM drive or a floppy drive.
//!
//! A [`Node`] is an opened image: a file or host device in one of the [`Format`]s. A [`BlockBackend`] is what a device holds on to: a place for a medium,
//! with a queue of requests. Requests are carried out on threads of their own (`workers`), never with the board locked, or where the user wants it by the
//! host's io_uring (`uring`); what is done comes back as input of a character back end does: the device is called, and takes the [`Completion`]s.
//!
//! Formats and host files are read by the crate imago; `lock` adds QEMU's locks, and `image` what must be known before an image is opened: its
//! format, the files that it refers to, whether it may be written. `debug` has requests fail or wait, for tests.

mod create;
mod debug;
mod drive;
mod image;
mod in_ring;
mod lock;
mod medium;
mod node;
mod options;
mod place;
mod qcow2;
mod registry;
mod request;
mod stats;
#[cfg(test)]
mod tests;
mod transfer;
mod uring;
mod workers;

pub use create::create;
pub use debug::{Debug, DebugEvent, DebugOptions, InjectError, IoType, SetState};
pub(crate) use drive::DriveState;
pub use drive::{BlockBackend, BlockClient, Drive, IoFailure};
pub use image::{BackingFile, OpenError, probe};
pub use medium::{Media, MediumEvent, MediumRefusal};
pub use node::{Node, NodeInfo};
pub use options::{Aio, CacheMode, DetectZeroes, Format, ImageOptions, OnError, Protocol};
pub use place::{DriveMedia, DrivePlace, Interface, WantedPlace};
pub use registry::{BlockError, Blocks, DriveInfo};
pub use request::{Completion, Data, IoError, Operation, Request, SECTOR, Segment};
pub use stats::{BlockStats, OperationStats};
