//! Device models, each standing alone. A board file wires them.

pub mod a20;
pub mod cpu_hotplug;
pub mod debug_exit;
pub mod debugcon;
pub mod floppy;
pub mod fw_cfg;
pub mod hpet;
pub mod i8042;
pub mod i8254;
pub mod i8257;
pub mod i8259;
pub mod ide;
pub mod ioapic;
pub mod mc146818;
pub mod pci;
pub mod pci_testdev;
pub mod pflash;
pub mod pm;
pub mod port92;
pub mod pvpanic;
pub mod serial;
pub mod vga;
pub mod virtio;
pub mod vmgenid;
pub mod watchdog;
