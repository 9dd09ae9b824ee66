//! Far JMP, CALL and RET, through call gates and to other tasks too (SDM vol. 2, JMP, CALL, RET; vol. 3, 5.8).

use super::descriptor::{Blame, Descriptor, Selector, system};
use super::inner_stack::InnerStack;
use super::task::{self, TaskSource};
use crate::block::Executor;
use crate::cpu::Cpu;
use crate::fault::{Exec, Fault};
use gearbox_core::x86::state::{Seg, gpr};
use iced_x86::{Code, Instruction, OpKind};

pub(super) fn executor(code: Code) -> Option<Executor> {
    use Code::*;
    Some(match code {
        Jmp_ptr1616 | Jmp_m1616 => jump::<2>,
        Jmp_ptr1632 | Jmp_m1632 => jump::<4>,
        Jmp_m1664 => jump::<8>,
        Call_ptr1616 | Call_m1616 => call::<2>,
        Call_ptr1632 | Call_m1632 => call::<4>,
        Call_m1664 => call::<8>,
        Retfw | Retfw_imm16 => ret::<2>,
        Retfd | Retfd_imm16 => ret::<4>,
        Retfq | Retfq_imm16 => ret::<8>,
        _ => return None,
    })
}

/// The far pointer operand.
fn target<const SIZE: usize>(cpu: &mut Cpu, i: &Instruction) -> Exec<(Selector, u64)> {
    match i.op_kind(0) {
        OpKind::FarBranch16 => Ok((Selector(i.far_branch_selector()), i.far_branch16().into())),
        OpKind::FarBranch32 => Ok((Selector(i.far_branch_selector()), i.far_branch32().into())),
        _ => {
            let mut bytes = [0; 10];
            cpu.read_mem_bytes(i, &mut bytes[..SIZE + 2])?;
            let mut offset = [0; 8];
            offset[..SIZE].copy_from_slice(&bytes[..SIZE]);
            Ok((Selector(u16::from_le_bytes([bytes[SIZE], bytes[SIZE + 1]])), u64::from_le_bytes(offset)))
        }
    }
}

/// What a selector in a far JMP or CALL leads to.
enum Destination {
    Code(Descriptor),
    CallGate(Gate),
    TaskGate(Selector),
    Tss,
}

/// A call gate.
struct Gate {
    selector: Selector,
    offset: u64,
    /// Bytes of each push.
    size: u64,
    /// Parameters to copy.
    params: u64,
}

fn jump<const SIZE: usize>(cpu: &mut Cpu, i: &Instruction) -> Exec {
    let (selector, offset) = target::<SIZE>(cpu, i)?;
    if !cpu.protected() || cpu.v86() {
        return cpu.enter_paragraph(selector, offset);
    }
    match cpu.far_destination(selector)? {
        Destination::Code(d) => {
            cpu.check_direct(selector, d)?;
            cpu.enter_code(selector, d, offset, cpu.cpl)
        }
        Destination::CallGate(gate) => {
            let d = cpu.gate_target(gate.selector)?;
            if d.is_guarded() && d.dpl() != cpu.cpl {
                return Err(Blame::GP.of(gate.selector));
            }
            cpu.check_present(gate.selector, d)?;
            cpu.enter_code(gate.selector, d, gate.offset, cpu.cpl)
        }
        Destination::TaskGate(tss) => task::switch(cpu, tss, TaskSource::Jump),
        Destination::Tss => task::switch(cpu, selector, TaskSource::Jump),
    }
}

fn call<const SIZE: usize>(cpu: &mut Cpu, i: &Instruction) -> Exec {
    let (selector, offset) = target::<SIZE>(cpu, i)?;
    let size = SIZE as u64;
    if !cpu.protected() || cpu.v86() {
        cpu.check_paragraph(offset)?;
        cpu.push_return(size)?;
        return cpu.enter_paragraph(selector, offset);
    }
    match cpu.far_destination(selector)? {
        Destination::Code(d) => {
            cpu.check_direct(selector, d)?;
            cpu.check_offset(d, offset)?;
            let d = cpu.set_accessed(selector, d)?;
            cpu.push_return(size)?;
            cpu.enter_code(selector, d, offset, cpu.cpl)
        }
        Destination::CallGate(gate) => {
            let d = cpu.gate_target(gate.selector)?;
            cpu.check_present(gate.selector, d)?;
            cpu.check_offset(d, gate.offset)?;
            if d.is_guarded() && d.dpl() < cpu.cpl {
                cpu.call_inner(&gate, d)
            } else {
                let d = cpu.set_accessed(gate.selector, d)?;
                cpu.push_return(gate.size)?;
                cpu.enter_code(gate.selector, d, gate.offset, cpu.cpl)
            }
        }
        Destination::TaskGate(tss) => task::switch(cpu, tss, TaskSource::Call),
        Destination::Tss => task::switch(cpu, selector, TaskSource::Call),
    }
}

fn ret<const SIZE: usize>(cpu: &mut Cpu, i: &Instruction) -> Exec {
    let size = SIZE as u64;
    let drop = if i.op_count() > 0 { u64::from(i.immediate16()) } else { 0 };
    let rip = cpu.peek_sized(SIZE, 0)?;
    let cs = Selector(cpu.peek_sized(SIZE, size)? as u16);
    if !cpu.protected() || cpu.v86() {
        cpu.enter_paragraph(cs, rip)?;
        cpu.drop_stack(2 * size + drop);
        return Ok(());
    }
    let d = cpu.return_target(cs)?;
    if cs.rpl() == cpu.cpl {
        cpu.check_offset(d, rip)?;
        // The pointer moves by the size of the stack that was left.
        let (sp, mask) = (cpu.sp().wrapping_add(2 * size + drop), cpu.sp_mask());
        cpu.enter_code(cs, d, rip, cpu.cpl)?;
        cpu.set_sp_masked(sp, mask);
        return Ok(());
    }
    let sp = cpu.peek_sized(SIZE, 2 * size + drop)?;
    let ss = Selector(cpu.peek_sized(SIZE, 3 * size + drop)? as u16);
    cpu.return_outward(cs, d, rip, ss, sp.wrapping_add(drop))
}

impl Cpu {
    // ---- real and virtual-8086 mode

    fn check_paragraph(&self, offset: u64) -> Exec {
        if offset > u64::from(self.segment(Seg::Cs).limit) { Err(Fault::GP0) } else { Ok(()) }
    }
    /// Loads CS and IP as real and virtual-8086 mode do.
    pub(crate) fn enter_paragraph(&mut self, selector: Selector, offset: u64) -> Exec {
        self.check_paragraph(offset)?;
        let cs = self.flat_paragraph(Seg::Cs, selector);
        self.set_seg(Seg::Cs, cs);
        self.rip = offset;
        Ok(())
    }

    // ---- protected mode

    /// Pushes CS and RIP.
    fn push_return(&mut self, size: u64) -> Exec {
        let frame = [self.segment(Seg::Cs).selector.into(), self.rip];
        let mut stack = InnerStack::current(self, Blame::GP);
        stack.push_all(self, size, &frame)?;
        self.regs[gpr::RSP] = stack.pointer();
        Ok(())
    }

    fn far_destination(&mut self, selector: Selector) -> Exec<Destination> {
        if selector.is_null() {
            return Err(Fault::GP0);
        }
        let d = self.descriptor(selector, Blame::GP)?;
        if d.is_code() {
            return Ok(Destination::Code(d));
        }
        let long = self.long_mode();
        let known = match d.typ() {
            _ if d.is_segment() => false,
            system::CALL32 => true,
            system::CALL16 | system::TASK_GATE | system::TSS16 | system::TSS32 => !long,
            _ => false,
        };
        if !known || d.dpl() < self.cpl || selector.rpl() > d.dpl() {
            return Err(Blame::GP.of(selector));
        }
        let names = Selector((d.0 >> 16) as u16);
        let gate = |size, high| Gate {
            selector: names,
            offset: d.0 & 0xffff | high,
            size,
            params: if long { 0 } else { d.0 >> 32 & 31 },
        };
        let found = match d.typ() {
            system::TSS16 | system::TSS32 => return Ok(Destination::Tss),
            system::TASK_GATE => Destination::TaskGate(names),
            system::CALL16 => Destination::CallGate(gate(2, 0)),
            _ if long => {
                let high = self.descriptor_high(selector, Blame::GP)?;
                Destination::CallGate(gate(8, high << 32 | d.0 >> 32 & 0xffff_0000))
            }
            _ => Destination::CallGate(gate(4, d.0 >> 32 & 0xffff_0000)),
        };
        self.check_present(selector, d)?;
        Ok(found)
    }
    fn check_present(&self, selector: Selector, d: Descriptor) -> Exec {
        if d.present() { Ok(()) } else { Err(Blame::GP.not_present(selector)) }
    }
    /// L and D both set is reserved in IA-32e mode.
    fn check_code_size(&self, selector: Selector, d: Descriptor) -> Exec {
        if self.long_mode() && d.long() && d.big() { Err(Blame::GP.of(selector)) } else { Ok(()) }
    }
    /// The checks of a code segment that a JMP or CALL names itself.
    fn check_direct(&self, selector: Selector, d: Descriptor) -> Exec {
        let allowed =
            if d.is_conforming() { d.dpl() <= self.cpl } else { selector.rpl() <= self.cpl && d.dpl() == self.cpl };
        if !allowed {
            return Err(Blame::GP.of(selector));
        }
        self.check_code_size(selector, d)?;
        self.check_present(selector, d)
    }
    /// The code segment that a call gate names.
    fn gate_target(&mut self, selector: Selector) -> Exec<Descriptor> {
        if selector.is_null() {
            return Err(Fault::GP0);
        }
        let d = self.descriptor(selector, Blame::GP)?;
        let wrong_size = self.long_mode() && (!d.long() || d.big());
        if !d.is_code() || d.dpl() > self.cpl || wrong_size {
            return Err(Blame::GP.of(selector));
        }
        Ok(d)
    }
    fn check_offset(&self, d: Descriptor, offset: u64) -> Exec {
        let fits = if self.long_mode() && d.long() { self.canonical(offset) } else { offset <= d.limit().into() };
        if fits { Ok(()) } else { Err(Fault::GP0) }
    }
    /// Loads CS with privilege level `cpl`, and RIP.
    pub(crate) fn enter_code(&mut self, selector: Selector, d: Descriptor, rip: u64, cpl: u8) -> Exec {
        self.check_offset(d, rip)?;
        let d = self.set_accessed(selector, d)?;
        self.set_seg(Seg::Cs, d.segment(selector.with_rpl(cpl)));
        self.set_cpl(cpl);
        self.rip = rip;
        Ok(())
    }

    /// A call through a gate to a more privileged level: the stack comes from the TSS, parameters are copied.
    fn call_inner(&mut self, gate: &Gate, d: Descriptor) -> Exec {
        let cpl = d.dpl();
        let mut stack = match self.long_mode() {
            true => InnerStack::rsp(self, cpl, Blame::GP)?,
            false => InnerStack::from_tss(self, cpl, Blame::GP)?,
        };
        // SS, SP, up to 31 parameters, CS, IP.
        let mut frame = [0; 35];
        let mut n = 0;
        let mut put = |v| {
            frame[n] = v;
            n += 1;
        };
        put(self.segment(Seg::Ss).selector.into());
        put(self.gpr(gpr::RSP) & if self.code64() { u64::MAX } else { 0xffff_ffff });
        for k in (0..gate.params).rev() {
            put(self.peek_sized(gate.size as usize, k * gate.size)?);
        }
        put(self.segment(Seg::Cs).selector.into());
        put(self.rip);
        let d = self.set_accessed(gate.selector, d)?;
        stack.push_all(self, gate.size, &frame[..n])?;
        self.set_seg(Seg::Cs, d.segment(gate.selector.with_rpl(cpl)));
        stack.enter(self);
        self.rip = gate.offset;
        Ok(())
    }

    /// The code segment that a far RET or IRET returns to, checked but for the offset.
    pub(crate) fn return_target(&mut self, cs: Selector) -> Exec<Descriptor> {
        if cs.is_null() {
            return Err(Fault::GP0);
        }
        let d = self.descriptor(cs, Blame::GP)?;
        let privileged = if d.is_conforming() { d.dpl() > cs.rpl() } else { d.dpl() != cs.rpl() };
        if !d.is_code() || cs.rpl() < self.cpl || privileged {
            return Err(Blame::GP.of(cs));
        }
        self.check_code_size(cs, d)?;
        self.check_present(cs, d)?;
        Ok(d)
    }

    /// Returns to a less privileged level (or, by IRET in 64-bit mode, the same) with a new stack.
    pub(crate) fn return_outward(&mut self, cs: Selector, d: Descriptor, rip: u64, ss: Selector, sp: u64) -> Exec {
        let cpl = cs.rpl();
        let stack = if ss.is_null() {
            // Only 64-bit code below ring 3 can do without a stack segment.
            if !(self.long_mode() && d.long() && cpl != 3 && ss.rpl() == cpl) {
                return Err(Fault::GP0);
            }
            super::descriptor::null_stack(ss)
        } else {
            self.stack_segment_for(ss, cpl, Blame::GP)?
        };
        self.enter_code(cs, d, rip, cpl)?;
        self.set_seg(Seg::Ss, stack);
        let mask = self.sp_mask();
        self.set_sp_masked(sp, mask);
        self.drop_inner_segments();
        Ok(())
    }
}
