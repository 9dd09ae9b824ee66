//! The registers of the VGA as a value: sequencer, CRT controller, graphics controller, attribute controller, DAC.
//!
//! Source: IBM PS/2 Hardware Interface Technical Reference, "Video Subsystem". What only chips before the VGA had (light pen) is not there.

use super::dac::Dac;
use gearbox_core::board::Saved;

/// Indexes of sequencer registers.
pub mod seq {
    #![allow(missing_docs)]
    pub const CLOCKING_MODE: usize = 1;
    pub const MAP_MASK: usize = 2;
    pub const CHARACTER_MAP: usize = 3;
    pub const MEMORY_MODE: usize = 4;
    /// Clocking mode: characters are 8 dots wide, not 9.
    pub const EIGHT_DOTS: u8 = 0x01;
    /// Clocking mode: every dot is shown twice.
    pub const HALF_DOT_CLOCK: u8 = 0x08;
    /// Clocking mode: nothing is shown.
    pub const SCREEN_OFF: u8 = 0x20;
    /// Memory mode: addresses are not divided into odd and even ones.
    pub const SEQUENTIAL: u8 = 0x04;
    /// Memory mode: the two lowest address bits select the map.
    pub const CHAIN_4: u8 = 0x08;
}

/// Indexes of registers of the CRT controller.
pub mod crtc {
    #![allow(missing_docs)]
    pub const HORIZONTAL_DISPLAY_END: usize = 0x01;
    pub const VERTICAL_TOTAL: usize = 0x06;
    pub const OVERFLOW: usize = 0x07;
    pub const MAXIMUM_SCAN_LINE: usize = 0x09;
    pub const CURSOR_START: usize = 0x0a;
    pub const CURSOR_END: usize = 0x0b;
    pub const START_HIGH: usize = 0x0c;
    pub const START_LOW: usize = 0x0d;
    pub const CURSOR_HIGH: usize = 0x0e;
    pub const CURSOR_LOW: usize = 0x0f;
    pub const VERTICAL_RETRACE_START: usize = 0x10;
    pub const VERTICAL_RETRACE_END: usize = 0x11;
    pub const VERTICAL_DISPLAY_END: usize = 0x12;
    pub const OFFSET: usize = 0x13;
    pub const UNDERLINE: usize = 0x14;
    pub const MODE_CONTROL: usize = 0x17;
    pub const LINE_COMPARE: usize = 0x18;
    /// Vertical retrace end: registers 0 to 7 are protected.
    pub const PROTECT: u8 = 0x80;
    /// Overflow: bit 8 of line compare, which is not protected.
    pub const LINE_COMPARE_8: u8 = 0x10;
    /// Maximum scan line: every line is shown twice.
    pub const DOUBLE_SCAN: u8 = 0x80;
    /// Cursor start: there is no cursor.
    pub const CURSOR_OFF: u8 = 0x20;
}

/// Indexes of registers of the graphics controller.
pub mod gfx {
    #![allow(missing_docs)]
    pub const SET_RESET: usize = 0;
    pub const ENABLE_SET_RESET: usize = 1;
    pub const COLOR_COMPARE: usize = 2;
    pub const DATA_ROTATE: usize = 3;
    pub const READ_MAP: usize = 4;
    pub const MODE: usize = 5;
    pub const MISCELLANEOUS: usize = 6;
    pub const COLOR_DONT_CARE: usize = 7;
    pub const BIT_MASK: usize = 8;
    /// Mode: read mode 1.
    pub const READ_MODE: u8 = 0x08;
    /// Mode: loads are divided into odd and even ones.
    pub const ODD_EVEN: u8 = 0x10;
    /// Miscellaneous: graphics, not text.
    pub const GRAPHICS: u8 = 0x01;
}

/// Indexes of registers of the attribute controller.
pub mod attr {
    #![allow(missing_docs)]
    pub const MODE_CONTROL: usize = 0x10;
    pub const OVERSCAN: usize = 0x11;
    pub const PLANE_ENABLE: usize = 0x12;
    pub const PIXEL_PANNING: usize = 0x13;
    pub const COLOR_SELECT: usize = 0x14;
    /// Mode control: attributes are those of a monochrome adapter.
    pub const MONOCHROME: u8 = 0x02;
    /// Mode control: the ninth dot of line-drawing characters is their eighth.
    pub const LINE_GRAPHICS: u8 = 0x04;
    /// Mode control: bit 7 of an attribute is not a color's but makes the character blink.
    pub const BLINK: u8 = 0x08;
    /// Mode control: bits 4 and 5 of a color come from the color select register.
    pub const SELECT_45: u8 = 0x80;
    /// Address register: the palette belongs to the screen, and the screen shows something.
    pub const SCREEN_ON: u8 = 0x20;
}

/// Miscellaneous output: the CRT controller and the status are at 3Dxh, not 3Bxh.
const COLOR_PORTS: u8 = 0x01;
/// Bits that each sequencer register has.
const SEQ_BITS: [u8; 8] = [0x03, 0x3d, 0x0f, 0x3f, 0x0e, 0x00, 0x00, 0xff];
/// Bits that each register of the graphics controller has.
const GFX_BITS: [u8; 16] = [0x0f, 0x0f, 0x0f, 0x1f, 0x03, 0x7b, 0x0f, 0x0f, 0xff, 0, 0, 0, 0, 0, 0, 0];
/// Bits that each register of the attribute controller has.
const ATTR_BITS: [u8; 0x15] = [
    0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, 0x3f, //
    0xef, 0xff, 0x3f, 0x0f, 0x0f,
];
/// Registers of the CRT controller.
const CRTC_REGISTERS: u8 = 0x19;

/// Duration of a line: 31.469 kHz.
const LINE_NS: u64 = 31_778;

/// All registers.
#[derive(Clone, Debug)]
pub struct Registers {
    misc: u8,
    feature: u8,
    seq_index: u8,
    /// Sequencer; see [`seq`].
    pub seq: [u8; 8],
    crtc_index: u8,
    /// CRT controller; see [`crtc`].
    pub crtc: [u8; CRTC_REGISTERS as usize],
    gfx_index: u8,
    /// Graphics controller; see [`gfx`].
    pub gfx: [u8; 16],
    attr_index: u8,
    /// The next store to 3C0h is data.
    attr_data: bool,
    /// Attribute controller; see [`attr`].
    pub attr: [u8; ATTR_BITS.len()],
    /// Colors.
    pub dac: Dac,
}

impl Default for Registers {
    fn default() -> Self {
        Self {
            misc: 0,
            feature: 0,
            seq_index: 0,
            seq: [0; 8],
            crtc_index: 0,
            crtc: [0; CRTC_REGISTERS as usize],
            gfx_index: 0,
            gfx: [0; 16],
            attr_index: 0,
            attr_data: false,
            attr: [0; ATTR_BITS.len()],
            dac: Dac::default(),
        }
    }
}

impl Registers {
    /// What is saved of them.
    pub(super) fn saved(&mut self) -> Saved<'_> {
        let Self { misc, feature, seq_index, seq, crtc_index, crtc, gfx_index, gfx, attr_index, attr_data, attr, dac } =
            self;
        let within = |values: &[u8], bits: &[u8]| values.iter().zip(bits).all(|(value, bits)| value & !bits == 0);
        let indexed = |index: u8, values: &[u8]| usize::from(index) < values.len();
        Saved::of((misc, feature, crtc_index, crtc, attr_index, attr_data))
            .and(Saved::sound((seq_index, seq), move |(n, seq)| indexed(*n, seq) && within(seq, &SEQ_BITS)))
            .and(Saved::sound((gfx_index, gfx), move |(n, gfx)| indexed(*n, gfx) && within(gfx, &GFX_BITS)))
            .and(Saved::sound(attr, move |attr| within(attr, &ATTR_BITS)))
            .and(dac.saved())
    }
    /// The adapter answers at this port, of those that there are twice: for color and for monochrome monitors.
    fn decodes(&self, port: u16) -> bool {
        let color = self.misc & COLOR_PORTS != 0;
        match port & 0x3f0 {
            0x3b0 => !color,
            0x3d0 => color,
            _ => true,
        }
    }
    /// A load from a port, at machine time `now` in ns.
    pub fn read(&mut self, port: u16, now: u64) -> u8 {
        if !self.decodes(port) {
            return 0xff;
        }
        match port {
            0x3c0 if self.attr_data => 0,
            0x3c0 => self.attr_index,
            0x3c1 => self.attr.get(usize::from(self.attr_index & 0x1f)).copied().unwrap_or(0),
            // Input status 0: no interrupt, and no switch that senses.
            0x3c2 => 0,
            0x3c4 => self.seq_index,
            0x3c5 => self.seq[usize::from(self.seq_index)],
            0x3c6..=0x3c9 => self.dac.read(port),
            0x3ca => self.feature,
            0x3cc => self.misc,
            0x3ce => self.gfx_index,
            0x3cf => self.gfx[usize::from(self.gfx_index)],
            0x3b4 | 0x3d4 => self.crtc_index,
            0x3b5 | 0x3d5 => self.crtc.get(usize::from(self.crtc_index)).copied().unwrap_or(0),
            0x3ba | 0x3da => {
                self.attr_data = false;
                self.status(now)
            }
            _ => 0,
        }
    }
    /// A store to a port.
    pub fn write(&mut self, port: u16, value: u8) {
        if !self.decodes(port) {
            return;
        }
        match port {
            0x3c0 => self.write_attribute(value),
            0x3c2 => self.misc = value & !0x10,
            0x3c4 => self.seq_index = value & 7,
            0x3c5 => {
                let n = usize::from(self.seq_index);
                self.seq[n] = value & SEQ_BITS[n];
            }
            0x3c6..=0x3c9 => self.dac.write(port, value),
            0x3ce => self.gfx_index = value & 0xf,
            0x3cf => {
                let n = usize::from(self.gfx_index);
                self.gfx[n] = value & GFX_BITS[n];
            }
            0x3b4 | 0x3d4 => self.crtc_index = value,
            0x3b5 | 0x3d5 => self.write_crtc(value),
            0x3ba | 0x3da => self.feature = value & 0x10,
            _ => {}
        }
    }
    fn write_attribute(&mut self, value: u8) {
        if self.attr_data {
            let n = usize::from(self.attr_index & 0x1f);
            if let Some(register) = self.attr.get_mut(n) {
                *register = value & ATTR_BITS[n];
            }
        } else {
            self.attr_index = value & 0x3f;
        }
        self.attr_data = !self.attr_data;
    }
    fn write_crtc(&mut self, value: u8) {
        let n = usize::from(self.crtc_index);
        let protected = self.crtc[crtc::VERTICAL_RETRACE_END] & crtc::PROTECT != 0 && n <= crtc::OVERFLOW;
        let Some(register) = self.crtc.get_mut(n) else { return };
        match (protected, n) {
            (false, _) => *register = value,
            (true, crtc::OVERFLOW) => *register = *register & !crtc::LINE_COMPARE_8 | value & crtc::LINE_COMPARE_8,
            (true, _) => {}
        }
    }
    /// Input status 1, from where the beam would be: bit 0 while it draws nothing, bit 3 while it returns to the top.
    fn status(&self, now: u64) -> u8 {
        const BLANK: u8 = 0x01;
        const RETRACE: u8 = 0x08;
        /// Share of a line in which dots are drawn.
        const DRAWN: u64 = LINE_NS * 4 / 5;
        let total = u64::from(self.vertical(crtc::VERTICAL_TOTAL, 0, 5)) + 2;
        let start = u64::from(self.vertical(crtc::VERTICAL_RETRACE_START, 2, 7)).min(total - 2);
        let line = now / LINE_NS % total;
        if line >= start {
            return BLANK | if line < start + 2 { RETRACE } else { 0 };
        }
        let drawn = line < u64::from(self.height()) && now % LINE_NS < DRAWN;
        u8::from(!drawn)
    }

    /// A vertical count: a register, and its bits 8 and 9 from the overflow register.
    fn vertical(&self, register: usize, bit_8: u8, bit_9: u8) -> u32 {
        let overflow = u32::from(self.crtc[crtc::OVERFLOW]);
        u32::from(self.crtc[register]) | (overflow >> bit_8 & 1) << 8 | (overflow >> bit_9 & 1) << 9
    }
    /// Lines that are shown.
    pub fn height(&self) -> u32 {
        self.vertical(crtc::VERTICAL_DISPLAY_END, 1, 6) + 1
    }
    /// The line after which the screen goes on with what is at address 0.
    pub fn line_compare(&self) -> u32 {
        let bit_9 = u32::from(self.crtc[crtc::MAXIMUM_SCAN_LINE] >> 6 & 1) << 9;
        let bit_8 = u32::from(self.crtc[crtc::OVERFLOW] & crtc::LINE_COMPARE_8) << 4;
        u32::from(self.crtc[crtc::LINE_COMPARE]) | bit_8 | bit_9
    }
    /// Sets the count of lines, 1 to 1024.
    pub fn set_height(&mut self, lines: u32) {
        let last = lines.clamp(1, 1024) - 1;
        self.crtc[crtc::VERTICAL_DISPLAY_END] = last as u8;
        let overflow = &mut self.crtc[crtc::OVERFLOW];
        *overflow = *overflow & !0x42 | (last >> 7) as u8 & 2 | (last >> 3) as u8 & 0x40;
    }
    /// Two registers of the CRT controller as one number.
    pub fn crtc_word(&self, high: usize, low: usize) -> u32 {
        u32::from(self.crtc[high]) << 8 | u32::from(self.crtc[low])
    }
    /// The screen shows something.
    pub fn screen_on(&self) -> bool {
        self.attr_index & attr::SCREEN_ON != 0 && self.seq[seq::CLOCKING_MODE] & seq::SCREEN_OFF == 0
    }
    /// It shows graphics, not text.
    pub fn is_graphics(&self) -> bool {
        self.gfx[gfx::MISCELLANEOUS] & gfx::GRAPHICS != 0
    }
    /// How many scan lines a character has, or how often a line is repeated.
    pub fn scan_lines(&self) -> u32 {
        u32::from(self.crtc[crtc::MAXIMUM_SCAN_LINE] & 0x1f) + 1
    }
    /// The color that the attribute controller makes of four bits.
    pub fn color_16(&self, index: u8) -> [u8; 3] {
        let v = self.attr[usize::from(index & 0xf)];
        let select = self.attr[attr::COLOR_SELECT];
        let color = if self.attr[attr::MODE_CONTROL] & attr::SELECT_45 != 0 {
            select << 4 | v & 0xf
        } else {
            (select & 0xc) << 4 | v & 0x3f
        };
        self.dac.color(color)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_and_data_registers_keep_their_bits() {
        let mut r = Registers::default();
        r.write(0x3c2, 0x67);
        for (index, data, n, value, kept) in [
            (0x3c4, 0x3c5, 2, 0xff, 0x0f),
            (0x3c4, 0x3c5, 4, 0xff, 0x0e),
            (0x3ce, 0x3cf, 5, 0xff, 0x7b),
            (0x3ce, 0x3cf, 8, 0xa5, 0xa5),
            (0x3d4, 0x3d5, 0x13, 0x28, 0x28),
            (0x3d4, 0x3d5, 0x40, 0x28, 0),
        ] {
            r.write(index, n);
            r.write(data, value);
            assert_eq!((r.read(index, 0), r.read(data, 0)), (n, kept), "{index:#x} {n:#x}");
        }
        assert_eq!(r.read(0x3cc, 0), 0x67);
    }

    #[test]
    fn the_attribute_controller_alternates() {
        let mut r = Registers::default();
        r.write(0x3c2, 1);
        for v in [0x10, 0xff, 0x32, 0x0f, 0x1f, 0xff] {
            r.write(0x3c0, v);
        }
        assert_eq!((r.attr[0x10], r.attr[0x12]), (0xef, 0x0f));
        r.write(0x3c0, 0x10);
        r.read(0x3da, 0);
        r.write(0x3c0, 0x32);
        assert_eq!((r.read(0x3c1, 0), r.attr[0x10], r.screen_on()), (0x0f, 0xef, true));
    }

    #[test]
    fn protected_registers_but_for_one_bit() {
        let mut r = Registers::default();
        r.write(0x3c2, 1);
        let mut set = |n, v| {
            r.write(0x3d4, n);
            r.write(0x3d5, v);
            r.read(0x3d5, 0)
        };
        assert_eq!(set(0x07, 0x1f), 0x1f);
        set(0x11, 0x8e);
        assert_eq!((set(0x00, 0x5f), set(0x07, 0x00)), (0, 0x0f));
        set(0x11, 0x0e);
        assert_eq!(set(0x00, 0x5f), 0x5f);
    }

    #[test]
    fn monochrome_ports_and_color_ports_exclude_each_other() {
        let mut r = Registers::default();
        r.write(0x3b4, 0x0f);
        assert_eq!((r.read(0x3b4, 0), r.read(0x3d4, 0)), (0x0f, 0xff));
        r.write(0x3c2, 1);
        assert_eq!((r.read(0x3b4, 0), r.read(0x3d4, 0)), (0xff, 0x0f));
    }

    #[test]
    fn the_beam_returns_once_in_a_frame() {
        let mut r = Registers::default();
        r.write(0x3c2, 1);
        // 400 lines of 449, as in the text mode.
        for (n, v) in [(0x06, 0xbf), (0x07, 0x1f), (0x10, 0x9c), (0x12, 0x8f)] {
            r.write(0x3d4, n);
            r.write(0x3d5, v);
        }
        assert_eq!(r.height(), 400);
        let seen: Vec<_> = (0..449).map(|line| r.read(0x3da, line * LINE_NS)).collect();
        assert_eq!(seen.iter().filter(|s| **s & 8 != 0).count(), 2);
        assert_eq!(seen.iter().filter(|s| **s & 1 == 0).count(), 400);
        assert_eq!(r.read(0x3da, LINE_NS - 1) & 1, 1, "between two lines");
        r = Registers::default();
        (0..100).for_each(|n| {
            r.read(0x3ba, n * 1_000_003);
        });
    }

    #[test]
    fn heights_are_read_as_they_were_set() {
        let mut r = Registers::default();
        for lines in [1, 200, 256, 257, 480, 600, 768, 1024] {
            r.set_height(lines);
            assert_eq!(r.height(), lines);
        }
    }
}
