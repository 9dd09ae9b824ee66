//! Objects and their properties: `qom-*`, `object-add` and `object-del`.

use super::{Control, Error, Result};
use crate::board::BoardState;
use crate::object::{NodeId, ObjectError, PropertyInfo, ResolveError, types};
use crate::qmp::types::qom::{ObjectOptions, ObjectPropertyInfo, ObjectTypeInfo};
use serde_json::Value;

impl From<ResolveError> for Error {
    fn from(e: ResolveError) -> Self {
        match e {
            ResolveError::NotFound(path) => Self::device_not_found(&path),
            ResolveError::Ambiguous(path) => Self::generic(format!("Path '{path}' is ambiguous")),
        }
    }
}

impl From<ObjectError> for Error {
    fn from(e: ObjectError) -> Self {
        Self::generic(e.to_string())
    }
}

impl From<PropertyInfo> for ObjectPropertyInfo {
    fn from(p: PropertyInfo) -> Self {
        let description = Some(p.description.to_owned()).filter(|d| !d.is_empty());
        // Text that is not given is not there, which is not the same as empty text.
        let default_value = p.default.filter(|text| text != "");
        Self { name: p.name.to_owned(), ty: p.kind.to_owned(), description, default_value }
    }
}

fn property(name: &str, ty: impl Into<String>) -> ObjectPropertyInfo {
    ObjectPropertyInfo { name: name.to_owned(), ty: ty.into(), description: None, default_value: None }
}

impl Control {
    /// Does something with an object of the machine, by its path.
    fn with_object<T>(&self, path: &str, f: impl FnOnce(&mut BoardState, NodeId) -> Result<T>) -> Result<T> {
        self.machine()?.board().with(|s| {
            let node = s.objects.resolve(path)?;
            f(s, node)
        })
    }
    /// `qom-list`: the properties of an object, and its parts.
    ///
    /// # Errors
    /// There is no such object.
    pub fn qom_list(&self, path: &str) -> Result<Vec<ObjectPropertyInfo>> {
        self.with_object(path, |s, node| {
            let tree = &s.objects;
            let own = tree.properties(node).map(|(name, p)| property(name, p.kind.clone()));
            let child = |(name, child)| property(name, format!("child<{}>", tree.type_name(child)));
            Ok(std::iter::once(property("type", "string")).chain(own).chain(tree.children(node).map(child)).collect())
        })
    }
    /// `qom-get`.
    ///
    /// # Errors
    /// There is no such object or property.
    pub fn qom_get(&self, path: &str, name: &str) -> Result<Value> {
        self.with_object(path, |s, node| Ok(s.object_get(node, name)?))
    }
    /// `qom-set`.
    ///
    /// # Errors
    /// There is no such object or property, or it does not take the value now.
    pub fn qom_set(&self, path: &str, name: &str, value: &Value) -> Result<()> {
        self.with_object(path, |s, node| Ok(s.object_set(node, name, value)?))
    }
    /// `qom-list-types`: those that are or implement `implements`, abstract ones only if asked for.
    pub fn qom_list_types(implements: Option<&str>, with_abstract: bool) -> Vec<ObjectTypeInfo> {
        let wanted = types().all().filter(|t| with_abstract || !t.is_abstract);
        let wanted = wanted.filter(|t| implements.is_none_or(|ancestor| types().is_a(t.name, ancestor)));
        let info = |t: &crate::object::TypeInfo| ObjectTypeInfo {
            name: t.name.to_owned(),
            is_abstract: t.is_abstract.then_some(true),
            parent: t.parent.map(str::to_owned),
        };
        wanted.map(info).collect()
    }
    /// `qom-list-properties`: what instances of a type have.
    ///
    /// # Errors
    /// There is no such type.
    pub fn qom_list_properties(name: &str) -> Result<Vec<ObjectPropertyInfo>> {
        if types().get(name).is_none() {
            let mut e = Error::device_not_found(name);
            e.desc = format!("Class '{name}' not found");
            return Err(e);
        }
        let inherited = types().lineage(name).flat_map(|t| t.properties()).map(Into::into);
        Ok(std::iter::once(property("type", "string")).chain(inherited).collect())
    }
    /// `object-add`.
    ///
    /// # Errors
    /// The id is taken, or the object cannot be made with these properties.
    pub fn object_add(&self, options: ObjectOptions) -> Result<()> {
        let properties: Vec<_> = options.properties.into_iter().collect();
        let added = self.facts.objects.add(&options.qom_type, &options.id, &properties);
        added.map_err(|e| Error::generic(e.to_string()))?;
        self.show_objects();
        Ok(())
    }
    /// `object-del`.
    ///
    /// # Errors
    /// There is no such object, or it is in use.
    pub fn object_del(&self, id: &str) -> Result<()> {
        self.facts.objects.remove(id).map_err(|e| Error::generic(e.to_string()))?;
        self.show_objects();
        Ok(())
    }
    fn show_objects(&self) {
        if let Ok(machine) = self.machine() {
            machine.board().with(BoardState::show_user_objects);
        }
    }
}
