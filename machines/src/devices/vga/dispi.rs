//! The Bochs display interface: modes of any size by a few registers ("VBE DISPI"; QEMU, docs/specs/standard-vga).

use gearbox_core::board::Saved;

/// Indexes of the registers.
pub mod index {
    #![allow(missing_docs)]
    pub const ID: u16 = 0;
    pub const XRES: u16 = 1;
    pub const YRES: u16 = 2;
    pub const BPP: u16 = 3;
    pub const ENABLE: u16 = 4;
    pub const BANK: u16 = 5;
    pub const VIRT_WIDTH: u16 = 6;
    pub const VIRT_HEIGHT: u16 = 7;
    pub const X_OFFSET: u16 = 8;
    pub const Y_OFFSET: u16 = 9;
    pub const VIDEO_MEMORY_64K: u16 = 10;
}

/// Number of registers.
pub const REGISTERS: u16 = 11;

/// Bits of the enable register.
pub mod enable {
    #![allow(missing_docs)]
    pub const ENABLED: u16 = 0x01;
    /// Sizes and depth read as the largest possible.
    pub const GET_CAPS: u16 = 0x02;
    pub const EIGHT_BIT_DAC: u16 = 0x20;
    pub const LINEAR: u16 = 0x40;
    pub const NO_CLEAR: u16 = 0x80;
}

/// Versions of the interface: a driver asks for one, the adapter is the latest.
const IDS: std::ops::RangeInclusive<u16> = 0xb0c0..=0xb0c5;
/// Largest width, height and depth.
const MOST: (u16, u16, u16) = (16000, 12000, 32);
/// A bank is what fits the window at A0000h.
const BANK: u64 = 64 << 10;

/// The registers.
#[derive(Clone, Copy, Debug)]
pub struct Dispi {
    /// Bytes of video memory.
    memory: u64,
    id: u16,
    /// As the driver wrote them.
    xres: u16,
    yres: u16,
    bpp: u16,
    enable: u16,
    bank: u16,
    virt_width: u16,
    x_offset: u16,
    y_offset: u16,
}

/// A mode that fits the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mode {
    /// Pixels in a row that are shown.
    pub width: u32,
    /// Rows that are shown.
    pub height: u32,
    /// 4, 8, 15, 16, 24 or 32.
    pub bits: u16,
    /// Bytes from a row to the next.
    pub pitch: u64,
    /// First byte that is shown.
    pub start: u64,
}

/// What a store asks of the adapter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    None,
    /// The mode is another one.
    Mode,
    /// It is switched on, and the memory is to be cleared.
    Clear,
    /// It is switched off, or the bank is another one.
    Off,
}

impl Dispi {
    /// For an adapter with so many bytes of video memory.
    pub fn new(memory: u64) -> Self {
        Self {
            memory,
            id: *IDS.end(),
            xres: 0,
            yres: 0,
            bpp: 8,
            enable: 0,
            bank: 0,
            virt_width: 0,
            x_offset: 0,
            y_offset: 0,
        }
    }
    /// What is saved of it.
    pub(super) fn saved(&mut self) -> Saved<'_> {
        let Self { memory, id, xres, yres, bpp, enable, bank, virt_width, x_offset, y_offset } = self;
        let banks = *memory / BANK;
        Saved::of((id, xres, yres, bpp, enable, virt_width, x_offset, y_offset))
            .and(Saved::sound(bank, move |bank| u64::from(*bank) < banks))
    }
    /// Offset of the bank that the window shows.
    pub fn bank(&self) -> u64 {
        u64::from(self.bank) * BANK
    }
    /// Colors have 8 bits for each component.
    pub fn eight_bit_dac(&self) -> bool {
        self.enable & enable::EIGHT_BIT_DAC != 0
    }
    /// The mode that is shown, as far as the registers can be honoured: sizes are rounded and cut to what there is memory for.
    pub fn mode(&self) -> Option<Mode> {
        if self.enable & enable::ENABLED == 0 {
            return None;
        }
        let bits = if [4, 8, 15, 16, 24, 32].contains(&self.bpp) { self.bpp } else { 8 };
        let stored = u64::from(if bits == 15 { 16 } else { bits });
        let bytes = |pixels: u64| pixels * stored / 8;
        let width = (u64::from(self.xres.min(MOST.0)) & !7).max(8);
        let pitch = bytes((u64::from(self.virt_width.min(MOST.0)) & !7).max(width));
        let lines = self.memory / pitch;
        let height = u64::from(self.yres.clamp(1, MOST.1)).min(lines);
        let start = bytes(self.x_offset.into()) + pitch * u64::from(self.y_offset);
        let fits = start + pitch * height <= self.memory;
        Some(Mode { width: width as u32, height: height as u32, bits, pitch, start: if fits { start } else { 0 } })
    }
    /// A load of a register.
    pub fn read(&self, register: u16) -> u16 {
        let mode = self.mode();
        let caps = self.enable & enable::GET_CAPS != 0;
        match register {
            index::ID => self.id,
            index::XRES if caps => MOST.0,
            index::YRES if caps => MOST.1,
            index::BPP if caps => MOST.2,
            index::XRES => mode.map_or(self.xres, |m| m.width as u16),
            index::YRES => mode.map_or(self.yres, |m| m.height as u16),
            index::BPP => self.bpp,
            index::ENABLE => self.enable,
            index::BANK => self.bank,
            index::VIRT_WIDTH => mode.map_or(self.virt_width, |m| self.virt_width.max(m.width as u16)),
            index::VIRT_HEIGHT => mode.map_or(0, |m| (self.memory / m.pitch).min(u16::MAX.into()) as u16),
            index::X_OFFSET => self.x_offset,
            index::Y_OFFSET => self.y_offset,
            index::VIDEO_MEMORY_64K => (self.memory / BANK) as u16,
            _ => 0,
        }
    }
    /// A store to a register.
    pub fn write(&mut self, register: u16, value: u16) -> Change {
        let field = match register {
            index::ID => {
                self.id = if IDS.contains(&value) { value } else { self.id };
                return Change::None;
            }
            index::ENABLE => return self.switch(value),
            index::BANK => {
                self.bank = (u64::from(value) % (self.memory / BANK)) as u16;
                return Change::Off;
            }
            index::XRES => &mut self.xres,
            index::YRES => &mut self.yres,
            index::BPP => &mut self.bpp,
            index::VIRT_WIDTH => &mut self.virt_width,
            index::X_OFFSET => &mut self.x_offset,
            index::Y_OFFSET => &mut self.y_offset,
            _ => return Change::None,
        };
        *field = value;
        if self.mode().is_some() { Change::Mode } else { Change::None }
    }
    fn switch(&mut self, value: u16) -> Change {
        let (was, on) = (self.enable & enable::ENABLED != 0, value & enable::ENABLED != 0);
        self.enable = value;
        match (was, on) {
            (false, true) => {
                (self.virt_width, self.x_offset, self.y_offset) = (0, 0, 0);
                if value & enable::NO_CLEAR == 0 { Change::Clear } else { Change::Mode }
            }
            (true, true) => Change::Mode,
            _ => {
                self.bank = 0;
                Change::Off
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(registers: &[(u16, u16)]) -> Dispi {
        let mut d = Dispi::new(16 << 20);
        registers.iter().for_each(|&(n, v)| {
            d.write(n, v);
        });
        d
    }

    #[test]
    fn a_mode_as_a_driver_sets_it() {
        let mut d = with(&[(index::XRES, 1024), (index::YRES, 768), (index::BPP, 32)]);
        assert_eq!((d.mode(), d.read(index::VIDEO_MEMORY_64K), d.read(index::ID)), (None, 256, 0xb0c5));
        assert_eq!(d.write(index::ENABLE, 0x41), Change::Clear);
        let mode = Mode { width: 1024, height: 768, bits: 32, pitch: 4096, start: 0 };
        assert_eq!((d.mode(), d.read(index::VIRT_HEIGHT)), (Some(mode), 4096));
        d.write(index::VIRT_WIDTH, 2048);
        d.write(index::X_OFFSET, 16);
        assert_eq!(d.write(index::Y_OFFSET, 100), Change::Mode);
        assert_eq!(d.mode(), Some(Mode { pitch: 8192, start: 100 * 8192 + 64, ..mode }));
        assert_eq!(d.write(index::ENABLE, 0), Change::Off);
        assert_eq!(d.mode(), None);
    }

    #[test]
    fn capabilities_and_versions() {
        let mut d = with(&[(index::ENABLE, enable::GET_CAPS), (index::ID, 0xb0c2)]);
        assert_eq!([index::XRES, index::YRES, index::BPP].map(|n| d.read(n)), [16000, 12000, 32]);
        assert_eq!(d.read(index::ID), 0xb0c2);
        d.write(index::ID, 0xb0ff);
        assert_eq!((d.read(index::ID), d.read(0x1234)), (0xb0c2, 0));
    }

    #[test]
    fn nothing_reaches_beyond_the_memory() {
        for (x, y, bpp) in [(0, 0, 0), (u16::MAX, u16::MAX, 32), (u16::MAX, u16::MAX, 4), (7, 1, 24), (640, 480, 13)] {
            for (v, xo, yo) in [(0, 0, 0), (u16::MAX, u16::MAX, u16::MAX), (9, 1, 12000)] {
                let d = with(&[
                    (index::XRES, x),
                    (index::YRES, y),
                    (index::BPP, bpp),
                    (index::ENABLE, 0x81),
                    (index::VIRT_WIDTH, v),
                    (index::X_OFFSET, xo),
                    (index::Y_OFFSET, yo),
                ]);
                let m = d.mode().unwrap();
                assert!(m.width >= 8 && m.height >= 1 && m.pitch >= 4, "{m:?}");
                assert!(m.start + m.pitch * u64::from(m.height) <= 16 << 20, "{m:?}");
            }
        }
        assert_eq!(with(&[(index::BANK, 300)]).bank(), 44 << 16);
    }
}
