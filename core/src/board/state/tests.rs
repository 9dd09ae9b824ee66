//! Saving and loading, shown with a device of a few lines.

use super::*;
use crate::board::{Cx, Device, DeviceSpec, Line, Pins, Realize, RealizeError, Timer};
use crate::clock::ManualClock;
use crate::testing::NullMsi;
use crate::vm::CpuBus;
use std::sync::Arc;

/// A store arms the timer, which drives an ISA interrupt.
struct Alarm {
    version: u32,
    value: u8,
    index: u8,
    /// Since version 2.
    late: u16,
    fixed: [u8; 40],
    irq: Line,
    timer: Timer,
}
struct Spec {
    version: u32,
    port: u16,
}

impl DeviceSpec for Spec {
    type Device = Alarm;
    type Pins = ();
    const TYPE: &'static str = "test-alarm";
    fn realize(self, r: &mut Realize<'_>) -> Result<(Alarm, ()), RealizeError> {
        r.ports(0, "alarm", self.port, 1);
        let (irq, timer) = (r.isa_irq(3), r.timer(0));
        Ok((Alarm { version: self.version, value: 0, index: 0, late: 7, fixed: [0; 40], irq, timer }, ()))
    }
}

impl Device for Alarm {
    fn state(&mut self) -> DeviceState<'_> {
        let Self { version, value, index, late, fixed, irq: _, timer: _ } = self;
        let saved = Saved::sound((value, index, Slice(fixed)), |(_, index, _)| *index < 40);
        if *version == 1 { saved.version(1) } else { saved.since(2, late, 7).version(2) }
    }
    fn read(&mut self, cx: &mut Cx<'_>, _: u32, _: u64, _: u8) -> u64 {
        cx.set(self.irq, false);
        self.fixed[usize::from(self.index)] = self.value;
        self.value.into()
    }
    fn write(&mut self, cx: &mut Cx<'_>, _: u32, _: u64, _: u8, value: u64) {
        (self.value, self.index) = (value as u8, self.index + 1);
        cx.arm(self.timer, cx.now() + 100);
    }
    fn timer(&mut self, cx: &mut Cx<'_>, _: u32) {
        self.late += 1;
        cx.set(self.irq, true);
    }
}

/// The level of the interrupt.
struct Input(bool);
struct InputSpec;
impl DeviceSpec for InputSpec {
    type Device = Input;
    type Pins = Pins;
    const TYPE: &'static str = "test-input";
    fn realize(self, r: &mut Realize<'_>) -> Result<(Input, Pins), RealizeError> {
        Ok((Input(false), r.inputs("in", 1)))
    }
}
impl Device for Input {
    fn state(&mut self) -> DeviceState<'_> {
        Saved::of(&mut self.0).version(1)
    }
    fn pin(&mut self, _: &mut Cx<'_>, _: u32, level: bool) {
        self.0 = level;
    }
}

/// Two alarms of that version at ports 1 and 2, with one interrupt.
fn board(version: u32) -> Arc<Board> {
    let board = Board::new(Arc::new(ManualClock::new()), Arc::new(NullMsi));
    board.with(|s| {
        let input = s.realize("/input", InputSpec).unwrap();
        s.feed_isa_irq(3, input.pins.get(0));
        for port in [1, 2] {
            s.realize(&format!("/alarm{port}"), Spec { version, port }).unwrap();
        }
    });
    board
}
fn level(board: &Board) -> bool {
    board.with(|s| {
        let input = s.find("/input").unwrap();
        s.device::<Input>(input).unwrap().0
    })
}
fn late(board: &Board) -> u16 {
    board.with(|s| {
        let alarm = s.find("/alarm1").unwrap();
        s.device::<Alarm>(alarm).unwrap().late
    })
}

#[test]
fn a_loaded_board_goes_on_like_the_saved_one() {
    let first = board(2);
    first.pio_out(1, 1, 0x11);
    first.step_clock(150);
    first.pio_out(2, 1, 0x22);
    first.step_clock(170);
    assert!(level(&first));
    let bytes = first.save().unwrap().to_bytes();
    let second = board(2);
    // A state replaces whatever is there.
    second.pio_out(1, 1, 0x55);
    second.step_clock(1000);
    second.load(&SavedState::from_bytes(&bytes).unwrap()).unwrap();
    assert_eq!(second.save().unwrap().to_bytes(), bytes);
    for b in [&first, &second] {
        assert_eq!((b.clock().now(), b.next_deadline(), level(b), late(b)), (170, Some(250), true, 8));
        b.step_clock(250);
        // Both have the interrupt now.
        assert_eq!((b.pio_in(1, 1), level(b)), (0x11, true));
        assert_eq!((b.pio_in(2, 1), level(b)), (0x22, false));
    }
    assert_eq!(first.save(), second.save());
}

#[test]
fn states_of_earlier_versions_are_read_and_those_of_later_ones_refused() {
    let (old, new) = (board(1), board(2));
    old.pio_out(1, 1, 0x33);
    new.pio_out(1, 1, 0);
    new.step_clock(200);
    assert_eq!(late(&new), 8);
    new.load(&old.save().unwrap()).unwrap();
    assert_eq!((new.pio_in(1, 1), late(&new)), (0x33, 7));
    let error = old.load(&new.save().unwrap()).unwrap_err();
    assert_eq!(error.to_string(), "/alarm1: its state has version 2, and 1 is the last that is known here");
}

#[test]
fn what_does_not_fit_is_refused_by_name_and_changes_nothing() {
    let b = board(2);
    b.pio_out(2, 1, 0x44);
    let good = b.save().unwrap();
    let refused = |change: &dyn Fn(&mut SavedState)| {
        let mut state = good.clone();
        change(&mut state);
        let error = b.load(&state).unwrap_err().to_string();
        assert_eq!(b.save().unwrap(), good, "{error}");
        error
    };
    assert!(refused(&|s| _ = s.sections.remove(1)).starts_with("/alarm1: the saved state does not have it"));
    assert!(refused(&|s| s.sections[1].device = "/x".into()).starts_with("/alarm1: the saved"));
    assert!(
        refused(&|s| s.sections.push(Section { device: "/x".into(), ..s.sections[0].clone() })).starts_with("/x: ")
    );
    assert!(refused(&|s| s.sections[1].device = "/alarm2".into()).starts_with("/alarm2: the saved state has it twice"));
    assert!(refused(&|s| s.clock = u64::MAX).contains("machine time"));
    assert!(refused(&|s| s.sections[2].type_name = "x".into()).contains("it is a 'test-alarm', and was a 'x'"));
    assert!(refused(&|s| _ = s.sections[2].bytes.pop()).starts_with("/alarm2: its state makes no sense"));
    assert!(refused(&|s| s.sections[2].bytes.push(0)).contains("1 bytes too long"));
    assert!(refused(&|s| s.sections[2].version = 0).contains("version 0"));
    assert!(refused(&|s| s.sections[2].bytes[1] = 40).contains("values that it cannot have"), "no such index");
    assert!(refused(&|s| s.sections[2].bytes[2] = 39).contains("/alarm2: its state"), "another length");
    assert!(refused(&|s| s.sections[2].wiring = s.sections[0].wiring.clone()).contains("other lines"));
    assert_eq!(SavedState::from_bytes(&[2]).unwrap_err().to_string(), StateError::Format(2).to_string());
    assert!(SavedState::from_bytes(&[good.to_bytes(), vec![0]].concat()).is_err(), "something follows");
    assert!(SavedState::from_bytes(&good.to_bytes()[..20]).is_err() && SavedState::from_bytes(&[]).is_err());
}

/// A store drives the first of two lines, and arms two timers.
struct Pair {
    lines: [Line; 2],
    timers: [Timer; 2],
}
struct PairSpec;
impl DeviceSpec for PairSpec {
    type Device = Pair;
    type Pins = ();
    const TYPE: &'static str = "test-pair";
    fn realize(self, r: &mut Realize<'_>) -> Result<(Pair, ()), RealizeError> {
        r.ports(0, "pair", 9, 1);
        Ok((Pair { lines: ["one", "two"].map(|n| r.output(n)), timers: [0, 1].map(|n| r.timer(n)) }, ()))
    }
}
impl Device for Pair {
    fn state(&mut self) -> DeviceState<'_> {
        DeviceState::none()
    }
    fn write(&mut self, cx: &mut Cx<'_>, _: u32, _: u64, _: u8, _: u64) {
        cx.set(self.lines[0], true);
        self.timers.iter().zip([100, 200]).for_each(|(timer, ns)| cx.arm(*timer, ns));
    }
}

#[test]
fn what_was_on_the_board_before_makes_no_difference() {
    let [one, other] = [false, true].map(|before| {
        let b = board(2);
        b.with(|s| {
            if before {
                let spec = |port| Spec { version: 2, port };
                let ids = [3, 4].map(|n| s.realize(&format!("/{n}"), spec(n)).unwrap().id);
                ids.iter().for_each(|id| drop(s.unrealize(*id)));
                // It claims what others have, and so is not made.
                assert!(s.realize("/5", spec(1)).is_err());
            }
            s.realize("/pair", PairSpec).unwrap();
        });
        b.pio_out(9, 1, 0);
        b.save().unwrap()
    });
    assert_eq!(one, other);
}
