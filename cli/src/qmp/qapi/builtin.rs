//! QAPI's own types: strings, numbers, booleans, lists, and anything.

use super::members::wrong_type;
use super::{JsonType, Kind, Path, Qapi, Type, TypeRef, qapi_struct};
use crate::control::Error;
use serde_json::{Map, Value};

static STR: Type = Type { name: "str", kind: Kind::Builtin(JsonType::String) };
static INT: Type = Type { name: "int", kind: Kind::Builtin(JsonType::Int) };
static NUMBER: Type = Type { name: "number", kind: Kind::Builtin(JsonType::Number) };
static BOOL: Type = Type { name: "bool", kind: Kind::Builtin(JsonType::Boolean) };
static ANY: Type = Type { name: "any", kind: Kind::Builtin(JsonType::Value) };

impl Qapi for String {
    fn ty() -> &'static Type {
        &STR
    }
    fn decode(value: Value, at: &Path<'_>) -> Result<Self, Error> {
        match value {
            Value::String(s) => Ok(s),
            _ => Err(wrong_type(at, "string")),
        }
    }
    fn encode(&self) -> Value {
        Value::String(self.clone())
    }
}

impl Qapi for bool {
    fn ty() -> &'static Type {
        &BOOL
    }
    fn decode(value: Value, at: &Path<'_>) -> Result<Self, Error> {
        value.as_bool().ok_or_else(|| wrong_type(at, "boolean"))
    }
    fn encode(&self) -> Value {
        Value::Bool(*self)
    }
}

impl Qapi for f64 {
    fn ty() -> &'static Type {
        &NUMBER
    }
    fn decode(value: Value, at: &Path<'_>) -> Result<Self, Error> {
        value.as_f64().ok_or_else(|| wrong_type(at, "number"))
    }
    fn encode(&self) -> Value {
        Value::from(*self)
    }
}

/// Anything (QAPI `any`).
impl Qapi for Value {
    fn ty() -> &'static Type {
        &ANY
    }
    fn decode(value: Value, _: &Path<'_>) -> Result<Self, Error> {
        Ok(value)
    }
    fn encode(&self) -> Value {
        self.clone()
    }
}

/// Integers, each with QAPI's name for it.
macro_rules! integers {
    ($($rust:ty: $name:literal),* $(,)?) => {$(
        impl Qapi for $rust {
            fn ty() -> &'static Type {
                &INT
            }
            fn decode(value: Value, at: &Path<'_>) -> Result<Self, Error> {
                let number = value.as_i64().map(i128::from).or(value.as_u64().map(i128::from));
                let number = number.ok_or_else(|| wrong_type(at, "integer"))?;
                Self::try_from(number).map_err(|_| Error::generic(format!("Parameter '{at}' expects {}", $name)))
            }
            fn encode(&self) -> Value {
                Value::from(*self)
            }
        }
    )*};
}

integers! { u8: "uint8_t", u16: "uint16_t", u32: "uint32_t", i64: "integer", i32: "int32_t" }

/// Negative values are taken as their two's complement, as QEMU takes them.
impl Qapi for u64 {
    fn ty() -> &'static Type {
        &INT
    }
    fn decode(value: Value, at: &Path<'_>) -> Result<Self, Error> {
        let number = value.as_u64().or(value.as_i64().map(i64::cast_unsigned));
        number.ok_or_else(|| Error::generic(format!("Parameter '{at}' expects uint64")))
    }
    fn encode(&self) -> Value {
        Value::from(*self)
    }
}

impl<T: Qapi> Qapi for Vec<T> {
    fn ty() -> &'static Type {
        const { &Type { name: "", kind: Kind::Array(TypeRef::Of(T::ty)) } }
    }
    fn decode(value: Value, at: &Path<'_>) -> Result<Self, Error> {
        let Value::Array(items) = value else { return Err(wrong_type(at, "array")) };
        items.into_iter().enumerate().map(|(n, item)| T::decode(item, &Path::Item(at, n))).collect()
    }
    fn encode(&self) -> Value {
        self.iter().map(Qapi::encode).collect()
    }
}

/// A member that may be missing. It stands nowhere but in objects.
impl<T: Qapi> Qapi for Option<T> {
    const OPTIONAL: bool = true;

    fn ty() -> &'static Type {
        T::ty()
    }
    fn decode(value: Value, at: &Path<'_>) -> Result<Self, Error> {
        T::decode(value, at).map(Some)
    }
    fn encode(&self) -> Value {
        self.as_ref().map_or(Value::Null, Qapi::encode)
    }
    fn absent() -> Option<Self> {
        Some(None)
    }
    fn put(&self, name: &str, object: &mut Map<String, Value>) {
        if let Some(value) = self {
            value.put(name, object);
        }
    }
}

impl<T: Qapi> Qapi for Box<T> {
    const OPTIONAL: bool = T::OPTIONAL;

    fn ty() -> &'static Type {
        T::ty()
    }
    fn decode(value: Value, at: &Path<'_>) -> Result<Self, Error> {
        T::decode(value, at).map(Self::new)
    }
    fn encode(&self) -> Value {
        (**self).encode()
    }
}

qapi_struct! {
    /// An object without members: no arguments, or nothing to return.
    struct Empty {}
}

/// What a command without a result returns.
impl Qapi for () {
    fn ty() -> &'static Type {
        Empty::ty()
    }
    fn decode(value: Value, at: &Path<'_>) -> Result<Self, Error> {
        Empty::decode(value, at).map(|Empty {}| ())
    }
    fn encode(&self) -> Value {
        Empty {}.encode()
    }
}
