//! Debian's kernels with busybox: the guests that real users have.

use crate::process::Process;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A kernel of Debian's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// For virtual machines, amd64: the one that is installed.
    Cloud,
    /// For any machine, amd64.
    Generic,
    /// For processors from the Pentium Pro on, without PAE.
    I686,
    /// The same with PAE and NX.
    I686Pae,
}

impl Kernel {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Cloud, Self::Generic, Self::I686, Self::I686Pae];

    /// Its image; says that it skips where there is none.
    pub fn image(self) -> Option<PathBuf> {
        match self {
            Self::Cloud => kernel(),
            Self::Generic => fetched("vmlinuz-amd64"),
            Self::I686 => fetched("vmlinuz-686"),
            Self::I686Pae => fetched("vmlinuz-686-pae"),
        }
    }
    /// The busybox that runs on it; says that it skips where there is none.
    pub fn busybox(self) -> Option<PathBuf> {
        match self {
            Self::Cloud | Self::Generic => busybox(),
            Self::I686 | Self::I686Pae => fetched("busybox-i386"),
        }
    }
    /// Its image, and an initial RAM file system in `directory` that loads modules, by their paths as in [`modules`] and in this order, runs `commands`
    /// and leaves a shell; says that it skips where a part is missing.
    ///
    /// # Panics
    /// It cannot be written.
    pub fn with_modules(self, directory: &Path, names: &[&str], commands: &str) -> Option<(PathBuf, PathBuf)> {
        let (image, busybox) = (self.image()?, self.busybox()?);
        let modules = modules(&image, names)?;
        let load: String =
            modules.iter().filter_map(|m| Some(format!("insmod /{}\n", m.file_name()?.to_str()?))).collect();
        let initrd = directory.join("initrd");
        write_initrd_with(&initrd, &busybox, &init(&format!("{load}{commands}")), &modules).expect("an initrd");
        Some((image, initrd))
    }
    /// What `uname -m` says on it, on a processor of today.
    pub fn machine(self) -> &'static str {
        match self {
            Self::Cloud | Self::Generic => "x86_64",
            Self::I686 | Self::I686Pae => "i686",
        }
    }
}

/// A file that `.ci/guests` fetches; says that it skips where it is not.
pub fn fetched(name: &str) -> Option<PathBuf> {
    in_guests(name, "fetched by .ci/guests")
}

/// The disk with Debian bookworm that `.ci/bookworm` makes, not to be written to; says that it skips where it is not.
pub fn bookworm() -> Option<PathBuf> {
    in_guests("bookworm.img", "made by .ci/bookworm")
}

fn in_guests(name: &str, origin: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?.join("target/guests").join(name);
    if !path.exists() {
        eprintln!("skipped: no {} ({origin})", path.display());
        return None;
    }
    Some(path)
}

/// The newest of Debian's cloud kernels on this host; says that it skips where there is none.
pub fn kernel() -> Option<PathBuf> {
    let mut found: Vec<_> = std::fs::read_dir("/boot")
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.path())
        .filter(|p| {
            let name = p.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("vmlinuz-") && name.ends_with("-cloud-amd64")
        })
        .collect();
    found.sort();
    let newest = found.pop();
    if newest.is_none() {
        eprintln!("skipped: no /boot/vmlinuz-*-cloud-amd64 (package linux-image-cloud-amd64)");
    }
    newest
}

/// Modules of a kernel, by their paths below its module directory; says that it skips where they are not.
pub fn modules(kernel: &Path, names: &[&str]) -> Option<Vec<PathBuf>> {
    let version = kernel.file_name()?.to_str()?.strip_prefix("vmlinuz-")?;
    let found: Vec<_> = names.iter().map(|n| Path::new("/lib/modules").join(version).join("kernel").join(n)).collect();
    if let Some(missing) = found.iter().find(|p| !p.exists()) {
        eprintln!("skipped: no {}", missing.display());
        return None;
    }
    Some(found)
}

/// A static busybox; says that it skips where there is none.
pub fn busybox() -> Option<PathBuf> {
    let found = ["/bin/busybox", "/usr/bin/busybox"].map(PathBuf::from).into_iter().find(|p| p.exists());
    if found.is_none() {
        eprintln!("skipped: no busybox (package busybox-static)");
    }
    found
}

/// Compiles a C program without libraries beside it into `dir`, under the first part of its name; says that it skips where that cannot be done.
pub fn compile(source: &Path, dir: &Path) -> Option<PathBuf> {
    let program = dir.join(source.file_stem()?);
    let mut cc = std::process::Command::new("cc");
    cc.args(["-O1", "-static", "-pthread", "-o"]).arg(&program).arg(source);
    match cc.output() {
        Ok(o) if o.status.success() => return Some(program),
        Ok(o) => eprintln!("skipped: cc does not compile {}: {}", source.display(), String::from_utf8_lossy(&o.stderr)),
        Err(e) => eprintln!("skipped: no cc (package gcc): {e}"),
    }
    None
}

/// The peer; says that it skips where there is none.
pub fn qemu() -> Option<PathBuf> {
    let found = Some(PathBuf::from("/usr/bin/qemu-system-x86_64")).filter(|p| p.exists());
    if found.is_none() {
        eprintln!("skipped: no qemu-system-x86_64 (package qemu-system-x86)");
    }
    found
}

/// Writes an initial RAM file system with busybox and `/init` to `path`.
///
/// # Errors
/// Files cannot be read or written.
pub fn write_initrd(path: &Path, busybox: &Path, init: &str) -> std::io::Result<()> {
    write_initrd_with(path, busybox, init, &[])
}

/// The same with these files in `/`, under the last parts of their paths.
///
/// # Errors
/// Files cannot be read or written.
pub fn write_initrd_with(path: &Path, busybox: &Path, init: &str, files: &[PathBuf]) -> std::io::Result<()> {
    let mut cpio = Cpio::default();
    for dir in ["bin", "dev", "proc", "sys", "tmp"] {
        cpio.entry(dir, 0o040_755, (0, 0), &[]);
    }
    cpio.entry("dev/console", 0o020_600, (5, 1), &[]);
    cpio.entry("dev/null", 0o020_666, (1, 3), &[]);
    cpio.entry("dev/zero", 0o020_666, (1, 5), &[]);
    cpio.entry("bin/busybox", 0o100_755, (0, 0), &std::fs::read(busybox)?);
    cpio.entry("bin/sh", 0o120_777, (0, 0), b"busybox");
    cpio.entry("init", 0o100_755, (0, 0), init.as_bytes());
    for file in files {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        cpio.entry(&name, 0o100_644, (0, 0), &std::fs::read(file)?);
    }
    cpio.entry("TRAILER!!!", 0, (0, 0), &[]);
    std::fs::write(path, cpio.0)
}

/// The prompt of the shell that [`init`] starts.
pub const PROMPT: &str = "guest# ";

/// What a shell with [`PROMPT`] says to a command; the command itself comes first, as the terminal has it.
///
/// # Panics
/// The prompt does not come again.
pub fn ask(guest: &mut Process, command: &str, patience: Duration) -> String {
    guest.send(&format!("{command}; echo o''ver\n"));
    let said = guest.expect("over\r\n", patience);
    guest.expect(PROMPT, patience);
    said.replace('\r', "")
}

/// An `/init` that mounts the usual file systems, runs `commands`, and leaves an interactive shell on the console, to which the kernel writes no more: its
/// messages would come between the letters of a command.
pub fn init(commands: &str) -> String {
    format!(
        "#!/bin/busybox sh\n\
         /bin/busybox --install -s /bin\n\
         export PATH=/bin PS1='{PROMPT}'\n\
         mount -t devtmpfs dev /dev\n\
         mount -t proc proc /proc\n\
         mount -t sysfs sys /sys\n\
         {commands}\n\
         dmesg -n 1\n\
         exec setsid cttyhack sh\n"
    )
}

/// The kernel's own command line. It is not to check that the timer ticks as often as a busy loop of its own lets it expect: on a busy host it does not.
pub const COMMAND_LINE: &str = "console=ttyS0 panic=-1 no_timer_check";

/// Gearbox's arguments to boot it on the software CPU, with its console on standard input and output.
///
/// # Panics
/// A path is not UTF-8.
pub fn on_tcg<'a>(kernel: &'a Path, initrd: &'a Path) -> Vec<&'a str> {
    let [kernel, initrd] = [kernel, initrd].map(|path| path.to_str().expect("a path in UTF-8"));
    let machine = ["-accel", "tcg", "-m", "512", "-nographic", "-no-reboot"];
    [&machine[..], &["-kernel", kernel, "-initrd", initrd, "-append", COMMAND_LINE]].concat()
}

/// A guest with a shell on its console.
pub struct Shell {
    process: Process,
    /// Holds the initrd.
    _directory: tempfile::TempDir,
}

/// How long a kernel may take to its prompt, and a command.
const PATIENCE: Duration = Duration::from_secs(500);

impl Shell {
    /// Boots to the prompt on the software CPU, with these arguments besides; `None` where the guest's parts are missing.
    ///
    /// # Panics
    /// It does not come so far.
    pub fn boot(kernel: Kernel, arguments: &[&str]) -> Option<Self> {
        Self::boot_with(kernel, arguments, &[])
    }
    /// The same with modules, by their paths as in [`modules`], which are loaded in this order.
    ///
    /// # Panics
    /// As [`Shell::boot`].
    pub fn boot_with(kernel: Kernel, arguments: &[&str], names: &[&str]) -> Option<Self> {
        let directory = tempfile::tempdir().expect("a directory");
        let (image, initrd) = kernel.with_modules(directory.path(), names, "")?;
        let mut process = Process::gearbox(&[&on_tcg(&image, &initrd), arguments].concat());
        process.expect(PROMPT, PATIENCE);
        Some(Self { process, _directory: directory })
    }
    /// Runs a command, of less than a line of the terminal, and returns what it wrote.
    ///
    /// # Panics
    /// The prompt does not come again.
    pub fn run(&mut self, command: &str) -> String {
        self.process.send(&format!("{command}\n"));
        self.process.expect(&format!("{command}\r\n"), PATIENCE);
        self.process.expect(PROMPT, PATIENCE).replace('\r', "")
    }
    /// Lines of the kernel's log that tell of a fault of its own or of the processor's.
    pub fn complaints(&mut self) -> Vec<String> {
        const SIGNS: [&str; 13] = [
            "WARNING:",
            "BUG:",
            "Oops",
            "Call Trace",
            "cut here",
            "unchecked MSR",
            "general protection",
            "invalid opcode",
            "segfault",
            "stall",
            "lockup",
            "Hardware Error",
            "[Firmware Bug]",
        ];
        let log = self.run("dmesg");
        log.lines().filter(|line| SIGNS.iter().any(|s| line.contains(s))).map(str::to_owned).collect()
    }
    /// Powers it off.
    ///
    /// # Panics
    /// The machine does not end well.
    pub fn power_off(mut self) {
        self.process.send("poweroff -f\n");
        assert_eq!(self.process.wait(PATIENCE).code(), Some(0), "{}", self.process.stderr());
    }
    /// The process, to look at it otherwise.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }
}

/// An archive in the "new ASCII" format (cpio(5)), which the kernel unpacks.
#[derive(Default)]
struct Cpio(Vec<u8>);

impl Cpio {
    fn entry(&mut self, name: &str, mode: u32, dev: (u32, u32), data: &[u8]) {
        let inode = self.0.len() as u32;
        let fields = [inode, mode, 0, 0, 1, 0, data.len() as u32, 0, 0, dev.0, dev.1, name.len() as u32 + 1, 0];
        self.0.extend(b"070701");
        for f in fields {
            self.0.extend(format!("{f:08x}").bytes());
        }
        self.0.extend(name.bytes());
        self.0.push(0);
        self.pad();
        self.0.extend(data);
        self.pad();
    }
    fn pad(&mut self) {
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }
}
