//! The window at A0000h and what stands between it and the video memory: four maps, latches, read and write modes.
//!
//! The four bytes that the maps have at an address lie side by side in the video memory, so that chain-4 addresses are those of the bytes
//! themselves, and the linear framebuffer shows the same pixels.

use super::registers::{Registers, gfx, seq};
use gearbox_core::mem::RamBlock;
use serde::{Deserialize, Serialize};

/// Number of maps.
const MAPS: usize = 4;

/// The latches: what the maps had where the last load was.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Latches([u8; MAPS]);

/// How addresses of the window find their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Addressing {
    /// The two lowest bits are the map's number.
    Chain4,
    /// The lowest bit selects two maps.
    OddEven,
    /// All maps.
    Planar,
}

/// Address in the memory of an offset in the window, by where the graphics controller puts the memory.
fn address(r: &Registers, offset: u64, bank: u64) -> Option<u64> {
    let (first, size, bank) = match r.gfx[gfx::MISCELLANEOUS] >> 2 & 3 {
        0 => (0, 0x2_0000, 0),
        1 => (0, 0x1_0000, bank),
        2 => (0x1_0000, 0x8000, 0),
        _ => (0x1_8000, 0x8000, 0),
    };
    (first..first + size).contains(&offset).then(|| offset - first + bank)
}

/// Loads and stores of all that looks through the window show plain memory, from the beginning of the bank on.
pub fn is_linear(r: &Registers) -> bool {
    const ALL: u8 = 0x0f;
    r.seq[seq::MEMORY_MODE] & seq::CHAIN_4 != 0
        && r.seq[seq::MAP_MASK] & ALL == ALL
        && r.gfx[gfx::MISCELLANEOUS] >> 2 & 3 == 1
}

/// The four bytes of the maps at an address; nothing where there is no memory.
fn quad(vram: &RamBlock, address: u64) -> Option<[u8; MAPS]> {
    let at = address.checked_mul(MAPS as u64).filter(|at| at + MAPS as u64 <= vram.size())?;
    let mut bytes = [0; MAPS];
    vram.read(at, &mut bytes);
    Some(bytes)
}

impl Latches {
    /// A load of a byte at an offset in the window.
    pub fn load(&mut self, r: &Registers, vram: &RamBlock, offset: u64, bank: u64) -> u8 {
        let Some(address) = address(r, offset, bank) else { return 0xff };
        let how = if r.seq[seq::MEMORY_MODE] & seq::CHAIN_4 != 0 {
            Addressing::Chain4
        } else if r.gfx[gfx::MODE] & gfx::ODD_EVEN != 0 {
            Addressing::OddEven
        } else {
            Addressing::Planar
        };
        let (at, map) = match how {
            Addressing::Chain4 => (address / 4, (address % 4) as u8),
            Addressing::OddEven => (address / 2, r.gfx[gfx::READ_MAP] & 2 | (address % 2) as u8),
            Addressing::Planar => (address, r.gfx[gfx::READ_MAP]),
        };
        let Some(bytes) = quad(vram, at) else { return 0xff };
        self.0 = bytes;
        if how != Addressing::Chain4 && r.gfx[gfx::MODE] & gfx::READ_MODE != 0 {
            return self.compare(r.gfx[gfx::COLOR_COMPARE], r.gfx[gfx::COLOR_DONT_CARE]);
        }
        bytes[usize::from(map & 3)]
    }
    /// Read mode 1: a bit for each pixel that has the color in those maps that count.
    fn compare(self, color: u8, counts: u8) -> u8 {
        (0..MAPS).filter(|n| counts >> n & 1 != 0).fold(0xff, |same, n| {
            let wanted = if color >> n & 1 != 0 { 0xff } else { 0 };
            same & !(self.0[n] ^ wanted)
        })
    }
    /// A store of a byte.
    pub fn store(&self, r: &Registers, vram: &RamBlock, offset: u64, bank: u64, value: u8) {
        let Some(address) = address(r, offset, bank) else { return };
        let mode = r.seq[seq::MEMORY_MODE];
        if mode & seq::CHAIN_4 != 0 {
            if r.seq[seq::MAP_MASK] >> (address % 4) & 1 != 0 && address < vram.size() {
                vram.write(address, &[value]);
            }
            return;
        }
        let (at, maps) =
            if mode & seq::SEQUENTIAL == 0 { (address / 2, 0b0101 << (address % 2)) } else { (address, 0b1111) };
        let Some(mut bytes) = quad(vram, at) else { return };
        let new = self.merge(r, value);
        for (n, byte) in bytes.iter_mut().enumerate() {
            if maps & r.seq[seq::MAP_MASK] & 1 << n != 0 {
                *byte = new[n];
            }
        }
        vram.write(at * MAPS as u64, &bytes);
    }
    /// What the maps get, by the write mode.
    fn merge(&self, r: &Registers, value: u8) -> [u8; MAPS] {
        let g = &r.gfx;
        let rotated = value.rotate_right(u32::from(g[gfx::DATA_ROTATE] & 7));
        let spread = |bits: u8, n: usize| if bits >> n & 1 != 0 { 0xff } else { 0 };
        let mask = g[gfx::BIT_MASK];
        let mix = |data: u8, latch: u8, mask: u8| {
            let result = match g[gfx::DATA_ROTATE] >> 3 & 3 {
                0 => data,
                1 => data & latch,
                2 => data | latch,
                _ => data ^ latch,
            };
            result & mask | latch & !mask
        };
        std::array::from_fn(|n| {
            let latch = self.0[n];
            match g[gfx::MODE] & 3 {
                0 if g[gfx::ENABLE_SET_RESET] >> n & 1 != 0 => mix(spread(g[gfx::SET_RESET], n), latch, mask),
                0 => mix(rotated, latch, mask),
                1 => latch,
                2 => mix(spread(value, n), latch, mask),
                _ => mix(spread(g[gfx::SET_RESET], n), latch, mask & rotated),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    struct Rig {
        r: Registers,
        vram: Arc<RamBlock>,
        latches: Latches,
    }
    fn rig() -> Rig {
        let mut r = Registers::default();
        (r.seq[seq::MEMORY_MODE], r.seq[seq::MAP_MASK]) = (0x06, 0x0f);
        (r.gfx[gfx::MISCELLANEOUS], r.gfx[gfx::BIT_MASK]) = (0x05, 0xff);
        Rig { r, vram: RamBlock::new("vga.vram", 0x4_0000).unwrap(), latches: Latches::default() }
    }
    impl Rig {
        fn load(&mut self, offset: u64) -> u8 {
            self.latches.load(&self.r, &self.vram, offset, 0)
        }
        fn store(&self, offset: u64, value: u8) {
            self.latches.store(&self.r, &self.vram, offset, 0, value);
        }
        fn maps(&self, at: u64) -> [u8; 4] {
            quad(&self.vram, at).unwrap()
        }
        fn fill(&self, at: u64, maps: [u8; 4]) {
            self.vram.write(at * 4, &maps);
        }
    }

    #[test]
    fn write_mode_0_rotates_sets_and_mixes() {
        let mut t = rig();
        t.r.gfx[gfx::DATA_ROTATE] = 4;
        t.store(0, 0x12);
        assert_eq!(t.maps(0), [0x21; 4]);
        t.r.seq[seq::MAP_MASK] = 0b0011;
        t.r.gfx[gfx::DATA_ROTATE] = 0;
        t.store(0, 0xff);
        assert_eq!(t.maps(0), [0xff, 0xff, 0x21, 0x21]);
        t.r.seq[seq::MAP_MASK] = 0x0f;
        (t.r.gfx[gfx::ENABLE_SET_RESET], t.r.gfx[gfx::SET_RESET]) = (0b0101, 0b0100);
        t.store(1, 0x55);
        assert_eq!(t.maps(1), [0, 0x55, 0xff, 0x55]);
        (t.r.gfx[gfx::ENABLE_SET_RESET], t.r.gfx[gfx::BIT_MASK]) = (0, 0x0f);
        t.fill(2, [0xf0, 0x0f, 0xff, 0x00]);
        t.load(2);
        for (function, expect) in [
            (0, [0xfa, 0x0a, 0xfa, 0x0a]),
            (1, [0xf0, 0x0a, 0xfa, 0x00]),
            (2, [0xfa, 0x0f, 0xff, 0x0a]),
            (3, [0xfa, 0x05, 0xf5, 0x0a]),
        ] {
            t.r.gfx[gfx::DATA_ROTATE] = function << 3;
            t.store(3, 0xaa);
            assert_eq!(t.maps(3), expect, "function {function}");
        }
    }

    #[test]
    fn write_modes_1_to_3() {
        let mut t = rig();
        t.fill(0, [1, 2, 3, 4]);
        t.load(0);
        t.r.gfx[gfx::MODE] = 1;
        t.store(9, 0xff);
        assert_eq!(t.maps(9), [1, 2, 3, 4]);
        t.r.gfx[gfx::MODE] = 2;
        t.r.gfx[gfx::BIT_MASK] = 0xf0;
        t.store(9, 0b1010);
        assert_eq!(t.maps(9), [0x01, 0xf2, 0x03, 0xf4]);
        t.r.gfx[gfx::MODE] = 3;
        t.r.gfx[gfx::SET_RESET] = 0b0001;
        t.store(9, 0x30);
        assert_eq!(t.maps(9), [0x31, 0x02, 0x03, 0x04]);
    }

    #[test]
    fn read_modes() {
        let mut t = rig();
        t.fill(5, [0b1100, 0b1010, 0, 0xff]);
        t.r.gfx[gfx::READ_MAP] = 1;
        assert_eq!(t.load(5), 0b1010);
        t.r.gfx[gfx::MODE] = gfx::READ_MODE;
        (t.r.gfx[gfx::COLOR_COMPARE], t.r.gfx[gfx::COLOR_DONT_CARE]) = (0b1011, 0b0011);
        assert_eq!(t.load(5), 0b1000);
        t.r.gfx[gfx::COLOR_DONT_CARE] = 0;
        assert_eq!(t.load(5), 0xff);
    }

    #[test]
    fn text_is_in_maps_0_and_1() {
        let mut t = rig();
        t.r.seq[seq::MEMORY_MODE] = 0x02;
        t.r.seq[seq::MAP_MASK] = 0x03;
        (t.r.gfx[gfx::MODE], t.r.gfx[gfx::MISCELLANEOUS]) = (gfx::ODD_EVEN, 0x0e);
        t.store(0x1_8002, b'A');
        t.store(0x1_8003, 0x07);
        assert_eq!((t.maps(1), t.load(0x1_8002), t.load(0x1_8003)), ([b'A', 7, 0, 0], b'A', 7));
        t.store(0x1_0000, b'x');
        assert_eq!((t.load(0x1_0000), t.maps(0)), (0xff, [0; 4]), "outside of the window");
    }

    #[test]
    fn chain_4_is_linear_and_has_banks() {
        let mut t = rig();
        t.r.seq[seq::MEMORY_MODE] = 0x0e;
        assert!(is_linear(&t.r));
        t.latches.store(&t.r, &t.vram, 0x7, 0x1_0000, 0x42);
        let mut byte = [0];
        t.vram.read(0x1_0007, &mut byte);
        assert_eq!((byte, t.latches.load(&t.r, &t.vram, 7, 0x1_0000)), ([0x42], 0x42));
        t.r.seq[seq::MAP_MASK] = 0b0111;
        t.store(0x3, 1);
        assert_eq!((t.load(3), is_linear(&t.r)), (0, false));
        assert_eq!(t.latches.load(&t.r, &t.vram, 0, 0x4_0000), 0xff, "beyond the memory");
        t.latches.store(&t.r, &t.vram, 0, 0x4_0000, 1);
    }
}
