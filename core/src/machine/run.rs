//! A machine that exists: its vCPU threads, its timer thread, and the control loop over both.

use super::config::{BootError, BuildError, MachineConfig, MachineType, Wiring};
use super::threads::VcpuThread;
use crate::board::{Board, DeviceId, PlugError, ResetKind, SystemRequest, UnplugError};
use crate::event::{Event, GuestPanicAction, PanicAction, RebootAction, ShutdownAction, ShutdownCause, WatchdogAction};
use crate::object::Value;
use crate::vm::{VcpuConfig, Vm, VmError};
use crate::x86::cpu_model::CpuModelError;
use crate::x86::lapic::Lapic;
use crate::x86::state::X86State;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// What the machine is doing (QMP `RunState`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunState {
    /// Built and not yet started (`-S`).
    Prelaunch,
    /// Running.
    Running,
    /// Stopped by the user.
    Paused,
    /// The guest has shut down, and the process was asked to stay (`-no-shutdown`).
    Shutdown,
    /// A vCPU cannot continue.
    InternalError,
    /// The guest said that it has panicked.
    GuestPanicked,
    /// A watchdog has expired.
    Watchdog,
}

impl RunState {
    /// QMP's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Prelaunch => "prelaunch",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Shutdown => "shutdown",
            Self::InternalError => "internal-error",
            Self::GuestPanicked => "guest-panicked",
            Self::Watchdog => "watchdog",
        }
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
    vcpus: Vec<Vcpu>,
    timers: TimerThread,
    state: Mutex<RunState>,
    policy: Mutex<Policy>,
    wiring: Wiring,
    board: Arc<Board>,
    /// Features that the CPU model asked for and the accelerator lacks.
    missing: Vec<String>,
    vm: Arc<dyn Vm>,
}

struct Vcpu {
    thread: VcpuThread,
    bsp: bool,
    apic_id: u32,
    signature: u32,
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
        board.with(|s| s.fabric.hold_input());
        let wiring = super::build(machine, config, &board)?;
        let mut vcpus = Vec::new();
        let mut missing = Vec::new();
        if machine.has_cpus() && vm.threading() != crate::vm::Threading::NoCpu {
            for id in 0..config.topology.total() {
                let apic_id = config.topology.apic_id(id);
                let cpu = config.cpu.realize(vm.cpuid(), &config.topology, apic_id)?;
                if id == 0 && config.cpu.check() {
                    missing = cpu.missing.iter().map(|m| m.feature.to_string()).collect();
                }
                let signature = cpu.cpuid.signature();
                let config = VcpuConfig {
                    model: config.cpu.clone(),
                    cpuid: cpu.cpuid,
                    apic_id,
                    bsp: id == 0,
                    memory: board.memory().clone(),
                };
                let thread = VcpuThread::spawn(id, &vm, config, &board)?;
                vcpus.push(Vcpu { thread, bsp: id == 0, apic_id, signature });
            }
        }
        if let (Some(line), Some(bsp)) = (wiring.intr, vcpus.first()) {
            let handle = bsp.thread.handle().clone();
            board.with(|s| s.connect_fn(line, move |level| handle.set_intr(level)));
        }
        let timers = TimerThread::spawn(&board)?;
        let this = Self {
            vcpus,
            timers,
            state: Mutex::new(RunState::Prelaunch),
            policy: Mutex::default(),
            wiring,
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
    /// Number of vCPUs.
    pub fn vcpu_count(&self) -> usize {
        self.vcpus.len()
    }

    /// Runs `f` on the thread of a vCPU between two of its instructions.
    pub fn with_vcpu<R: Send + 'static>(
        &self,
        id: usize,
        f: impl FnOnce(&mut dyn crate::vm::Vcpu) -> R + Send + 'static,
    ) -> Option<R> {
        self.vcpus.get(id)?.thread.call(f)
    }

    fn park_all(&self) {
        self.vcpus.iter().for_each(|v| v.thread.park());
        self.vcpus.iter().for_each(|v| v.thread.wait_parked());
    }

    fn set_running(&self, running: bool) {
        self.board.clock().set_running(running);
        self.board.wake_timer_waiter();
        if running {
            self.vcpus.iter().for_each(|v| v.thread.run());
        }
    }

    /// Stops the vCPUs and the clock.
    pub fn stop(&self) {
        self.halt(RunState::Paused);
    }

    fn halt(&self, into: RunState) {
        let mut state = self.state.lock();
        self.park_all();
        self.set_running(false);
        if std::mem::replace(&mut *state, into) == RunState::Running {
            self.board.emit(&Event::Stop);
        }
    }

    /// Starts, or continues after [`Machine::stop`]. A machine that has shut down or met an internal error stays as it is until it is reset.
    pub fn cont(&self) {
        let mut state = self.state.lock();
        if matches!(*state, RunState::Prelaunch | RunState::Paused | RunState::Watchdog) {
            *state = RunState::Running;
            self.board.emit(&Event::Resume);
            self.set_running(true);
        }
    }

    /// Resets the devices and the CPUs, and loads what is to be booted; a running machine continues.
    ///
    /// # Errors
    /// An accelerator refused the state, or the boot image does not fit.
    pub fn reset(&self, kind: ResetKind) -> Result<(), MachineError> {
        let mut state = self.state.lock();
        self.park_all();
        self.board.with(|s| s.reset(kind));
        for v in &self.vcpus {
            let mut reset = X86State::reset(v.bsp, v.signature);
            reset.lapic = Some(Lapic::new(v.apic_id, v.bsp, true).save(0));
            if v.bsp
                && let Some(boot) = &self.wiring.boot
            {
                boot.enter(&self.board, &mut reset)?;
            }
            v.thread
                .call(move |vcpu| vcpu.set_state(&reset))
                .ok_or_else(|| VmError::Internal("a vCPU thread has died".into()))??;
        }
        match *state {
            RunState::Running => self.set_running(true),
            RunState::Shutdown | RunState::InternalError | RunState::GuestPanicked => *state = RunState::Paused,
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

    /// Adds a device (`device_add`); see [`BoardState::add_device`](crate::board::BoardState::add_device).
    ///
    /// # Errors
    /// As there.
    pub fn device_add(&self, type_name: &str, properties: &[(String, Value)]) -> Result<DeviceId, PlugError> {
        self.board.with(|s| s.add_device(type_name, properties, true))
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
                self.park_all();
                self.board.clock().set_running(false);
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
                self.vcpus.iter().for_each(|v| v.thread.handle().init());
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
        self.vcpus.iter().for_each(|v| v.thread.handle().nmi());
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

fn ended(status: u8, cause: ShutdownCause) -> Option<Outcome> {
    Some(Outcome { status, cause, detail: None })
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Wake everybody first, so that the joins of the fields do not wait one after the other.
        self.vcpus.iter().for_each(|v| v.thread.park());
        self.timers.board.wake_timer_waiter();
    }
}
