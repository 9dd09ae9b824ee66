//! A PS/2 keyboard as a value: keys and commands in, bytes out.
//!
//! Source: IBM PS/2 Hardware Interface Technical Reference, "Keyboard and Auxiliary Device Controller" and "Keyboards". Scan code set 3 is refused.
//! It does not repeat a key by itself: whoever presses it does.

use gearbox_core::backend::input::Key;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// The 8042's translation of scan code set 2 to set 1; bytes from 85h on stay as they are.
const TO_SET_1: [u8; 0x85] = [
    0xff, 0x43, 0x41, 0x3f, 0x3d, 0x3b, 0x3c, 0x58, 0x64, 0x44, 0x42, 0x40, 0x3e, 0x0f, 0x29, 0x59, //
    0x65, 0x38, 0x2a, 0x70, 0x1d, 0x10, 0x02, 0x5a, 0x66, 0x71, 0x2c, 0x1f, 0x1e, 0x11, 0x03, 0x5b, //
    0x67, 0x2e, 0x2d, 0x20, 0x12, 0x05, 0x04, 0x5c, 0x68, 0x39, 0x2f, 0x21, 0x14, 0x13, 0x06, 0x5d, //
    0x69, 0x31, 0x30, 0x23, 0x22, 0x15, 0x07, 0x5e, 0x6a, 0x72, 0x32, 0x24, 0x16, 0x08, 0x09, 0x5f, //
    0x6b, 0x33, 0x25, 0x17, 0x18, 0x0b, 0x0a, 0x60, 0x6c, 0x34, 0x35, 0x26, 0x27, 0x19, 0x0c, 0x61, //
    0x6d, 0x73, 0x28, 0x74, 0x1a, 0x0d, 0x62, 0x6e, 0x3a, 0x36, 0x1c, 0x1b, 0x75, 0x2b, 0x63, 0x76, //
    0x55, 0x56, 0x77, 0x78, 0x79, 0x7a, 0x0e, 0x7b, 0x7c, 0x4f, 0x7d, 0x4b, 0x47, 0x7e, 0x7f, 0x6f, //
    0x52, 0x53, 0x50, 0x4c, 0x4d, 0x48, 0x01, 0x45, 0x57, 0x4e, 0x51, 0x4a, 0x37, 0x49, 0x46, 0x54, //
    0x80, 0x81, 0x82, 0x41, 0x54,
];

/// Translates a byte from the keyboard, other than the break prefix F0h, as the 8042 does.
pub fn to_set_1(code: u8) -> u8 {
    TO_SET_1.get(usize::from(code)).copied().unwrap_or(code)
}

/// The set 2 code of a key by its set 1 code. F7 and SysRq have theirs at the end of the table.
fn to_set_2(code: u8) -> Option<u8> {
    TO_SET_1.iter().rposition(|&c| c == code).map(|n| n as u8)
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Set {
    One,
    #[default]
    Two,
}

/// A command that awaits its argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Awaits {
    Leds,
    ScanCodes,
    Typematic,
    /// One key code, of the commands that concern set 3 only.
    KeyCode,
}

mod reply {
    pub(super) const ACK: u8 = 0xfa;
    pub(super) const RESEND: u8 = 0xfe;
    pub(super) const ECHO: u8 = 0xee;
    pub(super) const SELF_TEST_PASSED: u8 = 0xaa;
    pub(super) const ID: [u8; 2] = [0xab, 0x83];
}

/// Power-on typematic setting: 10.9 characters a second after half a second.
const TYPEMATIC: u8 = 0x2b;
/// Keys beyond this many bytes are dropped when nobody reads.
const MOST: usize = 64;

/// The keyboard.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Keyboard {
    set: Set,
    scanning: bool,
    leds: u8,
    typematic: u8,
    awaits: Option<Awaits>,
    /// What answers the last command goes out before keys.
    replies: VecDeque<u8>,
    keys: VecDeque<u8>,
    last: u8,
}

impl Default for Keyboard {
    fn default() -> Self {
        Self {
            set: Set::Two,
            scanning: true,
            leds: 0,
            typematic: TYPEMATIC,
            awaits: None,
            replies: VecDeque::new(),
            keys: VecDeque::new(),
            last: 0,
        }
    }
}

impl Keyboard {
    /// Can a keyboard be like this?
    pub(super) fn is_sound(&self) -> bool {
        self.replies.len() <= MOST && self.keys.len() <= MOST
    }
    /// Scroll lock, num lock and caps lock in bits 0 to 2.
    pub fn leds(&self) -> u8 {
        self.leds
    }
    /// Delay and rate, as the guest set them.
    pub fn typematic(&self) -> u8 {
        self.typematic
    }
    /// The next byte to the controller.
    pub fn take(&mut self) -> Option<u8> {
        let byte = self.replies.pop_front().or_else(|| self.keys.pop_front())?;
        self.last = byte;
        Some(byte)
    }
    /// Presses or releases a key.
    pub fn key(&mut self, key: Key, down: bool) {
        if !self.scanning {
            return;
        }
        let mut bytes = Vec::with_capacity(8);
        let mut code = |prefix: Option<u8>, code: u8, down: bool| {
            bytes.extend(prefix);
            match self.set {
                Set::One => bytes.push(code | if down { 0 } else { 0x80 }),
                Set::Two => {
                    let Some(code) = to_set_2(code) else { return };
                    bytes.extend((!down).then_some(0xf0));
                    bytes.push(code);
                }
            }
        };
        match key {
            Key::Plain(c) => code(None, c & 0x7f, down),
            Key::Extended(c) => code(Some(0xe0), c & 0x7f, down),
            Key::PrintScreen if down => [0x2a, 0x37].into_iter().for_each(|c| code(Some(0xe0), c, true)),
            Key::PrintScreen => [0x37, 0x2a].into_iter().for_each(|c| code(Some(0xe0), c, false)),
            Key::Pause if down => {
                for down in [true, false] {
                    code(Some(0xe1), 0x1d, down);
                    code(None, 0x45, down);
                }
            }
            Key::Pause => {}
        }
        if self.keys.len() + bytes.len() <= MOST {
            self.keys.extend(bytes);
        }
    }
    fn defaults(&mut self) {
        self.set = Set::Two;
        self.typematic = TYPEMATIC;
        self.keys.clear();
    }
    /// A byte from the controller.
    pub fn write(&mut self, v: u8) {
        self.replies.clear();
        // A byte above the arguments' range begins a new command in place of the argument.
        match self.awaits.take() {
            Some(awaits) if v < 0xed => self.argument(awaits, v),
            _ => self.command(v),
        }
    }
    fn argument(&mut self, awaits: Awaits, v: u8) {
        let mut answer = reply::ACK;
        match awaits {
            Awaits::Leds => self.leds = v & 7,
            Awaits::Typematic => self.typematic = v & 0x7f,
            Awaits::KeyCode => {}
            Awaits::ScanCodes => match v {
                0 => {
                    self.replies.push_back(reply::ACK);
                    answer = if self.set == Set::One { 1 } else { 2 };
                }
                1 => self.set = Set::One,
                2 => self.set = Set::Two,
                _ => answer = reply::RESEND,
            },
        }
        self.replies.push_back(answer);
    }
    fn command(&mut self, v: u8) {
        let mut ack = |more: &[u8]| {
            self.replies.push_back(reply::ACK);
            self.replies.extend(more);
        };
        match v {
            0xed => {
                ack(&[]);
                self.awaits = Some(Awaits::Leds);
            }
            0xee => self.replies.push_back(reply::ECHO),
            0xf0 => {
                ack(&[]);
                self.awaits = Some(Awaits::ScanCodes);
            }
            0xf2 => ack(&reply::ID),
            0xf3 => {
                ack(&[]);
                self.awaits = Some(Awaits::Typematic);
            }
            0xf4 => {
                ack(&[]);
                self.scanning = true;
            }
            0xf5 | 0xf6 => {
                ack(&[]);
                self.defaults();
                self.scanning = v == 0xf6;
            }
            0xf7..=0xfa => ack(&[]),
            0xfb..=0xfd => {
                ack(&[]);
                self.awaits = Some(Awaits::KeyCode);
            }
            0xfe => self.replies.push_back(self.last),
            0xff => {
                ack(&[reply::SELF_TEST_PASSED]);
                self.defaults();
                self.scanning = true;
                self.leds = 0;
            }
            _ => self.replies.push_back(reply::RESEND),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(k: &mut Keyboard) -> Vec<u8> {
        std::iter::from_fn(|| k.take()).collect()
    }
    fn asked(k: &mut Keyboard, bytes: &[u8]) -> Vec<u8> {
        bytes
            .iter()
            .flat_map(|&b| {
                k.write(b);
                said(k)
            })
            .collect()
    }

    #[test]
    fn commands_are_answered() {
        let mut k = Keyboard::default();
        for (command, answer) in [
            (&[0xff][..], &[0xfa, 0xaa][..]),
            (&[0xf2], &[0xfa, 0xab, 0x83]),
            (&[0xee], &[0xee]),
            (&[0xfe], &[0xee]),
            (&[0xed, 0x05], &[0xfa, 0xfa]),
            (&[0xf3, 0x7f], &[0xfa, 0xfa]),
            (&[0xf0, 0x00], &[0xfa, 0xfa, 0x02]),
            (&[0xf0, 0x03], &[0xfa, 0xfe]),
            (&[0xfb, 0x1c], &[0xfa, 0xfa]),
            (&[0xed, 0xf4], &[0xfa, 0xfa]),
            (&[0x12], &[0xfe]),
        ] {
            assert_eq!(asked(&mut k, command), answer, "{command:x?}");
        }
        assert_eq!((k.leds(), k.typematic()), (5, 0x7f));
        asked(&mut k, &[0xf6]);
        assert_eq!((k.leds(), k.typematic()), (5, TYPEMATIC));
    }

    #[test]
    fn keys_in_both_sets() {
        let mut k = Keyboard::default();
        let strike = |k: &mut Keyboard, key| {
            k.key(key, true);
            k.key(key, false);
            said(k)
        };
        assert_eq!(strike(&mut k, Key::Plain(0x1e)), [0x1c, 0xf0, 0x1c]);
        assert_eq!(strike(&mut k, Key::Extended(0x48)), [0xe0, 0x75, 0xe0, 0xf0, 0x75]);
        assert_eq!(strike(&mut k, Key::Plain(0x41)), [0x83, 0xf0, 0x83], "F7");
        assert_eq!(strike(&mut k, Key::PrintScreen), [0xe0, 0x12, 0xe0, 0x7c, 0xe0, 0xf0, 0x7c, 0xe0, 0xf0, 0x12]);
        assert_eq!(strike(&mut k, Key::Pause), [0xe1, 0x14, 0x77, 0xe1, 0xf0, 0x14, 0xf0, 0x77]);
        asked(&mut k, &[0xf0, 0x01]);
        assert_eq!(strike(&mut k, Key::Plain(0x1e)), [0x1e, 0x9e]);
        assert_eq!(strike(&mut k, Key::Pause), [0xe1, 0x1d, 0x45, 0xe1, 0x9d, 0xc5]);
        asked(&mut k, &[0xf5]);
        assert!(strike(&mut k, Key::Plain(0x1e)).is_empty());
    }

    #[test]
    fn the_table_is_consistent() {
        for code in 1..0x59 {
            assert_eq!(to_set_2(code).map(to_set_1), Some(code));
        }
        assert_eq!((to_set_1(0xfa), to_set_1(0x83)), (0xfa, 0x41));
    }

    #[test]
    fn a_stuck_reader_costs_bounded_memory() {
        let mut k = Keyboard::default();
        for n in 0..1000u32 {
            k.key(Key::Pause, true);
            k.write(n as u8);
        }
        assert!(k.keys.len() <= MOST && k.replies.len() <= 3);
    }
}
