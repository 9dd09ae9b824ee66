//! Time of day and date as the clock's registers show them.

use time::{Date, Month, OffsetDateTime};

/// The clock's 128 bytes of registers and memory.
pub type Cmos = [u8; 128];

/// Registers of time and date; what stands between the first three are the alarm's.
pub mod reg {
    /// Seconds.
    pub const SECONDS: usize = 0x00;
    /// Minutes.
    pub const MINUTES: usize = 0x02;
    /// Hours; bit 7 is PM in 12-hour mode.
    pub const HOURS: usize = 0x04;
    /// Day of the week, Sunday being 1.
    pub const WEEKDAY: usize = 0x06;
    /// Day of the month.
    pub const DAY: usize = 0x07;
    /// Month.
    pub const MONTH: usize = 0x08;
    /// Year of the century.
    pub const YEAR: usize = 0x09;
    /// The century, where a PC keeps it.
    pub const CENTURY: usize = 0x32;
}

const DAY_SECONDS: i64 = 86_400;
const PM: u8 = 0x80;

/// How register B has numbers written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    /// Binary, not BCD.
    pub binary: bool,
    /// Hours from 0 to 23, not 1 to 12 with AM and PM.
    pub hours24: bool,
}

impl Format {
    fn encode(self, v: u8) -> u8 {
        if self.binary { v } else { ((v / 10) << 4) | (v % 10) }
    }
    fn decode(self, v: u8) -> u32 {
        u32::from(if self.binary { v } else { (v >> 4).saturating_mul(10) + (v & 0xf) })
    }
    fn encode_hour(self, hour: u8) -> u8 {
        if self.hours24 {
            return self.encode(hour);
        }
        let twelve = (hour + 11) % 12 + 1;
        self.encode(twelve) | if hour >= 12 { PM } else { 0 }
    }
    fn decode_hour(self, v: u8) -> u32 {
        if self.hours24 {
            return self.decode(v);
        }
        self.decode(v & !PM) % 12 + if v & PM != 0 { 12 } else { 0 }
    }

    /// Writes the time `secs` (seconds since 1970) to the registers.
    pub fn write(self, cmos: &mut Cmos, secs: i64) {
        let t = OffsetDateTime::from_unix_timestamp(secs).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        let year = t.year().unsigned_abs();
        for (reg, v) in [
            (reg::SECONDS, t.second()),
            (reg::MINUTES, t.minute()),
            (reg::WEEKDAY, t.weekday().number_from_sunday()),
            (reg::DAY, t.day()),
            (reg::MONTH, t.month().into()),
            (reg::YEAR, (year % 100) as u8),
            (reg::CENTURY, (year / 100) as u8),
        ] {
            cmos[reg] = self.encode(v);
        }
        cmos[reg::HOURS] = self.encode_hour(t.hour());
    }
    /// The time in the registers, in seconds since 1970. Values out of range carry over: month 13 is January of the next year.
    pub fn read(self, cmos: &Cmos) -> i64 {
        let get = |reg: usize| self.decode(cmos[reg]);
        // Month 0, which an empty register gives, is December of the year before.
        let months = (get(reg::CENTURY) * 100 + get(reg::YEAR)) * 12 + get(reg::MONTH);
        let months = months.saturating_sub(1) % (10_000 * 12);
        let month = Month::December.nth_next((months % 12 + 1) as u8);
        let first = Date::from_calendar_date((months / 12) as i32, month, 1).unwrap_or(Date::MIN);
        let days = i64::from(first.to_julian_day() - UNIX_EPOCH_JULIAN_DAY) + i64::from(get(reg::DAY)) - 1;
        let hour = self.decode_hour(cmos[reg::HOURS]);
        days * DAY_SECONDS + i64::from((hour * 60 + get(reg::MINUTES)) * 60 + get(reg::SECONDS))
    }
    /// The alarm set in the registers.
    pub fn alarm(self, cmos: &Cmos) -> Alarm {
        let field = |reg: usize, decode: fn(Self, u8) -> u32| {
            let v = cmos[reg + 1];
            // Both upper bits set: any value will do.
            (v & 0xc0 != 0xc0).then(|| decode(self, v))
        };
        Alarm {
            hour: field(reg::HOURS, Self::decode_hour),
            minute: field(reg::MINUTES, Self::decode),
            second: field(reg::SECONDS, Self::decode),
        }
    }
}

const UNIX_EPOCH_JULIAN_DAY: i32 = 2_440_588;

/// When the alarm goes off, each day; `None` stands for any value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Alarm {
    hour: Option<u32>,
    minute: Option<u32>,
    second: Option<u32>,
}

impl Alarm {
    /// The first second after `secs` at which it goes off; `None` if it never does.
    pub fn after(self, secs: i64) -> Option<i64> {
        let possible = self.hour.is_none_or(|h| h < 24)
            && self.minute.is_none_or(|m| m < 60)
            && self.second.is_none_or(|s| s < 60);
        if !possible {
            return None;
        }
        // Skips hours, then minutes, then seconds that do not match; a day holds every combination.
        let mut at = secs + 1;
        loop {
            let of_day = at.rem_euclid(DAY_SECONDS) as u32;
            let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
            if self.hour.is_some_and(|h| h != hour) {
                at += 3600 - i64::from(of_day % 3600);
            } else if self.minute.is_some_and(|m| m != minute) {
                at += 60 - i64::from(second);
            } else if self.second.is_some_and(|s| s != second) {
                at += 1;
            } else {
                return Some(at);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BCD24: Format = Format { binary: false, hours24: true };

    /// 2024-02-29 23:59:58 UTC, a Thursday.
    const LEAP: i64 = 1_709_251_198;

    fn shown(f: Format, secs: i64) -> Vec<u8> {
        let mut c = [0; 128];
        f.write(&mut c, secs);
        [reg::SECONDS, reg::MINUTES, reg::HOURS, reg::WEEKDAY, reg::DAY, reg::MONTH, reg::YEAR, reg::CENTURY]
            .map(|r| c[r])
            .to_vec()
    }

    #[test]
    fn formats() {
        assert_eq!(shown(BCD24, LEAP), [0x58, 0x59, 0x23, 0x05, 0x29, 0x02, 0x24, 0x20]);
        let f = Format { binary: true, hours24: false };
        assert_eq!(shown(f, LEAP), [58, 59, 0x80 | 11, 5, 29, 2, 24, 20]);
        assert_eq!(shown(f, LEAP + 2)[2], 12, "midnight is 12 AM");
        assert_eq!(shown(f, LEAP + 2 + 12 * 3600)[2], 0x80 | 12, "noon is 12 PM");
    }

    #[test]
    fn reading_undoes_writing() {
        for binary in [false, true] {
            for hours24 in [false, true] {
                let f = Format { binary, hours24 };
                for secs in [0, LEAP, LEAP + 2, 4_102_444_800, -2_208_988_800, 253_402_300_799] {
                    let mut c = [0; 128];
                    f.write(&mut c, secs);
                    assert_eq!(f.read(&c), secs);
                }
            }
        }
    }

    #[test]
    fn no_register_contents_are_too_wild() {
        for fill in 0..=0xff {
            for binary in [false, true] {
                for hours24 in [false, true] {
                    let f = Format { binary, hours24 };
                    let mut c = [fill; 128];
                    let secs = f.read(&c);
                    f.write(&mut c, secs);
                    f.alarm(&[fill; 128]).after(secs);
                }
            }
        }
        let mut c = [0; 128];
        BCD24.write(&mut c, LEAP);
        c[reg::MONTH] = 0x13;
        c[reg::DAY] = 0x32;
        assert_eq!(shown(BCD24, BCD24.read(&c))[4..], [0x01, 0x02, 0x25, 0x20]);
    }

    #[test]
    fn alarms() {
        let alarm = |hour, minute, second| Alarm { hour, minute, second };
        let midnight = LEAP + 2;
        assert_eq!(alarm(None, None, None).after(LEAP), Some(LEAP + 1));
        assert_eq!(alarm(Some(0), Some(0), Some(0)).after(LEAP), Some(midnight));
        assert_eq!(alarm(Some(0), Some(0), Some(0)).after(midnight), Some(midnight + 86_400));
        assert_eq!(alarm(Some(23), Some(59), Some(57)).after(LEAP), Some(LEAP - 1 + 86_400));
        assert_eq!(alarm(None, Some(30), Some(5)).after(midnight), Some(midnight + 1805));
        assert_eq!(alarm(None, None, Some(58)).after(LEAP), Some(LEAP + 60));
        assert_eq!(alarm(Some(24), None, None).after(LEAP), None);
        let mut c = [0xff; 128];
        c[reg::HOURS + 1] = 0x92;
        let f = Format { binary: false, hours24: false };
        assert_eq!(f.alarm(&c), alarm(Some(12), None, None), "12 PM");
    }
}
