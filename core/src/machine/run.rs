//! A machine that exists: its vCPU threads, its timer thread, and the control loop over both.

use super::config::{BootError, BuildError, DeviceArg, MachineConfig, MachineType, Wiring, build_with};
use super::cpus::{Cpus, PossibleCpu, is_cpu};
use super::numa::{NumaNode, NumaNodes};
use super::vcpus::Vcpus;
use crate::backend::block::Blocks;
use crate::board::{Board, CpuPlugError, DeviceId, PlugError, ResetKind, SystemRequest, UnplugError};
use crate::event::{Event, GuestPanicAction, PanicAction, RebootAction, ShutdownAction, ShutdownCause, WatchdogAction};
use crate::named::named;
use crate::object::Value;
use crate::vm::{Threading, Vm, VmError};
use crate::x86::RealizedCpu;
use crate::x86::cpu_model::{CpuModel, CpuModelError, everything};
use crate::x86::cpuid::CpuidSet;
use crate::x86::topology::Topology;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

named! {
    /// What the machine is doing (QMP `RunState`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum RunState {
        /// Built and not yet started (`-S`).
        Prelaunch = "prelaunch",
        /// Running.
        Running = "running",
        /// Stopped by the user.
        Paused = "paused",
        /// The guest has shut down, and the process was asked to stay (`-no-shutdown`).
        Shutdown = "shutdown",
        /// A vCPU cannot continue.
        InternalError = "internal-error",
        /// The guest said that it has panicked.
        GuestPanicked = "guest-panicked",
        /// A watchdog has expired.
        Watchdog = "watchdog",
        /// A request to a block back end failed.
        IoError = "io-error",
    }
}

/// How a machine ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Exit status of the process.
    pub status: u8,
    /// Why.
    pub cause: ShutdownCause,
    /// A dump, for an internal error.
    pub detail: Option<String>,
}

/// What to do when something happens to the machine (`-action`, QMP `set-action`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// On a reset.
    pub reboot: RebootAction,
    /// On a shutdown.
    pub shutdown: ShutdownAction,
    /// On a panic of the guest.
    pub panic: PanicAction,
    /// When a watchdog expires.
    pub watchdog: WatchdogAction,
}

/// Why a machine could not be started.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// The board.
    #[error(transparent)]
    Build(#[from] BuildError),
    /// The image to boot.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// The accelerator.
    #[error(transparent)]
    Vm(#[from] VmError),
    /// The CPU model on this accelerator.
    #[error(transparent)]
    Cpu(#[from] CpuModelError),
}

/// A built machine.
pub struct Machine {
    // Fields drop in order: threads end before the VM and the board go.
    vcpus: Vcpus,
    cpus: Cpus,
    numa: NumaNodes,
    _timers: Option<TimerThread>,
    state: Mutex<RunState>,
    policy: Mutex<Policy>,
    wiring: Wiring,
    blocks: Arc<Blocks>,
    board: Arc<Board>,
    /// Features that the CPU model asked for and the accelerator lacks.
    missing: Vec<String>,
    vm: Arc<dyn Vm>,
}

struct TimerThread {
    board: Arc<Board>,
    quit: Arc<AtomicBool>,
    join: Option<JoinHandle<()>>,
}

impl TimerThread {
    fn spawn(board: &Arc<Board>) -> Result<Self, VmError> {
        let quit = Arc::new(AtomicBool::new(false));
        let (theirs, flag) = (board.clone(), quit.clone());
        let join = std::thread::Builder::new()
            .name("timers".into())
            .spawn(move || {
                while !flag.load(Ordering::Acquire) {
                    theirs.wait_timers(|| flag.load(Ordering::Acquire));
                }
            })
            .map_err(|source| VmError::Host { what: "starting the timer thread".into(), source })?;
        Ok(Self { board: board.clone(), quit, join: Some(join) })
    }
}

impl Drop for TimerThread {
    fn drop(&mut self) {
        self.quit.store(true, Ordering::Release);
        self.board.wake_timer_waiter();
        if let Some(join) = self.join.take() {
            let _ = join.join();
        }
    }
}

impl Machine {
    /// Builds the board of `machine` on `vm`, realizes the CPUs (parked on their threads) and resets everything. The machine does not run yet.
    ///
    /// # Errors
    /// The configuration, the host, or the image to boot.
    pub fn new(vm: Box<dyn Vm>, machine: &dyn MachineType, config: &MachineConfig) -> Result<Arc<Self>, MachineError> {
        let vm: Arc<dyn Vm> = Arc::from(vm);
        let board = Board::new(vm.clock(), vm.msi());
        if let Some(listener) = vm.memory_listener() {
            board.memory().listen(listener);
        }
        board.with(|s| {
            s.has_smm = vm.has_smm();
            s.fabric.hold_input();
        });
        let cpus = Cpus::new(machine, config)?;
        let offered = offered(&*vm);
        let built = build_with(machine, config, &board, &cpus, &offered);
        let (wiring, plugged) = built.map_err(|e| match e {
            BuildError::Cpu(e) => MachineError::Cpu(e),
            e => e.into(),
        })?;
        let mut missing = Vec::new();
        if let Some(bsp) = plugged.first().filter(|_| cpus.model().check()) {
            missing = bsp.cpu.missing.iter().map(|m| m.feature.to_string()).collect();
        }
        let vcpus = Vcpus::new(vm.clone(), &board, cpus.model().clone())?;
        plugged.iter().try_for_each(|cpu| vcpus.add(cpu))?;
        if let (Some(line), Some(bsp)) = (wiring.intr, vcpus.handle(0)) {
            board.with(|s| s.connect_fn(line, move |level| bsp.set_intr(level)));
        }
        if let (Some(line), Some(bsp)) = (wiring.smi, vcpus.handle(0)) {
            let pulse = move |level: bool| {
                if level {
                    bsp.smi();
                }
            };
            board.with(|s| s.connect_fn(line, pulse));
        }
        // The board has refused what is not complete.
        let numa = config.numa.complete(&config.topology, config.ram_size, &config.objects).unwrap_or_default();
        // Where instructions are counted, those who execute them fire the timers.
        let timers = board.clock().instructions().is_none().then(|| TimerThread::spawn(&board)).transpose()?;
        let this = Self {
            vcpus,
            cpus,
            numa,
            _timers: timers,
            state: Mutex::new(RunState::Prelaunch),
            policy: Mutex::default(),
            wiring,
            blocks: config.blocks.clone(),
            board,
            missing,
            vm,
        };
        this.reset(ResetKind::Power)?;
        this.board.with(|s| s.fabric.release_input());
        Ok(Arc::new(this))
    }

    /// The board.
    pub fn board(&self) -> &Arc<Board> {
        &self.board
    }
    /// Its images and drives.
    pub fn blocks(&self) -> &Arc<Blocks> {
        &self.blocks
    }
    /// The accelerator's virtual machine.
    pub fn vm(&self) -> &Arc<dyn Vm> {
        &self.vm
    }
    /// Features that the CPU model asked for and this accelerator lacks, in the form of QEMU's warnings.
    pub fn missing_features(&self) -> &[String] {
        &self.missing
    }
    /// What the machine is doing.
    pub fn state(&self) -> RunState {
        *self.state.lock()
    }
    /// Number of vCPUs, which is 0 where nothing executes.
    pub fn vcpu_count(&self) -> usize {
        self.vcpus.count()
    }
    /// The NUMA nodes.
    pub fn numa_nodes(&self) -> &[NumaNode] {
        &self.numa.nodes
    }
    /// A CPU model as this machine's accelerator can be it.
    ///
    /// # Errors
    /// It cannot.
    pub fn realize_model(&self, model: &CpuModel) -> Result<RealizedCpu, CpuModelError> {
        model.realize(&offered(&*self.vm), &Topology::default(), 0)
    }
    /// The CPUs that the machine can have, by index, with the paths of those that it has (`query-hotpluggable-cpus`).
    pub fn possible_cpus(&self) -> Vec<PossibleCpu> {
        self.board.with(|s| self.cpus.possible(s))
    }
    /// The host's id of the thread that executes the CPU with that index.
    pub fn vcpu_thread_id(&self, index: u32) -> Option<i32> {
        self.vcpus.thread_id(index)
    }

    /// Runs `f` on the thread of the vCPU with that index between two of its instructions.
    pub fn with_vcpu<R: Send + 'static>(
        &self,
        id: usize,
        f: impl FnOnce(&mut dyn crate::vm::Vcpu) -> R + Send + 'static,
    ) -> Option<R> {
        self.vcpus.with(u32::try_from(id).ok()?, f)
    }

    fn set_running(&self, running: bool) {
        self.board.clock().set_running(running);
        self.board.wake_timer_waiter();
        if running {
            self.vcpus.run();
        }
    }

    /// Stops the vCPUs and the clock.
    pub fn stop(&self) {
        self.halt(RunState::Paused);
    }

    fn halt(&self, into: RunState) {
        let mut state = self.state.lock();
        self.vcpus.park();
        self.set_running(false);
        self.blocks.settle();
        if std::mem::replace(&mut *state, into) == RunState::Running {
            self.board.emit(&Event::Stop);
        }
    }

    /// Starts, or continues after [`Machine::stop`]. A machine that has shut down or met an internal error stays as it is until it is reset.
    pub fn cont(&self) {
        let mut state = self.state.lock();
        if matches!(*state, RunState::Prelaunch | RunState::Paused | RunState::Watchdog | RunState::IoError) {
            *state = RunState::Running;
            self.board.emit(&Event::Resume);
            self.blocks.resume();
            self.set_running(true);
        }
    }

    /// Resets the devices and the CPUs, and loads what is to be booted; a running machine continues.
    ///
    /// # Errors
    /// An accelerator refused the state, or the boot image does not fit.
    pub fn reset(&self, kind: ResetKind) -> Result<(), MachineError> {
        let mut state = self.state.lock();
        self.vcpus.park();
        // What devices have begun reaches guest memory before the reset, or not at all.
        self.blocks.drain();
        self.board.with(|s| s.reset(kind));
        self.vcpus.reset(|bsp| self.wiring.boot.as_ref().map_or(Ok(()), |boot| boot.enter(&self.board, bsp)))?;
        match *state {
            RunState::Running => self.set_running(true),
            RunState::Shutdown | RunState::InternalError | RunState::GuestPanicked | RunState::IoError => {
                *state = RunState::Paused
            }
            RunState::Prelaunch | RunState::Paused | RunState::Watchdog => {}
        }
        Ok(())
    }

    /// Presses the power button.
    pub fn power_button(&self) {
        if let Some(pin) = self.wiring.power_button {
            self.board.with(|s| {
                s.drive(pin, true);
                s.drive(pin, false);
            });
        }
        self.board.emit(&Event::Powerdown);
    }

    /// What happens on resets, shutdowns, panics and expired watchdogs.
    pub fn policy(&self) -> Policy {
        *self.policy.lock()
    }
    /// Changes that.
    pub fn set_policy(&self, policy: Policy) {
        *self.policy.lock() = policy;
    }

    /// Adds a device (`device_add`); see [`BoardState::add_device`](crate::board::BoardState::add_device). A CPU is there as if INIT had just been
    /// sent to it.
    ///
    /// # Errors
    /// As there.
    pub fn device_add(&self, type_name: &str, properties: &[(String, Value)]) -> Result<DeviceId, PlugError> {
        if !is_cpu(type_name) {
            return self.board.with(|s| s.add_device(type_name, properties, true));
        }
        let device = DeviceArg { type_name: type_name.to_owned(), properties: properties.to_vec() };
        let state = self.state.lock();
        let offered = offered(&*self.vm);
        let ready = self.board.with(|s| self.cpus.prepare(s, &device, &offered))?;
        // The board must not be locked while a vCPU is made.
        self.vcpus.add_halted(ready.plugged(), *state == RunState::Running).map_err(CpuPlugError::from)?;
        let index = ready.index();
        let added = self.board.with(|s| ready.finish(s, true));
        if added.is_err() {
            self.vcpus.remove(index);
        }
        added
    }
    /// Asks for a device to go (`device_del`); see [`BoardState::request_unplug`](crate::board::BoardState::request_unplug).
    ///
    /// # Errors
    /// As there.
    pub fn device_del(&self, id_or_path: &str) -> Result<(), UnplugError> {
        self.board.with(|s| s.request_unplug(id_or_path))
    }

    /// Serves requests until the machine ends. The calling thread becomes the control thread.
    pub fn control(&self, policy: Policy) -> Outcome {
        self.set_policy(policy);
        loop {
            let Some(request) = self.board.wait_request(None) else { continue };
            if let Some(outcome) = self.serve(request) {
                self.vcpus.park();
                self.board.clock().set_running(false);
                self.blocks.settle();
                return outcome;
            }
        }
    }

    fn serve(&self, request: SystemRequest) -> Option<Outcome> {
        let policy = self.policy();
        match request {
            SystemRequest::Reset(cause) if policy.reboot == RebootAction::Shutdown => self.shut_down(cause, policy),
            SystemRequest::TripleFault if policy.reboot == RebootAction::Shutdown => {
                self.shut_down(ShutdownCause::GuestReset, policy)
            }
            SystemRequest::Reset(cause) => self.reset_for(cause),
            SystemRequest::TripleFault => self.reset_for(ShutdownCause::GuestReset),
            SystemRequest::Shutdown(cause) => self.shut_down(cause, policy),
            SystemRequest::Quit(cause) => {
                self.board.emit(&Event::Shutdown(cause));
                ended(0, cause)
            }
            SystemRequest::Exit(status) => ended(status, ShutdownCause::GuestExit),
            SystemRequest::Stop => {
                self.stop();
                None
            }
            SystemRequest::IoError => {
                self.halt(RunState::IoError);
                None
            }
            SystemRequest::Cont => {
                self.cont();
                None
            }
            SystemRequest::Powerdown => {
                self.power_button();
                None
            }
            SystemRequest::Nmi => {
                self.nmi();
                None
            }
            SystemRequest::CpuReset => {
                self.vcpus.init();
                None
            }
            SystemRequest::CpuGone(index) => {
                // Another one may have come in its place.
                let _state = self.state.lock();
                if self.board.with(|s| s.cpu(index).is_none()) {
                    self.vcpus.remove(index);
                }
                None
            }
            SystemRequest::WatchdogExpired => self.watchdog_expired(policy),
            SystemRequest::GuestPanicked => self.guest_panicked(policy),
            SystemRequest::InternalError { vcpu, reason } => {
                let dump = self.dump(vcpu as usize);
                self.halt(RunState::InternalError);
                Some(Outcome {
                    status: 1,
                    cause: ShutdownCause::HostError,
                    detail: Some(format!("CPU {vcpu}: {reason}\n{dump}")),
                })
            }
        }
    }
    /// A non-maskable interrupt for every CPU.
    pub fn nmi(&self) {
        self.vcpus.nmi();
    }
    fn reset_for(&self, cause: ShutdownCause) -> Option<Outcome> {
        match self.reset(ResetKind::System) {
            Ok(()) => {
                self.board.emit(&Event::Reset(cause));
                None
            }
            Err(e) => {
                let detail = Some(format!("reset: {e}"));
                Some(Outcome { status: 1, cause: ShutdownCause::HostError, detail })
            }
        }
    }
    fn shut_down(&self, cause: ShutdownCause, policy: Policy) -> Option<Outcome> {
        self.board.emit(&Event::Shutdown(cause));
        match policy.shutdown {
            ShutdownAction::Pause => {
                self.halt(RunState::Shutdown);
                None
            }
            ShutdownAction::Poweroff => {
                ended(u8::from(cause == ShutdownCause::GuestPanic && policy.panic == PanicAction::ExitFailure), cause)
            }
        }
    }
    fn watchdog_expired(&self, policy: Policy) -> Option<Outcome> {
        self.board.emit(&Event::Watchdog { action: policy.watchdog });
        match policy.watchdog {
            WatchdogAction::Reset => return self.serve(SystemRequest::Reset(ShutdownCause::GuestReset)),
            WatchdogAction::Poweroff => return ended(0, ShutdownCause::GuestReset),
            WatchdogAction::Shutdown => self.power_button(),
            WatchdogAction::Pause => self.halt(RunState::Watchdog),
            WatchdogAction::Debug => tracing::warn!("watchdog: timer fired"),
            WatchdogAction::None => {}
            WatchdogAction::InjectNmi => self.nmi(),
        }
        None
    }
    fn guest_panicked(&self, policy: Policy) -> Option<Outcome> {
        let tell = |action| self.board.emit(&Event::GuestPanicked { action });
        match (policy.panic, policy.shutdown) {
            (PanicAction::None, _) => tell(GuestPanicAction::Run),
            (PanicAction::Pause, _) | (PanicAction::Shutdown, ShutdownAction::Pause) => {
                tell(GuestPanicAction::Pause);
                self.halt(RunState::GuestPanicked);
            }
            (PanicAction::Shutdown | PanicAction::ExitFailure, _) => {
                tell(GuestPanicAction::Poweroff);
                self.halt(RunState::GuestPanicked);
                return self.shut_down(ShutdownCause::GuestPanic, policy);
            }
        }
        None
    }

    /// Registers of a vCPU, as `info registers` shows them.
    pub fn dump(&self, vcpu: usize) -> String {
        match self.with_vcpu(vcpu, |v| v.get_state()) {
            Some(Ok(state)) => state.to_string(),
            Some(Err(e)) => format!("registers: {e}"),
            None => String::new(),
        }
    }
}

/// What CPU models are cut down to.
fn offered(vm: &dyn Vm) -> CpuidSet {
    if vm.threading() == Threading::NoCpu { everything() } else { vm.cpuid().clone() }
}

fn ended(status: u8, cause: ShutdownCause) -> Option<Outcome> {
    Some(Outcome { status, cause, detail: None })
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Wake everybody first, so that the joins of the fields do not wait one after the other.
        self.vcpus.ask_to_park();
        self.board.wake_timer_waiter();
    }
}
