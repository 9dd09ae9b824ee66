//! The ports of a PC's PCI host bridge: configuration mechanism #1 (PCI Local Bus Specification 3.0, 3.2.2.3.2; Intel 82441FX datasheet, 290549).

use gearbox_core::board::{Cx, Device, DeviceSpec, DeviceState, Realize, RealizeError, ResetKind, Saved};
use gearbox_core::object::{TypeEntry, TypeInfo};

/// A [`PciHostDevice`] to be, with the bus `pci.0`.
pub struct PciHost;

/// The ports.
pub struct PciHostDevice {
    /// CONFADD at 0xcf8.
    address: u32,
}

const ADDRESS: u32 = 0;
const DATA: u32 = 1;
/// CONFADD: forward accesses at 0xcfc to configuration space.
pub(super) const ENABLE: u32 = 1 << 31;

impl DeviceSpec for PciHost {
    type Device = PciHostDevice;
    type Pins = ();
    const TYPE: &'static str = "i440FX-pcihost";

    fn realize(self, r: &mut Realize<'_>) -> Result<(PciHostDevice, ()), RealizeError> {
        r.bus("pci.0", "PCI", true).firmware_path = "/pci@i0cf8".to_owned();
        r.ports_wide(ADDRESS, "pci-conf-idx", 0xcf8, 4, 4);
        r.ports_wide(DATA, "pci-conf-data", 0xcfc, 4, 4);
        Ok((PciHostDevice { address: 0 }, ()))
    }
}

inventory::submit! { TypeEntry(&TypeInfo::onboard::<PciHost>("pci-host-bridge", "ports of the host bridge")) }

impl Device for PciHostDevice {
    fn state(&mut self) -> DeviceState<'_> {
        let Self { address } = self;
        Saved::of(address).version(1)
    }
    fn read(&mut self, cx: &mut Cx<'_>, region: u32, offset: u64, size: u8) -> u64 {
        if region == ADDRESS {
            return u64::from(self.address >> (8 * (offset & 3)));
        }
        match self.target(offset) {
            Some(at) => u64::from(cx.pci().config_read(at, size)),
            None => u64::MAX >> (64 - 8 * u32::from(size)),
        }
    }
    fn write(&mut self, cx: &mut Cx<'_>, region: u32, offset: u64, size: u8, value: u64) {
        if region == ADDRESS {
            // Only a full doubleword loads CONFADD; others are I/O to whatever else has these ports (290549, 3.2.1).
            if (offset, size) == (0, 4) {
                self.address = value as u32;
            }
        } else if let Some(at) = self.target(offset) {
            cx.pci().config_write(at, size, value as u32);
        }
    }
    fn reset(&mut self, _: &mut Cx<'_>, _: ResetKind) {
        self.address = 0;
    }
}

impl PciHostDevice {
    /// The configuration address that an access at offset `offset` of 0xcfc means.
    fn target(&self, offset: u64) -> Option<u32> {
        (self.address & ENABLE != 0).then_some(self.address & 0x00ff_ffff | (offset & 3) as u32)
    }
}
