//! The seam between accelerators and machines.

pub mod board;
pub mod clock;
pub mod mem;
pub mod vm;
pub mod x86;
