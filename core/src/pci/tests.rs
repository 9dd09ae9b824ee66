use super::*;
use crate::board::{Board, BoardState, Cx, Device, DeviceSpec, DeviceState, Realize, RealizeError, Saved};
use crate::clock::ManualClock;
use crate::testing::NullMsi;
use crate::vm::CpuBus;
use std::sync::Arc;

/// A host bridge with an address register at port 0, a data register at 4, and an interrupt router.
struct Host {
    address: u32,
    irqs: Vec<(u32, bool)>,
}
struct HostSpec;
impl DeviceSpec for HostSpec {
    type Device = Host;
    type Pins = ();
    const TYPE: &'static str = "test-host";
    fn realize(self, r: &mut Realize<'_>) -> Result<(Host, ()), RealizeError> {
        r.ports_wide(0, "address", 0, 4, 4);
        r.ports_wide(1, "data", 4, 4, 4);
        let inputs = r.inputs("intx", 128);
        r.route_pci_interrupts(inputs);
        Ok((Host { address: 0, irqs: Vec::new() }, ()))
    }
}
impl Device for Host {
    fn state(&mut self) -> DeviceState<'_> {
        let Self { address, irqs } = self;
        Saved::of((address, irqs)).version(1)
    }
    fn read(&mut self, cx: &mut Cx<'_>, _: u32, offset: u64, size: u8) -> u64 {
        u64::from(cx.pci().config_read(self.address + offset as u32, size))
    }
    fn write(&mut self, cx: &mut Cx<'_>, region: u32, offset: u64, size: u8, value: u64) {
        match region {
            0 => self.address = value as u32,
            _ => cx.pci().config_write(self.address + offset as u32, size, value as u32),
        }
    }
    fn pin(&mut self, _: &mut Cx<'_>, index: u32, level: bool) {
        self.irqs.push((index, level));
    }
}

/// A function with one I/O BAR whose first port is its interrupt request.
#[derive(Default)]
struct Card {
    written: Vec<(u8, u8)>,
}
struct CardSpec<P>(P);
impl<P: Into<PciPlace> + 'static> DeviceSpec for CardSpec<P> {
    type Device = Card;
    type Pins = ();
    const TYPE: &'static str = "test-card";
    fn realize(self, r: &mut Realize<'_>) -> Result<(Card, ()), RealizeError> {
        let header =
            ConfigHeader { vendor: 0x1af4, device: 1, interrupt_pin: Some(IntxPin::B), ..ConfigHeader::default() };
        r.pci_function(self.0, &header);
        let region = r.port_region(0, "bar0", 0x20, 1);
        r.pci_bar(0, BarKind::Io, 0x20, region);
        Ok((Card::default(), ()))
    }
}
impl Device for Card {
    fn state(&mut self) -> DeviceState<'_> {
        Saved::of(&mut self.written).version(1)
    }
    fn read(&mut self, cx: &mut Cx<'_>, _: u32, _: u64, _: u8) -> u64 {
        u64::from(cx.dma_write(0, &[1]).is_ok())
    }
    fn write(&mut self, cx: &mut Cx<'_>, _: u32, _: u64, _: u8, value: u64) {
        cx.set_intx(value & 1 != 0);
    }
    fn config_written(&mut self, _: &mut Cx<'_>, offset: u8, len: u8) {
        self.written.push((offset, len));
    }
}

fn board() -> Arc<Board> {
    Board::new(Arc::new(ManualClock::new()), Arc::new(NullMsi))
}
fn config(b: &Board, addr: u32, size: u8) -> u32 {
    b.pio_out(0, 4, addr & !3);
    b.pio_in(4 + (addr & 3) as u16, size)
}
fn set_config(b: &Board, addr: u32, size: u8, value: u32) {
    b.pio_out(0, 4, addr & !3);
    b.pio_out(4 + (addr & 3) as u16, size, value);
}
fn irqs(s: &mut BoardState, id: DeviceId) -> Vec<(u32, bool)> {
    s.device::<Host>(id).map(|h| std::mem::take(&mut h.irqs)).unwrap_or_default()
}

#[test]
fn bars_follow_the_registers_and_interrupts_reach_the_router() {
    let b = board();
    let (host, card) = b.with(|s| {
        // One before and one after the router.
        let card = s.realize("/card", CardSpec(Some(Devfn::new(3, 0)))).unwrap().id;
        (s.realize("/host", HostSpec).unwrap().id, card)
    });
    let at = 3 << 11;
    assert_eq!(config(&b, at, 4), 0x0001_1af4);
    assert_eq!(config(&b, at + 2, 2), 1);
    assert_eq!(config(&b, 4 << 11, 4), 0xffff_ffff);
    assert_eq!(config(&b, 1 << 16 | at, 2), 0xffff);
    set_config(&b, at + 0x10, 4, 0xc000);
    assert_eq!(b.pio_in(0xc000, 1), 0xff);
    set_config(&b, at + 4, 2, 1);
    assert_eq!(b.with(|s| s.device::<Card>(card).unwrap().written.clone()), [(0x10, 4), (4, 2)]);
    assert_eq!(b.pio_in(0xc000, 1), 0);
    b.pio_out(0xc000, 1, 1);
    assert_eq!(b.with(|s| irqs(s, host)), [(13, true)]);
    assert_eq!(config(&b, at + 6, 2) & status::INTERRUPT as u32, 8);
    // Disabled, the pin is released, but the status still shows the request.
    set_config(&b, at + 4, 2, 0x401);
    assert_eq!(b.with(|s| irqs(s, host)), [(13, false)]);
    assert_eq!(config(&b, at + 6, 2) & 8, 8);
    // A reset unmaps and releases.
    set_config(&b, at + 4, 2, 1);
    b.with(|s| s.reset(crate::board::ResetKind::System));
    assert_eq!(b.with(|s| irqs(s, host)), [(13, true), (13, false)]);
    assert_eq!(b.pio_in(0xc000, 1), 0xff);
    assert_eq!(config(&b, at + 0x10, 4), 1);
}

#[test]
fn dma_needs_the_bus_master_bit() {
    let b = board();
    let ram = crate::mem::RamBlock::new("ram", 0x1000).unwrap();
    b.with(|s| {
        let (m, root) = (s.memory().ram(&ram, 0, 0x1000), s.memory().root());
        s.memory().map(root, 0, m, 0);
        s.realize("/host", HostSpec).unwrap();
        s.realize("/card", CardSpec(PciPlace::default())).unwrap();
    });
    set_config(&b, 0x10, 4, 0xc000);
    set_config(&b, 0x4, 2, 1);
    assert_eq!(b.pio_in(0xc000, 1), 0);
    set_config(&b, 0x4, 2, 5);
    assert_eq!(b.pio_in(0xc000, 1), 1);
}

#[test]
fn a_place_is_taken_once_and_given_back() {
    let b = board();
    b.with(|s| {
        s.realize("/a", CardSpec(Some(Devfn::new(0, 0)))).unwrap();
        let e = s.realize("/b", CardSpec(Some(Devfn::new(0, 0)))).err().unwrap();
        assert!(e.to_string().contains("00.0"), "{e}");
        for n in 1..32 {
            s.realize(&format!("/c{n}"), CardSpec(PciPlace::default())).unwrap();
        }
        let e = s.realize("/full", CardSpec(PciPlace::default())).err().unwrap();
        assert!(e.to_string().contains("full"), "{e}");
        assert_eq!(s.fabric.pci.functions(BusId::ROOT).count(), 32);
    });
}

#[test]
fn acpi_indexes_are_unique_and_have_a_limit() {
    let b = board();
    b.with(|s| {
        let at = |slot, acpi_index| PciPlace { addr: Some(Devfn::new(slot, 0)), acpi_index, ..PciPlace::default() };
        s.realize("/a", CardSpec(at(3, 7))).unwrap();
        s.realize("/b", CardSpec(at(4, 0))).unwrap();
        assert_eq!([3, 4, 5].map(|slot| s.fabric.pci.acpi_index(BusId::ROOT, slot)), [7, 0, 0]);
        for (index, reason) in [(7, "acpi-index = 7 already exist"), (MOST_ACPI_INDEX + 1, "less or equal to 16383")] {
            let e = s.realize("/c", CardSpec(at(5, index))).err().unwrap();
            assert!(e.to_string().contains(reason), "{e}");
        }
        s.realize("/d", CardSpec(at(5, MOST_ACPI_INDEX))).unwrap();
        assert_eq!(s.fabric.pci.fixed_slots(BusId::ROOT), 0b11_1000, "none came by name");
    });
}
