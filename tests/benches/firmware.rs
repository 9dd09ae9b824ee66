//! From power-on to a marker on the serial port, by the clock, on Gearbox's software CPU and on QEMU's, one after the other on one core in one run: the systems
//! that tests boot from firmware, disks and CDs.
//!
//! `cargo bench -p gearbox-tests --bench firmware [-- NAME...]`: all of them, or those whose names contain one of these.

use gearbox_core::backend::firmware::FirmwarePath;
use gearbox_tests::linux::{Kernel, PROMPT, bookworm, fetched, init, qemu, write_initrd};
use gearbox_tests::media::{Contents, GRUB_CONFIG, grub_cd, isolinux_cd, linux_disk, linux_files};
use gearbox_tests::peer::{current_gearbox, geometric_mean, stay_on_one_core, wanted};
use gearbox_tests::process::Process;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const ROUNDS: usize = 3;
/// For a busy host.
const PATIENCE: Duration = Duration::from_secs(600);

/// What the machine has besides its console, and what is waited for there.
struct Boot {
    machine: Vec<String>,
    marker: &'static str,
}

impl Boot {
    fn new(machine: &[&str], marker: &'static str) -> Self {
        Self { machine: machine.iter().map(|&word| word.to_owned()).collect(), marker }
    }
}

/// The ways to boot: a name, and what makes it in a directory, if all is there that it needs.
const ROWS: [(&str, fn(&Path) -> Option<Boot>); 9] = [
    ("OVMF to its shell", ovmf),
    ("GRUB disk, Linux", grub_from_disk),
    ("GRUB CD, Linux", grub_from_cd),
    ("ISOLINUX CD, Linux", isolinux),
    ("ISOLINUX CD, memtest86+", memtest),
    ("Debian, systemd, IDE", |_| debian("ide")),
    ("Debian, systemd, virtio", |_| debian("virtio")),
    ("Xen, Linux", xen),
    ("Debian's installer, i386", installer),
];

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// OVMF in flash chips, with variables that may be written to.
fn ovmf(directory: &Path) -> Option<Boot> {
    let images = ["OVMF_CODE.fd", "OVMF_VARS.fd"].map(|name| FirmwarePath::default().find(name));
    let [Some(code), Some(vars)] = images else {
        println!("skipped: no OVMF_CODE.fd (package ovmf)");
        return None;
    };
    let copy = directory.join("vars.fd");
    std::fs::copy(vars, &copy).expect("a copy");
    let chip = |rest: &str, file: &Path| format!("if=pflash,format=raw,{rest}file={}", file.display());
    let chips = ["-drive", &chip("readonly=on,", &code), "-drive", &chip("", &copy)];
    Some(Boot::new(&chips, "UEFI Interactive Shell v2"))
}

/// A disk with GRUB in its master boot record.
fn grub_from_disk(directory: &Path) -> Option<Boot> {
    let disk = linux_disk(directory)?;
    Some(Boot::new(&["-drive", &format!("format=raw,file={}", disk.display())], PROMPT))
}

fn grub_from_cd(directory: &Path) -> Option<Boot> {
    let cd = grub_cd(directory, &Contents { files: linux_files(directory)?, config: GRUB_CONFIG })?;
    Some(Boot::new(&["-cdrom", text(&cd)], PROMPT))
}

fn isolinux(directory: &Path) -> Option<Boot> {
    let config = "default linux\nlabel linux\n kernel /boot/vmlinuz\n append initrd=/boot/initrd console=ttyS0 panic=-1 no_timer_check\n";
    let cd = isolinux_cd(directory, &Contents { files: linux_files(directory)?, config })?;
    Some(Boot::new(&["-cdrom", text(&cd)], PROMPT))
}

fn memtest(directory: &Path) -> Option<Boot> {
    let files = vec![("memtest", fetched("memtest86+x64.bin")?)];
    let config = "default memtest\nlabel memtest\n kernel /memtest\n append console=ttyS0,115200\n";
    let cd = isolinux_cd(directory, &Contents { files, config })?;
    Some(Boot::new(&["-cdrom", text(&cd)], "Status: Testing"))
}

/// Debian bookworm to a login.
fn debian(interface: &str) -> Option<Boot> {
    let drive = format!("format=raw,snapshot=on,if={interface},file={}", bookworm()?.display());
    Some(Boot::new(&["-drive", &drive], "bookworm login: "))
}

fn xen(directory: &Path) -> Option<Boot> {
    // The cloud kernel is not made for it.
    let kernel = Kernel::Generic;
    let (xen, linux, busybox) = (fetched("xen")?, kernel.image()?, kernel.busybox()?);
    let initrd = directory.join("initrd");
    write_initrd(&initrd, &busybox, &init("")).expect("an initrd");
    let modules = format!("{} console=hvc0 panic=-1,{}", linux.display(), initrd.display());
    let command_line = "console=com1 com1=115200,8n1 dom0_mem=512M noreboot=no";
    Some(Boot::new(&["-m", "1024", "-kernel", text(&xen), "-initrd", &modules, "-append", command_line], PROMPT))
}

fn installer(_: &Path) -> Option<Boot> {
    let (linux, initrd) = (fetched("installer-i386")?, fetched("installer-i386.gz")?);
    let command_line = "console=ttyS0 TERM=linux no_timer_check";
    let machine = ["-kernel", text(&linux), "-initrd", text(&initrd), "-append", command_line];
    Some(Boot::new(&machine, "Select a language"))
}

fn measure(program: &Path, accelerator: &str, boot: &Boot) -> f64 {
    let console = ["-nodefaults", "-vga", "std", "-display", "none", "-serial", "stdio"];
    let mut command = Command::new(program);
    command.args(["-accel", accelerator, "-m", "512"]).args(console);
    let begun = Instant::now();
    let mut guest = Process::start(command.args(&boot.machine));
    guest.expect(boot.marker, PATIENCE);
    begun.elapsed().as_secs_f64()
}

fn main() {
    let Some(qemu) = qemu() else { return };
    let gearbox = current_gearbox();
    stay_on_one_core();
    let mut ratios = Vec::new();
    println!("fastest of {ROUNDS}, by the clock");
    println!("{:26}{:>10}{:>11}{:>8}", "", "gearbox", "qemu", "speed");
    for (name, make) in ROWS.into_iter().filter(|(name, _)| wanted(name)) {
        let directory = tempfile::tempdir().expect("a directory");
        let Some(boot) = make(directory.path()) else { continue };
        let (mut ours, mut theirs) = (f64::MAX, f64::MAX);
        for _ in 0..ROUNDS {
            ours = ours.min(measure(&gearbox, "tcg", &boot));
            theirs = theirs.min(measure(&qemu, "tcg,thread=single", &boot));
        }
        ratios.push(theirs / ours);
        println!("{name:26}{ours:8.2} s{theirs:9.2} s{:8.2}", theirs / ours);
    }
    println!("{:26}{:29.2}", "geometric mean", geometric_mean(&ratios));
}
