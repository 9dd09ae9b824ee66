//! Executors of the packed integer and logical instructions, and of SSE4.2's strings and CRC32.

use super::access::{is_mmx, mmx, xmm};
use super::packed::*;
use super::strings::{self, Compared};
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
            if mm { |c, i| on_mmx_low(c, i, $f) } else { |c, i| on_xmm(c, i, $f) }
        };
        ($f:path, $mmx:path) => {
            if mm { |c, i| on_mmx(c, i, $mmx) } else { |c, i| on_xmm(c, i, $f) }
        };
    }
    macro_rules! imm {
        ($f:path, $mmx:path) => {
            if mm { |c, i| on_mmx(c, i, |a, b| $mmx(a, b, i.immediate8())) } else { |c, i| on_xmm_imm(c, i, $f) }
        };
        ($f:path) => {
            |c, i| on_xmm_imm(c, i, $f)
        };
    }
    macro_rules! shift {
        ($f:path) => {
            match (mm, i.op1_kind()) {
                (true, OpKind::Immediate8) => |c, i| on_mmx(c, i, |a, _| $f(a, i.immediate8().into())),
                (true, _) => |c, i| on_mmx(c, i, |a, b| $f(a, b.low64())),
                (false, OpKind::Immediate8) => |c, i| shift_imm(c, i, $f),
                (false, _) => |c, i| on_xmm(c, i, |a, b| $f(a, b.low64())),
            }
        };
    }
    macro_rules! extend {
        ($f:path, $t:ty) => {
            |c, i| on_xmm_narrow::<$t>(c, i, $f)
        };
    }
    Some(match i.mnemonic() {
        Paddb => op!(paddb),
        Paddw => op!(paddw),
        Paddd => op!(paddd),
        Paddq => op!(paddq),
        Psubb => op!(psubb),
        Psubw => op!(psubw),
        Psubd => op!(psubd),
        Psubq => op!(psubq),
        Paddsb => op!(paddsb),
        Paddsw => op!(paddsw),
        Paddusb => op!(paddusb),
        Paddusw => op!(paddusw),
        Psubsb => op!(psubsb),
        Psubsw => op!(psubsw),
        Psubusb => op!(psubusb),
        Psubusw => op!(psubusw),
        Pavgb => op!(pavgb),
        Pavgw => op!(pavgw),
        Pminub => op!(pminub),
        Pminuw => op!(pminuw),
        Pminud => op!(pminud),
        Pminsb => op!(pminsb),
        Pminsw => op!(pminsw),
        Pminsd => op!(pminsd),
        Pmaxub => op!(pmaxub),
        Pmaxuw => op!(pmaxuw),
        Pmaxud => op!(pmaxud),
        Pmaxsb => op!(pmaxsb),
        Pmaxsw => op!(pmaxsw),
        Pmaxsd => op!(pmaxsd),
        Pcmpeqb => op!(pcmpeqb),
        Pcmpeqw => op!(pcmpeqw),
        Pcmpeqd => op!(pcmpeqd),
        Pcmpeqq => op!(pcmpeqq),
        Pcmpgtb => op!(pcmpgtb),
        Pcmpgtw => op!(pcmpgtw),
        Pcmpgtd => op!(pcmpgtd),
        Pcmpgtq => op!(pcmpgtq),
        Pmullw => op!(pmullw),
        Pmulhw => op!(pmulhw),
        Pmulhuw => op!(pmulhuw),
        Pmulhrsw => op!(pmulhrsw),
        Pmulld => op!(pmulld),
        Pmuludq => op!(pmuludq),
        Pmuldq => op!(pmuldq),
        Pmaddwd => op!(pmaddwd),
        Pmaddubsw => op!(pmaddubsw),
        Psadbw => op!(psadbw),
        Pand | Andps | Andpd => op!(pand),
        Pandn | Andnps | Andnpd => op!(pandn),
        Por | Orps | Orpd => op!(por),
        Pxor | Xorps | Xorpd => op!(pxor),
        Psignb => op!(psignb),
        Psignw => op!(psignw),
        Psignd => op!(psignd),
        Pabsb => op!(pabsb),
        Pabsw => op!(pabsw),
        Pabsd => op!(pabsd),
        Packsswb => op!(packsswb, packsswb_mmx),
        Packuswb => op!(packuswb, packuswb_mmx),
        Packssdw => op!(packssdw, packssdw_mmx),
        Packusdw => op!(packusdw, packusdw_mmx),
        Punpcklbw => op!(punpcklbw, low),
        Punpcklwd => op!(punpcklwd, low),
        Punpckldq | Unpcklps => op!(punpckldq, low),
        Punpcklqdq | Unpcklpd => op!(punpcklqdq),
        Punpckhbw => op!(punpckhbw, punpckhbw_mmx),
        Punpckhwd => op!(punpckhwd, punpckhwd_mmx),
        Punpckhdq | Unpckhps => op!(punpckhdq, punpckhdq_mmx),
        Punpckhqdq | Unpckhpd => op!(punpckhqdq),
        Phaddw => op!(phaddw, phaddw_mmx),
        Phaddd => op!(phaddd, phaddd_mmx),
        Phaddsw => op!(phaddsw, phaddsw_mmx),
        Phsubw => op!(phsubw, phsubw_mmx),
        Phsubd => op!(phsubd, phsubd_mmx),
        Phsubsw => op!(phsubsw, phsubsw_mmx),
        Phminposuw => op!(phminposuw),
        Pshufb => op!(pshufb, pshufb_mmx),
        Movsldup => op!(movsldup),
        Movshdup => op!(movshdup),
        Movddup => extend!(movddup, u64),
        Pshufd => imm!(pshufd),
        Pshuflw => imm!(pshuflw),
        Pshufhw => imm!(pshufhw),
        Pshufw => |c, i| on_mmx(c, i, |a, b| pshuflw(a, b, i.immediate8())),
        Shufps => imm!(shufps),
        Shufpd => imm!(shufpd),
        Palignr => imm!(palignr, palignr_mmx),
        Pblendw => imm!(pblendw),
        Blendps => imm!(blendps),
        Blendpd => imm!(blendpd),
        Mpsadbw => imm!(mpsadbw),
        Pblendvb => |c, i| on_xmm_masked(c, i, pblendvb),
        Blendvps => |c, i| on_xmm_masked(c, i, blendvps),
        Blendvpd => |c, i| on_xmm_masked(c, i, blendvpd),
        Psllw => shift!(psllw),
        Pslld => shift!(pslld),
        Psllq => shift!(psllq),
        Psrlw => shift!(psrlw),
        Psrld => shift!(psrld),
        Psrlq => shift!(psrlq),
        Psraw => shift!(psraw),
        Psrad => shift!(psrad),
        Pslldq => |c, i| shift_imm(c, i, pslldq),
        Psrldq => |c, i| shift_imm(c, i, psrldq),
        Pmovsxbw => extend!(pmovsxbw, u64),
        Pmovsxbd => extend!(pmovsxbd, u32),
        Pmovsxbq => extend!(pmovsxbq, u16),
        Pmovsxwd => extend!(pmovsxwd, u64),
        Pmovsxwq => extend!(pmovsxwq, u32),
        Pmovsxdq => extend!(pmovsxdq, u64),
        Pmovzxbw => extend!(pmovzxbw, u64),
        Pmovzxbd => extend!(pmovzxbd, u32),
        Pmovzxbq => extend!(pmovzxbq, u16),
        Pmovzxwd => extend!(pmovzxwd, u64),
        Pmovzxwq => extend!(pmovzxwq, u32),
        Pmovzxdq => extend!(pmovzxdq, u64),
        Ptest => |c, i| {
            c.need_sse()?;
            let b = c.xmm_or_m128::<true>(i, 1)?;
            let (zf, cf) = ptest(c.fpu.xmm[xmm(i, 0)], b);
            c.lazy = LazyFlags::from_bits(flag(zf, rflags::ZF) | flag(cf, rflags::CF));
            Ok(())
        },
        Pcmpestri | Pcmpestri64 => |c, i| string(c, i, true, |c, r, imm| c.set_gpr_low(1, r.index(imm))),
        Pcmpistri => |c, i| string(c, i, false, |c, r, imm| c.set_gpr_low(1, r.index(imm))),
        Pcmpestrm | Pcmpestrm64 => |c, i| string(c, i, true, |c, r, imm| c.fpu.xmm[0] = r.mask(imm)),
        Pcmpistrm => |c, i| string(c, i, false, |c, r, imm| c.fpu.xmm[0] = r.mask(imm)),
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
/// `bit` if `v`.
fn flag(v: bool, bit: u64) -> u64 {
    if v { bit } else { 0 }
}

#[inline(always)]
fn on_xmm(c: &mut Cpu, i: &Instruction, f: impl Fn(Vec128, Vec128) -> Vec128) -> Exec {
    c.need_sse()?;
    let b = c.xmm_or_m128::<true>(i, 1)?;
    let d = xmm(i, 0);
    c.fpu.xmm[d] = f(c.fpu.xmm[d], b);
    Ok(())
}
#[inline(always)]
fn on_xmm_imm(c: &mut Cpu, i: &Instruction, f: impl Fn(Vec128, Vec128, u8) -> Vec128) -> Exec {
    on_xmm(c, i, |a, b| f(a, b, i.immediate8()))
}
#[inline(always)]
fn on_xmm_narrow<T: Plain + Into<u64>>(c: &mut Cpu, i: &Instruction, f: impl Fn(Vec128, Vec128) -> Vec128) -> Exec {
    c.need_sse()?;
    let b = c.xmm_or_narrow::<T>(i, 1)?;
    let d = xmm(i, 0);
    c.fpu.xmm[d] = f(c.fpu.xmm[d], b);
    Ok(())
}
#[inline(always)]
fn on_xmm_masked(c: &mut Cpu, i: &Instruction, f: impl Fn(Vec128, Vec128, Vec128) -> Vec128) -> Exec {
    c.need_sse()?;
    let b = c.xmm_or_m128::<true>(i, 1)?;
    let d = xmm(i, 0);
    c.fpu.xmm[d] = f(c.fpu.xmm[d], b, c.fpu.xmm[0]);
    Ok(())
}
#[inline(always)]
fn shift_imm(c: &mut Cpu, i: &Instruction, f: impl Fn(Vec128, u64) -> Vec128) -> Exec {
    c.need_sse()?;
    let d = xmm(i, 0);
    c.fpu.xmm[d] = f(c.fpu.xmm[d], i.immediate8().into());
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

/// PCMPxSTRx: flags, and the result by `put`.
#[inline(always)]
fn string(c: &mut Cpu, i: &Instruction, explicit: bool, put: impl Fn(&mut Cpu, &Compared, u8)) -> Exec {
    c.need_sse()?;
    let b = c.xmm_or_m128::<false>(i, 1)?;
    let a = c.fpu.xmm[xmm(i, 0)];
    let imm = i.immediate8();
    let lengths = explicit.then(|| {
        if matches!(i.mnemonic(), Mnemonic::Pcmpestri64 | Mnemonic::Pcmpestrm64) {
            (c.reg(Register::RAX) as i64, c.reg(Register::RDX) as i64)
        } else {
            (i64::from(c.reg(Register::EAX) as i32), i64::from(c.reg(Register::EDX) as i32))
        }
    });
    let r = strings::compare(a, b, imm, lengths);
    put(c, &r, imm);
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
