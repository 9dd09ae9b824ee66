//! When instructions may be executed, and the state images, on every host.

use super::testing::{CODE, Machine, OPERAND};
use crate::fault::{Exec, Fault, vector};
use gearbox_core::x86::state::{Seg, Segment, cr0, cr4, gpr};

const MF: Exec = Err(Fault::plain(vector::MF));

// Memory operands are at [rsi].
const FLD1: &[u8] = &[0xd9, 0xe8];
const FLDZ: &[u8] = &[0xd9, 0xee];
const FDIVP: &[u8] = &[0xde, 0xf9];
const FWAIT: &[u8] = &[0x9b];
const FNINIT: &[u8] = &[0xdb, 0xe3];
const FNSTSW_AX: &[u8] = &[0xdf, 0xe0];
const FNSTENV: &[u8] = &[0xd9, 0x36];
const FLDENV: &[u8] = &[0xd9, 0x26];
const FNSAVE: &[u8] = &[0xdd, 0x36];
const FRSTOR: &[u8] = &[0xdd, 0x26];
const FLDCW: &[u8] = &[0xd9, 0x2e];
const PADDB_MMX: &[u8] = &[0x0f, 0xfc, 0xc1];
const EMMS: &[u8] = &[0x0f, 0x77];
const ADDPS: &[u8] = &[0x0f, 0x58, 0xc1];
const ADDPS_MEM: &[u8] = &[0x0f, 0x58, 0x06];
const DIVSS: &[u8] = &[0xf3, 0x0f, 0x5e, 0xc1];
const MOVUPS: &[u8] = &[0x0f, 0x10, 0x06];
const MOVAPS_STORE: &[u8] = &[0x0f, 0x29, 0x06];
const CVTPI2PD: &[u8] = &[0x66, 0x0f, 0x2a, 0xc1];
const LDMXCSR: &[u8] = &[0x0f, 0xae, 0x16];
const FXSAVE64: &[u8] = &[0x48, 0x0f, 0xae, 0x06];
const FXRSTOR64: &[u8] = &[0x48, 0x0f, 0xae, 0x0e];
const XSAVE64: &[u8] = &[0x48, 0x0f, 0xae, 0x26];
const XSAVEOPT64: &[u8] = &[0x48, 0x0f, 0xae, 0x36];
const XRSTOR64: &[u8] = &[0x48, 0x0f, 0xae, 0x2e];

fn machine() -> Machine {
    let mut m = Machine::new();
    m.cpu.set_gpr(gpr::RSI, OPERAND);
    m
}

#[test]
fn control_registers_decide_what_may_be_executed() {
    let mut m = machine();
    m.execute(FNINIT).unwrap();
    let (plain0, plain4) = (m.cpu.cr0, m.cpu.cr4);
    let cases: [(u64, u64, &[u8], Exec); 14] = [
        (0, 0, FLD1, Ok(())),
        (cr0::EM, 0, FLD1, Err(Fault::NM)),
        (cr0::TS, 0, FLD1, Err(Fault::NM)),
        (cr0::TS, 0, FWAIT, Ok(())),
        (cr0::MP, 0, FWAIT, Ok(())),
        (cr0::TS | cr0::MP, 0, FWAIT, Err(Fault::NM)),
        (cr0::TS, 0, FNSTSW_AX, Err(Fault::NM)),
        (cr0::EM, 0, PADDB_MMX, Err(Fault::UD)),
        (cr0::TS, 0, PADDB_MMX, Err(Fault::NM)),
        (cr0::EM, 0, ADDPS, Err(Fault::UD)),
        (cr0::TS, 0, ADDPS, Err(Fault::NM)),
        (cr0::TS, cr4::OSFXSR, ADDPS, Err(Fault::UD)),
        (0, cr4::OSXSAVE, XSAVE64, Err(Fault::UD)),
        (cr0::TS, 0, XSAVE64, Err(Fault::NM)),
    ];
    for (set, clear, code, want) in cases {
        (m.cpu.cr0, m.cpu.cr4) = (plain0 | set, plain4 & !clear);
        assert_eq!(m.execute(code), want, "{code:02x?} with {set:#x} set in CR0, {clear:#x} clear in CR4");
    }
}

// VPADDB and VADDPS of xmm1 and xmm0 to xmm0, with and without 256 bits; VMOVDQU and VMOVDQA of [rsi].
const VPADDB: &[u8] = &[0xc5, 0xf1, 0xfc, 0xc0];
const VPADDB_256: &[u8] = &[0xc5, 0xf5, 0xfc, 0xc0];
const VADDPS_MEM: &[u8] = &[0xc5, 0xf4, 0x58, 0x06];
const VMOVDQA: &[u8] = &[0xc5, 0xfd, 0x6f, 0x06];
const VMOVNTDQ: &[u8] = &[0xc5, 0xfd, 0xe7, 0x06];
const VZEROUPPER: &[u8] = &[0xc5, 0xf8, 0x77];

#[test]
fn avx_needs_protection_and_what_xcr0_enables() {
    let mut m = machine();
    let (plain0, plain4) = (m.cpu.cr0, m.cpu.cr4);
    for (cr0, cr4, xcr0, want) in [
        (plain0, plain4, 7, Ok(())),
        (plain0 | cr0::EM, plain4, 7, Ok(())),
        (plain0, plain4 & !cr4::OSFXSR, 7, Ok(())),
        (plain0 | cr0::TS, plain4, 7, Err(Fault::NM)),
        (plain0 | cr0::TS, plain4 & !cr4::OSXSAVE, 7, Err(Fault::UD)),
        (plain0, plain4 & !cr4::OSXSAVE, 7, Err(Fault::UD)),
        (plain0, plain4, 3, Err(Fault::UD)),
        (plain0, plain4, 1, Err(Fault::UD)),
        (plain0 & !cr0::PE, plain4, 7, Err(Fault::UD)),
    ] {
        (m.cpu.cr0, m.cpu.cr4, m.cpu.xcr0) = (cr0, cr4, xcr0);
        for code in [VPADDB, VPADDB_256, VADDPS_MEM, VZEROUPPER] {
            assert_eq!(m.execute(code), want, "{code:02x?} with CR0 {cr0:#x}, CR4 {cr4:#x}, XCR0 {xcr0}");
        }
    }
}

#[test]
fn operands_of_vex_are_aligned_for_aligned_moves_only() {
    let mut m = machine();
    m.cpu.set_gpr(gpr::RSI, OPERAND + 16);
    assert_eq!(m.execute(VADDPS_MEM), Ok(()));
    assert_eq!(m.execute(VMOVDQA), Err(Fault::GP0), "32 bytes");
    assert_eq!(m.execute(VMOVNTDQ), Err(Fault::GP0), "32 bytes");
    m.cpu.set_gpr(gpr::RSI, OPERAND + 32);
    assert_eq!(m.execute(VMOVDQA), Ok(()));
}

#[test]
fn reserved_fields_of_vex_are_invalid() {
    let invalid: [(&str, &[u8]); 7] = [
        ("VPSHUFD with VEX.vvvv", &[0xc5, 0xf1, 0x70, 0xc1, 0]),
        ("VMOVD with VEX.L", &[0xc5, 0xfd, 0x6e, 0xc0]),
        ("VPERMQ without VEX.L", &[0xc4, 0xe3, 0xf9, 0x00, 0xc1, 0]),
        ("66 before VEX", &[0x66, 0xc5, 0xf1, 0xfc, 0xc0]),
        ("LOCK before VEX", &[0xf0, 0xc5, 0xf1, 0xfc, 0xc0]),
        ("REX before VEX", &[0x40, 0xc5, 0xf1, 0xfc, 0xc0]),
        // VPGATHERDD xmm1, [rsi + xmm1], xmm2
        ("a gather into its index", &[0xc4, 0xe2, 0x69, 0x90, 0x0c, 0x0e]),
    ];
    for (what, bytes) in invalid {
        let i = iced_x86::Decoder::new(64, bytes, iced_x86::DecoderOptions::NONE).decode();
        assert!(super::executor(&i).is_none(), "{what}: {:?}", i.code());
    }
}

#[test]
fn a_gather_goes_on_where_it_faulted() {
    const GATHER: &[u8] = &[0xc4, 0xe2, 0xed, 0x91, 0x0c, 0xc6]; // vpgatherqq ymm1, [rsi + ymm0 * 8], ymm2
    const SET: u64 = 1 << 63;
    let vec = super::vec::Vec128::from_u64s;
    let mut m = machine();
    m.set_operand(&[0x11; 64]);
    m.cpu.fpu.ymm_hi[1] = vec([7, 8]);
    // Lane 2 is not at a canonical address, lane 3 is not wanted.
    (m.cpu.fpu.xmm[0], m.cpu.fpu.ymm_hi[0]) = (vec([0, 1]), vec([1 << 44, 1 << 44]));
    (m.cpu.fpu.xmm[2], m.cpu.fpu.ymm_hi[2]) = (vec([SET, SET]), vec([SET, 0]));
    assert_eq!(m.execute(GATHER), Err(Fault::GP0));
    assert_eq!((m.cpu.fpu.xmm[1], m.cpu.fpu.ymm_hi[1]), (vec([0x1111_1111_1111_1111; 2]), vec([7, 8])));
    assert_eq!((m.cpu.fpu.xmm[2], m.cpu.fpu.ymm_hi[2]), (vec([0, 0]), vec([SET, 0])));
    // What has been loaded is not loaded again.
    m.set_operand(&[0x22; 64]);
    m.cpu.fpu.ymm_hi[0] = vec([2, 1 << 44]);
    m.execute(GATHER).unwrap();
    let loaded = (vec([0x1111_1111_1111_1111; 2]), vec([0x2222_2222_2222_2222, 8]));
    assert_eq!((m.cpu.fpu.xmm[1], m.cpu.fpu.ymm_hi[1]), loaded);
    assert_eq!((m.cpu.fpu.xmm[2], m.cpu.fpu.ymm_hi[2]), (vec([0; 2]), vec([0; 2])), "the mask is spent");
}

#[test]
fn an_unmasked_exception_waits_for_the_next_waiting_instruction() {
    let mut m = machine();
    m.set_operand(&0x37bu16.to_le_bytes());
    for code in [FNINIT, FLDCW, FLD1, FLDZ] {
        m.execute(code).unwrap();
    }
    let before = m.cpu.fpu.to_state().st;
    m.execute(FDIVP).unwrap();
    let s = m.cpu.fpu.to_state();
    assert_eq!((s.fsw & 0x8084, s.st), (0x8084, before), "ES, B and ZE are set, and nothing is popped");
    assert_eq!((s.fip, s.fop), (CODE, 0x6f9));
    for code in [FLD1, FWAIT, PADDB_MMX, EMMS, CVTPI2PD, FLDCW] {
        assert_eq!(m.execute(code), MF, "{code:02x?}");
    }
    assert_eq!(m.execute(ADDPS), Ok(()), "SSE does not look at x87 exceptions");
    assert_eq!(m.execute(FNSTSW_AX), Ok(()));
    assert_eq!(m.cpu.gpr(gpr::RAX) & 0x80, 0x80);
    m.execute(FNINIT).unwrap();
    assert_eq!(m.execute(FLD1), Ok(()));
}

#[test]
fn an_unmasked_sse_exception_changes_only_the_flags() {
    let mut m = machine();
    m.cpu.fpu.mxcsr = 0x1f80 & !(1 << 9);
    m.cpu.fpu.xmm[0] = super::vec::Vec128::from_low32(1.0f32.to_bits());
    m.cpu.fpu.xmm[1] = super::vec::Vec128::default();
    let before = m.cpu.fpu.xmm;
    assert_eq!(m.execute(DIVSS), Err(Fault::plain(vector::XM)));
    assert_eq!((m.cpu.fpu.mxcsr & 0x3f, m.cpu.fpu.xmm), (4, before));
    m.cpu.cr4 &= !cr4::OSXMMEXCPT;
    assert_eq!(m.execute(DIVSS), Err(Fault::UD));
}

#[test]
fn operands_of_sixteen_bytes_are_aligned() {
    let mut m = machine();
    m.cpu.set_gpr(gpr::RSI, OPERAND + 8);
    assert_eq!(m.execute(ADDPS_MEM), Err(Fault::GP0));
    assert_eq!(m.execute(MOVAPS_STORE), Err(Fault::GP0));
    assert_eq!(m.execute(FXSAVE64), Err(Fault::GP0));
    assert_eq!(m.execute(MOVUPS), Ok(()));
    m.cpu.set_gpr(gpr::RSI, OPERAND + 16);
    assert_eq!(m.execute(ADDPS_MEM), Ok(()));
    assert_eq!(m.execute(FXSAVE64), Ok(()), "whatever the length of the image");
    assert_eq!(m.execute(XSAVE64), Err(Fault::GP0), "XSAVE wants 64 bytes");
}

#[test]
fn reserved_bits_of_mxcsr_are_refused() {
    let mut m = machine();
    m.set_operand(&0x1_1f80u32.to_le_bytes());
    assert_eq!(m.execute(LDMXCSR), Err(Fault::GP0));
    let mut image = [0; 512];
    image[26] = 1;
    m.set_operand(&image);
    assert_eq!(m.execute(FXRSTOR64), Err(Fault::GP0));
}

/// A state with something in every register.
fn fill(m: &mut Machine) {
    for code in [FNINIT, FLD1, FLDZ, FLD1] {
        m.execute(code).unwrap();
    }
    for n in 0..16 {
        m.cpu.fpu.xmm[n] = super::vec::Vec128([n as u8 + 1; 16]);
        m.cpu.fpu.ymm_hi[n] = super::vec::Vec128([n as u8 + 0x81; 16]);
    }
    m.cpu.fpu.mxcsr = 0x3fa1;
}

#[test]
fn xsave_and_xrstor_move_the_components_asked_for() {
    let mut m = machine();
    fill(&mut m);
    let full = m.cpu.fpu.to_state();
    m.set_operand(&[0; 832]);
    m.cpu.set_gpr(gpr::RDX, 0);
    m.cpu.set_gpr(gpr::RAX, 7);
    m.execute(XSAVE64).unwrap();
    let image: [u8; 832] = m.operand();
    assert_eq!(image[..], full.to_xsave()[..]);

    // The AVX component alone comes back, and MXCSR with it.
    m.cpu.fpu = super::Fpu::default();
    m.cpu.set_gpr(gpr::RAX, 4);
    m.execute(XRSTOR64).unwrap();
    let s = m.cpu.fpu.to_state();
    assert_eq!((s.ymm_hi, s.mxcsr, s.xmm), (full.ymm_hi, full.mxcsr, [0; 16]));

    // A component that the header calls initial is made so.
    fill(&mut m);
    let mut partial = image;
    partial[512] = 5;
    m.set_operand(&partial);
    m.cpu.set_gpr(gpr::RAX, 7);
    m.execute(XRSTOR64).unwrap();
    let s = m.cpu.fpu.to_state();
    assert_eq!((s.xmm, s.ymm_hi, s.st), ([0; 16], full.ymm_hi, full.st));

    // XSAVEOPT leaves an initial component's bytes alone, but not its header bit.
    m.set_operand(&[0x55; 832]);
    m.execute(XSAVEOPT64).unwrap();
    let image: [u8; 832] = m.operand();
    assert_eq!((image[160], image[576], image[512] & 7), (0x55, 0x81, 5));
}

#[test]
fn protection_keys_are_a_state_component() {
    const PKRU: u64 = 1 << 9;
    const OFFSET: usize = 0xa80;
    let mut m = machine();
    m.cpu.xcr0 |= PKRU;
    m.cpu.pkru = 0x5555_5554;
    m.set_operand(&[0; OFFSET + 8]);
    m.cpu.set_gpr(gpr::RDX, 0);
    m.cpu.set_gpr(gpr::RAX, PKRU);
    m.execute(XSAVE64).unwrap();
    let image: [u8; OFFSET + 8] = m.operand();
    assert_eq!((image[513], &image[OFFSET..]), (2, &[0x54, 0x55, 0x55, 0x55, 0, 0, 0, 0][..]));

    m.cpu.pkru = 1;
    m.execute(XRSTOR64).unwrap();
    assert_eq!(m.cpu.pkru, 0x5555_5554);

    // In the compacted format it follows what else there is; in its initial state it is not written.
    m.set_operand(&[0; 832 + 8]);
    m.cpu.set_gpr(gpr::RAX, PKRU | 4);
    m.execute(XSAVEC64).unwrap();
    let image: [u8; 832 + 8] = m.operand();
    assert_eq!((image[513], image[520], image[521], image[832]), (2, 4, 2, 0x54));
    let mut initial = image;
    initial[513] = 0;
    m.set_operand(&initial);
    m.execute(XRSTOR64).unwrap();
    assert_eq!(m.cpu.pkru, 0);
}

#[test]
fn xrstor_refuses_a_bad_header() {
    let mut m = machine();
    fill(&mut m);
    let good = m.cpu.fpu.to_state().to_xsave();
    m.cpu.set_gpr(gpr::RAX, 7);
    for (at, value) in [(512, 0x0f), (520, 1), (528, 1), (26, 0xff)] {
        let mut image = good;
        image[at] = value;
        m.set_operand(&image);
        assert_eq!(m.execute(XRSTOR64), Err(Fault::GP0), "byte {at} = {value:#x}");
    }
    m.set_operand(&good);
    assert_eq!(m.execute(XRSTOR64), Ok(()));
    m.cpu.xcr0 = 3;
    assert_eq!(m.execute(XRSTOR64), Err(Fault::GP0), "a component that XCR0 does not enable");
}

const XSAVEC64: &[u8] = &[0x48, 0x0f, 0xc7, 0x26];
const XSAVES64: &[u8] = &[0x48, 0x0f, 0xc7, 0x2e];
const XRSTORS64: &[u8] = &[0x48, 0x0f, 0xc7, 0x1e];
const XGETBV: &[u8] = &[0x0f, 0x01, 0xd0];

#[test]
fn compacted_images_round_trip() {
    let mut m = machine();
    m.cpu.set_gpr(gpr::RDX, 0);
    for (save, restore) in [(XSAVEC64, XRSTOR64), (XSAVES64, XRSTORS64)] {
        for wanted in 0..8u64 {
            fill(&mut m);
            let full = m.cpu.fpu.to_state();
            let mut area = [0xee; 832];
            area[512..576].fill(0);
            m.set_operand(&area);
            m.cpu.set_gpr(gpr::RAX, wanted);
            m.execute(save).unwrap();
            let image: [u8; 832] = m.operand();
            assert_eq!(image[512], wanted as u8, "XSTATE_BV");
            assert_eq!(image[520..528], (wanted | 1 << 63).to_le_bytes(), "XCOMP_BV");
            assert_eq!(image[576..832] != [0xee; 256], wanted & 4 != 0, "the AVX component");
            m.cpu.fpu = super::Fpu::default();
            let initial = m.cpu.fpu.to_state();
            m.execute(restore).unwrap();
            let s = m.cpu.fpu.to_state();
            let of = |bit: u64| if wanted & bit != 0 { &full } else { &initial };
            assert_eq!((&s.st, s.fcw), (&of(1).st, of(1).fcw), "{wanted}");
            assert_eq!((s.xmm, s.mxcsr), (of(2).xmm, of(2).mxcsr), "{wanted}");
            assert_eq!(s.ymm_hi, of(4).ymm_hi, "{wanted}");
        }
    }
}

#[test]
fn compacted_images_leave_out_what_is_initial() {
    let mut m = machine();
    m.cpu.set_gpr(gpr::RDX, 0);
    m.cpu.set_gpr(gpr::RAX, 7);
    fill(&mut m);
    m.cpu.fpu.ymm_hi = Default::default();
    m.set_operand(&[0xee; 832]);
    m.execute(XSAVEC64).unwrap();
    let image: [u8; 832] = m.operand();
    assert_eq!((image[512], image[576..] == [0xee; 256]), (3, true));
    // XGETBV tells the same.
    m.cpu.set_gpr(gpr::RCX, 1);
    m.execute_any(XGETBV).unwrap();
    assert_eq!(m.cpu.gpr(gpr::RAX), 3);
    m.cpu.set_gpr(gpr::RCX, 2);
    assert_eq!(m.execute_any(XGETBV), Err(Fault::GP0));
}

#[test]
fn xrstors_wants_the_compacted_format_and_ring_0() {
    let mut m = machine();
    m.cpu.set_gpr(gpr::RDX, 0);
    m.cpu.set_gpr(gpr::RAX, 7);
    fill(&mut m);
    m.set_operand(&m.cpu.fpu.to_state().to_xsave());
    assert_eq!(m.execute(XRSTORS64), Err(Fault::GP0), "the standard format");
    m.set_operand(&[0; 832]);
    m.execute(XSAVES64).unwrap();
    let good: [u8; 832] = m.operand();
    // A component that is not enabled, one that is present but has no place, and the reserved bytes.
    for (at, value) in [(520, 0x0f), (512, 0x0f), (520, 3), (528, 1), (575, 1)] {
        let mut image = good;
        image[at] = value;
        m.set_operand(&image);
        assert_eq!(m.execute(XRSTORS64), Err(Fault::GP0), "byte {at} = {value:#x}");
    }
    m.set_operand(&good);
    assert_eq!(m.execute(XRSTORS64), Ok(()));
    m.cpu.set_cpl(3);
    assert_eq!(m.execute(XRSTORS64), Err(Fault::GP0));
    assert_eq!(m.execute(XSAVES64), Err(Fault::GP0));
}

#[test]
fn environments_round_trip_in_every_layout() {
    for (bits, real) in [(64, false), (32, false), (16, false), (32, true), (16, true)] {
        let mut m = machine();
        if bits != 64 {
            m.cpu.efer = 0;
            let attr = if bits == 32 { 0xc09b } else { 0x809b };
            m.cpu.set_seg(Seg::Cs, Segment { selector: 8, base: 0, limit: u32::MAX, attr });
            m.cpu.set_seg(Seg::Ds, Segment { selector: 8, base: OPERAND, limit: u32::MAX, attr: 0xc093 });
            m.cpu.set_gpr(gpr::RSI, 0);
        }
        if real {
            m.cpu.cr0 &= !cr0::PE;
        }
        m.cpu.update_mode();
        // [si] in 16-bit code is encoded otherwise.
        let at_si = |code: &[u8]| if bits == 16 { [code[0], code[1] & 0xf8 | 4] } else { [code[0], code[1]] };
        for code in [FNINIT, FLD1, FLDZ] {
            m.execute(code).unwrap();
        }
        (m.cpu.fpu.fip, m.cpu.fpu.fdp, m.cpu.fpu.fop) = (0x1234, 0x5678, 0);
        let before = m.cpu.fpu.to_state();
        m.set_operand(&[0xaa; 128]);
        m.execute(&at_si(FNSAVE)).unwrap();
        let image: [u8; 128] = m.operand();
        let len = if bits == 16 { 94 } else { 108 };
        assert!(image[len..].iter().all(|&b| b == 0xaa), "{bits} bits: no byte after {len}");
        assert_eq!(m.cpu.fpu.to_state().ftw, 0, "FNSAVE initialises");
        m.execute(&at_si(FRSTOR)).unwrap();
        assert_eq!(m.cpu.fpu.to_state(), before, "{bits} bits, real mode: {real}");

        m.execute(&at_si(FNSTENV)).unwrap();
        m.execute(FNINIT).unwrap();
        m.execute(&at_si(FLDENV)).unwrap();
        let after = m.cpu.fpu.to_state();
        assert_eq!((after.fsw, after.ftw, after.fip, after.fdp), (before.fsw, before.ftw, before.fip, before.fdp));
    }
}

#[test]
fn mmx_uses_the_x87_registers() {
    let mut m = machine();
    m.execute(FNINIT).unwrap();
    m.execute(FLD1).unwrap();
    m.execute(PADDB_MMX).unwrap();
    let s = m.cpu.fpu.to_state();
    assert_eq!((s.fsw >> 11 & 7, s.ftw), (0, 0xff));
    assert_eq!(s.st[0] >> 64, 0xffff, "the exponent of a register that MMX wrote is all ones");
    m.execute(EMMS).unwrap();
    assert_eq!(m.cpu.fpu.to_state().ftw, 0);
}
