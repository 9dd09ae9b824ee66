//! Device models, each standing alone. A board file wires them.

pub mod debug_exit;
pub mod debugcon;
pub mod i8254;
pub mod i8259;
pub mod ioapic;
pub mod mc146818;
pub mod pci;
pub mod pm;
pub mod serial;
