//! PC boards and their devices.

pub mod devices;
