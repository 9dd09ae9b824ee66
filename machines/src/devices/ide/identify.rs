//! IDENTIFY DEVICE and IDENTIFY PACKET DEVICE (ATA/ATAPI-6, 8.15 and 8.16): what a drive says of itself. The words are those of QEMU's drives.

use super::drive::Drive;

/// 256 words.
struct Words([u16; 256]);

impl Words {
    fn new(values: &[(usize, u16)]) -> Self {
        let mut words = Self([0; 256]);
        values.iter().for_each(|&(n, value)| words.0[n] = value);
        words
    }
    /// A text, filled up with blanks; the first character of each word is its high byte.
    fn text(&mut self, first: usize, count: usize, text: &str) {
        let mut bytes = text.bytes().chain(std::iter::repeat(b' '));
        for word in &mut self.0[first..first + count] {
            *word = u16::from_be_bytes([bytes.next().unwrap_or(b' '), bytes.next().unwrap_or(b' ')]);
        }
    }
    /// A number of so many words, the lowest first.
    fn number(&mut self, first: usize, count: usize, value: u64) {
        for (n, word) in self.0[first..first + count].iter_mut().enumerate() {
            *word = (value >> (16 * n)) as u16;
        }
    }
    fn name(&mut self, drive: &Drive) {
        self.text(10, 10, &drive.identity.serial);
        self.text(23, 4, &drive.identity.version);
        self.text(27, 20, &drive.identity.model);
    }
    fn wwn(&mut self, wwn: u64) {
        const WWN: u16 = 1 << 8;
        if wwn != 0 {
            self.0[84] |= WWN;
            self.0[87] |= WWN;
            // The highest word first.
            (0..4).for_each(|n| self.0[108 + n] = (wwn >> (48 - 16 * n)) as u16);
        }
    }
    fn bytes(&self) -> Vec<u8> {
        self.0.iter().flat_map(|w| w.to_le_bytes()).collect()
    }
}

/// What all disks say.
const DISK: [(usize, u16); 27] = [
    (0, 0x0040),  // fixed
    (5, 512),     // bytes of a sector, retired
    (20, 3),      // buffer type, retired
    (21, 512),    // buffer size in sectors, retired
    (22, 4),      // bytes of error correction, retired
    (47, 0x8010), // most sectors of READ MULTIPLE
    (48, 1),      // doublewords by the data register, retired
    (49, 0x0b00), // DMA, LBA, IORDY
    (51, 0x0200), // PIO timing, retired
    (52, 0x0200), // DMA timing, retired
    (53, 7),      // words 54-58, 64-70 and 88 are valid
    (62, 7),      // single word DMA, retired
    (64, 3),      // PIO modes 3 and 4
    (65, 120),    // cycle times in ns
    (66, 120),
    (67, 120),
    (68, 120),
    (80, 0x00f0), // ATA-4 to ATA-7
    (81, 0x0016),
    (82, 0x4021), // NOP, write cache, SMART
    (83, 0x7400), // FLUSH CACHE EXT, FLUSH CACHE, 48-bit addresses
    (84, 0x4000),
    (85, 0x4001), // what is enabled: NOP, SMART
    (86, 0x3400), // as word 83
    (87, 0x4000),
    (93, 0x6001),  // the result of the hardware reset
    (106, 0x6000), // one logical sector in a physical one
];
/// The write cache is enabled.
const WRITE_CACHE: u16 = 1 << 5;
/// What is read after TRIM does not change.
const DETERMINATE_TRIM: u16 = 1 << 14;
/// Sectors that 28 bits have addresses for.
const MOST_28: u64 = (1 << 28) - 1;

/// What all CD-ROM drives say.
const CDROM: [(usize, u16); 17] = [
    (0, 0x85c0), // CD-ROM, removable, DRQ within 50 us, packets of 12 bytes
    (20, 3),
    (21, 512),
    (22, 4),
    (48, 1),
    (49, 0x0300), // DMA, LBA
    (53, 7),
    (62, 7),
    (64, 3),
    (65, 180),
    (66, 180),
    (67, 300),
    (68, 180),
    (71, 30), // times in ns
    (72, 30),
    (80, 0x001e), // up to ATA/ATAPI-4
    (88, 0x003f),
];

impl Drive {
    /// Which transfer modes there are, and which is on.
    fn modes(&self, words: &mut Words) {
        words.0[63] = 7 | u16::from(self.modes.0) << 8;
        words.0[88] = 0x3f | u16::from(self.modes.1) << 8;
    }
    pub(super) fn identify_disk(&mut self) -> Vec<u8> {
        let total = self.size() / 512;
        let mut w = Words::new(&DISK);
        w.name(self);
        self.modes(&mut w);
        let (write_cache, wwn) = (self.write_cache, self.identity.wwn);
        if let Some(disk) = self.disk() {
            let g = disk.geometry;
            for (n, value) in [(1, g.cylinders), (3, g.heads), (4, 512 * g.sectors), (6, g.sectors)] {
                w.0[n] = value as u16;
            }
            for (n, value) in [(54, g.cylinders), (55, g.heads), (56, g.sectors)] {
                w.0[n] = value as u16;
            }
            w.number(57, 2, u64::from(g.cylinders) * u64::from(g.heads) * u64::from(g.sectors));
            if disk.multiple != 0 {
                w.0[59] = 0x100 | u16::from(disk.multiple);
            }
            if disk.trims {
                w.0[69] = DETERMINATE_TRIM;
                w.0[169] = 1;
            }
            w.0[217] = disk.rotation_rate;
        }
        if write_cache {
            w.0[85] |= WRITE_CACHE;
        }
        w.number(60, 2, total.min(MOST_28));
        w.number(100, 4, total);
        w.wwn(wwn);
        w.bytes()
    }
    pub(super) fn identify_cdrom(&mut self) -> Vec<u8> {
        let mut w = Words::new(&CDROM);
        w.name(self);
        self.modes(&mut w);
        w.wwn(self.identity.wwn);
        w.bytes()
    }
}
