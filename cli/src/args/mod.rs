//! The command line: from words to a [`Config`] in which every value is understood, or to everything that is wrong with it.

mod argv;
pub mod blockdev;
mod boot;
pub mod consoles;
pub mod drives;
mod firmware;
pub mod logging;
mod machine;
mod numa;
mod objects;
mod options;
mod problem;
mod properties;
pub mod qmp;
pub(crate) mod readconfig;
pub mod selection;
mod tables;
mod unimplemented;

pub use blockdev::BlockdevArg;
pub use consoles::{Chardev, Consoles, Target};
pub use drives::DriveArg;
pub use firmware::{FwCfgItem, ItemSource, OptionRomFile, USERS as USERS_ITEMS, VGA};
pub use objects::{ObjectArg, user_types};
pub use options::{OptionInfo, Options};
pub use problem::{Problem, Problems};
pub use properties::{Properties, unknown};
pub use tables::{AcpiTable, Smbios};

use gearbox_core::accel::{Accelerator, Choice, Icount};
use gearbox_core::backend::block::{DriveMedia, DrivePlace, Interface};
use gearbox_core::backend::firmware::FirmwarePath;
use gearbox_core::board::Global;
use gearbox_core::machine::numa::Numa;
use gearbox_core::machine::{
    BootOrder, DeviceArg, MachineType, PanicAction, Policy, RebootAction, RtcConfig, ShutdownAction, WatchdogAction,
};
use gearbox_core::x86::cpu_model::CpuModel;
use gearbox_core::x86::topology::Topology;
use std::path::PathBuf;

/// What there is to choose from.
#[derive(Clone, Copy)]
pub struct Available<'a> {
    /// Accelerators.
    pub accelerators: &'a [&'static dyn Accelerator],
    /// Machines.
    pub machines: &'a [&'static dyn MachineType],
}

/// `-kernel` and its companions, by their paths.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelFiles {
    /// The image.
    pub kernel: PathBuf,
    /// `-initrd`.
    pub initrd: Option<String>,
    /// `-append`.
    pub cmdline: String,
}

/// Where the qtest server logs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum QtestLog {
    /// Standard error.
    #[default]
    Stderr,
    /// Nowhere.
    None,
    /// A file.
    File(PathBuf),
}

/// A command line, understood.
#[derive(Clone)]
pub struct Config {
    /// The accelerators to try.
    pub accel: Choice,
    /// The machine.
    pub machine: &'static dyn MachineType,
    /// Its properties.
    pub properties: Vec<(String, String)>,
    /// CPU model.
    pub cpu: CpuModel,
    /// It was chosen by `-cpu`, so its user wants to hear of features that the accelerator lacks.
    pub cpu_given: bool,
    /// CPUs that there can be.
    pub topology: Topology,
    /// How many of them are there at the start.
    pub cpus: u32,
    /// NUMA nodes.
    pub numa: Numa,
    /// Bytes of RAM.
    pub ram_size: u64,
    /// The clock.
    pub rtc: RtcConfig,
    /// Time is a count of instructions.
    pub icount: Option<Icount>,
    /// UUID.
    pub uuid: [u8; 16],
    /// Name.
    pub name: Option<String>,
    /// What to boot; the guest of our own if `None`.
    pub kernel: Option<KernelFiles>,
    /// Consoles, completed.
    pub consoles: Consoles,
    /// `-device`.
    pub devices: Vec<DeviceArg>,
    /// `-blockdev`.
    pub blockdevs: Vec<BlockdevArg>,
    /// `-drive` and its short forms, in order.
    pub drives: Vec<DriveArg>,
    /// Empty drives that the machine has and nobody asked for.
    pub default_drives: Vec<(DrivePlace, DriveMedia)>,
    /// `-object`.
    pub objects: Vec<ObjectArg>,
    /// `-global`.
    pub globals: Vec<Global>,
    /// `-machine memory-backend=`.
    pub memory_backend: Option<String>,
    /// `-boot`.
    pub boot: BootOrder,
    /// `-nographic`.
    pub nographic: bool,
    /// `-bios`.
    pub firmware: Option<String>,
    /// `-smbios`.
    pub smbios: Vec<Smbios>,
    /// `-acpitable`.
    pub acpi_tables: Vec<AcpiTable>,
    /// Where firmware is found (`-L`).
    pub firmware_path: FirmwarePath,
    /// `-fw_cfg`.
    pub fw_cfg: Vec<FwCfgItem>,
    /// `-option-rom`.
    pub option_roms: Vec<OptionRomFile>,
    /// `-boot splash=`.
    pub splash: Option<String>,
    /// `-display curses`: a view of the display in the terminal.
    pub curses: bool,
    /// `-vga`: the machine has its display adapter.
    pub vga: bool,
    /// `-S`.
    pub stopped: bool,
    /// `--preconfig`.
    pub preconfig: bool,
    /// What resets and shutdowns do.
    pub policy: Policy,
    /// Filter directives of `-d`.
    pub log: Vec<&'static str>,
    /// `-D`.
    pub log_file: Option<PathBuf>,
    /// `-qtest-log`.
    pub qtest_log: QtestLog,
}

/// A list or text to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Help {
    /// `-help`.
    Options,
    /// `-version`.
    Version,
    /// `-accel help`.
    Accelerators,
    /// `-accel NAME,help`.
    Accelerator(String),
    /// `-machine help`.
    Machines,
    /// `-machine NAME,help`.
    Machine(String),
    /// `-cpu help`.
    Cpus,
    /// `-device help`.
    Devices,
    /// `-device TYPE,help`.
    Device(String),
    /// `-object help`.
    Objects,
    /// `-object TYPE,help`.
    Object(String),
    /// `-vga help`.
    Adapters,
    /// `-display help`.
    Displays,
    /// `-drive help`.
    Drives,
    /// `-blockdev help`.
    Blockdevs,
    /// `-chardev help`.
    Chardevs,
    /// `-d help`.
    LogItems,
}

/// What a command line asks for.
pub enum Command {
    /// Show something.
    Help(Help),
    /// Run a machine.
    Run(Box<Config>),
}

/// A command line that is refused.
pub struct Refused {
    /// All that is wrong with it.
    pub problems: Problems,
    /// What it asks for apart from that, if it asks for a machine: what else is wrong can be found out by it, but not more.
    pub rest: Option<Box<Config>>,
}

impl From<Refused> for Problems {
    fn from(refused: Refused) -> Self {
        refused.problems
    }
}

/// Reads a command line, without the program's name.
///
/// # Errors
/// All that is wrong with it.
pub fn parse(words: impl IntoIterator<Item = String>, available: Available<'_>) -> Result<Command, Refused> {
    let mut problems = Problems::default();
    let Some(options) = argv::read(words, &mut problems) else { return Err(Refused { problems, rest: None }) };
    match help(&options) {
        Some(help) if problems.is_empty() => return Ok(Command::Help(help)),
        Some(_) => return Err(Refused { problems, rest: None }),
        None => {}
    }
    let config = config(options, available, &mut problems).map(Box::new);
    match config {
        Some(config) if problems.is_empty() => Ok(Command::Run(config)),
        rest => Err(Refused { problems, rest }),
    }
}

/// Does one of the options ask for help?
fn help(o: &Options) -> Option<Help> {
    if o.help {
        return Some(Help::Options);
    }
    if o.version {
        return Some(Help::Version);
    }
    let asks = |text: &str| text == "help" || text == "?";
    let about = |text: &str| text.strip_suffix(",help").or(text.strip_suffix(",?")).map(str::to_owned);
    let lists: [(&[String], Help, Option<fn(String) -> Help>); 11] = [
        (&o.accel, Help::Accelerators, Some(Help::Accelerator)),
        (&o.machine, Help::Machines, Some(Help::Machine)),
        (o.cpu.as_slice(), Help::Cpus, None),
        (&o.device, Help::Devices, Some(Help::Device)),
        (&o.object, Help::Objects, Some(Help::Object)),
        (o.vga.as_slice(), Help::Adapters, None),
        (o.display.as_slice(), Help::Displays, None),
        (&o.chardev, Help::Chardevs, None),
        (&o.drive, Help::Drives, None),
        (&o.blockdev, Help::Blockdevs, None),
        (&o.d, Help::LogItems, None),
    ];
    lists.into_iter().find_map(|(given, all, one)| {
        given.iter().find_map(|text| match (asks(text), one) {
            (true, _) => Some(all.clone()),
            (false, Some(one)) => about(text).map(one),
            (false, None) => None,
        })
    })
}

/// What is asked for, with stand-ins for what is not understood. There may be words already that are not: then nobody misses what they could have said.
fn config(mut o: Options, available: Available<'_>, problems: &mut Problems) -> Option<Config> {
    let all_words = problems.is_empty();
    for text in std::mem::take(&mut o.set) {
        const GROUPS: [&str; 4] = ["device", "chardev", "object", "drive"];
        let group = |name: &str| GROUPS.iter().position(|g| *g == name);
        problems.value(objects::set(&text, group, &mut [&mut o.device, &mut o.chardev, &mut o.object, &mut o.drive]));
    }
    let selected = problems.value(selection::machine(&o, available.machines).map(Some));
    let accel = problems.value(selection::accelerators(&o, selected.as_ref(), available.accelerators));
    o.smp.extend(selected.as_ref().map(|s| s.smp.clone()).unwrap_or_default());
    let smp = problems.some(machine::topology(&o.smp));
    let numa = selected.as_ref().map(|s| Numa::new(s.machine, s.hmat)).unwrap_or_default();
    // Nodes have those CPUs.
    let numa = smp.map(|(topology, _)| problems.value(numa::nodes(numa, &o.numa, &topology))).unwrap_or_default();
    let (topology, cpus) = smp.unwrap_or_default();
    if let Some(machine) = selected.as_ref().map(|s| s.machine)
        && topology.total() > machine.max_cpus()
    {
        let reason = format!("machine '{}' has at most {} CPUs", machine.name(), machine.max_cpus());
        problems.add(Problem::new("smp", o.smp.join(","), reason));
    }
    for (option, value, only) in [("nic", &o.nic, "there is no network; only 'none' is implemented yet")] {
        if let Some(value) = value.as_deref().filter(|v| *v != "none") {
            problems.add(Problem::new(option, value, only));
        }
    }
    let usual = selected.as_ref().and_then(|s| s.machine.default_cpu_type());
    let usual = || usual.map_or_else(|| Ok(CpuModel::default()), CpuModel::of_type);
    let cpu = o.cpu.as_deref().map_or_else(usual, CpuModel::parse);
    let cpu = problems.value(cpu.map_err(|e| Problem::new("cpu", o.cpu.as_deref().unwrap_or_default(), e)));
    let ram_size = selected.as_ref().map_or(0, |s| s.machine.default_ram_size());
    let ram_size = problems.value(machine::memory(&o.m, ram_size));
    let rtc = problems.value(machine::rtc(&o.rtc));
    let icount = problems.value(machine::icount(&o.icount));
    let uuid = problems.value(o.uuid.as_deref().map_or(Ok([0; 16]), machine::uuid));
    let name = problems.value(o.name.as_deref().map(machine::name).transpose());
    if let (Some(log), None, true) = (&o.qtest_log, &o.qtest, all_words) {
        problems.add(Problem::new("qtest-log", &**log, "there is no qtest server; -qtest starts one"));
    }
    let kernel = kernel(&o, all_words, problems);
    let devices: Vec<_> = o.device.iter().filter_map(|text| problems.some(objects::device(text))).collect();
    let brings = |names: &[&str]| devices.iter().any(|d| names.contains(&&*d.type_name));
    let consoles = consoles(&o, brings, all_words, problems);
    let objects = o.object.iter().filter_map(|text| problems.some(objects::object(text))).collect();
    let globals = o.global.iter().filter_map(|text| problems.some(objects::global(text))).collect();
    let blockdevs = o.blockdev.iter().filter_map(|text| problems.some(blockdev::read(text))).collect();
    let drives = drives::drives(&o, problems);
    let default_drives = selected.as_ref().map_or(&[][..], |s| s.machine.default_drives()).iter();
    let instead = |(place, _): &&(DrivePlace, _)| devices.iter().any(|d| replaces(&d.type_name, place.interface));
    let default_drives = default_drives.filter(|drive| !o.nodefaults && !instead(drive)).copied().collect();
    let floppy_check = selected.as_ref().and_then(|s| s.floppy_check).unwrap_or(!o.no_fd_bootchk);
    let nographic = selected.as_ref().and_then(|s| s.graphics).map_or(o.nographic, |graphics| !graphics);
    let (boot, splash) = problems.value(boot::order(&o.boot, floppy_check));
    let (smbios, acpi_tables) = tables::all(&o, problems);
    let fw_cfg = o.fw_cfg.iter().filter_map(|text| problems.some(firmware::item(text))).collect();
    let option_roms = o.option_rom.iter().filter_map(|text| problems.some(firmware::option_rom(text))).collect();
    let curses = wants_curses(&o);
    let possible = selected.as_ref().is_none_or(|s| s.machine.has_vga());
    let usual = possible && !o.nodefaults && !brings(&firmware::ADAPTERS);
    let vga = problems.value(firmware::adapter(o.vga.as_deref(), possible, usual));
    let policy = problems.value(policy(&o));
    let log = problems.value(logging::directives(&o.d));
    let (machine, properties, memory_backend) = match selected {
        Some(s) => (s.machine, s.properties, s.memory_backend),
        None => (selection::default(available.machines)?, Vec::new(), None),
    };
    Some(Config {
        accel,
        machine,
        properties,
        cpu,
        cpu_given: o.cpu.is_some(),
        topology,
        cpus,
        numa,
        ram_size,
        rtc,
        icount,
        uuid: tables::uuid(&smbios).unwrap_or(uuid),
        name,
        kernel,
        consoles,
        devices,
        blockdevs,
        drives,
        default_drives,
        objects,
        globals,
        memory_backend,
        boot,
        nographic,
        firmware: o.bios,
        smbios,
        acpi_tables,
        firmware_path: FirmwarePath::new(o.firmware_directory.into_iter().map(PathBuf::from)),
        fw_cfg,
        option_roms,
        splash,
        curses,
        vga,
        stopped: o.stopped,
        preconfig: o.preconfig,
        policy,
        log,
        log_file: o.log_file.map(PathBuf::from),
        qtest_log: match o.qtest_log.as_deref() {
            None => QtestLog::Stderr,
            Some("none") => QtestLog::None,
            Some(path) => QtestLog::File(path.into()),
        },
    })
}

fn kernel(o: &Options, all_words: bool, problems: &mut Problems) -> Option<KernelFiles> {
    let Some(kernel) = &o.kernel else {
        for (option, value) in [("initrd", &o.initrd), ("append", &o.append)] {
            if let (Some(value), true) = (value, all_words) {
                problems.add(Problem::new(option, &**value, "belongs to a kernel; give one with -kernel"));
            }
        }
        return None;
    };
    let (initrd, cmdline) = (o.initrd.clone(), o.append.clone().unwrap_or_default());
    Some(KernelFiles { kernel: kernel.into(), initrd, cmdline })
}

/// A device of this type is there in place of default drives on this interface.
fn replaces(device: &str, interface: Interface) -> bool {
    match interface {
        Interface::Ide => device.starts_with("ide-"),
        Interface::Floppy => device == "floppy",
        _ => false,
    }
}

/// What `-display` takes.
pub const DISPLAYS: [(&str, &str); 2] =
    [("curses", "the text screen of the guest in the terminal"), ("none", "nothing is shown")];

fn wants_curses(o: &Options) -> bool {
    o.curses || o.display.as_deref() == Some("curses")
}

/// `brings` says whether one of `-device` is of one of these types.
fn consoles(o: &Options, brings: impl Fn(&[&str]) -> bool, all_words: bool, problems: &mut Problems) -> Consoles {
    let curses = wants_curses(o);
    match o.display.as_deref() {
        Some(display) if !DISPLAYS.iter().any(|(name, _)| *name == display) => {
            problems.add(Problem::new("display", display, "there is no such display; there are 'curses' and 'none'"));
        }
        Some("none") if o.curses => {
            problems.add(Problem::new("display", "none", "it contradicts -curses"));
        }
        _ if o.nographic && curses => {
            problems.add(Problem::new("nographic", "", "-nographic cannot be used with -display curses"));
        }
        _ => {}
    }
    let mut targets = |option, given: &[String]| -> Vec<Target> {
        given.iter().filter_map(|text| problems.some(consoles::target(option, text))).collect()
    };
    let mut all = Consoles {
        serials: targets("serial", &o.serial),
        parallels: targets("parallel", &o.parallel),
        monitor: targets("monitor", o.monitor.as_slice()).pop(),
        debugcon: targets("debugcon", o.debugcon.as_slice()).pop(),
        qtest: targets("qtest", o.qtest.as_slice()).pop(),
        chardevs: Vec::new(),
        qmp: Vec::new(),
    };
    for (option, given) in [("qmp", &o.qmp), ("qmp-pretty", &o.qmp_pretty)] {
        let servers = given.iter().filter_map(|text| problems.some(qmp::server(option, text)));
        all.qmp.extend(servers);
    }
    for text in &o.mon {
        match problems.some(qmp::monitor(text)) {
            Some(qmp::Monitor::Control(server)) => all.qmp.push(server),
            Some(qmp::Monitor::Readline(target)) if all.monitor.is_none() => all.monitor = Some(target),
            Some(qmp::Monitor::Readline(_)) => {
                problems.add(Problem::new("mon", &**text, "there is one monitor for people; it is connected twice"));
            }
            None => {}
        }
    }
    all.chardevs = o.chardev.iter().filter_map(|text| problems.some(consoles::chardev(text))).collect();
    // Of a back end that is not understood, the name may not be known.
    let all_chardevs = all_words && all.chardevs.len() == o.chardev.len();
    all.complete(consoles::Defaults {
        nographic: o.nographic,
        no_display: o.display.is_some(),
        curses,
        nodefaults: o.nodefaults,
        own_serials: brings(&["isa-serial"]),
        own_parallels: brings(&["isa-parallel"]),
    });
    problems.value(all.check(all_chardevs));
    all
}

fn policy(o: &Options) -> Result<Policy, Problem> {
    let mut policy = Policy::default();
    if o.no_reboot {
        policy.reboot = RebootAction::Shutdown;
    }
    if o.no_shutdown {
        policy.shutdown = ShutdownAction::Pause;
    }
    fn action<T: Copy>(
        p: &mut Properties,
        key: &str,
        setting: &mut T,
        all: &[T],
        name: fn(T) -> &'static str,
    ) -> Result<(), Problem> {
        if let Some(value) = p.take(key)? {
            let found = all.iter().find(|a| name(**a) == value);
            let names = all.iter().map(|a| name(*a)).collect::<Vec<_>>().join(", ");
            *setting = *found.ok_or_else(|| p.problem(format!("'{key}' takes {names}, not '{value}'")))?;
        }
        Ok(())
    }
    for text in &o.action {
        let mut p = Properties::parse("action", text, None);
        action(&mut p, "reboot", &mut policy.reboot, RebootAction::ALL, RebootAction::name)?;
        action(&mut p, "shutdown", &mut policy.shutdown, ShutdownAction::ALL, ShutdownAction::name)?;
        action(&mut p, "panic", &mut policy.panic, PanicAction::ALL, PanicAction::name)?;
        action(&mut p, "watchdog", &mut policy.watchdog, WatchdogAction::ALL, WatchdogAction::name)?;
        p.end(&["reboot", "shutdown", "panic", "watchdog"])?;
    }
    if let Some(name) = &o.watchdog_action {
        let names = WatchdogAction::ALL.iter().map(|a| a.name());
        let wrong = || Problem::new("watchdog-action", &**name, unknown("action", name, names));
        policy.watchdog = WatchdogAction::from_name(name).ok_or_else(wrong)?;
    }
    Ok(policy)
}

#[cfg(test)]
mod tests;
