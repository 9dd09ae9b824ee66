//! The source of random numbers.

use super::RAM;
use super::driver::{Driver, Mode};
use crate::devices::virtio::rng::VirtioRng;
use crate::devices::virtio::{Generic, VirtioPci};
use gearbox_accel_qtest::Bench;
use gearbox_core::backend::rng::{RngRandom, RngSource};
use gearbox_core::object::ObjectSpec;
use gearbox_core::pci::Devfn;
use std::sync::Arc;

fn driver(mode: Mode, change: impl FnOnce(&mut VirtioRng)) -> Driver {
    let mut b = Bench::with_ram(RAM);
    let mut spec = VirtioPci::<VirtioRng, Generic> { place: Some(Devfn::new(4, 0)).into(), ..VirtioPci::default() };
    change(&mut spec.kind);
    b.realize(spec).unwrap();
    Driver::new(b, mode)
}

#[test]
fn buffers_are_filled() {
    for mode in super::MODES {
        let mut d = driver(mode, |_| {});
        assert_eq!([0, 8, 0x2c].map(|r| d.config(r, 4)), [0x1005_1af4, 0x00ff_0000, 0x0004_1af4]);
        d.start(1 << 29, 1, 8);
        let at = d.memory(0x2_0000);
        assert_eq!(d.request(0, &[(at, 100, true), (at + 100, 28, true)]), 128);
        assert!(d.read(at, 100).iter().any(|b| *b != 0) && d.read(at + 100, 28).iter().any(|b| *b != 0));
        assert_eq!(d.read(at + 128, 64), vec![0; 64]);
        assert_eq!(d.request(0, &[(at, 0x2_0000, true)]), 0x1_0000, "the driver asks again");
        // Several at once, in their order.
        let heads: Vec<_> = (0..4).map(|n| d.chain(0, &[(at + n, 1, true)])).collect();
        heads.iter().for_each(|h| d.offer(0, *h));
        d.notify(0);
        let expect: Vec<_> = heads.iter().map(|h| (u32::from(*h), 1)).collect();
        assert_eq!(d.wait(0, 4), expect);
    }
}

#[test]
fn a_request_without_room_is_a_mistake() {
    let mut d = driver(Mode::Modern, |_| {});
    d.start(0, 1, 8);
    let head = d.chain(0, &[(0x30_0000, 16, false)]);
    d.offer(0, head);
    d.notify(0);
    assert_eq!((d.status() & 0x40, d.used(0)), (0x40, vec![]));
    d.start(0, 1, 8);
    assert_eq!(d.request(0, &[(0x30_0000, 16, true)]), 16);
}

#[test]
fn no_more_than_the_limit() {
    let mut d = driver(Mode::Modern, |k| (k.max_bytes, k.period) = (10, 1000));
    d.start(0, 1, 8);
    assert_eq!(d.request(0, &[(0x30_0000, 64, true)]), 10);
    let head = d.chain(0, &[(0x30_0000, 64, true)]);
    d.offer(0, head);
    d.notify(0);
    d.b.clock_step_ns(999_000_000);
    assert_eq!(d.used(0), []);
    d.b.clock_step_ns(1_000_000);
    assert_eq!(d.wait(0, 1), [(head.into(), 10)]);
}

#[test]
fn a_source_of_the_users() {
    let source = Arc::new(RngRandom::at("/dev/zero").complete("r0").unwrap());
    let mut d = driver(Mode::Legacy, |k| k.rng = RngSource::named("r0", source));
    d.start(0, 1, 8);
    d.b.write(0x30_0000, &[0xff; 64]);
    assert_eq!(d.request(0, &[(0x30_0000, 64, true)]), 64);
    assert_eq!(d.read(0x30_0000, 64), vec![0; 64]);
}

#[test]
fn a_saved_request_is_made_of_the_other_source() {
    let zeroes = || Arc::new(RngRandom::at("/dev/zero").complete("r0").unwrap());
    let drivers =
        || driver(Mode::Modern, |k| (k.max_bytes, k.period, k.rng) = (10, 1000, RngSource::named("r0", zeroes())));
    let (mut first, mut second) = (drivers(), drivers());
    first.start(0, 1, 8);
    assert_eq!(first.request(0, &[(0x30_0000, 64, true)]), 10);
    let head = first.chain(0, &[(0x30_0000, 64, true)]);
    first.offer(0, head);
    first.notify(0);
    first.b.write(0x30_0000, &[0xff; 64]);
    second.take_over(&first);
    second.b.clock_step_ns(999_999_999);
    assert_eq!(second.used(0), [], "the period is not over");
    second.b.clock_step_ns(1);
    assert_eq!(second.wait(0, 1), [(head.into(), 10)]);
    assert_eq!(second.read(0x30_0000, 11), [&[0; 10][..], &[0xff]].concat());
}

#[test]
fn a_reset_forgets_requests() {
    let mut d = driver(Mode::Modern, |_| {});
    for _ in 0..50 {
        d.start(0, 1, 8);
        let head = d.chain(0, &[(0x30_0000, 64, true)]);
        d.offer(0, head);
        d.notify(0);
        d.set_status(0);
    }
    d.start(0, 1, 8);
    assert_eq!(d.request(0, &[(0x30_0000, 64, true)]), 64);
}
