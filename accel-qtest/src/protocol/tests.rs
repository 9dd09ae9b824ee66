//! The protocol on a board with a timer and two chips of a few lines.

use super::*;
use crate::Bench;
use gearbox_core::board::{Cx, Device, DeviceSpec, DeviceState, Line, Pins, Realize, RealizeError, Saved, Timer};
use gearbox_core::clock::HostClock;

/// Port 300h: a store of `n` raises the output `n` ns later, and a load lowers it and gives what was stored. Its two inputs are echoed in
/// bits 6 and 7 of port 304h.
struct Alarm {
    value: u64,
    inputs: u64,
    out: Line,
    timer: Timer,
}
struct AlarmSpec;

impl DeviceSpec for AlarmSpec {
    type Device = Alarm;
    type Pins = (Line, Pins);
    const TYPE: &'static str = "test-alarm";
    fn realize(self, r: &mut Realize<'_>) -> Result<(Alarm, (Line, Pins)), RealizeError> {
        r.ports_wide(0, "alarm", 0x300, 8, 4);
        let (out, pins, timer) = (r.output("alarm"), r.inputs("in", 2), r.timer(0));
        Ok((Alarm { value: 0, inputs: 0, out, timer }, (out, pins)))
    }
}
impl Device for Alarm {
    fn state(&mut self) -> DeviceState<'_> {
        let Self { value, inputs, out: _, timer: _ } = self;
        Saved::of((value, inputs)).version(1)
    }
    fn read(&mut self, cx: &mut Cx<'_>, _: u32, offset: u64, _: u8) -> u64 {
        if offset == 4 {
            return self.inputs;
        }
        cx.set(self.out, false);
        self.value
    }
    fn write(&mut self, cx: &mut Cx<'_>, _: u32, _: u64, _: u8, value: u64) {
        self.value = value;
        cx.arm(self.timer, cx.now() + value);
    }
    fn pin(&mut self, _: &mut Cx<'_>, index: u32, level: bool) {
        self.inputs = self.inputs & !(0x40 << index) | u64::from(level) << (6 + index);
    }
    fn timer(&mut self, cx: &mut Cx<'_>, _: u32) {
        cx.set(self.out, true);
    }
}

struct Rig {
    session: Session,
}

impl Rig {
    fn new() -> Self {
        let bench = Bench::with_ram(0x1_0000);
        bench.with(|s| {
            let first = s.realize("/machine/unattached/first", AlarmSpec).unwrap();
            let second = s.realize("/machine/pc/second", Wide).unwrap();
            s.connect(first.0, second.get(1));
        });
        Self { session: Session::new(bench.board().clone()) }
    }
    fn ask(&mut self, line: &str) -> String {
        let mut answers = Vec::new();
        self.session.feed(format!("{line}\n").as_bytes(), &mut |l| answers.push(l.trim_end().to_owned()));
        answers.join("; ")
    }
}

/// Inputs only.
struct Wide;
impl DeviceSpec for Wide {
    type Device = Self;
    type Pins = Pins;
    const TYPE: &'static str = "test-wide";
    fn realize(self, r: &mut Realize<'_>) -> Result<(Self, Pins), RealizeError> {
        let pins = r.inputs("in", 4);
        Ok((Self, pins))
    }
}
impl Device for Wide {
    fn state(&mut self) -> DeviceState<'_> {
        DeviceState::none()
    }
}

#[test]
fn numbers_are_as_in_c() {
    for (text, value) in [
        ("0", Some(0)),
        ("10", Some(10)),
        ("0x1F", Some(31)),
        ("0X10", Some(16)),
        ("017", Some(15)),
        ("-1", Some(u64::MAX)),
        ("+5", Some(5)),
        ("0xffffffffffffffff", Some(u64::MAX)),
        ("0x10000000000000000", None),
        ("", None),
        ("08", None),
        ("0x", None),
        ("--1", None),
        ("0x+1", None),
        ("1x", None),
    ] {
        assert_eq!(number(text), value, "{text}");
    }
}

#[test]
fn memory() {
    let mut r = Rig::new();
    for (command, answer) in [
        ("endianness", "OK little"),
        ("writel 0x1000 0x12345678", "OK"),
        ("readq 0x1000", "OK 0x0000000012345678"),
        ("readw 0x1001", "OK 0x0000000000003456"),
        ("writeb 4096 255", "OK"),
        ("read 0x1000 4", "OK 0xff563412"),
        ("b64read 0x1000 4", "OK /1Y0Eg=="),
        ("b64write 0x1000 4 AQIDBA==", "OK"),
        ("read 0x1000 4", "OK 0x01020304"),
        ("b64write 0x1000 2 //////8=", "OK"),
        ("read 0x1000 4", "OK 0xffff0304"),
        ("memset 0x1000 3 0x5a", "OK"),
        ("read 0x1000 4", "OK 0x5a5a5a04"),
        ("write 0x1000 4 0x0102", "OK"),
        ("read 0x1000 4", "OK 0x01020000"),
        ("write 0x1000 2 0xa0B0c0", "OK"),
        ("read 0x1000 3", "OK 0xa0b000"),
        ("writeq 0xfffc -1", "OK"),
        ("readq 0xfffc", "OK 0xffffffffffffffff"),
        ("write 0x1000 4 0x", "ERR invalid argument size"),
        ("read 0x1000 0", "FAIL the size is 0"),
        ("read 0 0x1000001", "FAIL the size is above 0x1000000"),
        ("memset 0 0x100000001 0", "FAIL the size is above 0x100000000"),
        ("b64write 0x1000 4 !", "FAIL base64: Invalid symbol 33, offset 0."),
    ] {
        assert_eq!(r.ask(command), answer, "{command}");
    }
}

#[test]
fn ports() {
    let mut r = Rig::new();
    for (command, answer) in [
        ("outl 0x300 0x89abcdef", "OK"),
        ("inl 0x300", "OK 0x89abcdef"),
        ("inw 0x300", "OK 0xcdef"),
        ("inb 0x300", "OK 0x00ef"),
        ("inb 0x80", "OK 0x00ff"),
        ("outb 0x10000 0", "FAIL no port 0x10000"),
        ("outb 0x80", "FAIL outb needs 2 arguments"),
        ("outb x 0", "FAIL 'x' is not a number"),
    ] {
        assert_eq!(r.ask(command), answer, "{command}");
    }
}

#[test]
fn what_is_not_known_is_refused() {
    let mut r = Rig::new();
    for (command, answer) in [
        ("foo bar", "FAIL Unknown command 'foo'"),
        ("rtas start-cpu 1 0 0 0 0", "FAIL Unknown command 'rtas'"),
        ("module_load net i82551", "FAIL"),
        ("", "FAIL Unknown command ''"),
        ("irq_intercept_in nobody", "FAIL Unknown device"),
        ("set_irq_in second in 4 1", "FAIL Unknown input 'in' 4"),
        ("set_irq_in second out 0 1", "FAIL Unknown input 'out' 0"),
    ] {
        assert_eq!(r.ask(command), answer, "{command}");
    }
}

#[test]
fn the_clock_moves_from_timer_to_timer() {
    let mut r = Rig::new();
    assert_eq!(r.ask("clock_step"), "OK 0");
    assert_eq!(r.ask("clock_step 10"), "OK 10");
    assert_eq!(r.ask("outl 0x300 100"), "OK");
    assert_eq!(r.ask("clock_step"), "OK 110");
    assert_eq!(r.ask("clock_set 0x100"), "OK 256");
    assert_eq!(r.ask("clock_set 5"), "OK 256", "it does not go back");
    assert_eq!(r.ask("clock_step -1"), "OK 9223372036854775807");
}

#[test]
fn a_clock_of_the_host_is_not_moved() {
    let messages = Arc::new(crate::Messages::new());
    let board = Board::new(Arc::new(HostClock::new()), messages);
    let mut r = Rig { session: Session::new(board) };
    for command in ["clock_step", "clock_step 5", "clock_set 5"] {
        assert_eq!(r.ask(command), "FAIL the clock of this machine is not moved by hand; use -accel qtest");
    }
}

#[test]
fn interrupts_come_before_the_answer() {
    for (side, n) in [("irq_intercept_in second", 1), ("irq_intercept_out /machine/unattached/first", 0)] {
        let mut r = Rig::new();
        assert_eq!(r.ask(side), "OK");
        assert_eq!(r.ask(side), "OK");
        assert_eq!(r.ask("irq_intercept_in first; in"), "FAIL Unknown device");
        r.ask("outl 0x300 1000");
        assert_eq!(r.ask("clock_step 999"), "OK 999");
        assert_eq!(r.ask("clock_step 1"), format!("IRQ raise {n}; OK 1000"));
        assert_eq!(r.ask("inb 0x300"), format!("IRQ lower {n}; OK 0x00e8"));
        assert_eq!(r.ask("inb 0x300"), "OK 0x00e8");
    }
}

#[test]
fn only_one_device_is_intercepted() {
    let mut r = Rig::new();
    assert_eq!(r.ask("irq_intercept_in second"), "OK");
    assert_eq!(r.ask("irq_intercept_out first"), "FAIL IRQ intercept already enabled");
}

#[test]
fn inputs_are_driven() {
    let mut r = Rig::new();
    assert_eq!(r.ask("irq_intercept_in first"), "OK");
    assert_eq!(r.ask("set_irq_in first unnamed-gpio-in 1 1"), "IRQ raise 1; OK");
    assert_eq!(r.ask("set_irq_in /machine/unattached/first in 0 1"), "IRQ raise 0; OK");
    assert_eq!(r.ask("set_irq_in first in 0 1"), "OK", "no change");
    assert_eq!(r.ask("inb 0x304"), "OK 0x00c0", "the device sees them too");
}

#[test]
fn lines_may_come_in_any_pieces_and_of_any_kind() {
    let mut r = Rig::new();
    let text = b"writel 0x10 0x1234\r\nreadl 0x10\nendianness\n\xff\xfe\x00\n";
    for piece in 1..text.len() {
        let mut answers = String::new();
        for bytes in text.chunks(piece) {
            r.session.feed(bytes, &mut |l| answers.push_str(l));
        }
        assert_eq!(
            answers, "OK\nOK 0x0000000000001234\nOK little\nFAIL Unknown command '\u{fffd}\u{fffd}\0'\n",
            "in pieces of {piece}"
        );
    }
}

#[test]
fn a_line_without_end_costs_bounded_memory() {
    let mut r = Rig::new();
    let mut answers = String::new();
    let chunk = vec![b'a'; 1 << 20];
    for _ in 0..40 {
        r.session.feed(&chunk, &mut |l| answers.push_str(l));
        assert!(r.session.line.len() <= MOST_LINE);
    }
    r.session.feed(b"\nendianness\n", &mut |l| answers.push_str(l));
    assert_eq!(answers, "FAIL the line is too long\nOK little\n");
}

#[test]
fn both_directions_are_logged() {
    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);
    impl Write for Shared {
        fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(buf);
            Ok(buf.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let log = Shared::default();
    let mut r = Rig::new();
    r.session = Session::new(r.session.board.clone()).log(Box::new(log.clone()));
    r.ask("inb 0x80");
    let text = String::from_utf8(log.0.lock().clone()).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].starts_with("[R +0.0") && lines[0].ends_with("] inb 0x80"), "{text}");
    assert!(lines[1].starts_with("[S +0.0") && lines[1].ends_with("] OK 0x00ff"), "{text}");
}
