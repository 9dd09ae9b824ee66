//! Disk images of the format qcow2, sound ones with a few fields changed, that are read and written.
//!
//! Steps are what [`Parts`] is made of, then `open`, `read`, `write`, `zero`, `discard`, `resize`, `flush`, with their numbers.
//!
//! Source: QEMU, docs/interop/qcow2.txt.

use super::Target;
use super::board::{Parts, Script};
use crate::random::Random;
use gearbox_core::backend::block::{Format, ImageOptions, Node};

/// The target.
pub struct Qcow2;

/// Reads and writes of a case.
const STEPS: usize = 40;
/// Longest of them.
const LONGEST: u64 = 1 << 20;
/// Sizes to which an image is changed, so that the host's disk is enough.
const LARGEST: u64 = 1 << 30;

/// Offset and size of fields of the header.
const HEADER: &[(usize, usize)] = &[
    (0, 4),
    (4, 4),
    (8, 8),
    (16, 4),
    (20, 4),
    (24, 8),
    (32, 4),
    (36, 4),
    (40, 8),
    (48, 8),
    (56, 4),
    (60, 4),
    (64, 8),
    (72, 8),
    (80, 8),
    (88, 8),
    (96, 4),
    (100, 4),
    (104, 4),
    (108, 4),
    (112, 4),
    (116, 4),
];

/// An image: header, refcount table, refcount block, L1 table, L2 table, and clusters with data.
struct Image {
    cluster_bits: u32,
    bytes: Vec<u8>,
}

impl Image {
    /// A sound one.
    fn new(r: &mut Random, backing: Option<&str>) -> Self {
        let cluster_bits = *r.pick(&[9, 10, 12, 16]);
        let (cluster, data) = (1u64 << cluster_bits, r.below(4));
        let mut this = Self { cluster_bits, bytes: vec![0; ((5 + data) << cluster_bits) as usize] };
        let entries = cluster / 8;
        let size = match r.one_in(2) {
            true => 1 + r.below(entries * cluster),
            false => r.below(8) * cluster + 512,
        };
        let version = 2 + r.below(2);
        for (at, length, value) in [
            (0, 4, 0x5146_49fb),
            (4, 4, version),
            (20, 4, cluster_bits.into()),
            (24, 8, size),
            (36, 4, 1),
            (40, 8, 3 * cluster),
            (48, 8, cluster),
            (56, 4, 1),
            (96, 4, 4),
            (100, 4, 104),
        ] {
            this.set(at, length, value);
        }
        if let Some(name) = backing {
            // Behind a header extension that names the format, and the one that ends them.
            this.set(104, 4, 0xe279_2aca);
            this.set(108, 4, 3);
            this.bytes[112..115].copy_from_slice(b"raw");
            this.set(8, 8, 128);
            this.set(16, 4, name.len() as u64);
            this.bytes[128..128 + name.len()].copy_from_slice(name.as_bytes());
        }
        let at = |cluster: u64, entry: u64| ((cluster << cluster_bits) + entry) as usize;
        this.set(at(1, 0), 8, 2 * cluster);
        (0..5 + data).for_each(|n| this.set(at(2, 2 * n), 2, 1));
        this.set(at(3, 0), 8, (4 * cluster) | (1 << 63));
        for n in 0..data {
            let entry = r.below(8.min(entries));
            this.set(at(4, 8 * entry), 8, ((5 + n) * cluster) | (1 << 63));
            this.set(at(5 + n, 0), 8, r.number());
        }
        this
    }
    fn set(&mut self, at: usize, length: usize, value: u64) {
        let Some(field) = self.bytes.get_mut(at..at + length) else { return };
        field.copy_from_slice(&value.to_be_bytes()[8 - length..]);
    }
    /// Changes one field.
    fn corrupt(&mut self, r: &mut Random) {
        let value = match r.below(4) {
            // A place in the image, and what an entry of a table may say of it.
            0 => r.below(8) << self.cluster_bits | *r.pick(&[0, 1, 1 << 62, 1 << 63, 3 << 62]),
            // Something compressed.
            1 => 1 << 62 | r.below(1 << 60),
            _ => r.interesting(),
        };
        match r.below(4) {
            0 => {
                let &(at, length) = r.pick(HEADER);
                self.set(at, length, value);
            }
            1 => self.set(r.index(self.bytes.len()), 1, value & 0xff),
            // An entry of one of the tables.
            _ => {
                let (table, entry) = (1 + r.below(4), r.below(9) * 8);
                self.set(((table << self.cluster_bits) + entry) as usize, 8, value);
            }
        }
    }
}

impl Target for Qcow2 {
    fn generate(&self, r: &mut Random) -> Vec<String> {
        let mut s = Script::default();
        let backing = r.one_in(4).then(|| match r.below(4) {
            0 => "image",
            1 => "nothing",
            _ => "base",
        });
        s.file("base", 100_000, &r.number().to_le_bytes());
        let mut image = Image::new(r, backing);
        (0..r.below(6)).for_each(|_| image.corrupt(r));
        if r.one_in(10) {
            image.bytes.truncate(r.index(image.bytes.len()));
        }
        s.file("image", image.bytes.len() as u64, &image.bytes);
        s.step(format!("open {} {}", r.pick(&["rw", "rw", "ro", "snapshot"]), r.pick(&["qcow2", "qcow2", "probe"])));
        for _ in 0..STEPS {
            let cluster = 1u64 << image.cluster_bits;
            let at = match r.below(4) {
                0 => r.interesting(),
                1 => r.below(9) * cluster,
                _ => r.below(9 * cluster),
            };
            let length = match r.one_in(2) {
                true => 512 * (1 + r.below(8)),
                false => r.below(LONGEST),
            };
            s.step(match r.below(20) {
                0..8 => format!("read {at} {length}"),
                8..14 => format!("write {at} {length}"),
                14..16 => format!("zero {at} {length}"),
                16..18 => format!("discard {at} {length}"),
                18 => format!("resize {}", r.interesting() % LARGEST),
                _ => "flush".into(),
            });
        }
        s.0
    }
    fn run(&self, mut steps: &[String]) {
        let parts = Parts::take(&mut steps);
        let mut node = None;
        for step in steps {
            let words: Vec<_> = step.split(' ').collect();
            let number = |n: usize| words.get(n).and_then(|w| w.parse::<u64>().ok()).unwrap_or_default();
            if words[0] == "open" {
                let options = ImageOptions {
                    format: words.contains(&"qcow2").then_some(Format::Qcow2),
                    read_only: words.contains(&"ro"),
                    snapshot: words.contains(&"snapshot"),
                    unmap: true,
                    ..ImageOptions::new(parts.path("image"))
                };
                node = Node::open("image", "file", &options).ok();
            }
            // One that cannot be opened has said why.
            let Some(node) = &node else { return };
            let (at, length) = (number(1), number(2));
            // What fails is told.
            let _ = match words[0] {
                "read" => node.read(at, &mut vec![0; length as usize]),
                "write" => node.write(at, &vec![at as u8; length as usize]),
                "zero" => node.write_zeroes(at, length, at % 2 == 0),
                "discard" => node.discard(at, length),
                "resize" => node.resize(at),
                _ => node.flush(),
            };
        }
    }
}
