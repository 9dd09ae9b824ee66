//! CPUs of the whole `pc` without an accelerator that executes them: objects, versions of the machine, plugging, NUMA. Values and texts are QEMU 7.2's.

use gearbox_accel_qtest::QtestVm;
use gearbox_core::event::Event;
use gearbox_core::machine::numa::{NodeOption, Numa, NumaOption};
use gearbox_core::machine::{DeviceArg, Machine, MachineConfig, MachineType};
use gearbox_core::object::Value;
use gearbox_core::vm::CpuBus;
use gearbox_core::x86::cpu_model::CpuModel;
use gearbox_core::x86::topology::Topology;
use gearbox_machines::machine_types;
use std::sync::{Arc, Mutex};

fn machine_type(name: &str) -> &'static dyn MachineType {
    *machine_types().iter().find(|m| m.name() == name || m.alias() == Some(name)).expect("a machine of that name")
}
fn start(machine: &str, config: &MachineConfig) -> Arc<Machine> {
    Machine::new(Box::new(QtestVm::new()), machine_type(machine), config).expect("a machine")
}
fn get(m: &Machine, path: &str, property: &str) -> Value {
    m.board().with(|s| {
        let node = s.objects.resolve(path).unwrap();
        s.object_get(node, property).unwrap()
    })
}
fn of_model(machine: &str, cpu: &str, property: &str) -> Value {
    let config = MachineConfig { cpu: CpuModel::parse(cpu).unwrap(), ..MachineConfig::default() };
    get(&start(machine, &config), "/machine/unattached/device[0]", property)
}
/// One of six CPUs is there, of a model with a name of its own.
fn sparse() -> MachineConfig {
    MachineConfig {
        cpu: CpuModel::parse("Haswell").unwrap(),
        topology: Topology { sockets: 1, cores: 3, threads: 2 },
        cpus: Some(1),
        ..MachineConfig::default()
    }
}
fn address(parts: &[(&str, u32)]) -> Vec<(String, Value)> {
    parts.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect()
}

#[test]
fn the_first_object_is_the_first_cpu() {
    let m = start(
        "pc",
        &MachineConfig { topology: Topology { sockets: 2, ..Topology::default() }, ..MachineConfig::default() },
    );
    for (n, apic_id) in [(0, 0), (1, 1)] {
        let path = format!("/machine/unattached/device[{n}]");
        assert_eq!(get(&m, &path, "type"), "qemu64-x86_64-cpu");
        assert_eq!(get(&m, &path, "socket-id"), apic_id);
        assert_eq!((get(&m, &path, "realized"), get(&m, &path, "hotplugged")), (true.into(), false.into()));
        assert_eq!(get(&m, &format!("{path}/lapic"), "id"), apic_id);
        assert_eq!(get(&m, &format!("{path}/lapic"), "type"), "apic");
    }
    assert_ne!(get(&m, "/machine/unattached/device[2]", "type"), "qemu64-x86_64-cpu");
    assert_eq!(m.vcpu_count(), 0, "and nothing executes");
}

#[test]
fn levels_of_older_machines() {
    for (machine, cpu, property, expect) in [
        ("pc", "486,arat=on", "level", 6u32),
        ("pc-i440fx-2.7", "486,arat=on,avx512vbmi=on,xsaveopt=on", "level", 1),
        ("pc-i440fx-2.7", "486,3dnow=on,sse4a=on,invtsc=on,npt=on,svm=on", "xlevel", 0),
        ("pc-i440fx-2.7", "486,xstore=on", "xlevel2", 0),
        ("pc-i440fx-1.4", "Nehalem", "level", 2),
        ("pc-i440fx-1.4", "Nehalem,smap=on", "level", 7),
        ("pc-i440fx-2.3", "Penryn", "level", 4),
        ("pc-i440fx-2.3", "Penryn,erms=on", "level", 7),
        ("pc-i440fx-2.9", "Conroe,erms=on", "level", 10),
        ("pc-i440fx-2.3", "SandyBridge", "xlevel", 0x8000_000a),
        ("pc-i440fx-2.4", "SandyBridge,svm=on,npt=on", "xlevel", 0x8000_0008),
        ("pc-i440fx-6.0", "qemu64", "family", 6),
        ("pc-i440fx-6.0", "qemu64,family=15", "family", 15),
    ] {
        assert_eq!(of_model(machine, cpu, property), expect, "{machine} {cpu}");
    }
    assert_eq!(of_model("pc-i440fx-2.0", "qemu64", "model-id"), "QEMU Virtual CPU version 2.0.0");
    assert_eq!(of_model("pc-i440fx-2.1", "core2duo", "vmx"), true);
}

#[test]
fn older_machines_have_the_older_ioapic() {
    for (name, version) in [("pc", 0x20u8), ("pc-i440fx-2.8", 0x20), ("pc-i440fx-2.7", 0x11)] {
        let m = start(name, &MachineConfig::default());
        m.board().mmio_write(0xfec0_0000, &[1, 0, 0, 0]);
        let mut read = [0; 4];
        m.board().mmio_read(0xfec0_0010, &mut read);
        assert_eq!(read, [version, 0, 23, 0], "{name}");
    }
}

#[test]
fn possible_cpus_are_plugged_by_their_place() {
    let m = start("pc", &sparse());
    let absent: Vec<_> = m.possible_cpus().into_iter().filter(|c| c.path.is_none()).collect();
    assert_eq!(absent.len(), 5);
    for c in absent {
        let place = [("socket-id", c.place.socket), ("core-id", c.place.core), ("thread-id", c.place.thread)];
        m.device_add(&c.type_name, &address(&place)).unwrap();
    }
    assert!(m.possible_cpus().iter().all(|c| c.path.is_some()));
    let last = m.possible_cpus().pop().unwrap();
    assert_eq!((last.place.apic_id, last.path.as_deref()), (5, Some("/machine/peripheral-anon/device[4]")));
    assert_eq!(get(&m, "/machine/peripheral-anon/device[4]", "hotplugged"), true);
}

#[test]
fn mistakes_in_plugging() {
    let m = start("pc", &sparse());
    let error = |name: &str, parts: &[(&str, u32)]| m.device_add(name, &address(parts)).unwrap_err().to_string();
    let haswell = "Haswell-x86_64-cpu";
    for (parts, text) in [
        (&[][..], "CPU socket-id is not set"),
        (&[("socket-id", 0), ("core-id", 1)], "CPU thread-id is not set"),
        (&[("socket-id", 1)], "Invalid CPU socket-id: 1 must be in range 0:0"),
        (&[("socket-id", 0), ("core-id", 3)], "Invalid CPU core-id: 3 must be in range 0:2"),
        (&[("socket-id", 0), ("core-id", 0), ("thread-id", 0)], "CPU[0] with APIC ID 0 exists"),
        (
            &[("apic-id", 9)],
            "Invalid CPU [socket: 1, die: 0, core: 0, thread: 1] with APIC ID 9, valid index range 0:5",
        ),
        (&[("apic-id", 2), ("core-id", 2)], "property core-id: 2 doesn't match set apic-id: 0x2 (core-id: 1)"),
        (&[("apic-id", 2), ("node-id", 1)], "invalid node-id, must be -1"),
    ] {
        assert_eq!(error(haswell, parts), text);
    }
    assert_eq!(error("qemu64-x86_64-cpu", &[]), "Invalid CPU type, expected cpu type: 'Haswell-x86_64-cpu'");
    assert!(error(haswell, &[("family", 6)]).contains("give it with -cpu"));
    assert!(error(haswell, &[("colour", 6)]).contains("not found"));
    let named =
        |id: &str| m.device_add(haswell, &[address(&[("apic-id", 3)]), vec![("id".into(), id.into())]].concat());
    assert!(named("1st").is_err());
    named("first").unwrap();
    let again = m.device_add(haswell, &[address(&[("apic-id", 4)]), vec![("id".into(), "first".into())]].concat());
    assert_eq!(again.unwrap_err().to_string(), "Duplicate device ID 'first'");
    assert!(m.device_add("x86_64-cpu", &[]).is_err());
}

#[test]
fn the_guest_hears_of_a_cpu_and_lets_it_go() {
    let m = start("pc", &sparse());
    let deleted = Arc::new(Mutex::new(Vec::new()));
    let seen = deleted.clone();
    let listener: Arc<dyn Fn(&Event) + Send + Sync> = Arc::new(move |event| {
        if let Event::DeviceDeleted { id, path } = event {
            seen.lock().unwrap().push((id.clone(), path.clone()));
        }
    });
    m.board().subscribe(&listener);
    let add = || {
        let id = ("id".to_owned(), Value::from("c"));
        m.device_add("Haswell-x86_64-cpu", &[address(&[("apic-id", 2)]), vec![id]].concat())
    };
    let b = m.board();
    // The register set instead of the bitmap, by the ports that ACPI code uses.
    b.pio_out(0xaf00, 4, 0);
    add().unwrap();
    b.pio_out(0xaf05, 1, 0);
    assert_eq!((b.pio_in(0xaf08, 4), b.pio_in(0xaf04, 1)), (2, 3), "CPU 2 is there, and new");
    b.pio_out(0xaf04, 1, 2);
    m.device_del("c").unwrap();
    assert_eq!(b.pio_in(0xaf04, 1), 5, "it is to go");
    b.pio_out(0xaf04, 1, 8);
    assert_eq!(*deleted.lock().unwrap(), [(Some("c".to_owned()), "/machine/peripheral/c".to_owned())]);
    assert_eq!((b.pio_in(0xaf04, 1) & 1, m.possible_cpus()[2].path.clone()), (0, None));
    add().unwrap();
    assert_eq!(m.device_del("/machine/unattached/device[0]").unwrap_err().to_string(), "Boot CPU is unpluggable");
}

#[test]
fn cpus_of_the_command_line_and_what_firmware_is_told() {
    let device = DeviceArg { type_name: "Haswell-x86_64-cpu".into(), properties: address(&[("apic-id", 4)]) };
    let m = start("pc", &MachineConfig { devices: vec![device], ..sparse() });
    let item = |key: u32| {
        m.board().pio_out(0x510, 2, key);
        m.board().pio_in(0x511, 1) | m.board().pio_in(0x511, 1) << 8
    };
    assert_eq!((item(5), item(0xf)), (2, 6));
    m.board().pio_out(0x70, 1, 0x5f);
    assert_eq!(m.board().pio_in(0x71, 1), 1);
    assert_eq!(m.possible_cpus().iter().filter(|c| c.path.is_some()).count(), 2);
}

#[test]
fn nodes_have_cpus_and_memory() {
    let topology = Topology { sockets: 2, cores: 2, threads: 1 };
    let mut config = MachineConfig { topology, ..MachineConfig::default() };
    let size = ("size".to_owned(), Value::from(64 << 20));
    let mut numa = Numa::new(machine_type("pc"), false);
    for (id, cpus) in [("m0", vec![0, 3]), ("m1", vec![1, 2])] {
        config.objects.add("memory-backend-ram", id, std::slice::from_ref(&size)).unwrap();
        let node = NodeOption { cpus, memdev: Some(id.into()), ..NodeOption::default() };
        numa.add(&NumaOption::Node(node), &topology).unwrap();
    }
    config.numa = numa;
    let m = start("pc", &config);
    let nodes: Vec<_> = m.possible_cpus().iter().map(|c| c.place.node).collect();
    assert_eq!(nodes, [Some(0), Some(1), Some(1), Some(0)]);
    assert_eq!(get(&m, "/machine/unattached/device[1]", "node-id"), 1);
    // The second node's memory follows the first one's.
    let b = m.board();
    for (at, byte) in [(0x3ff_ffff, 1u8), (0x400_0000, 2)] {
        b.mmio_write(at, &[byte]);
    }
    let mut read = [0; 2];
    b.mmio_read(0x3ff_ffff, &mut read);
    assert_eq!(read, [1, 2]);
    b.pio_out(0x510, 2, 0xd);
    let item: Vec<_> = (0..7 * 8).map(|_| b.pio_in(0x511, 1) as u8).collect();
    let words: Vec<_> = item.chunks_exact(8).map(|w| u64::from_le_bytes(w.try_into().unwrap())).collect();
    assert_eq!(words, [2, 0, 1, 1, 0, 64 << 20, 64 << 20]);
    let wrong = MachineConfig { ram_size: 64 << 20, ..config };
    let error = Machine::new(Box::new(QtestVm::new()), machine_type("pc"), &wrong).err().unwrap().to_string();
    assert!(error.contains("total memory for NUMA nodes (0x8000000) should equal RAM size (0x4000000)"), "{error}");
}
