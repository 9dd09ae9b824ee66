//! Whole CPU states in and out of a vCPU.

use super::error::Context;
use super::vcpu::KvmVcpu;
use super::{msrs, regs};
use gearbox_core::vm::VmError;
use gearbox_core::x86::lapic::Lapic;
use gearbox_core::x86::state::{Activity, FpuState, X86State, cr0};
use kvm_bindings::{kvm_xcr, kvm_xcrs, kvm_xsave};

/// XSTATE_BV in the header of an XSAVE image, and its AVX bit.
const XSTATE_BV: usize = 512;
const AVX_COMPONENT: u8 = 1 << 2;

impl KvmVcpu {
    /// Reads everything. No port or memory access may be unfinished.
    pub(super) fn read_state(&mut self) -> Result<X86State, VmError> {
        self.deliver_queued_interrupt()?;
        let fd = &self.fd;
        let mut s = X86State::reset(self.bsp, self.signature);
        // First: this call takes INIT and SIPI that have arrived, which change everything else.
        s.activity = regs::from_mp_state(fd.get_mp_state().context("KVM_GET_MP_STATE")?);
        if self.shut_down {
            s.activity = Activity::Shutdown;
        }
        regs::from_regs(&fd.get_regs().context("KVM_GET_REGS")?, &mut s);
        regs::from_sregs(&fd.get_sregs().context("KVM_GET_SREGS")?, &mut s);
        s.dr = regs::from_debug_regs(&fd.get_debug_regs().context("KVM_GET_DEBUGREGS")?);
        s.xcr0 = self.read_xcr0()?;
        s.fpu = self.read_fpu()?;
        s.events = regs::from_events(&fd.get_vcpu_events().context("KVM_GET_VCPU_EVENTS")?);
        s.lapic = Some(regs::from_lapic(&fd.get_lapic().context("KVM_GET_LAPIC")?));
        s.tsc = msrs::read_one(fd, msrs::TSC)?;
        let indices: Vec<u32> = self.power_on_msrs.keys().copied().collect();
        s.msrs = msrs::read(fd, &indices)?;
        Ok(s)
    }

    /// Writes everything. MSRs that the state does not name get their values after power-on, and so does a local APIC that it does not hold.
    pub(super) fn write_state(&mut self, s: &X86State) -> Result<(), VmError> {
        self.deliver_queued_interrupt()?;
        self.ready = false;
        let fd = &self.fd;
        fd.set_mp_state(regs::to_mp_state(s.activity)).context("KVM_SET_MP_STATE")?;
        fd.set_sregs(&regs::to_sregs(s)).context("KVM_SET_SREGS")?;
        self.write_xcr0(s.xcr0)?;
        self.write_fpu(&s.fpu)?;

        let mut values = self.power_on_msrs.clone();
        values.extend(s.msrs.iter().map(|(i, v)| (*i, *v)));
        let deadline = values.remove(&msrs::TSC_DEADLINE);
        let ordered: Vec<_> = std::iter::once((msrs::TSC, s.tsc)).chain(values).collect();
        msrs::write(fd, &ordered)?;
        // CR8 is its task priority, which KVM_SET_LAPIC sets as well.
        let power_on = || {
            let mut lapic = Lapic::new(self.apic_id, self.bsp, true);
            lapic.set_cr8(s.cr8);
            lapic.save(0)
        };
        let lapic = s.lapic.clone().unwrap_or_else(power_on);
        fd.set_lapic(&regs::to_lapic(&lapic)).context("KVM_SET_LAPIC")?;
        if let Some(deadline) = deadline {
            msrs::write(fd, &[(msrs::TSC_DEADLINE, deadline)])?;
        }

        fd.set_debug_regs(&regs::to_debug_regs(&s.dr)).context("KVM_SET_DEBUGREGS")?;
        fd.set_regs(&regs::to_regs(s)).context("KVM_SET_REGS")?;
        // Last: KVM_SET_REGS forgets an exception that is being delivered.
        fd.set_vcpu_events(&regs::to_events(&s.events)).context("KVM_SET_VCPU_EVENTS")?;
        self.shut_down = s.activity == Activity::Shutdown;
        Ok(())
    }

    /// What the INIT pin does (SDM vol. 3, table 10-1): as RESET, but x87, SSE, MSRs, the TSC, the cache bits of CR0 and the id and
    /// base of the local APIC stay.
    pub(super) fn soft_reset(&mut self) -> Result<(), VmError> {
        let old = self.read_state()?;
        let mut new = X86State::reset(self.bsp, self.signature);
        let caches = cr0::CD | cr0::NW;
        new.cr0 = new.cr0 & !caches | old.cr0 & caches;
        let mut lapic = Lapic::new(self.apic_id, self.bsp, true);
        if let Some(state) = &old.lapic {
            lapic.restore(state, old.apic_base, 0);
        }
        lapic.init();
        new.lapic = Some(lapic.save(0));
        (new.fpu, new.xcr0, new.msrs, new.tsc) = (old.fpu, old.xcr0, old.msrs, old.tsc);
        new.apic_base = old.apic_base;
        self.write_state(&new)
    }

    fn read_xcr0(&self) -> Result<u64, VmError> {
        let xcrs = self.fd.get_xcrs().context("KVM_GET_XCRS")?;
        let used = xcrs.xcrs.iter().take(xcrs.nr_xcrs as usize);
        Ok(used.filter(|x| x.xcr == 0).map(|x| x.value).next().unwrap_or(1))
    }

    fn write_xcr0(&self, value: u64) -> Result<(), VmError> {
        let mut xcrs = kvm_xcrs { nr_xcrs: 1, ..Default::default() };
        xcrs.xcrs[0] = kvm_xcr { xcr: 0, value, ..Default::default() };
        self.fd.set_xcrs(&xcrs).context("KVM_SET_XCRS")
    }

    fn read_fpu(&self) -> Result<FpuState, VmError> {
        let xsave = self.fd.get_xsave().context("KVM_GET_XSAVE")?;
        let bytes: Vec<u8> = xsave.region.iter().flat_map(|w| w.to_le_bytes()).collect();
        Ok(FpuState::from_xsave(&bytes))
    }

    fn write_fpu(&self, fpu: &FpuState) -> Result<(), VmError> {
        let mut image = fpu.to_xsave();
        if fpu.ymm_hi == [0; 16] {
            // Initial values may be left out, and must be where the host has no AVX.
            image[XSTATE_BV] &= !AVX_COMPONENT;
        }
        let mut xsave = kvm_xsave::default();
        for (word, bytes) in xsave.region.iter_mut().zip(image.chunks_exact(4)) {
            *word = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        }
        // SAFETY: KVM reads more than the 4 KiB only for components enabled by arch_prctl (AMX), which nothing here enables.
        unsafe { self.fd.set_xsave(&xsave) }.context("KVM_SET_XSAVE")
    }
}
