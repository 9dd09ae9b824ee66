use super::*;

const GP: GeneralProtection = GeneralProtection;

fn enabled() -> Lapic {
    let mut a = Lapic::new(3, false, true);
    a.write(0xf0, 0x1ff, 0);
    a
}
fn reg(a: &mut Lapic, offset: u32, now: u64) -> u32 {
    let mut b = [0; 4];
    a.read(offset, &mut b, now);
    u32::from_le_bytes(b)
}
fn x2apic(id: u32) -> Lapic {
    let mut a = Lapic::new(id, false, true);
    a.set_apic_base(a.apic_base() | apic_base::EXTD, 40).unwrap();
    a.write_msr(0x80f, 0x1ff, 0).unwrap();
    a
}

#[test]
fn power_up_state_is_that_of_the_manual() {
    let mut a = Lapic::new(3, false, true);
    for (offset, value) in [(0x20, 3 << 24), (0x30, 0x5_0014), (0xe0, u32::MAX), (0xf0, 0xff), (0x80, 0), (0x390, 0)] {
        assert_eq!(reg(&mut a, offset, 0), value, "{offset:#x}");
    }
    for offset in (0x320..=0x370).step_by(16) {
        assert_eq!(reg(&mut a, offset, 0), 0x1_0000, "{offset:#x}");
    }
    assert_eq!(a.apic_base(), 0xfee0_0800);
    assert_eq!(Lapic::new(0, true, true).apic_base(), 0xfee0_0900);
}

#[test]
fn highest_vector_first_and_nesting_by_class() {
    let mut a = enabled();
    for v in [0x41, 0x43, 0x52] {
        assert!(a.accept(DeliveryMode::Fixed, v, Trigger::Edge));
    }
    assert_eq!(a.acknowledge(), 0x52);
    assert_eq!(a.ppr(), 0x50);
    assert_eq!(a.pending(), None);
    assert_eq!(a.acknowledge(), 0xff, "spurious");
    assert!(a.accept(DeliveryMode::Fixed, 0x61, Trigger::Edge));
    assert_eq!(a.acknowledge(), 0x61);
    assert_eq!(a.write(0xb0, 0, 0), None);
    assert_eq!(a.write(0xb0, 0, 0), None);
    assert_eq!(a.acknowledge(), 0x43);
    assert_eq!(reg(&mut a, 0x120, 0), 1 << 3);
    assert_eq!(reg(&mut a, 0x220, 0), 1 << 1);
}

#[test]
fn task_priority_holds_back_its_class() {
    let mut a = enabled();
    a.accept(DeliveryMode::Fixed, 0x45, Trigger::Edge);
    a.set_cr8(4);
    assert_eq!((a.tpr(), a.ppr(), a.pending()), (0x40, 0x40, None));
    a.set_cr8(3);
    assert_eq!(a.pending(), Some(0x45));
}

#[test]
fn eoi_of_a_level_is_broadcast() {
    let mut a = enabled();
    a.accept(DeliveryMode::Fixed, 0x45, Trigger::Level);
    assert_eq!(reg(&mut a, 0x1a0, 0), 1 << 5);
    a.acknowledge();
    assert_eq!(a.write(0xb0, 0, 0), Some(Effect::Eoi(0x45)));
    a.accept(DeliveryMode::Fixed, 0x45, Trigger::Edge);
    a.acknowledge();
    assert_eq!(a.write(0xb0, 0, 0), None);
    assert_eq!(a.write(0xb0, 0, 0), None, "nothing in service");
}

#[test]
fn virtual_wire_passes_the_8259() {
    let mut a = Lapic::new(0, true, true);
    assert!(a.set_lint(Lint::Lint0, true));
    assert!(a.extint_pending());
    a.set_lint(Lint::Lint0, false);
    assert!(!a.extint_pending());
    a.write(0x350, 0x1_0700, 0);
    a.set_lint(Lint::Lint0, true);
    assert!(!a.extint_pending(), "masked");
    a.set_apic_base(0xfee0_0100, 40).unwrap();
    assert!(a.extint_pending(), "a disabled APIC is wires only");
}

#[test]
fn level_triggered_lint_comes_again_until_the_pin_falls() {
    let mut a = enabled();
    a.write(0x360, 0x8046, 0);
    assert!(a.set_lint(Lint::Lint1, true));
    assert_eq!(reg(&mut a, 0x360, 0), 0xc046);
    assert_eq!(a.acknowledge(), 0x46);
    assert_eq!(a.pending(), None);
    assert_eq!(a.write(0xb0, 0, 0), None, "it is not the I/O APIC's");
    assert_eq!(a.acknowledge(), 0x46);
    a.set_lint(Lint::Lint1, false);
    a.write(0xb0, 0, 0);
    assert_eq!(a.pending(), None);
    assert_eq!(reg(&mut a, 0x360, 0), 0x8046);
}

#[test]
fn nmi_through_lint1_is_an_edge() {
    let mut a = enabled();
    a.write(0x360, 0x400, 0);
    assert!(a.set_lint(Lint::Lint1, true));
    assert!(std::mem::take(a.events_mut()).nmi);
    assert!(!a.set_lint(Lint::Lint1, true));
    assert!(!a.events().any());
}

#[test]
fn timer_interrupts_periodically() {
    let mut a = enabled();
    a.write(0x3e0, 0xb, 0);
    a.write(0x320, 0x2_0030, 0);
    a.write(0x380, 1000, 500);
    assert_eq!(a.next_deadline(), Some(1500));
    assert!(!a.advance(1499));
    assert!(a.advance(1500));
    assert_eq!(a.acknowledge(), 0x30);
    assert_eq!(reg(&mut a, 0x390, 1600), 900);
    a.write(0x320, 0x3_0030, 1600);
    assert_eq!(a.next_deadline(), None, "masked");
    assert!(!a.advance(5000));
}

#[test]
fn software_disable_masks_and_refuses() {
    let mut a = enabled();
    a.write(0x320, 0x30, 0);
    a.accept(DeliveryMode::Fixed, 0x70, Trigger::Edge);
    a.write(0xf0, 0xff, 0);
    assert_eq!(reg(&mut a, 0x320, 0), 0x1_0030);
    a.write(0x320, 0x30, 0);
    assert_eq!(reg(&mut a, 0x320, 0), 0x1_0030);
    assert!(!a.accept(DeliveryMode::Fixed, 0x80, Trigger::Edge));
    assert_eq!(a.pending(), Some(0x70), "what was accepted is kept");
    assert!(a.accept(DeliveryMode::Nmi, 0, Trigger::Edge));
}

#[test]
fn errors_are_latched_by_a_write_and_interrupt_once() {
    let mut a = enabled();
    a.write(0x370, 0xfe, 0);
    a.write(0x300, 0x4005, 0);
    assert_eq!(reg(&mut a, 0x280, 0), 0);
    assert_eq!(a.acknowledge(), 0xfe);
    a.write(0xb0, 0, 0);
    a.accept(DeliveryMode::Fixed, 15, Trigger::Edge);
    assert_eq!(a.pending(), None);
    reg(&mut a, 0x40, 0);
    a.write(0x280, 0, 0);
    assert_eq!(reg(&mut a, 0x280, 0), 0xe0);
    a.write(0x280, 0, 0);
    assert_eq!(reg(&mut a, 0x280, 0), 0);
}

#[test]
fn an_illegal_error_vector_does_not_recurse() {
    let mut a = enabled();
    a.write(0x370, 2, 0);
    a.write(0x300, 0x4005, 0);
    a.write(0x280, 0, 0);
    assert_eq!(reg(&mut a, 0x280, 0), 0x60);
}

#[test]
fn apic_base_transitions() {
    let mut a = Lapic::new(1, false, true);
    let (off, on, x2) = (0xfee0_0000, 0xfee0_0800, 0xfee0_0c00);
    assert_eq!(a.set_apic_base(0xfee0_0400, 40), Err(GP), "the invalid state");
    assert_eq!(a.set_apic_base(on | 1, 40), Err(GP));
    assert_eq!(a.set_apic_base(on | 1 << 40, 40), Err(GP));
    assert_eq!(a.set_apic_base(off, 40), Ok(()));
    assert_eq!(a.mode(), Mode::Disabled);
    assert_eq!(a.set_apic_base(x2, 40), Err(GP));
    assert_eq!(a.set_apic_base(on, 40), Ok(()));
    assert_eq!(a.set_apic_base(x2, 40), Ok(()));
    assert_eq!(a.set_apic_base(on, 40), Err(GP));
    assert_eq!(a.mode(), Mode::X2Apic);
    assert_eq!(a.set_apic_base(off, 40), Ok(()));
    assert_eq!(Lapic::new(1, false, false).set_apic_base(x2, 40), Err(GP), "CPUID does not offer it");
}

#[test]
fn x2apic_registers_and_their_faults() {
    let mut a = x2apic(0x123);
    assert_eq!(a.read_msr(0x802, 0), Ok(0x123));
    assert_eq!(a.read_msr(0x80d, 0), Ok(0x12 << 16 | 1 << 3));
    for msr in [0x809, 0x80b, 0x80e, 0x82f, 0x831, 0x83f, 0x8ff] {
        assert_eq!(a.read_msr(msr, 0), Err(GP), "{msr:#x}");
    }
    for (msr, value) in
        [(0x802, 0), (0x80b, 1), (0x808, 0x100), (0x828, 1), (0x832, 1 << 19), (0x830, 1 << 20), (0x839, 0)]
    {
        assert_eq!(a.write_msr(msr, value, 0), Err(GP), "{msr:#x}");
    }
    assert_eq!(a.write_msr(0x83f, 0x55, 0), Ok(None));
    assert_eq!(a.acknowledge(), 0x55);
    assert_eq!(a.write_msr(0x80b, 0, 0), Ok(None));
    assert_eq!(enabled().read_msr(0x802, 0), Err(GP), "in xAPIC mode");
}

#[test]
fn x2apic_icr_has_a_32_bit_destination() {
    let mut a = x2apic(0);
    let sent = a.write_msr(0x830, 0x1234_5678_0000_4031, 0);
    let message = Message {
        mode: DeliveryMode::Fixed,
        vector: 0x31,
        trigger: Trigger::Edge,
        dest: Destination::Physical(0x1234_5678),
    };
    assert_eq!(sent, Ok(Some(Effect::Ipi(message))));
}

#[test]
fn saved_form_round_trips() {
    let mut a = enabled();
    a.write(0x3e0, 0xb, 0);
    a.write(0x320, 0x2_0030, 0);
    a.write(0x380, 1000, 0);
    a.write(0xd0, 0x0800_0000, 0);
    a.set_cr8(2);
    a.accept(DeliveryMode::Fixed, 0x61, Trigger::Level);
    a.acknowledge();
    a.accept(DeliveryMode::Fixed, 0x41, Trigger::Edge);
    let saved = a.save(300);
    assert_eq!(saved.regs[0x39], 700);
    let mut b = Lapic::new(3, false, true);
    b.restore(&saved, a.apic_base(), 10_000);
    assert_eq!(b.save(10_000), saved);
    assert_eq!(b.next_deadline(), Some(10_700));
    assert_eq!(b.write(0xb0, 0, 10_000), Some(Effect::Eoi(0x61)));
}

#[test]
fn init_keeps_the_id_and_the_base() {
    let mut a = enabled();
    a.write(0x20, 9 << 24, 0);
    a.set_apic_base(0x1000_0800, 40).unwrap();
    assert!(a.contains(0x1000_0030) && !a.contains(0xfee0_0030));
    a.init();
    assert_eq!((reg(&mut a, 0x20, 0), a.apic_base(), reg(&mut a, 0xf0, 0)), (9 << 24, 0x1000_0800, 0xff));
    a.reset();
    assert_eq!((reg(&mut a, 0x20, 0), a.apic_base()), (3 << 24, 0xfee0_0800));
}
