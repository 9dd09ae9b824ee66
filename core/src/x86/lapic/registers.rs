//! The register file: xAPIC page, x2APIC MSRs, and the saved form.

use super::timer::Mode as TimerMode;
use super::{Effect, GeneralProtection, Lapic, Mode};
use crate::x86::state::LapicState;

/// Register offsets in the xAPIC page (SDM vol. 3, table 11-1). The x2APIC MSR is 800h + offset / 16.
mod reg {
    pub(super) const ID: u32 = 0x20;
    pub(super) const VERSION: u32 = 0x30;
    pub(super) const TPR: u32 = 0x80;
    pub(super) const APR: u32 = 0x90;
    pub(super) const PPR: u32 = 0xa0;
    pub(super) const EOI: u32 = 0xb0;
    pub(super) const RRD: u32 = 0xc0;
    pub(super) const LDR: u32 = 0xd0;
    pub(super) const DFR: u32 = 0xe0;
    pub(super) const SVR: u32 = 0xf0;
    pub(super) const ISR: u32 = 0x100;
    pub(super) const ISR_LAST: u32 = 0x170;
    pub(super) const TMR: u32 = 0x180;
    pub(super) const TMR_LAST: u32 = 0x1f0;
    pub(super) const IRR: u32 = 0x200;
    pub(super) const IRR_LAST: u32 = 0x270;
    pub(super) const ESR: u32 = 0x280;
    pub(super) const ICR_LOW: u32 = 0x300;
    pub(super) const ICR_HIGH: u32 = 0x310;
    pub(super) const LVT: u32 = 0x320;
    pub(super) const LVT_LAST: u32 = 0x370;
    pub(super) const INITIAL_COUNT: u32 = 0x380;
    pub(super) const CURRENT_COUNT: u32 = 0x390;
    pub(super) const DIVIDE: u32 = 0x3e0;
    /// Exists in x2APIC mode only.
    pub(super) const SELF_IPI: u32 = 0x3f0;
}

/// Error status bits (SDM vol. 3, figure 11-9).
pub(super) mod esr {
    pub(in super::super) const SEND_ILLEGAL_VECTOR: u32 = 1 << 5;
    pub(in super::super) const RECEIVE_ILLEGAL_VECTOR: u32 = 1 << 6;
    pub(in super::super) const ILLEGAL_REGISTER: u32 = 1 << 7;
}

/// Number of LVT entries, in the order of their registers: timer, thermal, performance, LINT0, LINT1, error.
pub(super) const LVTS: usize = 6;
pub(super) const LVT_TIMER: usize = 0;
pub(super) const LVT_LINT0: usize = 3;
pub(super) const LVT_ERROR: usize = 5;
pub(super) const LVT_MASKED: u32 = 1 << 16;
pub(super) const LVT_REMOTE_IRR: u32 = 1 << 14;
const LVT_DELIVERY_STATUS: u32 = 1 << 12;

/// The writable bits of each LVT entry (SDM vol. 3, figure 11-8).
const LVT_WRITABLE: [u32; LVTS] = [0x7_00ff, 0x1_07ff, 0x1_07ff, 0x1_a7ff, 0x1_a7ff, 0x1_00ff];
/// The writable bits of ICR's lower half.
const ICR_WRITABLE: u32 = 0x000c_cfff;
const SVR_WRITABLE: u32 = 0x3ff;
/// Version 14h, highest LVT entry 5.
const VERSION: u32 = 0x0005_0014;
const X2APIC_MSR: u32 = 0x800;

/// A 256-bit register: ISR, TMR, IRR.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Bits256([u32; 8]);

impl Bits256 {
    pub(super) fn set(&mut self, v: u8) {
        self.0[usize::from(v >> 5)] |= 1 << (v & 31);
    }
    pub(super) fn clear(&mut self, v: u8) {
        self.0[usize::from(v >> 5)] &= !(1 << (v & 31));
    }
    pub(super) fn assign(&mut self, v: u8, on: bool) {
        if on { self.set(v) } else { self.clear(v) }
    }
    pub(super) fn get(&self, v: u8) -> bool {
        self.0[usize::from(v >> 5)] >> (v & 31) & 1 != 0
    }
    /// The highest bit that is set.
    pub(super) fn highest(&self) -> Option<u8> {
        let i = self.0.iter().rposition(|&w| w != 0)?;
        Some((32 * i as u32 + self.0[i].ilog2()) as u8)
    }
    fn word(&self, offset: u32) -> u32 {
        self.0[(offset >> 4 & 7) as usize]
    }
}

impl Lapic {
    /// Reads a register; `None` where there is none.
    fn load(&self, offset: u32, now: u64) -> Option<u32> {
        let x2apic = self.mode() == Mode::X2Apic;
        Some(match offset {
            reg::ID if x2apic => self.id,
            reg::ID => u32::from(self.xapic_id) << 24,
            reg::VERSION => VERSION,
            reg::TPR => self.tpr.into(),
            reg::APR if !x2apic => self.arbitration_priority().into(),
            reg::PPR => self.ppr().into(),
            reg::EOI | reg::RRD if !x2apic => 0,
            reg::LDR => self.ldr,
            reg::DFR if !x2apic => self.dfr,
            reg::SVR => self.svr,
            reg::ISR..=reg::ISR_LAST => self.isr.word(offset),
            reg::TMR..=reg::TMR_LAST => self.tmr.word(offset),
            reg::IRR..=reg::IRR_LAST => self.irr.word(offset),
            reg::ESR => self.esr,
            reg::ICR_LOW => self.icr as u32,
            reg::ICR_HIGH if !x2apic => (self.icr >> 32) as u32,
            reg::LVT..=reg::LVT_LAST => self.lvt[lvt_index(offset)],
            reg::INITIAL_COUNT => self.timer.initial(),
            reg::CURRENT_COUNT => self.timer.current(now),
            reg::DIVIDE => self.timer.divide(),
            _ => return None,
        })
    }

    /// Arbitration-priority register (SDM vol. 3, 11.6.2.4).
    pub fn arbitration_priority(&self) -> u8 {
        let class = |v: Option<u8>| v.unwrap_or(0) >> 4;
        let (irr, isr) = (class(self.irr.highest()), class(self.isr.highest()));
        if self.tpr >> 4 >= irr && self.tpr >> 4 > isr { self.tpr } else { (self.tpr >> 4).max(isr).max(irr) << 4 }
    }

    /// Reads `data.len()` bytes at `offset` of the register page at machine time `now`. Only aligned dwords are architectural; bytes
    /// that lie beside a register read 0.
    pub fn read(&mut self, offset: u32, data: &mut [u8], now: u64) {
        self.advance(now);
        data.fill(0);
        let within = (offset & 15) as usize;
        let Some(value) = self.load(offset & 0xff0, now) else { return self.error(esr::ILLEGAL_REGISTER) };
        for (to, from) in data.iter_mut().zip(value.to_le_bytes().iter().skip(within)) {
            *to = *from;
        }
    }

    /// Writes a dword at `offset` of the register page at machine time `now`. The offset must be 16-byte aligned; anything else is an
    /// illegal register address.
    pub fn write(&mut self, offset: u32, value: u32, now: u64) -> Option<Effect> {
        self.advance(now);
        match offset {
            reg::ID => self.xapic_id = (value >> 24) as u8,
            reg::TPR => self.tpr = value as u8,
            reg::EOI => return self.eoi(),
            reg::LDR => self.ldr = value & 0xff00_0000,
            reg::DFR => self.dfr = value | 0x0fff_ffff,
            reg::SVR => self.set_svr(value),
            reg::ESR => self.latch_errors(),
            reg::ICR_LOW => {
                self.icr = self.icr & !u64::from(u32::MAX) | u64::from(value & ICR_WRITABLE);
                return self.send();
            }
            reg::ICR_HIGH => self.icr = self.icr & u64::from(u32::MAX) | u64::from(value & 0xff00_0000) << 32,
            reg::LVT..=reg::LVT_LAST if offset & 15 == 0 => self.set_lvt(lvt_index(offset), value),
            reg::INITIAL_COUNT => self.timer.set_initial(value, now),
            reg::DIVIDE => self.timer.set_divide(value, now),
            // Read-only.
            reg::VERSION | reg::APR | reg::PPR | reg::RRD | reg::CURRENT_COUNT => {}
            reg::ISR..=reg::IRR_LAST if offset & 15 == 0 => {}
            _ => self.error(esr::ILLEGAL_REGISTER),
        }
        None
    }

    /// Is `msr` in the range that x2APIC mode uses (SDM vol. 3, table 11-6)?
    pub fn is_x2apic_msr(msr: u32) -> bool {
        (X2APIC_MSR..X2APIC_MSR + 0x100).contains(&msr)
    }

    /// RDMSR of an x2APIC register at machine time `now`.
    ///
    /// # Errors
    /// #GP outside x2APIC mode, and for registers that do not exist or are write-only.
    pub fn read_msr(&mut self, msr: u32, now: u64) -> Result<u64, GeneralProtection> {
        let offset = self.x2apic_offset(msr)?;
        self.advance(now);
        match offset {
            reg::ICR_LOW => Ok(self.icr),
            _ => self.load(offset, now).map(u64::from).ok_or(GeneralProtection),
        }
    }

    /// WRMSR of an x2APIC register at machine time `now`.
    ///
    /// # Errors
    /// #GP outside x2APIC mode, for registers that do not exist or are read-only, and for reserved bits.
    pub fn write_msr(&mut self, msr: u32, value: u64, now: u64) -> Result<Option<Effect>, GeneralProtection> {
        let offset = self.x2apic_offset(msr)?;
        let allowed = match offset {
            reg::TPR | reg::SELF_IPI => 0xff,
            reg::EOI | reg::ESR => 0,
            reg::SVR => u64::from(SVR_WRITABLE),
            reg::ICR_LOW => 0xffff_ffff_0000_0000 | u64::from(ICR_WRITABLE),
            reg::LVT..=reg::LVT_LAST => {
                let writable = LVT_WRITABLE[lvt_index(offset)];
                let remote_irr = if writable & 1 << 15 != 0 { LVT_REMOTE_IRR } else { 0 };
                u64::from(writable | remote_irr | LVT_DELIVERY_STATUS)
            }
            reg::INITIAL_COUNT => u64::from(u32::MAX),
            reg::DIVIDE => 0xb,
            _ => return Err(GeneralProtection),
        };
        if value & !allowed != 0 {
            return Err(GeneralProtection);
        }
        match offset {
            reg::ICR_LOW => {
                self.advance(now);
                self.icr = value;
                Ok(self.send())
            }
            reg::SELF_IPI => {
                self.advance(now);
                // A fixed, edge-triggered IPI with the "self" shorthand.
                self.icr = 1 << 18 | 1 << 14 | value;
                Ok(self.send())
            }
            _ => Ok(self.write(offset, value as u32, now)),
        }
    }

    fn x2apic_offset(&self, msr: u32) -> Result<u32, GeneralProtection> {
        if self.mode() != Mode::X2Apic || !Self::is_x2apic_msr(msr) {
            return Err(GeneralProtection);
        }
        Ok((msr - X2APIC_MSR) << 4)
    }

    fn set_svr(&mut self, value: u32) {
        self.svr = value & SVR_WRITABLE;
        if !self.software_enabled() {
            self.lvt.iter_mut().for_each(|l| *l |= LVT_MASKED);
        }
    }

    fn set_lvt(&mut self, entry: usize, value: u32) {
        let read_only = self.lvt[entry] & LVT_REMOTE_IRR;
        self.lvt[entry] = value & LVT_WRITABLE[entry] | read_only;
        if !self.software_enabled() {
            self.lvt[entry] |= LVT_MASKED;
        }
        match entry {
            LVT_TIMER => self.timer.set_mode(TimerMode::from_lvt(value)),
            _ if self.lint_is_level(entry) => {
                self.sample_lint(entry);
            }
            _ => self.lvt[entry] &= !LVT_REMOTE_IRR,
        }
    }

    /// A write to ESR shows the errors found since the last one and arms the error interrupt again.
    fn latch_errors(&mut self) {
        self.esr = std::mem::take(&mut self.errors);
    }

    /// The saved form at machine time `now`. The id is in bits 24..32 in every mode, as KVM_GET_LAPIC gives it.
    pub fn save(&self, now: u64) -> LapicState {
        let mut state = LapicState::default();
        for (slot, value) in state.regs.iter_mut().enumerate() {
            *value = self.load(slot as u32 * 16, now).unwrap_or(0);
        }
        let mut put = |offset: u32, value| state.regs[offset as usize / 16] = value;
        put(reg::ID, if self.mode() == Mode::X2Apic { self.id << 24 } else { u32::from(self.xapic_id) << 24 });
        put(reg::ICR_HIGH, (self.icr >> 32) as u32);
        put(reg::DFR, self.dfr);
        state
    }

    /// Loads a saved form, and `base` as IA32_APIC_BASE, at machine time `now`. Reserved bits are dropped. Pins keep their level and
    /// pending NMI, INIT, SMI and start-up events are forgotten: the CPU state carries them.
    pub fn restore(&mut self, state: &LapicState, base: u64, now: u64) {
        let get = |offset: u32| state.regs.get(offset as usize / 16).copied().unwrap_or(0);
        let words = |offset: u32| Bits256(std::array::from_fn(|i| get(offset + 16 * i as u32)));
        self.base = base;
        self.reset_registers();
        if self.mode() != Mode::X2Apic {
            self.xapic_id = (get(reg::ID) >> 24) as u8;
            self.ldr = get(reg::LDR) & 0xff00_0000;
        }
        self.tpr = get(reg::TPR) as u8;
        self.dfr = get(reg::DFR) | 0x0fff_ffff;
        self.svr = get(reg::SVR) & SVR_WRITABLE;
        self.isr = words(reg::ISR);
        self.tmr = words(reg::TMR);
        self.irr = words(reg::IRR);
        self.esr = get(reg::ESR);
        self.icr = u64::from(get(reg::ICR_HIGH)) << 32 | u64::from(get(reg::ICR_LOW) & ICR_WRITABLE);
        for (i, (entry, writable)) in self.lvt.iter_mut().zip(LVT_WRITABLE).enumerate() {
            *entry = get(reg::LVT + 16 * i as u32) & (writable | LVT_REMOTE_IRR);
        }
        self.timer.set_mode(TimerMode::from_lvt(self.lvt[LVT_TIMER]));
        self.timer.set_divide(get(reg::DIVIDE), now);
        self.timer.restore(get(reg::INITIAL_COUNT), get(reg::CURRENT_COUNT), now);
    }
}

fn lvt_index(offset: u32) -> usize {
    ((offset - reg::LVT) >> 4) as usize % LVTS
}
