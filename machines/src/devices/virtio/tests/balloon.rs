//! The balloon.

use super::driver::{Driver, MODERN, Mode, PORTS};
use super::{MODES, RAM};
use crate::devices::virtio::balloon::Balloon;
use crate::devices::virtio::{Generic, VirtioPci};
use gearbox_accel_qtest::Bench;
use gearbox_core::event::Event;
use gearbox_core::pci::Devfn;
use std::sync::{Arc, Mutex};

const POISON: u64 = 1 << 4;
const REPORTING: u64 = 1 << 5;

fn spec(change: impl FnOnce(&mut Balloon)) -> VirtioPci<Balloon, Generic> {
    let mut spec = VirtioPci::<Balloon, Generic> { place: Some(Devfn::new(4, 0)).into(), ..VirtioPci::default() };
    change(&mut spec.kind);
    spec
}
fn driver(mode: Mode, change: impl FnOnce(&mut Balloon)) -> Driver {
    let mut b = Bench::with_ram(RAM);
    b.with(|s| {
        s.set_ram_size(RAM);
        let id = s.realize("/machine/peripheral/b", spec(change)).unwrap().id;
        s.call(id, |d, cx| d.reset(cx, gearbox_core::board::ResetKind::Power));
    });
    b.write(0x40_0000, &[0xaa; 0x4000]);
    Driver::new(b, mode)
}
/// Gives the device a list of pages in a queue.
fn pages(d: &mut Driver, queue: usize, numbers: &[u32]) {
    let bytes: Vec<u8> = numbers.iter().flat_map(|n| n.to_le_bytes()).collect();
    let at = d.memory(bytes.len() as u64);
    d.b.write(at, &bytes);
    assert_eq!(d.request(queue, &[(at, bytes.len() as u32, false)]), 0);
}
fn is_zero(d: &Driver, page: u64) -> bool {
    d.read(page << 12, 0x1000).iter().all(|b| *b == 0)
}
fn set_config(d: &mut Driver, offset: u64, value: u32) {
    match d.mode {
        Mode::Legacy => d.b.outl(PORTS + 0x14 + offset as u16, value),
        Mode::Modern => d.b.writel(MODERN + 0x2000 + offset, value),
    }
}

#[test]
fn pages_go_to_the_host_and_come_back() {
    for mode in MODES {
        let mut d = driver(mode, |_| {});
        let events = Arc::new(Mutex::new(Vec::new()));
        let heard = events.clone();
        let listener: Arc<dyn Fn(&Event) + Send + Sync> = Arc::new(move |e| heard.lock().unwrap().push(e.clone()));
        d.b.board().subscribe(&listener);
        assert_eq!([0, 8, 0x2c].map(|r| d.config(r, 4)), [0x1002_1af4, 0x00ff_0000, 0x0005_1af4]);
        d.start(0, 3, 16);
        assert_eq!(d.b.with(|s| s.balloon_size()), Some(RAM));
        assert!(d.b.with(|s| s.set_balloon_size(RAM - 0x3000)));
        assert_eq!((d.device_config(0), d.isr() & 2), (3, 2));
        pages(&mut d, 0, &[0x400, 0x402]);
        assert_eq!([0x400, 0x401, 0x402, 0x403].map(|p| is_zero(&d, p)), [true, false, true, false]);
        set_config(&mut d, 4, 2);
        assert_eq!(d.b.with(|s| s.balloon_size()), Some(RAM - 0x2000));
        // They can be used again, whether or not the driver says that it takes them back.
        d.b.writel(0x40_0000, 7);
        pages(&mut d, 1, &[0x400]);
        assert_eq!(d.b.readl(0x40_0000), 7);
        set_config(&mut d, 4, 1);
        // No RAM, registers, and the end of the address space.
        pages(&mut d, 0, &[0x800, 0xe_0000, 0xfee00, u32::MAX]);
        d.set_status(0);
        assert_eq!(d.b.with(|s| s.balloon_size()), Some(RAM), "a reset has all memory be the guest's again");
        let change = |pages: u64| Event::BalloonChange { actual: RAM - (pages << 12) };
        assert_eq!(*events.lock().unwrap(), [2, 1, 0].map(change));
    }
}

#[test]
fn a_decoded_page_is_told() {
    use gearbox_core::mem::{FlatKind, FlatRange, MemoryListener, RamBlock};
    #[derive(Default)]
    struct Log(Mutex<Vec<u64>>);
    impl MemoryListener for Log {
        fn removed(&self, _: &FlatRange) {}
        fn added(&self, _: &FlatRange) {}
        fn code_written(&self, _: &Arc<RamBlock>, offset: u64, _: u64) {
            self.0.lock().unwrap().push(offset);
        }
    }
    let mut d = driver(Mode::Modern, |_| {});
    d.start(0, 3, 16);
    let log = Arc::new(Log::default());
    d.b.board().memory().listen(log.clone());
    let view = d.b.board().memory().view();
    let FlatKind::Ram { block, .. } = &view.find(0x40_1000).unwrap().kind else { panic!("RAM") };
    block.set_code(0x40_1000);
    pages(&mut d, 0, &[0x400, 0x401]);
    assert_eq!((&*log.0.lock().unwrap(), is_zero(&d, 0x401)), (&vec![0x40_1000], true));
}

#[test]
fn figures_come_when_they_are_asked_for() {
    let mut d = driver(Mode::Modern, |_| {});
    d.start(0, 3, 16);
    let get = |d: &Driver, name: &str| {
        d.b.with(|s| {
            let node = s.objects.resolve("/machine/peripheral/b").unwrap();
            s.object_get(node, name).unwrap()
        })
    };
    let figure = |d: &Driver, name: &str| get(d, "guest-stats")["stats"][name].as_u64();
    assert_eq!(get(&d, "guest-stats")["last-update"], 0);
    assert_eq!(figure(&d, "stat-free-memory"), Some(u64::MAX));
    let at = d.memory(64);
    let give = |d: &mut Driver, value: u64| {
        let figures = [(4u16, value), (5, RAM), (99, 1)];
        let bytes: Vec<u8> =
            figures.iter().flat_map(|(n, v)| [&n.to_le_bytes()[..], &v.to_le_bytes()].concat()).collect();
        d.b.write(at, &bytes);
        let head = d.chain(2, &[(at, bytes.len() as u32, false)]);
        d.offer(2, head);
        d.notify(2);
    };
    give(&mut d, 1234);
    assert_eq!((figure(&d, "stat-free-memory"), figure(&d, "stat-total-memory")), (Some(1234), Some(RAM)));
    assert!(get(&d, "guest-stats")["last-update"].as_u64() > Some(0));
    assert_eq!(d.used(2), [], "it is kept until new ones are wanted");
    let set = |d: &Driver, seconds: i64| {
        d.b.with(|s| {
            let node = s.objects.resolve("/machine/peripheral/b").unwrap();
            s.object_set(node, "guest-stats-polling-interval", &seconds.into()).map_err(|e| e.to_string())
        })
    };
    assert!(
        set(&d, -1).unwrap_err().contains("greater than zero") && set(&d, 1 << 32).unwrap_err().contains("too big")
    );
    set(&d, 2).unwrap();
    d.b.clock_step_ns(1);
    assert_eq!(d.used(2).len(), 1);
    give(&mut d, 99);
    d.b.clock_step_ns(1_999_999_999);
    assert_eq!(d.used(2), []);
    d.b.clock_step_ns(1);
    assert_eq!((d.used(2).len(), figure(&d, "stat-free-memory")), (1, Some(99)));
    set(&d, 0).unwrap();
    give(&mut d, 7);
    d.b.clock_step_ns(10_000_000_000);
    assert_eq!((d.used(2), get(&d, "guest-stats-polling-interval")), (vec![], 0.into()));
}

#[test]
fn free_pages_are_reported() {
    let mut d = driver(Mode::Modern, |k| k.free_page_reporting = true);
    d.start(REPORTING | POISON, 4, 16);
    // Whole pages only.
    let ranges = [(0x40_0800, 0x2000, true), (0x40_3000, 0x800, true)];
    assert_eq!(d.request(3, &ranges), 0);
    assert_eq!([0x400, 0x401, 0x402, 0x403].map(|p| is_zero(&d, p)), [false, true, false, false]);
    // The driver wants to find what it filled them with.
    set_config(&mut d, 12, 0xaaaa_aaaa);
    assert_eq!((d.device_config(12), d.request(3, &[(0x40_2000, 0x1000, true)])), (0xaaaa_aaaa, 0));
    assert!(!is_zero(&d, 0x402));
}

#[test]
fn there_is_one_and_it_has_what_is_asked_for() {
    let mut d = driver(Mode::Modern, |k| k.deflate_on_oom = true);
    assert_eq!(d.offered() & 0x3f, 1 << 1 | 1 << 2 | POISON);
    let another = VirtioPci::<Balloon, Generic>::default();
    assert!(d.b.realize(another).unwrap_err().to_string().contains("Only one balloon device is supported"));
    let mut b = Bench::with_ram(RAM);
    assert_eq!((b.with(|s| s.balloon_size()), b.with(|s| s.set_balloon_size(1))), (None, false));
    b.realize(VirtioPci::<Balloon, Generic>::default()).unwrap();
    // A machine whose RAM is not known has nothing to give.
    assert_eq!(b.with(|s| s.balloon_size()), Some(0));
}
