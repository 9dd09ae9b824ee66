//! Debian bookworm as debootstrap makes it, on the software CPU: GRUB from a master boot record, systemd, a login, and a disk that keeps what it was given.

mod long {
    use gearbox_tests::linux::{PROMPT, ask, bookworm};
    use gearbox_tests::media::{check_file_system, overlay, partition};
    use gearbox_tests::process::Process;
    use std::path::{Path, PathBuf};
    use std::process::Command;
    use std::time::Duration;

    /// For all that a busy host does slowly.
    const PATIENCE: Duration = Duration::from_secs(900);
    /// Random bytes that are written again and again, each time behind a line that moves them: no two sectors are alike.
    const DATA: &str = "n=0; while [ $n -lt 30 ]; do echo $n; cat /dev/shm/random; n=$((n+1)); done";

    /// Boots an image over the one of the test set-up, on a disk behind this interface, and logs in.
    fn log_in(directory: &Path, interface: &str) -> Option<(Process, PathBuf)> {
        let image = overlay(directory, &bookworm()?)?;
        let drive = format!("file={},if={interface}", image.display());
        let machine = ["-accel", "tcg", "-m", "512", "-nographic", "-no-reboot", "-drive", &drive];
        let mut guest = Process::gearbox(&machine);
        guest.expect("bookworm login: ", PATIENCE);
        guest.send("root\n");
        guest.expect("~# ", PATIENCE);
        guest.send(&format!("PS1='{}' exec sh\n", PROMPT.replace('#', "''#")));
        guest.expect(PROMPT, PATIENCE);
        // The kernel's messages would come between the letters of a command.
        ask(&mut guest, "dmesg -n 1", PATIENCE);
        Some((guest, image))
    }

    /// What `md5sum` says first on a line.
    fn sum(said: &str) -> String {
        let of = |line: &str| Some(line.split_whitespace().next()?.to_owned()).filter(|word| word.len() == 32);
        said.lines().find_map(of).unwrap_or_else(|| panic!("no sum in {said}"))
    }

    /// Writes 500 MB to `/data`, wants to read them again from the disk, and returns their checksum.
    fn write_and_read(guest: &mut Process) -> String {
        ask(guest, "dd if=/dev/urandom of=/dev/shm/random bs=1M count=16", PATIENCE);
        let written = sum(&ask(guest, &format!("({DATA}) | tee /data | md5sum"), PATIENCE));
        ask(guest, "sync; echo 3 > /proc/sys/vm/drop_caches", PATIENCE);
        let read = sum(&ask(guest, "md5sum /data", PATIENCE));
        assert_eq!(written, read);
        written
    }

    /// The file system is in order, and `/data` are there.
    fn keeps_data(image: &Path, written: &str) {
        let Some(partition) = partition(image) else { return };
        check_file_system(&partition);
        let mut sh = Command::new("sh");
        let output = sh.args(["-c", "/usr/sbin/debugfs -R 'cat /data' \"$0\" | md5sum"]).arg(&partition).output();
        let output = output.expect("a shell");
        assert_eq!(sum(&String::from_utf8_lossy(&output.stdout)), written);
    }

    #[test]
    fn from_an_ide_disk_to_power_off() {
        let directory = tempfile::tempdir().expect("a directory");
        let Some((mut guest, image)) = log_in(directory.path(), "ide") else { return };
        assert!(ask(&mut guest, "lsblk -o NAME,MOUNTPOINTS", PATIENCE).contains("sda1 /"));
        let failed = ask(&mut guest, "systemctl --failed --plain --no-legend --no-pager", PATIENCE);
        assert_eq!(failed.lines().count(), 1, "{failed}");
        let written = write_and_read(&mut guest);
        guest.send("poweroff\n");
        assert_eq!(guest.wait(PATIENCE).code(), Some(0), "{}", guest.stderr());
        keeps_data(&image, &written);
    }

    #[test]
    fn from_a_virtio_disk_until_it_is_killed() {
        let directory = tempfile::tempdir().expect("a directory");
        let Some((mut guest, image)) = log_in(directory.path(), "virtio") else { return };
        assert!(ask(&mut guest, "lsblk -o NAME,MOUNTPOINTS", PATIENCE).contains("vda1 /"));
        let written = write_and_read(&mut guest);
        guest.send("while cp /dev/shm/random /more && sync; do echo w''rote; rm /more; done\n");
        for _ in 0..3 {
            guest.expect("wrote", PATIENCE);
        }
        guest.signal(rustix::process::Signal::KILL);
        guest.wait(PATIENCE);
        keeps_data(&image, &written);
    }
}
