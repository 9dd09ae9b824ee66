//! A board without a CPU that does what the steps of a case say.
//!
//! A step is a line of the qtest protocol. Lines that begin with `!` are no commands of it:
//!
//! - before all others, what the machine is made of: `!file NAME SIZE` a file of zeroes, `!bytes NAME OFFSET HEX` something in it, `!word WORD` a word
//!   of the command line, in which `@NAME@` stands for the file;
//! - `!reset` resets the board, `!add TYPE` plugs a device, `!all` one of each type, `!del ID` unplugs one, `!settle` waits until the drives have done what
//!   they were asked.

use super::unhex;
use crate::random::Random;
use gearbox::board::ResetKind;
use gearbox::testing::{Bench, Vm, VmBuilder};
use gearbox_accel_qtest::Session;
use gearbox_core::object::types;
use rustix::fs::{SeekFrom, seek};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use tempfile::TempDir;

/// Memory of the machine.
pub const RAM: u64 = 16 << 20;

/// What a machine is made of, as the steps before all others say it.
pub struct Parts {
    directory: TempDir,
    words: Vec<String>,
}

impl Parts {
    /// Takes these steps from the front of `steps`.
    pub fn take(steps: &mut &[String]) -> Self {
        let mut this = Self { directory: tempfile::tempdir().expect("a directory"), words: Vec::new() };
        while let Some((first, rest)) = steps.split_first() {
            let mut words = first.splitn(4, ' ');
            let mut word = || words.next().unwrap_or_default();
            match word() {
                "!file" => {
                    let file = File::create(this.directory.path().join(word())).expect("a file");
                    file.set_len(word().parse().expect("a size")).expect("a size that the host has");
                }
                "!bytes" => {
                    let file = std::fs::OpenOptions::new().write(true).open(this.directory.path().join(word()));
                    let at = word().parse().expect("an offset");
                    file.expect("a file that was made").write_all_at(&unhex(word()), at).expect("room");
                }
                "!word" => this.words.push(first.split_once(' ').map_or("", |(_, word)| word).to_owned()),
                _ => break,
            }
            *steps = rest;
        }
        this
    }
    /// A text with files in place of their names.
    fn named(&self, text: &str) -> String {
        let mut parts = text.split('@').enumerate();
        parts.by_ref().map(|(n, part)| if n % 2 == 0 { part.to_owned() } else { self.path(part) }).collect()
    }
    /// Where a file is.
    pub fn path(&self, name: &str) -> String {
        self.directory.path().join(name).display().to_string()
    }
    /// The same once more, with copies of the files.
    pub fn copy(&self) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        for file in std::fs::read_dir(self.directory.path()).expect("a directory") {
            let file = file.expect("a file");
            copy_sparse(&file.path(), &directory.path().join(file.file_name())).expect("room for a copy");
        }
        Self { directory, words: self.words.clone() }
    }
    /// The machine.
    pub fn vm(&self) -> VmBuilder {
        Vm::pc().memory(RAM).args(self.words.iter().map(|word| self.named(word)))
    }
}

/// Copies a file with its holes.
fn copy_sparse(from: &Path, to: &Path) -> std::io::Result<()> {
    let (from, to) = (File::open(from)?, File::create(to)?);
    let size = from.metadata()?.len();
    to.set_len(size)?;
    let mut at = 0;
    while let Ok(start) = seek(&from, SeekFrom::Data(at)) {
        at = seek(&from, SeekFrom::Hole(start))?;
        let mut bytes = vec![0; (at - start) as usize];
        from.read_exact_at(&mut bytes, start)?;
        to.write_all_at(&bytes, start)?;
    }
    Ok(())
}

/// Types that a user can plug.
pub fn device_types() -> Vec<&'static str> {
    types().user_creatable().filter(|t| t.device.is_some()).map(|t| t.name).collect()
}

/// A machine at work.
pub struct Case {
    /// What it is made of.
    pub parts: Parts,
    /// The machine.
    pub bench: Bench,
    session: Session,
    plugged: usize,
}

impl Case {
    /// The machine that the first steps describe, which are taken; `None` if there is none such, which has been said.
    pub fn begin(steps: &mut &[String]) -> Option<Self> {
        Self::of(Parts::take(steps))
    }
    /// The machine that is made of these parts.
    pub fn of(parts: Parts) -> Option<Self> {
        let bench = parts.vm().bench().ok()?;
        let session = Session::new(bench.board().clone());
        Some(Self { parts, bench, session, plugged: 0 })
    }
    /// Forgets which interrupts are intercepted.
    pub fn renew_session(&mut self) {
        self.session = Session::new(self.bench.board().clone());
    }
    /// Carries a step out; what came of it.
    pub fn step(&mut self, step: &str) -> Vec<String> {
        let bench = &self.bench;
        let mut answers = Vec::new();
        match step.split_once(' ').unwrap_or((step, "")) {
            ("!reset", _) => bench.with(|s| s.reset(ResetKind::System)),
            ("!settle", _) => {
                let blocks = bench.with(|s| s.blocks().clone());
                blocks.drain();
            }
            ("!all", _) => {
                for name in device_types() {
                    // Some need a back end, and some are where another is.
                    let _ = bench.with(|s| s.add_device(name, &[], false));
                }
            }
            ("!add", name) => {
                let id = ("id".to_owned(), format!("d{}", self.plugged).into());
                self.plugged += usize::from(bench.with(|s| s.add_device(name, &[id], true)).is_ok());
            }
            ("!del", id) => {
                let _ = bench.with(|s| s.request_unplug(id));
            }
            _ => {
                self.session.feed(format!("{step}\n").as_bytes(), &mut |line| answers.push(line.to_owned()));
                let last = answers.last().unwrap_or_else(|| panic!("{step}: no answer"));
                assert!(["OK", "FAIL", "ERR"].iter().any(|a| last.starts_with(a)), "{step}: {last}");
            }
        }
        answers.extend(self.bench.requests().iter().map(|request| format!("{request:?}")));
        answers
    }
}

/// Runs the steps of a case. A machine that cannot be made has said why, and that is the end of it.
pub fn run(mut steps: &[String]) {
    let Some(mut case) = Case::begin(&mut steps) else { return };
    steps.iter().for_each(|step| drop(case.step(step)));
}

/// Steps, one after the other.
#[derive(Default)]
pub struct Script(pub Vec<String>);

impl Script {
    /// Any step.
    pub fn step(&mut self, step: impl Into<String>) {
        self.0.push(step.into());
    }
    /// A word of the command line.
    pub fn word(&mut self, word: &str) {
        self.step(format!("!word {word}"));
    }
    /// A file of that size that begins with these bytes, of which only those that are not zero make a step, so that a case can be read.
    pub fn file(&mut self, name: &str, size: u64, bytes: &[u8]) {
        self.step(format!("!file {name} {size}"));
        let bytes = &bytes[..bytes.len().min(size as usize)];
        for (n, piece) in bytes.chunks(16).enumerate().filter(|(_, piece)| piece.iter().any(|b| *b != 0)) {
            self.bytes(name, 16 * n as u64, piece);
        }
    }
    /// Something in a file.
    fn bytes(&mut self, name: &str, at: u64, bytes: &[u8]) {
        let hex: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
        self.step(format!("!bytes {name} {at} {hex}"));
    }
    /// Stores to a port.
    pub fn out(&mut self, width: char, port: u16, value: u64) {
        self.step(format!("out{width} {port:#x} {value:#x}"));
    }
    /// Stores to memory.
    pub fn store(&mut self, width: char, at: u64, value: u64) {
        self.step(format!("write{width} {at:#x} {value:#x}"));
    }
    /// Stores to a PCI configuration register.
    pub fn config(&mut self, slot: u64, function: u64, register: u64, value: u64) {
        self.out('l', 0xcf8, 1 << 31 | slot << 11 | function << 8 | register & 0xfc);
        self.out('l', 0xcfc, value);
    }
    /// Time passes.
    pub fn pass(&mut self, r: &mut Random) {
        let most = 1 << r.below(28);
        self.step(format!("clock_step {}", r.below(most)));
    }
}
