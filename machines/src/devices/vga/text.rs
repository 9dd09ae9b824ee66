//! Text modes: characters and attributes in maps 0 and 1, their shapes in map 2.

use super::Screen;
use super::registers::{attr, crtc, seq};
use gearbox_core::backend::display::{Cell, Picture, TextScreen};

/// Bytes that a character's shape has in map 2.
const SHAPE: u64 = 32;
/// Bytes that a character has in the video memory: one in each map.
const CELL: u64 = 4;
/// The largest screen that is drawn, in characters: what a guest programs is bounded.
const MOST: (u32, u32) = (256, 256);

/// How characters are laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Layout {
    columns: u32,
    rows: u32,
    /// Dots of a character that are drawn, and how wide each of them is.
    dots: u32,
    dot_width: u32,
    scan_lines: u32,
    /// First character, in characters, and from a line to the next.
    start: u64,
    pitch: u64,
}

fn layout(s: &Screen<'_>) -> Layout {
    let r = s.registers;
    let clocking = r.seq[seq::CLOCKING_MODE];
    let doubled = clocking & seq::HALF_DOT_CLOCK != 0;
    let scan_lines = r.scan_lines();
    Layout {
        columns: (u32::from(r.crtc[crtc::HORIZONTAL_DISPLAY_END]) + 1).min(MOST.0),
        rows: (r.height() / scan_lines).clamp(1, MOST.1),
        dots: if clocking & seq::EIGHT_DOTS != 0 || doubled { 8 } else { 9 },
        dot_width: if doubled { 2 } else { 1 },
        scan_lines,
        start: r.crtc_word(crtc::START_HIGH, crtc::START_LOW).into(),
        pitch: u64::from(r.crtc[crtc::OFFSET]) * 2,
    }
}

/// A character as it is in the memory.
#[derive(Clone, Copy)]
struct Character {
    code: u8,
    attribute: u8,
}

impl Character {
    /// Colors of the character and of what is behind it, as numbers of four bits.
    fn colors(self, s: &Screen<'_>) -> (u8, u8) {
        let blinks = s.registers.attr[attr::MODE_CONTROL] & attr::BLINK != 0;
        (self.attribute & 0xf, self.attribute >> 4 & if blinks { 7 } else { 0xf })
    }
    fn cell(self, s: &Screen<'_>) -> Cell {
        let (ink, paper) = self.colors(s);
        Cell { code: self.code, ink: s.registers.color_16(ink), paper: s.registers.color_16(paper) }
    }
    /// Dots of one of its scan lines, the leftmost in bit 8; the ninth dot is empty, or the eighth again in characters that draw lines.
    fn dots(self, s: &Screen<'_>, line: u32) -> u16 {
        let r = s.registers;
        let map = r.seq[seq::CHARACTER_MAP];
        // Bit 3 of the attribute selects one of two sets, each in one of eight places.
        let number = if self.attribute & 8 != 0 { map >> 2 & 3 | map >> 3 & 4 } else { map & 3 | map >> 2 & 4 };
        let place = u64::from(number & 3) * 0x4000 + u64::from(number >> 2) * 0x2000;
        let shape = s.map(place + u64::from(self.code) * SHAPE + u64::from(line), 2);
        let mode = r.attr[attr::MODE_CONTROL];
        let joins = mode & attr::LINE_GRAPHICS != 0 && (0xc0..=0xdf).contains(&self.code);
        let underlined = mode & attr::MONOCHROME != 0
            && self.attribute & 7 == 1
            && line == u32::from(r.crtc[crtc::UNDERLINE] & 0x1f);
        if underlined { 0x1ff } else { u16::from(shape) << 1 | u16::from(shape) & u16::from(joins) }
    }
}

/// The characters that are shown, line by line.
fn characters(s: &Screen<'_>, l: Layout) -> impl Iterator<Item = Character> {
    (0..l.rows).flat_map(move |row| {
        (0..l.columns).map(move |column| {
            let at = l.start + l.pitch * u64::from(row) + u64::from(column);
            Character { code: s.byte(at * CELL), attribute: s.byte(at * CELL + 1) }
        })
    })
}

/// Column and line of the cursor, and the scan lines that it covers.
fn cursor(s: &Screen<'_>, l: Layout) -> Option<((u32, u32), std::ops::RangeInclusive<u32>)> {
    let r = s.registers;
    let (first, last) = (r.crtc[crtc::CURSOR_START], r.crtc[crtc::CURSOR_END] & 0x1f);
    let at = u64::from(r.crtc_word(crtc::CURSOR_HIGH, crtc::CURSOR_LOW)).checked_sub(l.start)?;
    let row = at.checked_div(l.pitch).unwrap_or(0);
    let (column, row) = ((at - row * l.pitch) as u32, row as u32);
    let shown = first & crtc::CURSOR_OFF == 0 && column < l.columns && row < l.rows;
    shown.then(|| ((column, row), u32::from(first & 0x1f)..=u32::from(last)))
}

/// Draws the screen. What blinks is shown.
pub(super) fn draw(s: &Screen<'_>) -> Picture {
    let l = layout(s);
    let width = l.dots * l.dot_width;
    let mut picture = Picture::new(l.columns * width, l.rows * l.scan_lines);
    let cursor = cursor(s, l);
    let palette: [[u8; 3]; 16] = std::array::from_fn(|n| s.registers.color_16(n as u8));
    for (n, character) in (0..).zip(characters(s, l)) {
        let (column, row) = (n % l.columns, n / l.columns);
        let (ink, paper) = character.colors(s);
        let (ink, paper) = (palette[usize::from(ink)], palette[usize::from(paper)]);
        for line in 0..l.scan_lines {
            let covered = cursor.as_ref().is_some_and(|(at, lines)| *at == (column, row) && lines.contains(&line));
            let dots = if covered { 0x1ff } else { character.dots(s, line) };
            let from = (column * width * 3) as usize;
            let target = &mut picture.row(row * l.scan_lines + line)[from..from + (width * 3) as usize];
            for (x, pixel) in target.chunks_exact_mut(3).enumerate() {
                let dot = dots >> (8 - x as u32 / l.dot_width) & 1 != 0;
                pixel.copy_from_slice(if dot { &ink } else { &paper });
            }
        }
    }
    picture
}

/// The screen as characters.
pub(super) fn screen(s: &Screen<'_>) -> TextScreen {
    let l = layout(s);
    let cells = characters(s, l).map(|c| c.cell(s)).collect();
    TextScreen { columns: l.columns, cells, cursor: cursor(s, l).map(|(at, _)| at) }
}
