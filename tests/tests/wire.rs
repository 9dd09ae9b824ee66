//! One suite on the wire: the same questions to Gearbox and to Debian's QEMU 7.2, over qtest and QMP, and the same answers. What is meant to differ has a
//! row in `docs/compatibility.md`; a difference without a row fails, and so does a row without a difference.

#[path = "wire/advertised.rs"]
mod advertised;
#[path = "wire/blocks.rs"]
mod blocks;
#[path = "wire/chipset.rs"]
mod chipset;
#[path = "wire/cpuid.rs"]
mod cpuid;
#[path = "wire/hotplug.rs"]
mod hotplug;
#[path = "wire/intended.rs"]
mod intended;
#[path = "wire/interrupts.rs"]
mod interrupts;
#[path = "wire/pci.rs"]
mod pci;
#[path = "wire/ports.rs"]
mod ports;
#[path = "wire/protocol.rs"]
mod protocol;
#[path = "wire/reading.rs"]
mod reading;

use gearbox::testing::{Io, Process, Program};
use reading::{Readings, differences};
use serde_json::json;
use std::time::Duration;

/// A PC with two serial ports on a date that is known, and nothing that need not be there. It is not started, as QEMU's must not run its CPU.
const PC: &[&str] = &[
    "-machine",
    "pc-i440fx-7.2",
    "-nodefaults",
    "-S",
    "-serial",
    "null",
    "-serial",
    "null",
    "-rtc",
    "base=2020-02-29T12:00:00,clock=vm",
];

/// The same without PCI, with a disk adapter and a display.
const ISAPC: &[&str] = &[
    "-machine",
    "isapc",
    "-nodefaults",
    "-S",
    "-vga",
    "std",
    "-serial",
    "null",
    "-serial",
    "null",
    "-rtc",
    "base=2020-02-29T12:00:00,clock=vm",
];

/// Starts both programs with these arguments; says that it skips where QEMU is missing.
fn pair(arguments: &[&str]) -> Option<[Process; 2]> {
    let Some(qemu) = Program::qemu() else {
        println!("skipped: no qemu-system-x86_64 (package qemu-system-x86)");
        return None;
    };
    let ours = Program::at(gearbox_tests::process::gearbox());
    Some([ours, qemu].map(|p| p.start(arguments).unwrap_or_else(|e| panic!("{e}"))))
}

/// A question, or several, to one machine.
type Probe<'a> = dyn Fn(&mut Process, &mut Readings) + 'a;

/// Asks both programs the same, each probe on machines that were just made, and wants the same answers but for intended differences. `topics` are the first
/// words of all readings.
fn compare(arguments: &[&str], topics: &[&str], probes: &[&Probe<'_>]) {
    let mut readings = [Readings::default(), Readings::default()];
    for probe in probes {
        let Some(both) = pair(arguments) else { return };
        for (mut process, readings) in both.into_iter().zip(&mut readings) {
            probe(&mut process, readings);
        }
    }
    let [ours, theirs] = readings;
    no_surprise(topics, &ours, &theirs);
}

fn no_surprise(topics: &[&str], ours: &Readings, theirs: &Readings) {
    let wrong = intended::wrong(topics, &differences(ours, theirs));
    assert!(wrong.is_empty(), "{} surprises:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn ports() {
    compare(PC, &["ports"], &[&|p, r| ports::survey(p.qtest(), r)]);
}

#[test]
fn registers_after_power_on() {
    let topics = ["pic", "ioapic", "pit", "cmos", "i8042", "uart", "system", "fw_cfg"];
    compare(
        PC,
        &topics,
        &[
            &|p, r| ports::pic(p.qtest(), r),
            &|p, r| ports::ioapic(p.qtest(), r),
            &|p, r| ports::pit(p.qtest(), r),
            &|p, r| ports::cmos(p.qtest(), r),
            &|p, r| ports::i8042(p.qtest(), r),
            &|p, r| ports::uart(p.qtest(), r),
            &|p, r| ports::system(p.qtest(), r),
            &|p, r| ports::fw_cfg(p.qtest(), r),
        ],
    );
}

#[test]
fn the_isa_pc() {
    let probes: [fn(&mut dyn Io, &mut Readings); 8] =
        [ports::survey, ports::pic, ports::pit, ports::cmos, ports::i8042, ports::uart, ports::system, ports::fw_cfg];
    let probes = probes.map(|probe| {
        move |p: &mut Process, r: &mut Readings| {
            let mut all = Readings::default();
            probe(p.qtest(), &mut all);
            r.append("isapc", all);
        }
    });
    let probes: Vec<&Probe<'_>> = probes.iter().map(|probe| probe as _).collect();
    let more = ["-device", "isa-ide,iobase=0x1e8,iobase2=0x3ee,irq=11", "-smbios", "type=1,product=p"];
    compare(&[ISAPC, &more].concat(), &["isapc"], &probes);
    compare(&[ISAPC, &["-m", "3600"]].concat(), &[], &[&|p, r| ports::memory_map(p.qtest(), r)]);
}

#[test]
fn pci_bus() {
    compare(
        PC,
        &["pci"],
        &[&|p, r| {
            pci::spaces(p.qtest(), r);
            pci::masks(p.qtest(), r);
        }],
    );
}

/// As firmware would set them up, then in disorder.
#[test]
fn bridges() {
    let devices = [
        "-device",
        "pci-bridge,id=b1,chassis_nr=1,addr=5,shpc=off,io-reserve=4k,mem-reserve=1M",
        "-device",
        "pci-bridge,id=b2,chassis_nr=2,addr=6,shpc=off,bus=b1,bus-reserve=2,pref64-reserve=8M",
        "-device",
        "virtio-rng-pci,id=r,bus=b2,addr=3",
    ];
    let arguments = [PC, &devices].concat();
    compare(&arguments, &["bridges"], &[&|p, r| pci::bridges(p, r)]);
    compare(
        &arguments,
        &[],
        &[&|p, r| {
            pci::spaces(p.qtest(), r);
            pci::masks(p.qtest(), r);
        }],
    );
}

#[test]
fn the_chipset() {
    compare(PC, &["chipset"], &[&|p, r| chipset::registers(p.qtest(), r)]);
}

#[test]
fn memory_sizes_and_processors() {
    for (memory, cpus) in [("64", "1"), ("512", "2"), ("3583", "1"), ("3584", "4"), ("8192", "3")] {
        let arguments = [PC, &["-m", memory, "-smp", cpus]].concat();
        compare(
            &arguments,
            &["e820"],
            &[&|p, r| {
                ports::cmos(p.qtest(), r);
                ports::fw_cfg_items(p.qtest(), r);
                ports::memory_map(p.qtest(), r);
            }],
        );
    }
}

#[test]
fn interrupts() {
    for sequence in interrupts::SEQUENCES {
        compare(PC, &[sequence.name], &[&|p, r| interrupts::run(sequence, p, r)]);
    }
}

#[test]
fn the_power_button() {
    compare(PC, &["button"], &[&interrupts::power_button]);
}

#[test]
fn a_device_that_comes_and_goes() {
    compare(PC, &["hotplug"], &[&hotplug::pci]);
}

/// Registers are disturbed, then the machine is reset.
#[test]
fn registers_after_a_reset() {
    const DISTURBANCE: [(u16, u8); 17] = [
        (0x20, 0x11),
        (0x21, 0x20),
        (0x21, 0x04),
        (0x21, 0x01),
        (0x4d0, 0xf8),
        (0x43, 0xb6),
        (0x42, 0x34),
        (0x42, 0x12),
        (0x61, 0x03),
        (0x3fb, 0x1b),
        (0x3f9, 0x0f),
        (0x3ff, 0x5a),
        (0x92, 0x02),
        (0x70, 0x0b),
        (0x71, 0x12),
        (0x70, 0x40),
        (0x71, 0xa5),
    ];
    /// PMBASE and interrupt routing.
    const CONFIGURATION: [(u32, u32); 2] = [(0x8000_0b40, 0x601), (0x8000_0860, 0x0a0a_0b0b)];
    let probes: [fn(&mut dyn Io, &mut Readings); 6] =
        [ports::pic, ports::pit, ports::cmos, ports::uart, ports::system, pci::spaces];
    compare(
        PC,
        &["reset"],
        &[&|p, r| {
            let q = p.qtest();
            DISTURBANCE.iter().for_each(|&(port, value)| q.outb(port, value));
            for (address, value) in CONFIGURATION {
                q.outl(0xcf8, address);
                q.outl(0xcfc, value);
            }
            p.qmp().execute("system_reset", json!({})).unwrap_or_else(|e| panic!("{e}"));
            p.qmp().event("RESET", Duration::from_secs(20)).unwrap_or_else(|e| panic!("{e}"));
            let mut after = Readings::default();
            probes.iter().for_each(|probe| probe(p.qtest(), &mut after));
            r.append("reset", after);
        }],
    );
}

#[test]
fn the_qtest_protocol() {
    compare(PC, &["qtest"], &[&protocol::qtest]);
}

#[test]
fn the_control_protocol() {
    compare(PC, &["qmp"], &[&protocol::qmp]);
}

#[test]
fn what_is_advertised_is_qemus() {
    let Some([mut ours, mut theirs]) = pair(PC) else { return };
    let (ours, theirs) = advertised::compare(&mut ours, &mut theirs);
    no_surprise(&["command", "machine", "type", "property"], &ours, &theirs);
}

/// What a guest sees of each model that users ask for.
#[test]
fn cpu_models() {
    const MODELS: [&str; 11] = [
        "qemu64",
        "kvm64",
        "qemu32",
        "pentium",
        "486",
        "core2duo",
        "Nehalem",
        "Haswell",
        "Skylake-Client",
        "EPYC",
        "max",
    ];
    let Some(qemu) = Program::qemu() else {
        println!("skipped: no qemu-system-x86_64 (package qemu-system-x86)");
        return;
    };
    let ours = gearbox_tests::process::gearbox();
    let mut readings = [Readings::default(), Readings::default()];
    for (program, readings) in [ours.as_path(), qemu.path()].into_iter().zip(&mut readings) {
        MODELS.iter().for_each(|model| cpuid::survey(program, model, &[], readings));
    }
    // No topics: rows may name a feature that both have by now.
    no_surprise(&[], &readings[0], &readings[1]);
}

#[test]
fn drives_and_images() {
    let directory = tempfile::tempdir().expect("a directory");
    let drives = blocks::arguments(directory.path());
    let arguments: Vec<_> = PC.iter().copied().chain(drives.iter().map(String::as_str)).collect();
    compare(&arguments, &["blocks"], &[&|p, r| blocks::commands(p, r, directory.path())]);
}
