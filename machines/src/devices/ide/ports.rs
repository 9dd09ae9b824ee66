//! The ports of a channel: a command block and a control register, wherever a controller has them.

use super::channel::Channel;
use gearbox_core::board::{Cx, Realize};
use gearbox_core::vm::{string_in, string_out};

/// Ports of the command block.
pub(super) const COMMAND_PORTS: u16 = 8;
/// I/O regions of a channel: those of channel `n` of a controller are `n * REGIONS` and the next one.
pub(super) const REGIONS: u32 = 2;
const COMMAND_BLOCK: u32 = 0;
/// Tags of a channel's back ends, one for each drive.
pub(super) const TAGS: u32 = 2;

/// Where a channel is on the ISA bus.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) command: u16,
    pub(super) control: u16,
    pub(super) irq: u8,
}

impl Place {
    /// Where the two channels have been since the AT.
    pub(super) const AT: [Self; 2] =
        [Self { command: 0x1f0, control: 0x3f6, irq: 14 }, Self { command: 0x170, control: 0x376, irq: 15 }];
}

impl Channel {
    /// Claims the ports and the interrupt of channel `n` of a controller.
    pub(super) fn claim(r: &mut Realize<'_>, n: u32, place: Place) -> Self {
        let region = n * REGIONS;
        r.ports_wide(region, "ide", place.command, COMMAND_PORTS, 4);
        r.ports(region + 1, "ide", place.control, 1);
        Self::new(r.isa_irq(place.irq), n * TAGS)
    }
    /// A load from one of its regions.
    pub(super) fn load(&mut self, cx: &mut Cx<'_>, region: u32, offset: u64, size: u8) -> u64 {
        if region % REGIONS != COMMAND_BLOCK {
            return self.alternate_status().into();
        }
        if Self::is_data(offset) {
            let mut data = [0; 8];
            self.read_data(cx, &mut data[..usize::from(size)]);
            return u64::from_le_bytes(data);
        }
        (0..u64::from(size)).fold(0, |all, n| all | u64::from(self.read(cx, offset + n)) << (8 * n))
    }
    /// A store to one of its regions.
    pub(super) fn store(&mut self, cx: &mut Cx<'_>, region: u32, offset: u64, size: u8, value: u64) {
        let bytes = &value.to_le_bytes()[..usize::from(size)];
        if region % REGIONS != COMMAND_BLOCK {
            self.write_control(cx, bytes[0]);
        } else if Self::is_data(offset) {
            self.write_data(cx, bytes);
        } else {
            (offset..).zip(bytes).for_each(|(at, &byte)| self.write(cx, at, byte));
        }
    }
    /// INS from one of its regions: data are moved as a whole.
    pub(super) fn load_string(&mut self, cx: &mut Cx<'_>, region: u32, offset: u64, size: u8, data: &mut [u8]) {
        match region % REGIONS {
            COMMAND_BLOCK if Self::is_data(offset) => self.read_data(cx, data),
            _ => string_in(size, data, || self.load(cx, region, offset, size)),
        }
    }
    /// OUTS to one of its regions.
    pub(super) fn store_string(&mut self, cx: &mut Cx<'_>, region: u32, offset: u64, size: u8, data: &[u8]) {
        match region % REGIONS {
            COMMAND_BLOCK if Self::is_data(offset) => self.write_data(cx, data),
            _ => string_out(size, data, |value| self.store(cx, region, offset, size, value)),
        }
    }
}
