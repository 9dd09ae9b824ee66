//! Commands about the log.

use super::HumanMonitor;
use super::grammar::Arguments;
use super::output::{Done, Failure, Output};
use crate::args::logging::ITEMS;
use crate::logging;
use std::fmt::Write;
use std::path::Path;

/// Nothing that has to be asked for, and everything.
const NONE: (&str, &str) = ("none", "remove all logs");
const ALL: &str = "all";

/// `log`.
pub(super) fn log(_: &mut HumanMonitor, arguments: &Arguments, out: &mut Output) -> Done {
    let every = || ITEMS.iter().map(|(name, ..)| *name);
    let names: Vec<_> = match arguments.word("items") {
        text if text == NONE.0 => Vec::new(),
        ALL => every().collect(),
        text => text.split(',').collect(),
    };
    if names.iter().all(|name| every().any(|n| n == *name)) {
        return logging::set_items(&names).map_err(Failure::Plain);
    }
    writeln!(out, "Log items (comma separated):")?;
    let items = ITEMS.iter().map(|(name, about, _)| (*name, *about));
    std::iter::once(NONE).chain(items).try_for_each(|(name, about)| Ok(writeln!(out, "{name:<15} {about}")?))
}

/// `logfile`.
pub(super) fn logfile(_: &mut HumanMonitor, arguments: &Arguments, _: &mut Output) -> Done {
    logging::set_file(Path::new(arguments.word("filename"))).map_err(Failure::Plain)
}
