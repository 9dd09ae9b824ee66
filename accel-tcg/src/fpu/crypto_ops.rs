//! Executors of AES-NI, PCLMULQDQ, SHA-NI and GFNI, and of their VEX forms.

use super::aes::*;
use super::gf::*;
use super::packed_ops::on;
use super::sha::*;
use super::shape::{Legacy, halves, shaped};
use super::vec::Vec128;
use crate::block::Executor;
use crate::cpu::Cpu;
use crate::fault::Exec;
use crate::sys::Vendor;
use iced_x86::{Instruction, Mnemonic};

/// The executor of one of these.
pub(super) fn executor(i: &Instruction) -> Option<Executor> {
    use Mnemonic::*;
    macro_rules! op {
        ($f:path) => {
            shaped!(i, S => |c, i| on::<S>(c, i, $f))
        };
        ($f:path, imm) => {
            shaped!(i, S => |c, i| on::<S>(c, i, |a, b| $f(a, b, i.immediate8())))
        };
    }
    // There is no VEX form.
    macro_rules! legacy {
        ($f:path $(, $imm:ident)?) => {
            |c, i| sha(c, i, |a, b| $f(a, b $(, i.$imm())?))
        };
    }
    Some(match i.mnemonic() {
        Aesenc | Vaesenc => op!(aesenc),
        Aesenclast | Vaesenclast => op!(aesenclast),
        Aesdec | Vaesdec => op!(aesdec),
        Aesdeclast | Vaesdeclast => op!(aesdeclast),
        Aesimc | Vaesimc => op!(aesimc),
        Aeskeygenassist | Vaeskeygenassist => op!(aeskeygenassist, imm),
        Pclmulqdq | Vpclmulqdq => op!(pclmulqdq, imm),
        Gf2p8mulb | Vgf2p8mulb => op!(gf2p8mulb),
        Gf2p8affineqb | Vgf2p8affineqb => op!(gf2p8affineqb, imm),
        Gf2p8affineinvqb | Vgf2p8affineinvqb => op!(gf2p8affineinvqb, imm),
        Sha1rnds4 => legacy!(sha1rnds4, immediate8),
        Sha1nexte => legacy!(sha1nexte),
        Sha1msg1 => legacy!(sha1msg1),
        Sha1msg2 => legacy!(sha1msg2),
        Sha256rnds2 => |c, i| {
            let wk = c.fpu.xmm[0];
            sha(c, i, |a, b| sha256rnds2(a, b, wk))
        },
        Sha256msg1 => legacy!(sha256msg1),
        Sha256msg2 => legacy!(sha256msg2),
        _ => return None,
    })
}

/// An instruction of SHA. AMD's processors do not ask for its memory operand to be aligned.
fn sha(c: &mut Cpu, i: &Instruction, f: impl Fn(Vec128, Vec128) -> Vec128) -> Exec {
    c.need::<Legacy>()?;
    let b = c.whole::<Legacy>(i, 1, c.vendor() == Vendor::Intel)?;
    let a = c.first::<Legacy>(i);
    c.put::<Legacy>(i, halves::<Legacy>(|h| f(a[h], b[h])));
    Ok(())
}
