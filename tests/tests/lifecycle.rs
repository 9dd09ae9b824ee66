//! Starting and killing leaves nothing behind: no thread, no file, no raw terminal.

use gearbox_core::backend::firmware::FirmwarePath;
use gearbox_core::board::SystemRequest;
use gearbox_core::machine::{Machine, MachineConfig, Policy, ShutdownCause};
use gearbox_tests::accel::{WITH_CPU, open};
use gearbox_tests::process::gearbox;
use gearbox_tests::small::{Mode, SmallGuest};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::tcgetattr;
use std::fs::{File, OpenOptions, read_dir};
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn count(dir: &str) -> usize {
    read_dir(dir).expect("procfs").count()
}

/// Threads end asynchronously to their join in the kernel's books; allow them a moment.
fn settles(what: &str, before: usize, now: impl Fn() -> usize) {
    let end = Instant::now() + Duration::from_secs(5);
    while now() > before {
        assert!(Instant::now() < end, "{what}: {before} before, {} after", now());
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// The master of a new terminal, and its name.
fn pty() -> (File, String) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pty");
    grantpt(&master).expect("grantpt");
    unlockpt(&master).expect("unlockpt");
    let name = ptsname(&master, Vec::new()).expect("ptsname").into_string().expect("a path");
    (File::from(master), name)
}

fn terminal(name: &str) -> File {
    OpenOptions::new().read(true).write(true).open(name).expect("the terminal")
}

#[test]
fn a_hundred_machines_leave_no_thread_and_no_file() {
    for accel in WITH_CPU {
        let Some(warm) = open(accel, 1) else { continue };
        drop(warm);
        let (threads, files) = (count("/proc/self/task"), count("/proc/self/fd"));
        for round in 0..100 {
            let vm = open(accel, 1).expect("it opened before").vm;
            let spin = SmallGuest::new(Mode::Protected, |a| {
                let mut forever = a.create_label();
                a.set_label(&mut forever).unwrap();
                a.jmp(forever).unwrap();
            });
            let machine = Machine::new(vm, &spin.on_pc(), &MachineConfig::default()).expect("a machine");
            machine.cont();
            if round % 2 == 0 {
                machine.board().request(SystemRequest::Quit(ShutdownCause::HostQmpQuit));
                assert_eq!(machine.control(Policy::default()).cause, ShutdownCause::HostQmpQuit);
            }
            drop(machine);
        }
        settles(&format!("threads on {accel}"), threads, || count("/proc/self/task"));
        settles(&format!("files on {accel}"), files, || count("/proc/self/fd"));
    }
}

#[test]
fn a_killed_process_gives_the_terminal_back() {
    let (mut master, name) = pty();
    let keep = terminal(&name);
    let before = tcgetattr(&keep).expect("termios");
    // Somebody has to read what the guests print.
    std::thread::spawn(move || while master.read(&mut [0; 4096]).is_ok_and(|n| n > 0) {});
    for round in 0..20 {
        let mut child = Command::new(gearbox())
            .args(["-accel", "tcg"])
            .stdin(Stdio::from(terminal(&name)))
            .stdout(Stdio::from(terminal(&name)))
            .stderr(Stdio::null())
            .spawn()
            .expect("gearbox");
        let end = Instant::now() + Duration::from_secs(10);
        while tcgetattr(&keep).expect("termios").local_modes == before.local_modes {
            assert!(Instant::now() < end, "round {round}: the terminal is not raw");
            std::thread::sleep(Duration::from_millis(2));
        }
        let signal = if round % 2 == 0 { Signal::TERM } else { Signal::HUP };
        kill_process(Pid::from_raw(child.id() as i32).expect("a pid"), signal).expect("kill");
        let end = Instant::now() + Duration::from_secs(10);
        let status = loop {
            match child.try_wait().expect("a child") {
                Some(status) => break status,
                None => assert!(Instant::now() < end, "round {round}: does not end"),
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        assert_eq!(status.code(), Some(0), "round {round}");
        let after = tcgetattr(&keep).expect("termios");
        assert_eq!(after.local_modes, before.local_modes, "round {round}");
        assert_eq!(after.input_modes, before.input_modes, "round {round}");
        assert_eq!(after.output_modes, before.output_modes, "round {round}");
    }
}

/// One line on a terminal says what runs; without one, nothing does.
#[test]
fn a_terminal_is_told_what_runs() {
    if FirmwarePath::default().find("bios-256k.bin").is_none() {
        return eprintln!("skipped: no bios-256k.bin (package seabios)");
    }
    let directory = tempfile::tempdir().expect("a directory");
    let disk = directory.path().join("disk.img");
    std::fs::write(&disk, [0; 512]).expect("a file");
    let drive = format!("format=raw,file={}", disk.display());
    let machine = ["-accel", "tcg", "-S", "-m", "64", "-smp", "2", "-display", "none", "-serial", "none"];
    let start = |to: Stdio| {
        let mut command = Command::new(gearbox());
        command.args(machine).args(["-monitor", "none", "-drive", &drive]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(to).spawn().expect("gearbox")
    };
    let (mut master, name) = pty();
    let mut child = start(Stdio::from(terminal(&name)));
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        let mut byte = [0];
        master.read_exact(&mut byte).expect("a line");
        line.extend(byte);
    }
    kill_process(Pid::from_child(&child), Signal::TERM).expect("kill");
    child.wait().expect("a child");
    let line = String::from_utf8_lossy(&line).into_owned();
    for part in [" runs on tcg: ", "; 2 qemu64 CPUs, 64 MiB, firmware /", "bios-256k.bin, ide0-hd0 ", "disk.img (raw)"]
    {
        assert!(line.contains(part), "{part} in {line}");
    }

    let mut child = start(Stdio::piped());
    let mut errors = child.stderr.take().expect("a pipe");
    settles("a start", 0, || usize::from(count(&format!("/proc/{}/task", child.id())) < 2));
    kill_process(Pid::from_child(&child), Signal::TERM).expect("kill");
    let mut text = String::new();
    errors.read_to_string(&mut text).expect("text");
    child.wait().expect("a child");
    assert_eq!(text, "");
}
