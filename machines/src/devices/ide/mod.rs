//! IDE: controllers with disks and CD-ROM drives.
//!
//! [`piix`] is the PCI function with two channels and their bus masters (`bus_master`), [`isa`] a card with one channel. A `channel` has the registers
//! that two drives share, at the `ports` where the controller has them. A
//! `drive` is a value without ports and wires: it takes commands, and moves data by port or by bus master, from and to its back end. What its
//! commands do is in `disk` and `cdrom`.
//!
//! Sources: T13/1410D (ATA/ATAPI-6) for registers and commands, cited by clause; SFF-8020i and MMC-3 for packets; Intel, Programming Interface for Bus
//! Master IDE Controller; what guests can identify is as QEMU's.

mod bus_master;
mod cdrom;
mod channel;
mod disk;
mod drive;
mod geometry;
mod identify;
pub mod isa;
pub mod piix;
mod ports;
mod registers;
mod sense;
mod smart;
mod spec;
#[cfg(test)]
mod tests;

pub use geometry::{BiosTranslation, Geometry, Translation};
pub use spec::{Common, IdeCd, IdeHd};
