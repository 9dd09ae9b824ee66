//! A whole guest in process.

use super::builder::{StartError, VmBuilder};
use super::serial::{Silence, Wire};
use crate::args::Config;
use crate::assemble::OpenConsoles;
use crate::board::SystemRequest;
use crate::machine::{Machine, MachineType, Outcome};
use parking_lot::{Condvar, Mutex};
use regex::bytes::Regex;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A running machine in the hands of a test. It ends when it is dropped.
///
/// There is no display yet, and so no picture of one to look at.
pub struct Vm {
    machine: Arc<Machine>,
    accel: &'static str,
    wires: Vec<Arc<Wire>>,
    ended: Arc<Ended>,
    control: Option<JoinHandle<()>>,
    consoles: OpenConsoles,
}

/// How the machine ended, once it has.
#[derive(Default)]
struct Ended {
    outcome: Mutex<Option<Outcome>>,
    changed: Condvar,
}

/// What [`Vm::expect`] found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What came before it and had not been heard.
    pub before: String,
    groups: Vec<Option<String>>,
    names: BTreeMap<String, usize>,
}

impl Found {
    /// Group `n` of the expression, the whole match being 0; `None` if there is none or it took no part.
    pub fn get(&self, n: usize) -> Option<&str> {
        self.groups.get(n)?.as_deref()
    }
    /// The group of that name, likewise.
    pub fn name(&self, name: &str) -> Option<&str> {
        self.get(*self.names.get(name)?)
    }
}

impl std::ops::Index<usize> for Found {
    type Output = str;
    /// Group `n`.
    ///
    /// # Panics
    /// There is none, or it took no part in the match.
    fn index(&self, n: usize) -> &str {
        self.get(n).unwrap_or_else(|| panic!("group {n} took part in the match"))
    }
}

/// Why the guest did not do what was expected, with what is known of it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ExpectError {
    /// The expression is wrong.
    #[error("{0}")]
    Pattern(#[from] regex::Error),
    /// The machine has no serial port that the test talks to.
    #[error("no serial port of this machine was given as Expect")]
    NoPort,
    /// The time is over.
    #[error("{what} did not come within {after:?}\n{scene}")]
    Late {
        /// What was expected.
        what: String,
        /// The time that it had.
        after: Duration,
        /// The guest at that moment.
        scene: Scene,
    },
    /// The machine ended first.
    #[error("the machine ended ({outcome:?}) before {what} came\n{scene}")]
    Ended {
        /// What was expected.
        what: String,
        /// How it ended.
        outcome: Outcome,
        /// The guest at its end.
        scene: Scene,
    },
}

/// The guest at the moment of a failure.
#[derive(Clone, Debug, Default)]
pub struct Scene {
    /// The last that its serial port said.
    pub serial: String,
    /// Registers of its CPUs.
    pub registers: String,
}

impl fmt::Display for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--- serial port, its end:\n{}\n--- registers:\n{}", self.serial, self.registers)
    }
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
        accel: &'static str,
        wires: Vec<Arc<Wire>>,
        consoles: OpenConsoles,
        config: &Config,
    ) -> Result<Self, StartError> {
        let ended = Arc::new(Ended::default());
        let (theirs, ending, told, policy) = (machine.clone(), ended.clone(), wires.clone(), config.policy);
        let control = std::thread::Builder::new().name("control".into()).spawn(move || {
            let outcome = theirs.control(policy);
            *ending.outcome.lock() = Some(outcome);
            ending.changed.notify_all();
            told.iter().for_each(|wire| wire.end());
        });
        let control = control.map_err(|source| StartError::Host { what: "starting the control thread", source })?;
        if !config.stopped {
            machine.cont();
        }
        Ok(Self { machine, accel, wires, ended, control: Some(control), consoles })
    }

    /// Name of the accelerator that runs it.
    pub fn accel(&self) -> &'static str {
        self.accel
    }
    /// The machine itself.
    pub fn machine(&self) -> &Arc<Machine> {
        &self.machine
    }

    /// Waits until the first serial port that the test talks to says something that matches, after all that was found before. `^` and `$` are at lines'
    /// ends after `(?m)`. What is still being written may be found in part: an expression should say where its text ends.
    ///
    /// # Errors
    /// The time is over, or the machine ends first; the error shows the end of what was said, and the registers.
    pub fn expect(&mut self, pattern: &str, timeout: Duration) -> Result<Found, ExpectError> {
        let regex = Regex::new(pattern)?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let names = regex.capture_names().enumerate().filter_map(|(n, name)| Some((name?.to_owned(), n))).collect();
        let wire = self.wires.first().ok_or(ExpectError::NoPort)?;
        let found = wire.find(timeout, |output| {
            let found = regex.captures(output)?;
            let (start, end) = found.get(0).map(|whole| (whole.start(), whole.end()))?;
            let groups = found.iter().map(|g| g.map(|g| text(g.as_bytes()))).collect();
            Some(((text(&output[..start]), groups), end))
        });
        match found {
            Ok((before, groups)) => Ok(Found { before, groups, names }),
            Err(silence) => Err(self.failure(format!("/{pattern}/"), timeout, silence)),
        }
    }
    fn failure(&self, what: String, after: Duration, silence: Silence) -> ExpectError {
        let scene = self.scene();
        match (silence, self.outcome()) {
            (Silence::Over, Some(outcome)) => ExpectError::Ended { what, outcome, scene },
            _ => ExpectError::Late { what, after, scene },
        }
    }
    /// The guest at this moment.
    pub fn scene(&self) -> Scene {
        let registers = (0..self.machine.vcpu_count()).map(|n| format!("CPU {n}\n{}", self.machine.dump(n)));
        Scene { serial: self.wires.first().map(|w| w.tail()).unwrap_or_default(), registers: registers.collect() }
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
        if let Some(control) = self.control.take() {
            // A panic of that thread has been told where it happened.
            let _ = control.join();
        }
        self.consoles.close();
    }
}
