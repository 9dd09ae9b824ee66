//! Handlers end in jumps: in a chain of calls the host's stack would grow with every guest instruction.
//! (With debug assertions they do call; the slice's length bounds the depth there.)

use crate::cpu::Mode;
use crate::ops::hot::lower;
use iced_x86::{Decoder, DecoderOptions, FlowControl, Mnemonic};

/// 64-bit flat code.
const LONG: Mode = Mode(0b1110);

#[test]
fn no_handler_calls_the_next() {
    // mov rax,[rbx]; add [rcx],eax; shl rdx,3; push rsi; pop rdi; lea r8,[r9+8]; cmp eax,5; jne .
    let code =
        [0x48, 0x8b, 0x03, 0x01, 0x01, 0x48, 0xc1, 0xe2, 3, 0x56, 0x5f, 0x4d, 0x8d, 0x41, 8, 0x83, 0xf8, 5, 0x75, 0xfe];
    let insns: Vec<_> = Decoder::with_ip(64, &code, 0, DecoderOptions::NONE).into_iter().collect();
    assert_eq!(insns.len(), 8);
    for op in lower(&insns, LONG) {
        let at = op.run as usize;
        // SAFETY: the bytes of a function of this program; no handler is shorter than what is looked at before its end.
        let bytes = unsafe { std::slice::from_raw_parts(at as *const u8, 512) };
        let mut jumps = 0;
        for i in Decoder::with_ip(64, bytes, at as u64, DecoderOptions::NONE) {
            assert_ne!(i.flow_control(), FlowControl::IndirectCall, "{:?}", insns[op.ord as usize]);
            jumps += u32::from(i.flow_control() == FlowControl::IndirectBranch);
            if matches!(i.mnemonic(), Mnemonic::Int3 | Mnemonic::Ud2) || jumps == 1 {
                break;
            }
        }
        assert_eq!(jumps, 1, "{:?}", insns[op.ord as usize]);
    }
}
