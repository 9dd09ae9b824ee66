//! The PCI functions of the chipset.

pub mod bridge;
pub mod host;
pub mod hotplug;
pub mod i440fx;
pub mod piix3;
pub mod piix4_pm;
mod smbus;

/// QEMU's subsystem ids: (vendor, device).
pub(crate) const QEMU_SUBSYSTEM: (u16, u16) = (0x1af4, 0x1100);
