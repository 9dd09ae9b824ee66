//! Commands that add and remove devices.

use super::HumanMonitor;
use super::grammar::Arguments;
use super::output::{Done, Failure, Output};
use crate::args::Properties;
use crate::help;
use crate::qmp::types::qom::DeviceAdd;
use serde_json::{Map, Value};
use std::fmt::Write;

/// A list of properties as given: `value,key=value`.
pub(super) struct Given(pub(super) Map<String, Value>);

impl Given {
    /// Takes `text` apart; the first item may be the value of `implied`.
    pub(super) fn parse(text: &str, implied: &'static str) -> Self {
        let all = Properties::parse(implied, text, Some(implied)).rest();
        Self(all.into_iter().map(|(key, value)| (key, Value::String(value))).collect())
    }
    /// Takes a property out.
    pub(super) fn take(&mut self, key: &str) -> Option<String> {
        self.0.remove(key).and_then(|v| v.as_str().map(str::to_owned))
    }
    /// Takes out a property that must be given.
    pub(super) fn need(&mut self, key: &str) -> Result<String, Failure> {
        self.take(key).ok_or_else(|| Failure::Command(format!("Parameter '{key}' is missing")))
    }
}

/// What asks for a list instead of a device.
pub(super) fn asks_for_help(word: &str) -> bool {
    matches!(word, "help" | "?")
}

/// `device_add`, and its lists: of types (`help`), and of a type's properties (`TYPE,help`).
pub(super) fn device_add(m: &mut HumanMonitor, arguments: &Arguments, out: &mut Output) -> Done {
    let text = arguments.word("device");
    let (first, rest) = text.split_once(',').unwrap_or((text, ""));
    if asks_for_help(first) {
        return Ok(write!(out, "{}", help::devices())?);
    }
    if rest.split(',').any(asks_for_help) {
        let name = first.strip_prefix("driver=").unwrap_or(first);
        let known = help::device(name).ok_or_else(|| Failure::Plain(format!("Device '{name}' not found")))?;
        return Ok(write!(out, "{known}")?);
    }
    let mut given = Given::parse(text, "driver");
    let (driver, bus, id) = (given.need("driver")?, given.take("bus"), given.take("id"));
    Ok(m.control.device_add(DeviceAdd { driver, bus, id, properties: given.0 })?)
}

/// `device_del`.
pub(super) fn device_del(m: &mut HumanMonitor, arguments: &Arguments, _: &mut Output) -> Done {
    Ok(m.control.device_del(arguments.word("id"))?)
}
