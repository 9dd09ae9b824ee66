//! Registers and code for people, when a vCPU cannot go on.

use gearbox_core::x86::state::{Seg, Segment, X86State, efer};
use iced_x86::{Decoder, DecoderOptions, FastFormatter};
use std::fmt::Write;

const GPRS: [&str; 16] =
    ["RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI", "R8", "R9", "R10", "R11", "R12", "R13", "R14", "R15"];

const SEGMENTS: [(&str, Seg); 8] = [
    ("ES", Seg::Es),
    ("CS", Seg::Cs),
    ("SS", Seg::Ss),
    ("DS", Seg::Ds),
    ("FS", Seg::Fs),
    ("GS", Seg::Gs),
    ("LDT", Seg::Ldtr),
    ("TR", Seg::Tr),
];

/// Width of code in the current mode.
fn bitness(s: &X86State) -> u32 {
    let cs = s.seg(Seg::Cs);
    match (s.efer & efer::LMA != 0 && cs.l(), cs.db()) {
        (true, _) => 64,
        (false, true) => 32,
        (false, false) => 16,
    }
}

/// All registers, in the order of the monitor command `info registers`.
pub(super) fn registers(s: &X86State) -> String {
    let mut out = String::new();
    for (row, names) in GPRS.chunks(4).enumerate() {
        for (i, name) in names.iter().enumerate() {
            let _ = write!(out, "{name:<3}={:016x} ", s.gpr[row * 4 + i]);
        }
        out.truncate(out.trim_end().len());
        out.push('\n');
    }
    let _ = writeln!(out, "RIP={:016x} RFLAGS={:08x} {:?}", s.rip, s.rflags, s.activity);
    for (name, seg) in SEGMENTS {
        let Segment { selector, base, limit, attr } = s.seg(seg);
        let _ = writeln!(out, "{name:<3}={selector:04x} {base:016x} {limit:08x} {attr:05x}");
    }
    let _ =
        writeln!(out, "GDT={:016x} {:04x}  IDT={:016x} {:04x}", s.gdtr.base, s.gdtr.limit, s.idtr.base, s.idtr.limit);
    let _ = writeln!(out, "CR0={:08x} CR2={:016x} CR3={:016x} CR4={:08x}", s.cr0, s.cr2, s.cr3, s.cr4);
    let _ = write!(out, "EFER={:016x} XCR0={:x}", s.efer, s.xcr0);
    out
}

/// The instruction at RIP, from its bytes.
pub(super) fn instruction(s: &X86State, bytes: &[u8]) -> String {
    let hex: Vec<_> = bytes.iter().map(|b| format!("{b:02x}")).collect();
    let mut decoder = Decoder::with_ip(bitness(s), bytes, s.rip, DecoderOptions::NONE);
    let text = if decoder.can_decode() {
        let instruction = decoder.decode();
        let mut text = String::new();
        match instruction.is_invalid() {
            true => text.push_str("(no instruction)"),
            false => FastFormatter::new().format(&instruction, &mut text),
        }
        text
    } else {
        "(not readable)".to_owned()
    };
    format!("at {:04x}:{:x}: {text}  [{}]", s.seg(Seg::Cs).selector, s.rip, hex.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_failing_instruction_is_named() {
        let mut s = X86State::reset(true, 0);
        assert_eq!(instruction(&s, &[0xe6, 0x80, 0xf4]), "at f000:fff0: out 80h,al  [e6 80 f4]");
        s.efer = efer::LMA;
        s.seg_mut(Seg::Cs).attr = 0xa09b;
        assert!(instruction(&s, &[0xf0, 0x48, 0x0f, 0xc7, 0x0f]).contains("lock cmpxchg16b"));
        assert!(instruction(&s, &[]).contains("not readable"));
        assert!(instruction(&s, &[0x0f, 0x0b]).contains("ud2"));
        let text = registers(&s);
        assert!(text.contains("CS =f000 00000000ffff0000") && text.contains("RIP=000000000000fff0"), "{text}");
    }
}
