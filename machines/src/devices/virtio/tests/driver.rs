//! A driver: it sets a device up, by the registers of one kind or the other, lays out requests in guest RAM, and waits for them.

use gearbox_accel_qtest::Bench;
use gearbox_core::pci::{command, reg};
use std::time::{Duration, Instant};

/// Where the driver finds the device, and puts its registers.
const AT: u32 = 4 << 11;
pub(super) const PORTS: u16 = 0xc000;
pub(super) const MSIX: u64 = 0xfeb0_0000;
pub(super) const MODERN: u64 = 0xe000_0000;
/// Where queue n has its rings, and what requests have for themselves.
const RINGS: u64 = 0x1_0000;
const QUEUE_BYTES: u64 = 0x8000;
const ARENA: u64 = 0x20_0000;

pub(super) const NEXT: u16 = 1;
pub(super) const WRITE: u16 = 2;
pub(super) const INDIRECT: u16 = 4;

/// Which registers the driver uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Legacy,
    Modern,
}

/// One queue as the driver sees it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ring {
    pub(super) size: u16,
    pub(super) descriptors: u64,
    pub(super) available: u64,
    pub(super) used: u64,
    /// What the driver has made available, and what of that it has had back.
    pub(super) added: u16,
    pub(super) seen: u16,
    free: u16,
}

pub(super) struct Driver {
    pub(super) b: Bench,
    pub(super) mode: Mode,
    pub(super) features: u64,
    pub(super) rings: Vec<Ring>,
    arena: u64,
}

impl Driver {
    /// For a device in slot 4, with its registers mapped and bus mastering enabled.
    pub(super) fn new(b: Bench, mode: Mode) -> Self {
        let mut d = Self { b, mode, features: 0, rings: Vec::new(), arena: ARENA };
        d.set_config(reg::BAR0, 4, PORTS.into());
        d.set_config(0x14, 4, MSIX as u32);
        d.set_config(0x20, 4, MODERN as u32);
        d.set_config(reg::COMMAND, 2, (command::IO | command::MEMORY | command::MASTER).into());
        d
    }
    /// Goes on with this device, from where another driver is with its own.
    pub(super) fn take_over(&mut self, other: &Self) {
        self.b.take_over(&other.b).unwrap();
        (self.features, self.rings, self.arena) = (other.features, other.rings.clone(), other.arena);
    }
    pub(super) fn config(&self, register: u8, size: u8) -> u32 {
        self.b.with(|s| s.fabric.pci.config_read(AT | u32::from(register), size))
    }
    pub(super) fn set_config(&mut self, register: u8, size: u8, value: u32) {
        self.b.with(|s| s.fabric.pci.config_write(AT | u32::from(register), size, value));
    }
    /// Does it ask for a pin interrupt?
    pub(super) fn intx(&self) -> bool {
        self.config(reg::STATUS, 2) & 8 != 0
    }
    /// Reads the interrupt status, which clears it.
    pub(super) fn isr(&mut self) -> u8 {
        match self.mode {
            Mode::Legacy => self.b.inb(PORTS + 0x13),
            Mode::Modern => self.b.readb(MODERN + 0x1000),
        }
    }
    pub(super) fn status(&self) -> u8 {
        match self.mode {
            Mode::Legacy => self.b.inb(PORTS + 0x12),
            Mode::Modern => self.b.readb(MODERN + 0x14),
        }
    }
    pub(super) fn set_status(&mut self, value: u8) {
        match self.mode {
            Mode::Legacy => self.b.outb(PORTS + 0x12, value),
            Mode::Modern => self.b.writeb(MODERN + 0x14, value),
        }
    }
    /// A doubleword of the device's configuration.
    pub(super) fn device_config(&self, offset: u64) -> u32 {
        match self.mode {
            Mode::Legacy => self.b.inl(PORTS + 0x14 + offset as u16),
            Mode::Modern => self.b.readl(MODERN + 0x2000 + offset),
        }
    }
    pub(super) fn offered(&mut self) -> u64 {
        if self.mode == Mode::Legacy {
            return self.b.inl(PORTS).into();
        }
        let half = |b: &mut Bench, n| {
            b.writel(MODERN, n);
            u64::from(b.readl(MODERN + 4))
        };
        half(&mut self.b, 0) | half(&mut self.b, 1) << 32
    }
    /// Resets the device and starts it, with these of the features that it offers, and with queues of that size.
    pub(super) fn start(&mut self, features: u64, queues: u16, size: u16) {
        self.set_status(0);
        assert_eq!(self.status(), 0);
        self.set_status(1);
        self.set_status(3);
        let version_1 = if self.mode == Mode::Modern { 1 << 32 } else { 0 };
        self.features = self.offered() & (features | version_1);
        match self.mode {
            Mode::Legacy => self.b.outl(PORTS + 4, self.features as u32),
            Mode::Modern => {
                for n in 0..2 {
                    self.b.writel(MODERN + 8, n);
                    self.b.writel(MODERN + 12, (self.features >> (32 * n)) as u32);
                }
                self.set_status(11);
                assert_eq!(self.status(), 11, "features are refused");
            }
        }
        self.rings.clear();
        (0..queues).for_each(|n| self.set_up_queue(n, size));
        self.set_status(if self.mode == Mode::Modern { 15 } else { 7 });
    }
    fn set_up_queue(&mut self, n: u16, size: u16) {
        let at = RINGS + u64::from(n) * QUEUE_BYTES;
        let blank = vec![0; QUEUE_BYTES as usize];
        self.b.write(at, &blank);
        let ring = match self.mode {
            Mode::Legacy => {
                self.b.outw(PORTS + 14, n);
                let size = self.b.inw(PORTS + 12);
                let available = at + 16 * u64::from(size);
                let used = (available + 6 + 2 * u64::from(size)).next_multiple_of(4096);
                self.b.outl(PORTS + 8, (at >> 12) as u32);
                Ring { size, descriptors: at, available, used, added: 0, seen: 0, free: 0 }
            }
            Mode::Modern => {
                self.b.writew(MODERN + 0x16, n);
                self.b.writew(MODERN + 0x18, size);
                let (available, used) = (at + 0x4000, at + 0x6000);
                for (field, value) in [(0x20, at), (0x28, available), (0x30, used)] {
                    self.b.writeq(MODERN + field, value);
                }
                self.b.writew(MODERN + 0x1c, 1);
                Ring { size, descriptors: at, available, used, added: 0, seen: 0, free: 0 }
            }
        };
        self.rings.push(ring);
    }
    /// Some RAM that nobody else uses.
    pub(super) fn memory(&mut self, bytes: u64) -> u64 {
        let at = self.arena;
        self.arena += bytes.next_multiple_of(16);
        at
    }
    pub(super) fn read(&self, at: u64, bytes: usize) -> Vec<u8> {
        let mut data = vec![0; bytes];
        self.b.read(at, &mut data);
        data
    }
    pub(super) fn describe(&mut self, table: u64, n: u16, addr: u64, len: u32, flags: u16, next: u16) {
        let at = table + 16 * u64::from(n);
        self.b.writeq(at, addr);
        self.b.writel(at + 8, len);
        self.b.writew(at + 12, flags);
        self.b.writew(at + 14, next);
    }
    /// Describes a chain of buffers (address, length, the device writes it); its first descriptor.
    pub(super) fn chain(&mut self, queue: usize, buffers: &[(u64, u32, bool)]) -> u16 {
        let Ring { size, descriptors, free, .. } = self.rings[queue];
        let place = |k: usize| (free + k as u16) % size;
        for (k, &(addr, len, write)) in buffers.iter().enumerate() {
            let more = k + 1 < buffers.len();
            let flags = if more { NEXT } else { 0 } | if write { WRITE } else { 0 };
            self.describe(descriptors, place(k), addr, len, flags, place(k + 1));
        }
        self.rings[queue].free = place(buffers.len());
        free
    }
    /// Makes a chain available.
    pub(super) fn offer(&mut self, queue: usize, head: u16) {
        let ring = &mut self.rings[queue];
        let at = ring.available + 4 + 2 * u64::from(ring.added % ring.size);
        ring.added = ring.added.wrapping_add(1);
        let (available, added) = (ring.available, ring.added);
        self.b.writew(at, head);
        self.b.writew(available + 2, added);
    }
    pub(super) fn notify(&mut self, queue: usize) {
        match self.mode {
            Mode::Legacy => self.b.outw(PORTS + 16, queue as u16),
            Mode::Modern => self.b.writew(MODERN + 0x3000 + 4 * queue as u64, queue as u16),
        }
    }
    /// What has been given back since the last look: (chain, bytes written).
    pub(super) fn used(&mut self, queue: usize) -> Vec<(u32, u32)> {
        let ring = self.rings[queue];
        let end = self.b.readw(ring.used + 2);
        let mut used = Vec::new();
        while self.rings[queue].seen != end {
            let at = ring.used + 4 + 8 * u64::from(self.rings[queue].seen % ring.size);
            used.push((self.b.readl(at), self.b.readl(at + 4)));
            self.rings[queue].seen = self.rings[queue].seen.wrapping_add(1);
        }
        used
    }
    /// Waits until so many have been given back.
    pub(super) fn wait(&mut self, queue: usize, count: usize) -> Vec<(u32, u32)> {
        let end = Instant::now() + Duration::from_secs(30);
        let mut used = Vec::new();
        while used.len() < count {
            used.extend(self.used(queue));
            assert!(Instant::now() < end, "{} of {count} were given back; status {:#x}", used.len(), self.status());
            std::thread::sleep(Duration::from_micros(50));
        }
        used
    }
    /// One request from beginning to end; bytes that the device says it wrote.
    pub(super) fn request(&mut self, queue: usize, buffers: &[(u64, u32, bool)]) -> u32 {
        let head = self.chain(queue, buffers);
        self.offer(queue, head);
        self.notify(queue);
        let used = self.wait(queue, 1);
        assert_eq!(used[0].0, u32::from(head));
        used[0].1
    }
    /// Has MSI-X with vector n sending 0x40 + n, and the queues using vectors from 1 on.
    pub(super) fn enable_msix(&mut self, vectors: u16) {
        for n in 0..u64::from(vectors) {
            for (k, value) in [0xfee0_0000, 0, 0x40 + n as u32, 0].into_iter().enumerate() {
                self.b.writel(MSIX + 16 * n + 4 * k as u64, value);
            }
        }
        let control = self.config(0x9a, 2);
        self.set_config(0x9a, 2, control | 0x8000);
    }
    /// Gives a queue a vector; the one that it has then.
    pub(super) fn set_queue_vector(&mut self, queue: u16, vector: u16) -> u16 {
        match self.mode {
            Mode::Legacy => {
                self.b.outw(PORTS + 14, queue);
                self.b.outw(PORTS + 0x16, vector);
                self.b.inw(PORTS + 0x16)
            }
            Mode::Modern => {
                self.b.writew(MODERN + 0x16, queue);
                self.b.writew(MODERN + 0x1a, vector);
                self.b.readw(MODERN + 0x1a)
            }
        }
    }
}
