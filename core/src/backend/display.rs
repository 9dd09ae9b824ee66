//! What display adapters show: pictures for `screendump`, text for people and tests.

/// A picture: rows from the top, pixels from the left, red, green and blue of each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Picture {
    /// Pixels in a row.
    pub width: u32,
    /// Rows.
    pub height: u32,
    /// `width * height` pixels of three bytes.
    pub rgb: Vec<u8>,
}

impl Picture {
    /// A black picture.
    pub fn new(width: u32, height: u32) -> Self {
        Self { width, height, rgb: vec![0; width as usize * height as usize * 3] }
    }
    /// A row, to draw in.
    pub fn row(&mut self, y: u32) -> &mut [u8] {
        let bytes = self.width as usize * 3;
        let at = y as usize * bytes;
        self.rgb.get_mut(at..at + bytes).unwrap_or_default()
    }
    /// The color of a pixel; black outside of the picture.
    pub fn pixel(&self, x: u32, y: u32) -> [u8; 3] {
        let at = (y as usize * self.width as usize + x as usize) * 3;
        let inside = x < self.width;
        let found = self.rgb.get(at..at + 3).filter(|_| inside);
        found.map_or([0; 3], |p| [p[0], p[1], p[2]])
    }
}

/// A character on a text screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// The character, as the adapter's font has it; usually code page 437.
    pub code: u8,
    /// Red, green and blue of the character.
    pub ink: [u8; 3],
    /// The same of what is behind it.
    pub paper: [u8; 3],
}

/// A screen of characters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextScreen {
    /// Characters in a line.
    pub columns: u32,
    /// The lines, one after the other.
    pub cells: Vec<Cell>,
    /// Column and line of the cursor, where it is shown.
    pub cursor: Option<(u32, u32)>,
}

impl TextScreen {
    /// The lines as text, without blanks at their ends.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let line = |cells: &[Cell]| cells.iter().map(|c| code_page_437(c.code)).collect::<String>();
        self.cells.chunks(self.columns.max(1) as usize).map(move |cells| line(cells).trim_end().to_owned())
    }
}

impl std::fmt::Display for TextScreen {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.lines().try_for_each(|line| writeln!(f, "{line}"))
    }
}

/// The characters of code page 437 that ASCII does not have: 0 to 31, then 127 to 255.
const LOW: &str = " ☺☻♥♦♣♠•◘○◙♂♀♪♫☼►◄↕‼¶§▬↨↑↓→←∟↔▲▼";
const HIGH: &str = "⌂ÇüéâäàåçêëèïîìÄÅÉæÆôöòûùÿÖÜ¢£¥₧ƒáíóúñÑªº¿⌐¬½¼¡«»░▒▓│┤╡╢╖╕╣║╗╝╜╛┐└┴┬├─┼╞╟╚╔╩╦╠═╬╧╨╤╥╙╘╒╓╫╪┘┌█▄▌▐▀\
    αßΓπΣσµτΦΘΩδ∞φε∩≡±≥≤⌠⌡÷≈°∙·√ⁿ²■ ";

/// A character of code page 437.
pub fn code_page_437(code: u8) -> char {
    let found = match code {
        0..=31 => LOW.chars().nth(code.into()),
        32..=126 => Some(code.into()),
        _ => HIGH.chars().nth(usize::from(code) - 127),
    };
    found.unwrap_or(' ')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_code_page_is_complete() {
        assert_eq!((LOW.chars().count(), HIGH.chars().count()), (32, 129));
        assert_eq!([0xb3, 0xc9, 0xdb, 0xe1, 0xff, 0x41, 0x0f].map(code_page_437), ['│', '╔', '█', 'ß', ' ', 'A', '☼']);
    }

    #[test]
    fn text_ends_where_the_blanks_begin() {
        let cell = |code| Cell { code, ..Cell::default() };
        let cells = b"ab  \0\0c ".iter().map(|&c| cell(c)).collect();
        let screen = TextScreen { columns: 4, cells, cursor: None };
        assert_eq!(screen.lines().collect::<Vec<_>>(), ["ab", "  c"]);
    }

    #[test]
    fn pixels_are_where_they_were_drawn() {
        let mut p = Picture::new(2, 2);
        p.row(1)[3..].copy_from_slice(&[1, 2, 3]);
        assert_eq!((p.pixel(1, 1), p.pixel(0, 1), p.pixel(2, 0), p.pixel(0, 2)), ([1, 2, 3], [0; 3], [0; 3], [0; 3]));
        assert!(p.row(2).is_empty());
    }
}
