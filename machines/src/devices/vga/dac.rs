//! The digital to analog converter: 256 colors, of 6 bits for each of red, green and blue, or 8 where the Bochs interface says so.

use gearbox_core::board::state::{Saved, Slice};

/// Which of red, green and blue the data port is at.
const COMPONENTS: u8 = 3;

/// The converter.
#[derive(Clone, Debug)]
pub struct Dac {
    palette: [[u8; 3]; 256],
    mask: u8,
    read_index: u8,
    write_index: u8,
    component: u8,
    /// The last address was one to read from.
    reading: bool,
    /// Colors have 8 bits for each component.
    pub eight_bits: bool,
}

impl Default for Dac {
    fn default() -> Self {
        Self {
            palette: [[0; 3]; 256],
            mask: 0xff,
            read_index: 0,
            write_index: 0,
            component: 0,
            reading: false,
            eight_bits: false,
        }
    }
}

impl Dac {
    /// What is saved of it.
    pub(super) fn saved(&mut self) -> Saved<'_> {
        let Self { palette, mask, read_index, write_index, component, reading, eight_bits } = self;
        Saved::of((Slice(palette), mask, read_index, write_index, reading, eight_bits))
            .and(Saved::sound(component, |n| *n < COMPONENTS))
    }
    /// A load from ports 3C6h to 3C9h.
    pub fn read(&mut self, port: u16) -> u8 {
        match port {
            0x3c6 => self.mask,
            0x3c7 => {
                if self.reading {
                    3
                } else {
                    0
                }
            }
            0x3c8 => self.write_index,
            _ => {
                let value = self.palette[usize::from(self.read_index)][usize::from(self.component)];
                if self.advance() {
                    self.read_index = self.read_index.wrapping_add(1);
                }
                value
            }
        }
    }
    /// A store to them.
    pub fn write(&mut self, port: u16, value: u8) {
        match port {
            0x3c6 => self.mask = value,
            0x3c7 => (self.read_index, self.component, self.reading) = (value, 0, true),
            0x3c8 => (self.write_index, self.component, self.reading) = (value, 0, false),
            _ => {
                self.palette[usize::from(self.write_index)][usize::from(self.component)] = value;
                if self.advance() {
                    self.write_index = self.write_index.wrapping_add(1);
                }
            }
        }
    }
    /// To the next component; true after the last one.
    fn advance(&mut self) -> bool {
        self.component = (self.component + 1) % COMPONENTS;
        self.component == 0
    }
    /// Red, green and blue of a color. Of six bits, the lowest one is repeated to make eight.
    pub fn color(&self, index: u8) -> [u8; 3] {
        let color = self.palette[usize::from(index & self.mask)];
        if self.eight_bits {
            return color;
        }
        color.map(|v| (v & 0x3f) << 2 | if v & 1 != 0 { 3 } else { 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colors_go_in_and_out_by_components() {
        let mut d = Dac::default();
        d.write(0x3c8, 7);
        [1, 2, 3, 4, 5, 6].into_iter().for_each(|v| d.write(0x3c9, v));
        assert_eq!((d.read(0x3c8), d.read(0x3c7)), (9, 0));
        d.write(0x3c7, 7);
        assert_eq!(d.read(0x3c7), 3);
        assert_eq!(std::array::from_fn(|_| d.read(0x3c9)), [1, 2, 3, 4, 5, 6]);
        assert_eq!((d.color(7), d.color(8)), ([7, 8, 15], [16, 23, 24]));
        d.write(0x3c6, 7);
        assert_eq!(d.color(0xff), [7, 8, 15]);
        d.eight_bits = true;
        assert_eq!(d.color(7), [1, 2, 3]);
    }
}
