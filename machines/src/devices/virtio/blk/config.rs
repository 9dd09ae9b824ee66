//! The configuration of a disk as drivers read it (5.2.4).

use crate::devices::ide::Geometry;
use gearbox_core::backend::block::SECTOR;

/// Offset of the field that drivers may write: whether there is a write cache.
pub(super) const WRITE_CACHE: usize = 32;

/// What does not follow from the medium.
#[derive(Clone, Debug)]
pub(super) struct Config {
    pub(super) read_only: bool,
    /// Bytes of a logical and of a physical block.
    pub(super) block_size: u32,
    pub(super) physical_block_size: u32,
    /// Bytes that are best read or written at a time, at least and altogether.
    pub(super) min_io: u32,
    pub(super) opt_io: u32,
    pub(super) geometry: Geometry,
    /// Buffers of a request.
    pub(super) segments: u32,
    pub(super) queues: u16,
    /// Most sectors of a request to discard, or to write zeroes; none where that is not possible.
    pub(super) most_discard: Option<u32>,
    pub(super) most_zeroes: Option<u32>,
    /// Sectors in whose units discarding gives space back.
    pub(super) discard_alignment: u32,
    /// There is a write cache now, and after a reset.
    pub(super) write_cache: bool,
    pub(super) write_cache_at_reset: bool,
}

impl Config {
    pub(super) fn reset(&mut self) {
        self.write_cache = self.write_cache_at_reset;
    }
    /// The fields as they lie, of a disk of so many sectors.
    pub(super) fn bytes(&self, capacity: u64) -> Vec<u8> {
        let blocks = u64::from(self.block_size) / SECTOR;
        // Tracks have whole blocks.
        let sectors = self.geometry.sectors & !(blocks as u32 - 1);
        let exponent = (self.physical_block_size / self.block_size).trailing_zeros();
        let mut b = Vec::with_capacity(60);
        b.extend(capacity.to_le_bytes());
        b.extend(0u32.to_le_bytes());
        b.extend(self.segments.to_le_bytes());
        b.extend((self.geometry.cylinders as u16).to_le_bytes());
        b.extend([self.geometry.heads as u8, sectors as u8]);
        b.extend(self.block_size.to_le_bytes());
        b.extend([exponent as u8, 0]);
        b.extend(((self.min_io / self.block_size) as u16).to_le_bytes());
        b.extend((self.opt_io / self.block_size).to_le_bytes());
        b.extend([u8::from(self.write_cache), 0]);
        b.extend(self.queues.to_le_bytes());
        // Requests to discard or to write zeroes have one range each.
        if self.most_discard.is_some() || self.most_zeroes.is_some() {
            for value in [self.most_discard.unwrap_or(0), 1, self.discard_alignment] {
                b.extend(value.to_le_bytes());
            }
        }
        if let Some(most) = self.most_zeroes {
            b.extend(most.to_le_bytes());
            b.extend(1u32.to_le_bytes());
            b.push(1);
        }
        b
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::ide::Translation;

    /// As QEMU 7.2 has it for a disk of 16 MiB.
    #[test]
    fn the_bytes_are_those_of_qemu() {
        let geometry = Geometry { cylinders: 32, heads: 16, sectors: 63, translation: Translation::None };
        let config = Config {
            read_only: false,
            block_size: 512,
            physical_block_size: 512,
            min_io: 0,
            opt_io: 0,
            geometry,
            segments: 254,
            queues: 1,
            most_discard: Some(0x3f_ffff),
            most_zeroes: Some(0x3f_ffff),
            discard_alignment: 1,
            write_cache: true,
            write_cache_at_reset: true,
        };
        let bytes = config.bytes(0x8000);
        let words: Vec<_> = bytes[..56].chunks(4).map(|w| u32::from_le_bytes([w[0], w[1], w[2], w[3]])).collect();
        let expect = [0x8000, 0, 0, 0xfe, 0x3f10_0020, 0x200, 0, 0, 0x1_0001, 0x3f_ffff, 1, 1, 0x3f_ffff, 1];
        assert_eq!((words, bytes.len()), (expect.to_vec(), 57));
        let plain =
            Config { most_discard: None, most_zeroes: None, block_size: 4096, physical_block_size: 8192, ..config };
        let bytes = plain.bytes(0x8000);
        assert_eq!((bytes.len(), bytes[19], bytes[24]), (36, 56, 1));
    }
}
