//! Tiny guests on the host's KVM. Where there is none, each test says so and returns.

use super::device::Device;
use super::probe::with_patience;
use super::vcpu::KvmVcpu;
use super::vm::KvmVm;
use crate::Kvm;
use gearbox_core::accel::{Accelerator, OpenError, Options, Probe, Request};
use gearbox_core::mem::{AddressSpace, MemTree, RamBlock, RegionId};
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
    ram: RegionId,
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
        Some(Self { vm, memory, tree: Mutex::new(tree), ram, block })
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
    on_out: Mutex<Option<Box<dyn FnMut(u16, u32) + Send>>>,
}

impl Bus {
    fn log(&self) -> Vec<String> {
        std::mem::take(&mut self.log.lock())
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
        if let Some(f) = &mut *self.on_out.lock() {
            f(port, value);
        }
        if port == STOP {
            self.stop();
        } else {
            self.note(format!("out{size} {port:x} {value:x}"));
        }
    }
    fn mmio_read(&self, addr: u64, data: &mut [u8]) {
        self.note(format!("read{} {addr:x}", data.len()));
        for (i, b) in data.iter_mut().enumerate() {
            *b = 0x11 * (i as u8 + 1);
        }
    }
    fn mmio_write(&self, addr: u64, data: &[u8]) {
        self.note(format!("write{} {addr:x} {data:x?}", data.len()));
    }
    fn ack_interrupt(&self) -> Option<u8> {
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

#[test]
fn ports_single_and_string() {
    let code = [
        0xe4, 0x60, // in al, 60h
        0xe6, 0x61, // out 61h, al
        0x66, 0xed, // in eax, dx
        0x66, 0xef, // out dx, eax
        0xb9, 3, 0, 0xbf, 0, 0x20, 0xf3, 0x6d, // mov cx, 3; mov di, 2000h; rep insw
        0xb9, 3, 0, 0xbe, 0, 0x20, 0xf3, 0x6e, // mov cx, 3; mov si, 2000h; rep outsb
        0xe6, 0xf4, // out STOP, al
    ];
    let Some(g) = Guest::new(&code) else { return };
    let mut vcpu = g.vcpu();
    let mut s = vcpu.get_state().unwrap();
    s.gpr[gpr::RDX] = 0x1f0;
    vcpu.set_state(&s).unwrap();
    let bus = Bus { answer: AtomicU32::new(0x4100), ..Bus::default() };
    run_to_stop(&mut vcpu, &bus);
    assert_eq!(
        bus.log(),
        [
            "in1 60",
            "out1 61 0",
            "in4 1f0",
            "out4 1f0 4101",
            "in2 1f0",
            "in2 1f0",
            "in2 1f0",
            "out1 1f0 2",
            "out1 1f0 41",
            "out1 1f0 3"
        ]
    );
    assert_eq!(g.read(0x2000), [2, 0x41, 3, 0x41, 4, 0x41]);
    let s = vcpu.get_state().unwrap();
    // The OUT that stopped the run is complete.
    assert_eq!((s.rip, s.gpr[gpr::RCX], s.gpr[gpr::RDI]), (0x1000 + code.len() as u64, 0, 0x2006));
}

#[test]
fn memory_mapped_io_is_complete_before_registers_are_read() {
    let code = [
        0x66, 0xa1, 0, 0x90, // mov eax, [9000h]: RAM
        0x67, 0x66, 0xa1, 0, 0, 0x10, 0, // mov eax, [100000h], by a 32-bit address
        0x67, 0x66, 0xa3, 4, 0, 0x10, 0, // mov [100004h], eax
        0xe6, 0xf4,
    ];
    let Some(g) = Guest::new(&code) else { return };
    let mut vcpu = g.vcpu();
    let mut s = vcpu.get_state().unwrap();
    *s.seg_mut(Seg::Ds) = BIG_DATA;
    vcpu.set_state(&s).unwrap();
    let bus = Bus::default();
    run_to_stop(&mut vcpu, &bus);
    assert_eq!(bus.log(), ["read4 100000", "write4 100004 [11, 22, 33, 44]"]);
    assert_eq!(vcpu.get_state().unwrap().gpr[gpr::RAX], 0x4433_2211);

    // A kick in the middle of the read: the instruction is completed with the answer that the bus gave.
    struct KickInRead(Arc<dyn VcpuHandle>);
    impl CpuBus for KickInRead {
        fn pio_in(&self, _: u16, _: u8) -> u32 {
            0
        }
        fn pio_out(&self, _: u16, _: u8, _: u32) {}
        fn mmio_read(&self, _: u64, data: &mut [u8]) {
            data.fill(0x5a);
            self.0.kick();
        }
        fn mmio_write(&self, _: u64, _: &[u8]) {}
        fn ack_interrupt(&self) -> Option<u8> {
            None
        }
        fn eoi(&self, _: u8) {}
        fn deadline(&self) -> Option<u64> {
            None
        }
        fn settle_timers(&self) {}
    }
    s.rip = 0x1004;
    vcpu.set_state(&s).unwrap();
    assert_eq!(vcpu.run(&KickInRead(vcpu.handle()), Limit::default()), VcpuExit::Kicked);
    let s = vcpu.get_state().unwrap();
    assert_eq!((s.rip, s.gpr[gpr::RAX]), (0x100b, 0x5a5a_5a5a));
}

#[test]
fn no_kick_is_lost() {
    // sti; l: hlt; jmp l — and the same with a busy loop.
    for code in [&[0xfb, 0xf4, 0xeb, 0xfd][..], &[0xeb, 0xfe]] {
        let Some(g) = Guest::new(code) else { return };
        let mut vcpu = g.vcpu();
        let (handle, bus) = (vcpu.handle(), Bus::default());
        let (round, done) = (AtomicU32::new(0), AtomicBool::new(false));
        std::thread::scope(|s| {
            s.spawn(|| {
                // One kick for each return from run; the next only after that was seen.
                for n in 0..1000 {
                    while round.load(SeqCst) < n {
                        std::hint::spin_loop();
                        std::thread::yield_now();
                    }
                    if n % 3 == 0 {
                        std::thread::sleep(Duration::from_micros(u64::from(n % 50)));
                    }
                    handle.kick();
                }
                let started = Instant::now();
                while !done.load(SeqCst) {
                    assert!(started.elapsed() < Duration::from_secs(10), "a kick was lost");
                    std::thread::yield_now();
                }
            });
            for _ in 0..1000 {
                assert_eq!(vcpu.run(&bus, Limit::default()), VcpuExit::Kicked);
                round.fetch_add(1, SeqCst);
            }
            done.store(true, SeqCst);
        });
    }
}

#[test]
fn a_halted_cpu_wakes_by_intr_from_the_8259() {
    // sti; hlt; out STOP, al. Vector 21h at 0:84h -> 0:1100h: out 62h, al; iret
    let Some(g) = Guest::new(&[0xfb, 0xf4, 0xe6, 0xf4]) else { return };
    g.memory.load(0x84, &[0, 0x11, 0, 0]).unwrap();
    g.memory.load(0x1100, &[0xe6, 0x62, 0xcf]).unwrap();
    let mut vcpu = g.vcpu();
    let handle = vcpu.handle();
    let bus = Bus { vector: AtomicU8::new(0x21), ..Bus::default() };
    let drop_line = handle.clone();
    *bus.on_out.lock() = Some(Box::new(move |port, _| {
        if port == 0x62 {
            drop_line.set_intr(false);
        }
    }));
    std::thread::scope(|s| {
        s.spawn(|| {
            std::thread::sleep(Duration::from_millis(5));
            handle.set_intr(true);
        });
        run_to_stop(&mut vcpu, &bus);
    });
    assert_eq!(bus.log(), ["out1 62 0"]);
    assert_eq!(bus.acknowledged.load(SeqCst), 1);
}

#[test]
fn intr_waits_for_the_interrupt_window() {
    // cli; out 63h, al; out 64h, al; sti; l: jmp l
    let Some(g) = Guest::new(&[0xfa, 0xe6, 0x63, 0xe6, 0x64, 0xfb, 0xeb, 0xfe]) else { return };
    g.memory.load(0x84, &[0, 0x11, 0, 0]).unwrap();
    g.memory.load(0x1100, &[0xe6, 0x62, 0xe6, 0xf4]).unwrap();
    let mut vcpu = g.vcpu();
    let handle = vcpu.handle();
    let bus = Bus { vector: AtomicU8::new(0x21), ..Bus::default() };
    *bus.on_out.lock() = Some(Box::new(move |port, _| match port {
        0x63 => handle.set_intr(true),
        0x62 => handle.set_intr(false),
        _ => {}
    }));
    run_to_stop(&mut vcpu, &bus);
    assert_eq!(bus.log(), ["out1 63 0", "out1 64 0", "out1 62 0"]);
}

#[test]
fn an_acknowledged_vector_survives_a_kick() {
    // sti; l: jmp l
    let Some(g) = Guest::new(&[0xfb, 0xeb, 0xfe]) else { return };
    g.memory.load(0x84, &[0, 0x11, 0, 0]).unwrap();
    g.memory.load(0x1100, &[0xe6, 0x62, 0xe6, 0xf4]).unwrap();
    let mut vcpu = g.vcpu();
    let handle = vcpu.handle();
    let kicker = handle.clone();
    struct KickInAck(Arc<dyn VcpuHandle>, Bus);
    impl CpuBus for KickInAck {
        fn pio_in(&self, port: u16, size: u8) -> u32 {
            self.1.pio_in(port, size)
        }
        fn pio_out(&self, port: u16, size: u8, value: u32) {
            self.1.pio_out(port, size, value);
        }
        fn mmio_read(&self, _: u64, _: &mut [u8]) {}
        fn mmio_write(&self, _: u64, _: &[u8]) {}
        fn ack_interrupt(&self) -> Option<u8> {
            self.0.set_intr(false);
            self.0.kick();
            Some(0x21)
        }
        fn eoi(&self, _: u8) {}
        fn deadline(&self) -> Option<u64> {
            None
        }
        fn settle_timers(&self) {}
    }
    let bus = KickInAck(handle.clone(), Bus::default());
    std::thread::scope(|s| {
        s.spawn(|| {
            std::thread::sleep(Duration::from_millis(5));
            kicker.set_intr(true);
        });
        assert_eq!(vcpu.run(&bus, Limit::default()), VcpuExit::Kicked);
    });
    // The vector is part of the state now, and moves to another vCPU with it.
    let s = vcpu.get_state().unwrap();
    assert_eq!(s.events.interrupt, Some(0x21));
    drop((vcpu, bus));
    let Some(other) = Guest::new(&[0xfb, 0xeb, 0xfe]) else { return };
    other.memory.load(0x84, &[0, 0x11, 0, 0]).unwrap();
    other.memory.load(0x1100, &[0xe6, 0x62, 0xe6, 0xf4]).unwrap();
    let mut vcpu = other.vcpu();
    vcpu.set_state(&s).unwrap();
    let bus = Bus::default();
    run_to_stop(&mut vcpu, &bus);
    assert_eq!(bus.log(), ["out1 62 0"]);
}

#[test]
fn nmi_and_init_pins() {
    // l: jmp l. NMI at 0:8 -> 0:1100h: out 64h, al; l: jmp l
    let Some(g) = Guest::new(&[0xeb, 0xfe]) else { return };
    g.memory.load(8, &[0, 0x11, 0, 0]).unwrap();
    g.memory.load(0x1100, &[0xe6, 0x64, 0xe6, 0xf4, 0xeb, 0xfe]).unwrap();
    let mut vcpu = g.vcpu();
    let (handle, bus) = (vcpu.handle(), Bus::default());
    // LINT1 is masked after RESET.
    handle.nmi();
    handle.kick();
    assert_eq!(vcpu.run(&bus, Limit::default()), VcpuExit::Kicked);
    let mut s = vcpu.get_state().unwrap();
    assert!(!s.events.nmi_pending);
    s.lapic.as_mut().unwrap().regs[0x0f] = 0x1ff;
    s.lapic.as_mut().unwrap().regs[0x36] = 0x400;
    s.fpu.xmm[3] = 77;
    vcpu.set_state(&s).unwrap();
    handle.nmi();
    run_to_stop(&mut vcpu, &bus);
    assert_eq!(bus.log(), ["out1 64 0"]);

    handle.init();
    handle.kick();
    while vcpu.run(&bus, Limit::default()) != VcpuExit::Kicked {}
    let s = vcpu.get_state().unwrap();
    let cs = s.seg(Seg::Cs);
    assert_eq!((cs.selector, cs.base, s.fpu.xmm[3]), (0xf000, 0xffff_0000, 77));
    assert_eq!(s.lapic.unwrap().regs[0x0f], 0xff);
}

#[test]
fn a_triple_fault_is_told_until_the_state_is_loaded() {
    // 32-bit: lidt [2000h], an empty table; ud2
    let Some(g) = Guest::new(&[0x0f, 0x01, 0x1d, 0, 0x20, 0, 0, 0x0f, 0x0b, 0xf4]) else { return };
    let mut vcpu = g.vcpu();
    let bus = Bus::default();
    let mut s = real_mode(0x1000);
    s.cr0 |= cr0::PE;
    for seg in &mut s.seg[..6] {
        seg.attr |= 0xc000;
        seg.limit = u32::MAX;
    }
    vcpu.set_state(&s).unwrap();
    assert_eq!(vcpu.run(&bus, Limit::default()), VcpuExit::TripleFault);
    assert_eq!(vcpu.run(&bus, Limit::default()), VcpuExit::TripleFault);
    assert_eq!(vcpu.get_state().unwrap().activity, Activity::Shutdown);
    g.memory.load(0x1000, &[0xe6, 0xf4]).unwrap();
    vcpu.set_state(&real_mode(0x1000)).unwrap();
    run_to_stop(&mut vcpu, &bus);
}

#[test]
fn a_state_that_is_set_is_the_state_that_is_got() {
    let Some(g) = Guest::new(&[0xf4]) else { return };
    let mut vcpu = g.vcpu();
    let X86State { lapic, msrs, .. } = vcpu.get_state().unwrap();
    let mut want = X86State { lapic, msrs, ..long_mode(0x5000, 0xffff_ffff_8100_0000) };
    want.gpr = std::array::from_fn(|i| 0x0101_0101_0101_0101 * (i as u64 + 1));
    want.rflags = rflags::FIXED1 | rflags::IF | rflags::CF | rflags::ID;
    (want.cr2, want.cr8) = (0x1234_5678_9abc, 5);
    want.seg_mut(Seg::Gs).base = 0xffff_8880_0000_0000;
    want.seg_mut(Seg::Fs).base = 0x7f00_0000_1000;
    *want.seg_mut(Seg::Tr) = Segment { selector: 0x40, base: 0xffff_fe00_0000_3000, limit: 0x206f, attr: 0x8b };
    want.gdtr.base = 0xffff_fe00_0000_1000;
    want.gdtr.limit = 0x7f;
    want.idtr.base = 0xffff_fe00_0000_0000;
    want.idtr.limit = 0xfff;
    want.dr = [0x1000, 0x2000, 0x3000, 0x4000, 0xffff_0ff0, 0x400];
    want.fpu = FpuState { fcw: 0x37f, fsw: 0x3800, ftw: 0xc0, mxcsr: 0x1fa0, ..FpuState::default() };
    want.fpu.st[0] = 0x4000_c90f_daa2_2168_c235;
    want.fpu.xmm = std::array::from_fn(|i| u128::MAX / (i as u128 + 2));
    for (msr, value) in [
        (0xc000_0081, 0x23_0010_0000_0000),
        (0xc000_0082, 0xffff_ffff_8160_0000),
        (0xc000_0102, 0x7000),
        (0x277, 0x0407_0506_0007_0106),
    ] {
        assert!(want.msrs.insert(msr, value).is_some(), "MSR {msr:#x} is kept");
    }
    let lapic = want.lapic.as_mut().unwrap();
    for (slot, value) in [(0x08, 0x50), (0x0f, 0x1ff), (0x22, 1 << 5), (0x35, 0x700), (0x36, 0x400)] {
        lapic.regs[slot] = value;
    }
    want.events.nmi_masked = true;
    want.activity = Activity::Halted;
    vcpu.set_state(&want).unwrap();
    let mut got = vcpu.get_state().unwrap();
    assert!(got.tsc >= want.tsc);
    got.tsc = want.tsc;
    // PPR follows TPR.
    want.lapic.as_mut().unwrap().regs[0x0a] = 0x50;
    assert_eq!(got, want);

    // And a second time, from what was got; after a reset nothing of it is left.
    vcpu.set_state(&got).unwrap();
    got.tsc = 0;
    let again = X86State { tsc: 0, ..vcpu.get_state().unwrap() };
    assert_eq!(again, got);
    vcpu.set_state(&real_mode(0x1000)).unwrap();
    let reset = vcpu.get_state().unwrap();
    assert_eq!((reset.msrs[&0xc000_0082], reset.fpu, reset.activity), (0, FpuState::default(), Activity::Active));
}

#[test]
fn rom_drops_stores_and_changing_it_is_seen_while_running() {
    // l: inc byte [2000h]; out 65h, al; jmp l
    let Some(g) = Guest::new(&[0xfe, 0x06, 0, 0x20, 0xe6, 0x65, 0xeb, 0xf8]) else { return };
    let g = &g;
    let mut vcpu = g.vcpu();
    let (handle, bus) = (vcpu.handle(), Bus::default());
    let outs = Arc::new(AtomicU64::new(0));
    let count = outs.clone();
    *bus.on_out.lock() = Some(Box::new(move |_, _| {
        count.fetch_add(1, SeqCst);
    }));
    let wait_for = |more: u64| {
        let (from, started) = (outs.load(SeqCst), Instant::now());
        while outs.load(SeqCst) < from + more && started.elapsed() < Duration::from_secs(5) {
            std::thread::yield_now();
        }
    };
    let rom = {
        let mut tree = g.tree.lock();
        let rom = tree.rom(&g.block, 0x2000, 0x1000);
        let root = tree.root();
        tree.map(root, 0x2000, rom, 1);
        tree.set_enabled(rom, false);
        rom
    };
    std::thread::scope(|s| {
        s.spawn(|| {
            for round in 0..50 {
                wait_for(3);
                let mut tree = g.tree.lock();
                tree.set_enabled(rom, round % 2 == 0);
                g.memory.install(tree.render());
                drop(tree);
                // The store of an instruction that has begun may still come.
                wait_for(2);
                let before = g.read::<1>(0x2000);
                wait_for(3);
                let same = before == g.read::<1>(0x2000);
                assert_eq!(same, round % 2 == 0, "round {round}");
            }
            handle.kick();
        });
        assert_eq!(vcpu.run(&bus, Limit::default()), VcpuExit::Kicked);
    });
    assert!(bus.log().iter().any(|l| l.starts_with("write1 2000")));
    let _ = g.ram;
}

#[test]
fn dirty_pages_are_found() {
    // mov [2000h], al; mov [5000h], al; out STOP, al
    let Some(g) = Guest::new(&[0xa2, 0, 0x20, 0xa2, 0, 0x50, 0xe6, 0xf4]) else { return };
    let mut vcpu = g.vcpu();
    g.vm.enable(true).unwrap();
    g.vm.sync().unwrap();
    let taken = || {
        let dirty = |page: &u64| g.block.take_dirty(gearbox_core::mem::DirtyClient::Migration, page * 0x1000);
        (0..16).filter(dirty).collect::<Vec<u64>>()
    };
    taken();
    run_to_stop(&mut vcpu, &Bus::default());
    g.vm.sync().unwrap();
    assert_eq!(taken(), [2, 5]);
    g.vm.sync().unwrap();
    assert!(taken().is_empty());
    g.vm.enable(false).unwrap();
}

#[test]
fn the_kernel_clock_is_saved_and_loaded() {
    let Some(vm) = kvm() else { return };
    let mut saved = vm.save().unwrap();
    saved.insert("kvmclock".into(), 1_000_000_000_000u64.to_le_bytes().to_vec());
    vm.load(&saved).unwrap();
    let now = u64::from_le_bytes(vm.save().unwrap()["kvmclock"].as_slice().try_into().unwrap());
    assert!((1_000_000_000_000..1_010_000_000_000).contains(&now), "{now}");
    assert!(vm.load(&[("other".to_owned(), vec![])].into()).is_err());
}

#[test]
fn eoi_of_a_level_triggered_vector_comes_back() {
    // sti; l: jmp l; vector 50h: mov dword [fee000b0h], 0; l: jmp l
    let Some(g) = Guest::new(&[0xfb, 0xeb, 0xfe]) else { return };
    g.memory.load(0x140, &[0, 0x11, 0, 0]).unwrap();
    g.memory.load(0x1100, &[0x66, 0x67, 0xc7, 0x05, 0xb0, 0, 0xe0, 0xfe, 0, 0, 0, 0, 0xeb, 0xfe]).unwrap();
    let mut vcpu = g.vcpu();
    let mut s = vcpu.get_state().unwrap();
    s.lapic.as_mut().unwrap().regs[0x0f] = 0x1ff;
    *s.seg_mut(Seg::Ds) = BIG_DATA;
    vcpu.set_state(&s).unwrap();
    let (addr, data) = (0xfee0_0000, 0x8050 | 1 << 14);
    g.vm.msi().set_route(4, Some((addr, data)));
    g.vm.msi().send_msi(addr, data);
    let bus = Bus::default();
    run_to_stop(&mut vcpu, &bus);
    assert_eq!(bus.log(), ["eoi 50"]);
}

#[test]
fn a_second_processor_starts_by_sipi() {
    // BSP, 32-bit addresses: INIT and SIPI (vector 3) to all others; l: jmp l
    let bsp = [
        0x66, 0x67, 0xc7, 0x05, 0, 0x03, 0xe0, 0xfe, 0, 0x45, 0x0c, 0, // ICR = 000c4500h
        0x66, 0x67, 0xc7, 0x05, 0, 0x03, 0xe0, 0xfe, 3, 0x46, 0x0c, 0, // ICR = 000c4603h
        0xeb, 0xfe,
    ];
    let Some(g) = Guest::new(&bsp) else { return };
    g.memory.load(0x3000, &[0xe6, 0x66, 0xe6, 0xf4, 0xeb, 0xfe]).unwrap();
    let bus = Bus::default();
    let started = Instant::now();
    let (ap_waits, ap_done) = (std::sync::Barrier::new(2), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut ap = g.vm.kvm_vcpu(&g.config("qemu64", 1)).unwrap();
            ap.set_state(&X86State::reset(false, 0)).unwrap();
            assert_eq!(ap.get_state().unwrap().activity, Activity::WaitForSipi);
            ap_waits.wait();
            run_to_stop(&mut ap, &bus);
            let s = ap.get_state().unwrap();
            assert_eq!((s.seg(Seg::Cs).selector, s.rip, s.activity), (0x300, 4, Activity::Active));
            ap_done.store(true, SeqCst);
        });
        let mut vcpu = g.vcpu();
        let mut s = vcpu.get_state().unwrap();
        s.lapic.as_mut().unwrap().regs[0x0f] = 0x1ff;
        *s.seg_mut(Seg::Ds) = BIG_DATA;
        vcpu.set_state(&s).unwrap();
        let handle = vcpu.handle();
        ap_waits.wait();
        let ap_done = &ap_done;
        scope.spawn(move || {
            while !ap_done.load(SeqCst) && started.elapsed() < Duration::from_secs(10) {
                std::thread::sleep(Duration::from_millis(1));
            }
            handle.kick();
        });
        assert_eq!(vcpu.run(&Bus::default(), Limit::default()), VcpuExit::Kicked);
    });
    assert!(ap_done.load(SeqCst));
    assert_eq!(bus.log(), ["out1 66 0"]);
}

#[test]
fn linear_addresses_are_translated() {
    let Some(g) = Guest::new(&[0xf4]) else { return };
    let mut vcpu = g.vcpu();
    assert_eq!(vcpu.translate(0x1234), Some(0x1234));
    // 4-level paging: tables at 4000h, 5000h, 6000h, 7000h; page 7 -> 9000h.
    for (at, entry) in [(0x4000, 0x5003u64), (0x5000, 0x6003), (0x6000, 0x7003), (0x7038, 0x9003)] {
        g.memory.load(at, &entry.to_le_bytes()).unwrap();
    }
    let mut s = long_mode(0x4000, 0x7000);
    s.cr3 = 0x4000;
    vcpu.set_state(&s).unwrap();
    assert_eq!(vcpu.translate(0x7abc), Some(0x9abc));
    assert_eq!(vcpu.translate(0x8000), None);
}

#[test]
fn counting_instructions_is_refused() {
    let Some(g) = Guest::new(&[0xf4]) else { return };
    let exit = g.vcpu().run(&Bus::default(), Limit { instructions: Some(5) });
    assert!(matches!(exit, VcpuExit::InternalError(text) if text.contains("count")));
}

fn options(device: &str) -> Options {
    Options::parse("kvm", Kvm.options(), &[("device".to_owned(), Some(device.to_owned()))]).unwrap()
}

#[test]
fn the_probe_is_quick_and_leaves_nothing() {
    if kvm().is_none() {
        return;
    }
    let open_files = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let request = Request::default();
    let before = open_files();
    let mut times: Vec<_> = (0..5)
        .map(|_| {
            let started = Instant::now();
            let probe = Kvm.probe(&request, &Options::default());
            assert!(matches!(probe, Probe::Ready(_)), "{probe:?}");
            (started.elapsed(), probe)
        })
        .collect();
    times.sort_by_key(|(t, _)| *t);
    println!("{:?}", times[0]);
    assert!(times[0].0 < Duration::from_millis(20), "{times:?}");
    // Other tests of this process come and go.
    assert!(open_files() < before + 40);
    let many = Kvm.probe(&Request { cpus: 4096 }, &Options::default());
    assert!(matches!(many, Probe::Unfit(reason) if reason.text.contains("4096 vCPUs")));
}

#[test]
fn each_kind_of_missing_kvm_has_its_reason() {
    let absent = |device: &str| match Kvm.probe(&Request::default(), &options(device)) {
        Probe::Absent(reason) => reason,
        other => panic!("{device}: {other:?}"),
    };
    let missing = absent("/nonexistent/kvm");
    assert_eq!(missing.text, "there is no /nonexistent/kvm");
    assert!(missing.hint.is_some());
    assert_eq!(absent("/dev/null").text, "/dev/null is not a KVM device");
    assert!(absent("/").text.starts_with("cannot open /"));
    let Err(OpenError::Unusable(reason)) = Kvm.open(&Request::default(), &options("/dev/null")) else {
        panic!("opened /dev/null")
    };
    assert_eq!(reason.text, "/dev/null is not a KVM device");

    // An unreadable node says what helps. The superuser reads everything, so for him it is told from the error alone.
    let denied = super::device::Unusable::Denied("/dev/kvm".into()).reason();
    assert!(denied.to_string().contains("group kvm"));
}

#[test]
fn starts_and_kills_leave_no_file() {
    let vm_files = || {
        let links = std::fs::read_dir("/proc/self/fd").unwrap().filter_map(|f| std::fs::read_link(f.ok()?.path()).ok());
        links.filter(|l| l.to_string_lossy().contains("kvm-vcpu:7")).count()
    };
    for _ in 0..20 {
        let Some(g) = Guest::new(&[0xeb, 0xfe]) else { return };
        let mut config = g.config("qemu64", 0);
        (config.apic_id, config.bsp) = (7, false);
        let mut vcpu = g.vm.kvm_vcpu(&config).unwrap();
        vcpu.set_state(&X86State { activity: Activity::Active, ..real_mode(0x1000) }).unwrap();
        vcpu.handle().kick();
        assert_eq!(vcpu.run(&Bus::default(), Limit::default()), VcpuExit::Kicked);
        assert_eq!(vm_files(), 1);
        let handle = vcpu.handle();
        drop((vcpu, g));
        assert_eq!(vm_files(), 0);
        // A handle that outlives its vCPU is harmless.
        handle.kick();
    }
}
