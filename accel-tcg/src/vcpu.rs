//! The virtual machine and its vCPU as `gearbox-core` sees them.

use crate::block::Cache;
use crate::cpu::{Cpu, Mode, Msrs, slot};
use crate::flags::LazyFlags;
use crate::fpu::Fpu;
use crate::handle::{Handle, Shared, event};
use crate::icount::CountedClock;
use crate::jit::{HOT, Jit};
use crate::mem::tlb::Tlb;
use crate::peers::Peers;
use gearbox_core::accel::Icount;
use gearbox_core::clock::{ClockSource, HostClock};
use gearbox_core::mem::MemoryListener;
use gearbox_core::vm::{CpuBus, Limit, MsiSink, Threading, Vcpu, VcpuConfig, VcpuExit, VcpuHandle, Vm, VmError};
use gearbox_core::x86::apic_bus::LapicBus;
use gearbox_core::x86::cpuid::CpuidSet;
use gearbox_core::x86::lapic::Lapic;
use gearbox_core::x86::state::{Activity, DescriptorTable, PendingEvents, Segment, SmmState, X86State};
use std::sync::Arc;

/// A virtual machine whose CPUs are software.
pub struct TcgVm {
    threading: Threading,
    /// Entries of a block after which it is translated, where the host allows that; `None` for never.
    pub(crate) hot: Option<u32>,
    clock: Arc<dyn ClockSource>,
    /// The same, where instructions are counted.
    counted: Option<Arc<CountedClock>>,
    cpuid: CpuidSet,
    apics: Arc<LapicBus>,
    peers: Arc<Peers>,
}

impl TcgVm {
    /// A machine that runs by the host's clock, or by a count of its instructions.
    pub fn new(threading: Threading, icount: Option<Icount>, jit: bool) -> Self {
        let counted = icount.map(|config| Arc::new(CountedClock::new(config)));
        let clock: Arc<dyn ClockSource> = match &counted {
            Some(c) => c.clone(),
            None => Arc::new(HostClock::new()),
        };
        Self {
            threading,
            hot: jit.then_some(HOT),
            clock,
            counted,
            cpuid: crate::accel::offered_cpuid(),
            apics: Arc::new(LapicBus::new()),
            peers: Arc::new(Peers::default()),
        }
    }

    /// A translator for one CPU.
    fn translator(&self) -> Option<Jit> {
        Jit::new(self.hot?)
            .inspect_err(|e| tracing::warn!("no code can be translated, so all is interpreted: executable memory: {e}"))
            .ok()
    }
    /// A CPU after RESET.
    pub(crate) fn create_cpu(&self, cfg: &VcpuConfig) -> Result<Box<Cpu>, VmError> {
        let shared = Shared::new(self.clock.clone());
        self.peers.add(&shared);
        let x2apic = cfg.cpuid.get(1, 0).is_some_and(|l| l.ecx & 1 << 21 != 0);
        let waker = shared.clone();
        let lapic = self.apics.attach(Lapic::new(cfg.apic_id, cfg.bsp, x2apic), move || waker.post(event::APIC));
        let tlb = Tlb::new();
        let phys_bits = cfg.cpuid.get(0x8000_0008, 0).map_or(36, |l| l.eax & 0xff).clamp(32, 52);
        let null = std::ptr::null_mut();
        let mut cpu = Box::new(Cpu {
            regs: [0; slot::COUNT],
            lazy: LazyFlags::default(),
            pending: Default::default(),
            budget: 0,
            tlb_read: null,
            tlb_write: null,
            tlb_exec: null,
            addr_mask: 0xffff_ffff,
            block: std::ptr::null(),
            leave_block: false,
            stop: None,
            rip: 0,
            flags: 2,
            seg: [Segment::default(); 8],
            cpl: 0,
            align_check: false,
            mode: Mode::default(),
            gdtr: DescriptorTable::default(),
            idtr: DescriptorTable::default(),
            cr0: 0,
            cr2: 0,
            cr3: 0,
            cr4: 0,
            efer: 0,
            xcr0: 1,
            pdpte: [0; 4],
            pkru: 0,
            pkrs: 0,
            dr: [0; 6],
            watch_hits: Default::default(),
            msr: Msrs::default(),
            fpu: Fpu::from_state(&gearbox_core::x86::state::FpuState::default()),
            events: PendingEvents::default(),
            activity: Activity::default(),
            monitoring: false,
            smm: SmmState::default(),
            lapic,
            lapic_bus: self.apics.clone(),
            apic_page: u64::MAX,
            lapic_touched: true,
            may_interrupt: true,
            next_timer_look: 0,
            cpuid: cfg.cpuid.clone(),
            isa: crate::isa::Isa::new(&cfg.cpuid),
            apic_id: cfg.apic_id,
            bsp: cfg.bsp,
            phys_bits,
            paging: crate::mem::paging::Facts::of(&cfg.cpuid, phys_bits),
            tsc_offset: 0,
            clock: self.clock.clone(),
            counted: self.counted.clone(),
            turns: self.threading == Threading::RoundRobin,
            slice: 0,
            ahead: 0,
            other_counts: 0,
            turn_began: 0,
            turn_from: None,
            memory: cfg.memory.clone(),
            shared,
            peers: self.peers.clone(),
            views_seen: self.peers.views(),
            map_changed: false,
            pauses: 0,
            tlb,
            cache: Cache::new(self.translator()),
            bus: None,
            icount: 0,
            reported: Default::default(),
        });
        cpu.restore(&X86State::reset(cfg.bsp, cfg.cpuid.signature()))?;
        Ok(cpu)
    }
}

impl Default for TcgVm {
    fn default() -> Self {
        Self::new(Threading::PerVcpu, None, true)
    }
}

impl Vm for TcgVm {
    fn threading(&self) -> Threading {
        self.threading
    }
    fn clock(&self) -> Arc<dyn ClockSource> {
        self.clock.clone()
    }
    fn memory_listener(&self) -> Option<Arc<dyn MemoryListener>> {
        Some(self.peers.clone())
    }
    fn cpuid(&self) -> &CpuidSet {
        &self.cpuid
    }
    fn create_vcpu(&self, _id: u32, cfg: &VcpuConfig) -> Result<Box<dyn Vcpu>, VmError> {
        Ok(Box::new(TcgVcpu(self.create_cpu(cfg)?)))
    }
    fn has_smm(&self) -> bool {
        true
    }
    fn msi(&self) -> Arc<dyn MsiSink> {
        self.apics.clone()
    }
}

/// A software CPU on the thread that runs it.
struct TcgVcpu(Box<Cpu>);

impl Drop for TcgVcpu {
    fn drop(&mut self) {
        self.0.lapic_bus.detach(&self.0.lapic);
    }
}

impl Vcpu for TcgVcpu {
    fn run(&mut self, bus: &dyn CpuBus, limit: Limit) -> VcpuExit {
        self.0.run(bus, limit)
    }
    fn handle(&self) -> Arc<dyn VcpuHandle> {
        Arc::new(Handle { shared: self.0.shared.clone(), lapic: self.0.lapic.clone() })
    }
    fn get_state(&mut self) -> Result<X86State, VmError> {
        Ok(self.0.save())
    }
    fn set_state(&mut self, state: &X86State) -> Result<(), VmError> {
        self.0.restore(state)
    }
    fn translate(&mut self, linear: u64) -> Option<u64> {
        self.0.translate_quietly(linear)
    }
}
