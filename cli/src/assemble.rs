//! From a [`Config`] to the parts of a machine: images read, back ends opened and shared out.

use crate::args::consoles::{Chardev, Consoles, Target};
use crate::args::{Config, ItemSource, KernelFiles, Problem, Problems, USERS_ITEMS};
use crate::backend::chardev::{
    CharBackend, Chardev as NamedChardev, ChardevSpec, Chardevs, Mux, MuxPort, SocketRole, Source,
};
use crate::backend::firmware::read_file;
use crate::blocks;
use crate::curses;
use crate::machine::{DeviceArg, KernelArgs, MachineConfig, OptionRom};
use crate::messages::{tell, warn};
use crate::object::UserObjects;
use crate::tables;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The monitor's end of a back end.
pub(crate) enum MonitorEnd {
    /// A back end of its own.
    Own(Arc<dyn CharBackend>),
    /// One of several front ends.
    Shared(Arc<MuxPort>),
}

/// Back ends of a machine, open.
#[derive(Default)]
pub(crate) struct OpenConsoles {
    /// For the serial ports.
    pub(crate) serials: Vec<Option<Arc<dyn CharBackend>>>,
    /// For the parallel ports.
    pub(crate) parallels: Vec<Option<NamedChardev>>,
    /// By id, for whoever names one.
    pub(crate) chardevs: Arc<Chardevs>,
    /// Devices that belong to consoles.
    pub(crate) devices: Vec<DeviceArg>,
    /// For the monitor.
    pub(crate) monitor: Option<MonitorEnd>,
    /// Every multiplexer.
    pub(crate) muxes: Vec<Arc<Mux>>,
    /// Standard input is in use; its interrupt key makes a signal if true.
    pub(crate) terminal: Option<bool>,
    /// For the qtest server.
    pub(crate) qtest: Option<Arc<dyn CharBackend>>,
    /// For QMP servers; whether replies are laid out for people.
    pub(crate) qmp: Vec<(Arc<dyn CharBackend>, bool)>,
    /// Consoles of the view in the terminal.
    pub(crate) screens: curses::Consoles,
    /// Every back end, to close.
    all: Vec<Arc<dyn CharBackend>>,
    /// Ids of those that the host refused.
    refused: Vec<String>,
}

impl OpenConsoles {
    /// Opens all of them.
    ///
    /// # Errors
    /// What the host refused, and ids with more users than they may have.
    pub(crate) fn open(consoles: &Consoles) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let mut this = Self::default();
        for c in &consoles.chardevs {
            if problems.some(this.open_chardev(c)).is_none() {
                this.refused.push(c.id.clone());
            }
        }
        for (n, target) in consoles.serials.iter().enumerate() {
            let backend = this.front(target, "serial", &format!("serial{n}"));
            this.serials.push(problems.value(backend));
        }
        for (n, target) in consoles.parallels.iter().enumerate() {
            let port = this.parallel(target, &format!("parallel{n}"));
            this.parallels.push(problems.value(port));
        }
        if let Some(target) = &consoles.debugcon {
            problems.value(this.connect_debugcon(target));
        }
        if let Some(target) = &consoles.qtest {
            this.qtest = problems.value(this.front(target, "qtest", "qtest"));
        }
        for (n, server) in consoles.qmp.iter().enumerate() {
            let backend = problems.value(this.front(&server.target, "qmp", &format!("compat_monitor{n}")));
            this.qmp.extend(backend.map(|b| (b, server.pretty)));
        }
        if let Some(target) = &consoles.monitor {
            problems.value(this.connect_monitor(target));
        }
        problems.or(this)
    }

    /// Gives a machine its ends of them.
    pub(crate) fn connect(&mut self, machine: &mut MachineConfig) {
        machine.serials = std::mem::take(&mut self.serials);
        machine.parallels = std::mem::take(&mut self.parallels);
        machine.chardevs = self.chardevs.clone();
        machine.devices.append(&mut self.devices);
    }

    /// Gives the host all output, within a bounded time, and ends all that works for the back ends: from then on only the caller keeps the machine
    /// alive.
    pub(crate) fn close(&self) {
        self.all.iter().for_each(|b| b.close());
    }

    fn open_one(&mut self, spec: &ChardevSpec, label: &str, signals: bool) -> std::io::Result<Arc<dyn CharBackend>> {
        if let ChardevSpec::Socket { role: SocketRole::Server { wait: true }, address } = spec {
            tell(format_args!("waiting for a connection to {address}"));
        }
        let open = spec.open(label)?;
        if let Some(path) = &open.pty {
            // Programs that start us read this line.
            let _ = writeln!(std::io::stdout(), "char device redirected to {} (label {label})", path.display());
        }
        if *spec == ChardevSpec::Stdio {
            self.terminal = Some(signals);
        }
        self.all.push(open.backend.clone());
        Ok(open.backend)
    }

    fn open_chardev(&mut self, c: &Chardev) -> Result<(), Problem> {
        let backend = self.open_one(&c.spec, &c.id, c.signals).map_err(|e| Problem::new("chardev", &*c.id, e))?;
        let source = if c.mux { Source::Many(self.mux(backend)) } else { Source::One(backend) };
        self.chardevs.add(&c.id, describe(&c.spec), source).map_err(|e| Problem::new("chardev", &*c.id, e))
    }

    fn mux(&mut self, backend: Arc<dyn CharBackend>) -> Arc<Mux> {
        let mux = Mux::new(backend);
        self.muxes.push(mux.clone());
        mux
    }

    /// The back end of a console; a monitor that shares it is connected on the way.
    fn front(&mut self, target: &Target, option: &str, label: &str) -> Result<Option<Arc<dyn CharBackend>>, Problem> {
        match target {
            Target::None => Ok(None),
            Target::Screen => {
                let console: Arc<dyn CharBackend> = self.screens.add(label);
                let listed = self.chardevs.add(label, "vc", Source::One(console));
                let listed = listed.and_then(|()| self.chardevs.attach(label));
                listed.map(Some).map_err(|e| Problem::new(option, "vc", e))
            }
            // That has been told.
            Target::Id(id) if self.refused.contains(id) => Ok(None),
            Target::Id(id) => {
                let taken = self.chardevs.attach(id);
                taken.map(Some).map_err(|e| Problem::new(option, format!("chardev:{id}"), e))
            }
            Target::New { spec, monitor } => {
                let backend =
                    self.open_one(spec, label, !monitor).map_err(|e| Problem::new(option, describe(spec), e))?;
                if !monitor {
                    // Listed as any other back end, and in use for good.
                    let listed = self
                        .chardevs
                        .add(label, describe(spec), Source::One(backend))
                        .and_then(|()| self.chardevs.attach(label));
                    return listed.map(Some).map_err(|e| Problem::new(option, describe(spec), e));
                }
                let mux = self.mux(backend);
                let console = mux.port().map(|p| Arc::new(p) as Arc<dyn CharBackend>);
                self.monitor = mux.port().map(|p| MonitorEnd::Shared(Arc::new(p)));
                Ok(console)
            }
        }
    }

    fn parallel(&mut self, target: &Target, label: &str) -> Result<Option<NamedChardev>, Problem> {
        if matches!(target, Target::Screen | Target::New { monitor: true, .. }) {
            return Err(Problem::new("parallel", "mon:", SERIAL_ONLY));
        }
        let id = if let Target::Id(id) = target { id } else { label };
        let backend = self.front(target, "parallel", label)?;
        Ok(backend.map(|backend| NamedChardev::named(id, backend)))
    }

    /// The debug console is a device which names its back end.
    fn connect_debugcon(&mut self, target: &Target) -> Result<(), Problem> {
        const LABEL: &str = "debugcon";
        let id = match target {
            Target::None => return Ok(()),
            Target::Id(id) => id.clone(),
            Target::Screen | Target::New { monitor: true, .. } => {
                return Err(Problem::new(LABEL, "mon:", SERIAL_ONLY));
            }
            Target::New { spec, .. } => {
                let wrong = |e: String| Problem::new(LABEL, describe(spec), e);
                let backend = self.open_one(spec, LABEL, true).map_err(|e| wrong(e.to_string()))?;
                let added = self.chardevs.add(LABEL, describe(spec), Source::One(backend));
                added.map_err(|e| wrong(e.to_string()))?;
                LABEL.to_owned()
            }
        };
        let properties = [("iobase", "0xe9".to_owned()), ("chardev", id)].map(|(k, v)| (k.to_owned(), v.into()));
        self.devices.push(DeviceArg { type_name: "isa-debugcon".to_owned(), properties: properties.to_vec() });
        Ok(())
    }

    fn connect_monitor(&mut self, target: &Target) -> Result<(), Problem> {
        if let Target::Id(id) = target
            && let Some(mux) = self.chardevs.mux(id)
        {
            let port = mux.port().ok_or_else(|| Problem::new("monitor", format!("chardev:{id}"), FULL))?;
            self.monitor = Some(MonitorEnd::Shared(Arc::new(port)));
            return Ok(());
        }
        let own = self.front(target, "monitor", "monitor")?;
        self.monitor = own.map(MonitorEnd::Own).or(self.monitor.take());
        Ok(())
    }
}

const SERIAL_ONLY: &str = "a monitor can share serial ports only";
const FULL: &str = "has as many users as it can have";

/// What a back end is connected to, in the form of `query-chardev`.
pub(crate) fn describe(spec: &ChardevSpec) -> String {
    match spec {
        ChardevSpec::Null => "null".to_owned(),
        ChardevSpec::Stdio => "stdio".to_owned(),
        ChardevSpec::File { path, .. } => format!("file:{}", path.display()),
        ChardevSpec::Pipe { path } => format!("pipe:{}", path.display()),
        ChardevSpec::Pty => "pty".to_owned(),
        ChardevSpec::Socket { address, .. } => address.to_string(),
    }
}

/// What the machine is made from: the command line with everything read and opened but for consoles.
///
/// # Errors
/// Objects that cannot be made, firmware that cannot be read, images that cannot be opened.
pub(crate) fn machine_config(config: &Config, kernel: Option<KernelArgs>) -> Result<MachineConfig, Problems> {
    let mut problems = Problems::default();
    let firmware = problems.value(read_firmware(config));
    let fw_cfg = problems.value(firmware_items(config));
    let option_roms = problems.value(option_roms(config));
    let objects = problems.value(make_objects(config));
    let smbios = problems.value(tables::smbios(config));
    let acpi_tables = problems.value(tables::acpi(config));
    let blocks = problems.value(blocks::open(config));
    problems.or(MachineConfig {
        ram_size: config.ram_size,
        cpu: config.cpu.clone(),
        topology: config.topology,
        cpus: Some(config.cpus),
        numa: config.numa.clone(),
        kernel,
        serials: Vec::new(),
        parallels: Vec::new(),
        chardevs: Arc::default(),
        blocks,
        devices: config.devices.clone(),
        rtc: config.rtc,
        uuid: config.uuid,
        properties: config.properties.clone(),
        globals: config.globals.clone(),
        objects,
        memory_backend: config.memory_backend.clone(),
        boot: config.boot.clone(),
        nographic: config.nographic,
        firmware,
        firmware_path: config.firmware_path.clone(),
        fw_cfg,
        option_roms,
        smbios,
        acpi_tables,
        vga: config.vga,
    })
}

/// Makes the objects of `-object`.
///
/// # Errors
/// Each that cannot be made.
fn make_objects(config: &Config) -> Result<Arc<UserObjects>, Problems> {
    let (objects, mut problems) = (UserObjects::default(), Problems::default());
    for o in &config.objects {
        let made = objects.add(&o.type_name, &o.id, &o.properties);
        problems.value(made.map_err(|e| Problem::new("object", format!("{},id={}", o.type_name, o.id), e)));
    }
    problems.or(Arc::new(objects))
}

/// Reads the firmware that `-bios` names.
///
/// # Errors
/// It is nowhere to be found, or cannot be read.
fn read_firmware(config: &Config) -> Result<Option<(Vec<u8>, PathBuf)>, Problem> {
    const MOST: u64 = 16 << 20;
    let Some(name) = &config.firmware else { return Ok(None) };
    config.firmware_path.read(name, MOST).map(Some).map_err(|e| Problem::new("bios", &**name, e))
}

/// The most that a file for firmware has.
const MOST_FOR_FIRMWARE: u64 = 64 << 20;

/// The items of `-fw_cfg` and the picture of `-boot splash=`.
///
/// # Errors
/// Every file that cannot be read.
fn firmware_items(config: &Config) -> Result<Vec<(String, Vec<u8>)>, Problems> {
    let mut problems = Problems::default();
    let mut items = Vec::new();
    for item in &config.fw_cfg {
        if !item.name.starts_with(USERS_ITEMS) {
            warn(format_args!("-fw_cfg {}: names of users' items should begin with '{USERS_ITEMS}'", item.name));
        }
        let bytes = match &item.source {
            ItemSource::Text(text) => Ok(text.clone().into_bytes()),
            ItemSource::File(path) => read_file(Path::new(path), MOST_FOR_FIRMWARE),
        };
        let bytes = problems.value(bytes.map_err(|e| Problem::new("fw_cfg", &*item.name, e)));
        items.push((item.name.clone(), bytes));
    }
    if let Some(path) = &config.splash {
        let wrong = |e: io::Error| Problem::new("boot", format!("splash={path}"), e);
        let found = config.firmware_path.read(path, MOST_FOR_FIRMWARE).map_err(wrong);
        items.extend(problems.value(found.and_then(|(image, _)| splash(path, image)).map(Some)));
    }
    problems.or(items)
}

/// The item that a picture for firmware becomes.
fn splash(path: &str, image: Vec<u8>) -> Result<(String, Vec<u8>), Problem> {
    /// Where a BMP file has its bits per pixel.
    const DEPTH: std::ops::Range<usize> = 28..30;
    let wrong = |reason| Err(Problem::new("boot", format!("splash={path}"), reason));
    match image.get(..2) {
        Some([0xff, 0xd8]) => Ok(("bootsplash.jpg".to_owned(), image)),
        Some(b"BM") if image.get(DEPTH) == Some(&[24, 0]) => Ok(("bootsplash.bmp".to_owned(), image)),
        Some(b"BM") => wrong("a BMP file must have 24 bits for each pixel"),
        _ => wrong("is neither a JPEG nor a BMP file"),
    }
}

/// Reads the ROMs of `-option-rom`.
///
/// # Errors
/// Every file that cannot be read.
fn option_roms(config: &Config) -> Result<Vec<OptionRom>, Problems> {
    let mut problems = Problems::default();
    let roms = config.option_roms.iter().map(|rom| {
        let found = config.firmware_path.read(&rom.file, MOST_FOR_FIRMWARE);
        let found = found.map_err(|e| Problem::new("option-rom", &*rom.file, e));
        let (image, path) = problems.value(found);
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        OptionRom { name, image, bootindex: rom.bootindex }
    });
    let roms: Vec<_> = roms.collect();
    problems.or(roms)
}

/// Reads the images to boot, of which none is larger than the guest's memory; where it is not known how large that is, nothing of them.
///
/// # Errors
/// Every file that cannot be read, or that is larger.
pub(crate) fn read_kernel(files: &KernelFiles, memory: Option<u64>) -> Result<KernelArgs, Problems> {
    let mut problems = Problems::default();
    let image = problems.value(read("kernel", &files.kernel, memory));
    let initrd = files.initrd.as_deref().map(|text| problems.value(read_initrd(text, memory)));
    let initrd = initrd.unwrap_or_default();
    problems.or(KernelArgs { image, path: files.kernel.clone(), initrd, cmdline: files.cmdline.clone() })
}

/// One file, or a list of multiboot modules `FILE ARGS,FILE ARGS`.
fn read_initrd(text: &str, most: Option<u64>) -> Result<Vec<(Vec<u8>, String)>, Problem> {
    if Path::new(text).exists() || !text.contains([',', ' ']) {
        return Ok(vec![(read("initrd", Path::new(text), most)?, text.to_owned())]);
    }
    let modules = text.split(',').map(|module| {
        let path = module.split_once(' ').map_or(module, |(path, _)| path);
        Ok((read("initrd", Path::new(path), most)?, module.to_owned()))
    });
    modules.collect()
}

fn read(option: &str, path: &Path, most: Option<u64>) -> Result<Vec<u8>, Problem> {
    let reason = |e: io::Error| match e.kind() {
        io::ErrorKind::FileTooLarge => "is larger than the machine's memory; give it more with -m".to_owned(),
        _ => e.to_string(),
    };
    match read_file(path, most.unwrap_or(0)) {
        Err(e) if e.kind() == io::ErrorKind::FileTooLarge && most.is_none() => Ok(Vec::new()),
        read => read.map_err(|e| Problem::new(option, path.display().to_string(), reason(e))),
    }
}
