//! IRET in every mode (SDM vol. 2, IRET).

use super::descriptor::Selector;
use super::task::{self, TaskSource};
use crate::block::Executor;
use crate::cpu::Cpu;
use crate::fault::{Exec, Fault};
use gearbox_core::x86::state::{Seg, Segment, cr4, rflags};
use iced_x86::{Code, Instruction};

pub(super) fn executor(code: Code) -> Option<Executor> {
    Some(match code {
        Code::Iretw => iret::<2>,
        Code::Iretd => iret::<4>,
        Code::Iretq => iret::<8>,
        _ => return None,
    })
}

/// The flags that any program may change.
const USER_FLAGS: u64 =
    rflags::CF | rflags::PF | rflags::AF | rflags::ZF | rflags::SF | rflags::TF | rflags::DF | rflags::OF | rflags::NT;

fn iret<const SIZE: usize>(cpu: &mut Cpu, _: &Instruction) -> Exec {
    // Even an IRET that faults unblocks NMIs.
    cpu.events.nmi_masked = false;
    cpu.leave_block = true;
    if !cpu.protected() {
        return real::<SIZE>(cpu);
    }
    if cpu.v86() {
        return virtual_8086::<SIZE>(cpu);
    }
    if cpu.flags & rflags::NT != 0 {
        if cpu.long_mode() {
            return Err(Fault::GP0);
        }
        let link: u16 = cpu.system_read(cpu.segment(Seg::Tr).base)?;
        return task::switch(cpu, Selector(link), TaskSource::Return);
    }
    let size = SIZE as u64;
    let rip = cpu.peek_sized(SIZE, 0)?;
    let cs = Selector(cpu.peek_sized(SIZE, size)? as u16);
    let flags = cpu.peek_sized(SIZE, 2 * size)?;
    if flags & rflags::VM != 0 && SIZE == 4 && cpu.cpl == 0 && !cpu.long_mode() {
        return to_virtual_8086(cpu, rip, cs, flags);
    }
    // Decided by the privilege level before the return.
    let new_flags = merged(cpu, flags, returnable(cpu, SIZE));
    let d = cpu.return_target(cs)?;
    if cs.rpl() > cpu.cpl || cpu.code64() {
        let sp = cpu.peek_sized(SIZE, 3 * size)?;
        let ss = Selector(cpu.peek_sized(SIZE, 4 * size)? as u16);
        cpu.return_outward(cs, d, rip, ss, sp)?;
    } else {
        let (sp, mask) = (cpu.sp().wrapping_add(3 * size), cpu.sp_mask());
        cpu.enter_code(cs, d, rip, cpu.cpl)?;
        cpu.set_sp_masked(sp, mask);
    }
    cpu.set_rflags(new_flags);
    Ok(())
}

/// The flags that an IRET at the present privilege level may change.
fn returnable(cpu: &Cpu, size: usize) -> u64 {
    let mut may = USER_FLAGS;
    if size > 2 {
        may |= rflags::RF | rflags::AC | rflags::ID;
    }
    if cpu.cpl <= cpu.iopl() {
        may |= rflags::IF;
    }
    if cpu.cpl == 0 {
        may |= rflags::IOPL;
        if size > 2 {
            may |= rflags::VIF | rflags::VIP;
        }
    }
    may
}

/// RFLAGS with the bits of `may` from `new`.
pub(super) fn merged(cpu: &Cpu, new: u64, may: u64) -> u64 {
    cpu.rflags() & !may | new & may
}

fn real<const SIZE: usize>(cpu: &mut Cpu) -> Exec {
    let may = USER_FLAGS | rflags::IF | rflags::IOPL;
    let may = if SIZE == 4 { may | rflags::RF | rflags::AC | rflags::ID } else { may };
    back_to_paragraph::<SIZE>(cpu, |cpu, flags| Ok(merged(cpu, flags, may)))
}

/// IRET of three words in real or virtual-8086 mode; `flags_of` checks and merges the flags.
fn back_to_paragraph<const SIZE: usize>(cpu: &mut Cpu, flags_of: impl FnOnce(&Cpu, u64) -> Exec<u64>) -> Exec {
    let size = SIZE as u64;
    let rip = cpu.peek_sized(SIZE, 0)?;
    let cs = Selector(cpu.peek_sized(SIZE, size)? as u16);
    let flags = cpu.peek_sized(SIZE, 2 * size)?;
    let flags = flags_of(cpu, flags)?;
    cpu.enter_paragraph(cs, rip)?;
    cpu.drop_stack(3 * size);
    cpu.set_rflags(flags);
    Ok(())
}

fn virtual_8086<const SIZE: usize>(cpu: &mut Cpu) -> Exec {
    if cpu.iopl() == 3 {
        let may = USER_FLAGS | rflags::IF;
        let may = if SIZE == 4 { may | rflags::RF | rflags::AC | rflags::ID } else { may };
        return back_to_paragraph::<SIZE>(cpu, |cpu, flags| Ok(merged(cpu, flags, may)));
    }
    if SIZE != 2 || cpu.cr4 & cr4::VME == 0 {
        return Err(Fault::GP0);
    }
    back_to_paragraph::<2>(cpu, |cpu, flags| virtual_if(cpu, flags, USER_FLAGS))
}

/// Merges flags where IF stands for VIF (virtual-8086 mode extensions): with a virtual interrupt waiting, to set it is #GP(0), and so is
/// TF.
pub(super) fn virtual_if(cpu: &Cpu, flags: u64, may: u64) -> Exec<u64> {
    let enables = flags & rflags::IF != 0;
    if (enables && cpu.flags & rflags::VIP != 0) || flags & rflags::TF != 0 {
        return Err(Fault::GP0);
    }
    let merged = merged(cpu, flags, may);
    Ok(if enables { merged | rflags::VIF } else { merged & !rflags::VIF })
}

/// IRET from ring 0 to a virtual-8086 program: EIP, CS, EFLAGS, ESP, SS, ES, DS, FS, GS.
fn to_virtual_8086(cpu: &mut Cpu, eip: u64, cs: Selector, flags: u64) -> Exec {
    let mut words = [0; 6];
    for (k, w) in words.iter_mut().enumerate() {
        *w = cpu.peek_sized(4, 12 + 4 * k as u64)?;
    }
    if eip > 0xffff {
        return Err(Fault::GP0);
    }
    let may = USER_FLAGS
        | rflags::RF
        | rflags::AC
        | rflags::ID
        | rflags::IF
        | rflags::IOPL
        | rflags::VIF
        | rflags::VIP
        | rflags::VM;
    let flags = merged(cpu, flags, may);
    cpu.set_rflags(flags);
    let paragraph = |selector: u64| Segment { attr: 0xf3, ..Segment::real(selector as u16) };
    cpu.set_seg(Seg::Cs, paragraph(cs.0.into()));
    let [esp, ss, es, ds, fs, gs] = words;
    for (s, v) in [(Seg::Ss, ss), (Seg::Es, es), (Seg::Ds, ds), (Seg::Fs, fs), (Seg::Gs, gs)] {
        cpu.set_seg(s, paragraph(v));
    }
    cpu.set_cpl(3);
    cpu.set_gpr(gearbox_core::x86::state::gpr::RSP, esp);
    cpu.rip = eip;
    Ok(())
}
