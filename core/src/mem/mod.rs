//! Guest-physical memory: RAM blocks, a tree of regions, and the flat view that it renders to.
//!
//! The tree ([`MemTree`]) is changed under the board lock; the result is an immutable [`FlatView`] that every CPU thread reads
//! without a lock through its [`AddressSpace`]. The shape follows QEMU's memory API (docs/devel/memory).

mod code;
mod flat;
mod guest;
mod ram;
mod space;
mod tree;

pub use code::granules;
pub use flat::{FlatKind, FlatRange, FlatView, RamAccess};
pub use guest::{GuestRam, Written};
pub use ram::{DirtyClient, PAGE_SIZE, RamBlock};
pub use space::{AddressSpace, MemoryListener, NotRam};
pub use tree::{MemTree, Place, RegionId, RegionInfo, RegionKind};

/// Which device answers an I/O region, and which of its regions it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct IoTarget {
    /// The device.
    pub device: crate::board::DeviceId,
    /// The device's own number for the region.
    pub region: u32,
}
