//! Debian's cloud kernel on Gearbox's software CPU and on QEMU's, one after the other on one core in one run: the CPU time from start to
//! user space and power-off, and what a few busybox commands take by the guest's own clock.
//!
//! `cargo bench -p gearbox-tests --bench boot`

use gearbox_tests::linux::{busybox, init, kernel, qemu, write_initrd};
use gearbox_tests::peer::{children_cpu_time, current_gearbox, geometric_mean, stay_on_one_core};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

const ROUNDS: usize = 3;
/// What is timed in the guest, by shell commands.
const COMMANDS: [(&str, &str); 5] = [
    ("shell loop", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"),
    ("fork+exec", "for i in $(seq 100); do /bin/busybox true; done"),
    ("md5sum", "for i in 1 2 3 4 5 6 7 8; do md5sum /bin/busybox; done"),
    ("sha256sum", "for i in 1 2 3 4; do sha256sum /bin/busybox; done"),
    ("gzip", "gzip -c /bin/busybox"),
];

/// Seconds by name of what was timed.
type Seconds = BTreeMap<String, f64>;

/// An `/init` that times the commands by `/proc/uptime` and powers off.
fn script() -> String {
    let mut text = "read boot _ < /proc/uptime; echo \"timed boot 0 $boot\"\n".to_owned();
    for (name, command) in COMMANDS {
        text += "read from _ < /proc/uptime\n";
        text += &format!("{{ {command}; }} > /dev/null\n");
        text += &format!("read to _ < /proc/uptime; echo \"timed {} $from $to\"\n", name.replace(' ', "_"));
    }
    init(&(text + "poweroff -f"))
}

/// Boots to user space and powers off at once, and boots for the commands.
fn measure(program: &Path, accelerator: &str, kernel: &Path, initrds: [&Path; 2]) -> Seconds {
    let [plain, timing] = initrds.map(|initrd| {
        let mut command = Command::new(program);
        command.args(["-accel", accelerator, "-m", "512", "-nographic", "-no-reboot", "-kernel"]).arg(kernel);
        command.arg("-initrd").arg(initrd).args(["-append", "console=ttyS0 no_timer_check panic=-1"]).stdin(Stdio::null());
        let before = children_cpu_time();
        let output = command.output().unwrap_or_else(|e| panic!("{}: {e}", program.display()));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{}: {text}", program.display());
        (children_cpu_time() - before, text)
    });
    let mut seconds = Seconds::from([("boot".to_owned(), plain.0)]);
    for line in timing.1.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        if let ["timed", name, from, to] = words[..]
            && name != "boot"
        {
            let [from, to] = [from, to].map(|t| t.parse::<f64>().expect("seconds"));
            // The clock's resolution is 10 ms.
            seconds.insert(name.replace('_', " "), (to - from).max(0.01));
        }
    }
    assert_eq!(seconds.len(), COMMANDS.len() + 1, "{}", timing.1);
    seconds
}

fn main() {
    let (Some(kernel), Some(busybox), Some(qemu)) = (kernel(), busybox(), qemu()) else { return };
    let dir = tempfile::tempdir().expect("a directory");
    let initrds = ["plain", "timing"].map(|name| dir.path().join(name));
    write_initrd(&initrds[0], &busybox, &init("poweroff -f")).expect("an initrd");
    write_initrd(&initrds[1], &busybox, &script()).expect("an initrd");
    let [plain, timing] = &initrds;
    let gearbox = current_gearbox();
    stay_on_one_core();
    let mut best = [Seconds::new(), Seconds::new()];
    for _ in 0..ROUNDS {
        for (best, (program, accelerator)) in best.iter_mut().zip([(&gearbox, "tcg"), (&qemu, "tcg,thread=single")]) {
            for (name, t) in measure(program, accelerator, &kernel, [plain, timing]) {
                best.entry(name).and_modify(|b| *b = b.min(t)).or_insert(t);
            }
        }
    }
    let [ours, theirs] = best;
    println!("{:18} {:>10} {:>10} {:>7} (fastest of {ROUNDS})", "", "gearbox", "qemu", "speed");
    let row = |name: &str| {
        let (g, q) = (ours[name], theirs[name]);
        println!("{name:18} {g:8.2} s {q:8.2} s {:9.2}", q / g);
        q / g
    };
    row("boot");
    println!("{:18} {:>30.2}", "in the guest", geometric_mean(&COMMANDS.map(|(name, _)| row(name))));
}
