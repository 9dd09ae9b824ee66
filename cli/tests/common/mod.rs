//! What the tests of the binary share: processes with a time limit, guests of a few bytes, scratch files.
#![allow(dead_code)] // Each test program uses a part of it.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Longer than anything takes on a busy host.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The program with these arguments.
pub fn gearbox(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gearbox"));
    command.args(arguments).env_remove("RUST_LOG");
    command
}

/// How a process ended, and what it said.
#[derive(Debug)]
pub struct Ended {
    /// Exit status; `None` after a signal.
    pub status: Option<i32>,
    /// Standard output.
    pub out: String,
    /// Standard error.
    pub err: String,
}

/// A running process. It is killed when this goes.
pub struct Running {
    child: Child,
    out: Receiver<Vec<u8>>,
    err: Receiver<Vec<u8>>,
    seen: Vec<u8>,
}

fn collect(mut from: impl Read + Send + 'static) -> Receiver<Vec<u8>> {
    let (to, receiver) = channel();
    std::thread::spawn(move || {
        let mut buf = [0; 4096];
        while let Ok(n @ 1..) = from.read(&mut buf) {
            if to.send(buf[..n].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}

impl Running {
    /// Starts it with pipes.
    pub fn start(arguments: &[&str]) -> Self {
        let mut command = gearbox(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (out, err) = (collect(child.stdout.take().unwrap()), collect(child.stderr.take().unwrap()));
        Self { child, out, err, seen: Vec::new() }
    }
    /// Process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
    /// Types.
    pub fn send(&mut self, keys: &[u8]) {
        self.child.stdin.as_mut().unwrap().write_all(keys).unwrap();
    }
    /// Ends its input.
    pub fn close_input(&mut self) {
        self.child.stdin = None;
    }
    /// Waits until the output has `text`, and forgets it up to there.
    pub fn expect(&mut self, text: &str) {
        if !self.sees(text, PATIENCE) {
            let told: Vec<u8> = self.err.try_iter().flatten().collect();
            let (seen, told) = (String::from_utf8_lossy(&self.seen), String::from_utf8_lossy(&told));
            panic!("expected {text:?}; have {seen:?} and {told:?}");
        }
    }
    /// The same, without insisting.
    pub fn sees(&mut self, text: &str, within: Duration) -> bool {
        let end = Instant::now() + within;
        loop {
            if let Some(at) = self.seen.windows(text.len()).position(|w| w == text.as_bytes()) {
                self.seen.drain(..at + text.len());
                return true;
            }
            match self.out.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(more) => self.seen.extend(more),
                Err(_) => return false,
            }
        }
    }
    /// Is it still there after this time?
    pub fn stays(&mut self, time: Duration) -> bool {
        std::thread::sleep(time);
        self.child.try_wait().unwrap().is_none()
    }
    /// Sends a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.child.id() as i32).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }
    /// Waits for the end; with the output that nobody expected.
    pub fn end(mut self) -> Ended {
        let end = Instant::now() + PATIENCE;
        let status = loop {
            match self.child.try_wait().unwrap() {
                Some(status) => break status,
                None => assert!(Instant::now() < end, "it does not end; {:?}", String::from_utf8_lossy(&self.seen)),
            }
            // The pipes must not fill up meanwhile: their threads read them to the end.
            std::thread::sleep(Duration::from_millis(5));
        };
        let rest = |from: &Receiver<Vec<u8>>| {
            let mut all = Vec::new();
            loop {
                match from.recv_timeout(PATIENCE) {
                    Ok(more) => all.extend(more),
                    Err(RecvTimeoutError::Disconnected) => return all,
                    Err(RecvTimeoutError::Timeout) => panic!("somebody else still has the pipe"),
                }
            }
        };
        self.seen.extend(rest(&self.out));
        let err = rest(&self.err);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ended { status: status.code(), out: text(&self.seen), err: text(&err) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs it to its end without input.
pub fn run(arguments: &[&str]) -> Ended {
    let mut running = Running::start(arguments);
    running.close_input();
    running.end()
}

/// A directory that goes with the test.
pub struct Scratch(PathBuf);

impl Scratch {
    /// A fresh directory for the test of this name.
    pub fn new(test: &str) -> Self {
        let path = std::env::temp_dir().join(format!("gearbox-cli-{}-{test}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
    /// The path of a file in it.
    pub fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }
    /// A file in it with these contents.
    pub fn file(&self, name: &str, contents: &[u8]) -> String {
        std::fs::write(self.0.join(name), contents).unwrap();
        self.path(name)
    }
    /// A multiboot kernel of 32-bit code.
    pub fn guest(&self, name: &str, code: &[u8]) -> String {
        self.file(name, &multiboot(code))
    }
    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A multiboot image (specification 0.6.96, 3.1) that is loaded at 1 MiB, where `code` follows its header.
fn multiboot(code: &[u8]) -> Vec<u8> {
    const MAGIC: u32 = 0x1bad_b002;
    /// The addresses in the header are valid.
    const FLAGS: u32 = 1 << 16;
    const BASE: u32 = 0x10_0000;
    const HEADER: u32 = 32;
    let end = BASE + HEADER + code.len() as u32;
    let checksum = 0u32.wrapping_sub(MAGIC).wrapping_sub(FLAGS);
    let header = [MAGIC, FLAGS, checksum, BASE, BASE, end, end, BASE + HEADER];
    header.iter().flat_map(|word| word.to_le_bytes()).chain(code.iter().copied()).collect()
}

/// Guest code, byte by byte.
pub mod code {
    /// `out port, al` of a value.
    pub fn outb(port: u16, value: u8) -> Vec<u8> {
        // mov edx, port; mov al, value; out dx, al
        [&[0xba][..], &u32::from(port).to_le_bytes(), &[0xb0, value, 0xee]].concat()
    }
    /// `out port, ax` of a value.
    pub fn outw(port: u16, value: u16) -> Vec<u8> {
        // mov edx, port; mov eax, value; out dx, ax
        [&[0xba][..], &u32::from(port).to_le_bytes(), &[0xb8], &u32::from(value).to_le_bytes(), &[0x66, 0xef]].concat()
    }
    /// Text on COM1, which takes 16 bytes at once in its FIFO and more at its own pace: waits for room.
    pub fn print(text: &str) -> Vec<u8> {
        // mov edx, 3fdh; l: in al, dx; test al, 20h; jz l; mov edx, 3f8h; mov al, c; out dx, al
        let one = |c: u8| [0xba, 0xfd, 3, 0, 0, 0xec, 0xa8, 0x20, 0x74, 0xfb, 0xba, 0xf8, 3, 0, 0, 0xb0, c, 0xee];
        text.bytes().flat_map(one).collect()
    }
    /// Sends back whatever comes in on COM1, for ever.
    pub fn echo() -> Vec<u8> {
        vec![
            0xba, 0xfd, 3, 0, 0, // l: mov edx, 3fdh
            0xec, 0xa8, 0x01, 0x74, 0xfb, // r: in al, dx; test al, 1; jz r
            0xba, 0xf8, 3, 0, 0, 0xec, 0x88, 0xc3, // mov edx, 3f8h; in al, dx; mov bl, al
            0xba, 0xfd, 3, 0, 0, 0xec, 0xa8, 0x20, 0x74, 0xfb, // mov edx, 3fdh; w: in al, dx; test al, 20h; jz w
            0xba, 0xf8, 3, 0, 0, 0x88, 0xd8, 0xee, // mov edx, 3f8h; mov al, bl; out dx, al
            0xeb, 0xda, // jmp l
        ]
    }
    /// Nothing, for ever.
    pub fn halt() -> Vec<u8> {
        vec![0xf4, 0xeb, 0xfd]
    }
    /// A triple fault: an interrupt with an empty interrupt descriptor table.
    pub fn triple_fault() -> Vec<u8> {
        // push 0; push 0; lidt [esp]; int3
        vec![0xbc, 0x00, 0x00, 0x08, 0x00, 0x6a, 0, 0x6a, 0, 0x0f, 0x01, 0x1c, 0x24, 0xcc]
    }
}
