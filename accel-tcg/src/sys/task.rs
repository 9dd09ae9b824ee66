//! Hardware task switching (SDM vol. 3, chapter 8).

use super::debug::{DR6, DR7, dr6, dr7};
use super::descriptor::{Blame, Descriptor, Selector, null_segment, system, within_limit};
use super::inner_stack::{InnerStack, check_system_write};
use crate::cpu::Cpu;
use crate::fault::{Exec, Fault, vector};
use gearbox_core::x86::state::{PendingException, Seg, Segment, cr0, rflags};

/// What makes the processor switch.
#[derive(Clone, Copy, Debug)]
pub(crate) enum TaskSource {
    /// JMP.
    Jump,
    /// CALL: the new task is nested in the old one.
    Call,
    /// IRET with NT set: back from a nested task.
    Return,
    /// An interrupt or exception through a task gate: nested too, with an error code perhaps.
    Gate {
        /// How faults are reported.
        blame: Blame,
        /// To be pushed in the new task.
        error_code: Option<u32>,
    },
}

impl TaskSource {
    fn blame(self) -> Blame {
        match self {
            Self::Gate { blame, .. } => blame,
            _ => Blame::GP,
        }
    }
    fn nests(self) -> bool {
        matches!(self, Self::Call | Self::Gate { .. })
    }
}

/// Offsets in a task-state segment (SDM vol. 3, figures 8-2 and 8-10).
struct Layout {
    /// Bytes of a general register slot.
    word: u64,
    cr3: Option<u64>,
    eip: u64,
    eflags: u64,
    gpr: u64,
    es: u64,
    /// How many segment registers: ES, CS, SS, DS, FS, GS.
    segments: u64,
    ldt: u64,
    /// The T flag.
    trap: Option<u64>,
    /// Smallest limit.
    limit: u32,
}

const TSS16: Layout = Layout {
    word: 2,
    cr3: None,
    eip: 0x0e,
    eflags: 0x10,
    gpr: 0x12,
    es: 0x22,
    segments: 4,
    ldt: 0x2a,
    trap: None,
    limit: 0x2b,
};
const TSS32: Layout = Layout {
    word: 4,
    cr3: Some(0x1c),
    eip: 0x20,
    eflags: 0x24,
    gpr: 0x28,
    es: 0x48,
    segments: 6,
    ldt: 0x60,
    trap: Some(0x64),
    limit: 0x67,
};

const SEGMENTS: [Seg; 6] = [Seg::Es, Seg::Cs, Seg::Ss, Seg::Ds, Seg::Fs, Seg::Gs];

fn layout(typ: u8) -> &'static Layout {
    if typ & !system::BUSY == system::TSS32 { &TSS32 } else { &TSS16 }
}

/// The dynamic part of a TSS.
struct State {
    cr3: Option<u64>,
    eip: u64,
    eflags: u64,
    gpr: [u64; 8],
    segments: [Selector; 6],
    ldt: Selector,
    trap: bool,
}

/// A task's descriptor, checked, and its hidden part.
struct Task {
    selector: Selector,
    descriptor: Descriptor,
    segment: Segment,
}

/// Switches to the task whose TSS `selector` names.
pub(crate) fn switch(cpu: &mut Cpu, selector: Selector, source: TaskSource) -> Exec {
    cpu.leave_block = true;
    let new = find(cpu, selector, source)?;
    let old = *cpu.segment(Seg::Tr);
    let l = layout(new.descriptor.typ());
    check_system_write(cpu, old.base, layout(old.typ()).limit as usize + 1)?;
    check_system_write(cpu, new.segment.base, l.limit as usize + 1)?;
    let state = read_state(cpu, l, new.segment.base)?;

    let old_selector = Selector(old.selector);
    if !source.nests() {
        let d = cpu.descriptor(old_selector, Blame::GP)?;
        cpu.write_descriptor_type(old_selector, d.typ() & !system::BUSY, d)?;
    }
    save_state(cpu, &old, matches!(source, TaskSource::Return))?;
    if source.nests() {
        cpu.system_write(new.segment.base, old.selector)?;
    }
    if !matches!(source, TaskSource::Return) {
        cpu.write_descriptor_type(new.selector, new.descriptor.typ() | system::BUSY, new.descriptor)?;
    }
    // The commit point: what fails from here on, fails in the new task.
    let mut tr = new.segment;
    tr.attr |= u32::from(system::BUSY);
    cpu.set_seg(Seg::Tr, tr);
    cpu.cr0 |= cr0::TS;
    cpu.dr[DR7] &= !dr7::LOCAL;
    let entered = enter(cpu, &state, source).and_then(|()| match source {
        TaskSource::Gate { error_code: Some(code), blame } => {
            let mut stack = InnerStack::current(cpu, blame);
            stack.push_all(cpu, l.word, &[code.into()])?;
            stack.enter(cpu);
            Ok(())
        }
        _ => Ok(()),
    });
    match entered {
        Ok(()) if state.trap => {
            cpu.dr[DR6] |= dr6::BT;
            cpu.events.exception = Some(PendingException { vector: vector::DB, error_code: None });
        }
        Ok(()) => {}
        // It happens between two instructions, with the new task's RIP.
        Err(Fault::Exception(e)) => {
            cpu.events.exception = Some(PendingException { vector: e.vector, error_code: e.error_code });
        }
        Err(other) => return Err(other),
    }
    Ok(())
}

fn find(cpu: &mut Cpu, selector: Selector, source: TaskSource) -> Exec<Task> {
    let returning = matches!(source, TaskSource::Return);
    let blame = if returning { source.blame().ts() } else { source.blame() };
    if selector.is_null() || selector.local() {
        return Err(blame.of(selector));
    }
    let d = cpu.descriptor(selector, blame)?;
    let wanted = if returning { [system::TSS16_BUSY, system::TSS32_BUSY] } else { [system::TSS16, system::TSS32] };
    if d.is_segment() || !wanted.contains(&d.typ()) {
        return Err(blame.of(selector));
    }
    if !d.present() {
        return Err(blame.not_present(selector));
    }
    if d.limit() < layout(d.typ()).limit {
        return Err(source.blame().ts().of(selector));
    }
    Ok(Task { selector, descriptor: d, segment: d.segment(selector) })
}

fn read_word(cpu: &mut Cpu, l: &Layout, at: u64) -> Exec<u64> {
    Ok(if l.word == 2 { cpu.system_read::<u16>(at)?.into() } else { cpu.system_read::<u32>(at)?.into() })
}
fn write_word(cpu: &mut Cpu, l: &Layout, at: u64, v: u64) -> Exec {
    if l.word == 2 { cpu.system_write(at, v as u16) } else { cpu.system_write(at, v as u32) }
}

fn read_state(cpu: &mut Cpu, l: &Layout, base: u64) -> Exec<State> {
    let mut gpr = [0; 8];
    for (k, r) in gpr.iter_mut().enumerate() {
        *r = read_word(cpu, l, base.wrapping_add(l.gpr + l.word * k as u64))?;
    }
    let mut segments = [Selector(0); 6];
    for (k, s) in segments.iter_mut().enumerate().take(l.segments as usize) {
        *s = Selector(read_word(cpu, l, base.wrapping_add(l.es + l.word * k as u64))? as u16);
    }
    Ok(State {
        cr3: l.cr3.map(|at| read_word(cpu, l, base.wrapping_add(at))).transpose()?,
        eip: read_word(cpu, l, base.wrapping_add(l.eip))?,
        eflags: read_word(cpu, l, base.wrapping_add(l.eflags))?,
        gpr,
        segments,
        ldt: Selector(read_word(cpu, l, base.wrapping_add(l.ldt))? as u16),
        trap: match l.trap {
            Some(at) => cpu.system_read::<u16>(base.wrapping_add(at))? & 1 != 0,
            None => false,
        },
    })
}

fn save_state(cpu: &mut Cpu, tr: &Segment, returning: bool) -> Exec {
    let l = layout(tr.typ());
    let base = tr.base;
    let nested = if returning { rflags::NT } else { 0 };
    write_word(cpu, l, base.wrapping_add(l.eip), cpu.rip)?;
    write_word(cpu, l, base.wrapping_add(l.eflags), cpu.rflags() & !nested)?;
    for k in 0..8 {
        write_word(cpu, l, base.wrapping_add(l.gpr + l.word * k as u64), cpu.gpr(k))?;
    }
    for (k, &s) in SEGMENTS.iter().enumerate().take(l.segments as usize) {
        cpu.system_write(base.wrapping_add(l.es + l.word * k as u64), cpu.segment(s).selector)?;
    }
    Ok(())
}

/// Loads the registers of the new task.
fn enter(cpu: &mut Cpu, state: &State, source: TaskSource) -> Exec {
    if let Some(cr3) = state.cr3
        && cpu.cr0 & cr0::PG != 0
    {
        cpu.set_cr3(cr3)?;
    }
    let nested = if source.nests() { rflags::NT } else { 0 };
    for (k, v) in state.gpr.into_iter().enumerate() {
        cpu.set_gpr(k, v);
    }
    cpu.rip = state.eip;
    // Selectors first, all hidden parts unusable: what faults then shows the new task's selectors.
    for (s, selector) in SEGMENTS.into_iter().zip(state.segments) {
        cpu.set_seg(s, null_segment(selector));
    }
    cpu.set_rflags(state.eflags | nested);
    let ext = Blame { vector: vector::TS, ..source.blame() };
    load_segments(cpu, state, ext)
}

fn load_segments(cpu: &mut Cpu, state: &State, blame: Blame) -> Exec {
    cpu.set_seg(Seg::Ldtr, null_segment(state.ldt));
    let ldt = cpu.local_table(state.ldt, blame)?;
    cpu.set_seg(Seg::Ldtr, ldt);
    if cpu.v86() {
        cpu.set_cpl(3);
        for (s, selector) in SEGMENTS.into_iter().zip(state.segments) {
            let paragraph = cpu.flat_paragraph(s, selector);
            cpu.set_seg(s, paragraph);
        }
        return Ok(());
    }
    let [es, cs, ss, ds, fs, gs] = state.segments;
    // CS decides about the privilege level that the others are checked against.
    cpu.set_cpl(cs.rpl());
    if ss.is_null() {
        return Err(blame.zero());
    }
    let stack = cpu.stack_segment_for(ss, cs.rpl(), blame)?;
    cpu.set_seg(Seg::Ss, stack);
    for (s, selector) in [(Seg::Ds, ds), (Seg::Es, es), (Seg::Fs, fs), (Seg::Gs, gs)] {
        let v = cpu.data_segment(selector, blame)?;
        cpu.set_seg(s, v);
    }
    let code = code_segment(cpu, cs, blame)?;
    cpu.set_seg(Seg::Cs, code);
    if !within_limit(&code, cpu.rip, 1) {
        return Err(Fault::GP0);
    }
    Ok(())
}

fn code_segment(cpu: &mut Cpu, cs: Selector, blame: Blame) -> Exec<Segment> {
    if cs.is_null() {
        return Err(blame.zero());
    }
    let d = cpu.descriptor(cs, blame)?;
    let privileged = if d.is_conforming() { d.dpl() > cs.rpl() } else { d.dpl() != cs.rpl() };
    if !d.is_code() || privileged {
        return Err(blame.of(cs));
    }
    if !d.present() {
        return Err(blame.not_present(cs));
    }
    Ok(cpu.set_accessed(cs, d)?.segment(cs))
}
