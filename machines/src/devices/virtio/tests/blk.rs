//! The disk.

use super::driver::{MODERN, Mode};
use super::{Disk, MODES, disk, disk_as, pattern};
use crate::devices::virtio::Generic;
use gearbox_core::backend::block::{CacheMode, ImageOptions};
use gearbox_core::backend::memory::Size;
use std::collections::BTreeMap;

const IN: u32 = 0;
const OUT: u32 = 1;
const FLUSH: u32 = 4;
const GET_ID: u32 = 8;
const DISCARD: u32 = 11;
const ZEROES: u32 = 13;
/// All features that are the disk's own.
const OWN: u64 = 0xff_ffff;
const OK: u8 = 0;
const IOERR: u8 = 1;
const UNSUPP: u8 = 2;

impl Disk {
    /// One request: status, and what the device wrote.
    fn ask(&mut self, kind: u32, sector: u64, out: &[u8], room: u32) -> (u8, Vec<u8>) {
        let (head, status, data) = self.put(0, kind, sector, out, room);
        self.d.offer(0, head);
        self.d.notify(0);
        let used = self.d.wait(0, 1);
        assert_eq!(used[0].0, u32::from(head));
        (self.d.b.readb(status), self.d.read(data, used[0].1 as usize - 1))
    }
    /// Lays a request out: chain, where the status comes, where data come.
    fn put(&mut self, queue: usize, kind: u32, sector: u64, out: &[u8], room: u32) -> (u16, u64, u64) {
        let d = &mut self.d;
        let (header, data, status) = (d.memory(16), d.memory(out.len() as u64 + u64::from(room)), d.memory(1));
        d.b.writel(header, kind);
        d.b.writel(header + 4, 0);
        d.b.writeq(header + 8, sector);
        d.b.write(data, out);
        d.b.writeb(status, 0xff);
        let mut buffers = vec![(header, 16, false)];
        if !out.is_empty() {
            buffers.push((data, out.len() as u32, false));
        }
        if room > 0 {
            buffers.push((data, room, true));
        }
        buffers.push((status, 1, true));
        (d.chain(queue, &buffers), status, data)
    }
    fn image(&self) -> Vec<u8> {
        std::fs::read(self.file.path()).unwrap()
    }
    fn range(sector: u64, sectors: u32, flags: u32) -> Vec<u8> {
        [&sector.to_le_bytes()[..], &sectors.to_le_bytes(), &flags.to_le_bytes()].concat()
    }
}

#[test]
fn reads_and_writes() {
    for mode in MODES {
        let mut disk = disk(mode, &pattern(1 << 20));
        disk.d.start(OWN, 1, 64);
        assert_eq!(disk.ask(IN, 2047, &[], 512), (OK, pattern(1 << 20)[2047 * 512..].to_vec()));
        assert_eq!(disk.ask(IN, 0, &[], 1 << 19), (OK, pattern(1 << 19)));
        let data = vec![0x5a; 3 * 512];
        assert_eq!(disk.ask(OUT, 5, &data, 0), (OK, vec![]));
        assert_eq!(disk.ask(FLUSH, 0, &[], 0), (OK, vec![]));
        assert_eq!(disk.ask(IN, 4, &[], 5 * 512).1[512..2048], data);
        let image = disk.image();
        assert_eq!((&image[5 * 512..8 * 512], &image[8 * 512..]), (&data[..], &pattern(1 << 20)[8 * 512..]));
    }
}

#[test]
fn a_saved_disk_goes_on_with_its_queue() {
    for mode in MODES {
        let [mut first, mut second] = [(); 2].map(|()| disk(mode, &pattern(1 << 20)));
        first.d.start(OWN | 1 << 29, 1, 8);
        // Round the ring, and one more that is there but not told of.
        (0..11).for_each(|n| assert_eq!(first.ask(IN, n, &[], 512).0, OK));
        let isr = first.d.intx();
        let (head, status, data) = first.put(0, IN, 99, &[], 512);
        first.d.offer(0, head);
        second.d.take_over(&first.d);
        assert_eq!((second.d.intx(), second.d.isr()), (isr, u8::from(isr)));
        second.d.notify(0);
        assert_eq!(second.d.wait(0, 1), [(head.into(), 513)]);
        assert_eq!(
            (second.d.b.readb(status), second.d.read(data, 512)),
            (OK, pattern(1 << 20)[99 * 512..100 * 512].to_vec())
        );
        (0..11).for_each(|n| assert_eq!(second.ask(IN, n, &[], 512).1, pattern(1 << 20)[n as usize * 512..][..512]));
    }
}

#[test]
fn what_is_not_on_the_disk_is_an_error() {
    for mode in MODES {
        let mut disk = disk(mode, &pattern(4096));
        disk.d.start(OWN, 1, 64);
        for (sector, bytes) in [(8, 512), (7, 1024), (u64::MAX, 512), (1 << 55, 512), (0, 511), (0, 513)] {
            assert_eq!(disk.ask(IN, sector, &[], bytes).0, IOERR, "{sector} {bytes}");
            assert_eq!(disk.ask(OUT, sector, &vec![1; bytes as usize], 0).0, IOERR, "{sector} {bytes}");
        }
        for kind in [2, 3, 9, 15, 99] {
            assert_eq!(disk.ask(kind, 0, &[], 512).0, UNSUPP);
        }
        assert_eq!(disk.image(), pattern(4096));
        assert_eq!(disk.ask(1 << 31, 0, &[], 512).0, OK, "an old barrier is no other request");
    }
}

#[test]
fn discards_and_zeroes() {
    for mode in MODES {
        let mut disk = disk(mode, &pattern(64 << 10));
        disk.d.start(OWN, 1, 64);
        assert_eq!(disk.ask(ZEROES, 0, &Disk::range(2, 4, 0), 0).0, OK);
        assert_eq!(disk.ask(ZEROES, 0, &Disk::range(16, 16, 1), 0).0, OK);
        let image = disk.image();
        assert!(image[2 * 512..6 * 512].iter().chain(&image[16 * 512..32 * 512]).all(|b| *b == 0));
        assert_eq!((&image[..1024], &image[6 * 512..8192]), (&pattern(1024)[..], &pattern(8192)[6 * 512..]));
        assert_eq!(disk.ask(DISCARD, 0, &Disk::range(64, 32, 0), 0).0, OK);
        for kind in [DISCARD, ZEROES] {
            assert_eq!(disk.ask(kind, 0, &Disk::range(127, 2, 0), 0).0, IOERR);
            assert_eq!(disk.ask(kind, 0, &Disk::range(0, u32::MAX, 0), 0).0, IOERR);
            assert_eq!(disk.ask(kind, 0, &Disk::range(0, 1, 2), 0).0, UNSUPP);
            assert_eq!(disk.ask(kind, 0, &[Disk::range(0, 1, 0), Disk::range(2, 1, 0)].concat(), 0).0, IOERR);
            assert_eq!(disk.ask(kind, 0, &[], 0).0, IOERR);
        }
        assert_eq!(disk.ask(DISCARD, 0, &Disk::range(0, 1, 1), 0).0, UNSUPP);
    }
}

#[test]
fn it_has_a_name() {
    let mut disk = disk_as::<Generic>(Mode::Modern, &[0; 512], |o| o, |s| s.kind.serial = Some("disk-42".into()));
    disk.d.start(OWN, 1, 8);
    assert_eq!(disk.ask(GET_ID, 0, &[], 20), (OK, b"disk-42\0".to_vec()));
    assert_eq!(disk.ask(GET_ID, 0, &[], 3), (OK, b"dis".to_vec()));
    let full = "12345678901234567890";
    let mut disk = disk_as::<Generic>(Mode::Modern, &[0; 512], |o| o, |s| s.kind.serial = Some(full.into()));
    disk.d.start(OWN, 1, 8);
    assert_eq!(disk.ask(GET_ID, 0, &[], 30), (OK, full.as_bytes().to_vec()));
}

#[test]
fn a_disk_that_is_not_written() {
    let options = |o| ImageOptions { read_only: true, ..o };
    let mut disk = disk_as::<Generic>(Mode::Modern, &pattern(4096), options, |_| {});
    assert_eq!(disk.d.offered() & 1 << 5, 1 << 5);
    disk.d.start(OWN, 1, 8);
    assert_eq!(disk.ask(IN, 0, &[], 512), (OK, pattern(512)));
    assert_eq!(disk.ask(OUT, 0, &[0; 512], 0).0, IOERR);
    for kind in [DISCARD, ZEROES] {
        assert_eq!(disk.ask(kind, 0, &Disk::range(0, 1, 0), 0).0, IOERR);
    }
    assert_eq!(disk.ask(FLUSH, 0, &[], 0).0, OK);
}

#[test]
fn buffers_lie_as_the_driver_likes() {
    for mode in MODES {
        let mut disk = disk(mode, &pattern(4096));
        disk.d.start(OWN, 1, 64);
        let d = &mut disk.d;
        // A header in three pieces; data and status in one buffer, then in pieces that have nothing to do with sectors.
        let header = d.memory(16);
        d.b.write(header, &[0; 16]);
        let data = d.memory(2048);
        let pieces = [(header, 1, false), (header + 1, 10, false), (header + 11, 5, false)];
        assert_eq!(d.request(0, &[&pieces[..], &[(data, 1025, true)]].concat()), 1025);
        assert_eq!((d.read(data, 1024), d.b.readb(data + 1024)), (pattern(1024), OK));
        let odd = [(data, 100, true), (data + 100, 900, true), (data + 1000, 25, true)];
        assert_eq!(d.request(0, &[&pieces[..], &odd].concat()), 1025);
        assert_eq!((d.read(data, 1024), d.b.readb(data + 1024)), (pattern(1024), OK));
    }
}

#[test]
fn many_requests_on_many_queues() {
    for mode in MODES {
        let mut disk = disk_as::<Generic>(
            mode,
            &pattern(1 << 20),
            |o| o,
            |s| {
                s.kind.num_queues = 4;
                s.kind.queue_size = 128;
            },
        );
        assert_eq!((disk.d.offered() & 1 << 12, disk.d.config(0x9a, 2)), (1 << 12, 4));
        disk.d.start(OWN | 1 << 29, 4, 128);
        assert_eq!(disk.d.device_config(32) >> 16, 4);
        let mut expected = BTreeMap::new();
        for queue in 0..4 {
            for n in 0..40 {
                let sector = (queue as u64 * 40 + n) * 12;
                let (head, status, data) = disk.put(queue, IN, sector, &[], 512);
                disk.d.offer(queue, head);
                expected.insert((queue, u32::from(head)), (sector, status, data));
            }
            disk.d.notify(queue);
        }
        let all = pattern(1 << 20);
        for queue in 0..4 {
            for (head, written) in disk.d.wait(queue, 40) {
                let (sector, status, data) = expected.remove(&(queue, head)).expect("one answer for each");
                let at = sector as usize * 512;
                assert_eq!((written, disk.d.b.readb(status)), (513, OK));
                assert_eq!(disk.d.read(data, 512), all[at..at + 512]);
            }
        }
        assert!(expected.is_empty());
    }
}

#[test]
fn the_write_cache_is_the_drivers_to_choose() {
    let mut disk = disk(Mode::Modern, &pattern(4096));
    disk.d.start(OWN, 1, 8);
    assert_eq!(disk.d.device_config(32) & 0xff, 1);
    disk.d.b.writeb(MODERN + 0x2000 + 32, 0);
    assert_eq!(disk.d.device_config(32) & 0xff, 0);
    let flushes = |disk: &Disk| disk.backend.stats();
    let before = format!("{:?}", flushes(&disk));
    assert_eq!(disk.ask(OUT, 0, &[1; 512], 0).0, OK);
    assert_ne!(before, format!("{:?}", flushes(&disk)));
    assert_eq!(disk.image()[..512], [1; 512]);
    disk.d.set_status(0);
    assert_eq!(disk.d.device_config(32) & 0xff, 1);
    // A driver that cannot flush has no cache; one that has none to turn off neither.
    disk.d.start(0, 1, 8);
    assert_eq!(disk.d.device_config(32) & 0xff, 0);
    let options = |o| ImageOptions { cache: CacheMode { writeback: false, ..CacheMode::WRITEBACK }, ..o };
    let plain = disk_as::<Generic>(Mode::Modern, &[0; 512], options, |s| s.kind.config_wce = false);
    assert_eq!((plain.d.device_config(32) & 0xff, plain.d.b.readl(MODERN + 4) & 0xa00), (0, 0));
}

#[test]
fn blocks_of_other_sizes() {
    let mut disk = disk_as::<Generic>(
        Mode::Modern,
        &pattern(64 << 10),
        |o| o,
        |s| {
            (s.kind.logical_block_size, s.kind.physical_block_size) = (Size(4096), Size(16384));
            (s.kind.min_io_size, s.kind.opt_io_size) = (Size(8192), Size(65536));
        },
    );
    disk.d.start(OWN, 1, 8);
    assert_eq!([0, 20, 24, 28].map(|at| disk.d.device_config(at)), [128, 4096, 0x2_0002, 16]);
    assert_eq!(disk.ask(IN, 8, &[], 4096), (OK, pattern(8192)[4096..].to_vec()));
    assert_eq!((disk.ask(IN, 1, &[], 4096).0, disk.ask(IN, 8, &[], 512).0), (IOERR, IOERR));
}

#[test]
fn a_resize_is_told() {
    for mode in MODES {
        let mut disk = disk(mode, &pattern(4096));
        disk.d.start(OWN, 1, 8);
        disk.backend.medium().unwrap().resize(8192).unwrap();
        let backend = disk.backend.clone();
        disk.d.b.with(|s| s.medium_resized(&backend));
        assert!(disk.d.intx());
        assert_eq!((disk.d.isr(), disk.d.device_config(0)), (3, 16));
        assert_eq!(disk.ask(IN, 15, &[], 512), (OK, vec![0; 512]));
    }
}

#[test]
fn a_reset_ends_what_is_under_way() {
    for mode in MODES {
        let mut disk = disk(mode, &pattern(1 << 20));
        for _ in 0..20 {
            disk.d.start(OWN, 1, 64);
            let mut buffers = Vec::new();
            for n in 0..8 {
                let (head, _, data) = disk.put(0, IN, n, &[], 512);
                buffers.push(data);
                disk.d.offer(0, head);
            }
            disk.d.notify(0);
            disk.d.set_status(0);
            assert_eq!(disk.d.status(), 0);
            let used = disk.d.rings[0].used;
            let done = disk.d.b.readw(used + 2);
            buffers.iter().for_each(|&at| disk.d.b.write(at, &[0xa5; 512]));
            disk.blocks.drain();
            assert_eq!(disk.d.b.readw(used + 2), done, "nothing is given back after it");
            for at in buffers {
                let mut now = [0; 512];
                disk.d.b.read(at, &mut now);
                assert_eq!(now, [0xa5; 512], "and nothing is written");
            }
        }
        disk.d.start(OWN, 1, 64);
        assert_eq!(disk.ask(IN, 3, &[], 512), (OK, pattern(2048)[1536..].to_vec()));
        let id = disk.id;
        disk.d.b.with(|s| s.unrealize(id)).expect("it goes");
        assert_eq!((disk.d.config(0, 4), disk.d.b.readl(MODERN)), (u32::MAX, u32::MAX));
    }
}
