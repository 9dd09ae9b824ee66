//! `pci-testdev`: a PCI function to try port and memory accesses on (QEMU, docs/specs/pci-testdev).
//!
//! Each of BAR 0 (memory) and BAR 1 (ports) begins with a header. A store of a test's number to its first byte selects the test; the rest then
//! tells where to store which byte, and counts such stores. Two of the three tests have their stores taken by an event that nobody waits for,
//! instead of being counted.

use crate::devices::pci::QEMU_SUBSYSTEM;
use gearbox_core::backend::memory::Size;
use gearbox_core::board::{Cx, Device, DeviceSpec, DeviceState, Realize, RealizeError, ResetKind, Saved};
use gearbox_core::object::{Property, TypeEntry, TypeInfo};
use gearbox_core::pci::{BarKind, ConfigHeader, PciPlace};
use gearbox_core::{pci_properties, property};
use serde::{Deserialize, Serialize};

/// Configuration of the function.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PciTestdev {
    /// Where it is.
    pub place: PciPlace,
    /// Size of a 64-bit memory BAR 2 with nothing behind it, a power of two; 0 for none.
    pub membar: Size,
}

/// What a test is: its name, the byte to store, whether stores are counted.
struct Kind {
    name: &'static str,
    data: u8,
    counted: bool,
}

const KINDS: [Kind; 3] = [
    Kind { name: "no-eventfd", data: 0xfa, counted: true },
    Kind { name: "wildcard-eventfd", data: 0xce, counted: false },
    Kind { name: "datamatch-eventfd", data: 0xfa, counted: false },
];

/// The two BARs, which are the I/O regions, with the offset in each at which its first test stores.
const MEMORY: u32 = 0;
const PORTS: u32 = 1;
const MEMORY_SIZE: u64 = 0x1000;
const PORTS_SIZE: u16 = 0x100;

/// A test that is selected.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Test {
    number: u8,
    count: u32,
}

impl Test {
    fn kind(self) -> &'static Kind {
        &KINDS[usize::from(self.number) % KINDS.len()]
    }
    fn in_memory(self) -> bool {
        usize::from(self.number) < KINDS.len()
    }
    /// Where it stores, in its BAR.
    fn offset(self) -> u64 {
        let first = if self.in_memory() { MEMORY_SIZE / 2 } else { u64::from(PORTS_SIZE / 2) };
        first + u64::from(self.number)
    }
    /// The header.
    fn header(self) -> Vec<u8> {
        const WIDTH: u8 = 1;
        let mut h = vec![self.number, WIDTH, 0, 0];
        h.extend((self.offset() as u32).to_le_bytes());
        h.extend([self.kind().data, 0, 0, 0]);
        h.extend(self.count.to_le_bytes());
        h.extend(if self.in_memory() { "mmio-" } else { "portio-" }.bytes());
        h.extend(self.kind().name.bytes());
        h
    }
}

/// The function.
#[derive(Debug, Default)]
pub struct PciTestdevDevice {
    test: Option<Test>,
}

inventory::submit! {
    TypeEntry(&TypeInfo::device::<PciTestdev>("pci-device", "PCI test device").implements(&["conventional-pci-device"]))
}

impl DeviceSpec for PciTestdev {
    type Device = PciTestdevDevice;
    type Pins = ();
    const TYPE: &'static str = "pci-testdev";
    const PROPERTIES: &'static [&'static [Property<Self>]] =
        &[&[property!("membar", Size, membar, "size of a memory BAR with nothing behind it")], pci_properties!(place)];

    fn realize(self, r: &mut Realize<'_>) -> Result<(PciTestdevDevice, ()), RealizeError> {
        let Size(membar) = self.membar;
        if membar != 0 && !membar.is_power_of_two() {
            return Err(r.property_error("membar", format!("{membar} is not a power of two")));
        }
        let header = ConfigHeader {
            vendor: 0x1b36,
            device: 0x0005,
            class: 0x00_ff_00,
            subsystem: QEMU_SUBSYSTEM,
            ..ConfigHeader::default()
        };
        r.pci_function(self.place, &header);
        let memory = r.mmio_region(MEMORY, "pci-testdev-mmio", MEMORY_SIZE, 1);
        let ports = r.port_region(PORTS, "pci-testdev-portio", PORTS_SIZE, 1);
        r.pci_bar(0, BarKind::Memory32 { prefetchable: false }, MEMORY_SIZE, memory);
        r.pci_bar(1, BarKind::Io, PORTS_SIZE.into(), ports);
        if membar != 0 {
            let nothing = r.memory().container("pci-testdev-membar", membar);
            r.pci_bar(2, BarKind::Memory64 { prefetchable: true }, membar, nothing);
        }
        Ok((PciTestdevDevice::default(), ()))
    }
}

impl Device for PciTestdevDevice {
    fn state(&mut self) -> DeviceState<'_> {
        let Self { test } = self;
        Saved::sound(test, |test| test.is_none_or(|t| usize::from(t.number) < 2 * KINDS.len())).version(1)
    }
    fn read(&mut self, _cx: &mut Cx<'_>, _region: u32, offset: u64, _size: u8) -> u64 {
        let byte = self.test.and_then(|t| t.header().get(usize::try_from(offset).ok()?).copied());
        byte.unwrap_or(0).into()
    }
    fn write(&mut self, _cx: &mut Cx<'_>, region: u32, offset: u64, _size: u8, value: u64) {
        let value = value as u8;
        if offset == 0 {
            let first = if region == MEMORY { 0 } else { KINDS.len() as u8 };
            let exists = usize::from(value) < KINDS.len();
            self.test = exists.then(|| Test { number: first + value, count: 0 });
        } else if let Some(t) = &mut self.test
            && t.kind().counted
            && (offset, value) == (t.offset(), t.kind().data)
        {
            t.count = t.count.wrapping_add(1);
        }
    }
    fn reset(&mut self, _cx: &mut Cx<'_>, _kind: ResetKind) {
        self.test = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gearbox_accel_qtest::Bench;
    use gearbox_core::pci::{Devfn, command, reg};

    const BAR: [u64; 2] = [0xe000_0000, 0xc000];

    fn config(b: &Bench, register: u8) -> u32 {
        b.with(|s| s.fabric.pci.config_read(4 << 11 | u32::from(register), 4))
    }
    fn set_config(b: &Bench, register: u8, value: u32) {
        b.with(|s| s.fabric.pci.config_write(4 << 11 | u32::from(register), 4, value));
    }
    fn bench(membar: u64) -> Bench {
        let mut b = Bench::new();
        let place = PciPlace { addr: Some(Devfn::new(4, 0)), ..PciPlace::default() };
        b.realize(PciTestdev { place, membar: Size(membar) }).unwrap();
        for (n, base) in (0..).zip(BAR) {
            set_config(&b, reg::BAR0 + 4 * n, base as u32);
        }
        set_config(&b, reg::COMMAND, (command::IO | command::MEMORY).into());
        b
    }

    #[test]
    fn a_guest_scans_the_tests_and_runs_them() {
        let mut b = bench(0);
        assert_eq!([0, 8].map(|r| config(&b, r)), [0x0005_1b36, 0x00ff_0000]);
        let mut names = Vec::new();
        for (region, base) in BAR.into_iter().enumerate() {
            let load = |b: &Bench, at: u64| if region == 0 { b.readb(base + at) } else { b.inb((base + at) as u16) };
            let store = |b: &mut Bench, at: u64, v| {
                if region == 0 { b.writeb(base + at, v) } else { b.outb((base + at) as u16, v) }
            };
            let dword = |b: &Bench, at| u32::from_le_bytes(std::array::from_fn(|n| load(b, at + n as u64)));
            for number in 0.. {
                store(&mut b, 0, number);
                if load(&b, 1) != 1 {
                    break;
                }
                let (at, data) = (dword(&b, 4).into(), load(&b, 8));
                (0..3).for_each(|_| store(&mut b, at, data));
                store(&mut b, at, !data);
                store(&mut b, at + 1, data);
                let name = (16..).map(|n| load(&b, n)).take_while(|&c| c != 0).collect();
                names.push((String::from_utf8(name).unwrap(), at, dword(&b, 12)));
            }
        }
        let names: Vec<_> = names.iter().map(|(n, at, count)| (n.as_str(), *at, *count)).collect();
        let expect = [
            ("mmio-no-eventfd", 0x800, 3),
            ("mmio-wildcard-eventfd", 0x801, 0),
            ("mmio-datamatch-eventfd", 0x802, 0),
            ("portio-no-eventfd", 0x83, 3),
            ("portio-wildcard-eventfd", 0x84, 0),
            ("portio-datamatch-eventfd", 0x85, 0),
        ];
        assert_eq!(names, expect);
    }

    #[test]
    fn nothing_is_selected_after_reset() {
        let mut b = bench(0);
        b.writeb(BAR[0], 0);
        assert_eq!(b.readl(BAR[0]), 0x100);
        b.writeb(BAR[0], 3);
        assert_eq!(b.readl(BAR[0]), 0, "there is no such test");
        assert_eq!(b.readb(BAR[0] + 0xfff), 0);
    }

    #[test]
    fn a_large_bar_for_the_asking() {
        let b = bench(1 << 40);
        set_config(&b, 0x18, u32::MAX);
        set_config(&b, 0x1c, u32::MAX);
        assert_eq!((config(&b, 0x18), config(&b, 0x1c)), (0x0000_000c, 0xffff_ff00));
        assert!(Bench::new().realize(PciTestdev { membar: Size(3), ..PciTestdev::default() }).is_err());
    }
}
