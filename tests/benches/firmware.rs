//! From power-on to a marker, by the clock, on Gearbox's software CPU and on QEMU's, one after the other on one core in one run: OVMF to the UEFI shell,
//! SeaBIOS and GRUB to a Linux shell.
//!
//! `cargo bench -p gearbox-tests --bench firmware`

use gearbox_core::backend::firmware::FirmwarePath;
use gearbox_tests::linux::{PROMPT, qemu};
use gearbox_tests::media::linux_disk;
use gearbox_tests::peer::{current_gearbox, geometric_mean, stay_on_one_core};
use gearbox_tests::process::Process;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const ROUNDS: usize = 3;
/// For a busy host.
const PATIENCE: Duration = Duration::from_secs(600);

/// A way to boot: its name, what the machine has, and what is waited for on the serial port.
type Row = (&'static str, Vec<String>, &'static str);

fn drive(rest: &str, file: &Path) -> [String; 2] {
    ["-drive".to_owned(), format!("format=raw,{rest}file={}", file.display())]
}

/// OVMF in flash chips, with variables that may be written to.
fn ovmf(directory: &Path) -> Option<Row> {
    let images = ["OVMF_CODE.fd", "OVMF_VARS.fd"].map(|name| FirmwarePath::default().find(name));
    let [Some(code), Some(vars)] = images else {
        println!("skipped: no OVMF_CODE.fd (package ovmf)");
        return None;
    };
    let copy = directory.join("vars.fd");
    std::fs::copy(vars, &copy).expect("a copy");
    let chips = [drive("if=pflash,readonly=on,", &code), drive("if=pflash,", &copy)];
    Some(("OVMF to its shell", chips.concat(), "UEFI Interactive Shell v2"))
}

/// A disk with GRUB in its master boot record.
fn grub(directory: &Path) -> Option<Row> {
    let disk = linux_disk(directory)?;
    Some(("GRUB, Linux to a shell", drive("", &disk).to_vec(), PROMPT))
}

fn measure(program: &Path, accelerator: &str, (_, machine, marker): &Row) -> f64 {
    let mut command = Command::new(program);
    command.args([
        "-accel",
        accelerator,
        "-m",
        "512",
        "-nodefaults",
        "-vga",
        "std",
        "-display",
        "none",
        "-serial",
        "stdio",
    ]);
    let begun = Instant::now();
    let mut guest = Process::start(command.args(machine));
    guest.expect(marker, PATIENCE);
    begun.elapsed().as_secs_f64()
}

fn main() {
    let Some(qemu) = qemu() else { return };
    let gearbox = current_gearbox();
    stay_on_one_core();
    let directory = tempfile::tempdir().expect("a directory");
    let mut ratios = Vec::new();
    println!("fastest of {ROUNDS}, by the clock");
    println!("{:26}{:>10}{:>11}{:>8}", "", "gearbox", "qemu", "speed");
    for row in [ovmf(directory.path()), grub(directory.path())].into_iter().flatten() {
        let (mut ours, mut theirs) = (f64::MAX, f64::MAX);
        for _ in 0..ROUNDS {
            ours = ours.min(measure(&gearbox, "tcg", &row));
            theirs = theirs.min(measure(&qemu, "tcg,thread=single", &row));
        }
        ratios.push(theirs / ours);
        println!("{:26}{ours:8.2} s{theirs:9.2} s{:8.2}", row.0, theirs / ours);
    }
    println!("{:26}{:29.2}", "geometric mean", geometric_mean(&ratios));
}
