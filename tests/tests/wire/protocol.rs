//! The two protocols themselves: forms of answers, and what is said to nonsense.

use super::reading::Readings;
use gearbox::testing::Process;
use serde_json::{Value, json};

/// qtest, line by line. What QEMU takes for a reason to abort is not asked.
pub fn qtest(p: &mut Process, r: &mut Readings) {
    let lines = [
        "endianness",
        "writel 0x1000 0x12345678",
        "readb 0x1000",
        "readw 4096",
        "readl 010000",
        "readq 0x1000",
        "writeq 0x1008 0x8899aabbccddeeff",
        "read 0x1008 4",
        "b64read 0x1008 8",
        "b64write 0x1010 3 AQID",
        "write 0x1013 2 0x0405",
        "memset 0x1015 3 0x77",
        "read 0x1010 8",
        "outb 0x70 0x0a",
        "inb 0x71",
        "inw 0x70",
        "inl 0xcf8",
        "irq_intercept_in /machine/nothing",
        "irq_intercept_in ioapic",
        "irq_intercept_in ioapic",
        "nonsense",
        "nonsense with arguments",
    ];
    for (n, line) in lines.into_iter().enumerate() {
        // In pieces: a command ends where its line does.
        let (head, tail) = line.split_at(line.len() / 2);
        let q = p.qtest();
        q.send_raw(head.as_bytes()).expect("a connection");
        q.send_raw(format!("{tail}\n").as_bytes()).expect("a connection");
        let answer = q.receive().expect("an answer");
        r.note(format!("qtest {n:02}"), format!("{line}: {answer}"));
    }
}

/// QMP: answers to requests that are right, wrong, and none. Each ends with a newline, by which a broken parser comes back.
pub fn qmp(p: &mut Process, r: &mut Readings) {
    let requests = [
        r#"{"execute": "query-status"}"#,
        r#"{"execute": "query-status", "id": "a"}"#,
        r#"{"execute": "query-status", "id": {"b": [1, 2.5, null, true]}}"#,
        "{'execute': 'query-name', 'id': 'single'}",
        r#"{"execute": "query-kvm"}"#,
        r#"{"execute": "query-uuid"}"#,
        r#"{"execute": "query-target"}"#,
        r#"{"execute": "query-current-machine"}"#,
        r#"{"execute": "query-memory-size-summary"}"#,
        r#"{"execute": "query-hotpluggable-cpus"}"#,
        r#"{"execute": "query-iothreads"}"#,
        r#"{"execute": "query-fdsets"}"#,
        r#"{"execute": "no-such-command"}"#,
        r#"{"execute": "no-such-command", "id": 3}"#,
        r#"{"execute": 5}"#,
        r#"{"execute": "query-status", "arguments": {"x": 1}}"#,
        r#"{"execute": "query-status", "arguments": []}"#,
        r#"{"execute": "query-status", "other": 1}"#,
        r#"{"arguments": {}}"#,
        r"{}",
        r#"[1, "x"]"#,
        r"5",
        r#""text""#,
        r#"{"execute": "qom-get"}"#,
        r#"{"execute": "qom-get", "arguments": {"path": "/machine"}}"#,
        r#"{"execute": "qom-get", "arguments": {"path": 5, "property": "type"}}"#,
        r#"{"execute": "qom-get", "arguments": {"path": "/nothing", "property": "type"}}"#,
        r#"{"execute": "qom-get", "arguments": {"path": "/machine", "property": "type"}}"#,
        r#"{"execute": "qom-get", "arguments": {"path": "/machine", "property": "nothing"}}"#,
        r#"{"execute": "qom-get", "arguments": {"path": "/machine/unattached", "property": "type"}}"#,
        r#"{"execute": "qom-list", "arguments": {"path": "/nothing"}}"#,
        r#"{"execute": "qom-list-properties", "arguments": {"typename": "nothing"}}"#,
        r#"{"execute": "device-list-properties", "arguments": {"typename": "nothing"}}"#,
        r#"{"execute": "device-list-properties", "arguments": {"typename": "device"}}"#,
        r#"{"execute": "device_add", "arguments": {"driver": "nothing"}}"#,
        r#"{"execute": "device_add", "arguments": {"id": "x"}}"#,
        r#"{"execute": "device_add", "arguments": {"driver": "isa-serial", "nothing": 1}}"#,
        r#"{"execute": "device_del", "arguments": {"id": "nothing"}}"#,
        r#"{"execute": "object-add", "arguments": {"qom-type": "nothing", "id": "x"}}"#,
        r#"{"execute": "object-del", "arguments": {"id": "nothing"}}"#,
        r#"{"execute": "chardev-remove", "arguments": {"id": "nothing"}}"#,
        r#"{"execute": "human-monitor-command", "arguments": {"command-line": "nothing"}}"#,
        r#"{"execute": "human-monitor-command", "arguments": {"command-line": "info status"}}"#,
        r#"{"execute": "qmp_capabilities"}"#,
        r#"{"exec-oob": "query-status"}"#,
    ];
    for request in requests {
        let q = p.qmp();
        q.send_raw(format!("{request}\n").as_bytes()).expect("a connection");
        let answer = q.receive_answer(request).unwrap_or_else(|e| panic!("{e}"));
        r.note(format!("qmp {request}"), sorted(&answer));
    }
    for nonsense in ["{]\n", "{\"execute\": \"query-name\"\n]\n", "}\n", "nonsense\n", "\"\x01\"\n"] {
        let q = p.qmp();
        q.send_raw(nonsense.as_bytes()).expect("a connection");
        q.send_raw(b"{\"execute\": \"query-name\", \"id\": \"again\"}\n").expect("a connection");
        let mut answers = Vec::new();
        while answers.last().is_none_or(|a: &Value| a.get("id").is_none()) {
            answers.push(q.receive_answer(nonsense).unwrap_or_else(|e| panic!("{nonsense:?}: {e}")));
        }
        let text: Vec<_> = answers.iter().map(sorted).collect();
        r.note(format!("qmp nonsense {nonsense:?}"), text.join(" "));
    }
}

/// The order of members has no meaning.
pub fn sorted(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let mut names: Vec<_> = members.keys().collect();
            names.sort();
            let texts: Vec<_> = names.into_iter().map(|n| format!("{}: {}", json!(n), sorted(&members[n]))).collect();
            format!("{{{}}}", texts.join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(sorted).collect::<Vec<_>>().join(", ")),
        other => other.to_string(),
    }
}
