//! Gearbox beside its peer, QEMU's software CPU: the same guest on both, one after the other on one core, compared by the CPU time
//! of the whole process (user and system). Of several runs the fastest counts: what else happens on the host only ever adds.

use crate::linux::qemu;
use crate::process::gearbox;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Runs of each program.
const RUNS: usize = 3;

/// One thing to measure: a work of the benches' guest, and how often it is done.
pub struct Work {
    /// Its name in the guest.
    pub name: &'static str,
    /// So many rounds take QEMU 0.3 s or so.
    pub rounds: u64,
}

/// How long a work took, in seconds of CPU time.
#[derive(Clone, Copy)]
pub struct Times {
    /// On Gearbox.
    pub gearbox: f64,
    /// On QEMU.
    pub qemu: f64,
}

impl Times {
    /// The speed of Gearbox in units of QEMU's: above 1, Gearbox is faster.
    pub fn ratio(self) -> f64 {
        self.qemu / self.gearbox
    }
}

/// The geometric mean.
pub fn geometric_mean(values: &[f64]) -> f64 {
    (values.iter().map(|v| v.ln()).sum::<f64>() / values.len() as f64).exp()
}

/// The two programs, and the guest of the benches.
pub struct Peers {
    gearbox: PathBuf,
    qemu: PathBuf,
    guest: PathBuf,
    /// What a run costs that does nothing.
    start: Times,
    _directory: tempfile::TempDir,
}

impl Peers {
    /// Builds Gearbox and the guest, and stays on one core from now on; says that it skips where this cannot be done.
    ///
    /// # Panics
    /// Something does not compile.
    pub fn new() -> Option<Self> {
        let qemu = qemu()?;
        if !cfg!(all(target_arch = "x86_64", target_os = "linux")) {
            eprintln!("skipped: this host's compiler cannot build the guest");
            return None;
        }
        let directory = tempfile::tempdir().expect("a directory");
        let guest = directory.path().join("guest.elf");
        compile_guest(&guest);
        let none = Times { gearbox: 0.0, qemu: 0.0 };
        let mut this = Self { gearbox: current_gearbox(), qemu, guest, start: none, _directory: directory };
        stay_on_one_core();
        this.start = this.run(&Work { name: "nothing", rounds: 0 });
        Some(this)
    }
    /// Times one work on both.
    ///
    /// # Panics
    /// A program fails, or they disagree on the checksum.
    pub fn time(&self, work: &Work) -> Times {
        let whole = self.run(work);
        // What is lost in the noise is no less than a millisecond.
        let less = |a: f64, b: f64| (a - b).max(0.001);
        Times { gearbox: less(whole.gearbox, self.start.gearbox), qemu: less(whole.qemu, self.start.qemu) }
    }
    fn run(&self, work: &Work) -> Times {
        let mut best = Times { gearbox: f64::MAX, qemu: f64::MAX };
        for _ in 0..RUNS {
            let (ours, sum) = self.run_on(&self.gearbox, "tcg", work);
            let (theirs, expected) = self.run_on(&self.qemu, "tcg,thread=single", work);
            assert_eq!(sum, expected, "{} {}", work.name, work.rounds);
            best = Times { gearbox: best.gearbox.min(ours), qemu: best.qemu.min(theirs) };
        }
        best
    }
    fn run_on(&self, program: &Path, accelerator: &str, work: &Work) -> (f64, String) {
        let mut command = Command::new(program);
        command.args(["-accel", accelerator, "-machine", "pc", "-m", "64", "-display", "none", "-nic", "none"]);
        command.args(["-no-reboot", "-serial", "stdio", "-monitor", "none"]);
        command.args(["-device", "isa-debug-exit,iobase=0xf4,iosize=1", "-kernel"]).arg(&self.guest);
        command.args(["-append", &format!("{} {}", work.name, work.rounds)]).stdin(Stdio::null());
        let before = children_cpu_time();
        let output = command.output().unwrap_or_else(|e| panic!("{}: {e}", program.display()));
        let time = children_cpu_time() - before;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{command:?}: {text}{errors}");
        (time, text.trim().to_owned())
    }
}

/// The `gearbox` binary beside the running bench, up to date.
///
/// # Panics
/// It does not compile.
pub fn current_gearbox() -> PathBuf {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    assert!(
        Command::new(cargo).args(["build", "-q", "--release", "-p", "gearbox"]).status().is_ok_and(|s| s.success())
    );
    gearbox()
}

/// Keeps this process and its children on the core that it is on.
///
/// # Panics
/// The host does not allow it.
pub fn stay_on_one_core() {
    let mut set = rustix::thread::CpuSet::new();
    set.set(rustix::thread::sched_getcpu());
    rustix::thread::sched_setaffinity(None, &set).expect("one core");
}

/// CPU time of all children that have ended, in seconds.
pub fn children_cpu_time() -> f64 {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: fills in the structure, in which zeros are valid values.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr());
        usage.assume_init()
    };
    [usage.ru_utime, usage.ru_stime].iter().map(|t| t.tv_sec as f64 + t.tv_usec as f64 * 1e-6).sum()
}

/// CPU time of the living threads of a process so far, in seconds.
///
/// # Panics
/// There is no such process.
pub fn cpu_time(process: u32) -> f64 {
    let threads = std::fs::read_dir(format!("/proc/{process}/task")).expect("a process");
    let ns = |thread: std::fs::DirEntry| -> Option<u64> {
        let text = std::fs::read_to_string(thread.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse().ok()
    };
    threads.flatten().filter_map(ns).sum::<u64>() as f64 * 1e-9
}

/// Compiles `benches/guest` for bare 64-bit mode, like Gearbox's embedded guest, with whose linker script it is linked.
fn compile_guest(to: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let script = root.join("../cli/guest/guest.ld");
    let mut rustc = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.arg(root.join("benches/guest/guest.rs")).arg("-o").arg(to);
    rustc.args(["--crate-name=gearbox_bench_guest", "--crate-type=bin", "--edition=2024"]);
    rustc.args([
        "-Copt-level=2",
        "-Ccodegen-units=1",
        "-Cpanic=abort",
        "-Crelocation-model=static",
        "-Ccode-model=small",
    ]);
    // Interrupts in ring 0 overwrite the red zone.
    rustc.args(["-Cstrip=symbols", "-Cno-redzone=yes"]);
    rustc.args(["-nostartfiles", "-nostdlib", "-static", "-no-pie"].map(|a| format!("-Clink-arg={a}")));
    // `core` refers to a personality for unwinding, which a program that aborts never calls.
    rustc.args(["--build-id=none", "--defsym=rust_eh_personality=0"].map(|a| format!("-Clink-arg=-Wl,{a}")));
    rustc.arg(format!("-Clink-arg=-Wl,-T{}", script.display()));
    assert!(rustc.status().is_ok_and(|s| s.success()), "the guest does not compile: {rustc:?}");
}

/// Is a row wanted? The command line names some, or none for all.
pub fn wanted(name: &str) -> bool {
    let mut names = std::env::args().skip(1).filter(|a| !a.starts_with('-')).peekable();
    names.peek().is_none() || names.any(|n| name.contains(&n))
}
