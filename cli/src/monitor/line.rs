//! Editing one line on a raw terminal.

/// Longest line.
const MOST: usize = 1024;

/// What a key led to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Edit {
    /// Text to show.
    Show(String),
    /// The line is complete.
    Line(String),
}

/// A line that is being typed.
#[derive(Default)]
pub(super) struct LineEditor {
    line: String,
    escape: Escape,
}

/// Position in an escape sequence, such as that of a cursor key, which means nothing here.
#[derive(Default)]
enum Escape {
    #[default]
    Outside,
    Begun,
    Inside,
}

impl LineEditor {
    /// Takes a key.
    pub(super) fn key(&mut self, key: u8) -> Edit {
        match self.escape {
            Escape::Begun => {
                self.escape = if key == b'[' || key == b'O' { Escape::Inside } else { Escape::Outside };
                return Edit::Show(String::new());
            }
            Escape::Inside => {
                if (0x40..=0x7e).contains(&key) {
                    self.escape = Escape::Outside;
                }
                return Edit::Show(String::new());
            }
            Escape::Outside => {}
        }
        match key {
            b'\r' | b'\n' => return Edit::Line(std::mem::take(&mut self.line)),
            0x1b => self.escape = Escape::Begun,
            0x08 | 0x7f => return self.erase(usize::from(!self.line.is_empty())),
            0x15 => return self.erase(self.line.len()),
            0x17 => {
                let kept = self.line.trim_end().rfind(' ').map_or(0, |at| at + 1);
                return self.erase(self.line.len() - kept);
            }
            b' '..=b'~' if self.line.len() < MOST => {
                self.line.push(char::from(key));
                return Edit::Show(char::from(key).to_string());
            }
            _ => {}
        }
        Edit::Show(String::new())
    }
    /// What has been typed so far.
    pub(super) fn line(&self) -> &str {
        &self.line
    }
    fn erase(&mut self, n: usize) -> Edit {
        // Only ASCII gets in, so characters are bytes.
        self.line.truncate(self.line.len() - n);
        Edit::Show("\x08 \x08".repeat(n))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(keys: &[u8]) -> (Vec<String>, String) {
        let mut editor = LineEditor::default();
        let lines = keys.iter().filter_map(|&k| match editor.key(k) {
            Edit::Line(line) => Some(line),
            Edit::Show(_) => None,
        });
        (lines.collect(), editor.line().to_owned())
    }

    #[test]
    fn keys_edit_the_line() {
        assert_eq!(typed(b"stp\x7fop\r"), (vec!["stop".to_owned()], String::new()));
        assert_eq!(typed(b"junk\x15info  status\x17registers\r"), (vec!["info  registers".to_owned()], String::new()));
        assert_eq!(typed(b"\x7f\x17\x15a\x1b[Ab\x1b[1;5Cc\x00\xff"), (vec![], "abc".to_owned()));
        assert_eq!(typed(&[b'x'; 5000]).1.len(), MOST);
    }
}
