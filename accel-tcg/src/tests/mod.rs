//! A CPU with memory and a board that records, and what is tested on it.

mod coverage;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod oracle;
mod programs;
#[cfg(all(target_arch = "x86_64", not(debug_assertions)))]
mod tail;
#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod translation;

use crate::vcpu::TcgVm;
use gearbox_core::mem::{AddressSpace, MemTree, RamBlock};
use gearbox_core::vm::{CpuBus, Limit, Vcpu, VcpuConfig, VcpuExit, Vm};
use gearbox_core::x86::cpu_features::Feature;
use gearbox_core::x86::cpu_model::CpuModel;
use gearbox_core::x86::state::{Seg, Segment, X86State, cr0, cr4, efer, rflags};
use parking_lot::Mutex;
use std::sync::Arc;

/// A board on which nothing answers, and that records what was written to ports.
#[derive(Default)]
pub(super) struct Recorder {
    pub out: Mutex<Vec<(u16, u8, u32)>>,
}

impl CpuBus for Recorder {
    fn pio_in(&self, port: u16, _size: u8) -> u32 {
        u32::from(port) << 16 | 0x1234
    }
    fn pio_out(&self, port: u16, size: u8, value: u32) {
        self.out.lock().push((port, size, value));
    }
    fn mmio_read(&self, addr: u64, data: &mut [u8]) {
        data.iter_mut().zip(addr..).for_each(|(b, a)| *b = a as u8);
    }
    fn mmio_write(&self, addr: u64, data: &[u8]) {
        self.out.lock().push((addr as u16, data.len() as u8, data[0].into()));
    }
    fn ack_interrupt(&self) -> Option<u8> {
        Some(0x20)
    }
    fn eoi(&self, _vector: u8) {}
    fn deadline(&self) -> Option<u64> {
        None
    }
    fn settle_timers(&self) {}
}

/// A CPU with 4 MiB of RAM.
pub(super) struct Bench {
    pub vcpu: Box<dyn Vcpu>,
    pub memory: Arc<AddressSpace>,
    pub board: Recorder,
    _vm: TcgVm,
}

/// Where programs are put.
pub(super) const CODE: u64 = 0x10_0000;
/// Bytes of RAM.
const RAM: u64 = 4 << 20;
/// Page tables: identity for the first GiB, in pages of 2 MiB.
const TABLES: u64 = 0x20_0000;

/// A VM with `ram` from address 0 on, and what its one CPU is made from.
pub(crate) fn vm_with(ram: &Arc<RamBlock>) -> (TcgVm, VcpuConfig) {
    vm_of(TcgVm::default(), ram)
}
fn vm_of(vm: TcgVm, ram: &Arc<RamBlock>) -> (TcgVm, VcpuConfig) {
    let mut tree = MemTree::new("memory", u64::MAX);
    let r = tree.ram(ram, 0, ram.size());
    tree.map(tree.root(), 0, r, 0);
    let memory = Arc::new(AddressSpace::new());
    memory.install(tree.render());
    memory.listen(vm.memory_listener().unwrap());
    let (model, cpuid) = (CpuModel::parse("max").unwrap(), vm.cpuid().clone());
    (vm, VcpuConfig { model, cpuid, apic_id: 0, bsp: true, memory })
}

impl Bench {
    pub(super) fn new() -> Self {
        Self::by(b"AuthenticAMD")
    }
    /// That translates blocks after `hot` entries, or never, and does the same each time: without instructions that ask for time or random numbers, which
    /// programs that write to themselves may come to.
    pub(super) fn translating(hot: Option<u32>) -> Self {
        let mut vm = TcgVm::default();
        vm.hot = hot;
        let (vm, mut cfg) = vm_of(vm, &RamBlock::new("ram", RAM).unwrap());
        let mut features = cfg.cpuid.features();
        for name in ["tsc", "rdtscp", "rdrand", "rdseed"] {
            features.set(Feature::find(name).unwrap(), false);
        }
        cfg.cpuid.set_features(&features);
        Self::of((vm, cfg))
    }
    /// With a CPU of that vendor.
    pub(super) fn by(vendor: &[u8; 12]) -> Self {
        let (vm, mut cfg) = vm_with(&RamBlock::new("ram", RAM).unwrap());
        cfg.cpuid.set_vendor(0, 0xd, vendor);
        Self::of((vm, cfg))
    }
    fn of((vm, cfg): (TcgVm, VcpuConfig)) -> Self {
        let vcpu = vm.create_vcpu(0, &cfg).unwrap();
        Self { vcpu, memory: cfg.memory, board: Recorder::default(), _vm: vm }
    }
    /// The state in 64-bit code at [`CODE`], with a stack below it.
    pub(super) fn long_mode(&self) -> X86State {
        let entry = |at: u64, v: u64| self.memory.write(at, &v.to_le_bytes()).unwrap();
        entry(TABLES, (TABLES + 0x1000) | 7);
        entry(TABLES + 0x1000, (TABLES + 0x2000) | 7);
        (0..512).for_each(|n| entry(TABLES + 0x2000 + 8 * n, n << 21 | 0x87));
        let mut s = X86State::reset(true, 0);
        s.cr0 = cr0::PE | cr0::PG | cr0::ET | cr0::NE | cr0::WP;
        s.cr3 = TABLES;
        s.cr4 = cr4::PAE | cr4::OSFXSR | cr4::OSXMMEXCPT;
        s.efer = efer::LME | efer::LMA | efer::SCE | efer::NXE;
        let data = Segment { selector: 0x10, base: 0, limit: u32::MAX, attr: 0xc093 };
        s.seg[..6].fill(data);
        *s.seg_mut(Seg::Cs) = Segment { selector: 8, attr: 0xa09b, ..data };
        s.gpr[4] = CODE - 0x1000;
        s.rip = CODE;
        s
    }
    /// Loads `code` at [`CODE`] and runs at most `n` instructions from `state` on.
    pub(super) fn run(&mut self, code: &[u8], state: &X86State, n: u64) -> (VcpuExit, X86State) {
        self.memory.write(CODE, code).unwrap();
        self.vcpu.set_state(state).unwrap();
        let exit = self.vcpu.run(&self.board, Limit { instructions: Some(n) });
        (exit, self.vcpu.get_state().unwrap())
    }
}

/// The flags that a test compares unless it says otherwise.
pub(super) const ALL: u64 = rflags::CF | rflags::PF | rflags::AF | rflags::ZF | rflags::SF | rflags::OF;
