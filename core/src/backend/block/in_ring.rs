//! Requests that the ring of an image takes (`aio=io_uring`): plain reads, writes and flushes. All others are for workers: zeroes and discards, as in
//! QEMU; data that have to be looked at or padded; and whatever is wrong, so that there is one place that says why.

use super::node::Node;
use super::request::{Data, Operation, Request, Segment};
use super::transfer::MOST_RANGES;
use super::uring::{Action, Memory, Telling};
use crate::mem::{AddressSpace, FlatView, GuestRam};
use arc_swap::Guard;
use parking_lot::{ArcRwLockReadGuard, RawRwLock};
use std::io;
use std::sync::Arc;
use vm_memory::bitmap::Bitmap;
use vm_memory::{GuestAddress, GuestMemory, Permissions};

/// Bytes that are read from the page cache while others wait.
const LITTLE: u64 = 64 << 10;

/// A request as a ring takes it.
pub(super) struct InRing {
    action: Action,
    offset: u64,
    length: u64,
    memory: Memory,
    guest: Option<Guest>,
    /// Nobody changes the size of the image, or reads and writes back what is beside the request, as long as it is there.
    access: ArcRwLockReadGuard<RawRwLock, super::image::Access>,
}

/// Guest RAM that is read to.
struct Guest {
    space: Arc<AddressSpace>,
    view: Arc<FlatView>,
    segments: Vec<Segment>,
}

impl Guest {
    /// Tells those who follow writes.
    fn written(&self) {
        let ram = GuestRam::new(&self.space, &self.view);
        for segment in &self.segments {
            let slices = ram.get_slices(GuestAddress(segment.addr), segment.len as usize, Permissions::Write);
            for slice in slices.into_iter().flatten().flatten() {
                slice.bitmap().mark_dirty(0, slice.len());
            }
        }
    }
}

impl Node {
    /// A request as the ring takes it, with its buffer, if it has one; nothing where it is for a worker.
    pub(super) fn for_ring(&self, request: &mut Request, space: Option<&Arc<AddressSpace>>) -> Option<InRing> {
        let ring = self.ring()?;
        let cache = self.info().cache;
        let (offset, length) = (request.offset, request.length);
        let action = match request.operation {
            Operation::Flush if !self.read_only() && !cache.no_flush => Action::Sync,
            Operation::Read => Action::Read,
            Operation::Write if !self.looks_at_writes(offset) => {
                Action::Write { through: !cache.writeback && !cache.no_flush }
            }
            _ => return None,
        };
        self.check(request.operation, offset, length).ok()?;
        let access = self.try_share()?;
        if action == Action::Sync {
            let memory = Memory::buffer(Vec::new());
            return Some(InRing { action, offset, length, memory, guest: None, access });
        }
        if length == 0 || request.data.len() != length || offset + length > access.size() {
            return None;
        }
        let reads = action == Action::Read;
        let (memory, guest) = match &mut request.data {
            Data::None => return None,
            Data::Owned(bytes) => (Memory::buffer(std::mem::take(bytes)), None),
            Data::Guest(segments) => {
                let (space, view) = (space?.clone(), Guard::into_inner(space?.view()));
                let memory = Memory::guest(&space, &view, segments, reads).ok()?;
                (memory, reads.then(|| Guest { space, view, segments: segments.clone() }))
            }
        };
        let aligned = offset.is_multiple_of(ring.req_align as u64)
            && memory.is_aligned(ring.mem_align, ring.mem_align.max(ring.req_align));
        if !aligned || memory.ranges() > MOST_RANGES {
            give_back(request, memory);
            return None;
        }
        Some(InRing { action, offset, length, memory, guest, access })
    }
    /// Has the ring carry out a request of its. `done` hears how it went, if all of it was done or the host has an error, and says what is to be told;
    /// if a worker is to try all of it again, it hears nothing. It has the request with its buffer.
    pub(super) fn begin_in_ring(
        &self,
        prepared: InRing,
        mut request: Request,
        done: impl FnOnce(Request, Option<io::Result<()>>) -> Option<Telling> + Send + 'static,
    ) {
        let Some(ring) = self.ring() else { return };
        let InRing { action, offset, length, memory, guest, access } = prepared;
        // What the page cache takes or has is copied at once, where the board may be locked: a little of what it has is copied sooner than another
        // thread wakes up.
        let quick = self.info().cache.direct || action == Action::Read && length <= LITTLE;
        ring.ring.begin(&ring.file, action, offset, memory, !quick, move |result, memory| {
            guest.iter().for_each(Guest::written);
            give_back(&mut request, memory);
            drop(access);
            let result = match result {
                Ok(n) if n as u64 == length => Some(Ok(())),
                // Less than that: the next try says why. The others are about how the host was asked.
                Ok(_) => None,
                Err(e) if AGAIN.contains(&e.kind()) => None,
                Err(e) => Some(Err(e)),
            };
            done(request, result)
        });
    }
}

/// The ring has no room, or not for this kind of file or memory.
const AGAIN: [io::ErrorKind; 4] =
    [io::ErrorKind::WouldBlock, io::ErrorKind::Interrupted, io::ErrorKind::InvalidInput, io::ErrorKind::Unsupported];

fn give_back(request: &mut Request, memory: Memory) {
    if let (Data::Owned(bytes), Some(buffer)) = (&mut request.data, memory.into_buffer()) {
        *bytes = buffer;
    }
}
