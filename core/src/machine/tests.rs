//! Run control, with a processor that does what a script says.

use super::*;
use crate::board::{Board, ResetKind, SystemRequest};
use crate::clock::{ClockSource, HostClock};
use crate::testing::NullMsi;
use crate::vm::{CpuBus, Limit, MsiSink, Threading, Vcpu, VcpuConfig, VcpuExit, VcpuHandle, Vm, VmError};
use crate::x86::cpuid::CpuidSet;
use crate::x86::state::X86State;
use crate::x86::topology::Topology;
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::time::Duration;

/// Exits that a vCPU makes, one at each run after a reset; then it halts.
type Script = Arc<Mutex<Vec<VcpuExit>>>;

struct ScriptVm {
    clock: Arc<HostClock>,
    cpuid: CpuidSet,
    script: Script,
}

struct ScriptCpu {
    script: Script,
    handle: Arc<Bell>,
    state: X86State,
}

/// Rings until it is heard.
#[derive(Default)]
struct Bell(Mutex<bool>, Condvar);

impl VcpuHandle for Bell {
    fn kick(&self) {
        *self.0.lock() = true;
        self.1.notify_all();
    }
    fn set_intr(&self, _: bool) {}
    fn nmi(&self) {}
    fn init(&self) {}
    fn wait(&self, timeout: Option<Duration>) {
        let mut rung = self.0.lock();
        if !*rung {
            self.1.wait_for(&mut rung, timeout.unwrap_or(Duration::from_secs(10)));
        }
        *rung = false;
    }
}

impl Vcpu for ScriptCpu {
    fn run(&mut self, _: &dyn CpuBus, _: Limit) -> VcpuExit {
        if std::mem::take(&mut *self.handle.0.lock()) {
            return VcpuExit::Kicked;
        }
        self.state.rip += 1;
        let exit = self.script.lock().pop().unwrap_or(VcpuExit::Halted);
        assert_ne!(exit, VcpuExit::Debug, "a mistake");
        exit
    }
    fn handle(&self) -> Arc<dyn VcpuHandle> {
        self.handle.clone()
    }
    fn get_state(&mut self) -> Result<X86State, VmError> {
        Ok(self.state.clone())
    }
    fn set_state(&mut self, state: &X86State) -> Result<(), VmError> {
        self.state = state.clone();
        Ok(())
    }
    fn translate(&mut self, linear: u64) -> Option<u64> {
        Some(linear)
    }
}

impl Vm for ScriptVm {
    fn threading(&self) -> Threading {
        Threading::PerVcpu
    }
    fn clock(&self) -> Arc<dyn ClockSource> {
        self.clock.clone()
    }
    fn cpuid(&self) -> &CpuidSet {
        &self.cpuid
    }
    fn create_vcpu(&self, id: u32, _: &VcpuConfig) -> Result<Box<dyn Vcpu>, VmError> {
        if id == 3 {
            return Err(VmError::Unsupported("three is too many".into()));
        }
        let state = X86State::reset(false, 0);
        Ok(Box::new(ScriptCpu { script: self.script.clone(), handle: Arc::default(), state }))
    }
    fn msi(&self) -> Arc<dyn MsiSink> {
        Arc::new(NullMsi)
    }
}

/// No devices.
struct Bare;

impl MachineType for Bare {
    fn name(&self) -> &'static str {
        "bare"
    }
    fn description(&self) -> &'static str {
        "for tests"
    }
    fn max_cpus(&self) -> u32 {
        8
    }
    fn build(&self, _: &MachineConfig, _: &Arc<Board>) -> Result<Wiring, BuildError> {
        Ok(Wiring::default())
    }
}

fn machine(cpus: u32, script: &[VcpuExit]) -> Result<Arc<Machine>, MachineError> {
    let script = Arc::new(Mutex::new(script.iter().rev().cloned().collect()));
    let vm = ScriptVm { clock: Arc::new(HostClock::new()), cpuid: CpuidSet::new(), script };
    let topology = Topology { sockets: cpus, ..Topology::default() };
    Machine::new(Box::new(vm), &Bare, &MachineConfig { topology, ..MachineConfig::default() })
}

fn rip(m: &Machine) -> u64 {
    m.with_vcpu(0, |v| v.get_state().unwrap().rip).unwrap()
}

#[test]
fn nothing_runs_before_cont_nor_after_stop() {
    let m = machine(2, &[]).unwrap();
    assert_eq!((m.state(), rip(&m), m.vcpu_count()), (RunState::Prelaunch, 0xfff0, 2));
    assert_eq!(m.board().clock().now(), 0);
    m.cont();
    assert_eq!(m.state(), RunState::Running);
    while rip(&m) == 0xfff0 {
        std::thread::yield_now();
    }
    m.stop();
    let (stopped, time) = (rip(&m), m.board().clock().now());
    assert_eq!(m.state(), RunState::Paused);
    std::thread::sleep(Duration::from_millis(2));
    assert_eq!((rip(&m), m.board().clock().now()), (stopped, time));
    m.reset(ResetKind::System).unwrap();
    assert_eq!((rip(&m), m.state()), (0xfff0, RunState::Paused));
}

#[test]
fn a_triple_fault_resets_and_a_shutdown_ends() {
    let m = machine(1, &[VcpuExit::TripleFault, VcpuExit::Shutdown]).unwrap();
    m.cont();
    let end = Outcome { status: 0, cause: ShutdownCause::GuestShutdown, detail: None };
    assert_eq!(m.control(Policy::default()), end);
}

#[test]
fn no_reboot_turns_resets_into_the_end() {
    for exit in [VcpuExit::TripleFault, VcpuExit::Reset] {
        let m = machine(1, &[exit]).unwrap();
        m.cont();
        let end = Outcome { status: 0, cause: ShutdownCause::GuestReset, detail: None };
        assert_eq!(m.control(Policy { reboot: RebootAction::Shutdown, ..Policy::default() }), end);
    }
}

#[test]
fn no_shutdown_stays_until_quit() {
    let m = machine(1, &[VcpuExit::Shutdown]).unwrap();
    m.cont();
    let control = {
        let m = m.clone();
        std::thread::spawn(move || m.control(Policy { shutdown: ShutdownAction::Pause, ..Policy::default() }))
    };
    while m.state() != RunState::Shutdown {
        std::thread::yield_now();
    }
    m.cont();
    assert_eq!(m.state(), RunState::Shutdown);
    m.board().request(SystemRequest::Quit(ShutdownCause::HostQmpQuit));
    assert_eq!(control.join().unwrap().cause, ShutdownCause::HostQmpQuit);
}

#[test]
fn an_internal_error_ends_with_a_dump() {
    let m = machine(1, &[VcpuExit::InternalError("what is this".into())]).unwrap();
    m.cont();
    let end = m.control(Policy::default());
    assert_eq!((end.status, end.cause), (1, ShutdownCause::HostError));
    let detail = end.detail.unwrap();
    assert!(detail.starts_with("CPU 0: what is this\nRAX="), "{detail}");
    assert!(detail.contains("RIP=000000000000fff1"), "{detail}");
}

#[test]
fn a_processor_that_cannot_be_made_is_an_error() {
    let e = machine(4, &[]).err().unwrap();
    assert_eq!(e.to_string(), "three is too many");
}

#[test]
fn a_panic_of_a_vcpu_ends_the_machine() {
    let m = machine(2, &[VcpuExit::Debug]).unwrap();
    m.cont();
    let outcome = m.control(Policy::default());
    assert_eq!((outcome.status, outcome.cause), (1, ShutdownCause::HostError));
    assert!(outcome.detail.unwrap().contains("panic: assertion"));
}

/// One of four CPUs is there; the fourth is one too many for the accelerator.
fn sparse() -> Arc<Machine> {
    let vm = ScriptVm { clock: Arc::new(HostClock::new()), cpuid: CpuidSet::new(), script: Arc::default() };
    let topology = Topology { sockets: 4, ..Topology::default() };
    let config = MachineConfig { topology, cpus: Some(1), ..MachineConfig::default() };
    Machine::new(Box::new(vm), &Bare, &config).unwrap()
}

fn plug(m: &Machine, socket: u32) -> Result<(), String> {
    let part = |name: &str, value: u32| (name.to_owned(), value.into());
    let id = ("id".to_owned(), format!("cpu{socket}").into());
    let properties = [part("socket-id", socket), part("core-id", 0), part("thread-id", 0), id];
    m.device_add("qemu64-x86_64-cpu", &properties).map(|_| ()).map_err(|e| e.to_string())
}

#[test]
fn a_cpu_that_is_plugged_in_executes_until_it_is_gone() {
    let m = sparse();
    assert_eq!((m.vcpu_count(), m.possible_cpus().len()), (1, 4));
    m.cont();
    let control = {
        let m = m.clone();
        std::thread::spawn(move || m.control(Policy::default()))
    };
    for _ in 0..2 {
        plug(&m, 1).unwrap();
        assert_eq!(m.vcpu_count(), 2);
        assert!(m.vcpu_thread_id(1).is_some_and(|id| Some(id) != m.vcpu_thread_id(0)));
        while m.with_vcpu(1, |v| v.get_state().unwrap().rip).unwrap() == 0xfff0 {
            std::thread::yield_now();
        }
        assert_eq!(plug(&m, 1).unwrap_err(), "CPU[1] with APIC ID 1 exists");
        m.device_del("cpu1").unwrap();
        while m.vcpu_count() > 1 {
            std::thread::yield_now();
        }
        assert!(m.possible_cpus()[1].path.is_none() && m.vcpu_thread_id(1).is_none());
    }
    m.board().request(SystemRequest::Quit(ShutdownCause::HostQmpQuit));
    control.join().unwrap();
}

#[test]
fn a_cpu_that_the_accelerator_cannot_make_is_not_there() {
    let m = sparse();
    assert_eq!(plug(&m, 3).unwrap_err(), "three is too many");
    assert_eq!((m.vcpu_count(), m.possible_cpus()[3].path.clone()), (1, None));
    plug(&m, 2).unwrap();
    m.reset(ResetKind::System).unwrap();
    assert_eq!(m.vcpu_count(), 2);
}
