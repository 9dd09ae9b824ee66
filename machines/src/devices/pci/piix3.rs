//! The ISA bridge of the 82371SB (PIIX3): routing of PCI interrupts to ISA interrupts, and the reset control register.
//!
//! Source: Intel 82371SB (PIIX3) datasheet (290550). The edge/level registers that it also names are in
//! [`i8259`](crate::devices::i8259). Contents of the configuration space are those of QEMU's `PIIX3`.

use super::QEMU_SUBSYSTEM;
use crate::devices::isa_bus;
use gearbox_core::board::{
    Cx, Device, DeviceSpec, DeviceState, Line, Realize, RealizeError, ResetKind, Saved, SystemRequest,
};
use gearbox_core::event::ShutdownCause;
use gearbox_core::object::{TypeEntry, TypeInfo};
use gearbox_core::pci::{ConfigHeader, Devfn, status};

/// First of the four PIRQ route control registers.
pub const PIRQ_ROUTE: u8 = 0x60;
/// PIRQ route control: not routed.
const ROUTE_DISABLED: u8 = 0x80;
/// Interrupt pins: four for each slot.
const INTX_INPUTS: u32 = 128;
/// Reset control register, and its bits: reset the CPU on the write that sets it; hard reset rather than soft.
pub const RESET_CONTROL: u16 = 0xcf9;
/// A value for it that resets everything.
pub const RESET_EVERYTHING: u8 = 0x0f;
const RESET_CPU: u8 = 4;
const HARD_RESET: u8 = 2;

/// A [`Piix3Device`] to be.
pub struct Piix3 {
    /// Its slot.
    pub slot: u8,
}

/// Pins of the bridge. Its PCI interrupt inputs connect themselves.
pub struct Piix3Pins {
    /// What PCI drives of each ISA interrupt.
    pub irq: [Line; 16],
}

/// The ISA bridge.
pub struct Piix3Device {
    /// Number of interrupt pins that assert each PIRQ: they are wired together.
    asserted: [u32; 4],
    irq: [Line; 16],
    reset_control: u8,
}

/// The PIRQ that an interrupt pin is wired to (inputs are numbered 4 × slot + pin): slots take turns, and slot 1 starts at PIRQA.
pub fn pirq(input: u32) -> usize {
    let (slot, pin) = (input / 4, input % 4);
    ((slot + 3 + pin) % 4) as usize
}

impl DeviceSpec for Piix3 {
    type Device = Piix3Device;
    type Pins = Piix3Pins;
    const TYPE: &'static str = "PIIX3";

    fn realize(self, r: &mut Realize<'_>) -> Result<(Piix3Device, Piix3Pins), RealizeError> {
        let header = ConfigHeader {
            vendor: 0x8086,
            device: 0x7000,
            class: 0x06_01_00,
            subsystem: QEMU_SUBSYSTEM,
            status: status::DEVSEL_MEDIUM,
            multifunction: true,
            ..ConfigHeader::default()
        };
        let c = r.pci_function(Some(Devfn::new(self.slot, 0)), &header);
        for (offset, values) in [
            (0x4c, &[0x4d][..]), // I/O recovery
            (0x4e, &[0x03]),     // X-bus chip selects
            (PIRQ_ROUTE, &[ROUTE_DISABLED; 4]),
            (0x69, &[0x02]),       // top of memory
            (0x70, &[0x80]),       // motherboard IRQ routing
            (0x76, &[0x0c, 0x0c]), // motherboard DMA channels
            (0x78, &[0x02]),       // chip select
            (0xa0, &[0x08]),       // SMI control
            (0xa8, &[0x0f]),       // fast off timer
        ] {
            c.init(offset, values);
        }
        let path = r.pci_path("isa").unwrap_or_default();
        r.bus(isa_bus::BUS, "ISA", false).firmware_path = path;
        // Inside the host bridge's port 0xcf8, which takes only doublewords: the PIIX3 decodes this byte.
        let reset = r.port_region(0, "piix3-reset-control", 1, 1);
        let tree = r.port_tree();
        tree.map(tree.root(), RESET_CONTROL.into(), reset, 1);
        let inputs = r.inputs("intx", INTX_INPUTS);
        r.route_pci_interrupts(inputs);
        let irq = r.outputs("irq");
        Ok((Piix3Device { asserted: [0; 4], irq, reset_control: 0 }, Piix3Pins { irq }))
    }
}

inventory::submit! {
    TypeEntry(
        &TypeInfo::onboard::<Piix3>("pci-piix3", "PCI-ISA bridge")
            .implements(&["conventional-pci-device"]),
    )
}

impl Piix3Device {
    /// Drives the ISA interrupts as the route registers and the pins say.
    fn route(&self, cx: &mut Cx<'_>) {
        let Some(c) = cx.config() else { return };
        let routes: [u8; 4] = std::array::from_fn(|n| c.byte(PIRQ_ROUTE + n as u8));
        let mut levels = 0u16;
        for (route, &count) in routes.iter().zip(&self.asserted) {
            if route & ROUTE_DISABLED == 0 && count > 0 {
                levels |= 1 << (route & 15);
            }
        }
        for (n, line) in self.irq.into_iter().enumerate() {
            cx.set(line, levels >> n & 1 != 0);
        }
    }
}

impl Device for Piix3Device {
    fn state(&mut self) -> DeviceState<'_> {
        let Self { asserted, irq: _, reset_control } = self;
        let sound = |asserted: &[u32; 4]| asserted.iter().all(|n| *n <= INTX_INPUTS);
        Saved::sound(asserted, sound).and(Saved::of(reset_control)).version(1)
    }
    fn read(&mut self, _: &mut Cx<'_>, _: u32, _: u64, _: u8) -> u64 {
        u64::from(self.reset_control)
    }
    fn write(&mut self, cx: &mut Cx<'_>, _: u32, _: u64, _: u8, value: u64) {
        let value = value as u8;
        if value & RESET_CPU != 0 {
            cx.request(SystemRequest::Reset(ShutdownCause::GuestReset));
        }
        self.reset_control = value & HARD_RESET;
    }
    fn pin(&mut self, cx: &mut Cx<'_>, index: u32, level: bool) {
        let count = &mut self.asserted[pirq(index)];
        *count = if level { *count + 1 } else { count.saturating_sub(1) };
        self.route(cx);
    }
    fn reset(&mut self, cx: &mut Cx<'_>, _: ResetKind) {
        self.reset_control = 0;
        self.route(cx);
    }
    fn config_written(&mut self, cx: &mut Cx<'_>, _: u8, _: u8) {
        self.route(cx);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gearbox_accel_qtest::Bench;
    use gearbox_core::board::{DeviceId, Realized};

    fn bench() -> (Bench, Realized<Piix3Pins>) {
        let mut b = Bench::new();
        let p = b.realize(Piix3 { slot: 1 }).unwrap();
        (b, p)
    }
    fn set_config(b: &mut Bench, register: u32, value: u8) {
        b.with(|s| s.fabric.pci.config_write(1 << 11 | register, 1, value.into()));
    }
    fn intx(b: &mut Bench, id: DeviceId, input: u32, level: bool) {
        b.call(id, |d, cx| d.pin(cx, input, level));
    }

    #[test]
    fn configuration_space_is_qemus() {
        let (b, _) = bench();
        let nonzero = [
            (0x00, 0x7000_8086),
            (0x04, 0x0200_0000),
            (0x08, 0x0601_0000),
            (0x0c, 0x0080_0000),
            (0x2c, 0x1100_1af4),
            (0x4c, 0x0003_004d),
            (0x60, 0x8080_8080),
            (0x68, 0x0000_0200),
            (0x70, 0x0000_0080),
            (0x74, 0x0c0c_0000),
            (0x78, 0x0000_0002),
            (0xa0, 0x0000_0008),
            (0xa8, 0x0000_000f),
        ];
        for register in (0..256).step_by(4) {
            let expect = nonzero.iter().find(|(r, _)| *r == register).map_or(0, |(_, v)| *v);
            assert_eq!(b.with(|s| s.fabric.pci.config_read(1 << 11 | register, 4)), expect, "{register:#x}");
        }
    }

    #[test]
    fn pins_of_the_slots_take_turns() {
        assert_eq!([4, 5, 8, 12, 15, 0].map(pirq), [0, 1, 1, 2, 1, 3]);
    }

    #[test]
    fn pirqs_are_wired_or_and_follow_their_route() {
        let (mut b, p) = bench();
        intx(&mut b, p.id, 8, true);
        assert!(p.irq.iter().all(|&l| !b.level(l)));
        set_config(&mut b, 0x61, 10);
        assert!(b.level(p.irq[10]));
        intx(&mut b, p.id, 5, true);
        intx(&mut b, p.id, 8, false);
        assert!(b.level(p.irq[10]), "slot 1 INTB still asks");
        set_config(&mut b, 0x61, 11);
        assert!(!b.level(p.irq[10]) && b.level(p.irq[11]));
        intx(&mut b, p.id, 5, false);
        assert!(!b.level(p.irq[11]));
    }

    #[test]
    fn reset_control() {
        let (mut b, _) = bench();
        b.outb(0xcf9, 2);
        assert_eq!((b.inb(0xcf9), b.requests().len()), (2, 0));
        b.outb(0xcf9, 6);
        assert_eq!(b.requests(), [SystemRequest::Reset(ShutdownCause::GuestReset)]);
        assert_eq!(b.inb(0xcf9), 2);
        b.reset();
        assert_eq!(b.inb(0xcf9), 0);
    }
}
