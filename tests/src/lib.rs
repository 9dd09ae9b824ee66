//! What the suites share: accelerators to run on, small guests, whole guests, and the `gearbox` process seen from outside.

pub mod accel;
pub mod fuzz;
pub mod linux;
pub mod marks;
pub mod media;
pub mod peer;
pub mod process;
pub mod random;
pub mod small;
pub mod states;
