//! CPU states in and out.

use super::*;

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
fn the_kernel_clock_is_saved_and_loaded() {
    const T: u64 = 1_000_000_000_000;
    let Some(vm) = kvm() else { return };
    let now = || u64::from_le_bytes(vm.save().unwrap()["kvmclock"].as_slice().try_into().unwrap());
    vm.load(&[("kvmclock".to_owned(), T.to_le_bytes().to_vec())].into()).unwrap();
    assert_eq!(now(), T);
    // It runs with the machine.
    std::thread::sleep(Duration::from_millis(2));
    assert_eq!(now(), T);
    vm.clock().set_running(true);
    std::thread::sleep(Duration::from_millis(2));
    vm.clock().set_running(false);
    let stopped = now();
    assert!((T + 2_000_000..T + 10_000_000_000).contains(&stopped), "{stopped}");
    std::thread::sleep(Duration::from_millis(2));
    assert_eq!(now(), stopped);
    assert!(vm.load(&[("other".to_owned(), vec![])].into()).is_err());
}

#[test]
fn linear_addresses_are_translated() {
    let Some(g) = Guest::new(&[0xf4]) else { return };
    let mut vcpu = g.vcpu();
    assert_eq!(vcpu.translate(0x1234), Some(0x1234));
    // 4-level paging: tables at 4000h, 5000h, 6000h, 7000h; page 7 -> 9000h.
    g.load_entries(&[(0x4000, 0x5003), (0x5000, 0x6003), (0x6000, 0x7003), (0x7038, 0x9003)]);
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

#[test]
fn code_runs_in_long_mode() {
    let code = [
        0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8, // mov rax, 0807060504030201h
        0x48, 0x89, 0x04, 0x25, 0, 0x90, 0, 0, // mov [9000h], rax
        0x48, 0xc1, 0xe8, 56, // shr rax, 56
        0xe6, 0x61, // out 61h, al
        0xe6, 0xf4,
    ];
    let Some(g) = Guest::new(&code) else { return };
    // One page of 2 MiB.
    g.load_entries(&[(0x4000, 0x5003), (0x5000, 0x6003), (0x6000, 0x83)]);
    let mut vcpu = g.vcpu();
    vcpu.set_state(&long_mode(0x4000, 0x1000)).unwrap();
    let bus = Bus::default();
    run_to_stop(&mut vcpu, &bus);
    assert_eq!(bus.log(), ["out1 61 8"]);
    assert_eq!(g.read(0x9000), [1, 2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(vcpu.get_state().unwrap().rip, 0x1000 + code.len() as u64);
}

#[test]
fn what_kvm_cannot_emulate_is_named() {
    // lock cmpxchg16b [9000h]; out STOP, al
    let code = [0xf0, 0x48, 0x0f, 0xc7, 0x0c, 0x25, 0, 0x90, 0, 0, 0xe6, 0xf4];
    let Some(g) = Guest::new(&code) else { return };
    g.load_entries(&[(0x4000, 0x5003), (0x5000, 0x6003), (0x6000, 0x83)]);
    let mut vcpu = g.vcpu();
    vcpu.set_state(&long_mode(0x4000, 0x1000)).unwrap();
    let bus = Bus::default();
    *bus.stop.lock() = Some(vcpu.handle());
    match vcpu.run(&bus, Limit::default()) {
        // A processor executes it.
        VcpuExit::Kicked => assert!(bus.stopped.load(SeqCst)),
        VcpuExit::InternalError(text) => {
            assert!(text.contains("cannot emulate") && text.contains("lock cmpxchg16b"), "{text}");
            assert!(text.contains("RIP=0000000000001000") && text.contains("f0 48 0f c7"), "{text}");
        }
        other => panic!("{other:?}"),
    }
}
