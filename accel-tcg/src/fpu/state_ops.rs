//! Executors that save and restore state: FSTENV, FSAVE, FXSAVE, the XSAVE family, LDMXCSR and their counterparts.

use super::Fpu;
use super::image::{self, EnvLayout, LONGEST_ENV, Legacy, MXCSR_INIT, MXCSR_MASK, u64_at};
use super::shape::shaped_128;
use super::vec::Vec128;
use crate::block::Executor;
use crate::cpu::Cpu;
use crate::fault::{Exec, Fault};
use crate::mem::Access;
use gearbox_core::x86::state::{cr0, cr4, efer, gpr};
use iced_x86::{Instruction, Mnemonic};

/// The executor of one of these.
pub(super) fn executor(i: &Instruction) -> Option<Executor> {
    use Mnemonic::*;
    Some(match i.mnemonic() {
        Fldenv => |c, i| restore_x87(c, i, EnvLayout::len, Fpu::load_env),
        Frstor => |c, i| restore_x87(c, i, EnvLayout::full_len, Fpu::load_all),
        Fnstenv | Fstenv => |c, i| {
            save_x87(c, i, EnvLayout::len, |f, l, out| f.store_env(l, out))?;
            // All exceptions are masked afterwards.
            c.fpu.set_control(c.fpu.fcw | 0x3f);
            Ok(())
        },
        Fnsave | Fsave => |c, i| {
            save_x87(c, i, EnvLayout::full_len, |f, l, out| f.store_all(l, out))?;
            c.fpu.init();
            Ok(())
        },
        Ldmxcsr | Vldmxcsr => shaped_128!(i, S => |c, i| {
            c.need::<S>()?;
            let v: u32 = c.read_mem(i)?;
            check_mxcsr(v)?;
            c.fpu.mxcsr = v;
            Ok(())
        }),
        Stmxcsr | Vstmxcsr => shaped_128!(i, S => |c, i| {
            c.need::<S>()?;
            c.write_mem(i, c.fpu.mxcsr)
        }),
        Fxsave => |c, i| fxsave(c, i, false),
        Fxsave64 => |c, i| fxsave(c, i, true),
        Fxrstor => |c, i| fxrstor(c, i, false),
        Fxrstor64 => |c, i| fxrstor(c, i, true),
        Xsave => |c, i| xsave(c, i, false, Form::Plain),
        Xsave64 => |c, i| xsave(c, i, true, Form::Plain),
        Xsaveopt => |c, i| xsave(c, i, false, Form::Optimised),
        Xsaveopt64 => |c, i| xsave(c, i, true, Form::Optimised),
        Xsavec => |c, i| xsave(c, i, false, Form::Compacted),
        Xsavec64 => |c, i| xsave(c, i, true, Form::Compacted),
        Xsaves => |c, i| xsave(c, i, false, Form::Supervisor),
        Xsaves64 => |c, i| xsave(c, i, true, Form::Supervisor),
        Xrstor => |c, i| xrstor(c, i, false, false),
        Xrstor64 => |c, i| xrstor(c, i, true, false),
        Xrstors => |c, i| xrstor(c, i, false, true),
        Xrstors64 => |c, i| xrstor(c, i, true, true),
        _ => return None,
    })
}

/// #GP(0) for bits of MXCSR that do not exist.
fn check_mxcsr(v: u32) -> Exec {
    if v & !MXCSR_MASK == 0 { Ok(()) } else { Err(Fault::GP0) }
}

// ---- FSTENV, FSAVE

/// The layout that operand size and mode choose. The memory operand's size tells the operand size.
fn env_layout(c: &Cpu, i: &Instruction) -> EnvLayout {
    EnvLayout { wide: matches!(i.memory_size().size(), 28 | 108), protected: c.protected() && !c.v86() }
}
fn save_x87(
    c: &mut Cpu,
    i: &Instruction,
    len: impl FnOnce(EnvLayout) -> usize,
    write: impl FnOnce(&Fpu, EnvLayout, &mut [u8]),
) -> Exec {
    c.need_x87()?;
    let l = env_layout(c, i);
    let mut image = [0; LONGEST_ENV];
    let len = len(l);
    write(&c.fpu, l, &mut image[..len]);
    c.write_mem_bytes(i, &image[..len])
}
fn restore_x87(
    c: &mut Cpu,
    i: &Instruction,
    len: impl FnOnce(EnvLayout) -> usize,
    read: impl FnOnce(&mut Fpu, EnvLayout, &[u8]),
) -> Exec {
    c.need_x87()?;
    c.need_no_pending()?;
    let l = env_layout(c, i);
    let mut image = [0; LONGEST_ENV];
    let len = len(l);
    c.read_mem_bytes(i, &mut image[..len])?;
    read(&mut c.fpu, l, &image[..len]);
    Ok(())
}

// ---- FXSAVE

/// Bytes of an FXSAVE image; the processor writes the first 416 at most.
const FXSAVE_LEN: usize = 512;
/// Where the XMM registers begin.
const XMM_OFFSET: usize = 160;

impl Cpu {
    /// Vector registers that the mode reaches: sixteen in 64-bit mode, else eight.
    pub(super) fn vector_count(&self) -> usize {
        if self.code64() { 16 } else { 8 }
    }
}
/// Does FXSAVE include the SSE state? Not before the system has said that it knows it, nor with EFER.FFXSR at CPL 0 in 64-bit mode.
fn fxsave_has_sse(c: &Cpu) -> bool {
    let fast = c.efer & efer::FFXSR != 0 && c.code64() && c.cpl == 0;
    c.cr4 & cr4::OSFXSR != 0 && !fast
}
fn fxsave_address(c: &mut Cpu, i: &Instruction, a: Access) -> Exec<u64> {
    if c.cr0 & (cr0::EM | cr0::TS) != 0 {
        return Err(Fault::NM);
    }
    let lin = c.operand_linear(i, FXSAVE_LEN, a)?;
    if lin & 15 == 0 { Ok(lin) } else { Err(Fault::GP0) }
}
fn fxsave(c: &mut Cpu, i: &Instruction, wide: bool) -> Exec {
    let lin = fxsave_address(c, i, Access::Write)?;
    let mut image: Legacy = [0; 416];
    c.fpu.store_x87(wide, &mut image);
    c.fpu.store_mxcsr(&mut image);
    let mut len = XMM_OFFSET;
    if fxsave_has_sse(c) {
        let n = c.vector_count();
        len += 16 * n;
        image::store_vectors(&c.fpu.xmm[..n], &mut image[XMM_OFFSET..]);
    }
    let p = c.privilege();
    c.check_write(lin, FXSAVE_LEN, p)?;
    c.store_bytes(lin, &image[..len], p)
}
fn fxrstor(c: &mut Cpu, i: &Instruction, wide: bool) -> Exec {
    let lin = fxsave_address(c, i, Access::Read)?;
    let mut image = [0; FXSAVE_LEN];
    c.load_bytes(lin, &mut image, c.privilege())?;
    let image = legacy_of(&image);
    let mxcsr = image::mxcsr_of(image);
    if c.cr4 & cr4::OSFXSR != 0 {
        check_mxcsr(mxcsr)?;
        c.fpu.mxcsr = mxcsr;
    }
    c.fpu.load_x87(wide, image);
    if fxsave_has_sse(c) {
        let n = c.vector_count();
        image::load_vectors(&mut c.fpu.xmm[..n], &image[XMM_OFFSET..]);
    }
    Ok(())
}
/// The part of an image that the processor uses.
fn legacy_of(image: &[u8]) -> &Legacy {
    image.first_chunk().expect("an image has more bytes than its legacy region")
}

// ---- XSAVE

/// State components (SDM vol. 1, 13.1).
mod component {
    pub(super) const X87: u64 = 1;
    pub(super) const SSE: u64 = 2;
    pub(super) const AVX: u64 = 4;
    pub(super) const ALL: u64 = X87 | SSE | AVX;
}
use component::{AVX, SSE, X87};

/// Which of the saving instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// XSAVE: writes every component asked for.
    Plain,
    /// XSAVEOPT: leaves out those in their initial state.
    Optimised,
    /// XSAVEC: the same, in the compacted format.
    Compacted,
    /// XSAVES: the same at CPL 0.
    Supervisor,
}

impl Form {
    fn is_compacted(self) -> bool {
        matches!(self, Self::Compacted | Self::Supervisor)
    }
    /// Its bit in CPUID.(EAX=0Dh, ECX=1):EAX; XSAVE itself is announced by OSXSAVE.
    fn cpuid_bit(self) -> u32 {
        match self {
            Self::Plain => 0,
            Self::Optimised => 1 << 0,
            Self::Compacted => 1 << 1,
            Self::Supervisor => 1 << 3,
        }
    }
}

const HEADER_OFFSET: usize = 512;
const HEADER_LEN: usize = 64;
/// Of the AVX component, in both formats: it is the only one after the header.
const AVX_OFFSET: usize = 576;
/// XCOMP_BV: the compacted format.
const COMPACTED: u64 = 1 << 63;

/// The checks common to the family.
fn need_xsave(c: &Cpu, form: Form) -> Exec {
    let features = c.cpuid.get(0xd, 1).map_or(0, |l| l.eax);
    if c.cr4 & cr4::OSXSAVE == 0 || features & form.cpuid_bit() != form.cpuid_bit() {
        return Err(Fault::UD);
    }
    if c.cr0 & cr0::TS != 0 {
        return Err(Fault::NM);
    }
    if form == Form::Supervisor && c.cpl != 0 { Err(Fault::GP0) } else { Ok(()) }
}
/// The requested components: XCR0 and EDX:EAX.
fn requested(c: &Cpu) -> u64 {
    let mask = c.gpr(gpr::RDX) << 32 | c.gpr(gpr::RAX) & 0xffff_ffff;
    mask & c.xcr0 & component::ALL
}
/// Bytes of an area with these components.
fn area_len(components: u64) -> usize {
    if components & AVX != 0 { AVX_OFFSET + 256 } else { HEADER_OFFSET + HEADER_LEN }
}
/// Components that are not in their initial state (XINUSE).
fn in_use(c: &Cpu) -> u64 {
    let n = c.vector_count();
    let live = |r: &[Vec128; 16]| r[..n].iter().any(|v| *v != Vec128::default());
    let bit = |v: bool, b: u64| if v { b } else { 0 };
    bit(!c.fpu.x87_is_initial(), X87) | bit(live(&c.fpu.xmm), SSE) | bit(live(&c.fpu.ymm_hi), AVX)
}
/// The operand's linear address, aligned to 64 bytes.
fn area_address(c: &mut Cpu, i: &Instruction, len: usize, a: Access) -> Exec<u64> {
    let lin = c.operand_linear(i, len, a)?;
    if lin & 63 == 0 { Ok(lin) } else { Err(Fault::GP0) }
}

fn xsave(c: &mut Cpu, i: &Instruction, wide: bool, form: Form) -> Exec {
    need_xsave(c, form)?;
    let wanted = requested(c);
    let mut used = in_use(c);
    if form.is_compacted() && c.fpu.mxcsr != MXCSR_INIT {
        used |= SSE;
    }
    let written = if form == Form::Plain { wanted } else { wanted & used };
    let len = area_len(wanted);
    let lin = area_address(c, i, len, Access::Write)?;
    let p = c.privilege();
    c.check_write(lin, len, p)?;

    let mut image: Legacy = [0; 416];
    let n = c.vector_count();
    let at = |offset: usize| lin.wrapping_add(offset as u64);
    if written & X87 != 0 {
        c.fpu.store_x87(wide, &mut image);
        c.store_bytes(lin, &image[..24], p)?;
        c.store_bytes(at(32), &image[32..XMM_OFFSET], p)?;
    }
    let mxcsr_goes_with = if form.is_compacted() { written & SSE } else { wanted & (SSE | AVX) };
    if mxcsr_goes_with != 0 {
        c.fpu.store_mxcsr(&mut image);
        c.store_bytes(at(24), &image[24..32], p)?;
    }
    if written & SSE != 0 {
        image::store_vectors(&c.fpu.xmm[..n], &mut image[XMM_OFFSET..]);
        c.store_bytes(at(XMM_OFFSET), &image[XMM_OFFSET..XMM_OFFSET + 16 * n], p)?;
    }
    if written & AVX != 0 {
        let mut upper = [0; 256];
        image::store_vectors(&c.fpu.ymm_hi[..n], &mut upper);
        c.store_bytes(at(AVX_OFFSET), &upper[..16 * n], p)?;
    }
    if form.is_compacted() {
        c.store(at(HEADER_OFFSET), wanted & used, p)?;
        c.store(at(HEADER_OFFSET + 8), wanted | COMPACTED, p)
    } else {
        let old: u64 = c.load(at(HEADER_OFFSET), p)?;
        c.store(at(HEADER_OFFSET), old & !wanted | wanted & used, p)
    }
}

fn xrstor(c: &mut Cpu, i: &Instruction, wide: bool, supervisor: bool) -> Exec {
    need_xsave(c, if supervisor { Form::Supervisor } else { Form::Plain })?;
    let wanted = requested(c);
    let len = area_len(wanted);
    let lin = area_address(c, i, len, Access::Read)?;
    let mut area = [0; AVX_OFFSET + 256];
    c.load_bytes(lin, &mut area[..len], c.privilege())?;

    let header = &area[HEADER_OFFSET..HEADER_OFFSET + HEADER_LEN];
    let (present, layout) = (u64_at(header, 0), u64_at(header, 8));
    let compacted = layout & COMPACTED != 0;
    let enabled = c.xcr0 & component::ALL;
    let reserved = if compacted { &header[16..] } else { &header[8..24] };
    let bad = if compacted {
        need_xsave(c, Form::Compacted).is_err() || layout & !(COMPACTED | enabled) != 0 || present & !layout != 0
    } else {
        supervisor || present & !enabled != 0
    };
    if bad || reserved.iter().any(|&b| b != 0) {
        return Err(Fault::GP0);
    }
    let legacy = legacy_of(&area);
    let load = |bit: u64| wanted & present & bit != 0;
    let reset = |bit: u64| wanted & !present & bit != 0;
    // In the standard format MXCSR comes from memory whatever the header says.
    let mxcsr_loaded = if compacted { load(SSE) } else { wanted & (SSE | AVX) != 0 };
    if mxcsr_loaded {
        check_mxcsr(image::mxcsr_of(legacy))?;
        c.fpu.mxcsr = image::mxcsr_of(legacy);
    } else if compacted && reset(SSE) {
        c.fpu.mxcsr = MXCSR_INIT;
    }
    let n = c.vector_count();
    if load(X87) {
        c.fpu.load_x87(wide, legacy);
    } else if reset(X87) {
        c.fpu.reset_x87();
    }
    if load(SSE) {
        image::load_vectors(&mut c.fpu.xmm[..n], &legacy[XMM_OFFSET..]);
    } else if reset(SSE) {
        c.fpu.xmm[..n].fill(Vec128::default());
    }
    if load(AVX) {
        image::load_vectors(&mut c.fpu.ymm_hi[..n], &area[AVX_OFFSET..]);
    } else if reset(AVX) {
        c.fpu.ymm_hi[..n].fill(Vec128::default());
    }
    Ok(())
}
