//! The embedded guest on a peer: QEMU's `pc` board with QEMU's own software CPU. What passes there checks a PC, and not
//! only ourselves.
//!
//! Where `qemu-system-x86_64` is not installed, each test says that it skipped, and returns.

use std::io::{self, Read, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

const QEMU: &str = "qemu-system-x86_64";
/// For a busy host; the guest takes less than a second.
const PATIENCE: Duration = Duration::from_secs(120);

/// The guest running on QEMU.
struct Guest {
    qemu: Child,
    output: Receiver<Vec<u8>>,
    text: String,
    /// How far `text` has been expected.
    expected: usize,
    deadline: Instant,
    // Holds the kernel file until QEMU has ended.
    _directory: tempfile::TempDir,
}

impl Guest {
    /// Boots the embedded guest; `None`, with a line that says why, if it cannot be done here.
    fn boot(command_line: &str) -> Option<Guest> {
        let image = match gearbox::guest::embedded() {
            Ok(image) => image,
            Err(error) => {
                println!("skipped: {error}");
                return None;
            }
        };
        let directory = tempfile::tempdir().expect("a temporary directory");
        let kernel = directory.path().join("guest.elf");
        std::fs::write(&kernel, image).expect("the kernel file");
        let spawned = Command::new(QEMU)
            .args(["-machine", "pc", "-accel", "tcg", "-m", "128", "-display", "none", "-nic", "none", "-no-reboot"])
            .args(["-serial", "stdio", "-monitor", "none", "-append", command_line])
            .args(["-device", &format!("isa-debug-exit,iobase={:#x},iosize=4", gearbox::guest::DEBUG_EXIT_PORT)])
            .arg("-kernel")
            .arg(kernel)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut qemu = match spawned {
            Ok(child) => child,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                println!("skipped: {QEMU} is not installed");
                return None;
            }
            Err(error) => panic!("{QEMU}: {error}"),
        };
        let mut stdout = qemu.stdout.take().expect("stdout is piped");
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = stdout.read(&mut buffer) {
                if sender.send(buffer[..length].to_vec()).is_err() {
                    break;
                }
            }
        });
        let deadline = Instant::now() + PATIENCE;
        Some(Guest { qemu, output, text: String::new(), expected: 0, deadline, _directory: directory })
    }

    /// Reads on; false at the end of the output.
    fn read(&mut self) -> bool {
        match self.output.recv_timeout(self.deadline.saturating_duration_since(Instant::now())) {
            Ok(bytes) => {
                self.text.push_str(&String::from_utf8_lossy(&bytes));
                true
            }
            Err(RecvTimeoutError::Disconnected) => false,
            Err(RecvTimeoutError::Timeout) => panic!("the guest does not come to an end:\n{}", self.text),
        }
    }

    /// Waits for `wanted` after what was expected before.
    fn expect(&mut self, wanted: &str) {
        loop {
            if let Some(at) = self.text[self.expected..].find(wanted) {
                self.expected += at + wanted.len();
                return;
            }
            assert!(self.read(), "the guest ended without {wanted:?}:\n{}", self.text);
        }
    }

    /// Types a line at the prompt.
    fn type_line(&mut self, line: &str) {
        let stdin = self.qemu.stdin.as_mut().expect("stdin is piped");
        stdin.write_all(line.as_bytes()).and_then(|()| stdin.write_all(b"\r")).expect("QEMU reads its stdin");
    }

    /// Waits for the end.
    fn finish(mut self) -> (String, ExitStatus) {
        while self.read() {}
        let status = self.qemu.wait().expect("the status of QEMU");
        (std::mem::take(&mut self.text), status)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // Both fail when QEMU has ended already, which is as well.
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

#[test]
fn every_check_passes_and_the_machine_goes_off() {
    let Some(guest) = Guest::boot(&gearbox::guest::command_line("tcg", false)) else { return };
    let (text, status) = guest.finish();
    assert_eq!(status.code(), Some(0), "{text}");
    let checks: Vec<&str> = text.lines().filter(|line| line.starts_with("check: ")).collect();
    assert!(checks.len() > 30, "{text}");
    // QEMU's pc has everything that the guest looks at.
    assert!(checks.iter().all(|line| line.contains(" ... ok")), "{text}");
    let verdict = format!("gearbox guest: all {} checks passed", checks.len());
    assert_eq!(text.lines().last().map(str::trim_end), Some(verdict.as_str()), "{text}");
    for found in ["8086:1237", "8086:7000", "8086:7113", "MC146818", "COM1: 16550A", "fw_cfg with DMA", "I/O APIC at"] {
        assert!(text.contains(found), "no {found} in:\n{text}");
    }
}

#[test]
fn another_accelerator_than_the_one_named_fails_the_check() {
    let Some(guest) = Guest::boot(&gearbox::guest::command_line("kvm", false)) else { return };
    let (text, status) = guest.finish();
    assert_eq!(status.code(), Some(3), "{text}");
    assert!(text.contains("FAILED: the command line says kvm, CPUID says tcg"), "{text}");
    assert!(text.contains("gearbox guest: 1 of "), "{text}");
}

#[test]
fn the_prompt_edits_lines_and_obeys() {
    let Some(mut guest) = Guest::boot(&gearbox::guest::command_line("tcg", true)) else { return };
    guest.expect("gearbox> ");
    guest.type_line("rubbish\u{15}hele\u{8}p");
    guest.expect("poweroff ");
    guest.expect("gearbox> ");
    guest.type_line("poke 400000 47 65 61 72");
    guest.expect("gearbox> ");
    guest.type_line("peek 400000 4");
    guest.expect("000000400000  47 65 61 72 ");
    guest.expect("gearbox> ");
    guest.type_line("half a line\u{3}");
    guest.expect("^C");
    guest.expect("gearbox> ");
    guest.type_line("frobnicate");
    guest.expect("unknown command frobnicate");
    guest.expect("gearbox> ");
    guest.type_line("poweroff");
    let (text, status) = guest.finish();
    assert_eq!(status.code(), Some(0), "{text}");
}
