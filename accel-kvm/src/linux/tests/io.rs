//! Ports, memory and memory-mapped I/O.

use super::*;

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
    let handle = vcpu.handle();
    bus.on(move |access| {
        if access == Access::Read {
            handle.kick();
        }
    });
    s.rip = 0x1004;
    vcpu.set_state(&s).unwrap();
    assert_eq!(vcpu.run(&bus, Limit::default()), VcpuExit::Kicked);
    let s = vcpu.get_state().unwrap();
    assert_eq!((s.rip, s.gpr[gpr::RAX]), (0x100b, 0x4433_2211));
}

#[test]
fn rom_drops_stores_and_changing_it_is_seen_while_running() {
    // l: inc dword [2000h]; out 65h, al; jmp l
    let Some(g) = Guest::new(&[0x66, 0xff, 0x06, 0, 0x20, 0xe6, 0x65, 0xeb, 0xf7]) else { return };
    let g = &g;
    let mut vcpu = g.vcpu();
    let (handle, bus) = (vcpu.handle(), Bus::default());
    let outs = Arc::new(AtomicU64::new(0));
    let count = outs.clone();
    bus.on(move |access| {
        if access == Access::Out(0x65) {
            count.fetch_add(1, SeqCst);
        }
    });
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
                let before = g.read::<4>(0x2000);
                wait_for(3);
                let same = before == g.read::<4>(0x2000);
                assert_eq!(same, round % 2 == 0, "round {round}");
            }
            handle.kick();
        });
        assert_eq!(vcpu.run(&bus, Limit::default()), VcpuExit::Kicked);
    });
    assert!(bus.log().iter().any(|l| l.starts_with("write4 2000")));
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
