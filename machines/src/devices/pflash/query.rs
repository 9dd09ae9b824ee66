//! What the chip says of itself (JESD68, 4: "CFI query structure"), as QEMU's chip of eight bits does.

/// The chip, as it describes itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Query {
    /// Bytes, together.
    pub(super) size: u64,
    /// Erase blocks.
    pub(super) blocks: u32,
    /// Bytes of each.
    pub(super) block_size: u64,
}

/// Most bytes that are programmed together, as a power of two.
pub(super) const BUFFER_SHIFT: u8 = 8;

/// The structure from [`FIRST`] on: signature, command set 1 with the address of its table, voltages, and times as powers of two.
const FIRST: usize = 0x10;
#[rustfmt::skip]
const IDENTIFICATION: [u8; 23] = [
    b'Q', b'R', b'Y', 0x01, 0x00, EXTENDED as u8, 0x00, 0, 0, 0, 0,
    0x45, 0x55, 0, 0, 0x07, 0x07, 0x0a, 0, 0x04, 0x04, 0x04, 0,
];
/// The geometry.
const GEOMETRY: usize = FIRST + IDENTIFICATION.len();
/// The table of the command set: version 1.0, without suspending, locking or protection, one field of protection registers.
const EXTENDED: usize = 0x31;
const COMMAND_SET: [u8; 15] = [b'P', b'R', b'I', b'1', b'0', 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

impl Query {
    /// Size; interface of 8 and 16 bits; buffer; one region of equal blocks.
    fn geometry(&self) -> [u8; 10] {
        let [last_low, last_high, ..] = (self.blocks - 1).to_le_bytes();
        let [unit_low, unit_high, ..] = (self.block_size >> 8).to_le_bytes();
        let size = self.size.trailing_zeros() as u8;
        [size, 2, 0, BUFFER_SHIFT, 0, 1, last_low, last_high, unit_low, unit_high]
    }
    /// The byte at an offset.
    pub(super) fn byte(&self, offset: u64) -> u8 {
        let geometry = self.geometry();
        let parts = [(FIRST, &IDENTIFICATION[..]), (GEOMETRY, &geometry), (EXTENDED, &COMMAND_SET)];
        let found = parts.into_iter().find_map(|(first, part)| part.get((offset as usize).checked_sub(first)?));
        found.copied().unwrap_or(0)
    }
}
