//! The types of the schema, by what they are about.

pub mod accel;
pub mod block;
pub mod blockdev;
pub mod chardev;
pub mod control;
pub mod event;
pub mod introspect;
pub mod machine;
pub mod misc;
pub mod numa;
pub mod pci;
pub mod qom;
pub mod ui;
