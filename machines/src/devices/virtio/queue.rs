//! A virtqueue: what the driver has made available is taken, checked, and given back (Virtual I/O Device 1.2, 2.7). The rings themselves are those of the
//! crate virtio-queue.

use super::chain::{Chain, MOST_DESCRIPTORS, Segments};
use gearbox_core::backend::block::Segment;
use gearbox_core::board::{Cx, Saved};
use gearbox_core::mem::GuestRam;
use serde::{Deserialize, Serialize};
use std::sync::atomic::Ordering;
use virtio_bindings::virtio_ring::VRING_AVAIL_F_NO_INTERRUPT;
use virtio_queue::{Error, Queue, QueueOwnedT, QueueState, QueueT};
use vm_memory::{Bytes, GuestAddress, GuestMemory, Permissions};

/// Most elements of a queue.
pub(super) const MOST_SIZE: u16 = 1024;
/// Alignment of the used ring where the driver says only where the queue begins (2.7.2).
const LEGACY_ALIGN: u64 = 4096;

/// What is wrong with a queue: the device cannot go on without a reset.
#[derive(Debug, thiserror::Error)]
pub(super) enum Broken {
    #[error("the rings cannot be used: {0}")]
    Ring(#[from] Error),
    #[error("the available ring is not in RAM")]
    NoRing,
    #[error("more buffers than the queue has room for")]
    TooMany,
    #[error("descriptor chain {0} has no end")]
    NoEnd(u16),
    #[error("descriptor chain {0} has a buffer of no bytes")]
    Empty(u16),
    #[error("descriptor chain {0} has a buffer to read after one to write")]
    Order(u16),
    #[error("descriptor chain {0} has a buffer at {1:#x}, where there is no RAM")]
    NotRam(u16, u64),
}

/// The addresses of the rings as the driver gives them, which may be wrong.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct Rings {
    pub(super) descriptors: u64,
    pub(super) available: u64,
    pub(super) used: u64,
}

/// A queue.
pub(super) struct VirtQueue {
    rings: Queue,
    pub(super) wanted: Rings,
    /// Its vector; [`super::pci::NO_VECTOR`] for none.
    pub(super) vector: u16,
    /// Buffers that the device has.
    in_use: u16,
    /// Buffers have been given back that the driver has not been told of.
    untold: bool,
}

/// The RAM that a device may access now, for `$ram` in `$use`.
macro_rules! with_ram {
    ($cx:ident, $ram:ident => $use:expr) => {{
        let space = $cx.address_space();
        let view = space.view();
        let $ram = GuestRam::new(space, &view);
        $use
    }};
}

impl VirtQueue {
    /// A queue of up to `size` elements, a power of two up to [`MOST_SIZE`].
    pub(super) fn new(size: u16) -> Self {
        let rings = Queue::new(size).expect("a size that the device has checked");
        let (wanted, vector) = (Rings::default(), super::pci::NO_VECTOR);
        Self { rings, wanted, vector, in_use: 0, untold: false }
    }
    /// What is saved of it.
    pub(super) fn saved(&mut self) -> Saved<'_> {
        let Self { rings, wanted, vector, in_use, untold } = self;
        let s = rings.state();
        let most = s.max_size;
        let place = (s.desc_table, s.avail_ring, s.used_ring);
        let value = (s.next_avail, s.next_used, s.event_idx_enabled, s.size, s.ready, place);
        let made =
            move |&(next_avail, next_used, event_idx_enabled, size, ready, (desc_table, avail_ring, used_ring)): &_| {
                Queue::try_from(QueueState {
                    max_size: most,
                    next_avail,
                    next_used,
                    event_idx_enabled,
                    size,
                    ready,
                    desc_table,
                    avail_ring,
                    used_ring,
                })
                .ok()
            };
        let put = move |value| *rings = made(&value).expect("it has been looked at");
        Saved::via(value, move |value| made(value).is_some(), put).and(Saved::of((wanted, vector, in_use, untold)))
    }
    pub(super) fn reset(&mut self) {
        self.rings.reset();
        (self.wanted, self.vector, self.in_use, self.untold) = (Rings::default(), super::pci::NO_VECTOR, 0, false);
    }
    pub(super) fn size(&self) -> u16 {
        self.rings.size()
    }
    pub(super) fn max_size(&self) -> u16 {
        self.rings.max_size()
    }
    /// The driver wants it smaller; false if it cannot be that size.
    pub(super) fn set_size(&mut self, size: u16) -> bool {
        self.rings.try_set_size(size).is_ok()
    }
    pub(super) fn is_enabled(&self) -> bool {
        self.rings.ready()
    }
    /// Where all three rings are by where the first begins, as a driver from before version 1 says it; nowhere for 0.
    pub(super) fn set_legacy_rings(&mut self, at: u64) {
        let size = u64::from(self.size());
        let available = at + 16 * size;
        let used = (available + 6 + 2 * size).next_multiple_of(LEGACY_ALIGN);
        self.wanted = Rings { descriptors: at, available, used };
    }
    /// Begins to use the rings; false if they are no good.
    pub(super) fn enable(&mut self, cx: &Cx<'_>, event_index: bool) -> bool {
        let Rings { descriptors, available, used } = self.wanted;
        let aligned = self.rings.try_set_desc_table_address(GuestAddress(descriptors)).is_ok()
            && self.rings.try_set_avail_ring_address(GuestAddress(available)).is_ok()
            && self.rings.try_set_used_ring_address(GuestAddress(used)).is_ok();
        let size = usize::from(self.size());
        // The two fields for the event index are there whether or not they are used.
        let parts = [
            (descriptors, 16 * size, Permissions::Read),
            (available, 6 + 2 * size, Permissions::Read),
            (used, 6 + 8 * size, Permissions::Write),
        ];
        let there =
            |ram: GuestRam<'_>| parts.iter().all(|&(at, len, access)| ram.check_range(GuestAddress(at), len, access));
        let usable = aligned && available != 0 && with_ram!(cx, ram => there(ram));
        self.rings.set_event_idx(event_index);
        self.rings.set_ready(usable);
        usable
    }

    /// Takes the next chain of buffers that the driver has made available, if there is one.
    ///
    /// # Errors
    /// What the driver has put there makes no sense.
    pub(super) fn pop(&mut self, cx: &Cx<'_>) -> Result<Option<Chain>, Broken> {
        if !self.is_enabled() {
            return Ok(None);
        }
        with_ram!(cx, ram => self.pop_from(ram))
    }
    fn pop_from(&mut self, ram: GuestRam<'_>) -> Result<Option<Chain>, Broken> {
        if self.rings.avail_idx(&ram, Ordering::Acquire)?.0 == self.rings.next_avail() {
            return Ok(None);
        }
        let chain = self.rings.iter(&ram)?.next().ok_or(Broken::NoRing)?;
        if self.in_use >= self.size() {
            return Err(Broken::TooMany);
        }
        let head = chain.head_index();
        let (mut readable, mut writable) = (Vec::new(), Vec::new());
        let mut ended = false;
        for descriptor in chain.take(MOST_DESCRIPTORS) {
            let (addr, len) = (descriptor.addr(), descriptor.len());
            let write = descriptor.is_write_only();
            if len == 0 {
                return Err(Broken::Empty(head));
            }
            if !write && !writable.is_empty() {
                return Err(Broken::Order(head));
            }
            let access = if write { Permissions::Write } else { Permissions::Read };
            if !ram.check_range(addr, len as usize, access) {
                return Err(Broken::NotRam(head, addr.0));
            }
            let list = if write { &mut writable } else { &mut readable };
            list.push(Segment { addr: addr.0, len: len.into() });
            ended = !descriptor.has_next();
        }
        if !ended {
            return Err(Broken::NoEnd(head));
        }
        self.in_use += 1;
        Ok(Some(Chain { head, readable: Segments::new(readable), writable: Segments::new(writable) }))
    }
    /// Has the chain that was taken last available again.
    pub(super) fn unpop(&mut self) {
        self.in_use = self.in_use.saturating_sub(1);
        self.rings.go_to_previous_position();
    }
    /// Gives a chain back, of whose buffers to write `written` bytes have been.
    ///
    /// # Errors
    /// The used ring is no longer there.
    pub(super) fn push(&mut self, cx: &Cx<'_>, head: u16, written: u32) -> Result<(), Broken> {
        self.in_use = self.in_use.saturating_sub(1);
        if !self.is_enabled() {
            return Ok(());
        }
        self.untold = true;
        Ok(with_ram!(cx, ram => self.rings.add_used(&ram, head, written))?)
    }
    /// Asks the driver to tell of what it makes available from now on; true if there is something already.
    ///
    /// # Errors
    /// The rings are no longer there.
    pub(super) fn listen(&mut self, cx: &Cx<'_>) -> Result<bool, Broken> {
        if !self.is_enabled() {
            return Ok(false);
        }
        Ok(with_ram!(cx, ram => self.rings.enable_notification(&ram))?)
    }
    /// Does the driver want to hear of what was given back since it was told last? `on_empty`: it does whenever the device has nothing left (0.9.5, 2.4.1).
    ///
    /// # Errors
    /// The rings are no longer there.
    pub(super) fn wants_interrupt(&mut self, cx: &Cx<'_>, on_empty: bool) -> Result<bool, Broken> {
        if !self.is_enabled() || !std::mem::take(&mut self.untold) {
            return Ok(false);
        }
        with_ram!(cx, ram => {
            let empty = || Ok::<_, Broken>(self.rings.avail_idx(&ram, Ordering::Acquire)?.0 == self.rings.next_avail());
            if on_empty && self.in_use == 0 && empty()? {
                return Ok(true);
            }
            let wanted = self.rings.needs_notification(&ram)?;
            if self.rings.event_idx_enabled() {
                return Ok(wanted);
            }
            let flags: u16 = ram.load(GuestAddress(self.rings.avail_ring()), Ordering::Relaxed).map_err(|_| Broken::NoRing)?;
            Ok(u32::from(u16::from_le(flags)) & VRING_AVAIL_F_NO_INTERRUPT == 0)
        })
    }
}
