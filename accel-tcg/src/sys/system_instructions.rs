//! HLT, INVLPG, INVPCID, cache control, MONITOR and MWAIT, time stamps, RDMSR and WRMSR (SDM vol. 2).

use crate::block::Executor;
use crate::cpu::Cpu;
use crate::fault::{Exec, Fault};
use crate::mem::Access;
use gearbox_core::x86::state::{Activity, cr4, gpr};
use iced_x86::{Code, Instruction};
use std::time::Duration;

pub(super) fn executor(code: Code) -> Option<Executor> {
    use Code::*;
    Some(match code {
        Hlt => hlt,
        Invlpg_m => invlpg,
        Invpcid_r32_m128 | Invpcid_r64_m128 => invpcid,
        Invd | Wbinvd | Wbnoinvd => |cpu, _| cpu.require_ring0(),
        Monitorw | Monitord | Monitorq => monitor,
        Mwait => mwait,
        Rdtsc => rdtsc,
        Rdtscp => rdtscp,
        Rdpid_r32 | Rdpid_r64 => |cpu, i| {
            cpu.set_reg(i.op0_register(), cpu.msr.tsc_aux);
            Ok(())
        },
        Rdpmc => rdpmc,
        Rdmsr => |cpu, _| {
            cpu.require_ring0()?;
            let value = cpu.read_msr(cpu.gpr(gpr::RCX) as u32)?;
            cpu.set_edx_eax(value);
            Ok(())
        },
        Wrmsr => |cpu, _| {
            cpu.require_ring0()?;
            cpu.write_msr(cpu.gpr(gpr::RCX) as u32, cpu.edx_eax())
        },
        _ => return None,
    })
}

impl Cpu {
    fn set_edx_eax(&mut self, v: u64) {
        self.set_gpr_low(gpr::RAX, v as u32);
        self.set_gpr_low(gpr::RDX, (v >> 32) as u32);
    }
    /// CR4.TSD keeps time stamps for ring 0.
    fn check_tsd(&self) -> Exec {
        if self.cr4 & cr4::TSD != 0 && self.cpl != 0 { Err(Fault::GP0) } else { Ok(()) }
    }
}

fn hlt(cpu: &mut Cpu, _: &Instruction) -> Exec {
    cpu.require_ring0()?;
    cpu.activity = Activity::Halted;
    cpu.leave_block = true;
    Ok(())
}

fn invlpg(cpu: &mut Cpu, i: &Instruction) -> Exec {
    cpu.require_ring0()?;
    // The address is not checked: one that is not canonical has no translation to forget.
    let base = cpu.segment(cpu.operand_seg(i)).base;
    let flat = cpu.code64() && !matches!(i.memory_segment(), iced_x86::Register::FS | iced_x86::Register::GS);
    let linear = cpu.ea(i).wrapping_add(if flat { 0 } else { base });
    cpu.flush_page(if cpu.code64() { linear } else { linear & 0xffff_ffff });
    Ok(())
}

fn invpcid(cpu: &mut Cpu, i: &Instruction) -> Exec {
    cpu.require_ring0()?;
    let kind = cpu.reg(i.op0_register());
    let descriptor = cpu.read_mem::<u128>(i)?;
    let (pcid, reserved, linear) = (descriptor as u64 & 0xfff, descriptor as u64 >> 12, (descriptor >> 64) as u64);
    let foreign = pcid != 0 && cpu.cr4 & cr4::PCIDE == 0;
    match kind {
        0 if reserved == 0 && !foreign && cpu.canonical_base(linear) => cpu.flush_page(linear),
        1 if reserved == 0 && !foreign => cpu.flush_tlb(false),
        2 if reserved == 0 => cpu.flush_tlb(true),
        3 if reserved == 0 => cpu.flush_tlb(false),
        _ => return Err(Fault::GP0),
    }
    Ok(())
}

fn monitor(cpu: &mut Cpu, i: &Instruction) -> Exec {
    if cpu.cpl != 0 {
        return Err(Fault::UD);
    }
    if cpu.gpr(gpr::RCX) as u32 != 0 {
        return Err(Fault::GP0);
    }
    let mask = match i.code() {
        Code::Monitorw => 0xffff,
        Code::Monitord => 0xffff_ffff,
        _ => u64::MAX,
    };
    let s = crate::mem::virt::seg_of(i.segment_prefix());
    let linear = cpu.linear(s, cpu.gpr(gpr::RAX) & mask, 1, Access::Read)?;
    cpu.load::<u8>(linear, cpu.privilege())?;
    cpu.monitoring = true;
    Ok(())
}

/// How long MWAIT waits at most. It may end for any reason (SDM vol. 2, MWAIT), so that a store that nobody reports only comes this late.
const PATIENCE: Duration = Duration::from_micros(50);

/// Waits for an event, or a while. Without MONITOR before it, it does nothing.
fn mwait(cpu: &mut Cpu, _: &Instruction) -> Exec {
    if cpu.cpl != 0 {
        return Err(Fault::UD);
    }
    if cpu.gpr(gpr::RCX) as u32 & !1 != 0 {
        return Err(Fault::GP0);
    }
    if std::mem::take(&mut cpu.monitoring) {
        cpu.advance_lapic();
        if !cpu.lapic.lock().interrupt_pending() {
            cpu.shared.wait(Some(PATIENCE));
        }
        cpu.lapic_touched = true;
    }
    cpu.leave_block = true;
    Ok(())
}

fn rdtsc(cpu: &mut Cpu, _: &Instruction) -> Exec {
    cpu.check_tsd()?;
    let now = cpu.tsc();
    cpu.set_edx_eax(now);
    Ok(())
}

fn rdtscp(cpu: &mut Cpu, i: &Instruction) -> Exec {
    rdtsc(cpu, i)?;
    cpu.set_gpr_low(gpr::RCX, cpu.msr.tsc_aux as u32);
    Ok(())
}

/// There are no performance counters, so that every number is out of range.
fn rdpmc(_: &mut Cpu, _: &Instruction) -> Exec {
    Err(Fault::GP0)
}
