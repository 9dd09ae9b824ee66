//! A whole guest in process.

use super::builder::{StartError, VmBuilder};
use super::expect::{ExpectError, Found, Scene};
use super::inbox::Inbox;
use super::qmp::QmpError;
use super::serial::{Silence, Wire};
use crate::args::Config;
use crate::assemble::OpenConsoles;
use crate::board::SystemRequest;
use crate::control::Control;
use crate::machine::{Machine, MachineType, Outcome};
use crate::qmp::events::Listener;
use crate::qmp::{Call, Client, dispatch};
use parking_lot::{Condvar, Mutex};
use regex::bytes::Regex;
use serde_json::{Value, json};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A running machine in the hands of a test. It ends when it is dropped.
///
/// ```no_run
/// use gearbox::testing::{Expect, Vm};
/// use std::time::Duration;
///
/// let mut vm = Vm::pc()
///     .accel("kvm:tcg")
///     .memory(512 << 20)
///     .kernel("/boot/vmlinuz")
///     .append("console=ttyS0 panic=-1")
///     .serial(Expect)
///     .start()?;
/// let version = vm.expect(r"Linux version (\S+)", Duration::from_secs(60))?;
/// println!("{} on {}", &version[1], vm.accel());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Vm {
    machine: Arc<Machine>,
    control: Arc<Control>,
    accel: &'static str,
    wires: Vec<Arc<Wire>>,
    inbox: Arc<Inbox>,
    ended: Arc<Ended>,
    thread: Option<JoinHandle<()>>,
    consoles: OpenConsoles,
}

/// How the machine ended, once it has.
#[derive(Default)]
struct Ended {
    outcome: Mutex<Option<Outcome>>,
    changed: Condvar,
}

impl Vm {
    /// A PC, to be described further.
    pub fn pc() -> VmBuilder {
        let pc = crate::machine_types().iter().find(|m| m.is_default());
        VmBuilder::new(*pc.expect("the pc is built in"))
    }
    /// Any machine, also one of the test's own.
    pub fn of(machine: &'static dyn MachineType) -> VmBuilder {
        VmBuilder::new(machine)
    }

    /// Lets a built machine run.
    pub(super) fn start(
        machine: Arc<Machine>,
        control: Arc<Control>,
        accel: &'static str,
        wires: Vec<Arc<Wire>>,
        consoles: OpenConsoles,
        config: &Config,
    ) -> Result<Self, StartError> {
        let inbox = Arc::new(Inbox::default());
        let listener: Arc<dyn Listener> = inbox.clone();
        control.events().subscribe(Arc::downgrade(&listener));
        control.attach(&machine);
        let ended = Arc::new(Ended::default());
        let (theirs, ending, told, policy) = (machine.clone(), ended.clone(), wires.clone(), config.policy);
        let thread = std::thread::Builder::new().name("control".into()).spawn(move || {
            let outcome = theirs.control(policy);
            *ending.outcome.lock() = Some(outcome);
            ending.changed.notify_all();
            told.iter().for_each(|wire| wire.end());
        });
        let thread = thread.map_err(|source| StartError::Host { what: "starting the control thread", source })?;
        if !config.stopped {
            machine.cont();
        }
        Ok(Self { machine, control, accel, wires, inbox, ended, thread: Some(thread), consoles })
    }

    /// Name of the accelerator that runs it.
    pub fn accel(&self) -> &'static str {
        self.accel
    }
    /// The machine itself.
    pub fn machine(&self) -> &Arc<Machine> {
        &self.machine
    }

    /// What QMP, the monitor and this have in common: to serve a client of QMP in process, for one.
    pub fn control(&self) -> &Arc<Control> {
        &self.control
    }

    /// Waits until the first serial port that the test talks to says something that matches, after all that was found before. `^` and `$` are at lines'
    /// ends after `(?m)`. What is still being written may be found in part: an expression should say where its text ends.
    ///
    /// # Errors
    /// The time is over, or the machine ends first; the error shows the end of what was said, and the registers.
    pub fn expect(&mut self, pattern: &str, timeout: Duration) -> Result<Found, ExpectError> {
        let regex = Regex::new(pattern)?;
        let wire = self.wires.first().ok_or(ExpectError::NoPort)?;
        let found = wire.find(timeout, |output| Found::first(&regex, output));
        found.map_err(|silence| self.failure(format!("/{pattern}/"), timeout, silence))
    }
    pub(super) fn failure(&self, what: String, after: Duration, silence: Silence) -> ExpectError {
        let scene = Box::new(self.scene());
        match (silence, self.outcome()) {
            (Silence::Over, Some(outcome)) => ExpectError::Ended { what, outcome, scene },
            _ => ExpectError::Late { what, after, scene },
        }
    }
    /// The guest at this moment.
    pub fn scene(&self) -> Scene {
        let registers = (0..self.machine.vcpu_count()).map(|n| format!("CPU {n}\n{}", self.machine.dump(n)));
        Scene {
            serial: self.wires.first().map(|w| w.tail()).unwrap_or_default(),
            screen: self.text_screen().map(|s| s.to_string()).unwrap_or_default(),
            registers: registers.collect(),
        }
    }
    /// Types at the first serial port that the test talks to.
    ///
    /// # Errors
    /// There is none.
    pub fn send(&mut self, text: &str) -> Result<(), ExpectError> {
        self.wires.first().ok_or(ExpectError::NoPort)?.type_in(text.as_bytes());
        Ok(())
    }
    /// All that the `n`th serial port that the test talks to has said, from the first byte on.
    pub fn output(&self, n: usize) -> String {
        self.wires.get(n).map(|w| w.text()).unwrap_or_default()
    }

    /// Executes a command of QMP; its result.
    ///
    /// # Errors
    /// [`QmpError::Command`] with the error that a client would be answered.
    pub fn qmp(&mut self, command: &str, arguments: Value) -> Result<Value, QmpError> {
        let call = Call { control: &self.control, client: &Client::internal() };
        let mut request = json!({ "execute": command });
        if arguments.as_object().is_none_or(|a| !a.is_empty()) {
            request["arguments"] = arguments;
        }
        QmpError::result(command, dispatch(&call, request))
    }
    /// Waits for an event of QMP and takes it; others are kept. `None` when it does not come within `timeout`.
    pub fn event(&mut self, name: &str, timeout: Duration) -> Option<Value> {
        self.inbox.wait(name, timeout)
    }
    /// Has a line of the human monitor carried out; what it shows.
    ///
    /// # Errors
    /// As [`Vm::qmp`].
    pub fn monitor(&mut self, line: &str) -> Result<String, QmpError> {
        QmpError::text(self.qmp("human-monitor-command", json!({ "command-line": line }))?)
    }

    /// How it ended, if it has.
    pub fn outcome(&self) -> Option<Outcome> {
        self.ended.outcome.lock().clone()
    }
    /// Waits for its end.
    ///
    /// # Errors
    /// It goes on for longer than `timeout`.
    pub fn wait(&mut self, timeout: Duration) -> Result<Outcome, ExpectError> {
        let end = Instant::now() + timeout;
        let mut outcome = self.ended.outcome.lock();
        loop {
            if let Some(outcome) = &*outcome {
                return Ok(outcome.clone());
            }
            if self.ended.changed.wait_until(&mut outcome, end).timed_out() {
                drop(outcome);
                return Err(self.failure("the machine's end".into(), timeout, Silence::Late));
            }
        }
    }
    /// Presses the power button, upon which an operating system shuts down, and waits for the end.
    ///
    /// # Errors
    /// It goes on for longer than `timeout`.
    pub fn poweroff(&mut self, timeout: Duration) -> Result<Outcome, ExpectError> {
        self.machine.board().request(SystemRequest::Powerdown);
        self.wait(timeout)
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        if self.outcome().is_none() {
            self.machine.board().request(SystemRequest::Quit(crate::event::ShutdownCause::HostQmpQuit));
        }
        if let Some(thread) = self.thread.take() {
            // A panic of that thread has been told where it happened.
            let _ = thread.join();
        }
        self.consoles.close();
    }
}
