//! Disks behind the PIIX3, booted by GRUB and driven by Debian's ata_piix.

use super::*;
use gearbox_tests::linux;
use gearbox_tests::media::{check_file_system, grub_disk, linux_disk, partition};
use std::process::Command;

/// A disk that boots to a shell.
pub(super) fn disk(directory: &Path) -> Option<PathBuf> {
    linux_disk(directory).filter(|_| has_seabios())
}

/// What the shell says to a command.
pub(super) fn ask(guest: &mut Process, command: &str) -> String {
    linux::ask(guest, command, PATIENCE)
}

/// From the master boot record to user space; what is written is read back, and there after the machine is off.
#[test]
fn grub_loads_linux_that_writes_and_reads() {
    let directory = tempfile::tempdir().expect("a directory");
    let Some(disk) = disk(directory.path()) else { return };
    let spare = directory.path().join("spare.img");
    std::fs::File::create(&spare).and_then(|f| f.set_len(64 << 20)).expect("a file");
    let [boot, spare_drive] = [&disk, &spare].map(|path| format!("file={},format=raw", text(path)));
    let mut guest = pc(&["-drive", &boot, "-drive", &spare_drive]);
    guest.expect(PROMPT, BOOT);
    // Linux looks for drives beside, and names them in the order in which it is done with them.
    for (name, unit) in [("boot", 0), ("spare", 1)] {
        let found = format!("/sys/bus/scsi/devices/0:0:{unit}:0/block");
        ask(&mut guest, &format!("until {name}=/dev/$(ls {found}) && [ -b ${name} ]; do sleep 1; done"));
    }
    ask(
        &mut guest,
        "dd if=/dev/urandom of=/tmp/x bs=1M count=24 2>/dev/null; dd if=/tmp/x of=$spare bs=1M conv=fsync 2>/dev/null",
    );
    ask(&mut guest, "echo 3 > /proc/sys/vm/drop_caches");
    let sums = ask(&mut guest, "md5sum < /tmp/x; dd if=$spare bs=1M count=24 2>/dev/null | md5sum");
    let mut lines = sums.lines().filter(|line| line.ends_with("  -"));
    let (written, read) = (lines.next().expect("a sum"), lines.next().expect("a sum"));
    assert_eq!(written, read);
    let host = Command::new("sh").args(["-c", &format!("head -c {} {} | md5sum", 24 << 20, text(&spare))]).output();
    assert_eq!(String::from_utf8_lossy(&host.expect("md5sum").stdout).trim(), written.trim(), "on the host");
    let complaints = ask(&mut guest, "dmesg | grep -c 'ata.*\\(error\\|failed\\|exception\\|timeout\\)'");
    assert_eq!(complaints.lines().last(), Some("0"), "{complaints}");
    ask(&mut guest, "mount ${boot}1 /tmp && cp /bin/busybox /tmp/new && umount /tmp");
    guest.send("poweroff -f\n");
    assert_eq!(guest.wait(PATIENCE).code(), Some(0), "{}", guest.stderr());
    if let Some(partition) = partition(&disk) {
        check_file_system(&partition);
    }
}

/// SeaBIOS numbers the buses, opens the windows, and reads from the disk.
#[test]
fn grub_starts_from_a_disk_behind_bridges() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = "echo far away\nsleep 1000\n";
    let disk = grub_disk(directory.path(), &Contents { files: Vec::new(), config });
    let Some(disk) = disk.filter(|_| has_seabios()) else { return };
    let drive = format!("if=none,id=d,format=raw,file={}", text(&disk));
    let vm = Vm::pc().accel("tcg").args(["-vga", "std", "-bios", "bios-256k.bin", "-drive", &drive]);
    let vm = vm.device("pci-bridge,id=b1,chassis_nr=1").device("pci-bridge,id=b2,chassis_nr=2,bus=b1");
    let vm = vm.device("virtio-blk-pci,drive=d,bus=b2,addr=3,bootindex=0").start().expect("a machine");
    vm.expect_screen("far away", BOOT).expect("what GRUB says");
}
