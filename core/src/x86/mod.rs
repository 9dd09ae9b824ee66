//! x86 architecture that every accelerator shares.

pub mod cpuid;
pub mod state;
