//! Debian's cloud kernel on four software CPUs, in both threading modes and with counted instructions.

use gearbox_tests::linux::{PROMPT, busybox, compile, init, kernel, on_tcg, write_initrd_with};
use gearbox_tests::process::Process;
use std::path::{Path, PathBuf};
use std::time::Duration;

const BOOT: Duration = Duration::from_secs(400);
const SHORT: Duration = Duration::from_secs(120);

/// What a kernel says when something is wrong with it, or with the CPUs.
const COMPLAINTS: [&str; 8] =
    ["WARNING:", "BUG:", "Oops", "Call Trace", "detected stall", "self-detected stall", "soft lockup", "segfault"];

/// A kernel, and an initial RAM file system whose `/init` does `commands`; `None` where parts are missing.
fn guest(dir: &Path, commands: &str) -> Option<(PathBuf, PathBuf)> {
    let (kernel, busybox) = (kernel()?, busybox()?);
    let load = compile(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/guests/load.c")), dir)?;
    let initrd = dir.join("initrd");
    write_initrd_with(&initrd, &busybox, &init(commands), &[load]).expect("an initrd");
    Some((kernel, initrd))
}

/// Runs the load for so many seconds, and judges what it and the kernel say.
fn under_load(threads: &str, seconds: u64) {
    let dir = tempfile::tempdir().unwrap();
    let commands = format!("chmod +x /load; cat /sys/devices/system/cpu/online; /load {seconds} 4; poweroff -f");
    let Some((kernel, initrd)) = guest(dir.path(), &commands) else { return };
    let accel = format!("tcg,thread={threads}");
    let mut arguments = on_tcg(&kernel, &initrd);
    arguments[1] = &accel;
    arguments.extend(["-smp", "4"]);
    let mut p = Process::gearbox(&arguments);
    p.expect("\n0-3\r\n", BOOT);
    p.expect("load ok", Duration::from_secs(seconds) + SHORT);
    assert_eq!(p.wait(SHORT).code(), Some(0), "{}", p.stderr());
    let said = p.stdout();
    let complaint = COMPLAINTS.iter().find(|c| said.contains(**c));
    assert_eq!(complaint, None, "{said}");
}

#[test]
fn four_cpus_on_four_threads() {
    under_load("multi", 5);
}

#[test]
fn four_cpus_on_one_thread() {
    under_load("single", 5);
}

mod long {
    /// Ten minutes, or `GEARBOX_LOAD_SECONDS`.
    fn seconds() -> u64 {
        std::env::var("GEARBOX_LOAD_SECONDS").map_or(600, |s| s.parse().expect("GEARBOX_LOAD_SECONDS is a number"))
    }

    #[test]
    fn four_cpus_on_four_threads_for_minutes() {
        super::under_load("multi", seconds());
    }

    #[test]
    fn four_cpus_on_one_thread_for_minutes() {
        super::under_load("single", seconds());
    }
}

#[test]
fn a_cpu_that_is_plugged_in_is_brought_up() {
    let dir = tempfile::tempdir().unwrap();
    let Some((kernel, initrd)) = guest(dir.path(), "") else { return };
    let mut arguments = on_tcg(&kernel, &initrd);
    arguments.extend(["-smp", "1,maxcpus=2"]);
    let mut p = Process::gearbox(&arguments);
    p.expect(PROMPT, BOOT);
    // To the monitor and back.
    p.send("\x01c");
    p.expect("(gearbox) ", SHORT);
    p.send("device_add qemu64-x86_64-cpu,socket-id=0,core-id=1,thread-id=0\n");
    p.expect("(gearbox) ", SHORT);
    p.send("\x01c");
    p.send("until [ -e /sys/devices/system/cpu/cpu1/online ]; do sleep 1; done; echo 1 > /sys/devices/system/cpu/cpu1/online\n");
    p.expect(PROMPT, SHORT);
    p.send("taskset 2 cat /sys/devices/system/cpu/online\n");
    p.expect("\n0-1\r\n", SHORT);
}

/// Two runs of one guest whose instructions are counted: the same to the byte and to the instruction.
#[test]
fn counted_runs_are_alike() {
    let dir = tempfile::tempdir().unwrap();
    let commands = "head -c 64 /dev/urandom | md5sum; date; cat /proc/uptime /proc/interrupts; head -n 3 /proc/timer_list; poweroff -f";
    let Some((kernel, initrd)) = guest(dir.path(), commands) else { return };
    let run = || {
        let mut arguments = on_tcg(&kernel, &initrd);
        arguments.extend(["-smp", "2", "-icount", "shift=2,sleep=off", "-rtc", "base=2026-01-01,clock=vm"]);
        // The monitor tells the count once the guest has shut down.
        arguments.extend(["-no-shutdown", "-qmp", "stdio", "-serial"]);
        let serial = format!("file:{}", dir.path().join("serial").display());
        arguments.push(&serial);
        let arguments: Vec<_> =
            arguments.into_iter().filter(|a| *a != "-nographic").chain(["-display", "none"]).collect();
        let mut p = Process::gearbox(&arguments);
        p.send("{\"execute\": \"qmp_capabilities\"}\n");
        p.expect("\"SHUTDOWN\"", BOOT);
        p.expect("\"STOP\"", SHORT);
        p.send("{\"execute\": \"query-replay\"}\n");
        p.expect("\"icount\": ", SHORT);
        let count: u64 = p.expect("}", SHORT).trim_matches([' ', '}']).parse().expect("a count");
        assert!(count > 1_000_000, "{count}");
        p.send("{\"execute\": \"quit\"}\n");
        assert_eq!(p.wait(SHORT).code(), Some(0), "{}", p.stderr());
        let serial = std::fs::read(dir.path().join("serial")).expect("what the guest wrote");
        (String::from_utf8_lossy(&serial).into_owned(), count)
    };
    let (first, second) = (run(), run());
    assert!(first.0.contains("now at ") && first.0.contains(" nsecs"), "{}", first.0);
    assert_eq!(first, second);
}
