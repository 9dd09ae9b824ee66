//! The timers as a guest sees them.

use super::*;
use gearbox_accel_qtest::Bench;

const T0: u64 = BASE + 0x100;
const T1: u64 = BASE + 0x120;
const T2: u64 = BASE + 0x140;
const ENABLE: u32 = 1 << 2;
const LEVEL: u32 = 1 << 1;
const PERIODIC: u32 = 1 << 3;
const SET_VALUE: u32 = 1 << 6;
const MODE_32: u32 = 1 << 8;
const ROUTE_2: u32 = 2 << 9;

fn hpet() -> (Bench, HpetPins) {
    let mut b = Bench::new();
    let hpet = b.realize(Hpet::default()).unwrap();
    [0, 2, 8].into_iter().for_each(|n| b.watch(hpet.pins.irq[n]));
    (b, hpet.pins)
}
/// Times at which an interrupt rose.
fn rises(b: &mut Bench, line: Line) -> Vec<u64> {
    b.edges().into_iter().filter(|e| e.line == line && e.level).map(|e| e.ns).collect()
}

#[test]
fn what_it_says_of_itself_is_as_in_qemu() {
    let (b, _) = hpet();
    assert_eq!([0, 4, 8, 0x10, 0x20, 0xf0].map(|r| b.readl(BASE + r)), [0x8086_a201, 10_000_000, 0, 0, 0, 0]);
    for timer in [T0, T1, T2] {
        assert_eq!([0, 4, 8, 12, 16].map(|r| b.readl(timer + r)), [0x30, 4, u32::MAX, u32::MAX, 0]);
    }
    assert_eq!((b.readl(BASE + 0x160), b.readq(BASE)), (0, 0x0098_9680_8086_a201));
}

#[test]
fn the_counter_counts_tens_of_ns_and_stops() {
    let (mut b, _) = hpet();
    b.writeq(BASE + 0xf0, 0xffff_fff0);
    b.clock_step_ns(1000);
    assert_eq!(b.readq(BASE + 0xf0), 0xffff_fff0);
    b.writel(BASE + 0x10, 1);
    b.clock_step_ns(1009);
    assert_eq!((b.readq(BASE + 0xf0), b.readl(BASE + 0xf4)), (0x1_0000_0054, 1));
    b.writel(BASE + 0xf0, 7);
    assert_eq!(b.readl(BASE + 0xf0), 0x54, "it runs");
    b.writel(BASE + 0x10, 0);
    b.clock_step_ns(1000);
    assert_eq!(b.readl(BASE + 0xf0), 0x54);
    b.reset();
    assert_eq!(b.readq(BASE + 0xf0), 0);
}

#[test]
fn once_and_periodic_on_an_edge() {
    let (mut b, pins) = hpet();
    b.writel(T2, ENABLE | ROUTE_2);
    b.writeq(T2 + 8, 100);
    b.writel(BASE + 0x10, 1);
    b.clock_step_ns(5000);
    assert_eq!(rises(&mut b, pins.irq[2]), [1000]);
    assert_eq!(b.readl(BASE + 0x20), 0, "edges leave no status");
    // Set to a time that has passed.
    b.writeq(T2 + 8, 50);
    b.clock_step_ns(1);
    assert_eq!(rises(&mut b, pins.irq[2]).len(), 1);
    // As Linux does it: the first match, then the period.
    b.writel(T0, ENABLE | PERIODIC | SET_VALUE | MODE_32 | ROUTE_2);
    b.writel(T0 + 8, 2000);
    assert_eq!(b.readl(T0) & SET_VALUE, 0);
    b.writel(T0 + 8, 3000);
    b.clock_step_ns(100_000);
    assert_eq!(rises(&mut b, pins.irq[2]), [20_000, 50_000, 80_000]);
    b.writel(T0, 0);
    b.clock_step_ns(100_000);
    assert!(rises(&mut b, pins.irq[2]).is_empty());
}

#[test]
fn thirty_two_bits_come_round() {
    let (mut b, pins) = hpet();
    b.writel(T1, ENABLE | MODE_32 | ROUTE_2);
    b.writel(T1 + 8, 100);
    b.writel(BASE + 0x10, 1);
    b.clock_step_ns((1 << 32) * 10 + 2000);
    assert_eq!(rises(&mut b, pins.irq[2]), [1000, (1 << 32) * 10 + 1000]);
}

#[test]
fn levels_stay_until_they_are_cleared() {
    let (mut b, pins) = hpet();
    b.writel(T1, ENABLE | LEVEL | ROUTE_2);
    b.writeq(T1 + 8, 100);
    b.writel(BASE + 0x10, 1);
    b.clock_step_ns(5000);
    assert!(b.level(pins.irq[2]));
    assert_eq!(b.readl(BASE + 0x20), 2);
    b.writel(BASE + 0x20, 1);
    assert!(b.level(pins.irq[2]), "of another timer");
    b.writel(BASE + 0x20, 2);
    assert!(!b.level(pins.irq[2]));
    assert_eq!(b.readl(BASE + 0x20), 0);
    // Without the interrupt there is a status all the same; without the device there is no interrupt.
    b.writel(T1, LEVEL | ROUTE_2);
    b.writeq(T1 + 8, 1000);
    b.clock_step_ns(10_000);
    assert_eq!((b.readl(BASE + 0x20), b.level(pins.irq[2])), (2, false));
    b.writel(T1, ENABLE | LEVEL | ROUTE_2);
    assert!(b.level(pins.irq[2]));
    b.writel(BASE + 0x10, 0);
    assert!(!b.level(pins.irq[2]));
    // A route that cannot be chosen leads nowhere.
    b.writel(T1, ENABLE | LEVEL | 5 << 9);
    b.writel(BASE + 0x10, 1);
    assert!(pins.irq.iter().all(|l| !b.level(*l)));
}

#[test]
fn in_place_of_the_8254_and_the_rtc() {
    let (mut b, pins) = hpet();
    b.drive(pins.legacy.get(0), true);
    b.drive(pins.legacy.get(1), true);
    assert!(b.level(pins.irq[0]) && b.level(pins.irq[8]));
    b.writel(T0, ENABLE | ROUTE_2);
    b.writel(T1, ENABLE | LEVEL);
    b.writeq(T0 + 8, 100);
    b.writeq(T1 + 8, 200);
    b.writel(BASE + 0x10, 3);
    assert!(!b.level(pins.irq[0]) && !b.level(pins.irq[8]));
    b.edges();
    b.clock_step_ns(5000);
    let edges: Vec<_> = b.edges().into_iter().filter(|e| e.level).map(|e| (e.line, e.ns)).collect();
    assert_eq!(edges, [(pins.irq[0], 1000), (pins.irq[8], 2000)]);
    b.drive(pins.legacy.get(0), false);
    b.writel(BASE + 0x10, 1);
    assert!(!b.level(pins.irq[0]) && b.level(pins.irq[8]));
}

#[test]
fn every_sequence_of_stores_is_survived() {
    let (mut b, _) = hpet();
    let mut x = 1u64;
    for _ in 0..20_000 {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let at = BASE + (x >> 40) % 0x160;
        match x >> 60 & 3 {
            0 => b.writel(at & !3, (x >> 20) as u32 & [0xf, 0xfff, u32::MAX][(x >> 58) as usize % 3]),
            1 => b.writeq(at & !7, x),
            2 => b.writeb(at, x as u8),
            _ => drop(b.readl(at)),
        }
        b.clock_step_ns(x >> 52);
    }
}
