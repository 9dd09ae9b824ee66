//! The properties that all PCI devices have.

use super::Devfn;
use crate::board::DeviceSpec;
use crate::object::{Property, PropertyValue};
use std::marker::PhantomData;

/// Where a PCI device wants to be (properties of QEMU's `pci-device`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PciPlace {
    /// Slot and function; the first free slot without one.
    pub addr: Option<Devfn>,
    /// The slot has more functions.
    pub multifunction: bool,
    /// Unique number of the device for the guest's firmware and names of network interfaces; 0 for none.
    pub acpi_index: u32,
}

/// The highest ACPI index: what names of network interfaces have room for.
pub const MOST_ACPI_INDEX: u32 = 16383;

impl From<Option<Devfn>> for PciPlace {
    fn from(addr: Option<Devfn>) -> Self {
        Self { addr, ..Self::default() }
    }
}

/// A PCI device that is not realized.
pub trait HasPciPlace: DeviceSpec {
    /// Where it wants to be.
    fn place(&mut self) -> &mut PciPlace;
    /// The same, to read.
    fn place_ref(&self) -> &PciPlace;
}

struct Shared<S>(PhantomData<S>);

impl<S: HasPciPlace> Shared<S> {
    const PROPERTIES: &'static [Property<S>] = &[
        Property {
            name: "addr",
            kind: <Option<Devfn> as PropertyValue>::KIND,
            description: "slot and optional function number, such as 06.0",
            get: |s| s.place_ref().addr.to_value(),
            set: |s, value, backends| {
                s.place().addr = PropertyValue::from_value(value, backends)?;
                Ok(())
            },
        },
        Property {
            name: "multifunction",
            kind: <bool as PropertyValue>::KIND,
            description: "the slot has more functions",
            get: |s| s.place_ref().multifunction.to_value(),
            set: |s, value, backends| {
                s.place().multifunction = PropertyValue::from_value(value, backends)?;
                Ok(())
            },
        },
        Property {
            name: "acpi-index",
            kind: <u32 as PropertyValue>::KIND,
            description: "number of the device for firmware",
            get: |s| s.place_ref().acpi_index.to_value(),
            set: |s, value, backends| {
                s.place().acpi_index = PropertyValue::from_value(value, backends)?;
                Ok(())
            },
        },
    ];
}

/// The group of properties that every PCI device has, for [`DeviceSpec::PROPERTIES`].
pub const fn pci_properties<S: HasPciPlace>() -> &'static [Property<S>] {
    Shared::<S>::PROPERTIES
}
