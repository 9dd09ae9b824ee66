//! `dd` through the bus master of the PIIX3's IDE controller, by Debian's ata_piix, and through virtio-blk, on Gearbox's software CPU and on QEMU's, one after
//! the other on one core in one run: by the CPU time of the process between the marks that the guest writes, and by the guest's own clock.
//!
//! `cargo bench -p gearbox-tests --bench disk`

use gearbox_tests::linux::qemu;
use gearbox_tests::marks::{Seconds, fastest, head, marked, time};
use gearbox_tests::media::{IDE, VIRTIO, VIRTIO_BLK, linux_with};
use gearbox_tests::peer::{current_gearbox, geometric_mean, stay_on_one_core};
use gearbox_tests::process::Process;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const ROUNDS: usize = 3;
/// How often each command is repeated in a guest. A direct read is split by which pages the kernel gives it, which is a matter of luck.
const REPEATS: usize = 4;
/// MiB that each command moves.
const AMOUNT: u32 = 256;
/// How a disk is attached, what the guest calls it, and the interface.
const DISKS: [(&str, &str, &str); 2] = [("IDE", "sda", "ide"), ("virtio", "vda", "virtio")];
/// What is timed on a disk. Without the guest's cache, it is the device that counts.
const COMMANDS: [(&str, &str); 4] = [
    ("read", "dd if=/dev/DISK of=/dev/null bs=1M iflag=direct"),
    ("write", "dd if=/dev/zero of=/dev/DISK bs=1M oflag=direct"),
    ("read, cached", "dd if=/dev/DISK of=/dev/null bs=1M"),
    ("write, cached", "dd if=/dev/zero of=/dev/DISK bs=1M conv=fsync"),
];
/// For a busy host.
const PATIENCE: Duration = Duration::from_secs(600);

/// Every command on every disk: the row's name, and the command.
fn rows() -> Vec<(String, String)> {
    let row = |(bus, disk, _): (&str, &str, &str), (name, command): (&str, &str)| {
        (format!("{bus} {name}"), command.replace("DISK", disk))
    };
    DISKS.into_iter().flat_map(|disk| COMMANDS.map(|command| row(disk, command))).collect()
}

/// Shell commands that wait for the disks, mark beginning and end of each command, with `/proc/uptime`, and power off.
fn script() -> String {
    let mut text = String::new();
    for (_, disk, _) in DISKS {
        text += &format!("until [ -b /dev/{disk} ]; do sleep 1; done\n");
    }
    for (name, command) in rows() {
        for _ in 0..REPEATS {
            text += "echo 3 > /proc/sys/vm/drop_caches\n";
            text += &marked(&name, &format!("{command} count={AMOUNT} 2> /dev/null"));
        }
    }
    text + "poweroff -f"
}

fn measure(program: &Path, accelerator: &str, (kernel, initrd): (&Path, &Path), images: &[PathBuf]) -> Vec<Seconds> {
    let mut command = Command::new(program);
    command
        .args(["-accel", accelerator, "-m", "512", "-nographic", "-no-reboot", "-nic", "none", "-kernel"])
        .arg(kernel);
    command.arg("-initrd").arg(initrd).args(["-append", "console=ttyS0 no_timer_check panic=-1"]);
    for (image, (_, _, interface)) in images.iter().zip(DISKS) {
        command.arg("-drive").arg(format!("file={},format=raw,if={interface}", image.display()));
    }
    let mut guest = Process::start(&mut command);
    let fastest = |(name, _): &(String, String)| {
        let times = (0..REPEATS).map(|_| time(&mut guest, name, PATIENCE));
        times.reduce(Seconds::least).expect("a repetition")
    };
    let rows = rows().iter().map(fastest).collect();
    guest.wait(PATIENCE);
    rows
}

fn main() {
    let directory = tempfile::tempdir().expect("a directory");
    let drivers = [&IDE[..], &VIRTIO, &[VIRTIO_BLK]].concat();
    let linux = linux_with(directory.path(), &drivers, &script());
    let (Some((kernel, initrd)), Some(qemu)) = (linux, qemu()) else { return };
    let images = DISKS.map(|(_, name, _)| directory.path().join(name));
    for image in &images {
        std::fs::write(image, vec![0x5a; (AMOUNT as usize) << 20]).expect("a disk");
    }
    let programs = [(current_gearbox(), "tcg"), (qemu, "tcg,thread=single")];
    stay_on_one_core();
    let best =
        fastest(ROUNDS, programs, |program, accelerator| measure(program, accelerator, (&kernel, &initrd), &images));
    println!(
        "fastest of {ROUNDS} guests, {REPEATS} times in each, MiB/s: by CPU time of the process; by the guest's clock"
    );
    head();
    let mut ratios = Vec::new();
    for (((name, _), g), q) in rows().iter().zip(&best[0]).zip(&best[1]) {
        let rate = |seconds: f64| f64::from(AMOUNT) / seconds;
        print!("{name:22} {:10.0} {:10.0} {:7.2}", rate(g.cpu), rate(q.cpu), q.cpu / g.cpu);
        println!("   {:10.0} {:10.0} {:7.2}", rate(g.guest), rate(q.guest), q.guest / g.guest);
        ratios.push(q.guest / g.guest);
    }
    println!("{:22} {:>58.2}", "all", geometric_mean(&ratios));
}
