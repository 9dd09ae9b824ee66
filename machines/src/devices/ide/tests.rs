//! The controller with drives, as a guest sees them.

use super::isa::{IsaIde, IsaIdeDevice};
use super::piix::{PiixIde, PiixIdeDevice};
use super::spec::{Common, IdeCd, IdeHd};
use gearbox_accel_qtest::Bench;
use gearbox_core::backend::block::{
    BlockBackend, Blocks, CacheMode, DriveMedia, DrivePlace, Format, ImageOptions, Interface, OnError,
};
use gearbox_core::board::DeviceId;
use gearbox_core::pci::Devfn;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

const BM: u16 = 0xc000;
const RAM: u64 = 4 << 20;
const STATUS: u16 = 0x1f7;

struct Pc {
    b: Bench,
    ide: DeviceId,
    blocks: Arc<Blocks>,
    files: Vec<PathBuf>,
    irq: Vec<gearbox_core::board::Line>,
}

impl Drop for Pc {
    fn drop(&mut self) {
        self.files.iter().for_each(|f| drop(std::fs::remove_file(f)));
    }
}

/// A controller with its bus master at [`BM`].
fn pc() -> Pc {
    let mut b = Bench::with_ram(RAM);
    let blocks = Arc::new(Blocks::default());
    b.with(|s| s.set_blocks(blocks.clone()));
    let ide = b.realize(PiixIde { at: Devfn::new(1, 1) }).unwrap().id;
    rig(b, blocks, ide)
}

/// The same without PCI: a card with the first channel.
fn at() -> Pc {
    let mut b = Bench::with_ram(RAM);
    let blocks = Arc::new(Blocks::default());
    b.with(|s| s.set_blocks(blocks.clone()));
    let ide = b.realize(IsaIde::default()).unwrap().id;
    rig(b, blocks, ide)
}

fn rig(mut b: Bench, blocks: Arc<Blocks>, ide: DeviceId) -> Pc {
    b.with(|s| {
        s.fabric.pci.config_write(0x0900 | 0x20, 4, u32::from(BM) | 1);
        s.fabric.pci.config_write(0x0900 | 0x04, 2, 5);
    });
    let lines = b.with(|s| s.fabric.outputs(ide));
    let irq: Vec<_> = lines.into_iter().map(|(line, _)| line).collect();
    b.watch(irq[0]);
    Pc { b, ide, blocks, files: Vec::new(), irq }
}

impl Pc {
    fn file(&mut self, bytes: &[u8]) -> PathBuf {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let n = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("gearbox-ide-{}-{n}", std::process::id()));
        std::fs::write(&path, bytes).unwrap();
        self.files.push(path.clone());
        path
    }
    fn drive(&mut self, bytes: &[u8], options: impl FnOnce(ImageOptions) -> ImageOptions) -> Arc<BlockBackend> {
        let path = self.file(bytes);
        let options = options(ImageOptions { format: Some(Format::Raw), ..ImageOptions::new(path) });
        let node = self.blocks.open(None, &options).unwrap();
        let place = DrivePlace { interface: Interface::None, bus: 0, unit: 0 };
        let name = format!("d{}", self.files.len());
        let on_error = (OnError::Report, OnError::Enospc);
        self.blocks.add_drive(&name, place, DriveMedia::Disk, Some(node), on_error).unwrap()
    }
    fn disk(&mut self, bytes: &[u8]) -> Arc<BlockBackend> {
        let drive = self.drive(bytes, |o| ImageOptions { unmap: true, ..o });
        let common = Common { drive: drive.clone().into(), ..Common::default() };
        self.b.realize(IdeHd { common, ..IdeHd::default() }).unwrap();
        drive
    }
    fn cd(&mut self, bytes: &[u8]) -> Arc<BlockBackend> {
        let drive = self.drive(bytes, |o| ImageOptions { read_only: true, ..o });
        let common = Common { drive: drive.clone().into(), ..Common::default() };
        self.b.realize(IdeCd { common }).unwrap();
        drive
    }
    /// Waits until the drive is not busy; its status.
    fn wait(&mut self) -> u8 {
        let end = Instant::now() + Duration::from_secs(20);
        while self.b.inb(0x3f6) & 0x80 != 0 {
            assert!(Instant::now() < end, "the drive stays busy");
            std::thread::sleep(Duration::from_micros(100));
        }
        // The completion that ended it has been delivered.
        self.blocks.drain();
        self.b.inb(0x3f6)
    }
    fn set_lba(&mut self, lba: u32, count: u8) {
        let [a, b, c, d] = lba.to_le_bytes();
        self.b.outb(0x1f6, 0xe0 | d);
        [count, a, b, c].into_iter().zip(0x1f2..).for_each(|(v, port)| self.b.outb(port, v));
    }
    fn set_lba48(&mut self, lba: u64, count: u16) {
        let (l, n) = (lba.to_le_bytes(), count.to_le_bytes());
        self.b.outb(0x1f6, 0x40);
        for (port, high, low) in [(0x1f2, n[1], n[0]), (0x1f3, l[3], l[0]), (0x1f4, l[4], l[1]), (0x1f5, l[5], l[2])] {
            self.b.outb(port, high);
            self.b.outb(port, low);
        }
    }
    fn command(&mut self, code: u8) -> u8 {
        self.b.outb(STATUS, code);
        self.wait()
    }
    fn words(&mut self, n: usize) -> Vec<u8> {
        (0..n).flat_map(|_| self.b.inw(0x1f0).to_le_bytes()).collect()
    }
    /// REP INSW of `bytes`.
    fn string(&mut self, bytes: usize) -> Vec<u8> {
        let mut data = vec![0; bytes];
        gearbox_core::vm::CpuBus::pio_in_string(&**self.b.board(), 0x1f0, 2, &mut data);
        data
    }
    fn send(&mut self, data: &[u8]) {
        gearbox_core::vm::CpuBus::pio_out_string(&**self.b.board(), 0x1f0, 2, data);
    }
    /// Writes a table of regions to 0x1000.
    fn regions(&mut self, regions: &[(u32, u32)]) {
        for (n, &(addr, len)) in regions.iter().enumerate() {
            let last = if n + 1 == regions.len() { 1 << 31 } else { 0 };
            self.b.writel(0x1000 + 8 * n as u64, addr);
            self.b.writel(0x1004 + 8 * n as u64, len | last);
        }
        self.b.outl(BM + 4, 0x1000);
        self.b.outb(BM + 2, 6);
    }
    fn irqs(&mut self) -> usize {
        self.b.edges().iter().filter(|e| e.level).count()
    }
    /// A packet command with data by the data register; the reply.
    fn packet(&mut self, bytes: &[u8]) -> Result<Vec<u8>, (u8, u8)> {
        let mut packet = [0; 12];
        packet[..bytes.len()].copy_from_slice(bytes);
        self.b.outb(0x1f6, 0xa0);
        [0, 0, 0xfe, 0xff].into_iter().zip([0x1f1, 0x1f2, 0x1f4, 0x1f5]).for_each(|(v, port)| self.b.outb(port, v));
        assert_eq!(self.command(0xa0) & 0x89, 8);
        assert_eq!(self.b.inb(0x1f2) & 3, 1);
        self.send(&packet);
        let mut reply = Vec::new();
        loop {
            let status = self.wait();
            let why = self.b.inb(0x1f2) & 3;
            if status & 1 != 0 {
                let key = self.b.inb(0x1f1) >> 4;
                let sense = self.packet(&[3, 0, 0, 0, 18]).unwrap();
                assert_eq!((key, sense[0]), (sense[2], 0xf0));
                return Err((sense[2], sense[12]));
            }
            if status & 8 == 0 {
                assert_eq!(why, 3);
                return Ok(reply);
            }
            assert_eq!(why, 2);
            let n = usize::from(u16::from_le_bytes([self.b.inb(0x1f4), self.b.inb(0x1f5)]));
            let mut data = self.string(n.next_multiple_of(2));
            data.truncate(n);
            reply.extend(data);
        }
    }
}

fn pattern(bytes: usize) -> Vec<u8> {
    (0..bytes).map(|n| (n / 512 * 7 + n % 512) as u8).collect()
}

#[test]
fn nobody_there() {
    let mut pc = pc();
    assert_eq!((pc.b.inb(STATUS), pc.b.inb(0x3f6), pc.b.inb(0x1f2)), (0, 0, 0));
    pc.disk(&[0; 4096]);
    assert_eq!(pc.b.inb(STATUS), 0x50);
    pc.b.outb(0x1f6, 0xb0);
    assert_eq!((pc.b.inb(STATUS), pc.b.inb(0x1f2)), (0, 1));
    pc.b.outb(STATUS, 0xec);
    assert_eq!(pc.b.inb(STATUS), 0);
}

#[test]
fn identify_says_what_qemus_disk_says() {
    let mut pc = pc();
    pc.disk(&pattern(1 << 20));
    assert_eq!(pc.command(0xec), 0x58);
    assert_eq!(pc.irqs(), 1);
    let data = pc.words(256);
    let w = |n: usize| u16::from_le_bytes([data[2 * n], data[2 * n + 1]]);
    assert_eq!((w(0), w(1), w(3), w(6), w(47), w(49)), (0x40, 2, 16, 63, 0x8010, 0xb00));
    assert_eq!((w(60), w(83), w(88), w(100), w(106), w(169)), (2048, 0x7400, 0x203f, 2048, 0x6000, 1));
    let text: Vec<u8> = data[54..94].chunks(2).flat_map(|c| [c[1], c[0]]).collect();
    assert!(String::from_utf8(text).unwrap().starts_with("QEMU HARDDISK "));
    assert_eq!(&data[20..28], b"MQ0000 1");
    assert_eq!(pc.b.inb(STATUS), 0x50);
}

#[test]
fn reads_by_the_data_register() {
    let mut pc = pc();
    let disk = pattern(1 << 20);
    pc.disk(&disk);
    pc.set_lba(3, 2);
    assert_eq!(pc.command(0x20), 0x58);
    assert!(pc.b.level(pc.irq[0]));
    assert_eq!(pc.b.inb(STATUS), 0x58);
    assert!(!pc.b.level(pc.irq[0]), "reading the status takes the interrupt back");
    assert_eq!(pc.words(256), disk[3 * 512..4 * 512]);
    assert_eq!((pc.wait(), pc.irqs()), (0x58, 2));
    assert_eq!(pc.string(512), disk[4 * 512..5 * 512]);
    assert_eq!((pc.wait(), pc.irqs()), (0x50, 0));
    assert_eq!(pc.b.inw(0x1f0), 0, "there is no more");
    // A whole command of 256 sectors, in the order of the disk, in one string instruction.
    pc.set_lba(100, 0);
    pc.command(0x20);
    assert!(pc.string(256 * 512) == disk[100 * 512..356 * 512]);
    assert_eq!((pc.wait(), pc.irqs()), (0x50, 256));
    // READ MULTIPLE: one interrupt for 8 sectors.
    pc.set_lba(0, 8);
    assert_eq!(pc.command(0xc6), 0x50);
    pc.irqs();
    pc.set_lba(8, 20);
    pc.command(0xc4);
    assert!(pc.string(20 * 512) == disk[8 * 512..28 * 512]);
    assert_eq!(pc.irqs(), 3);
    // By cylinder, head and sector: the second track.
    pc.b.outb(0x1f6, 0xa1);
    [1, 1, 0, 0].into_iter().zip(0x1f2..).for_each(|(v, port)| pc.b.outb(port, v));
    pc.command(0x20);
    assert_eq!(pc.string(512), disk[63 * 512..64 * 512]);
}

#[test]
fn writes_and_addresses_of_48_bits() {
    let mut pc = pc();
    pc.disk(&pattern(1 << 20));
    let data: Vec<u8> = (0..600 * 512).map(|n| (n % 253) as u8).collect();
    pc.set_lba48(700, 600);
    assert_eq!((pc.command(0x34), pc.irqs()), (0x58, 0));
    for sectors in data.chunks(512) {
        assert_eq!(pc.wait(), 0x58);
        pc.send(sectors);
    }
    assert_eq!((pc.wait(), pc.irqs()), (0x50, 600));
    assert_eq!(pc.command(0xea), 0x50);
    let file = std::fs::read(&pc.files[0]).unwrap();
    assert!(file[700 * 512..1300 * 512] == data[..] && file[..700 * 512] == pattern(1 << 20)[..700 * 512]);
    // Past the end, and no such command.
    for (lba, count, code) in [(2047, 2, 0x24), (1 << 40, 1, 0x34), (0, 1, 0xff), (0, 1, 0x00)] {
        pc.set_lba48(lba, count);
        assert_eq!((pc.command(code), pc.b.inb(0x1f1)), (0x41, 4), "{code:#x}");
    }
    pc.b.outb(0x1f6, 0x40);
    assert_eq!(pc.command(0x27), 0x50);
    assert_eq!((pc.b.inb(0x1f3), pc.b.inb(0x1f4)), (0xff, 0x07));
}

#[test]
fn the_bus_master_moves_data() {
    let mut pc = pc();
    let disk = pattern(1 << 20);
    pc.disk(&disk);
    // Five sectors into three pieces of memory.
    pc.regions(&[(0x2_0000, 512), (0x3_0000, 1024), (0x4_0000, 1024)]);
    pc.set_lba(7, 5);
    pc.b.outb(STATUS, 0xc8);
    assert_eq!(pc.b.inb(0x3f6), 0x58);
    pc.b.outb(BM, 9);
    assert_eq!(pc.wait(), 0x50);
    assert_eq!((pc.b.inb(BM + 2), pc.irqs()), (4, 1));
    let mut got = vec![0; 2560];
    for (addr, at, n) in [(0x2_0000, 0, 512), (0x3_0000, 512, 1024), (0x4_0000, 1536, 1024)] {
        pc.b.read(addr, &mut got[at..at + n]);
    }
    assert!(got == disk[7 * 512..12 * 512]);
    pc.b.outb(BM, 0);
    // And back, with the bus master started first, and more memory than is needed: it stays active.
    pc.regions(&[(0x3_0000, 1024), (0x2_0000, 512), (0x4_0000, 512)]);
    pc.b.outb(BM, 1);
    pc.set_lba48(1000, 3);
    pc.command(0x35);
    assert_eq!((pc.wait(), pc.b.inb(BM + 2)), (0x50, 5));
    pc.b.outb(BM, 0);
    assert_eq!(pc.b.inb(BM + 2), 4);
    let file = std::fs::read(&pc.files[0]).unwrap();
    assert!(
        file[1000 * 512..1002 * 512] == disk[8 * 512..10 * 512]
            && file[1002 * 512..1003 * 512] == disk[7 * 512..8 * 512]
    );
    // Too little memory: the bus master stops without an interrupt.
    pc.irqs();
    pc.regions(&[(0x2_0000, 256)]);
    pc.set_lba(0, 1);
    pc.b.outb(STATUS, 0xc8);
    pc.b.outb(BM, 9);
    assert_eq!((pc.wait(), pc.b.inb(BM + 2), pc.irqs()), (0x50, 0, 0));
    pc.b.outb(BM, 0);
    // Memory that is not there.
    pc.regions(&[(0x2000_0000, 512)]);
    pc.set_lba(0, 1);
    pc.b.outb(STATUS, 0xc8);
    pc.b.outb(BM, 9);
    assert_eq!((pc.wait(), pc.b.inb(BM + 2) & 3), (0x41, 2));
}

#[test]
fn a_stop_waits_for_the_transfer() {
    let mut pc = pc();
    let disk = pattern(1 << 20);
    let drive = pc.disk(&disk);
    // (memory, what the bus master says in the end): too little of it, just enough, and more.
    for (length, end) in [(0xf000, 0), (0, 4), (0x1_0000, 4)] {
        pc.regions(&[(0x2_0000, 0), (0x3_0000, length)][..if length == 0 { 1 } else { 2 }]);
        pc.set_lba(16, if length == 0xf000 { 255 } else { 128 });
        pc.b.outb(STATUS, 0xc8);
        pc.irqs();
        pc.b.outb(BM, 9);
        pc.b.outb(BM, 0);
        let waits = Instant::now() + Duration::from_secs(20);
        while pc.b.inb(BM + 2) & 1 != 0 {
            assert!(Instant::now() < waits, "it stays active");
        }
        assert_eq!((pc.b.inb(BM + 2), pc.irqs(), pc.wait()), (end, usize::from(end != 0), 0x50), "{length:#x}");
        let mut got = vec![0; 0x1_0000];
        pc.b.read(0x2_0000, &mut got);
        assert!(got == disk[16 * 512..144 * 512]);
    }
    // One that stays active after its end is stopped at once.
    pc.regions(&[(0x2_0000, 1024)]);
    pc.set_lba(0, 1);
    pc.b.outb(STATUS, 0xc8);
    pc.b.outb(BM, 9);
    assert_eq!((pc.wait(), pc.b.inb(BM + 2)), (0x50, 5));
    pc.b.outb(BM, 0);
    assert_eq!(pc.b.inb(BM + 2), 4);
    // Without a medium the request of the next one is not done well.
    drive.set_medium(None);
    pc.regions(&[(0x2_0000, 512)]);
    pc.b.outb(STATUS, 0xc8);
    pc.b.outb(BM, 9);
    pc.b.outb(BM, 0);
    assert_eq!((pc.wait(), pc.b.inb(BM + 2)), (0x41, 4), "the error is the drive's");
}

#[test]
fn a_software_reset_ends_a_transfer_that_is_to_stop() {
    let mut pc = pc();
    pc.disk(&pattern(1 << 20));
    // However far the transfer has come by then.
    for _ in 0..50 {
        pc.regions(&[(0x2_0000, 0)]);
        pc.set_lba(0, 128);
        pc.b.outb(STATUS, 0xc8);
        pc.b.outb(BM, 9);
        pc.b.outb(BM, 0);
        pc.b.outb(0x3f6, 4);
        assert_eq!(pc.b.inb(BM + 2) & 3, 0);
        pc.b.outb(0x3f6, 0);
        assert_eq!((pc.b.inb(STATUS), pc.b.level(pc.irq[0])), (0x50, false));
    }
}

#[test]
fn a_function_that_may_not_be_a_master_reads_zeroes() {
    let mut pc = pc();
    let disk = pattern(1 << 20);
    pc.disk(&disk);
    let master = |pc: &mut Pc, command: u32| pc.b.with(|s| s.fabric.pci.config_write(0x0900 | 0x04, 2, command));
    pc.b.write(0, &[0x5a; 4096]);
    pc.regions(&[(0x2_0000, 512)]);
    pc.b.write(0x2_0000, &[0x5a; 512]);
    master(&mut pc, 1);
    // The table is all zeroes: 512 regions of 64 KiB at address 0. What is read from the disk goes nowhere.
    pc.set_lba(0, 0);
    pc.b.outb(STATUS, 0xc8);
    pc.b.outb(BM, 9);
    assert_eq!((pc.wait(), pc.b.inb(BM + 2), pc.irqs()), (0x50, 5, 1));
    pc.b.outb(BM, 0);
    for addr in [0, 0x2_0000] {
        let mut got = [0; 512];
        pc.b.read(addr, &mut got);
        assert_eq!(got, [0x5a; 512]);
    }
    // What is written to the disk is zero.
    pc.set_lba(9, 1);
    pc.b.outb(STATUS, 0xca);
    pc.b.outb(BM, 1);
    assert_eq!((pc.wait(), pc.b.inb(BM + 2)), (0x50, 5));
    pc.b.outb(BM, 0);
    let file = std::fs::read(&pc.files[0]).unwrap();
    assert!(file[9 * 512..10 * 512] == [0; 512] && file[10 * 512..] == disk[10 * 512..]);
    master(&mut pc, 5);
    pc.regions(&[(0x2_0000, 512)]);
    pc.set_lba(10, 1);
    pc.b.outb(STATUS, 0xc8);
    pc.b.outb(BM, 9);
    assert_eq!((pc.wait(), pc.b.inb(BM + 2), pc.b.readb(0x2_0001)), (0x50, 4, disk[10 * 512 + 1]));
}

#[test]
fn trim_and_features_and_smart() {
    let mut pc = pc();
    pc.disk(&pattern(1 << 20));
    let mut ranges = [0; 512];
    ranges[..8].copy_from_slice(&(8u64 | 64 << 48).to_le_bytes());
    ranges[8..16].copy_from_slice(&(128u64 | 8 << 48).to_le_bytes());
    pc.b.write(0x2_0000, &ranges);
    pc.regions(&[(0x2_0000, 512)]);
    pc.set_lba48(0, 1);
    pc.b.outb(0x1f1, 1);
    pc.b.outb(STATUS, 0x06);
    pc.b.outb(BM, 1);
    assert_eq!((pc.wait(), pc.b.inb(BM + 2)), (0x50, 4));
    pc.b.outb(BM, 0);
    // A range behind the end is an error of the drive, of which the bus master knows nothing.
    pc.b.write(0x2_0000, &(2047u64 | 2 << 48).to_le_bytes());
    pc.regions(&[(0x2_0000, 512)]);
    pc.set_lba48(0, 1);
    pc.b.outb(0x1f1, 1);
    pc.b.outb(STATUS, 0x06);
    pc.b.outb(BM, 1);
    assert_eq!((pc.wait(), pc.b.inb(0x1f1), pc.b.inb(BM + 2)), (0x41, 4, 4));
    pc.b.outb(BM, 0);
    // The write cache off, and an unknown feature.
    pc.b.outb(0x1f1, 0x82);
    assert_eq!(pc.command(0xef), 0x50);
    pc.command(0xec);
    let data = pc.words(256);
    assert_eq!(data[170] & 0x20, 0);
    pc.b.outb(0x1f1, 0x77);
    assert_eq!(pc.command(0xef), 0x41);
    // SMART: healthy, with data whose sum is right.
    for (feature, status) in [(0xda, 0x50), (0xd0, 0x58)] {
        [feature, 0, 0, 0x4f, 0xc2].into_iter().zip(0x1f1..).for_each(|(v, port)| pc.b.outb(port, v));
        assert_eq!(pc.command(0xb0), status);
    }
    let data = pc.words(256);
    assert_eq!(data.iter().fold(0u8, |sum, b| sum.wrapping_add(*b)), 0);
    pc.b.outb(0x1f5, 0);
    assert_eq!(pc.command(0xb0), 0x41);
}

#[test]
fn resets() {
    let mut pc = pc();
    pc.disk(&[0; 4096]);
    pc.cd(&[1; 8192]);
    pc.b.outb(0x1f6, 0xb0);
    assert_eq!(pc.command(0xec), 0x41, "a CD-ROM drive has no IDENTIFY DEVICE");
    assert_eq!((pc.b.inb(0x1f4), pc.b.inb(0x1f5)), (0x14, 0xeb));
    pc.b.outb(0x3f6, 4);
    assert_eq!(pc.b.inb(0x3f6) & 0x80, 0x80);
    pc.b.outb(0x3f6, 0);
    assert_eq!((pc.b.inb(STATUS), pc.b.inb(0x1f1), pc.b.inb(0x1f4)), (0x50, 1, 0));
    pc.b.outb(0x1f6, 0xb0);
    assert_eq!((pc.b.inb(STATUS), pc.b.inb(0x1f4), pc.b.inb(0x1f5)), (0, 0x14, 0xeb));
    // Both drives carry out EXECUTE DEVICE DIAGNOSTIC, after which the first one is selected.
    pc.b.outb(0x1f6, 0xf0);
    pc.command(0x90);
    assert_eq!((pc.b.inb(0x1f6), pc.b.inb(STATUS), pc.b.inb(0x1f1), pc.b.inb(0x1f4)), (0xa0, 0x50, 1, 0));
    // In the middle of a read.
    pc.b.outb(0x1f6, 0xe0);
    pc.set_lba(0, 4);
    pc.b.outb(STATUS, 0x20);
    pc.b.reset();
    pc.blocks.drain();
    assert_eq!((pc.b.inb(STATUS), pc.b.level(pc.irq[0])), (0x50, false));
    // No interrupt while they are off.
    pc.irqs();
    pc.b.outb(0x3f6, 2);
    assert_eq!((pc.command(0xe7), pc.irqs()), (0x50, 0));
}

#[test]
fn a_cd_is_read_and_changed() {
    let mut pc = pc();
    let iso = pattern(100 * 2048);
    let drive = pc.cd(&iso);
    assert_eq!(pc.command(0xa1), 0x58);
    let id = pc.words(256);
    assert_eq!((id[0], id[1]), (0xc0, 0x85));
    assert_eq!(pc.packet(&[0]), Ok(vec![]));
    let inquiry = pc.packet(&[0x12, 0, 0, 0, 36]).unwrap();
    assert_eq!((inquiry[0], inquiry[1], &inquiry[8..24]), (5, 0x80, &b"QEMU    QEMU DVD"[..]));
    assert_eq!(pc.packet(&[0x25]), Ok(vec![0, 0, 0, 99, 0, 0, 8, 0]));
    assert!(pc.packet(&[0x28, 0, 0, 0, 0, 10, 0, 0, 80]).unwrap() == iso[10 * 2048..90 * 2048]);
    assert_eq!(pc.packet(&[0xa8, 0, 0, 0, 0, 99, 0, 0, 0, 2]), Err((5, 0x21)));
    let raw = pc.packet(&[0xbe, 0, 0, 0, 0, 1, 0, 0, 2, 0xf8]).unwrap();
    assert_eq!((raw.len(), &raw[12..16], &raw[16..20]), (4704, &[0, 2, 1, 1][..], &iso[2048..2052]));
    let toc = pc.packet(&[0x43, 0, 0, 0, 0, 0, 0, 0, 255]).unwrap();
    assert_eq!(toc, [0, 18, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0, 0, 0x16, 0xaa, 0, 0, 0, 0, 100]);
    let configuration = pc.packet(&[0x46, 0, 0, 0, 0, 0, 0, 0, 64]).unwrap();
    assert_eq!(configuration[..8], [0, 0, 0, 36, 0, 0, 0, 8]);
    let mode = pc.packet(&[0x5a, 0, 0x2a, 0, 0, 0, 0, 0, 128]).unwrap();
    assert_eq!((mode[8], mode[14], mode.len()), (0x2a, 0x29, 30));
    assert_eq!(pc.packet(&[0xff]), Err((5, 0x20)));
    // By the bus master.
    pc.regions(&[(0x2_0000, 4096)]);
    pc.b.outb(0x1f1, 1);
    pc.command(0xa0);
    pc.send(&[0x28, 0, 0, 0, 0, 5, 0, 0, 2, 0, 0, 0]);
    pc.b.outb(BM, 9);
    assert_eq!((pc.wait(), pc.b.inb(BM + 2)), (0x50, 4));
    pc.b.outb(BM, 0);
    let mut got = vec![0; 4096];
    pc.b.read(0x2_0000, &mut got);
    assert!(got == iso[5 * 2048..7 * 2048]);
    // The door is locked: the user is refused, and the guest hears of it.
    assert_eq!(pc.packet(&[0x1e, 0, 0, 0, 1]), Ok(vec![]));
    let refused = pc.b.with(|s| s.open_tray(&drive, false)).unwrap_err();
    assert!(refused.to_string().starts_with("Device 'd1' is locked and force was not specified"));
    let event = |pc: &mut Pc| pc.packet(&[0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8]).unwrap()[4..6].to_vec();
    assert_eq!((event(&mut pc), event(&mut pc)), (vec![1, 2], vec![0, 2]));
    assert_eq!(pc.packet(&[0x1b, 0, 0, 0, 2]), Err((2, 0x53)));
    assert_eq!(pc.packet(&[0x1e, 0, 0, 0, 0]), Ok(vec![]));
    assert_eq!(pc.packet(&[0x1b, 0, 0, 0, 2]), Ok(vec![]));
    assert!(drive.tray_open());
    assert_eq!((pc.packet(&[0]), event(&mut pc)), (Err((2, 0x3a)), vec![0, 1]));
    // Another disc.
    let path = pc.file(&vec![9; 4096]);
    let next = ImageOptions { read_only: true, format: Some(Format::Raw), ..ImageOptions::new(path) };
    let next = pc.blocks.open(None, &next).unwrap();
    pc.b.with(|s| {
        s.remove_medium(&drive)?;
        s.insert_medium(&drive, next)?;
        s.close_tray(&drive)
    })
    .unwrap();
    assert_eq!((pc.packet(&[0]), pc.packet(&[0]), pc.packet(&[0])), (Err((2, 0x3a)), Err((6, 0x28)), Ok(vec![])));
    assert_eq!(event(&mut pc), [2, 2]);
    assert_eq!(pc.packet(&[0x28, 0, 0, 0, 0, 0, 0, 0, 1]), Ok(vec![9; 2048]));
}

/// Two controllers with the same drives.
fn twins(drives: impl Fn(&mut Pc)) -> [Pc; 2] {
    [(); 2].map(|()| {
        let mut pc = pc();
        drives(&mut pc);
        pc
    })
}

#[test]
fn a_saved_transfer_goes_on() {
    let disk = pattern(1 << 20);
    let [mut first, mut second] = twins(|pc| drop(pc.disk(&disk)));
    // In the middle of the second of four sectors.
    first.set_lba(3, 4);
    first.command(0x20);
    first.string(512);
    first.wait();
    first.words(100);
    second.b.take_over(&first.b).unwrap();
    second.irqs();
    assert_eq!(second.words(156), disk[4 * 512 + 200..5 * 512]);
    assert_eq!((second.wait(), second.irqs()), (0x58, 1));
    assert_eq!(second.string(1024), disk[5 * 512..7 * 512]);
    assert_eq!(second.wait(), 0x50);
    // And of one that is written.
    let [mut first, mut second] = twins(|pc| drop(pc.disk(&disk)));
    first.set_lba(8, 2);
    first.command(0x30);
    first.send(&[0x11; 700]);
    first.wait();
    second.b.take_over(&first.b).unwrap();
    second.send(&[0x22; 324]);
    assert_eq!(second.wait(), 0x50);
    let image = std::fs::read(&second.files[0]).unwrap();
    assert_eq!(image[9 * 512..10 * 512], [[0x11; 188].as_slice(), &[0x22; 324]].concat());
}

#[test]
fn a_saved_cd_drive_knows_its_packet_and_its_sense() {
    let [mut first, mut second] = twins(|pc| drop(pc.cd(&pattern(1 << 20))));
    [(0x1f6, 0xa0), (0x1f4, 0x00), (0x1f5, 0x08), (STATUS, 0xa0)].iter().for_each(|&(port, v)| first.b.outb(port, v));
    // READ (10) of sector 5, half of it sent.
    first.send(&[0x28, 0, 0, 0, 0, 5]);
    second.b.take_over(&first.b).unwrap();
    second.send(&[0, 0, 1, 0, 0, 0]);
    assert_eq!(second.wait(), 0x58);
    assert_eq!(second.string(2048), pattern(1 << 20)[5 * 2048..6 * 2048]);
    assert_eq!(second.wait(), 0x50);
    // There is no such sector; why it is refused is asked of the other drive.
    second.b.outb(STATUS, 0xa0);
    second.send(&[0x28, 0, 0, 0, 0xff, 0, 0, 0, 1, 0, 0, 0]);
    assert_eq!(second.wait() & 1, 1);
    first.b.take_over(&second.b).unwrap();
    assert_eq!(first.packet(&[3, 0, 0, 0, 18]).map(|sense| (sense[2], sense[12])), Ok((5, 0x21)));
}

#[test]
fn errors_of_the_host_reach_the_guest() {
    let mut pc = pc();
    let disk = pc.disk(&[0; 8192]);
    disk.set_medium(None);
    pc.set_lba(0, 1);
    assert_eq!(pc.command(0x20), 0x41);
    let writethrough =
        pc.drive(&[0; 4096], |o| ImageOptions { cache: CacheMode::from_name("writethrough").unwrap(), ..o });
    let common = Common { drive: writethrough.into(), ..Common::default() };
    pc.b.realize(IdeHd { common, ..IdeHd::default() }).unwrap();
    pc.b.outb(0x1f6, 0xb0);
    pc.command(0xec);
    assert_eq!(pc.words(256)[170] & 0x20, 0, "no write cache");
}

#[test]
fn what_cannot_be_is_refused_by_name() {
    let mut pc = pc();
    let told = |pc: &mut Pc, common: Common| {
        pc.b.realize(IdeHd { common, ..IdeHd::default() }).err().map(|e| e.to_string()).unwrap_or_default()
    };
    assert!(told(&mut pc, Common::default()).contains("drive is empty"));
    let ro = pc.drive(&[0; 4096], |o| ImageOptions { read_only: true, ..o });
    assert!(told(&mut pc, Common { drive: ro.into(), ..Common::default() }).contains("Block node is read-only"));
    let a = pc.disk(&[0; 4096]);
    assert!(told(&mut pc, Common { drive: a.into(), ..Common::default() }).contains("already in use"));
    let b = pc.drive(&[0; 4096], |o| o);
    let common = |unit| Common { drive: b.clone().into(), unit: Some(unit), ..Common::default() };
    assert!(told(&mut pc, common(0)).contains("IDE unit 0 is in use"));
    assert!(told(&mut pc, common(2)).contains("bus supports only 2 units"));
    assert_eq!(told(&mut pc, common(1)), "");
    assert!(pc.b.with(|s| s.device::<PiixIdeDevice>(pc.ide).unwrap().geometry(0, 1)).is_some());
}

#[test]
fn nothing_a_guest_writes_does_harm() {
    let mut pc = pc();
    pc.disk(&pattern(64 << 10));
    pc.cd(&pattern(64 << 10));
    let mut seed = 1u32;
    let mut random = || {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        seed >> 8
    };
    for _ in 0..60_000 {
        let port = [0x1f0, 0x1f1, 0x1f2, 0x1f3, 0x1f4, 0x1f5, 0x1f6, 0x1f7, 0x3f6, BM, BM + 2, BM + 4]
            [(random() % 12) as usize];
        match random() % 4 {
            0 => drop(pc.b.inw(port)),
            1 => drop(pc.b.inb(port)),
            2 => pc.b.outw(port, random() as u16),
            // Small numbers are commands, and counts that go on for long are rare.
            _ => pc.b.outb(port, random() as u8),
        }
    }
    pc.b.outb(0x3f6, 4);
    pc.b.outb(0x3f6, 0);
    pc.blocks.drain();
    assert_eq!(pc.b.inb(STATUS), 0x50);
}

#[test]
fn cards_without_pci() {
    let mut at = at();
    let disk = pattern(1 << 20);
    at.disk(&disk);
    at.set_lba(3, 2);
    assert_eq!((at.command(0x20), at.irqs()), (0x58, 1));
    assert_eq!(at.words(256), disk[3 * 512..4 * 512]);
    assert_eq!(at.string(512), disk[4 * 512..5 * 512]);
    at.set_lba(9, 1);
    assert_eq!(at.command(0x30), 0x58);
    at.send(&[0x5a; 512]);
    assert_eq!((at.wait(), at.b.inb(0x1f7)), (0x50, 0x50));
    at.set_lba(9, 1);
    at.command(0x20);
    assert_eq!(at.string(512), [0x5a; 512]);
    let ide = at.ide;
    assert!(at.b.device(ide, |ide: &mut IsaIdeDevice| ide.geometry(0).is_some() && ide.geometry(1).is_none()));
    // Nobody moves data for a DMA command.
    at.set_lba(0, 1);
    at.b.outb(STATUS, 0xc8);
    assert_eq!(at.b.inb(0x3f6) & 1, 0);

    // Another card has another bus, and its drives are numbered on.
    let taken = at.b.realize(IsaIde::default()).unwrap_err().to_string();
    assert!(taken.contains("0x1f0-0x1f7") && taken.contains("0x3f6"), "{taken}");
    at.b.realize(IsaIde::AT[1]).unwrap();
    let drive = at.drive(&disk, |o| o);
    let common = Common { drive: drive.into(), bus: 1, ..Common::default() };
    at.b.realize(IdeHd { common, ..IdeHd::default() }).unwrap();
    assert_eq!((at.b.inb(0x177), at.b.inb(0x376)), (0x50, 0x50));
    at.b.outb(0x177, 0xec);
    let identity: Vec<_> = (0..256).map(|_| at.b.inw(0x170)).collect();
    assert_eq!(identity[10..14], *b"MQ0000 3".chunks(2).map(|c| u16::from_le_bytes([c[0], c[1]])).collect::<Vec<_>>());
    for wrong in [IsaIde { irq: 8, ..IsaIde::AT[0] }, IsaIde { iobase: 0xfff9, ..IsaIde::AT[0] }] {
        assert!(at.b.realize(wrong).is_err());
    }
}
