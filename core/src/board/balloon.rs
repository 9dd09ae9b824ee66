//! The one device by which users have the guest do with less memory.

use super::{BoardState, DeviceId, Realize};

/// The machine's balloon.
#[derive(Default)]
pub(super) struct Balloon {
    device: Option<DeviceId>,
    ram_size: u64,
}

impl Balloon {
    pub(super) fn forget(&mut self, device: DeviceId) {
        self.device = self.device.filter(|d| *d != device);
    }
}

impl Realize<'_> {
    /// The device is the machine's balloon: [`super::Device::balloon_size`] and [`super::Device::set_balloon_size`]. False if there is one already.
    pub fn balloon(&mut self) -> bool {
        let balloon = &mut self.fabric.balloon;
        balloon.device.is_none() && balloon.device.replace(self.id).is_none()
    }
    /// Bytes of RAM that the machine has.
    pub fn ram_size(&self) -> u64 {
        self.fabric.balloon.ram_size
    }
}

impl BoardState {
    /// Says how many bytes of RAM the machine has.
    pub fn set_ram_size(&mut self, bytes: u64) {
        self.fabric.balloon.ram_size = bytes;
    }
    /// How many bytes of RAM the balloon leaves the guest; `None` without one.
    pub fn balloon_size(&mut self) -> Option<u64> {
        let device = self.fabric.balloon.device?;
        self.try_call(device, |d, cx| d.balloon_size(cx))
    }
    /// Has the balloon ask the guest to do with so many bytes; false without one.
    pub fn set_balloon_size(&mut self, bytes: u64) -> bool {
        let device = self.fabric.balloon.device;
        device.and_then(|device| self.try_call(device, |d, cx| d.set_balloon_size(cx, bytes))).is_some()
    }
}
