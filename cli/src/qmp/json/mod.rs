//! JSON as QMP reads it: a stream of values that may be cut at any byte, from somebody who may send anything.
//!
//! RFC 8259, and single-quoted strings as well. After a mistake reading goes on at the next byte that a client is likely to begin anew at; the byte 0xff
//! gets it there from anywhere (QEMU, "QMP Protocol Specification", section 2.5). Memory is bounded, whatever comes.

mod builder;
mod lexer;
mod literal;
#[cfg(test)]
mod tests;

use builder::Builder;
use lexer::{Kind, Lexer};
use serde_json::Value;

/// What a message may be at most; the values are QEMU's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all its tokens together.
    pub bytes: usize,
    /// Tokens.
    pub tokens: usize,
    /// Arrays and objects inside each other.
    pub nesting: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes: 64 << 20, tokens: 2 << 20, nesting: 1 << 10 }
    }
}

/// Why bytes are no message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// They are no JSON.
    #[error("JSON parse error, {0}")]
    Syntax(String),
    /// They are more than one message may be.
    #[error("JSON {0} limit exceeded")]
    Limit(&'static str),
}

/// Reads values from a stream of bytes.
#[derive(Default)]
pub struct Reader {
    limits: Limits,
    lexer: Lexer,
    message: Message,
}

/// What has been seen of a message.
#[derive(Default)]
struct Message {
    builder: Builder,
    /// The first mistake. It is told when the message is complete, so that there is one answer to it.
    wrong: Option<String>,
    braces: isize,
    brackets: isize,
    bytes: usize,
    tokens: usize,
}

impl Reader {
    /// With other limits than QEMU's.
    pub fn with_limits(limits: Limits) -> Self {
        Self { limits, ..Self::default() }
    }

    /// Takes bytes from the front of `input` until a message is complete, or until there are no more. Call it again while there are.
    pub fn next(&mut self, input: &mut &[u8]) -> Option<Result<Value, JsonError>> {
        while !input.is_empty() {
            let most = self.limits.bytes - self.message.bytes;
            match self.lexer.next(input, most) {
                Some(kind) => {
                    if let Some(done) = self.token(kind) {
                        return Some(done);
                    }
                }
                None if self.lexer.size() > most => return Some(Err(self.too_much("token size"))),
                None => {}
            }
        }
        None
    }

    fn token(&mut self, kind: Kind) -> Option<Result<Value, JsonError>> {
        let (message, text) = (&mut self.message, self.lexer.text());
        match kind {
            Kind::OpenBrace => message.braces += 1,
            Kind::CloseBrace => message.braces -= 1,
            Kind::OpenBracket => message.brackets += 1,
            Kind::CloseBracket => message.brackets -= 1,
            Kind::Stray => {
                let error = JsonError::Syntax(format!("stray '{}'", excerpt(text)));
                self.message = Message::default();
                return Some(Err(error));
            }
            _ => {}
        }
        message.bytes += text.len();
        message.tokens += 1;
        let depth = message.braces + message.brackets;
        if message.bytes > self.limits.bytes {
            return Some(Err(self.too_much("token size")));
        }
        if message.tokens > self.limits.tokens {
            return Some(Err(self.too_much("token count")));
        }
        if depth > self.limits.nesting as isize {
            return Some(Err(self.too_much("nesting depth")));
        }
        if message.wrong.is_none()
            && let Err(wrong) = message.builder.token(kind, text)
        {
            message.wrong = Some(wrong);
            message.builder = Builder::default();
        }
        if depth > 0 && message.braces >= 0 && message.brackets >= 0 {
            return None;
        }
        let Message { builder, wrong, .. } = std::mem::take(&mut self.message);
        Some(wrong.map_or_else(|| builder.finish(), Err).map_err(JsonError::Syntax))
    }

    fn too_much(&mut self, what: &'static str) -> JsonError {
        self.lexer.reset();
        self.message = Message::default();
        JsonError::Limit(what)
    }
}

/// Reads a text that is one value.
///
/// # Errors
/// It is none, or more than one.
pub fn parse(text: &str) -> Result<Value, JsonError> {
    let (mut reader, mut input) = (Reader::default(), text.as_bytes());
    // A number or keyword ends where something else begins.
    let value = reader.next(&mut input).or_else(|| reader.next(&mut &b"\n"[..]));
    let value = value.unwrap_or_else(|| Err(JsonError::Syntax("premature EOI".to_owned())))?;
    if input.trim_ascii().is_empty() {
        Ok(value)
    } else {
        Err(JsonError::Syntax(format!("'{}' after the value", excerpt(input))))
    }
}

/// So much of what a client sent as an error message should repeat.
fn excerpt(bytes: &[u8]) -> String {
    const MOST: usize = 40;
    String::from_utf8_lossy(&bytes[..bytes.len().min(MOST)]).into_owned()
}
