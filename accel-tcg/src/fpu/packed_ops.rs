//! Executors of the packed integer and logical instructions, and of SSE4.2's strings and CRC32.

use super::access::{is_mmx, mmx, vreg};
use super::packed::*;
use super::shape::{Shape, Vex128, halves, rm, shaped, shaped_128};
use super::strings;
use super::vec::Vec128;
use crate::block::Executor;
use crate::cpu::Cpu;
use crate::fault::Exec;
use crate::flags::LazyFlags;
use crate::int::{Int, Plain};
use gearbox_core::x86::state::rflags;
use iced_x86::{Instruction, Mnemonic, OpKind, Register};

/// The executor of a packed integer instruction.
pub(super) fn executor(i: &Instruction) -> Option<Executor> {
    use Mnemonic::*;
    let mm = is_mmx(i, 0);
    // One operation on registers, its MMX form by the same function or by another.
    macro_rules! op {
        ($f:path) => {
            op!($f, $f)
        };
        // The source is half of an MMX register: 32 bits in memory.
        ($f:path, low) => {
            if mm { |c, i| on_mmx_low(c, i, $f) } else { shaped!(i, S => |c, i| on::<S>(c, i, $f)) }
        };
        ($f:path, $mmx:path) => {
            if mm { |c, i| on_mmx(c, i, $mmx) } else { shaped!(i, S => |c, i| on::<S>(c, i, $f)) }
        };
    }
    macro_rules! imm {
        ($f:path, $mmx:path) => {
            if mm { |c, i| on_mmx(c, i, |a, b| $mmx(a, b, i.immediate8())) } else { imm!($f) }
        };
        ($f:path) => {
            shaped!(i, S => |c, i| on::<S>(c, i, |a, b| $f(a, b, i.immediate8())))
        };
        // With as many bits of the immediate for the upper half as for the lower.
        ($f:path, bits $n:literal) => {
            shaped!(i, S => |c, i| on_halves::<S>(c, i, |h, a, b| $f(a, b, i.immediate8() >> (h * $n))))
        };
    }
    macro_rules! shift {
        ($f:path) => {
            match (mm, last_kind(i)) {
                (true, OpKind::Immediate8) => |c, i| on_mmx(c, i, |a, _| $f(a, i.immediate8().into())),
                (true, _) => |c, i| on_mmx(c, i, |a, b| $f(a, b.low64())),
                (false, OpKind::Immediate8) => shift!($f, imm),
                (false, _) => shaped!(i, S => |c, i| shift_by_register::<S>(c, i, $f)),
            }
        };
        ($f:path, imm) => {
            shaped!(i, S => |c, i| shift_by_immediate::<S>(c, i, $f))
        };
    }
    // The source has so many bytes for each half of the result.
    macro_rules! extend {
        ($f:path, $bytes:literal) => {
            shaped!(i, S => |c, i| on_extended::<S>(c, i, $bytes, $f))
        };
    }
    macro_rules! masked {
        ($f:path) => {
            shaped!(i, S => |c, i| on_masked::<S>(c, i, $f))
        };
    }
    // ZF and CF by a test of each half.
    macro_rules! test {
        ($f:path) => {
            shaped!(i, S => |c, i| test::<S>(c, i, $f))
        };
    }
    macro_rules! string {
        ($explicit:literal, $put:expr) => {
            shaped_128!(i, S => |c, i| string::<S>(c, i, $explicit, $put))
        };
    }
    Some(match i.mnemonic() {
        Paddb | Vpaddb => op!(paddb),
        Paddw | Vpaddw => op!(paddw),
        Paddd | Vpaddd => op!(paddd),
        Paddq | Vpaddq => op!(paddq),
        Psubb | Vpsubb => op!(psubb),
        Psubw | Vpsubw => op!(psubw),
        Psubd | Vpsubd => op!(psubd),
        Psubq | Vpsubq => op!(psubq),
        Paddsb | Vpaddsb => op!(paddsb),
        Paddsw | Vpaddsw => op!(paddsw),
        Paddusb | Vpaddusb => op!(paddusb),
        Paddusw | Vpaddusw => op!(paddusw),
        Psubsb | Vpsubsb => op!(psubsb),
        Psubsw | Vpsubsw => op!(psubsw),
        Psubusb | Vpsubusb => op!(psubusb),
        Psubusw | Vpsubusw => op!(psubusw),
        Pavgb | Vpavgb => op!(pavgb),
        Pavgw | Vpavgw => op!(pavgw),
        Pminub | Vpminub => op!(pminub),
        Pminuw | Vpminuw => op!(pminuw),
        Pminud | Vpminud => op!(pminud),
        Pminsb | Vpminsb => op!(pminsb),
        Pminsw | Vpminsw => op!(pminsw),
        Pminsd | Vpminsd => op!(pminsd),
        Pmaxub | Vpmaxub => op!(pmaxub),
        Pmaxuw | Vpmaxuw => op!(pmaxuw),
        Pmaxud | Vpmaxud => op!(pmaxud),
        Pmaxsb | Vpmaxsb => op!(pmaxsb),
        Pmaxsw | Vpmaxsw => op!(pmaxsw),
        Pmaxsd | Vpmaxsd => op!(pmaxsd),
        Pcmpeqb | Vpcmpeqb => op!(pcmpeqb),
        Pcmpeqw | Vpcmpeqw => op!(pcmpeqw),
        Pcmpeqd | Vpcmpeqd => op!(pcmpeqd),
        Pcmpeqq | Vpcmpeqq => op!(pcmpeqq),
        Pcmpgtb | Vpcmpgtb => op!(pcmpgtb),
        Pcmpgtw | Vpcmpgtw => op!(pcmpgtw),
        Pcmpgtd | Vpcmpgtd => op!(pcmpgtd),
        Pcmpgtq | Vpcmpgtq => op!(pcmpgtq),
        Pmullw | Vpmullw => op!(pmullw),
        Pmulhw | Vpmulhw => op!(pmulhw),
        Pmulhuw | Vpmulhuw => op!(pmulhuw),
        Pmulhrsw | Vpmulhrsw => op!(pmulhrsw),
        Pmulld | Vpmulld => op!(pmulld),
        Pmuludq | Vpmuludq => op!(pmuludq),
        Pmuldq | Vpmuldq => op!(pmuldq),
        Pmaddwd | Vpmaddwd => op!(pmaddwd),
        Pmaddubsw | Vpmaddubsw => op!(pmaddubsw),
        Psadbw | Vpsadbw => op!(psadbw),
        Pand | Andps | Andpd | Vpand | Vandps | Vandpd => op!(pand),
        Pandn | Andnps | Andnpd | Vpandn | Vandnps | Vandnpd => op!(pandn),
        Por | Orps | Orpd | Vpor | Vorps | Vorpd => op!(por),
        Pxor | Xorps | Xorpd | Vpxor | Vxorps | Vxorpd => op!(pxor),
        Psignb | Vpsignb => op!(psignb),
        Psignw | Vpsignw => op!(psignw),
        Psignd | Vpsignd => op!(psignd),
        Pabsb | Vpabsb => op!(pabsb),
        Pabsw | Vpabsw => op!(pabsw),
        Pabsd | Vpabsd => op!(pabsd),
        Packsswb | Vpacksswb => op!(packsswb, packsswb_mmx),
        Packuswb | Vpackuswb => op!(packuswb, packuswb_mmx),
        Packssdw | Vpackssdw => op!(packssdw, packssdw_mmx),
        Packusdw | Vpackusdw => op!(packusdw, packusdw_mmx),
        Punpcklbw | Vpunpcklbw => op!(punpcklbw, low),
        Punpcklwd | Vpunpcklwd => op!(punpcklwd, low),
        Punpckldq | Unpcklps | Vpunpckldq | Vunpcklps => op!(punpckldq, low),
        Punpcklqdq | Unpcklpd | Vpunpcklqdq | Vunpcklpd => op!(punpcklqdq),
        Punpckhbw | Vpunpckhbw => op!(punpckhbw, punpckhbw_mmx),
        Punpckhwd | Vpunpckhwd => op!(punpckhwd, punpckhwd_mmx),
        Punpckhdq | Unpckhps | Vpunpckhdq | Vunpckhps => op!(punpckhdq, punpckhdq_mmx),
        Punpckhqdq | Unpckhpd | Vpunpckhqdq | Vunpckhpd => op!(punpckhqdq),
        Phaddw | Vphaddw => op!(phaddw, phaddw_mmx),
        Phaddd | Vphaddd => op!(phaddd, phaddd_mmx),
        Phaddsw | Vphaddsw => op!(phaddsw, phaddsw_mmx),
        Phsubw | Vphsubw => op!(phsubw, phsubw_mmx),
        Phsubd | Vphsubd => op!(phsubd, phsubd_mmx),
        Phsubsw | Vphsubsw => op!(phsubsw, phsubsw_mmx),
        Phminposuw | Vphminposuw => op!(phminposuw),
        Pshufb | Vpshufb => op!(pshufb, pshufb_mmx),
        Movsldup | Vmovsldup => op!(movsldup),
        Movshdup | Vmovshdup => op!(movshdup),
        Movddup => extend!(movddup, 8),
        Vmovddup if !i.op0_register().is_ymm() => extend!(movddup, 8),
        Vmovddup => op!(movddup),
        Pshufd | Vpshufd => imm!(pshufd),
        Pshuflw | Vpshuflw => imm!(pshuflw),
        Pshufhw | Vpshufhw => imm!(pshufhw),
        Pshufw => |c, i| on_mmx(c, i, |a, b| pshuflw(a, b, i.immediate8())),
        Shufps | Vshufps => imm!(shufps),
        Shufpd | Vshufpd => imm!(shufpd, bits 2),
        Palignr | Vpalignr => imm!(palignr, palignr_mmx),
        Pblendw | Vpblendw => imm!(pblendw),
        Blendps | Vblendps => imm!(blendps, bits 4),
        Blendpd | Vblendpd => imm!(blendpd, bits 2),
        Mpsadbw | Vmpsadbw => imm!(mpsadbw, bits 3),
        Pblendvb | Vpblendvb => masked!(pblendvb),
        Blendvps | Vblendvps => masked!(blendvps),
        Blendvpd | Vblendvpd => masked!(blendvpd),
        Psllw | Vpsllw => shift!(psllw),
        Pslld | Vpslld => shift!(pslld),
        Psllq | Vpsllq => shift!(psllq),
        Psrlw | Vpsrlw => shift!(psrlw),
        Psrld | Vpsrld => shift!(psrld),
        Psrlq | Vpsrlq => shift!(psrlq),
        Psraw | Vpsraw => shift!(psraw),
        Psrad | Vpsrad => shift!(psrad),
        Pslldq | Vpslldq => shift!(pslldq, imm),
        Psrldq | Vpsrldq => shift!(psrldq, imm),
        Pmovsxbw | Vpmovsxbw => extend!(pmovsxbw, 8),
        Pmovsxbd | Vpmovsxbd => extend!(pmovsxbd, 4),
        Pmovsxbq | Vpmovsxbq => extend!(pmovsxbq, 2),
        Pmovsxwd | Vpmovsxwd => extend!(pmovsxwd, 8),
        Pmovsxwq | Vpmovsxwq => extend!(pmovsxwq, 4),
        Pmovsxdq | Vpmovsxdq => extend!(pmovsxdq, 8),
        Pmovzxbw | Vpmovzxbw => extend!(pmovzxbw, 8),
        Pmovzxbd | Vpmovzxbd => extend!(pmovzxbd, 4),
        Pmovzxbq | Vpmovzxbq => extend!(pmovzxbq, 2),
        Pmovzxwd | Vpmovzxwd => extend!(pmovzxwd, 8),
        Pmovzxwq | Vpmovzxwq => extend!(pmovzxwq, 4),
        Pmovzxdq | Vpmovzxdq => extend!(pmovzxdq, 8),
        Ptest | Vptest => test!(ptest),
        Vtestps => test!(vtestps),
        Vtestpd => test!(vtestpd),
        Pcmpestri | Pcmpestri64 | Vpcmpestri | Vpcmpestri64 => string!(true, Put::Index),
        Pcmpistri | Vpcmpistri => string!(false, Put::Index),
        Pcmpestrm | Pcmpestrm64 | Vpcmpestrm | Vpcmpestrm64 => string!(true, Put::Mask),
        Pcmpistrm | Vpcmpistrm => string!(false, Put::Mask),
        Crc32 => match source_size(i) {
            1 => crc32::<u8>,
            2 => crc32::<u16>,
            4 => crc32::<u32>,
            _ => crc32::<u64>,
        },
        _ => return None,
    })
}

/// Size of operand 1 in bytes.
fn source_size(i: &Instruction) -> usize {
    if i.op1_kind() == OpKind::Register { i.op1_register().size() } else { i.memory_size().size() }
}
/// Kind of the last operand.
fn last_kind(i: &Instruction) -> OpKind {
    i.op_kind(i.op_count() - 1)
}
/// `bit` if `v`.
fn flag(v: bool, bit: u64) -> u64 {
    if v { bit } else { 0 }
}

#[inline(always)]
pub(super) fn on<S: Shape>(c: &mut Cpu, i: &Instruction, f: impl Fn(Vec128, Vec128) -> Vec128) -> Exec {
    on_halves::<S>(c, i, |_, a, b| f(a, b))
}
/// With the number of the half.
#[inline(always)]
pub(super) fn on_halves<S: Shape>(c: &mut Cpu, i: &Instruction, f: impl Fn(usize, Vec128, Vec128) -> Vec128) -> Exec {
    c.need::<S>()?;
    let b = c.source::<S>(i)?;
    let a = c.first::<S>(i);
    c.put::<S>(i, halves::<S>(|h| f(h, a[h], b[h])));
    Ok(())
}
#[inline(always)]
fn on_extended<S: Shape>(c: &mut Cpu, i: &Instruction, bytes: usize, f: impl Fn(Vec128, Vec128) -> Vec128) -> Exec {
    c.need::<S>()?;
    let b = c.xmm_or_bytes(i, 1, bytes * S::HALVES)?;
    c.put::<S>(i, halves::<S>(|h| f(Vec128::default(), psrldq(b, (h * bytes) as u64))));
    Ok(())
}
/// The mask is XMM0, or with VEX the last operand.
#[inline(always)]
fn on_masked<S: Shape>(c: &mut Cpu, i: &Instruction, f: impl Fn(Vec128, Vec128, Vec128) -> Vec128) -> Exec {
    c.need::<S>()?;
    let b = c.source::<S>(i)?;
    let a = c.first::<S>(i);
    let m = c.vector::<S>(if S::VEX { vreg(i, 3) } else { 0 });
    c.put::<S>(i, halves::<S>(|h| f(a[h], b[h], m[h])));
    Ok(())
}
#[inline(always)]
fn shift_by_immediate<S: Shape>(c: &mut Cpu, i: &Instruction, f: impl Fn(Vec128, u64) -> Vec128) -> Exec {
    c.need::<S>()?;
    let a = c.first::<S>(i);
    c.put::<S>(i, halves::<S>(|h| f(a[h], i.immediate8().into())));
    Ok(())
}
/// The count is in an XMM register or sixteen bytes of memory, whatever is shifted.
#[inline(always)]
fn shift_by_register<S: Shape>(c: &mut Cpu, i: &Instruction, f: impl Fn(Vec128, u64) -> Vec128) -> Exec {
    c.need::<S>()?;
    let [count, _] = c.whole::<Vex128>(i, rm::<S>(i), !S::VEX)?;
    let a = c.first::<S>(i);
    c.put::<S>(i, halves::<S>(|h| f(a[h], count.low64())));
    Ok(())
}
/// PTEST and its kin: all other arithmetic flags become zero.
#[inline(always)]
fn test<S: Shape>(c: &mut Cpu, i: &Instruction, f: impl Fn(Vec128, Vec128) -> (bool, bool)) -> Exec {
    c.need::<S>()?;
    let b = c.source::<S>(i)?;
    let a = c.vector::<S>(vreg(i, 0));
    let (zf, cf) = (0..S::HALVES).map(|h| f(a[h], b[h])).fold((true, true), |x, y| (x.0 & y.0, x.1 & y.1));
    c.lazy = LazyFlags::from_bits(flag(zf, rflags::ZF) | flag(cf, rflags::CF));
    Ok(())
}
#[inline(always)]
fn on_mmx(c: &mut Cpu, i: &Instruction, f: impl Fn(Vec128, Vec128) -> Vec128) -> Exec {
    on_mmx_of::<u64>(c, i, f)
}
#[inline(always)]
fn on_mmx_low(c: &mut Cpu, i: &Instruction, f: impl Fn(Vec128, Vec128) -> Vec128) -> Exec {
    on_mmx_of::<u32>(c, i, f)
}
/// With `T` as the memory operand.
#[inline(always)]
fn on_mmx_of<T: Plain + Into<u64>>(c: &mut Cpu, i: &Instruction, f: impl Fn(Vec128, Vec128) -> Vec128) -> Exec {
    c.need_mmx()?;
    let d = mmx(i, 0);
    let b = if i.op1_kind() == OpKind::Immediate8 { Vec128::default() } else { c.mmx_or_mem::<T>(i, 1)? };
    let r = f(c.fpu.mmx(d), b);
    c.fpu.enter_mmx();
    c.fpu.set_mmx(d, r);
    Ok(())
}

/// Where the result of PCMPxSTRx goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Put {
    /// To ECX.
    Index,
    /// To XMM0.
    Mask,
}

/// PCMPxSTRx.
#[inline(always)]
fn string<S: Shape>(c: &mut Cpu, i: &Instruction, explicit: bool, put: Put) -> Exec {
    c.need::<S>()?;
    let [b, _] = c.whole::<S>(i, 1, false)?;
    let a = c.fpu.xmm[vreg(i, 0)];
    let imm = i.immediate8();
    let lengths = explicit.then(|| {
        use Mnemonic::*;
        if matches!(i.mnemonic(), Pcmpestri64 | Pcmpestrm64 | Vpcmpestri64 | Vpcmpestrm64) {
            (c.reg(Register::RAX) as i64, c.reg(Register::RDX) as i64)
        } else {
            (i64::from(c.reg(Register::EAX) as i32), i64::from(c.reg(Register::EDX) as i32))
        }
    });
    let r = strings::compare(a, b, imm, lengths);
    match put {
        Put::Index => c.set_gpr_low(1, r.index(imm)),
        Put::Mask => c.set_vector::<S>(0, [r.mask(imm), Vec128::default()]),
    }
    c.lazy = LazyFlags::from_bits(
        flag(r.carry, rflags::CF)
            | flag(r.second_ends, rflags::ZF)
            | flag(r.first_ends, rflags::SF)
            | flag(r.overflow, rflags::OF),
    );
    Ok(())
}

/// CRC32: 32 bits in, 32 bits out, whatever the size of the destination.
fn crc32<T: Int>(c: &mut Cpu, i: &Instruction) -> Exec {
    let v = c.read_op::<T>(i, 1)?.zx();
    let d = i.op0_register().full_register();
    let r = strings::crc32c(c.reg(d) as u32, v, T::SIZE);
    c.set_reg(d, r.into());
    Ok(())
}
