//! Commands that add, change and remove character back ends.

use super::HumanMonitor;
use super::devices::asks_for_help;
use super::grammar::Arguments;
use super::output::{Done, Failure, Output};
use crate::args::consoles::{CHARDEV_TYPES, chardev};
use crate::backend::chardev::ChardevSpec;
use crate::qmp::types::chardev::ChardevReturn;
use std::fmt::Write;

/// Reads what `-chardev` takes. What belongs to the whole process stays with its command line.
fn read(text: &str) -> Result<(String, ChardevSpec), Failure> {
    let c = chardev(text).map_err(|e| Failure::command(e.reason))?;
    match c.spec {
        _ if c.mux => Err(Failure::Command("mux=on is for the command line".to_owned())),
        ChardevSpec::Stdio => Err(Failure::Command("standard input is for the command line".to_owned())),
        spec => Ok((c.id, spec)),
    }
}

fn tell(made: &ChardevReturn, id: &str, out: &mut Output) -> Done {
    made.pty.iter().try_for_each(|path| Ok(writeln!(out, "char device redirected to {path} (label {id})")?))
}

/// `chardev-add`.
pub(super) fn add(m: &mut HumanMonitor, arguments: &Arguments, out: &mut Output) -> Done {
    let text = arguments.word("args");
    if asks_for_help(text) {
        writeln!(out, "Available chardev backend types: ")?;
        return CHARDEV_TYPES.iter().try_for_each(|(name, _)| Ok(writeln!(out, "  {name}")?));
    }
    let (id, spec) = read(text)?;
    tell(&m.control.add_chardev(&id, spec)?, &id, out)
}

/// `chardev-change`.
pub(super) fn change(m: &mut HumanMonitor, arguments: &Arguments, out: &mut Output) -> Done {
    let id = arguments.word("id");
    let (_, spec) = read(&format!("{},id={}", arguments.word("args"), id.replace(',', ",,")))?;
    tell(&m.control.change_chardev(id, spec)?, id, out)
}

/// `chardev-remove`.
pub(super) fn remove(m: &mut HumanMonitor, arguments: &Arguments, _: &mut Output) -> Done {
    Ok(m.control.chardev_remove(arguments.word("id"))?)
}
