//! Descriptions of types, from which introspection is made.

use super::Qapi;

/// JSON types (QAPI `JSONType`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JsonType {
    /// `string`
    String,
    /// `number`
    Number,
    /// `int`
    Int,
    /// `boolean`
    Boolean,
    /// `value`: anything.
    Value,
}

/// Names a type: types may contain each other, so they are reached by functions, or they are made from what is linked into the program.
#[derive(Clone, Copy, Debug)]
pub enum TypeRef {
    /// A type that is declared.
    Of(fn() -> &'static Type),
    /// A type that is made.
    Made(&'static Type),
}

impl TypeRef {
    /// The type.
    pub fn get(self) -> &'static Type {
        match self {
            Self::Of(ty) => ty(),
            Self::Made(ty) => ty,
        }
    }
}

/// A type.
#[derive(Debug)]
pub struct Type {
    /// QAPI's name. It is not shown to clients, who should look at commands and events.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
}

impl Type {
    /// What values of it are in JSON, for messages.
    pub fn json_name(&self) -> &'static str {
        match &self.kind {
            Kind::Builtin(JsonType::String) | Kind::Enum(_) => "string",
            Kind::Builtin(JsonType::Number) => "number",
            Kind::Builtin(JsonType::Int) => "integer",
            Kind::Builtin(JsonType::Boolean) => "boolean",
            Kind::Builtin(JsonType::Value) => "value",
            Kind::Array(_) => "array",
            Kind::Alternate(_) => "value",
            Kind::Object { .. } => "object",
        }
    }
}

/// What a type is.
#[derive(Debug)]
pub enum Kind {
    /// One of QAPI's own.
    Builtin(JsonType),
    /// One of several strings.
    Enum(&'static [&'static str]),
    /// A list.
    Array(TypeRef),
    /// One of several, which their JSON types tell apart.
    Alternate(&'static [TypeRef]),
    /// An object.
    Object {
        /// Members that it always has, or may have.
        members: &'static [Member],
        /// Further members, by the value of one.
        variants: Option<Variants>,
    },
}

/// A member of an object.
#[derive(Debug)]
pub struct Member {
    /// Name.
    pub name: &'static str,
    /// Type.
    pub ty: TypeRef,
    /// May be missing.
    pub optional: bool,
}

impl Member {
    /// A member of type `T`; an `Option` may be missing.
    pub const fn of<T: Qapi>(name: &'static str) -> Self {
        Self { name, ty: TypeRef::Of(T::ty), optional: T::OPTIONAL }
    }
}

/// The variants of a union.
#[derive(Debug)]
pub struct Variants {
    /// The member that selects.
    pub tag: &'static str,
    /// Its values, and the type whose members each of them adds.
    pub cases: &'static [(&'static str, TypeRef)],
}
