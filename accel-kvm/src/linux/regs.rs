//! Registers between the neutral form and KVM's structures.

use gearbox_core::x86::state::{
    Activity, DescriptorTable, LapicState, PendingEvents, PendingException, Seg, Segment, X86State,
};
use kvm_bindings::*;

/// Fields of [`Segment::attr`], by their lowest bit.
mod attr {
    pub(super) const S: u32 = 4;
    pub(super) const DPL: u32 = 5;
    pub(super) const P: u32 = 7;
    pub(super) const AVL: u32 = 12;
    pub(super) const L: u32 = 13;
    pub(super) const DB: u32 = 14;
    pub(super) const G: u32 = 15;
}

fn to_segment(s: &Segment) -> kvm_segment {
    let bit = |at: u32| (s.attr >> at & 1) as u8;
    kvm_segment {
        base: s.base,
        limit: s.limit,
        selector: s.selector,
        type_: s.typ(),
        present: bit(attr::P),
        dpl: s.dpl(),
        db: bit(attr::DB),
        s: bit(attr::S),
        l: bit(attr::L),
        g: bit(attr::G),
        avl: bit(attr::AVL),
        unusable: u8::from(s.unusable()),
        padding: 0,
    }
}

fn from_segment(s: &kvm_segment) -> Segment {
    let at = |value: u8, at: u32| u32::from(value) << at;
    let unusable = if s.unusable != 0 { Segment::UNUSABLE } else { 0 };
    Segment {
        selector: s.selector,
        base: s.base,
        limit: s.limit,
        attr: u32::from(s.type_ & 15)
            | at(s.s & 1, attr::S)
            | at(s.dpl & 3, attr::DPL)
            | at(s.present & 1, attr::P)
            | at(s.avl & 1, attr::AVL)
            | at(s.l & 1, attr::L)
            | at(s.db & 1, attr::DB)
            | at(s.g & 1, attr::G)
            | unusable,
    }
}

fn to_table(t: &DescriptorTable) -> kvm_dtable {
    kvm_dtable { base: t.base, limit: t.limit, padding: [0; 3] }
}

fn from_table(t: &kvm_dtable) -> DescriptorTable {
    DescriptorTable { base: t.base, limit: t.limit }
}

pub(super) fn to_regs(s: &X86State) -> kvm_regs {
    let [rax, rcx, rdx, rbx, rsp, rbp, rsi, rdi, r8, r9, r10, r11, r12, r13, r14, r15] = s.gpr;
    kvm_regs {
        rax,
        rbx,
        rcx,
        rdx,
        rsi,
        rdi,
        rsp,
        rbp,
        r8,
        r9,
        r10,
        r11,
        r12,
        r13,
        r14,
        r15,
        rip: s.rip,
        rflags: s.rflags,
    }
}

pub(super) fn from_regs(r: &kvm_regs, s: &mut X86State) {
    s.gpr =
        [r.rax, r.rcx, r.rdx, r.rbx, r.rsp, r.rbp, r.rsi, r.rdi, r.r8, r.r9, r.r10, r.r11, r.r12, r.r13, r.r14, r.r15];
    (s.rip, s.rflags) = (r.rip, r.rflags);
}

pub(super) fn to_sregs(s: &X86State) -> kvm_sregs {
    let seg = |which| to_segment(s.seg(which));
    kvm_sregs {
        cs: seg(Seg::Cs),
        ds: seg(Seg::Ds),
        es: seg(Seg::Es),
        fs: seg(Seg::Fs),
        gs: seg(Seg::Gs),
        ss: seg(Seg::Ss),
        tr: seg(Seg::Tr),
        ldt: seg(Seg::Ldtr),
        gdt: to_table(&s.gdtr),
        idt: to_table(&s.idtr),
        cr0: s.cr0,
        cr2: s.cr2,
        cr3: s.cr3,
        cr4: s.cr4,
        cr8: s.cr8,
        efer: s.efer,
        apic_base: s.apic_base,
        // Interrupts being delivered travel in KVM_SET_VCPU_EVENTS.
        interrupt_bitmap: [0; 4],
    }
}

pub(super) fn from_sregs(r: &kvm_sregs, s: &mut X86State) {
    for (seg, value) in [
        (Seg::Cs, &r.cs),
        (Seg::Ds, &r.ds),
        (Seg::Es, &r.es),
        (Seg::Fs, &r.fs),
        (Seg::Gs, &r.gs),
        (Seg::Ss, &r.ss),
        (Seg::Tr, &r.tr),
        (Seg::Ldtr, &r.ldt),
    ] {
        *s.seg_mut(seg) = from_segment(value);
    }
    (s.gdtr, s.idtr) = (from_table(&r.gdt), from_table(&r.idt));
    (s.cr0, s.cr2, s.cr3, s.cr4, s.cr8) = (r.cr0, r.cr2, r.cr3, r.cr4, r.cr8);
    (s.efer, s.apic_base) = (r.efer, r.apic_base);
}

pub(super) fn to_debug_regs(dr: &[u64; 6]) -> kvm_debugregs {
    kvm_debugregs { db: [dr[0], dr[1], dr[2], dr[3]], dr6: dr[4], dr7: dr[5], ..Default::default() }
}

pub(super) fn from_debug_regs(d: &kvm_debugregs) -> [u64; 6] {
    let [a, b, c, e] = d.db;
    [a, b, c, e, d.dr6, d.dr7]
}

pub(super) fn to_events(e: &PendingEvents) -> kvm_vcpu_events {
    let mut k =
        kvm_vcpu_events { flags: KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW, ..Default::default() };
    if let Some(x) = &e.exception {
        (k.exception.injected, k.exception.nr) = (1, x.vector);
        k.exception.has_error_code = u8::from(x.error_code.is_some());
        k.exception.error_code = x.error_code.unwrap_or(0);
    }
    if let Some(vector) = e.interrupt {
        (k.interrupt.injected, k.interrupt.nr) = (1, vector);
    }
    let shadow = |on: bool, bit: u32| if on { bit as u8 } else { 0 };
    k.interrupt.shadow =
        shadow(e.sti_shadow, KVM_X86_SHADOW_INT_STI) | shadow(e.mov_ss_shadow, KVM_X86_SHADOW_INT_MOV_SS);
    (k.nmi.pending, k.nmi.masked) = (u8::from(e.nmi_pending), u8::from(e.nmi_masked));
    k
}

pub(super) fn from_events(k: &kvm_vcpu_events) -> PendingEvents {
    let x = &k.exception;
    PendingEvents {
        exception: (x.injected != 0 || x.pending != 0)
            .then(|| PendingException { vector: x.nr, error_code: (x.has_error_code != 0).then_some(x.error_code) }),
        // A software interrupt that has begun begins again: RIP is still at its instruction.
        interrupt: (k.interrupt.injected != 0 && k.interrupt.soft == 0).then_some(k.interrupt.nr),
        nmi_pending: k.nmi.pending != 0 || k.nmi.injected != 0,
        nmi_masked: k.nmi.masked != 0,
        sti_shadow: u32::from(k.interrupt.shadow) & KVM_X86_SHADOW_INT_STI != 0,
        mov_ss_shadow: u32::from(k.interrupt.shadow) & KVM_X86_SHADOW_INT_MOV_SS != 0,
    }
}

/// KVM has no state for [`Activity::Shutdown`]; the vCPU keeps that itself.
pub(super) fn to_mp_state(a: Activity) -> kvm_mp_state {
    let mp_state = match a {
        Activity::Active | Activity::Shutdown => KVM_MP_STATE_RUNNABLE,
        Activity::Halted => KVM_MP_STATE_HALTED,
        Activity::WaitForSipi => KVM_MP_STATE_INIT_RECEIVED,
    };
    kvm_mp_state { mp_state }
}

pub(super) fn from_mp_state(m: kvm_mp_state) -> Activity {
    match m.mp_state {
        KVM_MP_STATE_HALTED => Activity::Halted,
        KVM_MP_STATE_UNINITIALIZED | KVM_MP_STATE_INIT_RECEIVED | KVM_MP_STATE_SIPI_RECEIVED => Activity::WaitForSipi,
        _ => Activity::Active,
    }
}

pub(super) fn to_lapic(l: &LapicState) -> kvm_lapic_state {
    let mut k = kvm_lapic_state::default();
    for (slot, value) in k.regs.chunks_exact_mut(16).zip(&l.regs) {
        for (to, from) in slot.iter_mut().zip(value.to_le_bytes()) {
            *to = from.cast_signed();
        }
    }
    k
}

pub(super) fn from_lapic(k: &kvm_lapic_state) -> LapicState {
    let dword = |slot: &[std::os::raw::c_char]| {
        u32::from_le_bytes(std::array::from_fn(|i| slot.get(i).map_or(0, |b| b.cast_unsigned())))
    };
    LapicState { regs: k.regs.chunks_exact(16).map(dword).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_keep_every_bit() {
        for attr in [0x93, 0x9b, 0xa09b, 0xc093, 0x8b, 0x82, 0x10082, 0x50f3, Segment::UNUSABLE] {
            let s = Segment { selector: 0x1234, base: 0xffff_8000_1234_5678, limit: 0xfffff, attr };
            assert_eq!(from_segment(&to_segment(&s)), s, "{attr:#x}");
        }
    }

    #[test]
    fn events_keep_everything() {
        let e = PendingEvents {
            exception: Some(PendingException { vector: 14, error_code: Some(7) }),
            interrupt: Some(0x21),
            nmi_pending: true,
            nmi_masked: true,
            sti_shadow: true,
            mov_ss_shadow: false,
        };
        assert_eq!(from_events(&to_events(&e)), e);
        assert_eq!(from_events(&to_events(&PendingEvents::default())), PendingEvents::default());
    }

    #[test]
    fn lapic_registers_keep_their_slots() {
        let regs = (0..LapicState::SLOTS as u32).map(|i| (i * 0x0101_0101) ^ 0xff00_00ff).collect();
        let l = LapicState { regs };
        assert_eq!(from_lapic(&to_lapic(&l)), l);
    }
}
