//! Could KVM run the machine? Found out by running a vCPU, and by measuring how fast its kernel code would be.

use super::device::{Device, Unusable};
use super::vm::KvmVm;
use crate::options::KvmOptions;
use gearbox_core::accel::{Probe, Request, Speed};
use gearbox_core::mem::{AddressSpace, MemTree, RamBlock};
use gearbox_core::vm::{CpuBus, Limit, Vcpu, VcpuConfig, VcpuExit, VcpuHandle, Vm};
use gearbox_core::x86::cpuid::CpuModel;
use gearbox_core::x86::state::{Seg, Segment, X86State, cr0};
use gearbox_core::x86::topology::Topology;
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The guest loops this often between two reports: long enough for the exit itself not to count, even on nested hosts.
const LOOPS: u32 = 1000;
/// DEC and JNZ.
const INSTRUCTIONS_A_LOOP: u32 = 2;
/// This many reports end the measurement ...
const REPORTS: usize = 12;
/// ... or this much time.
const ENOUGH: Duration = Duration::from_millis(2);
/// A vCPU that has not finished by now does not run.
const PATIENCE: Duration = Duration::from_millis(500);

/// Below this, KVM does not run ring 0 on the processor but emulates it: a processor does thousands (tens, where every exit goes through
/// a hypervisor below), an emulator a few.
const SLOW_MIPS: u32 = 20;

const CODE_AT: u32 = 0x1000;

/// 32-bit code: `again: mov ecx, LOOPS; l: dec ecx; jnz l; out 80h, al; jmp again`.
const CODE: [u8; 12] = {
    let n = LOOPS.to_le_bytes();
    [0xb9, n[0], n[1], n[2], n[3], 0x49, 0x75, 0xfd, 0xe6, 0x80, 0xeb, 0xf4]
};

pub(crate) fn probe(request: &Request, options: &KvmOptions) -> Probe {
    let speed = Device::open(&options.device).and_then(|device| {
        device.fits(request)?;
        measure(&device)
    });
    match speed {
        Ok(mips) if mips < SLOW_MIPS => Probe::Ready(Speed::Slow { mips }),
        Ok(_) => Probe::Ready(Speed::Full),
        Err(e) => e.probe(),
    }
}

/// The guest's only device: takes the time between reports, and ends the run when there are enough of them.
struct Reports {
    vcpu: Arc<dyn VcpuHandle>,
    times: Mutex<Vec<Instant>>,
}

impl Reports {
    /// The shortest time between two reports; others were spent elsewhere, on a busy host.
    fn best(&self) -> Option<Duration> {
        self.times.lock().windows(2).map(|t| t[1].duration_since(t[0])).min()
    }
}

impl CpuBus for Reports {
    fn pio_in(&self, _port: u16, _size: u8) -> u32 {
        u32::MAX
    }
    fn pio_out(&self, _port: u16, _size: u8, _value: u32) {
        let now = Instant::now();
        let mut times = self.times.lock();
        times.push(now);
        if times.len() >= REPORTS || (times.len() > 1 && now.duration_since(times[0]) >= ENOUGH) {
            self.vcpu.kick();
        }
    }
    fn mmio_read(&self, _addr: u64, data: &mut [u8]) {
        data.fill(0xff);
    }
    fn mmio_write(&self, _addr: u64, _data: &[u8]) {}
    fn ack_interrupt(&self) -> Option<u8> {
        None
    }
    fn eoi(&self, _vector: u8) {}
    fn deadline(&self) -> Option<u64> {
        None
    }
    fn settle_timers(&self) {}
}

/// 32-bit code without paging.
fn flat_state(signature: u32) -> X86State {
    let mut s = X86State::reset(true, signature);
    for seg in [Seg::Es, Seg::Ss, Seg::Ds, Seg::Fs, Seg::Gs] {
        *s.seg_mut(seg) = Segment { selector: 0x10, base: 0, limit: u32::MAX, attr: 0xc093 };
    }
    *s.seg_mut(Seg::Cs) = Segment { selector: 8, base: 0, limit: u32::MAX, attr: 0xc09b };
    s.cr0 = cr0::PE | cr0::ET;
    s.rip = u64::from(CODE_AT);
    s
}

/// Million instructions a second of code in ring 0.
fn measure(device: &Device) -> Result<u32, Unusable> {
    let failed = |why: &dyn ToString| Unusable::DoesNotRun(why.to_string());
    let vm = KvmVm::new(device)?;
    let block = RamBlock::new("probe", 0x1_0000).map_err(|e| failed(&e))?;
    let memory = Arc::new(AddressSpace::new());
    let mut tree = MemTree::new("probe", u64::MAX);
    let ram = tree.ram(&block, 0, block.size());
    tree.map(tree.root(), 0, ram, 0);
    memory.install(tree.render());
    if let Some(listener) = vm.memory_listener() {
        memory.listen(listener);
    }
    memory.load(u64::from(CODE_AT), &CODE).map_err(|e| failed(&e))?;

    let model = CpuModel::default();
    let cpu = model.realize(vm.cpuid(), &Topology::default(), 0).map_err(|e| failed(&e))?;
    let signature = cpu.cpuid.signature();
    let config = VcpuConfig { model, cpuid: cpu.cpuid, apic_id: 0, bsp: true, memory };
    let mut vcpu = vm.kvm_vcpu(&config).map_err(|e| failed(&e))?;
    vcpu.set_state(&flat_state(signature)).map_err(|e| failed(&e))?;

    let reports = Reports { vcpu: vcpu.handle(), times: Mutex::default() };
    let exit = with_patience(&*reports.vcpu, PATIENCE, || vcpu.run(&reports, Limit::default()));
    match (exit, reports.best()) {
        (VcpuExit::Kicked, Some(best)) => {
            let mips = f64::from(LOOPS * INSTRUCTIONS_A_LOOP) / (best.as_secs_f64() * 1e6).max(1e-3);
            Ok((mips.round() as u32).max(1))
        }
        (VcpuExit::Kicked, None) => Err(failed(&"it gets nowhere")),
        (VcpuExit::InternalError(text), _) => Err(failed(&text.lines().take(2).collect::<Vec<_>>().join(", "))),
        (exit, _) => Err(failed(&format!("it ends with {exit:?}"))),
    }
}

/// Runs `f`, and kicks `vcpu` when that takes too long.
pub(super) fn with_patience<R>(vcpu: &dyn VcpuHandle, patience: Duration, f: impl FnOnce() -> R) -> R {
    let (done, changed) = (Mutex::new(false), Condvar::new());
    std::thread::scope(|s| {
        s.spawn(|| {
            let mut done = done.lock();
            if !*done && changed.wait_for(&mut done, patience).timed_out() {
                vcpu.kick();
            }
        });
        let result = f();
        *done.lock() = true;
        changed.notify_one();
        result
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_runs_out_of_patience_kicks() {
        #[derive(Default)]
        struct Kicked(Mutex<bool>, Condvar);
        impl VcpuHandle for Kicked {
            fn kick(&self) {
                *self.0.lock() = true;
                self.1.notify_one();
            }
            fn set_intr(&self, _level: bool) {}
            fn nmi(&self) {}
            fn init(&self) {}
            fn wait(&self, _timeout: Option<Duration>) {}
        }
        let vcpu = Kicked::default();
        with_patience(&vcpu, Duration::from_millis(100), || {
            let mut kicked = vcpu.0.lock();
            while !*kicked {
                vcpu.1.wait(&mut kicked);
            }
        });
        *vcpu.0.lock() = false;
        assert_eq!(with_patience(&vcpu, Duration::from_millis(100), || 7), 7);
        assert!(!*vcpu.0.lock());
    }
}
