//! PC boards and their devices.

pub mod acpi;
pub mod boards;
pub mod boot;
pub mod devices;
pub mod smbios;

pub use boards::machine_types;
