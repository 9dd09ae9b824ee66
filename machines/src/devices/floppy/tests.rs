//! The controller as BIOS and operating systems use it.

use super::*;
use crate::devices::i8257::Dma;
use gearbox_accel_qtest::Bench;
use gearbox_core::backend::block::{Blocks, DriveMedia, DrivePlace, Format, ImageOptions, Interface, OnError};
use gearbox_core::board::DeviceId;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const SIZE: usize = 1440 << 10;

struct Pc {
    b: Bench,
    irq: Line,
    fdc: DeviceId,
    blocks: Arc<Blocks>,
    file: PathBuf,
}

impl Drop for Pc {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.file));
    }
}

/// A controller with a 1.44 MB medium of which each sector says which one it is.
fn pc(read_only: bool) -> Pc {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let mut b = Bench::with_ram(1 << 20);
    let blocks = Arc::new(Blocks::default());
    b.with(|s| s.set_blocks(blocks.clone()));
    let n = NUMBER.fetch_add(1, Ordering::Relaxed);
    let file = std::env::temp_dir().join(format!("gearbox-floppy-{}-{n}", std::process::id()));
    let image: Vec<u8> = (0..SIZE / 512).flat_map(|n| [(n >> 8) as u8, n as u8].repeat(256)).collect();
    std::fs::write(&file, image).unwrap();
    let options = ImageOptions { format: Some(Format::Raw), read_only, ..ImageOptions::new(file.clone()) };
    let node = blocks.open(None, &options).unwrap();
    let place = DrivePlace { interface: Interface::Floppy, bus: 0, unit: 0 };
    let on_error = (OnError::Report, OnError::Report);
    let drive = blocks.add_drive("floppy0", place, DriveMedia::Disk, Some(node), on_error).unwrap();
    let dma = b.realize(Dma::PC[0]).unwrap();
    let fdc = b.realize(IsaFdc { dma: dma.pins.clone() }).unwrap();
    b.connect(dma.ready[DMA], fdc.ready.get(0));
    b.realize(Floppy { drive: drive.into(), ..Floppy::default() }).unwrap();
    let irq = b.with(|s| s.fabric.outputs(fdc.id))[0].0;
    Pc { b, irq, fdc: fdc.id, blocks, file }
}

impl Pc {
    fn wait(&mut self) {
        let end = Instant::now() + Duration::from_secs(20);
        while !self.b.level(self.irq) {
            assert!(Instant::now() < end, "no interrupt; status {:#x}", self.b.inb(0x3f4));
            std::thread::yield_now();
        }
    }
    fn command(&mut self, bytes: &[u8]) {
        for (n, byte) in bytes.iter().enumerate() {
            assert_eq!(self.b.inb(0x3f4), if n == 0 { 0x80 } else { 0x90 });
            self.b.outb(0x3f5, *byte);
        }
    }
    fn result(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.b.inb(0x3f4) == 0xd0 {
            bytes.push(self.b.inb(0x3f5));
        }
        assert_eq!(self.b.inb(0x3f4), 0x80);
        bytes
    }
    /// A command with its result at once.
    fn ask(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.command(bytes);
        self.result()
    }
    /// Out of reset, at 500 kb/s, as SeaBIOS does it.
    fn start(&mut self) {
        self.b.outb(0x3f2, 0x00);
        self.b.outb(0x3f2, 0x1c);
        self.wait();
        for n in 0..4 {
            assert_eq!(self.ask(&[0x08])[0], 0xc0 | n);
        }
        assert_eq!(self.ask(&[0x08]), [0x80]);
        self.b.outb(0x3f7, 0);
        self.command(&[0x03, 0xaf, 0x02]);
        self.command(&[0x07, 0]);
        self.wait();
        assert_eq!(self.ask(&[0x08]), [0x20, 0]);
    }
    /// Programs channel 2 for `len` bytes at 0x12340; to memory with mode 0x46, from it with 0x4a.
    fn program(&mut self, mode: u8, len: u16) {
        let [low, high] = (len - 1).to_le_bytes();
        for (port, v) in
            [(0x0a, 6), (0x0c, 0), (0x0b, mode), (0x04, 0x40), (0x04, 0x23), (0x05, low), (0x05, high), (0x81, 1)]
        {
            self.b.outb(port, v);
        }
        self.b.outb(0x0a, 2);
    }
    fn image(&self) -> Vec<u8> {
        self.blocks.backends().iter().for_each(|b| b.drain());
        std::fs::read(&self.file).unwrap()
    }
}

#[test]
fn what_it_says_of_itself() {
    let mut p = pc(false);
    assert_eq!((p.ask(&[0x10]), p.ask(&[0x18])), (vec![0x90], vec![0x41]));
    assert_eq!((p.ask(&[0x94]), p.ask(&[0x14])), (vec![0x10], vec![0]));
    assert_eq!(p.ask(&[0x0e]).len(), 10);
    assert_eq!(p.ask(&[0x1f]), [0x80], "no such command");
    assert_eq!(p.b.inb(0x3f7), 0x80, "the medium is new");
    p.start();
    assert_eq!(p.ask(&[0x04, 0]), [0x38]);
    p.command(&[0x0f, 0, 1]);
    p.wait();
    assert_eq!((p.ask(&[0x08]), p.b.inb(0x3f7)), (vec![0x20, 1], 0));
    assert_eq!(p.ask(&[0x04, 4]), [0x2c]);
    p.command(&[0x0a, 4]);
    p.wait();
    assert_eq!(p.result(), [0x04, 0, 0, 1, 1, 1, 2]);
}

#[test]
fn a_saved_controller_goes_on_in_its_command_and_its_result() {
    let (mut first, mut second) = (pc(false), pc(false));
    first.start();
    first.program(0x46, 512);
    first.command(&[0xe6, 0, 0, 0]);
    second.b.take_over(&first.b).unwrap();
    for byte in [3, 2, 18, 27, 0xff] {
        assert_eq!(second.b.inb(0x3f4), 0x90);
        second.b.outb(0x3f5, byte);
    }
    second.wait();
    assert_eq!([0, 1].map(|n| second.b.readb(0x1_2340 + n)), [0, 2], "sector 3 of the first track");
    let status: Vec<u8> = (0..3).map(|_| second.b.inb(0x3f5)).collect();
    first.b.take_over(&second.b).unwrap();
    assert_eq!((status, first.result()), (vec![0, 0, 0], vec![0, 0, 4, 2]));
}

#[test]
fn sectors_come_by_dma() {
    let mut p = pc(false);
    p.start();
    p.program(0x46, 1024);
    p.command(&[0xe6, 0x00, 2, 0, 17, 2, 18, 0x1b, 0xff]);
    p.wait();
    assert_eq!(p.result(), [0x20, 0, 0, 2, 1, 1, 2]);
    // Track 2, side 0, sector 17 is number 88.
    assert_eq!((p.b.readw(0x12340), p.b.readw(0x12340 + 512), p.b.readw(0x12340 + 1024)), (88 << 8, 89 << 8, 0));
    assert_eq!(p.b.inb(0x08) & 4, 4, "the count is over");
    // From one side to the other.
    p.program(0x46, 1024);
    p.command(&[0xe6, 0x00, 0, 0, 18, 2, 18, 0x1b, 0xff]);
    p.wait();
    assert_eq!(p.result(), [0x24, 0, 0, 0, 1, 2, 2]);
    assert_eq!((p.b.readw(0x12340), p.b.readw(0x12540)), (17 << 8, 18 << 8));
    // A masked channel is waited for.
    p.b.outb(0x0a, 6);
    p.command(&[0x66, 0x00, 0, 0, 1, 2, 18, 0x1b, 0xff]);
    p.blocks.backends().iter().for_each(|b| b.drain());
    assert!(!p.b.level(p.irq) && p.b.inb(0x3f4) == 0x10);
    p.program(0x46, 512);
    p.wait();
    assert_eq!((p.result()[0], p.b.readw(0x12340)), (0, 0));
}

#[test]
fn parts_of_both_sides_of_a_track_by_dma() {
    let mut p = pc(false);
    p.start();
    // Sectors 2 and 3 of the first side, and what follows them: 1 and 2 of the other one.
    p.program(0x4a, 2048);
    p.b.write(0x12340, &[0xa5; 2048]);
    p.command(&[0xc5, 0x00, 3, 0, 2, 2, 3, 0x1b, 0xff]);
    p.wait();
    assert_eq!(p.result(), [0x24, 0, 0, 3, 1, 3, 2]);
    p.program(0x46, 2048);
    p.command(&[0xe6, 0x00, 3, 0, 3, 2, 4, 0x1b, 0xff]);
    p.wait();
    assert_eq!(p.result(), [0x04, 0, 0, 3, 1, 3, 2]);
    // Sector 4 of the first side, number 111, is as it was.
    let words = [0, 1, 2, 3].map(|n| p.b.readw(0x12340 + 512 * n));
    assert_eq!(words, [0xa5a5, 111 << 8, 0xa5a5, 0xa5a5]);
}

#[test]
fn what_is_written_is_in_the_image() {
    let mut p = pc(false);
    p.start();
    p.b.write(0x12340, &[0x5a; 1024]);
    p.program(0x4a, 1024);
    p.command(&[0xc5, 0x04, 1, 1, 3, 2, 18, 0x1b, 0xff]);
    p.wait();
    assert_eq!(p.result(), [0x24, 0, 0, 1, 1, 5, 2]);
    let image = p.image();
    let at = (36 + 18 + 2) * 512;
    assert!(image[at..at + 1024].iter().all(|b| *b == 0x5a) && image[at - 1] != 0x5a && image[at + 1024] != 0x5a);
    // A whole track anew.
    let ids: Vec<u8> = (1..=18).flat_map(|n| [1, 1, n, 2]).collect();
    p.b.write(0x12340, &ids);
    p.program(0x4a, 72);
    p.command(&[0x4d, 0x04, 2, 18, 0x50, 0xf6]);
    p.wait();
    assert_eq!(p.result()[..3], [0x04, 0, 0]);
    let image = p.image();
    assert!(image[54 * 512..72 * 512].iter().all(|b| *b == 0xf6) && image[72 * 512 + 1] != 0xf6);
}

#[test]
fn without_dma_the_host_moves_them() {
    let mut p = pc(false);
    p.start();
    p.command(&[0x03, 0xaf, 0x03]);
    p.command(&[0x46, 0x00, 0, 0, 5, 2, 5, 0x1b, 0xff]);
    p.wait();
    let bytes: Vec<u8> = (0..512)
        .map(|_| {
            assert_eq!(p.b.inb(0x3f4), 0xf0);
            p.b.inb(0x3f5)
        })
        .collect();
    assert_eq!((bytes[0], bytes[1], p.result()), (0, 4, vec![0, 0, 0, 1, 0, 1, 2]));
    p.command(&[0x45, 0x00, 0, 0, 5, 2, 5, 0x1b, 0xff]);
    p.wait();
    (0..512).for_each(|_| p.b.outb(0x3f5, 0xa5));
    p.wait();
    assert_eq!(p.result()[..3], [0, 0, 0]);
    assert!(p.image()[4 * 512..5 * 512].iter().all(|b| *b == 0xa5));
}

/// Reads a command's data by the data register; the first byte but one of each sector, and the result.
fn read_by_host(p: &mut Pc, command: &[u8]) -> (Vec<u8>, Vec<u8>) {
    p.command(command);
    p.wait();
    let mut data = Vec::new();
    while p.b.inb(0x3f4) == 0xf0 {
        data.push(p.b.inb(0x3f5));
    }
    assert_eq!(data.len() % 512, 0);
    (data.chunks(512).map(|sector| sector[1]).collect(), p.result())
}

#[test]
fn without_dma_by_the_output_register_both_sides_are_read() {
    let mut p = pc(false);
    p.start();
    // Motor, not reset, no DMA.
    p.b.outb(0x3f2, 0x14);
    let mut read = |last| read_by_host(&mut p, &[0xe6, 0, 0, 0, 1, 2, last, 0x1b, 0xff]);
    assert_eq!(read(1), (vec![0, 18], vec![0x04, 0, 0, 1, 0, 1, 2]));
    assert_eq!(read(18), ((0..36).collect(), vec![0x04, 0, 0, 1, 0, 1, 2]));
    // No track has a sector 19: the last two are on the next track.
    assert_eq!(read(19), ((0..38).collect(), vec![0x20, 0, 0, 1, 0, 3, 2]));
    assert_eq!(read_by_host(&mut p, &[0x46, 0, 1, 0, 17, 2, 19, 0x1b, 0xff]).0, [52, 53], "one side");
    // Nothing is behind the last track.
    let (sectors, result) = read_by_host(&mut p, &[0xe6, 0, 79, 0, 1, 2, 255, 0x1b, 0xff]);
    assert_eq!((sectors.len(), result[0]), (36, 0x24));
}

#[test]
fn an_interrupt_stays_until_the_result_has_been_read() {
    let mut p = pc(false);
    p.start();
    p.command(&[0x0a, 0]);
    p.wait();
    for _ in 0..7 {
        assert!(p.b.level(p.irq));
        p.b.inb(0x3f5);
    }
    assert!(!p.b.level(p.irq) && p.b.inb(0x3f4) == 0x80);
    // An empty drive has addresses, and nothing else.
    p.blocks.backends().iter().for_each(|b| drop(b.set_medium(None)));
    p.b.call(p.fdc, |fdc, cx| fdc.medium(cx, 0, MediumEvent::Changed { loaded: false }));
    for (rate, status) in [(0, 0), (2, 0x40)] {
        p.b.outb(0x3f7, rate);
        p.command(&[0x0a, 0]);
        p.wait();
        assert_eq!(p.result()[0], status);
    }
    p.b.outb(0x3f7, 0);
    p.command(&[0x46, 0, 0, 0, 1, 2, 18, 0x1b, 0xff]);
    p.wait();
    assert_eq!(p.result()[..3], [0x40, 1, 0]);
}

#[test]
fn errors_are_in_the_status() {
    let mut p = pc(true);
    p.start();
    for (command, status) in [
        ([0x45, 0x00, 0, 0, 1, 2, 18, 0x1b, 0xff], [0x40, 0x02, 0]),
        ([0x46, 0x00, 0, 0, 19, 2, 19, 0x1b, 0xff], [0x40, 0x80, 0]),
        ([0x46, 0x00, 90, 0, 1, 2, 18, 0x1b, 0xff], [0x40, 0x04, 0]),
        ([0x46, 0x00, 0, 0, 1, 3, 18, 0x1b, 0xff], [0x40, 0x04, 0]),
        ([0x46, 0x01, 0, 0, 1, 2, 18, 0x1b, 0xff], [0x41, 0x01, 0]),
    ] {
        p.command(&command);
        p.wait();
        assert_eq!(p.result()[..3], status, "{command:x?}");
    }
    assert_eq!(p.ask(&[0x04, 0])[0] & 0x40, 0x40, "write-protected");
    // At another rate than the medium's.
    p.b.outb(0x3f7, 2);
    p.command(&[0x4a, 0]);
    p.wait();
    assert_eq!(p.result()[..2], [0x40, 0x01]);
}

#[test]
fn every_sequence_of_bytes_is_survived() {
    let mut p = pc(false);
    let mut x = 1u32;
    for _ in 0..30_000 {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let port = [0x3f2, 0x3f4, 0x3f5, 0x3f5, 0x3f5, 0x3f7, 0x0a, 0x0b][(x >> 29) as usize];
        let v = [(x >> 8) as u8, 0x1c, 0x46, 0x45, 2, 18, 1, 0][(x >> 20) as usize % 8];
        if x & 0x80 != 0 {
            p.b.outb(port, v);
        } else {
            p.b.inb(port);
        }
    }
    p.blocks.backends().iter().for_each(|b| b.drain());
    p.b.outb(0x3f2, 0);
    p.b.outb(0x0b, 0x46);
    p.start();
}
