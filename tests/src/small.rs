//! Small guests: a few instructions in one CPU mode on the `pc` board, reporting on the debug console.

use gearbox_accel_qtest::BenchChardev;
use gearbox_core::backend::chardev::{Chardevs, Source};
use gearbox_core::board::Board;
use gearbox_core::machine::{
    Boot, BootError, BuildError, DeviceArg, Machine, MachineConfig, MachineType, Outcome, Policy, Wiring,
};
use gearbox_core::vm::Vm;
use gearbox_core::x86::state::{DescriptorTable, Seg, Segment, X86State, cr0, cr4, efer};
use gearbox_core::x86::topology::Topology;
use iced_x86::code_asm::CodeAssembler;
use std::sync::Arc;
use std::time::Duration;

/// Port of the debug console.
pub const DEBUGCON: u32 = 0xe9;
/// Port of `isa-debug-exit`: writing `v` ends the machine with status `(v << 1) | 1`.
pub const DEBUG_EXIT: u32 = 0xf4;
/// Where the program starts.
pub const CODE: u64 = 0x8000;
/// Where the handler of vector `n` starts: `HANDLERS + n * HANDLER_SIZE`.
const HANDLERS: u64 = 0x2_0000;
const HANDLER_SIZE: u64 = 0x100;
const GDT: u64 = 0x1000;
const IDT: u64 = 0x2000;
const PAGE_TABLES: u64 = 0x1_0000;
const STACK: u64 = 0x7000;
/// Selectors of the flat code and data segments.
pub const CODE_SELECTOR: u16 = 0x08;
/// See [`CODE_SELECTOR`].
pub const DATA_SELECTOR: u16 = 0x10;

/// The mode in which a program starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Real-address mode, all segments at 0.
    Real,
    /// 32-bit protected mode, flat, no paging.
    Protected,
    /// 64-bit mode, the first GiB and the last of 4 GiB mapped one to one by 2 MiB pages.
    Long,
}

impl Mode {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Real, Self::Protected, Self::Long];

    /// Width of code.
    pub fn bits(self) -> u32 {
        match self {
            Self::Real => 16,
            Self::Protected => 32,
            Self::Long => 64,
        }
    }
}

/// Assembles a piece of code for `ip`.
pub fn assemble(bits: u32, ip: u64, code: impl FnOnce(&mut CodeAssembler)) -> Vec<u8> {
    let mut a = CodeAssembler::new(bits).expect("16, 32 or 64");
    code(&mut a);
    a.assemble(ip).expect("code that can be encoded")
}

/// A program with its interrupt handlers.
pub struct SmallGuest {
    mode: Mode,
    pieces: Vec<(u64, Vec<u8>)>,
    handlers: Vec<u8>,
    cpus: u32,
}

impl SmallGuest {
    /// A program that starts in `mode` with a stack and interrupts off. Real mode has its data segments at 0, the others flat ones.
    pub fn new(mode: Mode, code: impl FnOnce(&mut CodeAssembler)) -> Self {
        Self { mode, pieces: vec![(CODE, assemble(mode.bits(), CODE, code))], handlers: Vec::new(), cpus: 1 }
    }
    /// Adds the handler of an interrupt or exception.
    #[must_use]
    pub fn handler(mut self, vector: u8, code: impl FnOnce(&mut CodeAssembler)) -> Self {
        let at = HANDLERS + u64::from(vector) * HANDLER_SIZE;
        let bytes = assemble(self.mode.bits(), at, code);
        assert!(bytes.len() as u64 <= HANDLER_SIZE);
        self.pieces.push((at, bytes));
        self.handlers.push(vector);
        self
    }
    /// Adds code or data at an address.
    #[must_use]
    pub fn piece(mut self, at: u64, bytes: Vec<u8>) -> Self {
        self.pieces.push((at, bytes));
        self
    }
    /// Gives the machine `n` CPUs.
    #[must_use]
    pub fn cpus(mut self, n: u32) -> Self {
        self.cpus = n;
        self
    }
    /// How many CPUs it wants.
    pub fn cpu_count(&self) -> u32 {
        self.cpus
    }

    /// The `pc` board that starts this program.
    pub fn on_pc(self) -> impl MachineType {
        OnPc(Arc::new(self))
    }

    /// Runs it on `vm` and returns what it wrote to the debug console, and how it ended.
    ///
    /// # Panics
    /// The machine cannot be built, or the guest does not end within 20 seconds.
    pub fn run(self, vm: Box<dyn Vm>) -> (String, Outcome) {
        let console = BenchChardev::new();
        let device = |type_name: &str, properties: &[(&str, &str)]| DeviceArg {
            type_name: type_name.to_owned(),
            properties: properties.iter().map(|(k, v)| ((*k).to_owned(), (*v).into())).collect(),
        };
        let chardevs = Arc::new(Chardevs::default());
        chardevs.add("console", "bench", Source::One(console.clone())).expect("the id is free");
        let config = MachineConfig {
            ram_size: 64 << 20,
            topology: Topology { sockets: self.cpus, ..Topology::default() },
            serials: vec![Some(BenchChardev::new())],
            chardevs,
            devices: vec![
                device("isa-debugcon", &[("iobase", "0xe9"), ("chardev", "console")]),
                device("isa-debug-exit", &[("iobase", "0xf4"), ("iosize", "1")]),
            ],
            ..MachineConfig::default()
        };
        let machine = Machine::new(vm, &self.on_pc(), &config).expect("a machine");
        machine.cont();
        let board = machine.board().clone();
        let (tx, rx) = std::sync::mpsc::channel::<()>();
        let watchdog = std::thread::spawn(move || {
            if rx.recv_timeout(Duration::from_secs(20)) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                board.request(gearbox_core::board::SystemRequest::Quit(
                    gearbox_core::machine::ShutdownCause::HostQmpQuit,
                ));
                return true;
            }
            false
        });
        let outcome = machine.control(Policy::default());
        drop(tx);
        let late = watchdog.join().expect("the watchdog");
        let text = String::from_utf8_lossy(&console.output()).into_owned();
        let dumps = || (0..machine.vcpu_count()).map(|n| machine.dump(n)).collect::<String>();
        assert!(!late, "the guest did not end; it wrote {text:?}\n{}", dumps());
        (text, outcome)
    }
}

/// The `pc` board with a small guest in place of firmware or a kernel.
struct OnPc(Arc<SmallGuest>);

impl MachineType for OnPc {
    fn name(&self) -> &'static str {
        "small-guest"
    }
    fn description(&self) -> &'static str {
        "pc with a small guest"
    }
    fn max_cpus(&self) -> u32 {
        8
    }
    fn build(&self, config: &MachineConfig, board: &Arc<Board>) -> Result<Wiring, BuildError> {
        let pc = gearbox_machines::machine_types().iter().find(|m| m.alias() == Some("pc")).expect("the pc");
        let wiring = pc.build(config, board)?;
        Ok(Wiring { boot: Some(Box::new(Entry(self.0.clone()))), ..wiring })
    }
}

struct Entry(Arc<SmallGuest>);

impl Boot for Entry {
    fn enter(&self, board: &Board, state: &mut X86State) -> Result<(), BootError> {
        let guest = &*self.0;
        let load = |at: u64, bytes: &[u8]| board.memory().load(at, bytes).expect("low RAM");
        for (at, bytes) in &guest.pieces {
            load(*at, bytes);
        }
        let flat = |selector, attr| Segment { selector, base: 0, limit: 0xffff_ffff, attr };
        let (code, data) = match guest.mode {
            Mode::Real => (Segment { attr: 0x9b, ..Segment::real(0) }, Segment::real(0)),
            Mode::Protected => (flat(CODE_SELECTOR, 0xc09b), flat(DATA_SELECTOR, 0xc093)),
            Mode::Long => (flat(CODE_SELECTOR, 0xa09b), flat(DATA_SELECTOR, 0xc093)),
        };
        for s in [Seg::Es, Seg::Ss, Seg::Ds, Seg::Fs, Seg::Gs] {
            *state.seg_mut(s) = data;
        }
        *state.seg_mut(Seg::Cs) = code;
        state.rip = CODE;
        state.gpr[4] = STACK;
        match guest.mode {
            Mode::Real => {
                for &v in &guest.handlers {
                    let at = HANDLERS + u64::from(v) * HANDLER_SIZE;
                    let far = [(at & 0xf) as u16, (at >> 4) as u16];
                    load(u64::from(v) * 4, &far.map(u16::to_le_bytes).concat());
                }
            }
            Mode::Protected | Mode::Long => {
                let l = guest.mode == Mode::Long;
                let code = if l { 0x00af_9b00_0000_ffffu64 } else { 0x00cf_9b00_0000_ffff };
                let gdt = [0, code, 0x00cf_9300_0000_ffff];
                load(GDT, &gdt.map(u64::to_le_bytes).concat());
                for &v in &guest.handlers {
                    let at = HANDLERS + u64::from(v) * HANDLER_SIZE;
                    let low = at & 0xffff | u64::from(CODE_SELECTOR) << 16 | 0x8e00 << 32 | (at >> 16 & 0xffff) << 48;
                    let size = if l { 16 } else { 8 };
                    load(IDT + u64::from(v) * size, &low.to_le_bytes());
                }
                state.gdtr = DescriptorTable { base: GDT, limit: 23 };
                state.idtr = DescriptorTable { base: IDT, limit: 0xfff };
                state.cr0 = cr0::PE | cr0::ET | cr0::NE;
            }
        }
        if guest.mode == Mode::Long {
            // PML4 -> PDPT; its entries 0 and 3 -> one page directory each.
            let table = |n: u64| PAGE_TABLES + n * 0x1000;
            load(table(0), &(table(1) | 3).to_le_bytes());
            load(table(1), &(table(2) | 3).to_le_bytes());
            load(table(1) + 24, &(table(3) | 3).to_le_bytes());
            for i in 0..512u64 {
                load(table(2) + 8 * i, &(i << 21 | 0x83).to_le_bytes());
                load(table(3) + 8 * i, &(3 << 30 | i << 21 | 0x83).to_le_bytes());
            }
            state.cr3 = PAGE_TABLES;
            state.cr4 = cr4::PAE;
            state.cr0 |= cr0::PG;
            state.efer = efer::LME | efer::LMA;
            *state.seg_mut(Seg::Tr) = Segment { selector: 0x18, base: 0x3000, limit: 0x67, attr: 0x8b };
        }
        Ok(())
    }
}
