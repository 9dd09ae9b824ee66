//! The 8042 keyboard controller with a PS/2 keyboard and mouse, at ports 60h and 64h.
//!
//! Sources: IBM PS/2 Hardware Interface Technical Reference, "Keyboard and Auxiliary Device Controller"; QEMU's `i8042` for the state after
//! reset, when there is no firmware to set it up.

mod keyboard;
mod mouse;

pub use keyboard::Keyboard;
pub use mouse::Mouse;

use gearbox_core::backend::input::{InputEvent, InputKind, Key};
use gearbox_core::board::{
    Cx, Device, DeviceSpec, DeviceState, Line, Realize, RealizeError, ResetKind, Saved, SystemRequest,
};
use gearbox_core::event::ShutdownCause;
use gearbox_core::object::{TypeEntry, TypeInfo};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Status register, port 64h.
mod status {
    pub(super) const OUTPUT_FULL: u8 = 1 << 0;
    /// The self-test has passed since power-on.
    pub(super) const SYSTEM: u8 = 1 << 2;
    /// The last byte written was a command.
    pub(super) const COMMAND: u8 = 1 << 3;
    pub(super) const UNLOCKED: u8 = 1 << 4;
    pub(super) const FROM_MOUSE: u8 = 1 << 5;
}
/// Command byte.
mod mode {
    pub(super) const KEYBOARD_IRQ: u8 = 1 << 0;
    pub(super) const MOUSE_IRQ: u8 = 1 << 1;
    pub(super) const KEYBOARD_OFF: u8 = 1 << 4;
    pub(super) const MOUSE_OFF: u8 = 1 << 5;
    pub(super) const TRANSLATE: u8 = 1 << 6;
}
/// Output port P2.
mod p2 {
    /// Low resets the system.
    pub(super) const NO_RESET: u8 = 1 << 0;
    pub(super) const A20: u8 = 1 << 1;
    pub(super) const KEYBOARD_FULL: u8 = 1 << 4;
    pub(super) const MOUSE_FULL: u8 = 1 << 5;
    /// Bits that nothing is connected to.
    pub(super) const OPEN: u8 = 0xcc;
}

/// Configuration of the controller (`i8042`): it has none.
#[derive(Clone, Copy, Debug, Default)]
pub struct I8042;

/// Pins of the controller.
#[derive(Clone, Copy, Debug)]
pub struct I8042Pins {
    /// The keyboard's interrupt, 1.
    pub irq_keyboard: Line,
    /// The mouse's interrupt, 12.
    pub irq_mouse: Line,
    /// Gate of address line 20: low forces it to 0, unless another gate holds it open.
    pub a20: Line,
}

/// Whose byte is in the output buffer. The controller answers as the keyboard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum From {
    Keyboard,
    Mouse,
}

/// Where the next byte written to port 60h goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum To {
    #[default]
    Keyboard,
    Mode,
    P2,
    OutputAsKeyboard,
    OutputAsMouse,
    Mouse,
}

/// The controller and what is plugged into it.
#[derive(Debug)]
pub struct I8042Device {
    keyboard: Keyboard,
    mouse: Mouse,
    mode: u8,
    system: bool,
    command_last: bool,
    p2: u8,
    to: To,
    /// The output buffer, full as long as `full` says whose byte it holds.
    output: u8,
    full: Option<From>,
    /// The controller's own answers, which go first.
    answers: VecDeque<(u8, From)>,
    /// The keyboard has sent the break prefix, and translation waits for the code.
    breaking: bool,
    pins: I8042Pins,
}

/// Answers beyond this many are dropped: nobody reads them.
const MOST: usize = 16;
const DATA: u32 = 0;
const COMMAND: u32 = 1;

impl DeviceSpec for I8042 {
    type Device = I8042Device;
    type Pins = I8042Pins;
    const TYPE: &'static str = "i8042";

    fn realize(self, r: &mut Realize<'_>) -> Result<(I8042Device, I8042Pins), RealizeError> {
        r.ports(DATA, "i8042-data", 0x60, 1);
        r.ports(COMMAND, "i8042-cmd", 0x64, 1);
        r.hear_input(InputKind::Keyboard);
        r.hear_input(InputKind::Mouse);
        let pins = I8042Pins { irq_keyboard: r.output("irq1"), irq_mouse: r.output("irq12"), a20: r.output("a20") };
        Ok((I8042Device::new(pins), pins))
    }
}

inventory::submit! { TypeEntry(&TypeInfo::onboard::<I8042>("isa-device", "keyboard controller, 8042")) }

impl I8042Device {
    fn new(pins: I8042Pins) -> Self {
        Self {
            keyboard: Keyboard::default(),
            mouse: Mouse::default(),
            mode: mode::KEYBOARD_IRQ | mode::MOUSE_IRQ,
            system: false,
            command_last: true,
            p2: p2::NO_RESET | p2::A20 | p2::OPEN,
            to: To::Keyboard,
            output: 0,
            full: None,
            answers: VecDeque::new(),
            breaking: false,
            pins,
        }
    }
    /// The keyboard.
    pub fn keyboard(&self) -> &Keyboard {
        &self.keyboard
    }
    /// Presses or releases a key.
    pub fn key(&mut self, cx: &mut Cx<'_>, key: Key, down: bool) {
        self.keyboard.key(key, down);
        self.settle(cx);
    }
    /// Moves the mouse; see [`Mouse::moved`].
    pub fn mouse_moved(&mut self, cx: &mut Cx<'_>, right: i32, up: i32, wheel: i32, buttons: u8) {
        self.mouse.moved(right, up, wheel, buttons);
        self.settle(cx);
    }

    fn answer(&mut self, byte: u8, from: From) {
        if self.answers.len() < MOST {
            self.answers.push_back((byte, from));
        }
    }
    /// The next byte for the output buffer.
    fn next(&mut self) -> Option<(u8, From)> {
        if let Some(answer) = self.answers.pop_front() {
            return Some(answer);
        }
        while self.mode & mode::KEYBOARD_OFF == 0
            && let Some(byte) = self.keyboard.take()
        {
            if self.mode & mode::TRANSLATE == 0 {
                return Some((byte, From::Keyboard));
            }
            if byte == 0xf0 {
                self.breaking = true;
                continue;
            }
            let release = if std::mem::take(&mut self.breaking) { 0x80 } else { 0 };
            return Some((keyboard::to_set_1(byte) | release, From::Keyboard));
        }
        if self.mode & mode::MOUSE_OFF == 0 { self.mouse.take().map(|byte| (byte, From::Mouse)) } else { None }
    }
    /// Fills the output buffer if it is empty, and shows the outputs.
    fn settle(&mut self, cx: &mut Cx<'_>) {
        if self.full.is_none()
            && let Some((byte, from)) = self.next()
        {
            self.output = byte;
            self.full = Some(from);
        }
        cx.set(self.pins.irq_keyboard, self.full == Some(From::Keyboard) && self.mode & mode::KEYBOARD_IRQ != 0);
        cx.set(self.pins.irq_mouse, self.full == Some(From::Mouse) && self.mode & mode::MOUSE_IRQ != 0);
        cx.set(self.pins.a20, self.p2 & p2::A20 != 0);
    }
    fn status(&self) -> u8 {
        [
            (status::OUTPUT_FULL, self.full.is_some()),
            (status::SYSTEM, self.system),
            (status::COMMAND, self.command_last),
            (status::UNLOCKED, true),
            (status::FROM_MOUSE, self.full == Some(From::Mouse)),
        ]
        .into_iter()
        .filter(|(_, on)| *on)
        .fold(0, |v, (bit, _)| v | bit)
    }
    fn output_port(&self) -> u8 {
        let full = match self.full {
            Some(From::Keyboard) => p2::KEYBOARD_FULL,
            Some(From::Mouse) => p2::MOUSE_FULL,
            None => 0,
        };
        self.p2 & !(p2::KEYBOARD_FULL | p2::MOUSE_FULL) | full
    }
    fn set_output_port(&mut self, cx: &mut Cx<'_>, v: u8) {
        self.p2 = v;
        if v & p2::NO_RESET == 0 {
            cx.request(SystemRequest::Reset(ShutdownCause::GuestReset));
        }
    }
    /// A store to port 64h.
    fn command(&mut self, cx: &mut Cx<'_>, v: u8) {
        self.command_last = true;
        self.to = To::Keyboard;
        match v {
            0x20 => self.answer(self.mode, From::Keyboard),
            0x60 => self.to = To::Mode,
            0xa7 => self.mode |= mode::MOUSE_OFF,
            0xa8 => self.mode &= !mode::MOUSE_OFF,
            // Interface tests: no error.
            0xa9 | 0xab => self.answer(0x00, From::Keyboard),
            0xaa => {
                self.system = true;
                self.answer(0x55, From::Keyboard);
            }
            0xad => self.mode |= mode::KEYBOARD_OFF,
            0xae => self.mode &= !mode::KEYBOARD_OFF,
            // Input port: the keyboard is not locked.
            0xc0 => self.answer(0x80, From::Keyboard),
            0xd0 => self.answer(self.output_port(), From::Keyboard),
            0xd1 => self.to = To::P2,
            0xd2 => self.to = To::OutputAsKeyboard,
            0xd3 => self.to = To::OutputAsMouse,
            0xd4 => self.to = To::Mouse,
            0xdd => self.p2 &= !p2::A20,
            0xdf => self.p2 |= p2::A20,
            // Pulses of output port bits 0 to 3, low where the command's bit is: only bit 0 is connected.
            0xf0..=0xff if v & 1 == 0 => cx.request(SystemRequest::Reset(ShutdownCause::GuestReset)),
            0xf0..=0xff => {}
            _ => cx.guest_error(format_args!("8042: no command {v:#04x}")),
        }
    }
    /// A store to port 60h.
    fn data(&mut self, cx: &mut Cx<'_>, v: u8) {
        self.command_last = false;
        match std::mem::take(&mut self.to) {
            To::Keyboard => {
                // Talking to a device turns it on.
                self.mode &= !mode::KEYBOARD_OFF;
                self.breaking = false;
                self.keyboard.write(v);
            }
            To::Mouse => {
                self.mode &= !mode::MOUSE_OFF;
                self.mouse.write(v);
            }
            To::Mode => self.mode = v,
            To::P2 => self.set_output_port(cx, v),
            To::OutputAsKeyboard => self.answer(v, From::Keyboard),
            To::OutputAsMouse => self.answer(v, From::Mouse),
        }
    }
}

impl Device for I8042Device {
    fn state(&mut self) -> DeviceState<'_> {
        let Self { keyboard, mouse, mode, system, command_last, p2, to, output, full, answers, breaking, pins: _ } =
            self;
        Saved::sound(keyboard, Keyboard::is_sound)
            .and(Saved::sound(mouse, Mouse::is_sound))
            .and(Saved::sound(answers, |answers| answers.len() <= MOST))
            .and(Saved::of((mode, system, command_last, p2, to, output, full, breaking)))
            .version(1)
    }
    fn read(&mut self, cx: &mut Cx<'_>, region: u32, _offset: u64, _size: u8) -> u64 {
        if region == COMMAND {
            return self.status().into();
        }
        let v = self.output;
        if self.full.take().is_some() {
            // The interrupt falls before it rises for the next byte.
            cx.set(self.pins.irq_keyboard, false);
            cx.set(self.pins.irq_mouse, false);
            self.settle(cx);
        }
        v.into()
    }
    fn write(&mut self, cx: &mut Cx<'_>, region: u32, _offset: u64, _size: u8, value: u64) {
        if region == COMMAND {
            self.command(cx, value as u8);
        } else {
            self.data(cx, value as u8);
        }
        self.settle(cx);
    }
    fn input(&mut self, cx: &mut Cx<'_>, event: InputEvent) {
        match event {
            InputEvent::Key(key, down) => self.key(cx, key, down),
            InputEvent::Mouse { right, up, wheel, buttons } => self.mouse_moved(cx, right, up, wheel, buttons),
        }
    }
    fn reset(&mut self, cx: &mut Cx<'_>, _kind: ResetKind) {
        *self = Self::new(self.pins);
        self.settle(cx);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gearbox_accel_qtest::Bench;
    use gearbox_core::board::Realized;

    struct Rig {
        b: Bench,
        kbc: Realized<I8042Pins>,
    }
    fn rig() -> Rig {
        let mut b = Bench::new();
        let kbc = b.realize(I8042).unwrap();
        Rig { b, kbc }
    }
    impl Rig {
        fn command(&mut self, v: u8) {
            self.b.outb(0x64, v);
        }
        fn data(&mut self, v: u8) {
            self.b.outb(0x60, v);
        }
        /// Everything that comes out, with whether it was the mouse's.
        fn said(&mut self) -> Vec<(u8, bool)> {
            std::iter::from_fn(|| {
                let s = self.b.inb(0x64);
                (s & 1 != 0).then(|| (self.b.inb(0x60), s & 0x20 != 0))
            })
            .collect()
        }
        fn asked(&mut self, command: u8) -> Vec<(u8, bool)> {
            self.command(command);
            self.said()
        }
        fn key(&mut self, key: Key, down: bool) {
            let id = self.kbc.id;
            self.b.call(id, |d, cx| {
                let d: &mut dyn std::any::Any = d;
                d.downcast_mut::<I8042Device>().unwrap().key(cx, key, down);
            });
        }
    }

    #[test]
    fn commands_are_answered() {
        let mut r = rig();
        assert_eq!(r.b.inb(0x64), 0x18);
        assert_eq!(r.asked(0x20), [(0x03, false)]);
        assert_eq!(r.asked(0xaa), [(0x55, false)]);
        assert_eq!(r.b.inb(0x64), 0x1c, "self-test passed");
        assert_eq!((r.asked(0xab), r.asked(0xa9)), (vec![(0, false)], vec![(0, false)]));
        assert_eq!((r.asked(0xc0), r.asked(0xd0)), (vec![(0x80, false)], vec![(0xcf, false)]));
        r.command(0x60);
        r.data(0x65);
        assert_eq!(r.asked(0x20), [(0x65, false)]);
        assert_eq!(r.b.inb(0x60), 0x65, "the buffer keeps what was read");
    }

    #[test]
    fn keys_interrupt_and_are_translated() {
        let mut r = rig();
        r.command(0x60);
        r.data(0x41);
        r.key(Key::Plain(0x1e), true);
        assert!(r.b.level(r.kbc.irq_keyboard));
        r.key(Key::Plain(0x1e), false);
        r.key(Key::Extended(0x1d), true);
        r.b.watch(r.kbc.irq_keyboard);
        assert_eq!(r.said(), [0x1e, 0x9e, 0xe0, 0x1d].map(|c| (c, false)));
        assert_eq!(r.b.edges().len(), 7, "an edge for each byte");
        r.command(0x60);
        r.data(0x00);
        r.key(Key::Plain(0x1e), false);
        assert!(!r.b.level(r.kbc.irq_keyboard));
        assert_eq!(r.said(), [(0xf0, false), (0x1c, false)]);
    }

    #[test]
    fn the_keyboard_identifies_itself_through_the_translation() {
        let mut r = rig();
        for (mode, last) in [(0x00, 0x83), (0x40, 0x41)] {
            r.command(0x60);
            r.data(mode);
            r.data(0xf2);
            assert_eq!(r.said(), [0xfa, 0xab, last].map(|c| (c, false)));
        }
    }

    #[test]
    fn saved_queues_and_a_command_that_awaits_its_byte() {
        let mut first = rig();
        first.command(0x60);
        first.data(0x43);
        [0x1e, 0x30, 0x2e].into_iter().for_each(|code| first.key(Key::Plain(code), true));
        first.key(Key::Plain(0x1e), false);
        assert_eq!(first.b.inb(0x60), 0x1e);
        first.command(0xd4);
        let mut second = rig();
        second.b.take_over(&first.b).unwrap();
        assert!(second.b.level(second.kbc.irq_keyboard));
        second.data(0xf4);
        assert_eq!(second.said(), [(0x30, false), (0x2e, false), (0x9e, false), (0xfa, true)]);
    }

    #[test]
    fn a_disabled_keyboard_keeps_its_keys() {
        let mut r = rig();
        r.command(0xad);
        r.key(Key::Plain(0x10), true);
        assert_eq!(r.b.inb(0x64) & 1, 0);
        assert_eq!(r.asked(0x20), [(0x13, false)]);
        r.command(0xae);
        assert_eq!(r.said(), [(0x15, false)]);
    }

    #[test]
    fn the_mouse_is_on_the_second_port() {
        let mut r = rig();
        r.command(0xd4);
        r.data(0xff);
        assert!(r.b.level(r.kbc.irq_mouse) && !r.b.level(r.kbc.irq_keyboard));
        assert_eq!(r.said(), [(0xfa, true), (0xaa, true), (0x00, true)]);
        r.command(0xd3);
        r.data(0x5a);
        assert_eq!(r.said(), [(0x5a, true)], "loop-back test");
        r.command(0xd2);
        r.data(0xa5);
        assert_eq!(r.said(), [(0xa5, false)]);
        r.command(0xa7);
        assert_eq!(r.asked(0x20), [(0x23, false)]);
    }

    #[test]
    fn a20_and_reset() {
        let mut r = rig();
        assert!(r.b.level(r.kbc.a20));
        r.command(0xdd);
        assert!(!r.b.level(r.kbc.a20));
        r.command(0xdf);
        assert!(r.b.level(r.kbc.a20));
        r.command(0xd1);
        r.data(0xdd);
        assert!(!r.b.level(r.kbc.a20));
        assert_eq!(r.b.requests(), []);
        r.command(0xff);
        assert_eq!(r.b.requests(), []);
        r.command(0xfe);
        assert_eq!(r.b.requests(), [SystemRequest::Reset(ShutdownCause::GuestReset)]);
        r.command(0xd1);
        r.data(0xde);
        assert_eq!(r.b.requests(), [SystemRequest::Reset(ShutdownCause::GuestReset)]);
        r.b.reset();
        assert!(r.b.level(r.kbc.a20));
    }

    #[test]
    fn answers_that_nobody_reads_are_bounded() {
        let mut r = rig();
        (0..1000).for_each(|_| r.command(0x20));
        assert!(r.said().len() <= MOST + 1);
    }

    #[test]
    fn every_sequence_of_bytes_is_survived() {
        let mut r = rig();
        let mut x = 1u32;
        for _ in 0..20_000 {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            match x >> 29 {
                0..=2 => r.command((x >> 16) as u8),
                3..=5 => r.data((x >> 16) as u8),
                6 => r.key(Key::Plain((x >> 16) as u8), x & 0x100 != 0),
                _ => drop(r.b.inb(0x60)),
            }
        }
    }
}
