//! A vCPU: running it, and what its exits ask for.

use super::error::Context;
use super::handle::{self, Handle};
use super::run_page::RunPage;
use super::vm::Shared;
use super::{cpuid, dump, ioctls, msrs};
use gearbox_core::mem::AddressSpace;
use gearbox_core::vm::{CpuBus, Limit, Vcpu, VcpuConfig, VcpuExit, VcpuHandle, VmError};
use gearbox_core::x86::lapic::apic_base;
use gearbox_core::x86::state::{LapicState, Seg, X86State};
use kvm_bindings::*;
use kvm_ioctls::VcpuFd;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A vCPU with its local APIC in the kernel.
pub(super) struct KvmVcpu {
    pub(super) fd: VcpuFd,
    pub(super) bsp: bool,
    pub(super) apic_id: u32,
    /// CPUID.1:EAX.
    pub(super) signature: u32,
    /// The MSRs that this vCPU has, with their values after power-on.
    pub(super) power_on_msrs: BTreeMap<u32, u64>,
    /// A triple fault put it in shutdown state.
    pub(super) shut_down: bool,
    /// The guest could take an external interrupt when it was last left.
    pub(super) ready: bool,
    /// A vector acknowledged at the 8259A pair that the kernel holds and has not delivered yet.
    queued: Option<u8>,
    /// INTR was high and the 8259A pair gave no vector: the guest has to get on before it is asked again.
    withdrawn: bool,
    /// A port or memory access is served; the next KVM_RUN completes its instruction.
    unfinished: bool,
    vm: Arc<Shared>,
    handle: Arc<Handle>,
    memory: Arc<AddressSpace>,
    buffer: Vec<u8>,
}

/// What follows an entry into the guest.
enum Step {
    Again,
    Leave(VcpuExit),
}

impl KvmVcpu {
    /// Makes the vCPU, on the thread that will run it.
    pub(super) fn new(vm: &Arc<Shared>, config: &VcpuConfig) -> Result<Self, VmError> {
        if config.bsp && config.apic_id != 0 {
            return Err(VmError::Unsupported("KVM starts the processor with APIC id 0".into()));
        }
        let thread = "preparing a vCPU thread for signals";
        handle::prepare_thread().map_err(|source| VmError::Host { what: thread.into(), source })?;
        let fd = vm.fd.create_vcpu(u64::from(config.apic_id)).context("KVM_CREATE_VCPU")?;
        let page = RunPage::map(&fd, vm.run_size)
            .map_err(|source| VmError::Host { what: "mapping a vCPU's shared page".into(), source })?;
        cpuid::set(&fd, &config.cpuid)?;
        let handle = Arc::new(Handle::new(page));
        vm.gate.register(Arc::downgrade(&handle));
        Ok(Self {
            power_on_msrs: msrs::read(&fd, &vm.msrs)?,
            fd,
            bsp: config.bsp,
            apic_id: config.apic_id,
            signature: config.cpuid.signature(),
            shut_down: false,
            ready: false,
            queued: None,
            withdrawn: false,
            unfinished: false,
            vm: vm.clone(),
            handle,
            memory: config.memory.clone(),
            buffer: Vec::new(),
        })
    }

    fn run_until_exit(&mut self, bus: &dyn CpuBus) -> Result<VcpuExit, VmError> {
        if self.handle.intr() && !self.ready {
            // Whether the guest can take it is known after an entry only, and a halted CPU does not come back from that by itself.
            self.unfinished = true;
            if let Some(exit) = self.finish_access(bus)? {
                return Ok(exit);
            }
        }
        loop {
            self.inject_interrupt(bus)?;
            self.handle.begin_looking();
            if self.handle.take_init() {
                if let Some(exit) = self.finish_access(bus)? {
                    return Ok(exit);
                }
                self.soft_reset()?;
                continue;
            }
            if self.handle.take_nmi() {
                self.nmi_pin()?;
            }
            if self.handle.take_kick() {
                return Ok(self.finish_access(bus)?.unwrap_or(VcpuExit::Kicked));
            }
            if self.shut_down {
                return Ok(VcpuExit::TripleFault);
            }
            match self.enter(bus)? {
                Step::Again => {}
                Step::Leave(exit) => return Ok(self.finish_access(bus)?.unwrap_or(exit)),
            }
        }
    }

    /// INTR: takes the vector from the 8259A pair when the guest can accept it.
    fn inject_interrupt(&mut self, bus: &dyn CpuBus) -> Result<(), VmError> {
        if !self.ready || self.queued.is_some() || !self.handle.intr() {
            return Ok(());
        }
        self.ready = false;
        let Some(vector) = bus.ack_interrupt() else {
            self.withdrawn = true;
            return Ok(());
        };
        ioctls::interrupt(&self.fd, vector).context("KVM_INTERRUPT")?;
        self.queued = Some(vector);
        Ok(())
    }

    /// One KVM_RUN and what it asks for.
    fn enter(&mut self, bus: &dyn CpuBus) -> Result<Step, VmError> {
        let Some(pass) = self.vm.gate.enter() else {
            std::thread::yield_now();
            return Ok(Step::Again);
        };
        let page = self.handle.page();
        let withdrawn = std::mem::take(&mut self.withdrawn);
        page.request_interrupt_window(self.handle.intr() && self.queued.is_none() && !withdrawn);
        page.clear_exit_reason();
        self.unfinished = false;
        let result = self.fd.run().map(drop);
        drop(pass);
        self.ready = page.ready_for_interrupt();
        // An interrupted run that has not even begun leaves the vector where it is.
        let not_begun = result.is_err() && page.exit_reason() == KVM_EXIT_UNKNOWN;
        if !not_begun {
            self.queued = None;
        }
        match result {
            Ok(()) => Ok(self.serve(bus)),
            // EAGAIN: an application processor got INIT or SIPI and begins anew.
            Err(e) if matches!(e.errno(), libc::EINTR | libc::EAGAIN) => Ok(Step::Again),
            Err(e) => Ok(Step::Leave(self.cannot_continue(&format!("KVM_RUN: {e}"), None))),
        }
    }

    /// Does what an exit asks for.
    fn serve(&mut self, bus: &dyn CpuBus) -> Step {
        let page = self.handle.page();
        let exit = match page.exit_reason() {
            KVM_EXIT_IO => {
                self.port_access(bus);
                return after_access(bus);
            }
            KVM_EXIT_MMIO => {
                self.memory_access(bus);
                return after_access(bus);
            }
            KVM_EXIT_IOAPIC_EOI => {
                bus.eoi(page.eoi_vector());
                return Step::Again;
            }
            KVM_EXIT_IRQ_WINDOW_OPEN | KVM_EXIT_INTR => return Step::Again,
            KVM_EXIT_HLT => VcpuExit::Halted,
            KVM_EXIT_DEBUG => VcpuExit::Debug,
            KVM_EXIT_SHUTDOWN => {
                self.shut_down = true;
                VcpuExit::TripleFault
            }
            KVM_EXIT_SYSTEM_EVENT => match page.system_event() {
                KVM_SYSTEM_EVENT_SHUTDOWN => VcpuExit::Shutdown,
                KVM_SYSTEM_EVENT_RESET => VcpuExit::Reset,
                other => self.cannot_continue(&format!("KVM system event {other}"), None),
            },
            KVM_EXIT_FAIL_ENTRY => {
                let reason = page.entry_failure();
                self.cannot_continue(&format!("the processor refuses to enter the guest, reason {reason:#x}"), None)
            }
            KVM_EXIT_INTERNAL_ERROR => {
                let e = page.internal_error();
                let what = match e.suberror {
                    KVM_INTERNAL_ERROR_EMULATION => "KVM cannot emulate an instruction",
                    KVM_INTERNAL_ERROR_SIMUL_EX => "KVM met two exceptions at once",
                    KVM_INTERNAL_ERROR_DELIVERY_EV => "KVM met an exit while delivering an event",
                    KVM_INTERNAL_ERROR_UNEXPECTED_EXIT_REASON => "KVM met an exit that it does not know",
                    _ => "KVM internal error",
                };
                self.cannot_continue(&format!("{what} (suberror {}, data {:x?})", e.suberror, e.data), e.instruction)
            }
            other => self.cannot_continue(&format!("KVM exit {other} is not known"), None),
        };
        Step::Leave(exit)
    }

    fn port_access(&mut self, bus: &dyn CpuBus) {
        let page = self.handle.page();
        let io = page.io();
        page.read_io(&io, &mut self.buffer);
        let (port, size, data) = (io.port, io.size, &mut self.buffer[..]);
        let single = data.len() == usize::from(size);
        let mut word = [0; 4];
        match (io.input, single) {
            (true, true) => data.copy_from_slice(&bus.pio_in(port, size).to_le_bytes()[..usize::from(size)]),
            (true, false) => bus.pio_in_string(port, size, data),
            (false, true) => {
                word[..data.len()].copy_from_slice(data);
                bus.pio_out(port, size, u32::from_le_bytes(word));
            }
            (false, false) => bus.pio_out_string(port, size, data),
        }
        if io.input {
            page.write_io(&io, &self.buffer);
        }
        self.unfinished = true;
    }

    fn memory_access(&mut self, bus: &dyn CpuBus) {
        let page = self.handle.page();
        let mut access = page.mmio();
        if access.write {
            bus.mmio_write(access.addr, access.bytes());
        } else {
            bus.mmio_read(access.addr, access.bytes());
            page.set_mmio_data(access.data);
        }
        self.unfinished = true;
    }

    /// Completes an instruction whose access has been served, so that registers can be read: KVM does that when it is entered again, and
    /// `immediate_exit` brings it back before the next instruction. An exit that comes of it goes before the one at hand.
    fn finish_access(&mut self, bus: &dyn CpuBus) -> Result<Option<VcpuExit>, VmError> {
        while self.unfinished {
            self.handle.page().set_immediate_exit(true);
            let step = self.enter(bus)?;
            self.handle.begin_looking();
            if let Step::Leave(exit) = step {
                return Ok(Some(exit));
            }
        }
        Ok(None)
    }

    /// Makes the kernel take a vector that it holds but has not begun to deliver into the state that KVM_GET_VCPU_EVENTS shows: KVM_RUN
    /// with a signal pending gets that far and no further.
    pub(super) fn deliver_queued_interrupt(&mut self) -> Result<(), VmError> {
        /// A halted vCPU wakes in the first attempt; others may be spoilt by kicks.
        const ATTEMPTS: usize = 16;
        let Some(vector) = self.queued else { return Ok(()) };
        for _ in 0..ATTEMPTS {
            let Some(_pass) = self.vm.gate.enter() else { continue };
            let _pending = handle::PendingKick::new().context("raising the kick signal")?;
            ioctls::unblock_signals_in_run(&self.fd, true).context("KVM_SET_SIGNAL_MASK")?;
            self.handle.begin_looking();
            let result = self.fd.run().map(drop);
            ioctls::unblock_signals_in_run(&self.fd, false).context("KVM_SET_SIGNAL_MASK")?;
            if let Err(e) = result
                && e.errno() != libc::EINTR
            {
                return Err(e).context("KVM_RUN");
            }
            let events = self.fd.get_vcpu_events().context("KVM_GET_VCPU_EVENTS")?;
            if events.interrupt.injected != 0 && events.interrupt.nr == vector {
                self.queued = None;
                return Ok(());
            }
        }
        Err(VmError::Internal(format!("KVM does not deliver vector {vector:#x}")))
    }

    /// The NMI pin is LINT1 while the local APIC is enabled (SDM vol. 3, 11.5.1).
    fn nmi_pin(&mut self) -> Result<(), VmError> {
        const LVT_LINT1: usize = 0x360 / 16;
        const MASKED: u32 = 1 << 16;
        const MODE: u32 = 7 << 8;
        const NMI: u32 = 4 << 8;
        let base = self.fd.get_sregs().context("KVM_GET_SREGS")?.apic_base;
        if base & apic_base::EN != 0 {
            let LapicState { regs } = super::regs::from_lapic(&self.fd.get_lapic().context("KVM_GET_LAPIC")?);
            let entry = regs.get(LVT_LINT1).copied().unwrap_or(MASKED);
            if entry & MASKED != 0 || entry & MODE != NMI {
                return Ok(());
            }
        }
        self.fd.nmi().context("KVM_NMI")
    }

    /// An internal error, with all that helps to find its cause.
    fn cannot_continue(&mut self, why: &str, instruction: Option<Vec<u8>>) -> VcpuExit {
        let text = match self.read_state() {
            Ok(state) => {
                let code = instruction.unwrap_or_else(|| self.code(&state));
                format!("{why}\n{}\n{state}", dump::instruction(&state, &code))
            }
            Err(e) => format!("{why}\n(no registers: {e})"),
        };
        VcpuExit::InternalError(text)
    }

    /// The bytes at RIP, as far as they can be read.
    fn code(&self, s: &X86State) -> Vec<u8> {
        let start = s.seg(Seg::Cs).base.wrapping_add(s.rip);
        (0..15)
            .map_while(|i| self.physical(start.wrapping_add(i)).and_then(|a| self.memory.read_array::<1>(a)))
            .map(|[b]| b)
            .collect()
    }

    fn physical(&self, linear: u64) -> Option<u64> {
        self.fd.translate_gva(linear).ok().filter(|t| t.valid != 0).map(|t| t.physical_address)
    }
}

/// The instruction goes on, or is the last one for now.
fn after_access(bus: &dyn CpuBus) -> Step {
    if bus.stop_pending() { Step::Leave(VcpuExit::Kicked) } else { Step::Again }
}

impl Vcpu for KvmVcpu {
    fn run(&mut self, bus: &dyn CpuBus, limit: Limit) -> VcpuExit {
        if limit.instructions.is_some() {
            return VcpuExit::InternalError("KVM does not count instructions".into());
        }
        let handle = self.handle.clone();
        handle.running(|| self.run_until_exit(bus)).unwrap_or_else(|e| VcpuExit::InternalError(e.to_string()))
    }
    fn handle(&self) -> Arc<dyn VcpuHandle> {
        self.handle.clone()
    }
    fn get_state(&mut self) -> Result<X86State, VmError> {
        self.read_state()
    }
    fn set_state(&mut self, state: &X86State) -> Result<(), VmError> {
        self.write_state(state)
    }
    fn translate(&mut self, linear: u64) -> Option<u64> {
        self.physical(linear)
    }
}
