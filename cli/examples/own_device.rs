//! A device in one file: an ISA card that interrupts at a steady beat. It can be asked for wherever devices are named: `-device help`, `-device isa-beat`,
//! `device_add`, [`VmBuilder::device`](gearbox::testing::VmBuilder::device).
//!
//! `cargo run --example own_device`

use gearbox::board::{Cx, Device, DeviceSpec, DeviceState, Line, Realize, RealizeError, ResetKind, Saved, Timer};
use gearbox::testing::Vm;
use gearbox_core::object::{Property, TypeEntry, TypeInfo};
use gearbox_core::property;

// ANCHOR: device
/// The card before it is realized: its properties and their defaults.
struct Beat {
    iobase: u16,
    irq: u8,
    period_us: u32,
}

impl Default for Beat {
    fn default() -> Self {
        Self { iobase: 0x330, irq: 5, period_us: 1000 }
    }
}

/// The card: a port that reads as the number of beats since the last read, which ends the interrupt. A write of 0 stops it, of anything else starts it.
struct BeatDevice {
    irq: Line,
    timer: Timer,
    period: u64,
    beats: u8,
}

inventory::submit! { TypeEntry(&TypeInfo::device::<Beat>("isa-device", "interrupts at a steady beat")) }

impl DeviceSpec for Beat {
    type Device = BeatDevice;
    type Pins = ();
    const TYPE: &'static str = "isa-beat";
    const PROPERTIES: &'static [&'static [Property<Self>]] = &[&[
        property!("iobase", u16, iobase, "the port"),
        property!("irq", u8, irq, "the interrupt"),
        property!("period", u32, period_us, "time between two beats in microseconds"),
    ]];

    fn realize(self, r: &mut Realize<'_>) -> Result<(BeatDevice, ()), RealizeError> {
        if self.period_us == 0 {
            return Err(r.property_error("period", "no time is left between two beats"));
        }
        r.ports(0, "isa-beat", self.iobase, 1);
        let (irq, timer) = (r.isa_irq(self.irq), r.timer(0));
        Ok((BeatDevice { irq, timer, period: u64::from(self.period_us) * 1000, beats: 0 }, ()))
    }
}

impl Device for BeatDevice {
    fn state(&mut self) -> DeviceState<'_> {
        let Self { irq: _, timer: _, period: _, beats } = self;
        Saved::of(beats).version(1)
    }
    fn read(&mut self, cx: &mut Cx<'_>, _region: u32, _offset: u64, _size: u8) -> u64 {
        cx.set(self.irq, false);
        std::mem::take(&mut self.beats).into()
    }
    fn write(&mut self, cx: &mut Cx<'_>, _region: u32, _offset: u64, _size: u8, value: u64) {
        match value {
            0 => cx.disarm(self.timer),
            _ => cx.arm(self.timer, cx.now() + self.period),
        }
    }
    fn timer(&mut self, cx: &mut Cx<'_>, _tag: u32) {
        self.beats = self.beats.saturating_add(1);
        cx.set(self.irq, true);
        cx.arm(self.timer, cx.now() + self.period);
    }
    fn reset(&mut self, cx: &mut Cx<'_>, _kind: ResetKind) {
        self.beats = 0;
        cx.disarm(self.timer);
        cx.set(self.irq, false);
    }
}
// ANCHOR_END: device

/// What runs.
pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    // ANCHOR: use
    let mut pc = Vm::pc().device("isa-beat,id=b,irq=7,period=2000").bench()?;
    pc.outb(0x330, 1);
    pc.clock_step_ns(7_000_000);
    // The 8259A has seen interrupt 7, and the card counts three beats in 7 ms.
    pc.outb(0x20, 0x0a);
    assert_eq!(pc.inb(0x20) & 0x80, 0x80);
    assert_eq!(pc.inb(0x330), 3);
    assert_eq!(pc.inb(0x330), 0);

    // What is wrong is told by name.
    let refused = Vm::pc().device("isa-beat,perod=1").bench().err().expect("no such property").to_string();
    assert!(refused.contains("perod"), "{refused}");
    // ANCHOR_END: use
    println!("three beats; and: {refused}");
    Ok(())
}
