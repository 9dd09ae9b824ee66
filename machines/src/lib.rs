//! PC boards and their devices.

pub mod boot;
pub mod devices;
