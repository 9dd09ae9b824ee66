//! The declarations: a type's Rust form, its wire form and its description from one text.

/// The name on the wire: that of the field, unless another one is given.
macro_rules! wire_name {
    ($field:ident) => {
        stringify!($field)
    };
    ($field:ident $wire:literal) => {
        $wire
    };
}

/// The part of `Qapi` that all objects have in common.
macro_rules! object_codec {
    () => {
        fn decode(value: serde_json::Value, at: &$crate::qmp::qapi::Path<'_>) -> Result<Self, $crate::control::Error> {
            $crate::qmp::qapi::decode_object(value, at)
        }
        fn encode(&self) -> serde_json::Value {
            $crate::qmp::qapi::encode_object(self)
        }
    };
}

/// Declares objects: `struct Name { field: Type, other = "wire-name": Type }`.
macro_rules! qapi_struct {
    ($(
        $(#[$about:meta])*
        struct $name:ident { $( $(#[$doc:meta])* $field:ident $(= $wire:literal)? : $ty:ty ),* $(,)? }
    )*) => {$(
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $( $(#[$doc])* pub $field: $ty, )*
        }
        impl $crate::qmp::qapi::Qapi for $name {
            fn ty() -> &'static $crate::qmp::qapi::Type {
                use $crate::qmp::qapi::{Kind, Member, Type};
                const MEMBERS: &[Member] = &[$( Member::of::<$ty>($crate::qmp::qapi::wire_name!($field $($wire)?)) ),*];
                static TYPE: Type =
                    Type { name: stringify!($name), kind: Kind::Object { members: MEMBERS, variants: None } };
                &TYPE
            }
            $crate::qmp::qapi::object_codec!();
        }
        impl $crate::qmp::qapi::QapiObject for $name {
            #[allow(unused_variables)]
            fn read(members: &mut $crate::qmp::qapi::Members<'_>) -> Result<Self, $crate::control::Error> {
                Ok(Self { $( $field: members.take($crate::qmp::qapi::wire_name!($field $($wire)?))?, )* })
            }
            #[allow(unused_variables)]
            fn write(&self, object: &mut serde_json::Map<String, serde_json::Value>) {
                $( $crate::qmp::qapi::Qapi::put(
                    &self.$field,
                    $crate::qmp::qapi::wire_name!($field $($wire)?),
                    object,
                ); )*
            }
        }
    )*};
}

/// Declares enumerations: `enum Name { Value = "wire-name" }`.
macro_rules! qapi_enum {
    ($(
        $(#[$about:meta])*
        enum $name:ident { $( $(#[$doc:meta])* $value:ident = $wire:literal ),* $(,)? }
    )*) => {$(
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name {
            $( $(#[$doc])* $value, )*
        }
        impl $name {
            /// All of them, with their names on the wire.
            pub const ALL: &'static [(Self, &'static str)] = &[$( (Self::$value, $wire) ),*];

            /// The name on the wire.
            pub const fn name(self) -> &'static str {
                match self { $( Self::$value => $wire, )* }
            }
            /// The one of that name.
            pub fn from_name(name: &str) -> Option<Self> {
                Self::ALL.iter().find(|(_, wire)| *wire == name).map(|(value, _)| *value)
            }
        }
        impl $crate::qmp::qapi::Qapi for $name {
            fn ty() -> &'static $crate::qmp::qapi::Type {
                use $crate::qmp::qapi::{Kind, Type};
                static TYPE: Type = Type { name: stringify!($name), kind: Kind::Enum(&[$( $wire ),*]) };
                &TYPE
            }
            fn decode(
                value: serde_json::Value,
                at: &$crate::qmp::qapi::Path<'_>,
            ) -> Result<Self, $crate::control::Error> {
                let name = String::decode(value, at)?;
                Self::from_name(&name).ok_or_else(|| {
                    $crate::control::Error::generic(format!("Parameter '{at}' does not accept value '{name}'"))
                })
            }
            fn encode(&self) -> serde_json::Value {
                self.name().into()
            }
        }
    )*};
}

/// Declares unions: `union Name { base members } tag: "wire-name" enum Variants (TagType) { Case(Members) = "value" }`.
macro_rules! qapi_union {
    ($(
        $(#[$about:meta])*
        union $name:ident { $( $(#[$doc:meta])* $field:ident $(= $wire:literal)? : $ty:ty ),* $(,)? }
        $(#[$tag_doc:meta])*
        $tag:ident: $tag_wire:literal
        $(#[$variants_doc:meta])*
        enum $variants:ident ($tag_type:literal) {
            $( $(#[$case_doc:meta])* $case:ident($members:ty) = $value:literal ),* $(,)?
        }
    )*) => {$(
        $(#[$variants_doc])*
        #[derive(Clone, Debug, PartialEq)]
        pub enum $variants {
            $( $(#[$case_doc])* $case($members), )*
        }
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq)]
        pub struct $name {
            $( $(#[$doc])* pub $field: $ty, )*
            $(#[$tag_doc])*
            pub $tag: $variants,
        }
        impl $crate::qmp::qapi::Qapi for $name {
            fn ty() -> &'static $crate::qmp::qapi::Type {
                use $crate::qmp::qapi::{Kind, Member, Qapi, Type, TypeRef, Variants};
                static TAG: Type = Type { name: $tag_type, kind: Kind::Enum(&[$( $value ),*]) };
                const MEMBERS: &[Member] = &[
                    $( Member::of::<$ty>($crate::qmp::qapi::wire_name!($field $($wire)?)), )*
                    Member { name: $tag_wire, ty: TypeRef::Of(|| &TAG), optional: false },
                ];
                static TYPE: Type = Type {
                    name: stringify!($name),
                    kind: Kind::Object {
                        members: MEMBERS,
                        variants: Some(Variants { tag: $tag_wire, cases: &[$( ($value, TypeRef::Of(<$members as Qapi>::ty)) ),*] }),
                    },
                };
                &TYPE
            }
            $crate::qmp::qapi::object_codec!();
        }
        impl $crate::qmp::qapi::QapiObject for $name {
            fn read(members: &mut $crate::qmp::qapi::Members<'_>) -> Result<Self, $crate::control::Error> {
                let tag: String = members.take($tag_wire)?;
                $( let $field = members.take($crate::qmp::qapi::wire_name!($field $($wire)?))?; )*
                let $tag = match &*tag {
                    $( $value => $variants::$case($crate::qmp::qapi::QapiObject::read(members)?), )*
                    _ => {
                        let tag = format!("Parameter '{}' does not accept value '{tag}'", $tag_wire);
                        return Err($crate::control::Error::generic(tag));
                    }
                };
                Ok(Self { $( $field, )* $tag })
            }
            fn write(&self, object: &mut serde_json::Map<String, serde_json::Value>) {
                $( $crate::qmp::qapi::Qapi::put(
                    &self.$field,
                    $crate::qmp::qapi::wire_name!($field $($wire)?),
                    object,
                ); )*
                match &self.$tag {
                    $( $variants::$case(members) => {
                        object.insert($tag_wire.to_owned(), $value.into());
                        $crate::qmp::qapi::QapiObject::write(members, object);
                    } )*
                }
            }
        }
    )*};
}

pub(crate) use {object_codec, qapi_enum, qapi_struct, qapi_union, wire_name};
