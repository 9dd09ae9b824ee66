//! Machines as their user sees them: how they end, and what comes out of their consoles.

mod common;

use common::{PATIENCE, Running, Scratch, code, run};
use rustix::process::Signal;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::{Duration, Instant};

const TCG: [&str; 2] = ["-accel", "tcg"];
const DEBUG_EXIT: [&str; 2] = ["-device", "isa-debug-exit,iobase=0xf4,iosize=4"];

fn with<'a>(parts: &[&[&'a str]]) -> Vec<&'a str> {
    [&TCG[..], &parts.concat()].concat()
}

#[test]
fn the_guest_of_our_own_checks_the_machine() {
    let ended = run(&TCG);
    assert_eq!(ended.status, Some(0), "{ended:?}");
    assert!(ended.out.contains("accelerator: tcg"), "{}", ended.out);
    assert!(ended.err.contains("gearbox: pc-i440fx-7.2 runs on tcg: "), "{}", ended.err);
}

#[test]
fn the_exit_status_is_the_guests() {
    let s = Scratch::new("status");
    let power_off = code::outw(0x604, 0x2000);
    let reset = [code::print("once "), code::outb(0xcf9, 6)].concat();
    let fault = [code::print("once "), code::triple_fault()].concat();
    for (name, code, options, status) in [
        ("exit0", code::outb(0xf4, 0), &DEBUG_EXIT[..], 1),
        ("exit21", code::outb(0xf4, 21), &DEBUG_EXIT, 43),
        ("power-off", power_off, &[], 0),
        ("reset", reset, &["-no-reboot"], 0),
        ("fault", fault, &["-no-reboot"], 0),
        ("fault2", code::triple_fault(), &["-action", "reboot=shutdown"], 0),
    ] {
        let guest = s.guest(name, &[code, code::halt()].concat());
        let ended = run(&with(&[&["-serial", "stdio", "-monitor", "none", "-kernel", &guest], options]));
        assert_eq!((ended.status, &*ended.err), (Some(status), ""), "{name}");
        assert!(ended.out.matches("once ").count() <= 1, "{name}: {}", ended.out);
    }
}

#[test]
fn without_no_reboot_the_guest_starts_anew() {
    let s = Scratch::new("reboot");
    let guest = s.guest("reset", &[code::print("again."), code::outb(0xcf9, 6), code::halt()].concat());
    let mut p = Running::start(&with(&[&["-nographic", "-kernel", &guest]]));
    p.expect("again.again.again.");
    p.signal(Signal::TERM);
    assert_eq!(p.end().status, Some(0));
}

#[test]
fn signals_end_it_cleanly() {
    let s = Scratch::new("signals");
    let guest = s.guest("on", &[code::print("on"), code::halt()].concat());
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let mut p = Running::start(&with(&[&["-nographic", "-kernel", &guest]]));
        p.expect("on");
        p.signal(signal);
        let ended = p.end();
        assert_eq!((ended.status, &*ended.err), (Some(0), ""), "{signal:?}");
    }
}

#[test]
fn the_monitor_shares_the_terminal() {
    let s = Scratch::new("monitor");
    let guest = s.guest("echo", &[code::print("ready"), code::echo()].concat());
    let mut p = Running::start(&with(&[&["-nographic", "-name", "box", "-kernel", &guest]]));
    p.expect("ready");
    p.send(b"abc\x01\x01d");
    p.expect("abc\x01d");
    p.send(b"\x01c");
    p.expect("type 'help' for more information\r\n(gearbox) ");
    for (command, answer) in [
        ("help", "system_powerdown"),
        ("info status", "VM status: running"),
        ("stop", "(gearbox) "),
        ("info status", "VM status: paused"),
        ("cont", "(gearbox) "),
        ("info name", "box"),
        ("info accel", "tcg: "),
        ("info registers", "CPU#0\r\n"),
        ("info qtree", "isa-serial"),
        ("info regsters", "unknown command: 'info regsters'"),
        ("sotp", "unknown command: 'sotp'"),
    ] {
        p.send(format!("{command}\r").as_bytes());
        p.expect(&format!("{command}\r\n"));
        p.expect(answer);
    }
    p.send(b"\x01cback");
    p.expect("back");
    p.send(b"\x01h");
    p.expect("Ctrl-A x");
    p.send(b"\x01x");
    assert_eq!(p.end().status, Some(0));
}

#[test]
fn a_stopped_machine_waits_for_cont_and_a_shut_down_one_for_reset() {
    let s = Scratch::new("stopped");
    let guest = s.guest("off", &[code::print("on"), code::outw(0x604, 0x2000), code::halt()].concat());
    let serial = s.path("serial");
    let file = format!("file:{serial}");
    let mut p =
        Running::start(&with(&[&["-S", "-no-shutdown", "-serial", &file, "-monitor", "stdio", "-kernel", &guest]]));
    p.expect("(gearbox) ");
    p.send(b"info status\n");
    p.expect("VM status: paused (prelaunch)");
    assert!(p.stays(Duration::from_millis(100)));
    assert_eq!(std::fs::read(&serial).unwrap(), b"");
    p.send(b"cont\n");
    // The guest takes a moment to power off.
    let end = Instant::now() + PATIENCE;
    loop {
        p.send(b"info status\n");
        if p.sees("VM status: paused (shutdown)", Duration::from_millis(200)) {
            break;
        }
        assert!(Instant::now() < end, "it does not power off");
    }
    p.send(b"cont\n");
    p.expect("Resetting the Virtual Machine is required");
    p.send(b"quit\n");
    assert_eq!(p.end().status, Some(0));
    assert_eq!(std::fs::read(&serial).unwrap(), b"on");
}

#[test]
fn what_is_pasted_comes_back_whole() {
    let s = Scratch::new("paste");
    let guest = s.guest("echo", &[code::print("ready"), code::echo()].concat());
    let mut p = Running::start(&with(&[&["-serial", "stdio", "-monitor", "none", "-kernel", &guest]]));
    p.expect("ready");
    let text: String = (0..10_000).map(|n| format!("line {n}\n")).collect();
    p.send(text.as_bytes());
    p.expect(&text);
    p.signal(Signal::TERM);
    assert_eq!(p.end().status, Some(0));
}

#[test]
fn serial_ports_go_where_they_are_told() {
    let s = Scratch::new("serials");
    let com2: Vec<u8> = b"two".iter().flat_map(|&c| code::outb(0x2f8, c)).collect();
    let debug: Vec<u8> = b"debug".iter().flat_map(|&c| code::outb(0xe9, c)).collect();
    let guest = s.guest("ports", &[code::print("one"), com2, debug, code::outb(0xf4, 0), code::halt()].concat());
    let [one, two, debug] = ["one", "two", "debug"].map(|name| s.path(name));
    let (first, second) = (format!("file:{one}"), format!("file,id=second,path={two}"));
    let debugcon = format!("file:{debug}");
    let consoles = ["-serial", &first, "-chardev", &second, "-serial", "chardev:second", "-debugcon", &debugcon];
    let ended = run(&with(&[&consoles, &DEBUG_EXIT, &["-kernel", &guest]]));
    assert_eq!((ended.status, &*ended.out, &*ended.err), (Some(1), "", ""));
    for (path, text) in [(one, "one"), (two, "two"), (debug, "debug")] {
        assert_eq!(std::fs::read_to_string(path).unwrap(), text);
    }
}

#[test]
fn a_serial_port_on_a_socket_and_on_a_pty() {
    let s = Scratch::new("socket");
    let guest = s.guest("echo", &code::echo());
    let path = s.path("socket");
    let server = format!("unix:{path},server,nowait");
    let mut p = Running::start(&with(&[&["-serial", &server, "-serial", "pty", "-kernel", &guest]]));
    p.expect("char device redirected to /dev/pts/");
    p.expect(" (label serial1)\n");
    let mut client = UnixStream::connect(&path).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(b"ping").unwrap();
    let mut answer = [0; 4];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"ping");
    p.signal(Signal::TERM);
    assert_eq!(p.end().status, Some(0));
    assert!(!std::path::Path::new(&path).exists());
}

#[test]
fn guest_errors_are_logged_when_asked_for() {
    let s = Scratch::new("log");
    // mov ecx, 0deadh; rdmsr: there is no such register, and no handler for the exception either.
    let guest = s.guest("bad", &[0xb9, 0xad, 0xde, 0, 0, 0x0f, 0x32]);
    let log = s.path("log");
    let ended = run(&with(&[&["-display", "none", "-no-reboot", "-d", "guest_errors", "-D", &log, "-kernel", &guest]]));
    assert_eq!((ended.status, &*ended.err), (Some(0), ""));
    let logged = std::fs::read_to_string(&log).unwrap();
    assert!(logged.contains("guest_error: RDMSR 0xdead"), "{logged}");
    let quiet = run(&with(&[&["-display", "none", "-no-reboot", "-kernel", &guest]]));
    assert_eq!((quiet.status, &*quiet.err), (Some(0), ""));
}

#[test]
fn qtest_on_standard_input_and_on_a_socket() {
    let mut p = Running::start(&["-qtest", "stdio", "-qtest-log", "none", "-display", "none"]);
    for (command, answer) in [("outb 0x70 0x0e", "OK\n"), ("inb 0x71", "OK 0x"), ("clock_step 100", "OK 100")] {
        p.send(format!("{command}\n").as_bytes());
        p.expect(answer);
    }
    p.signal(Signal::TERM);
    assert_eq!(p.end().status, Some(0));

    let s = Scratch::new("qtest");
    let (path, log) = (s.path("socket"), s.path("log"));
    let listener = UnixListener::bind(&path).unwrap();
    let p = Running::start(&[
        "-accel",
        "qtest",
        "-machine",
        "none",
        "-m",
        "16",
        "-qtest",
        &format!("unix:{path}"),
        "-qtest-log",
        &log,
        "-display",
        "none",
    ]);
    let (mut client, _) = listener.accept().unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(b"writel 0x1000 0x12345678\nreadw 0x1002\n").unwrap();
    let answers: Vec<_> = BufReader::new(client).lines().take(2).map(Result::unwrap).collect();
    assert_eq!(answers, ["OK", "OK 0x0000000000001234"]);
    p.signal(Signal::TERM);
    assert_eq!(p.end().status, Some(0));
    assert!(std::fs::read_to_string(&log).unwrap().contains("readw"));
}
