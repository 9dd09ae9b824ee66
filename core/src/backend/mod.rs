//! Back ends: the host's side of devices.

pub mod block;
pub mod chardev;
pub mod display;
pub mod firmware;
pub mod input;
pub mod memory;
pub mod rng;
