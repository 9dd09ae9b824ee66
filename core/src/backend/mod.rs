//! Back ends: the host's side of devices.

pub mod block;
pub mod chardev;
pub mod memory;
pub mod rng;
