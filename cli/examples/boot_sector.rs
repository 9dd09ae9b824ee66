//! A boot sector on a whole PC: 512 bytes, started in real mode at 0000:7C00.
//!
//! `cargo run --example boot_sector`

use gearbox::testing::{Expect, Vm};
use std::time::Duration;

// ANCHOR: sector
/// Writes a text to the first serial port, then ends the machine through `isa-debug-exit`.
#[rustfmt::skip]
const CODE: [u8; 19] = [
    0xbe, 0x13, 0x7c, //       mov si, text
    0xba, 0xf8, 0x03, //       mov dx, 3f8h
    0xac,             // next: lodsb
    0x84, 0xc0,       //       test al, al
    0x74, 0x03,       //       jz end
    0xee,             //       out dx, al
    0xeb, 0xf8,       //       jmp next
    0xb0, 0x15,       // end:  mov al, 21
    0xe6, 0xf4,       //       out 0f4h, al
    0xf4,             //       hlt
];

/// What runs.
pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut sector = [0; 512];
    let text = b"Hello from 0000:7c00\n\0";
    sector[..CODE.len()].copy_from_slice(&CODE);
    sector[CODE.len()..][..text.len()].copy_from_slice(text);
    sector[510..].copy_from_slice(&[0x55, 0xaa]);

    let mut vm = Vm::pc()
        .accel("tcg")
        .memory(16 << 20)
        .device("isa-debug-exit,iobase=0xf4,iosize=1")
        .serial(Expect)
        .boot_sector(sector)
        .start()?;
    let found = vm.expect(r"Hello from (\S+)\n", Duration::from_secs(20))?;
    assert_eq!(&found[1], "0000:7c00");

    // The status is what the guest wrote, times two, plus one: never that of a success.
    let outcome = vm.wait(Duration::from_secs(20))?;
    assert_eq!(outcome.status, 21 << 1 | 1);
    // ANCHOR_END: sector
    println!("said {:?}, status {}", found[0].trim_end(), outcome.status);
    Ok(())
}
