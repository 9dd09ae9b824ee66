//! The local APIC's timer (SDM vol. 3, 11.5.4), counting a 1 GHz bus clock: one tick each ns of machine time, before the divider.

/// Timer mode, bits 17..19 of the LVT timer register.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Counts down once.
    #[default]
    OneShot,
    /// Counts down again and again.
    Periodic,
    /// Fires when the time-stamp counter reaches a value.
    TscDeadline,
    /// The reserved encoding: never fires.
    Reserved,
}

impl Mode {
    /// From the LVT timer register.
    pub fn from_lvt(lvt: u32) -> Self {
        match lvt >> 17 & 3 {
            0 => Self::OneShot,
            1 => Self::Periodic,
            2 => Self::TscDeadline,
            _ => Self::Reserved,
        }
    }
    fn counts(self) -> bool {
        matches!(self, Self::OneShot | Self::Periodic)
    }
}

/// A TSC deadline, and the machine time when the counter gets there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Deadline {
    tsc: u64,
    due: u64,
}

/// The timer as a value. All times are in ns of the machine's clock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timer {
    mode: Mode,
    /// Divide configuration register.
    divide: u32,
    /// Initial count register.
    initial: u32,
    /// The count at `start`; it is falling from there. 0 when the timer does not run.
    from: u32,
    start: u64,
    deadline: Option<Deadline>,
}

impl Timer {
    /// log2 of the divider (SDM vol. 3, figure 11-10).
    fn shift(&self) -> u32 {
        ((self.divide & 3 | self.divide >> 1 & 4) + 1) & 7
    }
    fn expiry(&self) -> u64 {
        self.start.saturating_add(u64::from(self.from) << self.shift())
    }

    /// Changes the mode. To and from TSC-deadline mode the timer is disarmed.
    pub fn set_mode(&mut self, mode: Mode) {
        if mode.counts() != self.mode.counts() {
            self.from = 0;
            self.deadline = None;
        }
        self.mode = mode;
    }
    /// Divide configuration register.
    pub fn divide(&self) -> u32 {
        self.divide
    }
    /// Changes the divider; the count goes on from where it is.
    pub fn set_divide(&mut self, value: u32, now: u64) {
        self.from = self.current(now);
        self.start = now;
        self.divide = value & 0xb;
    }
    /// Initial count register.
    pub fn initial(&self) -> u32 {
        self.initial
    }
    /// Starts a count; 0 stops the timer. Ignored in TSC-deadline mode.
    pub fn set_initial(&mut self, count: u32, now: u64) {
        if self.mode.counts() {
            self.restore(count, count, now);
        }
    }
    /// Loads initial and current count as saved. A periodic timer that is saved at 0 starts its next period.
    pub fn restore(&mut self, initial: u32, current: u32, now: u64) {
        let current = if current == 0 && self.mode == Mode::Periodic { initial } else { current };
        self.initial = initial;
        self.from = current.min(initial);
        self.start = now;
    }
    /// Current count register at `now`.
    pub fn current(&self, now: u64) -> u32 {
        let gone = now.saturating_sub(self.start) >> self.shift();
        self.from.saturating_sub(u32::try_from(gone).unwrap_or(u32::MAX))
    }
    /// IA32_TSC_DEADLINE: the armed value, or 0.
    pub fn tsc_deadline(&self) -> u64 {
        self.deadline.map_or(0, |d| d.tsc)
    }
    /// Writes IA32_TSC_DEADLINE; `due` is the machine time when the counter reaches `tsc`. 0 disarms, and outside TSC-deadline mode the
    /// write is ignored.
    pub fn set_tsc_deadline(&mut self, tsc: u64, due: u64) {
        if self.mode == Mode::TscDeadline {
            self.deadline = (tsc != 0).then_some(Deadline { tsc, due });
        }
    }

    /// When the timer fires next.
    pub fn next(&self) -> Option<u64> {
        match self.mode {
            Mode::TscDeadline => self.deadline.map(|d| d.due),
            _ => (self.from != 0).then(|| self.expiry()),
        }
    }
    /// Moves to `now`. Did the timer fire? Periods that were missed count as one, as they share one bit of IRR.
    pub fn advance(&mut self, now: u64) -> bool {
        if self.next().is_none_or(|due| due > now) {
            return false;
        }
        match self.mode {
            Mode::TscDeadline => self.deadline = None,
            Mode::Periodic if self.initial != 0 => {
                let period = u64::from(self.initial) << self.shift();
                let expiry = self.expiry();
                self.start = expiry + (now - expiry) / period * period;
                self.from = self.initial;
            }
            _ => self.from = 0,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dividers_are_those_of_the_manual() {
        let by = |v| {
            let mut t = Timer::default();
            t.set_divide(v, 0);
            1 << t.shift()
        };
        let table = [
            (0b0000, 2),
            (0b0001, 4),
            (0b0010, 8),
            (0b0011, 16),
            (0b1000, 32),
            (0b1001, 64),
            (0b1010, 128),
            (0b1011, 1),
        ];
        for (bits, divider) in table {
            assert_eq!(by(bits), divider, "{bits:04b}");
        }
    }

    #[test]
    fn one_shot_fires_once() {
        let mut t = Timer::default();
        t.set_divide(0b0011, 0);
        t.set_initial(100, 1000);
        assert_eq!((t.current(1000), t.current(1015), t.current(1016)), (100, 100, 99));
        assert_eq!(t.next(), Some(2600));
        assert!(!t.advance(2599));
        assert!(t.advance(2600));
        assert_eq!((t.next(), t.current(2700)), (None, 0));
        assert!(!t.advance(9999));
    }

    #[test]
    fn periodic_keeps_its_phase_over_missed_periods() {
        let mut t = Timer::default();
        t.set_divide(0b1011, 0);
        t.set_mode(Mode::Periodic);
        t.set_initial(100, 0);
        assert!(t.advance(350));
        assert_eq!((t.next(), t.current(350)), (Some(400), 50));
    }

    #[test]
    fn a_new_divider_goes_on_from_the_count() {
        let mut t = Timer::default();
        t.set_divide(0b1011, 0);
        t.set_initial(100, 0);
        t.set_divide(0b0000, 40);
        assert_eq!((t.current(40), t.next()), (60, Some(160)));
    }

    #[test]
    fn tsc_deadline_is_armed_only_in_its_mode() {
        let mut t = Timer::default();
        t.set_tsc_deadline(500, 250);
        assert_eq!((t.tsc_deadline(), t.next()), (0, None));
        t.set_mode(Mode::TscDeadline);
        t.set_initial(5, 0);
        assert_eq!(t.next(), None);
        t.set_tsc_deadline(500, 250);
        assert_eq!((t.tsc_deadline(), t.next()), (500, Some(250)));
        assert!(t.advance(250));
        assert_eq!(t.tsc_deadline(), 0);
        t.set_tsc_deadline(900, 450);
        t.set_mode(Mode::OneShot);
        assert_eq!(t.next(), None);
    }
}
