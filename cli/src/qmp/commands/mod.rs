//! The commands, by what they are about. Each is declared once: its name, arguments, result and availability, and what it calls.

mod blocks;
mod control;
mod host;
mod machines;
mod objects;
mod ui;

use super::command::Command;
use crate::qmp::types::control::CommandInfo;

/// The one command that is there before the negotiation.
pub(super) const NEGOTIATION: &str = "qmp_capabilities";

/// All of them.
pub fn all() -> impl Iterator<Item = &'static Command> {
    [control::COMMANDS, blocks::COMMANDS, machines::COMMANDS, objects::COMMANDS, host::COMMANDS, ui::COMMANDS]
        .into_iter()
        .flatten()
}

/// `query-commands`.
fn list() -> Vec<CommandInfo> {
    all().map(|c| CommandInfo { name: c.name.to_owned() }).collect()
}
