//! Descriptor-table registers and the instructions that look at descriptors without loading them (SDM vol. 2).

use super::descriptor::{Blame, Descriptor, Selector, null_segment, system};
use crate::block::Executor;
use crate::cpu::Cpu;
use crate::fault::{Exec, Fault};
use gearbox_core::x86::state::{DescriptorTable, Seg, Segment};
use iced_x86::{Code, Instruction, OpKind};

pub(super) fn executor(code: Code) -> Option<Executor> {
    use Code::*;
    Some(match code {
        Sgdt_m1632_16 | Sgdt_m1632 | Sgdt_m1664 => |cpu, i| store_table(cpu, i, cpu.gdtr),
        Sidt_m1632_16 | Sidt_m1632 | Sidt_m1664 => |cpu, i| store_table(cpu, i, cpu.idtr),
        Lgdt_m1632_16 | Lgdt_m1632 | Lgdt_m1664 => |cpu, i| {
            cpu.gdtr = load_table(cpu, i)?;
            Ok(())
        },
        Lidt_m1632_16 | Lidt_m1632 | Lidt_m1664 => |cpu, i| {
            cpu.idtr = load_table(cpu, i)?;
            Ok(())
        },
        Sldt_rm16 | Sldt_r32m16 | Sldt_r64m16 => |cpu, i| store_selector(cpu, i, Seg::Ldtr),
        Str_rm16 | Str_r32m16 | Str_r64m16 => |cpu, i| store_selector(cpu, i, Seg::Tr),
        Lldt_rm16 | Lldt_r32m16 | Lldt_r64m16 => lldt,
        Ltr_rm16 | Ltr_r32m16 | Ltr_r64m16 => ltr,
        Lar_r16_rm16 | Lar_r32_r32m16 | Lar_r64_r64m16 => lar,
        Lsl_r16_rm16 | Lsl_r32_r32m16 | Lsl_r64_r64m16 => lsl,
        Verr_rm16 | Verr_r32m16 | Verr_r64m16 => |cpu, i| verify(cpu, i, Descriptor::is_readable),
        Verw_rm16 | Verw_r32m16 | Verw_r64m16 => |cpu, i| verify(cpu, i, Descriptor::is_writable_data),
        Arpl_rm16_r16 | Arpl_r32m16_r32 => arpl,
        _ => return None,
    })
}

fn store_table(cpu: &mut Cpu, i: &Instruction, t: DescriptorTable) -> Exec {
    cpu.check_umip()?;
    let mut bytes = [0; 10];
    bytes[..2].copy_from_slice(&t.limit.to_le_bytes());
    bytes[2..].copy_from_slice(&t.base.to_le_bytes());
    // Processors since the 80386 store all 32 bits of the base, with 16-bit operands too.
    let len = if cpu.code64() { 10 } else { 6 };
    cpu.write_mem_bytes(i, &bytes[..len])
}

fn load_table(cpu: &mut Cpu, i: &Instruction) -> Exec<DescriptorTable> {
    cpu.require_ring0()?;
    let mut bytes = [0; 10];
    let len = if cpu.code64() { 10 } else { 6 };
    cpu.read_mem_bytes(i, &mut bytes[..len])?;
    let limit = u16::from_le_bytes([bytes[0], bytes[1]]);
    let mut base = [0; 8];
    base.copy_from_slice(&bytes[2..]);
    let mut base = u64::from_le_bytes(base);
    if matches!(i.code(), Code::Lgdt_m1632_16 | Code::Lidt_m1632_16) {
        base &= 0xff_ffff;
    }
    if cpu.code64() && !cpu.canonical_base(base) {
        return Err(Fault::GP0);
    }
    Ok(DescriptorTable { base, limit })
}

/// These instructions do not exist outside protected mode.
fn require_protected(cpu: &Cpu) -> Exec {
    if cpu.protected() && !cpu.v86() { Ok(()) } else { Err(Fault::UD) }
}

fn store_selector(cpu: &mut Cpu, i: &Instruction, s: Seg) -> Exec {
    require_protected(cpu)?;
    cpu.check_umip()?;
    let selector = cpu.segment(s).selector;
    if i.op0_kind() == OpKind::Memory {
        return cpu.write_mem(i, selector);
    }
    cpu.set_reg(i.op0_register(), selector.into());
    Ok(())
}

/// The hidden part of LDTR or TR from a descriptor, which in IA-32e mode is 16 bytes long.
fn system_segment(cpu: &mut Cpu, selector: Selector, d: Descriptor) -> Exec<Segment> {
    let mut s = d.segment(selector);
    if cpu.long_mode() {
        s.base |= cpu.descriptor_high(selector, Blame::GP)? << 32;
        if !cpu.canonical_base(s.base) {
            return Err(Blame::GP.of(selector));
        }
    }
    Ok(s)
}

fn lldt(cpu: &mut Cpu, i: &Instruction) -> Exec {
    require_protected(cpu)?;
    cpu.require_ring0()?;
    let selector = Selector(cpu.read_op::<u16>(i, 0)?);
    let value = cpu.local_table(selector, Blame::GP)?;
    cpu.set_seg(Seg::Ldtr, value);
    Ok(())
}

impl Cpu {
    /// What LDTR becomes when it is loaded with `selector`.
    pub(super) fn local_table(&mut self, selector: Selector, blame: Blame) -> Exec<Segment> {
        if selector.is_null() {
            return Ok(null_segment(selector));
        }
        if selector.local() {
            return Err(blame.of(selector));
        }
        let d = self.descriptor(selector, blame)?;
        if d.is_segment() || d.typ() != system::LDT {
            return Err(blame.of(selector));
        }
        if !d.present() {
            // A task switch reports this too as an invalid TSS.
            let task_switch = blame.vector != Blame::GP.vector;
            return Err(if task_switch { blame.of(selector) } else { blame.not_present(selector) });
        }
        system_segment(self, selector, d)
    }
}

fn ltr(cpu: &mut Cpu, i: &Instruction) -> Exec {
    require_protected(cpu)?;
    cpu.require_ring0()?;
    let selector = Selector(cpu.read_op::<u16>(i, 0)?);
    if selector.is_null() {
        return Err(Fault::GP0);
    }
    if selector.local() {
        return Err(Blame::GP.of(selector));
    }
    let d = cpu.descriptor(selector, Blame::GP)?;
    let available = d.typ() == system::TSS32 || (d.typ() == system::TSS16 && !cpu.long_mode());
    if d.is_segment() || !available {
        return Err(Blame::GP.of(selector));
    }
    if !d.present() {
        return Err(Blame::GP.not_present(selector));
    }
    let mut value = system_segment(cpu, selector, d)?;
    cpu.write_descriptor_type(selector, d.typ() | system::BUSY, d)?;
    value.attr |= u32::from(system::BUSY);
    cpu.set_seg(Seg::Tr, value);
    Ok(())
}

/// A descriptor that the program may look at, or `None`; faults only where memory does.
fn visible(cpu: &mut Cpu, selector: Selector, system_types: &[u8]) -> Exec<Option<Descriptor>> {
    if selector.is_null() {
        return Ok(None);
    }
    let d = match cpu.descriptor(selector, Blame::GP) {
        Err(Fault::Exception(e)) if e.vector == Blame::GP.vector => return Ok(None),
        d => d?,
    };
    let known = d.is_segment() || system_types.contains(&d.typ());
    let outranked = d.is_guarded() && (d.dpl() < cpu.cpl || d.dpl() < selector.rpl());
    Ok((known && !outranked).then_some(d))
}

/// Reads the selector operand, shows `value` of its descriptor in the destination, and sets ZF where there is one.
fn inspect(cpu: &mut Cpu, i: &Instruction, types: &[u8], value: impl FnOnce(Descriptor) -> u64) -> Exec {
    require_protected(cpu)?;
    let selector = Selector(cpu.read_op::<u16>(i, 1)?);
    let found = visible(cpu, selector, types)?;
    cpu.set_zf(found.is_some());
    if let Some(d) = found {
        cpu.set_reg(i.op0_register(), value(d));
    }
    Ok(())
}

fn lar(cpu: &mut Cpu, i: &Instruction) -> Exec {
    use system::*;
    let legacy = [TSS16, LDT, TSS16_BUSY, CALL16, TASK_GATE, TSS32, TSS32_BUSY, CALL32];
    let long = [LDT, TSS32, TSS32_BUSY, CALL32];
    let types: &[u8] = if cpu.long_mode() { &long } else { &legacy };
    inspect(cpu, i, types, |d| d.0 >> 32 & 0x00f0_ff00)
}

fn lsl(cpu: &mut Cpu, i: &Instruction) -> Exec {
    use system::*;
    let legacy = [TSS16, LDT, TSS16_BUSY, TSS32, TSS32_BUSY];
    let long = [LDT, TSS32, TSS32_BUSY];
    let types: &[u8] = if cpu.long_mode() { &long } else { &legacy };
    inspect(cpu, i, types, |d| d.limit().into())
}

fn verify(cpu: &mut Cpu, i: &Instruction, allowed: fn(Descriptor) -> bool) -> Exec {
    require_protected(cpu)?;
    let selector = Selector(cpu.read_op::<u16>(i, 0)?);
    let found = visible(cpu, selector, &[])?;
    cpu.set_zf(found.is_some_and(allowed));
    Ok(())
}

fn arpl(cpu: &mut Cpu, i: &Instruction) -> Exec {
    require_protected(cpu)?;
    let rpl = cpu.reg(i.op1_register()) as u16 & 3;
    // Nothing is written when the RPL stands.
    let old = cpu.read_op::<u16>(i, 0)?;
    let raise = old & 3 < rpl;
    if raise {
        let new = old & !3 | rpl;
        if i.op0_kind() == OpKind::Memory {
            cpu.write_mem(i, new)?;
        } else {
            cpu.set_gpr_low(i.op0_register().full_register().number(), new);
        }
    }
    cpu.set_zf(raise);
    Ok(())
}

impl Cpu {
    /// Sets ZF alone.
    pub(super) fn set_zf(&mut self, on: bool) {
        use gearbox_core::x86::state::rflags::ZF;
        let flags = self.lazy.bits();
        self.lazy = crate::flags::LazyFlags::from_bits(if on { flags | ZF } else { flags & !ZF });
    }
}
