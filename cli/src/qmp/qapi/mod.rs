//! QAPI in Rust: types that know their wire form, read it strictly, and describe it for introspection (QEMU, "How to use the QAPI code generator").
//!
//! A type is declared once, by `qapi_struct!`, `qapi_enum!` or `qapi_union!`, and that gives all three.

mod builtin;
mod check;
pub mod keyval;
mod macros;
mod members;
#[cfg(test)]
mod tests;
mod types;

pub use builtin::Empty;
pub use check::check;
pub(crate) use macros::{object_codec, qapi_enum, qapi_struct, qapi_union, wire_name};
pub use members::{Members, Path, wrong_type};
pub use types::{JsonType, Kind, Member, Type, TypeRef, Variants};

use crate::control::Error;
use serde_json::{Map, Value};

/// A type of the schema.
pub trait Qapi: Sized {
    /// As a member of an object, it may be missing.
    const OPTIONAL: bool = false;

    /// Its description.
    fn ty() -> &'static Type;
    /// Reads it.
    ///
    /// # Errors
    /// The value is not one of this type, in QEMU's words.
    fn decode(value: Value, at: &Path<'_>) -> Result<Self, Error>;
    /// Its wire form.
    fn encode(&self) -> Value;
    /// What a missing member is; `None` where it may not be missing.
    fn absent() -> Option<Self> {
        None
    }
    /// Adds it to an object, under `name`.
    fn put(&self, name: &str, object: &mut Map<String, Value>) {
        object.insert(name.to_owned(), self.encode());
    }
}

/// A type whose wire form is an object.
pub trait QapiObject: Qapi {
    /// Takes its members out of those of an object.
    ///
    /// # Errors
    /// One is missing, or not of its type.
    fn read(members: &mut Members<'_>) -> Result<Self, Error>;
    /// Adds its members to an object.
    fn write(&self, object: &mut Map<String, Value>);
}

/// Reads a whole object, in which nothing may be left.
///
/// # Errors
/// A member is missing, unknown, or not of its type.
pub fn decode_object<T: QapiObject>(value: Value, at: &Path<'_>) -> Result<T, Error> {
    let mut members = Members::new(value, at)?;
    let object = T::read(&mut members)?;
    members.end()?;
    Ok(object)
}

/// The wire form of an object.
pub fn encode_object<T: QapiObject>(object: &T) -> Value {
    let mut members = Map::new();
    object.write(&mut members);
    Value::Object(members)
}
