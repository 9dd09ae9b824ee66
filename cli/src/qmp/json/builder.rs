//! Tokens to values, without recursion: the depth of a message is in a list, not on the stack.

use super::lexer::Kind;
use super::literal;
use serde_json::{Map, Value};

/// What may come next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Expected {
    /// A value.
    #[default]
    Value,
    /// The first value of an array, or its end.
    FirstValue,
    /// The first key of an object, or its end.
    FirstKey,
    Key,
    Colon,
    /// A comma, or the end of the array or object.
    Separator,
}

/// An array or object that is not complete yet.
enum Open {
    Array(Vec<Value>),
    Object(Map<String, Value>, String),
}

/// Puts one value together.
#[derive(Default)]
pub(super) struct Builder {
    open: Vec<Open>,
    expected: Expected,
    done: Option<Value>,
}

impl Builder {
    /// Takes a token.
    ///
    /// # Errors
    /// It may not stand here.
    pub(super) fn token(&mut self, kind: Kind, text: &[u8]) -> Result<(), String> {
        match (self.expected, kind) {
            (Expected::FirstKey | Expected::Separator, Kind::CloseBrace)
            | (Expected::FirstValue | Expected::Separator, Kind::CloseBracket) => self.close(kind),
            (Expected::FirstKey | Expected::Key, Kind::Text) => self.key(literal::string(text)?),
            (
                Expected::FirstKey | Expected::Key,
                Kind::OpenBrace | Kind::OpenBracket | Kind::Integer | Kind::Float | Kind::Keyword,
            ) => Err("key is not a string in object".to_owned()),
            (Expected::FirstKey | Expected::Key, _) => Err("expecting value".to_owned()),
            (Expected::Colon, Kind::Colon) => {
                self.expected = Expected::Value;
                Ok(())
            }
            (Expected::Colon, _) => Err("missing : in object pair".to_owned()),
            (Expected::Separator, Kind::Comma) => {
                self.expected = match self.open.last() {
                    Some(Open::Object(..)) => Expected::Key,
                    _ => Expected::Value,
                };
                Ok(())
            }
            (Expected::Separator, _) => Err(match self.open.last() {
                Some(Open::Object(..)) => "expected separator in dict".to_owned(),
                _ => "expected separator in list".to_owned(),
            }),
            (Expected::Value | Expected::FirstValue, kind) => self.value(kind, text),
        }
    }

    /// The value, if it is complete.
    ///
    /// # Errors
    /// It is not.
    pub(super) fn finish(self) -> Result<Value, String> {
        self.done.ok_or_else(|| "premature EOI".to_owned())
    }

    fn value(&mut self, kind: Kind, text: &[u8]) -> Result<(), String> {
        match kind {
            Kind::OpenBrace => {
                self.open.push(Open::Object(Map::new(), String::new()));
                self.expected = Expected::FirstKey;
                Ok(())
            }
            Kind::OpenBracket => {
                self.open.push(Open::Array(Vec::new()));
                self.expected = Expected::FirstValue;
                Ok(())
            }
            Kind::Text => literal::string(text).map(|s| self.add(Value::String(s))),
            Kind::Integer | Kind::Float => literal::number(text).map(|n| self.add(n)),
            Kind::Keyword => literal::keyword(text).map(|k| self.add(k)),
            _ => Err("expecting value".to_owned()),
        }
    }

    fn key(&mut self, name: String) -> Result<(), String> {
        let Some(Open::Object(members, key)) = self.open.last_mut() else { return Err("expecting value".to_owned()) };
        if members.contains_key(&name) {
            return Err("duplicate key".to_owned());
        }
        *key = name;
        self.expected = Expected::Colon;
        Ok(())
    }

    fn close(&mut self, kind: Kind) -> Result<(), String> {
        let value = match (self.open.pop(), kind) {
            (Some(Open::Object(members, _)), Kind::CloseBrace) => Value::Object(members),
            (Some(Open::Array(items)), Kind::CloseBracket) => Value::Array(items),
            (Some(Open::Object(..)), _) => return Err("expected separator in dict".to_owned()),
            _ => return Err("expected separator in list".to_owned()),
        };
        self.add(value);
        Ok(())
    }

    fn add(&mut self, value: Value) {
        match self.open.last_mut() {
            Some(Open::Array(items)) => items.push(value),
            Some(Open::Object(members, key)) => {
                members.insert(std::mem::take(key), value);
            }
            None => self.done = Some(value),
        }
        self.expected = Expected::Separator;
    }
}
