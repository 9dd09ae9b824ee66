//! What a machine advertises: each command, event, type and property is one that QEMU has too, and means the same.

use super::reading::Readings;
use gearbox::testing::Process;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// End of the names of CPU types.
const CPU: &str = "-x86_64-cpu";

/// Everything that Gearbox advertises, and what QEMU says of the same things.
pub fn compare(ours: &mut Process, theirs: &mut Process) -> (Readings, Readings) {
    let mut readings = (Readings::default(), Readings::default());
    let mut both = |topic: &str, known: [BTreeMap<String, String>; 2]| {
        let [mut of_ours, mut of_theirs] = known;
        for (name, value) in std::mem::take(&mut of_ours) {
            readings.0.note(format!("{topic} {name}"), value);
            if let Some(value) = of_theirs.remove(&name) {
                readings.1.note(format!("{topic} {name}"), value);
            }
        }
    };
    both("command", [&mut *ours, theirs].map(|p| names(p, "query-commands")));
    both("machine", [&mut *ours, theirs].map(machines));
    let types = [&mut *ours, theirs].map(types);
    let devices: Vec<_> = types[0].iter().filter(|(name, t)| is_device(&types[0], name) && !t.is_abstract).collect();
    let devices: BTreeSet<_> = devices.into_iter().map(|(name, _)| name.clone()).collect();
    let text = |t: &BTreeMap<String, Type>| -> BTreeMap<String, String> {
        t.iter().map(|(name, t)| (name.clone(), format!("parent {:?}, abstract {}", t.parent, t.is_abstract))).collect()
    };
    both("type", [text(&types[0]), text(&types[1])]);
    // All CPU models have the same properties: one stands for them.
    let asked = |d: &&String| types[1].contains_key(*d) && (!d.ends_with(CPU) || **d == format!("qemu64{CPU}"));
    for device in devices.iter().filter(asked) {
        both(&format!("property {device}"), [&mut *ours, theirs].map(|p| properties(p, device)));
    }
    readings
}

fn ask(p: &mut Process, command: &str, arguments: Value) -> Vec<Value> {
    let answer = p.qmp().execute(command, arguments).unwrap_or_else(|e| panic!("{e}"));
    answer.as_array().cloned().unwrap_or_else(|| panic!("{command} answers a list"))
}
fn text(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or_default().to_owned()
}

fn names(p: &mut Process, command: &str) -> BTreeMap<String, String> {
    ask(p, command, json!({})).iter().map(|v| (text(v, "name"), "present".to_owned())).collect()
}

fn machines(p: &mut Process) -> BTreeMap<String, String> {
    let known = ask(p, "query-machines", json!({}));
    known.iter().map(|m| (text(m, "name"), members(m, &["name"]))).collect()
}

/// Members of an object but these, in the order of their names.
fn members(object: &Value, but: &[&str]) -> String {
    let sorted: BTreeMap<_, _> =
        object.as_object().into_iter().flatten().filter(|(k, _)| !but.contains(&k.as_str())).collect();
    json!(sorted).to_string()
}

struct Type {
    parent: Option<String>,
    is_abstract: bool,
}

fn types(p: &mut Process) -> BTreeMap<String, Type> {
    let all = ask(p, "qom-list-types", json!({ "abstract": true }));
    let one = |t: &Value| Type {
        parent: t.get("parent").and_then(Value::as_str).map(str::to_owned),
        is_abstract: t.get("abstract").and_then(Value::as_bool).unwrap_or(false),
    };
    all.iter().map(|t| (text(t, "name"), one(t))).collect()
}

fn is_device(types: &BTreeMap<String, Type>, name: &str) -> bool {
    let mut at = Some(name);
    // No chain is longer than there are types.
    for _ in 0..types.len() {
        match at {
            Some("device") => return true,
            Some(name) => at = types.get(name).and_then(|t| t.parent.as_deref()),
            None => return false,
        }
    }
    false
}

/// Descriptions apart: they are words, and ours.
fn properties(p: &mut Process, device: &str) -> BTreeMap<String, String> {
    let known = ask(p, "device-list-properties", json!({ "typename": device }));
    known.iter().map(|v| (text(v, "name"), members(v, &["name", "description"]))).collect()
}
