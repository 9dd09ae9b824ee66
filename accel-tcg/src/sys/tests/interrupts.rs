use super::*;
use gearbox_core::x86::state::rflags;

const UD2: &[u8] = &[0x0f, 0x0b];
const IRET_FLAGS: u32 = 0x10002;

#[test]
fn real_mode_uses_the_interrupt_table() {
    let mut r = Rig::real();
    r.state.rflags = rflags::IF | rflags::TF | 2;
    r.state.rflags &= !rflags::TF;
    let o = r.run(&[0xcd, 0x21]);
    assert_eq!(o.vector(), Some(0x21));
    assert_eq!(o.state.gpr[4], INNER_STACK - 6);
    let frame: [u8; 6] = r.bench.memory.read_array(INNER_STACK - 6).unwrap();
    assert_eq!(frame, [2, 0, 0, 0, 2, 2], "IP after the instruction, CS, FLAGS with IF");
    assert_eq!(o.state.rflags & rflags::IF, 0);
}

#[test]
fn ring0_exception_pushes_three_dwords_and_its_code() {
    let mut r = Rig::protected();
    let o = r.run(UD2);
    assert_eq!(o.vector(), Some(6));
    assert_eq!(o.state.gpr[4], OUTER_STACK - 12);
    assert_eq!(
        r.dwords(OUTER_STACK - 12),
        [CODE as u32, CODE0.into(), IRET_FLAGS],
        "RF is set in the image of a fault"
    );
    // mov ds, [0] with a selector beyond the table
    let (o, error) = r.fault(&[0x66, 0xb8, 0x00, 0x0f, 0x8e, 0xd8], 13);
    assert_eq!((error, o.state.gpr[4]), (0xf00, OUTER_STACK - 16));
    assert_eq!(r.get32(OUTER_STACK - 12), CODE as u32 + 4, "the faulting instruction");
}

#[test]
fn ring3_exception_takes_the_stack_of_the_tss() {
    let mut r = Rig::protected().user();
    let o = r.run(UD2);
    assert_eq!(o.vector(), Some(6));
    let frame = [CODE as u32, CODE3.into(), IRET_FLAGS, OUTER_STACK as u32, DATA3.into()];
    assert_eq!(r.dwords(INNER_STACK - 20), frame);
    assert_eq!(o.state.seg(Seg::Ss).selector, DATA0);
    assert_eq!(o.state.seg(Seg::Cs).selector, CODE0);
    assert_eq!(o.state.seg(Seg::Ds).selector, DATA3, "data segments stay");
}

#[test]
fn long_mode_aligns_the_stack_and_always_pushes_ss() {
    let mut r = Rig::long();
    r.state.gpr[4] = OUTER_STACK - 3;
    let o = r.run(UD2);
    assert_eq!(o.vector(), Some(6));
    assert_eq!(o.state.gpr[4], OUTER_STACK - 16 - 40);
    let frame = [CODE, CODE0.into(), IRET_FLAGS.into(), OUTER_STACK - 3, DATA0.into()];
    assert_eq!(r.quads(OUTER_STACK - 56), frame);
    assert_eq!(o.state.seg(Seg::Ss).selector, DATA0, "SS stays at the same level");
}

#[test]
fn long_mode_from_ring3_has_a_null_stack_segment() {
    let mut r = Rig::long().user();
    let o = r.run(UD2);
    assert_eq!(o.vector(), Some(6));
    let frame = [CODE, CODE3.into(), IRET_FLAGS.into(), OUTER_STACK, DATA3.into()];
    assert_eq!(r.quads(INNER_STACK - 40), frame);
    assert_eq!(o.state.seg(Seg::Ss).selector, 0);
}

#[test]
fn interrupt_stack_table_is_used_from_any_ring() {
    let mut r = Rig::long();
    r.put(TSS + 0x24, &0xb000u64.to_le_bytes());
    let at = IDT + 16 * 6;
    r.put(at, &(gate(CODE0, HANDLERS + 96, 0x8e) | 1 << 32).to_le_bytes());
    let o = r.run(UD2);
    assert_eq!((o.vector(), o.state.gpr[4]), (Some(6), 0xb000 - 40));
    assert_eq!(r.get64(0xb000 - 16), OUTER_STACK);
}

#[test]
fn software_interrupts_need_the_gate_s_privilege() {
    for mut r in [Rig::protected().user(), Rig::long().user()] {
        let (_, error) = r.fault(&[0xcd, 0x30], 13);
        assert_eq!(error, 0x30 << 3 | 2);
        r.set_gate(0x30, CODE0, HANDLERS + 0x300, 0xee);
        let o = r.run(&[0xcd, 0x30]);
        assert_eq!(o.vector(), Some(0x30));
        // INT1 does not ask.
        assert_eq!(r.run(&[0xf1]).vector(), Some(1));
        assert_eq!(r.fault(&[0xcc], 13).1, 3 << 3 | 2);
    }
}

#[test]
fn trap_gates_leave_if_alone() {
    let mut r = Rig::protected();
    r.state.rflags = rflags::IF | rflags::NT | 2;
    let o = r.run(&[0xcd, 0x30]);
    assert_eq!(o.state.rflags & (rflags::IF | rflags::NT), 0);
    r.set_gate(0x30, CODE0, HANDLERS + 0x300, 0x8f);
    let o = r.run(&[0xcd, 0x30]);
    assert_eq!(o.state.rflags & (rflags::IF | rflags::NT), rflags::IF);
}

#[test]
fn sixteen_bit_gates_push_words() {
    let mut r = Rig::protected();
    r.set_gate(0x30, CODE0, HANDLERS + 0x300, 0x86);
    let o = r.run(&[0xcd, 0x30]);
    assert_eq!((o.vector(), o.state.gpr[4]), (Some(0x30), OUTER_STACK - 6));
}

#[test]
fn absent_gates_and_handlers_are_blamed() {
    let mut r = Rig::protected();
    r.set_gate(0x30, CODE0, HANDLERS, 0x0e);
    assert_eq!(r.fault(&[0xcd, 0x30], 11).1, 0x30 << 3 | 2);
    r.set_gate(0x30, CODE0, HANDLERS, 0x8c);
    assert_eq!(r.fault(&[0xcd, 0x30], 13).1, 0x30 << 3 | 2, "not a gate for interrupts");
    r.set_gate(0x30, 0, HANDLERS, 0x8e);
    assert_eq!(r.fault(&[0xcd, 0x30], 13).1, 0);
    r.set_gate(0x30, DATA0, HANDLERS, 0x8e);
    assert_eq!(r.fault(&[0xcd, 0x30], 13).1, u64::from(DATA0));
    r.set_descriptor(SPARE, descriptor(0, 0xf_ffff, 0xc01b));
    r.set_gate(0x30, SPARE, HANDLERS, 0x8e);
    assert_eq!(r.fault(&[0xcd, 0x30], 11).1, u64::from(SPARE));
    r.set_descriptor(SPARE, descriptor(0, 0xfff, 0x409b));
    assert_eq!(r.fault(&[0xcd, 0x30], 13).1, 0, "offset beyond the segment's limit");
    r.state.idtr.limit = 0x30 * 8 + 6;
    assert_eq!(r.fault(&[0xcd, 0x30], 13).1, 0x30 << 3 | 2);
}

#[test]
fn a_hardware_exception_sets_ext() {
    let mut r = Rig::protected();
    r.set_gate(6, CODE0, HANDLERS, 0x0e);
    assert_eq!(r.fault(UD2, 11).1, 6 << 3 | 2 | 1);
}

#[test]
fn contributory_exceptions_make_a_double_fault_and_then_a_triple_fault() {
    let mut r = Rig::protected();
    r.set_gate(13, CODE0, HANDLERS, 0x0e);
    // A general protection whose gate is absent.
    let code = [0x66, 0xb8, 0x00, 0x0f, 0x8e, 0xd8];
    let (_, error) = r.fault(&code, 8);
    assert_eq!(error, 0);
    r.set_gate(8, CODE0, HANDLERS, 0x0e);
    assert_eq!(r.run(&code).exit, VcpuExit::TripleFault);
}

#[test]
fn a_page_fault_after_a_benign_exception_is_delivered_as_such() {
    let mut r = Rig::long();
    // The handler of #UD needs a stack that is not mapped; #PF has its own.
    r.put(TSS + 0x24, &0x7000_0000u64.to_le_bytes());
    r.put(IDT + 16 * 6, &(gate(CODE0, HANDLERS + 96, 0x8e) | 1 << 32).to_le_bytes());
    let (o, error) = r.fault(UD2, 14);
    assert_eq!((error, o.state.cr2), (2, 0x7000_0000 - 40));
    assert_eq!(r.get64(o.state.gpr[4] + 8), CODE);
}

#[test]
fn a_page_fault_in_a_page_fault_is_a_double_fault() {
    let mut r = Rig::long();
    r.put(TSS + 0x24, &0x7000_0000u64.to_le_bytes());
    r.put(IDT + 16 * 14, &(gate(CODE0, HANDLERS + 0xe0, 0x8e) | 1 << 32).to_le_bytes());
    // mov eax, [0x7fffffff]
    let (_, error) = r.fault(&[0x8b, 0x04, 0x25, 0, 0, 0, 0x70], 8);
    assert_eq!(error, 0);
    r.state.idtr.base = 0x7000_0000;
    assert_eq!(r.run(UD2).exit, VcpuExit::TripleFault, "no handler can be read at all");
}

/// Runs into #UD, expects `vector` instead, whose handler in ring 3 needs no stack from the TSS; gives its error code.
fn ring3_handler(r: &mut Rig, vector: u8) -> u32 {
    let handler = HANDLERS + 16 * u64::from(vector);
    r.set_gate(vector, CODE3, handler, 0x8e);
    r.put(handler, &[0xeb, 0xfe]);
    let o = r.run(UD2);
    assert_eq!(o.state.rip, handler);
    r.get32(o.state.gpr[4])
}

#[test]
fn the_stack_of_the_tss_is_checked() {
    let mut r = Rig::protected().user();
    r.put(TSS + 8, &0u32.to_le_bytes());
    assert_eq!(ring3_handler(&mut r, 10), 1, "#TS(EXT)");
    r.put(TSS + 8, &u32::from(DATA3).to_le_bytes());
    assert_eq!(ring3_handler(&mut r, 10), u32::from(DATA3 & !3) | 1);
    r.put(TSS + 8, &u32::from(DATA0).to_le_bytes());
    r.state.seg_mut(Seg::Tr).limit = 8;
    assert_eq!(ring3_handler(&mut r, 10), u32::from(TASK) | 1, "the TSS is too short");
}

#[test]
fn a_stack_without_room_is_a_stack_fault() {
    let mut r = Rig::protected().user();
    // An inner stack segment of 4 bytes.
    r.set_descriptor(SPARE, descriptor(0, 3, 0x4093));
    r.put(TSS + 4, &4u32.to_le_bytes());
    r.put(TSS + 8, &u32::from(SPARE).to_le_bytes());
    assert_eq!(ring3_handler(&mut r, 12), u32::from(SPARE) | 1);
}

#[test]
fn virtual_8086_programs_leave_their_segments_on_the_stack() {
    let mut r = Rig::protected().v86(3);
    r.set_gate(0x30, CODE0, HANDLERS + 0x300, 0xee);
    let o = r.run(&[0xcd, 0x30]);
    assert_eq!(o.vector(), Some(0x30));
    let flags = (1 << 17 | 3 << 12 | 2) as u32;
    assert_eq!(r.dwords(INNER_STACK - 36), [2, 0x1234, flags, 0x8000, 0x100, 0x100, 0x100, 0x100, 0x100]);
    assert_eq!(o.state.seg(Seg::Ds).selector, 0);
    assert!(o.state.seg(Seg::Gs).unusable());
    assert_eq!(o.state.rflags & rflags::VM, 0);
}

#[test]
fn virtual_8086_int_needs_iopl_3() {
    let mut r = Rig::protected().v86(0);
    r.set_gate(0x30, CODE0, HANDLERS + 0x300, 0xee);
    assert_eq!(r.fault(&[0xcd, 0x30], 13).1, 0);
    assert_eq!(r.fault(&[0xfa], 13).1, 0, "CLI too");
    // INT3 does not depend on IOPL.
    r.set_gate(3, CODE0, HANDLERS + 48, 0xee);
    assert_eq!(r.run(&[0xcc]).vector(), Some(3));
}

#[test]
fn virtual_8086_handlers_must_be_in_ring_0() {
    let mut r = Rig::protected().v86(3);
    r.set_gate(0x30, CODE3, HANDLERS + 0x300, 0xee);
    assert_eq!(r.fault(&[0xcd, 0x30], 13).1, u64::from(CODE3 & !3));
}

#[test]
fn an_interrupt_keeps_rf() {
    for rf in [0, rflags::RF] {
        let mut r = Rig::protected();
        r.state.rflags = rflags::IF | rf | 2;
        r.bench.vcpu.handle().set_intr(true);
        assert_eq!(r.run(&[0x90]).vector(), Some(0x20));
        assert_eq!(r.dwords(OUTER_STACK - 12), [CODE as u32, CODE0.into(), (rflags::IF | rf | 2) as u32]);
    }
}

#[test]
fn single_step_traps_after_each_instruction() {
    let mut r = Rig::protected();
    r.state.rflags = rflags::TF | 2;
    let o = r.run(&[0x90, 0x90]);
    assert_eq!(o.vector(), Some(1));
    assert_eq!(r.get32(OUTER_STACK - 12), CODE as u32 + 1);
    assert_eq!(o.state.dr[4] & 1 << 14, 1 << 14);
    assert_eq!(o.state.rflags & rflags::TF, 0);
}

#[test]
fn mov_ss_holds_off_the_single_step() {
    let mut r = Rig::protected();
    r.state.rflags = rflags::TF | 2;
    r.state.gpr[0] = DATA0.into();
    // mov ss, ax; nop
    let o = r.run(&[0x8e, 0xd0, 0x90, 0x90]);
    assert_eq!(o.vector(), Some(1));
    assert_eq!(r.get32(OUTER_STACK - 12), CODE as u32 + 3);
}

/// And what it reads itself traps after the next instruction.
#[test]
fn mov_ss_holds_off_its_own_breakpoint() {
    let mut r = Rig::protected();
    let at = OUTER_STACK as u32 + 0x10;
    r.put(at.into(), &DATA0.to_le_bytes());
    (r.state.dr[0], r.state.dr[5]) = (at.into(), 0x7_0401);
    // mov ss, [at]; nop
    let o = r.run(&[&[0x8e, 0x15][..], &at.to_le_bytes(), &[0x90, 0x90]].concat());
    assert_eq!((o.vector(), o.state.dr[4] & 0xf), (Some(1), 1));
    assert_eq!(r.get32(OUTER_STACK - 12), CODE as u32 + 7);
}
