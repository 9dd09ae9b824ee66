//! The chip as a guest sees it, and its image.

use super::*;
use gearbox_accel_qtest::Bench;
use gearbox_core::backend::block::{Blocks, DriveMedia, DrivePlace, Format, ImageOptions, Interface, OnError};
use gearbox_core::board::DeviceId;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

const BASE: u64 = 0xfffe_0000;
const SIZE: usize = 0x2_0000;
const BLOCK: u64 = 4096;

struct Chip {
    b: Bench,
    id: DeviceId,
    file: Option<PathBuf>,
    blocks: Arc<Blocks>,
}

impl Drop for Chip {
    fn drop(&mut self) {
        self.file.iter().for_each(|f| drop(std::fs::remove_file(f)));
    }
}

/// A chip at the end of 4 GiB, with an image of so many bytes that count up, if any.
fn chip(image: Option<(usize, bool)>) -> Result<Chip, RealizeError> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let mut b = Bench::new();
    let blocks = Arc::new(Blocks::default());
    let mut spec = Pflash { num_blocks: 32, sector_length: BLOCK, name: "flash".into(), ..Pflash::default() };
    let mut file = None;
    if let Some((len, read_only)) = image {
        let n = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("gearbox-pflash-{}-{n}", std::process::id()));
        std::fs::write(&path, (0..len).map(|n| n as u8).collect::<Vec<_>>()).unwrap();
        let options = ImageOptions { format: Some(Format::Raw), read_only, ..ImageOptions::new(path.clone()) };
        let node = blocks.open(None, &options).unwrap();
        let place = DrivePlace { interface: Interface::Pflash, bus: 0, unit: 0 };
        let on_error = (OnError::Report, OnError::Report);
        spec.drive = blocks.add_drive("d", place, DriveMedia::Disk, Some(node), on_error).unwrap().into();
        file = Some(path);
    }
    let made = b.realize(spec)?;
    b.with(|s| {
        let tree = s.memory();
        tree.map(tree.root(), BASE, made.pins.region, 0);
    });
    Ok(Chip { b, id: made.id, file, blocks })
}

impl Chip {
    fn read(&self, at: u64) -> u8 {
        self.b.readb(BASE + at)
    }
    fn write(&mut self, at: u64, bytes: &[u8]) {
        bytes.iter().for_each(|&v| self.b.writeb(BASE + at, v));
    }
    /// What the image has, once it has everything.
    fn image(&self) -> Vec<u8> {
        self.blocks.backends().iter().for_each(|b| b.drain());
        std::fs::read(self.file.as_ref().unwrap()).unwrap()
    }
}

#[test]
fn it_reads_as_its_image_until_it_is_spoken_to() {
    let mut c = chip(Some((SIZE, false))).unwrap();
    assert_eq!((c.read(5), c.b.readl(BASE + 0x1_0000)), (5, 0x0302_0100));
    c.write(0, &[0x70]);
    assert_eq!((c.read(5), c.read(0x1_0000)), (0x80, 0x80));
    c.write(0, &[0x90]);
    assert_eq!((c.read(0), c.read(1), c.read(2)), (0, 0, 0));
    c.write(0x55, &[0x98]);
    let query: Vec<u8> = (0x10..0x40).map(|at| c.read(at)).collect();
    assert_eq!(query[..5], *b"QRY\x01\x00");
    assert_eq!(query[0x17], 17, "128 KiB");
    assert_eq!(query[0x1d..0x21], [31, 0, 0x10, 0], "32 blocks of 4 KiB");
    assert_eq!(query[0x21..0x26], *b"PRI10");
    for back in [0xff, 0xf0, 0x00] {
        c.write(0, &[0x70]);
        c.write(0, &[back]);
        assert_eq!(c.read(5), 5);
    }
    c.write(0, &[0x70]);
    c.b.reset();
    assert_eq!(c.read(5), 5);
}

#[test]
fn what_is_programmed_and_erased_is_in_the_image() {
    let mut c = chip(Some((SIZE, false))).unwrap();
    c.write(0x1234, &[0x40, 0xaa]);
    c.write(0x1235, &[0x10, 0xbb]);
    c.write(0x1235, &[0xff]);
    assert_eq!([0x1233, 0x1234, 0x1235, 0x1236].map(|at| c.read(at)), [0x33, 0xaa, 0xbb, 0x36]);
    c.write(0x2fff, &[0x20]);
    assert_eq!(c.b.device(c.id, |p: &mut PflashDevice| p.commands.mode()), Mode::Status);
    c.write(0x2fff, &[0xd0]);
    c.write(0, &[0xff]);
    assert_eq!([0x1fff, 0x2000, 0x2fff, 0x3001].map(|at| c.read(at)), [0xff, 0xff, 0xff, 1]);
    // Not confirmed.
    c.write(0x3000, &[0x20, 0xff]);
    assert_eq!(c.read(0x3001), 1);
    let mut expected: Vec<u8> = (0..SIZE).map(|n| n as u8).collect();
    expected[0x1234..0x1236].copy_from_slice(&[0xaa, 0xbb]);
    expected[0x2000..0x3000].fill(0xff);
    assert!(c.image() == expected);
    c.write(0, &[0x70]);
    assert_eq!(c.read(0), 0x80, "ready, without errors");
}

#[test]
fn a_buffer_is_written_as_one() {
    let mut c = chip(Some((SIZE, false))).unwrap();
    c.write(0x4000, &[0xe8, 3]);
    (0..4).for_each(|n| c.write(0x4010 + n, &[0xe0 + n as u8]));
    assert!(c.b.device(c.id, |p: &mut PflashDevice| p.changed.is_none()), "not before it is confirmed");
    c.write(0x4000, &[0xd0]);
    c.write(0x4000, &[0xff]);
    assert_eq!(c.b.readl(BASE + 0x4010), 0xe3e2_e1e0);
    assert_eq!(c.image()[0x4010..0x4014], [0xe0, 0xe1, 0xe2, 0xe3]);
    // Over the end of a block: refused.
    c.write(0x4ff0, &[0xe8, 1]);
    c.write(0x4fff, &[1]);
    c.write(0x5000, &[2]);
    assert_eq!((c.read(0x4fff), c.read(0x5000)), (0xff, 0));
    c.write(0, &[0x70]);
    assert_eq!(c.read(0), 0xb0);
    c.write(0, &[0x50]);
    c.write(0, &[0x70]);
    assert_eq!(c.read(0), 0, "cleared as a whole");
}

#[test]
fn an_image_that_cannot_be_written_says_so() {
    let mut c = chip(Some((SIZE, true))).unwrap();
    c.write(0, &[0x40, 0xaa]);
    assert_eq!(c.read(0), 0x90);
    c.write(0, &[0x20, 0xd0]);
    assert_eq!(c.read(0), 0xb0);
    c.write(0, &[0x50]);
    assert_eq!(c.read(5), 5);
    assert_eq!(c.image()[0], 0);
    // Locks are taken note of, no more.
    c.write(0, &[0x60, 0x01]);
    assert_eq!(c.read(0), 0x80);
    c.write(0, &[0x60, 0xd0]);
    assert_eq!(c.read(0), 0x80);
}

#[test]
fn sizes() {
    let refused = chip(Some((SIZE - 512, false))).err().unwrap().to_string();
    assert!(refused.contains("device requires 131072 bytes, block backend provides 130560 bytes"), "{refused}");
    let mut c = chip(None).unwrap();
    c.write(0x100, &[0x40, 0x5a]);
    assert_eq!(c.read(0), 0x80);
    c.write(0, &[0xff]);
    assert_eq!((c.read(0x100), c.read(0x101)), (0x5a, 0), "without an image it is memory");
}

#[test]
fn every_sequence_of_bytes_is_survived() {
    let mut c = chip(Some((SIZE, false))).unwrap();
    let mut x = 1u32;
    for _ in 0..20_000 {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let commands = [0x10, 0x20, 0x40, 0x50, 0x60, 0x70, 0x90, 0x98, 0xd0, 0xe8, 0xff, (x >> 8) as u8];
        let at = u64::from(x >> 13) % SIZE as u64;
        c.write(at, &[commands[(x >> 28) as usize % commands.len()]]);
        c.read(at);
    }
    c.b.reset();
    let mut memory = vec![0; SIZE];
    c.b.read(BASE, &mut memory);
    assert!(c.image() == memory);
}
