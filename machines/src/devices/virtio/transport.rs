//! What all virtio devices have, however a driver reaches them: status, features, queues, interrupts.

use super::chain::Chain;
use super::pci::NO_VECTOR;
use super::queue::{Broken, VirtQueue};
use gearbox_core::backend::block::MediumEvent;
use gearbox_core::board::{Cx, DeviceId, Saved, Timer};
use gearbox_core::pci::Msix;
use std::any::Any;
use std::collections::BTreeSet;
use std::fmt;
use virtio_bindings::virtio_config::{
    VIRTIO_CONFIG_S_DRIVER_OK, VIRTIO_CONFIG_S_FEATURES_OK, VIRTIO_CONFIG_S_NEEDS_RESET, VIRTIO_F_ANY_LAYOUT,
    VIRTIO_F_NOTIFY_ON_EMPTY, VIRTIO_F_VERSION_1,
};
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};

/// Bits of the device status (2.1).
pub(super) mod status {
    pub(in super::super) const DRIVER_OK: u8 = super::VIRTIO_CONFIG_S_DRIVER_OK as u8;
    pub(in super::super) const FEATURES_OK: u8 = super::VIRTIO_CONFIG_S_FEATURES_OK as u8;
    pub(in super::super) const NEEDS_RESET: u8 = super::VIRTIO_CONFIG_S_NEEDS_RESET as u8;
}
/// Bits of the interrupt status (4.1.4.5).
mod isr {
    pub(super) const QUEUE: u8 = 1;
    pub(super) const CONFIG: u8 = 2;
}

/// Has the features of these numbers.
pub(super) const fn features(numbers: &[u32]) -> u64 {
    let (mut all, mut n) = (0, 0);
    while n < numbers.len() {
        all |= 1 << numbers[n];
        n += 1;
    }
    all
}

/// What drivers of either kind are offered, those from before version 1 alone, and the others alone.
const COMMON: u64 = features(&[VIRTIO_RING_F_INDIRECT_DESC, VIRTIO_RING_F_EVENT_IDX]);
const LEGACY: u64 = features(&[VIRTIO_F_NOTIFY_ON_EMPTY, VIRTIO_F_ANY_LAYOUT, BAD_FEATURE]);
const MODERN: u64 = features(&[VIRTIO_F_VERSION_1]);
/// A driver that accepts this one has not looked what was offered.
const BAD_FEATURE: u32 = 30;

/// A kind of device.
pub trait VirtioDevice: Send + 'static {
    /// What of it is saved, besides what all have.
    fn saved(&mut self) -> Saved<'_>;
    /// As [`gearbox_core::board::Device::loaded`].
    fn loaded(&mut self) {}
    /// The features that are its own.
    fn features(&self) -> u64;
    /// Its configuration as the driver reads it; what lies beyond does not exist.
    fn config(&self) -> Vec<u8> {
        Vec::new()
    }
    /// The driver has written to its configuration, of which it wrote all bytes that there are.
    fn write_config(&mut self, _io: &mut Io<'_, '_>, _offset: usize, _data: &[u8]) {}
    /// The driver has accepted these features, and begins.
    fn start(&mut self, _io: &mut Io<'_, '_>) {}
    /// The driver has made something available in a queue.
    fn notified(&mut self, io: &mut Io<'_, '_>, queue: u16);
    /// Forgets all that it had of the driver, whose memory it does not touch any more.
    fn reset(&mut self, cx: &mut Cx<'_>);
    /// As [`gearbox_core::board::Device::plugged`].
    ///
    /// # Errors
    /// As there.
    fn plugged(&mut self, _io: &mut Io<'_, '_>, _part: Box<dyn Any + Send>) -> Result<(), String> {
        Err("nothing can be plugged into it".to_owned())
    }
    /// As [`gearbox_core::board::Device::unplugged`].
    fn unplugged(&mut self, _io: &mut Io<'_, '_>, _device: DeviceId) {}
    /// As [`gearbox_core::board::Device::backend_ready`].
    fn backend_ready(&mut self, _io: &mut Io<'_, '_>, _tag: u32) {}
    /// As [`gearbox_core::board::Device::medium`].
    fn medium(&mut self, _io: &mut Io<'_, '_>, _tag: u32, _event: MediumEvent) {}
    /// As [`gearbox_core::board::Device::balloon_size`].
    fn balloon_size(&self) -> u64 {
        0
    }
    /// As [`gearbox_core::board::Device::set_balloon_size`].
    fn set_balloon_size(&mut self, _io: &mut Io<'_, '_>, _bytes: u64) {}
    /// As [`gearbox_core::board::Device::timer`].
    fn timer(&mut self, _io: &mut Io<'_, '_>, _tag: u32) {}
}

/// What a driver's access to a register asks of the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Notify(u16),
    /// The driver has said DRIVER_OK.
    Start,
    Reset,
    Config(usize, Vec<u8>),
}

/// The state of a device that its kind has no part in.
pub(super) struct Transport {
    device_features: u64,
    /// Drivers from before version 1 are served, and others are.
    pub(super) has_legacy: bool,
    pub(super) has_modern: bool,
    pub(super) status: u8,
    /// What the driver wants, and what it gets.
    pub(super) wanted: u64,
    pub(super) features: u64,
    pub(super) isr: u8,
    /// Counts changes of the configuration.
    pub(super) generation: u8,
    pub(super) queues: Vec<VirtQueue>,
    pub(super) queue_select: u16,
    pub(super) device_feature_select: u32,
    pub(super) driver_feature_select: u32,
    pub(super) config_vector: u16,
    pub(super) msix: Option<Msix>,
    /// The driver made a mistake after which nothing goes on.
    broken: bool,
    /// Queues with requests that have to wait for their turn, and when that comes.
    waiting: BTreeSet<u16>,
    turn: Timer,
}

impl Transport {
    pub(super) fn new(
        device_features: u64,
        queues: Vec<VirtQueue>,
        has_legacy: bool,
        has_modern: bool,
        turn: Timer,
    ) -> Self {
        Self {
            device_features,
            has_legacy,
            has_modern,
            status: 0,
            wanted: 0,
            features: 0,
            isr: 0,
            generation: 0,
            queues,
            queue_select: 0,
            device_feature_select: 0,
            driver_feature_select: 0,
            config_vector: NO_VECTOR,
            msix: None,
            broken: false,
            waiting: BTreeSet::new(),
            turn,
        }
    }
    /// What is saved of it.
    pub(super) fn saved(&mut self) -> Saved<'_> {
        let offered = self.legacy_offer() | self.modern_offer();
        let Self {
            device_features: _,
            has_legacy: _,
            has_modern: _,
            status,
            wanted,
            features,
            isr,
            generation,
            queues,
            queue_select,
            device_feature_select,
            driver_feature_select,
            config_vector,
            msix,
            broken,
            waiting,
            turn: _,
        } = self;
        let selected = (queue_select, device_feature_select, driver_feature_select);
        let registers = Saved::of((status, wanted, isr, generation, selected, config_vector, broken, waiting))
            .and(Saved::sound(features, move |features| features & !offered == 0))
            .and(Saved::msix(msix.as_mut()));
        queues.iter_mut().map(VirtQueue::saved).fold(registers, Saved::and)
    }
    /// What drivers from before version 1 are offered.
    pub(super) fn legacy_offer(&self) -> u64 {
        self.device_features | COMMON | LEGACY
    }
    /// What others are.
    pub(super) fn modern_offer(&self) -> u64 {
        self.device_features | COMMON | MODERN
    }
    pub(super) fn has(&self, feature: u32) -> bool {
        self.features & 1 << feature != 0
    }
    fn is_modern(&self) -> bool {
        self.has(VIRTIO_F_VERSION_1)
    }
    /// Takes the features that a driver from before version 1 wants.
    pub(super) fn accept_legacy(&mut self, wanted: u32) {
        let wanted = if wanted & 1 << BAD_FEATURE == 0 { wanted.into() } else { 0 };
        if self.status & status::FEATURES_OK == 0 {
            self.features = wanted & self.legacy_offer();
        }
    }
    /// Takes the features that others want, if they go together.
    pub(super) fn accept_modern(&mut self, cx: &Cx<'_>) -> bool {
        let unknown = self.wanted & !self.modern_offer();
        let old = self.wanted & 1 << VIRTIO_F_VERSION_1 == 0 && !self.has_legacy;
        if unknown != 0 || old {
            cx.guest_error(format_args!("the driver wants features {:#x} of {:#x}", self.wanted, self.modern_offer()));
            return false;
        }
        self.features = self.wanted;
        true
    }
    /// The state after a reset.
    pub(super) fn reset(&mut self, cx: &mut Cx<'_>) {
        (self.status, self.wanted, self.features, self.isr) = (0, 0, 0, 0);
        (self.queue_select, self.device_feature_select, self.driver_feature_select) = (0, 0, 0);
        (self.config_vector, self.broken) = (NO_VECTOR, false);
        self.queues.iter_mut().for_each(VirtQueue::reset);
        self.waiting.clear();
        cx.set_intx(false);
    }
    pub(super) fn queue(&self) -> Option<&VirtQueue> {
        self.queues.get(usize::from(self.queue_select))
    }
    pub(super) fn queue_mut(&mut self) -> Option<&mut VirtQueue> {
        self.queues.get_mut(usize::from(self.queue_select))
    }
    /// Begins to use the selected queue.
    pub(super) fn enable_queue(&mut self, cx: &mut Cx<'_>) {
        let (n, event_index) = (self.queue_select, self.has(VIRTIO_RING_F_EVENT_IDX));
        let Some(queue) = self.queue_mut() else { return };
        if !queue.enable(cx, event_index) {
            self.fail(cx, format_args!("queue {n}: its rings are not in RAM, or not aligned"));
        }
    }
    /// A vector that the driver wants to use, or [`NO_VECTOR`] where there is no such one.
    pub(super) fn checked_vector(&self, vector: u16) -> u16 {
        let there = self.msix.as_ref().is_some_and(|m| vector < m.vectors());
        if there { vector } else { NO_VECTOR }
    }
    /// The interrupt status, which is cleared by that.
    pub(super) fn take_isr(&mut self, cx: &mut Cx<'_>) -> u8 {
        cx.set_intx(false);
        std::mem::take(&mut self.isr)
    }
    fn interrupt(&mut self, cx: &mut Cx<'_>, why: u8, vector: u16) {
        self.isr |= why;
        match &mut self.msix {
            Some(msix) if msix.enabled() => msix.notify(cx, vector),
            _ => cx.set_intx(true),
        }
    }
    /// The device does nothing more until it is reset.
    pub(super) fn fail(&mut self, cx: &mut Cx<'_>, why: fmt::Arguments<'_>) {
        cx.guest_error(why);
        self.broken = true;
        if self.is_modern() {
            self.status |= status::NEEDS_RESET;
            self.config_changed(cx);
        }
    }
    pub(super) fn config_changed(&mut self, cx: &mut Cx<'_>) {
        self.generation = self.generation.wrapping_add(1);
        if self.status & status::DRIVER_OK != 0 {
            self.interrupt(cx, isr::QUEUE | isr::CONFIG, self.config_vector);
        }
    }
    /// Takes the queues whose turn it is.
    pub(super) fn take_waiting(&mut self) -> BTreeSet<u16> {
        std::mem::take(&mut self.waiting)
    }
    /// Buffers are taken and given back now. A driver from before version 1 may use queues before it says that it is ready.
    fn runs(&self) -> bool {
        !self.broken && (!self.is_modern() || self.status & status::DRIVER_OK != 0)
    }
}

/// Requests that a device takes from a queue at a time. A driver that makes them available as fast as they are done must not keep the board.
const TURN: usize = 2048;

/// What a kind of device does its work with.
pub struct Io<'a, 'c> {
    pub(super) cx: &'a mut Cx<'c>,
    pub(super) transport: &'a mut Transport,
}

impl Io<'_, '_> {
    /// The driver has accepted this feature.
    pub(super) fn has(&self, feature: u32) -> bool {
        self.transport.has(feature)
    }
    /// The driver has said that it is ready.
    pub(super) fn is_started(&self) -> bool {
        self.transport.status & status::DRIVER_OK != 0
    }
    /// Ends the device's work until it is reset: the driver made a mistake.
    pub(super) fn fail(&mut self, why: fmt::Arguments<'_>) {
        self.transport.fail(self.cx, why);
    }
    fn on_queue<R>(&mut self, n: u16, f: impl FnOnce(&mut VirtQueue, &Cx<'_>) -> Result<R, Broken>) -> Option<R> {
        if !self.transport.runs() {
            return None;
        }
        if !self.cx.may_master() {
            self.cx.guest_error(format_args!("queue {n} is used while bus mastering is disabled"));
            return None;
        }
        let queue = self.transport.queues.get_mut(usize::from(n))?;
        match f(queue, self.cx) {
            Ok(result) => Some(result),
            Err(broken) => {
                self.fail(format_args!("queue {n}: {broken}"));
                None
            }
        }
    }
    /// Takes what there is in a queue, and has each of the requests dealt with; tells the driver of those that are done at the end.
    pub(super) fn serve(&mut self, n: u16, mut deal_with: impl FnMut(&mut Self, Chain)) {
        let mut left = TURN;
        while let Some(chain) = self.pop(n) {
            deal_with(self, chain);
            left -= 1;
            if left == 0 {
                self.again(n);
                break;
            }
        }
        self.interrupt(n);
    }
    /// Has the device notified of this queue once more when others have had their turn.
    pub(super) fn again(&mut self, n: u16) {
        self.transport.waiting.insert(n);
        self.cx.arm(self.transport.turn, self.cx.now());
    }
    /// Takes the next request of a queue, if there is one. At the end the driver is asked to tell of the next one.
    pub(super) fn pop(&mut self, n: u16) -> Option<Chain> {
        self.on_queue(n, |queue, cx| match queue.pop(cx)? {
            Some(chain) => Ok(Some(chain)),
            // What has come while the driver did not know that it has to tell.
            None if queue.listen(cx)? => queue.pop(cx),
            None => Ok(None),
        })
        .flatten()
    }
    /// Has the request that was taken last wait in its queue after all.
    pub(super) fn unpop(&mut self, n: u16) {
        self.on_queue(n, |queue, _| {
            queue.unpop();
            Ok(())
        });
    }
    /// Gives a request back, with `written` bytes in its buffers to write. The driver is not told yet.
    pub(super) fn push(&mut self, n: u16, head: u16, written: u32) {
        self.on_queue(n, |queue, cx| queue.push(cx, head, written));
    }
    /// Tells the driver of what was given back, if it wants to hear.
    pub(super) fn interrupt(&mut self, n: u16) {
        let on_empty = self.has(VIRTIO_F_NOTIFY_ON_EMPTY);
        if self.on_queue(n, |queue, cx| queue.wants_interrupt(cx, on_empty)) == Some(true) {
            let vector = self.transport.queues[usize::from(n)].vector;
            self.transport.interrupt(self.cx, isr::QUEUE, vector);
        }
    }
    /// The configuration has changed.
    pub(super) fn config_changed(&mut self) {
        self.transport.config_changed(self.cx);
    }
}
