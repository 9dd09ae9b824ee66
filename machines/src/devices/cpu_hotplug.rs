//! Hot-plug of CPUs by ACPI: a bitmap of present CPUs, and the register set that takes its place as soon as an operating system's tables ask
//! for it.
//!
//! A plain value, like [`Pm1`](crate::devices::pm::Pm1); the power management function maps it and raises general-purpose event
//! [`GPE`]. Source: QEMU, docs/specs/acpi_cpu_hotplug.

use gearbox_core::board::Saved;

/// First port on the PIIX4.
pub const BASE: u16 = 0xaf00;
/// Ports of the bitmap.
pub const BITMAP_LEN: u16 = 32;
/// Ports of the register set.
pub const LEN: u8 = 12;
/// The general-purpose event that tells of a change.
pub const GPE: u8 = 2;

/// Offsets in the register set.
pub mod port {
    #![allow(missing_docs)]
    /// Written: the CPU that the others are about. Read: the upper half of its architectural id.
    pub const SELECTOR: u64 = 0;
    pub const FLAGS: u64 = 4;
    pub const COMMAND: u64 = 5;
    pub const DATA: u64 = 8;
}

/// Bits of the flags register. Enabled can only be read, eject only be written; the others are cleared or handed on by writing 1.
pub mod flag {
    #![allow(missing_docs)]
    pub const ENABLED: u8 = 1 << 0;
    pub const INSERTED: u8 = 1 << 1;
    pub const REMOVE: u8 = 1 << 2;
    pub const EJECT: u8 = 1 << 3;
    pub const FIRMWARE_EJECT: u8 = 1 << 4;
}

/// Commands.
pub mod command {
    #![allow(missing_docs)]
    /// Select the next CPU that has an event, if one has.
    pub const NEXT_EVENT: u8 = 0;
    pub const OST_EVENT: u8 = 1;
    pub const OST_STATUS: u8 = 2;
    pub const CPU_ID: u8 = 3;
}

/// A socket for a CPU.
#[derive(Clone, Copy, Debug, Default)]
struct Socket {
    apic_id: u32,
    present: bool,
    inserted: bool,
    remove: bool,
    firmware_eject: bool,
    ost_event: u32,
}

/// What a store asks of the board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// The operating system speaks the register set: it takes the bitmap's place from now on.
    Switch,
    /// It has let go of this CPU.
    Eject(u32),
    /// It reports how it went: `_OST` (ACPI 6.4, 6.3.5).
    Status {
        /// The CPU.
        cpu: u32,
        /// What it is about: the event or the notification that was sent.
        event: u32,
        /// How it went.
        status: u32,
    },
}

/// The registers.
#[derive(Clone, Debug, Default)]
pub struct CpuHotplug {
    sockets: Vec<Socket>,
    selector: u32,
    command: u8,
    modern: bool,
}

impl CpuHotplug {
    /// For a machine with these sockets: local APIC id, and whether a CPU is in it at the start. CPU `n` is the `n`th of them.
    pub fn new(sockets: impl IntoIterator<Item = (u32, bool)>) -> Self {
        let sockets: Vec<_> =
            sockets.into_iter().map(|(apic_id, present)| Socket { apic_id, present, ..Socket::default() }).collect();
        Self { sockets, ..Self::default() }
    }
    /// What is saved of it.
    pub fn saved(&mut self) -> Saved<'_> {
        let Self { sockets, selector, command, modern } = self;
        let sockets = sockets.iter_mut().map(|s| {
            let Socket { apic_id: _, present, inserted, remove, firmware_eject, ost_event } = s;
            Saved::of((present, inserted, remove, firmware_eject, ost_event))
        });
        sockets.fold(Saved::of((selector, command, modern)), Saved::and)
    }
    /// Does the register set have the bitmap's place?
    pub fn is_modern(&self) -> bool {
        self.modern
    }
    /// CPU `cpu` has come while the machine ran.
    pub fn plugged(&mut self, cpu: u32) {
        if let Some(s) = self.sockets.get_mut(cpu as usize) {
            (s.present, s.inserted) = (true, true);
        }
    }
    /// The user wants CPU `cpu` gone.
    pub fn unplug_requested(&mut self, cpu: u32) {
        if let Some(s) = self.sockets.get_mut(cpu as usize) {
            s.remove = true;
        }
    }
    /// CPU `cpu` is gone.
    pub fn unplugged(&mut self, cpu: u32) {
        if let Some(s) = self.sockets.get_mut(cpu as usize) {
            (s.present, s.firmware_eject) = (false, false);
        }
    }

    /// Reads a byte of the bitmap: bit `n` is set if the CPU with local APIC id `n` is present.
    pub fn read_bitmap(&self, offset: u64) -> u8 {
        let here = |s: &&Socket| s.present && u64::from(s.apic_id / 8) == offset;
        self.sockets.iter().filter(here).fold(0, |bits, s| bits | 1 << (s.apic_id % 8))
    }
    /// Writes a byte of the bitmap: a zero at its start asks for the register set.
    pub fn write_bitmap(&mut self, offset: u64, value: u8) -> Option<Request> {
        if self.modern || (offset, value) != (0, 0) {
            return None;
        }
        self.modern = true;
        Some(Request::Switch)
    }

    fn selected(&mut self) -> Option<&mut Socket> {
        self.sockets.get_mut(self.selector as usize)
    }
    /// Reads a register: 0 while no socket is selected.
    pub fn read(&self, offset: u64) -> u32 {
        let Some(s) = self.sockets.get(self.selector as usize) else { return 0 };
        match (offset, self.command) {
            (port::FLAGS, _) => {
                let flags = [
                    (s.present, flag::ENABLED),
                    (s.inserted, flag::INSERTED),
                    (s.remove, flag::REMOVE),
                    (s.firmware_eject, flag::FIRMWARE_EJECT),
                ];
                flags.into_iter().filter(|(on, _)| *on).map(|(_, bit)| u32::from(bit)).sum()
            }
            (port::DATA, command::NEXT_EVENT) => self.selector,
            (port::DATA, command::CPU_ID) => s.apic_id,
            // Local APIC ids have no upper half.
            _ => 0,
        }
    }
    /// Writes a register. While no socket is selected, only the selector takes anything.
    pub fn write(&mut self, offset: u64, value: u32) -> Option<Request> {
        if offset == port::SELECTOR {
            self.selector = value;
            return None;
        }
        let (cpu, command) = (self.selector, self.command);
        let s = self.selected()?;
        match (offset, command) {
            (port::FLAGS, _) => Self::write_flags(cpu, s, value as u8),
            (port::COMMAND, _) => {
                self.set_command(value);
                None
            }
            (port::DATA, command::OST_EVENT) => {
                s.ost_event = value;
                None
            }
            (port::DATA, command::OST_STATUS) => Some(Request::Status { cpu, event: s.ost_event, status: value }),
            _ => None,
        }
    }
    /// Only the lowest bit counts. The CPU that the machine started with cannot go.
    fn write_flags(cpu: u32, s: &mut Socket, value: u8) -> Option<Request> {
        let removable = s.present && cpu != 0;
        if value & flag::INSERTED != 0 {
            s.inserted = false;
        } else if value & flag::REMOVE != 0 {
            s.remove = false;
        } else if value & flag::EJECT != 0 {
            return removable.then_some(Request::Eject(cpu));
        } else if value & flag::FIRMWARE_EJECT != 0 {
            s.firmware_eject |= removable;
        }
        None
    }
    fn set_command(&mut self, value: u32) {
        let Some(value) = u8::try_from(value).ok().filter(|&v| v <= command::CPU_ID) else { return };
        self.command = value;
        if value == command::NEXT_EVENT {
            let start = self.selector as usize;
            let event = |&n: &usize| {
                let s = &self.sockets[n];
                s.inserted || s.remove || s.firmware_eject
            };
            let next = (start..self.sockets.len()).chain(0..start).find(event);
            self.selector = next.unwrap_or(start) as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Four sockets, the first of which has a CPU, with the register set in place.
    fn modern() -> CpuHotplug {
        let mut h = CpuHotplug::new([(0, true), (1, false), (4, false), (5, false)]);
        assert_eq!(h.write_bitmap(0, 0), Some(Request::Switch));
        h
    }
    fn select(h: &mut CpuHotplug, cpu: u32) -> u8 {
        h.write(port::SELECTOR, cpu);
        h.read(port::FLAGS) as u8
    }

    #[test]
    fn the_bitmap_shows_local_apic_ids_until_the_switch() {
        let mut h = CpuHotplug::new([(0, true), (1, false), (9, true), (300, true)]);
        assert_eq!([0, 1, 2, 31].map(|n| h.read_bitmap(n)), [1, 2, 0, 0]);
        assert_eq!((h.write_bitmap(0, 1), h.write_bitmap(1, 0), h.is_modern()), (None, None, false));
        h.plugged(1);
        assert_eq!(h.read_bitmap(0), 3);
        assert_eq!(h.write_bitmap(0, 0), Some(Request::Switch));
        assert!(h.is_modern());
        assert_eq!(h.write_bitmap(0, 0), None, "the rest of a wider store");
    }

    #[test]
    fn detecting_the_register_set() {
        let mut h = modern();
        h.write(port::SELECTOR, 0);
        h.write(port::COMMAND, 0);
        assert_eq!(h.read(port::SELECTOR), 0);
    }

    #[test]
    fn enumerating_the_sockets() {
        let mut h = modern();
        h.write(port::COMMAND, command::NEXT_EVENT.into());
        let mut count = 0;
        loop {
            count += 1;
            h.write(port::SELECTOR, count);
            if h.read(port::DATA) == 0 {
                break;
            }
        }
        assert_eq!(count, 4);
        let present = [0, 1, 2, 3, 4, u32::MAX].map(|n| select(&mut h, n));
        assert_eq!(present, [1, 0, 0, 0, 0, 0]);
        h.write(port::SELECTOR, 2);
        h.write(port::COMMAND, command::CPU_ID.into());
        assert_eq!((h.read(port::DATA), h.read(port::SELECTOR)), (4, 0));
    }

    #[test]
    fn a_cpu_comes() {
        let mut h = modern();
        h.plugged(3);
        h.write(port::SELECTOR, 0);
        h.write(port::COMMAND, command::NEXT_EVENT.into());
        assert_eq!((h.read(port::DATA), h.read(port::FLAGS) as u8), (3, flag::ENABLED | flag::INSERTED));
        h.write(port::FLAGS, flag::INSERTED.into());
        assert_eq!(h.read(port::FLAGS) as u8, flag::ENABLED);
        h.write(port::COMMAND, command::NEXT_EVENT.into());
        assert_eq!(h.read(port::DATA), 3, "no event: the selector stays");
    }

    #[test]
    fn a_cpu_goes_and_the_system_reports() {
        let mut h = modern();
        h.plugged(1);
        h.write(port::SELECTOR, 1);
        h.write(port::FLAGS, flag::INSERTED.into());
        h.unplug_requested(1);
        assert_eq!(select(&mut h, 1), flag::ENABLED | flag::REMOVE);
        h.write(port::FLAGS, flag::REMOVE.into());
        assert_eq!(h.write(port::FLAGS, flag::EJECT.into()), Some(Request::Eject(1)));
        h.unplugged(1);
        assert_eq!(select(&mut h, 1), 0);
        assert_eq!(h.write(port::FLAGS, flag::EJECT.into()), None, "empty");
        h.write(port::COMMAND, command::OST_EVENT.into());
        h.write(port::DATA, 3);
        h.write(port::COMMAND, command::OST_STATUS.into());
        assert_eq!(h.write(port::DATA, 0), Some(Request::Status { cpu: 1, event: 3, status: 0 }));
    }

    #[test]
    fn firmware_can_be_asked_to_eject_but_not_the_first_cpu() {
        let mut h = modern();
        h.plugged(2);
        for (cpu, expect) in [(0, flag::ENABLED), (2, flag::ENABLED | flag::INSERTED | flag::FIRMWARE_EJECT)] {
            h.write(port::SELECTOR, cpu);
            h.write(port::FLAGS, flag::FIRMWARE_EJECT.into());
            assert_eq!(h.read(port::FLAGS) as u8, expect);
        }
        h.write(port::SELECTOR, 0);
        assert_eq!(h.write(port::FLAGS, flag::EJECT.into()), None);
    }

    #[test]
    fn without_a_valid_selector_nothing_happens() {
        let mut h = modern();
        h.plugged(1);
        h.write(port::SELECTOR, 4);
        for (offset, value) in [(port::COMMAND, 3), (port::COMMAND, 0), (port::FLAGS, 8), (port::DATA, 1)] {
            assert_eq!(h.write(offset, value), None);
        }
        assert_eq!((h.read(port::DATA), h.read(port::FLAGS)), (0, 0));
        h.write(port::SELECTOR, 1);
        assert_eq!(h.read(port::DATA), 1, "the command is still the first");
        h.write(port::COMMAND, 0x100);
        h.write(port::COMMAND, 4);
        assert_eq!(h.read(port::DATA), 1);
    }
}
