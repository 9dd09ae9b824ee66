//! Machines: what a board file gives, what the command line asks for, and the run control above both.

mod config;
mod cpus;
pub mod hmat;
pub mod numa;
mod run;
#[cfg(test)]
mod tests;
mod threads;
mod vcpus;

pub use crate::event::{PanicAction, RebootAction, ShutdownAction, ShutdownCause, WatchdogAction};
pub use config::{
    Boot, BootError, BootOrder, BuildError, CompatProperty, DeviceArg, KernelArgs, MachineConfig, MachineEntry,
    MachineProperty, MachineType, OptionRom, RtcBase, RtcClock, RtcConfig, SmbiosConfig, Wiring, build, machine_types,
};
pub use cpus::{PossibleCpu, is_cpu};
pub use run::{Machine, MachineError, Outcome, Policy, RunState};
