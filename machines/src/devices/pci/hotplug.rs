//! Hot-plug of PCI devices by ACPI: the registers through which the tables' methods learn of devices that have come, ask for the removal of
//! those that are to go, and report that the operating system has let go of one.
//!
//! A plain value, like [`Pm1`](crate::devices::pm::Pm1); the power management function maps it and raises general-purpose event
//! [`GPE`]. Source: QEMU, docs/specs/acpi_pci_hotplug.

use serde::{Deserialize, Serialize};

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

/// The root bus, the only one with slots.
const ROOT_BUS: u32 = 0;
/// Bus numbers that the select register takes; beyond them every register reads as 0.
const BUSES: u32 = 256;

/// What a store asks of the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// The operating system has let go of what is in this slot of the root bus.
    Eject(u8),
    /// It wants the ACPI index of what is in this slot, by [`PciHotplug::set_acpi_index`].
    AcpiIndex(u8),
}

/// The registers.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct PciHotplug {
    up: u32,
    down: u32,
    fixed: u32,
    select: u32,
    acpi_index: u32,
}

impl PciHotplug {
    /// A device has come into a slot of the root bus.
    pub fn plugged(&mut self, slot: u8) {
        self.up |= 1 << (slot & 31);
    }
    /// The user wants the devices of a slot gone.
    pub fn unplug_requested(&mut self, slot: u8) {
        self.down |= 1 << (slot & 31);
    }
    /// Reset of the machine. `fixed` has a bit for each slot whose device cannot be removed. Returns the slots whose devices were to go, as
    /// bits: no operating system holds them any longer.
    pub fn reset(&mut self, fixed: u32) -> u32 {
        self.fixed = fixed;
        self.up &= !self.down;
        std::mem::take(&mut self.down)
    }
    /// Answers [`Request::AcpiIndex`].
    pub fn set_acpi_index(&mut self, index: u32) {
        self.acpi_index = index;
    }
    /// Reads a register. Accesses of other sizes than 4 give 0.
    pub fn read(&mut self, offset: u64, size: u8) -> u32 {
        if size != 4 || self.select >= BUSES {
            return 0;
        }
        let root = self.select == ROOT_BUS;
        match offset {
            port::UP if root => std::mem::take(&mut self.up),
            port::DOWN if root => self.down,
            port::REMOVABLE if root => !self.fixed,
            port::REMOVABLE => u32::MAX,
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
        if self.select != ROOT_BUS || value == 0 {
            return None;
        }
        let slot = value.trailing_zeros() as u8;
        match offset {
            port::EJECT => {
                let others = !(1 << slot);
                self.up &= others;
                self.down &= others;
                Some(Request::Eject(slot))
            }
            port::ACPI_INDEX => Some(Request::AcpiIndex(slot)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_comes_and_goes() {
        let mut h = PciHotplug::default();
        assert_eq!(h.reset(0b11), 0);
        h.plugged(4);
        assert_eq!((h.read(port::UP, 4), h.read(port::UP, 4)), (1 << 4, 0), "told once");
        assert_eq!(h.read(port::REMOVABLE, 4), !0b11);
        h.unplug_requested(4);
        assert_eq!((h.read(port::DOWN, 4), h.read(port::DOWN, 4)), (1 << 4, 1 << 4), "until it is gone");
        assert_eq!(h.write(port::EJECT, 4, 1 << 4), Some(Request::Eject(4)));
        assert_eq!((h.read(port::DOWN, 4), h.read(port::EJECT, 4)), (0, 0));
    }

    #[test]
    fn a_reset_completes_what_is_pending() {
        let mut h = PciHotplug::default();
        h.plugged(3);
        h.plugged(31);
        h.unplug_requested(31);
        assert_eq!(h.reset(0), 1 << 31);
        assert_eq!((h.read(port::UP, 4), h.read(port::DOWN, 4)), (1 << 3, 0));
    }

    #[test]
    fn other_buses_have_no_slots() {
        let mut h = PciHotplug::default();
        h.plugged(3);
        h.write(port::BUS_SELECT, 4, 5);
        assert_eq!([port::UP, port::REMOVABLE, port::BUS_SELECT].map(|r| h.read(r, 4)), [0, u32::MAX, 5]);
        assert_eq!(h.write(port::EJECT, 4, 8), None);
        h.write(port::BUS_SELECT, 4, BUSES);
        assert_eq!([port::REMOVABLE, port::BUS_SELECT].map(|r| h.read(r, 4)), [0, 0]);
        h.write(port::BUS_SELECT, 4, 0);
        assert_eq!(h.read(port::UP, 4), 8);
    }

    #[test]
    fn only_doublewords_are_taken() {
        let mut h = PciHotplug::default();
        h.plugged(0);
        assert_eq!((h.read(port::UP, 1), h.read(port::UP, 2), h.read(2, 4)), (0, 0, 0));
        assert_eq!((h.write(port::EJECT, 2, 1), h.write(port::EJECT, 4, 0)), (None, None));
        assert_eq!(h.write(port::EJECT, 4, 0b1100), Some(Request::Eject(2)));
        assert_eq!(h.write(port::ACPI_INDEX, 4, 1), Some(Request::AcpiIndex(0)));
        h.set_acpi_index(7);
        assert_eq!((h.read(port::ACPI_INDEX, 4), h.read(port::ACPI_INDEX, 4)), (7, 0));
    }
}
