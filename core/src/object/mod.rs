//! Objects: types in a hierarchy, typed properties, and the tree in which everything of a machine has its path.
//!
//! The model and its names are QEMU's (docs/devel/qom): a type such as `isa-serial` has a parent type, properties with defaults, and instances under
//! paths such as `/machine/peripheral/com2`. What differs is where an object's life before `realized` is spent: a [`DeviceSpec`](crate::board::DeviceSpec) *is* the
//! unrealized object. Its fields are its properties, bound to their names by [`property!`](crate::property), its defaults are those of `Default`, and
//! realizing consumes it. So nothing about a property is said twice, and a device that exists is a realized one.
//!
//! A type registers itself beside the code that it describes:
//!
//! ```
//! use gearbox_core::board::{Device, DeviceSpec, DeviceState, Realize, RealizeError};
//! use gearbox_core::object::{Property, TypeEntry, TypeInfo, types};
//! use gearbox_core::property;
//!
//! struct Latch;
//! impl Device for Latch {
//!     fn state(&mut self) -> DeviceState<'_> {
//!         DeviceState::none()
//!     }
//! }
//!
//! struct LatchSpec {
//!     iobase: u16,
//! }
//! impl Default for LatchSpec {
//!     fn default() -> Self {
//!         Self { iobase: 0x378 }
//!     }
//! }
//! impl DeviceSpec for LatchSpec {
//!     type Device = Latch;
//!     type Pins = ();
//!     const TYPE: &'static str = "isa-latch";
//!     const PROPERTIES: &'static [&'static [Property<Self>]] = &[&[property!("iobase", u16, iobase, "the port")]];
//!     fn realize(self, r: &mut Realize<'_>) -> Result<(Latch, ()), RealizeError> {
//!         r.ports(0, "latch", self.iobase, 1);
//!         Ok((Latch, ()))
//!     }
//! }
//! inventory::submit! { TypeEntry(&TypeInfo::device::<LatchSpec>("isa-device", "an output latch")) }
//!
//! let latch = types().get("isa-latch").unwrap();
//! assert!(types().is_a("isa-latch", "device"));
//! assert_eq!(latch.properties()[0].default, Some(0x378.into()));
//! ```

mod hierarchy;
mod property;
mod tree;
mod types;
mod user;
mod value;

pub use property::{AnySpec, Property, PropertyInfo, SetError};
pub use serde_json::Value;
pub use tree::{Access, GetFn, NodeId, NodeProperty, ObjectError, ResolveError, SetFn, Tree};
pub use types::{Category, DeviceClass, TypeEntry, TypeInfo, TypeRegistry, types};
pub use user::{ObjectAddError, ObjectSpec, UserClass, UserObject, UserObjectInfo, UserObjects};
pub use value::{Backends, NoBackends, PropertyValue, parse_size, parse_switch, parse_unsigned};
