//! PUSHF, POPF, CLI, STI, CLAC and STAC: the flags that depend on privilege (SDM vol. 2; vol. 3, 20.3 and 20.4 for VME and PVI).

use super::iret::{merged, virtual_if};
use crate::block::Executor;
use crate::cpu::Cpu;
use crate::fault::{Exec, Fault};
use gearbox_core::x86::state::{cr4, rflags};
use iced_x86::{Code, Instruction};

pub(super) fn executor(code: Code) -> Option<Executor> {
    Some(match code {
        Code::Pushfw => pushf::<2>,
        Code::Pushfd => pushf::<4>,
        Code::Pushfq => pushf::<8>,
        Code::Popfw => popf::<2>,
        Code::Popfd => popf::<4>,
        Code::Popfq => popf::<8>,
        Code::Cli => cli,
        Code::Sti => sti,
        Code::Clac => |cpu, _| set_ac(cpu, false),
        Code::Stac => |cpu, _| set_ac(cpu, true),
        _ => return None,
    })
}

/// How an instruction may treat IF.
enum IfAccess {
    /// IF itself.
    Real,
    /// VIF in its place.
    Virtual,
    Denied,
}

/// For CLI and STI.
fn if_access(cpu: &Cpu) -> IfAccess {
    if !cpu.protected() || cpu.iopl() >= cpu.cpl {
        return IfAccess::Real;
    }
    let extension = if cpu.v86() { cr4::VME } else { cr4::PVI };
    if cpu.cr4 & extension != 0 && cpu.cpl == 3 { IfAccess::Virtual } else { IfAccess::Denied }
}

fn cli(cpu: &mut Cpu, _: &Instruction) -> Exec {
    match if_access(cpu) {
        IfAccess::Real => cpu.set_rflags(cpu.rflags() & !rflags::IF),
        IfAccess::Virtual => cpu.set_rflags(cpu.rflags() & !rflags::VIF),
        IfAccess::Denied => return Err(Fault::GP0),
    }
    Ok(())
}

fn sti(cpu: &mut Cpu, _: &Instruction) -> Exec {
    match if_access(cpu) {
        IfAccess::Real => {
            if cpu.flags & rflags::IF == 0 {
                cpu.set_rflags(cpu.rflags() | rflags::IF);
                cpu.events.sti_shadow = true;
                cpu.leave_block = true;
            }
        }
        IfAccess::Virtual if cpu.flags & rflags::VIP == 0 => cpu.set_rflags(cpu.rflags() | rflags::VIF),
        IfAccess::Virtual | IfAccess::Denied => return Err(Fault::GP0),
    }
    Ok(())
}

fn set_ac(cpu: &mut Cpu, on: bool) -> Exec {
    let offered = cpu.cpuid.get(7, 0).is_some_and(|l| l.ebx & 1 << 20 != 0);
    if !offered || cpu.cpl != 0 {
        return Err(Fault::UD);
    }
    let flags = cpu.rflags();
    cpu.set_rflags(if on { flags | rflags::AC } else { flags & !rflags::AC });
    Ok(())
}

fn pushf<const SIZE: usize>(cpu: &mut Cpu, _: &Instruction) -> Exec {
    let mut image = cpu.rflags() & !(rflags::VM | rflags::RF);
    if cpu.v86() && cpu.iopl() < 3 {
        if SIZE != 2 || cpu.cr4 & cr4::VME == 0 {
            return Err(Fault::GP0);
        }
        let enabled = if image & rflags::VIF != 0 { rflags::IF } else { 0 };
        image = image & !rflags::IF | enabled | rflags::IOPL;
    }
    cpu.push_sized(SIZE, image)
}

fn popf<const SIZE: usize>(cpu: &mut Cpu, _: &Instruction) -> Exec {
    let mut may = rflags::CF
        | rflags::PF
        | rflags::AF
        | rflags::ZF
        | rflags::SF
        | rflags::TF
        | rflags::DF
        | rflags::OF
        | rflags::NT;
    if SIZE > 2 {
        may |= rflags::AC | rflags::ID;
    }
    let new = cpu.peek_sized(SIZE, 0)?;
    let flags = if cpu.v86() && cpu.iopl() < 3 {
        if SIZE != 2 || cpu.cr4 & cr4::VME == 0 {
            return Err(Fault::GP0);
        }
        virtual_if(cpu, new, may)?
    } else {
        if cpu.cpl <= cpu.iopl() || !cpu.protected() {
            may |= rflags::IF;
        }
        if cpu.cpl == 0 {
            may |= rflags::IOPL;
        }
        // POPF clears RF, and in ring 0 the virtual interrupt flags are left as they are.
        merged(cpu, new, may) & !rflags::RF
    };
    cpu.drop_stack(SIZE as u64);
    cpu.set_rflags(flags);
    Ok(())
}
