//! The board's own rules, shown with devices of a few lines.

use super::*;
use crate::clock::ManualClock;
use crate::testing::NullMsi;
use crate::vm::CpuBus;

fn board() -> Arc<Board> {
    Board::new(Arc::new(ManualClock::new()), Arc::new(NullMsi))
}

/// One port and one output: a write drives the output to each bit of the value, lowest first.
struct Shifter {
    out: Line,
    seen: Vec<(u64, u8)>,
}
struct ShifterSpec(u16);

impl DeviceSpec for ShifterSpec {
    type Device = Shifter;
    type Pins = Line;
    const TYPE: &'static str = "test-shifter";
    fn realize(self, r: &mut Realize<'_>) -> Result<(Shifter, Line), RealizeError> {
        r.ports(0, "shifter", self.0, 4);
        let out = r.output("out");
        Ok((Shifter { out, seen: Vec::new() }, out))
    }
}

impl Device for Shifter {
    fn state(&mut self) -> DeviceState<'_> {
        let Self { out: _, seen } = self;
        Saved::of(seen).version(1)
    }
    fn read(&mut self, _: &mut Cx<'_>, _: u32, offset: u64, _: u8) -> u64 {
        0x10 + offset
    }
    fn write(&mut self, cx: &mut Cx<'_>, _: u32, offset: u64, size: u8, value: u64) {
        self.seen.push((offset, size));
        (0..8).for_each(|bit| cx.set(self.out, value >> bit & 1 != 0));
    }
}

/// Counts edges on its input, and passes the level on, inverted.
struct Counter {
    out: Line,
    timer: Timer,
    edges: Vec<(u64, bool)>,
    fired: Vec<u64>,
}
struct CounterSpec;

impl DeviceSpec for CounterSpec {
    type Device = Counter;
    type Pins = (Pins, Line);
    const TYPE: &'static str = "test-counter";
    fn realize(self, r: &mut Realize<'_>) -> Result<(Counter, (Pins, Line)), RealizeError> {
        let (pins, out, timer) = (r.inputs("in", 1), r.output("out"), r.timer(7));
        Ok((Counter { out, timer, edges: Vec::new(), fired: Vec::new() }, (pins, out)))
    }
}

impl Device for Counter {
    fn state(&mut self) -> DeviceState<'_> {
        let Self { out: _, timer: _, edges, fired } = self;
        Saved::of((edges, fired)).version(1)
    }
    fn pin(&mut self, cx: &mut Cx<'_>, index: u32, level: bool) {
        assert_eq!(index, 0);
        self.edges.push((cx.now(), level));
        cx.set(self.out, !level);
        let due = cx.now() + 100;
        cx.arm(self.timer, due);
    }
    fn timer(&mut self, cx: &mut Cx<'_>, tag: u32) {
        assert_eq!(tag, 7);
        self.fired.push(cx.now());
    }
}

#[test]
fn no_pulse_is_lost_and_lines_settle_in_order() {
    let b = board();
    let (counter, last) = b.with(|s| {
        let sh = s.realize("/s", ShifterSpec(0x100)).unwrap();
        let first = s.realize("/c1", CounterSpec).unwrap();
        let second = s.realize("/c2", CounterSpec).unwrap();
        s.connect(sh.pins, first.0.get(0));
        s.connect(first.1, second.0.get(0));
        (first.id, second.id)
    });
    b.pio_out(0x100, 1, 0b0010_0110);
    let edges = |id| b.with(|s| s.device::<Counter>(id).unwrap().edges.iter().map(|e| e.1).collect::<Vec<_>>());
    assert_eq!(edges(counter), [true, false, true, false]);
    // The inverter starts low, so its first change is the fall of its input.
    assert_eq!(edges(last), [true, false, true]);
}

#[test]
fn wide_accesses_are_split_to_what_a_region_takes() {
    let b = board();
    let id = b.with(|s| s.realize("/s", ShifterSpec(0x200)).unwrap().id);
    assert_eq!(b.pio_in(0x200, 4), 0x1312_1110);
    // The last two bytes lie beyond the device.
    assert_eq!(b.pio_in(0x202, 4), 0xffff_1312);
    b.pio_out(0x201, 2, 0);
    b.with(|s| assert_eq!(s.device::<Shifter>(id).unwrap().seen, [(1, 1), (2, 1)]));
    assert_eq!(b.pio_in(0xffff, 4), 0xffff_ffff);
}

#[test]
fn conflicts_are_told_and_leave_nothing_behind() {
    let b = board();
    b.with(|s| {
        s.realize("/first", ShifterSpec(0x300)).unwrap();
        let e = s.realize("/second", ShifterSpec(0x302)).unwrap_err();
        assert_eq!(e.to_string(), "/second (test-shifter): ports 0x302-0x305 belong to test-shifter (/first)");
        s.realize("/third", ShifterSpec(0x304)).unwrap();
        let paths: Vec<_> = s.devices().map(|(_, p, _)| p).collect();
        assert_eq!(paths, ["/first", "/third"]);
    });
    assert_eq!(b.pio_in(0x304, 1), 0x10);
}

#[test]
fn timers_fire_at_their_time_while_the_clock_is_stepped() {
    let b = board();
    let (id, pin) = b.with(|s| {
        let c = s.realize("/c", CounterSpec).unwrap();
        (c.id, c.0.get(0))
    });
    b.with(|s| s.drive(pin, true));
    assert_eq!(b.deadline(), Some(100));
    assert!(b.step_clock(99));
    b.with(|s| {
        assert!(s.device::<Counter>(id).unwrap().fired.is_empty());
        // Armed again in place of the first time.
        s.drive(pin, false);
    });
    assert!(b.step_clock(1000));
    b.with(|s| assert_eq!(s.device::<Counter>(id).unwrap().fired, [199]));
    assert_eq!(b.deadline(), None);
    assert_eq!(b.clock().now(), 1000);
}

#[test]
fn requests_are_bounded_and_come_in_order() {
    let b = board();
    for n in 0..200 {
        b.request(SystemRequest::Exit(n));
    }
    let got: Vec<_> = std::iter::from_fn(|| b.wait_request(Some(std::time::Duration::ZERO))).collect();
    assert_eq!(got.len(), Mailbox::MOST);
    assert_eq!(got[1], SystemRequest::Exit(1));
}

#[test]
fn a_tap_hears_what_reaches_a_devices_inputs() {
    let b = board();
    let heard = Arc::new(Mutex::new(Vec::new()));
    b.with(|s| {
        let sh = s.realize("/shifter", ShifterSpec(0x100)).unwrap();
        let counter = s.realize("/counter", CounterSpec).unwrap();
        s.connect(sh.pins, counter.0.get(0));
        let (first, second) = (heard.clone(), heard.clone());
        s.tap_inputs(counter.id, move |pin, level| first.lock().push((pin, level)));
        s.tap_inputs(sh.id, move |_, _| second.lock().push((99, true)));
        s.drive(counter.0.get(0), true);
    });
    b.pio_out(0x100, 1, 1);
    assert_eq!(*heard.lock(), [(0, true), (0, true), (0, false)]);
}
