//! The protocol, in process, on a back end in memory: what a client sees.

use super::qapi::{Kind, Type, check};
use super::*;
use crate::control::{Control, Facts};
use crate::machine::{Machine, MachineConfig};
use gearbox_accel_qtest::BenchChardev;
use gearbox_core::accel::{Accelerator, Options, Request};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

fn control(machine: &str) -> Arc<Control> {
    let machine = *crate::machine_types().iter().find(|m| m.name() == machine || m.alias() == Some(machine)).unwrap();
    let config = MachineConfig::default();
    Control::new(Facts {
        name: Some("test".to_owned()),
        uuid: [7; 16],
        accelerators: LazyLock::new(Box::new(Vec::new)),
        machine,
        cpu: config.cpu,
        topology: config.topology,
        ram_size: config.ram_size,
        numa: config.numa,
        chardevs: config.chardevs,
        blocks: config.blocks,
        objects: config.objects,
    })
}

/// The same with its machine, without CPUs that run.
fn running(name: &str) -> (Arc<Control>, Arc<Machine>) {
    let control = control(name);
    let facts = control.facts();
    let qtest: &dyn Accelerator = *crate::accelerators().iter().find(|a| a.name() == "qtest").unwrap();
    let vm = qtest.open(&Request::default(), &Options::default()).unwrap();
    let config =
        MachineConfig { chardevs: facts.chardevs.clone(), objects: facts.objects.clone(), ..MachineConfig::default() };
    let machine = Machine::new(vm, facts.machine, &config).unwrap();
    control.attach(&machine);
    (control, machine)
}

/// A client at the other side of a server.
struct Talk {
    chardev: Arc<BenchChardev>,
    heard: Vec<u8>,
    _server: Server,
}

impl Talk {
    fn new(control: &Arc<Control>) -> Self {
        let chardev = BenchChardev::new();
        let server = Server::start(control.clone(), chardev.clone(), false).unwrap();
        let mut this = Self { chardev, heard: Vec::new(), _server: server };
        let greeting = this.hear();
        assert_eq!(greeting["QMP"]["capabilities"], json!(["oob"]));
        this
    }
    fn negotiated(control: &Arc<Control>) -> Self {
        let mut this = Self::new(control);
        assert_eq!(this.ask(r#"{"execute": "qmp_capabilities"}"#), json!({"return": {}}));
        this
    }
    fn hear(&mut self) -> Value {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(at) = self.heard.windows(2).position(|w| w == b"\r\n") {
                let line: Vec<u8> = self.heard.drain(..at + 2).collect();
                return serde_json::from_slice(&line).unwrap();
            }
            assert!(Instant::now() < end, "no line; {:?}", String::from_utf8_lossy(&self.heard));
            std::thread::sleep(Duration::from_millis(1));
            self.heard.extend(self.chardev.output());
        }
    }
    fn say(&self, text: &str) {
        self.chardev.type_in(text.as_bytes());
    }
    fn ask(&mut self, text: &str) -> Value {
        self.say(&format!("{text}\n"));
        self.hear()
    }
    fn error(&mut self, text: &str) -> (String, String) {
        let answer = self.ask(text);
        let part = |key: &str| answer["error"][key].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
        (part("class"), part("desc"))
    }
}

#[test]
fn nothing_but_the_negotiation_before_the_negotiation() {
    let mut talk = Talk::new(&control("none"));
    let expecting =
        ("CommandNotFound".to_owned(), "Expecting capabilities negotiation with 'qmp_capabilities'".to_owned());
    assert_eq!(talk.error("{'execute': 'query-version'}"), expecting);
    assert_eq!(talk.error("{'execute': 'no-such-command'}"), expecting);
    let unknown = talk.error("{'execute': 'qmp_capabilities', 'arguments': {'enable': ['warp']}}");
    assert_eq!(unknown.1, "Parameter 'enable[0]' does not accept value 'warp'");
    assert_eq!(talk.ask("{'execute': 'qmp_capabilities', 'id': [1]}"), json!({"return": {}, "id": [1]}));
    let again = talk.error("{'execute': 'qmp_capabilities'}");
    assert_eq!(again.1, "Capabilities negotiation is already complete, command ignored");
    assert_eq!(talk.ask("{'execute': 'query-version'}")["return"]["qemu"]["major"], 7);
}

#[test]
fn requests_that_are_none() {
    let mut talk = Talk::negotiated(&control("none"));
    for (request, told) in [
        ("null", "QMP input must be a JSON object"),
        ("{}", "QMP input lacks member 'execute'"),
        ("{'execute': true}", "QMP input member 'execute' must be a string"),
        ("{'execute': 'stop', 'arguments': []}", "QMP input member 'arguments' must be an object"),
        ("{'execute': 'stop', 'extra': 1}", "QMP input member 'extra' is unexpected"),
        ("{'exec-oob': 'stop'}", "QMP input member 'exec-oob' is unexpected"),
        ("{'execute': 'query-name', 'arguments': {'x': 1}}", "Parameter 'x' is unexpected"),
        ("{'execute': 'qom-get', 'arguments': {'path': '/'}}", "Parameter 'property' is missing"),
        ("{'execute': 'qom-get', 'arguments': {'path': 1}}", "Invalid parameter type for 'path', expected: string"),
        ("{]", "JSON parse error, expecting value"),
    ] {
        assert_eq!(talk.error(request), ("GenericError".to_owned(), told.to_owned()), "{request}");
    }
    let unknown = talk.error("{'execute': 'migrate'}");
    assert_eq!(unknown, ("CommandNotFound".to_owned(), "The command migrate has not been found".to_owned()));
    let id = talk.ask("{'execute': 'human-monitor-command', 'id': 2}");
    assert_eq!((&id["id"], &id["error"]["class"]), (&json!(2), &json!("GenericError")));
}

#[test]
fn a_machine_that_is_not_made_has_few_commands() {
    let control = control("none");
    let mut talk = Talk::negotiated(&control);
    assert_eq!(talk.ask("{'execute': 'query-status'}")["return"]["status"], "prelaunch");
    let refused = talk.error("{'execute': 'query-cpus-fast'}");
    assert_eq!(refused.1, "The command 'query-cpus-fast' isn't permitted in 'prelaunch' state");
    talk.say("{'execute': 'quit'}");
    let (first, second) = (talk.hear(), talk.hear());
    assert_eq!((&first["event"], &second), (&json!("SHUTDOWN"), &json!({"return": {}})));
    assert!(!control.wait_for_configuration());
}

#[test]
fn what_may_overtake_is_told_apart() {
    let mut talk = Talk::new(&control("none"));
    talk.ask("{'execute': 'qmp_capabilities', 'arguments': {'enable': ['oob']}}");
    let refused = talk.error("{'exec-oob': 'query-name'}");
    assert_eq!(refused.1, "The command query-name does not support OOB");
    let both = talk.error("{'execute': 'query-name', 'exec-oob': 'query-name'}");
    assert_eq!(both.1, "QMP input member 'exec-oob' clashes with 'execute'");
    for n in 0..50 {
        talk.say(&format!("{{'execute': 'query-name', 'id': {n}}}"));
    }
    let order: Vec<_> = (0..50).map(|_| talk.hear()["id"].as_u64().unwrap()).collect();
    assert!(order.is_sorted(), "commands in order stay in order: {order:?}");
}

#[test]
fn every_command_without_arguments_answers_as_its_schema_says() {
    for name in ["none", "pc"] {
        let (control, _machine) = running(name);
        let client = Client::internal();
        for command in commands() {
            let Kind::Object { members, .. } = &(command.arguments)().kind else { panic!("{}", command.name) };
            let changes = ["quit", "system_reset", "system_powerdown"].contains(&command.name);
            if changes || members.iter().any(|m| !m.optional) {
                continue;
            }
            let call = Call { control: &control, client: &client };
            match (command.run)(&call, json!({})) {
                Ok(value) => check(&value, (command.returns)()).unwrap_or_else(|e| panic!("{}: {e}", command.name)),
                Err(e) => {
                    let refused = [
                        "qmp_capabilities",
                        "inject-nmi",
                        "system_wakeup",
                        "add-fd",
                        "query-balloon",
                        "query-hotpluggable-cpus",
                        "query-vm-generation-id",
                        "x-exit-preconfig",
                        "blockdev-open-tray",
                        "blockdev-close-tray",
                        "eject",
                    ];
                    assert!(refused.contains(&command.name), "{} on {name}: {e}", command.name);
                }
            }
        }
    }
}

#[test]
fn the_schema_is_complete_and_unique() {
    let infos: Vec<_> = schema().iter().map(Qapi::encode).collect();
    let mut by_name = BTreeMap::new();
    for info in &infos {
        check(info, types::introspect::SchemaInfo::ty()).unwrap();
        let twice = by_name.insert(info["name"].as_str().unwrap(), info);
        assert!(twice.is_none(), "{info}");
    }
    let mut used = BTreeSet::new();
    fn names<'a>(value: &'a Value, used: &mut BTreeSet<&'a str>) {
        match value {
            Value::Object(members) => members.iter().for_each(|(key, v)| match v {
                Value::String(name) if ["type", "arg-type", "ret-type", "element-type"].contains(&&**key) => {
                    used.insert(name);
                }
                v => names(v, used),
            }),
            Value::Array(items) => items.iter().for_each(|v| names(v, used)),
            _ => {}
        }
    }
    infos.iter().for_each(|info| names(info, &mut used));
    for name in used {
        assert!(by_name.contains_key(name), "type {name} is not described");
    }
    let listed: BTreeSet<_> = commands().map(|c| c.name).collect();
    assert_eq!(listed.len(), commands().count(), "no command is there twice");
    for command in commands() {
        assert!(!command.about.is_empty() && by_name.contains_key(command.name), "{}", command.name);
    }
    // Different types of one name would hide each other.
    let mut types: BTreeMap<&str, &'static Type> = BTreeMap::new();
    for ty in commands().flat_map(|c| [(c.arguments)(), (c.returns)()]) {
        let same = types.insert(ty.name, ty).is_none_or(|other| std::ptr::eq(other, ty) || ty.name.is_empty());
        assert!(same, "{}", ty.name);
    }
}

#[test]
fn events_reach_every_client_that_has_negotiated() {
    let (control, machine) = running("none");
    let (mut first, mut second) = (Talk::negotiated(&control), Talk::negotiated(&control));
    let deaf = Talk::new(&control);
    machine.cont();
    first.say("{'execute': 'stop'}");
    for talk in [&mut first, &mut second] {
        for name in ["RESUME", "STOP"] {
            let event = talk.hear();
            assert_eq!(event["event"], name);
            assert!(event["timestamp"]["seconds"].as_u64() > Some(1_000_000) && event.get("data").is_none());
            assert!(event["timestamp"]["microseconds"].as_u64() < Some(1_000_000));
        }
    }
    assert_eq!(first.hear(), json!({"return": {}}));
    assert!(deaf.chardev.output().is_empty());
}

#[test]
fn events_that_a_guest_causes_at_will_are_told_once_a_second() {
    use gearbox_core::event::Event;
    let (control, machine) = running("none");
    let mut talk = Talk::negotiated(&control);
    for offset in 0..100 {
        machine.board().emit(&Event::RtcChange { offset, path: "/machine/rtc".into() });
    }
    let start = Instant::now();
    assert_eq!(talk.hear()["data"]["offset"], 0);
    assert_eq!(talk.hear()["data"], json!({"offset": 99, "qom-path": "/machine/rtc"}), "the last one counts");
    assert!(start.elapsed() > Duration::from_millis(500));
    assert!(talk.chardev.output().is_empty());
}

#[test]
fn every_event_has_the_form_that_the_schema_says() {
    use gearbox_core::event::{Event, GuestPanicAction, ShutdownCause, WatchdogAction};
    let (control, machine) = running("none");
    let mut talk = Talk::negotiated(&control);
    let (id, path) = (Some("d".to_owned()), "/machine/peripheral/d".to_owned());
    let info = json!({"slot": "0", "slot-type": "CPU", "source": 1, "status": 0});
    let events = [
        Event::Stop,
        Event::Resume,
        Event::Reset(ShutdownCause::GuestReset),
        Event::Shutdown(ShutdownCause::HostSignal),
        Event::Powerdown,
        Event::DeviceDeleted { id: None, path: path.clone() },
        Event::DeviceUnplugGuestError { id, path: path.clone() },
        Event::GuestPanicked { action: GuestPanicAction::Pause },
        Event::GuestCrashloaded,
        Event::Watchdog { action: WatchdogAction::InjectNmi },
        Event::RtcChange { offset: -1, path },
        Event::BlockIoError {
            device: "d".into(),
            node: "#block001".into(),
            operation: "read",
            action: "report",
            nospace: false,
            reason: "Input/output error".into(),
        },
        Event::DeviceTrayMoved { device: "d".into(), id: String::new(), tray_open: true },
        Event::VserportChange { id: "p".into(), open: true },
        Event::BalloonChange { actual: 1 << 30 },
        Event::AcpiDeviceOst { info },
    ];
    for event in &events {
        machine.board().emit(event);
        let heard = talk.hear();
        let known = EVENTS.iter().find(|e| heard["event"] == e.name).unwrap_or_else(|| panic!("{heard}"));
        check(heard.get("data").unwrap_or(&json!({})), (known.data)()).unwrap();
    }
    assert_eq!(events.len(), EVENTS.len());
}

#[test]
fn a_client_that_does_not_read_is_waited_for_and_does_not_grow() {
    let (control, machine) = running("none");
    let talk = Talk::negotiated(&control);
    talk.chardev.set_room(0);
    for _ in 0..64 {
        talk.say("{'execute': 'query-qmp-schema'}");
    }
    for _ in 0..20_000 {
        machine.board().emit(&gearbox_core::event::Event::Powerdown);
    }
    // Others are served all the while.
    let mut other = Talk::negotiated(&control);
    assert_eq!(other.ask("{'execute': 'query-name'}")["return"]["name"], "test");
    assert!(talk.chardev.waiting() < 64 * 40, "some has been read");
    // Dropping the server ends, though nobody reads.
    drop(talk);
}
