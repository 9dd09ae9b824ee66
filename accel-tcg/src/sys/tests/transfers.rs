use super::*;

const LANDING: u64 = 0x7000;

/// jmp far SELECTOR:LANDING
fn jump(selector: u16) -> Vec<u8> {
    far(0xea, selector)
}
fn call(selector: u16) -> Vec<u8> {
    far(0x9a, selector)
}
fn far(opcode: u8, selector: u16) -> Vec<u8> {
    [&[opcode][..], &(LANDING as u32).to_le_bytes(), &selector.to_le_bytes()].concat()
}
/// A call gate to `selector`:LANDING.
fn call_gate(selector: u16, typ: u64, params: u64) -> u64 {
    gate(selector, LANDING, typ) | params << 32
}

#[test]
fn real_mode_far_jump_and_call() {
    let mut r = Rig::real();
    r.put(0x5_0010, &[0xf4]);
    // jmp far 5000:0010
    let o = r.run(&[0xea, 0x10, 0x00, 0x00, 0x50]);
    assert_eq!((o.state.seg(Seg::Cs).base, o.state.rip), (0x5_0000, 0x11));
    // call far 5000:0010
    let o = r.run(&[0x9a, 0x10, 0x00, 0x00, 0x50]);
    let frame: [u8; 4] = r.bench.memory.read_array(INNER_STACK - 4).unwrap();
    assert_eq!((o.state.gpr[4], frame), (INNER_STACK - 4, [5, 0, 0, 0]));
}

#[test]
fn direct_transfers_are_checked() {
    let mut r = Rig::protected();
    r.put(LANDING, &[0xf4]);
    assert_eq!(r.run(&jump(CODE0)).state.rip, LANDING + 1);
    for (selector, vector, error) in
        [(0, 13, 0), (DATA0, 13, DATA0), (CODE3, 13, CODE3 & !3), (CODE0 | 1, 13, CODE0), (0x100, 13, 0x100)]
    {
        assert_eq!(r.fault(&jump(selector), vector).1, u64::from(error), "{selector:#x}");
        assert_eq!(r.fault(&call(selector), vector).1, u64::from(error), "{selector:#x}");
    }
    r.set_descriptor(SPARE, descriptor(0, 0xf_ffff, 0xc01a));
    assert_eq!(r.fault(&jump(SPARE), 11).1, u64::from(SPARE));
    r.set_descriptor(SPARE, descriptor(0, 0x100, 0x409a));
    assert_eq!(r.fault(&jump(SPARE), 13).1, 0);
}

#[test]
fn conforming_code_keeps_the_privilege_level() {
    let mut r = Rig::protected().user();
    r.set_descriptor(SPARE, descriptor(0, 0xf_ffff, 0xc09e));
    r.put(LANDING, &[0x0f, 0x0b]);
    assert_eq!(r.run(&jump(SPARE)).vector(), Some(6));
    assert_eq!(r.get32(INNER_STACK - 16), u32::from(SPARE) | 3);
}

#[test]
fn a_call_gate_inward_copies_parameters() {
    let mut r = Rig::protected().user();
    r.set_descriptor(SPARE, call_gate(CODE0, 0xec, 2));
    r.put(LANDING, &[0xf4]);
    r.put(OUTER_STACK, &[1, 0, 0, 0, 2, 0, 0, 0]);
    let o = r.run(&call(SPARE));
    assert_eq!(o.state.rip, LANDING + 1);
    let frame = [CODE as u32 + 7, CODE3.into(), 1, 2, OUTER_STACK as u32, DATA3.into()];
    assert_eq!(r.dwords(INNER_STACK - 24), frame);
    assert_eq!((o.state.seg(Seg::Cs).selector, o.state.seg(Seg::Ss).selector), (CODE0, DATA0));
}

#[test]
fn call_gates_are_checked() {
    let mut r = Rig::protected().user();
    r.set_descriptor(SPARE, call_gate(CODE0, 0x8c, 0));
    assert_eq!(r.fault(&call(SPARE), 13).1, u64::from(SPARE), "the gate's DPL");
    r.set_descriptor(SPARE, call_gate(CODE0, 0x6c, 0));
    assert_eq!(r.fault(&call(SPARE), 11).1, u64::from(SPARE));
    r.set_descriptor(SPARE, call_gate(0, 0xec, 0));
    assert_eq!(r.fault(&call(SPARE), 13).1, 0);
    r.set_descriptor(SPARE, call_gate(DATA0, 0xec, 0));
    assert_eq!(r.fault(&call(SPARE), 13).1, u64::from(DATA0));
    r.set_descriptor(SPARE, call_gate(CODE0, 0xec, 0));
    assert_eq!(r.fault(&jump(SPARE), 13).1, u64::from(CODE0), "a jump does not change the level");
}

#[test]
fn call_gate_in_long_mode_is_16_bytes_and_pushes_quadwords() {
    let mut r = Rig::long().user();
    r.set_descriptor(SPARE, call_gate(CODE0, 0xec, 0));
    r.set_descriptor(SPARE + 8, 0);
    r.put(LANDING, &[0xf4]);
    r.put(0x8000, &0u32.to_le_bytes());
    r.put(0x8004, &SPARE.to_le_bytes());
    // call far [0x8000]
    let code = [0xff, 0x1c, 0x25, 0x00, 0x80, 0, 0];
    let o = r.run(&code);
    assert_eq!(o.state.rip, LANDING + 1);
    assert_eq!(r.quads(INNER_STACK - 32), [CODE + 7, CODE3.into(), OUTER_STACK, DATA3.into()]);
    assert!(o.state.seg(Seg::Ss).unusable());
    r.put(0x8004, &TASK.to_le_bytes());
    assert_eq!(r.fault(&code, 13).1, u64::from(TASK), "no task switches in long mode");
}

#[test]
fn far_jump_into_compatibility_mode() {
    let mut r = Rig::long();
    r.set_descriptor(SPARE, descriptor(0, 0xf_ffff, 0xc09b));
    r.put(0x8000, &(LANDING as u32).to_le_bytes());
    r.put(0x8004, &SPARE.to_le_bytes());
    r.put(LANDING, &[0x40, 0xf4]);
    let o = r.run(&[0xff, 0x2c, 0x25, 0x00, 0x80, 0, 0]);
    assert_eq!((o.state.gpr[0], o.state.rip), (1, LANDING + 2));
    assert!(!o.state.seg(Seg::Cs).l());
}
