//! The options as the command line has them: one definition, from which parsing, help and the search for what was close are made.
//!
//! Names, and what they mean, are QEMU's (its manual page, "Invocation").

// The comments are the texts of -help; brackets in them are optional parts.
#![allow(rustdoc::broken_intra_doc_links)]

use clap::{ArgAction, CommandFactory, Parser};

/// Topics of `-help`, in the order in which they are shown.
pub const MACHINE: &str = "Machine";
/// See [`MACHINE`].
pub const BOOT: &str = "Boot";
/// See [`MACHINE`].
pub const DRIVES: &str = "Disks";
/// See [`MACHINE`].
pub const CONSOLES: &str = "Consoles and devices";
/// See [`MACHINE`].
pub const RUNNING: &str = "Running";
/// See [`MACHINE`].
pub const DEBUGGING: &str = "Logs and tests";

/// All options, as text. An option that may be repeated is a list; of the others, the last one counts.
#[derive(Clone, Debug, Default, Parser)]
#[command(name = "gearbox", disable_help_flag = true, disable_version_flag = true, args_override_self = true)]
pub struct Options {
    /// The accelerator: kvm, tcg or qtest, with options. Several, or kvm:tcg, are tried in order. Without it, the best one that works
    #[arg(long, value_name = "NAME[,OPTION=VALUE...]|help", help_heading = MACHINE)]
    pub accel: Vec<String>,
    /// Short for -accel kvm
    #[arg(long, help_heading = MACHINE)]
    pub enable_kvm: bool,
    /// The machine, with properties; accel=NAME is one of them
    #[arg(long, alias = "M", value_name = "[type=]NAME[,PROPERTY=VALUE...]|help", help_heading = MACHINE)]
    pub machine: Vec<String>,
    /// The CPU model, with features added and removed
    #[arg(long, value_name = "MODEL[,+FEATURE][,-FEATURE]|help", help_heading = MACHINE)]
    pub cpu: Option<String>,
    /// Number of CPUs, and how they are grouped
    #[arg(long, value_name = "[cpus=]N[,maxcpus=N][,sockets=N][,cores=N][,threads=N]", help_heading = MACHINE)]
    pub smp: Vec<String>,
    /// A NUMA node, the CPUs of one, a distance, or what the memory of one is like
    #[arg(long, value_name = "node|dist|cpu|hmat-lb|hmat-cache[,OPTION=VALUE...]", help_heading = MACHINE)]
    pub numa: Vec<String>,
    /// Memory, in MiB or with a suffix K, M, G [default: 128M]
    #[arg(long, value_name = "[size=]SIZE", help_heading = MACHINE)]
    pub m: Vec<String>,
    /// The real-time clock: what it shows at the start, and what it follows
    #[arg(long, value_name = "[base=utc|localtime|DATETIME][,clock=host|vm]", help_heading = MACHINE)]
    pub rtc: Vec<String>,
    /// Machine time as a count of instructions, 2^N ns for each
    #[arg(long, value_name = "[shift=]N|auto[,sleep=on|off][,align=on|off]", help_heading = MACHINE)]
    pub icount: Vec<String>,
    /// The machine's UUID, which firmware tables give to the guest
    #[arg(long, value_name = "UUID", help_heading = MACHINE)]
    pub uuid: Option<String>,
    /// An object that others name, such as memory-backend-ram for -machine memory-backend=ID
    #[arg(long, value_name = "TYPE,id=ID[,PROPERTY=VALUE...]", help_heading = MACHINE)]
    pub object: Vec<String>,
    /// The value of a property for all devices of a type
    #[arg(long, value_name = "TYPE.PROPERTY=VALUE", help_heading = MACHINE)]
    pub global: Vec<String>,
    /// Adds a property to an option that has an id: device.com2.irq=5
    #[arg(long, value_name = "GROUP.ID.PROPERTY=VALUE", help_heading = MACHINE)]
    pub set: Vec<String>,
    /// Reads options from a file
    #[arg(long, value_name = "FILE", help_heading = MACHINE)]
    pub readconfig: Vec<String>,
    /// Short for -machine hpet=off
    #[arg(long, help_heading = MACHINE)]
    pub no_hpet: bool,
    /// A name for the machine, shown by the monitor
    #[arg(long, value_name = "NAME", help_heading = MACHINE)]
    pub name: Option<String>,

    /// The firmware, a file or a name that is looked for in the firmware directories
    #[arg(long, value_name = "FILE", help_heading = BOOT)]
    pub bios: Option<String>,
    /// What is in a flash chip: the firmware in the first, its variables in the second
    #[arg(long, value_name = "FILE", help_heading = BOOT)]
    pub pflash: Vec<String>,
    /// A directory in which firmware is looked for first
    #[arg(long = "L", value_name = "DIRECTORY", help_heading = BOOT)]
    pub firmware_directory: Vec<String>,
    /// What firmware boots from: drive letters, the same for the first time only, whether it offers a choice, the picture that it
    /// shows meanwhile and for how many ms, after how many ms it starts anew, whether it tries nothing else
    #[arg(long, value_name = "[order=]LETTERS[,once=][,menu=][,splash=][,splash-time=][,reboot-timeout=][,strict=]", help_heading = BOOT)]
    pub boot: Vec<String>,
    /// Firmware does not look whether a floppy is bootable
    #[arg(long, help_heading = BOOT)]
    pub no_fd_bootchk: bool,
    /// An item for firmware and guest, from a file or as it is; names of users' items begin with opt/
    #[arg(long = "fw_cfg", value_name = "[name=]NAME,file=FILE|string=TEXT", help_heading = BOOT)]
    pub fw_cfg: Vec<String>,
    /// What SMBIOS tables say: texts and numbers for a structure, or a whole one from a file
    #[arg(long, value_name = "type=NUMBER[,KEY=VALUE...]|file=FILE", help_heading = BOOT)]
    pub smbios: Vec<String>,
    /// An ACPI table beside those of the machine
    #[arg(long, value_name = "[sig=TEXT][,rev=N][,oem_id=TEXT]...,data=FILE[:FILE...]|file=FILE", help_heading = BOOT)]
    pub acpitable: Vec<String>,
    /// A ROM that firmware runs, and may boot from
    #[arg(long, value_name = "FILE[,bootindex=N]", help_heading = BOOT)]
    pub option_rom: Vec<String>,
    /// The kernel to boot: bzImage, ELF with PVH note, or multiboot. Without it, the firmware boots from drives; without drives, too, a
    /// small guest of our own
    #[arg(long, value_name = "FILE", help_heading = BOOT)]
    pub kernel: Option<String>,
    /// Its initial RAM disk; for multiboot, modules with arguments: FILE ARGS[,FILE ARGS...]
    #[arg(long, value_name = "FILE", help_heading = BOOT)]
    pub initrd: Option<String>,
    /// Its command line
    #[arg(long, value_name = "TEXT", help_heading = BOOT)]
    pub append: Option<String>,

    /// What is in the first floppy drive
    #[arg(long, value_name = "FILE", help_heading = DRIVES)]
    pub fda: Vec<String>,
    /// What is in the second floppy drive
    #[arg(long, value_name = "FILE", help_heading = DRIVES)]
    pub fdb: Vec<String>,
    /// The first disk: an image, or a device of the host. A word without an option is one, too
    #[arg(long, value_name = "FILE", help_heading = DRIVES)]
    pub hda: Vec<String>,
    /// The second disk
    #[arg(long, value_name = "FILE", help_heading = DRIVES)]
    pub hdb: Vec<String>,
    /// The third disk, in the place of the CD-ROM
    #[arg(long, value_name = "FILE", help_heading = DRIVES)]
    pub hdc: Vec<String>,
    /// The fourth disk
    #[arg(long, value_name = "FILE", help_heading = DRIVES)]
    pub hdd: Vec<String>,
    /// What is in the CD-ROM drive
    #[arg(long, value_name = "FILE", help_heading = DRIVES)]
    pub cdrom: Vec<String>,
    /// A drive with its image
    #[arg(long, value_name = "[file=]FILE[,OPTION=VALUE...]|help", help_heading = DRIVES)]
    pub drive: Vec<String>,
    /// An image for -device TYPE,drive=NAME, as properties or in JSON
    #[arg(long, value_name = "[driver=]DRIVER,node-name=NAME[,OPTION=VALUE...]|help", help_heading = DRIVES)]
    pub blockdev: Vec<String>,
    /// What drives write goes to temporary files, unless they say otherwise
    #[arg(long, help_heading = DRIVES)]
    pub snapshot: bool,
    /// -drive and its short forms in the order in which they were given.
    #[arg(skip)]
    pub drives: Vec<(&'static str, String)>,

    /// What a serial port is connected to: none, null, stdio, mon:stdio, file:PATH, pipe:PATH, pty, unix:PATH[,server[,nowait]],
    /// tcp:HOST:PORT[,server[,nowait]] or chardev:ID; once for each port
    #[arg(long, value_name = "WHERE", help_heading = CONSOLES)]
    pub serial: Vec<String>,
    /// A character back end for chardev:ID: null, stdio, file, pipe, pty or socket, with mux=on for several users
    #[arg(long, value_name = "TYPE,id=ID[,OPTION=VALUE...]|help", help_heading = CONSOLES)]
    pub chardev: Vec<String>,
    /// What the monitor is connected to, as for -serial
    #[arg(long, value_name = "WHERE", help_heading = CONSOLES)]
    pub monitor: Option<String>,
    /// Serve QMP, the protocol for programs, there, as for -serial; any number of times
    #[arg(long, value_name = "WHERE", help_heading = CONSOLES)]
    pub qmp: Vec<String>,
    /// The same, laid out for people
    #[arg(long, value_name = "WHERE", help_heading = CONSOLES)]
    pub qmp_pretty: Vec<String>,
    /// A monitor on a -chardev: readline, for people, or control, which is QMP
    #[arg(long, value_name = "[chardev=]ID[,mode=readline|control][,pretty=on|off]", help_heading = CONSOLES)]
    pub mon: Vec<String>,
    /// What a debug console at port 0xe9 is connected to, as for -serial
    #[arg(long, value_name = "WHERE", help_heading = CONSOLES)]
    pub debugcon: Option<String>,
    /// A device, with properties
    #[arg(long, value_name = "TYPE[,PROPERTY=VALUE...]|help", help_heading = CONSOLES)]
    pub device: Vec<String>,
    /// Serial port and monitor on the terminal (Ctrl-A c switches, Ctrl-A x ends). Also the default, as there is no display
    #[arg(long, help_heading = CONSOLES)]
    pub nographic: bool,
    /// The guest's text screen in the terminal; Alt-1 shows it, Alt-2 the monitor, Alt-3 the serial port. Or no display and nothing on the terminal
    #[arg(long, value_name = "curses|none", help_heading = CONSOLES)]
    pub display: Option<String>,
    /// As -display curses
    #[arg(long, help_heading = CONSOLES)]
    pub curses: bool,
    /// No devices and consoles but those asked for
    #[arg(long, help_heading = CONSOLES)]
    pub nodefaults: bool,
    /// The display adapter [default: std, where the machine has one]
    #[arg(long, value_name = "std|none", help_heading = CONSOLES)]
    pub vga: Option<String>,
    /// There is no network; this says so
    #[arg(long, alias = "net", value_name = "none", help_heading = CONSOLES)]
    pub nic: Option<String>,
    /// Connect a parallel port, as -serial does a serial one; may be repeated
    #[arg(long, value_name = "CONSOLE", help_heading = CONSOLES)]
    pub parallel: Vec<String>,

    /// Do not start the machine; the monitor's cont does
    #[arg(long = "S", help_heading = RUNNING)]
    pub stopped: bool,
    /// Serve QMP before the machine is made; its x-exit-preconfig makes it
    #[arg(long, help_heading = RUNNING)]
    pub preconfig: bool,
    /// End, with status 0, where the guest would start anew
    #[arg(long, help_heading = RUNNING)]
    pub no_reboot: bool,
    /// Only stop where the guest powers off
    #[arg(long, help_heading = RUNNING)]
    pub no_shutdown: bool,
    /// The same in QEMU's newer spelling, and what happens when the guest panics or a watchdog expires
    #[arg(long, value_name = "EVENT=ACTION[,EVENT=ACTION...]", help_heading = RUNNING)]
    pub action: Vec<String>,
    /// Short for -action watchdog=ACTION
    #[arg(long, value_name = "ACTION", help_heading = RUNNING)]
    pub watchdog_action: Option<String>,
    /// No configuration file is read; this says so
    #[arg(long, help_heading = RUNNING)]
    pub no_user_config: bool,

    /// What to log, besides warnings
    #[arg(long, value_name = "ITEM,...|help", help_heading = DEBUGGING)]
    pub d: Vec<String>,
    /// Log into a file, not to standard error
    #[arg(long = "D", value_name = "FILE", help_heading = DEBUGGING)]
    pub log_file: Option<String>,
    /// Serve the qtest protocol there, as for -serial; without -accel on the accelerator qtest, which has no CPU
    #[arg(long, value_name = "WHERE", help_heading = DEBUGGING)]
    pub qtest: Option<String>,
    /// Where the qtest server logs what it hears and says [default: standard error]
    #[arg(long, value_name = "FILE|none", help_heading = DEBUGGING)]
    pub qtest_log: Option<String>,
    /// Show this
    #[arg(long, alias = "h", action = ArgAction::SetTrue, help_heading = DEBUGGING)]
    pub help: bool,
    /// Show the version
    #[arg(long, action = ArgAction::SetTrue, help_heading = DEBUGGING)]
    pub version: bool,
}

/// One option, as help and the search for what was close need it.
pub struct OptionInfo {
    /// Names; the first one is the one that is shown.
    pub names: Vec<String>,
    /// What follows it.
    pub value: Option<String>,
    /// Topic.
    pub topic: String,
    /// What it does.
    pub help: String,
}

impl Options {
    /// All options that there are.
    pub fn known() -> Vec<OptionInfo> {
        let command = Self::command();
        command
            .get_arguments()
            .map(|a| OptionInfo {
                names: a
                    .get_long_and_visible_aliases()
                    .unwrap_or_default()
                    .into_iter()
                    .chain(a.get_all_aliases().unwrap_or_default())
                    .map(str::to_owned)
                    .collect(),
                value: a.get_action().takes_values().then(|| a.get_value_names().unwrap_or_default().join(" ")),
                topic: a.get_help_heading().unwrap_or_default().to_owned(),
                help: a.get_help().map(ToString::to_string).unwrap_or_default(),
            })
            .collect()
    }
}
