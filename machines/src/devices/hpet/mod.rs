//! `hpet`: the high precision event timers of a PC, three comparators on one counter of 100 MHz.
//!
//! Source: IA-PC HPET (High Precision Event Timers) Specification 1.0a. What the specification leaves open is as in QEMU: numbers, which interrupts can
//! be chosen, no front side bus delivery; and a comparator that is set to a time in the past matches at once.
//!
//! In legacy replacement mode timers 0 and 1 take the place of the 8254 and the RTC, whose interrupts come through here.

mod comparator;
#[cfg(test)]
mod tests;

use comparator::{Comparator, config as timer_config};
use gearbox_core::board::{
    Cx, Device, DeviceSpec, DeviceState, Line, Pins, Realize, RealizeError, ResetKind, Saved, Timer,
};
use gearbox_core::object::{Property, TypeEntry, TypeInfo};
use gearbox_core::property;

/// Where it is.
pub const BASE: u64 = 0xfed0_0000;
/// Bytes of it.
pub const SIZE: u64 = 0x400;
/// The lower half of the capabilities: Intel's, revision 1, three timers, a counter of 64 bits, legacy replacement.
pub const BLOCK_ID: u32 = 0x8086_a201;
/// Interrupts that it has outputs for.
pub const OUTPUTS: usize = 24;
/// ns of a tick.
const TICK_NS: u64 = 10;
const FS_PER_NS: u64 = 1_000_000;
const TIMERS: usize = 3;

/// Registers.
mod register {
    pub(super) const CAPABILITIES: u64 = 0x000;
    pub(super) const CONFIGURATION: u64 = 0x010;
    pub(super) const STATUS: u64 = 0x020;
    pub(super) const COUNTER: u64 = 0x0f0;
    /// Those of the first timer, and from one timer to the next.
    pub(super) const TIMER_0: u64 = 0x100;
    pub(super) const STRIDE: u64 = 0x20;
    pub(super) const COMPARATOR: u64 = 0x08;
}

/// Bits of the configuration register.
mod config {
    pub(super) const ENABLE: u64 = 1 << 0;
    pub(super) const LEGACY: u64 = 1 << 1;
}

/// Interrupts in legacy replacement mode, which the 8254 and the RTC have otherwise.
const LEGACY_IRQS: [usize; 2] = [0, 8];

/// The timers before they are realized.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hpet {
    /// A bit for each interrupt that timers can be routed to.
    pub intcap: u32,
}

impl Default for Hpet {
    fn default() -> Self {
        Self { intcap: 1 << 2 }
    }
}

/// What a board connects.
#[derive(Clone, Copy, Debug)]
pub struct HpetPins {
    /// Interrupts.
    pub irq: [Line; OUTPUTS],
    /// The interrupts of the 8254 and of the RTC.
    pub legacy: Pins,
}

/// The timers.
pub struct HpetDevice {
    configuration: u64,
    status: u64,
    /// The counter as it was at `since`, in ns; it runs if that is said.
    counter: u64,
    since: Option<u64>,
    comparators: [Comparator; TIMERS],
    timers: [Timer; TIMERS],
    intcap: u32,
    irq: [Line; OUTPUTS],
    /// Levels of the 8254 and of the RTC.
    legacy: [bool; 2],
}

inventory::submit! { TypeEntry(&TypeInfo::onboard::<Hpet>("sys-bus-device", "high precision event timers")) }

/// The item of the firmware configuration device that tells of event timers: how many blocks there are, or that nothing is known of them, and id and address of each of up to eight.
pub fn item(present: bool) -> [u8; 121] {
    let mut item = [0; 121];
    item[0] = u8::MAX;
    if present {
        item[0] = 1;
        item[1..5].copy_from_slice(&BLOCK_ID.to_le_bytes());
        item[5..13].copy_from_slice(&BASE.to_le_bytes());
    }
    item
}

impl DeviceSpec for Hpet {
    type Device = HpetDevice;
    type Pins = HpetPins;
    const TYPE: &'static str = "hpet";
    const PROPERTIES: &'static [&'static [Property<Self>]] =
        &[&[property!("hpet-intcap", u32, intcap, "a bit for each interrupt that timers can be routed to")]];

    fn realize(self, r: &mut Realize<'_>) -> Result<(HpetDevice, HpetPins), RealizeError> {
        if self.intcap == 0 || self.intcap >> OUTPUTS != 0 {
            return Err(r.property_error("hpet-intcap", "Hpet's intcap not initialized"));
        }
        r.mmio(0, "hpet", BASE, SIZE, 8);
        let pins = HpetPins { irq: r.outputs("sysbus-irq"), legacy: r.inputs("unnamed-gpio-in", 2) };
        let device = HpetDevice {
            configuration: 0,
            status: 0,
            counter: 0,
            since: None,
            comparators: [Comparator::default(); TIMERS],
            timers: [0, 1, 2].map(|n| r.timer(n)),
            intcap: self.intcap,
            irq: pins.irq,
            legacy: [false; 2],
        };
        Ok((device, pins))
    }
}

impl HpetDevice {
    /// The counter at time `now`.
    fn count(&self, now: u64) -> u64 {
        let ticks = self.since.map_or(0, |since| now.saturating_sub(since) / TICK_NS);
        self.counter.wrapping_add(ticks)
    }
    fn is_legacy(&self) -> bool {
        self.configuration & config::LEGACY != 0
    }
    /// The interrupt that a timer has, if there is a wire.
    fn route(&self, n: usize) -> Option<usize> {
        match LEGACY_IRQS.get(n) {
            Some(irq) if self.is_legacy() => Some(*irq),
            _ => Some(self.comparators[n].route()).filter(|r| self.intcap >> r & 1 != 0),
        }
    }
    /// Arms the timer of a comparator for its next match.
    fn arm(&self, cx: &mut Cx<'_>, n: usize) {
        /// A guest that wants to be interrupted more often than that is not.
        const LEAST_NS: u64 = 10_000;
        let (c, now) = (&self.comparators[n], cx.now());
        let ticks = if self.since.is_some() && c.runs() { c.next_match(self.count(now)) } else { None };
        let Some(ns) = ticks.and_then(|t| t.checked_mul(TICK_NS)) else { return cx.disarm(self.timers[n]) };
        // Ticks are counted from when the counter was started.
        let into_tick = self.since.map_or(0, |since| now.saturating_sub(since) % TICK_NS);
        let ns = ns.saturating_sub(into_tick);
        let ns = if c.period().is_some() { ns.max(LEAST_NS) } else { ns };
        cx.arm(self.timers[n], now.saturating_add(ns));
    }
    /// Shows the levels of all interrupts.
    fn settle(&self, cx: &mut Cx<'_>) {
        let mut levels = [false; OUTPUTS];
        if !self.is_legacy() {
            LEGACY_IRQS.iter().zip(self.legacy).for_each(|(irq, level)| levels[*irq] = level);
        }
        for n in (0..TIMERS).filter(|n| self.status >> n & 1 != 0 && self.interrupts(*n)) {
            self.route(n).into_iter().for_each(|route| levels[route] = true);
        }
        self.irq.iter().zip(levels).for_each(|(line, level)| cx.set(*line, level));
    }
    /// Does timer `n` interrupt?
    fn interrupts(&self, n: usize) -> bool {
        self.configuration & config::ENABLE != 0 && self.comparators[n].has(timer_config::ENABLE)
    }
    fn configure(&mut self, cx: &mut Cx<'_>, new: u64) {
        let old = std::mem::replace(&mut self.configuration, new & (config::ENABLE | config::LEGACY));
        if (old ^ new) & config::ENABLE != 0 {
            self.counter = self.count(cx.now());
            self.since = (new & config::ENABLE != 0).then_some(cx.now());
            (0..TIMERS).for_each(|n| self.arm(cx, n));
        }
        self.settle(cx);
    }
    /// The register at an offset that is a multiple of 8.
    fn load(&self, offset: u64, now: u64) -> u64 {
        match offset {
            register::CAPABILITIES => (TICK_NS * FS_PER_NS) << 32 | u64::from(BLOCK_ID),
            register::CONFIGURATION => self.configuration,
            register::STATUS => self.status,
            register::COUNTER => self.count(now),
            _ => match self.timer_register(offset) {
                Some((n, 0)) => u64::from(self.intcap) << 32 | self.comparators[n].configuration(),
                Some((n, register::COMPARATOR)) => self.comparators[n].value(),
                _ => 0,
            },
        }
    }
    /// Which timer's register is at an offset, and which one.
    fn timer_register(&self, offset: u64) -> Option<(usize, u64)> {
        let into = offset.checked_sub(register::TIMER_0)?;
        let n = (into / register::STRIDE) as usize;
        (n < TIMERS).then_some((n, into % register::STRIDE))
    }
    /// A store of those bits of a register that `mask` has.
    fn store(&mut self, cx: &mut Cx<'_>, offset: u64, value: u64, mask: u64) {
        let merged = |old: u64| old & !mask | value & mask;
        match offset {
            register::CONFIGURATION => self.configure(cx, merged(self.configuration)),
            register::STATUS => {
                self.status &= !(value & mask);
                self.settle(cx);
            }
            register::COUNTER if self.since.is_some() => cx.guest_error(format_args!("write to a counter that runs")),
            register::COUNTER => self.counter = merged(self.counter),
            _ => match self.timer_register(offset) {
                Some((n, 0)) => {
                    let c = &mut self.comparators[n];
                    c.configure(merged(c.configuration()));
                    if !c.has(timer_config::LEVEL) {
                        self.status &= !(1 << n);
                    }
                    self.arm(cx, n);
                    self.settle(cx);
                }
                Some((n, register::COMPARATOR)) => {
                    self.comparators[n].set(value, mask);
                    self.arm(cx, n);
                }
                _ => {}
            },
        }
    }
}

impl Device for HpetDevice {
    fn state(&mut self) -> DeviceState<'_> {
        let Self { configuration, status, counter, since, comparators, timers: _, intcap: _, irq: _, legacy } = self;
        Saved::of((configuration, status, counter, since, comparators, legacy)).version(1)
    }
    fn read(&mut self, cx: &mut Cx<'_>, _region: u32, offset: u64, _size: u8) -> u64 {
        self.load(offset & !7, cx.now()) >> (8 * (offset & 7))
    }
    fn write(&mut self, cx: &mut Cx<'_>, _region: u32, offset: u64, size: u8, value: u64) {
        if size < 4 {
            return cx.guest_error(format_args!("write of {size} bytes at {offset:#x}; registers take 4 or 8"));
        }
        let shift = 8 * (offset & 4);
        let mask = if size == 8 { u64::MAX } else { u64::from(u32::MAX) << shift };
        self.store(cx, offset & !7, value << shift, mask);
    }
    fn pin(&mut self, cx: &mut Cx<'_>, index: u32, level: bool) {
        self.legacy[index as usize % 2] = level;
        self.settle(cx);
    }
    fn timer(&mut self, cx: &mut Cx<'_>, tag: u32) {
        let n = tag as usize % TIMERS;
        let now = self.count(cx.now());
        self.comparators[n].matched(now);
        if self.comparators[n].has(timer_config::LEVEL) {
            self.status |= 1 << n;
            self.settle(cx);
        } else if self.interrupts(n)
            && let Some(route) = self.route(n)
        {
            cx.pulse(self.irq[route]);
            self.settle(cx);
        }
        self.arm(cx, n);
    }
    fn reset(&mut self, cx: &mut Cx<'_>, _kind: ResetKind) {
        (self.configuration, self.status, self.counter, self.since) = (0, 0, 0, None);
        self.comparators = [Comparator::default(); TIMERS];
        (0..TIMERS).for_each(|n| self.arm(cx, n));
        self.settle(cx);
    }
}
