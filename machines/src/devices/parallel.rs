//! `isa-parallel`: a parallel port of the PC/AT, with a character back end in place of the printer.
//!
//! Sources: IBM PC/AT Technical Reference, "Printer adapter"; bits that a program sees of a printer which takes each character at once are those of
//! QEMU's. A printer that does not is busy, so that the program waits.

use super::isa_card;
use gearbox_core::backend::chardev::Chardev;
use gearbox_core::board::{Cx, Device, DeviceSpec, DeviceState, Line, Realize, RealizeError, ResetKind, Saved};
use gearbox_core::object::{Category, Property, TypeEntry, TypeInfo};
use gearbox_core::property;

/// First ports of LPT1 to LPT3, which have one interrupt.
pub const LPT: [u16; 3] = [0x378, 0x278, 0x3bc];
const IRQ: u8 = 7;
/// Ports of one.
pub const PORTS: u16 = 8;

/// Offsets.
mod port {
    pub(super) const DATA: u64 = 0;
    pub(super) const STATUS: u64 = 1;
    pub(super) const CONTROL: u64 = 2;
}
/// Bits of the status; those of BUSY and ACK are low when the printer says so.
mod status {
    pub(super) const BUSY: u8 = 0x80;
    pub(super) const ACK: u8 = 0x40;
    pub(super) const SELECTED: u8 = 0x10;
    pub(super) const ERROR: u8 = 0x08;
    /// A printer that has nothing to do.
    pub(super) const IDLE: u8 = BUSY | ACK | SELECTED | ERROR;
}
/// Bits of the control register.
mod control {
    pub(super) const STROBE: u8 = 0x01;
    pub(super) const INIT: u8 = 0x04;
    pub(super) const SELECT: u8 = 0x08;
    pub(super) const INTERRUPT: u8 = 0x10;
    /// The data port is for reading.
    pub(super) const DIRECTION: u8 = 0x20;
    /// Not connected.
    pub(super) const ONES: u8 = 0xc0;
    pub(super) const AT_RESET: u8 = SELECT | INIT | ONES;
}

/// Configuration of a port. What is not given follows from the index.
#[derive(Clone, Default)]
pub struct Parallel {
    /// Which of LPT1 to LPT3 it is, from 0; by default the first one that no other port is.
    pub index: Option<u32>,
    /// First port.
    pub iobase: Option<u16>,
    /// ISA interrupt.
    pub irq: Option<u8>,
    /// The printer.
    pub chardev: Chardev,
}

/// The port.
#[derive(Debug)]
pub struct ParallelDevice {
    data: u8,
    status: u8,
    control: u8,
    /// A character that the back end has not taken yet.
    waiting: Option<u8>,
    pending: bool,
    irq: Line,
    isa: (u16, u8),
}

impl DeviceSpec for Parallel {
    type Device = ParallelDevice;
    type Pins = ();
    const TYPE: &'static str = "isa-parallel";
    const PROPERTIES: &'static [&'static [Property<Self>]] = &[&[
        property!("chardev", Chardev, chardev, "the back end"),
        property!("index", Option<u32>, index, "which of LPT1 to LPT3 it is, from 0; by default the next one"),
        property!("iobase", Option<u16>, iobase, "first port; by default that of its index"),
        property!("irq", Option<u8>, irq, "the interrupt"),
    ]];

    fn realize(self, r: &mut Realize<'_>) -> Result<(ParallelDevice, ()), RealizeError> {
        let index = self.index.unwrap_or(r.siblings());
        let base = usize::try_from(index).ok().and_then(|n| LPT.get(n));
        let base = *base.ok_or_else(|| r.property_error("index", format!("{index} is not between 0 and 2")))?;
        let (base, irq) = (self.iobase.unwrap_or(base), self.irq.unwrap_or(IRQ));
        let Some(backend) = self.chardev.backend() else {
            return Err(r.property_error("chardev", "Can't create parallel device, empty char device"));
        };
        let irq_line = isa_card::settle(r, (base, PORTS), irq)?;
        r.settle_property("index", index);
        r.ports(0, "parallel", base, PORTS);
        r.chardev(0, Some(backend));
        let device = ParallelDevice {
            data: 0xff,
            status: status::IDLE,
            control: control::AT_RESET,
            waiting: None,
            pending: false,
            irq: irq_line,
            isa: (base, irq),
        };
        Ok((device, ()))
    }
}

inventory::submit! { TypeEntry(&TypeInfo::device::<Parallel>("isa-device", "a parallel port").category(Category::Input)) }

impl ParallelDevice {
    /// First port and interrupt, for firmware tables.
    pub fn isa_resources(&self) -> (u16, u8) {
        self.isa
    }
    fn send(&mut self, cx: &Cx<'_>) {
        if let (Some(byte), Some(backend)) = (self.waiting, cx.chardev(0))
            && backend.write(&[byte]) == 1
        {
            self.waiting = None;
        }
    }
    fn read_status(&mut self) -> u8 {
        let shown = self.status;
        self.pending = false;
        // The printer acknowledges a character by a pulse, which the next look sees, and is ready again.
        if shown & status::BUSY == 0 && self.control & control::STROBE == 0 && self.waiting.is_none() {
            self.status =
                if shown & status::ACK != 0 { shown & !status::ACK } else { shown | status::ACK | status::BUSY };
        }
        shown
    }
    fn write_control(&mut self, cx: &Cx<'_>, value: u8) {
        let value = value | control::ONES;
        if value & control::INIT == 0 {
            (self.status, self.waiting) = (status::IDLE, None);
        } else if value & control::SELECT != 0 && value & control::STROBE != 0 {
            self.status &= !status::BUSY;
            // A printer that is busy does not look.
            if self.control & control::STROBE == 0 && self.waiting.is_none() {
                self.waiting = Some(self.data);
                self.send(cx);
            }
        } else if value & control::SELECT != 0 && value & control::INTERRUPT != 0 {
            self.pending = true;
        }
        self.control = value;
    }
}

impl Device for ParallelDevice {
    fn state(&mut self) -> DeviceState<'_> {
        let Self { data, status, control, waiting, pending, irq: _, isa: _ } = self;
        Saved::of((data, status, control, waiting, pending)).version(1)
    }
    fn read(&mut self, cx: &mut Cx<'_>, _: u32, offset: u64, _: u8) -> u64 {
        let value = match offset {
            // Nobody drives the lines.
            port::DATA if self.control & control::DIRECTION != 0 => 0xff,
            port::DATA => self.data,
            port::STATUS => self.read_status(),
            port::CONTROL => self.control,
            _ => 0xff,
        };
        cx.set(self.irq, self.pending);
        value.into()
    }
    fn write(&mut self, cx: &mut Cx<'_>, _: u32, offset: u64, _: u8, value: u64) {
        match offset {
            port::DATA => self.data = value as u8,
            port::CONTROL => self.write_control(cx, value as u8),
            _ => {}
        }
        cx.set(self.irq, self.pending);
    }
    fn backend_ready(&mut self, cx: &mut Cx<'_>, _: u32) {
        self.send(cx);
    }
    fn reset(&mut self, cx: &mut Cx<'_>, _: ResetKind) {
        (self.data, self.status, self.control) = (0xff, status::IDLE, control::AT_RESET);
        (self.waiting, self.pending) = (None, false);
        cx.set(self.irq, false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gearbox_accel_qtest::Bench;

    fn print(b: &mut Bench, byte: u8) -> bool {
        if b.inb(0x379) & status::BUSY == 0 {
            return false;
        }
        b.outb(0x378, byte);
        b.outb(0x37a, 0x0d);
        b.outb(0x37a, 0x0c);
        true
    }

    #[test]
    fn characters_go_to_the_printer() {
        let (mut b, far) = (Bench::new(), Bench::chardev());
        b.realize(Parallel { chardev: far.clone().into(), ..Parallel::default() }).unwrap();
        assert_eq!([0x378, 0x379, 0x37a, 0x37b].map(|port| b.inb(port)), [0xff, 0xd8, 0xcc, 0xff]);
        assert!(print(&mut b, b'a'));
        // Busy, acknowledged, ready.
        assert_eq!([0; 4].map(|_| b.inb(0x379)), [0x58, 0x18, 0xd8, 0xd8]);
        assert!(print(&mut b, b'b'));
        assert_eq!((far.output(), b.inb(0x378)), (b"ab".to_vec(), b'b'));
        b.outb(0x37a, 0x2c);
        assert_eq!(b.inb(0x378), 0xff, "read from a printer that says nothing");
        // A strobe that stays prints once.
        (0..3).for_each(|_| b.outb(0x37a, 0x0d));
        assert_eq!(far.output(), b"b");
        b.outb(0x37a, 0x00);
        assert_eq!((b.inb(0x37a), b.inb(0x379)), (0xc0, 0xd8), "initialized");
    }

    #[test]
    fn a_slow_printer_is_busy() {
        let (mut b, far) = (Bench::new(), Bench::chardev());
        b.realize(Parallel { chardev: far.clone().into(), iobase: Some(0x378), index: Some(2), ..Parallel::default() })
            .unwrap();
        far.set_room(0);
        assert!(print(&mut b, b'x') && (0..5).all(|_| !print(&mut b, b'y')));
        far.set_room(9);
        assert_eq!(far.output(), b"x");
        assert!(!print(&mut b, b'y') && !print(&mut b, b'y') && print(&mut b, b'y'));
        assert_eq!(far.output(), b"y");
        far.set_room(0);
        assert!((0..4).any(|_| print(&mut b, b'z')));
        b.reset();
        far.set_room(9);
        assert_eq!(far.output(), b"", "a reset empties it");
    }

    #[test]
    fn what_it_cannot_be() {
        let mut b = Bench::new();
        let far = Bench::chardev();
        let mut refused = |spec: Parallel| b.realize(spec).unwrap_err().to_string();
        assert!(refused(Parallel::default()).contains("Can't create parallel device, empty char device"));
        let with = |index, irq| Parallel { chardev: far.clone().into(), index, irq, ..Parallel::default() };
        assert!(refused(with(Some(3), None)).contains("3 is not between 0 and 2"));
        assert!(refused(with(None, Some(8))).contains("ISA cards have no interrupt 8"));
    }
}
