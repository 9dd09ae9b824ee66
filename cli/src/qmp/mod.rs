//! QMP: QEMU's protocol for programs that control a machine.
//!
//! Bytes become messages in [`mod@json`], messages become calls of the [`commands`] in [`dispatch`], whose types and tables are declared with [`qapi`];
//! [`Server`] does it for a character back end, whose clients come and go. What commands do is in [`crate::control`].

mod client;
mod command;
mod commands;
mod dispatch;
mod event_table;
pub mod events;
mod introspect;
pub mod json;
mod outbox;
pub mod qapi;
mod server;
mod session;
#[cfg(test)]
mod tests;
mod text;
pub mod types;
mod worker;

pub use client::Client;
pub use command::{Availability, Call, Command};
pub use commands::all as commands;
pub use dispatch::dispatch;
pub use event_table::{EVENTS, EventInfo, notice};
pub use introspect::schema;
pub use server::Server;

use qapi::Qapi;
use serde_json::{Value, json};
use types::control::{VersionInfo, VersionTriple};

/// The version whose protocol is spoken, and who speaks it.
pub(crate) fn version() -> VersionInfo {
    let package = format!("Gearbox {}", env!("CARGO_PKG_VERSION"));
    VersionInfo { qemu: VersionTriple { micro: 0, minor: 2, major: 7 }, package }
}

/// What a new client is told.
fn greeting() -> Value {
    json!({"QMP": {"version": version().encode(), "capabilities": ["oob"]}})
}
