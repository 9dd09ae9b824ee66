use super::*;
use gearbox_core::x86::state::{Activity, cr4, efer, rflags};

const MOV_CR0_EAX: &[u8] = &[0x0f, 0x22, 0xc0, 0xf4];
const MOV_CR3_EAX: &[u8] = &[0x0f, 0x22, 0xd8, 0xf4];
const MOV_CR4_EAX: &[u8] = &[0x0f, 0x22, 0xe0, 0xf4];

fn accepts(r: &mut Rig, code: &[u8], value: u64) -> bool {
    r.state.gpr[0] = value;
    match r.run(code).vector() {
        None => true,
        v => {
            assert_eq!(v, Some(13));
            false
        }
    }
}

#[test]
fn cr0_refuses_what_the_manual_refuses() {
    let mut r = Rig::protected();
    assert!(!accepts(&mut r, MOV_CR0_EAX, cr0::PG));
    assert!(!accepts(&mut r, MOV_CR0_EAX, cr0::PE | cr0::NW));
    assert!(accepts(&mut r, MOV_CR0_EAX, cr0::PE | cr0::NW | cr0::CD));
    let mut r = Rig::long();
    let now = r.state.cr0;
    assert!(!accepts(&mut r, MOV_CR0_EAX, now | 1 << 32));
    assert!(!accepts(&mut r, MOV_CR0_EAX, now & !cr0::PG), "from 64-bit code");
    assert!(accepts(&mut r, MOV_CR0_EAX, now | 1 << 8), "reserved low bits are ignored");
    assert!(!accepts(&mut Rig::long().user(), MOV_CR0_EAX, now));
}

#[test]
fn long_mode_is_activated_by_paging() {
    let mut r = Rig::long();
    r.state.cr0 &= !cr0::PG;
    r.state.efer &= !efer::LMA;
    r.state.seg_mut(Seg::Cs).attr = 0xc09b;
    r.state.gpr[0] = r.state.cr0 | cr0::PG;
    let o = r.run(MOV_CR0_EAX);
    assert_eq!((o.exit.clone(), o.state.efer & efer::LMA), (VcpuExit::Halted, efer::LMA));
    // And off again, in compatibility mode.
    r.state = X86State { rip: CODE, activity: Activity::Active, ..o.state };
    r.state.gpr[0] = r.state.cr0 & !cr0::PG;
    assert_eq!(r.run(MOV_CR0_EAX).state.efer & efer::LMA, 0);
}

#[test]
fn long_mode_needs_pae_and_no_64_bit_segment_yet() {
    let mut r = Rig::protected();
    r.state.efer = efer::LME;
    r.state.gpr[0] = r.state.cr0 | cr0::PG;
    assert_eq!(r.run(MOV_CR0_EAX).vector(), Some(13));
    r.state.cr4 = cr4::PAE;
    r.state.seg_mut(Seg::Cs).attr |= 1 << 13;
    assert_eq!(r.run(MOV_CR0_EAX).vector(), Some(13));
}

#[test]
fn pae_pointers_are_loaded_and_checked() {
    let mut r = Rig::protected();
    r.state.cr4 = cr4::PAE;
    r.state.cr3 = 0x20_1000;
    // Identity for the first GiB by way of the tables of long mode.
    r.bench.long_mode();
    r.put(0x20_1000, &0x20_2001u64.to_le_bytes());
    r.state.gpr[0] = r.state.cr0 | cr0::PG;
    assert_eq!(r.run(MOV_CR0_EAX).vector(), None);
    r.put(0x20_1008, &0x20_2003u64.to_le_bytes());
    assert_eq!(r.run(MOV_CR0_EAX).vector(), Some(13), "a reserved bit in an entry that is present");
    r.put(0x20_1008, &2u64.to_le_bytes());
    assert_eq!(r.run(MOV_CR0_EAX).vector(), None, "absent entries are not looked at");
}

#[test]
fn cr4_follows_cpuid_and_long_mode() {
    let mut r = Rig::long();
    let now = r.state.cr4;
    assert!(accepts(&mut r, MOV_CR4_EAX, now | cr4::PGE));
    assert!(!accepts(&mut r, MOV_CR4_EAX, now | 1 << 15));
    assert!(!accepts(&mut r, MOV_CR4_EAX, now & !cr4::PAE));
    assert!(!accepts(&mut r, MOV_CR4_EAX, now | 1 << 40));
}

#[test]
fn cr3_refuses_addresses_beyond_the_physical_ones() {
    let mut r = Rig::long();
    let now = r.state.cr3;
    assert!(accepts(&mut r, MOV_CR3_EAX, now));
    assert!(!accepts(&mut r, MOV_CR3_EAX, now | 1 << 62));
    assert!(!accepts(&mut r, MOV_CR3_EAX, now | 1 << 63), "without PCID");
}

#[test]
fn cr8_is_the_task_priority() {
    let mut r = Rig::long();
    r.state.gpr[0] = 9;
    // mov cr8, rax; mov rbx, cr8; hlt
    let code = [0x44, 0x0f, 0x22, 0xc0, 0x44, 0x0f, 0x20, 0xc3, 0xf4];
    let o = r.run(&code);
    assert_eq!((o.state.gpr[3], o.state.cr8), (9, 9));
    r.state.gpr[0] = 16;
    assert_eq!(r.fault(&code, 13).1, 0);
}

#[test]
fn control_registers_that_do_not_exist() {
    // mov eax, cr1; mov eax, cr5
    assert_eq!(Rig::protected().run(&[0x0f, 0x20, 0xc8]).vector(), Some(6));
    assert_eq!(Rig::protected().run(&[0x0f, 0x20, 0xe8]).vector(), Some(6));
}

#[test]
fn lmsw_cannot_clear_pe_and_clts_clears_ts() {
    let mut r = Rig::protected();
    r.state.gpr[0] = 0x8;
    // lmsw ax; smsw ebx; clts; smsw ecx; hlt
    let o = r.run(&[0x0f, 0x01, 0xf0, 0x0f, 0x01, 0xe3, 0x0f, 0x06, 0x0f, 0x01, 0xe1, 0xf4]);
    assert_eq!((o.state.gpr[3], o.state.gpr[1]), (0x39, 0x31));
}

#[test]
fn umip_hides_system_registers_from_ring3() {
    let mut r = Rig::protected().user();
    // sgdt [0x8000]; ud2
    let code = [0x0f, 0x01, 0x05, 0, 0x80, 0, 0, 0x0f, 0x0b];
    assert_eq!(r.run(&code).vector(), Some(6));
    assert_eq!(r.get32(0x8002), GDT as u32);
    r.state.cr4 = cr4::UMIP;
    for code in [&code[..], &[0x0f, 0x01, 0xe0], &[0x0f, 0x00, 0xc8], &[0x0f, 0x00, 0xc0]] {
        assert_eq!(r.fault(code, 13).1, 0);
    }
}

#[test]
fn table_registers_round_trip() {
    let mut r = Rig::long();
    r.put(0x8000, &[0xff, 0x0f]);
    r.put(0x8002, &0xffff_8000_1234_5678u64.to_le_bytes());
    // lidt [0x8000]; sidt [0x8010]; hlt
    let code = [0x0f, 0x01, 0x1c, 0x25, 0, 0x80, 0, 0, 0x0f, 0x01, 0x0c, 0x25, 0x10, 0x80, 0, 0, 0xf4];
    let o = r.run(&code);
    assert_eq!(o.state.idtr, DescriptorTable { base: 0xffff_8000_1234_5678, limit: 0xfff });
    assert_eq!(r.get64(0x8012), 0xffff_8000_1234_5678);
    r.put(0x8002, &(1u64 << 57).to_le_bytes());
    assert_eq!(r.fault(&code, 13).1, 0, "not canonical");
    assert_eq!(Rig::long().user().fault(&code, 13).1, 0);
}

#[test]
fn ltr_marks_the_task_busy() {
    let mut r = Rig::long();
    r.set_descriptor(SPARE, descriptor(0x1234_5000, 0x67, 0x89));
    r.set_descriptor(SPARE + 8, 0xffff_8000);
    r.state.gpr[0] = SPARE.into();
    let code = [0x0f, 0x00, 0xd8, 0xf4];
    let o = r.run(&code);
    assert_eq!(o.state.seg(Seg::Tr).base, 0xffff_8000_1234_5000);
    assert_eq!((o.state.seg(Seg::Tr).attr, r.access_byte(SPARE)), (0x8b, 0x8b));
    assert_eq!(r.fault(&code, 13).1, u64::from(SPARE), "it is busy now");
    r.state.gpr[0] = 0;
    assert_eq!(r.fault(&code, 13).1, 0);
    assert_eq!(Rig::real().run(&code).vector(), Some(6));
}

#[test]
fn lldt_takes_only_local_tables() {
    let mut r = Rig::protected();
    r.set_descriptor(SPARE, descriptor(0x8000, 0x17, 0x82));
    r.put(0x8008, &descriptor(0x77, 0x10, 0x4092).to_le_bytes());
    r.state.gpr[0] = SPARE.into();
    r.state.gpr[1] = 8 | 4;
    // lldt ax; mov es, cx; hlt
    let code = [0x0f, 0x00, 0xd0, 0x8e, 0xc1, 0xf4];
    let o = r.run(&code);
    assert_eq!(o.state.seg(Seg::Es).base, 0x77);
    r.state.gpr[0] = TASK.into();
    assert_eq!(r.fault(&code, 13).1, u64::from(TASK));
}

#[test]
fn debug_registers() {
    let mut r = Rig::long();
    r.state.gpr[0] = 0x0000_1234_5678_9abc;
    // mov dr0, rax; mov rbx, dr0; mov rcx, dr6; mov rdx, dr7; hlt
    let code = [0x0f, 0x23, 0xc0, 0x0f, 0x21, 0xc3, 0x0f, 0x21, 0xf1, 0x0f, 0x21, 0xfa, 0xf4];
    let o = r.run(&code);
    assert_eq!((o.state.gpr[3], o.state.gpr[1], o.state.gpr[2]), (0x0000_1234_5678_9abc, 0xffff_0ff0, 0x400));
    // mov dr7, rax with high bits
    assert_eq!(r.fault(&[0x0f, 0x23, 0xf8], 13).1, 0);
    // mov rax, dr4: an alias, and #UD under CR4.DE
    assert_eq!(r.run(&[0x0f, 0x21, 0xe0, 0xf4]).state.gpr[0], 0xffff_0ff0);
    r.state.cr4 |= cr4::DE;
    assert_eq!(r.run(&[0x0f, 0x21, 0xe0, 0xf4]).vector(), Some(6));
    r.state.dr[5] = 0x2400;
    let o = r.run(&code);
    assert_eq!((o.vector(), o.state.dr[4] & 1 << 13, o.state.dr[5]), (Some(1), 1 << 13, 0x400));
    assert_eq!(Rig::long().user().fault(&code, 13).1, 0);
}

#[test]
fn an_instruction_breakpoint_is_a_fault_that_rf_passes() {
    let mut r = Rig::protected();
    r.state.dr[0] = CODE + 1;
    r.state.dr[5] = 0x401;
    let o = r.run(&[0x90, 0x90, 0xf4]);
    assert_eq!((o.vector(), o.state.dr[4] & 0xf), (Some(1), 1));
    assert_eq!(r.get32(OUTER_STACK - 12), CODE as u32 + 1);
    // The handler sets RF and returns.
    r.put(HANDLERS + 16, &[0x81, 0x4c, 0x24, 0x08, 0, 0, 1, 0, 0xcf]);
    let o = r.run(&[0x90, 0x90, 0xf4]);
    assert_eq!(o.state.rip, CODE + 3);
}

#[test]
fn data_breakpoints_trap_after_the_access() {
    let mut r = Rig::protected();
    r.state.dr[1] = 0x8004;
    // DR1: writes, four bytes.
    r.state.dr[5] = 0x400 | 3 << 2 | 0b1101 << 20;
    // mov eax, [0x8004]; mov [0x8008], eax; mov [0x8007], al; nop
    let code = [0xa1, 4, 0x80, 0, 0, 0xa3, 8, 0x80, 0, 0, 0xa2, 7, 0x80, 0, 0, 0x90];
    let o = r.run(&code);
    assert_eq!((o.vector(), o.state.dr[4] & 0xf), (Some(1), 2));
    assert_eq!(r.get32(OUTER_STACK - 12), CODE as u32 + 15, "after the third store only");
    // Reads too.
    r.state.dr[5] |= 0b0010 << 20;
    r.run(&code);
    assert_eq!(r.get32(OUTER_STACK - 12), CODE as u32 + 5);
    // A repeated instruction traps between two iterations: rep stosb from 0x8000 on.
    (r.state.gpr[7], r.state.gpr[1]) = (0x8000, 100);
    let o = r.run(&[0xf3, 0xaa, 0x90]);
    assert_eq!((o.vector(), o.state.gpr[7], o.state.gpr[1]), (Some(1), 0x8005, 95));
    assert_eq!(r.get32(OUTER_STACK - 12), CODE as u32);
}

#[test]
fn port_breakpoints_need_the_debugging_extension() {
    let mut r = Rig::protected();
    r.state.dr[0] = 0x80;
    r.state.dr[5] = 0x401 | 0b0010 << 16;
    // out 0x80, al; hlt
    let code = [0xe6, 0x80, 0xf4];
    assert_eq!(r.run(&code).vector(), None);
    r.state.cr4 = cr4::DE;
    assert_eq!(r.run(&code).vector(), Some(1));
    assert_eq!(r.get32(OUTER_STACK - 12), CODE as u32 + 2);
}

#[test]
fn ports_need_iopl_or_a_map() {
    let mut r = Rig::protected().user();
    // in al, 0x21; ud2
    let code = [0xe4, 0x21, 0x0f, 0x0b];
    assert_eq!(r.fault(&code, 13).1, 0);
    r.state.rflags = rflags::IOPL | 2;
    assert_eq!(r.run(&code).vector(), Some(6));
    r.state.rflags = 2;
    r.put(TSS + 0x66, &0x68u16.to_le_bytes());
    r.put(TSS + 0x68, &[0xff, 0xff, 0xff, 0xff, 0xfd, 0xff]);
    r.state.seg_mut(Seg::Tr).limit = 0x6d;
    assert_eq!(r.run(&code).vector(), Some(6), "the bit is clear");
    assert_eq!(r.fault(&[0xe5, 0x21], 13).1, 0, "four ports, of which one is allowed");
    r.state.seg_mut(Seg::Tr).limit = 0x6c;
    assert_eq!(r.fault(&code, 13).1, 0, "the map ends before the second byte");
}

#[test]
fn privileged_instructions_are_for_ring0() {
    let mut r = Rig::long().user();
    let codes: [&[u8]; 9] = [
        &[0xf4],
        &[0xfa],
        &[0xfb],
        &[0x0f, 0x06],
        &[0x0f, 0x09],
        &[0x0f, 0x30],
        &[0x0f, 0x32],
        &[0x0f, 0x01, 0x38],
        &[0x0f, 0x20, 0xc0],
    ];
    for code in codes {
        assert_eq!(r.fault(code, 13).1, 0, "{code:x?}");
    }
    r.state.cr4 |= cr4::TSD;
    assert_eq!(r.fault(&[0x0f, 0x31], 13).1, 0, "RDTSC under TSD");
}

#[test]
fn sti_shadows_one_instruction() {
    let mut r = Rig::protected();
    r.bench.vcpu.handle().set_intr(true);
    // sti; nop; nop: the interrupt (vector 20h) comes after the first NOP.
    let o = r.run(&[0xfb, 0x90, 0x90, 0x90]);
    assert_eq!(o.vector(), Some(0x20));
    assert_eq!(r.get32(OUTER_STACK - 12), CODE as u32 + 2);
}
