use super::*;
use gearbox_core::x86::state::rflags;

fn push32(r: &mut Rig, values: &[u32]) {
    let at = OUTER_STACK - 4 * values.len() as u64;
    for (k, v) in values.iter().enumerate() {
        r.put(at + 4 * k as u64, &v.to_le_bytes());
    }
    r.state.gpr[4] = at;
}
fn push64(r: &mut Rig, values: &[u64]) {
    let at = OUTER_STACK - 8 * values.len() as u64;
    for (k, v) in values.iter().enumerate() {
        r.put(at + 8 * k as u64, &v.to_le_bytes());
    }
    r.state.gpr[4] = at;
}

const IRET: &[u8] = &[0xcf];
const IRETQ: &[u8] = &[0x48, 0xcf];
const LANDING: u32 = 0x7000;

#[test]
fn iret_to_ring3_loads_the_stack_and_drops_inner_segments() {
    let mut r = Rig::protected();
    r.put(LANDING.into(), &[0x0f, 0x0b]);
    push32(&mut r, &[LANDING, CODE3.into(), 0x3202, 0x8000, DATA3.into()]);
    *r.state.seg_mut(Seg::Fs) = Segment { selector: DATA3, base: 0, limit: u32::MAX, attr: 0xc0f3 };
    // The program there ends by #UD, whose frame shows where it was.
    let o = r.run(IRET);
    assert_eq!(o.vector(), Some(6));
    let frame = [LANDING, CODE3.into(), 0x1_3202, 0x8000, DATA3.into()];
    assert_eq!(r.dwords(INNER_STACK - 20), frame);
    assert!(o.state.seg(Seg::Ds).unusable() && o.state.seg(Seg::Es).unusable());
    assert_eq!(o.state.seg(Seg::Fs).selector, DATA3);
}

#[test]
fn iret_checks_the_code_segment() {
    let mut r = Rig::protected();
    for (cs, vector, error) in [
        (0, 13, 0),
        (DATA0, 13, DATA0),
        (CODE3 & !3, 13, CODE3 & !3),
        (CODE0 | 3, 13, CODE0),
        (0x200, 13, 0x200),
        (TASK, 13, TASK),
    ] {
        push32(&mut r, &[LANDING, cs.into(), 2, 0x8000, DATA3.into()]);
        assert_eq!(r.fault(IRET, vector).1, u64::from(error), "{cs:#x}");
    }
    r.set_descriptor(SPARE, descriptor(0, 0xf_ffff, 0xc01b));
    push32(&mut r, &[LANDING, SPARE.into(), 2]);
    assert_eq!(r.fault(IRET, 11).1, u64::from(SPARE));
    r.set_descriptor(SPARE, descriptor(0, 0x10, 0x409b));
    push32(&mut r, &[LANDING, SPARE.into(), 2]);
    assert_eq!(r.fault(IRET, 13).1, 0, "EIP beyond the limit");
}

#[test]
fn iret_checks_the_stack_segment() {
    let mut r = Rig::protected();
    for (ss, error) in [(0, 0), (DATA0, DATA0), (DATA3 & !3, DATA3 & !3), (CODE3, CODE3 & !3)] {
        push32(&mut r, &[LANDING, CODE3.into(), 2, 0x8000, ss.into()]);
        assert_eq!(r.fault(IRET, 13).1, u64::from(error), "{ss:#x}");
    }
    r.set_descriptor(SPARE, descriptor(0, 0xf_ffff, 0xc073));
    push32(&mut r, &[LANDING, CODE3.into(), 2, 0x8000, u32::from(SPARE) | 3]);
    assert_eq!(r.fault(IRET, 12).1, u64::from(SPARE));
}

#[test]
fn iret_in_ring3_cannot_raise_iopl_or_if() {
    let mut r = Rig::protected().user();
    r.put(LANDING.into(), &[0x0f, 0x0b]);
    push32(&mut r, &[LANDING, CODE3.into(), 0x20_3202]);
    assert_eq!(r.run(IRET).vector(), Some(6));
    assert_eq!(r.get32(INNER_STACK - 12), 0x21_0002, "ID changed, IF and IOPL did not");
}

#[test]
fn iretq_always_pops_the_stack_and_takes_a_null_one_in_ring_0() {
    let mut r = Rig::long();
    r.put(LANDING.into(), &[0xf4]);
    push64(&mut r, &[LANDING.into(), CODE0.into(), 2, 0x8003, 0]);
    let o = r.run(IRETQ);
    assert_eq!((o.state.rip, o.state.gpr[4]), (u64::from(LANDING) + 1, 0x8003));
    assert!(o.state.seg(Seg::Ss).unusable());
    push64(&mut r, &[LANDING.into(), CODE3.into(), 2, 0x8000, 3]);
    assert_eq!(r.fault(IRETQ, 13).1, 0, "not for ring 3");
    push64(&mut r, &[0x8000_0000_0000, CODE0.into(), 2, 0x8000, 0]);
    assert_eq!(r.fault(IRETQ, 13).1, 0, "not canonical");
    r.state.rflags = rflags::NT | 2;
    push64(&mut r, &[LANDING.into(), CODE0.into(), 2, 0x8000, 0]);
    assert_eq!(r.fault(IRETQ, 13).1, 0, "no nested tasks");
}

#[test]
fn iretq_to_compatibility_mode() {
    let mut r = Rig::long();
    r.set_descriptor(SPARE, descriptor(0, 0xf_ffff, 0xc0fb));
    // inc eax; ud2: in 64-bit code 40 0f 0b would be one instruction.
    r.put(LANDING.into(), &[0x40, 0x0f, 0x0b]);
    push64(&mut r, &[LANDING.into(), u64::from(SPARE) | 3, 2, 0xffff_0000_8000, DATA3.into()]);
    let o = r.run(IRETQ);
    assert_eq!((o.vector(), o.state.gpr[0]), (Some(6), 1));
    assert_eq!(r.get64(INNER_STACK - 40), u64::from(LANDING) + 1);
    assert_eq!(r.get64(INNER_STACK - 16), 0x8000, "ESP only");
    r.set_descriptor(SPARE, descriptor(0, 0xf_ffff, 0xe0fb));
    push64(&mut r, &[LANDING.into(), u64::from(SPARE) | 3, 2, 0x8000, DATA3.into()]);
    assert_eq!(r.fault(IRETQ, 13).1, u64::from(SPARE), "L and D together");
}

#[test]
fn iret_to_virtual_8086_mode() {
    let mut r = Rig::protected();
    r.set_gate(6, CODE0, HANDLERS + 96, 0xee);
    r.put(0x1_2340, &[0x0f, 0x0b]);
    let flags = (rflags::VM | rflags::IOPL | 2) as u32;
    push32(&mut r, &[0, 0x1234, flags, 0x7000, 0x11, 0x22, 0x33, 0x44, 0x55]);
    assert_eq!(r.run(IRET).vector(), Some(6));
    let image = flags | rflags::RF as u32;
    assert_eq!(r.dwords(INNER_STACK - 36), [0, 0x1234, image, 0x7000, 0x11, 0x22, 0x33, 0x44, 0x55]);
}

#[test]
fn virtual_8086_iret_with_low_iopl_faults() {
    let mut r = Rig::protected().v86(0);
    assert_eq!(r.fault(IRET, 13).1, 0);
    assert_eq!(r.fault(&[0x9c], 13).1, 0, "PUSHF");
    assert_eq!(r.fault(&[0x9d], 13).1, 0, "POPF");
}

#[test]
fn far_ret_with_a_count_drops_both_stacks() {
    let mut r = Rig::protected();
    r.put(LANDING.into(), &[0x0f, 0x0b]);
    push32(&mut r, &[LANDING, CODE3.into(), 0xdead, 0xbeef, 0x8000, DATA3.into()]);
    // retf 8
    assert_eq!(r.run(&[0xca, 8, 0]).vector(), Some(6));
    assert_eq!(r.get32(INNER_STACK - 8), 0x8008);
}

#[test]
fn far_ret_cannot_go_inward() {
    let mut r = Rig::protected().user();
    push32(&mut r, &[LANDING, CODE0.into()]);
    assert_eq!(r.fault(&[0xcb], 13).1, u64::from(CODE0));
}

#[test]
fn syscall_and_sysret() {
    let mut r = Rig::long().user();
    let star = u64::from(DATA0) << 48 | u64::from(CODE0) << 32;
    r.state.msrs.extend([(0xc000_0081, star), (0xc000_0082, LANDING.into()), (0xc000_0084, rflags::IF)]);
    r.state.rflags = rflags::IF | 2;
    // At the landing: sysretq, with RCX behind the SYSCALL; there: ud2.
    r.put(LANDING.into(), &[0xf4]);
    let o = r.run(&[0x0f, 0x05]);
    assert_eq!(o.vector(), None);
    assert_eq!((o.state.gpr[1], o.state.gpr[11]), (CODE + 2, rflags::IF | 2));
    assert_eq!((o.state.seg(Seg::Cs).selector, o.state.seg(Seg::Ss).selector), (CODE0, CODE0 + 8));
    assert_eq!((o.state.rflags & rflags::IF, o.state.seg(Seg::Cs).attr & 0x2060), (0, 0x2000));
    r.state.msrs.insert(0xc000_0081, star | 2 << 32);
    let o = r.run(&[0x0f, 0x05]);
    assert_eq!(
        (o.state.seg(Seg::Cs).selector, o.state.seg(Seg::Ss).selector),
        (CODE0, CODE0 + 8 + 2),
        "an RPL in IA32_STAR"
    );
    r.put(LANDING.into(), &[0x48, 0x0f, 0x07]);
    let o = r.run(&[0x0f, 0x05, 0x0f, 0x0b]);
    assert_eq!(o.vector(), Some(6));
    let user = (u64::from(DATA0) + 16) | 3;
    let frame = [CODE + 2, user, rflags::IF | rflags::RF | 2, OUTER_STACK, user - 8];
    assert_eq!(r.quads(INNER_STACK - 40), frame);
    r.state.efer &= !1;
    assert_eq!(r.run(&[0x0f, 0x05]).vector(), Some(6), "EFER.SCE is clear");
}

/// AMD's processors change the selector of SS only.
#[test]
fn sysret_and_the_rest_of_ss() {
    let null = Segment { selector: 0, base: 0, limit: 0x1234, attr: Segment::UNUSABLE };
    let selector = (DATA0 + 8) | 3;
    let flat = Segment { selector, base: 0, limit: u32::MAX, attr: 0xc0f3 };
    for (vendor, expected) in
        [(b"AuthenticAMD", Segment { selector, attr: Segment::UNUSABLE | 0x60, ..null }), (b"GenuineIntel", flat)]
    {
        let bench = Bench::by(vendor);
        let state = bench.long_mode();
        let mut r = Rig::with(bench, state, true);
        r.state.msrs.insert(0xc000_0081, u64::from(DATA0) << 48);
        (r.state.gpr[1], r.state.gpr[11]) = (LANDING.into(), 2);
        *r.state.seg_mut(Seg::Ss) = null;
        // Ring 3 jumps to itself until the budget is used up.
        r.put(LANDING.into(), &[0xeb, 0xfe]);
        let o = r.run(&[0x48, 0x0f, 0x07]);
        assert_eq!((o.exit, *o.state.seg(Seg::Ss)), (VcpuExit::Budget, expected));
    }
}

/// By the TF that they leave, not by the one before.
#[test]
fn single_step_over_syscall_and_sysret() {
    let mut r = Rig::long();
    r.state
        .msrs
        .extend([(0xc000_0081, u64::from(DATA0) << 48 | u64::from(CODE0) << 32), (0xc000_0082, LANDING.into())]);
    r.put(LANDING.into(), &[0x0f, 0x0b]);
    (r.state.gpr[1], r.state.rflags) = (LANDING.into(), rflags::TF | 2);
    let trapped = |o: &Outcome| (o.vector(), o.state.dr[4] & 1 << 14 != 0);

    let o = r.run(&[0x0f, 0x05]);
    assert_eq!((trapped(&o), r.quads(OUTER_STACK - 40)), ((Some(1), true), [LANDING.into()]));
    r.state.msrs.insert(0xc000_0084, rflags::TF);
    assert_eq!(trapped(&r.run(&[0x0f, 0x05])), (Some(6), false), "IA32_FMASK clears TF");

    r.state.gpr[11] = 2;
    assert_eq!(trapped(&r.run(&[0x48, 0x0f, 0x07])), (Some(6), false), "TF was set before");
    for before in [2, rflags::TF | 2] {
        (r.state.rflags, r.state.gpr[11]) = (before, rflags::TF | 2);
        let o = r.run(&[0x48, 0x0f, 0x07]);
        assert_eq!((trapped(&o), r.quads(INNER_STACK - 40)), ((Some(1), true), [LANDING.into()]));
    }
}

#[test]
fn sysret_faults_on_a_non_canonical_target_and_in_ring3() {
    let mut r = Rig::long();
    r.state.gpr[1] = 0x8000_0000_0000;
    assert_eq!(r.fault(&[0x48, 0x0f, 0x07], 13).1, 0);
    assert_eq!(Rig::long().user().fault(&[0x48, 0x0f, 0x07], 13).1, 0);
}

#[test]
fn swapgs_exchanges_in_ring_0_only() {
    let mut r = Rig::long();
    r.state.msrs.insert(0xc000_0102, 0x1111);
    r.state.seg_mut(Seg::Gs).base = 0x2222;
    let o = r.run(&[0x0f, 0x01, 0xf8, 0xf4]);
    assert_eq!((o.state.seg(Seg::Gs).base, o.state.msrs[&0xc000_0102]), (0x1111, 0x2222));
    assert_eq!(Rig::long().user().fault(&[0x0f, 0x01, 0xf8], 13).1, 0);
}
