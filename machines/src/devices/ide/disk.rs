//! The commands of a disk (ATA/ATAPI-6, clause 8).

use super::bus_master::End;
use super::drive::{Drive, Kind, Purpose, Transfer};
use super::geometry::Geometry;
use super::registers::{command, device, error, status};
use super::smart::Smart;
use gearbox_core::board::Saved;

/// Most sectors between two interrupts of READ MULTIPLE and WRITE MULTIPLE.
pub(super) const MOST_MULTIPLE: u8 = 16;
/// Sectors of ranges in one DATA SET MANAGEMENT command are 512 bytes of 8 each.
const RANGE: usize = 8;

/// What a disk has besides its registers.
pub(super) struct Disk {
    /// As it was made.
    pub(super) geometry: Geometry,
    /// Sectors between two interrupts; 0 if READ MULTIPLE is off.
    pub(super) multiple: u8,
    pub(super) rotation_rate: u16,
    pub(super) trims: bool,
    pub(super) smart: Smart,
    /// Ranges that are still to be discarded, in sectors.
    ranges: Vec<(u64, u64)>,
}

impl Disk {
    pub(super) fn new(geometry: Geometry, rotation_rate: u16, trims: bool) -> Self {
        let (multiple, smart) = (MOST_MULTIPLE, Smart::default());
        Self { geometry, multiple, rotation_rate, trims, smart, ranges: Vec::new() }
    }
    /// What is saved of it.
    pub(super) fn saved(&mut self) -> Saved<'_> {
        let Self { geometry: _, multiple, rotation_rate: _, trims: _, smart, ranges } = self;
        let on_disk = |&(first, n): &(u64, u64)| first < 1 << 48 && n <= u16::MAX.into();
        Saved::sound(multiple, |n| *n <= MOST_MULTIPLE)
            .and(Saved::sound(ranges, move |ranges| ranges.iter().all(on_disk)))
            .and(Saved::of(smart))
    }
    pub(super) fn reset(&mut self) {
        self.multiple = MOST_MULTIPLE;
        self.ranges.clear();
    }
}

/// How a command names sectors, and how their data move.
#[derive(Clone, Copy)]
enum Way {
    /// By the data register, a sector at a time.
    Sectors,
    /// By the data register, as many sectors at a time as SET MULTIPLE MODE said.
    Multiple,
    Dma,
}

/// The commands that move sectors: (code, to the medium, 48 bits, way).
const MOVES: [(u8, bool, bool, Way); 17] = [
    (command::READ_SECTORS, false, false, Way::Sectors),
    (command::READ_SECTORS_ONCE, false, false, Way::Sectors),
    (command::READ_SECTORS_EXT, false, true, Way::Sectors),
    (command::READ_MULTIPLE, false, false, Way::Multiple),
    (command::READ_MULTIPLE_EXT, false, true, Way::Multiple),
    (command::READ_DMA, false, false, Way::Dma),
    (command::READ_DMA_ONCE, false, false, Way::Dma),
    (command::READ_DMA_EXT, false, true, Way::Dma),
    (command::WRITE_SECTORS, true, false, Way::Sectors),
    (command::WRITE_SECTORS_ONCE, true, false, Way::Sectors),
    (command::WRITE_SECTORS_EXT, true, true, Way::Sectors),
    (command::WRITE_VERIFY, true, false, Way::Sectors),
    (command::WRITE_MULTIPLE, true, false, Way::Multiple),
    (command::WRITE_MULTIPLE_EXT, true, true, Way::Multiple),
    (command::WRITE_DMA, true, false, Way::Dma),
    (command::WRITE_DMA_ONCE, true, false, Way::Dma),
    (command::WRITE_DMA_EXT, true, true, Way::Dma),
];

impl Drive {
    pub(super) fn disk(&mut self) -> Option<&mut Disk> {
        if let Kind::Disk(disk) = &mut self.kind { Some(disk) } else { None }
    }

    pub(super) fn disk_command(&mut self, code: u8) {
        if let Some(&(_, write, ext, way)) = MOVES.iter().find(|m| m.0 == code) {
            return self.move_sectors(write, ext, way);
        }
        match code {
            command::VERIFY | command::VERIFY_ONCE => self.verify(false),
            command::VERIFY_EXT => self.verify(true),
            // The upper half of these codes says nothing (ATA-3).
            c if c & 0xf0 == command::RECALIBRATE => self.done(),
            c if c & 0xf0 == command::SEEK => self.done(),
            command::SET_MULTIPLE => self.set_multiple(),
            command::INITIALIZE_PARAMETERS => self.done(),
            command::FLUSH_CACHE | command::FLUSH_CACHE_EXT => self.flush(),
            command::IDENTIFY => {
                let words = self.identify_disk();
                self.reply(words);
            }
            command::READ_NATIVE_MAX => self.native_max(false),
            command::READ_NATIVE_MAX_EXT => self.native_max(true),
            command::SMART => self.smart(),
            command::DATA_SET_MANAGEMENT => self.data_set_management(),
            code => self.common_command(code),
        }
    }
    /// Commands that every drive has.
    pub(super) fn common_command(&mut self, code: u8) {
        let power = code.wrapping_add(command::OLD_POWER);
        match code {
            command::SET_FEATURES => self.set_features(),
            command::EXECUTE_DIAGNOSTIC => {
                self.signature();
                self.regs.device = device::OBSOLETE;
                // An interrupt comes even from drives that are not ready after their signature.
                self.regs.error = error::PASSED;
                self.interrupt = true;
            }
            _ => match if (0x94..=0x99).contains(&code) { power } else { code } {
                command::STANDBY_IMMEDIATE
                | command::IDLE_IMMEDIATE
                | command::STANDBY
                | command::IDLE
                | command::SLEEP => self.done(),
                // Old code 98h, one before that of SLEEP, as here.
                command::CHECK_POWER_MODE | 0xe4 => {
                    // Active or idle.
                    self.regs.count.now = 0xff;
                    self.done();
                }
                _ => self.abort(),
            },
        }
    }
    /// Data that are not from the medium.
    pub(super) fn reply(&mut self, data: Vec<u8>) {
        let (left, block) = (data.len() as u64, data.len());
        self.buffer = data;
        let purpose = Purpose::Reply;
        self.begin(Transfer { purpose, write: false, dma: false, packet: false, ext: false, at: 0, left, block });
    }

    fn move_sectors(&mut self, write: bool, ext: bool, way: Way) {
        let Some(disk) = self.disk() else { return self.abort() };
        let block = match way {
            Way::Multiple if disk.multiple == 0 => return self.abort(),
            Way::Multiple => usize::from(disk.multiple) * 512,
            Way::Sectors | Way::Dma => 512,
        };
        let Some((at, left)) = self.range(ext) else { return self.abort() };
        let dma = matches!(way, Way::Dma);
        self.begin(Transfer { purpose: Purpose::Medium, write, dma, packet: false, ext, at, left, block });
    }
    fn verify(&mut self, ext: bool) {
        match self.range(ext) {
            Some(_) => self.done(),
            None => self.abort(),
        }
    }
    /// The range of bytes that the registers name, if the medium has it.
    fn range(&mut self, ext: bool) -> Option<(u64, u64)> {
        let geometry = self.disk()?.geometry;
        let sectors = self.regs.sectors(ext);
        let first = if ext || self.regs.device & device::LBA != 0 {
            self.regs.lba(ext)
        } else {
            let cylinder = u64::from(u16::from_le_bytes([self.regs.lba_mid.now, self.regs.lba_high.now]));
            let head = u64::from(self.regs.device & device::HEAD);
            let sector = u64::from(self.regs.lba_low.now).checked_sub(1)?;
            (cylinder * u64::from(geometry.heads) + head) * u64::from(geometry.sectors) + sector
        };
        let total = self.size() / 512;
        (first.checked_add(sectors)? <= total).then_some((first * 512, sectors * 512))
    }
    /// Shows the address of a sector in the registers.
    pub(super) fn show_address(&mut self, sector: u64, ext: bool) {
        let Some(geometry) = self.disk().map(|d| d.geometry) else { return };
        if ext || self.regs.device & device::LBA != 0 {
            return self.regs.set_lba(sector, ext);
        }
        let (heads, sectors) = (u64::from(geometry.heads), u64::from(geometry.sectors));
        let [low, high, ..] = (sector / (heads * sectors)).to_le_bytes();
        (self.regs.lba_mid.now, self.regs.lba_high.now) = (low, high);
        let head = (sector / sectors % heads) as u8;
        self.regs.device = self.regs.device & !device::HEAD | head & device::HEAD;
        self.regs.lba_low.now = (sector % sectors) as u8 + 1;
    }
    fn set_multiple(&mut self) {
        let count = self.regs.count.now;
        match self.disk() {
            Some(disk) if count <= MOST_MULTIPLE && (count == 0 || count.is_power_of_two()) => {
                disk.multiple = count;
                self.done();
            }
            _ => self.abort(),
        }
    }
    fn native_max(&mut self, ext: bool) {
        let total = self.size() / 512;
        if total == 0 || self.regs.device & device::LBA == 0 {
            return self.abort();
        }
        let last = if ext { total - 1 } else { (total - 1).min((1 << 28) - 1) };
        self.regs.set_lba(last, ext);
        self.done();
    }
    /// SET FEATURES (8.46): the subcommand is in the features register.
    fn set_features(&mut self) {
        let cdrom = self.is_cdrom();
        match self.regs.feature.now {
            0x02 if !cdrom => {
                self.write_cache = true;
                self.done();
            }
            0x82 if !cdrom => {
                self.write_cache = false;
                self.flush();
            }
            // Transfer mode: PIO, single word, multiword, ultra.
            0x03 => {
                let mode = self.regs.count.now;
                let bit = 1 << (mode & 7);
                match mode >> 3 {
                    0..=2 => self.modes = (0, 0),
                    4 if mode & 7 <= 2 => self.modes = (bit, 0),
                    8 if mode & 7 <= 5 => self.modes = (0, bit),
                    _ => return self.abort(),
                }
                self.done();
            }
            // Advanced power management, acoustic management, read look-ahead, and power-on defaults change nothing here.
            0xcc | 0x66 | 0xaa | 0x55 | 0x05 | 0x85 | 0x69 | 0x67 | 0x96 | 0x9a | 0x42 | 0xc2 => self.done(),
            _ => self.abort(),
        }
    }
    /// DATA SET MANAGEMENT (ATA/ATAPI-8 ACS-2, 7.10): TRIM, with ranges by the bus master.
    fn data_set_management(&mut self) {
        const TRIM: u8 = 1;
        let trims = self.disk().is_some_and(|d| d.trims);
        let left = u64::from(self.regs.count.now) * 512;
        if !trims || self.regs.feature.now & TRIM == 0 || left == 0 {
            return self.abort();
        }
        let purpose = Purpose::Trim;
        self.begin(Transfer { purpose, write: true, dma: true, packet: false, ext: true, at: 0, left, block: 512 });
    }
    /// The ranges of a TRIM are there: 48 bits of address and 16 of length each.
    pub(super) fn trim(&mut self, data: &[u8]) {
        if let Some(t) = &mut self.transfer {
            t.left -= (data.len() as u64).min(t.left);
        }
        let total = self.size() / 512;
        let ranges = data.chunks_exact(RANGE).map(|entry| {
            let entry = u64::from_le_bytes(entry.try_into().expect("eight bytes"));
            (entry & ((1 << 48) - 1), entry >> 48)
        });
        let ranges: Vec<_> = ranges.filter(|(_, n)| *n > 0).collect();
        if ranges.iter().any(|(first, n)| first.checked_add(*n).is_none_or(|end| end > total)) {
            self.dma_over = Some(End::Aborted);
            return self.abort();
        }
        if let Some(disk) = self.disk() {
            // Taken from the end.
            disk.ranges = ranges.into_iter().rev().collect();
        }
        self.trim_next();
    }
    pub(super) fn trim_next(&mut self) {
        match self.disk().and_then(|d| d.ranges.pop()) {
            Some((first, n)) => self.discard(first * 512, n * 512),
            None => self.trim_done(),
        }
    }
    fn trim_done(&mut self) {
        match self.transfer {
            Some(t) if t.left > 0 => {
                self.phase = super::drive::Phase::Dma;
                self.regs.status = status::READY | status::DRQ;
            }
            _ => {
                self.dma_over = Some(End::Complete);
                self.done();
            }
        }
    }
}
