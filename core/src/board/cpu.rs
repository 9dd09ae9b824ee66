//! CPUs on the board: objects with properties, which can be plugged in and ejected. What executes instructions is the machine's.

use super::plug::well_formed_id;
use super::{BoardState, Cx, Device, DeviceId, DeviceState, Hotplug, PlugError, Realize, SystemRequest};
use crate::object::PropertyInfo;
use crate::vm::VmError;
use crate::x86::cpu_model::CpuModelError;
use crate::x86::cpu_object::CpuPlace;

/// Why a CPU was not plugged in. The texts are QEMU's.
#[derive(Debug, thiserror::Error)]
pub enum CpuPlugError {
    /// All CPUs of a machine are of one type.
    #[error("Invalid CPU type, expected cpu type: '{0}'")]
    Type(String),
    /// A part of the address is missing.
    #[error("CPU {0} is not set")]
    NotSet(&'static str),
    /// A part of the address is too high.
    #[error("Invalid CPU {property}: {value} must be in range 0:{last}")]
    Range {
        /// Which part.
        property: &'static str,
        /// As given.
        value: u32,
        /// The highest that there is.
        last: u32,
    },
    /// The machine has no place for it.
    #[error(
        "Invalid CPU [socket: {}, die: 0, core: {}, thread: {}] with APIC ID {}, valid index range 0:{last}",
        .place.socket, .place.core, .place.thread, .place.apic_id
    )]
    NoPlace {
        /// Where it was to be.
        place: CpuPlace,
        /// Highest index of a CPU.
        last: u32,
    },
    /// Another CPU is there.
    #[error("CPU[{index}] with APIC ID {apic_id} exists")]
    Exists {
        /// Its index.
        index: u32,
        /// Its APIC id.
        apic_id: u32,
    },
    /// The parts of the address contradict each other.
    #[error("property {property}: {value} doesn't match set apic-id: {apic_id:#x} ({property}: {expected})")]
    Mismatch {
        /// Which part.
        property: &'static str,
        /// As given.
        value: u32,
        /// The APIC id that was given.
        apic_id: u32,
        /// What follows from it.
        expected: u32,
    },
    /// The place belongs to another NUMA node.
    #[error("invalid node-id, must be {0}")]
    Node(i64),
    /// The accelerator takes no more.
    #[error(transparent)]
    Vcpu(#[from] VmError),
    /// The accelerator cannot be this CPU.
    #[error(transparent)]
    Model(#[from] CpuModelError),
}

/// A CPU as the board knows it.
pub(super) struct Cpu {
    /// Its index among the possible ones.
    index: u32,
    signature: u64,
}

impl Device for Cpu {
    /// Registers are those of the vCPU.
    fn state(&mut self) -> DeviceState<'_> {
        DeviceState::none()
    }
}

/// A CPU to be put on the board.
pub(crate) struct NewCpu<'a> {
    /// Its index among the possible ones.
    pub(crate) index: u32,
    /// Its type.
    pub(crate) type_name: &'static str,
    /// The user's name for it.
    pub(crate) id: Option<String>,
    /// Its path, such as `/machine/unattached/device[*]`.
    pub(crate) path: &'a str,
    /// It comes while the machine is there.
    pub(crate) hotplug: bool,
    pub(crate) place: CpuPlace,
    /// See [`BoardState::cpu_signature`].
    pub(crate) signature: u64,
    pub(crate) properties: Vec<PropertyInfo>,
}

impl BoardState {
    /// Puts a CPU on the board; the hot-plug handler is told of one that comes later.
    pub(crate) fn add_cpu(&mut self, cpu: NewCpu<'_>) -> Result<DeviceId, PlugError> {
        let device = Cpu { index: cpu.index, signature: cpu.signature };
        let made = self.put(cpu.path, cpu.type_name, cpu.properties, None, |_| Ok((Box::new(device) as _, ())))?;
        let slot = self.slot_mut(made.id).expect("just made");
        slot.id = cpu.id;
        slot.removable = true;
        let node = slot.node;
        let lapic = self.objects.add(node, "lapic", "apic");
        for (object, hotplugged) in [(node, cpu.hotplug), (lapic, cpu.hotplug)] {
            self.objects.set_fixed(object, "hotplugged", "bool", hotplugged);
            self.objects.set_fixed(object, "hotpluggable", "bool", true);
        }
        self.objects.set_fixed(lapic, "realized", "bool", true);
        self.objects.set_fixed(lapic, "id", "uint32", cpu.place.apic_id);
        self.fabric.cpus.insert(cpu.index, made.id);
        if cpu.hotplug {
            self.tell_hotplug(Hotplug::CpuPlugged(cpu.index));
        }
        Ok(made.id)
    }
    /// The CPU with that index, if it is there.
    pub fn cpu(&self, index: u32) -> Option<DeviceId> {
        self.fabric.cpus.get(&index).copied()
    }
    /// EAX and, above it, EDX of CPUID leaf 1 of the CPU with that index: what firmware tables know a processor by.
    pub fn cpu_signature(&mut self, index: u32) -> Option<u64> {
        let id = self.cpu(index)?;
        self.device::<Cpu>(id).map(|cpu| cpu.signature)
    }
    /// The path of the CPU with that index, if it is there.
    pub fn cpu_path(&self, index: u32) -> Option<&str> {
        Some(&self.slot(self.cpu(index)?)?.path)
    }
    /// The index of a CPU, of a device that is one.
    pub(super) fn cpu_index(&mut self, device: DeviceId) -> Option<u32> {
        self.device::<Cpu>(device).map(|cpu| cpu.index)
    }
    /// Has the machine stop the processor of a CPU that has gone.
    pub(super) fn cpu_gone(&mut self, index: u32) {
        self.fabric.request(SystemRequest::CpuGone(index));
    }
    /// Can a user have this name for a device?
    pub(crate) fn check_id(&self, id: Option<&str>) -> Result<(), PlugError> {
        id.is_none_or(well_formed_id).then_some(()).ok_or(PlugError::Id)
    }
}

impl Cx<'_> {
    /// Takes a CPU off the board, after the callback: the guest has ejected it.
    pub fn eject_cpu(&mut self, index: u32) {
        if let Some(&device) = self.fabric.cpus.get(&index) {
            self.fabric.unplugs.push(device);
        }
    }
}
impl Realize<'_> {
    /// How many CPUs there are.
    pub fn cpus(&self) -> u16 {
        self.fabric.cpus.len() as u16
    }
}
