//! The vCPUs of a machine, by the index of their CPU.

use super::cpus::Plugged;
use super::threads::{Threads, VcpuThread};
use crate::board::Board;
use crate::machine::{BootError, MachineError};
use crate::vm::{Threading, Vcpu as Executor, VcpuConfig, VcpuHandle, Vm, VmError};
use crate::x86::cpu_model::CpuModel;
use crate::x86::lapic::Lapic;
use crate::x86::state::X86State;
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A vCPU on its thread.
struct Vcpu {
    thread: Box<dyn VcpuThread>,
    apic_id: u32,
    signature: u32,
    bsp: bool,
}

impl Vcpu {
    /// Its state after RESET.
    fn reset_state(&self) -> X86State {
        let mut state = X86State::reset(self.bsp, self.signature);
        state.lapic = Some(Lapic::new(self.apic_id, self.bsp, true).save(0));
        state
    }
    fn load(&self, state: X86State) -> Result<(), VmError> {
        let loaded = self.thread.call(move |vcpu| vcpu.set_state(&state));
        loaded.ok_or_else(|| VmError::Internal("a vCPU thread has died".into()))?
    }
}

type ByIndex = BTreeMap<u32, Arc<Vcpu>>;

/// All vCPUs. Where nothing executes there is none.
pub(super) struct Vcpus {
    live: RwLock<ByIndex>,
    /// Those whose CPU was unplugged. They stay parked, and serve a CPU that comes in its place: accelerators cannot make a vCPU twice.
    idle: RwLock<ByIndex>,
    threads: Threads,
    vm: Arc<dyn Vm>,
    board: Arc<Board>,
    model: CpuModel,
}

impl Vcpus {
    pub(super) fn new(vm: Arc<dyn Vm>, board: &Arc<Board>, model: CpuModel) -> Result<Self, VmError> {
        let threads = Threads::new(&vm, board)?;
        Ok(Self { live: RwLock::default(), idle: RwLock::default(), threads, vm, board: board.clone(), model })
    }
    /// Makes a vCPU, parked. Never with the board locked.
    pub(super) fn add(&self, cpu: &Plugged) -> Result<(), VmError> {
        if self.vm.threading() == Threading::NoCpu {
            return Ok(());
        }
        let vcpu = match self.idle.write().remove(&cpu.index) {
            Some(vcpu) => vcpu,
            None => Arc::new(self.make(cpu)?),
        };
        self.live.write().insert(cpu.index, vcpu);
        Ok(())
    }
    /// Makes one that waits to be started by another one, while the machine is there.
    pub(super) fn add_halted(&self, cpu: &Plugged, running: bool) -> Result<(), VmError> {
        self.add(cpu)?;
        let Some(vcpu) = self.get(cpu.index) else { return Ok(()) };
        vcpu.load(vcpu.reset_state()).inspect_err(|_| self.remove(cpu.index))?;
        if running {
            vcpu.thread.run();
        }
        Ok(())
    }
    fn make(&self, cpu: &Plugged) -> Result<Vcpu, VmError> {
        let bsp = cpu.index == 0;
        let signature = cpu.cpu.cpuid.signature();
        let config = VcpuConfig {
            model: self.model.clone(),
            cpuid: cpu.cpu.cpuid.clone(),
            apic_id: cpu.apic_id,
            bsp,
            memory: self.board.memory().clone(),
        };
        let thread = self.threads.make(cpu.index, &self.vm, config, &self.board)?;
        Ok(Vcpu { thread, apic_id: cpu.apic_id, signature, bsp })
    }
    /// Parks a vCPU whose CPU has gone.
    pub(super) fn remove(&self, index: u32) {
        let gone = self.live.write().remove(&index);
        if let Some(vcpu) = gone {
            vcpu.thread.park();
            vcpu.thread.wait_parked();
            self.idle.write().insert(index, vcpu);
        }
    }

    fn get(&self, index: u32) -> Option<Arc<Vcpu>> {
        self.live.read().get(&index).cloned()
    }
    fn all(&self) -> Vec<Arc<Vcpu>> {
        self.live.read().values().cloned().collect()
    }
    pub(super) fn count(&self) -> usize {
        self.live.read().len()
    }
    /// What other threads may do to the vCPU with this index.
    pub(super) fn handle(&self, index: u32) -> Option<Arc<dyn VcpuHandle>> {
        self.get(index).map(|v| v.thread.handle().clone())
    }
    pub(super) fn thread_id(&self, index: u32) -> Option<i32> {
        self.get(index).map(|v| v.thread.thread_id())
    }
    /// Runs `f` on the thread of a vCPU, between two runs.
    pub(super) fn with<R: Send + 'static>(
        &self,
        index: u32,
        f: impl FnOnce(&mut dyn Executor) -> R + Send + 'static,
    ) -> Option<R> {
        self.get(index)?.thread.call(f)
    }
    /// Stops all of them, without waiting for it.
    pub(super) fn ask_to_park(&self) {
        self.all().iter().for_each(|v| v.thread.park());
    }
    /// Stops all of them.
    pub(super) fn park(&self) {
        let all = self.all();
        all.iter().for_each(|v| v.thread.park());
        all.iter().for_each(|v| v.thread.wait_parked());
        self.board.cpus_have_stopped();
    }
    /// Lets all of them run.
    pub(super) fn run(&self) {
        self.all().iter().for_each(|v| v.thread.run());
    }
    /// Resets all of them, parked as they are; `boot` does with the bootstrap processor's state what firmware would.
    pub(super) fn reset(&self, boot: impl Fn(&mut X86State) -> Result<(), BootError>) -> Result<(), MachineError> {
        for vcpu in self.all() {
            let mut state = vcpu.reset_state();
            if vcpu.bsp {
                boot(&mut state)?;
            }
            vcpu.load(state)?;
        }
        Ok(())
    }
    /// Pulses NMI on all of them.
    pub(super) fn nmi(&self) {
        self.all().iter().for_each(|v| v.thread.handle().nmi());
    }
    /// Pulses INIT on all of them.
    pub(super) fn init(&self) {
        self.all().iter().for_each(|v| v.thread.handle().init());
    }
}
