//! A serial port on a PCI card (`pci-serial`; QEMU, docs/specs/pci-serial).

use super::{Interrupt, SerialDevice, Uart};
use crate::devices::pci::QEMU_SUBSYSTEM;
use gearbox_core::backend::chardev::Chardev;
use gearbox_core::board::{DeviceSpec, Realize, RealizeError};
use gearbox_core::object::{Category, Property, TypeEntry, TypeInfo};
use gearbox_core::pci::{BarKind, ConfigHeader, IntxPin, PciPlace};
use gearbox_core::{pci_properties, property};

/// Configuration of a card.
#[derive(Clone)]
pub struct PciSerial {
    /// Where it is.
    pub place: PciPlace,
    /// The far end. Without one, output is lost.
    pub chardev: Chardev,
    /// Programming interface in the class code: 2 says that it is compatible with a 16550.
    pub prog_if: u8,
}

impl Default for PciSerial {
    fn default() -> Self {
        Self { place: PciPlace::default(), chardev: Chardev::default(), prog_if: 2 }
    }
}

inventory::submit! {
    TypeEntry(&TypeInfo::device::<PciSerial>("pci-device", "a serial port, 16550A, on a PCI card").category(Category::Input).implements(&["conventional-pci-device"]))
}

/// Ports behind BAR 0.
const PORTS: u16 = 8;

impl DeviceSpec for PciSerial {
    type Device = SerialDevice;
    type Pins = ();
    const TYPE: &'static str = "pci-serial";
    const PROPERTIES: &'static [&'static [Property<Self>]] = &[
        &[
            property!("chardev", Chardev, chardev, "the back end"),
            property!("prog_if", u8, prog_if, "programming interface in the class code"),
        ],
        pci_properties!(place),
    ];

    fn realize(self, r: &mut Realize<'_>) -> Result<(SerialDevice, ()), RealizeError> {
        let header = ConfigHeader {
            vendor: 0x1b36,
            device: 0x0002,
            class: 0x07_00_00 | u32::from(self.prog_if),
            revision: 1,
            subsystem: QEMU_SUBSYSTEM,
            interrupt_pin: Some(IntxPin::A),
            ..ConfigHeader::default()
        };
        r.pci_function(self.place, &header);
        let ports = r.port_region(0, "serial", PORTS, 1);
        r.pci_bar(0, BarKind::Io, PORTS.into(), ports);
        r.chardev(0, self.chardev.backend());
        Ok((SerialDevice { uart: Uart::new(), irq: Interrupt::Intx, timer: r.timer(0), isa: None }, ()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gearbox_accel_qtest::Bench;
    use gearbox_core::pci::{Devfn, command, reg, status};

    const AT: u32 = 4 << 11;

    fn config(b: &Bench, register: u8, size: u8) -> u32 {
        b.with(|s| s.fabric.pci.config_read(AT | u32::from(register), size))
    }
    fn set_config(b: &Bench, register: u8, size: u8, value: u32) {
        b.with(|s| s.fabric.pci.config_write(AT | u32::from(register), size, value));
    }

    #[test]
    fn the_card_is_a_16550_behind_bar_0() {
        let mut b = Bench::new();
        let far = Bench::chardev();
        let addr = Some(Devfn::new(4, 0));
        b.realize(PciSerial {
            place: PciPlace { addr, ..PciPlace::default() },
            chardev: far.clone().into(),
            ..PciSerial::default()
        })
        .unwrap();
        assert_eq!([0, 8].map(|r| config(&b, r, 4)), [0x0002_1b36, 0x0700_0201]);
        assert_eq!(config(&b, reg::INTERRUPT_PIN, 1), 1);
        set_config(&b, reg::BAR0, 4, u32::MAX);
        assert_eq!(config(&b, reg::BAR0, 4), 0xffff_fff9);
        set_config(&b, reg::BAR0, 4, 0xc050);
        set_config(&b, reg::COMMAND, 2, command::IO.into());
        b.outb(0xc050, b'x');
        assert_eq!((far.output(), b.inb(0xc055), b.inb(0xc058)), (b"x".to_vec(), 0x60, 0xff));

        let interrupts = |b: &Bench| config(b, reg::STATUS, 2) as u16 & status::INTERRUPT != 0;
        b.outb(0xc051, 1);
        assert!(!interrupts(&b));
        far.type_in(b"y");
        assert!(interrupts(&b));
        assert_eq!((b.inb(0xc050), interrupts(&b)), (b'y', false));
    }
}
