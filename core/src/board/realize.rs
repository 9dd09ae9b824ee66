//! Realization: what a device may claim, and how conflicts are told.

use super::fabric::Fabric;
use super::line::Sink;
use super::{BoardState, Cx, Device, DeviceId, Line, Pins, Timer};
use crate::backend::chardev::CharBackend;
use crate::backend::firmware::FirmwarePath;
use crate::mem::{IoTarget, MemTree, Place, RamBlock, RegionId};
use crate::object::{Access, GetFn, NodeId, NodeProperty, SetFn, Tree, Value};
use crate::pci::{BarKind, BusId, ConfigHeader, ConfigSpace, MOST_ACPI_INDEX, PciPlace};
use crate::vm::MsiSink;
use std::any::Any;
use std::sync::Arc;

/// A device that is on the board, and its pins (to which this dereferences).
#[derive(Clone, Copy, Debug)]
pub struct Realized<P> {
    /// The device.
    pub id: DeviceId,
    /// What it offers to connect.
    pub pins: P,
}

impl<P> std::ops::Deref for Realized<P> {
    type Target = P;
    fn deref(&self) -> &P {
        &self.pins
    }
}

/// Why a device could not be realized.
#[derive(Debug, thiserror::Error)]
pub enum RealizeError {
    /// A property has a value that the device cannot honour.
    #[error("{device}: property '{property}': {reason}")]
    Property {
        /// Type name of the device.
        device: &'static str,
        /// The property.
        property: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// Ports or addresses that others hold, all of them.
    #[error("{path} ({device}): {}", .conflicts.join("; "))]
    Conflicts {
        /// Object path of the device.
        path: String,
        /// Its type name.
        device: &'static str,
        /// One text for each conflict.
        conflicts: Vec<String>,
    },
    /// A value that was set for all devices of a type.
    #[error("can't apply global {driver}.{property}: {error}")]
    Global {
        /// The type.
        driver: String,
        /// The property.
        property: String,
        /// What is wrong.
        error: crate::object::SetError,
    },
    /// The host refused something.
    #[error("{what}: {source}")]
    Host {
        /// What was attempted.
        what: String,
        /// The host's reason.
        source: std::io::Error,
    },
}

impl RealizeError {
    pub(super) fn conflicts(path: &str, device: &'static str, conflicts: Vec<String>) -> Self {
        Self::Conflicts { path: path.to_owned(), device, conflicts }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Space {
    Ports,
    Memory,
}

/// A fixed range of ports or addresses that a device holds.
#[derive(Clone, Debug)]
pub(super) struct Claim {
    space: Space,
    first: u64,
    last: u64,
    device: DeviceId,
    path: String,
}

impl Claim {
    pub(super) fn device(&self) -> DeviceId {
        self.device
    }
}

/// What one device claimed so far.
#[derive(Default)]
pub(super) struct Claims {
    pub(super) widths: Vec<u8>,
    regions: Vec<(Space, RegionId)>,
    pub(super) buses: Vec<super::Bus>,
}

impl Claims {
    /// Takes the regions of a device that goes, or that was not realized after all, out of the address spaces.
    pub(super) fn give_back(self, fabric: &mut Fabric) {
        for (space, region) in self.regions {
            match space {
                Space::Ports => fabric.ports.remove(region),
                Space::Memory => fabric.memory.remove(region),
            }
        }
    }
}

/// Claims resources for one device.
pub struct Realize<'a> {
    pub(super) fabric: &'a mut Fabric,
    objects: &'a mut Tree,
    node: NodeId,
    pub(super) id: DeviceId,
    path: &'a str,
    type_name: &'static str,
    pub(super) claims: Claims,
    pub(super) conflicts: Vec<String>,
    pins: u32,
    /// What a device that lost a conflict over its PCI address fills in, until realization fails.
    spare_config: ConfigSpace,
    settled: Vec<(&'static str, Value)>,
    /// The bus that it is on, if that matters.
    pub(super) on_bus: Option<String>,
    /// What the owner of the bus is given.
    pub(super) part: Option<Box<dyn Any + Send>>,
}

/// What realizing a device has left to do.
pub(super) struct Finished {
    pub(super) claims: Claims,
    pub(super) conflicts: Vec<String>,
    pub(super) settled: Vec<(&'static str, Value)>,
    pub(super) on_bus: Option<String>,
    pub(super) part: Option<Box<dyn Any + Send>>,
}

impl<'a> Realize<'a> {
    pub(super) fn new(
        fabric: &'a mut Fabric,
        objects: &'a mut Tree,
        node: NodeId,
        id: DeviceId,
        path: &'a str,
        type_name: &'static str,
    ) -> Self {
        let claims = Claims::default();
        Self {
            fabric,
            objects,
            node,
            id,
            path,
            type_name,
            claims,
            conflicts: Vec::new(),
            pins: 0,
            spare_config: ConfigSpace::new(&ConfigHeader::default()),
            settled: Vec::new(),
            on_bus: None,
            part: None,
        }
    }
    pub(super) fn finish(self) -> Finished {
        let Self { claims, conflicts, settled, on_bus, part, .. } = self;
        Finished { claims, conflicts, settled, on_bus, part }
    }
    /// The device that is being made.
    pub fn id(&self) -> DeviceId {
        self.id
    }
    /// Its object path.
    pub fn path(&self) -> &str {
        self.path
    }
    /// The user's name for it, if it has one.
    pub fn user_id(&self) -> Option<&str> {
        self.path.strip_prefix("/machine/peripheral/")
    }
    /// Machine time in ns.
    pub fn now(&self) -> u64 {
        self.fabric.now()
    }
    /// Where firmware images are.
    pub fn firmware_path(&self) -> &FirmwarePath {
        &self.fabric.firmware_path
    }
    /// Realization fails, with this among the reasons.
    pub fn refuse(&mut self, reason: String) {
        self.conflicts.push(reason);
    }
    /// An error about one of the device's properties.
    pub fn property_error(&self, property: &'static str, reason: impl Into<String>) -> RealizeError {
        RealizeError::Property { device: self.type_name, property, reason: reason.into() }
    }

    /// Claims `len` ports from `base` on as I/O region `region`, taking byte accesses (wider ones are split).
    pub fn ports(&mut self, region: u32, name: &str, base: u16, len: u16) -> RegionId {
        self.ports_wide(region, name, base, len, 1)
    }
    /// Claims ports whose accesses may be up to `width` bytes wide. Those of a card behind a PCI-PCI bridge are seen as far as the bridge lets them, and
    /// collide with nobody's.
    pub fn ports_wide(&mut self, region: u32, name: &str, base: u16, len: u16, width: u8) -> RegionId {
        let id = self.port_region(region, name, len, width);
        let space = self.fabric.pci.spaces(self.pci_bus()).1;
        if space.is_none() {
            self.claim(Space::Ports, u64::from(base), u64::from(len));
        }
        let space = space.unwrap_or(self.fabric.ports.root());
        self.fabric.ports.map(space, u64::from(base), id, 0);
        id
    }
    /// A container in the tree of ports, which is not mapped.
    pub(crate) fn port_container(&mut self, name: &str, size: u64) -> RegionId {
        let id = self.fabric.ports.container(name, size);
        self.region(Space::Ports, name, id);
        id
    }
    /// A container in the memory tree, which is not mapped.
    pub(crate) fn memory_container(&mut self, name: &str, size: u64) -> RegionId {
        let id = self.fabric.memory.container(name, size);
        self.region(Space::Memory, name, id);
        id
    }
    /// A port region that is not mapped yet (a BAR, a relocatable block).
    pub fn port_region(&mut self, region: u32, name: &str, len: u16, width: u8) -> RegionId {
        let target = self.target(region, width);
        let id = self.fabric.ports.io(name, u64::from(len), target);
        self.region(Space::Ports, name, id);
        id
    }
    /// Claims `len` bytes of memory space from `base` on, with accesses up to `width` bytes wide.
    pub fn mmio(&mut self, region: u32, name: &str, base: u64, len: u64, width: u8) -> RegionId {
        let id = self.mmio_region(region, name, len, width);
        self.claim(Space::Memory, base, len);
        let root = self.fabric.memory.root();
        self.fabric.memory.map(root, base, id, 1);
        id
    }
    /// An I/O memory region that is not mapped yet.
    pub fn mmio_region(&mut self, region: u32, name: &str, len: u64, width: u8) -> RegionId {
        let target = self.target(region, width);
        let id = self.fabric.memory.io(name, len, target);
        self.region(Space::Memory, name, id);
        id
    }
    /// Memory of the device's own, which is not mapped yet; ROM if `readonly`.
    ///
    /// # Errors
    /// The host has no memory for it.
    pub fn ram_region(
        &mut self,
        name: &str,
        size: u64,
        readonly: bool,
    ) -> Result<(Arc<RamBlock>, RegionId), RealizeError> {
        let host = |source| RealizeError::Host { what: format!("{size} bytes for {name}"), source };
        let block = RamBlock::new(name, size).map_err(host)?;
        let id = self.fabric.memory.ram(&block, 0, size);
        self.fabric.memory.set_readonly(id, readonly);
        self.region(Space::Memory, name, id);
        Ok((block, id))
    }
    /// Memory of the device's own that CPUs read like ROM, and whose stores are its I/O region `region`, taking accesses of `width` bytes. It is not
    /// mapped yet. [`MemTree::set_readable`] gives the loads to the device too.
    ///
    /// # Errors
    /// The host has no memory for it.
    pub fn rom_device_region(
        &mut self,
        region: u32,
        name: &str,
        size: u64,
        width: u8,
    ) -> Result<(Arc<RamBlock>, RegionId), RealizeError> {
        let host = |source| RealizeError::Host { what: format!("{size} bytes for {name}"), source };
        let block = RamBlock::new(name, size).map_err(host)?;
        let target = self.target(region, width);
        let id = self.fabric.memory.rom_device(&block, target);
        self.region(Space::Memory, name, id);
        Ok((block, id))
    }
    /// Another view of a part of a memory region, which is not mapped yet.
    pub fn alias_region(&mut self, name: &str, of: RegionId, offset: u64, size: u64) -> RegionId {
        let id = self.fabric.memory.alias(name, of, offset, size);
        self.region(Space::Memory, name, id);
        id
    }
    /// The same of a region of ports.
    pub(crate) fn port_alias_region(&mut self, name: &str, of: RegionId, offset: u64, size: u64) -> RegionId {
        let id = self.fabric.ports.alias(name, of, offset, size);
        self.region(Space::Ports, name, id);
        id
    }
    /// Notes a region to be given back, and shows it as a part of the device.
    fn region(&mut self, space: Space, name: &str, id: RegionId) {
        self.claims.regions.push((space, id));
        let node = self.child(&format!("{name}[*]"), "memory-region");
        let tree = move |s: &BoardState| match space {
            Space::Ports => s.fabric.ports.place(id),
            Space::Memory => s.fabric.memory.place(id),
        };
        let get = |read: fn(&Place) -> Value| Access::Dynamic {
            get: Arc::new(move |s: &mut BoardState| Ok(read(&tree(s)))),
            set: None,
        };
        for (name, kind, access) in [
            ("addr", "uint64", get(|p| p.offset.into())),
            ("priority", "uint32", get(|p| p.priority.into())),
            ("size", "uint64", get(|p| p.size.into())),
        ] {
            let property = NodeProperty { kind: kind.into(), description: "".into(), access };
            self.objects.set_property(node, name, property);
        }
    }
    /// Adds a part to the device's object.
    pub(super) fn child(&mut self, name: &str, type_name: &'static str) -> NodeId {
        self.objects.add(self.node, name, type_name)
    }
    /// How many devices of this type there are already.
    pub fn siblings(&self) -> u32 {
        let all = self.objects.descendants(self.objects.root());
        all.iter().filter(|(_, n)| *n != self.node && self.objects.type_name(*n) == self.type_name).count() as u32
    }
    /// Says what a property has become that was not given.
    pub fn settle_property(&mut self, name: &'static str, value: impl Into<Value>) {
        self.settled.push((name, value.into()));
    }
    /// A property that is looked up in the device `D`, and set there if `set` is given.
    pub fn dynamic_property<D: Device>(
        &mut self,
        name: &'static str,
        kind: &'static str,
        description: &'static str,
        get: fn(&mut D, &Cx<'_>) -> Value,
        set: Option<fn(&mut D, &mut Cx<'_>, &Value) -> Result<(), String>>,
    ) {
        let id = self.id;
        fn of<D: Device>(d: &mut dyn Device) -> Option<&mut D> {
            let d: &mut dyn std::any::Any = d;
            d.downcast_mut()
        }
        let gone = || "the device has gone".to_owned();
        let get: GetFn = Arc::new(move |s: &mut BoardState| {
            s.try_call(id, |d, cx| of::<D>(d).map(|d| get(d, cx))).flatten().ok_or_else(gone)
        });
        let set = set.map(|set| -> SetFn {
            Arc::new(move |s: &mut BoardState, value: &Value| {
                s.try_call(id, |d, cx| of::<D>(d).map(|d| set(d, cx, value))).flatten().unwrap_or_else(|| Err(gone()))
            })
        });
        let access = Access::Dynamic { get, set };
        let property = NodeProperty { kind: kind.into(), description: description.into(), access };
        self.objects.set_property(self.node, name, property);
    }
    fn target(&mut self, region: u32, width: u8) -> IoTarget {
        let n = region as usize;
        if self.claims.widths.len() <= n {
            self.claims.widths.resize(n + 1, 1);
        }
        self.claims.widths[n] = width;
        IoTarget { device: self.id, region }
    }
    fn claim(&mut self, space: Space, first: u64, len: u64) {
        let last = first + (len - 1);
        for c in self.fabric.claimed.iter().filter(|c| c.space == space && c.first <= last && first <= c.last) {
            let what = if space == Space::Ports { "ports" } else { "addresses" };
            self.conflicts.push(format!("{what} {first:#x}-{last:#x} belong to {}", c.path));
        }
        self.fabric.claimed.push(Claim {
            space,
            first,
            last,
            device: self.id,
            path: format!("{} ({})", self.type_name, self.path),
        });
    }

    /// An output.
    pub fn output(&mut self, name: &str) -> Line {
        let line = self.fabric.lines.add(self.id, name);
        let n = self.fabric.lines.of(self.id).filter(|(_, other)| *other == name).count() - 1;
        self.objects.set_link(self.node, format!("{name}[{n}]"), "irq", String::new());
        line
    }
    /// An output that drives an ISA interrupt.
    pub fn isa_irq(&mut self, irq: u8) -> Line {
        let line = self.output("sysbus-irq");
        self.fabric.lines.connect(line, Sink::Isa(irq));
        line
    }
    /// `N` outputs of one name.
    pub fn outputs<const N: usize>(&mut self, name: &str) -> [Line; N] {
        std::array::from_fn(|_| self.output(name))
    }
    /// A group of `count` inputs. Groups are numbered on: the first pin of the second group follows the last of the first.
    pub fn inputs(&mut self, name: &str, count: u32) -> Pins {
        let pins = Pins { device: self.id, first: self.pins, count };
        self.pins += count;
        for n in 0..count {
            self.objects.add(self.node, &format!("{name}[{n}]"), "irq");
        }
        self.fabric.inputs.entry(self.id).or_default().push((name.to_owned(), count));
        pins
    }
    /// A timer; [`super::Device::timer`] is called with `tag`.
    pub fn timer(&mut self, tag: u32) -> Timer {
        self.fabric.timers.add(self.id, tag)
    }
    /// A character back end, if one is given, under `tag`.
    pub fn chardev(&mut self, tag: u32, backend: Option<Arc<dyn CharBackend>>) {
        self.chardev_of(self.id, tag, backend);
    }
    /// The same for a device that is a part of `owner`, who hears of it.
    pub fn chardev_of(&mut self, owner: DeviceId, tag: u32, backend: Option<Arc<dyn CharBackend>>) {
        if let Some(backend) = backend {
            self.fabric.attach(owner, tag, backend, self.id);
        }
    }
    /// The memory tree.
    pub fn memory(&mut self) -> &mut MemTree {
        &mut self.fabric.memory
    }
    /// The tree of I/O ports.
    pub fn port_tree(&mut self) -> &mut MemTree {
        &mut self.fabric.ports
    }
    /// The PCI bus.
    pub fn pci(&mut self) -> &mut crate::pci::PciBus {
        &mut self.fabric.pci
    }
    /// The PCI bus that the device is on: the root bus, unless the user has chosen another one.
    pub(crate) fn pci_bus(&self) -> BusId {
        self.on_bus.as_deref().and_then(|name| self.fabric.pci.named(name)).unwrap_or_default()
    }
    /// The region of the memory tree in which the bus is seen that the device is on.
    pub fn bus_memory(&self) -> RegionId {
        self.fabric.pci.spaces(self.pci_bus()).0.unwrap_or(self.fabric.memory.root())
    }
    /// Claims a function of the PCI bus, at a place ([`PciPlace`], or an address) or in the first free slot. A device has at most one. Its
    /// configuration space is [`super::Cx::config`] from then on, and its interrupt pin [`super::Cx::set_intx`].
    pub fn pci_function(&mut self, place: impl Into<PciPlace>, header: &ConfigHeader) -> &mut ConfigSpace {
        let place = place.into();
        let index = place.acpi_index;
        if index > MOST_ACPI_INDEX {
            self.conflicts.push(format!("acpi-index should be less or equal to {MOST_ACPI_INDEX}"));
        } else if self.fabric.pci.has_acpi_index(index) {
            self.conflicts.push(format!("a PCI device with acpi-index = {index} already exist"));
        }
        let intx = header.interrupt_pin.map(|_| self.output("intx"));
        let bus = self.pci_bus();
        match self.fabric.pci.add(self.id, bus, &place, header, intx) {
            Ok(_) => {
                if let (Some(line), Some(input)) = (intx, self.fabric.pci.intx_input(self.id)) {
                    self.fabric.connect(line, input);
                }
            }
            Err(Some(_)) => self.conflicts.push(format!("PCI address {} is taken", place.addr.unwrap_or_default())),
            Err(None) => self.conflicts.push("the PCI bus is full".into()),
        }
        self.pci_rom(&place);
        self.fabric.pci.config_mut(self.id).unwrap_or(&mut self.spare_config)
    }
    /// The Open Firmware path of the device's function, which is of this kind (`ide`).
    pub fn pci_path(&self, kind: &str) -> Option<String> {
        self.fabric.pci.firmware_path(self.id, kind)
    }
    /// Puts `region`, which is not mapped yet, behind base address register `index` (0 to 5; ignored for the ROM).
    pub fn pci_bar(&mut self, index: u8, kind: BarKind, size: u64, region: RegionId) {
        self.fabric.pci.add_bar(self.id, index, kind, size, region);
    }
    /// The device routes PCI interrupts: pins INTA to INTD of slot n drive `inputs` 4n to 4n+3.
    pub fn route_pci_interrupts(&mut self, inputs: Pins) {
        for (line, input) in self.fabric.pci.set_intx_inputs(inputs) {
            self.fabric.connect(line, input);
        }
    }
    /// Where message-signalled interrupts go.
    pub fn msi(&self) -> Arc<dyn MsiSink> {
        self.fabric.msi().clone()
    }
    /// This device answers interrupt-acknowledge cycles.
    pub fn answer_intack(&mut self) {
        self.fabric.set_intack(self.id);
    }
    /// This device hears EOI broadcasts.
    pub fn hear_eoi(&mut self) {
        self.fabric.add_eoi_listener(self.id);
    }
}
