//! Executors that save and restore state: FSTENV, FSAVE, FXSAVE, LDMXCSR and their counterparts.

use super::Fpu;
use super::image::{self, EnvLayout, LONGEST_ENV, Legacy, XMM_OFFSET, check_mxcsr, legacy_of};
use super::shape::shaped_128;
use crate::block::Executor;
use crate::cpu::Cpu;
use crate::fault::{Exec, Fault};
use crate::mem::Access;
use gearbox_core::x86::state::{cr0, cr4, efer};
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
        _ => return None,
    })
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
