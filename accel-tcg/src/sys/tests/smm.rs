//! System management mode: what is saved, what the handler may change, what waits.

use super::*;
use gearbox_core::x86::state::{Activity, rflags};

/// Where the handler is at first.
const HANDLER: u64 = 0x3_8000;
/// Auto-HALT restart and SMBASE in the 64-bit map, as offsets from the handler.
const AUTO_HALT: u64 = 0x7ec9;
const SMBASE: u64 = 0x7f00;
const RSM: [u8; 2] = [0x0f, 0xaa];

/// An SMI is on its way; the handler is this 16-bit code, then RSM.
fn rig(mut r: Rig, handler: &[u8]) -> Rig {
    r.put(HANDLER, &[handler, &RSM].concat());
    r.state.smm.pending = true;
    r
}
/// `mov byte ptr cs:[offset], value`, with 32-bit addresses.
fn store(at: u64, value: u8) -> Vec<u8> {
    [&[0x2e, 0x67, 0xc6, 0x05][..], &(at as u32).to_le_bytes(), &[value]].concat()
}
/// What has to come back as it was.
fn compared(s: &X86State) -> X86State {
    X86State { tsc: 0, lapic: None, ..s.clone() }
}

#[test]
fn every_mode_comes_back() {
    let rigs: [fn() -> Rig; 6] = [
        Rig::real,
        Rig::protected,
        || Rig::protected().user(),
        || Rig::protected().v86(3),
        Rig::long,
        || Rig::long().user(),
    ];
    for make in rigs {
        // mov dword ptr [0x500], 0x1234; xor ax, ax; mov ds, ax; mov dr7, eax
        let handler = [0x66, 0x67, 0xc7, 0x05, 0, 5, 0, 0, 0x34, 0x12, 0, 0, 0x31, 0xc0, 0x8e, 0xd8, 0x0f, 0x23, 0xf8];
        let mut r = rig(make(), &handler);
        for n in (0..16).filter(|&n| n != 4) {
            r.state.gpr[n] = 0x1111 * n as u64;
        }
        r.state.rflags |= rflags::CF | rflags::OF;
        let before = X86State { smm: Default::default(), ..r.state.clone() };
        // The handler's four instructions and RSM.
        let (_, after) = r.bench.run(&[0x90], &r.state.clone(), 5);
        assert_eq!(r.get32(0x500), 0x1234);
        assert_eq!(compared(&after), compared(&X86State { msrs: after.msrs.clone(), ..before }));
    }
}

#[test]
fn the_state_inside() {
    let mut r = Rig::long();
    r.state.smm.pending = true;
    r.state.gpr[3] = 77;
    let (_, s) = r.bench.run(&[0x90], &r.state.clone(), 0);
    assert!(s.smm.active && s.events.nmi_masked && !s.smm.pending);
    assert_eq!((s.efer, s.cr4, s.cr0 & (cr0::PE | cr0::PG), s.dr[5], s.gpr[3]), (0, 0, 0, 0x400, 77));
    let cs = s.seg(Seg::Cs);
    assert_eq!((cs.selector, cs.base, cs.limit, s.seg(Seg::Ds).limit), (0x3000, 0x3_0000, u32::MAX, u32::MAX));
    assert_eq!((r.get64(HANDLER + 0x7ff8 - 24), r.get32(HANDLER + 0x7efc)), (77, 0x0002_0064));
}

#[test]
fn smbase_moves() {
    let mut r = rig(Rig::protected(), &store(0x8000 + SMBASE + 2, 4));
    let o = r.run(&[0xf4]);
    assert_eq!((o.exit, o.state.smm.base, o.state.smm.active), (VcpuExit::Halted, 0x4_0000, false));
}

#[test]
fn a_halted_cpu_goes_back_or_on() {
    let mut r = rig(Rig::protected(), &[]);
    r.state.activity = Activity::Halted;
    r.state.rip = CODE + 1;
    let o = r.run(&[0xf4, 0x40, 0xf4]);
    assert_eq!((o.state.activity, o.state.rip, o.state.gpr[0]), (Activity::Halted, CODE + 1, 0));
    let mut r = rig(Rig::protected(), &store(0x8000 + AUTO_HALT, 0));
    r.state.activity = Activity::Halted;
    r.state.rip = CODE + 1;
    let o = r.run(&[0xf4, 0x40, 0xf4]);
    assert_eq!((o.state.rip, o.state.gpr[0]), (CODE + 3, 1));
}

#[test]
fn rsm_is_for_the_handler_only() {
    assert_eq!(Rig::protected().run(&RSM).vector(), Some(6));
    assert_eq!(Rig::long().run(&RSM).vector(), Some(6));
}

#[test]
fn an_nmi_waits_for_rsm() {
    // inc word ptr [0x500]
    let mut r = rig(Rig::protected(), &[0x67, 0xff, 0x05, 0, 5, 0, 0]);
    r.state.events.nmi_pending = true;
    r.state.events.nmi_masked = false;
    let o = r.run(&[0x90, 0xf4]);
    assert_eq!((o.vector(), r.get32(0x500) & 0xffff), (Some(2), 1));
    assert!(o.state.events.nmi_masked, "by the NMI now");
}

#[test]
fn a_broken_map_shuts_the_cpu_down() {
    // CR0 with paging but without protection.
    let mut r = rig(Rig::protected(), &[store(0x8000 + 0x7f58, 0), store(0x8000 + 0x7f5b, 0x80)].concat());
    assert_eq!(r.run(&[0xf4]).exit, VcpuExit::TripleFault);
    // A bit of CR4 that is not there.
    let mut r = rig(Rig::protected(), &store(0x8000 + 0x7f4b, 0x80));
    assert_eq!(r.run(&[0xf4]).exit, VcpuExit::TripleFault);
}
