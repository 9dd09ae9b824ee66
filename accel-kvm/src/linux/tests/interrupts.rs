//! Kicks, pins and messages.

use super::*;

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
    bus.on(move |access| {
        if access == Access::Out(0x62) {
            drop_line.set_intr(false);
        }
    });
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
fn a_state_that_is_halted_wakes_by_an_intr_that_was_there_before() {
    // out STOP, al. Vector 21h: out 62h, al; iret
    let Some(g) = Guest::new(&[0xe6, 0xf4]) else { return };
    g.memory.load(0x84, &[0, 0x11, 0, 0]).unwrap();
    g.memory.load(0x1100, &[0xe6, 0x62, 0xcf]).unwrap();
    let mut vcpu = g.vcpu();
    let handle = vcpu.handle();
    handle.set_intr(true);
    let mut s = real_mode(0x1000);
    s.rflags |= rflags::IF;
    s.activity = Activity::Halted;
    vcpu.set_state(&s).unwrap();
    let bus = Bus { vector: AtomicU8::new(0x21), ..Bus::default() };
    bus.on(move |access| {
        if access == Access::Acknowledge {
            handle.set_intr(false);
        }
    });
    run_to_stop(&mut vcpu, &bus);
    assert_eq!(bus.log(), ["out1 62 0"]);
}

#[test]
fn an_intr_without_a_vector_lets_the_guest_get_on() {
    struct NoVector(Bus);
    impl CpuBus for NoVector {
        fn pio_in(&self, port: u16, size: u8) -> u32 {
            self.0.pio_in(port, size)
        }
        fn pio_out(&self, port: u16, size: u8, value: u32) {
            self.0.pio_out(port, size, value);
        }
        fn mmio_read(&self, _: u64, _: &mut [u8]) {}
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
    // sti; mov cx, 100; l: dec cx; jnz l; out STOP, al
    let Some(g) = Guest::new(&[0xfb, 0xb9, 100, 0, 0x49, 0x75, 0xfd, 0xe6, 0xf4]) else { return };
    let mut vcpu = g.vcpu();
    vcpu.handle().set_intr(true);
    let bus = NoVector(Bus::default());
    *bus.0.stop.lock() = Some(vcpu.handle());
    let exit = with_patience(&*vcpu.handle(), Duration::from_secs(10), || vcpu.run(&bus, Limit::default()));
    assert!(exit == VcpuExit::Kicked && bus.0.stopped.load(SeqCst), "{exit:?}");
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
    bus.on(move |access| match access {
        Access::Out(0x63) => handle.set_intr(true),
        Access::Out(0x62) => handle.set_intr(false),
        _ => {}
    });
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
    let (handle, bus) = (vcpu.handle(), Bus { vector: AtomicU8::new(0x21), ..Bus::default() });
    let kicker = handle.clone();
    bus.on(move |access| {
        if access == Access::Acknowledge {
            kicker.set_intr(false);
            kicker.kick();
        }
    });
    std::thread::scope(|s| {
        s.spawn(|| {
            std::thread::sleep(Duration::from_millis(5));
            handle.set_intr(true);
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
