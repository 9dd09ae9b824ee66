//! Drives and images over QMP and the monitor: the same commands, the same answers and events. What QEMU knows of an image beyond what a reader of it needs
//! is left out (`KNOWN_BETTER`), and so are names that are made up. Both programs write to the same disk, which they would not let each other do.

use super::protocol::sorted;
use super::reading::Readings;
use gearbox::testing::Process;
use serde_json::{Value, json};
use std::path::Path;

/// A disk that the machine has, an image that nobody has, a CD-ROM drive, and a drive that waits for a device.
pub fn arguments(directory: &Path) -> Vec<String> {
    let [disk, image, spare] = ["disk", "image", "spare"].map(|name| {
        let path = directory.join(name);
        std::fs::write(&path, [0; 1 << 20]).expect("a file");
        path.to_str().expect("a path in UTF-8").to_owned()
    });
    let words = [
        "-drive".to_owned(),
        format!("file={disk},format=raw,werror=stop,file.locking=off"),
        "-blockdev".to_owned(),
        format!("raw,node-name=image,read-only=on,file.driver=file,file.node-name=below,file.filename={image}"),
        "-drive".to_owned(),
        format!("file={spare},format=raw,if=none,id=spare,cache=unsafe,readonly=on"),
        "-device".to_owned(),
        "ide-cd,id=cd,bus=ide.1".to_owned(),
    ];
    words.to_vec()
}

/// Members that only QEMU has.
const KNOWN_BETTER: [&str; 6] =
    ["format-specific", "dirty-flag", "driver-specific", "parent", "actual-size", "idle_time_ns"];

/// Takes out what is made up.
fn plain(value: Value) -> Value {
    match value {
        Value::Object(members) => members
            .into_iter()
            .filter(|(name, _)| !KNOWN_BETTER.contains(&&**name))
            .map(|(name, value)| (name, plain(value)))
            .collect(),
        Value::Array(items) => items.into_iter().map(plain).collect(),
        Value::String(text) => Value::String(nameless(&text)),
        other => other,
    }
}

/// A text without numbers behind `#block` and `device[`.
fn nameless(text: &str) -> String {
    let mut parts = ["#block", "device["].iter().fold(vec![text.to_owned()], |parts, mark| {
        let cut = |part: String| part.split_inclusive(mark).map(str::to_owned).collect::<Vec<_>>();
        parts.into_iter().flat_map(cut).collect()
    });
    parts.iter_mut().skip(1).for_each(|p| *p = p.trim_start_matches(|c: char| c.is_ascii_digit()).to_owned());
    parts.concat()
}

/// Asks, changes, and looks again.
pub fn commands(p: &mut Process, r: &mut Readings, directory: &Path) {
    let file = |name: &str| directory.join(name).to_str().expect("a path in UTF-8").to_owned();
    let hmp = |line: &str| ("human-monitor-command", json!({ "command-line": line }));
    let requests = [
        ("query-block", json!({})),
        ("query-blockstats", json!({})),
        ("query-named-block-nodes", json!({})),
        hmp("info block"),
        hmp("info block -n"),
        hmp("info block spare"),
        hmp("info block nothing"),
        hmp("info blockstats"),
        ("eject", json!({"device": "nothing"})),
        ("eject", json!({"id": "nothing"})),
        ("eject", json!({})),
        ("eject", json!({"device": "ide0-hd0", "id": "cd"})),
        ("eject", json!({"device": "ide0-hd0"})),
        ("blockdev-add", json!({"driver": "nothing", "node-name": "x"})),
        ("blockdev-add", json!({"driver": "file", "filename": file("image")})),
        ("blockdev-add", json!({"driver": "file", "node-name": "image", "filename": file("image"), "read-only": true})),
        ("blockdev-add", json!({"driver": "file", "node-name": "8", "filename": file("image"), "read-only": true})),
        ("blockdev-add", json!({"driver": "file", "node-name": "x", "filename": file("nothing")})),
        ("blockdev-add", json!({"driver": "raw", "node-name": "x", "file": "nothing"})),
        ("blockdev-add", json!({"driver": "raw", "node-name": "x"})),
        ("blockdev-del", json!({"node-name": "nothing"})),
        ("blockdev-del", json!({"node-name": "below"})),
        ("block_resize", json!({"device": "ide0-hd0", "size": 2 << 20})),
        ("block_resize", json!({"device": "ide0-hd0", "size": -1})),
        ("block_resize", json!({"size": 2 << 20})),
        ("block_resize", json!({"node-name": "nothing", "size": 2 << 20})),
        ("blockdev-insert-medium", json!({"id": "nothing", "node-name": "image"})),
        ("blockdev-insert-medium", json!({"id": "cd", "node-name": "image"})),
        ("blockdev-remove-medium", json!({"id": "cd"})),
        ("blockdev-open-tray", json!({"id": "cd"})),
        ("blockdev-open-tray", json!({"id": "cd"})),
        ("blockdev-remove-medium", json!({"id": "cd"})),
        ("blockdev-insert-medium", json!({"id": "cd", "node-name": "nothing"})),
        ("blockdev-insert-medium", json!({"id": "cd", "node-name": "image"})),
        ("blockdev-insert-medium", json!({"id": "cd", "node-name": "image"})),
        ("blockdev-del", json!({"node-name": "image"})),
        ("blockdev-close-tray", json!({"id": "cd"})),
        ("query-block", json!({})),
        ("blockdev-change-medium", json!({"id": "cd", "filename": file("nothing")})),
        ("blockdev-change-medium", json!({"id": "cd", "filename": file("disk"), "format": "nothing"})),
        ("blockdev-change-medium", json!({"id": "cd", "filename": file("image"), "format": "raw"})),
        ("query-block", json!({})),
        ("eject", json!({"id": "cd"})),
        ("blockdev-del", json!({"node-name": "image"})),
        hmp("eject nothing"),
        hmp("change nothing x"),
        hmp("drive_del nothing"),
        hmp("drive_del spare"),
        hmp(&format!("drive_add 0 if=none,id=new,format=raw,readonly=on,file={}", file("spare"))),
        hmp("drive_add 0 if=none,id=new,format=raw"),
        hmp("block_resize ide0-hd0 3"),
        hmp("info block"),
        hmp("drive_del new"),
        hmp("info block ide0-hd0"),
        ("query-block", json!({})),
    ];
    for (n, (command, arguments)) in requests.into_iter().enumerate() {
        let request = json!({"execute": command, "arguments": arguments});
        p.qmp().send_raw(format!("{request}\n").as_bytes()).expect("a connection");
        let answer = p.qmp().receive_answer(command).unwrap_or_else(|e| panic!("{e}"));
        let request = request.to_string().replace(&file(""), "");
        let answer = sorted(&plain(answer)).replace(&file(""), "");
        r.note(format!("blocks {n:02} {request}"), answer);
        for (m, event) in p.qmp().take_events().into_iter().enumerate() {
            r.note(format!("blocks {n:02} event {m} {}", event["event"]), sorted(&plain(event["data"].clone())));
        }
    }
}
