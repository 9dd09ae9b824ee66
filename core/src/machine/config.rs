//! What describes a machine before it exists.

use super::cpus::{Cpus, Plugged, globals, is_cpu};
use super::numa::Numa;
use crate::backend::block::{Blocks, DriveMedia, DrivePlace};
use crate::backend::chardev::{CharBackend, Chardev, Chardevs};
use crate::backend::firmware::FirmwarePath;
use crate::backend::memory::{MemoryBackend, MemoryBackendRam};
use crate::board::{Board, BoardState, Global, Line, Pin, PlugError, RealizeError};
use crate::mem::RamBlock;
use crate::object::{ObjectSpec, UserObjects, Value};
use crate::x86::cpu_model::{CpuModel, CpuModelError, everything};
use crate::x86::cpuid::CpuidSet;
use crate::x86::state::X86State;
use crate::x86::topology::Topology;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

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

/// `-boot`: what firmware is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootOrder {
    /// Drive letters in the order in which they are tried: a and b are floppies, c the first disk, d the first CD-ROM, n to p the network.
    pub order: String,
    /// The same for the first boot only.
    pub once: Option<String>,
    /// Firmware offers a choice.
    pub menu: bool,
    /// How long the choice is offered, in ms.
    pub splash_time: Option<u16>,
    /// Firmware starts anew after this many ms if nothing boots.
    pub reboot_timeout: Option<u16>,
    /// Firmware tries nothing but what it is told.
    pub strict: bool,
    /// Firmware looks whether a floppy is bootable (`-machine fd-bootchk=`).
    pub floppy_check: bool,
}

impl Default for BootOrder {
    fn default() -> Self {
        Self {
            order: "cad".to_owned(),
            once: None,
            menu: false,
            splash_time: None,
            reboot_timeout: None,
            strict: false,
            floppy_check: true,
        }
    }
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

/// A ROM that firmware runs, without a device that it belongs to (`-option-rom`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OptionRom {
    /// Its name, without directories.
    pub name: String,
    /// What is in it.
    pub image: Vec<u8>,
    /// When it is booted from, if it offers that.
    pub bootindex: Option<i32>,
}

/// What SMBIOS tables are to say (`-smbios`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SmbiosConfig {
    /// Each `type=`, in order, with its keys and values.
    pub fields: Vec<(u8, Vec<(String, String)>)>,
    /// Structures that are there as they are, with their strings.
    pub structures: Vec<Vec<u8>>,
    /// The entry point is that of version 3.0, rather than 2.8 (`-machine smbios-entry-point-type=`).
    pub entry_64: bool,
}

/// A `-device` as given.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceArg {
    /// QEMU's type name.
    pub type_name: String,
    /// Properties in the order given, `id` and `bus` among them; text, or typed where they came as JSON.
    pub properties: Vec<(String, Value)>,
}

/// What the command line asks of a machine.
#[derive(Clone)]
pub struct MachineConfig {
    /// Guest RAM in bytes.
    pub ram_size: u64,
    /// CPU model.
    pub cpu: CpuModel,
    /// Sockets, cores, threads: all CPUs that the machine can have.
    pub topology: Topology,
    /// How many of them it has at the start; all of them if it is not said.
    pub cpus: Option<u32>,
    /// NUMA nodes.
    pub numa: Numa,
    /// Direct kernel boot.
    pub kernel: Option<KernelArgs>,
    /// `-serial` in order; `None` is a port without a back end (`-serial null` has the null back end).
    pub serials: Vec<Option<Arc<dyn CharBackend>>>,
    /// `-parallel`, likewise.
    pub parallels: Vec<Option<Chardev>>,
    /// `-chardev` by id, for devices that name one.
    pub chardevs: Arc<Chardevs>,
    /// `-drive` and `-blockdev` by id.
    pub blocks: Arc<Blocks>,
    /// `-object` by id.
    pub objects: Arc<UserObjects>,
    /// The memory back end that is the machine's RAM (`-machine memory-backend=`).
    pub memory_backend: Option<String>,
    /// `-global`.
    pub globals: Vec<Global>,
    /// `-device`.
    pub devices: Vec<DeviceArg>,
    /// `-boot`.
    pub boot: BootOrder,
    /// `-nographic`: firmware is told to talk on the serial port.
    pub nographic: bool,
    /// `-bios`: the firmware's image, and where it came from.
    pub firmware: Option<(Vec<u8>, PathBuf)>,
    /// Where firmware images are (`-L`).
    pub firmware_path: FirmwarePath,
    /// `-fw_cfg`: items for firmware, by name.
    pub fw_cfg: Vec<(String, Vec<u8>)>,
    /// `-smbios`.
    pub smbios: SmbiosConfig,
    /// `-acpitable`: tables beside those of the machine, complete.
    pub acpi_tables: Vec<Vec<u8>>,
    /// `-option-rom`: ROMs that firmware finds without a device.
    pub option_roms: Vec<OptionRom>,
    /// `-vga`: the board has its display adapter.
    pub vga: bool,
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
            cpus: None,
            numa: Numa::default(),
            kernel: None,
            serials: Vec::new(),
            parallels: Vec::new(),
            chardevs: Arc::default(),
            blocks: Arc::default(),
            objects: Arc::default(),
            memory_backend: None,
            globals: Vec::new(),
            devices: Vec::new(),
            boot: BootOrder::default(),
            nographic: false,
            firmware: None,
            firmware_path: FirmwarePath::default(),
            fw_cfg: Vec::new(),
            smbios: SmbiosConfig::default(),
            acpi_tables: Vec::new(),
            option_roms: Vec::new(),
            vga: false,
            rtc: RtcConfig::default(),
            uuid: [0; 16],
            properties: Vec::new(),
        }
    }
}

impl MachineConfig {
    /// A property of the machine; where it is given more than once, as it was last.
    pub fn property(&self, name: &str) -> Option<&str> {
        self.properties.iter().rev().find(|(key, _)| key == name).map(|(_, value)| &**value)
    }
    /// What is wrong with the machine's properties, if it has these.
    pub fn check_properties(&self, known: &[MachineProperty]) -> Vec<BuildError> {
        let wrong = self.properties.iter().filter_map(|(name, value)| {
            let checked = match known.iter().find(|p| p.name == name) {
                Some(property) => property.check(value),
                None => Err("the machine has no such property".to_owned()),
            };
            let reason = checked.err()?;
            Some(BuildError::Option { option: "machine", value: format!("{name}={value}"), reason })
        });
        wrong.collect()
    }
    /// Number of CPUs that the machine has at the start.
    pub fn boot_cpus(&self) -> u32 {
        self.cpus.unwrap_or(u32::MAX).min(self.topology.total())
    }
    /// `-device` with a type of CPUs.
    pub(super) fn cpu_devices(&self) -> impl Iterator<Item = &DeviceArg> {
        self.devices.iter().filter(|d| is_cpu(&d.type_name))
    }
    /// The machine's RAM: what `-machine memory-backend=` names, or a new back end `name`. For board files.
    ///
    /// # Errors
    /// There is no such back end, its size is another one, or the host has no memory.
    pub fn ram(&self, s: &mut BoardState, name: &str) -> Result<Arc<RamBlock>, BuildError> {
        let option = |option, value: String, reason: String| BuildError::Option { option, value, reason };
        let id = match &self.memory_backend {
            Some(id) => id,
            None => {
                let size = ("size".to_owned(), self.ram_size.into());
                let made = self.objects.add(MemoryBackendRam::TYPE, name, &[size]);
                made.map_err(|e| option("m", self.ram_size.to_string(), e.to_string()))?;
                s.show_user_objects();
                name
            }
        };
        let refuse = |reason: String| option("machine", format!("memory-backend={id}"), reason);
        let backend = self.objects.get::<MemoryBackend>(id);
        let backend = backend.ok_or_else(|| refuse("there is no such memory back end; -object makes one".into()))?;
        if backend.block.size() != self.ram_size {
            let (has, wants) = (backend.block.size(), self.ram_size);
            return Err(refuse(format!("it has {has} bytes, and the machine {wants}; give the same size with -m")));
        }
        let block = backend.block.clone();
        s.hold(backend);
        Ok(block)
    }
    /// Adds what `-device` asks for, CPUs apart; for board files, once their buses are there.
    ///
    /// # Errors
    /// All devices that could not be added.
    pub fn add_devices(&self, s: &mut BoardState) -> Result<(), BuildError> {
        let mut wrong: Vec<_> = self
            .devices
            .iter()
            .filter(|d| !is_cpu(&d.type_name))
            .filter_map(|d| {
                let error = s.add_device(&d.type_name, &d.properties, false).err()?;
                Some(BuildError::Device { device: d.type_name.clone(), error: error.into() })
            })
            .collect();
        match wrong.len() {
            0 => Ok(()),
            1 => Err(wrong.remove(0)),
            _ => Err(BuildError::Several(wrong)),
        }
    }
}

/// An entry of the registry of machines, for `inventory::submit!`.
pub struct MachineEntry(pub &'static dyn MachineType);

inventory::collect!(MachineEntry);

/// All machines that are linked into the program, by name.
pub fn machine_types() -> &'static [&'static dyn MachineType] {
    static ALL: OnceLock<Vec<&'static dyn MachineType>> = OnceLock::new();
    ALL.get_or_init(|| {
        let mut all: Vec<_> = inventory::iter::<MachineEntry>.into_iter().map(|e| e.0).collect();
        all.sort_by_key(|m| m.name());
        all
    })
}

/// Builds the board of a machine that no accelerator executes, with what every machine has: back ends by name, values for types, its own object, and
/// its CPUs.
///
/// # Errors
/// As [`MachineType::build`], and what is wrong with the CPUs.
pub fn build(machine: &dyn MachineType, config: &MachineConfig, board: &Arc<Board>) -> Result<Wiring, BuildError> {
    let cpus = Cpus::new(machine, config)?;
    Ok(build_with(machine, config, board, &cpus, &everything())?.0)
}

/// The same with CPUs cut down to what is `offered`; they are returned.
pub(super) fn build_with(
    machine: &dyn MachineType,
    config: &MachineConfig,
    board: &Arc<Board>,
    cpus: &Cpus,
    offered: &CpuidSet,
) -> Result<(Wiring, Vec<Plugged>), BuildError> {
    let plugged = board.with(|s| {
        s.set_chardevs(config.chardevs.clone());
        s.set_blocks(config.blocks.clone());
        s.set_firmware_path(config.firmware_path.clone());
        s.set_user_objects(config.objects.clone());
        s.set_globals(globals(machine, config));
        s.set_ram_size(config.ram_size);
        s.objects.make_path("/machine", format!("{}-machine", machine.name()));
        cpus.at_start(s, config, offered)
    })?;
    let wiring = machine.build(config, board)?;
    match orphans(config) {
        none if none.is_empty() => Ok((wiring, plugged)),
        wrong => Err(BuildError::Several(wrong)),
    }
}

/// Drives for the board itself that have found no place on it.
fn orphans(config: &MachineConfig) -> Vec<BuildError> {
    let wrong = |place: DrivePlace| {
        let value = format!("if={},bus={},unit={}", place.interface.name(), place.bus, place.unit);
        let reason = format!("machine type does not support {value}");
        BuildError::Option { option: "drive", value, reason }
    };
    config.blocks.orphans().into_iter().map(wrong).collect()
}

/// Why a machine could not be built. Several problems are reported together.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// A device.
    #[error(transparent)]
    Realize(#[from] RealizeError),
    /// The CPU model.
    #[error(transparent)]
    Cpu(#[from] CpuModelError),
    /// A `-device`.
    #[error("-device {device}: {error}")]
    Device {
        /// Its type.
        device: String,
        /// Why not.
        error: Box<PlugError>,
    },
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

impl BootError {
    /// About a kernel.
    pub fn kernel(kernel: &KernelArgs, reason: String) -> Self {
        Self { what: format!("-kernel {}", kernel.path.display()), reason }
    }
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
    /// Output of the chipset that feeds SMI of the bootstrap processor.
    pub smi: Option<Line>,
    /// Input that a press of the power button pulses.
    pub power_button: Option<Pin>,
    /// Direct boot.
    pub boot: Option<Box<dyn Boot>>,
}

/// A property that is different in a version of a machine: (type, property, value).
pub type CompatProperty = (&'static str, &'static str, &'static str);

/// A property of a machine, as `-machine NAME,help` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MachineProperty {
    /// Its name.
    pub name: &'static str,
    /// QEMU's name of its type.
    pub kind: &'static str,
    /// All values that it takes; any if there are none here.
    pub values: &'static [&'static str],
    /// What it is where nobody says anything, if it is something then.
    pub default: Option<&'static str>,
    /// One line about it.
    pub description: &'static str,
}

impl MachineProperty {
    /// Whether it takes `value`.
    ///
    /// # Errors
    /// What it takes.
    pub fn check(&self, value: &str) -> Result<(), String> {
        if self.values.is_empty() || self.values.contains(&value) {
            return Ok(());
        }
        Err(format!("'{}' takes {}, not '{value}'", self.name, self.values.join("|")))
    }
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
    /// Has CPUs (the machine `none` has not).
    fn has_cpus(&self) -> bool {
        true
    }
    /// Bytes of RAM without `-m`.
    fn default_ram_size(&self) -> u64 {
        128 << 20
    }
    /// Most vCPUs that it takes.
    fn max_cpus(&self) -> u32;
    /// Properties of its own.
    fn properties(&self) -> &'static [MachineProperty] {
        &[]
    }
    /// The type that its type is derived from.
    fn parent_type(&self) -> &'static str {
        "machine"
    }
    /// Properties of devices that are different in this version of the machine, as `-global` has them; later ones win.
    fn compat(&self) -> Vec<CompatProperty> {
        Vec::new()
    }
    /// It may go away in a later version of the program.
    fn deprecated(&self) -> bool {
        false
    }
    /// The type of its CPUs, if nothing else is asked for.
    fn default_cpu_type(&self) -> Option<&'static str> {
        None
    }
    /// Drives that it has, empty, unless it is asked not to: their places, and what they take.
    fn default_drives(&self) -> &'static [(DrivePlace, DriveMedia)] {
        &[]
    }
    /// The firmware that starts without a kernel, unless another one is asked for.
    fn default_firmware(&self) -> Option<&'static str> {
        None
    }
    /// With nothing to boot, it is for the guest that comes with the program, which wants a 64-bit CPU and ends by ACPI.
    fn suits_own_guest(&self) -> bool {
        true
    }
    /// It has a display adapter, unless it is asked not to.
    fn has_vga(&self) -> bool {
        false
    }
    /// CPUs can come and go while it runs.
    fn hotpluggable_cpus(&self) -> bool {
        false
    }
    /// NUMA nodes may be given memory by size (`-numa node,mem=`).
    fn numa_mem_supported(&self) -> bool {
        false
    }
    /// Id of the memory back end that its RAM is in, if nothing else is asked for.
    fn default_ram_id(&self) -> Option<&'static str> {
        None
    }
    /// Builds the board: realizes its devices and connects them.
    ///
    /// # Errors
    /// Everything in the configuration that the machine cannot honour, together.
    fn build(&self, config: &MachineConfig, board: &Arc<Board>) -> Result<Wiring, BuildError>;
}
