//! Debian's cloud kernel on Gearbox's software CPU and on QEMU's, one after the other on one core in one run: the CPU time of the process
//! from start over user space to power-off, and what a few busybox commands take, by the CPU time of the process between the marks that
//! the guest writes, and by the guest's own clock.
//!
//! `cargo bench -p gearbox-tests --bench boot`

use gearbox_tests::linux::{busybox, init, kernel, qemu, write_initrd};
use gearbox_tests::marks::{Seconds, fastest, head, marked, time};
use gearbox_tests::peer::{children_cpu_time, current_gearbox, geometric_mean, stay_on_one_core};
use gearbox_tests::process::Process;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const ROUNDS: usize = 3;
/// What is timed in the guest, by shell commands.
const COMMANDS: [(&str, &str); 5] = [
    ("shell loop", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"),
    ("fork+exec", "for i in $(seq 100); do /bin/busybox true; done"),
    ("md5sum", "for i in 1 2 3 4 5 6 7 8; do md5sum /bin/busybox; done"),
    ("sha256sum", "for i in 1 2 3 4; do sha256sum /bin/busybox; done"),
    ("gzip", "gzip -c /bin/busybox"),
];

/// For a busy host.
const PATIENCE: Duration = Duration::from_secs(600);

/// An `/init` that marks beginning and end of each command, with `/proc/uptime`, and powers off.
fn script() -> String {
    let mut text = String::new();
    for (name, command) in COMMANDS {
        text += &marked(name, &format!("{{ {command}; }} > /dev/null"));
    }
    init(&(text + "poweroff -f"))
}

/// The rows of one program: booting to user space and powering off at once, and the commands.
fn measure(program: &Path, accelerator: &str, kernel: &Path, initrds: &[std::path::PathBuf; 2]) -> Vec<Seconds> {
    let [mut plain, mut timing] = [&initrds[0], &initrds[1]].map(|initrd| {
        let mut command = Command::new(program);
        command.args(["-accel", accelerator, "-m", "512", "-nographic", "-no-reboot", "-kernel"]).arg(kernel);
        // A busy host fails Linux's look at the timer.
        command.arg("-initrd").arg(initrd).args(["-append", "console=ttyS0 no_timer_check panic=-1"]);
        command
    });
    let before = children_cpu_time();
    let output = plain.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("{}: {e}", program.display()));
    assert!(output.status.success(), "{}: {}", program.display(), String::from_utf8_lossy(&output.stdout));
    let boot = children_cpu_time() - before;
    let mut rows = vec![Seconds { cpu: boot, guest: boot }];
    let mut guest = Process::start(&mut timing);
    rows.extend(COMMANDS.iter().map(|(name, _)| time(&mut guest, name, PATIENCE)));
    guest.wait(PATIENCE);
    rows
}

fn main() {
    let (Some(kernel), Some(busybox), Some(qemu)) = (kernel(), busybox(), qemu()) else { return };
    let dir = tempfile::tempdir().expect("a directory");
    let initrds = ["plain", "timing"].map(|name| dir.path().join(name));
    write_initrd(&initrds[0], &busybox, &init("poweroff -f")).expect("an initrd");
    write_initrd(&initrds[1], &busybox, &script()).expect("an initrd");
    let programs = [(current_gearbox(), "tcg"), (qemu, "tcg,thread=single")];
    stay_on_one_core();
    let best = fastest(ROUNDS, programs, |program, accelerator| measure(program, accelerator, &kernel, &initrds));
    println!("fastest of {ROUNDS}: CPU time of the process; by the guest's clock");
    head();
    let names = std::iter::once("boot").chain(COMMANDS.map(|(name, _)| name));
    let mut ratios = Vec::new();
    for ((name, g), q) in names.zip(&best[0]).zip(&best[1]) {
        let ratio = q.cpu / g.cpu;
        print!("{name:22} {:8.2} s {:8.2} s {ratio:7.2}", g.cpu, q.cpu);
        if name == "boot" {
            println!();
            continue;
        }
        println!("   {:8.2} s {:8.2} s {:7.2}", g.guest, q.guest, q.guest / g.guest);
        ratios.push(ratio);
    }
    println!("{:22} {:>29.2}", "in the guest", geometric_mean(&ratios));
}
