//! Commands about objects: their properties, and those that users make.

use super::HumanMonitor;
use super::devices::{Given, asks_for_help};
use super::grammar::Arguments;
use super::output::{Done, Failure, Output};
use crate::object::{Value, types};
use crate::qmp::json;
use crate::qmp::types::qom::ObjectOptions;
use std::fmt::Write;

/// `object_add`.
pub(super) fn object_add(m: &mut HumanMonitor, arguments: &Arguments, out: &mut Output) -> Done {
    let text = arguments.word("object");
    if asks_for_help(text) {
        writeln!(out, "List of user creatable objects:")?;
        return types().all().filter(|t| t.user.is_some()).try_for_each(|t| Ok(writeln!(out, "  {}", t.name)?));
    }
    let mut given = Given::parse(text, "qom-type");
    let (qom_type, id) = (given.need("qom-type")?, given.need("id")?);
    Ok(m.control.object_add(ObjectOptions { qom_type, id, properties: given.0 })?)
}

/// `object_del`.
pub(super) fn object_del(m: &mut HumanMonitor, arguments: &Arguments, _: &mut Output) -> Done {
    Ok(m.control.object_del(arguments.word("id"))?)
}

/// `qom-list`: the properties of an object; without a path, the root.
pub(super) fn qom_list(m: &mut HumanMonitor, arguments: &Arguments, out: &mut Output) -> Done {
    let Some(path) = arguments.text("path") else { return Ok(writeln!(out, "/")?) };
    m.control.qom_list(path)?.iter().try_for_each(|p| Ok(writeln!(out, "{} ({})", p.name, p.ty)?))
}

/// `qom-get`: a property as JSON.
pub(super) fn qom_get(m: &mut HumanMonitor, arguments: &Arguments, out: &mut Output) -> Done {
    let value = m.control.qom_get(arguments.word("path"), arguments.word("property"))?;
    Ok(writeln!(out, "{}", serde_json::to_string_pretty(&value).map_err(Failure::command)?)?)
}

/// `qom-set`: a property, given as on a command line, or as JSON.
pub(super) fn qom_set(m: &mut HumanMonitor, arguments: &Arguments, _: &mut Output) -> Done {
    let text = arguments.word("value");
    let value = if arguments.flag("json") {
        json::parse(text).map_err(Failure::command)?
    } else {
        Value::String(text.to_owned())
    };
    Ok(m.control.qom_set(arguments.word("path"), arguments.word("property"), &value)?)
}
