//! Machines: what a board file gives, what the command line asks for, and the run control above both.

mod config;
mod run;
#[cfg(test)]
mod tests;
mod threads;

pub use crate::event::{PanicAction, RebootAction, ShutdownAction, ShutdownCause, WatchdogAction};
pub use config::{
    Boot, BootError, BootOrder, BuildError, DeviceArg, KernelArgs, MachineConfig, MachineEntry, MachineType, RtcBase,
    RtcClock, RtcConfig, Wiring, build, machine_types,
};
pub use run::{Machine, MachineError, Outcome, Policy, RunState};
