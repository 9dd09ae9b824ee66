//! IDE: the two channels of the PIIX3 with disks and CD-ROM drives.
//!
//! [`piix`] is the PCI function: its ports, its interrupts, and the bus master (`bus_master`). A `channel` has the registers that two drives share. A
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
pub mod piix;
mod registers;
mod sense;
mod smart;
mod spec;
#[cfg(test)]
mod tests;

pub use geometry::{Geometry, Translation};
pub use spec::{Common, IdeCd, IdeHd};
