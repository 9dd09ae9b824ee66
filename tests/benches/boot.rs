//! Time from start to user space of Debian's cloud kernel, on Gearbox's software CPU and on QEMU's, one after the other in one run.
//!
//! `cargo bench -p gearbox-tests --bench boot`

use gearbox_tests::linux::{busybox, init, kernel, qemu, write_initrd};
use gearbox_tests::process::{Process, gearbox};
use std::process::Command;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(600);
const MARK: &str = "user space reached";
const ROUNDS: usize = 3;

fn time(mut command: Command) -> f64 {
    let start = Instant::now();
    let mut p = Process::start(&mut command);
    p.expect(MARK, LIMIT);
    start.elapsed().as_secs_f64()
}

fn median(mut v: Vec<f64>) -> f64 {
    v.sort_by(f64::total_cmp);
    v[v.len() / 2]
}

fn main() {
    let (Some(kernel), Some(busybox), Some(qemu)) = (kernel(), busybox(), qemu()) else { return };
    let dir = tempfile::tempdir().expect("a directory");
    let initrd = dir.path().join("initrd");
    write_initrd(&initrd, &busybox, &init(&format!("echo {MARK}"))).expect("an initrd");
    let command = |program: &std::path::Path| {
        let mut c = Command::new(program);
        c.args(["-accel", "tcg", "-m", "512", "-nographic", "-no-reboot", "-kernel"]).arg(&kernel);
        c.arg("-initrd").arg(&initrd).args(["-append", "console=ttyS0"]);
        c
    };
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        ours.push(time(command(&gearbox())));
        theirs.push(time(command(&qemu)));
        let (g, q) = (ours[round - 1], theirs[round - 1]);
        println!("round {round}: gearbox {g:.2} s, qemu {q:.2} s, ratio {:.2}", g / q);
    }
    let (g, q) = (median(ours), median(theirs));
    println!("boot to user space: gearbox {g:.2} s, qemu {q:.2} s, ratio {:.2} (medians of {ROUNDS})", g / q);
}
