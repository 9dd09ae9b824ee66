//! Which access raises which interrupt, seen at the inputs of the I/O APIC and in the 8259A.

use super::reading::Readings;
use gearbox::testing::{Devfn, Io, Pci, Process};
use serde_json::json;
use std::time::Duration;

/// A write to a port, or a read from one.
pub enum Step {
    Out(u16, u8),
    In(u16),
}
use Step::{In, Out};

/// What is done, step by step, to a machine that was just made.
pub struct Sequence {
    /// The first word of its readings.
    pub name: &'static str,
    steps: &'static [Step],
}

/// All of them.
pub const SEQUENCES: &[Sequence] = &[
    Sequence { name: "uart-irq", steps: UART },
    Sequence { name: "keyboard", steps: KEYBOARD },
    Sequence { name: "mouse", steps: MOUSE },
    Sequence { name: "pic-irq", steps: PIC },
];

/// 16550A: transmitter empty, then data received in loopback.
const UART: &[Step] = &[
    Out(0x3fc, 0x08),
    Out(0x3f9, 0x02),
    In(0x3fa),
    In(0x3fa),
    Out(0x3f9, 0x00),
    Out(0x3fc, 0x18),
    Out(0x3f9, 0x01),
    Out(0x3f8, 0x41),
    In(0x3fa),
    In(0x3fd),
    In(0x3f8),
    In(0x3fd),
    In(0x3fa),
    Out(0x3f9, 0x00),
    Out(0x3fc, 0x00),
];

/// 8042 and keyboard: the controller's own bytes, then echo, identification and reset of the keyboard.
const KEYBOARD: &[Step] = &[
    Out(0x64, 0x60),
    Out(0x60, 0x01),
    Out(0x64, 0xd2),
    Out(0x60, 0x55),
    In(0x64),
    In(0x60),
    In(0x64),
    Out(0x60, 0xee),
    In(0x64),
    In(0x60),
    Out(0x60, 0xf2),
    In(0x60),
    In(0x60),
    In(0x60),
    In(0x64),
    Out(0x60, 0xed),
    In(0x60),
    Out(0x60, 0x07),
    In(0x60),
    Out(0x60, 0xff),
    In(0x60),
    In(0x60),
    In(0x64),
];

/// The mouse behind the 8042: identification, status, reset.
const MOUSE: &[Step] = &[
    Out(0x64, 0xa8),
    Out(0x64, 0x60),
    Out(0x60, 0x02),
    Out(0x64, 0xd3),
    Out(0x60, 0x99),
    In(0x64),
    In(0x60),
    Out(0x64, 0xd4),
    Out(0x60, 0xf2),
    In(0x64),
    In(0x60),
    In(0x60),
    Out(0x64, 0xd4),
    Out(0x60, 0xe9),
    In(0x60),
    In(0x60),
    In(0x60),
    In(0x60),
    Out(0x64, 0xd4),
    Out(0x60, 0xff),
    In(0x60),
    In(0x60),
    In(0x60),
    In(0x64),
];

/// 8259A: requests that wait, poll mode, specific end of interrupt; a UART's interrupt is the request.
const PIC: &[Step] = &[
    Out(0x20, 0x11),
    Out(0x21, 0x20),
    Out(0x21, 0x04),
    Out(0x21, 0x01),
    Out(0x21, 0x00),
    Out(0x3fc, 0x08),
    Out(0x3f9, 0x02),
    Out(0x20, 0x0a),
    In(0x20),
    Out(0x20, 0x0c),
    In(0x20),
    Out(0x20, 0x0b),
    In(0x20),
    Out(0x20, 0x64),
    In(0x20),
    In(0x3fa),
    Out(0x20, 0x0a),
    In(0x20),
    Out(0x20, 0x0c),
    In(0x20),
    Out(0x3f9, 0x00),
];

/// Runs a sequence, noting after each step what was read and which inputs of the I/O APIC changed.
pub fn run(sequence: &Sequence, p: &mut Process, r: &mut Readings) {
    let q = p.qtest();
    q.irq_intercept_in("ioapic").expect("an I/O APIC");
    for (n, step) in sequence.steps.iter().enumerate() {
        let (did, value) = match *step {
            Out(port, value) => {
                q.outb(port, value);
                (format!("out {port:#x} {value:#x}"), String::new())
            }
            In(port) => (format!("in {port:#x}"), format!("{:#x} ", q.inb(port))),
        };
        let irqs: Vec<_> = q.take_irqs().iter().map(|i| (i.line, u8::from(i.level))).collect();
        r.note(format!("{} {n:02} {did}", sequence.name), format!("{value}{irqs:?}"));
    }
}

/// The power button: system control interrupt, status register, event.
pub fn power_button(p: &mut Process, r: &mut Readings) {
    const PM: Devfn = Devfn::new(1, 3);
    const PORTS: u16 = 0x600;
    const ENABLE_BUTTON: u16 = 1 << 8;
    let q = p.qtest();
    q.irq_intercept_in("ioapic").expect("an I/O APIC");
    let mut pci = Pci::of(q);
    pci.write32(PM, 0x40, u32::from(PORTS) | 1);
    pci.write8(PM, 0x80, 1);
    q.outw(PORTS + 2, ENABLE_BUTTON);
    r.number("button PM1 status before", q.inw(PORTS));
    let pressed = p.qmp().execute("system_powerdown", json!({})).expect("system_powerdown");
    r.note("button answer", pressed.to_string());
    let event = p.qmp().event("POWERDOWN", Duration::from_secs(20));
    r.note("button event", format!("{:?}", event.map(|e| e.get("data").cloned()).ok()));
    let q = p.qtest();
    r.number("button PM1 status after", q.inw(PORTS));
    q.outw(PORTS, ENABLE_BUTTON);
    r.number("button PM1 status cleared", q.inw(PORTS));
    let irqs: Vec<_> = q.take_irqs().iter().map(|i| (i.line, u8::from(i.level))).collect();
    r.note("button lines", format!("{irqs:?}"));
}
