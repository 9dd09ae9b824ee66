//! The library and the shell of the Python package `qemu.qmp` drive a session on a booted Linux.

use gearbox_tests::linux::{self, PROMPT, busybox, init, kernel, modules, on_tcg, write_initrd_with};
use gearbox_tests::media::{IDE, VIRTIO, VIRTIO_BLK, linux_with};
use gearbox_tests::process::Process;
use serde_json::{Value, json};
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

/// A session on a machine whose server makes this socket.
fn connect(python: &Path, socket: &Path) -> Process {
    wait_for(socket);
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("qmp/session.py");
    let mut session = Process::start(Command::new(python).arg(script).arg(socket));
    session.expect("connected", SHORT);
    session
}

/// Runs a command that is to succeed.
///
/// # Panics
/// It does not.
fn done(session: &mut Process, command: &str, arguments: Value) {
    assert_eq!(ask(session, &format!("{command} {arguments}")), "{}", "{command}");
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
    let mut session = connect(&python, &socket);

    assert!(ask(&mut session, "query-status").contains("\"prelaunch\""));
    assert_eq!(ask(&mut session, "no-such-command"), "CommandNotFound");
    assert_eq!(ask(&mut session, "cont"), "{}");
    ask(&mut session, "~RESUME");
    guest.expect(PROMPT, BOOT);
    // The kernel tells of its devices again.
    guest.send("dmesg -n 8\n");
    guest.expect(PROMPT, SHORT);

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

/// Where firmware, or what Gearbox does in its place, has left room for them.
#[test]
fn devices_come_and_go_behind_bridges() {
    let (Some(python), Some(kernel), Some(busybox)) = (installed("python"), kernel(), busybox()) else { return };
    let dir = tempfile::tempdir().unwrap();
    let (initrd, socket) = (dir.path().join("initrd"), dir.path().join("qmp"));
    write_initrd_with(&initrd, &busybox, &init(""), &[]).unwrap();
    let qmp = format!("unix:{},server=on,wait=off", socket.display());
    let bridges = ["-device", "pci-bridge,id=b1,chassis_nr=1", "-device", "pci-bridge,id=b2,chassis_nr=2,bus=b1"];
    // SeaBIOS leaves room where there is nothing yet.
    for (firmware, buses) in [(&[][..], &["b1", "b2"][..]), (&["-bios", "bios-256k.bin"], &["b2"])] {
        let arguments = [&["-qmp", &qmp][..], firmware, &bridges, &on_tcg(&kernel, &initrd)].concat();
        let mut guest = Process::gearbox(&arguments);
        let mut session = connect(&python, &socket);
        guest.expect(PROMPT, BOOT);
        guest.send("dmesg -n 8\n");
        guest.expect(PROMPT, SHORT);
        for bus in buses {
            done(&mut session, "device_add", json!({"driver": "pci-serial", "id": "com", "bus": bus}));
            guest.expect("[1b36:0002]", SHORT);
            guest.expect("16550A", SHORT);
            done(&mut session, "device_del", json!({"id": "com"}));
            assert!(ask(&mut session, "~DEVICE_DELETED").contains("/machine/peripheral/com"));
        }
        done(&mut session, "quit", json!({}));
        assert_eq!(guest.wait(SHORT).code(), Some(0), "{}", guest.stderr());
        std::fs::remove_file(&socket).ok();
    }
}

/// A pixmap (P6) has the pixels of this picture.
fn same_picture(pixmap: &[u8], picture: &Path) {
    let file = std::io::BufReader::new(std::fs::File::open(picture).unwrap());
    let mut reader = png::Decoder::new(file).read_info().unwrap();
    let (width, height) = reader.info().size();
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    reader.next_frame(&mut pixels).unwrap();
    assert_eq!(pixmap, [format!("P6\n{width} {height}\n255\n").as_bytes(), &pixels].concat());
}

#[test]
fn the_library_changes_disks_media_and_input_of_a_booted_linux() {
    let Some(python) = installed("python") else { return };
    let dir = tempfile::tempdir().unwrap();
    let Some((kernel, initrd)) = linux_with(dir.path(), &[&IDE[..], &VIRTIO, &[VIRTIO_BLK]].concat(), "") else {
        return;
    };
    let path = |name: &str| dir.path().join(name).to_str().expect("a path in UTF-8").to_owned();
    let (socket, disk) = (dir.path().join("qmp"), path("disk"));
    std::fs::write(&disk, vec![0; 16 << 20]).unwrap();
    for name in ["first", "second"] {
        let mut bytes = format!("the {name} CD\n").into_bytes();
        bytes.resize(1 << 20, 0);
        std::fs::write(path(name), bytes).unwrap();
    }
    let qmp = format!("unix:{},server=on,wait=off", socket.display());
    let mut guest = Process::gearbox(&[&["-qmp", &qmp][..], &on_tcg(&kernel, &initrd)].concat());
    let mut session = connect(&python, &socket);
    guest.expect(PROMPT, BOOT);
    let shell = |guest: &mut Process, command: &str| linux::ask(guest, command, BOOT);

    // A disk comes, grows, is written to, and goes.
    let file = json!({"driver": "file", "filename": disk});
    done(&mut session, "blockdev-add", json!({"driver": "raw", "node-name": "image", "file": file}));
    done(&mut session, "device_add", json!({"driver": "virtio-blk-pci", "id": "extra", "drive": "image"}));
    let size = shell(&mut guest, "until [ -b /dev/vda ]; do sleep 1; done; cat /sys/block/vda/size");
    assert!(size.contains("\n32768\n"), "{size}");
    done(&mut session, "block_resize", json!({"node-name": "image", "size": 24 << 20}));
    shell(&mut guest, "until [ $(cat /sys/block/vda/size) = 49152 ]; do sleep 1; done");
    shell(&mut guest, "echo written by the guest > /dev/vda; sync");
    done(&mut session, "device_del", json!({"id": "extra"}));
    assert!(ask(&mut session, "~DEVICE_DELETED").contains("/machine/peripheral/extra"));
    shell(&mut guest, "until [ ! -e /sys/block/vda ]; do sleep 1; done");
    done(&mut session, "blockdev-del", json!({"node-name": "image"}));
    let bytes = std::fs::read(&disk).unwrap();
    assert!(bytes.starts_with(b"written by the guest\n") && bytes.len() == 24 << 20);

    // A CD comes, is changed for another one, and goes.
    shell(&mut guest, "until [ -b /dev/sr0 ]; do sleep 1; done");
    for name in ["first", "second"] {
        let change = json!({"device": "ide1-cd0", "filename": path(name), "format": "raw"});
        done(&mut session, "blockdev-change-medium", change);
        ask(&mut session, "~DEVICE_TRAY_MOVED");
        // Linux's first read only finds out that the medium is another one.
        let read = shell(&mut guest, "until head -n 1 /dev/sr0 2>/dev/null; do sleep 1; done");
        assert!(read.contains(&format!("\nthe {name} CD\n")), "{read}");
    }
    done(&mut session, "eject", json!({"device": "ide1-cd0"}));
    let read = shell(&mut guest, "head -n 1 /dev/sr0");
    assert!(read.contains("No medium found"), "{read}");

    // Keys reach the terminal of the keyboard.
    guest.send("read line < /dev/tty1; echo \"<$line>\"\n");
    guest.expect("<$line>", SHORT);
    for key in ["o", "k", "ret"] {
        done(&mut session, "send-key", json!({"keys": [{"type": "qcode", "data": key}]}));
    }
    guest.expect("<ok>", SHORT);
    guest.expect(PROMPT, SHORT);

    done(&mut session, "screendump", json!({"filename": path("screen.ppm")}));
    done(&mut session, "screendump", json!({"filename": path("screen.png"), "format": "png"}));
    same_picture(&std::fs::read(path("screen.ppm")).unwrap(), Path::new(&path("screen.png")));
    guest.send("poweroff -f\n");
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
