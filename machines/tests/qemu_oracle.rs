//! The chipset of `pc` beside QEMU's own: the same accesses to ports must give the same values. Skipped where QEMU is not installed.
//!
//! QEMU runs with its CPUs stopped and is driven through its qtest server.

use gearbox_accel_qtest::Bench;
use gearbox_core::machine::{MachineConfig, MachineType};
use gearbox_core::x86::topology::Topology;
use gearbox_machines::machine_types;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// Something with ports.
trait Machine {
    fn read(&mut self, port: u16, size: u8) -> u32;
    fn write(&mut self, port: u16, size: u8, value: u32);

    fn config(&mut self, function: u32, register: u32) -> u32 {
        self.write(0xcf8, 4, 1 << 31 | function << 8 | register);
        self.read(0xcfc, 4)
    }
    fn set_config(&mut self, function: u32, register: u32, value: u32) {
        self.write(0xcf8, 4, 1 << 31 | function << 8 | register);
        self.write(0xcfc, 4, value);
    }
}

impl Machine for Bench {
    fn read(&mut self, port: u16, size: u8) -> u32 {
        match size {
            1 => self.inb(port).into(),
            2 => self.inw(port).into(),
            _ => self.inl(port),
        }
    }
    fn write(&mut self, port: u16, size: u8, value: u32) {
        match size {
            1 => self.outb(port, value as u8),
            2 => self.outw(port, value as u16),
            _ => self.outl(port, value),
        }
    }
}

struct Qemu {
    process: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Qemu {
    fn start(memory: &str, cpus: u32) -> Option<Self> {
        let mut process = Command::new("qemu-system-x86_64")
            .args(["-M", "pc-i440fx-7.2", "-accel", "tcg", "-S", "-display", "none", "-nodefaults", "-serial", "null"])
            .args(["-qtest", "stdio", "-qtest-log", "none", "-m", memory, "-smp", &cpus.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .inspect_err(|e| println!("skipped: qemu-system-x86_64: {e}"))
            .ok()?;
        let (input, output) = (process.stdin.take()?, BufReader::new(process.stdout.take()?));
        Some(Self { process, input, output })
    }
    fn ask(&mut self, command: &str) -> u32 {
        writeln!(self.input, "{command}").expect("QEMU takes commands");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("QEMU answers");
        let mut words = line.split_whitespace();
        assert_eq!(words.next(), Some("OK"), "{command}: {line}");
        words.next().map_or(0, |w| u32::from_str_radix(w.trim_start_matches("0x"), 16).expect("a number"))
    }
}

impl Machine for Qemu {
    fn read(&mut self, port: u16, size: u8) -> u32 {
        self.ask(&format!("in{} {port:#x}", width(size)))
    }
    fn write(&mut self, port: u16, size: u8, value: u32) {
        self.ask(&format!("out{} {port:#x} {value:#x}", width(size)));
    }
}

fn width(size: u8) -> char {
    match size {
        1 => 'b',
        2 => 'w',
        _ => 'l',
    }
}

impl Drop for Qemu {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Both machines, with this much RAM in MiB and one serial port.
fn pair(memory: u64, cpus: u32) -> Option<(Bench, Qemu)> {
    let qemu = Qemu::start(&memory.to_string(), cpus)?;
    let pc: &dyn MachineType = *machine_types().iter().find(|m| m.alias() == Some("pc")).expect("a pc");
    let config = MachineConfig {
        ram_size: memory << 20,
        topology: Topology { sockets: cpus, ..Topology::default() },
        serials: vec![Some(Bench::chardev())],
        ..MachineConfig::default()
    };
    Some((Bench::of(pc, &config).expect("a pc"), qemu))
}

const HOST: u32 = 0;
const ISA: u32 = 1 << 3;
const PM: u32 = 1 << 3 | 3;
/// Of the power management function, the SMBus registers: that part is not modelled.
const SMBUS: [u32; 2] = [0x90, 0xd0];

fn same_config(ours: &mut Bench, qemu: &mut Qemu, when: &str) {
    for function in [HOST, ISA, PM] {
        for register in (0..256).step_by(4).filter(|r| function != PM || !SMBUS.contains(r)) {
            let (o, q) = (ours.config(function, register), qemu.config(function, register));
            assert_eq!(o, q, "function {function:#x} register {register:#x} {when}: {o:#x}, QEMU has {q:#x}");
        }
    }
}

#[test]
fn configuration_spaces_and_their_write_masks() {
    let Some((mut ours, mut qemu)) = pair(512, 1) else { return };
    same_config(&mut ours, &mut qemu, "after reset");
    for value in [u32::MAX, 0x5555_5555, 0] {
        for m in [&mut ours as &mut dyn Machine, &mut qemu] {
            for function in [HOST, ISA, PM] {
                (0..256).step_by(4).for_each(|register| m.set_config(function, register, value));
            }
        }
        same_config(&mut ours, &mut qemu, &format!("after {value:#x}"));
    }
}

#[test]
fn memory_sizes_and_processors_in_cmos_and_fw_cfg() {
    for (memory, cpus) in [(64, 1), (512, 2), (3583, 1), (3584, 4), (8192, 3)] {
        let Some((mut ours, mut qemu)) = pair(memory, cpus) else { return };
        for index in [0x0a, 0x0b, 0x0d].into_iter().chain(0x0e..0x32).chain(0x33..0x80) {
            let [o, q] = [&mut ours as &mut dyn Machine, &mut qemu].map(|m| {
                m.write(0x70, 1, index);
                m.read(0x71, 1)
            });
            assert_eq!(o, q, "CMOS {index:#x} with {memory} MiB, {cpus} CPUs");
        }
        // Signature, revision, UUID, RAM size, CPUs, most CPUs, IRQ 0.
        for key in [0, 1, 2, 3, 5, 0xf, 0x8002] {
            let [o, q] = [&mut ours as &mut dyn Machine, &mut qemu].map(|m| {
                m.write(0x510, 2, key);
                std::array::from_fn::<_, 20, _>(|_| m.read(0x511, 1))
            });
            assert_eq!(o, q, "fw_cfg item {key:#x}");
        }
    }
}

#[test]
fn registers_of_the_chipset() {
    let Some((mut ours, mut qemu)) = pair(128, 1) else { return };
    /// Writes a value, if there is one, then reads.
    type Step = (u16, u8, Option<u32>);
    const STEPS: &[Step] = &[
        // Configuration address: doublewords only.
        (0xcf8, 4, Some(0x8000_0844)),
        (0xcf8, 1, Some(0x55)),
        (0xcf8, 2, Some(0x5566)),
        (0xcf8, 4, None),
        (0xcf8, 2, None),
        // Reset control, in the middle of it.
        (0xcf9, 1, Some(0x02)),
        (0xcf8, 4, None),
        (0xcf9, 1, Some(0xfb)),
        // Disabled, and a bus that is not there.
        (0xcf8, 4, Some(0)),
        (0xcfc, 4, None),
        (0xcf8, 4, Some(0x8001_0000)),
        (0xcfc, 4, None),
        // Power management at 0x600.
        (0xcf8, 4, Some(0x8000_0b40)),
        (0xcfc, 4, Some(0x0000_0601)),
        (0xcf8, 4, Some(0x8000_0b80)),
        (0xcfc, 1, Some(1)),
        (0x600, 2, None),
        (0x600, 2, Some(1)),
        // Across three ranges; while the enable register is 0, as QEMU's high bytes of PM1 registers always read 0.
        (0x603, 4, None),
        (0x602, 2, Some(0xffff)),
        (0x604, 2, Some(0xdfff)),
        (0x604, 4, None),
        (0x608, 4, None),
        (0x60c, 4, None),
        // ACPI mode.
        (0xb2, 1, Some(0xf1)),
        (0x604, 2, None),
        (0xb2, 1, Some(0xf0)),
        (0x604, 2, None),
        (0xb3, 1, Some(0x77)),
        (0xb2, 2, None),
        // General-purpose events.
        (0xafe0, 1, Some(0xff)),
        (0xafe2, 1, Some(0xff)),
        (0xafe3, 1, Some(0xff)),
        (0xafe0, 4, None),
        // fw_cfg's DMA signature.
        (0x514, 4, None),
        (0x518, 4, None),
        (0x514, 1, None),
    ];
    for (port, size, value) in STEPS {
        let [o, q] = [&mut ours as &mut dyn Machine, &mut qemu].map(|m| {
            if let Some(v) = value {
                m.write(*port, *size, *v);
            }
            m.read(*port, *size)
        });
        assert_eq!(o, q, "port {port:#x}, {size} bytes, after {value:x?}: {o:#x}, QEMU has {q:#x}");
    }
}
