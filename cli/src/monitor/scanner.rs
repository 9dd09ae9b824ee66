//! A line, taken apart from its start.

/// What is left of a line.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scanner<'a> {
    rest: &'a str,
}

impl<'a> Scanner<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self { rest: text }
    }
    /// What is left.
    pub(super) fn rest(&self) -> &'a str {
        self.rest
    }
    /// The next character.
    pub(super) fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }
    /// Takes the next character.
    pub(super) fn next(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.rest = &self.rest[c.len_utf8()..];
        Some(c)
    }
    /// Takes the next character if it is this one.
    pub(super) fn eat(&mut self, c: char) -> bool {
        let rest = self.rest.strip_prefix(c);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }
    /// Takes the longest run of such characters.
    pub(super) fn take_while(&mut self, which: impl Fn(char) -> bool) -> &'a str {
        let (taken, rest) = self.rest.split_at(self.rest.find(|c| !which(c)).unwrap_or(self.rest.len()));
        self.rest = rest;
        taken
    }
    /// Passes white space.
    pub(super) fn skip_spaces(&mut self) {
        self.rest = self.rest.trim_start();
    }
    /// Passes white space; is that all?
    pub(super) fn at_end(&mut self) -> bool {
        self.skip_spaces();
        self.rest.is_empty()
    }
    /// Takes all that is left.
    pub(super) fn take_rest(&mut self) -> &'a str {
        std::mem::take(&mut self.rest).trim()
    }
    /// Takes a word, or a text in quotation marks with C's escapes; `None` at the end of the line.
    ///
    /// # Errors
    /// The quotation mark at the end is missing, or an escape means nothing.
    pub(super) fn word(&mut self) -> Result<Option<String>, String> {
        if self.at_end() {
            return Ok(None);
        }
        if !self.eat('"') {
            return Ok(Some(self.take_while(|c| !c.is_whitespace()).to_owned()));
        }
        let mut text = String::new();
        loop {
            match self.next() {
                None => return Err("unterminated string".to_owned()),
                Some('"') => return Ok(Some(text)),
                Some('\\') => text.push(match self.next() {
                    Some('n') => '\n',
                    Some('r') => '\r',
                    Some(c @ ('\\' | '\'' | '"')) => c,
                    Some(c) => return Err(format!("unsupported escape code: '\\{c}'")),
                    None => return Err("unterminated string".to_owned()),
                }),
                Some(c) => text.push(c),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_quoted_texts() {
        let mut s = Scanner::new("  one \"two \\\"three\\n\" four");
        let words: Vec<_> = std::iter::from_fn(|| s.word().unwrap()).collect();
        assert_eq!(words, ["one", "two \"three\n", "four"]);
        assert!(Scanner::new("\"open").word().is_err() && Scanner::new("\"a\\x\"").word().is_err());
    }
}
