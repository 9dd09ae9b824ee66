//! Small programs.

use super::{Bench, CODE};
use gearbox_core::vm::VcpuExit;
use gearbox_core::x86::state::{Seg, Segment, X86State};

#[test]
fn a_loop_counts_and_halts() {
    let mut b = Bench::new();
    // mov ecx, 1000000; xor eax, eax; l: add eax, ecx; dec ecx; jnz l; hlt
    let code = [0xb9, 0x40, 0x42, 0x0f, 0, 0x31, 0xc0, 0x01, 0xc8, 0xff, 0xc9, 0x75, 0xfa, 0xf4];
    let s = b.long_mode();
    let (exit, s) = b.run(&code, &s, 10_000_000);
    assert_eq!(exit, VcpuExit::Halted);
    assert_eq!(s.gpr[0], (1..=1_000_000u64).sum::<u64>() & 0xffff_ffff);
    assert_eq!((s.gpr[1], s.rip), (0, CODE + 14));
}

#[test]
fn a_limit_is_met_to_the_instruction() {
    let mut b = Bench::new();
    let code = [0xff, 0xc0, 0xff, 0xc0, 0xff, 0xc0, 0xff, 0xc0, 0xff, 0xc0, 0xeb, 0xf4];
    let s = b.long_mode();
    for n in [1, 2, 5, 6, 7, 63, 64, 65, 4095, 4096, 4097, 100_001] {
        let (exit, s) = b.run(&code, &s, n);
        assert_eq!(exit, VcpuExit::Budget);
        assert_eq!(s.gpr[0], n - n / 6, "{n}");
    }
}

#[test]
fn calls_and_stack_come_back_in_order() {
    let mut b = Bench::new();
    // push 5; pop rbx; call f; hlt; f: mov rdx,[rsp]; lea rax,[rip+0]; ret 8 would drop too much: plain ret
    let code =
        [0x6a, 0x05, 0x5b, 0xe8, 0x01, 0, 0, 0, 0xf4, 0x48, 0x8b, 0x14, 0x24, 0x48, 0x8d, 0x05, 0, 0, 0, 0, 0xc3];
    let s = b.long_mode();
    let (exit, t) = b.run(&code, &s, 100);
    assert_eq!(exit, VcpuExit::Halted);
    assert_eq!((t.gpr[3], t.gpr[2], t.gpr[0], t.gpr[4]), (5, CODE + 8, CODE + 20, s.gpr[4]));
}

#[test]
fn code_that_changes_itself_takes_effect_at_once() {
    let mut b = Bench::new();
    // l: mov byte [rip+1], 0x90 turns the inc below (ff c0) into nop + something else: patch the immediate of mov eax, 1 instead.
    // mov ecx, 3; l: mov eax, 1; add ebx, eax; inc byte [rip-8] (the immediate of mov eax); dec ecx; jnz l; hlt
    let code = [
        0xb9, 3, 0, 0, 0, 0xb8, 1, 0, 0, 0, 0x01, 0xc3, 0xfe, 0x05, 0xf4, 0xff, 0xff, 0xff, 0xff, 0xc9, 0x75, 0xef,
        0xf4,
    ];
    let mut s = b.long_mode();
    s.gpr[3] = 0;
    let (exit, t) = b.run(&code, &s, 1000);
    assert_eq!(exit, VcpuExit::Halted);
    assert_eq!(t.gpr[3], 1 + 2 + 3);
}

#[test]
fn a_write_to_the_next_instruction_of_the_block() {
    let mut b = Bench::new();
    // mov byte [rip+0], 0xfe at offset of the modrm below: add eax,imm8 with imm patched. mov byte [rip+2], 7; add eax, 1 (83 c0 01); hlt
    let code = [0xc6, 0x05, 2, 0, 0, 0, 7, 0x83, 0xc0, 1, 0xf4];
    let s = b.long_mode();
    let (exit, t) = b.run(&code, &s, 1000);
    assert_eq!((exit, t.gpr[0]), (VcpuExit::Halted, 7));
}

#[test]
fn string_instructions_move_and_fill() {
    let mut b = Bench::new();
    // rep stosb; mov esi, edi - n...: rdi, rcx, al are given; then rep movsq from rsi
    let code = [0xf3, 0xaa, 0xb9, 0, 4, 0, 0, 0xbe, 0x00, 0x00, 0x30, 0, 0xf3, 0x48, 0xa5, 0xf4];
    let mut s = b.long_mode();
    (s.gpr[0], s.gpr[1], s.gpr[7]) = (0x5a, 0x5001, 0x30_0000);
    let (exit, t) = b.run(&code, &s, 1000);
    assert_eq!(exit, VcpuExit::Halted);
    assert_eq!((t.gpr[1], t.gpr[7], t.gpr[6]), (0, 0x30_5001 + 0x2000, 0x30_2000));
    let mut bytes = vec![0; 0x7002];
    b.memory.read(0x30_0000, &mut bytes).unwrap();
    assert!(bytes[..0x7001].iter().all(|&v| v == 0x5a) && bytes[0x7001] == 0);
}

#[test]
fn real_mode_segments_and_ports() {
    let mut b = Bench::new();
    let mut s = X86State::reset(true, 0);
    *s.seg_mut(Seg::Cs) = Segment { attr: 0x9b, ..Segment::real(0x1000) };
    *s.seg_mut(Seg::Ds) = Segment::real(0x2000);
    s.rip = 0x10;
    // mov al, [0x8]; out 0x80, al; in ax, 0x60; mov [0xfffe], ax; hlt
    b.memory.write(0x10010, &[0xa0, 8, 0, 0xe6, 0x80, 0xe5, 0x60, 0xa3, 0xfe, 0xff, 0xf4]).unwrap();
    b.memory.write(0x20008, &[0x77]).unwrap();
    b.vcpu.set_state(&s).unwrap();
    let exit = b.vcpu.run(&b.board, gearbox_core::vm::Limit { instructions: Some(50) });
    assert_eq!(exit, VcpuExit::Halted);
    assert_eq!(*b.board.out.lock(), [(0x80, 1, 0x77)]);
    assert_eq!(b.memory.read_array(0x2fffe), Some([0x34, 0x12]));
}

#[test]
fn device_memory_is_reached_through_the_board() {
    let mut b = Bench::new();
    // mov eax, [rbx]; mov [rbx], cl; mov eax,[rbx+0xffe] crosses from a device page into another
    let code = [0x8b, 0x03, 0x88, 0x0b, 0x8b, 0x93, 0xfe, 0x0f, 0, 0, 0xf4];
    let mut s = b.long_mode();
    (s.gpr[3], s.gpr[1]) = (0x3000_0040, 0x99);
    let (exit, t) = b.run(&code, &s, 50);
    assert_eq!(exit, VcpuExit::Halted);
    assert_eq!((t.gpr[0], t.gpr[2]), (0x4342_4140, 0x4140_3f3e));
    assert_eq!(*b.board.out.lock(), [(0x40, 1, 0x99)]);
}

#[test]
fn a_misaligned_access_of_user_code_is_an_alignment_check() {
    use gearbox_core::x86::state::{cr0, rflags};
    let mut b = Bench::new();
    // mov eax, [rbx]; mov eax, [rbx+1]
    let code = [0x8b, 0x03, 0x8b, 0x43, 0x01];
    let mut s = b.long_mode();
    s.cr0 |= cr0::AM;
    s.rflags |= rflags::AC;
    s.gpr[3] = 0x30_0000;
    for seg in [Seg::Cs, Seg::Ss] {
        s.seg_mut(seg).attr |= 3 << 5;
    }
    // Without an IDT the exception ends in shutdown.
    s.idtr.limit = 0;
    let (exit, t) = b.run(&code, &s, 1);
    assert_eq!((exit, t.rip), (VcpuExit::Budget, CODE + 2));
    let (exit, _) = b.run(&code, &s, 2);
    assert_eq!(exit, VcpuExit::TripleFault);
    s.cr0 &= !cr0::AM;
    assert_eq!(b.run(&code, &s, 2).0, VcpuExit::Budget);
}

#[test]
fn a_guest_that_only_faults_meets_its_limit() {
    let mut b = Bench::new();
    let mut s = b.long_mode();
    // #UD leads to UD2 again.
    (s.idtr.base, s.idtr.limit) = (0x4000, 0xfff);
    s.gdtr = gearbox_core::x86::state::DescriptorTable { base: 0x5000, limit: 0x1f };
    b.memory.write(0x5008, &0x00af_9b00_0000_ffffu64.to_le_bytes()).unwrap();
    let gate = (CODE & 0xffff) | 8 << 16 | 0x8e00 << 32 | (CODE >> 16 & 0xffff) << 48;
    b.memory.write(0x4000 + 16 * 6, &gate.to_le_bytes()).unwrap();
    let (exit, t) = b.run(&[0x0f, 0x0b], &s, 20);
    assert_eq!((exit, t.rip), (VcpuExit::Budget, CODE));
    // Each frame is aligned to 16 bytes before five quadwords are pushed.
    assert_eq!(t.gpr[4], s.gpr[4] - (40 + 19 * 48));
}
