//! `pci-bridge`: a PCI-PCI bridge, with a number for its slots.
//!
//! Contents of the configuration space are those of QEMU's bridge without a standard hot-plug controller; what it passes is in [`gearbox_core::pci::bridge`].
//! Devices behind it come and go by way of ACPI. So that they find room, a capability of QEMU's tells firmware what to set aside for them (QEMU,
//! docs/pcie_pci_bridge.txt).

use crate::devices::on_off_auto::OnOffAuto;
use gearbox_core::backend::memory::Size;
use gearbox_core::board::{Device, DeviceSpec, DeviceState, Realize, RealizeError};
use gearbox_core::object::{Category, Property, TypeEntry, TypeInfo};
use gearbox_core::pci::{ConfigHeader, PciPlace, status};
use gearbox_core::{pci_properties, property};

/// The capability that names the slots (PCI-to-PCI Bridge Architecture Specification 1.2, 13): where it is, and its identifier. Its third byte says how
/// many slots there are for cards, and that no other bridge of the chassis comes before; its last one is the chassis.
const SLOT_NUMBERING: (u8, u8) = (0x40, 0x04);
const FIRST_IN_CHASSIS: u8 = 1 << 5;
const CHASSIS: u8 = SLOT_NUMBERING.0 + 3;
/// The capability for firmware, which is one of the vendor's: where it is, and its identifier. In it, ports and bytes of memory to set aside.
pub(crate) const RESERVE: (u8, u8) = (0x44, 0x09);
pub(crate) const RESERVE_IO: u8 = 8;
pub(crate) const RESERVE_MEMORY: u8 = 16;
/// What is set aside if the user says nothing: the least that a window can be.
const PORTS: u64 = 4 << 10;
const MEMORY: u64 = 1 << 20;

/// Configuration of a bridge.
#[derive(Clone, Debug, Default)]
pub struct PciBridge {
    /// Where it is.
    pub place: PciPlace,
    /// The number that users see on the slots behind it.
    pub chassis_nr: u8,
    /// Messages of the hot-plug controller.
    pub msi: OnOffAuto,
    /// A standard hot-plug controller.
    pub shpc: bool,
    /// What firmware is to set aside behind it.
    pub reserve: Reserve,
}

/// What firmware is to set aside behind a bridge for devices that come later. `None`, and the highest number, leave it to the firmware.
#[derive(Clone, Debug, Default)]
pub struct Reserve {
    /// Bus numbers.
    pub bus: Option<u32>,
    /// I/O ports.
    pub io: Option<Size>,
    /// Bytes of memory.
    pub memory: Option<Size>,
    /// Bytes of memory that is read without side effects, below 4 GiB.
    pub prefetchable_32: Option<Size>,
    /// The same anywhere.
    pub prefetchable_64: Option<Size>,
}

impl Reserve {
    /// The capability without its first two bytes.
    fn capability(&self) -> Result<Vec<u8>, (&'static str, &'static str)> {
        const LEN: u8 = 32;
        const RESOURCES: u8 = 1;
        const NOTHING: u64 = u64::MAX;
        let given = |size: &Option<Size>| size.as_ref().map_or(NOTHING, |Size(n)| *n);
        let sizes = [&self.io, &self.memory, &self.prefetchable_32, &self.prefetchable_64];
        let all = sizes.map(given);
        let said = self.bus.is_some_and(|n| n != u32::MAX) || all.iter().any(|n| *n != NOTHING);
        let [io, memory, low, high] = if said { all } else { [PORTS, MEMORY, NOTHING, NOTHING] };
        if low != NOTHING && high != NOTHING {
            return Err(("pref64-reserve", "there is one window for it: pref32-reserve is given as well"));
        }
        let below_4g = |n: u64, property| match u32::try_from(n) {
            Ok(n) => Ok(n),
            Err(_) if n == NOTHING => Ok(u32::MAX),
            Err(_) => Err((property, "must be less than 4G")),
        };
        let (memory, low) = (below_4g(memory, "mem-reserve")?, below_4g(low, "pref32-reserve")?);
        let mut bytes = vec![LEN, RESOURCES];
        bytes.extend(self.bus.unwrap_or(u32::MAX).to_le_bytes());
        bytes.extend(io.to_le_bytes());
        bytes.extend([memory, low].map(u32::to_le_bytes).concat());
        bytes.extend(high.to_le_bytes());
        Ok(bytes)
    }
}

/// The bridge. The bus does all that it does.
#[derive(Debug)]
pub struct PciBridgeDevice;

inventory::submit! {
    TypeEntry(
        &TypeInfo::device::<PciBridge>("base-pci-bridge", "Standard PCI Bridge").category(Category::Bridge)
            .implements(&["conventional-pci-device"])
            .not_hotpluggable()
    )
}

impl DeviceSpec for PciBridge {
    type Device = PciBridgeDevice;
    type Pins = ();
    const TYPE: &'static str = "pci-bridge";
    const PROPERTIES: &'static [&'static [Property<Self>]] = &[
        &[
            property!("chassis_nr", u8, chassis_nr, "number on the slots behind it, from 1 on"),
            property!("msi", OnOffAuto, msi, "messages of the hot-plug controller"),
            property!("shpc", bool, shpc, "a standard hot-plug controller, which is not implemented yet"),
            property!("bus-reserve", Option<u32>, reserve.bus, "bus numbers for bridges that come later"),
            property!("io-reserve", Option<Size>, reserve.io, "ports for devices that come later"),
            property!("mem-reserve", Option<Size>, reserve.memory, "memory for devices that come later"),
            property!(
                "pref32-reserve",
                Option<Size>,
                reserve.prefetchable_32,
                "prefetchable memory for them below 4 GiB"
            ),
            property!("pref64-reserve", Option<Size>, reserve.prefetchable_64, "prefetchable memory for them anywhere"),
        ],
        pci_properties!(place),
    ];

    fn realize(self, r: &mut Realize<'_>) -> Result<(PciBridgeDevice, ()), RealizeError> {
        if self.chassis_nr == 0 {
            let reason =
                "Bridge chassis not specified. Each bridge is required to be assigned a unique chassis id > 0.";
            return Err(r.property_error("chassis_nr", reason));
        }
        if self.shpc {
            return Err(r.property_error("shpc", "the standard hot-plug controller is not implemented yet"));
        }
        if self.msi == OnOffAuto::On {
            return Err(r.property_error("msi", "there are no messages without a hot-plug controller"));
        }
        let header = ConfigHeader {
            vendor: 0x1b36,
            device: 0x0001,
            class: 0x06_04_00,
            status: status::FAST_BACK | status::MHZ_66,
            ..ConfigHeader::default()
        };
        let reserve = self.reserve.capability().map_err(|(property, reason)| r.property_error(property, reason))?;
        let (at, id) = SLOT_NUMBERING;
        let config = r.pci_function(self.place, &header);
        config.add_capability(id, at, &[FIRST_IN_CHASSIS, self.chassis_nr]);
        config.set_writable(CHASSIS, &[0xff]);
        config.add_capability(RESERVE.1, RESERVE.0, &reserve);
        // Users call the bus as they call the bridge, which has no other one.
        let name = r.user_id().map(str::to_owned).unwrap_or_else(|| r.bus_name("PCI"));
        r.pci_bridge(&name);
        Ok((PciBridgeDevice, ()))
    }
}

impl Device for PciBridgeDevice {
    fn state(&mut self) -> DeviceState<'_> {
        DeviceState::none()
    }
}

#[cfg(test)]
mod tests {
    use super::super::host::{ENABLE, PciHost};
    use super::super::piix3::{PIRQ_ROUTE, Piix3};
    use gearbox_accel_qtest::Bench;
    use gearbox_core::board::{Line, PlugError};
    use gearbox_core::pci::bridge::{control, reg as bridge};
    use gearbox_core::pci::reg;

    /// ISA interrupts that PIRQA to PIRQD are routed to.
    const ROUTES: [u8; 4] = [3, 5, 7, 11];
    /// Where a function is: bus, slot.
    type At = (u32, u32);
    const B1: At = (0, 5);
    /// The port of the card's scratch register, which is its last one.
    const SCRATCH: u16 = 0xc007;

    struct Rig {
        b: Bench,
        irq: [Line; 16],
    }

    fn properties(text: &str) -> Vec<(String, gearbox_core::object::Value)> {
        let pairs = text.split(',').filter_map(|p| p.split_once('='));
        pairs.map(|(key, value)| (key.to_owned(), value.into())).collect()
    }

    impl Rig {
        fn new(devices: &[(&str, &str)]) -> Self {
            let mut b = Bench::new();
            b.realize(PciHost).unwrap();
            let irq = b.realize(Piix3 { slot: 1 }).unwrap().irq;
            let mut rig = Self { b, irq };
            devices.iter().for_each(|(name, text)| rig.add(name, text).unwrap());
            for (register, route) in (PIRQ_ROUTE..).zip(ROUTES) {
                rig.set((0, 1), register, 1, route.into());
            }
            rig
        }
        /// A bridge in slot 5 of the root bus, with a serial card in slot 3 behind it; numbered, and everything passes that matters.
        fn with_card() -> Self {
            let mut rig = Self::new(&[("pci-bridge", "id=b1,chassis_nr=7,addr=5"), ("pci-serial", "bus=b1,addr=3")]);
            rig.number(B1, 1, 1);
            rig.open(B1);
            rig.enable_card((1, 3));
            rig
        }
        fn add(&mut self, name: &str, text: &str) -> Result<(), PlugError> {
            self.b.with(|s| s.add_device(name, &properties(text), false)).map(drop)
        }
        fn select(&mut self, (bus, slot): At, register: u8) -> u16 {
            self.b.outl(0xcf8, ENABLE | bus << 16 | slot << 11 | u32::from(register & !3));
            0xcfc + u16::from(register & 3)
        }
        fn get(&mut self, at: At, register: u8) -> u32 {
            let port = self.select(at, register);
            self.b.inl(port)
        }
        fn set(&mut self, at: At, register: u8, size: u8, value: u32) {
            let port = self.select(at, register);
            match size {
                1 => self.b.outb(port, value as u8),
                2 => self.b.outw(port, value as u16),
                _ => self.b.outl(port, value),
            }
        }
        fn number(&mut self, at: At, secondary: u32, subordinate: u32) {
            self.set(at, bridge::PRIMARY, 4, at.0 | secondary << 8 | subordinate << 16);
        }
        /// Ports C000h to CFFFh and memory from E0000000h to E1FFFFFFh pass.
        fn open(&mut self, at: At) {
            self.set(at, bridge::IO_BASE, 2, 0xc0c0);
            self.set(at, bridge::MEMORY_BASE, 4, 0xe1f0_e000);
            self.set(at, reg::COMMAND, 2, 7);
        }
        /// The serial card at C000h, with the interrupt of an empty transmitter.
        fn enable_card(&mut self, at: At) {
            self.set(at, reg::BAR0, 4, 0xc000);
            self.set(at, reg::COMMAND, 2, 1);
        }
        fn scratch(&mut self) -> u8 {
            self.b.outb(SCRATCH, 0x5a);
            self.b.inb(SCRATCH)
        }
        /// The PIRQs that are asserted.
        fn pirqs(&self) -> Vec<usize> {
            (0..4).filter(|&n| self.b.level(self.irq[usize::from(ROUTES[n])])).collect()
        }
    }

    #[test]
    fn configuration_space() {
        let mut r = Rig::new(&[("pci-bridge", "id=b1,chassis_nr=7,addr=5")]);
        let expect = [(0x00, 0x0001_1b36), (0x04, 0x00b0_0000), (0x08, 0x0604_0000), (0x0c, 0x0001_0000)];
        expect.into_iter().for_each(|(register, value)| assert_eq!(r.get(B1, register), value, "{register:#x}"));
        let expect = [(0x1c, 0x00a0_0000), (0x24, 0x0001_0001), (0x34, 0x44), (0x40, 0x0720_0004), (0x44, 0x0120_4009)];
        expect.into_iter().for_each(|(register, value)| assert_eq!(r.get(B1, register), value, "{register:#x}"));
        let reserve = [u32::MAX, 0x1000, 0, 0x10_0000, u32::MAX, u32::MAX, u32::MAX];
        (0x48u8..)
            .step_by(4)
            .zip(reserve)
            .for_each(|(register, n)| assert_eq!(r.get(B1, register), n, "{register:#x}"));
        (0x10..0x40).step_by(4).for_each(|register| r.set(B1, register, 4, u32::MAX));
        let masks = [0, 0, u32::MAX, 0x00a0_f0f0, 0xfff0_fff0, 0xfff1_fff1, u32::MAX, u32::MAX, 0, 0x44, 0];
        for (register, mask) in (0x10..).step_by(4).zip(masks) {
            assert_eq!(r.get(B1, register), mask, "{register:#x}");
        }
        assert_eq!(r.get(B1, reg::INTERRUPT_LINE), 0x0bff_00ff);
    }

    #[test]
    fn cycles_go_to_the_bus_that_has_the_number() {
        let mut r = Rig::new(&[("pci-bridge", "id=b1,chassis_nr=7,addr=5"), ("pci-serial", "bus=b1,addr=3")]);
        assert_eq!(r.get((1, 3), 0), u32::MAX, "no bus has a number yet");
        r.number(B1, 1, 1);
        assert_eq!((r.get((1, 3), 0), r.get((1, 4), 0), r.get((0, 3), 0)), (0x0002_1b36, u32::MAX, u32::MAX));
        r.number(B1, 9, 9);
        assert_eq!((r.get((1, 3), 0), r.get((9, 3), 0)), (u32::MAX, 0x0002_1b36));
        r.b.reset();
        assert_eq!((r.get((9, 3), 0), r.get(B1, bridge::PRIMARY)), (u32::MAX, 0));
    }

    #[test]
    fn windows_let_ports_and_memory_pass() {
        let mut r = Rig::with_card();
        assert_eq!(r.scratch(), 0x5a);
        r.set(B1, reg::COMMAND, 2, 6);
        assert_eq!(r.scratch(), 0xff, "the bridge decodes no ports");
        r.set(B1, reg::COMMAND, 2, 7);
        r.set(B1, bridge::IO_BASE, 2, 0xd0d0);
        assert_eq!(r.scratch(), 0xff, "another window");
        r.set(B1, bridge::IO_BASE, 2, 0xf000);
        assert_eq!(r.scratch(), 0x5a, "a wide one");

        let vga = "bus=b1,addr=4,romfile=,vgamem_mb=1";
        let mut r = Rig::new(&[("pci-bridge", "id=b1,chassis_nr=7,addr=5"), ("VGA", vga)]);
        r.number(B1, 1, 1);
        r.open(B1);
        r.set((1, 4), reg::BAR0, 4, 0xe100_0000);
        r.set((1, 4), reg::COMMAND, 2, 3);
        r.b.writel(0xe100_0010, 7);
        assert_eq!((r.b.readl(0xe100_0010), r.b.inb(0x3cc)), (7, 0xff), "VGA is off");
        r.set(B1, bridge::MEMORY_BASE, 4, 0xe0f0_e000);
        assert_eq!(r.b.readl(0xe100_0010), u32::MAX);
        // The other window, above it and with a hole; then both, one inside the other.
        r.set(B1, bridge::PREFETCHABLE_BASE, 4, 0xe100_e100);
        assert_eq!(r.b.readl(0xe100_0010), 7);
        r.set(B1, bridge::MEMORY_BASE, 4, 0xe200_e000);
        assert_eq!(r.b.readl(0xe100_0010), 7);
        r.set(B1, bridge::CONTROL, 2, control::VGA.into());
        r.b.outb(0x3c2, 0x67);
        assert_eq!(r.b.inb(0x3cc), 0x67);
        r.set(B1, reg::COMMAND, 2, 2);
        assert_eq!(r.b.inb(0x3cc), 0xff);
    }

    #[test]
    fn pins_are_swizzled() {
        let nested = [
            ("pci-bridge", "id=b1,chassis_nr=1,addr=5"),
            ("pci-bridge", "id=b2,chassis_nr=2,addr=6,bus=b1"),
            ("pci-serial", "bus=b1,addr=3"),
            ("pci-serial", "bus=b2,addr=4"),
        ];
        let mut r = Rig::new(&nested);
        r.number(B1, 1, 2);
        r.number((1, 6), 2, 2);
        for (card, pin) in [((1, 3), 3), ((2, 4), 2)] {
            r.open(B1);
            r.open((1, 6));
            r.enable_card(card);
            assert_eq!(r.scratch(), 0x5a);
            // Pin A of slot 3 is pin D of slot 5; pin A of slot 4, pin A of slot 6 on the bus before, and so pin C of slot 5.
            r.b.outb(0xc004, 8);
            r.b.outb(0xc001, 2);
            assert_eq!(r.pirqs(), [(5 + 3 + pin) % 4]);
            r.b.outb(0xc001, 0);
            assert_eq!(r.pirqs().len(), 0);
            r.set(card, reg::COMMAND, 2, 0);
        }
    }

    #[test]
    fn a_reset_of_the_bus_reaches_all_that_is_behind() {
        let mut r = Rig::with_card();
        r.b.outb(0xc004, 8);
        r.b.outb(0xc001, 2);
        assert_eq!((r.scratch(), r.pirqs().len()), (0x5a, 1));
        r.set(B1, bridge::CONTROL, 2, control::RESET.into());
        assert_eq!((r.scratch(), r.pirqs().len(), r.get((1, 3), 0)), (0xff, 0, u32::MAX));
        r.set(B1, bridge::CONTROL, 2, 0);
        assert_eq!((r.get((1, 3), reg::BAR0), r.get(B1, bridge::IO_BASE) & 0xffff), (1, 0xc0c0));
        r.enable_card((1, 3));
        assert_eq!((r.scratch(), r.b.inb(0xc001)), (0x5a, 0));
    }

    #[test]
    fn numbers_that_make_no_sense() {
        let nested = [
            ("pci-bridge", "id=b1,chassis_nr=1,addr=5"),
            ("pci-bridge", "id=b2,chassis_nr=2,addr=6,bus=b1"),
            ("pci-bridge", "id=b3,chassis_nr=3,addr=7"),
            ("pci-serial", "bus=b2,addr=4"),
        ];
        let mut r = Rig::new(&nested);
        // Both have the same number; one has that of the bus that it is on; one goes backwards.
        r.number(B1, 1, 255);
        r.number((0, 7), 1, 255);
        r.number((1, 6), 1, 1);
        assert_eq!((r.get((1, 6), 0), r.get((2, 4), 0)), (0x0001_1b36, u32::MAX));
        r.number((1, 6), 200, 3);
        assert_eq!((0..=255).filter(|&bus| r.get((bus, 4), 0) != u32::MAX).count(), 0);
        r.number(B1, 0, 255);
        assert_eq!((r.get((0, 6), 0), r.get((1, 6), 0)), (u32::MAX, u32::MAX));
        let mut x = 1u32;
        let mut random = move || {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            x >> 8
        };
        for _ in 0..5000 {
            let at = (random() % 4, [5, 6, 7, 4][random() as usize % 4]);
            let register = (random() % 0x44) as u8 & !3;
            let value = [random() << 8, 0x0001_0100, u32::MAX, 0x00ff_0100][random() as usize % 4];
            r.set(at, register, 4, value);
            r.get((random() % 256, random() % 32), 0);
        }
        r.b.reset();
        r.number(B1, 1, 2);
        r.number((1, 6), 2, 2);
        assert_eq!(r.get((2, 4), 0), 0x0002_1b36);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let mut r = Rig::new(&[("pci-bridge", "id=b1,chassis_nr=1")]);
        for (text, told) in [
            ("", "Bridge chassis not specified"),
            ("chassis_nr=1,shpc=on", "not implemented"),
            ("chassis_nr=1,msi=on", "without a hot-plug controller"),
            ("chassis_nr=1,bus=b2", "Bus 'b2' not found"),
            ("chassis_nr=1,mem-reserve=4G", "must be less than 4G"),
            ("chassis_nr=1,pref32-reserve=1M,pref64-reserve=1M", "there is one window"),
        ] {
            let error = r.add("pci-bridge", text).unwrap_err().to_string();
            assert!(error.contains(told), "{text}: {error}");
        }
        for n in 2..=12 {
            r.add("pci-bridge", &format!("id=b{n},chassis_nr=1,bus=b{}", n - 1)).unwrap();
        }
        let error = r.add("pci-bridge", "id=b13,chassis_nr=1,bus=b12").unwrap_err().to_string();
        assert!(error.contains("at most 12 bridges"), "{error}");
        r.add("pci-serial", "bus=b12,addr=1f").unwrap();
        let hot = |r: &Rig, name, text| r.b.with(|s| s.add_device(name, &properties(text), true)).map(drop);
        hot(&r, "pci-serial", "bus=b1").unwrap();
        let error = hot(&r, "pci-bridge", "bus=b1,chassis_nr=2").unwrap_err();
        assert_eq!(error.to_string(), "Device 'pci-bridge' does not support hotplugging");
        // One without a name has a bus that is numbered.
        r.add("pci-bridge", "chassis_nr=2").unwrap();
        assert!(r.b.with(|s| s.buses().iter().any(|bus| bus.name == "pci.1")));
    }
}
