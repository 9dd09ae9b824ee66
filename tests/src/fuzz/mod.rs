//! Random input for a time, each case from a seed of its own. A case that fails is printed with its seed and in a form that can be run again.
//! The program runs its cases in a child process, so that one that kills it is printed too.

mod board;
mod cpu;
mod kernel;
mod media;
mod qcow2;
mod qmp;
mod qtest;
mod rom;
mod saved_state;
mod virtqueue;

use crate::random::Random;
use rustix::process::{Resource, Rlimit, setrlimit};
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, ExitCode};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A case that computes for this long hangs.
const HANG: Duration = Duration::from_secs(60);
/// And so does one that is not done after this time, whatever else the host has to do.
const STUCK: Duration = Duration::from_secs(600);

/// Something to feed with random input.
pub trait Target {
    /// Makes the steps of a case, one line each.
    fn generate(&self, random: &mut Random) -> Vec<String>;
    /// Runs them, on a board unless they are of another kind; panics when something is wrong.
    fn run(&self, steps: &[String]) {
        board::run(steps);
    }
}

/// A target by its name.
pub struct Entry {
    /// Its name on the command line.
    pub name: &'static str,
    /// What the input is.
    pub about: &'static str,
    /// Makes it.
    pub make: fn() -> Box<dyn Target>,
}

/// All targets.
pub static TARGETS: &[Entry] = &[
    Entry { name: "cpu", about: "code, page tables and registers for the software CPU", make: || Box::new(cpu::Cpu) },
    Entry { name: "qtest", about: "qtest commands at every device of the board", make: || Box::new(qtest::Qtest) },
    Entry { name: "qmp", about: "bytes and mutated messages at QMP", make: || Box::new(qmp::Qmp::default()) },
    Entry { name: "qcow2", about: "disk images", make: || Box::new(qcow2::Qcow2) },
    Entry { name: "disk", about: "ATA commands at a disk", make: || Box::new(media::Disk) },
    Entry { name: "iso", about: "ATAPI commands at a CD-ROM", make: || Box::new(media::Iso) },
    Entry { name: "floppy", about: "commands of the floppy controller, at floppies", make: || Box::new(media::Floppy) },
    Entry { name: "kernel", about: "ELF files and bzImages to boot", make: || Box::new(kernel::Kernel) },
    Entry { name: "option-rom", about: "option ROMs", make: || Box::new(rom::OptionRom) },
    Entry { name: "pflash", about: "flash images and commands of their chips", make: || Box::new(rom::Flash) },
    Entry {
        name: "saved-state",
        about: "saved states of devices that are at work",
        make: || Box::new(saved_state::SavedState),
    },
    Entry { name: "virtqueue", about: "queues of virtio devices", make: || Box::new(virtqueue::Virtqueue) },
];

/// A case that failed.
#[derive(Debug)]
pub struct Failure {
    /// From which it can be generated again.
    pub seed: u64,
    /// Its steps.
    pub steps: Vec<String>,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "# failed with --seed {}; save these lines and give them with --replay FILE", self.seed)?;
        self.steps.iter().try_for_each(|step| writeln!(f, "{step}"))
    }
}

/// The case that runs, for whoever watches that it ends.
type Current = Arc<Mutex<Option<(Start, Failure)>>>;

/// When a case began, in time and in computing.
#[derive(Clone, Copy)]
struct Start {
    at: Instant,
    computed: Duration,
}

impl Start {
    fn now() -> Self {
        Self { at: Instant::now(), computed: computed() }
    }
    fn hangs(self) -> bool {
        self.at.elapsed() > STUCK || computed().saturating_sub(self.computed) > HANG
    }
}

/// For how long the process has computed.
fn computed() -> Duration {
    let t = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(t.tv_sec.unsigned_abs(), t.tv_nsec.unsigned_abs() as u32)
}

/// Runs cases from `seed` on for a time; how many there were. Each one's seed is told before it runs.
///
/// # Errors
/// The first case that failed.
pub fn campaign(target: &dyn Target, time: Duration, seed: u64, begin: &dyn Fn(u64)) -> Result<u64, Failure> {
    let current = Current::default();
    watch(Arc::downgrade(&current));
    let (start, mut cases) = (Instant::now(), 0);
    while cases == 0 || start.elapsed() < time {
        let seed = seed.wrapping_add(cases);
        begin(seed);
        let steps = target.generate(&mut Random::new(seed));
        let set = |value| *current.lock().expect("no panic while it is held") = value;
        set(Some((Start::now(), Failure { seed, steps: steps.clone() })));
        if catch_unwind(AssertUnwindSafe(|| target.run(&steps))).is_err() {
            return Err(Failure { seed, steps });
        }
        set(None);
        cases += 1;
    }
    Ok(cases)
}

/// Ends the process with the case that hangs, if one does. The thread ends with the campaign.
fn watch(current: std::sync::Weak<Mutex<Option<(Start, Failure)>>>) {
    std::thread::spawn(move || {
        while let Some(current) = current.upgrade() {
            if let Some((start, case)) = &*current.lock().expect("no panic while it is held")
                && start.hangs()
            {
                eprintln!("a case hangs\n{case}");
                std::process::exit(1);
            }
            drop(current);
            std::thread::sleep(Duration::from_millis(200));
        }
    });
}

fn usage() -> String {
    let mut text =
        "TARGET [--seconds N (default 60)] [--seed N (default: the time)] [--replay FILE]\ntargets:".to_owned();
    TARGETS.iter().for_each(|t| text += &format!("\n    {:<12}{}", t.name, t.about));
    text
}

/// What the program does with its arguments.
pub fn main() -> ExitCode {
    match arguments() {
        Err(wrong) => {
            eprintln!("{wrong}\n{}", usage());
            ExitCode::from(2)
        }
        Ok((entry, Task::Replay(steps))) => {
            (entry.make)().run(&steps);
            println!("{} steps, nothing wrong", steps.len());
            ExitCode::SUCCESS
        }
        Ok((entry, Task::Run { time, seed })) => match std::env::var_os(SEED_FILE) {
            Some(file) => child(&*(entry.make)(), time, seed, &file),
            None => parent(&*(entry.make)(), seed).unwrap_or_else(|e| {
                eprintln!("cannot run the cases in a child process: {e}");
                ExitCode::FAILURE
            }),
        },
    }
}

/// Names the file in which a child leaves the seed of the case that it runs.
const SEED_FILE: &str = "GEARBOX_FUZZ_SEED_FILE";

/// Memory that a case may take before it is stopped as one that takes all.
const MEMORY: u64 = 2 << 30;

/// Runs the cases.
fn child(target: &dyn Target, time: Duration, seed: u64, file: &std::ffi::OsStr) -> ExitCode {
    let file = std::fs::OpenOptions::new().write(true).open(file).expect("the file that the parent has made");
    let limit = Rlimit { current: Some(MEMORY), maximum: Some(MEMORY) };
    setrlimit(Resource::Data, limit).expect("less than there was");
    let begin = |seed: u64| file.write_all_at(&seed.to_le_bytes(), 0).expect("room for a number");
    match campaign(target, time, seed, &begin) {
        Ok(cases) => {
            println!("{cases} cases from seed {seed}, nothing wrong");
            ExitCode::SUCCESS
        }
        Err(failure) => {
            println!("{failure}");
            ExitCode::FAILURE
        }
    }
}

/// Has a child run the cases, and says which one it died of if it does.
fn parent(target: &dyn Target, seed: u64) -> std::io::Result<ExitCode> {
    let file = tempfile::NamedTempFile::new()?;
    file.as_file().write_all_at(&seed.to_le_bytes(), 0)?;
    let arguments = std::env::args_os().skip(1);
    let seed = seed.to_string();
    // The last word counts, so this gives the child the seed that the time has made.
    let status = Command::new(std::env::current_exe()?)
        .args(arguments)
        .args(["--seed", &seed])
        .env(SEED_FILE, file.path())
        .status()?;
    if let Some(signal) = status.signal() {
        let mut seed = [0; 8];
        file.as_file().read_exact_at(&mut seed, 0)?;
        let seed = u64::from_le_bytes(seed);
        let steps = target.generate(&mut Random::new(seed));
        println!("the process died of signal {signal}\n{}", Failure { seed, steps });
    }
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

enum Task {
    Run { time: Duration, seed: u64 },
    Replay(Vec<String>),
}

fn arguments() -> Result<(&'static Entry, Task), String> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let (mut time, mut seed) = (Duration::from_secs(60), now.as_secs() << 20);
    let mut words = std::env::args().skip(1);
    let name = words.next().ok_or("which target?")?;
    let entry = TARGETS.iter().find(|t| t.name == name).ok_or_else(|| format!("{name}: there is no such target"))?;
    while let Some(word) = words.next() {
        let value = words.next().ok_or_else(|| format!("{word} needs a value"))?;
        let number = || value.parse::<u64>().map_err(|e| format!("{word} {value}: {e}"));
        match &*word {
            "--seconds" => time = Duration::from_secs(number()?),
            "--seed" => seed = number()?,
            "--replay" => {
                let text = std::fs::read_to_string(&value).map_err(|e| format!("{value}: {e}"))?;
                let steps = text.lines().filter(|l| !l.starts_with('#')).map(str::to_owned).collect();
                return Ok((entry, Task::Replay(steps)));
            }
            _ => return Err(format!("{word}: there is no such option")),
        }
    }
    Ok((entry, Task::Run { time, seed }))
}

/// Bytes from pairs of hexadecimal digits.
fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<_> = text.chars().filter_map(|c| c.to_digit(16)).map(|d| d as u8).collect();
    digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}
