//! The memory trees, and what they come to.

use crate::board::BoardState;
use crate::mem::{FlatKind, FlatRange, FlatView, IoTarget, MemTree, RamAccess, RegionId, RegionInfo, RegionKind};
use crate::monitor::HumanMonitor;
use crate::monitor::grammar::Arguments;
use crate::monitor::output::{Done, Output};
use std::collections::BTreeMap;
use std::fmt::Write;

/// `info mtree`.
pub(super) fn mtree(m: &mut HumanMonitor, arguments: &Arguments, out: &mut Output) -> Done {
    let (flat, owner, disabled) = (arguments.flag("flat"), arguments.flag("owner"), arguments.flag("disabled"));
    m.machine()?.board().with(|s| {
        // Nothing waits to be rendered: the board is settled when it is taken.
        let views = if flat { [s.fabric.memory.render(), s.fabric.ports.render()] } else { Default::default() };
        let trees = [("memory", &s.fabric.memory), ("I/O", &s.fabric.ports)];
        for (n, ((name, tree), view)) in trees.into_iter().zip(&views).enumerate() {
            let lister = Lister { tree, board: s, owner, disabled };
            if flat {
                let root = tree.name(tree.root());
                writeln!(out, "FlatView #{n}\n AS \"{name}\", root: {root}\n Root memory region: {root}")?;
                lister.flat(view, out)?;
            } else {
                lister.space(name, out)?;
            }
        }
        Ok(())
    })
}

/// Lists one tree.
struct Lister<'a> {
    tree: &'a MemTree,
    board: &'a BoardState,
    /// Says whose regions they are.
    owner: bool,
    /// Disabled regions as well.
    disabled: bool,
}

/// Deepest nesting that is shown.
const DEEPEST: usize = 32;

impl Lister<'_> {
    /// A whole address space, and then the regions of which it has aliases.
    fn space(&self, name: &str, out: &mut Output) -> Done {
        writeln!(out, "address-space: {name}")?;
        let mut aliased = Vec::new();
        self.region(self.tree.root(), 1, 0, &mut aliased, out)?;
        writeln!(out)?;
        let mut next = 0;
        while let Some(&id) = aliased.get(next) {
            next += 1;
            writeln!(out, "memory-region: {}", self.tree.name(id))?;
            self.region(id, 1, 0, &mut aliased, out)?;
            writeln!(out)?;
        }
        Ok(())
    }

    fn region(&self, id: RegionId, level: usize, base: u64, aliased: &mut Vec<RegionId>, out: &mut Output) -> Done {
        let info = self.tree.describe(id);
        if level > DEEPEST || !(info.enabled || self.disabled) {
            return Ok(());
        }
        let place = self.tree.place(id);
        let start = base.wrapping_add(place.offset);
        let end = start.wrapping_add(info.last);
        write!(out, "{:1$}{start:016x}-{end:016x} (prio {2}, {3}): ", "", 2 * level, place.priority, self.kind(&info))?;
        match info.kind {
            RegionKind::Alias { of, offset } => {
                if !aliased.contains(&of) {
                    aliased.push(of);
                }
                let last = offset.wrapping_add(info.last);
                write!(out, "alias {} @{} {offset:016x}-{last:016x}", info.name, self.tree.name(of))?;
            }
            _ => write!(out, "{}", info.name)?,
        }
        write!(out, "{}", if info.enabled { "" } else { " [disabled]" })?;
        if let RegionKind::Io(target) = info.kind {
            self.show_owner(target, out)?;
        }
        writeln!(out)?;
        let mut children = info.children;
        children.sort_by_key(|c| {
            let place = self.tree.place(*c);
            (place.offset, -i64::from(place.priority))
        });
        children.into_iter().try_for_each(|c| self.region(c, level + 1, start, aliased, out))
    }

    fn kind(&self, info: &RegionInfo<'_>) -> &'static str {
        match info.kind {
            RegionKind::Ram if info.readonly => "rom",
            RegionKind::Ram => "ram",
            RegionKind::RomDevice => "romd",
            RegionKind::Io(_) | RegionKind::Container => "i/o",
            RegionKind::Alias { .. } => {
                let target = (0..DEEPEST).try_fold(info.kind, |kind, _| match kind {
                    RegionKind::Alias { of, .. } => Ok(self.tree.describe(of).kind),
                    kind => Err(kind),
                });
                match target {
                    Err(RegionKind::Ram) if info.readonly => "rom",
                    Err(RegionKind::Ram) => "ram",
                    Err(RegionKind::RomDevice) => "romd",
                    _ => "i/o",
                }
            }
        }
    }

    fn show_owner(&self, target: IoTarget, out: &mut Output) -> Done {
        let device = self.board.devices().find(|(id, ..)| self.owner && *id == target.device);
        device.map_or(Ok(()), |(_, path, _)| {
            let (key, value) = path.strip_prefix("/machine/peripheral/").map_or(("path", path), |id| ("id", id));
            Ok(write!(out, " owner:{{dev {key}={value}}}")?)
        })
    }

    /// What answers each address.
    fn flat(&self, view: &FlatView, out: &mut Output) -> Done {
        if view.ranges().is_empty() {
            return Ok(writeln!(out, "  No rendered FlatView\n")?);
        }
        let mut names = Names::default();
        names.collect(self.tree, self.tree.root(), 0);
        view.ranges().iter().try_for_each(|r| self.range(r, &names, out))?;
        Ok(writeln!(out)?)
    }

    fn range(&self, r: &FlatRange, names: &Names, out: &mut Output) -> Done {
        let (kind, id, name, offset, target) = match &r.kind {
            FlatKind::Io { target, offset } => {
                let id = names.io.get(&(target.device, target.region)).copied();
                ("i/o", id, id.map_or("", |id| self.tree.name(id)), *offset, Some(*target))
            }
            FlatKind::Ram { block, offset, access } => {
                let (kind, target) = match access {
                    RamAccess::ReadWrite => ("ram", None),
                    RamAccess::ReadOnly => ("rom", None),
                    RamAccess::RomDevice(target, _) => ("romd", Some(*target)),
                };
                (kind, names.ram.get(block.name()).copied(), block.name(), *offset, target)
            }
        };
        let priority = id.map_or(0, |id| self.tree.place(id).priority);
        write!(out, "  {:016x}-{:016x} (prio {priority}, {kind}): {name}", r.start, r.last)?;
        if offset != 0 {
            write!(out, " @{offset:016x}")?;
        }
        if let Some(target) = target {
            self.show_owner(target, out)?;
        }
        Ok(writeln!(out)?)
    }
}

/// The regions behind what a flat view shows.
#[derive(Default)]
struct Names {
    io: BTreeMap<(crate::board::DeviceId, u32), RegionId>,
    ram: BTreeMap<String, RegionId>,
}

impl Names {
    fn collect(&mut self, tree: &MemTree, id: RegionId, depth: usize) {
        if depth > DEEPEST {
            return;
        }
        let info = tree.describe(id);
        match info.kind {
            RegionKind::Io(target) => {
                self.io.entry((target.device, target.region)).or_insert(id);
            }
            RegionKind::Ram | RegionKind::RomDevice => {
                self.ram.entry(info.name.to_owned()).or_insert(id);
            }
            RegionKind::Alias { of, .. } => self.collect(tree, of, depth + 1),
            RegionKind::Container => {}
        }
        info.children.into_iter().for_each(|c| self.collect(tree, c, depth + 1));
    }
}
