//! The CPUs that a machine can have, and how one comes to be there: at the start, by `-device` or by `device_add`.

use super::config::{BuildError, DeviceArg, MachineConfig, MachineType};
use super::numa::Numa;
use crate::board::{BoardState, CpuPlugError, DeviceId, Global, NewCpu, PlugError};
use crate::object::{NoBackends, Property, SetError, Value, types};
use crate::property;
use crate::x86::RealizedCpu;
use crate::x86::cpu_model::{CpuModel, CpuModelError};
use crate::x86::cpu_object::{CpuPlace, property_list};
use crate::x86::cpuid::CpuidSet;
use crate::x86::topology::Topology;

/// A CPU that a machine can have (QMP `HotpluggableCPU`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PossibleCpu {
    /// Its index.
    pub index: u32,
    /// Its type, such as `qemu64-x86_64-cpu`.
    pub type_name: String,
    /// Where it sits.
    pub place: CpuPlace,
    /// Its path, if it is there.
    pub path: Option<String>,
}

/// The CPUs of a machine: one type, and places for them.
pub(super) struct Cpus {
    model: CpuModel,
    type_name: &'static str,
    topology: Topology,
    places: Vec<CpuPlace>,
    /// How many of them there are at the start.
    boot: u32,
}

/// A CPU for an accelerator to execute.
#[derive(Clone)]
pub(super) struct Plugged {
    pub(super) index: u32,
    pub(super) apic_id: u32,
    pub(super) cpu: RealizedCpu,
}

/// A CPU that can be put on the board.
pub(super) struct Ready<'a> {
    cpus: &'a Cpus,
    id: Option<String>,
    path: String,
    place: CpuPlace,
    plugged: Plugged,
}

impl Ready<'_> {
    pub(super) fn index(&self) -> u32 {
        self.plugged.index
    }
    pub(super) fn plugged(&self) -> &Plugged {
        &self.plugged
    }
    /// Puts it on the board; the hot-plug handler is told of one that comes later.
    pub(super) fn finish(self, s: &mut BoardState, hotplug: bool) -> Result<DeviceId, PlugError> {
        let Plugged { index, cpu, .. } = &self.plugged;
        let properties = crate::x86::cpu_object::properties(cpu, &self.cpus.model, &self.place);
        s.add_cpu(NewCpu {
            index: *index,
            type_name: self.cpus.type_name,
            id: self.id,
            path: &self.path,
            hotplug,
            place: self.place,
            signature: {
                let (eax, _, _, edx) = cpu.cpuid.query(1, 0);
                u64::from(edx) << 32 | u64::from(eax)
            },
            properties,
        })
    }
}

/// The address of a CPU as a user gives it.
#[derive(Default)]
struct Address {
    apic_id: Option<u32>,
    socket: Option<u32>,
    die: Option<u32>,
    core: Option<u32>,
    thread: Option<u32>,
    node: Option<i32>,
}

const ADDRESS: [Property<Address>; 6] = [
    property!("apic-id", Option<u32>, apic_id, "local APIC id"),
    property!("socket-id", Option<u32>, socket, "package"),
    property!("die-id", Option<u32>, die, "die in the package"),
    property!("core-id", Option<u32>, core, "core in the die"),
    property!("thread-id", Option<u32>, thread, "thread in the core"),
    property!("node-id", Option<i32>, node, "NUMA node"),
];

/// Is it a type of CPUs?
pub fn is_cpu(type_name: &str) -> bool {
    types().is_a(type_name, "cpu")
}

impl Cpus {
    pub(super) fn new(machine: &dyn MachineType, config: &MachineConfig) -> Result<Self, CpuModelError> {
        let model = config.cpu.with_defaults(&defaults(machine, config))?;
        let topology = config.topology;
        let total = if machine.has_cpus() { topology.total().min(machine.max_cpus()) } else { 0 };
        let places = (0..total).map(|index| place(&topology, &config.numa, index)).collect();
        let type_name = types().get(&model.type_name()).map_or("x86_64-cpu", |t| t.name);
        Ok(Self { model, type_name, topology, places, boot: config.boot_cpus().min(total) })
    }
    /// The model, with what the version of the machine makes of it.
    pub(super) fn model(&self) -> &CpuModel {
        &self.model
    }
    /// Puts those on the board that are there at the start, before any other device.
    pub(super) fn at_start(
        &self,
        s: &mut BoardState,
        config: &MachineConfig,
        offered: &CpuidSet,
    ) -> Result<Vec<Plugged>, BuildError> {
        let wrong = |name: &str| {
            let device = name.to_owned();
            move |error: PlugError| BuildError::Device { device: device.clone(), error: error.into() }
        };
        let mut plugged = Vec::new();
        for index in 0..self.boot {
            let ready = self.ready(index, None, "/machine/unattached/device[*]".to_owned(), offered);
            let ready = ready.map_err(|error| match error {
                CpuPlugError::Model(error) => BuildError::Cpu(error),
                error => wrong(self.type_name)(error.into()),
            })?;
            plugged.push(ready.plugged().clone());
            let added = ready.finish(s, false);
            added.map_err(wrong(self.type_name))?;
        }
        for device in config.cpu_devices() {
            let wrong = wrong(&device.type_name);
            let ready = self.prepare(s, device, offered).map_err(&wrong)?;
            plugged.push(ready.plugged().clone());
            ready.finish(s, false).map_err(wrong)?;
        }
        Ok(plugged)
    }
    /// Finds out what a CPU would be that a user asks for. It is put on the board by [`Ready::finish`].
    pub(super) fn prepare<'a>(
        &'a self,
        s: &BoardState,
        device: &DeviceArg,
        offered: &CpuidSet,
    ) -> Result<Ready<'a>, PlugError> {
        let (index, id) = self.find(s, device)?;
        let path = id.map_or("/machine/peripheral-anon/device[*]".to_owned(), |id| format!("/machine/peripheral/{id}"));
        if id.is_some() && s.objects.resolve(&path).is_ok() {
            return Err(PlugError::Duplicate(id.unwrap_or_default().to_owned()));
        }
        Ok(self.ready(index, id.map(str::to_owned), path, offered)?)
    }
    fn ready(
        &self,
        index: u32,
        id: Option<String>,
        path: String,
        offered: &CpuidSet,
    ) -> Result<Ready<'_>, CpuPlugError> {
        let place = self.places.get(index as usize).copied().unwrap_or_else(|| self.topology.place(index));
        let cpu = self.model.realize(offered, &self.topology, place.apic_id)?;
        Ok(Ready { cpus: self, id, path, place, plugged: Plugged { index, apic_id: place.apic_id, cpu } })
    }

    /// Which CPU a user means, and what it is to be called.
    fn find<'a>(&self, s: &BoardState, device: &'a DeviceArg) -> Result<(u32, Option<&'a str>), PlugError> {
        let mut address = Address::default();
        let mut id = None;
        for (name, value) in &device.properties {
            if name == "id" {
                id = value.as_str();
                continue;
            }
            let Some(property) = ADDRESS.iter().find(|p| p.name == name) else {
                return Err(not_of_one_cpu(self.type_name, name).into());
            };
            let wrong = |reason| SetError::Value { name: name.clone(), reason };
            (property.set)(&mut address, value, &NoBackends).map_err(wrong)?;
        }
        s.check_id(id)?;
        if device.type_name != self.type_name {
            return Err(CpuPlugError::Type(self.type_name.to_owned()).into());
        }
        Ok((self.resolve(s, &address)?, id))
    }
    fn resolve(&self, s: &BoardState, given: &Address) -> Result<u32, CpuPlugError> {
        let wanted = match given.apic_id {
            Some(id) => self.topology.place(id),
            None => self.place_of(given)?,
        };
        let index = self.places.iter().position(|p| p.apic_id == wanted.apic_id);
        let (Some(index), Some(last)) = (index, self.places.len().checked_sub(1)) else {
            let last = self.places.len().saturating_sub(1) as u32;
            return Err(CpuPlugError::NoPlace { place: wanted, last });
        };
        let (place, apic_id) = (&self.places[index.min(last)], wanted.apic_id);
        let index = index as u32;
        if s.cpu(index).is_some() {
            return Err(CpuPlugError::Exists { index, apic_id });
        }
        for (property, given, expected) in [
            ("socket-id", given.socket, place.socket),
            ("die-id", given.die, CpuPlace::DIE),
            ("core-id", given.core, place.core),
            ("thread-id", given.thread, place.thread),
        ] {
            if let Some(value) = given.filter(|v| *v != expected) {
                return Err(CpuPlugError::Mismatch { property, value, apic_id, expected });
            }
        }
        let node = place.node.map_or(-1, i64::from);
        match given.node.map(i64::from) {
            Some(given) if given != -1 && given != node => Err(CpuPlugError::Node(node)),
            _ => Ok(index),
        }
    }
    fn place_of(&self, given: &Address) -> Result<CpuPlace, CpuPlugError> {
        let t = &self.topology;
        let part = |property, given: Option<u32>, count: u32| {
            let value = given.ok_or(CpuPlugError::NotSet(property))?;
            let last = count.saturating_sub(1);
            if value > last { Err(CpuPlugError::Range { property, value, last }) } else { Ok(value) }
        };
        let socket = part("socket-id", given.socket, t.sockets)?;
        part("die-id", Some(given.die.unwrap_or(CpuPlace::DIE)), 1)?;
        let core = part("core-id", given.core, t.cores)?;
        let thread = part("thread-id", given.thread, t.threads)?;
        Ok(t.place(socket << t.package_width() | core << t.smt_width() | thread))
    }

    /// All places, with who is there.
    pub(super) fn possible(&self, s: &BoardState) -> Vec<PossibleCpu> {
        let cpu = |(index, place): (u32, &CpuPlace)| PossibleCpu {
            index,
            type_name: self.type_name.to_owned(),
            place: *place,
            path: s.cpu_path(index).map(str::to_owned),
        };
        (0..).zip(&self.places).map(cpu).collect()
    }
}

/// Where the CPU with an index sits.
fn place(topology: &Topology, numa: &Numa, index: u32) -> CpuPlace {
    let place = topology.place(topology.apic_id(index));
    CpuPlace { node: numa.node_of(&place), ..place }
}

/// A property that is no address: that of another CPU, or of none.
fn not_of_one_cpu(type_name: &'static str, name: &str) -> SetError {
    if property_list().iter().any(|p| p.name == name) {
        let reason = "all CPUs of a machine have the same; give it with -cpu".to_owned();
        return SetError::Value { name: name.to_owned(), reason };
    }
    SetError::unknown(type_name, name, ADDRESS.iter().map(|p| p.name))
}

/// What the version of the machine and `-global` say of the CPU model.
fn defaults(machine: &dyn MachineType, config: &MachineConfig) -> Vec<(String, String)> {
    let type_name = config.cpu.type_name();
    let ours = globals(machine, config).into_iter().filter(|g| types().is_a(&type_name, &g.driver));
    ours.map(|g| (g.property, text(&g.value))).collect()
}

/// Values for types: what is different in this version of the machine, then `-global`.
pub(super) fn globals(machine: &dyn MachineType, config: &MachineConfig) -> Vec<Global> {
    let compat = machine.compat().into_iter().map(|(driver, property, value)| Global {
        driver: driver.to_owned(),
        property: property.to_owned(),
        value: value.into(),
    });
    compat.chain(config.globals.iter().cloned()).collect()
}

/// A value as `-cpu` takes it.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Bool(on) => if *on { "on" } else { "off" }.to_owned(),
        other => other.to_string(),
    }
}
