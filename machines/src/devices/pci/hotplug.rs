//! Hot-plug of PCI devices by ACPI: the registers through which the tables' methods learn of devices that have come, ask for the removal of
//! those that are to go, and report that the operating system has let go of one.
//!
//! A plain value, like [`Pm1`](crate::devices::pm::Pm1); the power management function maps it and raises general-purpose event
//! [`GPE`]. Source: QEMU, docs/specs/acpi_pci_hotplug.

use gearbox_core::board::Saved;
use gearbox_core::pci::{BusId, PciAddress};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// First port.
pub const BASE: u16 = 0xae00;
/// Number of ports.
pub const LEN: u8 = 0x18;
/// The general-purpose event that tells of a change.
pub const GPE: u8 = 1;

/// Offsets of the registers, each a doubleword.
pub mod port {
    #![allow(missing_docs)]
    /// One bit for each slot into which a device has come. Reading clears it.
    pub const UP: u64 = 0x00;
    /// One bit for each slot whose device is to go.
    pub const DOWN: u64 = 0x04;
    /// Write a slot's bit to give its devices up; reads as a set of features, of which there are none.
    pub const EJECT: u64 = 0x08;
    /// One bit for each slot that is not soldered in.
    pub const REMOVABLE: u64 = 0x0c;
    /// Which bus the others are about.
    pub const BUS_SELECT: u64 = 0x10;
    /// Write a slot's bit, then read the ACPI index of the device in it.
    pub const ACPI_INDEX: u64 = 0x14;
}

/// What a store asks of the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// The operating system has let go of what is in this slot of a bus.
    Eject(BusId, u8),
    /// It wants the ACPI index of what is in this slot, by [`PciHotplug::set_acpi_index`].
    AcpiIndex(BusId, u8),
}

/// The slots of a bus, a bit for each.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Slots {
    up: u32,
    down: u32,
    fixed: u32,
}

/// The registers.
#[derive(Clone, Debug, Default)]
pub struct PciHotplug {
    root: Slots,
    /// Of the buses behind bridges.
    behind: BTreeMap<BusId, Slots>,
    /// Which bus, by its number in [`BusId`]; with a larger one, every register reads as 0.
    select: u32,
    acpi_index: u32,
}

impl PciHotplug {
    /// What is saved of it.
    pub(super) fn saved(&mut self) -> Saved<'_> {
        let Self { root, behind, select, acpi_index } = self;
        Saved::of((root, select, acpi_index)).since(2, behind, BTreeMap::new())
    }
    fn slots(&mut self, bus: BusId) -> &mut Slots {
        if bus == BusId::ROOT { &mut self.root } else { self.behind.entry(bus).or_default() }
    }
    /// A device has come.
    pub fn plugged(&mut self, (bus, at): PciAddress) {
        self.slots(bus).up |= 1 << at.slot();
    }
    /// The user wants the devices of a slot gone.
    pub fn unplug_requested(&mut self, (bus, at): PciAddress) {
        self.slots(bus).down |= 1 << at.slot();
    }
    /// Reset of the machine. `fixed` has a bit for each slot of a bus whose device cannot be removed. Returns the slots whose devices were to go, as
    /// bits: no operating system holds them any longer.
    pub fn reset(&mut self, bus: BusId, fixed: u32) -> u32 {
        let slots = self.slots(bus);
        slots.fixed = fixed;
        slots.up &= !slots.down;
        std::mem::take(&mut slots.down)
    }
    /// Answers [`Request::AcpiIndex`].
    pub fn set_acpi_index(&mut self, index: u32) {
        self.acpi_index = index;
    }
    fn selected(&self) -> Option<BusId> {
        u8::try_from(self.select).ok().map(BusId)
    }
    /// Reads a register. Accesses of other sizes than 4 give 0.
    pub fn read(&mut self, offset: u64, size: u8) -> u32 {
        let (4, Some(bus)) = (size, self.selected()) else { return 0 };
        match offset {
            port::UP => std::mem::take(&mut self.slots(bus).up),
            port::DOWN => self.slots(bus).down,
            port::REMOVABLE => !self.slots(bus).fixed,
            port::BUS_SELECT => self.select,
            port::ACPI_INDEX => std::mem::take(&mut self.acpi_index),
            _ => 0,
        }
    }
    /// Writes a register. Accesses of other sizes than 4 do nothing. Of several slots the lowest counts.
    pub fn write(&mut self, offset: u64, size: u8, value: u32) -> Option<Request> {
        if size != 4 {
            return None;
        }
        self.acpi_index = 0;
        if offset == port::BUS_SELECT {
            self.select = value;
        }
        let bus = self.selected().filter(|_| value != 0)?;
        let slot = value.trailing_zeros() as u8;
        match offset {
            port::EJECT => {
                let (slots, others) = (self.slots(bus), !(1 << slot));
                slots.up &= others;
                slots.down &= others;
                Some(Request::Eject(bus, slot))
            }
            port::ACPI_INDEX => Some(Request::AcpiIndex(bus, slot)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gearbox_core::pci::Devfn;

    const fn on(bus: u8, slot: u8) -> PciAddress {
        (BusId(bus), Devfn::new(slot, 0))
    }

    #[test]
    fn a_device_comes_and_goes() {
        let mut h = PciHotplug::default();
        assert_eq!(h.reset(BusId::ROOT, 0b11), 0);
        h.plugged(on(0, 4));
        assert_eq!((h.read(port::UP, 4), h.read(port::UP, 4)), (1 << 4, 0), "told once");
        assert_eq!(h.read(port::REMOVABLE, 4), !0b11);
        h.unplug_requested(on(0, 4));
        assert_eq!((h.read(port::DOWN, 4), h.read(port::DOWN, 4)), (1 << 4, 1 << 4), "until it is gone");
        assert_eq!(h.write(port::EJECT, 4, 1 << 4), Some(Request::Eject(BusId::ROOT, 4)));
        assert_eq!((h.read(port::DOWN, 4), h.read(port::EJECT, 4)), (0, 0));
    }

    #[test]
    fn a_reset_completes_what_is_pending() {
        let mut h = PciHotplug::default();
        h.plugged(on(0, 3));
        h.plugged(on(0, 31));
        h.unplug_requested(on(0, 31));
        assert_eq!((h.reset(BusId::ROOT, 0), h.reset(BusId(1), 0)), (1 << 31, 0));
        assert_eq!((h.read(port::UP, 4), h.read(port::DOWN, 4)), (1 << 3, 0));
    }

    #[test]
    fn each_bus_has_its_slots() {
        let mut h = PciHotplug::default();
        h.plugged(on(0, 3));
        h.unplug_requested(on(5, 4));
        h.write(port::BUS_SELECT, 4, 5);
        let all = [port::UP, port::DOWN, port::REMOVABLE, port::BUS_SELECT];
        assert_eq!(all.map(|r| h.read(r, 4)), [0, 1 << 4, u32::MAX, 5]);
        assert_eq!(h.write(port::EJECT, 4, 1 << 4), Some(Request::Eject(BusId(5), 4)));
        assert_eq!(h.read(port::DOWN, 4), 0);
        h.write(port::BUS_SELECT, 4, 256);
        assert_eq!([port::REMOVABLE, port::BUS_SELECT].map(|r| h.read(r, 4)), [0, 0]);
        assert_eq!(h.write(port::EJECT, 4, 8), None);
        h.write(port::BUS_SELECT, 4, 0);
        assert_eq!(h.read(port::UP, 4), 8);
    }

    #[test]
    fn only_doublewords_are_taken() {
        let mut h = PciHotplug::default();
        h.plugged(on(0, 0));
        assert_eq!((h.read(port::UP, 1), h.read(port::UP, 2), h.read(2, 4)), (0, 0, 0));
        assert_eq!((h.write(port::EJECT, 2, 1), h.write(port::EJECT, 4, 0)), (None, None));
        assert_eq!(h.write(port::EJECT, 4, 0b1100), Some(Request::Eject(BusId::ROOT, 2)));
        assert_eq!(h.write(port::ACPI_INDEX, 4, 1), Some(Request::AcpiIndex(BusId::ROOT, 0)));
        h.set_acpi_index(7);
        assert_eq!((h.read(port::ACPI_INDEX, 4), h.read(port::ACPI_INDEX, 4)), (7, 0));
    }
}
