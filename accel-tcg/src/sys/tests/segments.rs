use super::*;

/// mov SEG, ax
fn load(s: Seg) -> [u8; 3] {
    let reg = [0xc0, 0xc8, 0xd0, 0xd8, 0xe0, 0xe8][s as usize];
    [0x8e, reg, 0xf4]
}

fn try_load(r: &mut Rig, s: Seg, selector: u16) -> Result<Segment, (u8, u64)> {
    r.state.gpr[0] = selector.into();
    let o = r.run(&load(s));
    match o.vector() {
        None => Ok(*o.state.seg(s)),
        Some(v) => Err((v, r.get32(o.state.gpr[4]).into())),
    }
}

#[test]
fn data_segments_are_checked() {
    let mut r = Rig::protected();
    r.set_descriptor(SPARE, descriptor(0x1234_5678, 0xabc, 0x4092));
    let s = try_load(&mut r, Seg::Ds, SPARE).unwrap();
    assert_eq!((s.base, s.limit, s.attr), (0x1234_5678, 0xabc, 0x4093));
    assert_eq!(r.access_byte(SPARE), 0x93, "the accessed bit is set in memory");
    assert!(try_load(&mut r, Seg::Es, 3).unwrap().unusable());
    assert_eq!(try_load(&mut r, Seg::Ds, 0x100), Err((13, 0x100)), "beyond the limit");
    assert_eq!(try_load(&mut r, Seg::Ds, 0xfc), Err((13, 0xfc)), "no LDT");
    assert_eq!(try_load(&mut r, Seg::Ds, TASK), Err((13, u64::from(TASK))), "a system descriptor");
    r.set_descriptor(SPARE, descriptor(0, 0, 0x98));
    assert_eq!(try_load(&mut r, Seg::Ds, SPARE), Err((13, u64::from(SPARE))), "code that may not be read");
    r.set_descriptor(SPARE, descriptor(0, 0, 0x9a));
    assert!(try_load(&mut r, Seg::Ds, SPARE).is_ok());
    assert_eq!(try_load(&mut r, Seg::Ds, SPARE | 1), Err((13, u64::from(SPARE))), "RPL above DPL");
    r.set_descriptor(SPARE, descriptor(0, 0, 0x9e));
    assert!(try_load(&mut r, Seg::Ds, SPARE | 3).is_ok(), "conforming");
    r.set_descriptor(SPARE, descriptor(0, 0, 0x12));
    assert_eq!(try_load(&mut r, Seg::Fs, SPARE), Err((11, u64::from(SPARE))));
}

#[test]
fn the_stack_segment_is_checked_more_strictly() {
    let mut r = Rig::protected();
    assert_eq!(try_load(&mut r, Seg::Ss, 0), Err((13, 0)));
    assert_eq!(try_load(&mut r, Seg::Ss, DATA3), Err((13, u64::from(DATA3 & !3))));
    assert_eq!(try_load(&mut r, Seg::Ss, DATA0 | 1), Err((13, u64::from(DATA0))));
    r.set_descriptor(SPARE, descriptor(0, 0xf_ffff, 0xc090));
    assert_eq!(try_load(&mut r, Seg::Ss, SPARE), Err((13, u64::from(SPARE))), "read-only");
    r.set_descriptor(SPARE, descriptor(0, 0xf_ffff, 0xc012));
    assert_eq!(try_load(&mut r, Seg::Ss, SPARE), Err((12, u64::from(SPARE))), "absent is #SS");
    assert!(try_load(&mut r, Seg::Ss, DATA0).is_ok());
}

#[test]
fn ring3_may_not_load_inner_segments() {
    let mut r = Rig::protected().user();
    r.state.gpr[0] = DATA0.into();
    assert_eq!(r.fault(&load(Seg::Ds), 13).1, u64::from(DATA0));
}

#[test]
fn null_stack_segment_in_64_bit_code() {
    let mut r = Rig::long();
    r.state.gpr[0] = 0;
    assert_eq!(r.run(&load(Seg::Ss)).vector(), None);
    r.state.gpr[0] = 3;
    assert_eq!(r.fault(&load(Seg::Ss), 13).1, 0);
    let mut r = Rig::long().user();
    r.state.gpr[0] = 3;
    assert_eq!(r.fault(&load(Seg::Ss), 13).1, 0);
}

#[test]
fn mov_to_cs_is_undefined() {
    assert_eq!(Rig::protected().run(&[0x8e, 0xc8]).vector(), Some(6));
}

#[test]
fn limits_and_types_are_enforced() {
    let mut r = Rig::protected();
    *r.state.seg_mut(Seg::Es) = Segment { selector: SPARE, base: 0, limit: 0xfff, attr: 0x4093 };
    // mov eax, es:[0xffc] and es:[0xffd]
    assert_eq!(r.run(&[0x26, 0xa1, 0xfc, 0x0f, 0, 0, 0xf4]).vector(), None);
    assert_eq!(r.fault(&[0x26, 0xa1, 0xfd, 0x0f, 0, 0, 0xf4], 13).1, 0);
    // A store through a read-only segment, and through a null one.
    r.state.seg_mut(Seg::Es).attr = 0x4091;
    assert_eq!(r.fault(&[0x26, 0xa3, 0, 0x0f, 0, 0], 13).1, 0);
    r.state.seg_mut(Seg::Es).attr = Segment::UNUSABLE;
    assert_eq!(r.fault(&[0x26, 0xa1, 0, 0x0f, 0, 0], 13).1, 0);
    // Beyond the stack segment's limit: #SS.
    *r.state.seg_mut(Seg::Ss) = Segment { selector: DATA0, base: 0, limit: 0xffff, attr: 0x4093 };
    assert_eq!(r.fault(&[0x36, 0xa1, 0xfd, 0xff, 0, 0], 12).1, 0);
}

#[test]
fn non_canonical_addresses_fault() {
    let mut r = Rig::long();
    r.state.gpr[3] = 0x0000_8000_0000_0000;
    assert_eq!(r.fault(&[0x8b, 0x03], 13).1, 0);
    r.state.gpr[5] = 0xffff_7fff_ffff_ffff;
    assert_eq!(r.fault(&[0x8b, 0x45, 0x00], 12).1, 0, "based on RBP: #SS");
}

#[test]
fn unreal_mode_keeps_the_limit() {
    let mut r = Rig::real();
    r.state.seg_mut(Seg::Ds).limit = u32::MAX;
    r.put(0x10_8000, &0xabcd_1234u32.to_le_bytes());
    r.state.gpr[0] = 0x800;
    // mov ds, ax; mov ebx, dword 0x100000 (addr32); hlt
    let o = r.run(&[0x8e, 0xd8, 0x66, 0x67, 0x8b, 0x1d, 0x00, 0x00, 0x10, 0x00, 0xf4]);
    assert_eq!(o.state.gpr[3], 0xabcd_1234);
    assert_eq!(o.state.seg(Seg::Ds).base, 0x8000);
}

#[test]
fn pop_ss_moves_by_the_old_stack_and_shadows() {
    let mut r = Rig::protected();
    r.put(OUTER_STACK, &u32::from(DATA0).to_le_bytes());
    let o = r.run(&[0x17, 0xf4]);
    assert_eq!((o.vector(), o.state.gpr[4]), (None, OUTER_STACK + 4));
}

#[test]
fn lss_loads_both_or_nothing() {
    let mut r = Rig::protected();
    r.put(0x8000, &0x9876u32.to_le_bytes());
    r.put(0x8004, &DATA0.to_le_bytes());
    // lss esp, [0x8000]
    let code = [0x0f, 0xb2, 0x25, 0x00, 0x80, 0, 0, 0xf4];
    assert_eq!(r.run(&code).state.gpr[4], 0x9876);
    r.put(0x8004, &DATA3.to_le_bytes());
    let (o, error) = r.fault(&code, 13);
    assert_eq!((error, o.state.gpr[4]), (u64::from(DATA3 & !3), OUTER_STACK - 16));
}

#[test]
fn lar_lsl_verr_verw_look_without_faulting() {
    let mut r = Rig::protected();
    r.set_descriptor(SPARE, descriptor(0, 0xabc, 0x8098));
    r.state.gpr[0] = SPARE.into();
    // lar ecx, eax; lsl edx, eax; verr ax; setz bl; verw ax; setz bh; hlt
    let code = [
        0x0f, 0x02, 0xc8, 0x0f, 0x03, 0xd0, 0x0f, 0x00, 0xe0, 0x0f, 0x94, 0xc3, 0x0f, 0x00, 0xe8, 0x0f, 0x94, 0xc7,
        0xf4,
    ];
    let o = r.run(&code);
    assert_eq!(o.state.gpr[1], 0x0080_9800);
    assert_eq!(o.state.gpr[2], 0xabc << 12 | 0xfff);
    assert_eq!(o.state.gpr[3] & 0xffff, 0, "execute-only code is neither");
    r.state.gpr[0] = DATA0.into();
    assert_eq!(r.run(&code).state.gpr[3] & 0xffff, 0x0101);
    r.state.gpr[0] = 0x1000;
    r.state.gpr[1] = 77;
    assert_eq!(r.run(&code).state.gpr[1], 77, "the destination stays");
}

#[test]
fn arpl_raises_the_rpl() {
    let mut r = Rig::protected();
    (r.state.gpr[0], r.state.gpr[1]) = (0xabcd_0010, 3);
    // arpl ax, cx; setz bl; hlt
    let o = r.run(&[0x63, 0xc8, 0x0f, 0x94, 0xc3, 0xf4]);
    assert_eq!((o.state.gpr[0], o.state.gpr[3] & 0xff), (0xabcd_0013, 1));
    assert_eq!(Rig::real().run(&[0x63, 0xc8]).vector(), Some(6));
}
