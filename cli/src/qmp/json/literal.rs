//! The text of strings, numbers and keywords to their values.

use serde_json::{Number, Value};

/// A string, with its quotes.
///
/// # Errors
/// An escape sequence that there is not, or bytes that are no UTF-8.
pub(super) fn string(text: &[u8]) -> Result<String, String> {
    let inside = text.get(1..text.len().saturating_sub(1)).unwrap_or_default();
    let mut rest = std::str::from_utf8(inside).map_err(|_| "invalid UTF-8 sequence in string".to_owned())?;
    let mut out = String::with_capacity(rest.len());
    while let Some((plain, escape)) = rest.split_once('\\') {
        out.push_str(plain);
        let mut chars = escape.chars();
        let c = match chars.next() {
            Some(c @ ('"' | '\'' | '\\' | '/')) => c,
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some('u') => {
                let (c, after) = unicode(chars.as_str())?;
                chars = after.chars();
                c
            }
            _ => return Err("invalid escape sequence in string".to_owned()),
        };
        out.push(c);
        rest = chars.as_str();
    }
    out.push_str(rest);
    Ok(out)
}

/// The character after `\u`, of which two in a row may make one (RFC 8259, section 7), and what follows it.
fn unicode(text: &str) -> Result<(char, &str), String> {
    let wrong = || "invalid Unicode character in string".to_owned();
    let unit = |text: &str| -> Option<u32> {
        let digits = text.get(..4).filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))?;
        u32::from_str_radix(digits, 16).ok()
    };
    let first = unit(text).ok_or_else(wrong)?;
    let rest = &text[4..];
    let low = rest.strip_prefix("\\u").and_then(unit).filter(|low| (0xdc00..0xe000).contains(low));
    match (first, low) {
        (0xd800..0xdc00, Some(low)) => {
            let c = 0x1_0000 + ((first & 0x3ff) << 10) + (low & 0x3ff);
            Ok((char::from_u32(c).ok_or_else(wrong)?, &rest[6..]))
        }
        _ => Ok((char::from_u32(first).ok_or_else(wrong)?, rest)),
    }
}

/// A number: signed, else unsigned, else floating point.
///
/// # Errors
/// No number of the three kinds is that large.
pub(super) fn number(text: &[u8]) -> Result<Value, String> {
    let text = String::from_utf8_lossy(text);
    let integer = text.parse::<i64>().map(Number::from).or_else(|_| text.parse::<u64>().map(Number::from));
    let number = integer.ok().or_else(|| text.parse().ok().and_then(Number::from_f64));
    number.map(Value::Number).ok_or_else(|| "number out of range".to_owned())
}

/// A keyword.
///
/// # Errors
/// There is none of that name.
pub(super) fn keyword(text: &[u8]) -> Result<Value, String> {
    match text {
        b"true" => Ok(Value::Bool(true)),
        b"false" => Ok(Value::Bool(false)),
        b"null" => Ok(Value::Null),
        _ => Err(format!("invalid keyword '{}'", super::excerpt(text))),
    }
}
