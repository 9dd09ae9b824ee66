//! The registers of drivers from before version 1, in ports (4.1.4.8).

use super::pci::NO_VECTOR;
use super::transport::{Action, Transport, status};
use gearbox_core::board::Cx;
use gearbox_core::pci::{command, reg};
use virtio_bindings::virtio_config::{VIRTIO_CONFIG_S_ACKNOWLEDGE, VIRTIO_CONFIG_S_DRIVER};

/// Offsets.
mod port {
    pub(super) const DEVICE_FEATURES: u64 = 0x00;
    pub(super) const DRIVER_FEATURES: u64 = 0x04;
    pub(super) const QUEUE_PAGE: u64 = 0x08;
    pub(super) const QUEUE_SIZE: u64 = 0x0c;
    pub(super) const QUEUE_SELECT: u64 = 0x0e;
    pub(super) const QUEUE_NOTIFY: u64 = 0x10;
    pub(super) const STATUS: u64 = 0x12;
    pub(super) const ISR: u64 = 0x13;
    pub(super) const CONFIG_VECTOR: u64 = 0x14;
    pub(super) const QUEUE_VECTOR: u64 = 0x16;
}
/// Bytes of the registers without those for MSI-X, and with them.
const PLAIN: u16 = 0x14;
const WITH_VECTORS: u16 = 0x18;
/// The unit in which a queue's address is given, as a shift.
const PAGE_SHIFT: u32 = 12;

/// Bytes of the registers of a device with so many bytes of configuration.
pub(super) fn bytes(msix: bool, config: usize) -> u16 {
    (if msix { WITH_VECTORS } else { PLAIN }) + config as u16
}

impl Transport {
    /// Where the device's configuration begins now.
    fn legacy_config(&self) -> u64 {
        let vectors = self.msix.as_ref().is_some_and(|m| m.enabled());
        u64::from(if vectors { WITH_VECTORS } else { PLAIN })
    }
    pub(super) fn legacy_read(
        &mut self,
        cx: &mut Cx<'_>,
        offset: u64,
        size: u8,
        config: impl FnOnce() -> Vec<u8>,
    ) -> u64 {
        if let Some(at) = offset.checked_sub(self.legacy_config()) {
            return super::pci::field(&config(), at, size);
        }
        match offset {
            port::DEVICE_FEATURES => self.legacy_offer() & 0xffff_ffff,
            port::DRIVER_FEATURES => self.features & 0xffff_ffff,
            port::QUEUE_PAGE => self.queue().map_or(0, |q| q.wanted.descriptors >> PAGE_SHIFT),
            port::QUEUE_SIZE => self.queue().map_or(0, |q| q.size().into()),
            port::QUEUE_SELECT => self.queue_select.into(),
            port::STATUS => self.status.into(),
            port::ISR => self.take_isr(cx).into(),
            port::CONFIG_VECTOR => self.config_vector.into(),
            port::QUEUE_VECTOR => self.queue().map_or(NO_VECTOR, |q| q.vector).into(),
            _ => u64::MAX,
        }
    }
    pub(super) fn legacy_write(&mut self, cx: &mut Cx<'_>, offset: u64, size: u8, value: u64) -> Option<Action> {
        if let Some(at) = offset.checked_sub(self.legacy_config()) {
            return Some(Action::Config(at as usize, value.to_le_bytes()[..usize::from(size)].to_vec()));
        }
        match offset {
            port::DRIVER_FEATURES => self.accept_legacy(value as u32),
            port::QUEUE_PAGE if value == 0 => return Some(Action::Reset),
            port::QUEUE_PAGE => {
                let at = u64::from(value as u32) << PAGE_SHIFT;
                if let Some(queue) = self.queue_mut() {
                    queue.set_legacy_rings(at);
                    self.enable_queue(cx);
                }
            }
            port::QUEUE_SELECT => self.queue_select = value as u16,
            port::QUEUE_NOTIFY => return Some(Action::Notify(value as u16)),
            port::STATUS => return self.set_legacy_status(cx, value as u8),
            port::CONFIG_VECTOR => self.config_vector = self.checked_vector(value as u16),
            port::QUEUE_VECTOR => {
                let vector = self.checked_vector(value as u16);
                if let Some(queue) = self.queue_mut() {
                    queue.vector = vector;
                }
            }
            _ => {}
        }
        None
    }
    fn set_legacy_status(&mut self, cx: &mut Cx<'_>, value: u8) -> Option<Action> {
        if value == 0 {
            return Some(Action::Reset);
        }
        // Old drivers do not enable bus mastering, and rely on having it.
        if u32::from(value) == VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER
            && let Some(config) = cx.config()
        {
            let enabled = config.command() | command::MASTER;
            config.set(reg::COMMAND, &enabled.to_le_bytes());
        }
        let starts = value & !self.status & status::DRIVER_OK != 0;
        self.status = value;
        starts.then_some(Action::Start)
    }
}
