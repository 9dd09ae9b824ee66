use super::*;
use gearbox_core::x86::state::rflags;

const OTHER: u64 = 0xc000;
const OTHER_TASK: u16 = SPARE;
const LANDING: u32 = 0x7000;

/// A second task: 32-bit, ring 0, at LANDING.
fn rig() -> Rig {
    let mut r = Rig::protected();
    r.set_descriptor(OTHER_TASK, descriptor(OTHER, 0x67, 0x89));
    let words = [(0x20, LANDING), (0x24, 2), (0x28, 0xaaaa), (0x38, 0xb000), (0x60, 0)];
    for (at, v) in words {
        r.put(OTHER + at, &v.to_le_bytes());
    }
    for (k, s) in [DATA0, CODE0, DATA0, DATA0, 0, 0].into_iter().enumerate() {
        r.put(OTHER + 0x48 + 4 * k as u64, &u32::from(s).to_le_bytes());
    }
    r.put(LANDING.into(), &[0xf4]);
    r
}
fn far(opcode: u8, selector: u16) -> Vec<u8> {
    [&[opcode, 0, 0, 0, 0][..], &selector.to_le_bytes()].concat()
}

#[test]
fn a_jump_saves_and_loads_everything() {
    let mut r = rig();
    r.state.gpr[3] = 0x1234;
    let o = r.run(&far(0xea, OTHER_TASK));
    assert_eq!((o.state.rip, o.state.gpr[0], o.state.gpr[4]), (u64::from(LANDING) + 1, 0xaaaa, 0xb000));
    assert_eq!(o.state.seg(Seg::Tr).selector, OTHER_TASK);
    assert_eq!(o.state.cr0 & cr0::TS, cr0::TS);
    assert_eq!((r.get32(TSS + 0x20), r.get32(TSS + 0x34)), (CODE as u32 + 7, 0x1234));
    assert_eq!((r.access_byte(TASK), r.access_byte(OTHER_TASK)), (0x89, 0x8b));
    assert!(o.state.seg(Seg::Fs).unusable());
}

#[test]
fn a_call_nests_and_iret_comes_back() {
    let mut r = rig();
    // In the other task: mov ecx, 5; iret. Back: hlt.
    r.put(LANDING.into(), &[0xb9, 5, 0, 0, 0, 0xcf]);
    let o = r.run(&[far(0x9a, OTHER_TASK), vec![0xf4]].concat());
    assert_eq!(o.state.rip, CODE + 8);
    assert_eq!(o.state.seg(Seg::Tr).selector, TASK);
    assert_eq!((r.get32(OTHER) & 0xffff, r.get32(OTHER + 0x2c)), (TASK.into(), 5));
    assert_eq!(o.state.rflags & rflags::NT, 0);
    assert_eq!((r.access_byte(TASK), r.access_byte(OTHER_TASK)), (0x8b, 0x89));
}

#[test]
fn a_task_gate_takes_an_exception_with_its_code() {
    let mut r = rig();
    r.set_gate(13, OTHER_TASK, 0, 0x85);
    let o = r.run(&[0x66, 0xb8, 0x00, 0x0f, 0x8e, 0xd8]);
    assert_eq!(o.state.seg(Seg::Tr).selector, OTHER_TASK);
    assert_eq!((o.state.gpr[4], r.get32(0xb000 - 4)), (0xb000 - 4, 0xf00));
    assert_eq!(r.get32(TSS + 0x20), CODE as u32 + 4, "the faulting instruction");
    assert_eq!(o.state.rflags & rflags::NT, rflags::NT);
}

#[test]
fn bad_tasks_are_refused() {
    let mut r = rig();
    r.set_descriptor(OTHER_TASK, descriptor(OTHER, 0x66, 0x89));
    assert_eq!(r.fault(&far(0xea, OTHER_TASK), 10).1, u64::from(OTHER_TASK), "too short");
    r.set_descriptor(OTHER_TASK, descriptor(OTHER, 0x67, 0x09));
    assert_eq!(r.fault(&far(0xea, OTHER_TASK), 11).1, u64::from(OTHER_TASK));
    r.set_descriptor(OTHER_TASK, descriptor(OTHER, 0x67, 0x8b));
    assert_eq!(r.fault(&far(0xea, OTHER_TASK), 13).1, u64::from(OTHER_TASK), "busy");
}

#[test]
fn a_bad_segment_in_the_new_task_faults_there() {
    let mut r = rig();
    r.put(OTHER + 0x54, &0xf00u32.to_le_bytes());
    let (o, error) = r.fault(&far(0xea, OTHER_TASK), 10);
    assert_eq!((error, o.state.seg(Seg::Tr).selector), (0xf00, OTHER_TASK));
    assert_eq!(r.get32(o.state.gpr[4] + 4), LANDING);
}
