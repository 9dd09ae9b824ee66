//! ACPI fixed hardware: the PM1 event and control registers and the power management timer (ACPI 6.4, 4.8.3), and a block of
//! general-purpose events (4.8.4). Plain values, free of bus and interrupt.

use gearbox_core::clock::{ns_to_ticks, ticks_to_ns};
use serde::{Deserialize, Serialize};

/// Frequency of the power management timer in Hz (ACPI 6.4, 4.8.3.3).
pub const TIMER_HZ: u64 = 3_579_545;
/// Bits of the timer that the guest sees.
const TIMER_BITS: u32 = 24;

/// Bits of the PM1 status and enable registers (ACPI 6.4, tables 4.11 and 4.12).
pub mod event {
    #![allow(missing_docs)]
    pub const TIMER: u16 = 1 << 0;
    pub const GLOBAL: u16 = 1 << 5;
    pub const POWER_BUTTON: u16 = 1 << 8;
    pub const RTC: u16 = 1 << 10;
    /// Those that can raise an SCI.
    pub const SCI: u16 = TIMER | GLOBAL | POWER_BUTTON | RTC;
}

/// Bits of the PM1 control register (ACPI 6.4, table 4.13).
pub mod control {
    #![allow(missing_docs)]
    pub const SCI_ENABLE: u16 = 1 << 0;
    pub const SLEEP_TYPE_SHIFT: u16 = 10;
    pub const SLEEP_ENABLE: u16 = 1 << 13;
}

/// The PM1 registers and the timer behind their lowest event.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Pm1 {
    status: u16,
    enable: u16,
    control: u16,
    /// Timer tick from which on the timer status bit is set. Like QEMU's, it is 0 after reset, so that the bit is set until the
    /// guest first clears it.
    overflow: u64,
}

/// Puts the bytes of `value` that an access of `size` bytes at `offset` (0 or 1) reaches into `old`.
fn merge(old: u16, offset: u64, size: u8, value: u64) -> u16 {
    let mask = if size >= 2 { 0xffff } else { 0xff_u16 << (8 * (offset & 1)) };
    let value = (value as u16) << (8 * (offset & 1));
    old & !mask | value & mask
}

impl Pm1 {
    fn ticks(now: u64) -> u64 {
        ns_to_ticks(now, TIMER_HZ)
    }
    /// PM_TMR at machine time `now`.
    pub fn timer(&self, now: u64) -> u32 {
        (Self::ticks(now) & ((1 << TIMER_BITS) - 1)) as u32
    }
    /// PM1_STS.
    pub fn status(&self, now: u64) -> u16 {
        self.status | if Self::ticks(now) >= self.overflow { event::TIMER } else { 0 }
    }
    /// PM1_EN.
    pub fn enable(&self) -> u16 {
        self.enable
    }
    /// PM1_CNT.
    pub fn control(&self) -> u16 {
        self.control
    }
    /// Reads the event block: status at 0, enable at 2.
    pub fn read_event(&self, now: u64, offset: u64) -> u16 {
        let both = u32::from(self.status(now)) | u32::from(self.enable) << 16;
        (both >> (8 * (offset & 3))) as u16
    }
    /// Writes the event block.
    pub fn write_event(&mut self, now: u64, offset: u64, size: u8, value: u64) {
        if offset >= 2 {
            self.enable = merge(self.enable, offset, size, value);
            return;
        }
        let clear = merge(0, offset, size, value);
        if clear & self.status(now) & event::TIMER != 0 {
            // Set again when the highest bit of the timer changes.
            let half = 1 << (TIMER_BITS - 1);
            self.overflow = (Self::ticks(now) + half) & !(half - 1);
        }
        self.status &= !clear;
    }
    /// Writes PM1_CNT. Gives the sleep type when the guest asks to sleep.
    pub fn write_control(&mut self, offset: u64, size: u8, value: u64) -> Option<u8> {
        let value = merge(self.control, offset, size, value);
        self.control = value & !control::SLEEP_ENABLE;
        (value & control::SLEEP_ENABLE != 0).then_some((value >> control::SLEEP_TYPE_SHIFT & 7) as u8)
    }
    /// Sets SCI_EN, as firmware's handler of the ACPI enable port does.
    pub fn set_sci_enable(&mut self, on: bool) {
        self.control = self.control & !control::SCI_ENABLE | if on { control::SCI_ENABLE } else { 0 };
    }
    /// An event of the fixed hardware that sets its status bit only while it is enabled.
    pub fn raise(&mut self, event: u16) {
        self.status |= event & self.enable;
    }
    /// Is there an event for the system control interrupt?
    pub fn sci(&self, now: u64) -> bool {
        self.status(now) & self.enable & event::SCI != 0
    }
    /// When the timer will raise the next SCI.
    pub fn deadline(&self, now: u64) -> Option<u64> {
        let waits = self.enable & event::TIMER != 0 && self.status(now) & event::TIMER == 0;
        waits.then(|| ticks_to_ns(self.overflow, TIMER_HZ))
    }
}

/// A block of 16 general-purpose events: status (cleared by 1) in bytes 0 and 1, enable in bytes 2 and 3.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct GpeBlock {
    status: u16,
    enable: u16,
}

impl GpeBlock {
    /// Reads one byte.
    pub fn read(&self, offset: u64) -> u8 {
        let both = u32::from(self.status) | u32::from(self.enable) << 16;
        (both >> (8 * (offset & 3))) as u8
    }
    /// Writes one byte.
    pub fn write(&mut self, offset: u64, value: u8) {
        match offset {
            0 | 1 => self.status &= !merge(0, offset, 1, value.into()),
            _ => self.enable = merge(self.enable, offset, 1, value.into()),
        }
    }
    /// Sets the status of event `n`.
    pub fn raise(&mut self, n: u8) {
        self.status |= 1 << (n & 15);
    }
    /// Is an enabled event set?
    pub fn sci(&self) -> bool {
        self.status & self.enable != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timer_status_sets_at_each_change_of_the_top_bit() {
        let mut p = Pm1::default();
        assert_eq!(p.status(0), event::TIMER);
        p.write_event(0, 0, 2, 1);
        assert_eq!(p.status(0), 0);
        assert_eq!(p.deadline(0), None);
        p.write_event(0, 2, 2, 1);
        let due = p.deadline(0).unwrap();
        assert_eq!(ns_to_ticks(due, TIMER_HZ), 1 << 23);
        assert!(!p.sci(due - 1));
        assert!(p.sci(due));
        assert_eq!(p.timer(due), 1 << 23);
        p.write_event(due, 0, 1, 1);
        assert_eq!(p.deadline(due), Some(ticks_to_ns(1 << 24, TIMER_HZ)));
        assert_eq!(p.timer(ticks_to_ns(1 << 24, TIMER_HZ)), 0);
    }

    #[test]
    fn byte_lanes() {
        let mut p = Pm1::default();
        p.write_event(0, 2, 2, 0x0120);
        p.write_event(0, 3, 1, 0x05);
        assert_eq!(p.enable(), 0x0520);
        assert_eq!(p.read_event(0, 3), 0x05);
        p.raise(event::RTC | event::GLOBAL);
        assert_eq!(p.status(0), event::RTC | event::GLOBAL | event::TIMER);
        p.write_event(0, 1, 1, 0x04);
        assert_eq!(p.status(0), event::GLOBAL | event::TIMER);
    }

    #[test]
    fn sleep_enable_is_write_only() {
        let mut p = Pm1::default();
        p.set_sci_enable(true);
        assert_eq!(p.write_control(0, 2, 0x1401), None);
        assert_eq!(p.write_control(1, 1, 0x34), Some(5));
        assert_eq!(p.control(), 0x1401);
        p.set_sci_enable(false);
        assert_eq!(p.control(), 0x1400);
    }

    #[test]
    fn events_raise_only_when_enabled() {
        let mut p = Pm1::default();
        p.raise(event::POWER_BUTTON);
        assert_eq!(p.status(0) & event::POWER_BUTTON, 0);
        p.write_event(0, 2, 2, u64::from(event::POWER_BUTTON));
        p.raise(event::POWER_BUTTON);
        assert!(p.sci(0));
        let mut g = GpeBlock::default();
        g.raise(9);
        assert!(!g.sci());
        g.write(3, 2);
        assert!(g.sci());
        assert_eq!([0, 1, 2, 3].map(|n| g.read(n)), [0, 2, 0, 2]);
        g.write(1, 2);
        assert!(!g.sci());
    }
}
