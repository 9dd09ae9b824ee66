//! The whole `pc` in the qtest protocol. The answers are those of QEMU 7.2's `pc` without firmware.

use gearbox_accel_qtest::{Bench, Session};
use gearbox_core::machine::{MachineConfig, MachineType, RtcBase, RtcClock, RtcConfig};
use gearbox_machines::machine_types;

fn pc() -> &'static dyn MachineType {
    *machine_types().iter().find(|m| m.alias() == Some("pc")).expect("a pc")
}

struct Rig(Session);

impl Rig {
    fn new() -> Self {
        let rtc = RtcConfig { base: RtcBase::At(1_709_251_198), clock: RtcClock::Vm };
        let bench = Bench::of(pc(), &MachineConfig { rtc, ..MachineConfig::default() }).expect("a pc");
        Self(Session::new(bench.board().clone()))
    }
    fn ask(&mut self, line: &str) -> String {
        let mut answers = Vec::new();
        self.0.feed(format!("{line}\n").as_bytes(), &mut |l| answers.push(l.trim_end().to_owned()));
        answers.join("; ")
    }
}

#[test]
fn registers_after_power_on() {
    let mut r = Rig::new();
    for (command, answer) in [
        ("endianness", "OK little"),
        ("inb 0x60", "OK 0x0000"),
        ("inb 0x64", "OK 0x0018"),
        ("inl 0xcf8", "OK 0x0000"),
        ("outb 0x70 0x0a", "OK"),
        ("inb 0x71", "OK 0x0026"),
        ("outb 0x70 0x32", "OK"),
        ("inb 0x71", "OK 0x0020"),
        ("readl 0xfec00000", "OK 0x0000000000000000"),
        ("writel 0xfec00000 1", "OK"),
        ("readl 0xfec00010", "OK 0x0000000000170020"),
        ("outb 0x43 0xe2", "OK"),
        ("inb 0x40", "OK 0x0086"),
        ("outb 0x20 0x0a", "OK"),
        ("inb 0x20", "OK 0x0000"),
        ("inb 0x501", "OK 0x00ff"),
        ("inb 0x92", "OK 0x0000"),
        ("writel 0x1000 0x12345678", "OK"),
        ("readq 0x1000", "OK 0x0000000012345678"),
    ] {
        assert_eq!(r.ask(command), answer, "{command}");
    }
}

#[test]
fn the_timer_reaches_both_interrupt_controllers() {
    let mut r = Rig::new();
    assert_eq!(r.ask("irq_intercept_in ioapic"), "OK");
    for command in ["outb 0x43 0x30", "outb 0x40 100", "outb 0x40 0"] {
        assert_eq!(r.ask(command), "OK");
    }
    assert_eq!(r.ask("clock_step 83809"), "OK 83809");
    assert_eq!(r.ask("clock_step"), "IRQ raise 2; OK 83810");
    assert_eq!(r.ask("inb 0x20"), "OK 0x0001");
}

#[test]
fn the_clock_chip_interrupts_each_second() {
    let mut r = Rig::new();
    r.ask("irq_intercept_in ioapic");
    // The timer is held by a control word without a count.
    for command in ["outb 0x43 0x30", "outb 0x70 0x0b", "outb 0x71 0x12"] {
        assert_eq!(r.ask(command), "OK");
    }
    assert_eq!(r.ask("clock_set 1000000000"), "IRQ raise 8; OK 1000000000", "update ended");
    r.ask("outb 0x70 0x0c");
    assert_eq!(r.ask("inb 0x71"), "IRQ lower 8; OK 0x00d0");
}
