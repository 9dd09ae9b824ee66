//! The seam between accelerators and machines.
//!
//! An *accelerator* executes guest instructions (or, for qtest, deliberately does not); a *machine* is everything else. This crate holds
//! what both agree on: the accelerator traits and registry, the board with its lock, memory, clocks, CPU state and back ends. It
//! contains no accelerator and no device model.

pub mod accel;
pub mod backend;
pub mod board;
pub mod clock;
pub mod guest_error;
pub mod mem;
pub mod pci;
pub mod vm;
pub mod x86;
