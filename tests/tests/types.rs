//! Every type that can be listed, on every machine: it is made with its defaults and with random properties, looked at, reset and deleted, or refused with a
//! reason. Nothing breaks down.

use gearbox::machine::MachineType;
use gearbox::testing::Vm;
use gearbox_tests::random::Random;
use serde_json::{Map, Value, json};

/// Shows what was under way when a test fails.
struct Case(String);

impl Drop for Case {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("while trying {}", self.0);
        }
    }
}

/// Names of the types that implement `interface`; abstract ones too if asked.
fn list(vm: &mut Vm, interface: &str, with_abstract: bool) -> Vec<String> {
    let arguments = json!({"implements": interface, "abstract": with_abstract});
    let types = vm.qmp("qom-list-types", arguments).unwrap_or_else(|e| panic!("{e}"));
    let names = types.as_array().into_iter().flatten().filter_map(|t| t["name"].as_str());
    names.map(str::to_owned).collect()
}

/// Properties of a type as (name, type).
fn properties(vm: &mut Vm, command: &str, name: &str) -> Vec<(String, String)> {
    let list = vm.qmp(command, json!({"typename": name})).unwrap_or_else(|e| panic!("{e}"));
    let text = |p: &Value, key: &str| p[key].as_str().unwrap_or_default().to_owned();
    list.as_array().into_iter().flatten().map(|p| (text(p, "name"), text(p, "type"))).collect()
}

/// A value for a property, of its type or of none.
fn value(r: &mut Random, kind: &str) -> Value {
    match kind {
        _ if r.one_in(10) => [Value::Null, json!([]), json!({"a": 1}), json!(-1), json!(1.5)][r.index(5)].clone(),
        "bool" => json!(r.one_in(2)),
        k if k.starts_with("uint") || k.starts_with("int") || k == "size" => match r.below(4) {
            0 => json!(r.below(0x10000)),
            1 => json!(r.below(16)),
            2 => json!((r.number() as i64) >> r.below(64)),
            _ => json!(r.interesting()),
        },
        _ => match r.below(4) {
            0 => r.text(10).into(),
            1 => "null0".into(),
            2 => format!("{:x}.{}", r.below(40), r.below(9)).into(),
            _ => ["on", "off", "auto", "", "reset", "0x10"][r.index(6)].into(),
        },
    }
}

/// Reads every property of every object.
fn inspect(vm: &mut Vm, path: &str, depth: u32) {
    assert!(depth < 32, "{path}: objects have no end");
    let list = vm.qmp("qom-list", json!({"path": path})).unwrap_or_else(|e| panic!("{e}"));
    for property in list.as_array().into_iter().flatten() {
        let (name, kind) =
            (property["name"].as_str().unwrap_or_default(), property["type"].as_str().unwrap_or_default());
        if kind.starts_with("child<") {
            inspect(vm, &format!("{}/{name}", path.trim_end_matches('/')), depth + 1);
        } else {
            // Some can only be set.
            let _ = vm.qmp("qom-get", json!({"path": path, "property": name}));
        }
    }
}

fn names(vm: &mut Vm, path: &str) -> Vec<String> {
    let list = vm.qmp("qom-list", json!({"path": path}));
    let list = list.unwrap_or_else(|_| json!([]));
    list.as_array().into_iter().flatten().filter_map(|p| p["name"].as_str()).map(str::to_owned).collect()
}

/// A machine with a device that is there from the beginning; `None` when it is refused.
fn with_device(machine: &'static dyn MachineType, device: &Map<String, Value>) -> Option<Vm> {
    let text = Value::Object(device.clone()).to_string();
    let vm = Vm::of(machine).accel("qtest").args(["-chardev", "null,id=null0", "-device", &text]);
    // There is room for one more CPU.
    let vm = if machine.has_cpus() { vm.memory(16 << 20).args(["-smp", "1,maxcpus=2"]) } else { vm };
    vm.start().inspect_err(|e| assert!(!e.to_string().is_empty())).ok()
}

fn reset(vm: &mut Vm) {
    vm.qmp("system_reset", json!({})).unwrap_or_else(|e| panic!("{e}"));
    vm.event("RESET", std::time::Duration::from_secs(20)).expect("a reset");
}

/// Makes, inspects, resets and deletes one device, plugged at the start and plugged later; whether it was made at all.
fn life_of_a_device(machine: &'static dyn MachineType, device: &Map<String, Value>) -> bool {
    let _case = Case(format!("{} -device '{}'", machine.name(), Value::Object(device.clone())));
    let Some(mut vm) = with_device(machine, device) else { return false };
    inspect(&mut vm, "/machine/peripheral", 0);
    reset(&mut vm);
    // A PCI device goes when the guest lets it, or at the next reset; a CPU only when the guest lets it.
    if vm.qmp("device_del", json!({"id": "it"})).is_ok() {
        reset(&mut vm);
        let there = names(&mut vm, "/machine/peripheral").contains(&"it".to_owned());
        assert!(!there || device["driver"].as_str().is_some_and(is_cpu), "it has gone");
        let mut arguments = device.clone();
        arguments.insert("id".into(), "it".into());
        if vm.qmp("device_add", Value::Object(arguments)).is_ok() {
            inspect(&mut vm, "/machine/peripheral", 0);
        }
    }
    if machine.is_default() {
        inspect(&mut vm, "/", 0);
    }
    true
}

/// Tries each type of devices on a machine, with its defaults and then `rounds` times with random properties; how many were made.
fn every_device_on(machine: &'static dyn MachineType, rounds: u32, wanted: impl Fn(&str) -> bool) -> u32 {
    let mut vm = Vm::of(machine).accel("qtest").start().unwrap_or_else(|e| panic!("{}: {e}", machine.name()));
    let devices = list(&mut vm, "device", true);
    assert!(devices.len() > 5, "{}", machine.name());
    let mut made = 0;
    for name in devices.into_iter().filter(|name| wanted(name)) {
        let mut r = Random::new(name.bytes().map(u64::from).sum());
        let known = vm.qmp("device-list-properties", json!({"typename": name})).is_ok();
        let known = if known { properties(&mut vm, "device-list-properties", &name) } else { Vec::new() };
        for round in 0..=rounds {
            let mut device = Map::new();
            device.insert("driver".into(), name.as_str().into());
            device.insert("id".into(), "it".into());
            if is_cpu(&name) {
                let place = [("socket-id", 0), ("core-id", 1), ("thread-id", 0)];
                device.extend(place.map(|(key, n)| (key.to_owned(), n.into())));
            }
            if round > 0 {
                for (property, kind) in known.iter().filter(|_| r.one_in(2)).collect::<Vec<_>>() {
                    device.insert(property.clone(), value(&mut r, kind));
                }
            }
            made += u32::from(life_of_a_device(machine, &device));
        }
    }
    made
}

fn is_cpu(name: &str) -> bool {
    name.ends_with("-x86_64-cpu")
}

#[test]
fn every_device_on_the_default_machine() {
    let pc = gearbox::machine_types().iter().find(|m| m.is_default()).expect("a default machine");
    let made = every_device_on(*pc, 4, |name| !is_cpu(name));
    assert!(made > 20, "only {made} devices were made");
    assert!(every_device_on(*pc, 0, is_cpu) > 0);
}

/// The other machines differ from it in values of properties, or have nothing to plug into: defaults are enough, and a few CPU models.
#[test]
fn every_device_on_the_other_machines() {
    for machine in gearbox::machine_types().iter().filter(|m| !m.is_default()) {
        every_device_on(*machine, 0, |name| !is_cpu(name) || name.starts_with("qemu"));
    }
}

#[test]
fn every_object_that_users_make() {
    let mut vm = Vm::pc().accel("qtest").memory(16 << 20).start().expect("a pc");
    let types = list(&mut vm, "user-creatable", true);
    assert!(!types.is_empty());
    for name in types {
        let known = properties(&mut vm, "qom-list-properties", &name);
        let mut r = Random::new(7);
        for round in 0..20 {
            let mut object = Map::new();
            object.insert("qom-type".into(), name.as_str().into());
            object.insert("id".into(), "it".into());
            if round > 0 {
                // Files of the host are none of this test's business.
                let some = known.iter().filter(|(p, _)| p != "mem-path" && !r.one_in(2)).cloned().collect::<Vec<_>>();
                for (property, kind) in some {
                    object
                        .insert(property, if kind == "size" { json!(r.below(1 << 24)) } else { value(&mut r, &kind) });
                }
            }
            let _case = Case(format!("object-add {object:?}"));
            if vm.qmp("object-add", Value::Object(object)).is_ok() {
                inspect(&mut vm, "/objects", 0);
                vm.qmp("object-del", json!({"id": "it"})).unwrap_or_else(|e| panic!("{e}"));
            }
        }
    }
    inspect(&mut vm, "/", 0);
}

#[test]
fn every_type_tells_its_properties_or_why_not() {
    let mut vm = Vm::pc().accel("qtest").start().expect("a pc");
    for name in list(&mut vm, "object", true) {
        let _case = Case(name.clone());
        assert!(!properties(&mut vm, "qom-list-properties", &name).iter().any(|(p, t)| p.is_empty() || t.is_empty()));
        if let Err(e) = vm.qmp("device-list-properties", json!({"typename": name})) {
            assert!(e.class().is_some(), "{e}");
        }
    }
}
