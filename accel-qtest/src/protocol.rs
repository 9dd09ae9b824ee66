//! The qtest protocol: lines of text in, lines of text out, between them a board. It knows no transport.
//!
//! The language is that of QEMU's softmmu/qtest.c, which libqtest speaks: `outb 0x70 0x0a`, answered `OK`; `inb 0x71`, answered `OK 0x0026`. What
//! QEMU takes for a bug of the client and dies of is answered `FAIL` here.

#[cfg(test)]
mod tests;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use gearbox_core::board::{Board, BoardState, DeviceId, Pin};
use gearbox_core::object::parse_unsigned;
use gearbox_core::vm::CpuBus;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

/// Most bytes that one command reads or writes.
pub const MOST_DATA: u64 = 16 << 20;
/// Longest line: a `write` of that many bytes in hexadecimal.
const MOST_LINE: usize = 2 * MOST_DATA as usize + 128;
/// Most bytes that `memset` fills.
const MOST_FILL: u64 = 4 << 30;
/// Interrupt changes that are kept until they are told.
const MOST_CHANGES: usize = 1 << 20;

/// Where answers go: whole lines, each with its end.
pub type Sink<'a> = dyn FnMut(&str) + 'a;

/// Why a command was not carried out.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    Fail(String),
    /// Answered without text, as QEMU does for `module_load`.
    Silent,
    /// QEMU's word for a `write` without data.
    Error(&'static str),
}

impl Refusal {
    fn new(text: impl Into<String>) -> Self {
        Self::Fail(text.into())
    }
}

/// What a command answers after `OK`.
type Answer = Result<String, Refusal>;

/// Changes of the pins that `irq_intercept_in` or `irq_intercept_out` watches, as (number, level).
#[derive(Default)]
struct Changes(Mutex<VecDeque<(u32, bool)>>);

impl Changes {
    fn push(&self, n: u32, level: bool) {
        let mut queue = self.0.lock();
        if queue.len() < MOST_CHANGES {
            queue.push_back((n, level));
        }
    }
}

/// One client's conversation with a board.
///
/// ```
/// use gearbox_accel_qtest::{Bench, Session};
///
/// let bench = Bench::with_ram(0x1000);
/// let mut session = Session::new(bench.board().clone());
/// let mut answers = String::new();
/// session.feed(b"endianness\nwritel 0x10 0x1234\nread 16 4\nclock_st", &mut |line| answers.push_str(line));
/// session.feed(b"ep 5\n", &mut |line| answers.push_str(line));
/// assert_eq!(answers, "OK little\nOK\nOK 0x34120000\nOK 5\n");
/// ```
pub struct Session {
    board: Arc<Board>,
    line: Vec<u8>,
    /// The line is too long; the rest of it is dropped.
    overlong: bool,
    intercepted: Option<DeviceId>,
    levels: BTreeMap<u32, bool>,
    changes: Arc<Changes>,
    wake: Arc<dyn Fn() + Send + Sync>,
    cancel: Arc<AtomicBool>,
    log: Option<Log>,
}

struct Log {
    to: Box<dyn Write + Send>,
    start: Instant,
}

impl Log {
    fn line(&mut self, direction: char, text: &str) {
        let t = self.start.elapsed().as_secs_f64();
        // A log that cannot be written is no reason to fail the test.
        let _ = writeln!(self.to, "[{direction} +{t:.6}] {text}");
    }
}

type Run = fn(&mut Session, Args<'_>, &mut Sink<'_>) -> Answer;

/// The commands: name, how many arguments they need, and what they do.
const COMMANDS: &[(&str, usize, Run)] = &[
    ("endianness", 0, |_, _, _| Ok("little".into())),
    ("inb", 1, |s, a, _| s.port_in(a, 1)),
    ("inw", 1, |s, a, _| s.port_in(a, 2)),
    ("inl", 1, |s, a, _| s.port_in(a, 4)),
    ("outb", 2, |s, a, _| s.port_out(a, 1)),
    ("outw", 2, |s, a, _| s.port_out(a, 2)),
    ("outl", 2, |s, a, _| s.port_out(a, 4)),
    ("readb", 1, |s, a, _| s.load(a, 1)),
    ("readw", 1, |s, a, _| s.load(a, 2)),
    ("readl", 1, |s, a, _| s.load(a, 4)),
    ("readq", 1, |s, a, _| s.load(a, 8)),
    ("writeb", 2, |s, a, _| s.store(a, 1)),
    ("writew", 2, |s, a, _| s.store(a, 2)),
    ("writel", 2, |s, a, _| s.store(a, 4)),
    ("writeq", 2, |s, a, _| s.store(a, 8)),
    ("read", 2, |s, a, _| Ok(hex(&s.read(a)?))),
    ("b64read", 2, |s, a, _| Ok(BASE64_STANDARD.encode(s.read(a)?))),
    ("write", 3, |s, a, _| s.write(a)),
    ("b64write", 3, |s, a, _| s.write_base64(a)),
    ("memset", 3, |s, a, _| s.fill(a)),
    ("clock_step", 0, |s, a, out| s.clock_step(a, out)),
    ("clock_set", 1, |s, a, out| s.clock_to(a.number(0)?, out)),
    ("irq_intercept_in", 1, |s, a, _| s.intercept(a.0[0], Side::Inputs)),
    ("irq_intercept_out", 1, |s, a, _| s.intercept(a.0[0], Side::Outputs)),
    ("set_irq_in", 4, |s, a, _| s.set_irq_in(a)),
    ("module_load", 2, |_, _, _| Err(Refusal::Silent)),
];

/// Which pins are intercepted.
#[derive(Clone, Copy)]
enum Side {
    Inputs,
    Outputs,
}

/// The words after the command's name.
#[derive(Clone, Copy)]
struct Args<'a>(&'a [&'a str]);

impl Args<'_> {
    fn number(self, n: usize) -> Result<u64, Refusal> {
        number(self.0[n]).ok_or_else(|| Refusal::new(format!("'{}' is not a number", self.0[n])))
    }
    fn port(self) -> Result<u16, Refusal> {
        u16::try_from(self.number(0)?).map_err(|_| Refusal::new(format!("no port {}", self.0[0])))
    }
    /// Address and size, where the size is from 1 to `most` bytes.
    fn range(self, most: u64) -> Result<(u64, u64), Refusal> {
        match (self.number(0)?, self.number(1)?) {
            (_, 0) => Err(Refusal::new("the size is 0")),
            (_, size) if size > most => Err(Refusal::new(format!("the size is above {most:#x}"))),
            range => Ok(range),
        }
    }
}

/// A number in C notation, as strtoul takes it with base 0: a minus sign gives the two's complement.
fn number(text: &str) -> Option<u64> {
    let (negative, digits) = match text.strip_prefix(['-', '+']) {
        Some(digits) => (text.starts_with('-'), digits),
        None => (false, text),
    };
    parse_unsigned(digits).map(|n| if negative { n.wrapping_neg() } else { n })
}

fn hex(data: &[u8]) -> String {
    let mut text = String::with_capacity(2 + 2 * data.len());
    text.push_str("0x");
    data.iter().for_each(|b| {
        let _ = write!(text, "{b:02x}");
    });
    text
}

impl Session {
    /// A conversation about `board`.
    pub fn new(board: Arc<Board>) -> Self {
        Self {
            board,
            line: Vec::new(),
            overlong: false,
            intercepted: None,
            levels: BTreeMap::new(),
            changes: Arc::default(),
            wake: Arc::new(|| {}),
            cancel: Arc::default(),
            log: None,
        }
    }
    /// Has `wake` called, on any thread and with the board locked, when [`Session::tell_changes`] has something to tell.
    #[must_use]
    pub fn on_change(mut self, wake: impl Fn() + Send + Sync + 'static) -> Self {
        self.wake = Arc::new(wake);
        self
    }
    /// Gives up a command that takes long once `cancel` is set.
    #[must_use]
    pub fn cancelled_by(mut self, cancel: Arc<AtomicBool>) -> Self {
        self.cancel = cancel;
        self
    }
    /// Logs both directions, in the form of QEMU's `-qtest-log`.
    #[must_use]
    pub fn log(mut self, to: Box<dyn Write + Send>) -> Self {
        self.log = Some(Log { to, start: Instant::now() });
        self
    }

    /// Takes bytes from the client, cut anywhere, and carries out the commands that they complete.
    pub fn feed(&mut self, mut bytes: &[u8], out: &mut Sink<'_>) {
        while let Some(end) = bytes.iter().position(|&b| b == b'\n') {
            self.take(&bytes[..end]);
            bytes = &bytes[end + 1..];
            let line = std::mem::take(&mut self.line);
            if std::mem::take(&mut self.overlong) {
                self.send("FAIL the line is too long", out);
            } else {
                self.execute(&String::from_utf8_lossy(&line), out);
            }
        }
        self.take(bytes);
    }
    fn take(&mut self, bytes: &[u8]) {
        self.overlong |= self.line.len() + bytes.len() > MOST_LINE;
        if self.overlong {
            self.line = Vec::new();
        } else {
            self.line.extend_from_slice(bytes);
        }
    }
    fn execute(&mut self, line: &str, out: &mut Sink<'_>) {
        let line = line.trim_end_matches('\r');
        if let Some(log) = &mut self.log {
            log.line('R', line);
        }
        let words: Vec<&str> = line.split(' ').filter(|w| !w.is_empty()).collect();
        let (name, args) = words.split_first().map_or(("", &[][..]), |(name, args)| (*name, args));
        let answer = match COMMANDS.iter().find(|(n, ..)| *n == name) {
            None => Err(Refusal::new(format!("Unknown command '{name}'"))),
            Some((_, needs, _)) if args.len() < *needs => Err(Refusal::new(format!("{name} needs {needs} arguments"))),
            Some((_, _, run)) => run(self, Args(args), out),
        };
        // Interrupts come before the answer of the command that caused them.
        self.tell_changes(out);
        let text = match answer {
            Ok(text) if text.is_empty() => "OK".into(),
            Ok(text) => format!("OK {text}"),
            Err(Refusal::Fail(text)) => format!("FAIL {text}"),
            Err(Refusal::Silent) => "FAIL".into(),
            Err(Refusal::Error(text)) => format!("ERR {text}"),
        };
        self.send(&text, out);
    }
    fn send(&mut self, text: &str, out: &mut Sink<'_>) {
        if let Some(log) = &mut self.log {
            log.line('S', text);
        }
        out(&format!("{text}\n"));
    }
    /// Sends what intercepted interrupts have done.
    pub fn tell_changes(&mut self, out: &mut Sink<'_>) {
        loop {
            let Some((n, level)) = self.changes.0.lock().pop_front() else { return };
            if self.levels.insert(n, level).unwrap_or(false) != level {
                let word = if level { "raise" } else { "lower" };
                self.send(&format!("IRQ {word} {n}"), out);
            }
        }
    }

    fn port_in(&self, args: Args<'_>, size: u8) -> Answer {
        let mask = u32::MAX >> (32 - 8 * u32::from(size));
        Ok(format!("0x{:04x}", self.board.pio_in(args.port()?, size) & mask))
    }
    fn port_out(&self, args: Args<'_>, size: u8) -> Answer {
        let (port, value) = (args.port()?, args.number(1)?);
        self.board.pio_out(port, size, value as u32);
        Ok(String::new())
    }
    fn load(&self, args: Args<'_>, size: usize) -> Answer {
        let mut data = [0; 8];
        self.board.mmio_read(args.number(0)?, &mut data[..size]);
        Ok(format!("0x{:016x}", u64::from_le_bytes(data)))
    }
    fn store(&self, args: Args<'_>, size: usize) -> Answer {
        let (addr, value) = (args.number(0)?, args.number(1)?);
        self.board.mmio_write(addr, &value.to_le_bytes()[..size]);
        Ok(String::new())
    }
    fn read(&self, args: Args<'_>) -> Result<Vec<u8>, Refusal> {
        let (addr, size) = args.range(MOST_DATA)?;
        let mut data = vec![0; size as usize];
        self.board.mmio_read(addr, &mut data);
        Ok(data)
    }
    /// `write ADDR SIZE 0xDATA`: digits that are missing are zeros, and digits beyond the size are dropped.
    fn write(&self, args: Args<'_>) -> Answer {
        let (addr, size) = args.range(MOST_DATA)?;
        let digits = args.0[2].as_bytes().get(2..).filter(|d| !d.is_empty());
        let digits = digits.ok_or(Refusal::Error("invalid argument size"))?;
        let digit = |n: usize| digits.get(n).and_then(|&c| char::from(c).to_digit(16)).unwrap_or(0) as u8;
        let whole = digits.len() / 2;
        let byte = |n: usize| if n < whole { digit(2 * n) << 4 | digit(2 * n + 1) } else { 0 };
        let data: Vec<u8> = (0..size as usize).map(byte).collect();
        self.board.mmio_write(addr, &data);
        Ok(String::new())
    }
    fn write_base64(&self, args: Args<'_>) -> Answer {
        let (addr, size) = args.range(MOST_DATA)?;
        let data = BASE64_STANDARD.decode(args.0[2]).map_err(|e| Refusal::new(format!("base64: {e}")))?;
        self.board.mmio_write(addr, &data[..data.len().min(size as usize)]);
        Ok(String::new())
    }
    fn fill(&self, args: Args<'_>) -> Answer {
        let (addr, size) = (args.number(0)?, args.number(1)?);
        let value = args.number(2)? as u8;
        if size > MOST_FILL {
            return Err(Refusal::new(format!("the size is above {MOST_FILL:#x}")));
        }
        let block = [value; 4096];
        let mut done = 0;
        while done < size && !self.cancel.load(Ordering::Relaxed) {
            let n = (size - done).min(block.len() as u64);
            let Some(at) = addr.checked_add(done) else { break };
            self.board.mmio_write(at, &block[..n as usize]);
            done += n;
        }
        Ok(String::new())
    }

    /// `clock_step [NS]`; without a number to the next timer.
    fn clock_step(&mut self, args: Args<'_>, out: &mut Sink<'_>) -> Answer {
        let now = self.board.clock().now();
        let target = match args.0.first() {
            Some(_) => now.saturating_add(args.number(0)?),
            None => self.board.next_deadline().unwrap_or(now),
        };
        self.clock_to(target, out)
    }
    /// Moves the clock, from timer to timer so that interrupts are told as they come.
    fn clock_to(&mut self, target: u64, out: &mut Sink<'_>) -> Answer {
        // Time beyond the signed range is no time in QEMU.
        let target = target.min(i64::MAX as u64);
        loop {
            let next = self.board.next_deadline().filter(|&d| d < target);
            if !self.board.step_clock(next.unwrap_or(target)) {
                return Err(Refusal::new("the clock of this machine is not moved by hand; use -accel qtest"));
            }
            if next.is_none() || self.cancel.load(Ordering::Relaxed) {
                return Ok(self.board.clock().now().to_string());
            }
            self.tell_changes(out);
        }
    }

    /// Finds a device by its path, or by the end of it if there is only one such device.
    fn find(&self, path: &str) -> Result<DeviceId, Refusal> {
        let found = self.board.with(|s| s.find(path));
        found.ok_or_else(|| Refusal::new("Unknown device"))
    }
    fn intercept(&mut self, path: &str, side: Side) -> Answer {
        let device = self.find(path)?;
        match self.intercepted {
            Some(other) if other != device => return Err(Refusal::new("IRQ intercept already enabled")),
            Some(_) => return Ok(String::new()),
            None => self.intercepted = Some(device),
        }
        let tap = || {
            let (changes, wake) = (Arc::downgrade(&self.changes), self.wake.clone());
            move |n, level| {
                if let Some(changes) = changes.upgrade() {
                    changes.push(n, level);
                    wake();
                }
            }
        };
        self.board.with(|s| match side {
            Side::Inputs => s.tap_inputs(device, tap()),
            Side::Outputs => {
                for (n, (line, _)) in (0..).zip(s.fabric.outputs(device)) {
                    let tap = tap();
                    s.connect_fn(line, move |level| tap(n, level));
                }
            }
        });
        Ok(String::new())
    }
    /// `set_irq_in PATH NAME NUMBER LEVEL`.
    fn set_irq_in(&self, args: Args<'_>) -> Answer {
        let device = self.find(args.0[0])?;
        let (name, n, level) = (args.0[1], args.number(2)?, args.number(3)? != 0);
        let driven = self.board.with(|s| {
            let pin = input(s, device, name, n)?;
            s.drive(pin, level);
            Some(())
        });
        driven.map(|()| String::new()).ok_or_else(|| Refusal::new(format!("Unknown input '{name}' {n}")))
    }
}

/// An input by the name of its group and its number there; `unnamed-gpio-in` counts through all of them.
fn input(state: &BoardState, device: DeviceId, name: &str, n: u64) -> Option<Pin> {
    let n = u32::try_from(n).ok()?;
    let groups = state.fabric.inputs(device);
    let (first, count) = if name == "unnamed-gpio-in" {
        (0, groups.iter().map(|(_, count)| count).sum())
    } else {
        let at = groups.iter().position(|(group, _)| group == name)?;
        (groups[..at].iter().map(|(_, count)| count).sum(), groups[at].1)
    };
    (n < count).then(|| Pin { device, index: first + n })
}
