//! The library and the shell of the Python package `qemu.qmp` drive a session on a booted Linux.

use gearbox_tests::linux::{PROMPT, busybox, init, kernel, modules, on_tcg, write_initrd_with};
use gearbox_tests::process::Process;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

const BOOT: Duration = Duration::from_secs(200);
const SHORT: Duration = Duration::from_secs(60);

/// A program of the environment in which `.ci/setup` installs the package; says that it skips where it is not.
fn installed(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/qmp-venv/bin").join(name);
    if !path.exists() {
        eprintln!("skipped: no {} (the Python package qemu.qmp)", path.display());
        return None;
    }
    Some(path)
}

/// Waits until the server has made its socket.
fn wait_for(socket: &Path) {
    let start = Instant::now();
    while !socket.exists() && start.elapsed() < SHORT {
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The answer of a line given to the session.
fn ask(session: &mut Process, line: &str) -> String {
    session.send(&format!("{line}\n"));
    session.expect(&format!("{line} -> "), SHORT);
    session.expect("\n", SHORT)
}

#[test]
fn the_library_drives_a_booted_linux() {
    let (Some(python), Some(kernel), Some(busybox)) = (installed("python"), kernel(), busybox()) else { return };
    let Some(modules) = modules(&kernel, &["drivers/input/evdev.ko", "drivers/acpi/button.ko"]) else { return };
    let dir = tempfile::tempdir().unwrap();
    let (initrd, socket) = (dir.path().join("initrd"), dir.path().join("qmp"));
    // The power button is an input device, and nobody touches the others; one event is enough.
    let commands = "insmod /evdev.ko; insmod /button.ko; echo 7 > /proc/sys/kernel/printk\n\
        for button in /dev/input/event*; do (dd if=$button of=/dev/null bs=24 count=1 2>/dev/null; poweroff -f) & done";
    write_initrd_with(&initrd, &busybox, &init(commands), &modules).unwrap();
    let qmp = format!("unix:{},server=on,wait=off", socket.display());
    let mut guest = Process::gearbox(&[&["-S", "-qmp", &qmp][..], &on_tcg(&kernel, &initrd)].concat());
    wait_for(&socket);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("qmp/session.py");
    let mut session = Process::start(Command::new(python).arg(script).arg(&socket));
    session.expect("connected", SHORT);

    assert!(ask(&mut session, "query-status").contains("\"prelaunch\""));
    assert_eq!(ask(&mut session, "no-such-command"), "CommandNotFound");
    assert_eq!(ask(&mut session, "cont"), "{}");
    ask(&mut session, "~RESUME");
    guest.expect(PROMPT, BOOT);

    assert_eq!(ask(&mut session, "device_add {\"driver\": \"pci-serial\", \"id\": \"com\"}"), "{}");
    guest.expect("[1b36:0002]", SHORT);
    guest.expect("16550A", SHORT);
    assert_eq!(ask(&mut session, "device_del {\"id\": \"com\"}"), "{}");
    assert!(ask(&mut session, "~DEVICE_DELETED").contains("/machine/peripheral/com"));
    assert_eq!(ask(&mut session, "device_del {\"id\": \"com\"}"), "DeviceNotFound");

    assert_eq!(ask(&mut session, "system_powerdown"), "{}");
    ask(&mut session, "~POWERDOWN");
    assert!(ask(&mut session, "~SHUTDOWN").contains("\"guest-shutdown\""));
    assert_eq!(guest.wait(SHORT).code(), Some(0), "{}", guest.stderr());
}

#[test]
fn the_shell_of_the_package_connects() {
    let Some(shell) = installed("qmp-shell") else { return };
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("qmp");
    let qmp = format!("unix:{},server=on,wait=off", socket.display());
    let mut machine = Process::gearbox(&["-accel", "qtest", "-display", "none", "-qmp", &qmp]);
    wait_for(&socket);
    let mut user = Process::start(Command::new(shell).arg(&socket));
    user.expect("Connected to", SHORT);
    user.send("query-version\n");
    user.expect("\"major\": 7", SHORT);
    user.send("quit\n");
    assert_eq!(machine.wait(SHORT).code(), Some(0), "{}", machine.stderr());
}
