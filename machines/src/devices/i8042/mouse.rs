//! A PS/2 mouse as a value: movements and commands in, bytes out. It becomes a wheel mouse (IntelliMouse) and a five-button one
//! (IntelliMouse Explorer) when the host knocks by sampling rates.
//!
//! Source: IBM PS/2 Hardware Interface Technical Reference, "Mouse".

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

const ACK: u8 = 0xfa;
const RESEND: u8 = 0xfe;
const SELF_TEST_PASSED: u8 = 0xaa;

/// Which protocol it speaks: the identifier that it gives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
enum Protocol {
    #[default]
    Standard = 0,
    Wheel = 3,
    FiveButtons = 4,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Awaits {
    Rate,
    Resolution,
}

/// Packets beyond this many bytes wait in the mouse as one movement.
const MOST: usize = 16;

/// The mouse.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Mouse {
    protocol: Protocol,
    /// The last three sampling rates, oldest first.
    rates: [u8; 3],
    resolution: u8,
    scaling: bool,
    /// Reports when asked only; echoes what it is sent.
    remote: bool,
    wrap: bool,
    reporting: bool,
    awaits: Option<Awaits>,
    replies: VecDeque<u8>,
    packets: VecDeque<u8>,
    /// Movement not yet reported: right, up, wheel towards the user.
    moved: [i32; 3],
    buttons: u8,
    changed: bool,
    last: u8,
}

impl Default for Mouse {
    fn default() -> Self {
        Self {
            protocol: Protocol::Standard,
            rates: [100; 3],
            resolution: 2,
            scaling: false,
            remote: false,
            wrap: false,
            reporting: false,
            awaits: None,
            replies: VecDeque::new(),
            packets: VecDeque::new(),
            moved: [0; 3],
            buttons: 0,
            changed: false,
            last: 0,
        }
    }
}

impl Mouse {
    /// Can a mouse be like this?
    pub(super) fn is_sound(&self) -> bool {
        self.replies.len() <= MOST && self.packets.len() <= MOST
    }
    /// The next byte to the controller.
    pub fn take(&mut self) -> Option<u8> {
        self.report();
        let byte = self.replies.pop_front().or_else(|| self.packets.pop_front())?;
        self.last = byte;
        Some(byte)
    }
    /// Moves it right and up, turns its wheel towards the user, and sets its buttons (left, right, middle, side, extra in bits 0 to 4).
    pub fn moved(&mut self, right: i32, up: i32, wheel: i32, buttons: u8) {
        for (sum, delta) in self.moved.iter_mut().zip([right, up, wheel]) {
            *sum = sum.saturating_add(delta);
        }
        self.changed |= self.buttons != buttons || self.moved != [0; 3];
        self.buttons = buttons & 0x1f;
    }
    /// Turns movements into packets, while there is room for them.
    fn report(&mut self) {
        while self.reporting && !self.remote && self.changed && self.packets.len() + 4 <= MOST {
            let packet = self.packet();
            self.packets.extend(packet);
        }
    }
    fn packet(&mut self) -> Vec<u8> {
        let mut part = |axis: usize, most: i32| {
            let v = self.moved[axis].clamp(-most, most);
            self.moved[axis] -= v;
            v
        };
        let (x, y) = (part(0, 255), part(1, 255));
        let z = part(2, if self.protocol == Protocol::FiveButtons { 7 } else { 127 });
        let signs = u8::from(x < 0) << 4 | u8::from(y < 0) << 5;
        let mut packet = vec![self.buttons & 7 | 0x08 | signs, x as u8, y as u8];
        match self.protocol {
            Protocol::Standard => self.moved[2] = 0,
            Protocol::Wheel => packet.push(z as u8),
            Protocol::FiveButtons => packet.push(z as u8 & 0x0f | (self.buttons & 0x18) << 1),
        }
        self.changed = self.moved != [0; 3];
        packet
    }
    fn status(&self) -> [u8; 3] {
        let bits = [
            (0x40, self.remote),
            (0x20, self.reporting),
            (0x10, self.scaling),
            (0x04, self.buttons & 1 != 0),
            (0x02, self.buttons & 4 != 0),
            (0x01, self.buttons & 2 != 0),
        ];
        let first = bits.into_iter().filter(|(_, on)| *on).fold(0, |v, (bit, _)| v | bit);
        [first, self.resolution, self.rates[2]]
    }
    fn defaults(&mut self) {
        *self = Self {
            protocol: self.protocol,
            buttons: self.buttons,
            replies: std::mem::take(&mut self.replies),
            last: self.last,
            ..Self::default()
        };
    }
    /// A byte from the controller.
    pub fn write(&mut self, v: u8) {
        self.replies.clear();
        if self.wrap && !matches!(v, 0xec | 0xff) {
            return self.replies.push_back(v);
        }
        match self.awaits.take() {
            Some(awaits) if v < 0xe6 => {
                self.replies.push_back(ACK);
                match awaits {
                    Awaits::Resolution => self.resolution = v & 3,
                    Awaits::Rate => self.set_rate(v),
                }
            }
            _ => self.command(v),
        }
    }
    fn set_rate(&mut self, v: u8) {
        self.rates = [self.rates[1], self.rates[2], v];
        match self.rates {
            [200, 100, 80] => self.protocol = Protocol::Wheel,
            [200, 200, 80] => self.protocol = Protocol::FiveButtons,
            _ => {}
        }
    }
    fn command(&mut self, v: u8) {
        if v == 0xfe {
            return self.replies.push_back(self.last);
        }
        if !matches!(v, 0xe6..=0xec | 0xee | 0xf0 | 0xf2..=0xf6 | 0xff) {
            return self.replies.push_back(RESEND);
        }
        self.replies.push_back(ACK);
        match v {
            0xe6 | 0xe7 => self.scaling = v == 0xe7,
            0xe8 => self.awaits = Some(Awaits::Resolution),
            0xe9 => self.replies.extend(self.status()),
            0xea => self.remote = false,
            0xeb => {
                let packet = self.packet();
                self.replies.extend(packet);
            }
            0xec | 0xee => self.wrap = v == 0xee,
            0xf0 => self.remote = true,
            0xf2 => self.replies.push_back(self.protocol as u8),
            0xf3 => self.awaits = Some(Awaits::Rate),
            0xf4 | 0xf5 => {
                self.reporting = v == 0xf4;
                self.packets.clear();
            }
            0xf6 => self.defaults(),
            _ => {
                self.defaults();
                self.protocol = Protocol::Standard;
                self.replies.extend([SELF_TEST_PASSED, Protocol::Standard as u8]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(m: &mut Mouse) -> Vec<u8> {
        std::iter::from_fn(|| m.take()).collect()
    }
    fn asked(m: &mut Mouse, bytes: &[u8]) -> Vec<u8> {
        bytes
            .iter()
            .flat_map(|&b| {
                m.write(b);
                said(m)
            })
            .collect()
    }
    fn rate(m: &mut Mouse, rates: &[u8]) {
        rates.iter().for_each(|&r| assert_eq!(asked(m, &[0xf3, r]), [ACK, ACK]));
    }

    #[test]
    fn commands_are_answered() {
        let mut m = Mouse::default();
        for (command, answer) in [
            (&[0xff][..], &[0xfa, 0xaa, 0x00][..]),
            (&[0xf2], &[0xfa, 0x00]),
            (&[0xe9], &[0xfa, 0x00, 0x02, 100]),
            (&[0xe8, 0x03], &[0xfa, 0xfa]),
            (&[0xe7], &[0xfa]),
            (&[0xf4], &[0xfa]),
            (&[0xe9], &[0xfa, 0x30, 0x03, 100]),
            (&[0xee, 0x55, 0xec], &[0xfa, 0x55, 0xfa]),
            (&[0x00], &[0xfe]),
            (&[0xf6], &[0xfa]),
            (&[0xe9], &[0xfa, 0x00, 0x02, 100]),
        ] {
            assert_eq!(asked(&mut m, command), answer, "{command:x?}");
        }
    }

    #[test]
    fn it_reports_movement_when_enabled() {
        let mut m = Mouse::default();
        m.moved(1, 1, 0, 0);
        assert!(said(&mut m).is_empty());
        asked(&mut m, &[0xf6, 0xf4]);
        m.moved(5, -3, 0, 1);
        assert_eq!(said(&mut m), [0x29, 5, 0xfd]);
        m.moved(300, 0, 9, 0);
        assert_eq!(said(&mut m), [0x08, 255, 0, 0x08, 45, 0], "in two packets; there is no wheel");
        m.moved(0, 0, 0, 0);
        assert!(said(&mut m).is_empty());
    }

    #[test]
    fn knocking_gives_it_a_wheel_and_more_buttons() {
        let mut m = Mouse::default();
        rate(&mut m, &[200, 100, 80]);
        assert_eq!(asked(&mut m, &[0xf2]), [ACK, 3]);
        asked(&mut m, &[0xf4]);
        m.moved(0, 0, -1, 0);
        assert_eq!(said(&mut m), [0x08, 0, 0, 0xff]);
        rate(&mut m, &[200, 200, 80]);
        assert_eq!(asked(&mut m, &[0xf2]), [ACK, 4]);
        m.moved(0, 0, 1, 0x18);
        assert_eq!(said(&mut m), [0x08, 0, 0, 0x31]);
        asked(&mut m, &[0xff]);
        assert_eq!(asked(&mut m, &[0xf2]), [ACK, 0]);
    }

    #[test]
    fn in_remote_mode_it_is_asked() {
        let mut m = Mouse::default();
        asked(&mut m, &[0xf4, 0xf0]);
        m.moved(2, 0, 0, 0);
        assert!(said(&mut m).is_empty());
        assert_eq!(asked(&mut m, &[0xeb]), [ACK, 0x08, 2, 0]);
    }

    #[test]
    fn wild_movements_end() {
        let mut m = Mouse::default();
        asked(&mut m, &[0xf4]);
        for _ in 0..3 {
            m.moved(i32::MAX, i32::MIN, i32::MAX, 0xff);
        }
        assert!((0..100).all(|_| m.take().is_some()));
        assert!(m.packets.len() <= MOST);
    }
}
