//! A CPU of one accelerator with RAM, on a board where one port stops it.

use super::compare::normal;
use gearbox_core::mem::{AddressSpace, FlatView, MemTree, RamBlock};
use gearbox_core::vm::{CpuBus, Limit, Vcpu, VcpuConfig, VcpuExit, VcpuHandle, Vm};
use gearbox_core::x86::cpu_model::CpuModel;
use gearbox_core::x86::cpuid::CpuidSet;
use gearbox_core::x86::state::{X86State, cr4};
use gearbox_tests::accel::{executes_ring_0, open};
use gearbox_tests::states::HANDLERS;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Bytes of RAM at address 0.
pub const RAM: u64 = 0x21_0000;
/// `out 0f4h, al`: ends a step. Places where control may go are filled with it.
pub const STOP: [u8; 2] = [0xe6, 0xf4];
/// What follows an instruction, and is where control may go, 16 bytes apart: a NOP for traps to come after, as KVM's emulator forgets them after an
/// OUT, and then [`STOP`].
pub const LANDING: [u8; 16] = {
    let [out, port] = STOP;
    [0x90, out, port, out, port, out, port, out, port, out, port, out, port, out, port, 0x90]
};
const STOP_PORT: u16 = 0xf4;
/// Of the interrupt that INTR brings.
const VECTOR: u8 = 0x20;
/// Most instructions that a step may take on the software CPU, for there is a [`STOP`] wherever it leads but nowhere.
const BUDGET: u64 = 8;
/// How long KVM may take for a step, on a busy host.
const PATIENCE: Duration = Duration::from_secs(2);

/// A board with a port that stops the CPU, and an interrupt controller that has one interrupt each time its output is raised.
struct Board(Arc<dyn VcpuHandle>);

impl CpuBus for Board {
    fn pio_in(&self, _: u16, _: u8) -> u32 {
        0x1234_5678
    }
    fn pio_out(&self, port: u16, _: u8, _: u32) {
        if port == STOP_PORT {
            self.0.kick();
        }
    }
    fn mmio_read(&self, _: u64, data: &mut [u8]) {
        data.fill(0xff);
    }
    fn mmio_write(&self, _: u64, _: &[u8]) {}
    fn ack_interrupt(&self) -> Option<u8> {
        self.0.set_intr(false);
        Some(VECTOR)
    }
    fn eoi(&self, _: u8) {}
    fn deadline(&self) -> Option<u64> {
        None
    }
    fn settle_timers(&self) {}
}

/// Bits of CR4 and the features that they belong to.
const CR4: [(&str, u64); 11] = [
    ("vme", cr4::VME | cr4::PVI),
    ("tsc", cr4::TSD),
    ("de", cr4::DE),
    ("pge", cr4::PGE),
    ("fpu", cr4::PCE),
    ("sse", cr4::OSFXSR),
    ("umip", cr4::UMIP),
    ("fsgsbase", cr4::FSGSBASE),
    ("xsave", cr4::OSXSAVE),
    ("smep", cr4::SMEP),
    ("smap", cr4::SMAP),
];

/// How a step ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Ending {
    /// At the next [`STOP`].
    Stopped(Box<X86State>),
    /// By a triple fault.
    TripleFault,
    /// The CPU halts, or goes on and on.
    Endless,
    /// The accelerator cannot be in that state, or cannot execute that.
    Cannot(String),
}

/// See the module.
pub struct Machine {
    vcpu: Box<dyn Vcpu>,
    memory: Arc<AddressSpace>,
    view: FlatView,
    board: Board,
    limit: Limit,
    /// Kicks the CPU when it takes too long: told when a run begins and when it has ended.
    watchdog: Sender<bool>,
    late: Arc<Mutex<bool>>,
    _vm: Box<dyn Vm>,
}

/// The two that are compared.
pub struct Pair {
    /// On the host's KVM.
    pub kvm: Machine,
    /// On the software CPU.
    pub tcg: Machine,
    /// KVM executes ring 0 itself, so that what its emulator lacks does not count.
    pub complete: bool,
    /// Bits of CR4 that CPUID gives them.
    pub cr4: u64,
    /// They say that they are Intel's, not AMD's.
    pub intel: bool,
}

impl Pair {
    /// Two CPUs with the features that both accelerators have, of a vendor (`true` is Intel, without one that of the host); `None` where there is no KVM.
    pub fn new(intel: Option<bool>) -> Option<Self> {
        let kvm = open("kvm", 1)?;
        let tcg = open("tcg", 1).expect("tcg runs anywhere");
        let complete = executes_ring_0(&kvm);
        let mut cpuid = kvm.vm.cpuid().clone();
        cpuid.set_features(&cpuid.features().and(&tcg.vm.cpuid().features()));
        let has = |(name, bits): &(&str, u64)| if cpuid.features().has_name(name) { *bits } else { 0 };
        let cr4 = CR4.iter().map(has).sum();
        let intel = intel.unwrap_or_else(|| cpuid.vendor(0).is_some_and(|v| &v == b"GenuineIntel"));
        let highest = |cpuid: &CpuidSet, leaf| cpuid.get(leaf, 0).map_or(leaf | 1, |l| l.eax);
        let vendor = if intel { b"GenuineIntel" } else { b"AuthenticAMD" };
        for leaf in [0, 0x8000_0000] {
            let highest = highest(&cpuid, leaf);
            cpuid.set_vendor(leaf, highest, vendor);
        }
        let machine = |vm, limit| Machine::new(vm, cpuid.clone(), limit);
        Some(Self { kvm: machine(kvm.vm, None), tcg: machine(tcg.vm, Some(BUDGET)), complete, cr4, intel })
    }
}

impl Machine {
    fn new(vm: Box<dyn Vm>, cpuid: CpuidSet, instructions: Option<u64>) -> Self {
        let ram = RamBlock::new("ram", RAM).expect("host memory");
        let mut tree = MemTree::new("memory", u64::MAX);
        let region = tree.ram(&ram, 0, RAM);
        tree.map(tree.root(), 0, region, 0);
        let memory = Arc::new(AddressSpace::new());
        memory.install(tree.render());
        if let Some(listener) = vm.memory_listener() {
            memory.listen(listener);
        }
        let model = CpuModel::parse("max").expect("a model");
        let config = VcpuConfig { model, cpuid, apic_id: 0, bsp: true, memory: memory.clone() };
        let vcpu = vm.create_vcpu(0, &config).expect("a CPU");
        let board = Board(vcpu.handle());
        let (watchdog, told) = channel();
        let late = Arc::new(Mutex::new(false));
        let (handle, flag) = (vcpu.handle(), late.clone());
        std::thread::spawn(move || {
            // Ends with the machine, which has the other end.
            while let Ok(true) = told.recv() {
                while told.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
                    *flag.lock().expect("no panic") = true;
                    handle.kick();
                }
            }
        });
        let limit = Limit { instructions };
        Self { vcpu, memory, view: tree.render(), board, limit, watchdog, late, _vm: vm }
    }

    /// Zeros in all of RAM.
    pub fn clear(&self) {
        self.write(0, &vec![0; RAM as usize]);
    }
    /// Writes to RAM; what lies outside is ignored.
    pub fn write(&self, at: u64, bytes: &[u8]) {
        let _ = self.memory.write(at, bytes);
    }
    /// All of RAM.
    pub fn ram(&self) -> Vec<u8> {
        let mut bytes = vec![0; RAM as usize];
        self.memory.read(0, &mut bytes).expect("RAM");
        bytes
    }
    /// The memory, for starting states.
    pub fn memory(&self) -> &AddressSpace {
        &self.memory
    }
    /// Forgets translations that were made of page tables which the guest did not write itself: shadow paging sees only the guest's writes.
    pub fn forget_translations(&self) {
        let mut empty = MemTree::new("memory", u64::MAX);
        self.memory.install(empty.render());
        self.memory.install(self.view.clone());
    }
    /// Where a linear address is, in the state of the last step.
    pub fn translate(&mut self, linear: u64) -> Option<u64> {
        self.vcpu.translate(linear)
    }
    /// Takes a state on.
    pub fn load(&mut self, state: &X86State) -> Result<(), String> {
        self.vcpu.set_state(state).map_err(|e| e.to_string())
    }

    /// What of a state that was taken on is not there.
    pub fn lacks(&mut self, state: &X86State) -> Option<String> {
        let there = match self.vcpu.get_state() {
            Ok(s) => normal(&s),
            Err(e) => return Some(e.to_string()),
        };
        let wanted = normal(state);
        let lost = |(name, v): &(String, String)| there.iter().any(|(n, x)| n == name && x != v);
        wanted.iter().find(|f| lost(f)).map(|(name, _)| format!("a state with such a {name}"))
    }

    /// Runs to the next [`STOP`], with INTR up or not.
    pub fn run(&mut self, intr: bool) -> Ending {
        self.board.0.set_intr(intr);
        *self.late.lock().expect("no panic") = false;
        let _ = self.watchdog.send(true);
        let ending = self.run_watched();
        self.board.0.set_intr(false);
        let _ = self.watchdog.send(false);
        if *self.late.lock().expect("no panic") { Ending::Cannot("KVM is not done in time".into()) } else { ending }
    }
    fn run_watched(&mut self) -> Ending {
        // A debug trap after the OUT is still to be delivered, or its handler has not begun: then the handler's STOP ends the step.
        for _ in 0..4 {
            match self.vcpu.run(&self.board, self.limit) {
                VcpuExit::Kicked => {}
                VcpuExit::TripleFault => return Ending::TripleFault,
                VcpuExit::Budget | VcpuExit::Halted => return Ending::Endless,
                VcpuExit::InternalError(text) => {
                    // What follows the reason are bytes and registers.
                    return Ending::Cannot(text.split(" (").next().unwrap_or_default().to_owned());
                }
                other => return Ending::Cannot(format!("{other:?}")),
            }
            match self.vcpu.get_state() {
                Ok(s) if s.events.exception.is_some() || at_a_handler(&s) => {}
                Ok(s) => return Ending::Stopped(Box::new(s)),
                Err(e) => return Ending::Cannot(e.to_string()),
            }
        }
        Ending::Endless
    }
}

/// Has the handler of some vector only been entered?
fn at_a_handler(s: &X86State) -> bool {
    let at = s.seg[1].base.wrapping_add(s.rip);
    (HANDLERS..HANDLERS + 0x1000).contains(&at) && at.is_multiple_of(16)
}
