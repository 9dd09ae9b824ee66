//! The PCI bus: configuration spaces, base addresses and interrupt pins (PCI Local Bus Specification 3.0).

use crate::board::DeviceId;
use std::collections::VecDeque;

/// A guest write to a device's configuration space, to be told to the device.
pub(crate) struct ConfigWrite {
    pub(crate) device: DeviceId,
    pub(crate) offset: u8,
    pub(crate) len: u8,
}

/// A PCI bus.
#[derive(Default)]
pub struct PciBus {
    writes: VecDeque<ConfigWrite>,
}

impl PciBus {
    pub(crate) fn next_write(&mut self) -> Option<ConfigWrite> {
        self.writes.pop_front()
    }
}
