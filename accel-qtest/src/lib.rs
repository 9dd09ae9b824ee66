//! The accelerator without a CPU.
//!
//! A machine under qtest runs no guest code: a test pokes its ports and memory, steps its clock and looks at its lines. In process that is
//! the [`Bench`], on which a test realizes one device, a few, or a whole board. From another process it is a [`Session`] in the qtest protocol,
//! which a [`Server`] holds; that serves machines with CPUs as well, and is apart from the accelerator [`Qtest`], which has none.
//!
//! The tests of a device read like its datasheet's use:
//!
//! ```
//! use gearbox_accel_qtest::Bench;
//! use gearbox_core::board::{Cx, Device, DeviceSpec, DeviceState, Line, Realize, RealizeError, Saved};
//!
//! /// An output latch at port 378h whose lowest bit drives a line.
//! struct Latch(u8, Line);
//! struct LatchSpec;
//! struct LatchPins {
//!     strobe: Line,
//! }
//!
//! impl DeviceSpec for LatchSpec {
//!     type Device = Latch;
//!     type Pins = LatchPins;
//!     const TYPE: &'static str = "latch";
//!     fn realize(self, r: &mut Realize<'_>) -> Result<(Latch, LatchPins), RealizeError> {
//!         r.ports(0, "latch", 0x378, 1);
//!         let strobe = r.output("strobe");
//!         Ok((Latch(0, strobe), LatchPins { strobe }))
//!     }
//! }
//! impl Device for Latch {
//!     fn state(&mut self) -> DeviceState<'_> {
//!         Saved::of(&mut self.0).version(1)
//!     }
//!     fn read(&mut self, _: &mut Cx<'_>, _: u32, _: u64, _: u8) -> u64 {
//!         self.0.into()
//!     }
//!     fn write(&mut self, cx: &mut Cx<'_>, _: u32, _: u64, _: u8, value: u64) {
//!         self.0 = value as u8;
//!         cx.set(self.1, value & 1 != 0);
//!     }
//! }
//!
//! let mut b = Bench::new();
//! let latch = b.realize(LatchSpec)?;
//! b.outb(0x378, 3);
//! assert_eq!(b.inb(0x378), 3);
//! assert!(b.level(latch.strobe));
//! # Ok::<(), RealizeError>(())
//! ```

pub mod accel;
pub mod bench;
pub mod chardev;
pub mod messages;
pub mod protocol;
pub mod server;

pub use accel::{Qtest, QtestVm};
pub use bench::{Bench, Edge};
pub use chardev::BenchChardev;
pub use messages::Messages;
pub use protocol::Session;
pub use server::Server;
