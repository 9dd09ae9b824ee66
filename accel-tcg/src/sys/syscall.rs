//! SYSCALL, SYSRET, SYSENTER, SYSEXIT, SWAPGS and the FS/GS base instructions (SDM vol. 2).

use super::debug::{DR6, dr6};
use super::descriptor::Selector;
use crate::block::Executor;
use crate::cpu::Cpu;
use crate::fault::{Exec, Fault, vector};
use gearbox_core::x86::state::{PendingException, Seg, Segment, cr4, efer, gpr, rflags};
use iced_x86::{Code, Instruction};

pub(super) fn executor(code: Code) -> Option<Executor> {
    use Code::*;
    Some(match code {
        Syscall => syscall,
        Sysretd => |cpu, _| sysret(cpu, false),
        Sysretq => |cpu, _| sysret(cpu, true),
        Sysenter => sysenter,
        Sysexitd => |cpu, _| sysexit(cpu, false),
        Sysexitq => |cpu, _| sysexit(cpu, true),
        Swapgs => swapgs,
        Rdfsbase_r32 | Rdfsbase_r64 => |cpu, i| read_base(cpu, i, Seg::Fs),
        Rdgsbase_r32 | Rdgsbase_r64 => |cpu, i| read_base(cpu, i, Seg::Gs),
        Wrfsbase_r32 | Wrfsbase_r64 => |cpu, i| write_base(cpu, i, Seg::Fs),
        Wrgsbase_r32 | Wrgsbase_r64 => |cpu, i| write_base(cpu, i, Seg::Gs),
        _ => return None,
    })
}

/// A flat code segment as these instructions load it, without looking at a descriptor. `long`: 64-bit, else 32-bit.
fn flat_code(selector: Selector, dpl: u8, long: bool) -> Segment {
    let size = if long { 1 << 13 } else { 1 << 14 };
    Segment { selector: selector.0, base: 0, limit: u32::MAX, attr: 0x809b | u32::from(dpl) << 5 | size }
}
/// A flat stack segment likewise.
fn flat_stack(selector: Selector, dpl: u8) -> Segment {
    Segment { selector: selector.0, base: 0, limit: u32::MAX, attr: 0xc093 | u32::from(dpl) << 5 }
}

impl Cpu {
    fn enter_flat(&mut self, cs: Selector, ss: Selector, cpl: u8, long: bool) {
        // One update of the mode, by `set_cpl`, serves for all three.
        self.seg[Seg::Cs as usize] = flat_code(cs.with_rpl(cpl), cpl, long);
        self.seg[Seg::Ss as usize] = flat_stack(ss, cpl);
        self.set_cpl(cpl);
    }
    fn intel(&self) -> bool {
        self.vendor() == super::cpuid::Vendor::Intel
    }
}

fn syscall(cpu: &mut Cpu, _: &Instruction) -> Exec {
    // Intel processors know SYSCALL in 64-bit mode only; AMD's also in the modes before it.
    if cpu.efer & efer::SCE == 0 || (!cpu.code64() && cpu.intel()) {
        return Err(Fault::UD);
    }
    // The RPL of CS is cut, that of SS is not.
    let base = (cpu.msr.star >> 32) as u16;
    let (cs, ss) = (Selector(base & !3), Selector(base.wrapping_add(8)));
    let flags = cpu.rflags();
    let next = cpu.rip;
    if cpu.long_mode() {
        let target = if cpu.code64() { cpu.msr.lstar } else { cpu.msr.cstar };
        cpu.set_gpr(gpr::RCX, next);
        cpu.set_gpr(11, flags & !rflags::RF);
        cpu.enter_flat(cs, ss, 0, true);
        cpu.set_rflags(flags & !(cpu.msr.sfmask | rflags::RF));
        cpu.rip = target;
    } else {
        cpu.set_gpr(gpr::RCX, next & 0xffff_ffff);
        cpu.enter_flat(cs, ss, 0, false);
        cpu.set_rflags(flags & !(rflags::VM | rflags::IF | rflags::RF));
        cpu.rip = cpu.msr.star & 0xffff_ffff;
    }
    Ok(())
}

fn sysret(cpu: &mut Cpu, to_64: bool) -> Exec {
    if cpu.efer & efer::SCE == 0 || (!cpu.code64() && cpu.intel()) {
        return Err(Fault::UD);
    }
    if cpu.cpl != 0 || !cpu.protected() {
        return Err(Fault::GP0);
    }
    let base = (cpu.msr.star >> 48) as u16;
    let rcx = cpu.gpr(gpr::RCX);
    // AMD's processors let it pass, and fault in ring 3.
    if to_64 && cpu.intel() && !cpu.canonical(rcx) {
        return Err(Fault::GP0);
    }
    let cs = Selector(base.wrapping_add(if to_64 { 16 } else { 0 }));
    let ss = Selector(base.wrapping_add(8)).with_rpl(3);
    let flags = if cpu.long_mode() {
        // RF, VM and the reserved bits stay clear.
        cpu.gpr(11) & 0x3c_7fd7
    } else {
        cpu.rflags() | rflags::IF
    };
    let old = *cpu.segment(Seg::Ss);
    cpu.enter_flat(cs, ss, 3, to_64);
    if !cpu.intel() {
        // AMD's processors change the selector only (APM vol. 3, SYSRET). The DPL of SS is the privilege level here, not a part of the segment.
        cpu.set_seg(Seg::Ss, Segment { selector: ss.0, attr: old.attr | 0x60, ..old });
        cpu.update_mode();
    }
    cpu.rip = if to_64 { rcx } else { rcx & 0xffff_ffff };
    cpu.set_rflags(flags);
    if flags & rflags::TF != 0 {
        // The TF that it loads traps before the next instruction, as if a SYSCALL there had been stepped over.
        cpu.dr[DR6] |= dr6::BS;
        cpu.events.exception = Some(PendingException { vector: vector::DB, error_code: None });
        cpu.leave_block = true;
    }
    Ok(())
}

fn sysenter(cpu: &mut Cpu, _: &Instruction) -> Exec {
    // AMD processors refuse it in IA-32e mode.
    if !cpu.intel() && cpu.long_mode() {
        return Err(Fault::UD);
    }
    let selector = Selector(cpu.msr.sysenter_cs as u16);
    if !cpu.protected() || selector.is_null() {
        return Err(Fault::GP0);
    }
    let long = cpu.long_mode();
    let cut = if long { u64::MAX } else { 0xffff_ffff };
    let flags = cpu.rflags() & !(rflags::VM | rflags::IF | rflags::RF);
    cpu.set_rflags(flags);
    let selector = selector.with_rpl(0);
    cpu.enter_flat(selector, Selector(selector.0.wrapping_add(8)), 0, long);
    cpu.set_gpr(gpr::RSP, cpu.msr.sysenter_esp & cut);
    cpu.rip = cpu.msr.sysenter_eip & cut;
    Ok(())
}

fn sysexit(cpu: &mut Cpu, to_64: bool) -> Exec {
    if !cpu.intel() && cpu.long_mode() {
        return Err(Fault::UD);
    }
    let selector = Selector(cpu.msr.sysenter_cs as u16);
    if !cpu.protected() || cpu.cpl != 0 || selector.is_null() {
        return Err(Fault::GP0);
    }
    let (rip, rsp) = (cpu.gpr(gpr::RDX), cpu.gpr(gpr::RCX));
    if to_64 && !(cpu.canonical(rip) && cpu.canonical(rsp)) {
        return Err(Fault::GP0);
    }
    let cut = if to_64 { u64::MAX } else { 0xffff_ffff };
    let cs = Selector(selector.0.wrapping_add(if to_64 { 32 } else { 16 }));
    let ss = Selector(cs.0.wrapping_add(8)).with_rpl(3);
    cpu.enter_flat(cs, ss, 3, to_64);
    cpu.set_gpr(gpr::RSP, rsp & cut);
    cpu.rip = rip & cut;
    Ok(())
}

fn swapgs(cpu: &mut Cpu, _: &Instruction) -> Exec {
    if !cpu.code64() {
        return Err(Fault::UD);
    }
    if cpu.cpl != 0 {
        return Err(Fault::GP0);
    }
    let base = cpu.segment(Seg::Gs).base;
    cpu.set_seg_base(Seg::Gs, cpu.msr.kernel_gs_base);
    cpu.msr.kernel_gs_base = base;
    Ok(())
}

fn check_fsgsbase(cpu: &Cpu) -> Exec {
    if cpu.code64() && cpu.cr4 & cr4::FSGSBASE != 0 { Ok(()) } else { Err(Fault::UD) }
}

fn read_base(cpu: &mut Cpu, i: &Instruction, s: Seg) -> Exec {
    check_fsgsbase(cpu)?;
    let base = cpu.segment(s).base;
    cpu.set_reg(i.op0_register(), base);
    Ok(())
}

fn write_base(cpu: &mut Cpu, i: &Instruction, s: Seg) -> Exec {
    check_fsgsbase(cpu)?;
    let base = cpu.reg(i.op0_register());
    if !cpu.canonical_base(base) {
        return Err(Fault::GP0);
    }
    cpu.set_seg_base(s, base);
    Ok(())
}
