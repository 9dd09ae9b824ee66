//! Properties: names for the fields of an object that is not realized yet.

use super::value::Backends;
use super::{TypeInfo, Value};
use crate::board::{Device, DeviceSpec, Realize, RealizeError};

/// A property of `S`; made by [`property!`](crate::property).
pub struct Property<S: 'static> {
    /// Its name, such as `iobase`.
    pub name: &'static str,
    /// QEMU's name of its type, such as `uint32`.
    pub kind: &'static str,
    /// One line for `-device NAME,help`.
    pub description: &'static str,
    /// Reads it.
    pub get: fn(&S) -> Value,
    /// Sets it.
    pub set: fn(&mut S, &Value, &dyn Backends) -> Result<(), String>,
}

/// A [`Property`](crate::object::Property): `property!("iobase", u16, iobase, "first port")` is the field `iobase` of that type under this name. The field may be a path
/// (`pci.addr`).
#[macro_export]
macro_rules! property {
    ($name:literal, $ty:ty, $($field:ident).+, $description:literal) => {
        $crate::object::Property {
            name: $name,
            kind: <$ty as $crate::object::PropertyValue>::KIND,
            description: $description,
            get: |object| $crate::object::PropertyValue::to_value(&object.$($field).+),
            set: |object, given, backends| {
                object.$($field).+ = <$ty as $crate::object::PropertyValue>::from_value(given, backends)?;
                Ok(())
            },
        }
    };
}

/// A property as lists show it.
#[derive(Clone, Debug, PartialEq)]
pub struct PropertyInfo {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: &'static str,
    /// One line about it.
    pub description: &'static str,
    /// Its value: of a type, the default, where the type can be made without more knowledge.
    pub default: Option<Value>,
}

/// Why a property was not set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    /// The type has no such property.
    #[error("Property '{object}.{name}' not found{hint}")]
    Unknown {
        /// The type.
        object: &'static str,
        /// As given.
        name: String,
        /// `; did you mean 'x'?`, or nothing.
        hint: String,
    },
    /// It has, but it does not take this value.
    #[error("property '{name}': {reason}")]
    Value {
        /// The property.
        name: String,
        /// What is wrong with the value.
        reason: String,
    },
}

impl SetError {
    /// A property that is not among those that are `known`.
    pub fn unknown<'a>(object: &'static str, name: &str, known: impl Iterator<Item = &'a str>) -> Self {
        Self::Unknown { object, name: name.to_owned(), hint: crate::did_you_mean(crate::closest(name, known)) }
    }
}

/// A [`DeviceSpec`] of unknown type: a device that is not realized.
pub trait AnySpec {
    /// QEMU's type name.
    fn type_name(&self) -> &'static str;
    /// Its properties with their present values.
    fn properties(&self) -> Vec<PropertyInfo>;
    /// Sets a property.
    ///
    /// # Errors
    /// There is no such property, or it does not take the value.
    fn set(&mut self, name: &str, value: &Value, backends: &dyn Backends) -> Result<(), SetError>;
    /// [`DeviceSpec::realize`].
    ///
    /// # Errors
    /// As there.
    fn realize_boxed(self: Box<Self>, r: &mut Realize<'_>) -> Result<Box<dyn Device>, RealizeError>;
}

pub(crate) fn all<S: DeviceSpec>() -> impl Iterator<Item = &'static Property<S>> {
    S::PROPERTIES.iter().flat_map(|group| group.iter())
}

pub(crate) fn list<S: DeviceSpec>(object: Option<&S>) -> Vec<PropertyInfo> {
    all::<S>()
        .map(|p| PropertyInfo {
            name: p.name,
            kind: p.kind,
            description: p.description,
            default: object.map(|o| (p.get)(o)),
        })
        .collect()
}

impl<S: DeviceSpec> AnySpec for S {
    fn type_name(&self) -> &'static str {
        S::TYPE
    }
    fn properties(&self) -> Vec<PropertyInfo> {
        list(Some(self))
    }
    fn set(&mut self, name: &str, value: &Value, backends: &dyn Backends) -> Result<(), SetError> {
        let Some(p) = all::<S>().find(|p| p.name == name) else {
            return Err(SetError::unknown(S::TYPE, name, all::<S>().map(|p| p.name)));
        };
        (p.set)(self, value, backends).map_err(|reason| SetError::Value { name: name.to_owned(), reason })
    }
    fn realize_boxed(self: Box<Self>, r: &mut Realize<'_>) -> Result<Box<dyn Device>, RealizeError> {
        (*self).realize(r).map(|(device, _)| Box::new(device) as _)
    }
}

impl TypeInfo {
    /// The properties that it adds to those of its parents.
    pub fn properties(&self) -> Vec<PropertyInfo> {
        let device = self.device.map(|d| (d.properties)());
        device.or_else(|| self.user.map(|u| (u.properties)())).unwrap_or_default()
    }
}
