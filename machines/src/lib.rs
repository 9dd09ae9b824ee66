//! PC boards and their devices.

pub mod acpi;
pub mod boot;
pub mod devices;
