//! Between the CPU and the neutral [`X86State`].

use crate::cpu::{Cpu, Msrs};
use gearbox_core::vm::VmError;
use gearbox_core::x86::state::{Seg, X86State, cr0, cr4, rflags};

/// MSRs with a field of their own, by index (SDM vol. 4, table 2-2; AMD APM vol. 2, 3.1.7).
const FIELDS: [(u32, fn(&mut Msrs) -> &mut u64); 9] = [
    (0x174, |m| &mut m.sysenter_cs),
    (0x175, |m| &mut m.sysenter_esp),
    (0x176, |m| &mut m.sysenter_eip),
    (0xc000_0081, |m| &mut m.star),
    (0xc000_0082, |m| &mut m.lstar),
    (0xc000_0083, |m| &mut m.cstar),
    (0xc000_0084, |m| &mut m.sfmask),
    (0xc000_0102, |m| &mut m.kernel_gs_base),
    (0xc000_0103, |m| &mut m.tsc_aux),
];

/// Kept beside PKRU, as page walks look at both.
pub(crate) const IA32_PKRS: u32 = 0x6e1;

const SEGMENTS: [Seg; 8] = [Seg::Es, Seg::Cs, Seg::Ss, Seg::Ds, Seg::Fs, Seg::Gs, Seg::Ldtr, Seg::Tr];

impl Cpu {
    /// The whole state.
    pub(crate) fn save(&mut self) -> X86State {
        let mut msrs = self.msr.other.clone();
        for (index, field) in FIELDS {
            msrs.insert(index, *field(&mut self.msr));
        }
        msrs.insert(IA32_PKRS, self.pkrs.into());
        let mut s = X86State::reset(self.bsp, 0);
        s.gpr.copy_from_slice(&self.regs[..16]);
        s.rip = self.rip;
        s.rflags = self.rflags();
        s.seg = self.seg;
        s.gdtr = self.gdtr;
        s.idtr = self.idtr;
        (s.cr0, s.cr2, s.cr3, s.cr4) = (self.cr0, self.cr2, self.cr3, self.cr4);
        s.cr8 = self.lapic_cr8();
        s.efer = self.efer;
        s.xcr0 = self.xcr0;
        s.pkru = self.pkru;
        s.dr = self.dr;
        s.fpu = self.fpu.to_state();
        s.apic_base = self.apic_base();
        s.tsc = self.tsc();
        s.msrs = msrs;
        s.lapic = Some(self.lapic.lock().save(self.now()));
        s.events = self.events;
        s.activity = self.activity;
        s.smm = self.smm;
        s.smm.pending |= self.lapic.lock().events().smi;
        s
    }

    /// Loads a whole state.
    ///
    /// # Errors
    /// The state is none that this CPU can be in.
    pub(crate) fn restore(&mut self, s: &X86State) -> Result<(), VmError> {
        if s.cr0 & cr0::PG != 0 && s.cr0 & cr0::PE == 0 {
            return Err(VmError::Unsupported("paging without protection (CR0.PG without CR0.PE)".into()));
        }
        self.regs[..16].copy_from_slice(&s.gpr);
        self.rip = s.rip;
        self.gdtr = s.gdtr;
        self.idtr = s.idtr;
        (self.cr0, self.cr2, self.cr3, self.cr4) = (s.cr0, s.cr2, s.cr3, s.cr4);
        self.efer = s.efer;
        self.xcr0 = s.xcr0;
        self.pkru = s.pkru;
        self.dr = s.dr;
        self.set_rflags(s.rflags);
        for seg in SEGMENTS {
            self.set_seg(seg, s.seg[seg as usize]);
        }
        let v86 = s.rflags & rflags::VM != 0;
        let ring = if s.cr0 & cr0::PE == 0 {
            0
        } else if v86 {
            3
        } else {
            s.seg(Seg::Ss).dpl()
        };
        self.set_cpl(ring);
        self.fpu = crate::fpu::Fpu::from_state(&s.fpu);
        self.msr = Msrs { other: s.msrs.clone(), ..Msrs::default() };
        for (index, field) in FIELDS {
            if let Some(v) = self.msr.other.remove(&index) {
                *field(&mut self.msr) = v;
            }
        }
        self.pkrs = self.msr.other.remove(&IA32_PKRS).unwrap_or(0) as u32;
        self.tsc_offset = 0;
        self.tsc_offset = s.tsc.wrapping_sub(self.tsc());
        self.events = s.events;
        self.activity = s.activity;
        self.smm = s.smm;
        let now = self.now();
        {
            let mut l = self.lapic.lock();
            match &s.lapic {
                Some(state) => l.restore(state, s.apic_base, now),
                None => {
                    l.reset();
                    // A state without APIC registers comes from RESET, where the base is what RESET sets.
                    let _ = l.set_apic_base(s.apic_base, self.phys_bits);
                }
            }
            l.set_cr8(s.cr8);
        }
        self.lapic_touched = true;
        self.update_apic_page();
        self.flush_tlb(true);
        self.load_pdptes_quietly();
        self.update_mode();
        Ok(())
    }
    /// The page-directory pointers of PAE paging, as the CR3 load before the state was saved read them.
    pub(crate) fn load_pdptes_quietly(&mut self) {
        if self.cr0 & cr0::PG != 0 && self.cr4 & cr4::PAE != 0 && !self.long_mode() {
            for n in 0..4 {
                let at = (self.cr3 & 0xffff_ffe0) + 8 * n as u64;
                self.pdpte[n] = self.memory.read_array(at).map_or(0, u64::from_le_bytes);
            }
        }
    }
}
