//! The properties that all PCI devices have.

use super::Devfn;

/// Where a PCI device wants to be (properties of QEMU's `pci-device`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PciPlace {
    /// Slot and function; the first free slot without one.
    pub addr: Option<Devfn>,
    /// The slot has more functions.
    pub multifunction: bool,
    /// Unique number of the device for the guest's firmware and names of network interfaces; 0 for none.
    pub acpi_index: u32,
    /// File of its expansion ROM; none without one.
    pub romfile: Option<String>,
    /// Whether the function has a register for the expansion ROM: not if 0.
    pub rombar: u32,
}

impl Default for PciPlace {
    fn default() -> Self {
        Self { addr: None, multifunction: false, acpi_index: 0, romfile: None, rombar: 1 }
    }
}

/// The highest ACPI index: what names of network interfaces have room for.
pub const MOST_ACPI_INDEX: u32 = 16383;

impl From<Option<Devfn>> for PciPlace {
    fn from(addr: Option<Devfn>) -> Self {
        Self { addr, ..Self::default() }
    }
}

/// The group of properties that every PCI device has, for [`DeviceSpec::PROPERTIES`](crate::board::DeviceSpec::PROPERTIES): `pci_properties!(place)`
/// where its field `place` is a [`PciPlace`](crate::pci::PciPlace).
#[macro_export]
macro_rules! pci_properties {
    ($place:ident) => {
        &[
            $crate::property!(
                "addr",
                Option<$crate::pci::Devfn>,
                $place.addr,
                "slot and optional function number, such as 06.0"
            ),
            $crate::property!("multifunction", bool, $place.multifunction, "the slot has more functions"),
            $crate::property!("acpi-index", u32, $place.acpi_index, "number of the device for firmware"),
            $crate::property!("romfile", Option<String>, $place.romfile, "file of the expansion ROM; empty for none"),
            $crate::property!("rombar", u32, $place.rombar, "1 if guests see the expansion ROM, 0 if not"),
        ]
    };
}
