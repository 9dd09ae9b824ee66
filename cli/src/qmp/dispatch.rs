//! One request to one reply (QEMU, "QMP Protocol Specification", section 2.3).

use super::command::{Call, Command};
use super::commands;
use super::qapi::Qapi;
use crate::control::{Error, Result};
use serde_json::{Map, Value, json};

/// Is it to be run out of band?
pub(super) fn is_oob(request: &Value) -> bool {
    request.get("exec-oob").is_some() && request.get("execute").is_none()
}

/// Runs a request.
pub fn dispatch(call: &Call<'_>, request: Value) -> Value {
    let Value::Object(mut request) = request else {
        return reply(None, Err(Error::generic("QMP input must be a JSON object")));
    };
    let id = request.remove("id");
    reply(id, run(call, request))
}

/// The reply to a request of that `id`.
pub(super) fn reply(id: Option<Value>, result: Result<Value>) -> Value {
    let mut reply = Map::new();
    match result {
        Ok(value) => reply.insert("return".to_owned(), value),
        Err(e) => reply.insert("error".to_owned(), json!({"class": e.class.encode(), "desc": e.desc})),
    };
    if let Some(id) = id {
        reply.insert("id".to_owned(), id);
    }
    Value::Object(reply)
}

fn run(call: &Call<'_>, request: Map<String, Value>) -> Result<Value> {
    let Request { name, oob, arguments } = Request::read(request, call.client.oob())?;
    let command = find(call, &name)?;
    if oob && !command.availability.oob {
        return Err(Error::generic(format!("The command {name} does not support OOB")));
    }
    if call.control.in_preconfig() && !command.availability.preconfig {
        let state = call.control.status().status.name();
        return Err(Error::generic(format!("The command '{name}' isn't permitted in '{state}' state")));
    }
    (command.run)(call, arguments)
}

fn find(call: &Call<'_>, name: &str) -> Result<&'static Command> {
    let command = commands::all().find(|c| c.name == name);
    match command {
        Some(c) if call.client.negotiated() || c.name == commands::NEGOTIATION => Ok(c),
        _ if !call.client.negotiated() => {
            Err(Error::command_not_found("Expecting capabilities negotiation with 'qmp_capabilities'"))
        }
        _ => Err(Error::command_not_found(format!("The command {name} has not been found"))),
    }
}

/// A request, taken apart.
struct Request {
    name: String,
    oob: bool,
    arguments: Value,
}

impl Request {
    fn read(request: Map<String, Value>, oob_allowed: bool) -> Result<Self> {
        let wrong = |desc: String| Err(Error::generic(desc));
        let mut execute: Option<(String, String)> = None;
        let mut arguments = Value::Object(Map::new());
        for (member, value) in request {
            match (&*member, value) {
                ("execute", value) => Self::name(&mut execute, member, value)?,
                ("exec-oob", value) if oob_allowed => Self::name(&mut execute, member, value)?,
                ("arguments", value @ Value::Object(_)) => arguments = value,
                ("arguments", _) => return wrong("QMP input member 'arguments' must be an object".to_owned()),
                _ => return wrong(format!("QMP input member '{member}' is unexpected")),
            }
        }
        match execute {
            Some((member, name)) => Ok(Self { name, oob: member == "exec-oob", arguments }),
            None => wrong("QMP input lacks member 'execute'".to_owned()),
        }
    }

    fn name(execute: &mut Option<(String, String)>, member: String, value: Value) -> Result<()> {
        match (value, execute.take()) {
            (Value::String(name), None) => *execute = Some((member, name)),
            (Value::String(_), Some((other, _))) => {
                return Err(Error::generic(format!("QMP input member '{member}' clashes with '{other}'")));
            }
            _ => return Err(Error::generic(format!("QMP input member '{member}' must be a string"))),
        }
        Ok(())
    }
}
