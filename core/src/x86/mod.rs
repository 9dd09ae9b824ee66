//! x86 architecture that every accelerator shares.

pub mod apic_bus;
pub mod cpu_features;
mod cpu_leaves;
pub mod cpu_model;
mod cpu_models;
pub mod cpu_object;
mod cpu_realize;
pub mod cpuid;
mod dump;
pub mod lapic;
pub mod state;
pub mod topology;

pub use cpu_realize::{Identity, Level, MissingFeature, RealizedCpu};
