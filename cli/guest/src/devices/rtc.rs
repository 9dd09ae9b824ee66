//! The MC146818 real-time clock and its CMOS memory.

use crate::port::{in8, out8};
use core::fmt;

/// Register A: bit 7 update in progress; bits 3:0 rate of the periodic interrupt.
pub const A: u8 = 0x0a;
/// Register B: bit 6 periodic interrupt enable, bit 2 binary, bit 1 24 hours.
pub const B: u8 = 0x0b;
/// Register C: interrupt flags, cleared by reading.
pub const C: u8 = 0x0c;
/// Register D: bit 7 valid RAM and time.
pub const D: u8 = 0x0d;

/// Reads a register. Bit 7 of the index, which masks the NMI, is kept clear.
pub fn read(register: u8) -> u8 {
    out8(0x70, register);
    in8(0x71)
}

/// Writes a register.
pub fn write(register: u8, value: u8) {
    out8(0x70, register);
    out8(0x71, value);
}

/// A date and time of day.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct DateTime {
    year: u16,
    month: u8,
    day: u8,
    hour: u8,
    minute: u8,
    second: u8,
}

impl DateTime {
    /// The fields are those of a calendar.
    pub fn is_plausible(&self) -> bool {
        (1..=12).contains(&self.month)
            && (1..=31).contains(&self.day)
            && self.hour < 24
            && self.minute < 60
            && self.second < 60
    }
}

impl fmt::Display for DateTime {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let DateTime { year, month, day, hour, minute, second } = self;
        write!(f, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
    }
}

/// Date and time, read twice alike and not during an update. The century is in CMOS byte 32h, as PCs have it.
/// `None` if the clock does not hold still.
pub fn now() -> Option<DateTime> {
    (0..1000).find_map(|_| {
        let first = read_once()?;
        (read_once() == Some(first)).then_some(first)
    })
}

fn read_once() -> Option<DateTime> {
    if read(A) & 0x80 != 0 {
        return None;
    }
    let mode = read(B);
    let number = |value: u8| if mode & 4 != 0 { value } else { (value >> 4) * 10 + (value & 15) };
    let hours = read(4);
    let hour = match (mode & 2 != 0, number(hours & 0x7f)) {
        (true, hour) => hour,
        (false, hour) => hour % 12 + if hours & 0x80 != 0 { 12 } else { 0 },
    };
    let century = match number(read(0x32)) {
        century @ 19..=21 => century,
        _ => 20,
    };
    Some(DateTime {
        year: u16::from(century) * 100 + u16::from(number(read(9))),
        month: number(read(8)),
        day: number(read(7)),
        hour,
        minute: number(read(2)),
        second: number(read(0)),
    })
}

/// A clock answers: its valid-RAM register is neither floating nor impossible.
pub fn present() -> bool {
    read(D) & 0x7f == 0
}
