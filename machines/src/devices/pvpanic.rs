//! `pvpanic` and `pvpanic-pci`: a register by which a guest says that it has panicked (QEMU, docs/specs/pvpanic).

use super::pci::QEMU_SUBSYSTEM;
use gearbox_core::board::{Cx, Device, DeviceSpec, DeviceState, Realize, RealizeError, SystemRequest};
use gearbox_core::event::Event;
use gearbox_core::object::{Property, TypeEntry, TypeInfo};
use gearbox_core::pci::{BarKind, ConfigHeader, PciPlace};
use gearbox_core::{pci_properties, property};

/// Bits of the register.
pub mod event {
    #![allow(missing_docs)]
    /// The guest has panicked, and the host is to deal with it.
    pub const PANICKED: u8 = 1 << 0;
    /// It has panicked and deals with it by itself: a crash kernel is loaded.
    pub const CRASHLOADED: u8 = 1 << 1;
    pub const ALL: u8 = PANICKED | CRASHLOADED;
}

/// The register at an ISA port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PvPanic {
    /// The port.
    pub ioport: u16,
    /// What it reads as: the events that the guest may report.
    pub events: u8,
}

impl Default for PvPanic {
    fn default() -> Self {
        Self { ioport: 0x505, events: event::ALL }
    }
}

/// The register on a PCI card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PvPanicPci {
    /// Where it is.
    pub place: PciPlace,
    /// As of [`PvPanic`].
    pub events: u8,
}

impl Default for PvPanicPci {
    fn default() -> Self {
        Self { place: PciPlace::default(), events: event::ALL }
    }
}

/// The register.
#[derive(Debug)]
pub struct PvPanicDevice {
    events: u8,
    port: Option<u16>,
}

impl PvPanicDevice {
    /// Its port, if it is on the ISA bus.
    pub fn port(&self) -> Option<u16> {
        self.port
    }
}

inventory::submit! { TypeEntry(&TypeInfo::device::<PvPanic>("isa-device", "takes reports of a guest's panic")) }
inventory::submit! {
    TypeEntry(&TypeInfo::device::<PvPanicPci>("pci-device", "takes reports of a guest's panic")
        .implements(&["conventional-pci-device"]))
}

impl DeviceSpec for PvPanic {
    type Device = PvPanicDevice;
    type Pins = ();
    const TYPE: &'static str = "pvpanic";
    const PROPERTIES: &'static [&'static [Property<Self>]] = &[&[
        property!("ioport", u16, ioport, "the port"),
        property!("events", u8, events, "what it reads as: 1 for panics, 2 for panics with a crash kernel"),
    ]];

    fn realize(self, r: &mut Realize<'_>) -> Result<(PvPanicDevice, ()), RealizeError> {
        r.ports(0, "pvpanic", self.ioport, 1);
        r.firmware_file("etc/pvpanic-port", self.ioport.to_le_bytes(), false);
        Ok((PvPanicDevice { events: self.events, port: Some(self.ioport) }, ()))
    }
}

impl DeviceSpec for PvPanicPci {
    type Device = PvPanicDevice;
    type Pins = ();
    const TYPE: &'static str = "pvpanic-pci";
    const PROPERTIES: &'static [&'static [Property<Self>]] = &[
        &[property!("events", u8, events, "what it reads as: 1 for panics, 2 for panics with a crash kernel")],
        pci_properties!(place),
    ];

    fn realize(self, r: &mut Realize<'_>) -> Result<(PvPanicDevice, ()), RealizeError> {
        const SIZE: u64 = 2;
        let header = ConfigHeader {
            vendor: 0x1b36,
            device: 0x0011,
            class: 0x08_80_00,
            revision: 1,
            subsystem: QEMU_SUBSYSTEM,
            ..ConfigHeader::default()
        };
        r.pci_function(self.place, &header);
        let register = r.mmio_region(0, "pvpanic", SIZE, 1);
        r.pci_bar(0, BarKind::Memory32 { prefetchable: false }, SIZE, register);
        Ok((PvPanicDevice { events: self.events, port: None }, ()))
    }
}

impl Device for PvPanicDevice {
    fn state(&mut self) -> DeviceState<'_> {
        DeviceState::none()
    }
    fn read(&mut self, _cx: &mut Cx<'_>, _region: u32, _offset: u64, _size: u8) -> u64 {
        self.events.into()
    }
    fn write(&mut self, cx: &mut Cx<'_>, _region: u32, _offset: u64, _size: u8, value: u64) {
        let v = value as u8;
        if v & !event::ALL != 0 {
            cx.guest_error(format_args!("there is no event {v:#x}"));
        }
        if v & event::PANICKED != 0 {
            cx.request(SystemRequest::GuestPanicked);
        } else if v & event::CRASHLOADED != 0 {
            cx.emit(&Event::GuestCrashloaded);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gearbox_accel_qtest::Bench;
    use gearbox_core::pci::{Devfn, command, reg};
    use std::sync::{Arc, Mutex};

    #[test]
    fn a_panic_is_the_machines_business() {
        let mut b = Bench::new();
        b.realize(PvPanic::default()).unwrap();
        let events = Arc::new(Mutex::new(Vec::new()));
        let to = events.clone();
        let listener: Arc<dyn Fn(&Event) + Send + Sync> = Arc::new(move |e| to.lock().unwrap().push(e.clone()));
        b.board().subscribe(&listener);
        assert_eq!((b.inb(0x505), b.inb(0x506)), (3, 0xff));
        b.outb(0x505, 1);
        assert_eq!(b.requests(), [SystemRequest::GuestPanicked]);
        b.outb(0x505, 3);
        assert_eq!(b.requests(), [SystemRequest::GuestPanicked], "a panic outweighs a crash kernel");
        b.outb(0x505, 0xfc);
        assert_eq!((b.requests(), events.lock().unwrap().len()), (vec![], 0));
        b.outb(0x505, 2);
        assert_eq!((b.requests(), &*events.lock().unwrap()), (vec![], &vec![Event::GuestCrashloaded]));
    }

    #[test]
    fn port_and_events_are_properties() {
        let mut b = Bench::new();
        b.realize(PvPanic { ioport: 0x666, events: 1 }).unwrap();
        assert_eq!((b.inb(0x666), b.inb(0x505)), (1, 0xff));
    }

    #[test]
    fn the_card_has_it_behind_bar_0() {
        let mut b = Bench::new();
        b.realize(PvPanicPci { place: PciPlace { addr: Some(Devfn::new(4, 0)), ..PciPlace::default() }, events: 3 })
            .unwrap();
        let at = |register: u8| 4 << 11 | u32::from(register);
        assert_eq!([0, 8].map(|r| b.with(|s| s.fabric.pci.config_read(at(r), 4))), [0x0011_1b36, 0x0880_0001]);
        b.with(|s| s.fabric.pci.config_write(at(reg::BAR0), 4, 0xe000_0000));
        b.with(|s| s.fabric.pci.config_write(at(reg::COMMAND), 2, command::MEMORY.into()));
        assert_eq!(b.readb(0xe000_0000), 3);
        b.writeb(0xe000_0000, 1);
        assert_eq!(b.requests(), [SystemRequest::GuestPanicked]);
    }
}
