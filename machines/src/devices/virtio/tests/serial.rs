//! Consoles and channels.

use super::driver::{Driver, Mode};
use super::{MODES, RAM};
use crate::devices::virtio::serial::{Serial, VirtConsole, VirtSerialPort};
use crate::devices::virtio::{Generic, VirtioPci};
use gearbox_accel_qtest::{Bench, BenchChardev};
use gearbox_core::board::{DeviceId, DeviceSpec};
use gearbox_core::event::Event;
use gearbox_core::pci::Devfn;
use std::sync::Arc;
use std::sync::Mutex;

const EVENT_INDEX: u64 = 1 << 29;
const MULTIPORT: u64 = 2;
const READY: u16 = 3;
const OPEN: u16 = 6;

/// A device with two ports: a console and a channel `org.test.0`.
struct Ports {
    d: Driver,
    console: Arc<BenchChardev>,
    channel: Arc<BenchChardev>,
    channel_id: DeviceId,
}

fn controller(mode: Mode, max_ports: u32) -> Driver {
    let mut b = Bench::with_ram(RAM);
    let mut spec = VirtioPci::<Serial, Generic> { place: Some(Devfn::new(4, 0)).into(), ..VirtioPci::default() };
    spec.kind.max_ports = max_ports;
    b.realize(spec).unwrap();
    Driver::new(b, mode)
}
fn console(far: &Arc<BenchChardev>) -> VirtConsole {
    let mut spec = VirtConsole::default();
    spec.port.chardev = far.clone().into();
    spec
}
fn channel(far: &Arc<BenchChardev>, name: &str) -> VirtSerialPort {
    let mut spec = VirtSerialPort::default();
    (spec.port.chardev, spec.port.name) = (far.clone().into(), Some(name.to_owned()));
    spec
}
fn ports(mode: Mode) -> Ports {
    let mut d = controller(mode, 3);
    let [one, two] = [(); 2].map(|()| Bench::chardev());
    d.b.realize(console(&one)).unwrap();
    let made = d.b.with(|s| s.realize("/machine/peripheral/ch", channel(&two, "org.test.0"))).unwrap();
    Ports { d, console: one, channel: two, channel_id: made.id }
}

/// Gives the device buffers of so many bytes in a queue; where they are.
fn give(d: &mut Driver, queue: usize, count: usize, bytes: u32) -> Vec<(u16, u64)> {
    let given = (0..count).map(|_| {
        let at = d.memory(bytes.into());
        let head = d.chain(queue, &[(at, bytes, true)]);
        d.offer(queue, head);
        (head, at)
    });
    let given = given.collect();
    d.notify(queue);
    given
}
/// What the device has put in buffers.
fn filled(d: &mut Driver, queue: usize, given: &[(u16, u64)]) -> Vec<Vec<u8>> {
    let at = |head: u32| given.iter().find(|(h, _)| u32::from(*h) == head).unwrap().1;
    let used = d.used(queue);
    used.into_iter().map(|(head, bytes)| d.read(at(head), bytes as usize)).collect()
}
fn message(id: u32, event: u16, value: u16, more: &[u8]) -> Vec<u8> {
    [&id.to_le_bytes()[..], &event.to_le_bytes(), &value.to_le_bytes(), more].concat()
}
fn say(d: &mut Driver, id: u32, event: u16, value: u16) {
    let at = d.memory(8);
    d.b.write(at, &message(id, event, value, &[]));
    assert_eq!(d.request(3, &[(at, 8, false)]), 0);
}
fn send(d: &mut Driver, queue: usize, data: &[u8]) -> u16 {
    let at = d.memory(data.len() as u64);
    d.b.write(at, data);
    let (first, rest) = (data.len() as u32 / 2, data.len() as u32 - data.len() as u32 / 2);
    let head = d.chain(queue, &[(at, first, false), (at + u64::from(first), rest, false)]);
    d.offer(queue, head);
    d.notify(queue);
    head
}

#[test]
fn the_driver_is_told_of_ports() {
    for mode in MODES {
        let Ports { mut d, console, .. } = ports(mode);
        assert_eq!([0, 8, 0x2c].map(|r| d.config(r, 4)), [0x1003_1af4, 0x0780_0000, 0x0003_1af4]);
        assert_eq!([0, 4, 8].map(|at| d.device_config(at)), [0, 3, 0]);
        console.set_window_size(80, 24);
        d.start(MULTIPORT | EVENT_INDEX, 8, 32);
        let given = give(&mut d, 2, 16, 64);
        say(&mut d, 0, 0, 1);
        assert_eq!(filled(&mut d, 2, &given), [message(0, 1, 1, &[]), message(1, 1, 1, &[])]);
        say(&mut d, 0, READY, 1);
        let size = [24, 0, 80, 0];
        assert_eq!(
            filled(&mut d, 2, &given),
            [message(0, 4, 1, &[]), message(0, 5, 1, &size), message(0, OPEN, 1, &[])]
        );
        say(&mut d, 1, READY, 1);
        assert_eq!(filled(&mut d, 2, &given), [message(1, 7, 1, b"org.test.0\0"), message(1, OPEN, 1, &[])]);
        console.set_window_size(132, 43);
        assert_eq!(filled(&mut d, 2, &given), [message(0, 5, 1, &[43, 0, 132, 0])]);
        // Mistakes have no answer.
        for (id, event, value) in [(7, READY, 1), (0, READY, 0), (0, 0, 0), (1, 99, 0)] {
            say(&mut d, id, event, value);
        }
        assert_eq!(filled(&mut d, 2, &given), Vec::<Vec<u8>>::new());
    }
}

#[test]
fn bytes_go_both_ways() {
    for mode in MODES {
        let Ports { mut d, console, channel, .. } = ports(mode);
        d.start(MULTIPORT | EVENT_INDEX, 8, 32);
        let given = give(&mut d, 0, 2, 4);
        console.type_in(b"abcdef");
        assert_eq!(d.used(0), [], "nobody has it open");
        say(&mut d, 0, OPEN, 1);
        assert_eq!(filled(&mut d, 0, &given), [b"abcd".to_vec(), b"ef".to_vec()]);
        console.type_in(b"gh");
        assert_eq!(console.waiting(), 2, "no buffer, so it waits at the back end");
        let given = give(&mut d, 0, 2, 4);
        assert_eq!(filled(&mut d, 0, &given), [b"gh".to_vec()]);

        channel.set_room(5);
        let heads = [b"12345678", b"abcdefgh"].map(|data| send(&mut d, 5, data));
        assert_eq!((channel.output(), d.used(5)), (b"12345".to_vec(), vec![]), "the driver waits");
        channel.set_room(4);
        assert_eq!((channel.output(), d.used(5)), (b"678a".to_vec(), vec![(heads[0].into(), 0)]));
        channel.set_room(100);
        assert_eq!((channel.output(), d.used(5)), (b"bcdefgh".to_vec(), vec![(heads[1].into(), 0)]));
        // A port that does not exist has queues all the same.
        send(&mut d, 7, b"xy");
        assert_eq!(d.used(7), []);
    }
}

#[test]
fn a_driver_that_knows_of_one_port() {
    let Ports { mut d, console, .. } = ports(Mode::Legacy);
    d.start(0, 2, 0);
    let given = give(&mut d, 0, 1, 16);
    console.type_in(b"hello");
    assert_eq!(filled(&mut d, 0, &given), [b"hello".to_vec()]);
    send(&mut d, 1, b"hi");
    assert_eq!(console.output(), b"hi");
}

#[test]
fn an_emergency_needs_no_queue() {
    let Ports { mut d, console, .. } = ports(Mode::Modern);
    d.b.writel(super::driver::MODERN + 0x2008, b'!'.into());
    assert_eq!(console.output(), b"!");
}

#[test]
fn who_comes_and_goes_is_told() {
    let mut d = controller(Mode::Modern, 3);
    let far = Bench::chardev();
    far.connect(false);
    d.b.realize(channel(&far, "c")).unwrap();
    d.start(MULTIPORT | EVENT_INDEX, 8, 32);
    let given = give(&mut d, 2, 16, 64);
    say(&mut d, 1, READY, 1);
    assert_eq!(filled(&mut d, 2, &given), [message(1, 7, 1, b"c\0")]);
    // Sent to nobody.
    send(&mut d, 5, b"lost");
    assert_eq!((d.used(5).len(), far.output()), (1, vec![]));
    far.connect(true);
    send(&mut d, 5, b"heard");
    far.connect(false);
    assert_eq!(filled(&mut d, 2, &given), [message(1, OPEN, 1, &[]), message(1, OPEN, 0, &[])]);
    assert_eq!(far.output(), b"heard");
}

#[test]
fn a_saved_port_goes_on_with_what_is_half_sent() {
    let [mut first, mut second] = [(); 2].map(|()| ports(Mode::Modern));
    first.d.start(MULTIPORT, 8, 32);
    say(&mut first.d, 1, OPEN, 1);
    first.channel.set_room(2);
    let head = send(&mut first.d, 5, b"1234");
    assert_eq!(first.channel.output(), b"12");
    second.channel.set_room(0);
    second.d.take_over(&first.d);
    assert_eq!(second.d.used(5), []);
    second.channel.set_room(9);
    assert_eq!((second.channel.output(), second.d.used(5)), (b"34".to_vec(), vec![(head.into(), 0)]));
}

#[test]
fn ports_come_and_go() {
    let Ports { mut d, channel: far, channel_id, .. } = ports(Mode::Modern);
    let events = Arc::new(Mutex::new(Vec::new()));
    let heard = events.clone();
    let listener: Arc<dyn Fn(&Event) + Send + Sync> = Arc::new(move |e| heard.lock().unwrap().push(e.clone()));
    d.b.board().subscribe(&listener);
    d.start(MULTIPORT | EVENT_INDEX, 8, 32);
    let given = give(&mut d, 2, 16, 64);
    for open in [1, 1, 0, 1] {
        say(&mut d, 1, OPEN, open);
    }
    let change = |open| Event::VserportChange { id: "ch".into(), open };
    assert_eq!(std::mem::take(&mut *events.lock().unwrap()), [true, false, true].map(change));
    // It goes while it has something of the driver's.
    far.set_room(2);
    let head = send(&mut d, 5, b"1234");
    let buffers = give(&mut d, 4, 2, 8);
    d.b.with(|s| s.unrealize(channel_id));
    assert_eq!((d.used(5), filled(&mut d, 2, &given)), (vec![(head.into(), 0)], vec![message(1, 2, 1, &[])]));
    assert_eq!((far.output(), d.used(4)), (b"12".to_vec(), vec![]));
    // Another one comes in its place. The buffers that were for the old one are there for it.
    let new = Bench::chardev();
    d.b.realize(channel(&new, "org.test.0")).unwrap();
    assert_eq!(filled(&mut d, 2, &given), [message(1, 1, 1, &[])]);
    new.type_in(b"new");
    say(&mut d, 1, OPEN, 1);
    assert_eq!(filled(&mut d, 4, &buffers), [b"new".to_vec()]);
    // A reset closes all.
    d.set_status(0);
    assert_eq!(d.b.with(|s| s.buses().iter().map(|b| b.name.clone()).collect::<Vec<_>>()), ["virtio-serial-bus.0"]);
}

#[test]
fn places_and_names_are_taken_once() {
    let mut d = controller(Mode::Modern, 3);
    let far = Bench::chardev();
    let mut refuse = |spec: VirtSerialPort, reason: &str| {
        let error = d.b.realize(spec).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    };
    let numbered = |nr: u32, name: &str| {
        let mut spec = channel(&far, name);
        spec.port.nr = nr;
        spec
    };
    refuse(numbered(0, "a"), "reserved for virtconsole devices");
    refuse(numbered(3, "a"), "Out-of-range port id specified, max. allowed: 2");
    d.b.realize(numbered(2, "a")).unwrap();
    let mut refuse = |spec: VirtSerialPort, reason: &str| {
        let error = d.b.realize(spec).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    };
    refuse(numbered(2, "b"), "A port already exists at id 2");
    refuse(channel(&far, "a"), "A port already exists by name a");
    d.b.realize(channel(&far, "b")).unwrap();
    let error = d.b.realize(channel(&far, "c")).unwrap_err().to_string();
    assert!(error.contains("Maximum port limit for this device reached"), "{error}");
    d.b.realize(console(&far)).unwrap();
    let spec =
        VirtioPci::<Serial, Generic> { kind: Serial { max_ports: 0, ..Serial::default() }, ..VirtioPci::default() };
    assert!(d.b.realize(spec).unwrap_err().to_string().contains("may not be zero"));
    assert_eq!(<VirtConsole as DeviceSpec>::TYPE, "virtconsole");
}

#[test]
fn a_flood_is_bounded() {
    let Ports { mut d, channel, .. } = ports(Mode::Modern);
    d.start(MULTIPORT | EVENT_INDEX, 8, 32);
    // Many messages that nobody takes.
    for _ in 0..3000 {
        say(&mut d, 0, 0, 1);
    }
    // A request as large as can be: all RAM, many times.
    let list = d.memory(16 * 256);
    for n in 0..256 {
        d.describe(list, n, 0, RAM as u32, u16::from(n < 255), n + 1);
    }
    let head = d.rings[5].size - 1;
    d.describe(d.rings[5].descriptors, head, list, 16 * 256, super::driver::INDIRECT, 0);
    d.offer(5, head);
    d.notify(5);
    let sent = channel.output().len();
    assert!(sent > 0 && sent <= 4 << 20, "{sent}");
    d.b.clock_step_ns(1);
    assert!(!channel.output().is_empty(), "it goes on");
    // A buffer without room is a mistake.
    say(&mut d, 1, OPEN, 1);
    let at = d.memory(8);
    let head = d.chain(4, &[(at, 8, false)]);
    d.offer(4, head);
    d.notify(4);
    assert_eq!(d.status() & 0x40, 0x40);
}
