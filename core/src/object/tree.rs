//! The tree of objects: paths, children, and what can be read of each.

use super::Value;
use crate::board::{BoardState, DeviceId};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

/// An object of a [`Tree`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(u32);

/// Reads a property. It is called with the board locked.
pub type GetFn = Arc<dyn Fn(&mut BoardState) -> Result<Value, String> + Send + Sync>;
/// Writes a property. It is called with the board locked.
pub type SetFn = Arc<dyn Fn(&mut BoardState, &Value) -> Result<(), String> + Send + Sync>;

/// How a property of an object that exists is read and written.
#[derive(Clone)]
pub enum Access {
    /// It stays as it was when the object was realized.
    Fixed(Value),
    /// The path of another object, or the empty string.
    Link(String),
    /// It is looked up.
    Dynamic {
        /// Reads it.
        get: GetFn,
        /// Writes it, if it can be written.
        set: Option<SetFn>,
    },
}

/// A property of an object that exists.
#[derive(Clone)]
pub struct NodeProperty {
    /// Type, in the form of `qom-list`: `uint32`, `str`, `link<pci-device>`.
    pub kind: Cow<'static, str>,
    /// One line about it.
    pub description: Cow<'static, str>,
    /// How it is read and written.
    pub access: Access,
}

struct Node {
    name: String,
    type_name: Cow<'static, str>,
    parent: Option<NodeId>,
    children: BTreeMap<String, NodeId>,
    properties: BTreeMap<Cow<'static, str>, NodeProperty>,
    device: Option<DeviceId>,
}

/// Why a path means no object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// Nothing is there.
    #[error("Device '{0}' not found")]
    NotFound(String),
    /// A partial path ends several objects.
    #[error("Path '{0}' does not uniquely identify an object")]
    Ambiguous(String),
}

/// Why a property was not read or written. The texts are QEMU's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// No such property.
    #[error("Property '{object}.{property}' not found")]
    NoProperty {
        /// Type of the object.
        object: String,
        /// The property.
        property: String,
    },
    /// It cannot be written.
    #[error("Property '{object}.{property}' is not writable")]
    ReadOnly {
        /// Type of the object.
        object: String,
        /// The property.
        property: String,
    },
    /// It was set too late.
    #[error("Attempt to set property '{property}' on device '{id}' (type '{object}') after it was realized")]
    Realized {
        /// Type of the object.
        object: String,
        /// Last part of its path.
        id: String,
        /// The property.
        property: String,
    },
    /// Its own reason.
    #[error("{0}")]
    Other(String),
}

/// All objects of a machine, under their paths.
///
/// ```
/// use gearbox_core::object::Tree;
///
/// let mut t = Tree::new();
/// let bus = t.make_path("/machine/i440fx/pci.0", "PCI");
/// assert_eq!(t.path(bus), "/machine/i440fx/pci.0");
/// assert_eq!(t.resolve("pci.0"), Ok(bus), "a partial path that one object has");
/// let machine = t.resolve("/machine").unwrap();
/// assert_eq!((t.type_name(machine), t.children(machine).count()), ("container", 1));
/// ```
pub struct Tree {
    nodes: Vec<Option<Node>>,
    free: Vec<NodeId>,
}

impl Default for Tree {
    fn default() -> Self {
        Self::new()
    }
}

impl Tree {
    /// A tree with a root.
    pub fn new() -> Self {
        let mut this = Self { nodes: Vec::new(), free: Vec::new() };
        this.insert(Node::new(String::new(), "container".into(), None));
        this
    }
    /// The root, whose path is `/`.
    pub fn root(&self) -> NodeId {
        NodeId(0)
    }
    fn insert(&mut self, node: Node) -> NodeId {
        let id = self.free.pop().unwrap_or_else(|| {
            self.nodes.push(None);
            NodeId(self.nodes.len() as u32 - 1)
        });
        self.nodes[id.0 as usize] = Some(node);
        id
    }
    fn node(&self, id: NodeId) -> &Node {
        self.nodes[id.0 as usize].as_ref().expect("ids of removed objects are not kept")
    }
    fn node_mut(&mut self, id: NodeId) -> &mut Node {
        self.nodes[id.0 as usize].as_mut().expect("ids of removed objects are not kept")
    }

    /// Adds a child. A name that ends in `[*]` gets the first number that is free. If the name is taken, the object that has it is returned instead,
    /// with its type changed.
    pub fn add(&mut self, parent: NodeId, name: &str, type_name: impl Into<Cow<'static, str>>) -> NodeId {
        let type_name = type_name.into();
        let children = &self.node(parent).children;
        let name = match name.strip_suffix("[*]") {
            Some(stem) => {
                let numbered = |n: usize| format!("{stem}[{n}]");
                (0..).map(numbered).find(|n| !children.contains_key(n)).expect("numbers do not end")
            }
            None => name.to_owned(),
        };
        if let Some(&id) = children.get(&name) {
            self.node_mut(id).type_name = type_name;
            return id;
        }
        let id = self.insert(Node::new(name.clone(), type_name, Some(parent)));
        self.node_mut(parent).children.insert(name, id);
        id
    }
    /// Adds an object at a path, with containers on the way where there is nothing yet.
    pub fn make_path(&mut self, path: &str, type_name: impl Into<Cow<'static, str>>) -> NodeId {
        let mut parts: Vec<_> = path.split('/').filter(|p| !p.is_empty()).collect();
        let Some(last) = parts.pop() else { return self.root() };
        let parent = parts.into_iter().fold(self.root(), |at, part| {
            let known = self.node(at).children.get(part).copied();
            known.unwrap_or_else(|| self.add(at, part, "container"))
        });
        self.add(parent, last, type_name)
    }
    /// Removes an object and everything below it; the root stays.
    pub fn remove(&mut self, id: NodeId) {
        let Some(parent) = self.node(id).parent else { return };
        let name = std::mem::take(&mut self.node_mut(id).name);
        self.node_mut(parent).children.remove(&name);
        let mut doomed = vec![id];
        while let Some(id) = doomed.pop() {
            if let Some(node) = self.nodes[id.0 as usize].take() {
                doomed.extend(node.children.into_values());
                self.free.push(id);
            }
        }
    }

    /// The path of an object, from the root.
    pub fn path(&self, id: NodeId) -> String {
        let mut parts: Vec<_> =
            std::iter::successors(Some(id), |&id| self.node(id).parent).map(|id| self.name(id)).collect();
        parts.reverse();
        if parts.len() == 1 { "/".to_owned() } else { parts.join("/") }
    }
    /// The last part of its path.
    pub fn name(&self, id: NodeId) -> &str {
        &self.node(id).name
    }
    /// The name of its type.
    pub fn type_name(&self, id: NodeId) -> &str {
        &self.node(id).type_name
    }
    /// The object that it is part of.
    pub fn parent(&self, id: NodeId) -> Option<NodeId> {
        self.node(id).parent
    }
    /// Its parts, by name.
    pub fn children(&self, id: NodeId) -> impl Iterator<Item = (&str, NodeId)> {
        self.node(id).children.iter().map(|(name, id)| (name.as_str(), *id))
    }
    /// Its properties, parts apart.
    pub fn properties(&self, id: NodeId) -> impl Iterator<Item = (&str, &NodeProperty)> {
        self.node(id).properties.iter().map(|(name, p)| (&**name, p))
    }
    /// The device that it is.
    pub fn device(&self, id: NodeId) -> Option<DeviceId> {
        self.node(id).device
    }
    pub(crate) fn set_device(&mut self, id: NodeId, device: DeviceId) {
        self.node_mut(id).device = Some(device);
    }
    /// Everything below an object, parents before children, with the depth (0 for its own children).
    pub fn descendants(&self, id: NodeId) -> Vec<(usize, NodeId)> {
        let mut all = Vec::new();
        let mut stack: Vec<_> = self.children(id).map(|(_, id)| (0, id)).collect();
        stack.reverse();
        while let Some((depth, id)) = stack.pop() {
            all.push((depth, id));
            let at = stack.len();
            stack.extend(self.children(id).map(|(_, id)| (depth + 1, id)));
            stack[at..].reverse();
        }
        all
    }

    /// Gives an object a property, in place of one of that name.
    pub fn set_property(&mut self, id: NodeId, name: impl Into<Cow<'static, str>>, property: NodeProperty) {
        self.node_mut(id).properties.insert(name.into(), property);
    }
    /// Gives an object a property that stays as it is.
    pub fn set_fixed(
        &mut self,
        id: NodeId,
        name: impl Into<Cow<'static, str>>,
        kind: impl Into<Cow<'static, str>>,
        value: impl Into<Value>,
    ) {
        let access = Access::Fixed(value.into());
        self.set_property(id, name, NodeProperty { kind: kind.into(), description: "".into(), access });
    }
    /// Gives an object a link to another one.
    pub fn set_link(&mut self, id: NodeId, name: impl Into<Cow<'static, str>>, target_type: &str, target: String) {
        let kind = format!("link<{target_type}>").into();
        self.set_property(id, name, NodeProperty { kind, description: "".into(), access: Access::Link(target) });
    }
    /// Takes a property away.
    pub fn clear_property(&mut self, id: NodeId, name: &str) {
        self.node_mut(id).properties.remove(name);
    }

    /// Finds an object by its path; links are followed. A path that does not start with `/` may be the end of one.
    ///
    /// # Errors
    /// There is no such object, or more than one.
    pub fn resolve(&self, path: &str) -> Result<NodeId, ResolveError> {
        let parts: Vec<_> = path.split('/').filter(|p| !p.is_empty()).collect();
        let found = if path.starts_with('/') {
            self.follow(self.root(), &parts, MOST_LINKS)
        } else {
            let everywhere =
                std::iter::once(self.root()).chain(self.descendants(self.root()).into_iter().map(|(_, n)| n));
            let mut hits: Vec<_> = everywhere.filter_map(|at| self.follow_children(at, &parts)).collect();
            hits.dedup();
            if hits.len() > 1 {
                return Err(ResolveError::Ambiguous(path.to_owned()));
            }
            hits.pop()
        };
        found.ok_or_else(|| ResolveError::NotFound(path.to_owned()))
    }
    fn follow_children(&self, from: NodeId, parts: &[&str]) -> Option<NodeId> {
        parts.iter().try_fold(from, |at, part| self.node(at).children.get(*part).copied())
    }
    fn follow(&self, from: NodeId, parts: &[&str], links: u32) -> Option<NodeId> {
        let Some((part, rest)) = parts.split_first() else { return Some(from) };
        let node = self.node(from);
        if let Some(&child) = node.children.get(*part) {
            return self.follow(child, rest, links);
        }
        match &node.properties.get(*part)?.access {
            Access::Link(target) if !target.is_empty() && links > 0 => {
                let target: Vec<_> = target.split('/').filter(|p| !p.is_empty()).collect();
                self.follow(self.follow(self.root(), &target, links - 1)?, rest, links - 1)
            }
            _ => None,
        }
    }
}

/// Longest chain of links that is followed; a longer one can only be a circle.
const MOST_LINKS: u32 = 16;

impl Node {
    fn new(name: String, type_name: Cow<'static, str>, parent: Option<NodeId>) -> Self {
        Self { name, type_name, parent, children: BTreeMap::new(), properties: BTreeMap::new(), device: None }
    }
}

impl BoardState {
    /// Reads a property of an object (`qom-get`).
    ///
    /// # Errors
    /// There is no such property, or it cannot be told now.
    pub fn object_get(&mut self, id: NodeId, property: &str) -> Result<Value, ObjectError> {
        let node = self.objects.node(id);
        if property == "type" {
            return Ok(node.type_name.as_ref().into());
        }
        if let Some(&child) = node.children.get(property) {
            return Ok(self.objects.path(child).into());
        }
        let access = node.properties.get(property).map(|p| p.access.clone());
        match access.ok_or_else(|| self.no_property(id, property))? {
            Access::Fixed(value) => Ok(value),
            Access::Link(path) => Ok(path.into()),
            Access::Dynamic { get, .. } => get(self).map_err(ObjectError::Other),
        }
    }
    /// Writes a property of an object (`qom-set`).
    ///
    /// # Errors
    /// There is no such property, it cannot be written, or not with this value.
    pub fn object_set(&mut self, id: NodeId, property: &str, value: &Value) -> Result<(), ObjectError> {
        let node = self.objects.node(id);
        let (object, property) = (node.type_name.to_string(), property.to_owned());
        let read_only = ObjectError::ReadOnly { object: object.clone(), property: property.clone() };
        if property == "type" || node.children.contains_key(&*property) {
            return Err(read_only);
        }
        let is_device = node.device.is_some();
        let access = node.properties.get(&*property).map(|p| p.access.clone());
        match access.ok_or_else(|| self.no_property(id, &property))? {
            Access::Fixed(_) if is_device => {
                Err(ObjectError::Realized { object, id: self.objects.name(id).to_owned(), property })
            }
            Access::Dynamic { set: Some(set), .. } => set(self, value).map_err(ObjectError::Other),
            _ => Err(read_only),
        }
    }
    fn no_property(&self, id: NodeId, property: &str) -> ObjectError {
        let object = self.objects.type_name(id).to_owned();
        ObjectError::NoProperty { object, property: property.to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_and_reused() {
        let mut t = Tree::new();
        let m = t.make_path("/machine", "container");
        let names: Vec<_> = (0..3).map(|_| t.add(m, "device[*]", "x")).collect();
        assert_eq!(t.path(names[2]), "/machine/device[2]");
        t.remove(names[1]);
        assert_eq!(t.resolve("/machine/device[1]"), Err(ResolveError::NotFound("/machine/device[1]".into())));
        let again = t.add(m, "device[*]", "x");
        assert_eq!((t.path(again).as_str(), again), ("/machine/device[1]", names[1]));
    }

    #[test]
    fn partial_paths_links_and_circles() {
        let mut t = Tree::new();
        let a = t.make_path("/machine/a/ioapic", "x");
        assert_eq!(t.resolve("a/ioapic"), Ok(a));
        let b = t.make_path("/machine/b", "x");
        t.set_link(b, "peer", "x", "/machine/a".into());
        assert_eq!(t.resolve("/machine/b/peer/ioapic"), Ok(a));
        t.set_link(b, "self", "x", "/machine/b/self".into());
        assert!(t.resolve("/machine/b/self").is_err());
        t.make_path("/machine/b/ioapic", "x");
        assert_eq!(t.resolve("ioapic"), Err(ResolveError::Ambiguous("ioapic".into())));
        assert_eq!(t.descendants(t.root()).iter().map(|(d, _)| *d).collect::<Vec<_>>(), [0, 1, 2, 1, 2]);
        t.remove(t.resolve("/machine").unwrap());
        assert_eq!(t.descendants(t.root()), []);
    }
}
