//! The code at which a vCPU cannot go on, for people.

use gearbox_core::x86::state::{Seg, X86State};
use iced_x86::{Decoder, DecoderOptions, FastFormatter};

/// The instruction at RIP, from its bytes.
pub(super) fn instruction(s: &X86State, bytes: &[u8]) -> String {
    let hex: Vec<_> = bytes.iter().map(|b| format!("{b:02x}")).collect();
    let mut decoder = Decoder::with_ip(s.mode().0, bytes, s.rip, DecoderOptions::NONE);
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
    use gearbox_core::x86::state::efer;

    #[test]
    fn the_failing_instruction_is_named() {
        let mut s = X86State::reset(true, 0);
        assert_eq!(instruction(&s, &[0xe6, 0x80, 0xf4]), "at f000:fff0: out 80h,al  [e6 80 f4]");
        s.efer = efer::LMA;
        s.seg_mut(Seg::Cs).attr = 0xa09b;
        assert!(instruction(&s, &[0xf0, 0x48, 0x0f, 0xc7, 0x0f]).contains("lock cmpxchg16b"));
        assert!(instruction(&s, &[]).contains("not readable"));
        assert!(instruction(&s, &[0x0f, 0x0b]).contains("ud2"));
    }
}
