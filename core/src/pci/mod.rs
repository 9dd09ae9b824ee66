//! The PCI bus: configuration spaces, base addresses and interrupt pins (PCI Local Bus Specification 3.0).
//!
//! Configuration spaces are plain data of the bus, one for each function, owned by the device that claimed it with
//! [`Realize::pci_function`](crate::board::Realize::pci_function). A host bridge reads and writes them by address; a write is queued, and when the board settles,
//! base addresses are mapped as the new contents say, and then the device is told.

mod bar;
mod config;
mod msix;
mod place;
mod rom;

pub use bar::{BarInfo, BarKind};
pub use config::{CONFIG_SIZE, ConfigHeader, ConfigSpace, IntxPin, command, reg, status};
pub use msix::Msix;

use crate::board::{DeviceId, Line, Pin, Pins, all_ones};
use crate::mem::{MemTree, RegionId};
use bar::Bar;
pub use place::{MOST_ACPI_INDEX, PciPlace};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// Where a function is on its bus: device (slot) in bits 7..3, function in bits 2..0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Devfn(pub u8);

impl Devfn {
    /// Function `function` (0 to 7) of slot `slot` (0 to 31).
    pub const fn new(slot: u8, function: u8) -> Self {
        Self(slot << 3 | function & 7)
    }
    /// Slot number.
    pub const fn slot(self) -> u8 {
        self.0 >> 3
    }
    /// Function number.
    pub const fn function(self) -> u8 {
        self.0 & 7
    }
    /// The Open Firmware path of a device of this kind (`ide`) here, as boot orders have it.
    pub fn firmware_path(self, kind: &str) -> String {
        let function = if self.function() == 0 { String::new() } else { format!(",{:x}", self.function()) };
        format!("/pci@i0cf8/{kind}@{:x}{function}", self.slot())
    }
}

impl std::fmt::Display for Devfn {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:02x}.{}", self.slot(), self.function())
    }
}

/// A guest write to a device's configuration space, to be told to the device.
pub(crate) struct ConfigWrite {
    pub(crate) device: DeviceId,
    pub(crate) offset: u8,
    pub(crate) len: u8,
}

/// What is saved of a function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FunctionState {
    config: Vec<u8>,
    asserted: bool,
}

impl FunctionState {
    /// Is it that of a function with this configuration space? Nothing in there is a danger, but what the function is cannot change.
    pub(crate) fn fits(&self, config: &ConfigSpace) -> bool {
        let identity = |bytes: &[u8]| reg::IDENTITY.map(|range| bytes[range].to_vec());
        self.config.len() == CONFIG_SIZE && identity(&self.config) == identity(config.bytes())
    }
}

/// A function on the bus.
struct Function {
    owner: DeviceId,
    config: ConfigSpace,
    bars: Vec<Bar>,
    /// The wire of its interrupt pin, and whether the device asks for an interrupt on it.
    intx: Option<Line>,
    asserted: bool,
    /// It can be taken out while the machine runs.
    removable: bool,
    acpi_index: u32,
}

/// A PCI bus.
#[derive(Default)]
pub struct PciBus {
    functions: BTreeMap<Devfn, Function>,
    by_owner: BTreeMap<DeviceId, Devfn>,
    writes: VecDeque<ConfigWrite>,
    /// Where memory BARs are mapped: a container that the host bridge made.
    memory_space: Option<RegionId>,
    /// Inputs of the interrupt router, four for each slot.
    intx_inputs: Option<Pins>,
}

impl PciBus {
    pub(crate) fn next_write(&mut self) -> Option<ConfigWrite> {
        self.writes.pop_front()
    }

    /// Names the region of the memory tree in which memory BARs are mapped. Without one it is the root.
    pub fn set_memory_space(&mut self, container: RegionId) {
        self.memory_space = Some(container);
    }
    /// That region.
    pub fn memory_space(&self) -> Option<RegionId> {
        self.memory_space
    }
    /// Functions in the order of their addresses, with their owners.
    pub fn functions(&self) -> impl Iterator<Item = (Devfn, DeviceId, &ConfigSpace)> {
        self.functions.iter().map(|(&at, f)| (at, f.owner, &f.config))
    }
    /// The first slot that is free altogether.
    pub fn free_slot(&self) -> Option<Devfn> {
        let taken = |slot| self.functions.keys().any(|f| f.slot() == slot);
        (0..32).find(|&s| !taken(s)).map(|s| Devfn::new(s, 0))
    }
    /// Says that a device's function can be taken out while the machine runs.
    pub(crate) fn set_removable(&mut self, owner: DeviceId) {
        if let Some(f) = self.by_owner.get(&owner).and_then(|at| self.functions.get_mut(at)) {
            f.removable = true;
        }
    }
    /// Whose function is at an address, if it can be taken out while the machine runs.
    pub fn removable(&self, at: Devfn) -> Option<DeviceId> {
        self.functions.get(&at).filter(|f| f.removable).map(|f| f.owner)
    }
    /// A bit for each slot with a function that cannot be taken out while the machine runs.
    pub fn fixed_slots(&self) -> u32 {
        let fixed = self.functions.iter().filter(|(_, f)| !f.removable);
        fixed.fold(0, |slots, (at, _)| slots | 1 << at.slot())
    }
    /// ACPI index of the first function in a slot; 0 for none.
    pub fn acpi_index(&self, slot: u8) -> u32 {
        self.functions.iter().find(|(at, _)| at.slot() == slot).map_or(0, |(_, f)| f.acpi_index)
    }
    /// A function has this ACPI index, which is not 0.
    pub(crate) fn has_acpi_index(&self, index: u32) -> bool {
        index != 0 && self.functions.values().any(|f| f.acpi_index == index)
    }
    /// Configuration space of a device that has one.
    pub fn config(&self, owner: DeviceId) -> Option<&ConfigSpace> {
        Some(&self.function(owner)?.config)
    }
    /// The same, to change. BARs are looked at again only after a write by the guest.
    pub fn config_mut(&mut self, owner: DeviceId) -> Option<&mut ConfigSpace> {
        let at = self.by_owner.get(&owner)?;
        Some(&mut self.functions.get_mut(at)?.config)
    }
    fn function(&self, owner: DeviceId) -> Option<&Function> {
        self.functions.get(self.by_owner.get(&owner)?)
    }
    /// The base address registers of a device's function.
    pub fn bars(&self, owner: DeviceId) -> impl Iterator<Item = BarInfo> {
        self.function(owner).into_iter().flat_map(|f| f.bars.iter().map(Bar::info))
    }
    /// Where a device's function is.
    pub fn address(&self, owner: DeviceId) -> Option<Devfn> {
        self.by_owner.get(&owner).copied()
    }
    /// Whose function is at an address.
    pub fn owner(&self, at: Devfn) -> Option<DeviceId> {
        self.functions.get(&at).map(|f| f.owner)
    }
    /// May the device read and write memory by itself? Devices that are not on this bus may.
    pub fn may_master(&self, owner: DeviceId) -> bool {
        self.config(owner).is_none_or(|c| c.command() & command::MASTER != 0)
    }

    /// The function that a configuration address (bus in bits 23..16, device and function in 15..8, register in 7..0) means.
    fn at(addr: u32) -> Option<(Devfn, u8)> {
        let [register, devfn, bus, _] = addr.to_le_bytes();
        (bus == 0).then_some((Devfn(devfn), register))
    }
    /// A configuration load of 1, 2 or 4 bytes, `addr` as in configuration mechanism #1 with the full register number. All ones where
    /// there is no function (3.2.2.3.4).
    pub fn config_read(&self, addr: u32, size: u8) -> u32 {
        Self::at(addr)
            .and_then(|(devfn, register)| Some(self.functions.get(&devfn)?.config.value(register, size)))
            .unwrap_or(all_ones(size) as u32)
    }
    /// A configuration store. It takes full effect when the board settles.
    pub fn config_write(&mut self, addr: u32, size: u8, value: u32) {
        if let Some((devfn, offset)) = Self::at(addr)
            && let Some(f) = self.functions.get_mut(&devfn)
        {
            f.config.write(offset, size, value);
            self.writes.push_back(ConfigWrite { device: f.owner, offset, len: size });
        }
    }

    /// Adds a function; `Err` is the owner of the place if it is taken, or nothing if the bus is full.
    pub(crate) fn add(
        &mut self,
        owner: DeviceId,
        place: &PciPlace,
        header: &ConfigHeader,
        intx: Option<Line>,
    ) -> Result<Devfn, Option<DeviceId>> {
        let at = place.addr.or_else(|| self.free_slot()).ok_or(None)?;
        if let Some(other) = self.functions.get(&at) {
            return Err(Some(other.owner));
        }
        let multifunction = header.multifunction || place.multifunction;
        let config = ConfigSpace::new(&ConfigHeader { multifunction, ..*header });
        let (asserted, removable, acpi_index) = (false, false, place.acpi_index);
        let function = Function { owner, config, bars: Vec::new(), intx, asserted, removable, acpi_index };
        self.functions.insert(at, function);
        self.by_owner.insert(owner, at);
        Ok(at)
    }
    /// What is saved of a device's function.
    pub(crate) fn save(&self, owner: DeviceId) -> Option<FunctionState> {
        self.function(owner).map(|f| FunctionState { config: f.config.bytes().to_vec(), asserted: f.asserted })
    }
    /// Gives it back. It has to be applied.
    pub(crate) fn load(&mut self, owner: DeviceId, state: &FunctionState) {
        self.writes.retain(|w| w.device != owner);
        if let Some(f) = self.by_owner.get(&owner).and_then(|at| self.functions.get_mut(at)) {
            f.config.set(0, &state.config);
            f.asserted = state.asserted;
        }
    }
    /// Takes a device's function off the bus. Its regions are its own to unmap.
    pub(crate) fn remove(&mut self, owner: DeviceId) {
        self.writes.retain(|w| w.device != owner);
        if let Some(at) = self.by_owner.remove(&owner) {
            self.functions.remove(&at);
        }
    }
    pub(crate) fn add_bar(&mut self, owner: DeviceId, index: u8, kind: BarKind, size: u64, region: RegionId) {
        if let Some(f) = self.by_owner.get(&owner).and_then(|at| self.functions.get_mut(at)) {
            f.bars.push(Bar::new(&mut f.config, index, kind, size, region));
        }
    }

    /// Names the inputs of the interrupt router: pin INTA to INTD of slot n are inputs 4n to 4n+3. Returns the wires that have been
    /// waiting for it.
    pub(crate) fn set_intx_inputs(&mut self, inputs: Pins) -> Vec<(Line, Pin)> {
        self.intx_inputs = Some(inputs);
        let wires = self.functions.iter().filter_map(|(&at, f)| Some((f.intx?, f.config.interrupt_pin()?, at)));
        wires.filter_map(|(line, pin, at)| Some((line, self.intx_input(at, pin)?))).collect()
    }
    /// The router's input for a pin.
    pub(crate) fn intx_input(&self, at: Devfn, pin: IntxPin) -> Option<Pin> {
        let inputs = self.intx_inputs?;
        let n = u32::from(at.slot()) * 4 + pin as u32;
        (n < inputs.len()).then(|| inputs.get(n))
    }
    /// The device asks for an interrupt, or no longer. Returns its wire and the level it takes.
    pub(crate) fn assert_intx(&mut self, owner: DeviceId, on: bool) -> Option<(Line, bool)> {
        let f = self.functions.get_mut(self.by_owner.get(&owner)?)?;
        f.asserted = on;
        let mut s = f.config.word(reg::STATUS) & !status::INTERRUPT;
        s |= if on { status::INTERRUPT } else { 0 };
        f.config.set(reg::STATUS, &s.to_le_bytes());
        f.intx_level()
    }

    /// Puts everything in force that a device's configuration space now says. Returns the level of its interrupt wire.
    pub(crate) fn apply(&mut self, owner: DeviceId, memory: &mut MemTree, ports: &mut MemTree) -> Option<(Line, bool)> {
        let (io_root, memory_root) = (ports.root(), self.memory_space.unwrap_or(memory.root()));
        let f = self.functions.get_mut(self.by_owner.get(&owner)?)?;
        for bar in &mut f.bars {
            let at = bar.decode(&f.config);
            if at == bar.mapped {
                continue;
            }
            bar.mapped = at;
            let (tree, root) = if bar.kind.is_io() { (&mut *ports, io_root) } else { (&mut *memory, memory_root) };
            match at {
                Some(at) => tree.map(root, at, bar.region, 1),
                None => tree.unmap(bar.region),
            }
        }
        f.intx_level()
    }
    /// Configuration spaces as after RST#. Returns the owners, whose spaces have to be applied.
    pub(crate) fn reset(&mut self) -> Vec<DeviceId> {
        self.writes.clear();
        for f in self.functions.values_mut() {
            f.config.reset();
            f.asserted = false;
        }
        self.by_owner.keys().copied().collect()
    }
}

impl Function {
    fn intx_level(&self) -> Option<(Line, bool)> {
        self.intx.map(|line| (line, self.asserted && self.config.command() & command::INTX_DISABLE == 0))
    }
}

#[cfg(test)]
mod tests;
