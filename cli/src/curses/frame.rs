//! What a terminal shows: characters with colors, and a cursor.

use crossterm::style::{Color, Print, SetBackgroundColor, SetForegroundColor};
use crossterm::{cursor, queue};
use gearbox_core::backend::display::{TextScreen, code_page_437};
use std::io::{self, Write};

/// A character; ink and paper are colors of ECMA-48, with eight bright ones behind them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell {
    character: char,
    ink: Color,
    paper: Color,
}

const BLANK: Cell = Cell { character: ' ', ink: Color::Reset, paper: Color::Reset };

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Frame {
    columns: u16,
    cells: Vec<Cell>,
    cursor: Option<(u16, u16)>,
}

/// The one of sixteen colors that is most like this one.
fn nearest(rgb: [u8; 3]) -> Color {
    let most = rgb.into_iter().max().unwrap_or(0);
    let bright = most > 0xc0 || (most > 0x40 && rgb.iter().all(|c| c.abs_diff(most) < 0x20) && most < 0x80);
    if bright && most < 0x80 {
        // Dark grey, which is a bright black.
        return Color::AnsiValue(8);
    }
    let limit = if bright { 0x80 } else { 0x40 };
    let bits = rgb.iter().enumerate().fold(0, |all, (n, c)| all | u8::from(*c > limit) << n);
    Color::AnsiValue(bits + if bright { 8 } else { 0 })
}

impl Frame {
    fn blank((columns, rows): (u16, u16)) -> Self {
        Self { columns, cells: vec![BLANK; usize::from(columns) * usize::from(rows)], cursor: None }
    }
    pub(super) fn size(&self) -> (u16, usize) {
        (self.columns, self.cells.len())
    }
    fn rows(&self) -> u16 {
        (self.cells.len() / usize::from(self.columns.max(1))) as u16
    }
    /// Puts a character somewhere, if that is inside.
    fn put(&mut self, column: u16, row: u16, cell: Cell) {
        let inside = column < self.columns && row < self.rows();
        let at = usize::from(row) * usize::from(self.columns) + usize::from(column);
        if let Some(place) = self.cells.get_mut(at).filter(|_| inside) {
            *place = cell;
        }
    }
    /// A line in the middle.
    pub(super) fn message(size: (u16, u16), text: &str) -> Self {
        let mut frame = Self::blank(size);
        let first = size.0.saturating_sub(text.len() as u16) / 2;
        for (column, character) in (first..).zip(text.chars()) {
            frame.put(column, size.1 / 2, Cell { character, ..BLANK });
        }
        frame
    }
    /// What a display adapter shows, or its upper left part where the terminal is smaller.
    pub(super) fn of_screen(size: (u16, u16), screen: &TextScreen) -> Self {
        let mut frame = Self::blank(size);
        for (row, line) in (0..size.1).zip(screen.cells.chunks(screen.columns.max(1) as usize)) {
            for (column, cell) in (0..size.0).zip(line) {
                let (ink, paper) = (nearest(cell.ink), nearest(cell.paper));
                frame.put(column, row, Cell { character: code_page_437(cell.code), ink, paper });
            }
        }
        let inside = |(x, y): (u32, u32)| x < size.0.into() && y < size.1.into();
        frame.cursor = screen.cursor.filter(|at| inside(*at)).map(|(x, y)| (x as u16, y as u16));
        frame
    }
    /// What a terminal of its own shows.
    pub(super) fn of_terminal(size: (u16, u16), screen: &vt100::Screen) -> Self {
        let mut frame = Self::blank(size);
        let color = |c: vt100::Color| match c {
            vt100::Color::Default => Color::Reset,
            vt100::Color::Idx(n) => Color::AnsiValue(n),
            vt100::Color::Rgb(r, g, b) => nearest([r, g, b]),
        };
        let (rows, columns) = screen.size();
        for (row, column) in (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column))) {
            if let Some(cell) = screen.cell(row, column) {
                let character = cell.contents().chars().next().unwrap_or(' ');
                frame.put(column, row, Cell { character, ink: color(cell.fgcolor()), paper: color(cell.bgcolor()) });
            }
        }
        let (row, column) = screen.cursor_position();
        frame.cursor = (row < size.1 && column < size.0 && !screen.hide_cursor()).then_some((column, row));
        frame
    }
    /// Has a terminal that shows `last` show this.
    pub(super) fn draw(&self, last: &Self, out: &mut impl Write) -> io::Result<()> {
        let known = (last.size() == self.size()).then_some(&last.cells);
        let changed = |n: usize| known.is_none_or(|cells| cells[n] != self.cells[n]);
        let (mut next, mut colors) = (None, None);
        for (n, cell) in self.cells.iter().enumerate().filter(|(n, _)| changed(*n)) {
            if next != Some(n) {
                let columns = usize::from(self.columns);
                queue!(out, cursor::MoveTo((n % columns) as u16, (n / columns) as u16))?;
            }
            if colors != Some((cell.ink, cell.paper)) {
                queue!(out, SetForegroundColor(cell.ink), SetBackgroundColor(cell.paper))?;
                colors = Some((cell.ink, cell.paper));
            }
            queue!(out, Print(cell.character))?;
            // Where a terminal goes on behind the end of a line is its own affair.
            next = Some(n + 1).filter(|n| n % usize::from(self.columns) != 0);
        }
        if next.is_some() || self.cursor != last.cursor || known.is_none() {
            match self.cursor {
                Some((column, row)) => queue!(out, cursor::MoveTo(column, row), cursor::Show)?,
                None => queue!(out, cursor::Hide)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gearbox_core::backend::display::Cell as ScreenCell;

    fn shown(frame: &Frame, last: &Frame, onto: &mut vt100::Parser) {
        let mut bytes = Vec::new();
        frame.draw(last, &mut bytes).unwrap();
        onto.process(&bytes);
    }
    fn screen(text: &[u8], columns: u32) -> TextScreen {
        let cell = |&code| ScreenCell { code, ink: [0xff, 0xff, 0x55], paper: [0, 0, 0xaa] };
        TextScreen { columns, cells: text.iter().map(cell).collect(), cursor: Some((1, 1)) }
    }

    #[test]
    fn a_terminal_shows_what_the_screen_does() {
        let mut terminal = vt100::Parser::new(2, 4, 0);
        let first = Frame::of_screen((4, 2), &screen(b"abcd\xc9fgh", 4));
        shown(&first, &Frame::default(), &mut terminal);
        assert_eq!(terminal.screen().contents(), "abcd\n╔fgh");
        let cell = terminal.screen().cell(0, 1).unwrap();
        assert_eq!((cell.fgcolor(), cell.bgcolor()), (vt100::Color::Idx(11), vt100::Color::Idx(4)));
        assert_eq!(terminal.screen().cursor_position(), (1, 1));
        // Only what changes is drawn.
        let second = Frame::of_screen((4, 2), &screen(b"abXd\xc9fgh", 4));
        let mut bytes = Vec::new();
        second.draw(&first, &mut bytes).unwrap();
        assert!(bytes.contains(&b'X') && !bytes.contains(&b'a') && !bytes.contains(&b'd'));
        terminal.process(&bytes);
        assert_eq!(terminal.screen().contents(), "abXd\n╔fgh");
        second
            .draw(&second, &mut {
                bytes.clear();
                &mut bytes
            })
            .unwrap();
        assert!(bytes.is_empty());
    }

    #[test]
    fn a_small_terminal_shows_a_part() {
        let mut terminal = vt100::Parser::new(1, 2, 0);
        shown(&Frame::of_screen((2, 1), &screen(b"abcdefgh", 4)), &Frame::default(), &mut terminal);
        assert_eq!((terminal.screen().contents(), terminal.screen().hide_cursor()), ("ab".to_owned(), true));
        shown(&Frame::message((2, 1), "hello"), &Frame::default(), &mut terminal);
        assert_eq!(terminal.screen().contents(), "he");
    }

    #[test]
    fn the_sixteen_colors_of_the_adapter() {
        let own = [
            [0, 0, 0],
            [0xaa, 0, 0],
            [0, 0xaa, 0],
            [0xaa, 0x55, 0],
            [0, 0, 0xaa],
            [0xaa, 0, 0xaa],
            [0, 0xaa, 0xaa],
            [0xaa, 0xaa, 0xaa],
            [0x55, 0x55, 0x55],
            [0xff, 0x55, 0x55],
            [0x55, 0xff, 0x55],
            [0xff, 0xff, 0x55],
            [0x55, 0x55, 0xff],
            [0xff, 0x55, 0xff],
            [0x55, 0xff, 0xff],
            [0xff, 0xff, 0xff],
        ];
        for (n, rgb) in (0..).zip(own) {
            assert_eq!(nearest(rgb), Color::AnsiValue(n), "{rgb:x?}");
        }
    }
}
