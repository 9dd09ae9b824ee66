//! `dd` through the bus master of the PIIX3's IDE controller, by Debian's ata_piix, on Gearbox's software CPU and on QEMU's, one after the other on one core
//! in one run: by the CPU time of the process between the marks that the guest writes, and by the guest's own clock.
//!
//! `cargo bench -p gearbox-tests --bench disk`

use gearbox_tests::linux::qemu;
use gearbox_tests::marks::{Seconds, fastest, head, marked, time};
use gearbox_tests::media::linux_with_ide;
use gearbox_tests::peer::{current_gearbox, geometric_mean, stay_on_one_core};
use gearbox_tests::process::Process;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const ROUNDS: usize = 3;
/// MiB that each command moves.
const AMOUNT: u32 = 256;
/// What is timed. Without the guest's cache, it is the device that counts.
const COMMANDS: [(&str, &str); 4] = [
    ("read", "dd if=/dev/sda of=/dev/null bs=1M iflag=direct"),
    ("write", "dd if=/dev/zero of=/dev/sda bs=1M oflag=direct"),
    ("read, cached", "dd if=/dev/sda of=/dev/null bs=1M"),
    ("write, cached", "dd if=/dev/zero of=/dev/sda bs=1M conv=fsync"),
];
/// For a busy host.
const PATIENCE: Duration = Duration::from_secs(600);

/// Shell commands that mark beginning and end of each command, with `/proc/uptime`, and power off.
fn script() -> String {
    let mut text = String::new();
    for (name, command) in COMMANDS {
        text += "echo 3 > /proc/sys/vm/drop_caches\n";
        text += &marked(name, &format!("{command} count={AMOUNT} 2> /dev/null"));
    }
    text + "poweroff -f"
}

fn measure(program: &Path, accelerator: &str, (kernel, initrd): (&Path, &Path), disk: &Path) -> Vec<Seconds> {
    let mut command = Command::new(program);
    command
        .args(["-accel", accelerator, "-m", "512", "-nographic", "-no-reboot", "-nic", "none", "-kernel"])
        .arg(kernel);
    command.arg("-initrd").arg(initrd).args(["-append", "console=ttyS0 no_timer_check panic=-1"]);
    command.arg("-drive").arg(format!("file={},format=raw", disk.display()));
    let mut guest = Process::start(&mut command);
    let rows = COMMANDS.iter().map(|(name, _)| time(&mut guest, name, PATIENCE)).collect();
    guest.wait(PATIENCE);
    rows
}

fn main() {
    let directory = tempfile::tempdir().expect("a directory");
    let (Some((kernel, initrd)), Some(qemu)) = (linux_with_ide(directory.path(), &script()), qemu()) else { return };
    let disk = directory.path().join("disk");
    std::fs::write(&disk, vec![0x5a; (AMOUNT as usize) << 20]).expect("a disk");
    let programs = [(current_gearbox(), "tcg"), (qemu, "tcg,thread=single")];
    stay_on_one_core();
    let best =
        fastest(ROUNDS, programs, |program, accelerator| measure(program, accelerator, (&kernel, &initrd), &disk));
    println!("fastest of {ROUNDS}, MiB/s: by CPU time of the process; by the guest's clock");
    head();
    let mut ratios = Vec::new();
    for (((name, _), g), q) in COMMANDS.iter().zip(&best[0]).zip(&best[1]) {
        let rate = |seconds: f64| f64::from(AMOUNT) / seconds;
        print!("{name:14} {:10.0} {:10.0} {:7.2}", rate(g.cpu), rate(q.cpu), q.cpu / g.cpu);
        println!("   {:10.0} {:10.0} {:7.2}", rate(g.guest), rate(q.guest), q.guest / g.guest);
        ratios.push(q.guest / g.guest);
    }
    println!("{:14} {:>58.2}", "all", geometric_mean(&ratios));
}
