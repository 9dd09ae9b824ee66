//! Lines: wires from an output to any number of inputs.

use super::DeviceId;
use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

/// An output of a device, and the wire on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Line(u32);

/// One input pin of a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Pin {
    /// The device.
    pub device: DeviceId,
    /// Its number among all inputs of the device: what [`super::Device::pin`] is called with.
    pub index: u32,
}

/// A group of input pins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pins {
    pub(super) device: DeviceId,
    pub(super) first: u32,
    pub(super) count: u32,
}

impl Pins {
    /// Pin `n` of the group.
    ///
    /// # Panics
    /// The group has no such pin: an error in a board file.
    pub fn get(&self, n: u32) -> Pin {
        assert!(n < self.count, "pin {n} of a group of {}", self.count);
        Pin { device: self.device, index: self.first + n }
    }
    /// Number of pins.
    pub fn len(&self) -> u32 {
        self.count
    }
    /// The group has no pins.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

#[derive(Clone)]
pub(super) enum Sink {
    Pin(Pin),
    /// An ISA interrupt, which many lines share.
    Isa(u8),
    Call(Arc<dyn Fn(bool) + Send + Sync>),
}

struct Wire {
    owner: DeviceId,
    name: String,
    /// As last driven, and as last delivered.
    driven: bool,
    settled: bool,
    sinks: Vec<Sink>,
}

#[derive(Default)]
pub(super) struct Lines {
    wires: Vec<Wire>,
    /// Wires whose owners have gone. The lowest is used again first, so that those of a device are always in the order in which it claimed them.
    free: BTreeSet<Line>,
    queue: VecDeque<(Line, bool)>,
}

impl Lines {
    pub(super) fn add(&mut self, owner: DeviceId, name: &str) -> Line {
        let wire = Wire { owner, name: name.to_owned(), driven: false, settled: false, sinks: Vec::new() };
        if let Some(line) = self.free.pop_first() {
            self.wires[line.0 as usize] = wire;
            return line;
        }
        self.wires.push(wire);
        Line(self.wires.len() as u32 - 1)
    }
    /// Cuts the wires that go to a device, and gives up its own; returns those of its own that were high, with what they fed.
    pub(super) fn remove(&mut self, device: DeviceId) -> Vec<Sink> {
        let mut released = Vec::new();
        for (n, w) in self.wires.iter_mut().enumerate() {
            let line = Line(n as u32);
            if w.owner == device && !self.free.contains(&line) {
                let sinks = std::mem::take(&mut w.sinks);
                if w.settled {
                    released.extend(sinks);
                }
                self.queue.retain(|(l, _)| *l != line);
                self.free.insert(line);
            } else {
                w.sinks.retain(|s| !matches!(s, Sink::Pin(p) if p.device == device));
            }
        }
        released
    }
    pub(super) fn connect(&mut self, line: Line, sink: Sink) {
        self.wires[line.0 as usize].sinks.push(sink);
    }
    pub(super) fn set(&mut self, line: Line, level: bool) {
        let w = &mut self.wires[line.0 as usize];
        if w.driven != level {
            w.driven = level;
            self.queue.push_back((line, level));
        }
    }
    pub(super) fn driven(&self, line: Line) -> bool {
        self.wires[line.0 as usize].driven
    }
    pub(super) fn settled(&self, line: Line) -> bool {
        self.wires[line.0 as usize].settled
    }
    pub(super) fn next_change(&mut self) -> Option<(Line, bool)> {
        let (line, level) = self.queue.pop_front()?;
        self.wires[line.0 as usize].settled = level;
        Some((line, level))
    }
    pub(super) fn drop_changes(&mut self) {
        self.queue.clear();
        self.wires.iter_mut().for_each(|w| w.settled = w.driven);
    }
    pub(super) fn sinks(&self, line: Line) -> Vec<Sink> {
        self.wires[line.0 as usize].sinks.clone()
    }
    /// Levels of a device's wires, in order.
    pub(super) fn levels(&self, owner: DeviceId) -> Vec<bool> {
        self.of(owner).map(|(line, _)| self.settled(line)).collect()
    }
    /// Wires of a device have these levels, which those at their other ends know of; except for what is not on the board.
    pub(super) fn set_levels(&mut self, owner: DeviceId, levels: &[bool]) {
        let lines: Vec<_> = self.of(owner).map(|(line, _)| line).collect();
        for (line, &level) in lines.into_iter().zip(levels) {
            let wire = &mut self.wires[line.0 as usize];
            let changes = wire.settled != level;
            (wire.driven, wire.settled) = (level, level);
            for sink in wire.sinks.iter().filter(|_| changes) {
                if let Sink::Call(f) = sink {
                    f(level);
                }
            }
        }
    }
    /// The ISA interrupts that wires assert, each as often as it is.
    pub(super) fn asserted_irqs(&self) -> impl Iterator<Item = u8> {
        let high = self.wires.iter().filter(|w| w.settled).flat_map(|w| &w.sinks);
        high.filter_map(|sink| if let Sink::Isa(irq) = sink { Some(*irq) } else { None })
    }
    /// Outputs of a device, in order, with their names.
    pub(super) fn of(&self, owner: DeviceId) -> impl Iterator<Item = (Line, &str)> {
        let all = self.wires.iter().enumerate().map(|(n, w)| (Line(n as u32), w));
        let own = all.filter(move |(line, w)| w.owner == owner && !self.free.contains(line));
        own.map(|(line, w)| (line, w.name.as_str()))
    }
}
