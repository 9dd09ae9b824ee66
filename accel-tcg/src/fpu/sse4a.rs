//! AMD's SSE4A: bit fields of the low quadword, and scalar stores that bypass the caches (APM vol. 4, EXTRQ, INSERTQ, MOVNTSS, MOVNTSD).
//! The high quadword of a result is undefined; it is zero here, as on Zen.

use super::access::vreg;
use super::vec::Vec128;
use crate::block::Executor;
use crate::cpu::Cpu;
use crate::fault::Exec;
use iced_x86::{Instruction, Mnemonic, OpKind};

/// The executor of one of these.
pub(super) fn executor(i: &Instruction) -> Option<Executor> {
    use Mnemonic::*;
    Some(match i.mnemonic() {
        Extrq => |c, i| {
            c.need_sse()?;
            let (d, s) = (vreg(i, 0), c.fpu.xmm[vreg(i, 1)]);
            // Length and index are bits 5..0 and 13..8 of a register, or two immediates.
            let field = field(i, s.low64());
            c.fpu.xmm[d] = Vec128::from_low64(c.fpu.xmm[d].low64() >> field.index & field.mask());
            Ok(())
        },
        Insertq => |c, i| {
            c.need_sse()?;
            let (d, s) = (vreg(i, 0), c.fpu.xmm[vreg(i, 1)]);
            let field = field(i, s.high64());
            let (old, mask) = (c.fpu.xmm[d].low64(), field.mask() << field.index);
            c.fpu.xmm[d] = Vec128::from_low64(old & !mask | s.low64() << field.index & mask);
            Ok(())
        },
        Movntss => |c, i| store(c, i, Vec128::low32),
        Movntsd => |c, i| store(c, i, Vec128::low64),
        _ => return None,
    })
}

/// A bit field.
struct Field {
    length: u32,
    index: u32,
}

impl Field {
    /// As many ones as the field is long; a length of zero stands for 64.
    fn mask(&self) -> u64 {
        u64::MAX >> ((64 - self.length) & 63)
    }
}

fn field(i: &Instruction, control: u64) -> Field {
    let [length, index] = if i.op_kind(i.op_count() - 1) == OpKind::Register {
        [control as u8, (control >> 8) as u8]
    } else {
        [i.immediate8(), i.immediate8_2nd()]
    };
    Field { length: u32::from(length & 63), index: u32::from(index & 63) }
}

fn store<T: crate::int::Plain>(c: &mut Cpu, i: &Instruction, f: impl Fn(Vec128) -> T) -> Exec {
    c.need_sse()?;
    c.write_mem(i, f(c.fpu.xmm[vreg(i, 1)]))
}
