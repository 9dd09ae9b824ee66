//! What takes minutes.

use super::disks::{ask, check, disk};
use super::*;
use std::process::Command;

/// What the guest has flushed is there after the process was killed, and the file system is in order.
#[test]
fn a_killed_process_keeps_what_was_flushed() {
    let directory = tempfile::tempdir().expect("a directory");
    let Some(disk) = disk(directory.path()) else { return };
    let qcow2 = directory.path().join("disk.qcow2");
    let convert = Command::new("qemu-img").args(["convert", "-O", "qcow2", text(&disk), text(&qcow2)]).status();
    if convert.is_err() {
        eprintln!("skipped: no qemu-img (package qemu-utils)");
        return;
    }
    let mut guest = pc(&[text(&qcow2)]);
    guest.expect(PROMPT, BOOT);
    ask(
        &mut guest,
        "mount /dev/sda1 /tmp; n=0; while [ $n -lt 20 ]; do md5sum /bin/busybox > /tmp/f$n; n=$((n+1)); done; sync",
    );
    // More goes on while it is killed.
    guest.send("while true; do cp /bin/busybox /tmp/more; rm /tmp/more; sync; done\n");
    std::thread::sleep(Duration::from_millis(500));
    guest.signal(rustix::process::Signal::KILL);
    guest.wait(PATIENCE);
    let checked = Command::new("qemu-img").args(["check", text(&qcow2)]).output().expect("qemu-img");
    // 3: clusters that nobody uses, which cost space and nothing else.
    assert!(matches!(checked.status.code(), Some(0 | 3)), "{checked:?}");
    let back = Command::new("qemu-img").args(["convert", "-O", "raw", text(&qcow2), text(&disk)]).status();
    assert!(back.expect("qemu-img").success());
    check(&disk);
    for n in [0, 19] {
        let device = format!("{}?offset={}", text(&disk), 1 << 20);
        let output =
            Command::new("/usr/sbin/debugfs").args(["-R", &format!("cat /f{n}"), &device]).output().expect("debugfs");
        assert!(String::from_utf8_lossy(&output.stdout).contains("/bin/busybox"), "{output:?}");
    }
}
