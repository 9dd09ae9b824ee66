//! Editing one line on a raw terminal, with the usual keys (those of Emacs and of cursor blocks), and remembering the lines before it.

use std::collections::VecDeque;

/// Longest line.
const MOST: usize = 1024;
/// Lines that are remembered.
const REMEMBERED: usize = 64;

/// What a key led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Edit {
    /// Text to show.
    Show(String),
    /// The line is complete.
    Line(String),
    /// The word before the cursor is to be completed.
    Complete,
}

/// A line that is being typed. Only printable ASCII gets in, so that characters are bytes.
#[derive(Default)]
pub(super) struct LineEditor {
    line: String,
    cursor: usize,
    escape: Escape,
    /// Lines before, the newest last.
    history: VecDeque<String>,
    /// Which of them is shown, counted from the newest; and the line that was typed before any was.
    recalled: usize,
    typed: String,
}

/// Position in an escape sequence.
#[derive(Default)]
enum Escape {
    #[default]
    Outside,
    Begun,
    /// With its parameter.
    Inside(u8),
}

const fn ctrl(letter: u8) -> u8 {
    letter & 0x1f
}
const ESCAPE: u8 = 0x1b;
const BACKSPACE: [u8; 2] = [0x08, 0x7f];
const TAB: u8 = b'\t';

impl LineEditor {
    /// Takes a key.
    pub(super) fn key(&mut self, key: u8) -> Edit {
        match std::mem::take(&mut self.escape) {
            Escape::Begun => {
                if key == b'[' || key == b'O' {
                    self.escape = Escape::Inside(0);
                }
                return Edit::Show(String::new());
            }
            Escape::Inside(parameter) => return Edit::Show(self.sequence(parameter, key)),
            Escape::Outside => {}
        }
        const A: u8 = ctrl(b'a');
        const B: u8 = ctrl(b'b');
        const D: u8 = ctrl(b'd');
        const E: u8 = ctrl(b'e');
        const F: u8 = ctrl(b'f');
        const K: u8 = ctrl(b'k');
        const N: u8 = ctrl(b'n');
        const P: u8 = ctrl(b'p');
        const U: u8 = ctrl(b'u');
        const W: u8 = ctrl(b'w');
        Edit::Show(match key {
            b'\r' | b'\n' => return self.enter(),
            TAB => return Edit::Complete,
            ESCAPE => {
                self.escape = Escape::Begun;
                String::new()
            }
            A => self.go(0),
            B => self.go(self.cursor.saturating_sub(1)),
            D => self.delete(self.cursor, (self.cursor + 1).min(self.line.len())),
            E => self.go(self.line.len()),
            F => self.go(self.cursor + 1),
            K => self.delete(self.cursor, self.line.len()),
            N => self.recall(self.recalled.saturating_sub(1)),
            P => self.recall(self.recalled + 1),
            U => self.delete(0, self.cursor),
            W => self.delete(self.word_start(), self.cursor),
            _ if BACKSPACE.contains(&key) => self.delete(self.cursor.saturating_sub(1), self.cursor),
            b' '..=b'~' => self.insert(&char::from(key).to_string()),
            _ => String::new(),
        })
    }
    /// Takes the next key of an escape sequence (ECMA-48, 5.4).
    fn sequence(&mut self, parameter: u8, key: u8) -> String {
        match (key, parameter) {
            (ESCAPE, _) => {
                self.escape = Escape::Begun;
                String::new()
            }
            (b'0'..=b'9', _) => {
                self.escape = Escape::Inside(parameter.saturating_mul(10).saturating_add(key - b'0'));
                String::new()
            }
            (0x20..=0x3f, _) => {
                self.escape = Escape::Inside(0);
                String::new()
            }
            (b'A', _) => self.recall(self.recalled + 1),
            (b'B', _) => self.recall(self.recalled.saturating_sub(1)),
            (b'C', _) => self.go(self.cursor + 1),
            (b'D', _) => self.go(self.cursor.saturating_sub(1)),
            (b'H', _) | (b'~', 1 | 7) => self.go(0),
            (b'F', _) | (b'~', 4 | 8) => self.go(self.line.len()),
            (b'~', 3) => self.delete(self.cursor, (self.cursor + 1).min(self.line.len())),
            _ => String::new(),
        }
    }

    /// What stands before the cursor.
    pub(super) fn before_cursor(&self) -> &str {
        &self.line[..self.cursor]
    }
    /// The line and the cursor in it, to show anew after something else was shown.
    pub(super) fn redraw(&self) -> String {
        format!("{}{}", self.line, back(self.line.len() - self.cursor))
    }
    /// Puts text in at the cursor, as far as there is room; the text to show.
    pub(super) fn insert(&mut self, text: &str) -> String {
        let room = MOST - self.line.len();
        let text: String = text.chars().filter(|c| matches!(c, ' '..='~')).take(room).collect();
        self.line.insert_str(self.cursor, &text);
        let shown = format!("{}{}", &self.line[self.cursor..], back(self.line.len() - self.cursor - text.len()));
        self.cursor += text.len();
        shown
    }

    fn enter(&mut self) -> Edit {
        let line = std::mem::take(&mut self.line);
        (self.cursor, self.recalled) = (0, 0);
        if !line.trim().is_empty() && self.history.back() != Some(&line) {
            if self.history.len() == REMEMBERED {
                self.history.pop_front();
            }
            self.history.push_back(line.clone());
        }
        Edit::Line(line)
    }
    fn go(&mut self, to: usize) -> String {
        let to = to.min(self.line.len());
        let from = std::mem::replace(&mut self.cursor, to);
        if to < from { back(from - to) } else { self.line[from..to].to_owned() }
    }
    fn delete(&mut self, from: usize, to: usize) -> String {
        let moved = self.go(from);
        self.line.replace_range(from..to, "");
        let rest = &self.line[from..];
        format!("{moved}{rest}\x1b[K{}", back(rest.len()))
    }
    fn word_start(&self) -> usize {
        self.before_cursor().trim_end().rfind(' ').map_or(0, |at| at + 1)
    }
    /// Shows the line that is so many before the one that is being typed.
    fn recall(&mut self, n: usize) -> String {
        let Some(text) = (match n {
            0 => Some(self.typed.clone()),
            n => self.history.len().checked_sub(n).and_then(|at| self.history.get(at)).cloned(),
        }) else {
            return String::new();
        };
        if self.recalled == n {
            return String::new();
        }
        if self.recalled == 0 {
            self.typed = self.line.clone();
        }
        self.recalled = n;
        let moved = self.go(0);
        self.cursor = text.len();
        self.line = text;
        format!("{moved}{}\x1b[K", self.line)
    }
}

/// Moves the cursor left.
fn back(n: usize) -> String {
    "\x08".repeat(n)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Types keys; the lines entered, and what a terminal shows at the end on its one line.
    fn typed(keys: &[u8]) -> (Vec<String>, LineEditor, String) {
        let mut editor = LineEditor::default();
        let (mut lines, mut screen, mut column) = (Vec::new(), Vec::new(), 0usize);
        for &key in keys {
            match editor.key(key) {
                Edit::Line(line) => {
                    lines.push(line);
                    (screen, column) = (Vec::new(), 0);
                }
                Edit::Complete => {}
                Edit::Show(text) => {
                    for (n, piece) in text.split("\x1b[K").enumerate() {
                        if n > 0 {
                            screen.truncate(column);
                        }
                        for c in piece.bytes() {
                            if c == 8 {
                                column -= 1;
                                continue;
                            }
                            screen.resize(screen.len().max(column + 1), b' ');
                            screen[column] = c;
                            column += 1;
                        }
                    }
                    assert_eq!((screen.as_slice(), column), (editor.line.as_bytes(), editor.cursor));
                }
            }
        }
        (lines, editor, String::from_utf8(screen).unwrap())
    }
    fn left(keys: &[u8]) -> String {
        typed(keys).1.line
    }

    #[test]
    fn keys_edit_the_line_and_the_screen_follows() {
        assert_eq!(typed(b"stp\x7fop\r").0, ["stop"]);
        assert_eq!(typed(b"junk\x15info  status\x17registers\r").0, ["info  registers"]);
        assert_eq!(left(b"\x7f\x17\x15a\x1b[Ab\x1b[1;5Cc\x00\xff"), "abc");
        assert_eq!(left(b"bcd\x01a\x05e\x02\x02\x1b[3~x"), "abcxe");
        assert_eq!(left(b"hello\x1b[D\x1b[D\x0bp!"), "help!");
        assert_eq!(left(b"one two\x02\x02\x02\x02\x17"), " two");
        assert_eq!(left(b"\x1b[1~a\x1b[4~b\x1bOHc\x1bOF\x04"), "cab");
        assert_eq!(left(&[b'x'; 5000]).len(), MOST);
        assert_eq!(left(b"\x1b[99999999999999999999~\x1b[\x1b[zz"), "z", "a sequence that another one breaks off");
    }

    #[test]
    fn lines_before_are_recalled() {
        assert_eq!(typed(b"one\rtwo\r\x10\x10\r").0, ["one", "two", "one"]);
        assert_eq!(left(b"one\rtwo\rthr\x1b[A\x1b[A\x1b[A\x1b[B\x1b[B"), "thr");
        assert_eq!(typed(b"one\rone\r\r \r").1.history, ["one"]);
        let many: Vec<u8> = (0..200).flat_map(|n| format!("line {n}\r").into_bytes()).collect();
        assert_eq!(typed(&many).1.history.len(), REMEMBERED);
    }
}
