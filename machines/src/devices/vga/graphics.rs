//! Graphics modes: sixteen colors from four maps, four colors as on the CGA, 256 colors, and what the Bochs interface adds.

use super::Screen;
use super::dispi::Mode;
use super::registers::{attr, crtc, gfx, seq};
use gearbox_core::backend::display::Picture;

/// The largest picture of the VGA's own registers.
const MOST_WIDTH: u32 = 2048;

/// How bytes become pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// One bit in each of four maps.
    Planar,
    /// Two bits, first four pixels from map 0, then four from map 1; maps 2 and 3 have two more bits.
    Cga,
    /// A byte.
    Packed,
}

/// Draws what the Bochs interface's mode shows.
pub(super) fn draw_mode(s: &Screen<'_>, m: Mode) -> Picture {
    let mut picture = Picture::new(m.width, m.height);
    let bytes = (u64::from(m.width) * u64::from(if m.bits == 15 { 16 } else { m.bits })).div_ceil(8);
    let mut row = vec![0; bytes as usize];
    let dac: [[u8; 3]; 256] = std::array::from_fn(|n| s.registers.dac.color(n as u8));
    for y in 0..m.height {
        s.bytes(m.start + m.pitch * u64::from(y), &mut row);
        let target = picture.row(y);
        match m.bits {
            4 => planar(s, &row).zip(target.chunks_exact_mut(3)).for_each(|(c, p)| p.copy_from_slice(&c)),
            8 => pixels(&row, target, |[c]: [u8; 1]| dac[usize::from(c)]),
            15 => pixels(&row, target, |b| rgb(u16::from_le_bytes(b).into(), [(10, 5), (5, 5), (0, 5)])),
            16 => pixels(&row, target, |b| rgb(u16::from_le_bytes(b).into(), [(11, 5), (5, 6), (0, 5)])),
            24 => pixels(&row, target, |[b, g, r]: [u8; 3]| [r, g, b]),
            _ => pixels(&row, target, |[b, g, r, _]: [u8; 4]| [r, g, b]),
        }
    }
    picture
}

/// Makes a pixel of each `N` bytes.
fn pixels<const N: usize>(row: &[u8], target: &mut [u8], color: impl Fn([u8; N]) -> [u8; 3]) {
    let sources = row.chunks_exact(N).filter_map(|b| b.try_into().ok());
    sources.zip(target.chunks_exact_mut(3)).for_each(|(b, pixel)| pixel.copy_from_slice(&color(b)));
}

/// Red, green and blue from bit fields, each given by its shift and width; the upper bits fill what is missing below.
fn rgb(value: u32, fields: [(u32, u32); 3]) -> [u8; 3] {
    fields.map(|(shift, width)| {
        let v = (value >> shift & ((1 << width) - 1)) << (8 - width);
        (v | v >> width) as u8
    })
}

/// Colors of pixels with a bit in each of four maps.
fn planar<'a>(s: &'a Screen<'_>, row: &'a [u8]) -> impl Iterator<Item = [u8; 3]> + 'a {
    let enabled = s.registers.attr[attr::PLANE_ENABLE];
    let palette: [[u8; 3]; 16] = std::array::from_fn(|n| s.registers.color_16(n as u8 & enabled));
    row.chunks_exact(4).flat_map(move |maps| {
        let maps = [maps[0], maps[1], maps[2], maps[3]];
        (0..8).rev().map(move |bit| {
            let index = maps.iter().rev().fold(0, |v, map| v << 1 | map >> bit & 1);
            palette[usize::from(index)]
        })
    })
}

/// Colors of pixels with two bits in two maps each.
fn cga<'a>(s: &'a Screen<'_>, row: &'a [u8]) -> impl Iterator<Item = [u8; 3]> + 'a {
    let enabled = s.registers.attr[attr::PLANE_ENABLE];
    row.chunks_exact(4).flat_map(move |maps| {
        [(maps[0], maps[2]), (maps[1], maps[3])].into_iter().flat_map(move |(low, high)| {
            [6, 4, 2, 0].map(|shift| s.registers.color_16((low >> shift & 3 | (high >> shift & 3) << 2) & enabled))
        })
    })
}

/// Draws what the VGA's own registers show.
pub(super) fn draw(s: &Screen<'_>) -> Picture {
    let r = s.registers;
    let format = match r.gfx[gfx::MODE] >> 5 & 3 {
        0 => Format::Planar,
        1 => Format::Cga,
        _ => Format::Packed,
    };
    let halved = r.seq[seq::CLOCKING_MODE] & seq::HALF_DOT_CLOCK != 0;
    let dots = (u32::from(r.crtc[crtc::HORIZONTAL_DISPLAY_END]) + 1) * 8;
    // 256 colors take two clocks for each pixel.
    let (sources, repeat) = match format {
        Format::Packed => (dots / 2, 2),
        _ if halved => (dots, 2),
        _ => (dots, 1),
    };
    let mut picture = Picture::new((sources * repeat).min(MOST_WIDTH), r.height());
    // One more group of pixels than is shown, since panning moves them to the left.
    let bytes = if format == Format::Packed { sources + 4 } else { sources / 8 * 4 + 4 };
    let mut row = vec![0; bytes as usize];
    let panning = usize::from(r.attr[attr::PIXEL_PANNING] & 7) / if format == Format::Packed { 2 } else { 1 };
    let mut rows = Rows::new(s, format);
    for y in 0..picture.height {
        s.bytes(rows.address(), &mut row);
        let colors: Vec<[u8; 3]> = match format {
            Format::Planar => planar(s, &row).collect(),
            Format::Cga => cga(s, &row).collect(),
            Format::Packed => row.iter().map(|&c| r.dac.color(c)).collect(),
        };
        let shown = colors.iter().skip(panning).flat_map(|c| std::iter::repeat_n(c, repeat as usize));
        picture.row(y).chunks_exact_mut(3).zip(shown).for_each(|(pixel, c)| pixel.copy_from_slice(c));
        rows.next(y);
    }
    picture
}

/// Where the rows are.
struct Rows<'a> {
    s: &'a Screen<'a>,
    /// Of the row, before the substitution of address bits.
    base: u64,
    /// Which row of the memory it is.
    row: u64,
    /// How often a row is shown, and how often it has been.
    repeat: u32,
    shown: u32,
}

impl<'a> Rows<'a> {
    fn new(s: &'a Screen<'a>, format: Format) -> Self {
        let r = s.registers;
        let double = r.crtc[crtc::MAXIMUM_SCAN_LINE] & crtc::DOUBLE_SCAN != 0;
        // On the CGA, the scan lines of a "character" are different rows.
        let lines = if format == Format::Cga { 1 } else { r.scan_lines() };
        let base = u64::from(r.crtc_word(crtc::START_HIGH, crtc::START_LOW)) * 4;
        Self { s, base, row: 0, repeat: lines << u32::from(double), shown: 0 }
    }
    /// Bits 0 and 1 of the mode control: rows are addressed by the base alone.
    fn mode(&self) -> u8 {
        self.s.registers.crtc[crtc::MODE_CONTROL]
    }
    fn address(&self) -> u64 {
        let mut at = self.base;
        if self.mode() & 1 == 0 {
            // Address bit 13 is the lowest bit of the row; words are addressed by one bit fewer than bytes.
            let shift = 14 + u32::from(self.mode() >> 6 & 1);
            at = at & !(1 << shift) | (self.row & 1) << shift;
        }
        if self.mode() & 2 == 0 {
            at = at & !0x8000 | (self.row & 2) << 14;
        }
        at
    }
    /// Goes on after row `y` of the screen.
    fn next(&mut self, y: u32) {
        self.shown += 1;
        if self.shown >= self.repeat {
            let substituted = u64::from(!self.mode() & 3);
            if self.row & substituted == substituted {
                self.base += u64::from(self.s.registers.crtc[crtc::OFFSET]) * 8;
            }
            self.row += 1;
            self.shown = 0;
        }
        if y == self.s.registers.line_compare() {
            self.base = 0;
        }
    }
}
