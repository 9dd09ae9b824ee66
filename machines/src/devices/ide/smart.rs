//! SMART (ATA/ATAPI-6, 8.55): a disk that is always well.

use super::drive::Drive;
use super::registers::status;
use serde::{Deserialize, Serialize};

/// State of the feature set.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Smart {
    pub(super) enabled: bool,
    autosave: bool,
    /// Result of the last self-test, and how many there were.
    tests: u8,
}

impl Default for Smart {
    fn default() -> Self {
        Self { enabled: true, autosave: true, tests: 0 }
    }
}

/// An attribute: id, flags, value now and worst, raw value, threshold.
type Attribute = (u8, u16, u8, u8, u64, u8);
/// Those of QEMU's disks.
const ATTRIBUTES: [Attribute; 7] = [
    (0x01, 0x0003, 100, 100, 0, 6),    // read error rate
    (0x03, 0x0003, 100, 100, 16, 0),   // spin-up time
    (0x04, 0x0002, 100, 100, 100, 20), // starts and stops
    (0x05, 0x0003, 100, 100, 0, 36),   // sectors that were replaced
    (0x09, 0x0003, 100, 100, 1, 0),    // hours powered on
    (0x0c, 0x0003, 100, 100, 0, 0),    // power cycles
    (0xbe, 0x0003, 69, 69, 0x1f, 50),  // airflow temperature
];

/// Subcommands, in the features register.
mod sub {
    pub(super) const READ_DATA: u8 = 0xd0;
    pub(super) const READ_THRESHOLDS: u8 = 0xd1;
    pub(super) const ATTRIBUTE_AUTOSAVE: u8 = 0xd2;
    pub(super) const EXECUTE_OFFLINE: u8 = 0xd4;
    pub(super) const READ_LOG: u8 = 0xd5;
    pub(super) const ENABLE: u8 = 0xd8;
    pub(super) const DISABLE: u8 = 0xd9;
    pub(super) const STATUS: u8 = 0xda;
}
/// What the address registers hold, to say that SMART is meant.
const KEY: (u8, u8) = (0x4f, 0xc2);

/// 512 bytes with the sum of all, the last among them, 0.
fn sealed(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.resize(511, 0);
    bytes.push(bytes.iter().fold(0u8, |sum, b| sum.wrapping_add(*b)).wrapping_neg());
    bytes
}

impl Smart {
    /// The structure of SMART READ DATA (table 47).
    fn data(self) -> Vec<u8> {
        let mut d = vec![0x01, 0x00];
        for (id, flags, value, worst, raw, _) in ATTRIBUTES {
            d.push(id);
            d.extend(flags.to_le_bytes());
            d.extend([value, worst]);
            d.extend(&raw.to_le_bytes()[..6]);
            d.push(0);
        }
        d.resize(362, 0);
        // Off-line collection is done, 288 s for one; a short self-test takes 2 minutes, a long one 54.
        d.extend([0x02, 0, 0x20, 0x01, 0, 0x79, 0x03, 0, 0x01, 0, 0x02, 0x36, 0x01]);
        sealed(d)
    }
    fn thresholds() -> Vec<u8> {
        let mut d = vec![0x01, 0x00];
        for (id, .., threshold) in ATTRIBUTES {
            d.extend([id, threshold, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        }
        sealed(d)
    }
    /// A log of that number: the directory, the errors, the self-tests.
    fn log(self, number: u8) -> Option<Vec<u8>> {
        let log = match number {
            // One sector each for logs 1 and 6.
            0 => {
                let mut d = vec![0; 512];
                (d[0], d[2], d[12]) = (1, 1, 1);
                return Some(d);
            }
            1 => vec![0x01],
            6 => {
                let mut d = vec![0x01, 0x00];
                d.resize(508, 0);
                // The entry that was written last.
                d[508 - 1] = 0;
                d.push(self.tests.min(21));
                d
            }
            _ => return None,
        };
        Some(sealed(log))
    }
}

impl Drive {
    pub(super) fn smart(&mut self) {
        let (feature, count, number) = (self.regs.feature.now, self.regs.count.now, self.regs.lba_low.now);
        let key = (self.regs.lba_mid.now, self.regs.lba_high.now);
        let Some(smart) = self.disk().map(|d| &mut d.smart) else { return self.abort() };
        if key != KEY || (!smart.enabled && feature != sub::ENABLE) {
            return self.abort();
        }
        let state = *smart;
        match feature {
            sub::ENABLE => smart.enabled = true,
            sub::DISABLE => smart.enabled = false,
            sub::ATTRIBUTE_AUTOSAVE if matches!(count, 0 | 0xf1) => smart.autosave = count != 0,
            // No threshold is exceeded: the key stays as it is.
            sub::STATUS => {}
            sub::READ_DATA => return self.reply(state.data()),
            sub::READ_THRESHOLDS => return self.reply(Smart::thresholds()),
            sub::READ_LOG => match state.log(number) {
                Some(log) => return self.reply(log),
                None => return self.abort(),
            },
            // Off-line collection, and self-tests in the background: they are done at once.
            sub::EXECUTE_OFFLINE if matches!(number, 0..=2) => smart.tests = smart.tests.saturating_add(number.min(1)),
            _ => return self.abort(),
        }
        self.done();
        self.regs.status = status::READY;
    }
}
