//! Boards: what is realized, and how it is wired.

mod args;
mod none;
mod pc;

use gearbox_core::machine::MachineType;

/// All machine types, for `-machine help` and for lookup by name or alias.
pub fn machine_types() -> &'static [&'static dyn MachineType] {
    static TYPES: [&dyn MachineType; 2] = [&pc::V7_2, &none::NoneMachine];
    &TYPES
}

#[cfg(test)]
mod tests;
