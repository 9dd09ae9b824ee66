//! Serial ports: a 16550A with a character back end at its far end, at eight ISA ports (`isa-serial`) or on a PCI card (`pci-serial`).

mod pci;
mod uart;

pub use pci::PciSerial;
pub use uart::{BAUD_BASE, FIFO, Uart};

use super::isa_card;
use gearbox_core::backend::chardev::{CharBackend, Chardev};
use gearbox_core::board::{Cx, Device, DeviceSpec, DeviceState, Line, Realize, RealizeError, ResetKind, Saved, Timer};
use gearbox_core::object::{Category, Property, TypeEntry, TypeInfo};
use gearbox_core::property;
use std::sync::Arc;

/// First port and ISA interrupt of COM1 to COM4.
pub const COM: [(u16, u8); 4] = [(0x3f8, 4), (0x2f8, 3), (0x3e8, 4), (0x2e8, 3)];
/// Ports of one.
const PORTS: u16 = 8;

/// Configuration of a port. What is not given follows from the index.
#[derive(Clone, Default)]
pub struct Serial {
    /// Which of COM1 to COM4 it is, from 0; by default the first one that no other port is.
    pub index: Option<u32>,
    /// First port.
    pub iobase: Option<u16>,
    /// ISA interrupt.
    pub irq: Option<u8>,
    /// The far end. Without one, output is lost.
    pub chardev: Chardev,
}

impl Serial {
    /// COM1 (`n` = 0) to COM4.
    pub fn com(n: u32, chardev: Option<Arc<dyn CharBackend>>) -> Self {
        Self { index: Some(n), chardev: chardev.into(), ..Self::default() }
    }
}

/// Pins of a port.
#[derive(Clone, Copy, Debug)]
pub struct SerialPins {
    /// The interrupt.
    pub irq: Line,
}

/// Where the interrupt goes.
#[derive(Clone, Copy, Debug)]
enum Interrupt {
    Line(Line),
    Intx,
}

impl Interrupt {
    fn set(self, cx: &mut Cx<'_>, level: bool) {
        match self {
            Self::Line(line) => cx.set(line, level),
            Self::Intx => cx.set_intx(level),
        }
    }
}

/// The port.
#[derive(Debug)]
pub struct SerialDevice {
    uart: Uart,
    irq: Interrupt,
    timer: Timer,
    /// First port and interrupt of one on the ISA bus.
    isa: Option<(u16, u8)>,
}

impl DeviceSpec for Serial {
    type Device = SerialDevice;
    type Pins = SerialPins;
    const TYPE: &'static str = "isa-serial";
    const PROPERTIES: &'static [&'static [Property<Self>]] = &[&[
        property!("chardev", Chardev, chardev, "the back end"),
        property!("index", Option<u32>, index, "which of COM1 to COM4 it is, from 0; by default the next one"),
        property!("iobase", Option<u16>, iobase, "first port; by default that of its index"),
        property!("irq", Option<u8>, irq, "the interrupt; by default that of its index"),
    ]];

    fn realize(self, r: &mut Realize<'_>) -> Result<(SerialDevice, SerialPins), RealizeError> {
        let index = self.index.unwrap_or(r.siblings());
        let com = usize::try_from(index).ok().and_then(|n| COM.get(n));
        let (base, irq) = *com.ok_or_else(|| r.property_error("index", format!("{index} is not between 0 and 3")))?;
        let (base, irq) = (self.iobase.unwrap_or(base), self.irq.unwrap_or(irq));
        let pins = SerialPins { irq: isa_card::settle(r, (base, PORTS), irq)? };
        r.settle_property("index", index);
        r.ports(0, "serial", base, PORTS);
        r.chardev(0, self.chardev.backend());
        let device = SerialDevice {
            uart: Uart::new(),
            irq: Interrupt::Line(pins.irq),
            timer: r.timer(0),
            isa: Some((base, irq)),
        };
        Ok((device, pins))
    }
}

inventory::submit! { TypeEntry(&TypeInfo::device::<Serial>("isa-device", "a serial port, 16550A").category(Category::Input)) }

impl SerialDevice {
    /// First port and interrupt of one on the ISA bus, for firmware tables.
    pub fn isa_resources(&self) -> Option<(u16, u8)> {
        self.isa
    }
    /// Moves characters both ways as far as they go, and shows the interrupt.
    fn pump(&mut self, cx: &mut Cx<'_>) {
        // The interrupt may fall and rise again at once; an edge-triggered input must see both.
        self.irq.set(cx, self.uart.irq());
        self.uart.transmit(|byte| cx.chardev(0).is_none_or(|c| c.write(&[byte]) == 1));
        if let Some(c) = cx.chardev(0) {
            let mut buf = [0; FIFO];
            // Wants more only when it has taken some, so this ends.
            while let wanted @ 1.. = self.uart.wants() {
                let n = c.read(&mut buf[..wanted.min(FIFO)]);
                if n == 0 {
                    break;
                }
                buf[..n].iter().for_each(|&byte| self.uart.receive(byte));
            }
        }
        self.irq.set(cx, self.uart.irq());
        match self.uart.timeout_change() {
            Some(Some(ns)) => cx.arm(self.timer, cx.now().saturating_add(ns)),
            Some(None) => cx.disarm(self.timer),
            None => {}
        }
    }
}

impl Device for SerialDevice {
    fn state(&mut self) -> DeviceState<'_> {
        let Self { uart, irq: _, timer: _, isa: _ } = self;
        Saved::sound(uart, Uart::is_sound).version(1)
    }
    fn read(&mut self, cx: &mut Cx<'_>, _region: u32, offset: u64, _size: u8) -> u64 {
        let v = self.uart.read(offset as u8);
        self.pump(cx);
        v.into()
    }
    fn write(&mut self, cx: &mut Cx<'_>, _region: u32, offset: u64, _size: u8, value: u64) {
        self.uart.write(offset as u8, value as u8);
        self.pump(cx);
    }
    fn timer(&mut self, cx: &mut Cx<'_>, _tag: u32) {
        self.uart.time_out();
        self.pump(cx);
    }
    fn backend_ready(&mut self, cx: &mut Cx<'_>, _tag: u32) {
        self.pump(cx);
    }
    fn reset(&mut self, cx: &mut Cx<'_>, _kind: ResetKind) {
        self.uart = Uart::new();
        self.pump(cx);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gearbox_accel_qtest::{Bench, BenchChardev};
    use gearbox_core::board::Realized;

    struct Rig {
        b: Bench,
        port: Realized<SerialPins>,
        far: Arc<BenchChardev>,
    }

    /// Registers of COM1.
    const DATA: u16 = 0x3f8;
    const IER: u16 = 0x3f9;
    const IIR: u16 = 0x3fa;
    const FCR: u16 = 0x3fa;
    const LCR: u16 = 0x3fb;
    const MCR: u16 = 0x3fc;
    const LSR: u16 = 0x3fd;
    const MSR: u16 = 0x3fe;
    const SCR: u16 = 0x3ff;

    fn rig() -> Rig {
        let mut b = Bench::new();
        let far = Bench::chardev();
        let port = b.realize(Serial::com(0, Some(far.clone()))).unwrap();
        Rig { b, port, far }
    }
    impl Rig {
        fn irq(&self) -> bool {
            self.b.level(self.port.irq)
        }
    }

    #[test]
    fn registers_after_reset() {
        let mut r = rig();
        let all = |b: &Bench| std::array::from_fn::<u8, 8, _>(|n| b.inb(DATA + n as u16));
        assert_eq!(all(&r.b), [0, 0, 0x01, 0, 0x08, 0x60, 0xb0, 0]);
        for (port, v) in [(LCR, 0x1b), (MCR, 0xff), (SCR, 0x5a), (IER, 0xff)] {
            r.b.outb(port, v);
        }
        assert_eq!([LCR, MCR, SCR, IER].map(|p| r.b.inb(p)), [0x1b, 0x1f, 0x5a, 0x0f]);
        r.b.outb(LCR, 0x80);
        assert_eq!((r.b.inb(DATA), r.b.inb(IER)), (12, 0), "9600 baud");
        r.b.outb(DATA, 1);
        r.b.outb(IER, 2);
        r.b.outb(LCR, 0);
        assert_eq!(r.b.inb(IER), 0x0f);
        r.b.outb(LCR, 0x80);
        assert_eq!((r.b.inb(DATA), r.b.inb(IER)), (1, 2));
        r.b.reset();
        assert_eq!(all(&r.b), [0, 0, 0x01, 0, 0x08, 0x60, 0xb0, 0]);
    }

    #[test]
    fn output_reaches_the_far_end() {
        let mut r = rig();
        b"Linux".iter().for_each(|&c| r.b.outb(DATA, c));
        assert_eq!(r.far.output(), b"Linux");
        assert_eq!(r.b.inb(LSR), 0x60);
    }

    #[test]
    fn the_transmitter_interrupt_follows_the_holding_register() {
        let mut r = rig();
        r.b.outb(IER, 0x02);
        assert!(r.irq(), "empty when it is enabled");
        assert_eq!(r.b.inb(IIR), 0x02);
        assert!(!r.irq(), "told");
        r.b.watch(r.port.irq);
        r.b.outb(DATA, b'a');
        assert!(r.irq());
        r.b.outb(DATA, b'b');
        assert_eq!(r.b.edges().iter().map(|e| e.level).collect::<Vec<_>>(), [true, false, true], "each is an edge");
        r.b.outb(IER, 0x00);
        assert!(!r.irq());
    }

    #[test]
    fn a_full_far_end_holds_the_transmitter() {
        let mut r = rig();
        r.b.outb(FCR, 0x01);
        r.far.set_room(2);
        (0..19).for_each(|n| r.b.outb(DATA, n));
        assert_eq!(r.b.inb(LSR), 0, "neither register is empty");
        assert_eq!(r.far.output(), [0, 1]);
        r.b.outb(IER, 0x02);
        assert!(!r.irq());
        r.far.set_room(1);
        assert_eq!(r.b.inb(LSR), 0);
        r.far.set_room(100);
        assert_eq!(r.far.output(), (2..19).collect::<Vec<u8>>());
        assert!(r.irq());
        assert_eq!(r.b.inb(LSR), 0x60);
    }

    #[test]
    fn without_fifos_each_character_interrupts() {
        let mut r = rig();
        r.b.outb(IER, 0x01);
        r.far.type_in(b"xy");
        assert_eq!((r.irq(), r.b.inb(IIR), r.b.inb(LSR)), (true, 0x04, 0x61));
        assert_eq!(r.far.waiting(), 1);
        r.b.watch(r.port.irq);
        assert_eq!(r.b.inb(DATA), b'x');
        assert_eq!(r.b.edges().len(), 2, "down, and up for the next one");
        assert_eq!(r.b.inb(DATA), b'y');
        assert_eq!((r.irq(), r.b.inb(LSR)), (false, 0x60));
        assert_eq!(r.b.inb(DATA), b'y', "the buffer register keeps it");
    }

    #[test]
    fn the_fifo_interrupts_at_its_trigger_level() {
        for (fcr, level) in [(0x01, 1), (0x41, 4), (0x81, 8), (0xc1, 14)] {
            let mut r = rig();
            r.b.outb(FCR, fcr);
            r.b.outb(IER, 0x01);
            r.far.type_in(&vec![b'a'; level - 1]);
            assert!(!r.irq());
            r.far.type_in(b"zz");
            assert_eq!((r.irq(), r.b.inb(IIR), r.far.waiting()), (true, 0xc4, 1));
        }
    }

    #[test]
    fn characters_below_the_level_time_out() {
        let mut r = rig();
        r.b.outb(LCR, 0x83);
        r.b.outb(DATA, 1);
        r.b.outb(LCR, 0x03); // 115200 8N1: a character takes 86.8 microseconds
        r.b.outb(FCR, 0xc1);
        r.b.outb(IER, 0x01);
        r.far.type_in(b"abc");
        r.b.clock_step_ns(347_219);
        assert!(!r.irq());
        r.b.clock_step_ns(1);
        assert_eq!((r.irq(), r.b.inb(IIR)), (true, 0xcc));
        assert_eq!(r.b.inb(DATA), b'a');
        assert!(!r.irq());
        r.b.clock_step_ns(347_220);
        assert!(r.irq(), "for the two that are left");
        assert_eq!((r.b.inb(DATA), r.b.inb(DATA)), (b'b', b'c'));
        assert_eq!(r.b.deadline(), None);
    }

    #[test]
    fn saved_fifos_go_on_where_they_were() {
        let mut first = rig();
        first.b.outb(LCR, 0x83);
        first.b.outb(DATA, 1);
        first.b.outb(LCR, 0x03);
        first.b.outb(FCR, 0xc1);
        first.b.outb(IER, 0x01);
        first.far.set_room(0);
        b"out".iter().for_each(|&c| first.b.outb(DATA, c));
        first.far.type_in(b"abc");
        first.b.clock_step_ns(347_219);
        let mut second = rig();
        second.far.set_room(0);
        second.b.take_over(&first.b).unwrap();
        for r in [&mut first, &mut second] {
            assert!(!r.irq());
            r.b.clock_step_ns(1);
            assert_eq!((r.irq(), r.b.inb(IIR), r.b.inb(LSR)), (true, 0xcc, 0x01), "it times out when it would have");
            assert_eq!([0; 3].map(|_| r.b.inb(DATA)), *b"abc");
            r.far.set_room(8);
            assert_eq!((r.far.output(), r.b.inb(LSR)), (b"out".to_vec(), 0x60));
        }
    }

    #[test]
    fn four_kib_pasted_arrive_whole() {
        let mut r = rig();
        r.b.outb(FCR, 0xc7);
        r.b.outb(IER, 0x05);
        let paste: Vec<u8> = (0..4096u32).map(|n| (n * 7) as u8).collect();
        r.far.type_in(&paste);
        let mut got = Vec::new();
        while got.len() < paste.len() {
            if !r.irq() {
                r.b.clock_step();
            }
            assert!(r.irq());
            // A driver reads at most so many at a time.
            for _ in 0..300 {
                if r.b.inb(LSR) & 1 == 0 {
                    break;
                }
                got.push(r.b.inb(DATA));
            }
        }
        assert!(got == paste);
        assert_eq!(r.b.inb(LSR), 0x60);
    }

    #[test]
    fn loopback_sends_to_itself() {
        let mut r = rig();
        r.b.outb(MCR, 0x1a);
        assert_eq!(r.b.inb(MSR) & 0xf0, 0x90, "RTS and OUT2 as CTS and DCD");
        r.far.type_in(b"no");
        r.b.outb(DATA, b'!');
        assert_eq!((r.b.inb(LSR), r.b.inb(DATA)), (0x61, b'!'));
        r.b.outb(DATA, b'1');
        r.b.outb(DATA, b'2');
        assert_eq!((r.b.inb(LSR), r.b.inb(LSR)), (0x63, 0x61), "overrun, told once");
        assert_eq!(r.b.inb(DATA), b'2');
        assert_eq!(r.far.output(), b"");
        r.b.outb(MCR, 0x08);
        assert_eq!(r.b.inb(DATA), b'n');
    }

    #[test]
    fn a_full_fifo_keeps_what_it_has() {
        let mut r = rig();
        r.b.outb(FCR, 0x01);
        r.b.outb(IER, 0x04);
        r.b.outb(MCR, 0x10);
        (0..17).for_each(|n| r.b.outb(DATA, n));
        assert_eq!((r.irq(), r.b.inb(IIR)), (true, 0xc6));
        assert_eq!(r.b.inb(LSR), 0x63);
        assert!(!r.irq());
        assert_eq!([0; 16].map(|_| r.b.inb(DATA)), std::array::from_fn(|n| n as u8));
        assert_eq!(r.b.inb(LSR), 0x60);
    }

    #[test]
    fn a_break_is_told_when_it_reaches_the_top() {
        let mut r = rig();
        r.b.outb(FCR, 0x01);
        r.b.outb(MCR, 0x10);
        r.b.outb(DATA, b'a');
        r.b.outb(LCR, 0x43);
        assert_eq!(r.b.inb(LSR), 0xe1);
        assert_eq!(r.b.inb(DATA), b'a');
        assert_eq!(r.b.inb(LSR), 0x71);
        assert_eq!((r.b.inb(DATA), r.b.inb(LSR)), (0, 0x60));
    }

    #[test]
    fn modem_lines_tell_of_changes() {
        let mut r = rig();
        r.b.outb(MCR, 0x10);
        r.b.inb(MSR);
        r.b.outb(IER, 0x08);
        assert!(!r.irq());
        r.b.outb(MCR, 0x14);
        assert!(!r.irq(), "the leading edge of RI is silent");
        r.b.outb(MCR, 0x10);
        assert_eq!((r.irq(), r.b.inb(IIR), r.b.inb(MSR)), (true, 0x00, 0x04));
        assert!(!r.irq());
        r.b.outb(MCR, 0x1b);
        assert_eq!((r.b.inb(MSR), r.b.inb(MSR)), (0xbb, 0xb0));
    }

    #[test]
    fn interrupts_come_by_priority() {
        let mut r = rig();
        r.b.outb(MCR, 0x10);
        r.b.outb(DATA, 1);
        r.b.outb(DATA, 2);
        r.b.outb(IER, 0x0f);
        assert_eq!(r.b.inb(IIR), 0x06);
        r.b.inb(LSR);
        assert_eq!(r.b.inb(IIR), 0x04);
        r.b.inb(DATA);
        assert_eq!((r.b.inb(IIR), r.b.inb(IIR)), (0x02, 0x00));
        r.b.inb(MSR);
        assert_eq!((r.b.inb(IIR), r.irq()), (0x01, false));
    }

    #[test]
    fn fifos_are_emptied_when_they_are_turned_on_or_off() {
        let mut r = rig();
        r.far.type_in(b"a");
        r.b.outb(FCR, 0x01);
        assert_eq!((r.b.inb(LSR), r.b.inb(IIR)), (0x60, 0xc1));
        r.far.type_in(b"b");
        r.b.outb(FCR, 0x03);
        assert_eq!(r.b.inb(LSR), 0x60);
        r.b.outb(FCR, 0x00);
        assert_eq!(r.b.inb(IIR), 0x01);
    }

    #[test]
    fn a_port_without_a_far_end_still_works() {
        let mut b = Bench::new();
        b.realize(Serial::com(1, None)).unwrap();
        b.outb(0x2f8, b'x');
        assert_eq!(b.inb(0x2fd), 0x60);
        assert!(b.realize(Serial { iobase: Some(0xfffc), ..Serial::default() }).is_err());
    }
}
