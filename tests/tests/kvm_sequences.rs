//! Privileged and mode-changing sequences on KVM and on the software CPU, from the same state: registers, tables and memory must come out the
//! same. Where KVM only emulates ring 0, what its emulator is known to do otherwise is left out, see [`GAPS`].

use gearbox_core::mem::{AddressSpace, MemTree, RamBlock};
use gearbox_core::vm::{CpuBus, Limit, Vcpu, VcpuConfig, VcpuExit, VcpuHandle, Vm};
use gearbox_core::x86::cpu_model::CpuModel;
use gearbox_core::x86::state::{Activity, Seg, Segment, X86State};
use gearbox_tests::accel::{executes_ring_0, open};
use gearbox_tests::random::Random;
use gearbox_tests::states::{CODE, CODE0, DATA0, GDT, HANDLERS, IDT, MODES, STACK, TABLES, TSS, start};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const RAM: u64 = 4 << 20;
/// OUT to this port ends a run. Its bytes: `out STOP, al`.
const STOP: u16 = 0xf4;
const STOP_CODE: [u8; 3] = [0xe6, 0xf4, 0xf4];

/// A board on which every port stops the CPU.
#[derive(Default)]
struct Stops(Mutex<Option<Arc<dyn VcpuHandle>>>);

impl CpuBus for Stops {
    fn pio_in(&self, _: u16, _: u8) -> u32 {
        0
    }
    fn pio_out(&self, port: u16, _: u8, _: u32) {
        if port == STOP
            && let Some(handle) = &*self.0.lock().unwrap()
        {
            handle.kick();
        }
    }
    fn mmio_read(&self, _: u64, data: &mut [u8]) {
        data.fill(0xff);
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

/// A CPU of one accelerator.
struct Machine {
    name: &'static str,
    vcpu: Box<dyn Vcpu>,
    memory: Arc<AddressSpace>,
    bus: Stops,
    complete: bool,
    _vm: Box<dyn Vm>,
}

impl Machine {
    fn new(name: &'static str) -> Option<Self> {
        let selected = open(name, 1)?;
        let complete = executes_ring_0(&selected);
        let vm = selected.vm;
        let ram = RamBlock::new("ram", RAM).unwrap();
        let mut tree = MemTree::new("memory", u64::MAX);
        let region = tree.ram(&ram, 0, RAM);
        tree.map(tree.root(), 0, region, 0);
        let memory = Arc::new(AddressSpace::new());
        memory.install(tree.render());
        if let Some(listener) = vm.memory_listener() {
            memory.listen(listener);
        }
        let config = VcpuConfig {
            model: CpuModel::parse("max").unwrap(),
            cpuid: vm.cpuid().clone(),
            apic_id: 0,
            bsp: true,
            memory: memory.clone(),
        };
        let vcpu = vm.create_vcpu(0, &config).unwrap();
        let bus = Stops(Mutex::new(Some(vcpu.handle())));
        Some(Self { name, vcpu, memory, bus, complete, _vm: vm })
    }
    /// Runs a case to its end.
    fn run(&mut self, case: &Case) -> Result<(X86State, Vec<u8>), String> {
        let zero = vec![0; (STACK + 0x1000) as usize];
        self.memory.write(0, &zero).unwrap();
        let mut state = start(&MODES[case.mode], case.ring, &self.memory);
        for v in 0..256 {
            self.memory.write(HANDLERS + 16 * v, &STOP_CODE).unwrap();
        }
        for (at, bytes) in &case.memory {
            self.memory.write(*at, bytes).unwrap();
        }
        self.memory.write(CODE, &[&case.code[..], &STOP_CODE].concat()).unwrap();
        for &(n, v) in &case.registers {
            state.gpr[n] = v;
        }
        state.rflags |= case.flags;
        let state = X86State { activity: Activity::Active, msrs: Default::default(), ..state };
        self.vcpu.set_state(&state).map_err(|e| e.to_string())?;
        let handle = self.vcpu.handle();
        let (done, wait) = std::sync::mpsc::channel::<()>();
        let watchdog = std::thread::spawn(move || {
            let late = wait.recv_timeout(Duration::from_secs(5)) == Err(std::sync::mpsc::RecvTimeoutError::Timeout);
            if late {
                handle.kick();
            }
            late
        });
        let exit = self.vcpu.run(&self.bus, Limit::default());
        drop(done);
        if watchdog.join().unwrap() {
            return Err("does not end".into());
        }
        let state = self.vcpu.get_state().map_err(|e| e.to_string())?;
        match exit {
            VcpuExit::Kicked => {}
            VcpuExit::TripleFault => return Err("triple fault".into()),
            other => return Err(format!("{other:?}")),
        }
        let mut memory = vec![0; (STACK + 0x1000) as usize];
        self.memory.read(0, &mut memory).unwrap();
        let mut tables = vec![0; 0x6000];
        self.memory.read(TABLES, &mut tables).unwrap();
        memory.extend(tables);
        Ok((state, memory))
    }
}

/// One sequence.
#[derive(Clone, Debug)]
struct Case {
    what: String,
    /// Index in [`MODES`].
    mode: usize,
    ring: u8,
    code: Vec<u8>,
    registers: Vec<(usize, u64)>,
    flags: u64,
    memory: Vec<(u64, Vec<u8>)>,
}

/// What a state shows in one line for each part that is compared.
fn shown(s: &X86State) -> Vec<String> {
    let mut lines = vec![
        format!("rip {:x} rflags {:x}", s.rip, s.rflags),
        format!("gpr {:x?}", s.gpr),
        format!("cr0 {:x} cr2 {:x} cr3 {:x} cr4 {:x} efer {:x}", s.cr0, s.cr2, s.cr3, s.cr4, s.efer),
        format!("dr {:x?}", s.dr),
        format!("gdtr {:x?} idtr {:x?}", s.gdtr, s.idtr),
    ];
    for n in 0..8 {
        let g = &s.seg[n];
        // Nothing of an unusable segment counts but its selector.
        lines.push(if g.unusable() {
            format!("seg{n} {:x} unusable", g.selector)
        } else {
            format!("seg{n} {:x} base {:x} limit {:x} attr {:x}", g.selector, g.base, g.limit, g.attr & 0xf0ff)
        });
    }
    lines
}

/// What KVM's emulator of ring 0 does otherwise than processors do, by the beginning of the case's name.
const GAPS: &[&str] = &[];

/// Runs a case on both; what differs.
fn difference(kvm: &mut Machine, tcg: &mut Machine, case: &Case) -> Option<String> {
    let (a, b) = (kvm.run(case), tcg.run(case));
    let text = match (a, b) {
        (Ok((a, am)), Ok((b, bm))) => {
            let mut text = String::new();
            for (x, y) in shown(&a).into_iter().zip(shown(&b)).filter(|(x, y)| x != y) {
                text += &format!("\n  {}: {x}\n  {}: {y}", kvm.name, tcg.name);
            }
            if let Some(at) = am.iter().zip(&bm).position(|(x, y)| x != y) {
                text += &format!("\n  memory at {at:#x}: {:x} and {:x}", am[at], bm[at]);
            }
            text
        }
        (Err(a), Err(b)) if a == b => String::new(),
        (a, b) => {
            format!("\n  {}: {:?}\n  {}: {:?}", kvm.name, a.map(|a| shown(&a.0)), tcg.name, b.map(|b| shown(&b.0)))
        }
    };
    (!text.is_empty()).then(|| format!("{case:x?}{text}"))
}

/// A system instruction, or a few, by name. `R` stands for a random register value that was put into RAX, RCX, RDX and RBX.
const INSTRUCTIONS: &[(&str, &[u8])] = &[
    ("mov ds,ax", &[0x8e, 0xd8]),
    ("mov es,ax", &[0x8e, 0xc0]),
    ("mov ss,ax", &[0x8e, 0xd0]),
    ("mov fs,ax", &[0x8e, 0xe0]),
    ("mov gs,ax", &[0x8e, 0xe8]),
    ("push/pop fs", &[0x50, 0x0f, 0xa1]),
    ("lldt ax", &[0x0f, 0x00, 0xd0]),
    ("ltr ax", &[0x0f, 0x00, 0xd8]),
    ("sldt eax", &[0x0f, 0x00, 0xc0]),
    ("str eax", &[0x0f, 0x00, 0xc8]),
    ("verr ax", &[0x0f, 0x00, 0xe0]),
    ("verw ax", &[0x0f, 0x00, 0xe8]),
    ("lar ecx,ax", &[0x0f, 0x02, 0xc8]),
    ("lsl ecx,ax", &[0x0f, 0x03, 0xc8]),
    ("smsw eax", &[0x0f, 0x01, 0xe0]),
    ("lmsw ax", &[0x0f, 0x01, 0xf0]),
    ("clts", &[0x0f, 0x06]),
    ("mov eax,cr0", &[0x0f, 0x20, 0xc0]),
    ("mov eax,cr3", &[0x0f, 0x20, 0xd8]),
    ("mov eax,cr4", &[0x0f, 0x20, 0xe0]),
    ("mov cr2,eax", &[0x0f, 0x22, 0xd0]),
    ("mov cr1", &[0x0f, 0x20, 0xc8]),
    ("mov cr0 with ts", &[0x0f, 0x20, 0xc0, 0x0c, 0x08, 0x0f, 0x22, 0xc0]),
    ("mov cr0 without pe", &[0x0f, 0x20, 0xc0, 0x24, 0xfe, 0x0f, 0x22, 0xc0]),
    ("mov cr3 again", &[0x0f, 0x20, 0xd8, 0x0f, 0x22, 0xd8]),
    ("mov cr4 with pge", &[0x0f, 0x20, 0xe0, 0x34, 0x80, 0x0f, 0x22, 0xe0]),
    ("mov cr4 with pae", &[0x0f, 0x20, 0xe0, 0x34, 0x20, 0x0f, 0x22, 0xe0]),
    ("mov dr0,eax", &[0x0f, 0x23, 0xc0]),
    ("mov dr3,eax", &[0x0f, 0x23, 0xd8]),
    ("mov eax,dr6", &[0x0f, 0x21, 0xf0]),
    ("mov eax,dr7", &[0x0f, 0x21, 0xf8]),
    ("mov eax,dr4", &[0x0f, 0x21, 0xe0]),
    ("pushf", &[0x9c]),
    ("popf", &[0x50, 0x9d]),
    ("cli", &[0xfa]),
    ("sti", &[0xfb, 0x90]),
    ("int3", &[0xcc]),
    ("int 20h", &[0xcd, 0x20]),
    ("into", &[0xce]),
    ("int1", &[0xf1]),
    ("ud2", &[0x0f, 0x0b]),
    ("div by zero", &[0x31, 0xc9, 0xf7, 0xf1]),
    ("iret", &[0xcf]),
    ("retf", &[0xcb]),
    ("call ax", &[0xff, 0xd0]),
    ("jmp far gate", &[0xea, 0, 0, 0, 0, 0x58, 0]),
    ("jmp far code", &[0xea, 0x00, 0x60, 0, 0, 0x08, 0]),
    ("call far gate", &[0x9a, 0, 0, 0, 0, 0x58, 0]),
    ("call far code", &[0x9a, 0x00, 0x60, 0, 0, 0x08, 0]),
    ("jmp far tss", &[0xea, 0, 0, 0, 0, 0x38, 0]),
    ("call far task gate", &[0x9a, 0, 0, 0, 0, 0x68, 0]),
    ("syscall", &[0x0f, 0x05]),
    ("sysenter", &[0x0f, 0x34]),
    ("swapgs", &[0x0f, 0x01, 0xf8]),
    ("rdmsr efer", &[0xb9, 0x80, 0, 0, 0xc0, 0x0f, 0x32]),
    ("wrmsr efer", &[0xb9, 0x80, 0, 0, 0xc0, 0x31, 0xd2, 0x0f, 0x30]),
    ("wrmsr lstar", &[0xb9, 0x82, 0, 0, 0xc0, 0x0f, 0x30]),
    ("wrmsr star", &[0xb9, 0x81, 0, 0, 0xc0, 0x0f, 0x30]),
    ("wrmsr gs base", &[0xb9, 0x01, 0x01, 0, 0xc0, 0x0f, 0x30]),
    ("wrmsr pat", &[0xb9, 0x77, 0x02, 0, 0, 0x0f, 0x30]),
    ("rdmsr unknown", &[0xb9, 0x34, 0x12, 0x34, 0x12, 0x0f, 0x32]),
    ("invlpg", &[0x0f, 0x01, 0x38]),
    ("wbinvd", &[0x0f, 0x09]),
    ("hlt in ring 3", &[0xf4]),
    ("read at eax", &[0x8b, 0x08]),
    ("write at eax", &[0x89, 0x08]),
    ("in al,dx", &[0xec]),
    ("arpl or movsxd", &[0x63, 0xc8]),
    ("lgdt at eax", &[0x0f, 0x01, 0x10]),
    ("sgdt at eax", &[0x0f, 0x01, 0x00]),
    ("sidt at eax", &[0x0f, 0x01, 0x08]),
];

/// A value that selectors, addresses and registers are made of.
fn value(r: &mut Random) -> u64 {
    match r.below(4) {
        0 => r.below(20) * 8 + r.below(4),
        1 => *r.pick(&[0, CODE0.into(), DATA0.into(), 0x1b, 0x23, 0x38, 0x48, 0x58, 0x68, 0xffff]),
        2 => *r.pick(&[
            0x8000,
            0x9000,
            0x9ff8,
            0x1_0000,
            0x3f_f000,
            0x7fff_ffff_fff0,
            0x8000_0000_0000,
            0xffff_8000_0000_0000,
        ]),
        _ => r.interesting(),
    }
}

fn case(r: &mut Random) -> Case {
    let (name, code) = *r.pick(INSTRUCTIONS);
    let mode = r.index(MODES.len());
    let ring = *r.pick(&[0, 0, 3]);
    let mut memory = Vec::new();
    for _ in 0..r.below(3) {
        // Descriptors of any type, flat, in the places that selectors name.
        let d = 0x00cf_0000_0000_ffff | r.below(0x100) << 40 | u64::from(r.one_in(4)) << 53;
        memory.push((GDT + 8 * (12 + r.below(8)), d.to_le_bytes().to_vec()));
    }
    Case {
        what: format!("{name} in {} ring {ring}", MODES[mode].name),
        mode,
        ring,
        code: code.to_vec(),
        registers: [0, 1, 2, 3].into_iter().map(|n| (n, value(r))).collect(),
        flags: *r.pick(&[0, 0, 0x3000, 0x200, 0x4_0000]),
        memory,
    }
}

#[test]
fn system_instructions_do_the_same() {
    let Some(mut kvm) = Machine::new("kvm") else { return };
    let mut tcg = Machine::new("tcg").expect("tcg runs anywhere");
    let _ = (Segment::default(), Seg::Cs, IDT, TSS);
    let cases = std::env::var("GEARBOX_KVM_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(400u64);
    let (mut ran, mut wrong) = (0, Vec::new());
    for seed in 0..cases {
        let case = case(&mut Random::new(seed));
        if !kvm.complete && GAPS.iter().any(|gap| case.what.starts_with(gap)) {
            continue;
        }
        ran += 1;
        if let Some(text) = difference(&mut kvm, &mut tcg, &case) {
            wrong.push(format!("case {seed}: {text}"));
        }
    }
    println!("{ran} of {cases} cases compared with KVM");
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong.join("\n"));
}
