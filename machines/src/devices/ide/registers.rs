//! The registers of a drive (ATA/ATAPI-6, clause 7) and its commands (clause 8).

use serde::{Deserialize, Serialize};

/// Status register (7.15).
pub(super) mod status {
    pub(in super::super) const ERR: u8 = 1 << 0;
    pub(in super::super) const DRQ: u8 = 1 << 3;
    /// Seek complete, as older standards call it.
    pub(in super::super) const DSC: u8 = 1 << 4;
    /// Device fault.
    pub(in super::super) const DF: u8 = 1 << 5;
    pub(in super::super) const DRDY: u8 = 1 << 6;
    pub(in super::super) const BSY: u8 = 1 << 7;
    /// Nothing to do.
    pub(in super::super) const READY: u8 = DRDY | DSC;
}

/// Error register (7.11).
pub(super) mod error {
    pub(in super::super) const ABRT: u8 = 1 << 2;
    /// After a reset and after EXECUTE DEVICE DIAGNOSTIC: the drive is well.
    pub(in super::super) const PASSED: u8 = 1;
}

/// Device register (7.9).
pub(super) mod device {
    /// The bits that are always one.
    pub(in super::super) const OBSOLETE: u8 = 0xa0;
    pub(in super::super) const LBA: u8 = 1 << 6;
    /// The second drive of the channel.
    pub(in super::super) const DEV: u8 = 1 << 4;
    pub(in super::super) const HEAD: u8 = 0x0f;
}

/// Device control register (7.8).
pub(super) mod control {
    /// No interrupts.
    pub(in super::super) const NIEN: u8 = 1 << 1;
    pub(in super::super) const SRST: u8 = 1 << 2;
    /// The previous contents of the registers of 48-bit commands are read.
    pub(in super::super) const HOB: u8 = 1 << 7;
}

/// Interrupt reason, which is the sector count register for packet commands (SFF-8020i, 7.1.8).
pub(super) mod reason {
    /// A packet, or the end of one, rather than data.
    pub(in super::super) const CD: u8 = 1 << 0;
    /// To the host.
    pub(in super::super) const IO: u8 = 1 << 1;
}

/// Commands (annex B).
#[rustfmt::skip]
pub(super) mod command {
    pub(in super::super) const DATA_SET_MANAGEMENT: u8 = 0x06;
    pub(in super::super) const DEVICE_RESET: u8 = 0x08;
    pub(in super::super) const RECALIBRATE: u8 = 0x10;
    pub(in super::super) const READ_SECTORS: u8 = 0x20;
    pub(in super::super) const READ_SECTORS_ONCE: u8 = 0x21;
    pub(in super::super) const READ_SECTORS_EXT: u8 = 0x24;
    pub(in super::super) const READ_DMA_EXT: u8 = 0x25;
    pub(in super::super) const READ_NATIVE_MAX_EXT: u8 = 0x27;
    pub(in super::super) const READ_MULTIPLE_EXT: u8 = 0x29;
    pub(in super::super) const WRITE_SECTORS: u8 = 0x30;
    pub(in super::super) const WRITE_SECTORS_ONCE: u8 = 0x31;
    pub(in super::super) const WRITE_SECTORS_EXT: u8 = 0x34;
    pub(in super::super) const WRITE_DMA_EXT: u8 = 0x35;
    pub(in super::super) const WRITE_MULTIPLE_EXT: u8 = 0x39;
    pub(in super::super) const WRITE_VERIFY: u8 = 0x3c;
    pub(in super::super) const VERIFY: u8 = 0x40;
    pub(in super::super) const VERIFY_ONCE: u8 = 0x41;
    pub(in super::super) const VERIFY_EXT: u8 = 0x42;
    pub(in super::super) const SEEK: u8 = 0x70;
    pub(in super::super) const EXECUTE_DIAGNOSTIC: u8 = 0x90;
    pub(in super::super) const INITIALIZE_PARAMETERS: u8 = 0x91;
    pub(in super::super) const PACKET: u8 = 0xa0;
    pub(in super::super) const IDENTIFY_PACKET: u8 = 0xa1;
    pub(in super::super) const SMART: u8 = 0xb0;
    pub(in super::super) const READ_MULTIPLE: u8 = 0xc4;
    pub(in super::super) const WRITE_MULTIPLE: u8 = 0xc5;
    pub(in super::super) const SET_MULTIPLE: u8 = 0xc6;
    pub(in super::super) const READ_DMA: u8 = 0xc8;
    pub(in super::super) const READ_DMA_ONCE: u8 = 0xc9;
    pub(in super::super) const WRITE_DMA: u8 = 0xca;
    pub(in super::super) const WRITE_DMA_ONCE: u8 = 0xcb;
    pub(in super::super) const STANDBY_IMMEDIATE: u8 = 0xe0;
    pub(in super::super) const IDLE_IMMEDIATE: u8 = 0xe1;
    pub(in super::super) const STANDBY: u8 = 0xe2;
    pub(in super::super) const IDLE: u8 = 0xe3;
    pub(in super::super) const CHECK_POWER_MODE: u8 = 0xe5;
    pub(in super::super) const SLEEP: u8 = 0xe6;
    pub(in super::super) const FLUSH_CACHE: u8 = 0xe7;
    pub(in super::super) const FLUSH_CACHE_EXT: u8 = 0xea;
    pub(in super::super) const IDENTIFY: u8 = 0xec;
    pub(in super::super) const SET_FEATURES: u8 = 0xef;
    pub(in super::super) const READ_NATIVE_MAX: u8 = 0xf8;
    /// The power commands as they were before ATA-2: those above, less this.
    pub(in super::super) const OLD_POWER: u8 = 0xe0 - 0x94;
}

/// A register that keeps what was written to it before, for 48-bit commands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Twice {
    pub(super) now: u8,
    pub(super) before: u8,
}

impl Twice {
    pub(super) fn write(&mut self, value: u8) {
        *self = Self { now: value, before: self.now };
    }
    pub(super) fn set(&mut self, now: u8, before: u8) {
        *self = Self { now, before };
    }
    /// Both as 16 bits.
    pub(super) fn wide(self) -> u16 {
        u16::from_le_bytes([self.now, self.before])
    }
}

/// The command block of a drive.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(super) struct TaskFile {
    pub(super) feature: Twice,
    pub(super) count: Twice,
    pub(super) lba_low: Twice,
    pub(super) lba_mid: Twice,
    pub(super) lba_high: Twice,
    pub(super) device: u8,
    pub(super) status: u8,
    pub(super) error: u8,
}

impl TaskFile {
    /// The 28 or 48 bits of an address.
    pub(super) fn lba(&self, ext: bool) -> u64 {
        let low = [self.lba_low.now, self.lba_mid.now, self.lba_high.now];
        let high = match ext {
            true => [self.lba_low.before, self.lba_mid.before, self.lba_high.before],
            false => [self.device & device::HEAD, 0, 0],
        };
        u64::from_le_bytes([low[0], low[1], low[2], high[0], high[1], high[2], 0, 0])
    }
    pub(super) fn set_lba(&mut self, lba: u64, ext: bool) {
        let b = lba.to_le_bytes();
        if ext {
            self.lba_low.set(b[0], b[3]);
            self.lba_mid.set(b[1], b[4]);
            self.lba_high.set(b[2], b[5]);
        } else {
            (self.lba_low.now, self.lba_mid.now, self.lba_high.now) = (b[0], b[1], b[2]);
            self.device = self.device & !device::HEAD | b[3] & device::HEAD;
        }
    }
    /// How many sectors: zero stands for all that the register has numbers for.
    pub(super) fn sectors(&self, ext: bool) -> u64 {
        let (count, most) = if ext { (self.count.wide().into(), 65536) } else { (self.count.now.into(), 256) };
        if count == 0 { most } else { count }
    }
}
