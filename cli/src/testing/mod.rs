//! Machines in tests: a device alone, a whole board, a whole guest, or another program that speaks QEMU's protocols.
//!
//! * [`Bench`] is a board without a CPU, in process and made in less than a millisecond: of one device, of a few, or, by [`VmBuilder::bench`], of a
//!   whole machine. The test stands in for the CPU. [`Pci`], [`Cmos`] and [`FwCfg`] do what firmware would.
//! * [`Vm`] is a whole guest in process, on any accelerator. The test waits for what it says on its serial port or shows on its screen, and types.
//! * [`Process`] is another process, Gearbox's or QEMU's, started and driven as QEMU's own test library does it: [`Qtest`] for ports and memory,
//!   [`Qmp`] for everything else. [`Io`] is what a [`Bench`] and a [`Qtest`] have in common.
//!
//! Nothing here is global, so tests run in parallel. `docs/guide.md` teaches all three by example.
//!
//! How much of a run repeats exactly is a matter of the accelerator: on a bench time moves only when told, and everything repeats; where a CPU runs,
//! the machine's clock follows the host.

mod boot_sector;
mod builder;
mod cmos;
mod expect;
mod fw_cfg;
mod inbox;
mod io;
mod pci;
mod process;
mod qmp;
mod qtest;
mod screen;
mod serial;
mod vm;

pub use builder::{Image, SerialPort, StartError, VmBuilder};
pub use cmos::Cmos;
pub use expect::{ExpectError, Found, Scene};
pub use fw_cfg::{FwCfg, FwCfgFile};
pub use gearbox_accel_qtest::{Bench, BenchChardev, Edge};
pub use gearbox_core::pci::Devfn;
pub use io::Io;
pub use pci::{Pci, PciBar, PciFunction};
pub use process::{Process, ProcessError, Program};
pub use qmp::{Qmp, QmpError};
pub use qtest::{Irq, Qtest, QtestError};
pub use serial::Expect;
pub use vm::Vm;
