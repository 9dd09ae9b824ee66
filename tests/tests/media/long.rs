//! What takes minutes.

use super::disks::{ask, disk};
use super::*;
use gearbox_tests::media::{check_file_system, overlay, partition};
use std::process::Command;

/// What the guest has flushed is there after the process was killed, and the file system is in order.
#[test]
fn a_killed_process_keeps_what_was_flushed() {
    let directory = tempfile::tempdir().expect("a directory");
    let Some(disk) = disk(directory.path()) else { return };
    let Some(overlay) = overlay(directory.path(), &disk) else { return };
    let mut guest = pc(&[text(&overlay)]);
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
    let Some(partition) = partition(&overlay) else { return };
    check_file_system(&partition);
    for n in [0, 19] {
        let mut debugfs = Command::new("/usr/sbin/debugfs");
        let output = debugfs.args(["-R", &format!("cat /f{n}")]).arg(&partition).output().expect("debugfs");
        assert!(String::from_utf8_lossy(&output.stdout).contains("/bin/busybox"), "{output:?}");
    }
}
