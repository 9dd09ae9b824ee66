//! `virtio-rng`: random numbers of the host (5.4). One request at a time is with the source, whose thread may wait for it.

use super::chain::Chain;
use super::pci::{Flavour, Function, Identity, OnOffAuto, VirtioPci, virtio_pci};
use super::transport::{Io, VirtioDevice};
use super::{Generic, NonTransitional, Transitional};
use gearbox_core::backend::rng::{RngReader, RngSource};
use gearbox_core::board::{Cx, DeviceSpec, Realize, RealizeError, Saved, Timer};
use gearbox_core::object::{Category, Property, TypeEntry, TypeInfo};
use gearbox_core::{pci_properties, property};
use std::sync::Arc;
use virtio_bindings::virtio_ids::{VIRTIO_ID_RNG, VIRTIO_TRANS_ID_RNG};

/// A class of its own that no other device has.
const CLASS: u32 = 0x00_ff_00;
const QUEUE_SIZE: u16 = 8;
const QUEUE: u16 = 0;
/// Bytes that are asked of the source at a time; a driver that wants more asks again.
const MOST: u64 = 64 << 10;

/// A source of random numbers for the guest.
#[derive(Clone, Debug)]
pub struct VirtioRng {
    /// Where they come from; from the host's own generator without.
    pub rng: RngSource,
    /// Bytes that the guest gets at most in each period.
    pub max_bytes: u64,
    /// The period in milliseconds.
    pub period: u32,
}

impl Default for VirtioRng {
    fn default() -> Self {
        Self { rng: RngSource::default(), max_bytes: i64::MAX as u64, period: 1 << 16 }
    }
}

/// The device.
pub struct RngDevice {
    reader: Arc<RngReader>,
    /// The source is asked; for nobody any more if there is no chain.
    busy: bool,
    chain: Option<Chain>,
    max_bytes: u64,
    /// What is left of them in this period, which has a length in ns.
    left: u64,
    period: u64,
    timer: Timer,
    timed: bool,
}

impl RngDevice {
    /// Has the next request filled.
    fn next(&mut self, io: &mut Io<'_, '_>) {
        if self.busy || self.left == 0 {
            return;
        }
        let Some(chain) = io.pop(QUEUE) else { return };
        if chain.writable.len() == 0 {
            return io.fail(format_args!("a request for random numbers has no room for them"));
        }
        self.chain = Some(chain);
        self.ask();
    }
    /// Asks the source for what the chain is to get.
    fn ask(&mut self) {
        if let Some(chain) = &self.chain {
            self.busy = true;
            self.reader.request(chain.writable.len().min(MOST).min(self.left) as usize);
        }
    }
    /// The guest has had so many bytes.
    fn count(&mut self, io: &mut Io<'_, '_>, bytes: u64) {
        self.left = self.left.saturating_sub(bytes);
        if !std::mem::replace(&mut self.timed, true) {
            io.cx.arm(self.timer, io.cx.now().saturating_add(self.period));
        }
    }
}

impl VirtioDevice for RngDevice {
    fn saved(&mut self) -> Saved<'_> {
        let Self { reader: _, busy: _, chain, max_bytes, left, period: _, timer: _, timed } = self;
        let most = *max_bytes;
        Saved::sound((chain, left), move |(chain, left)| chain.as_ref().is_none_or(Chain::is_sound) && *left <= most)
            .and(Saved::of(timed))
    }
    fn features(&self) -> u64 {
        0
    }
    /// What another source was asked for, this one is.
    fn loaded(&mut self) {
        if !self.busy {
            self.ask();
        }
    }
    fn notified(&mut self, io: &mut Io<'_, '_>, queue: u16) {
        if queue == QUEUE {
            self.next(io);
        }
    }
    fn reset(&mut self, _: &mut Cx<'_>) {
        self.chain = None;
    }
    fn backend_ready(&mut self, io: &mut Io<'_, '_>, _tag: u32) {
        while let Some(bytes) = self.reader.take() {
            self.busy = false;
            if let Some(chain) = self.chain.take() {
                let written = chain.writable.write(io.cx, &bytes).unwrap_or(0);
                self.count(io, written as u64);
                io.push(QUEUE, chain.head, written as u32);
                io.interrupt(QUEUE);
            }
            self.next(io);
        }
    }
    /// A period is over.
    fn timer(&mut self, io: &mut Io<'_, '_>, _tag: u32) {
        (self.left, self.timed) = (self.max_bytes, false);
        self.next(io);
    }
}

impl<F: Flavour> VirtioPci<VirtioRng, F> {
    fn make(self, r: &mut Realize<'_>) -> Result<(Function<RngDevice>, ()), RealizeError> {
        let VirtioRng { rng, max_bytes, period } = &self.kind;
        let (max_bytes, period) = (*max_bytes, u64::from(*period) * 1_000_000);
        if max_bytes > i64::MAX as u64 {
            return Err(r.property_error("max-bytes", "'max-bytes' parameter must be non-negative, and less than 2^63"));
        }
        if period == 0 {
            return Err(r.property_error("period", "'period' parameter expects a positive integer"));
        }
        let reader = r.rng(0, rng)?;
        let timer = r.timer(0);
        let device =
            RngDevice { reader, busy: false, chain: None, max_bytes, left: max_bytes, period, timer, timed: false };
        let identity = Identity {
            kind: VIRTIO_ID_RNG as u16,
            transitional: VIRTIO_TRANS_ID_RNG as u16,
            class: CLASS,
            queues: vec![QUEUE_SIZE],
            vectors: 2,
        };
        self.realize_as(r, identity, device)
    }
}

virtio_pci! { VirtioRng, RngDevice, Misc, "virtio-rng-pci", "random numbers of the host", &[
    property!("rng", RngSource, kind.rng, "the object that gives them"),
    property!("max-bytes", u64, kind.max_bytes, "most bytes in each period"),
    property!("period", u32, kind.period, "the period in milliseconds"),
] }
