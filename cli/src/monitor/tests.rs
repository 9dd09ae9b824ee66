//! The monitor with machines, in process.

use super::HumanMonitor;
use super::info::TOPICS;
use super::table::COMMANDS;
use crate::testing::Vm;
use std::collections::BTreeSet;

/// A board without a CPU that runs.
fn bench() -> Vm {
    Vm::pc().accel("qtest").start().unwrap()
}
/// A PC that does nothing, in real mode.
fn idle() -> Vm {
    let mut sector = [0; 512];
    // mov ax, 1234h; hlt; jmp $-1
    sector[..6].copy_from_slice(&[0xb8, 0x34, 0x12, 0xf4, 0xeb, 0xfd]);
    Vm::pc().accel("tcg").boot_sector(sector).start().unwrap()
}
fn monitor(vm: &Vm) -> HumanMonitor {
    HumanMonitor::new(vm.control().clone())
}

#[test]
fn every_topic_that_help_lists_has_an_answer() {
    let vm = bench();
    let none = Vm::of(*crate::machine_types().iter().find(|m| m.name() == "none").unwrap()).start().unwrap();
    for mut m in [monitor(&vm), monitor(&none)] {
        let listed = m.run("help info");
        assert_eq!(listed.lines().count(), TOPICS.len());
        for line in listed.lines() {
            let topic = line.strip_prefix("info ").and_then(|l| l.split_whitespace().next()).unwrap();
            let answer = m.run(&format!("info {topic}"));
            assert!(!answer.contains("unknown command"), "{topic}: {answer}");
            assert!(m.run(&format!("help info {topic}")).starts_with(&format!("info {topic} ")));
            assert!(m.run(&format!("info {topic} 1 2 3 4")).contains("Try \"help info"), "{topic}");
        }
    }
}

#[test]
fn names_are_unique_and_help_shows_each_command() {
    for table in [COMMANDS, TOPICS] {
        let names: Vec<_> = table.iter().flat_map(|c| c.names).collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    }
    let vm = bench();
    let mut m = monitor(&vm);
    for c in COMMANDS {
        let missing = super::table::MISSING.split_whitespace().any(|m| c.names.contains(&m));
        assert!(!missing, "{} is there", c.names[0]);
        let shown = m.run(&format!("help {}", c.names[0]));
        assert!(shown.starts_with(&c.title()) && shown.contains(" -- "), "{shown}");
    }
    assert_eq!(m.run("savevm x"), "savevm: not implemented yet\n");
    assert_eq!(m.run("info usb"), "info usb: not implemented yet\n");
    assert_eq!(m.run("nosuch"), "unknown command: 'nosuch'\n");
    assert_eq!(m.run("info nosuch"), "unknown command: 'info nosuch'\n");
    assert_eq!((m.run(""), m.run("   ")), (String::new(), String::new()));
}

#[test]
fn roms_are_what_the_board_and_its_cards_have() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = directory.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let (bios, rom) = (file("bios.bin", &[0; 128 << 10]), file("x.rom", &[0x55; 512]));
    // The card's BIOS is found there, too.
    file("vgabios.bin", &[0xaa; 1024]);
    let roms = |name: &str, own: &[&str]| {
        let machine = crate::machine_types().iter().find(|m| m.name() == name || m.alias() == Some(name)).unwrap();
        let common = ["-bios", &bios, "-option-rom", &rom, "-L", directory.path().to_str().unwrap()];
        let vm = Vm::of(*machine).accel("qtest").args([&common, own].concat()).start().unwrap();
        monitor(&vm).run("info roms")
    };
    let rom = "fw=genroms/x.rom size=0x000200 name=\"x.rom\"\n";
    let isapc = "fw=vgaroms/vgabios.bin size=0x000400 name=\"vgabios.bin\"\n\
                 addr=00000000fffe0000 size=0x020000 mem=ram name=\"bios.bin\"\n";
    assert_eq!(roms("isapc", &["-vga", "std"]), format!("{rom}{isapc}"));
    let pc = roms("pc", &[]);
    let firmware = "addr=00000000fffe0000 size=0x020000 mem=rom name=\"bios.bin\"\n/rom@etc/acpi/";
    assert!(pc.starts_with(&format!("{rom}{firmware}")) && pc.contains("name=\"etc/acpi/tables\"\n"), "{pc}");
    let tables = monitor(&bench()).run("info roms");
    assert!(tables.lines().count() == 3 && tables.lines().all(|l| l.starts_with("/rom@etc/")), "{tables}");
}

#[test]
fn devices_come_and_go() {
    let vm = bench();
    let mut m = monitor(&vm);
    assert!(m.run("device_add ?").contains("name \"pci-testdev\", bus PCI"));
    assert!(m.run("device_add pci-testdev,help").contains("membar=<size>"));
    assert_eq!(m.run("device_add pci-testdev,id=t"), "");
    assert!(m.run("info qtree").contains("dev: pci-testdev, id \"t\"\n"));
    assert!(m.run("info pci").contains("id \"t\""));
    assert!(m.run("info mtree -o").contains("memory"));
    assert_eq!(m.run("device_add pci-testdev,id=t"), "Error: Duplicate device ID 't'\n");
    assert_eq!(m.run("device_add nosuch,help"), "Device 'nosuch' not found\n");
    assert_eq!(m.run("device_add nosuch"), "Error: 'nosuch' is not a valid device model name\n");
    assert_eq!(m.run("device_del nosuch"), "Error: Device 'nosuch' not found\n");
    assert!(m.run("device_del").starts_with("device_del: string expected\nTry \"help device_del\""));
    assert_eq!(m.run("device_del t"), "");
}

#[test]
fn objects_and_back_ends_come_and_go() {
    let vm = bench();
    let mut m = monitor(&vm);
    assert!(m.run("object_add help").contains("  memory-backend-ram\n"));
    assert_eq!(m.run("object_add memory-backend-ram,id=m1,size=1M"), "");
    assert_eq!(m.run("qom-get /objects/m1 type"), "\"memory-backend-ram\"\n");
    assert!(m.run("qom-list /objects").contains("m1 (child<memory-backend-ram>)\n"));
    assert!(m.run("info memdev").contains("memory backend: m1\n  size:  1048576\n"));
    assert_eq!(m.run("object_del m1"), "");
    assert_eq!(m.run("object_del m1"), "Error: object 'm1' not found\n");
    assert_eq!(m.run("object_add memory-backend-ram"), "Error: Parameter 'id' is missing\n");
    assert_eq!(m.run("qom-list"), "/\n");
    assert!(m.run("qom-set /machine type x").starts_with("Error: "));
    assert!(m.run("qom-set -j /machine type {").starts_with("Error: "));

    assert_eq!(m.run("chardev-add null,id=c1"), "");
    assert!(m.run("info chardev").contains("c1: filename=null\n"));
    assert_eq!(m.run("chardev-change c1 null"), "");
    assert!(m.run("chardev-add stdio,id=c2").starts_with("Error: "));
    assert!(m.run("chardev-add null,id=c2,mux=on").starts_with("Error: "));
    assert_eq!(m.run("chardev-remove c1"), "");
    assert_eq!(m.run("chardev-remove c1"), "Error: Chardev 'c1' not found\n");
}

#[test]
fn ports_memory_and_values() {
    let vm = bench();
    let mut m = monitor(&vm);
    assert_eq!(m.run("o/w 0xcf8 0x80000000"), "");
    assert_eq!(m.run("i/w 0xcf8"), "portl[0x0cf8] = 0x80000000\n");
    assert_eq!(m.run("i/w 0xcfc"), "portl[0x0cfc] = 0x12378086\n");
    assert_eq!(m.run("i/h 0xcfe"), "portw[0x0cfe] = 0x1237\n");
    assert_eq!(m.run("xp/2xb 0x1000"), "0000000000001000: 0x00 0x00\n");
    assert_eq!(m.run("xp/x 0xf000000000000000"), "f000000000000000: Cannot access memory\n");
    assert_eq!(m.run("sum 0x1000 4096"), "00000\n");
    assert_eq!(m.run("print/d (1 + 2) * 3"), "9\n");
    assert_eq!(m.run("p/x 255"), "0xff\n");
    for (line, reason) in [
        ("x 0", "Can not dump without CPU\n"),
        ("gva2gpa 0", "No CPU available\n"),
        ("info registers", "No CPU available\n"),
        ("cpu 0", ""),
        ("cpu 1", "invalid CPU index\n"),
        ("nmi", "Error: machine does not provide NMIs\n"),
    ] {
        assert_eq!(m.run(line), reason);
    }
}

#[test]
fn a_cpu_is_looked_at() {
    let vm = idle();
    let mut m = monitor(&vm);
    assert_eq!(m.run("stop"), "");
    assert!(m.run("info status").starts_with("VM status: paused"));
    assert!(m.run("x/3i 0x7c00").starts_with("0x00007c00:  b8 34 12                 movw     $0x1234, %ax\n"));
    assert_eq!(m.run("x/3xb 0x7c00"), "0000000000007c00: 0xb8 0x34 0x12\n");
    assert_eq!(m.run("gva2gpa 0x7c00"), "gpa: 0x7c00\n");
    assert_eq!(m.run("p $cs.base"), "0x0\n");
    let registers = m.run("info registers -a");
    assert!(registers.starts_with("\nCPU#0\nEAX=") && registers.contains("A20=1 SMM=0"), "{registers}");
    assert!(m.run("info cpus").starts_with("* CPU #0: thread_id="));
    assert!(m.run("info lapic").starts_with("dumping local APIC state for CPU 0"));
    assert_eq!((m.run("info mem"), m.run("info tlb")), ("PG disabled\n".into(), "PG disabled\n".into()));
    assert_eq!(m.run("info registers 1"), "CPU#1 not available\n");
    assert_eq!(m.run("cont"), "");
    assert_eq!(m.run("info status"), "VM status: running\n");
}

/// Lines of random words and numbers: they may fail, and must come back.
#[test]
fn nonsense_is_answered() {
    let vm = bench();
    let mut m = monitor(&vm);
    let pieces = [
        "/",
        "/9999999xg",
        "-f",
        "-x",
        "0",
        "0xffffffffffffffff",
        "$pc",
        "((",
        "*",
        "\"",
        "\\",
        "help",
        ",",
        "=",
        "id=x",
        "/machine",
        "null",
        "pci-testdev",
        "é",
        "-1",
        "'",
        "%",
        "1/0",
        "type",
    ];
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) as usize % n
    };
    let harmless: Vec<_> = COMMANDS.iter().filter(|c| !["quit", "memsave", "pmemsave"].contains(&c.names[0])).collect();
    for _ in 0..2000 {
        let mut line = harmless[random(harmless.len())].names[0].to_owned();
        if line == "info" {
            line = format!("info {}", TOPICS[random(TOPICS.len())].names[0]);
        }
        for _ in 0..random(5) {
            line.push_str(if random(3) == 0 { "" } else { " " });
            line.push_str(pieces[random(pieces.len())]);
        }
        let answer = m.run(&line);
        assert!(answer.is_empty() || answer.ends_with('\n') || answer.len() > 1 << 20, "{line:?}: {answer:?}");
    }
}
