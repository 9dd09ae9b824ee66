//! What describes a machine before it exists.

use crate::backend::chardev::CharBackend;
use crate::board::{Board, Line, Pin, RealizeError};
use crate::x86::cpu_model::CpuModel;
use crate::x86::state::X86State;
use crate::x86::topology::Topology;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

/// What the RTC shows at power on (`-rtc base=`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RtcBase {
    /// The host's time, in UTC.
    #[default]
    Utc,
    /// The host's time in its time zone.
    Localtime,
    /// Seconds since 1970-01-01.
    At(i64),
}

/// What the RTC follows (`-rtc clock=`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RtcClock {
    /// The host's real time, also while the machine is stopped.
    #[default]
    Host,
    /// The machine's clock.
    Vm,
}

/// `-rtc`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RtcConfig {
    /// Time at power on.
    pub base: RtcBase,
    /// What it follows from then on.
    pub clock: RtcClock,
}

/// `-kernel` and what belongs to it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelArgs {
    /// The kernel image: its bytes.
    pub image: Vec<u8>,
    /// Where it came from, for messages.
    pub path: PathBuf,
    /// `-initrd`: bytes of one file, or several for multiboot modules, each with its command line.
    pub initrd: Vec<(Vec<u8>, String)>,
    /// `-append`.
    pub cmdline: String,
}

/// A `-device` as given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceArg {
    /// QEMU's type name.
    pub type_name: String,
    /// Properties in the order given; `id` among them.
    pub properties: Vec<(String, String)>,
}

/// What the command line asks of a machine.
#[derive(Clone)]
pub struct MachineConfig {
    /// Guest RAM in bytes.
    pub ram_size: u64,
    /// CPU model.
    pub cpu: CpuModel,
    /// Sockets, cores, threads.
    pub topology: Topology,
    /// Direct kernel boot.
    pub kernel: Option<KernelArgs>,
    /// `-serial` in order; `None` is a port without a back end (`-serial null` has the null back end).
    pub serials: Vec<Option<Arc<dyn CharBackend>>>,
    /// `-chardev` by id, for devices that name one.
    pub chardevs: BTreeMap<String, Arc<dyn CharBackend>>,
    /// `-device`.
    pub devices: Vec<DeviceArg>,
    /// `-rtc`.
    pub rtc: RtcConfig,
    /// `-uuid`.
    pub uuid: [u8; 16],
    /// `-machine` properties beyond those that the command line handles itself.
    pub properties: Vec<(String, String)>,
}

impl Default for MachineConfig {
    fn default() -> Self {
        Self {
            ram_size: 128 << 20,
            cpu: CpuModel::default(),
            topology: Topology::default(),
            kernel: None,
            serials: Vec::new(),
            chardevs: BTreeMap::new(),
            devices: Vec::new(),
            rtc: RtcConfig::default(),
            uuid: [0; 16],
            properties: Vec::new(),
        }
    }
}

/// Why a machine could not be built. Several problems are reported together.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A device.
    #[error(transparent)]
    Realize(#[from] RealizeError),
    /// An option, by its name on the command line (without dashes), its value, and what is wrong with it.
    #[error("-{option} {value}: {reason}")]
    Option {
        /// Such as `m` or `device`.
        option: &'static str,
        /// As given.
        value: String,
        /// What is wrong, with a hint.
        reason: String,
    },
    /// The kernel, or another image, cannot be booted.
    #[error(transparent)]
    Boot(#[from] BootError),
    /// Several of these.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Several(Vec<BuildError>),
}

/// Why an image cannot be booted.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {reason}")]
pub struct BootError {
    /// The option and file, such as `-kernel vmlinuz`.
    pub what: String,
    /// What is wrong with it.
    pub reason: String,
}

/// Does what firmware would, after every reset, with the vCPUs parked.
pub trait Boot: Send + Sync {
    /// Loads the images, sets the board up, and turns `state`, the reset state of the bootstrap processor, into the entry state.
    ///
    /// # Errors
    /// The images do not fit the machine.
    fn enter(&self, board: &Board, state: &mut X86State) -> Result<(), BootError>;
}

/// What a built board offers to the machine around it.
#[derive(Default)]
pub struct Wiring {
    /// Output of the interrupt controller that feeds INTR of the bootstrap processor.
    pub intr: Option<Line>,
    /// Input that a press of the power button pulses.
    pub power_button: Option<Pin>,
    /// Direct boot.
    pub boot: Option<Box<dyn Boot>>,
    /// Has CPUs (the machine `none` has not).
    pub cpus: bool,
}

/// A type of device that a machine takes with `-device`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// QEMU's type name.
    pub name: &'static str,
    /// One line for `-device help`.
    pub description: &'static str,
    /// Properties that it takes: (name, values, help).
    pub properties: &'static [(&'static str, &'static str, &'static str)],
}

/// A kind of machine: QEMU's `MachineClass`.
pub trait MachineType: Sync {
    /// Name as in `-machine`.
    fn name(&self) -> &'static str;
    /// Second name, such as `pc`.
    fn alias(&self) -> Option<&'static str> {
        None
    }
    /// One line for `-machine help`.
    fn description(&self) -> &'static str;
    /// Chosen without `-machine`.
    fn is_default(&self) -> bool {
        false
    }
    /// Most vCPUs that it takes.
    fn max_cpus(&self) -> u32;
    /// Properties that it takes: (name, values, help).
    fn properties(&self) -> &'static [(&'static str, &'static str, &'static str)] {
        &[]
    }
    /// Devices that it takes with `-device`.
    fn devices(&self) -> &'static [DeviceInfo] {
        &[]
    }
    /// Builds the board: realizes its devices and connects them.
    ///
    /// # Errors
    /// Everything in the configuration that the machine cannot honour, together.
    fn build(&self, config: &MachineConfig, board: &Arc<Board>) -> Result<Wiring, BuildError>;
}
