//! Taking an object apart, strictly.

use super::Qapi;
use crate::control::Error;
use serde_json::{Map, Value};
use std::fmt;

/// Where in a request a value is, for error messages: `a.b[2]`.
#[derive(Clone, Copy, Debug)]
pub enum Path<'a> {
    /// The value itself.
    Root,
    /// A member of an object.
    Member(&'a Path<'a>, &'a str),
    /// An item of a list.
    Item(&'a Path<'a>, usize),
}

impl fmt::Display for Path<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => f.write_str("<anonymous>"),
            Self::Member(Self::Root, name) => f.write_str(name),
            Self::Member(of, name) => write!(f, "{of}.{name}"),
            Self::Item(of, n) => write!(f, "{of}[{n}]"),
        }
    }
}

/// The error about a value that is not of the `expected` JSON type.
pub fn wrong_type(at: &Path<'_>, expected: &str) -> Error {
    Error::generic(format!("Invalid parameter type for '{at}', expected: {expected}"))
}

/// Members of an object that have not been taken yet.
pub struct Members<'a> {
    members: Map<String, Value>,
    at: &'a Path<'a>,
}

impl<'a> Members<'a> {
    /// Those of `value`.
    ///
    /// # Errors
    /// It is no object.
    pub fn new(value: Value, at: &'a Path<'a>) -> Result<Self, Error> {
        match value {
            Value::Object(members) => Ok(Self { members, at }),
            _ => Err(wrong_type(at, "object")),
        }
    }
    /// Takes one.
    ///
    /// # Errors
    /// It is missing, or not of its type.
    pub fn take<T: Qapi>(&mut self, name: &str) -> Result<T, Error> {
        let at = Path::Member(self.at, name);
        match self.members.remove(name) {
            Some(value) => T::decode(value, &at),
            None => T::absent().ok_or_else(|| Error::generic(format!("Parameter '{at}' is missing"))),
        }
    }
    /// Takes all that are left, whatever they are.
    pub fn rest(&mut self) -> Map<String, Value> {
        std::mem::take(&mut self.members)
    }
    /// Nothing may be left.
    ///
    /// # Errors
    /// The first member that is.
    pub fn end(self) -> Result<(), Error> {
        match self.members.keys().next() {
            None => Ok(()),
            Some(name) => Err(Error::generic(format!("Parameter '{}' is unexpected", Path::Member(self.at, name)))),
        }
    }
}
