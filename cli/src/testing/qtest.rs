//! A client of the qtest protocol (QEMU, docs/devel/testing/qtest).

use super::Io;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

/// Why a command of [`Qtest`] was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum QtestError {
    /// The machine refused it; its words.
    #[error("{command}: {answer}")]
    Refused {
        /// The command.
        command: String,
        /// `FAIL` or `ERR`, and why.
        answer: String,
    },
    /// The connection broke, or no answer came in time.
    #[error("{command}: {source}")]
    Lost {
        /// The command.
        command: String,
        /// What happened.
        source: io::Error,
    },
}

/// A change of an intercepted interrupt line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Irq {
    /// Number of the line.
    pub line: u32,
    /// Its new level.
    pub level: bool,
}

/// A machine in another process, by its ports and memory. As an [`Io`] it panics when the machine refuses or is gone, as is right in a test.
pub struct Qtest {
    stream: BufReader<UnixStream>,
    levels: BTreeMap<u32, bool>,
    changes: Vec<Irq>,
}

impl Qtest {
    /// A client on a connection on which nothing has been said.
    pub fn new(stream: UnixStream) -> Self {
        Self { stream: BufReader::new(stream), levels: BTreeMap::new(), changes: Vec::new() }
    }
    /// Sends bytes as they are, with a line's end or without: the protocol takes a command in pieces.
    ///
    /// # Errors
    /// The connection is broken.
    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }
    /// The next answer: a line that tells no interrupt. Those that do are kept for [`Qtest::take_irqs`].
    ///
    /// # Errors
    /// The connection is broken, or nothing comes in time.
    pub fn receive(&mut self) -> io::Result<String> {
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let words: Vec<_> = line.split_whitespace().collect();
            match words[..] {
                ["IRQ", word @ ("raise" | "lower"), number] => {
                    let line = number.parse().map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
                    let level = word == "raise";
                    self.levels.insert(line, level);
                    self.changes.push(Irq { line, level });
                }
                _ => return Ok(line.trim_end().to_owned()),
            }
        }
    }
    /// Has a command carried out; what the answer says after `OK`.
    ///
    /// # Errors
    /// The machine refuses it, or is gone.
    pub fn ask(&mut self, command: &str) -> Result<String, QtestError> {
        let lost = |source| QtestError::Lost { command: command.to_owned(), source };
        self.send_raw(format!("{command}\n").as_bytes()).map_err(lost)?;
        let answer = self.receive().map_err(lost)?;
        match answer.strip_prefix("OK") {
            Some(text) => Ok(text.trim_start().to_owned()),
            None => Err(QtestError::Refused { command: command.to_owned(), answer }),
        }
    }
    fn number(&mut self, command: &str) -> Result<u64, QtestError> {
        let text = self.ask(command)?;
        let parsed = match text.strip_prefix("0x") {
            Some(hex) => u64::from_str_radix(hex, 16),
            None => text.parse(),
        };
        parsed.map_err(|_| QtestError::Refused { command: command.to_owned(), answer: format!("OK {text}") })
    }

    /// Moves the clock on by `ns`, or else to the next timer; the new time in ns.
    ///
    /// # Errors
    /// The clock of the machine follows the host.
    pub fn clock_step(&mut self, ns: Option<u64>) -> Result<u64, QtestError> {
        match ns {
            Some(ns) => self.number(&format!("clock_step {ns}")),
            None => self.number("clock_step"),
        }
    }
    /// Moves the clock on to `ns`; the new time in ns.
    ///
    /// # Errors
    /// As [`Qtest::clock_step`].
    pub fn clock_set(&mut self, ns: u64) -> Result<u64, QtestError> {
        self.number(&format!("clock_set {ns}"))
    }
    /// Tells of changes of the inputs of the device at `path`, a whole path or the end of one, from now on.
    ///
    /// # Errors
    /// There is no such device, or another is intercepted.
    pub fn irq_intercept_in(&mut self, path: &str) -> Result<(), QtestError> {
        self.ask(&format!("irq_intercept_in {path}")).map(drop)
    }
    /// The same of its outputs.
    ///
    /// # Errors
    /// As [`Qtest::irq_intercept_in`].
    pub fn irq_intercept_out(&mut self, path: &str) -> Result<(), QtestError> {
        self.ask(&format!("irq_intercept_out {path}")).map(drop)
    }
    /// Drives input `line` of the group `name` of the device at `path`.
    ///
    /// # Errors
    /// There is no such device or input.
    pub fn set_irq_in(&mut self, path: &str, name: &str, line: u32, level: bool) -> Result<(), QtestError> {
        self.ask(&format!("set_irq_in {path} {name} {line} {}", u8::from(level))).map(drop)
    }
    /// Level of an intercepted line, as last told.
    pub fn irq(&self, line: u32) -> bool {
        self.levels.get(&line).copied().unwrap_or(false)
    }
    /// Takes the changes of intercepted lines that came with answers so far, in order.
    pub fn take_irqs(&mut self) -> Vec<Irq> {
        std::mem::take(&mut self.changes)
    }
    /// Fills memory.
    ///
    /// # Errors
    /// The machine refuses, or is gone.
    pub fn memset(&mut self, addr: u64, size: u64, value: u8) -> Result<(), QtestError> {
        self.ask(&format!("memset {addr:#x} {size:#x} {value:#x}")).map(drop)
    }

    /// The answer of a command that cannot be refused by a machine that lives.
    fn must(&mut self, command: &str) -> u64 {
        self.number(command).unwrap_or_else(|e| panic!("{e}"))
    }
    fn must_do(&mut self, command: &str) {
        self.ask(command).unwrap_or_else(|e| panic!("{e}"));
    }
}

/// Letter of a width in commands.
fn letter(size: usize) -> char {
    match size {
        1 => 'b',
        2 => 'w',
        4 => 'l',
        _ => 'q',
    }
}

impl Io for Qtest {
    fn port_in(&mut self, port: u16, size: u8) -> u32 {
        self.must(&format!("in{} {port:#x}", letter(size.into()))) as u32
    }
    fn port_out(&mut self, port: u16, size: u8, value: u32) {
        self.must_do(&format!("out{} {port:#x} {value:#x}", letter(size.into())));
    }
    fn load(&mut self, addr: u64, data: &mut [u8]) {
        match data.len() {
            0 => {}
            n @ (1 | 2 | 4 | 8) => {
                let value = self.must(&format!("read{} {addr:#x}", letter(n)));
                data.copy_from_slice(&value.to_le_bytes()[..n]);
            }
            n => {
                let command = format!("read {addr:#x} {n:#x}");
                let text = self.ask(&command).unwrap_or_else(|e| panic!("{e}"));
                let digits = text.trim_start_matches("0x");
                assert_eq!(digits.len(), 2 * n, "{command}: {text}");
                for (at, byte) in data.iter_mut().enumerate() {
                    *byte = u8::from_str_radix(&digits[2 * at..2 * at + 2], 16).expect("hexadecimal digits");
                }
            }
        }
    }
    fn store(&mut self, addr: u64, data: &[u8]) {
        match data.len() {
            0 => {}
            n @ (1 | 2 | 4 | 8) => {
                let mut value = [0; 8];
                value[..n].copy_from_slice(data);
                self.must_do(&format!("write{} {addr:#x} {:#x}", letter(n), u64::from_le_bytes(value)));
            }
            n => {
                let mut command = format!("write {addr:#x} {n:#x} 0x");
                data.iter().for_each(|b| {
                    let _ = write!(command, "{b:02x}");
                });
                self.must_do(&command);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client, and a machine that answers these lines.
    fn told(lines: &str) -> (Qtest, UnixStream) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        theirs.write_all(lines.as_bytes()).unwrap();
        (Qtest::new(ours), theirs)
    }

    #[test]
    fn interrupts_come_before_the_answer() {
        let (mut q, _machine) = told("IRQ raise 4\nIRQ lower 4\nIRQ raise 3\nOK 83810\nFAIL Unknown command 'x'\n");
        assert_eq!(q.clock_step(None).unwrap(), 83_810);
        assert_eq!((q.irq(4), q.irq(3)), (false, true));
        assert_eq!(q.take_irqs().len(), 3);
        assert_eq!(q.ask("x").unwrap_err().to_string(), "x: FAIL Unknown command 'x'");
    }

    #[test]
    fn values_and_bytes() {
        let (mut q, machine) = told("OK 0x00ff\nOK 0x0000000012345678\nOK 0x010203\nOK\n");
        assert_eq!((q.inb(0x71), q.readl(0x10)), (0xff, 0x1234_5678));
        let mut three = [0; 3];
        q.load(0, &mut three);
        q.store(8, &[1, 2, 3]);
        assert_eq!(three, [1, 2, 3]);
        let sent: Vec<_> = BufReader::new(machine).lines().take(4).map(Result::unwrap).collect();
        assert_eq!(sent, ["inb 0x71", "readl 0x10", "read 0x0 0x3", "write 0x8 0x3 0x010203"]);
    }

    #[test]
    fn a_machine_that_is_gone() {
        let (mut q, machine) = told("");
        drop(machine);
        assert!(matches!(q.ask("inb 0"), Err(QtestError::Lost { .. })));
    }
}
