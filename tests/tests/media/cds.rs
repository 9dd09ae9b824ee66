//! CDs by El Torito, read through ATAPI.

use super::*;
use gearbox_tests::linux::fetched;
use gearbox_tests::media::{GRUB_CONFIG, grub_cd, isolinux_cd, linux_files};

/// The CD's own files, read and compared by a Linux that was loaded from it.
fn reads_itself(guest: &mut Process) {
    guest.expect(PROMPT, BOOT);
    guest.send("mount -t iso9660 -o ro /dev/sr0 /tmp && cmp /tmp/boot/initrd /tmp/copy && echo same; umount /tmp\n");
    guest.expect("\r\nsame\r\n", PATIENCE);
    guest.send("poweroff -f\n");
    assert_eq!(guest.wait(PATIENCE).code(), Some(0), "{}", guest.stderr());
}

/// Linux's files, the initial RAM file system with a copy to compare it with.
fn files_twice(directory: &Path) -> Option<Vec<(&'static str, PathBuf)>> {
    let mut files = linux_files(directory)?;
    let initrd = files.iter().find(|(path, _)| *path == "boot/initrd").map(|(_, file)| file.clone())?;
    files.push(("copy", initrd));
    Some(files)
}

#[test]
fn grub_loads_linux() {
    let directory = tempfile::tempdir().expect("a directory");
    let Some(files) = files_twice(directory.path()) else { return };
    let contents = Contents { files, config: GRUB_CONFIG };
    let Some(cd) = grub_cd(directory.path(), &contents).filter(|_| has_seabios()) else { return };
    reads_itself(&mut pc(&["-cdrom", text(&cd)]));
}

#[test]
fn isolinux_loads_linux() {
    let directory = tempfile::tempdir().expect("a directory");
    let Some(files) = files_twice(directory.path()) else { return };
    let config = "default linux\nlabel linux\n kernel /boot/vmlinuz\n append initrd=/boot/initrd console=ttyS0 panic=-1 no_timer_check\n";
    let cd = isolinux_cd(directory.path(), &Contents { files, config }).filter(|_| has_seabios());
    let Some(cd) = cd else { return };
    reads_itself(&mut pc(&["-drive", &format!("file={},media=cdrom,format=raw", text(&cd)), "-boot", "d"]));
}

#[test]
fn isolinux_loads_memtest() {
    let directory = tempfile::tempdir().expect("a directory");
    let Some(memtest) = fetched("memtest86+x64.bin") else { return };
    let config = "default memtest\nlabel memtest\n kernel /memtest\n append console=ttyS0,115200\n";
    let cd = isolinux_cd(directory.path(), &Contents { files: vec![("memtest", memtest)], config });
    let Some(cd) = cd.filter(|_| has_seabios()) else { return };
    let mut guest = pc(&["-m", "32", "-cdrom", text(&cd)]);
    guest.expect("Memtest86+", PATIENCE);
    guest.expect("Status: Testing", PATIENCE);
}
