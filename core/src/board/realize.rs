//! Realization: what a device may claim, and how conflicts are told.

use super::fabric::Fabric;
use super::{DeviceId, Line, Pins, Timer};
use crate::backend::chardev::CharBackend;
use crate::mem::{IoTarget, MemTree, RegionId};
use crate::pci::{BarKind, ConfigHeader, ConfigSpace, Devfn};
use crate::vm::MsiSink;
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

/// What one device claimed so far.
#[derive(Default)]
pub(super) struct Claims {
    pub(super) widths: Vec<u8>,
    regions: Vec<(Space, RegionId)>,
    device: Option<DeviceId>,
}

impl Claims {
    /// Undoes the claims of a device that was not realized after all.
    pub(super) fn give_back(self, fabric: &mut Fabric) {
        for (space, region) in self.regions {
            match space {
                Space::Ports => fabric.ports.unmap(region),
                Space::Memory => fabric.memory.unmap(region),
            }
        }
        fabric.claimed.retain(|c| Some(c.device) != self.device);
        if let Some(device) = self.device {
            fabric.pci.remove(device);
        }
    }
}

/// Claims resources for one device.
pub struct Realize<'a> {
    fabric: &'a mut Fabric,
    id: DeviceId,
    path: &'a str,
    type_name: &'static str,
    claims: Claims,
    conflicts: Vec<String>,
    pins: u32,
    /// What a device that lost a conflict over its PCI address fills in, until realization fails.
    spare_config: ConfigSpace,
}

impl<'a> Realize<'a> {
    pub(super) fn new(fabric: &'a mut Fabric, id: DeviceId, path: &'a str, type_name: &'static str) -> Self {
        let claims = Claims { device: Some(id), ..Claims::default() };
        Self {
            fabric,
            id,
            path,
            type_name,
            claims,
            conflicts: Vec::new(),
            pins: 0,
            spare_config: ConfigSpace::new(&ConfigHeader::default()),
        }
    }
    pub(super) fn finish(self) -> (Claims, Vec<String>) {
        (self.claims, self.conflicts)
    }
    /// The device that is being made.
    pub fn id(&self) -> DeviceId {
        self.id
    }
    /// Its object path.
    pub fn path(&self) -> &str {
        self.path
    }
    /// Machine time in ns.
    pub fn now(&self) -> u64 {
        self.fabric.now()
    }
    /// An error about one of the device's properties.
    pub fn property_error(&self, property: &'static str, reason: impl Into<String>) -> RealizeError {
        RealizeError::Property { device: self.type_name, property, reason: reason.into() }
    }

    /// Claims `len` ports from `base` on as I/O region `region`, taking byte accesses (wider ones are split).
    pub fn ports(&mut self, region: u32, name: &str, base: u16, len: u16) -> RegionId {
        self.ports_wide(region, name, base, len, 1)
    }
    /// Claims ports whose accesses may be up to `width` bytes wide.
    pub fn ports_wide(&mut self, region: u32, name: &str, base: u16, len: u16, width: u8) -> RegionId {
        let id = self.port_region(region, name, len, width);
        self.claim(Space::Ports, u64::from(base), u64::from(len));
        let root = self.fabric.ports.root();
        self.fabric.ports.map(root, u64::from(base), id, 0);
        id
    }
    /// A port region that is not mapped yet (a BAR, a relocatable block).
    pub fn port_region(&mut self, region: u32, name: &str, len: u16, width: u8) -> RegionId {
        let target = self.target(region, width);
        let id = self.fabric.ports.io(name, u64::from(len), target);
        self.claims.regions.push((Space::Ports, id));
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
        self.claims.regions.push((Space::Memory, id));
        id
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
        self.fabric.claimed.push(Claim { space, first, last, device: self.id, path: self.path.to_owned() });
    }

    /// An output.
    pub fn output(&mut self, name: &str) -> Line {
        self.fabric.lines.add(self.id, name)
    }
    /// `N` outputs of one name.
    pub fn outputs<const N: usize>(&mut self, name: &str) -> [Line; N] {
        std::array::from_fn(|_| self.output(name))
    }
    /// A group of `count` inputs. Groups are numbered on: the first pin of the second group follows the last of the first.
    pub fn inputs(&mut self, name: &str, count: u32) -> Pins {
        let pins = Pins { device: self.id, first: self.pins, count };
        self.pins += count;
        self.fabric.inputs.entry(self.id).or_default().push((name.to_owned(), count));
        pins
    }
    /// A timer; [`super::Device::timer`] is called with `tag`.
    pub fn timer(&mut self, tag: u32) -> Timer {
        self.fabric.timers.add(self.id, tag)
    }
    /// A character back end, if one is given, under `tag`.
    pub fn chardev(&mut self, tag: u32, backend: Option<Arc<dyn CharBackend>>) {
        if let Some(backend) = backend {
            self.fabric.attach(self.id, tag, backend);
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
    /// Claims a function of the PCI bus, at `at` or in the first free slot. A device has at most one. Its configuration space is
    /// [`super::Cx::config`] from then on, and its interrupt pin [`super::Cx::set_intx`].
    pub fn pci_function(&mut self, at: Option<Devfn>, header: &ConfigHeader) -> &mut ConfigSpace {
        let intx = header.interrupt_pin.map(|_| self.output("intx"));
        match self.fabric.pci.add(self.id, at, header, intx) {
            Ok(at) => {
                let input = header.interrupt_pin.and_then(|pin| self.fabric.pci.intx_input(at, pin));
                if let (Some(line), Some(input)) = (intx, input) {
                    self.fabric.connect(line, input);
                }
            }
            Err(Some(_)) => self.conflicts.push(format!("PCI address {} is taken", at.unwrap_or_default())),
            Err(None) => self.conflicts.push("the PCI bus is full".into()),
        }
        self.fabric.pci.config_mut(self.id).unwrap_or(&mut self.spare_config)
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
