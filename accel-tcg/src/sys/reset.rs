//! INIT (SDM vol. 3, table 10-1).

use crate::cpu::Cpu;
use gearbox_core::x86::state::{Activity, PendingEvents, Seg, X86State, cr0};

/// INIT: as RESET, but CR0's cache bits, the FPU, the MSRs, the time-stamp counter, the caches and the APIC's place stay. A processor that
/// is not the bootstrap one then waits for its start-up IPI.
pub(crate) fn init(cpu: &mut Cpu) {
    let fresh = X86State::reset(cpu.bsp, cpu.cpuid.signature());
    cpu.regs[..16].copy_from_slice(&fresh.gpr);
    cpu.rip = fresh.rip;
    cpu.gdtr = fresh.gdtr;
    cpu.idtr = fresh.idtr;
    let kept = cr0::CD | cr0::NW;
    cpu.cr0 = cpu.cr0 & kept | fresh.cr0 & !kept;
    cpu.cr2 = 0;
    cpu.cr3 = 0;
    cpu.cr4 = 0;
    cpu.efer = 0;
    cpu.dr = fresh.dr;
    cpu.set_rflags(fresh.rflags);
    for s in [Seg::Es, Seg::Cs, Seg::Ss, Seg::Ds, Seg::Fs, Seg::Gs, Seg::Ldtr, Seg::Tr] {
        cpu.set_seg(s, *fresh.seg(s));
    }
    cpu.set_cpl(0);
    cpu.events = PendingEvents::default();
    cpu.activity = if cpu.bsp { Activity::Active } else { Activity::WaitForSipi };
    {
        let mut lapic = cpu.lapic.lock();
        // A start-up IPI may have followed already.
        let startup = lapic.events().startup;
        lapic.init();
        lapic.events_mut().startup = startup;
    }
    cpu.lapic_touched = true;
    cpu.flush_tlb(true);
    cpu.update_mode();
}
