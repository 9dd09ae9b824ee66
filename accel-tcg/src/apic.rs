//! The CPU's side of its local APIC: the register page, the timer, and the choice of the next interrupt.

use crate::cpu::Cpu;
use gearbox_core::x86::lapic::{Effect, GeneralProtection, apic_base};
use gearbox_core::x86::state::{Activity, Seg, Segment};

impl Cpu {
    /// Is `paddr` in the register page?
    #[inline(always)]
    pub(crate) fn is_lapic(&self, paddr: u64) -> bool {
        paddr & !0xfff == self.apic_page
    }
    /// Recomputes where the register page is. Mappings may be stale then.
    pub(crate) fn update_apic_page(&mut self) {
        let base = self.lapic.lock().apic_base();
        let page = if base & (apic_base::EN | apic_base::EXTD) == apic_base::EN { base & !0xfff } else { u64::MAX };
        if page != self.apic_page {
            self.apic_page = page;
            self.flush_tlb(true);
        }
    }
    /// IA32_APIC_BASE.
    pub(crate) fn apic_base(&self) -> u64 {
        self.lapic.lock().apic_base()
    }
    /// Writes IA32_APIC_BASE.
    ///
    /// # Errors
    /// #GP for what the processor refuses.
    pub(crate) fn set_apic_base(&mut self, value: u64) -> Result<(), GeneralProtection> {
        self.lapic.lock().set_apic_base(value, self.phys_bits)?;
        self.update_apic_page();
        Ok(())
    }
    /// A load from the register page.
    pub(crate) fn lapic_read(&mut self, offset: u64, data: &mut [u8]) {
        let now = self.now();
        self.lapic.lock().read(offset as u32, data, now);
    }
    /// A store to the register page. Only dwords are registers (SDM vol. 3, 11.4.1); anything else is a guest's mistake.
    pub(crate) fn lapic_write(&mut self, offset: u64, data: &[u8]) {
        let Ok(bytes) = data.try_into() else {
            tracing::debug!(target: "guest_error", "{}-byte store to local APIC offset {offset:#x}", data.len());
            return;
        };
        let now = self.now();
        let effect = self.lapic.lock().write(offset as u32, u32::from_le_bytes(bytes), now);
        self.lapic_effect(effect);
    }
    /// Does what an access to the APIC asks for, and lets the run loop look at it.
    pub(crate) fn lapic_effect(&mut self, effect: Option<Effect>) {
        if let Some(e) = effect
            && let Some(vector) = self.lapic_bus.route(&self.lapic, e)
            && let Ok(bus) = self.bus()
        {
            bus.eoi(vector);
        }
        self.lapic_touched = true;
        self.leave_block = true;
    }
    /// CR8.
    pub(crate) fn lapic_cr8(&self) -> u64 {
        self.lapic.lock().cr8()
    }
    /// Writes CR8.
    pub(crate) fn set_lapic_cr8(&mut self, value: u64) {
        self.lapic.lock().set_cr8(value);
        self.may_interrupt = true;
        self.leave_block = true;
    }
    /// Lets the timer catch up with the clock.
    pub(crate) fn advance_lapic(&mut self) {
        self.lapic_touched = false;
        self.may_interrupt = true;
        self.next_timer_look = self.icount + crate::engine::SLICE as u64;
        let now = self.now();
        let mut l = self.lapic.lock();
        l.advance(now);
        let deadline = l.next_deadline();
        drop(l);
        self.shared.set_deadline(deadline);
    }
    /// Takes INIT, start-up IPI, NMI and SMI messages. In system management mode INIT waits for RSM, and a start-up IPI is lost.
    pub(crate) fn take_apic_events(&mut self) {
        let in_smm = self.smm.active;
        let events = {
            let mut lapic = self.lapic.lock();
            let events = std::mem::take(lapic.events_mut());
            lapic.events_mut().init = in_smm && events.init;
            events
        };
        if events.init && !in_smm {
            crate::sys::init(self);
        }
        self.smm.pending |= events.smi;
        if let (Some(vector), Activity::WaitForSipi) = (events.startup, self.activity) {
            // SDM vol. 3, 9.4.4.1: the vector is the page number of the first instruction.
            let cs = Segment { attr: self.segment(Seg::Cs).attr, ..Segment::real(u16::from(vector) << 8) };
            self.set_seg(Seg::Cs, cs);
            self.rip = 0;
            self.activity = Activity::Active;
        }
        self.events.nmi_pending |= events.nmi;
    }
    /// Acknowledges the external interrupt of highest priority; `None` when there is none. The 8259A pair comes first.
    pub(crate) fn next_interrupt(&mut self) -> Option<u8> {
        let mut l = self.lapic.lock();
        if l.extint_pending() {
            l.acknowledge_extint();
            drop(l);
            return self.bus().ok()?.ack_interrupt();
        }
        l.pending()?;
        Some(l.acknowledge())
    }
}
