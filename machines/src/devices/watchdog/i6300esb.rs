//! `i6300esb`: the watchdog of the Intel 6300ESB I/O controller hub, which counts down in two stages.
//!
//! Source: Intel 6300ESB datasheet (300641), chapter 16. The interrupt at the end of the first stage is not modelled. As in QEMU, the preload
//! registers cannot be read, and the reload register only as a word, in which bit 12 repeats the time-out bit 9.

use crate::devices::pci::QEMU_SUBSYSTEM;
use gearbox_core::board::{
    Cx, Device, DeviceSpec, DeviceState, Realize, RealizeError, ResetKind, Saved, SystemRequest, Timer,
};
use gearbox_core::object::{Category, Property, TypeEntry, TypeInfo};
use gearbox_core::pci::{BarKind, ConfigHeader, PciPlace};
use gearbox_core::pci_properties;
use serde::{Deserialize, Serialize};

/// Registers in configuration space.
pub mod config {
    /// Configuration, a word.
    pub const CONFIG: u8 = 0x60;
    /// Lock, a byte.
    pub const LOCK: u8 = 0x68;
}
/// Bits of the configuration register.
pub mod configuration {
    #![allow(missing_docs)]
    /// What the first stage ends with: 0 for an interrupt, 2 for an SMI, 3 for nothing.
    pub const INTERRUPT_TYPE: u8 = 3;
    /// The unit is 32 PCI clocks (about 1 us) instead of 32768 (about 1 ms).
    pub const FAST: u8 = 1 << 2;
    /// The second stage does not end with a reset.
    pub const NO_RESET: u8 = 1 << 5;
    pub const WRITABLE: u8 = INTERRUPT_TYPE | FAST | NO_RESET;
}
/// Bits of the lock register.
pub mod lock {
    #![allow(missing_docs)]
    /// The register keeps its value until the next reset.
    pub const LOCKED: u8 = 1 << 0;
    pub const ENABLED: u8 = 1 << 1;
    /// Begin anew after the second stage.
    pub const FREE_RUNNING: u8 = 1 << 2;
    pub const WRITABLE: u8 = LOCKED | ENABLED | FREE_RUNNING;
}
/// Offsets of the registers behind BAR 0.
pub mod register {
    #![allow(missing_docs)]
    pub const PRELOAD_1: u64 = 0x00;
    pub const PRELOAD_2: u64 = 0x04;
    pub const RELOAD: u64 = 0x0c;
}
/// Bits of the reload register.
mod reload {
    pub(super) const RELOAD: u16 = 1 << 8;
    /// Read: the watchdog has reset the machine. Written: forget that. Linux takes bit 12 for it.
    pub(super) const TIMED_OUT: u16 = 1 << 9 | 1 << 12;
}
/// What is stored to the reload register, one after the other, to make one store to another register count.
const UNLOCK: [u64; 2] = [0x80, 0x86];
const PRELOAD_MASK: u32 = 0xf_ffff;
/// Period of the PCI clock.
const PCI_CLOCK_NS: u64 = 30;
const SIZE: u64 = 16;

/// Configuration of the watchdog.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct I6300Esb {
    /// Where it is.
    pub place: PciPlace,
}

/// The two stages, by their preload register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Stage {
    First,
    Second,
}

/// The watchdog.
#[derive(Debug)]
pub struct I6300EsbDevice {
    preload: [u32; 2],
    stage: Stage,
    enabled: bool,
    /// How many of [`UNLOCK`] have come.
    unlocked: usize,
    timed_out: bool,
    timer: Timer,
}

inventory::submit! {
    TypeEntry(&TypeInfo::device::<I6300Esb>("pci-device", "Intel 6300ESB watchdog").category(Category::Watchdog).implements(&["conventional-pci-device"]))
}

impl DeviceSpec for I6300Esb {
    type Device = I6300EsbDevice;
    type Pins = ();
    const TYPE: &'static str = "i6300esb";
    const PROPERTIES: &'static [&'static [Property<Self>]] = &[pci_properties!(place)];

    fn realize(self, r: &mut Realize<'_>) -> Result<(I6300EsbDevice, ()), RealizeError> {
        let header = ConfigHeader {
            vendor: 0x8086,
            device: 0x25ab,
            class: 0x08_80_00,
            subsystem: QEMU_SUBSYSTEM,
            ..ConfigHeader::default()
        };
        let c = r.pci_function(self.place, &header);
        c.set_writable(config::CONFIG, &[configuration::WRITABLE, 0]);
        let registers = r.mmio_region(0, "i6300esb", SIZE, 4);
        r.pci_bar(0, BarKind::Memory32 { prefetchable: false }, SIZE, registers);
        let timer = r.timer(0);
        let preload = [PRELOAD_MASK; 2];
        Ok((I6300EsbDevice { preload, stage: Stage::First, enabled: false, unlocked: 0, timed_out: false, timer }, ()))
    }
}

impl I6300EsbDevice {
    fn configuration(cx: &mut Cx<'_>) -> u8 {
        cx.config().map_or(0, |c| c.byte(config::CONFIG))
    }
    fn start(&mut self, cx: &mut Cx<'_>, stage: Stage) {
        if !self.enabled {
            return;
        }
        self.stage = stage;
        let clocks = if Self::configuration(cx) & configuration::FAST != 0 { 1 << 5 } else { 1 << 15 };
        let ns = u64::from(self.preload[stage as usize]) * clocks * PCI_CLOCK_NS;
        cx.arm(self.timer, cx.now().saturating_add(ns));
    }
    /// Everything as after a reset, but for the memory of a time-out.
    fn power_on(&mut self, cx: &mut Cx<'_>) {
        (self.preload, self.stage) = ([PRELOAD_MASK; 2], Stage::First);
        (self.enabled, self.unlocked) = (false, 0);
        cx.disarm(self.timer);
        if let Some(c) = cx.config() {
            c.set(config::CONFIG, &[0, 0]);
            c.set(config::LOCK, &[0]);
        }
        Self::guard(cx);
    }
    /// The lock register can be written until it says that it is locked.
    fn guard(cx: &mut Cx<'_>) {
        let Some(c) = cx.config() else { return };
        let locked = c.byte(config::LOCK) & lock::LOCKED != 0;
        c.set_writable(config::LOCK, &[if locked { 0 } else { lock::WRITABLE }]);
    }
    /// Has the sequence come that makes this store count? It is over then.
    fn unlock(&mut self, offset: u64, value: u64) -> bool {
        match (offset, UNLOCK.iter().position(|&v| v == value)) {
            (register::RELOAD, Some(0)) => self.unlocked = 1,
            (register::RELOAD, Some(1)) if self.unlocked == 1 => self.unlocked = 2,
            _ => {
                let complete = self.unlocked == UNLOCK.len();
                if complete {
                    self.unlocked = 0;
                }
                return complete;
            }
        }
        false
    }
}

impl Device for I6300EsbDevice {
    fn state(&mut self) -> DeviceState<'_> {
        let Self { preload, stage, enabled, unlocked, timed_out, timer: _ } = self;
        let sound = |(preload, unlocked): &([u32; 2], usize)| {
            preload.iter().all(|p| *p <= PRELOAD_MASK) && *unlocked <= UNLOCK.len()
        };
        Saved::sound((preload, unlocked), sound).and(Saved::of((stage, enabled, timed_out))).version(1)
    }
    fn loaded(&mut self, cx: &mut Cx<'_>) {
        Self::guard(cx);
    }
    fn read(&mut self, _cx: &mut Cx<'_>, _region: u32, offset: u64, size: u8) -> u64 {
        match (offset, size) {
            (register::RELOAD, 2) if self.timed_out => reload::TIMED_OUT.into(),
            _ => 0,
        }
    }
    fn write(&mut self, cx: &mut Cx<'_>, _region: u32, offset: u64, size: u8, value: u64) {
        if !self.unlock(offset, value) {
            return;
        }
        match (offset, size) {
            (register::PRELOAD_1, 4) => self.preload[0] = value as u32 & PRELOAD_MASK,
            (register::PRELOAD_2, 4) => self.preload[1] = value as u32 & PRELOAD_MASK,
            (register::RELOAD, 2) => {
                if value as u16 & reload::RELOAD != 0 {
                    self.start(cx, Stage::First);
                }
                self.timed_out &= value as u16 & reload::TIMED_OUT == 0;
            }
            _ => {}
        }
    }
    fn config_written(&mut self, cx: &mut Cx<'_>, offset: u8, len: u8) {
        let lock = config::LOCK;
        if !(offset..offset.saturating_add(len)).contains(&lock) {
            return;
        }
        let v = cx.config().map_or(0, |c| c.byte(lock));
        Self::guard(cx);
        let was = std::mem::replace(&mut self.enabled, v & lock::ENABLED != 0);
        match (was, self.enabled) {
            (false, true) => self.start(cx, Stage::First),
            (_, false) => cx.disarm(self.timer),
            (true, true) => {}
        }
    }
    fn timer(&mut self, cx: &mut Cx<'_>, _tag: u32) {
        if self.stage == Stage::First {
            return self.start(cx, Stage::Second);
        }
        let free_running = cx.config().is_some_and(|c| c.byte(config::LOCK) & lock::FREE_RUNNING != 0);
        if Self::configuration(cx) & configuration::NO_RESET == 0 {
            self.timed_out = true;
            cx.request(SystemRequest::WatchdogExpired);
            self.power_on(cx);
        } else if free_running {
            self.start(cx, Stage::First);
        }
    }
    fn reset(&mut self, cx: &mut Cx<'_>, kind: ResetKind) {
        self.timed_out &= kind != ResetKind::Power;
        self.power_on(cx);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gearbox_accel_qtest::Bench;
    use gearbox_core::pci::{Devfn, command, reg};

    const BAR: u64 = 0xe000_0000;
    const RELOAD: u64 = BAR + register::RELOAD;

    fn config(b: &Bench, register: u8, size: u8) -> u32 {
        b.with(|s| s.fabric.pci.config_read(4 << 11 | u32::from(register), size))
    }
    fn set_config(b: &Bench, register: u8, size: u8, value: u32) {
        b.with(|s| s.fabric.pci.config_write(4 << 11 | u32::from(register), size, value));
    }
    /// After a reset, decoding at [`BAR`].
    fn map(b: &Bench) {
        set_config(b, reg::BAR0, 4, BAR as u32);
        set_config(b, reg::COMMAND, 2, command::MEMORY.into());
    }
    fn bench() -> Bench {
        let mut b = Bench::new();
        b.realize(I6300Esb { place: PciPlace { addr: Some(Devfn::new(4, 0)), ..PciPlace::default() } }).unwrap();
        map(&b);
        b
    }
    fn unlock(b: &mut Bench) {
        b.writeb(RELOAD, 0x80);
        b.writeb(RELOAD, 0x86);
    }
    /// As Linux's driver starts it: 1 s for both stages, in units of about 1 ms.
    fn started(b: &mut Bench) -> u64 {
        set_config(b, config::CONFIG, 2, configuration::INTERRUPT_TYPE.into());
        for preload in [register::PRELOAD_1, register::PRELOAD_2] {
            unlock(b);
            b.writel(BAR + preload, 500);
        }
        set_config(b, config::LOCK, 1, lock::ENABLED.into());
        500 * 32768 * 30
    }

    #[test]
    fn registers_after_reset() {
        let b = bench();
        assert_eq!([0, 8].map(|r| config(&b, r, 4)), [0x25ab_8086, 0x0880_0000]);
        assert_eq!((config(&b, config::CONFIG, 2), config(&b, config::LOCK, 1)), (0, 0));
        assert_eq!((b.readl(BAR), b.readl(BAR + 4), b.readl(RELOAD), b.readw(RELOAD)), (0, 0, 0, 0));
    }

    #[test]
    fn two_stages_then_the_policy() {
        let mut b = bench();
        let stage = started(&mut b);
        b.clock_step_ns(stage);
        assert_eq!(b.requests(), []);
        b.clock_step_ns(stage - 1);
        assert_eq!(b.requests(), []);
        b.clock_step_ns(1);
        assert_eq!(b.requests(), [SystemRequest::WatchdogExpired]);
        assert_eq!((b.deadline(), config(&b, config::LOCK, 1)), (None, 0), "as after a reset");
        // The next kernel finds out, and clears it.
        b.reset();
        map(&b);
        assert_eq!((b.readw(RELOAD), b.readl(RELOAD)), (0x1200, 0));
        unlock(&mut b);
        b.writew(RELOAD, 1 << 9);
        assert_eq!(b.readw(RELOAD), 0);
    }

    #[test]
    fn reloading_needs_the_sequence() {
        let mut b = bench();
        let stage = started(&mut b);
        b.clock_step_ns(stage + 1);
        b.writew(RELOAD, 0x100);
        assert_eq!(b.deadline(), Some(2 * stage), "not unlocked");
        b.writeb(RELOAD, 0x86);
        b.writew(RELOAD, 0x100);
        assert_eq!(b.deadline(), Some(2 * stage), "the wrong order");
        unlock(&mut b);
        b.writew(RELOAD, 0x100);
        assert_eq!(b.deadline(), Some(2 * stage + 1), "the first stage again");
        b.writew(RELOAD, 0x100);
        b.writel(BAR, 1);
        unlock(&mut b);
        b.writew(RELOAD, 0x100);
        assert_eq!(b.deadline(), Some(2 * stage + 1), "once for each sequence");
    }

    #[test]
    fn locked_it_cannot_be_disabled() {
        let mut b = bench();
        started(&mut b);
        set_config(&b, config::LOCK, 1, 0);
        assert_eq!(b.deadline(), None);
        set_config(&b, config::LOCK, 1, (lock::ENABLED | lock::LOCKED).into());
        set_config(&b, config::LOCK, 1, 0);
        assert!(config(&b, config::LOCK, 1) == 3 && b.deadline().is_some());
        b.reset();
        assert_eq!((config(&b, config::LOCK, 1), b.deadline()), (0, None));
        set_config(&b, config::LOCK, 1, lock::FREE_RUNNING.into());
        assert_eq!(config(&b, config::LOCK, 1), 4);
    }

    #[test]
    fn free_running_without_a_reset() {
        let mut b = bench();
        set_config(&b, config::CONFIG, 2, u32::from(configuration::NO_RESET | configuration::FAST));
        unlock(&mut b);
        b.writel(BAR, 0xfff0_0001);
        unlock(&mut b);
        b.writel(BAR + 4, 2);
        set_config(&b, config::LOCK, 1, (lock::ENABLED | lock::FREE_RUNNING).into());
        let times: Vec<_> = (0..4).map(|_| b.clock_step()).collect();
        assert_eq!(times, [960, 2880, 3840, 5760]);
        assert_eq!(b.requests(), []);
    }
}
