//! Random messages and random bytes at QMP, in process: requests that fit the schema, requests that almost do, and what is no request at all.
//!
//! A step is a piece of what the client sends, in Rust's notation of a byte string.

use super::Target;
use crate::random::Random;
use gearbox::qmp::Server;
use gearbox::testing::{BenchChardev, Vm};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The target, with the schema that requests are made from.
pub struct Qmp {
    commands: Vec<String>,
    /// Argument type of each command, and every type by its name.
    schema: BTreeMap<String, Value>,
}

/// Steps of a case.
const STEPS: usize = 60;
/// Time for one answer on a host that is busy.
const PATIENCE: Duration = Duration::from_secs(20);

/// Commands that touch the host's files and sockets, or end the machine.
const UNWANTED: &[&str] = &["chardev-add", "chardev-change", "memsave", "object-add", "pmemsave", "quit", "screendump"];

const LINES: &[&str] = &[
    "info status",
    "info qtree",
    "info qom-tree",
    "info mtree -f",
    "info pic",
    "info registers -a",
    "x /16xb 0",
    "xp /4i 0xfffffff0",
    "print 1+(2*3",
    "o /b 0x80 1",
    "i /w 0x70",
    "help info",
    "device_add isa-serial",
    "system_reset",
    "stop",
    "cont",
    "nothing",
    "",
];

const WORDS: &[&str] = &[
    "",
    "/machine",
    "/machine/unattached/device[0]",
    "/objects",
    "..",
    "type",
    "x",
    "nothing",
    "pc-i440fx-7.2-machine",
    "isa-serial",
    "pci-serial",
    "qemu64-x86_64-cpu",
    "device",
    "on",
    "\u{1f980}",
];

impl Default for Qmp {
    fn default() -> Self {
        let mut vm = machine();
        let entities = vm.qmp("query-qmp-schema", json!({})).expect("a schema");
        let entities = entities.as_array().cloned().unwrap_or_default();
        let schema: BTreeMap<_, _> = entities.into_iter().map(|e| (text(&e, "name").to_owned(), e)).collect();
        let is_command = |e: &Value| text(e, "meta-type") == "command";
        let wanted = |name: &String| !UNWANTED.contains(&name.as_str());
        let commands = schema.iter().filter(|(_, e)| is_command(e)).map(|(name, _)| name.clone()).filter(wanted);
        Self { commands: commands.collect(), schema }
    }
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn machine() -> Vm {
    Vm::pc().accel("qtest").memory(16 << 20).start().expect("a pc")
}

impl Qmp {
    /// A value of a type, or now and then of another.
    fn value(&self, r: &mut Random, of: &str, depth: u32) -> Value {
        if r.one_in(20) || depth == 0 {
            return anything(r, depth);
        }
        let Some(entity) = self.schema.get(of) else { return anything(r, depth) };
        let list = |key: &str| entity.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
        match text(entity, "meta-type") {
            "object" => {
                let mut object = Map::new();
                for member in list("members") {
                    if member.get("default").is_none() && !r.one_in(20) || r.one_in(2) {
                        object.insert(text(member, "name").into(), self.value(r, text(member, "type"), depth - 1));
                    }
                }
                Value::Object(object)
            }
            "enum" => match list("values") {
                [] => anything(r, depth),
                values => r.pick(values).clone(),
            },
            "array" => {
                let element = text(entity, "element-type");
                (0..r.below(4)).map(|_| self.value(r, element, depth - 1)).collect()
            }
            "alternate" => match list("members") {
                [] => anything(r, depth),
                members => {
                    let of = text(r.pick(members), "type");
                    self.value(r, of, depth - 1)
                }
            },
            _ => match text(entity, "json-type") {
                "string" => word(r),
                "int" => json!(r.interesting()),
                "number" => json!(r.number() as f64 / 3.0),
                "boolean" => json!(r.one_in(2)),
                _ => anything(r, depth),
            },
        }
    }
    fn request(&self, r: &mut Random) -> String {
        let name = r.pick(&self.commands);
        let mut request = Map::new();
        let how = if r.one_in(20) { "exec-oob" } else { "execute" };
        request.insert(how.into(), name.as_str().into());
        let of = self.schema.get(name).map(|e| text(e, "arg-type").to_owned()).unwrap_or_default();
        let arguments = match &**name {
            "human-monitor-command" => json!({"command-line": r.pick(LINES)}),
            _ => self.value(r, &of, 4),
        };
        if arguments.as_object().is_none_or(|a| !a.is_empty()) || r.one_in(3) {
            request.insert("arguments".into(), arguments);
        }
        if r.one_in(3) {
            request.insert("id".into(), anything(r, 2));
        }
        if r.one_in(30) {
            request.insert(r.text(8), anything(r, 2));
        }
        Value::Object(request).to_string()
    }
}

fn word(r: &mut Random) -> Value {
    match r.one_in(3) {
        true => r.text(12).into(),
        false => (*r.pick(WORDS)).into(),
    }
}

fn anything(r: &mut Random, depth: u32) -> Value {
    match r.below(if depth == 0 { 5 } else { 7 }) {
        0 => Value::Null,
        1 => json!(r.one_in(2)),
        2 => json!(r.interesting()),
        3 => json!(r.interesting() as i64 as f64 * 1e-3),
        4 => word(r),
        5 => (0..r.below(4)).map(|_| anything(r, depth - 1)).collect(),
        _ => Value::Object((0..r.below(4)).map(|_| (r.text(5), anything(r, depth - 1))).collect()),
    }
}

/// Changes a few bytes.
fn mutate(r: &mut Random, bytes: &mut Vec<u8>) {
    for _ in 0..=r.below(4) {
        let at = r.index(bytes.len() + 1);
        match r.below(6) {
            0 if at < bytes.len() => bytes[at] ^= 1 << r.below(8),
            1 if at < bytes.len() => drop(bytes.remove(at)),
            2 => bytes.insert(at, r.number() as u8),
            3 => bytes.insert(at, *r.pick(b"{}[]\",:'\\0e-\n")),
            4 => bytes.truncate(at),
            _ => {
                let piece = bytes[at..bytes.len().min(at + r.index(20))].to_vec();
                bytes.extend(piece);
            }
        }
    }
}

impl Target for Qmp {
    fn generate(&self, random: &mut Random) -> Vec<String> {
        let r = random;
        let one = |r: &mut Random| -> Vec<u8> {
            let mut bytes = match r.below(40) {
                0 => b"[".repeat(r.index(3000)),
                1 => b"{\"a\":".repeat(r.index(3000)),
                2 => (0..r.below(200)).map(|_| r.number() as u8).collect(),
                _ => self.request(r).into_bytes(),
            };
            if r.one_in(3) {
                mutate(r, &mut bytes);
            }
            if !r.one_in(10) {
                bytes.push(b'\n');
            }
            bytes
        };
        (0..STEPS).map(|_| one(r).escape_ascii().to_string()).collect()
    }
    fn run(&self, steps: &[String]) {
        let vm = machine();
        let client = BenchChardev::new();
        let server = Server::start(vm.control().clone(), client.clone(), false).expect("a thread");
        client.type_in(b"{\"execute\": \"qmp_capabilities\"}\n");
        for step in steps {
            client.type_in(&unescape(step));
        }
        // A byte that no text has ends whatever was open.
        client.type_in(b"\xff\n{\"execute\": \"query-status\", \"id\": \"the end\"}\n");
        let (end, mut said) = (Instant::now() + PATIENCE, Vec::new());
        loop {
            said.extend(client.output());
            let text = String::from_utf8_lossy(&said);
            if text.contains("\"the end\"") {
                text.lines().for_each(|line| {
                    serde_json::from_str::<Value>(line).unwrap_or_else(|e| panic!("{line}: {e}"));
                });
                break;
            }
            assert!(Instant::now() < end, "no answer any more; the last was {:?}", text.lines().last());
            std::thread::sleep(Duration::from_millis(1));
        }
        drop(server);
    }
}

/// The bytes that [`slice::escape_ascii`] was given.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let digit = |c: Option<u8>| c.and_then(|c| char::from(c).to_digit(16)).unwrap_or(0) as u8;
        bytes.push(match (byte, byte == b'\\') {
            (other, false) => other,
            _ => match rest.next() {
                Some(b'n') => b'\n',
                Some(b't') => b'\t',
                Some(b'r') => b'\r',
                Some(b'x') => digit(rest.next()) << 4 | digit(rest.next()),
                other => other.unwrap_or(b'\\'),
            },
        });
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_can_be_printed_and_read_again() {
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(unescape(&all.escape_ascii().to_string()), all);
    }
}
