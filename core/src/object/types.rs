//! Types and their registry.

use super::UserClass;
use super::hierarchy;
use super::property::{AnySpec, PropertyInfo, list};
use crate::board::DeviceSpec;
use std::collections::BTreeMap;
use std::sync::OnceLock;

/// A type (QEMU's `TypeInfo`).
#[derive(Clone, Copy)]
pub struct TypeInfo {
    /// QEMU's name, such as `isa-serial`.
    pub name: &'static str,
    /// The parent; every type but `object` and `interface` has one.
    pub parent: Option<&'static str>,
    /// It has no instances of its own.
    pub is_abstract: bool,
    /// Interfaces that it implements, beyond those of its parents.
    pub interfaces: &'static [&'static str],
    /// One line for `-device help`.
    pub description: &'static str,
    /// It is a device, made from a [`DeviceSpec`].
    pub device: Option<DeviceClass>,
    /// Users make it by itself.
    pub user: Option<UserClass>,
}

/// What a device is for (QEMU's `DeviceCategory`), in the order of lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Category {
    Bridge,
    Storage,
    Input,
    Display,
    Misc,
    Cpu,
    Watchdog,
}

impl Category {
    /// All of them, in order.
    pub const ALL: [Self; 7] =
        [Self::Bridge, Self::Storage, Self::Input, Self::Display, Self::Misc, Self::Cpu, Self::Watchdog];

    /// As headings have it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bridge => "Controller/Bridge/Hub",
            Self::Storage => "Storage",
            Self::Input => "Input",
            Self::Display => "Display",
            Self::Misc => "Misc",
            Self::Cpu => "CPU",
            Self::Watchdog => "Watchdog",
        }
    }
}

/// What is known of a type of devices.
#[derive(Clone, Copy)]
pub struct DeviceClass {
    /// An unrealized instance with default values; `None` where only a board file can make one.
    pub make: Option<fn() -> Box<dyn AnySpec>>,
    /// It can be asked for by `-device` and `device_add`.
    pub user_creatable: bool,
    /// It can come and go while the machine runs, if its bus can bear that.
    pub hotpluggable: bool,
    /// What it is for.
    pub category: Category,
    pub(super) properties: fn() -> Vec<PropertyInfo>,
}

impl TypeInfo {
    /// A type of devices that users can create.
    pub const fn device<S: DeviceSpec + Default>(parent: &'static str, description: &'static str) -> Self {
        let mut this = Self::onboard::<S>(parent, description);
        this.device = Some(DeviceClass {
            make: Some(|| Box::new(S::default())),
            user_creatable: true,
            hotpluggable: true,
            category: Category::Misc,
            properties: || list(Some(&S::default())),
        });
        this
    }
    /// A type of devices that only boards create, since they need wiring.
    pub const fn onboard<S: DeviceSpec>(parent: &'static str, description: &'static str) -> Self {
        let mut this = Self::of(S::TYPE, parent);
        this.description = description;
        this.device = Some(DeviceClass {
            make: None,
            user_creatable: false,
            hotpluggable: false,
            category: Category::Misc,
            properties: || list::<S>(None),
        });
        this
    }
    /// A type without anything of its own.
    pub const fn of(name: &'static str, parent: &'static str) -> Self {
        Self {
            name,
            parent: Some(parent),
            is_abstract: false,
            interfaces: &[],
            description: "",
            device: None,
            user: None,
        }
    }
    /// The same, abstract.
    pub const fn abstract_of(name: &'static str, parent: &'static str) -> Self {
        let mut this = Self::of(name, parent);
        this.is_abstract = true;
        this
    }
    /// Implements these interfaces as well.
    #[must_use]
    pub const fn implements(mut self, interfaces: &'static [&'static str]) -> Self {
        self.interfaces = interfaces;
        self
    }
    /// It is for this, rather than for something of its own kind.
    #[must_use]
    pub const fn category(mut self, category: Category) -> Self {
        if let Some(device) = &mut self.device {
            device.category = category;
        }
        self
    }
    /// It stays once it is there.
    #[must_use]
    pub const fn not_hotpluggable(mut self) -> Self {
        if let Some(device) = &mut self.device {
            device.hotpluggable = false;
        }
        self
    }
}

/// An entry of the registry, for `inventory::submit!`.
pub struct TypeEntry(pub &'static TypeInfo);

inventory::collect!(TypeEntry);

/// All types, by name.
pub struct TypeRegistry(BTreeMap<&'static str, TypeInfo>);

/// The registry of everything that is linked into the program.
pub fn types() -> &'static TypeRegistry {
    static TYPES: OnceLock<TypeRegistry> = OnceLock::new();
    TYPES.get_or_init(|| {
        let linked = inventory::iter::<TypeEntry>.into_iter().map(|e| *e.0);
        let all = hierarchy::types().into_iter().chain(derived()).chain(linked);
        TypeRegistry(all.map(|t| (t.name, t)).collect())
    })
}

/// The types that follow from the other registries: machines, accelerators and CPU models.
fn derived() -> impl Iterator<Item = TypeInfo> {
    // Made once for the life of the program.
    let name = |name: String| -> &'static str { Box::leak(name.into_boxed_str()) };
    let described = |name, parent, description| TypeInfo { description, ..TypeInfo::of(name, parent) };
    let machines = crate::machine::machine_types().iter();
    let machines =
        machines.map(move |m| described(name(format!("{}-machine", m.name())), m.parent_type(), m.description()));
    let accelerators = crate::accel::registered().into_iter();
    let accelerators =
        accelerators.map(move |a| described(name(format!("{}-accel", a.name())), "accel", a.description()));
    let cpu = DeviceClass {
        make: None,
        user_creatable: true,
        hotpluggable: true,
        category: Category::Cpu,
        properties: crate::x86::cpu_object::property_list,
    };
    let cpus = crate::x86::cpu_model::CpuModel::types();
    // The host's CPU is the best that there is, with the host's name.
    let parent = |name: &str| if name.starts_with("host-") { "max-x86_64-cpu" } else { "x86_64-cpu" };
    let cpus = cpus.map(move |(type_name, about)| TypeInfo {
        device: Some(cpu),
        ..described(name(type_name.clone()), parent(&type_name), about)
    });
    machines.chain(accelerators).chain(cpus)
}

impl TypeRegistry {
    /// The type of that name.
    pub fn get(&self, name: &str) -> Option<&TypeInfo> {
        self.0.get(name)
    }
    /// All of them, by name.
    pub fn all(&self) -> impl Iterator<Item = &TypeInfo> + Clone {
        self.0.values()
    }
    /// A type, its parent, and so on up to `object`.
    pub fn lineage(&self, name: &str) -> impl Iterator<Item = &TypeInfo> {
        std::iter::successors(self.get(name), |t| self.get(t.parent?))
    }
    /// Is `name` the type or interface `ancestor`, or derived from it?
    pub fn is_a(&self, name: &str, ancestor: &str) -> bool {
        self.lineage(name).any(|t| {
            let implements = |interface: &&str| *interface == ancestor || self.is_a(interface, ancestor);
            t.name == ancestor || t.interfaces.iter().any(implements)
        })
    }
    /// The type of bus that a device plugs into.
    pub fn bus_of(&self, name: &str) -> Option<&'static str> {
        self.lineage(name).find_map(|t| hierarchy::BUS_OF.iter().find(|(of, _)| *of == t.name)).map(|(_, bus)| *bus)
    }
    /// Devices that users can create.
    pub fn user_creatable(&self) -> impl Iterator<Item = &TypeInfo> + Clone {
        self.all().filter(|t| t.device.is_some_and(|d| d.user_creatable))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_descends_from_object_or_interface() {
        for t in types().all() {
            let root = types().lineage(t.name).last().expect("itself at least");
            assert!(root.parent.is_none() && ["object", "interface"].contains(&root.name), "{}", t.name);
            for i in t.interfaces {
                assert!(types().is_a(i, "interface"), "{} implements {i}", t.name);
            }
        }
    }

    #[test]
    fn parents_and_interfaces() {
        let t = types();
        assert!(t.is_a("pci-device", "device") && t.is_a("device", "device") && !t.is_a("device", "pci-device"));
        assert!(t.is_a("qemu64-x86_64-cpu", "cpu"));
        assert!(t.is_a("device", "vmstate-if") && t.is_a("device", "interface") && !t.is_a("PCI", "hotplug-handler"));
        assert_eq!((t.bus_of("isa-device"), t.bus_of("device")), (Some("ISA"), None));
    }
}
