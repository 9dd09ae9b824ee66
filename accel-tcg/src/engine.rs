//! The run loop: events, slices, blocks, single steps.

use crate::block::{Block, jump_slot};
use crate::cpu::{Cpu, slot};
use crate::fault::{Exec, Fault};
use crate::handle::event;
use crate::mem::tlb::OFFSET;
use crate::ops;
use gearbox_core::vm::{CpuBus, Limit, VcpuExit};
use gearbox_core::x86::state::{Activity, Seg, rflags};
use iced_x86::{Code, FlowControl, Instruction, Mnemonic};

/// Instructions between two looks at events: about ten microseconds. It also bounds the depth of the host's stack in builds whose
/// handlers call one another instead of jumping (debug builds).
pub(crate) const SLICE: i64 = 4096;

impl Cpu {
    /// Runs until an exit.
    pub(crate) fn run(&mut self, bus: &dyn CpuBus, limit: Limit) -> VcpuExit {
        // SAFETY: only the lifetime is changed; `bus` outlives this call, and the pointer is cleared before it returns.
        self.bus = Some(unsafe { std::mem::transmute::<*const dyn CpuBus, *const (dyn CpuBus + 'static)>(bus) });
        let peers = self.peers.clone();
        let _inside = peers.exclusive.enter();
        let end = limit.instructions.map(|n| self.icount.saturating_add(n));
        self.begin_turn(end.is_some());
        let counted = self.counted.clone();
        let exit = loop {
            if let Some(clock) = &counted {
                self.fire_timers(clock);
            }
            if let Some(exit) = self.between_instructions() {
                break exit;
            }
            let mut left = end.map_or(SLICE, |e| SLICE.min((e - self.icount.min(e)) as i64));
            if let Some(clock) = &counted {
                match self.until_timer(clock) {
                    Some(n) => left = left.min(n),
                    None => left = 0,
                }
            }
            if left == 0 {
                break VcpuExit::Budget;
            }
            let r = self.slice(left, end.is_some() || counted.is_some());
            if let Err(f) = r
                && let Some(exit) = self.take_fault(f)
            {
                break exit;
            }
        };
        self.end_turn();
        self.bus = None;
        exit
    }

    /// What happens at an instruction boundary: messages from other threads, interrupts, a halted CPU.
    fn between_instructions(&mut self) -> Option<VcpuExit> {
        if std::mem::take(&mut self.map_changed) {
            self.spread_map();
        }
        let mut events = self.shared.take();
        while events & event::EXCLUSIVE != 0 {
            self.peers.exclusive.step_aside();
            events = events & !event::EXCLUSIVE | self.shared.take();
        }
        self.refresh_translations(events);
        if events & event::CODE != 0 {
            match self.shared.take_code() {
                Some(ranges) => ranges.into_iter().for_each(|(at, len)| self.cache.written_range(at, len)),
                None => self.cache.clear(),
            }
        }
        self.cache.sweep();
        if self.lapic_touched
            || events & event::APIC != 0
            || self.icount >= self.next_timer_look
            || self.counted.is_some()
            || self.activity != Activity::Active
        {
            self.advance_lapic();
            self.take_apic_events();
        }
        if events & event::INIT != 0 {
            if self.smm.active {
                // Held until RSM.
                self.lapic.lock().events_mut().init = true;
            } else {
                crate::sys::init(self);
            }
        }
        if events & event::KICK != 0 && (!self.finishes_turn() || self.stop_pending()) {
            return Some(VcpuExit::Kicked);
        }
        match self.activity {
            Activity::Shutdown => return Some(VcpuExit::TripleFault),
            Activity::WaitForSipi => return Some(VcpuExit::Halted),
            Activity::Active | Activity::Halted => {}
        }
        if let Err(f) = self.take_smi()
            && let Some(exit) = self.give_up(f)
        {
            return Some(exit);
        }
        if let Err(f) = self.deliver_pending()
            && let Some(exit) = self.give_up(f)
        {
            return Some(exit);
        }
        if let Some(exit) = self.take_interrupt() {
            return Some(exit);
        }
        if self.activity == Activity::Halted { Some(VcpuExit::Halted) } else { None }
    }

    /// May the next instruction be executed in flat segments without a look at [`Cpu::between_instructions`]? Whatever that would find
    /// between two looks at the timer is one of these.
    #[inline(always)]
    pub(crate) fn undisturbed(&self) -> bool {
        let e = &self.events;
        let waits = e.nmi_pending | self.smm.pending | e.exception.is_some() | e.interrupt.is_some();
        let interrupt = self.may_interrupt && self.flags & rflags::IF != 0;
        // Where instructions are counted, the budget may have to be cut short for a new timer.
        let touched = self.lapic_touched | self.map_changed | self.counted.is_some();
        let look = waits | interrupt | touched | e.sti_shadow | e.mov_ss_shadow;
        self.stop.is_none()
            && !look
            && self.activity == Activity::Active
            && !self.debugged()
            && self.mode.flat()
            && !self.shared.attention()
    }

    /// Enters system management mode, if an SMI waits and the CPU is not in it. What is half delivered or in a shadow comes first.
    fn take_smi(&mut self) -> Exec {
        let e = &self.events;
        let busy = e.exception.is_some() || e.interrupt.is_some() || e.sti_shadow || e.mov_ss_shadow;
        if !self.smm.pending || self.smm.active || busy {
            return Ok(());
        }
        self.smm.pending = false;
        self.enter_smm()
    }

    /// Delivers an NMI or an external interrupt, if one waits and nothing holds it off.
    fn take_interrupt(&mut self) -> Option<VcpuExit> {
        if self.events.mov_ss_shadow {
            return None;
        }
        let r = if self.events.nmi_pending && !self.events.nmi_masked {
            self.events.nmi_pending = false;
            self.events.nmi_masked = true;
            self.deliver_interrupt(crate::fault::vector::NMI)
        } else if self.flags & rflags::IF != 0 && !self.events.sti_shadow {
            let Some(vector) = self.next_interrupt() else {
                self.may_interrupt = false;
                return None;
            };
            self.deliver_interrupt(vector)
        } else {
            return None;
        };
        self.activity = Activity::Active;
        self.take_fault(r.err()?)
    }

    /// Handles what stopped an instruction.
    fn take_fault(&mut self, f: Fault) -> Option<VcpuExit> {
        match f {
            Fault::Exception(e) => {
                // The instruction that faulted counts, so that a guest which does nothing but fault meets its limit too.
                self.icount += 1;
                self.deliver_exception(e).err().and_then(|f| self.give_up(f))
            }
            f => self.give_up(f),
        }
    }
    fn give_up(&mut self, f: Fault) -> Option<VcpuExit> {
        match f {
            Fault::Exit(e) => {
                if *e == VcpuExit::Halted {
                    return None;
                }
                Some(*e)
            }
            Fault::Internal(why) => Some(VcpuExit::InternalError(self.describe(why))),
            Fault::Exception(e) => Some(VcpuExit::InternalError(self.describe(&format!("undelivered {e:?}")))),
        }
    }
    /// For an internal error: where, which bytes, which instruction.
    fn describe(&mut self, why: &str) -> String {
        use iced_x86::Formatter;
        let rip = self.rip;
        let (mut bytes, mut text) = (String::from("unreadable"), String::new());
        if let Ok(i) = self.fetch_one(rip) {
            iced_x86::IntelFormatter::new().format(&i, &mut text);
            let mut raw = vec![0; i.len()];
            let lin = if self.code64() { rip } else { self.segment(Seg::Cs).base.wrapping_add(rip) };
            if self.load_bytes(lin, &mut raw, self.privilege()).is_ok() {
                bytes = raw.iter().map(|b| format!("{b:02x}")).collect::<Vec<_>>().join(" ");
            }
        }
        format!("{why} at {:04x}:{rip:x}: {bytes}: {text}", self.segment(Seg::Cs).selector)
    }

    /// Runs up to `n` instructions as [`Cpu::run`] does, but delivers no event: a fault comes back.
    #[cfg(test)]
    pub(crate) fn attempt(&mut self, n: i64) -> Exec {
        self.slice(n, false)
    }
    /// Runs up to `left` instructions, to the last one if `exact`; fewer when something has to be looked at.
    fn slice(&mut self, left: i64, exact: bool) -> Exec {
        (self.slice, self.budget, self.ahead) = (left, left, 0);
        let r = self.blocks(exact);
        self.icount += (left - self.budget) as u64;
        (self.slice, self.budget, self.ahead) = (0, 0, 0);
        r
    }
    fn blocks(&mut self, exact: bool) -> Exec {
        let shadow = self.events.sti_shadow || self.events.mov_ss_shadow;
        if shadow || self.debugged() {
            return self.step_out_of_the_ordinary();
        }
        // Without breakpoints it holds off nothing.
        self.flags &= !rflags::RF;
        while self.budget > 0 {
            let found = self.block_at_rip()?;
            // Code that another vCPU wrote must be seen after an instruction that serialises: it ends its block and comes by here. And while
            // the block was looked for, another one may have been alone.
            if self.shared.attention() {
                return Ok(());
            }
            let Some(b) = found else {
                self.step()?;
                if self.leave_block {
                    return Ok(());
                }
                continue;
            };
            // SAFETY: found just now; blocks die only in stores, and dead ones are freed only between slices.
            unsafe {
                if (*b).count <= self.budget {
                    self.enter(b);
                } else if exact {
                    self.step()?;
                } else {
                    return Ok(());
                }
            }
            if let Some(f) = self.stop.take() {
                return Err(f);
            }
            if self.leave_block {
                return Ok(());
            }
        }
        Ok(())
    }
    /// The block at RIP, which the jump cache knows from now on; `None` where there can be none.
    fn block_at_rip(&mut self) -> Exec<Option<*const Block>> {
        let lin =
            if self.code64() { self.rip } else { self.segment(Seg::Cs).base.wrapping_add(self.rip) & 0xffff_ffff };
        if self.mode.flat() {
            // SAFETY: this is the vCPU thread.
            let b = unsafe { self.jump(lin) };
            if !b.is_null() {
                return Ok(Some(b));
            }
        }
        let found = self.find_block(self.rip)?;
        if let Some(b) = found {
            self.cache.remember(lin, b);
        }
        Ok(found)
    }
    /// Executes blocks from `b` on, until a handler returns.
    ///
    /// # Safety
    /// `b` is a living block for the present mode, and the budget covers it.
    unsafe fn enter(&mut self, b: *const Block) {
        self.regs[slot::RIP] = self.rip;
        self.block = b;
        self.leave_block = false;
        // SAFETY: the caller's; a block has at least one op, and its last one never goes on to a next.
        unsafe {
            self.budget -= (*b).count;
            let op = (*b).start;
            ((*op).run)(self, op);
        }
    }

    /// Executes one instruction without the cache.
    pub(crate) fn step(&mut self) -> Exec {
        let i = self.fetch_one(self.rip)?;
        self.step_as(&i)
    }
    /// Executes the instruction at RIP, which is `i`.
    fn step_as(&mut self, i: &Instruction) -> Exec {
        let start = self.rip;
        self.leave_block = false;
        self.budget -= 1;
        self.ahead = 1;
        let next = start.wrapping_add(i.len() as u64);
        self.rip = if self.code64() { next } else { next & 0xffff_ffff };
        let r = self.execute(i);
        if r.as_ref().is_err_and(|f| !matches!(f, Fault::Exit(_))) {
            self.rip = start;
            self.budget += 1;
        }
        self.ahead = 0;
        r
    }
    /// One instruction with shadows, RF, TF or breakpoints to be looked at.
    fn step_out_of_the_ordinary(&mut self) -> Exec {
        let (sti, mov_ss, tf) = (self.events.sti_shadow, self.events.mov_ss_shadow, self.flags & rflags::TF != 0);
        crate::sys::check_instruction_breakpoints(self)?;
        if !mov_ss {
            // What MOV SS itself has hit is held off until now.
            self.watch_hits.set(0);
        }
        // A shadow alone is frequent (STI), and no reason to decode anew.
        let known = if self.debugged() { None } else { self.block_at_rip()? };
        let i = match known {
            // SAFETY: found just now.
            Some(b) => unsafe { (&(*b).insns)[0] },
            None => self.fetch_one(self.rip)?,
        };
        let next = self.rip.wrapping_add(i.len() as u64);
        let r = self.step_as(&i);
        // The shadow lasts for the one instruction after; a new one set by it stays.
        if sti {
            self.events.sti_shadow = false;
        }
        if mov_ss {
            self.events.mov_ss_shadow = false;
        }
        // RF covers one instruction; IRET loads it for the next.
        if r.is_err() || !matches!(i.mnemonic(), Mnemonic::Iret | Mnemonic::Iretd | Mnemonic::Iretq) {
            self.flags &= !rflags::RF;
        }
        // Elsewhere TF counts as it was before, but a software interrupt clears it before the trap would come, and so does SYSCALL by IA32_FMASK.
        // SYSRET sees to its trap itself.
        let tf = match i.mnemonic() {
            Mnemonic::Int | Mnemonic::Int1 | Mnemonic::Int3 | Mnemonic::Into => false,
            Mnemonic::Sysret | Mnemonic::Sysretq => false,
            Mnemonic::Syscall => self.flags & rflags::TF != 0,
            _ => tf,
        };
        r?;
        // MOV SS holds it off.
        if self.events.mov_ss_shadow {
            return Ok(());
        }
        let branched = i.flow_control() != FlowControl::Next && self.rip != next;
        crate::sys::debug_trap(self, tf, branched)
    }
    /// Executes `i`; RIP is that of the next instruction already.
    pub(crate) fn execute(&mut self, i: &Instruction) -> Exec {
        match ops::executor(i) {
            Some(f) => f(self, i),
            None => Err(self.unknown(i)),
        }
    }
    /// #UD for what is not executed here, said once for each code.
    pub(crate) fn unknown(&mut self, i: &Instruction) -> Fault {
        if i.code() != Code::INVALID && self.reported.insert(i.code()) {
            tracing::info!(target: "guest_error", "no such instruction on this CPU: {:?} at {:#x}; #UD", i.code(), self.rip);
        }
        Fault::UD
    }

    /// The block at the linear address, if the jump cache has it and it may be executed there now.
    ///
    /// # Safety
    /// Called on the vCPU thread by a handler.
    #[inline(always)]
    pub(crate) unsafe fn jump(&self, linear: u64) -> *const Block {
        let e = self.cache.jumps[jump_slot(linear)];
        // SAFETY: jump-cache entries are null or blocks that are freed only after the cache was cleared.
        unsafe {
            let lies = |linear: u64, host: usize| {
                let t = &*self.tlb_exec.add(crate::mem::tlb::index(linear));
                t.tag == linear & !OFFSET && host as u64 == linear.wrapping_add(t.addend)
            };
            let same = e.linear == linear && !e.block.is_null() && lies(linear, (*e.block).host);
            if !same || (*e.block).mode != self.mode {
                return std::ptr::null();
            }
            match (*e.block).second {
                Some((page, _)) if !lies((linear | OFFSET).wrapping_add(1), page) => std::ptr::null(),
                _ => e.block,
            }
        }
    }
}
