//! The PCI buses: configuration spaces, base addresses and interrupt pins (PCI Local Bus Specification 3.0). There is one, and one more behind each
//! [`bridge`].
//!
//! Configuration spaces are plain data of the bus, one for each function, owned by the device that claimed it with
//! [`Realize::pci_function`](crate::board::Realize::pci_function). A host bridge reads and writes them by address; a write is queued, and when the board settles,
//! base addresses are mapped as the new contents say, and then the device is told.

mod bar;
pub mod bridge;
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
use bridge::Bridge;
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
    /// A device of this kind (`ide`) here, as Open Firmware names it.
    fn firmware_name(self, kind: &str) -> String {
        let function = if self.function() == 0 { String::new() } else { format!(",{:x}", self.function()) };
        format!("{kind}@{:x}{function}", self.slot())
    }
}

/// A PCI bus of the board, whatever number firmware gives it: the root bus is 0, and those behind bridges are counted as they come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct BusId(pub u8);

impl BusId {
    /// The bus at the host bridge.
    pub const ROOT: Self = Self(0);
}

/// Where a function is.
pub type PciAddress = (BusId, Devfn);

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
        // Bridges have a register in place of the subsystem.
        let fixed = |range: &std::ops::Range<usize>| {
            range.start != usize::from(reg::SUBSYSTEM_VENDOR_ID) || !config.is_bridge()
        };
        let mut ranges = reg::IDENTITY.into_iter().filter(fixed);
        self.config.len() == CONFIG_SIZE && ranges.all(|range| self.config[range.clone()] == config.bytes()[range])
    }
}

/// A bus.
struct Bus {
    name: String,
    /// The bridge that it is behind.
    bridge: Option<DeviceId>,
    /// Where base addresses are mapped: the roots of the trees if nothing is said.
    memory: Option<RegionId>,
    ports: Option<RegionId>,
}

/// A function on a bus.
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
    bridge: Option<Bridge>,
}

/// The PCI buses of a board.
pub struct PciBus {
    buses: BTreeMap<BusId, Bus>,
    functions: BTreeMap<PciAddress, Function>,
    by_owner: BTreeMap<DeviceId, PciAddress>,
    writes: VecDeque<ConfigWrite>,
    /// Functions on buses that are being reset.
    resets: VecDeque<DeviceId>,
    /// Inputs of the interrupt router, four for each slot of the root bus.
    intx_inputs: Option<Pins>,
}

impl Default for PciBus {
    fn default() -> Self {
        let root = Bus { name: "pci.0".to_owned(), bridge: None, memory: None, ports: None };
        Self {
            buses: BTreeMap::from([(BusId::ROOT, root)]),
            functions: BTreeMap::new(),
            by_owner: BTreeMap::new(),
            writes: VecDeque::new(),
            resets: VecDeque::new(),
            intx_inputs: None,
        }
    }
}

impl PciBus {
    pub(crate) fn next_write(&mut self) -> Option<ConfigWrite> {
        self.writes.pop_front()
    }
    pub(crate) fn next_reset(&mut self) -> Option<DeviceId> {
        self.resets.pop_front()
    }
    /// The next bus, if there can be one more.
    fn next_bus(&self) -> Option<BusId> {
        self.buses.keys().last()?.0.checked_add(1).map(BusId)
    }
    /// Adds the bus behind a bridge, whose functions are mapped in these containers.
    fn add_bus(&mut self, id: BusId, bridge: DeviceId, name: &str, memory: RegionId, ports: RegionId) {
        let (name, bridge) = (name.to_owned(), Some(bridge));
        self.buses.insert(id, Bus { name, bridge, memory: Some(memory), ports: Some(ports) });
    }
    /// All buses.
    pub fn buses(&self) -> impl Iterator<Item = BusId> {
        self.buses.keys().copied()
    }
    /// The bus of that name.
    pub(crate) fn named(&self, name: &str) -> Option<BusId> {
        self.buses.iter().find(|(_, bus)| bus.name == name).map(|(id, _)| *id)
    }
    /// The regions of the two trees in which a bus's functions are mapped, where they are not the roots.
    pub(crate) fn spaces(&self, bus: BusId) -> (Option<RegionId>, Option<RegionId>) {
        self.buses.get(&bus).map_or((None, None), |bus| (bus.memory, bus.ports))
    }

    /// Names the region of the memory tree in which memory BARs of the root bus are mapped. Without one it is the root.
    pub fn set_memory_space(&mut self, container: RegionId) {
        self.buses.entry(BusId::ROOT).and_modify(|root| root.memory = Some(container));
    }
    /// What is on a bus.
    fn on(&self, bus: BusId) -> impl Iterator<Item = (Devfn, &Function)> {
        let all = (bus, Devfn(0))..=(bus, Devfn(u8::MAX));
        self.functions.range(all).map(|(&(_, at), f)| (at, f))
    }
    /// Functions on a bus in the order of their addresses, with their owners.
    pub fn functions(&self, bus: BusId) -> impl Iterator<Item = (Devfn, DeviceId, &ConfigSpace)> {
        self.on(bus).map(|(at, f)| (at, f.owner, &f.config))
    }
    /// The first slot of a bus that is free altogether.
    pub fn free_slot(&self, bus: BusId) -> Option<Devfn> {
        let taken = |slot| self.on(bus).any(|(at, _)| at.slot() == slot);
        (0..32).find(|&s| !taken(s)).map(|s| Devfn::new(s, 0))
    }
    /// The Open Firmware path of a device's function, which is of this kind (`ide`), as boot orders have it.
    pub fn firmware_path(&self, owner: DeviceId, kind: &str) -> Option<String> {
        let (bus, at) = self.by_owner.get(&owner)?;
        let bridges: Vec<_> = self.bridges_before(*bus).filter_map(|b| self.address(b)).collect();
        let bridges = bridges.iter().rev().map(|at| format!("/{}", at.firmware_name("pci-bridge")));
        Some(format!("/pci@i0cf8{}/{}", bridges.collect::<String>(), at.firmware_name(kind)))
    }
    /// Says that a device's function can be taken out while the machine runs.
    pub(crate) fn set_removable(&mut self, owner: DeviceId) {
        if let Some(f) = self.function_mut(owner) {
            f.removable = true;
        }
    }
    /// Whose function is at an address, if it can be taken out while the machine runs.
    pub fn removable(&self, at: PciAddress) -> Option<DeviceId> {
        self.functions.get(&at).filter(|f| f.removable).map(|f| f.owner)
    }
    /// A bit for each slot of a bus with a function that cannot be taken out while the machine runs.
    pub fn fixed_slots(&self, bus: BusId) -> u32 {
        let fixed = self.on(bus).filter(|(_, f)| !f.removable);
        fixed.fold(0, |slots, (at, _)| slots | 1 << at.slot())
    }
    /// ACPI index of the first function in a slot of a bus; 0 for none.
    pub fn acpi_index(&self, bus: BusId, slot: u8) -> u32 {
        self.on(bus).find(|(at, _)| at.slot() == slot).map_or(0, |(_, f)| f.acpi_index)
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
        Some(&mut self.function_mut(owner)?.config)
    }
    fn function(&self, owner: DeviceId) -> Option<&Function> {
        self.functions.get(self.by_owner.get(&owner)?)
    }
    fn function_mut(&mut self, owner: DeviceId) -> Option<&mut Function> {
        self.functions.get_mut(self.by_owner.get(&owner)?)
    }
    /// The base address registers of a device's function.
    pub fn bars(&self, owner: DeviceId) -> impl Iterator<Item = BarInfo> {
        self.function(owner).into_iter().flat_map(|f| f.bars.iter().map(Bar::info))
    }
    /// Where a device's function is.
    pub fn place(&self, owner: DeviceId) -> Option<PciAddress> {
        self.by_owner.get(&owner).copied()
    }
    /// Where a device's function is on its bus.
    pub fn address(&self, owner: DeviceId) -> Option<Devfn> {
        self.place(owner).map(|(_, at)| at)
    }
    /// The bus that a device's function is on.
    pub fn bus_of(&self, owner: DeviceId) -> Option<BusId> {
        self.place(owner).map(|(bus, _)| bus)
    }
    /// Whose function is at an address of the root bus.
    pub fn owner(&self, at: Devfn) -> Option<DeviceId> {
        self.functions.get(&(BusId::ROOT, at)).map(|f| f.owner)
    }
    /// May the device read and write memory by itself? Devices that are on no PCI bus may. As in QEMU, bridges pass what comes from behind them whatever
    /// their own command register says: SeaBIOS relies on it.
    pub fn may_master(&self, owner: DeviceId) -> bool {
        self.config(owner).is_none_or(|c| c.command() & command::MASTER != 0)
    }

    /// The function that a configuration address (bus in bits 23..16, device and function in 15..8, register in 7..0) means.
    fn at(&self, addr: u32) -> Option<(PciAddress, u8)> {
        let [register, devfn, bus, _] = addr.to_le_bytes();
        Some(((self.numbered(bus)?, Devfn(devfn)), register))
    }
    /// A configuration load of 1, 2 or 4 bytes, `addr` as in configuration mechanism #1 with the full register number. All ones where
    /// there is no function (3.2.2.3.4).
    pub fn config_read(&self, addr: u32, size: u8) -> u32 {
        self.at(addr)
            .and_then(|(address, register)| Some(self.functions.get(&address)?.config.value(register, size)))
            .unwrap_or(all_ones(size) as u32)
    }
    /// A configuration store. It takes full effect when the board settles.
    pub fn config_write(&mut self, addr: u32, size: u8, value: u32) {
        if let Some((address, offset)) = self.at(addr)
            && let Some(f) = self.functions.get_mut(&address)
        {
            f.config.write(offset, size, value);
            self.writes.push_back(ConfigWrite { device: f.owner, offset, len: size });
        }
    }

    /// Adds a function; `Err` is the owner of the place if it is taken, or nothing if the bus is full.
    pub(crate) fn add(
        &mut self,
        owner: DeviceId,
        bus: BusId,
        place: &PciPlace,
        header: &ConfigHeader,
        intx: Option<Line>,
    ) -> Result<Devfn, Option<DeviceId>> {
        let at = place.addr.or_else(|| self.free_slot(bus)).ok_or(None)?;
        if let Some(other) = self.functions.get(&(bus, at)) {
            return Err(Some(other.owner));
        }
        let multifunction = header.multifunction || place.multifunction;
        let config = ConfigSpace::new(&ConfigHeader { multifunction, ..*header });
        let (asserted, removable, acpi_index) = (false, false, place.acpi_index);
        let function =
            Function { owner, config, bars: Vec::new(), intx, asserted, removable, acpi_index, bridge: None };
        self.functions.insert((bus, at), function);
        self.by_owner.insert(owner, (bus, at));
        Ok(at)
    }
    /// What is saved of a device's function.
    pub(crate) fn save(&self, owner: DeviceId) -> Option<FunctionState> {
        self.function(owner).map(|f| FunctionState { config: f.config.bytes().to_vec(), asserted: f.asserted })
    }
    /// Gives it back. It has to be applied.
    pub(crate) fn load(&mut self, owner: DeviceId, state: &FunctionState) {
        self.writes.retain(|w| w.device != owner);
        self.resets.retain(|device| *device != owner);
        if let Some(f) = self.function_mut(owner) {
            f.config.set(0, &state.config);
            f.asserted = state.asserted;
        }
    }
    /// Takes a device's function off the bus. Its regions are its own to unmap.
    pub(crate) fn remove(&mut self, owner: DeviceId) {
        self.writes.retain(|w| w.device != owner);
        self.resets.retain(|device| *device != owner);
        self.buses.retain(|_, bus| bus.bridge != Some(owner));
        if let Some(at) = self.by_owner.remove(&owner) {
            self.functions.remove(&at);
        }
    }
    pub(crate) fn add_bar(&mut self, owner: DeviceId, index: u8, kind: BarKind, size: u64, region: RegionId) {
        if let Some(f) = self.function_mut(owner) {
            f.bars.push(Bar::new(&mut f.config, index, kind, size, region));
        }
    }

    /// Names the inputs of the interrupt router: pin INTA to INTD of slot n of the root bus are inputs 4n to 4n+3. Returns the wires that have been
    /// waiting for it.
    pub(crate) fn set_intx_inputs(&mut self, inputs: Pins) -> Vec<(Line, Pin)> {
        self.intx_inputs = Some(inputs);
        let wires = self.functions.values().filter_map(|f| Some((f.intx?, f.owner)));
        wires.filter_map(|(line, owner)| Some((line, self.intx_input(owner)?))).collect()
    }
    /// The router's input for the pin of a device's function.
    pub(crate) fn intx_input(&self, owner: DeviceId) -> Option<Pin> {
        let (inputs, (at, pin)) = (self.intx_inputs?, self.root_pin(owner)?);
        let n = u32::from(at.slot()) * 4 + pin as u32;
        (n < inputs.len()).then(|| inputs.get(n))
    }
    /// The pin of the root bus that the pin of a device's function is: each bridge on the way is in its slot, and takes pins in turn (PCI-to-PCI Bridge
    /// Architecture Specification 1.2, 9.1).
    pub fn root_pin(&self, owner: DeviceId) -> Option<(Devfn, IntxPin)> {
        let &(bus, at) = self.by_owner.get(&owner)?;
        let own = (at, self.config(owner)?.interrupt_pin()?);
        let bridges = self.bridges_before(bus).filter_map(|bridge| self.address(bridge));
        Some(bridges.fold(own, |(at, pin), bridge| (bridge, pin.swizzled(at.slot()))))
    }
    /// The device asks for an interrupt, or no longer. Returns its wire and the level it takes.
    pub(crate) fn assert_intx(&mut self, owner: DeviceId, on: bool) -> Option<(Line, bool)> {
        let f = self.function_mut(owner)?;
        f.asserted = on;
        let mut s = f.config.word(reg::STATUS) & !status::INTERRUPT;
        s |= if on { status::INTERRUPT } else { 0 };
        f.config.set(reg::STATUS, &s.to_le_bytes());
        f.intx_level()
    }

    /// Puts everything in force that a device's configuration space now says. Returns the level of its interrupt wire.
    pub(crate) fn apply(&mut self, owner: DeviceId, memory: &mut MemTree, ports: &mut MemTree) -> Option<(Line, bool)> {
        let (memory_space, port_space) = self.spaces(self.bus_of(owner)?);
        let (memory_root, io_root) = (memory_space.unwrap_or(memory.root()), port_space.unwrap_or(ports.root()));
        let f = self.function_mut(owner)?;
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
        let level = f.intx_level();
        if let Some(bridge) = &mut f.bridge
            && bridge.apply(&f.config, (memory, memory_root), (ports, io_root))
        {
            let behind = self.behind(owner);
            self.resets.extend(behind);
        }
        level
    }
    /// The configuration space of a device's function as after RST#. It has to be applied.
    pub(crate) fn reset_function(&mut self, owner: DeviceId) {
        self.writes.retain(|w| w.device != owner);
        if let Some(f) = self.function_mut(owner) {
            f.config.reset();
            f.asserted = false;
        }
    }
    /// Configuration spaces as after RST#. Returns the owners, whose spaces have to be applied.
    pub(crate) fn reset(&mut self) -> Vec<DeviceId> {
        self.writes.clear();
        self.resets.clear();
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
