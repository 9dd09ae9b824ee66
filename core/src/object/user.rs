//! Objects that users make by themselves: `-object`, `object-add`.

use super::property::{Property, PropertyInfo, SetError};
use super::{NoBackends, TypeInfo, Value, types};
use parking_lot::Mutex;
use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;

/// An object that a user has made. It is shared with whoever uses it, and may go when nobody does.
pub trait UserObject: Any + Send + Sync {}

/// The configuration of a [`UserObject`], as [`DeviceSpec`](crate::board::DeviceSpec) is that of a device.
pub trait ObjectSpec: Default + 'static {
    /// What it becomes.
    type Object: UserObject;
    /// QEMU's type name, such as `memory-backend-ram`.
    const TYPE: &'static str;
    /// Its properties.
    const PROPERTIES: &'static [&'static [Property<Self>]];
    /// Makes the object, which is to be known as `id`.
    ///
    /// # Errors
    /// A property that cannot be honoured, or what the host refused; in words for the user.
    fn complete(self, id: &str) -> Result<Self::Object, String>;
}

/// What is known of a type of user objects.
#[derive(Clone, Copy)]
pub struct UserClass {
    pub(super) make: fn(&str, &[(String, Value)]) -> Result<Made, ObjectAddError>,
    pub(super) properties: fn() -> Vec<PropertyInfo>,
}

/// An object, and its properties as they are.
pub(super) type Made = (Arc<dyn UserObject>, Vec<PropertyInfo>);

/// Why an object was not made or removed. The texts are QEMU's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectAddError {
    /// No such type, or not one for users.
    #[error("Invalid parameter '{0}'")]
    Type(String),
    /// The id is no identifier.
    #[error("Parameter 'id' expects an identifier")]
    Id,
    /// The id is taken.
    #[error("attempt to add duplicate property '{0}' to object (type 'container')")]
    Duplicate(String),
    /// A property.
    #[error(transparent)]
    Property(#[from] SetError),
    /// The object's own reason.
    #[error("{0}")]
    Refused(String),
    /// There is none of that id.
    #[error("object '{0}' not found")]
    NotFound(String),
    /// Somebody uses it.
    #[error("object '{0}' is in use, can not be deleted")]
    InUse(String),
}

pub(super) fn all<S: ObjectSpec>() -> impl Iterator<Item = &'static Property<S>> {
    S::PROPERTIES.iter().flat_map(|group| group.iter())
}

fn list<S: ObjectSpec>(spec: &S) -> Vec<PropertyInfo> {
    all::<S>()
        .map(|p| PropertyInfo { name: p.name, kind: p.kind, description: p.description, default: Some((p.get)(spec)) })
        .collect()
}

fn make<S: ObjectSpec>(id: &str, properties: &[(String, Value)]) -> Result<Made, ObjectAddError> {
    let mut spec = S::default();
    for (name, value) in properties {
        let Some(p) = all::<S>().find(|p| p.name == name) else {
            return Err(SetError::unknown(S::TYPE, name, all::<S>().map(|p| p.name)).into());
        };
        (p.set)(&mut spec, value, &NoBackends).map_err(|reason| SetError::Value { name: name.clone(), reason })?;
    }
    let values = list(&spec);
    let object = spec.complete(id).map_err(ObjectAddError::Refused)?;
    Ok((Arc::new(object), values))
}

impl TypeInfo {
    /// A type of objects that users make.
    pub const fn user<S: ObjectSpec>(parent: &'static str, description: &'static str) -> Self {
        let mut this = Self::of(S::TYPE, parent);
        this.description = description;
        this.interfaces = &["user-creatable"];
        this.user = Some(UserClass { make: make::<S>, properties: || list(&S::default()) });
        this
    }
}

struct Entry {
    type_name: &'static str,
    object: Arc<dyn UserObject>,
    properties: Vec<PropertyInfo>,
}

/// A user object as lists show it.
#[derive(Clone, Debug, PartialEq)]
pub struct UserObjectInfo {
    /// Its id.
    pub id: String,
    /// Its type.
    pub type_name: &'static str,
    /// Its properties with their values.
    pub properties: Vec<PropertyInfo>,
}

/// The user objects of a machine, by id.
#[derive(Default)]
pub struct UserObjects(Mutex<BTreeMap<String, Entry>>);

impl UserObjects {
    /// Makes an object.
    ///
    /// # Errors
    /// See [`ObjectAddError`].
    pub fn add(&self, type_name: &str, id: &str, properties: &[(String, Value)]) -> Result<(), ObjectAddError> {
        let unknown = || ObjectAddError::Type(type_name.to_owned());
        let info = types().get(type_name).ok_or_else(unknown)?;
        let class = info.user.ok_or_else(unknown)?;
        if !crate::board::well_formed_id(id) {
            return Err(ObjectAddError::Id);
        }
        let mut entries = self.0.lock();
        if entries.contains_key(id) {
            return Err(ObjectAddError::Duplicate(id.to_owned()));
        }
        let (object, properties) = (class.make)(id, properties)?;
        entries.insert(id.to_owned(), Entry { type_name: info.name, object, properties });
        Ok(())
    }
    /// Removes an object that nobody uses.
    ///
    /// # Errors
    /// There is none of that id, or it is in use.
    pub fn remove(&self, id: &str) -> Result<(), ObjectAddError> {
        let mut entries = self.0.lock();
        let entry = entries.get(id).ok_or_else(|| ObjectAddError::NotFound(id.to_owned()))?;
        if Arc::strong_count(&entry.object) > 1 {
            return Err(ObjectAddError::InUse(id.to_owned()));
        }
        entries.remove(id);
        Ok(())
    }
    /// The object of that id, if it is a `T`; holding it keeps it from being removed.
    pub fn get<T: UserObject>(&self, id: &str) -> Option<Arc<T>> {
        let object: Arc<dyn Any + Send + Sync> = self.0.lock().get(id)?.object.clone();
        object.downcast().ok()
    }
    /// All of them, by id.
    pub fn list(&self) -> Vec<UserObjectInfo> {
        let info = |(id, e): (&String, &Entry)| UserObjectInfo {
            id: id.clone(),
            type_name: e.type_name,
            properties: e.properties.clone(),
        };
        self.0.lock().iter().map(info).collect()
    }
}
