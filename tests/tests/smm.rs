//! System management mode on the whole board: SMIs by the chipset's port and by the local APIC, SMRAM behind the VGA window.

use gearbox_core::machine::ShutdownCause;
use gearbox_tests::accel::open;
use gearbox_tests::small::{DEBUG_EXIT, DEBUGCON, Mode, SmallGuest, assemble};
use iced_x86::code_asm::*;

/// Where the handler is after RESET, and where one is for SMBASE 0xa0000.
const FIRST: u64 = 0x3_8000;
const SECOND: u64 = 0xa_8000;
/// Where the second one waits to be copied.
const COPY: u64 = 0x5_0000;
const APM_CONTROL: u32 = 0xb2;

/// Prints `c`, runs `more`, and resumes.
fn handler(c: char, more: &[u8]) -> Vec<u8> {
    let print = assemble(16, 0x8000, |a| put(a, c));
    [&print[..], more, &[0x0f, 0xaa]].concat()
}

fn put(a: &mut CodeAssembler, c: char) {
    a.mov(al, c as i32).unwrap();
    a.out(DEBUGCON, al).unwrap();
}

/// Writes a byte or dword of configuration space.
fn config(a: &mut CodeAssembler, address: u32, port: i32, value: u32, wide: bool) {
    a.mov(dx, 0xcf8).unwrap();
    a.mov(eax, address).unwrap();
    a.out(dx, eax).unwrap();
    a.mov(dx, port).unwrap();
    a.mov(eax, value).unwrap();
    if wide { a.out(dx, eax).unwrap() } else { a.out(dx, al).unwrap() }
}

fn smi_by_port(a: &mut CodeAssembler, command: i32) {
    a.mov(al, command).unwrap();
    a.out(APM_CONTROL, al).unwrap();
}

#[test]
fn handlers_run_at_both_bases() {
    let opened = open("tcg", 1).expect("tcg runs anywhere");
    let guest = SmallGuest::new(Mode::Protected, |a| {
        put(a, 'a');
        // SMRAM control: open, copy, close.
        config(a, 0x8000_0070, 0xcfe, 0x4a, false);
        a.cld().unwrap();
        a.mov(esi, COPY as u32).unwrap();
        a.mov(edi, SECOND as u32).unwrap();
        a.mov(ecx, 64).unwrap();
        a.rep().movsb().unwrap();
        config(a, 0x8000_0070, 0xcfe, 0x0a, false);
        // Nobody has let the port raise an SMI yet.
        smi_by_port(a, 1);
        config(a, 0x8000_0b58, 0xcfc, 1 << 25, true);
        smi_by_port(a, 2);
        put(a, 'b');
        smi_by_port(a, 3);
        put(a, 'c');
        // By the interrupt command register, to itself.
        a.mov(ebx, 0xfee0_0000u32).unwrap();
        a.mov(dword_ptr(ebx + 0x310), 0).unwrap();
        a.mov(dword_ptr(ebx + 0x300), 0x4200).unwrap();
        put(a, 'd');
        a.mov(al, 0).unwrap();
        a.out(DEBUG_EXIT, al).unwrap();
        a.hlt().unwrap();
    })
    // mov dword ptr cs:[0xff00], 0xa0000: SMBASE.
    .piece(FIRST, handler('1', &[0x2e, 0x66, 0xc7, 0x06, 0x00, 0xff, 0x00, 0x00, 0x0a, 0x00]))
    .piece(COPY, handler('2', &[]));
    let (text, outcome) = guest.run(opened.vm);
    assert_eq!((text.as_str(), outcome.cause), ("a1b2c2d", ShutdownCause::GuestExit), "{outcome:?}");
}
