//! Random code, tables and registers for the software CPU, in every mode: whatever a guest does, the engine neither panics nor gives up.
//!
//! | step | what it does |
//! |---|---|
//! | `start MODE RING VENDOR` | a new CPU in a mode with usable tables, see [`states`] |
//! | `poke ADDRESS BYTES` | writes memory as a device does |
//! | `set NAME VALUE` | changes a register |
//! | `seg N SELECTOR BASE LIMIT ATTR` | changes a segment register with its hidden part |
//! | `pin intr`\|`nmi`\|`init`\|`smi` | an event from outside |
//! | `map N` | changes the memory map, see `board` |
//! | `run N` | runs at most N instructions |

mod board;
mod code;

use super::Target;
use crate::random::Random;
use crate::states::{self, MODES};
use board::Board;
use gearbox_core::vm::{Limit, Vcpu, VcpuConfig, VcpuExit, Vm};
use gearbox_core::x86::cpu_model::CpuModel;
use gearbox_core::x86::state::{Activity, Segment, X86State};
use std::fmt::Write as _;

/// The target.
pub struct Cpu;

/// Runs of one case; each goes on from the state in which the last one ended.
const RUNS: u64 = 8;
/// Most instructions of one run.
const BUDGET: u64 = 2000;
/// Memory of the process, in bytes, that no guest makes it use.
const MOST_MEMORY: u64 = 2 << 30;

/// Registers that `set` knows by one name.
const REGISTERS: [(&str, fn(&mut X86State) -> &mut u64); 11] = [
    ("rip", |s| &mut s.rip),
    ("rflags", |s| &mut s.rflags),
    ("cr0", |s| &mut s.cr0),
    ("cr2", |s| &mut s.cr2),
    ("cr3", |s| &mut s.cr3),
    ("cr4", |s| &mut s.cr4),
    ("cr8", |s| &mut s.cr8),
    ("efer", |s| &mut s.efer),
    ("xcr0", |s| &mut s.xcr0),
    ("gdt", |s| &mut s.gdtr.base),
    ("idt", |s| &mut s.idtr.base),
];

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, b| {
        let _ = write!(text, "{b:02x}");
        text
    })
}
fn bytes(hex: &str) -> Vec<u8> {
    hex.as_bytes().chunks(2).map_while(|c| u8::from_str_radix(std::str::from_utf8(c).ok()?, 16).ok()).collect()
}
fn number(text: Option<&str>) -> u64 {
    let text = text.expect("a number");
    u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap_or_else(|e| panic!("{text}: {e}"))
}

/// A value at which something changes, mostly.
fn value(r: &mut Random) -> u64 {
    const EDGES: [u64; 22] = [
        0,
        1,
        3,
        8,
        0x10,
        0x1b,
        0x28,
        0x38,
        0xfff,
        0xffff,
        0x9_ffff,
        0xa_0000,
        0xf_0000,
        states::CODE,
        states::TABLES,
        states::STACK,
        0x3f_ffff,
        0x8000_0000,
        0xffff_ffff,
        0xfee0_0300,
        1 << 47,
        0xffff_8000_0000_0000,
    ];
    match r.below(6) {
        0 => r.interesting(),
        1 | 2 => r.below(board::RAM),
        _ => r.pick(&EDGES).wrapping_add(r.below(17)).wrapping_sub(8),
    }
}

fn registers(r: &mut Random, steps: &mut Vec<String>) {
    for _ in 0..r.below(8) {
        steps.push(format!("set gpr{} {:#x}", r.below(16), value(r)));
    }
    for n in 0..8 {
        if r.one_in(16) {
            let attr = r.below(0x1_0000) & 0xf0ff | if r.one_in(4) { u64::from(Segment::UNUSABLE) } else { 0 };
            let limit = value(r) & 0xffff_ffff;
            steps.push(format!("seg {n} {:#x} {:#x} {limit:#x} {attr:#x}", value(r) & 0xffff, value(r)));
        }
    }
    if r.one_in(3) {
        // TF, IF, IOPL, NT, RF, AC, VIF and VIP come and go.
        steps.push(format!("flip rflags {:#x}", r.number() & 0x1d_7fd5));
    }
    if r.one_in(3) {
        steps.push(format!("flip cr4 {:#x}", r.number() & r.number() & 0x177_1fff));
    }
    if r.one_in(6) {
        steps.push(format!("flip cr0 {:#x}", r.number() & 0x6005_003e));
    }
    if r.one_in(8) {
        steps.push(format!("flip efer {:#x}", r.number() & 0x801));
    }
    if r.one_in(6) {
        for n in 0..4 {
            steps.push(format!("set dr{n} {:#x}", value(r)));
        }
        steps.push(format!("set dr5 {:#x}", 0x400 | r.number() & 0xffff_2bff));
    }
}

/// Entries of page tables that are wrong, or lead in circles, or onto the tables themselves.
fn page_tables(r: &mut Random, steps: &mut Vec<String>) {
    for _ in 0..r.below(12) {
        let at = states::TABLES + r.below(6) * 0x1000 + r.below(512) * 8;
        let target = match r.below(4) {
            0 => r.interesting() & 0x000f_ffff_ffff_f000,
            1 => states::TABLES + r.below(6) * 0x1000,
            _ => r.below(board::RAM) & !0xfff,
        };
        let flags = r.number() & 0x1ff | u64::from(!r.one_in(6));
        let high = if r.one_in(3) { r.number() & 0xf800_0000_0000_0000 } else { 0 };
        steps.push(format!("poke {at:#x} {}", hex(&(target | flags | high).to_le_bytes())));
    }
}

/// Descriptors, gates and task states that are wrong.
fn tables(r: &mut Random, steps: &mut Vec<String>) {
    for _ in 0..r.below(10) {
        let at = states::GDT + r.below(32) * 8;
        let descriptor = match r.below(3) {
            0 => r.number(),
            // A descriptor as there could be one, of any type.
            _ => 0x0000_8000_0000_ffff | r.below(0x100) << 40 | r.below(16) << 52 | (value(r) & 0xff_ffff) << 16,
        };
        steps.push(format!("poke {at:#x} {}", hex(&descriptor.to_le_bytes())));
    }
    for _ in 0..r.below(10) {
        let at = states::IDT + r.below(64) * 8;
        let typ = *r.pick(&[0x8e, 0xee, 0x8f, 0xef, 0x85, 0xe5, 0x86, 0x87, 0x0e, 0x8c, 0x00]);
        let (selector, offset) = (states::selector(r), r.below(0x8000));
        let gate = offset | u64::from(selector) << 16 | typ << 40 | r.below(8) << 32;
        steps.push(format!("poke {at:#x} {}", hex(&gate.to_le_bytes())));
    }
    for _ in 0..r.below(10) {
        let at = states::TSS + r.below(0x200) / 4 * 4;
        steps.push(format!("poke {at:#x} {}", hex(&(value(r) as u32).to_le_bytes())));
    }
}

impl Target for Cpu {
    fn generate(&self, r: &mut Random) -> Vec<String> {
        let mode = r.pick(&MODES);
        let vendor = r.pick(&["amd", "intel"]);
        let mut steps = vec![format!("start {} {} {vendor}", mode.name, r.pick(&[0, 0, 0, 3, 3, 1]))];
        for _ in 0..RUNS {
            if r.one_in(2) {
                tables(r, &mut steps);
            }
            if r.one_in(2) {
                page_tables(r, &mut steps);
            }
            registers(r, &mut steps);
            match r.below(10) {
                0 => steps.push(format!("pin {}", r.pick(&["intr", "nmi", "init", "smi"]))),
                1 => steps.push(format!("map {}", r.below(board::MAPS))),
                _ => {}
            }
            let start = states::CODE + r.below(16) + if r.one_in(4) { 0xff0 } else { 0 };
            steps.push(format!("poke {start:#x} {}", hex(&code::program(r, mode.bits))));
            if r.one_in(4) {
                let at = states::HANDLERS + 16 * r.below(32);
                steps.push(format!("poke {at:#x} {}", hex(&code::program(r, mode.bits)[..16])));
            }
            if !r.one_in(4) {
                steps.push(format!("at {start:#x}"));
            }
            steps.push(format!("run {:#x}", 1 + r.below(BUDGET)));
        }
        steps
    }

    fn run(&self, steps: &[String]) {
        let mut rig = None;
        for step in steps {
            match (step.strip_prefix("start "), &mut rig) {
                (Some(how), _) => rig = Some(Rig::new(how)),
                (None, Some(rig)) => rig.step(step),
                (None, None) => panic!("{step} comes before start"),
            }
        }
        assert!(memory_in_use() < MOST_MEMORY, "the process has grown to {} MiB", memory_in_use() >> 20);
    }
}

/// A CPU under test.
struct Rig {
    vcpu: Box<dyn Vcpu>,
    board: Board,
    state: X86State,
    _vm: Box<dyn Vm>,
}

impl Rig {
    /// From the words after `start`.
    fn new(how: &str) -> Self {
        let mut words = how.split(' ');
        let name = words.next().unwrap_or_default();
        let ring = number(words.next()) as u8;
        let intel = words.next() == Some("intel");
        let vm = crate::accel::open("tcg", 1).expect("tcg runs anywhere").vm;
        let board = Board::new();
        if let Some(listener) = vm.memory_listener() {
            board.memory.listen(listener);
        }
        let mut cpuid = vm.cpuid().clone();
        if intel {
            let highest = cpuid.get(0, 0).map_or(1, |l| l.eax);
            cpuid.set_vendor(0, highest, b"GenuineIntel");
        }
        let config = VcpuConfig {
            model: CpuModel::parse("max").expect("a model"),
            cpuid,
            apic_id: 0,
            bsp: true,
            memory: board.memory.clone(),
        };
        let vcpu = vm.create_vcpu(0, &config).expect("a CPU");
        let mode = MODES.iter().find(|m| m.name == name).unwrap_or_else(|| panic!("there is no mode {name}"));
        let state = states::start(mode, ring, &board.memory);
        Self { vcpu, board, state, _vm: vm }
    }

    fn step(&mut self, step: &str) {
        let mut words = step.split(' ');
        match words.next().unwrap_or_default() {
            "poke" => {
                let at = number(words.next());
                let _ = self.board.memory.write(at, &bytes(words.next().unwrap_or_default()));
            }
            kind @ ("set" | "flip") => {
                let (name, value) = (words.next(), number(words.next()));
                let register = self.register(name);
                *register = if kind == "set" { value } else { *register ^ value };
            }
            "seg" => {
                let mut n = || number(words.next());
                let (index, selector, base, limit, attr) = (n() as usize, n() as u16, n(), n() as u32, n() as u32);
                self.state.seg[index % 8] = Segment { selector, base, limit, attr };
            }
            "at" => {
                let base = self.state.seg(gearbox_core::x86::state::Seg::Cs).base;
                self.state.rip = number(words.next()).wrapping_sub(base);
            }
            "pin" => {
                let handle = self.vcpu.handle();
                match words.next() {
                    Some("intr") => handle.set_intr(true),
                    Some("nmi") => handle.nmi(),
                    Some("init") => handle.init(),
                    Some("smi") => self.board.send_smi(&*self._vm),
                    other => panic!("there is no pin {other:?}"),
                }
            }
            "map" => self.board.map(number(words.next())),
            "run" => self.run(number(words.next())),
            "" => {}
            other => panic!("there is no step {other}"),
        }
    }
    fn register(&mut self, name: Option<&str>) -> &mut u64 {
        let name = name.unwrap_or_default();
        if let Some((_, field)) = REGISTERS.iter().find(|(n, _)| *n == name) {
            return field(&mut self.state);
        }
        let index = |prefix: &str| name.strip_prefix(prefix)?.parse::<usize>().ok();
        match (index("gpr"), index("dr")) {
            (Some(n @ 0..16), _) => &mut self.state.gpr[n],
            (_, Some(n @ 0..6)) => &mut self.state.dr[n],
            _ => panic!("there is no register {name}"),
        }
    }
    fn run(&mut self, instructions: u64) {
        // A state that no CPU can be in may be refused; then the CPU goes on from the one that it had.
        let _ = self.vcpu.set_state(&X86State { activity: Activity::Active, ..self.state.clone() });
        for _ in 0..4 {
            match self.vcpu.run(&self.board, Limit { instructions: Some(instructions) }) {
                VcpuExit::InternalError(why) => panic!("{why}"),
                VcpuExit::Kicked => {}
                _ => break,
            }
        }
        self.state = self.vcpu.get_state().expect("a state");
        assert_eq!(self.state.rflags & 0xffff_ffff_ffc0_802a, 2, "reserved flags in {:#x}", self.state.rflags);
        // Where translations are read without side effects, as the monitor does.
        self.vcpu.translate(self.state.rip);
    }
}

/// Resident memory of the process.
fn memory_in_use() -> u64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}
