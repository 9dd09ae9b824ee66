//! Boards: what is realized, and how it is wired.

mod at;
mod isapc;
mod none;
mod pc;

use gearbox_core::machine::MachineType;

/// All machine types, for `-machine help` and for lookup by name or alias.
pub fn machine_types() -> &'static [&'static dyn MachineType] {
    gearbox_core::machine::machine_types()
}

#[cfg(test)]
mod tests;
