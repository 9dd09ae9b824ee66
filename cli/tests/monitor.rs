//! The monitor of the built program at a prompt: editing, completion, history, and a reader that does not read.

mod common;

use common::{PATIENCE, Running, gearbox};
use rustix::process::{Pid, Signal, kill_process};
use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// A machine that has not started, with its monitor on standard input and output.
const STOPPED: [&str; 9] = ["-accel", "tcg", "-S", "-display", "none", "-serial", "none", "-monitor", "stdio"];

fn start() -> Running {
    let mut running = Running::start(&STOPPED);
    running.expect("type 'help' for more information\r\n(gearbox) ");
    running
}

#[test]
fn lines_are_edited_completed_and_recalled() {
    let mut m = start();
    m.send(b"nfo versoin\x02\x02\x7f\x06o\x01i\x05 \r");
    m.expect("Gearbox");
    m.expect("(gearbox) ");
    // The only word that begins so; then what several share; then all of them.
    m.send(b"info stat\t\r");
    m.expect("VM status: paused (prelaunch)\r\n(gearbox) ");
    m.send(b"sy\t");
    m.expect("stem_");
    m.send(b"\t");
    m.expect("\r\nsystem_powerdown system_reset system_wakeup\r\n(gearbox) system_");
    m.send(b"\x15\x10\r");
    m.expect("VM status: paused (prelaunch)\r\n(gearbox) ");
    m.send(b"\x1b[A\x1b[A\r");
    m.expect("Gearbox");
    m.expect("(gearbox) ");
    m.send(b"quit\r");
    assert_eq!(m.end().status, Some(0));
}

#[test]
fn the_machine_is_driven() {
    let mut m = start();
    m.send(b"cpu 0\rp/x 1 + 1\r");
    m.expect("0x2\r\n");
    m.send(b"device_add pci-testdev,id=t\rinfo qtree\r");
    m.expect("dev: pci-testdev, id \"t\"");
    m.send(b"cont\rinfo status\r");
    m.expect("VM status: running\r\n");
    m.send(b"stop\rinfo status\r");
    m.expect("VM status: paused\r\n");
    m.send(b"q\r");
    assert_eq!(m.end().status, Some(0));
}

#[test]
fn whoever_reads_nothing_holds_up_only_the_monitor() {
    let mut command = gearbox(&STOPPED);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    // Far more than a pipe takes: `quit` is not reached while nobody reads.
    child.stdin.as_mut().unwrap().write_all(b"xp/200000xb 0\rquit\r").unwrap();
    std::thread::sleep(Duration::from_millis(500));
    assert!(child.try_wait().unwrap().is_none());
    kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
    let end = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < end, "it does not end");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
