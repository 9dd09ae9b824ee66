//! QMP of the built program, over sockets, as its clients meet it.

mod common;

use common::{Ended, PATIENCE, Running, Scratch};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, IoSlice, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// A client that has said nothing yet.
struct Client(BufReader<UnixStream>);

impl Client {
    fn connect(path: &str) -> Self {
        let end = Instant::now() + PATIENCE;
        loop {
            match UnixStream::connect(path) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(PATIENCE)).unwrap();
                    return Self(BufReader::new(stream));
                }
                Err(e) => assert!(Instant::now() < end, "{path}: {e}"),
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    /// Greeted and negotiated.
    fn ready(path: &str) -> Self {
        let mut this = Self::connect(path);
        assert!(this.hear().get("QMP").is_some());
        assert_eq!(this.ask("{'execute': 'qmp_capabilities'}"), json!({"return": {}}));
        this
    }
    fn stream(&self) -> &UnixStream {
        self.0.get_ref()
    }
    fn say(&self, bytes: &[u8]) {
        self.stream().write_all(bytes).unwrap();
    }
    fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|e| panic!("{line:?}: {e}"))
    }
    /// The next answer; events on the way are dropped.
    fn answer(&mut self) -> Value {
        loop {
            let heard = self.hear();
            if heard.get("event").is_none() {
                return heard;
            }
        }
    }
    fn ask(&mut self, text: &str) -> Value {
        self.say(text.as_bytes());
        self.say(b"\n");
        self.answer()
    }
    fn event(&mut self, name: &str) -> Value {
        loop {
            let heard = self.hear();
            if heard["event"] == name {
                return heard;
            }
        }
    }
}

/// A program whose QMP is at a path, with further arguments.
fn start(scratch: &Scratch, arguments: &[&str]) -> (Running, String) {
    let path = scratch.path("qmp");
    let server = format!("unix:{path},server,nowait");
    let common = ["-display", "none", "-accel", "qtest", "-qmp", &server];
    (Running::start(&[&common[..], arguments].concat()), path)
}

fn ended(running: Running) -> Ended {
    let ended = running.end();
    assert_eq!(ended.status, Some(0), "{ended:?}");
    ended
}

#[test]
fn clients_come_and_go_and_quit_ends_it() {
    let scratch = Scratch::new("qmp-clients");
    let (running, path) = start(&scratch, &["-machine", "none", "-name", "guest"]);
    for _ in 0..3 {
        let mut client = Client::ready(&path);
        assert_eq!(client.ask("{'execute': 'query-name'}"), json!({"return": {"name": "guest"}}));
    }
    // Half a message of somebody who has gone is not the next one's.
    Client::ready(&path).say(b"{'execute': 'qui");
    let mut client = Client::ready(&path);
    assert!(client.ask("{'execute': 'query-version', 'id': 'x'}")["id"] == "x");
    client.say(b"{'execute': 'quit'}");
    assert_eq!(client.event("SHUTDOWN")["data"], json!({"guest": false, "reason": "host-qmp-quit"}));
    ended(running);
}

#[test]
fn a_signal_ends_it_with_status_0_and_an_event() {
    let scratch = Scratch::new("qmp-signal");
    let (running, path) = start(&scratch, &["-machine", "none"]);
    let mut client = Client::ready(&path);
    running.signal(rustix::process::Signal::TERM);
    assert_eq!(client.event("SHUTDOWN")["data"]["reason"], "host-signal");
    ended(running);
}

#[test]
fn several_servers_share_a_machine() {
    let scratch = Scratch::new("qmp-several");
    let second = scratch.path("second");
    let chardev = format!("socket,id=c0,path={second},server=on,wait=off");
    let (running, first) =
        start(&scratch, &["-machine", "pc", "-S", "-chardev", &chardev, "-mon", "c0,mode=control,pretty=on"]);
    let mut first = Client::ready(&first);
    let mut lines = BufReader::new(Client::connect(&second).0.into_inner()).lines().map(Result::unwrap);
    assert_eq!([lines.next().unwrap(), lines.next().unwrap()], ["{", "    \"QMP\": {"]);
    assert_eq!(first.ask("{'execute': 'query-status'}")["return"]["status"], "prelaunch");
    first.ask("{'execute': 'cont'}");
    assert_eq!(first.ask("{'execute': 'query-status'}")["return"]["running"], true);
    first.say(b"{'execute': 'system_reset'}");
    assert_eq!(first.event("RESET")["data"], json!({"guest": false, "reason": "host-qmp-system-reset"}));
    first.say(b"{'execute': 'quit'}");
    ended(running);
}

#[test]
fn a_flood_is_survived_and_grows_nothing() {
    let scratch = Scratch::new("qmp-flood");
    let (running, path) = start(&scratch, &["-machine", "none"]);
    let mut client = Client::ready(&path);
    let memory = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", running.pid())).unwrap();
        let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap().to_owned();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
    };
    let before = memory();
    let pieces: [&[u8]; 4] = [b"[[[[", b"{'a': ", b"\"\xff\x00garbage", b"'unfinished "];
    for piece in pieces {
        let flood: Vec<u8> = piece.iter().copied().cycle().take(4 << 20).collect();
        let mut stream = client.stream().try_clone().unwrap();
        // The answers must be read meanwhile, or the emulator stops reading.
        let writer = std::thread::spawn(move || {
            stream.write_all(&flood).unwrap();
            stream.write_all(b"\xff\n{'execute': 'query-name', 'id': 'after'}\n").unwrap();
        });
        while client.answer().get("id").is_none_or(|id| id != "after") {}
        writer.join().unwrap();
    }
    let after = memory();
    assert!(after < before + 64, "{before} MiB before, {after} MiB after");
    client.say(b"{'execute': 'quit'}");
    ended(running);
}

#[test]
fn who_does_not_read_is_not_answered_without_end() {
    let scratch = Scratch::new("qmp-deaf");
    let (running, path) = start(&scratch, &["-machine", "none"]);
    let deaf = Client::ready(&path);
    deaf.stream().set_nonblocking(true).unwrap();
    let request = b"{'execute': 'query-qmp-schema'}\n".repeat(1000);
    let (mut sent, end) = (0, Instant::now() + Duration::from_secs(2));
    // In the end it takes no more, or has it all and waits.
    while Instant::now() < end && sent < request.len() {
        sent += deaf.stream().write(&request[sent..]).unwrap_or(0);
        std::thread::sleep(Duration::from_millis(1));
    }
    running.signal(rustix::process::Signal::TERM);
    ended(running);
    drop(deaf);
}

#[test]
fn descriptors_are_passed() {
    let scratch = Scratch::new("qmp-fds");
    let file = std::fs::File::open(scratch.file("f", b"text")).unwrap();
    let (running, path) = start(&scratch, &["-machine", "none"]);
    let mut client = Client::ready(&path);
    let mut pass = |text: &str| {
        let fds = [file.as_fd()];
        let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&fds)));
        sendmsg(client.stream(), &[IoSlice::new(text.as_bytes())], &mut ancillary, SendFlags::empty()).unwrap();
        client.answer()
    };
    assert_eq!(pass("{'execute': 'getfd', 'arguments': {'fdname': 'mine'}}\n"), json!({"return": {}}));
    let added = pass("{'execute': 'add-fd', 'arguments': {'opaque': 'ro:f'}}\n")["return"].clone();
    let number = added["fd"].as_i64().unwrap();
    assert_eq!(std::fs::read_link(format!("/proc/{}/fd/{number}", running.pid())).unwrap(), scratch.dir().join("f"));
    let sets = client.ask("{'execute': 'query-fdsets'}");
    assert_eq!(sets["return"][0]["fds"][0]["opaque"], "ro:f");
    assert_eq!(client.ask("{'execute': 'closefd', 'arguments': {'fdname': 'mine'}}"), json!({"return": {}}));
    for (request, told) in [
        ("{'execute': 'closefd', 'arguments': {'fdname': 'mine'}}", "File descriptor named 'mine' not found"),
        ("{'execute': 'add-fd'}", "No file descriptor supplied via SCM_RIGHTS"),
        ("{'execute': 'remove-fd', 'arguments': {'fdset-id': 9}}", "File descriptor named 'fdset-id:9' not found"),
    ] {
        assert_eq!(client.ask(request)["error"]["desc"], told);
    }
    client.say(b"{'execute': 'quit'}");
    ended(running);
}

#[test]
fn a_machine_is_configured_before_it_is_made() {
    let scratch = Scratch::new("qmp-preconfig");
    let (running, path) = start(&scratch, &["-machine", "none", "--preconfig"]);
    let mut client = Client::ready(&path);
    assert_eq!(client.ask("{'execute': 'query-status'}")["return"]["status"], "prelaunch");
    assert!(client.ask("{'execute': 'query-cpus-fast'}").get("error").is_some());
    let add = "{'execute': 'object-add', 'arguments': {'qom-type': 'memory-backend-ram', 'id': 'm', 'size': 4096}}";
    assert_eq!(client.ask(add), json!({"return": {}}));
    client.say(b"{'execute': 'x-exit-preconfig'}");
    // The answer comes when the machine is there, before or after it runs.
    let both = [client.hear(), client.hear()];
    assert!(both.iter().any(|m| m["event"] == "RESUME") && both.contains(&json!({"return": {}})), "{both:?}");
    assert!(client.ask("{'execute': 'x-exit-preconfig'}").get("error").is_some());
    assert_eq!(client.ask("{'execute': 'query-memdev'}")["return"][0]["id"], "m");
    client.say(b"{'execute': 'quit'}");
    ended(running);
    // And if it is never made, that is an end as any other.
    let scratch = Scratch::new("qmp-preconfig-end");
    let (running, path) = start(&scratch, &["-machine", "none", "--preconfig"]);
    let _client = Client::ready(&path);
    running.signal(rustix::process::Signal::TERM);
    ended(running);
}

#[test]
fn objects_devices_and_back_ends_come_and_go() {
    let scratch = Scratch::new("qmp-plug");
    let (running, path) = start(&scratch, &["-machine", "pc"]);
    let mut client = Client::ready(&path);
    let done = json!({"return": {}});
    let object = |rest: &str| {
        format!("{{'execute': 'object-add', 'arguments': {{'qom-type': 'memory-backend-ram', 'id': 'm', {rest}}}}}")
    };
    let wrong = client.ask(&object("'size': '4096'"));
    assert_eq!(wrong["error"]["desc"], "Invalid parameter type for 'size', expected: integer");
    assert!(client.ask(&object("'sized': 4096"))["error"]["desc"].as_str().unwrap().contains("unexpected"));
    assert_eq!(client.ask(&object("'size': 4096")), done);
    assert!(client.ask(&object("'size': 4096")).get("error").is_some(), "the id is taken");
    assert_eq!(
        client.ask("{'execute': 'qom-get', 'arguments': {'path': '/objects/m', 'property': 'size'}}"),
        json!({"return": 4096})
    );
    assert_eq!(client.ask("{'execute': 'object-del', 'arguments': {'id': 'm'}}"), done);
    assert!(client.ask("{'execute': 'object-del', 'arguments': {'id': 'm'}}").get("error").is_some());

    let chardev = "{'execute': 'chardev-add', 'arguments': {'id': 'c', 'backend': {'type': 'null', 'data': {}}}}";
    assert_eq!(client.ask(chardev), done);
    let listed = client.ask("{'execute': 'query-chardev'}");
    let listed = listed["return"].as_array().unwrap().iter().find(|c| c["label"] == "c").unwrap().clone();
    assert_eq!(listed, json!({"label": "c", "filename": "null", "frontend-open": false}));
    let add = "{'execute': 'device_add', 'arguments': {'driver': 'pci-serial', 'id': 's', 'chardev': 'c'}}";
    assert_eq!(client.ask(add), done);
    assert!(client.ask(add)["error"]["desc"].as_str().unwrap().starts_with("Duplicate device ID 's'"));
    assert_eq!(
        client.ask("{'execute': 'chardev-remove', 'arguments': {'id': 'c'}}")["error"]["desc"],
        "Chardev 'c' is busy"
    );
    let gone = client.ask("{'execute': 'device_del', 'arguments': {'id': 'nobody'}}");
    assert_eq!(gone["error"]["class"], "DeviceNotFound");
    assert_eq!(client.ask("{'execute': 'device_del', 'arguments': {'id': 's'}}"), done);
    client.say(b"{'execute': 'system_reset'}\n");
    assert_eq!(client.event("DEVICE_DELETED")["data"], json!({"device": "s", "path": "/machine/peripheral/s"}));
    client.say(b"{'execute': 'quit'}");
    ended(running);
}

#[test]
fn memory_goes_into_files() {
    let scratch = Scratch::new("qmp-memory");
    let (running, path) = start(&scratch, &["-machine", "pc", "-m", "2"]);
    let mut client = Client::ready(&path);
    let file = scratch.path("memory");
    let save = |from: u64, size: u64| {
        let arguments = json!({"val": from, "size": size, "filename": &file});
        json!({"execute": "pmemsave", "arguments": arguments}).to_string()
    };
    assert_eq!(client.ask(&save(0xf_ffff, 3)), json!({"return": {}}));
    assert_eq!(std::fs::read(&file).unwrap().len(), 3);
    for (from, size) in [(u64::MAX, 2), (0, u64::MAX)] {
        assert!(client.ask(&save(from, size)).get("error").is_some());
    }
    client.say(b"{'execute': 'quit'}");
    ended(running);
}
