//! Instructions as text, in AT&T syntax.

use super::output::{Done, Output};
use iced_x86::{Decoder, DecoderOptions, Formatter, GasFormatter};
use std::fmt::Write;

/// Longest instruction in bytes (SDM vol. 2, 2.3.11).
const LONGEST: usize = 15;
/// Bytes that a line shows.
const SHOWN: usize = 8;

/// Shows `count` instructions of `bits` bits from `addr` on. `read` fills a part of a buffer and says how much of it there is.
pub(super) fn disassemble(
    bits: u32,
    mut addr: u64,
    count: u64,
    mut read: impl FnMut(u64, &mut [u8]) -> usize,
    out: &mut Output,
) -> Done {
    let mut formatter = GasFormatter::new();
    let options = formatter.options_mut();
    options.set_uppercase_hex(false);
    options.set_space_after_operand_separator(true);
    options.set_gas_space_after_memory_operand_comma(true);
    options.set_branch_leading_zeros(false);
    options.set_gas_show_mnemonic_size_suffix(true);
    options.set_rip_relative_addresses(false);
    for _ in 0..count {
        let mut bytes = [0; LONGEST];
        let there = read(addr, &mut bytes);
        let mut decoder = Decoder::with_ip(bits, &bytes[..there], addr, DecoderOptions::NONE);
        let instruction = decoder.decode();
        if there == 0 || (instruction.is_invalid() && there < LONGEST) {
            return Ok(writeln!(out, "{addr:#010x}: unable to read memory")?);
        }
        let (mut mnemonic, mut operands) = (String::new(), String::new());
        formatter.format_mnemonic(&instruction, &mut mnemonic);
        formatter.format_all_operands(&instruction, &mut operands);
        let len = instruction.len().max(1);
        for (n, part) in bytes[..len].chunks(SHOWN).enumerate() {
            let hex: String = part.iter().map(|b| format!(" {b:02x}")).collect();
            let at = addr.wrapping_add((n * SHOWN) as u64);
            if n == 0 {
                writeln!(out, "{at:#010x}: {hex:<26}{mnemonic:<8} {operands}")?;
            } else {
                writeln!(out, "{at:#010x}: {hex}")?;
            }
        }
        addr = addr.wrapping_add(len as u64);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bits: u32, addr: u64, code: &[u8], count: u64) -> String {
        let mut out = Output::default();
        let read = |at: u64, buf: &mut [u8]| {
            let rest = code.get((at - addr) as usize..).unwrap_or_default();
            let n = rest.len().min(buf.len());
            buf[..n].copy_from_slice(&rest[..n]);
            n
        };
        let done = disassemble(bits, addr, count, read, &mut out);
        out.finish(done)
    }

    #[test]
    fn real_mode_protected_mode_and_the_end_of_memory() {
        let reset = text(16, 0xffff_fff0, &[0xea, 0x5b, 0xe0, 0x00, 0xf0], 2);
        assert_eq!(
            reset,
            "0xfffffff0:  ea 5b e0 00 f0           ljmpw    $0xf000, $0xe05b\n0xfffffff5: unable to read memory\n"
        );
        assert!(text(16, 0, &[0x89, 0xc6], 1).ends_with("movw     %ax, %si\n"));
        assert!(text(16, 0, &[0x00, 0x00], 1).ends_with("addb     %al, (%bx, %si)\n"));
        assert!(text(64, 0x1000, &[0xeb, 0x0e], 1).ends_with("jmp      0x1010\n"));
        assert!(text(64, 0, &[0x48, 0x83, 0xec, 0x08], 1).contains("subq     $8, %rsp"));
    }

    #[test]
    fn long_instructions_take_two_lines() {
        let code = [0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8];
        let shown = text(64, 0x1000, &code, 1);
        assert!(shown.contains("0x00001000:  48 b8 01 02 03 04 05 06  movabsq"), "{shown}");
        assert!(shown.ends_with("0x00001008:  07 08\n"), "{shown}");
    }
}
