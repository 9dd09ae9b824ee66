//! Control of a machine from outside: the typed commands that QMP, the monitor and Rust programs share.
//!
//! A [`Control`] is there before its machine and outlives it. Commands are its methods, one file for each subject; what they return are the types of
//! the schema.

mod balloon;
mod blocks;
mod chardevs;
mod cpu_models;
mod devices;
mod display;
mod error;
mod facts;
mod fdsets;
mod input;
mod machines;
mod memory;
mod numa;
mod objects;
mod options;
pub(crate) mod pci;
mod run_state;

pub use blocks::DriveName;
pub(crate) use blocks::image_info;
pub use error::{Error, ErrorClass, Result};
pub use facts::Facts;
pub use fdsets::FdSets;

use crate::board::SystemRequest;
use crate::machine::Machine;
use crate::machine::numa::Numa;
use crate::qmp::events::Hub;
use crate::qmp::notice;
use gearbox_core::event::{Event, ShutdownCause};
use parking_lot::{Condvar, Mutex};
use std::sync::{Arc, Weak};

/// The control of one machine.
pub struct Control {
    facts: Facts,
    /// As long as the machine is yet to be made.
    numa: Mutex<Numa>,
    stage: Mutex<Stage>,
    changed: Condvar,
    events: Hub,
    fdsets: FdSets,
    inputs: input::Inputs,
}

/// Hears of the machine's events.
type Listener = Arc<dyn Fn(&Event) + Send + Sync>;

/// Where in its life the machine is.
#[derive(Default)]
enum Stage {
    /// It is described, and not made (`--preconfig`).
    #[default]
    Preconfig,
    /// It is to be made now.
    Leaving,
    /// There was no machine, and there will be none.
    Quit(ShutdownCause),
    /// It is there, or was.
    Made { machine: Weak<Machine>, _listener: Listener },
}

impl Control {
    /// The control of a machine that is yet to be made.
    pub fn new(facts: Facts) -> Arc<Self> {
        Arc::new(Self {
            numa: Mutex::new(facts.numa.clone()),
            facts,
            stage: Mutex::default(),
            changed: Condvar::new(),
            events: Hub::default(),
            fdsets: FdSets::default(),
            inputs: input::Inputs::default(),
        })
    }
    /// The machine has been made.
    pub fn attach(self: &Arc<Self>, machine: &Arc<Machine>) {
        let weak = Arc::downgrade(self);
        let listener: Listener = Arc::new(move |event| {
            if let Some(control) = weak.upgrade() {
                control.tell(event);
            }
        });
        machine.board().subscribe(&listener);
        let mut stage = self.stage.lock();
        if let Stage::Quit(cause) = *stage {
            machine.board().request(SystemRequest::Quit(cause));
        }
        *stage = Stage::Made { machine: Arc::downgrade(machine), _listener: listener };
        self.changed.notify_all();
    }
    /// Tells clients of something that happened.
    fn tell(&self, event: &Event) {
        if let Some(notice) = notice(event) {
            self.events.publish(notice);
        }
    }
    /// The machine.
    ///
    /// # Errors
    /// It is not there yet, or not any more.
    pub fn machine(&self) -> Result<Arc<Machine>> {
        match &*self.stage.lock() {
            Stage::Made { machine, .. } => machine.upgrade().ok_or_else(|| Error::generic("The machine has ended")),
            _ => Err(Error::generic("The machine does not exist yet")),
        }
    }
    /// The machine is described, and not made.
    pub fn in_preconfig(&self) -> bool {
        matches!(*self.stage.lock(), Stage::Preconfig | Stage::Leaving | Stage::Quit(_))
    }
    /// Who hears of events.
    pub fn events(&self) -> &Hub {
        &self.events
    }
    /// Descriptors that clients passed.
    pub fn fdsets(&self) -> &FdSets {
        &self.fdsets
    }
    /// What is known of the machine without asking it.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }
}
