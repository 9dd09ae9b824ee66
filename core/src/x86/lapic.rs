//! The local APIC (SDM vol. 3, chapter 11) as a plain value: no bus, no thread, no host time.
//!
//! Registers are reached through the xAPIC page ([`Lapic::read`], [`Lapic::write`]) or the x2APIC MSRs ([`Lapic::read_msr`],
//! [`Lapic::write_msr`]). What leaves the APIC comes back as an [`Effect`] for the owner to route; what arrives goes through
//! [`Lapic::accept`] and the pins. Time is the machine's clock in ns, and the bus clock is 1 GHz, as QEMU's.
//!
//! The version is 14h (an integrated APIC with six LVT entries, no EOI-broadcast suppression, no CMCI).

mod message;
mod registers;
#[cfg(test)]
mod tests;
mod timer;

pub use message::{DeliveryMode, Destination, Message, Trigger};
use registers::{Bits256, LVT_ERROR, LVT_LINT0, LVT_MASKED, LVT_REMOTE_IRR, LVT_TIMER, LVTS, esr};
use timer::Timer;

/// IA32_APIC_BASE bits (SDM vol. 3, 11.4.4 and 11.12.1).
pub mod apic_base {
    #![allow(missing_docs)]
    pub const BSP: u64 = 1 << 8;
    pub const EXTD: u64 = 1 << 10;
    pub const EN: u64 = 1 << 11;
    /// Where the register page is after RESET.
    pub const DEFAULT: u64 = 0xfee0_0000;
}

/// The access raises #GP(0).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("general-protection exception")]
pub struct GeneralProtection;

/// What an access makes the APIC send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// An interprocessor interrupt.
    Ipi(Message),
    /// The EOI of a level-triggered vector, for the I/O APICs.
    Eoi(u8),
}

/// How the registers are reached (SDM vol. 3, table 11-5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Disabled in IA32_APIC_BASE: LINT0 is the INTR pin and LINT1 the NMI pin.
    Disabled,
    /// Memory-mapped, 8-bit ids.
    XApic,
    /// MSRs, 32-bit ids.
    X2Apic,
}

/// A local interrupt pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lint {
    /// INTR in virtual wire mode.
    Lint0,
    /// NMI in virtual wire mode.
    Lint1,
}

/// Events that have arrived and that the CPU takes between two instructions. INIT comes before the start-up IPI that followed it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuEvents {
    /// NMI.
    pub nmi: bool,
    /// SMI.
    pub smi: bool,
    /// INIT.
    pub init: bool,
    /// Start-up IPI with its vector.
    pub startup: Option<u8>,
}

impl CpuEvents {
    /// Is there any?
    pub fn any(&self) -> bool {
        *self != Self::default()
    }
}

/// A local APIC.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lapic {
    /// The initial APIC id, which is also the x2APIC id.
    id: u32,
    /// The id register of xAPIC mode.
    xapic_id: u8,
    base: u64,
    x2apic_allowed: bool,
    tpr: u8,
    ldr: u32,
    dfr: u32,
    svr: u32,
    isr: Bits256,
    tmr: Bits256,
    irr: Bits256,
    /// As the last write to ESR latched them.
    esr: u32,
    /// Found since.
    errors: u32,
    icr: u64,
    lvt: [u32; LVTS],
    timer: Timer,
    pins: [bool; 2],
    /// An ExtINT message waits to be acknowledged at the 8259A pair.
    extint: bool,
    events: CpuEvents,
}

impl Lapic {
    /// An APIC after RESET. `x2apic` tells whether CPUID offers that mode.
    pub fn new(id: u32, bsp: bool, x2apic: bool) -> Self {
        let mut a = Self {
            id,
            xapic_id: id as u8,
            base: apic_base::DEFAULT | apic_base::EN | if bsp { apic_base::BSP } else { 0 },
            x2apic_allowed: x2apic,
            tpr: 0,
            ldr: 0,
            dfr: 0,
            svr: 0,
            isr: Bits256::default(),
            tmr: Bits256::default(),
            irr: Bits256::default(),
            esr: 0,
            errors: 0,
            icr: 0,
            lvt: [0; LVTS],
            timer: Timer::default(),
            pins: [false; 2],
            extint: false,
            events: CpuEvents::default(),
        };
        a.reset_registers();
        a
    }

    /// RESET: everything, IA32_APIC_BASE and the id included.
    pub fn reset(&mut self) {
        *self = Self { pins: self.pins, ..Self::new(self.id, self.bsp(), self.x2apic_allowed) };
    }

    /// INIT: all but the id and IA32_APIC_BASE (SDM vol. 3, 11.4.7.3).
    pub fn init(&mut self) {
        let id = self.xapic_id;
        self.reset_registers();
        self.xapic_id = id;
    }

    /// The power-up state of the registers (SDM vol. 3, 11.4.7.1). LINT0 of the bootstrap processor is in virtual wire mode, as firmware
    /// leaves it, so that a kernel which is loaded without firmware gets the 8259A's interrupts.
    fn reset_registers(&mut self) {
        self.xapic_id = self.id as u8;
        self.tpr = 0;
        self.ldr = 0;
        self.dfr = u32::MAX;
        self.svr = 0xff;
        self.isr = Bits256::default();
        self.tmr = Bits256::default();
        self.irr = Bits256::default();
        self.esr = 0;
        self.errors = 0;
        self.icr = 0;
        self.lvt = [LVT_MASKED; LVTS];
        self.timer = Timer::default();
        self.extint = false;
        self.events = CpuEvents::default();
        if self.bsp() {
            self.lvt[LVT_LINT0] = 7 << 8;
        }
        if self.mode() == Mode::X2Apic {
            self.ldr = self.x2apic_ldr();
        }
    }

    /// The id that the CPU was made with.
    pub fn id(&self) -> u32 {
        self.id
    }
    fn bsp(&self) -> bool {
        self.base & apic_base::BSP != 0
    }
    fn x2apic_ldr(&self) -> u32 {
        self.id >> 4 << 16 | 1 << (self.id & 15)
    }
    fn software_enabled(&self) -> bool {
        self.svr & 1 << 8 != 0
    }

    /// How the registers are reached now.
    pub fn mode(&self) -> Mode {
        match self.base & (apic_base::EN | apic_base::EXTD) {
            apic_base::EN => Mode::XApic,
            0 | apic_base::EXTD => Mode::Disabled,
            _ => Mode::X2Apic,
        }
    }
    /// IA32_APIC_BASE.
    pub fn apic_base(&self) -> u64 {
        self.base
    }
    /// Writes IA32_APIC_BASE on a CPU with `phys_bits` physical address bits (SDM vol. 3, 11.12.5).
    ///
    /// # Errors
    /// #GP for reserved bits and for forbidden transitions: the invalid state, x2APIC to xAPIC, disabled to x2APIC.
    pub fn set_apic_base(&mut self, value: u64, phys_bits: u32) -> Result<(), GeneralProtection> {
        let above = u64::MAX.checked_shl(phys_bits).unwrap_or(0);
        if value & (0x2ff | above) != 0 || (value & apic_base::EXTD != 0 && !self.x2apic_allowed) {
            return Err(GeneralProtection);
        }
        let old = self.mode();
        let new = Self { base: value, ..self.clone() }.mode();
        match (old, new) {
            (_, Mode::Disabled) if value & apic_base::EXTD != 0 => return Err(GeneralProtection),
            (Mode::X2Apic, Mode::XApic) | (Mode::Disabled, Mode::X2Apic) => return Err(GeneralProtection),
            _ => self.base = value,
        }
        match (old, new) {
            (Mode::Disabled, Mode::XApic) | (Mode::XApic | Mode::X2Apic, Mode::Disabled) => {
                let events = self.events;
                self.reset_registers();
                self.events = events;
            }
            (Mode::XApic, Mode::X2Apic) => {
                self.ldr = self.x2apic_ldr();
                self.icr &= u64::from(u32::MAX);
            }
            _ => {}
        }
        Ok(())
    }
    /// Is the guest-physical `addr` in the register page as it is mapped now?
    pub fn contains(&self, addr: u64) -> bool {
        self.mode() == Mode::XApic && addr & !0xfff == self.base & !0xfff
    }

    /// Task-priority register.
    pub fn tpr(&self) -> u8 {
        self.tpr
    }
    /// CR8: the upper half of TPR.
    pub fn cr8(&self) -> u64 {
        u64::from(self.tpr >> 4)
    }
    /// Writes CR8; the lower half of TPR becomes 0.
    pub fn set_cr8(&mut self, value: u64) {
        self.tpr = (value as u8) << 4;
    }
    /// Processor-priority register (SDM vol. 3, 11.8.3.1).
    pub fn ppr(&self) -> u8 {
        let isrv = self.isr.highest().unwrap_or(0);
        if self.tpr >> 4 >= isrv >> 4 { self.tpr } else { isrv & 0xf0 }
    }

    /// The vector in IRR that may interrupt the CPU now: the highest, where its class is above the processor priority.
    pub fn pending(&self) -> Option<u8> {
        if self.mode() == Mode::Disabled {
            return None;
        }
        self.irr.highest().filter(|v| v >> 4 > self.ppr() >> 4)
    }
    /// Takes what [`Lapic::pending`] gave from IRR to ISR and returns it; the spurious vector when there is nothing (any more).
    pub fn acknowledge(&mut self) -> u8 {
        match self.pending() {
            Some(v) => {
                self.irr.clear(v);
                self.isr.set(v);
                v
            }
            None => self.svr as u8,
        }
    }
    /// Does the 8259A pair, or an ExtINT message, ask for an interrupt whose vector comes from the 8259A pair?
    pub fn extint_pending(&self) -> bool {
        let lint0 = self.lvt[LVT_LINT0];
        let wired = self.mode() == Mode::Disabled
            || (lint0 & LVT_MASKED == 0 && DeliveryMode::from_bits(lint0 >> 8) == Some(DeliveryMode::ExtInt));
        self.extint || (wired && self.pins[Lint::Lint0 as usize])
    }
    /// The CPU is about to ask the 8259A pair for the vector.
    pub fn acknowledge_extint(&mut self) {
        self.extint = false;
    }
    /// Is there an external interrupt of either kind?
    pub fn interrupt_pending(&self) -> bool {
        self.extint_pending() || self.pending().is_some()
    }
    /// NMI, SMI, INIT and start-up IPI that have arrived.
    pub fn events(&self) -> CpuEvents {
        self.events
    }
    /// The same, to take them or to load saved ones.
    pub fn events_mut(&mut self) -> &mut CpuEvents {
        &mut self.events
    }

    /// Could this APIC be a destination of `dest`, sent by someone else? (SDM vol. 3, 11.6.2 and 11.12.10.)
    pub fn matches(&self, dest: Destination) -> bool {
        match (dest, self.mode()) {
            (_, Mode::Disabled) => false,
            (Destination::All | Destination::AllButSelf, _) => true,
            (Destination::Physical(id), Mode::XApic) => id == u32::from(self.xapic_id),
            (Destination::Physical(id), Mode::X2Apic) => id == self.id,
            (Destination::Logical(mda), Mode::X2Apic) => mda >> 16 == self.ldr >> 16 && mda & self.ldr & 0xffff != 0,
            (Destination::Logical(mda), Mode::XApic) => {
                let (Ok(mda), own) = (u8::try_from(mda), (self.ldr >> 24) as u8) else { return false };
                match self.dfr >> 28 {
                    0xf => mda & own != 0,
                    0 => (mda >> 4 == own >> 4 || mda >> 4 == 0xf) && mda & own & 0xf != 0,
                    _ => false,
                }
            }
        }
    }

    /// Would a fixed interrupt be accepted: is the APIC enabled, by software too?
    pub fn accepts_fixed(&self) -> bool {
        self.mode() != Mode::Disabled && self.software_enabled()
    }

    /// A message arrives. Does the CPU have something new to look at?
    pub fn accept(&mut self, mode: DeliveryMode, vector: u8, trigger: Trigger) -> bool {
        if self.mode() == Mode::Disabled {
            return false;
        }
        match mode {
            DeliveryMode::Fixed | DeliveryMode::LowestPriority => {
                if !self.software_enabled() {
                    return false;
                }
                if vector < 16 {
                    self.error(esr::RECEIVE_ILLEGAL_VECTOR);
                    return true;
                }
                self.irr.set(vector);
                self.tmr.assign(vector, trigger == Trigger::Level);
            }
            DeliveryMode::Nmi => self.events.nmi = true,
            DeliveryMode::Smi => self.events.smi = true,
            DeliveryMode::Init => {
                self.events.init = true;
                self.events.startup = None;
            }
            DeliveryMode::StartUp => self.events.startup = Some(vector),
            DeliveryMode::ExtInt => self.extint = true,
        }
        true
    }

    /// Drives a local interrupt pin. Does the CPU have something new to look at?
    pub fn set_lint(&mut self, pin: Lint, level: bool) -> bool {
        let rising = !std::mem::replace(&mut self.pins[pin as usize], level) && level;
        if self.mode() == Mode::Disabled {
            if pin == Lint::Lint1 && rising {
                self.events.nmi = true;
            }
            return rising;
        }
        let entry = LVT_LINT0 + pin as usize;
        let level_triggered = self.lint_is_level(entry);
        match DeliveryMode::from_bits(self.lvt[entry] >> 8) {
            Some(DeliveryMode::ExtInt) => rising,
            _ if level_triggered => self.sample_lint(entry),
            _ => rising && self.deliver_local(entry),
        }
    }
    /// A fixed-mode LINT entry that is programmed as level-triggered.
    fn lint_is_level(&self, entry: usize) -> bool {
        self.lvt[entry] & 1 << 15 != 0 && DeliveryMode::from_bits(self.lvt[entry] >> 8) == Some(DeliveryMode::Fixed)
    }
    /// Delivers a level-triggered pin that is high, unmasked and not yet in service.
    fn sample_lint(&mut self, entry: usize) -> bool {
        let waits = self.pins[entry - LVT_LINT0] && self.lvt[entry] & (LVT_MASKED | LVT_REMOTE_IRR) == 0;
        if waits && self.deliver_local(entry) {
            self.lvt[entry] |= LVT_REMOTE_IRR;
            return true;
        }
        false
    }
    /// An interrupt of LVT entry `entry`, unless it is masked.
    fn deliver_local(&mut self, entry: usize) -> bool {
        let lvt = self.lvt[entry];
        if lvt & LVT_MASKED != 0 {
            return false;
        }
        let mode = match entry {
            LVT_TIMER | LVT_ERROR => Some(DeliveryMode::Fixed),
            _ => DeliveryMode::from_bits(lvt >> 8),
        };
        let trigger = Trigger::from_bit(self.lint_is_level(entry));
        mode.is_some_and(|m| self.accept(m, lvt as u8, trigger))
    }

    /// Records an error; the first since ESR was written raises the error interrupt.
    fn error(&mut self, bit: u32) {
        let first = self.errors == 0;
        self.errors |= bit;
        if first {
            self.deliver_local(LVT_ERROR);
        }
    }

    /// End of interrupt: retires the vector of highest priority in service.
    fn eoi(&mut self) -> Option<Effect> {
        let vector = self.isr.highest()?;
        self.isr.clear(vector);
        if !self.tmr.get(vector) {
            return None;
        }
        let mut ours = false;
        for entry in [LVT_LINT0, LVT_LINT0 + 1] {
            if self.lvt[entry] & LVT_REMOTE_IRR != 0 && self.lvt[entry] as u8 == vector {
                self.lvt[entry] &= !LVT_REMOTE_IRR;
                self.sample_lint(entry);
                ours = true;
            }
        }
        (!ours).then_some(Effect::Eoi(vector))
    }

    /// Sends what ICR says (SDM vol. 3, 11.6.1).
    fn send(&mut self) -> Option<Effect> {
        let low = self.icr as u32;
        let vector = low as u8;
        let mode = DeliveryMode::from_bits(low >> 8)?;
        if mode.has_vector() && vector < 16 {
            self.error(esr::SEND_ILLEGAL_VECTOR);
            return None;
        }
        let (assert, level) = (low & 1 << 14 != 0, low & 1 << 15 != 0);
        // INIT level de-assert only ever synchronised arbitration ids.
        if mode == DeliveryMode::Init && level && !assert {
            return None;
        }
        let logical = low & 1 << 11 != 0;
        let dest = match low >> 18 & 3 {
            0 if self.mode() == Mode::X2Apic => Destination::from_u32((self.icr >> 32) as u32, logical),
            0 => Destination::from_u8((self.icr >> 56) as u8, logical),
            1 => {
                if mode == DeliveryMode::Fixed {
                    self.accept(mode, vector, Trigger::Edge);
                }
                return None;
            }
            2 => Destination::All,
            _ => Destination::AllButSelf,
        };
        // All IPIs are edge-triggered on processors with an integrated APIC of this version (SDM vol. 3, 11.6.1, "Trigger mode").
        Some(Effect::Ipi(Message { mode, vector, trigger: Trigger::Edge, dest }))
    }

    /// When [`Lapic::advance`] has something to do next, in ns.
    pub fn next_deadline(&self) -> Option<u64> {
        if self.lvt[LVT_TIMER] & LVT_MASKED != 0 {
            return None;
        }
        self.timer.next()
    }
    /// Moves the timer to `now`. Does the CPU have something new to look at?
    pub fn advance(&mut self, now: u64) -> bool {
        self.timer.advance(now) && self.deliver_local(LVT_TIMER)
    }
    /// IA32_TSC_DEADLINE.
    pub fn tsc_deadline(&self) -> u64 {
        self.timer.tsc_deadline()
    }
    /// Writes IA32_TSC_DEADLINE; the owner says at which machine time (`due`, ns) the counter reaches `tsc`.
    pub fn set_tsc_deadline(&mut self, tsc: u64, due: u64) {
        self.timer.set_tsc_deadline(tsc, due);
    }
}
