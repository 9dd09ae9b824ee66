//! The state of one CPU, and what every part of the engine needs of it.

use crate::block::Cache;
use crate::fault::{Exec, Fault};
use crate::flags::{ARITH, LazyFlags};
use crate::handle::{Shared, event};
use crate::icount::CountedClock;
use crate::int::Int;
use crate::mem::tlb::{Privilege, Tlb, TlbEntry};
use crate::peers::Peers;
use gearbox_core::clock::{ClockSource, ns_to_ticks};
use gearbox_core::mem::{AddressSpace, FlatView};
use gearbox_core::vm::CpuBus;
use gearbox_core::x86::apic_bus::{LapicBus, LapicPort};
use gearbox_core::x86::cpuid::CpuidSet;
use gearbox_core::x86::state::{
    Activity, DescriptorTable, PendingEvents, Seg, Segment, SmmState, cr0, cr4, efer, rflags,
};
use iced_x86::Register;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Slots of the register file: the general registers in encoding order, and what effective addresses are made of besides them.
pub(crate) mod slot {
    /// Always zero: stands for an absent base, index or segment base.
    pub(crate) const ZERO: usize = 16;
    /// RIP of the first instruction of the block that is executing.
    pub(crate) const RIP: usize = 17;
    /// FS base as 64-bit code sees it.
    pub(crate) const FS: usize = 18;
    /// GS base.
    pub(crate) const GS: usize = 19;
    /// How many.
    pub(crate) const COUNT: usize = 20;
}

/// Model-specific registers that have a place of their own; everything else that can be written lies in `other`.
#[derive(Clone, Debug, Default)]
pub(crate) struct Msrs {
    pub star: u64,
    pub lstar: u64,
    pub cstar: u64,
    pub sfmask: u64,
    pub kernel_gs_base: u64,
    pub sysenter_cs: u64,
    pub sysenter_esp: u64,
    pub sysenter_eip: u64,
    pub tsc_aux: u64,
    /// IA32_PAT, MTRRs, machine check banks and so on, by index. Only indices that the engine knows are ever inserted.
    pub other: BTreeMap<u32, u64>,
    /// Indices already reported as unknown, so that the log is not flooded.
    pub unknown: std::collections::BTreeSet<u32>,
}

/// What decoding depends on, besides the bytes. Blocks are keyed by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Mode(pub u8);

impl Mode {
    const CODE32: u8 = 1;
    const CODE64: u8 = 2;
    const STACK32: u8 = 4;
    const FLAT: u8 = 8;

    /// Default code size: 16, 32 or 64.
    pub(crate) fn bits(self) -> u32 {
        match self.0 & 3 {
            Self::CODE64 => 64,
            Self::CODE32 => 32,
            _ => 16,
        }
    }
    /// 64-bit code.
    #[inline(always)]
    pub(crate) fn is_64(self) -> bool {
        self.0 & Self::CODE64 != 0
    }
    /// The stack pointer is ESP (or RSP), not SP.
    pub(crate) fn stack32(self) -> bool {
        self.0 & Self::STACK32 != 0
    }
    /// ES, CS, SS and DS need neither base nor limit: 64-bit mode, or base 0, limit 4 GiB and writable.
    pub(crate) fn flat(self) -> bool {
        self.0 & Self::FLAT != 0
    }
}

/// One CPU.
#[repr(C)]
pub(crate) struct Cpu {
    /// Register file, see [`slot`].
    pub(crate) regs: [u64; slot::COUNT],
    /// CF, PF, AF, ZF, SF and OF.
    pub(crate) lazy: LazyFlags,
    /// Flags of translated code that are not in `lazy` yet. Nothing else need look: it leaves none.
    pub(crate) pending: crate::jit::Pending,
    /// Instructions left of the present slice; negative ends it.
    pub(crate) budget: i64,
    /// Read, write and execute entries for the current privilege.
    pub(crate) tlb_read: *mut TlbEntry,
    pub(crate) tlb_write: *mut TlbEntry,
    pub(crate) tlb_exec: *mut TlbEntry,
    /// All ones in 64-bit code, else the low 32 bits: cuts effective addresses of hot handlers, and RIP.
    pub(crate) addr_mask: u64,
    /// The block being executed.
    pub(crate) block: *const crate::block::Block,
    /// The present block must not go on after this instruction: code, mappings, mode or pending events may have changed.
    pub(crate) leave_block: bool,
    /// What the engine left the handlers for.
    pub(crate) stop: Option<Fault>,

    /// While an executor runs: the next instruction. Between instructions: the one to execute. An offset in CS.
    pub(crate) rip: u64,
    /// RFLAGS without the arithmetic flags. Change it by [`Cpu::set_rflags`] unless the bit changes no mode.
    pub(crate) flags: u64,
    /// ES, CS, SS, DS, FS, GS, LDTR, TR. Change them by [`Cpu::set_seg`].
    pub(crate) seg: [Segment; 8],
    /// Current privilege level. Change it by [`Cpu::set_cpl`].
    pub(crate) cpl: u8,
    /// Misaligned accesses fault: CPL 3, CR0.AM and RFLAGS.AC.
    pub(crate) align_check: bool,
    /// Decoding mode, kept by [`Cpu::update_mode`].
    pub(crate) mode: Mode,
    pub(crate) gdtr: DescriptorTable,
    pub(crate) idtr: DescriptorTable,
    /// Control registers. After a change: [`Cpu::update_mode`], and [`Cpu::flush_tlb`] where the SDM asks for it.
    pub(crate) cr0: u64,
    pub(crate) cr2: u64,
    pub(crate) cr3: u64,
    pub(crate) cr4: u64,
    pub(crate) efer: u64,
    pub(crate) xcr0: u64,
    /// The four page-directory pointers that a CR3 load in PAE paging reads (SDM vol. 3, 4.4.1).
    pub(crate) pdpte: [u64; 4],
    /// Protection keys of user pages. Change it by [`Cpu::set_pkru`].
    pub(crate) pkru: u32,
    /// IA32_PKRS: those of supervisor pages. Change it by [`Cpu::set_pkrs`].
    pub(crate) pkrs: u32,
    /// DR0..DR3, DR6, DR7.
    pub(crate) dr: [u64; 6],
    /// Data breakpoints that the present instruction has hit, as bits of DR6.
    pub(crate) watch_hits: std::cell::Cell<u64>,
    pub(crate) msr: Msrs,
    /// x87, MMX, SSE.
    pub(crate) fpu: crate::fpu::Fpu,
    /// NMI, shadows and what else waits between two instructions.
    pub(crate) events: PendingEvents,
    /// Executing, halted, waiting for SIPI, shut down.
    pub(crate) activity: Activity,
    /// MONITOR has armed the monitor for the next MWAIT.
    pub(crate) monitoring: bool,
    /// System management mode; see [`crate::sys`].
    pub(crate) smm: SmmState,
    /// Local APIC; see [`crate::apic`].
    pub(crate) lapic: Arc<LapicPort>,
    /// The APICs of this VM.
    pub(crate) lapic_bus: Arc<LapicBus>,
    /// The page that [`Cpu::is_lapic`] compares with.
    pub(crate) apic_page: u64,
    /// The APIC was accessed: the run loop has to look at timer and interrupts.
    pub(crate) lapic_touched: bool,
    /// An interrupt may wait in the APIC for RFLAGS.IF.
    pub(crate) may_interrupt: bool,
    /// Instruction count at which the timer is looked at again.
    pub(crate) next_timer_look: u64,
    /// Leaves as the guest sees them.
    pub(crate) cpuid: CpuidSet,
    /// The instructions that go with them.
    pub(crate) isa: crate::isa::Isa,
    /// Local APIC id.
    pub(crate) apic_id: u32,
    /// Bootstrap processor.
    pub(crate) bsp: bool,
    /// Physical address bits (CPUID 80000008h).
    pub(crate) phys_bits: u32,
    /// What CPUID says about paging.
    pub(crate) paging: crate::mem::paging::Facts,

    /// Added to the scaled machine clock to give IA32_TIME_STAMP_COUNTER.
    pub(crate) tsc_offset: u64,
    /// The machine's clock.
    pub(crate) clock: Arc<dyn ClockSource>,
    /// The same, where instructions are counted.
    pub(crate) counted: Option<Arc<CountedClock>>,
    /// It shares its thread with others: PAUSE ends its turn.
    pub(crate) turns: bool,
    /// Guest-physical memory.
    pub(crate) memory: Arc<AddressSpace>,
    /// What other threads may reach.
    pub(crate) shared: Arc<Shared>,
    /// The vCPUs of this VM.
    pub(crate) peers: Arc<Peers>,
    /// Which flat view the translations are of, as [`Peers::views`] counts them.
    pub(crate) views_seen: u64,
    /// The board changed the memory map in a callback of this vCPU: see [`Cpu::spread_map`].
    pub(crate) map_changed: bool,
    /// PAUSEs executed since this thread gave way.
    pub(crate) pauses: u32,
    /// Translations.
    pub(crate) tlb: Box<Tlb>,
    /// Decoded code.
    pub(crate) cache: Cache,
    /// Valid only inside `run`.
    pub(crate) bus: Option<*const dyn CpuBus>,
    /// Instructions executed up to the start of the present slice.
    pub(crate) icount: u64,
    /// Budget with which the present slice began.
    pub(crate) slice: i64,
    /// Instructions that the budget has been charged for ahead: the present one and the rest of its block.
    pub(crate) ahead: i64,
    /// What all other vCPUs have executed, where instructions are counted.
    pub(crate) other_counts: u64,
    /// Machine time when the present turn began.
    pub(crate) turn_began: u64,
    /// Instruction count then, of a turn with an end among counted instructions.
    pub(crate) turn_from: Option<u64>,
    /// Codes already reported as unknown, so that the log is not flooded.
    pub(crate) reported: std::collections::HashSet<iced_x86::Code>,
}

// SAFETY: the raw pointers go to memory that the `Cpu` owns itself (TLB, blocks) or are set only inside `run`.
unsafe impl Send for Cpu {}

/// The time-stamp counter's constant rate.
pub(crate) const TSC_HZ: u64 = 1_000_000_000;

impl Cpu {
    // ---- registers

    /// General register `n` (0..16).
    #[inline(always)]
    pub(crate) fn gpr(&self, n: usize) -> u64 {
        self.regs[n & 15]
    }
    /// Sets all 64 bits of general register `n` (0..16).
    #[inline(always)]
    pub(crate) fn set_gpr(&mut self, n: usize, v: u64) {
        self.regs[n & 15] = v;
    }
    /// Sets the low 8, 16, 32 or 64 bits of general register `n`; 32 bits clear the upper half (SDM vol. 1, 3.4.1.1).
    #[inline(always)]
    pub(crate) fn set_gpr_low<T: Int>(&mut self, n: usize, v: T) {
        let r = &mut self.regs[n & 15];
        *r = if T::BITS >= 32 { v.zx() } else { *r & !((1 << T::BITS) - 1) | v.zx() };
    }
    /// Reads a general register by its iced name, zero-extended. Zero for anything else.
    pub(crate) fn reg(&self, r: Register) -> u64 {
        let n = self.regs[r.full_register().number() & 15];
        match r {
            Register::AH | Register::CH | Register::DH | Register::BH => self.regs[r.number() & 3] >> 8 & 0xff,
            r if !r.is_gpr() => 0,
            r => match r.size() {
                1 => n & 0xff,
                2 => n & 0xffff,
                4 => n & 0xffff_ffff,
                _ => n,
            },
        }
    }
    /// Writes a general register by its iced name.
    pub(crate) fn set_reg(&mut self, r: Register, v: u64) {
        let n = r.full_register().number() & 15;
        match r {
            Register::AH | Register::CH | Register::DH | Register::BH => {
                let n = r.number() & 3;
                self.regs[n] = self.regs[n] & !0xff00 | (v & 0xff) << 8;
            }
            r => match r.size() {
                1 => self.set_gpr_low(n, v as u8),
                2 => self.set_gpr_low(n, v as u16),
                4 => self.set_gpr_low(n, v as u32),
                _ => self.set_gpr(n, v),
            },
        }
    }

    // ---- flags

    /// RFLAGS in full.
    pub(crate) fn rflags(&self) -> u64 {
        self.flags | self.lazy.bits()
    }
    /// Sets RFLAGS in full (no privilege checks here) and what depends on it. Reserved bits stay as they are fixed.
    pub(crate) fn set_rflags(&mut self, v: u64) {
        let v = v & rflags::DEFINED;
        self.lazy = LazyFlags::from_bits(v);
        let changed = (self.flags ^ v) & !ARITH;
        self.flags = v & !ARITH | rflags::FIXED1;
        if changed & (rflags::VM | rflags::AC) != 0 {
            self.update_mode();
        }
        if changed & (rflags::TF | rflags::IF | rflags::VM | rflags::AC) != 0 {
            self.leave_block = true;
        }
    }

    // ---- segments, privilege, mode

    /// The cached descriptor of `s`.
    #[inline(always)]
    pub(crate) fn segment(&self, s: Seg) -> &Segment {
        &self.seg[s as usize]
    }
    /// Loads a segment register with its hidden part and updates what is derived from it.
    pub(crate) fn set_seg(&mut self, s: Seg, v: Segment) {
        self.seg[s as usize] = v;
        match s {
            Seg::Fs => self.regs[slot::FS] = v.base,
            Seg::Gs => self.regs[slot::GS] = v.base,
            Seg::Ldtr | Seg::Tr => {}
            _ => self.update_mode(),
        }
    }
    /// Sets a segment base alone (MSRs, SWAPGS, WRFSBASE).
    pub(crate) fn set_seg_base(&mut self, s: Seg, base: u64) {
        let v = Segment { base, ..*self.segment(s) };
        self.set_seg(s, v);
    }
    /// Changes the privilege level.
    pub(crate) fn set_cpl(&mut self, cpl: u8) {
        self.cpl = cpl & 3;
        self.update_mode();
    }
    /// CR0.PE.
    pub(crate) fn protected(&self) -> bool {
        self.cr0 & cr0::PE != 0
    }
    /// Virtual-8086 mode.
    pub(crate) fn v86(&self) -> bool {
        self.flags & rflags::VM != 0
    }
    /// IA-32e mode is active.
    pub(crate) fn long_mode(&self) -> bool {
        self.efer & efer::LMA != 0
    }
    /// 64-bit code (not compatibility mode).
    #[inline(always)]
    pub(crate) fn code64(&self) -> bool {
        self.mode.is_64()
    }
    /// Recomputes everything that is derived from CS, SS, DS, ES, CPL, CR0, CR4, EFER and RFLAGS.AC/VM. Ends the present block.
    pub(crate) fn update_mode(&mut self) {
        let (cs, ss) = (self.segment(Seg::Cs), self.segment(Seg::Ss));
        let mut m = 0;
        if self.long_mode() && cs.l() {
            m |= Mode::CODE64 | Mode::STACK32 | Mode::FLAT;
        } else {
            if cs.db() {
                m |= Mode::CODE32;
            }
            if ss.db() {
                m |= Mode::STACK32;
            }
            // Writable, expand-up data (or, for CS, any code), usable, base 0, 4 GiB.
            let flat = |s: &Segment| !s.unusable() && s.base == 0 && s.limit == u32::MAX;
            let data = |s: &Segment| flat(s) && s.attr & 0x1e == 0x12;
            if cs.db()
                && ss.db()
                && self.protected()
                && flat(cs)
                && cs.typ() & 2 != 0
                && [Seg::Ss, Seg::Ds, Seg::Es].iter().all(|&s| data(self.segment(s)))
            {
                m |= Mode::FLAT;
            }
        }
        self.mode = Mode(m);
        self.addr_mask = if self.mode.is_64() { u64::MAX } else { 0xffff_ffff };
        self.leave_block = true;
        let p = self.privilege();
        self.align_check = p == Privilege::User && self.cr0 & cr0::AM != 0 && self.flags & rflags::AC != 0;
        self.select_tlb(p);
    }
    /// With which rights explicit data accesses are made now.
    pub(crate) fn privilege(&self) -> Privilege {
        if self.cpl == 3 {
            Privilege::User
        } else if self.cr4 & cr4::SMAP != 0 && self.flags & rflags::AC == 0 {
            Privilege::SupervisorNoUser
        } else {
            Privilege::Supervisor
        }
    }
    fn select_tlb(&mut self, p: Privilege) {
        let t = self.tlb.set_mut(p);
        self.tlb_read = t.read.as_mut_ptr();
        self.tlb_write = t.write.as_mut_ptr();
        self.tlb_exec = t.exec.as_mut_ptr();
        if self.align_check {
            // Every data access of a hot handler misses then, and goes the checked way.
            self.tlb_read = self.tlb.nothing();
            self.tlb_write = self.tlb.nothing();
        }
    }
    /// Is `addr` canonical (SDM vol. 1, 3.3.7.1)? Only to be asked in 64-bit mode.
    #[inline(always)]
    pub(crate) fn canonical(&self, addr: u64) -> bool {
        let unused = if self.cr4 & cr4::LA57 != 0 { 7 } else { 16 };
        ((addr << unused) as i64 >> unused) as u64 == addr
    }

    // ---- translations

    /// Forgets translations: all, or all but the global ones (a MOV to CR3). Ends the present block.
    pub(crate) fn flush_tlb(&mut self, global_too: bool) {
        self.tlb.flush(global_too);
        self.leave_block = true;
    }
    /// Forgets the translation of one linear address (INVLPG). Ends the present block.
    pub(crate) fn flush_page(&mut self, linear: u64) {
        self.tlb.flush_page(linear);
        self.leave_block = true;
    }

    // ---- the world outside

    /// Guest-physical memory as it is seen now.
    pub(crate) fn view(&self) -> arc_swap::Guard<Arc<FlatView>> {
        if self.smm.active { self.memory.smm_view() } else { self.memory.view() }
    }
    /// The board.
    pub(crate) fn bus<'a>(&self) -> Exec<&'a dyn CpuBus> {
        self.tell_time();
        match self.bus {
            // SAFETY: set from a reference by `run` and cleared before it returns; executors keep it no longer than their instruction.
            Some(b) => Ok(unsafe { &*b }),
            None => Err(Fault::Internal("the board was reached for while the CPU was stopped")),
        }
    }
    /// To be called after the board was reached: what it did (a new memory map, an interrupt) must be in force for the next instruction.
    pub(crate) fn board_touched(&mut self) {
        if self.stop_pending() {
            self.shared.post(event::KICK);
        }
        // Where instructions are counted, a timer may have been set or taken away, which the budget depends on.
        if self.shared.attention() || self.counted.is_some() {
            self.leave_block = true;
        }
        self.map_changed |= self.peers.views() != self.views_seen;
    }
    /// The board wants no further instruction.
    pub(crate) fn stop_pending(&self) -> bool {
        self.bus().is_ok_and(CpuBus::stop_pending)
    }
    /// Machine time, as of the present instruction.
    pub(crate) fn now(&self) -> u64 {
        self.tell_time();
        self.clock.now()
    }
    /// Where instructions are counted, tells the clock how many there were before the present one.
    #[inline(always)]
    pub(crate) fn tell_time(&self) {
        if let (Some(clock), Some(_)) = (&self.counted, self.bus) {
            clock.set_count(self.other_counts.wrapping_add(self.retired()));
        }
    }
    /// Instructions executed before the present one.
    pub(crate) fn retired(&self) -> u64 {
        (self.icount as i64 + self.slice - self.budget - self.ahead) as u64
    }
    /// IA32_TIME_STAMP_COUNTER.
    pub(crate) fn tsc(&self) -> u64 {
        ns_to_ticks(self.now(), TSC_HZ).wrapping_add(self.tsc_offset)
    }
}
