//! The buses of the board, and the devices on them with their properties.

use crate::board::{BoardState, DeviceId};
use crate::control::pci;
use crate::mem::{MemTree, RegionId, RegionKind};
use crate::monitor::HumanMonitor;
use crate::monitor::grammar::Arguments;
use crate::monitor::output::{Done, Output};
use crate::object::{Access, NodeId, Value, types};
use crate::qmp::types::pci::PciDeviceInfo;
use std::collections::BTreeMap;
use std::fmt::Write;

/// `info qtree`.
pub(super) fn qtree(m: &mut HumanMonitor, _: &Arguments, out: &mut Output) -> Done {
    m.machine()?.board().with(|board| Lister::new(board).bus(None, 0, out))
}

/// A bus: its object, or `None` for the system bus, which has none.
type BusNode = Option<NodeId>;

const SYSTEM_BUS: (&str, &str) = ("main-system-bus", "System");

struct Lister<'a> {
    board: &'a mut BoardState,
    /// Devices by the bus they are on, the newest first.
    on_bus: BTreeMap<BusNode, Vec<(DeviceId, NodeId)>>,
}

impl<'a> Lister<'a> {
    fn new(board: &'a mut BoardState) -> Self {
        let mut on_bus: BTreeMap<_, Vec<_>> = BTreeMap::new();
        let all: Vec<_> = board.devices().map(|(id, _, type_name)| (id, type_name)).collect();
        for (id, type_name) in all.into_iter().rev() {
            let Some(node) = board.node(id) else { continue };
            let Some(bus) = bus_of(board, node, type_name) else { continue };
            on_bus.entry(bus).or_default().push((id, node));
        }
        Self { board, on_bus }
    }

    fn bus(&mut self, bus: BusNode, indent: usize, out: &mut Output) -> Done {
        let tree = &self.board.objects;
        let (name, kind) = bus.map_or(SYSTEM_BUS, |node| (tree.name(node), tree.type_name(node)));
        writeln!(out, "{:indent$}bus: {name}\n{:indent$}  type {kind}", "", "")?;
        let devices = self.on_bus.remove(&bus).unwrap_or_default();
        devices.into_iter().try_for_each(|(id, node)| self.device(id, node, bus, indent + 2, out))
    }

    fn device(&mut self, id: DeviceId, node: NodeId, bus: BusNode, indent: usize, out: &mut Output) -> Done {
        let type_name = self.board.objects.type_name(node).to_owned();
        let name = self.board.device_name(id).unwrap_or_default();
        writeln!(out, "{:indent$}dev: {type_name}, id \"{name}\"", "")?;
        let indent = indent + 2;
        for (direction, name, count) in pins(self.board, node) {
            writeln!(out, "{:indent$}gpio-{direction} \"{name}\" {count}", "")?;
        }
        let properties = types().lineage(&type_name).flat_map(|t| t.properties());
        for p in properties {
            if let Ok(value) = self.board.object_get(node, p.name) {
                let at = self.board.fabric.pci.address(id).filter(|_| p.name == "addr");
                let shown = at.map_or_else(|| display(&value, p.kind), |at| at.to_string());
                writeln!(out, "{:indent$}{} = {shown}", "", p.name)?;
            }
        }
        if let Some(f) = pci::function(self.board, id) {
            show_function(&f, indent, out)?;
        }
        if bus.is_none() {
            show_mmio(&self.board.fabric.memory, id, indent, out)?;
        }
        buses_of(self.board, node).into_iter().try_for_each(|bus| self.bus(Some(bus), indent, out))
    }
}

/// The bus that a device is on: the one it was put on, or the first of its type's kind. Some, such as CPUs, are on none.
fn bus_of(board: &BoardState, node: NodeId, type_name: &str) -> Option<BusNode> {
    let kind = types().bus_of(type_name)?;
    if kind == SYSTEM_BUS.1 {
        return Some(None);
    }
    let tree = &board.objects;
    let parent = tree.properties(node).find(|(name, _)| *name == "parent_bus");
    if let Some(Access::Link(path)) = parent.map(|(_, p)| &p.access) {
        return tree.resolve(path).ok().map(Some);
    }
    let all = tree.descendants(tree.root()).into_iter().map(|(_, node)| node);
    all.into_iter().find(|node| tree.type_name(*node) == kind).map(Some)
}

/// The buses that are parts of a device.
fn buses_of(board: &BoardState, node: NodeId) -> Vec<NodeId> {
    let tree = &board.objects;
    tree.children(node).map(|(_, child)| child).filter(|c| types().is_a(tree.type_name(*c), "bus")).collect()
}

/// Inputs and outputs: direction, name and how many there are of that name.
fn pins(board: &BoardState, node: NodeId) -> Vec<(&'static str, String, usize)> {
    let tree = &board.objects;
    let inputs = tree.children(node).filter(|(_, c)| tree.type_name(*c) == "irq").map(|(name, _)| ("in", name));
    let outputs = tree.properties(node).filter(|(_, p)| p.kind == "link<irq>").map(|(name, _)| ("out", name));
    let mut counts = BTreeMap::new();
    for (direction, name) in inputs.chain(outputs) {
        let stem = name.split_once('[').map_or(name, |(stem, _)| stem);
        let stem = stem.strip_prefix("unnamed-gpio-").map_or(stem, |_| "");
        *counts.entry((direction, stem.to_owned())).or_insert(0) += 1;
    }
    counts.into_iter().map(|((direction, name), count)| (direction, name, count)).collect()
}

/// A value of a property as QEMU shows it to people.
fn display(value: &Value, kind: &str) -> String {
    match value {
        Value::Null => "<null>".to_owned(),
        Value::Number(n) if kind == "size" => {
            n.as_u64().map_or_else(|| n.to_string(), |bytes| format!("{bytes} ({})", crate::sizes::human_size(bytes)))
        }
        Value::Number(n) => {
            let bits = n.as_u64().unwrap_or_else(|| n.as_i64().unwrap_or_default().cast_unsigned());
            format!("{n} ({bits:#x})")
        }
        other => other.to_string(),
    }
}

fn show_function(f: &PciDeviceInfo, indent: usize, out: &mut Output) -> Done {
    let class = f.class_info.desc.clone().unwrap_or_else(|| format!("Class {:04x}", f.class_info.class));
    let (vendor, device) = (f.id.vendor, f.id.device);
    let (sub_vendor, sub) = (f.id.subsystem_vendor.unwrap_or_default(), f.id.subsystem.unwrap_or_default());
    writeln!(
        out,
        "{:indent$}class {class}, addr {:02x}:{:02x}.{:x}, pci id {vendor:04x}:{device:04x} (sub {sub_vendor:04x}:{sub:04x})",
        "", f.bus, f.slot, f.function
    )?;
    for r in &f.regions {
        let kind = if r.ty == "io" { "i/o" } else { "mem" };
        let last = r.address.wrapping_add(r.size).wrapping_sub(1);
        writeln!(out, "{:indent$}bar {}: {kind} at {:#x} [{last:#x}]", "", r.bar, r.address)?;
    }
    Ok(())
}

/// Where a device answers in memory, as the regions mapped at the top say.
fn show_mmio(tree: &MemTree, device: DeviceId, indent: usize, out: &mut Output) -> Done {
    let own = |id: &RegionId| matches!(tree.describe(*id).kind, RegionKind::Io(target) if target.device == device);
    tree.describe(tree.root()).children.into_iter().filter(own).try_for_each(|id| {
        let place = tree.place(id);
        Ok(writeln!(out, "{:indent$}mmio {:016x}/{:016x}", "", place.offset, place.size)?)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_shown_as_qemu_shows_them() {
        assert_eq!(display(&112.into(), "uint16"), "112 (0x70)");
        assert_eq!(display(&(-1).into(), "int32"), "-1 (0xffffffffffffffff)");
        assert_eq!((display(&true.into(), "bool"), display(&"".into(), "str")), ("true".into(), "\"\"".into()));
        assert_eq!(display(&(2u64 << 30).into(), "size"), "2147483648 (2 GiB)");
    }
}
