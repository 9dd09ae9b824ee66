//! Tiny guests on the host's KVM. Where there is none, each test says so and returns.

mod interrupts;
mod io;
mod models;
mod probe;
mod state;

use super::device::Device;
use super::probe::with_patience;
use super::vcpu::KvmVcpu;
use super::vm::KvmVm;
use crate::Kvm;
use gearbox_core::accel::{Accelerator, OpenError, Options, Probe, Request};
use gearbox_core::mem::{AddressSpace, MemTree, RamBlock};
use gearbox_core::vm::{CpuBus, DirtyLog, Limit, Vcpu, VcpuConfig, VcpuExit, VcpuHandle, Vm, VmState};
use gearbox_core::x86::cpuid::CpuModel;
use gearbox_core::x86::state::{Activity, FpuState, Seg, Segment, X86State, cr0, cr4, efer, gpr, rflags};
use gearbox_core::x86::topology::Topology;
use parking_lot::Mutex;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// Opens the host's KVM, or says why the test is skipped.
fn kvm() -> Option<KvmVm> {
    let opened = Device::open(Path::new("/dev/kvm")).and_then(|d| KvmVm::new(&d));
    opened.map_err(|e| println!("skipped: {}", e.reason())).ok()
}

/// 64 KiB of RAM at 0.
struct Guest {
    vm: KvmVm,
    memory: Arc<AddressSpace>,
    tree: Mutex<MemTree>,
    block: Arc<RamBlock>,
}

impl Guest {
    /// A guest with `code` at 0x1000.
    fn new(code: &[u8]) -> Option<Self> {
        let vm = kvm()?;
        let block = RamBlock::new("ram", 0x1_0000).unwrap();
        let memory = Arc::new(AddressSpace::new());
        let mut tree = MemTree::new("memory", u64::MAX);
        let ram = tree.ram(&block, 0, block.size());
        tree.map(tree.root(), 0, ram, 0);
        memory.install(tree.render());
        memory.listen(vm.memory_listener().unwrap());
        memory.load(0x1000, code).unwrap();
        Some(Self { vm, memory, tree: Mutex::new(tree), block })
    }

    fn config(&self, model: &str, apic_id: u32) -> VcpuConfig {
        let model = CpuModel::parse(model).unwrap();
        let topology = Topology { sockets: 2, ..Topology::default() };
        let cpuid = model.realize(self.vm.cpuid(), &topology, apic_id).unwrap().cpuid;
        VcpuConfig { model, cpuid, apic_id, bsp: apic_id == 0, memory: self.memory.clone() }
    }

    /// A vCPU at the code, in real mode with all segments 0.
    fn vcpu(&self) -> KvmVcpu {
        let mut vcpu = self.vm.kvm_vcpu(&self.config("qemu64", 0)).unwrap();
        vcpu.set_state(&real_mode(0x1000)).unwrap();
        vcpu
    }

    /// Page-table entries of 8 bytes.
    fn load_entries(&self, entries: &[(u64, u64)]) {
        for (at, entry) in entries {
            self.memory.load(*at, &entry.to_le_bytes()).unwrap();
        }
    }

    fn read<const N: usize>(&self, addr: u64) -> [u8; N] {
        self.memory.read_array(addr).unwrap()
    }
}

/// A data segment of 4 GiB, as "unreal" mode leaves it.
const BIG_DATA: Segment = Segment { selector: 0, base: 0, limit: u32::MAX, attr: 0x8093 };

fn real_mode(rip: u64) -> X86State {
    let mut s = X86State::reset(true, 0);
    *s.seg_mut(Seg::Cs) = Segment { attr: 0x9b, ..Segment::real(0) };
    s.rip = rip;
    s.gpr[gpr::RSP] = 0x8000;
    s
}

/// 64-bit code at `rip` with the page tables at `cr3`.
fn long_mode(cr3: u64, rip: u64) -> X86State {
    let mut s = real_mode(rip);
    s.cr0 = cr0::PE | cr0::PG | cr0::ET | cr0::NE | cr0::WP | cr0::MP;
    s.cr4 = cr4::PAE | cr4::PGE | cr4::OSFXSR | cr4::OSXMMEXCPT;
    s.cr3 = cr3;
    s.efer = efer::LME | efer::LMA | efer::SCE | efer::NXE;
    *s.seg_mut(Seg::Cs) = Segment { selector: 0x10, base: 0, limit: u32::MAX, attr: 0xa09b };
    for seg in [Seg::Ds, Seg::Es, Seg::Ss, Seg::Fs, Seg::Gs] {
        *s.seg_mut(seg) = Segment { selector: 0x18, base: 0, limit: u32::MAX, attr: 0xc093 };
    }
    s
}

/// What a guest does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Access {
    Out(u16),
    Read,
    Acknowledge,
}

/// Records what a guest does, and answers from a few registers.
#[derive(Default)]
struct Bus {
    log: Mutex<Vec<String>>,
    /// What ports read.
    answer: AtomicU32,
    vector: AtomicU8,
    acknowledged: AtomicU32,
    stop: Mutex<Option<Arc<dyn VcpuHandle>>>,
    stopped: AtomicBool,
    /// Called in the middle of every access.
    hook: Mutex<Option<Box<dyn FnMut(Access) + Send>>>,
}

impl Bus {
    fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.log.lock())
    }
    /// Calls `f` in the middle of every access.
    fn on(&self, f: impl FnMut(Access) + Send + 'static) {
        *self.hook.lock() = Some(Box::new(f));
    }
    fn call(&self, access: Access) {
        if let Some(f) = &mut *self.hook.lock() {
            f(access);
        }
    }
    fn stop(&self) {
        self.stopped.store(true, SeqCst);
        self.stop.lock().as_ref().unwrap().kick();
    }
    fn note(&self, text: String) {
        self.log.lock().push(text);
    }
}

/// OUT to this port ends the run.
const STOP: u16 = 0xf4;

impl CpuBus for Bus {
    fn pio_in(&self, port: u16, size: u8) -> u32 {
        self.note(format!("in{size} {port:x}"));
        self.answer.fetch_add(1, SeqCst)
    }
    fn pio_out(&self, port: u16, size: u8, value: u32) {
        self.call(Access::Out(port));
        if port == STOP {
            self.stop();
        } else {
            self.note(format!("out{size} {port:x} {value:x}"));
        }
    }
    fn mmio_read(&self, addr: u64, data: &mut [u8]) {
        self.call(Access::Read);
        self.note(format!("read{} {addr:x}", data.len()));
        for (i, b) in data.iter_mut().enumerate() {
            *b = 0x11 * (i as u8 + 1);
        }
    }
    fn mmio_write(&self, addr: u64, data: &[u8]) {
        self.note(format!("write{} {addr:x} {data:x?}", data.len()));
    }
    fn ack_interrupt(&self) -> Option<u8> {
        self.call(Access::Acknowledge);
        self.acknowledged.fetch_add(1, SeqCst);
        Some(self.vector.load(SeqCst))
    }
    fn eoi(&self, vector: u8) {
        self.note(format!("eoi {vector:x}"));
        self.stop();
    }
    fn deadline(&self) -> Option<u64> {
        None
    }
    fn settle_timers(&self) {}
}

/// Runs until the guest writes to [`STOP`]; fails with the vCPU's state when it does not come to that.
fn run_to_stop(vcpu: &mut KvmVcpu, bus: &Bus) {
    *bus.stop.lock() = Some(vcpu.handle());
    bus.stopped.store(false, SeqCst);
    let exit = with_patience(&*vcpu.handle(), Duration::from_secs(10), || vcpu.run(bus, Limit::default()));
    let stopped = exit == VcpuExit::Kicked && bus.stopped.load(SeqCst);
    assert!(stopped, "{exit:?} after {:?} at {:x?}", bus.log(), vcpu.get_state());
}
