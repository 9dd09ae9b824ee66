//! Virtio devices on PCI, transitional and modern (OASIS, Virtual I/O Device 1.2, cited by clause; legacy interfaces as in 0.9.5).
//!
//! A `VirtioDevice` is a kind of device: it takes buffers from queues and gives them back, through `Io`. A `Function` puts it on the PCI bus: what
//! all have is in `transport`, the registers of drivers from before version 1 are in `legacy`, the others in `modern`. A `queue` takes the chains of
//! buffers apart and checks them; a `chain` is bytes in guest RAM. What makes no sense ends the device's work until the driver resets it.

pub mod balloon;
pub mod blk;
mod chain;
mod legacy;
mod modern;
mod pci;
mod queue;
pub mod rng;
pub mod serial;
#[cfg(test)]
mod tests;
mod transport;

pub use pci::{Flavour, Generic, NonTransitional, Transitional, VirtioPci};
