//! Delivery of interrupts and exceptions (SDM vol. 2, INT n; vol. 3, chapter 7).

use super::descriptor::{Blame, Descriptor, Selector, null_segment, system};
use super::inner_stack::InnerStack;
use super::task::{self, TaskSource};
use crate::cpu::Cpu;
use crate::fault::{Exception, Exec, Fault, vector};
use gearbox_core::vm::VcpuExit;
use gearbox_core::x86::state::{Activity, Seg, rflags};

/// Where an event comes from. It decides about gate privileges, the EXT bit and the flags that are pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// INTR or NMI.
    External,
    /// An exception that the processor found.
    Exception,
    /// INT n, INT3, INTO.
    Software,
    /// INT1: software, but without the privilege check of the gate.
    Icebp,
}

impl Source {
    fn blame(self) -> Blame {
        Blame { ext: self != Self::Software, ..Blame::GP }
    }
    /// The error code that blames the gate of `vector`.
    fn gate_fault(self, fault: u8, vector: u8) -> Fault {
        Fault::coded(fault, u32::from(vector) << 3 | 2 | u32::from(self.blame().ext))
    }
}

/// An interrupt or trap gate.
struct Gate {
    selector: Selector,
    offset: u64,
    /// Bytes of each push.
    size: u64,
    /// An interrupt gate clears IF.
    masks: bool,
    /// Interrupt stack table index, 0 for none.
    ist: u8,
}

/// What is pushed, in order: at most GS, FS, DS, ES, SS, ESP, EFLAGS, CS, EIP and an error code.
#[derive(Default)]
struct Frame {
    values: [u64; 10],
    len: usize,
}

impl Frame {
    fn extend(&mut self, values: impl IntoIterator<Item = u64>) {
        for v in values {
            self.values[self.len] = v;
            self.len += 1;
        }
    }
    fn values(&self) -> &[u64] {
        &self.values[..self.len]
    }
}

/// How exceptions combine (SDM vol. 3, table 7-5).
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Benign,
    Contributory,
    PageFault,
    DoubleFault,
}

fn class(v: u8) -> Class {
    match v {
        vector::DE | vector::TS | vector::NP | vector::SS | vector::GP => Class::Contributory,
        vector::PF => Class::PageFault,
        vector::DF => Class::DoubleFault,
        _ => Class::Benign,
    }
}

/// More exceptions than this in a row, each while the last was being delivered, cannot be told from a shutdown.
const MAX_NESTING: u32 = 8;

impl Cpu {
    /// Delivers an exception with RIP at the instruction (or, for traps, after it), and whatever exceptions that causes.
    ///
    /// # Errors
    /// A triple fault as [`VcpuExit::TripleFault`], after which the CPU is in shutdown; errors of the engine.
    pub(crate) fn deliver_exception(&mut self, first: Exception) -> Exec {
        let mut e = first;
        for _ in 0..MAX_NESTING {
            let second = match self.deliver(e.vector, Source::Exception, e.error_code) {
                Err(Fault::Exception(second)) => second,
                done => return done,
            };
            e = match (class(e.vector), class(second.vector)) {
                (Class::DoubleFault, Class::Contributory | Class::PageFault) => break,
                (Class::Contributory, Class::Contributory)
                | (Class::PageFault, Class::Contributory | Class::PageFault) => {
                    Exception { vector: vector::DF, error_code: Some(0) }
                }
                _ => second,
            };
        }
        self.activity = Activity::Shutdown;
        Err(Fault::Exit(Box::new(VcpuExit::TripleFault)))
    }

    /// Delivers a maskable interrupt or an NMI (vector 2) between two instructions.
    ///
    /// # Errors
    /// As [`Cpu::deliver_exception`].
    pub(crate) fn deliver_interrupt(&mut self, vector: u8) -> Exec {
        match self.deliver(vector, Source::External, None) {
            Err(Fault::Exception(e)) => self.deliver_exception(e),
            done => done,
        }
    }

    /// Delivers what a saved state, or a task switch that faulted in the new task, left to be delivered.
    ///
    /// # Errors
    /// As [`Cpu::deliver_exception`].
    pub(crate) fn deliver_pending(&mut self) -> Exec {
        if let Some(e) = self.events.exception.take() {
            self.deliver_exception(Exception { vector: e.vector, error_code: e.error_code })?;
        }
        self.events.interrupt.take().map_or(Ok(()), |vector| self.deliver_interrupt(vector))
    }

    /// Delivers one event, or faults and changes nothing.
    pub(crate) fn deliver(&mut self, vector: u8, source: Source, error_code: Option<u32>) -> Exec {
        self.leave_block = true;
        if self.long_mode() {
            self.deliver_long(vector, source, error_code)?;
        } else if self.protected() {
            self.deliver_protected(vector, source, error_code)?;
        } else {
            self.deliver_real(vector, source)?;
        }
        if vector == crate::fault::vector::DB {
            self.dr[super::debug::DR7] &= !super::debug::dr7::GD;
            self.end_branch_steps();
        }
        Ok(())
    }

    /// RFLAGS as they are pushed: RF tells the handler's IRET to let a fault's instruction through an instruction breakpoint. An interrupt that comes
    /// before the instruction which RF covers keeps it (SDM vol. 3, 19.3.1.1).
    fn pushed_flags(&self, source: Source, vector: u8) -> u64 {
        let rf = match source {
            Source::External => self.flags & rflags::RF,
            Source::Exception if !matches!(vector, vector::DB | vector::BP | vector::OF) => rflags::RF,
            _ => 0,
        };
        self.rflags() & !rflags::RF | rf
    }

    fn deliver_real(&mut self, vector: u8, source: Source) -> Exec {
        let at = u64::from(vector) * 4;
        if at + 3 > u64::from(self.idtr.limit) {
            return Err(source.gate_fault(vector::GP, vector));
        }
        let entry: u32 = self.system_read(self.idtr.base.wrapping_add(at))?;
        let flags = self.rflags();
        let mut stack = InnerStack::current(self, source.blame());
        let cs = Selector((entry >> 16) as u16);
        let ip = u64::from(entry & 0xffff);
        if ip > u64::from(self.segment(Seg::Cs).limit) {
            return Err(source.blame().zero());
        }
        let frame = [flags, self.segment(Seg::Cs).selector.into(), self.rip];
        stack.push_all(self, 2, &frame)?;
        let cs = self.flat_paragraph(Seg::Cs, cs);
        self.set_seg(Seg::Cs, cs);
        stack.enter(self);
        self.rip = ip;
        self.set_rflags(flags & !(rflags::IF | rflags::TF | rflags::AC | rflags::RF));
        Ok(())
    }

    /// Checks of the gate that are the same in every protected mode.
    fn check_gate(&self, gate: Descriptor, vector: u8, source: Source) -> Exec {
        if source == Source::Software && gate.dpl() < self.cpl {
            return Err(source.gate_fault(vector::GP, vector));
        }
        if !gate.present() {
            return Err(source.gate_fault(vector::NP, vector));
        }
        Ok(())
    }

    fn deliver_protected(&mut self, vector: u8, source: Source, error_code: Option<u32>) -> Exec {
        let at = u64::from(vector) * 8;
        if at + 7 > u64::from(self.idtr.limit) {
            return Err(source.gate_fault(vector::GP, vector));
        }
        let d = Descriptor(self.system_read(self.idtr.base.wrapping_add(at))?);
        let selector = Selector((d.0 >> 16) as u16);
        let (size, masks) = match (d.is_segment(), d.typ()) {
            (false, system::TASK_GATE) => {
                self.check_gate(d, vector, source)?;
                return task::switch(self, selector, TaskSource::Gate { blame: source.blame(), error_code });
            }
            (false, system::INT16) => (2, true),
            (false, system::TRAP16) => (2, false),
            (false, system::INT32) => (4, true),
            (false, system::TRAP32) => (4, false),
            _ => return Err(source.gate_fault(vector::GP, vector)),
        };
        self.check_gate(d, vector, source)?;
        let high = if size == 4 { d.0 >> 32 & 0xffff_0000 } else { 0 };
        let gate = Gate { selector, offset: d.0 & 0xffff | high, size, masks, ist: 0 };
        self.through_gate(gate, vector, source, error_code)
    }

    fn deliver_long(&mut self, vector: u8, source: Source, error_code: Option<u32>) -> Exec {
        let at = u64::from(vector) * 16;
        if at + 15 > u64::from(self.idtr.limit) {
            return Err(source.gate_fault(vector::GP, vector));
        }
        let at = self.idtr.base.wrapping_add(at);
        let d = Descriptor(self.system_read(at)?);
        let high: u32 = self.system_read(at.wrapping_add(8))?;
        let masks = match (d.is_segment(), d.typ()) {
            (false, system::INT32) => true,
            (false, system::TRAP32) => false,
            _ => return Err(source.gate_fault(vector::GP, vector)),
        };
        self.check_gate(d, vector, source)?;
        let offset = d.0 & 0xffff | d.0 >> 32 & 0xffff_0000 | u64::from(high) << 32;
        let selector = Selector((d.0 >> 16) as u16);
        let gate = Gate { selector, offset, size: 8, masks, ist: (d.0 >> 32 & 7) as u8 };
        self.through_gate(gate, vector, source, error_code)
    }

    /// The code segment of a gate, and the privilege level that the handler will have.
    fn handler_segment(&mut self, gate: &Gate, blame: Blame) -> Exec<(Descriptor, u8)> {
        if gate.selector.is_null() {
            return Err(blame.zero());
        }
        let d = self.descriptor(gate.selector, blame)?;
        let wrong_size = self.long_mode() && (!d.long() || d.big());
        if !d.is_code() || d.dpl() > self.cpl || wrong_size {
            return Err(blame.of(gate.selector));
        }
        if !d.present() {
            return Err(blame.not_present(gate.selector));
        }
        let cpl = if d.is_conforming() { self.cpl } else { d.dpl() };
        if self.v86() && cpl != 0 {
            return Err(blame.of(gate.selector));
        }
        Ok((d, cpl))
    }

    fn through_gate(&mut self, gate: Gate, vector: u8, source: Source, error_code: Option<u32>) -> Exec {
        let blame = source.blame();
        let (code, cpl) = self.handler_segment(&gate, blame)?;
        let inner = cpl < self.cpl;
        let mut stack = match (self.long_mode(), gate.ist, inner) {
            (true, 0, true) => InnerStack::rsp(self, cpl, blame)?,
            (true, 0, false) => InnerStack::current(self, blame).wide(),
            (true, ist, _) => InnerStack::ist(self, ist, cpl, blame)?,
            (false, _, true) => InnerStack::from_tss(self, cpl, blame)?,
            (false, _, false) => InnerStack::current(self, blame),
        };
        let reachable = if self.long_mode() { self.canonical(gate.offset) } else { gate.offset <= code.limit().into() };
        if !reachable {
            return Err(blame.zero());
        }
        let visible = |s: Seg| u64::from(self.segment(s).selector);
        let v86 = self.v86();
        let old_sp = self.sp_to_save();
        let flags = self.pushed_flags(source, vector);
        let mut frame = Frame::default();
        if v86 {
            frame.extend([Seg::Gs, Seg::Fs, Seg::Ds, Seg::Es].map(visible));
        }
        if inner || self.long_mode() {
            frame.extend([visible(Seg::Ss), old_sp]);
        }
        frame.extend([flags, visible(Seg::Cs), self.rip]);
        frame.extend(error_code.map(u64::from));
        if self.long_mode() {
            stack.align();
        }
        let code = self.set_accessed(gate.selector, code)?;
        stack.push_all(self, gate.size, frame.values())?;

        // Nothing can fail from here on.
        let mut clear = rflags::TF | rflags::NT | rflags::RF | rflags::VM;
        if gate.masks {
            clear |= rflags::IF;
        }
        let flags = self.rflags() & !clear;
        self.set_rflags(flags);
        let cs = code.segment(gate.selector.with_rpl(cpl));
        self.set_seg(Seg::Cs, cs);
        stack.enter(self);
        if v86 {
            for s in [Seg::Es, Seg::Ds, Seg::Fs, Seg::Gs] {
                self.set_seg(s, null_segment(Selector(0)));
            }
        }
        self.rip = gate.offset;
        Ok(())
    }

    /// RSP as a frame saves it: without the upper half that only 64-bit code can see.
    fn sp_to_save(&self) -> u64 {
        let sp = self.gpr(gearbox_core::x86::state::gpr::RSP);
        if self.code64() { sp } else { sp & 0xffff_ffff }
    }
}
