//! What a test says of the machine that it wants.

use super::boot_sector::{Sector, WithSector};
use super::serial::{Expect, Wire};
use super::vm::Vm;
use crate::accel::{Request, SelectError, select};
use crate::args::{self, Available, Command, Config, Problem, Problems};
use crate::assemble::{OpenConsoles, read_kernel};
use crate::backend::chardev::CharBackend;
use crate::control::{Control, Facts};
use crate::machine::{BuildError, KernelArgs, Machine, MachineConfig, MachineError, MachineType};
use gearbox_accel_qtest::Bench;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Why a machine could not be made.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An option, with everything that is wrong.
    #[error(transparent)]
    Options(#[from] Problems),
    /// No accelerator runs it; with every reason.
    #[error(transparent)]
    Accelerator(#[from] SelectError),
    /// The machine.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The host.
    #[error("{what}: {source}")]
    Host {
        /// What was attempted.
        what: &'static str,
        /// The host's reason.
        source: std::io::Error,
    },
}

impl From<BuildError> for StartError {
    fn from(e: BuildError) -> Self {
        Self::Machine(e.into())
    }
}

/// An image, by its path or in memory.
#[derive(Clone, Debug)]
pub enum Image {
    /// A file.
    File(PathBuf),
    /// Its contents.
    Bytes(Vec<u8>),
}

impl From<&str> for Image {
    fn from(path: &str) -> Self {
        Self::File(path.into())
    }
}
impl From<&Path> for Image {
    fn from(path: &Path) -> Self {
        Self::File(path.into())
    }
}
impl From<PathBuf> for Image {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}
impl From<Vec<u8>> for Image {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Bytes(bytes)
    }
}
impl From<&[u8]> for Image {
    fn from(bytes: &[u8]) -> Self {
        Self::Bytes(bytes.to_vec())
    }
}

impl Image {
    fn read(self, what: &'static str) -> Result<(Vec<u8>, PathBuf), StartError> {
        match self {
            Self::Bytes(bytes) => Ok((bytes, what.into())),
            Self::File(path) => match std::fs::read(&path) {
                Ok(bytes) => Ok((bytes, path)),
                Err(e) => Err(Problems::from(Problem::new(what, path.display().to_string(), e)).into()),
            },
        }
    }
}

/// A serial port of a [`Vm`].
pub enum SerialPort {
    /// One that the test talks to.
    Expect,
    /// One with a back end of its own.
    Backend(Arc<dyn CharBackend>),
}

impl From<Expect> for SerialPort {
    fn from(_: Expect) -> Self {
        Self::Expect
    }
}
impl<T: CharBackend + 'static> From<Arc<T>> for SerialPort {
    fn from(backend: Arc<T>) -> Self {
        Self::Backend(backend)
    }
}

/// What a machine is to be made of. [`VmBuilder::start`] makes it with CPUs, [`VmBuilder::bench`] without.
#[must_use]
pub struct VmBuilder {
    machine: &'static dyn MachineType,
    words: Vec<String>,
    kernel: Option<Image>,
    initrd: Option<Image>,
    append: String,
    sector: Option<Box<Sector>>,
    serials: Vec<SerialPort>,
}

impl VmBuilder {
    pub(super) fn new(machine: &'static dyn MachineType) -> Self {
        Self {
            machine,
            words: Vec::new(),
            kernel: None,
            initrd: None,
            append: String::new(),
            sector: None,
            serials: Vec::new(),
        }
    }
    /// Accelerators to try, in order, such as `kvm:tcg`; the best one if this is not said.
    pub fn accel(self, names: &str) -> Self {
        names.split(':').fold(self, |this, name| this.args(["-accel", name]))
    }
    /// Bytes of RAM, a whole number of KiB; 128 MiB if this is not said.
    pub fn memory(self, bytes: u64) -> Self {
        let size = format!("{}K", bytes.div_ceil(1024));
        self.args(["-m", &size])
    }
    /// Number of CPUs; one if this is not said.
    pub fn cpus(self, count: u32) -> Self {
        let count = count.to_string();
        self.args(["-smp", &count])
    }
    /// CPU model, as `-cpu` takes it.
    pub fn cpu(self, model: &str) -> Self {
        self.args(["-cpu", model])
    }
    /// A kernel to boot, as `-kernel`: a path, or the bytes.
    pub fn kernel(mut self, image: impl Into<Image>) -> Self {
        self.kernel = Some(image.into());
        self
    }
    /// The kernel's initial RAM disk.
    pub fn initrd(mut self, image: impl Into<Image>) -> Self {
        self.initrd = Some(image.into());
        self
    }
    /// The kernel's command line.
    pub fn append(mut self, text: &str) -> Self {
        self.append = text.to_owned();
        self
    }
    /// A boot sector to start in place of a kernel: in real mode at 0000:7C00, with a stack below itself and the drive number 80h in DL. There is no
    /// BIOS, so it talks to devices itself.
    pub fn boot_sector(mut self, sector: [u8; 512]) -> Self {
        self.sector = Some(Box::new(sector));
        self
    }
    /// A device, as `-device` takes it: `isa-debug-exit,iobase=0xf4`.
    pub fn device(self, text: &str) -> Self {
        self.args(["-device", text])
    }
    /// The next serial port, COM1 first: [`Expect`], or a back end.
    pub fn serial(mut self, port: impl Into<SerialPort>) -> Self {
        self.serials.push(port.into());
        self
    }
    /// Any other words of the command line.
    pub fn args<T: Into<String>>(mut self, words: impl IntoIterator<Item = T>) -> Self {
        self.words.extend(words.into_iter().map(Into::into));
        self
    }

    /// Makes the machine and lets it run.
    ///
    /// # Errors
    /// An option that is wrong, an accelerator that is not there, a machine that cannot be built.
    pub fn start(self) -> Result<Vm, StartError> {
        let mut parts = self.parts()?;
        let config = &parts.config;
        let selected = select(
            &crate::accelerators(),
            &config.accel,
            &Request { cpus: config.topology.total(), icount: config.icount },
        )?;
        let accel = selected.selection.accel.name();
        let machine_config = parts.machine_config()?;
        let facts = Facts::new(&parts.config, &machine_config, &crate::accelerators(), &selected.selection);
        let control = Control::new(facts);
        let machine = match parts.sector.take() {
            None => Machine::new(selected.vm, parts.config.machine, &machine_config)?,
            Some(sector) => {
                let machine = WithSector { machine: parts.config.machine, sector };
                Machine::new(selected.vm, &machine, &machine_config)?
            }
        };
        drop(machine_config);
        Vm::start(machine, control, accel, parts.wires, parts.consoles, &parts.config)
    }
    /// Makes the board without a CPU, in the hands of the test. Nothing is booted.
    ///
    /// # Errors
    /// As [`VmBuilder::start`].
    pub fn bench(self) -> Result<Bench, StartError> {
        let mut parts = self.parts()?;
        let machine_config = parts.machine_config()?;
        Ok(Bench::of(parts.config.machine, &machine_config)?)
    }

    /// Reads and checks what was said.
    fn parts(self) -> Result<Parts, StartError> {
        let known = crate::machine_types();
        let own = known.iter().all(|m| m.name() != self.machine.name()).then_some(self.machine);
        let machines: Vec<_> = known.iter().copied().chain(own).collect();
        let words = ["-machine", self.machine.name(), "-nodefaults", "-display", "none"].map(str::to_owned);
        let accelerators = crate::accelerators();
        let available = Available { accelerators: &accelerators, machines: &machines };
        let config = match args::parse(words.into_iter().chain(self.words), available).map_err(Problems::from)? {
            Command::Run(config) => *config,
            Command::Help(_) => return Err(refused("help", "a test has no use for it")),
        };
        if self.kernel.is_none() && (self.initrd.is_some() || !self.append.is_empty()) {
            return Err(refused("kernel", "an initial RAM disk or a command line needs one"));
        }
        if self.kernel.is_some() && self.sector.is_some() {
            return Err(refused("kernel", "a boot sector is started in place of it"));
        }
        let c = &config.consoles;
        for (option, given) in [
            ("monitor", c.monitor.is_some()),
            ("qmp", !c.qmp.is_empty()),
            ("qtest", c.qtest.is_some()),
            ("preconfig", config.preconfig),
        ] {
            if given {
                return Err(refused(option, "in process, the test itself controls the machine"));
            }
        }
        let kernel = match self.kernel {
            None => config.kernel.as_ref().map(|files| read_kernel(files, Some(config.ram_size))).transpose()?,
            Some(image) => {
                let (image, path) = image.read("kernel")?;
                let initrd = self.initrd.map(|i| i.read("initrd")).transpose()?;
                let initrd = initrd.map(|(bytes, path)| (bytes, path.display().to_string())).into_iter().collect();
                Some(KernelArgs { image, path, initrd, cmdline: self.append })
            }
        };
        let consoles = OpenConsoles::open(&config.consoles)?;
        let mut wires = Vec::new();
        let serials = self.serials.into_iter().map(|port| match port {
            SerialPort::Backend(backend) => backend,
            SerialPort::Expect => {
                let wire = Arc::new(Wire::default());
                wires.push(wire.clone());
                wire
            }
        });
        let serials: Vec<_> = serials.map(Some).collect();
        Ok(Parts { config, consoles, kernel, serials, wires, sector: self.sector })
    }
}

fn refused(option: &str, reason: &str) -> StartError {
    Problems::from(Problem::word(&format!("-{option}"), reason)).into()
}

/// A machine to be, with everything read and opened.
struct Parts {
    config: Config,
    consoles: OpenConsoles,
    kernel: Option<KernelArgs>,
    serials: Vec<Option<Arc<dyn CharBackend>>>,
    wires: Vec<Arc<Wire>>,
    sector: Option<Box<Sector>>,
}

impl Parts {
    fn machine_config(&mut self) -> Result<MachineConfig, Problems> {
        let mut made = crate::assemble::machine_config(&self.config, self.kernel.take())?;
        self.consoles.connect(&mut made);
        made.serials.splice(0..0, std::mem::take(&mut self.serials));
        Ok(made)
    }
}
