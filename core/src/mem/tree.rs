//! The tree of memory regions, and its rendering to a flat view.

use super::{FlatKind, FlatView, IoTarget, RamAccess, RamBlock};
use std::sync::Arc;

/// A region of a [`MemTree`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RegionId(u32);

#[derive(Clone, Debug)]
enum Kind {
    Container,
    Ram { block: Arc<RamBlock>, offset: u64 },
    RomDevice { block: Arc<RamBlock>, target: IoTarget, readable: bool },
    Io(IoTarget),
    Alias { of: RegionId, offset: u64 },
}

struct Node {
    name: String,
    /// Inclusive, so that 2^64 bytes can be said.
    last: u64,
    kind: Kind,
    enabled: bool,
    readonly: bool,
    parent: Option<RegionId>,
    /// Sorted by falling priority, newest first among equals.
    children: Vec<Child>,
}

#[derive(Clone, Copy)]
struct Child {
    id: RegionId,
    offset: u64,
    priority: i32,
}

/// Where a region of a [`MemTree`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The region that it is mapped in.
    pub parent: Option<RegionId>,
    /// Offset there in bytes.
    pub offset: u64,
    /// Priority among its siblings.
    pub priority: i32,
    /// Bytes; 2^64 shows as one less.
    pub size: u64,
}

/// What a region of a [`MemTree`] is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegionKind {
    /// Only of what is mapped in it.
    Container,
    /// RAM or ROM.
    Ram,
    /// ROM whose stores go to a device; while loads do so too, it is shown as [`RegionKind::Io`].
    RomDevice,
    /// A device.
    Io(IoTarget),
    /// A part of another region.
    Alias {
        /// The other region.
        of: RegionId,
        /// Offset there of the first byte.
        offset: u64,
    },
}

/// A region of a [`MemTree`], as lists show it.
#[derive(Clone, Debug)]
pub struct RegionInfo<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its last offset.
    pub last: u64,
    /// What it is.
    pub kind: RegionKind,
    /// It is in the view.
    pub enabled: bool,
    /// Stores to it are dropped.
    pub readonly: bool,
    /// What is mapped in it; where, [`MemTree::place`] says.
    pub children: Vec<RegionId>,
}

/// A tree of regions with priorities, as in QEMU's memory API: RAM, ROM, ROM device, I/O, alias and container.
///
/// A child of higher priority hides its siblings; among equals the one mapped last wins. Every change takes effect at the next
/// rendering.
pub struct MemTree {
    nodes: Vec<Node>,
    /// Regions that were removed.
    free: Vec<RegionId>,
    changed: bool,
    /// See [`MemTree::set_smm_root`].
    smm_root: Option<RegionId>,
}

/// Deepest nesting of containers and aliases that is followed; a deeper one can only be a cycle.
const MAX_DEPTH: u32 = 32;

impl MemTree {
    /// A tree with a root container for addresses 0 to `last`.
    pub fn new(name: &str, last: u64) -> Self {
        let mut t = Self { nodes: Vec::new(), free: Vec::new(), changed: true, smm_root: None };
        t.add(name, last, Kind::Container);
        t
    }
    /// The root container.
    pub fn root(&self) -> RegionId {
        RegionId(0)
    }

    fn add(&mut self, name: &str, last: u64, kind: Kind) -> RegionId {
        let node = Node {
            name: name.to_owned(),
            last,
            kind,
            enabled: true,
            readonly: false,
            parent: None,
            children: Vec::new(),
        };
        if let Some(id) = self.free.pop() {
            self.nodes[id.0 as usize] = node;
            return id;
        }
        self.nodes.push(node);
        RegionId(self.nodes.len() as u32 - 1)
    }
    /// A pure container of `size` bytes.
    pub fn container(&mut self, name: &str, size: u64) -> RegionId {
        self.add(name, size - 1, Kind::Container)
    }
    /// RAM: `size` bytes of `block` from `offset` on.
    pub fn ram(&mut self, block: &Arc<RamBlock>, offset: u64, size: u64) -> RegionId {
        assert!(size > 0 && offset + size <= block.size(), "region inside the block");
        self.add(block.name(), size - 1, Kind::Ram { block: block.clone(), offset })
    }
    /// ROM: like RAM, but stores are dropped.
    pub fn rom(&mut self, block: &Arc<RamBlock>, offset: u64, size: u64) -> RegionId {
        let id = self.ram(block, offset, size);
        self.nodes[id.0 as usize].readonly = true;
        id
    }
    /// Memory that is read like ROM and whose stores go to a device.
    pub fn rom_device(&mut self, block: &Arc<RamBlock>, target: IoTarget) -> RegionId {
        self.add(block.name(), block.size() - 1, Kind::RomDevice { block: block.clone(), target, readable: true })
    }
    /// Has loads from a ROM device served from its memory, or by the device.
    pub fn set_readable(&mut self, id: RegionId, on: bool) {
        if let Kind::RomDevice { readable, .. } = &mut self.nodes[id.0 as usize].kind {
            self.changed |= *readable != on;
            *readable = on;
        }
    }
    /// I/O: every access goes to a device.
    pub fn io(&mut self, name: &str, size: u64, target: IoTarget) -> RegionId {
        self.add(name, size - 1, Kind::Io(target))
    }
    /// `size` bytes of another region from `offset` on, seen at a second place.
    pub fn alias(&mut self, name: &str, of: RegionId, offset: u64, size: u64) -> RegionId {
        self.add(name, size - 1, Kind::Alias { of, offset })
    }

    /// Has an alias show what is at another offset. Other regions stay as they are.
    pub fn set_alias_offset(&mut self, id: RegionId, new: u64) {
        if let Kind::Alias { offset, .. } = &mut self.nodes[id.0 as usize].kind {
            self.changed |= *offset != new;
            *offset = new;
        }
    }
    /// Has an alias show other bytes: from `offset` on, as many as there are up to its own offset `last`.
    pub fn set_alias(&mut self, id: RegionId, offset: u64, last: u64) {
        self.set_alias_offset(id, offset);
        let n = &mut self.nodes[id.0 as usize];
        self.changed |= n.last != last;
        n.last = last;
    }
    /// Maps `child` at `offset` in `parent`.
    pub fn map(&mut self, parent: RegionId, offset: u64, child: RegionId, priority: i32) {
        self.unmap(child);
        self.nodes[child.0 as usize].parent = Some(parent);
        let list = &mut self.nodes[parent.0 as usize].children;
        let at = list.partition_point(|c| c.priority > priority);
        list.insert(at, Child { id: child, offset, priority });
        self.changed = true;
    }
    /// Takes a region out of its parent.
    pub fn unmap(&mut self, child: RegionId) {
        if let Some(parent) = self.nodes[child.0 as usize].parent.take() {
            self.nodes[parent.0 as usize].children.retain(|c| c.id != child);
            self.changed = true;
        }
    }
    /// Takes a region away for good. Nothing may alias it any more.
    pub fn remove(&mut self, id: RegionId) {
        self.unmap(id);
        for child in std::mem::take(&mut self.nodes[id.0 as usize].children) {
            self.nodes[child.id.0 as usize].parent = None;
        }
        self.nodes[id.0 as usize].kind = Kind::Container;
        self.free.push(id);
    }
    /// Where a region is in its parent; offset and priority are 0 where it has none.
    pub fn place(&self, id: RegionId) -> Place {
        let node = &self.nodes[id.0 as usize];
        let siblings = node.parent.map(|p| &self.nodes[p.0 as usize].children);
        let child = siblings.and_then(|s| s.iter().find(|c| c.id == id));
        Place {
            parent: node.parent,
            offset: child.map_or(0, |c| c.offset),
            priority: child.map_or(0, |c| c.priority),
            size: node.last.saturating_add(1),
        }
    }
    /// A disabled region and everything in it is absent from the view.
    pub fn set_enabled(&mut self, id: RegionId, on: bool) {
        let n = &mut self.nodes[id.0 as usize];
        self.changed |= n.enabled != on;
        n.enabled = on;
    }
    /// Drops stores to a RAM region, or to everything below an alias or container.
    pub fn set_readonly(&mut self, id: RegionId, on: bool) {
        let n = &mut self.nodes[id.0 as usize];
        self.changed |= n.readonly != on;
        n.readonly = on;
    }
    /// Name of a region.
    pub fn name(&self, id: RegionId) -> &str {
        &self.nodes[id.0 as usize].name
    }
    /// All about a region.
    pub fn describe(&self, id: RegionId) -> RegionInfo<'_> {
        let n = &self.nodes[id.0 as usize];
        let kind = match n.kind {
            Kind::Container => RegionKind::Container,
            Kind::Ram { .. } => RegionKind::Ram,
            Kind::RomDevice { readable: true, .. } => RegionKind::RomDevice,
            Kind::RomDevice { target, .. } | Kind::Io(target) => RegionKind::Io(target),
            Kind::Alias { of, offset } => RegionKind::Alias { of, offset },
        };
        let children = n.children.iter().map(|c| c.id).collect();
        RegionInfo { name: &n.name, last: n.last, kind, enabled: n.enabled, readonly: n.readonly, children }
    }
    /// All memory in the tree, mapped or not, each block once: what is saved of a machine besides the devices' state.
    pub fn blocks(&self) -> Vec<Arc<RamBlock>> {
        let mut blocks: Vec<Arc<RamBlock>> = Vec::new();
        for node in &self.nodes {
            if let Kind::Ram { block, .. } | Kind::RomDevice { block, .. } = &node.kind
                && blocks.iter().all(|b| !Arc::ptr_eq(b, block))
            {
                blocks.push(block.clone());
            }
        }
        blocks
    }
    /// Has anything changed since the last [`MemTree::render`]?
    pub fn changed(&self) -> bool {
        self.changed
    }

    /// Names the container that CPUs in system management mode see in place of the root.
    pub fn set_smm_root(&mut self, container: RegionId) {
        self.smm_root = Some(container);
        self.changed = true;
    }
    /// The flat view of the tree.
    pub fn render(&mut self) -> FlatView {
        self.changed = false;
        self.view_of(self.root())
    }
    /// The flat view of CPUs in system management mode, where it is another one.
    pub fn render_smm(&self) -> Option<FlatView> {
        self.smm_root.map(|root| self.view_of(root))
    }
    fn view_of(&self, root: RegionId) -> FlatView {
        let mut view = FlatView::default();
        self.walk(&mut view, root, 0, (0, self.nodes[root.0 as usize].last), false, 0);
        view.simplify();
        view
    }

    /// Renders region `id`, whose byte 0 is at `base` (it may be negative, for aliases), clipped to `clip`.
    fn walk(&self, view: &mut FlatView, id: RegionId, base: i128, clip: (u64, u64), readonly: bool, depth: u32) {
        let n = &self.nodes[id.0 as usize];
        if !n.enabled || depth > MAX_DEPTH {
            return;
        }
        let first = base.max(i128::from(clip.0));
        let last = (base + i128::from(n.last)).min(i128::from(clip.1));
        if first > last {
            return;
        }
        let clip = (first as u64, last as u64);
        let readonly = readonly || n.readonly;
        for c in &n.children {
            self.walk(view, c.id, base + i128::from(c.offset), clip, readonly, depth + 1);
        }
        let into = (first - base) as u64;
        let kind = match &n.kind {
            Kind::Container => return,
            Kind::Alias { of, offset } => {
                return self.walk(view, *of, base - i128::from(*offset), clip, readonly, depth + 1);
            }
            Kind::Ram { block, offset } => FlatKind::Ram {
                block: block.clone(),
                offset: offset + into,
                access: if readonly { RamAccess::ReadOnly } else { RamAccess::ReadWrite },
            },
            Kind::RomDevice { block, target, readable: true } => {
                FlatKind::Ram { block: block.clone(), offset: into, access: RamAccess::RomDevice(*target, into) }
            }
            Kind::RomDevice { target, .. } | Kind::Io(target) => FlatKind::Io { target: *target, offset: into },
        };
        view.fill(clip.0, clip.1, &kind);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::DeviceId;

    fn io(n: u32) -> IoTarget {
        IoTarget { device: DeviceId::nth(n), region: 0 }
    }
    fn shape(v: &FlatView) -> Vec<(u64, u64, char, u64)> {
        v.ranges()
            .iter()
            .map(|r| match &r.kind {
                FlatKind::Ram { offset, access: RamAccess::ReadWrite, .. } => (r.start, r.last, 'w', *offset),
                FlatKind::Ram { offset, .. } => (r.start, r.last, 'r', *offset),
                FlatKind::Io { offset, .. } => (r.start, r.last, 'i', *offset),
            })
            .collect()
    }

    #[test]
    fn higher_priority_hides_and_splits() {
        let ram = RamBlock::new("ram", 0x10000).unwrap();
        let mut t = MemTree::new("m", u64::MAX);
        let r = t.ram(&ram, 0, 0x10000);
        t.map(t.root(), 0, r, 0);
        let d = t.io("d", 0x1000, io(1));
        t.map(t.root(), 0x4000, d, 1);
        assert_eq!(shape(&t.render()), [(0, 0x3fff, 'w', 0), (0x4000, 0x4fff, 'i', 0), (0x5000, 0xffff, 'w', 0x5000)]);
        t.set_enabled(d, false);
        assert_eq!(shape(&t.render()), [(0, 0xffff, 'w', 0)]);
        t.set_readonly(r, true);
        assert_eq!(shape(&t.render()), [(0, 0xffff, 'r', 0)]);
    }

    #[test]
    fn a_rom_device_serves_loads_when_it_has_something_to_say() {
        let flash = RamBlock::new("flash", 0x2000).unwrap();
        let mut t = MemTree::new("m", u64::MAX);
        let f = t.rom_device(&flash, io(1));
        t.map(t.root(), 0x1000, f, 0);
        assert_eq!(shape(&t.render()), [(0x1000, 0x2fff, 'r', 0)]);
        t.set_readable(f, false);
        assert!(t.changed());
        assert_eq!(shape(&t.render()), [(0x1000, 0x2fff, 'i', 0)]);
        assert!(matches!(t.describe(f).kind, RegionKind::Io(_)));
        t.set_readable(f, true);
        assert_eq!(shape(&t.render()), [(0x1000, 0x2fff, 'r', 0)]);
    }

    #[test]
    fn aliases_shift_and_clip() {
        let ram = RamBlock::new("ram", 0x8000).unwrap();
        let mut t = MemTree::new("m", u64::MAX);
        let r = t.ram(&ram, 0, 0x8000);
        let low = t.alias("low", r, 0, 0x4000);
        let high = t.alias("high", r, 0x4000, 0x4000);
        t.map(t.root(), 0, low, 0);
        t.map(t.root(), 1 << 32, high, 0);
        assert_eq!(shape(&t.render()), [(0, 0x3fff, 'w', 0), (1 << 32, (1 << 32) + 0x3fff, 'w', 0x4000)]);
        t.set_alias_offset(high, 0x2000);
        assert!(t.changed());
        assert_eq!(shape(&t.render())[1], (1 << 32, (1 << 32) + 0x3fff, 'w', 0x2000));
    }

    #[test]
    fn a_range_hidden_at_both_ends_and_between() {
        let mut t = MemTree::new("m", 0xffff);
        for (at, n) in [(0u64, 1), (0x40, 2), (0xf0, 3)] {
            let r = t.io("x", 0x10, io(n));
            t.map(t.root(), at, r, 1);
        }
        let all = t.io("all", 0x100, io(9));
        t.map(t.root(), 0, all, 0);
        assert_eq!(
            shape(&t.render()),
            [
                (0, 0xf, 'i', 0),
                (0x10, 0x3f, 'i', 0x10),
                (0x40, 0x4f, 'i', 0),
                (0x50, 0xef, 'i', 0x50),
                (0xf0, 0xff, 'i', 0)
            ]
        );
    }

    #[test]
    fn a_cycle_of_aliases_ends() {
        let mut t = MemTree::new("m", 0xffff);
        let a = t.alias("a", t.root(), 0, 0x1000);
        t.map(t.root(), 0, a, 0);
        assert!(t.render().ranges().is_empty());
    }
}
