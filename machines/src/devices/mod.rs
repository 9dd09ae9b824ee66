//! Device models, each standing alone. A board file wires them.

pub mod i8254;
pub mod i8259;
