//! Guests that boot as on a real PC: SeaBIOS, a boot loader from a disk or a CD, and what that loads. Everything is made of Debian's packages.

#[path = "media/cds.rs"]
mod cds;
#[path = "media/disks.rs"]
mod disks;
#[path = "media/floppies.rs"]
mod floppies;
#[path = "media/isapc.rs"]
mod isapc;
#[path = "media/long.rs"]
mod long;
#[path = "media/prompt.rs"]
mod prompt;

use gearbox::testing::Vm;
use gearbox_core::backend::firmware::FirmwarePath;
use gearbox_tests::linux::PROMPT;
use gearbox_tests::media::Contents;
use gearbox_tests::process::Process;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// For a kernel with everything before it, on a busy host.
const BOOT: Duration = Duration::from_secs(250);
/// For anything else.
const PATIENCE: Duration = Duration::from_secs(100);

/// Says that it skips where SeaBIOS is missing.
fn has_seabios() -> bool {
    let found = FirmwarePath::default().find("bios-256k.bin").is_some();
    if !found {
        eprintln!("skipped: no bios-256k.bin (package seabios)");
    }
    found
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// Starts a PC on the software CPU with its serial port on standard input and output.
fn pc(arguments: &[&str]) -> Process {
    Process::gearbox(&[&["-accel", "tcg", "-m", "512", "-nographic", "-no-reboot"], arguments].concat())
}
