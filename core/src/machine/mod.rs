//! Machines: what a board file gives, what the command line asks for, and the run control above both.

mod config;
mod run;
#[cfg(test)]
mod tests;
mod threads;

pub use config::{
    Boot, BootError, BuildError, DeviceArg, DeviceInfo, KernelArgs, MachineConfig, MachineType, RtcBase, RtcClock,
    RtcConfig, Wiring,
};
pub use run::{Machine, MachineError, Outcome, Policy, RunState, ShutdownCause};
