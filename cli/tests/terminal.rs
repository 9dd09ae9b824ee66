//! The program on a terminal: keys, modes, and what is left behind.

mod common;

use common::{PATIENCE, Scratch, code, gearbox};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, tcgetattr};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// A terminal, and a program on it.
struct OnTerminal {
    master: File,
    /// Keeps the terminal alive, and tells its mode.
    slave: File,
    before: Termios,
    child: Child,
    seen: Vec<u8>,
}

impl OnTerminal {
    fn start(arguments: &[&str]) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
        let open = || OpenOptions::new().read(true).write(true).open(&name).unwrap();
        let slave = open();
        let before = tcgetattr(&slave).unwrap();
        let child = gearbox(arguments)
            .stdin(Stdio::from(open()))
            .stdout(Stdio::from(open()))
            .stderr(Stdio::from(open()))
            .spawn()
            .unwrap();
        Self { master: File::from(master), slave, before, child, seen: Vec::new() }
    }
    fn send(&mut self, keys: &[u8]) {
        self.master.write_all(keys).unwrap();
    }
    fn expect(&mut self, text: &str) {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(at) = self.seen.windows(text.len()).position(|w| w == text.as_bytes()) {
                self.seen.drain(..at + text.len());
                return;
            }
            let seen = String::from_utf8_lossy(&self.seen);
            assert!(Instant::now() < end, "expected {text:?}, have {seen:?}");
            let mut fds = [PollFd::new(&self.master, PollFlags::IN)];
            if poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 100_000_000 })).unwrap() > 0 {
                let mut buf = [0; 4096];
                let n = self.master.read(&mut buf).unwrap();
                self.seen.extend(&buf[..n]);
            }
        }
    }
    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_raw(self.child.id() as i32).unwrap(), signal).unwrap();
    }
    fn is_raw(&self) -> bool {
        tcgetattr(&self.slave).unwrap().local_modes != self.before.local_modes
    }
    /// Waits for the end; the terminal must be as it was.
    fn end(mut self) -> Option<i32> {
        let end = Instant::now() + PATIENCE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < end, "it does not end");
            std::thread::sleep(Duration::from_millis(2));
        };
        let after = tcgetattr(&self.slave).unwrap();
        assert_eq!(after.local_modes, self.before.local_modes);
        assert_eq!(after.input_modes, self.before.input_modes);
        assert_eq!(after.output_modes, self.before.output_modes);
        status.code()
    }
}

impl Drop for OnTerminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn echo(s: &Scratch) -> String {
    s.guest("echo", &[code::print("ready"), code::echo()].concat())
}

#[test]
fn every_key_goes_to_the_guest_until_ctrl_a_x() {
    let s = Scratch::new("keys");
    let mut t = OnTerminal::start(&["-accel", "tcg", "-nographic", "-kernel", &echo(&s)]);
    t.expect("ready");
    assert!(t.is_raw());
    // Ctrl-C, Ctrl-Z, Ctrl-\, Ctrl-D, Ctrl-S, Enter, Backspace: all of them are the guest's.
    let keys = "a\x03\x1a\x1c\x04\x13\r\x7fz";
    t.send(keys.as_bytes());
    t.expect(keys);
    t.send(b"\x01x");
    assert_eq!(t.end(), Some(0));
}

#[test]
fn the_guest_of_our_own_prompts_and_the_interrupt_key_ends_it() {
    let mut t = OnTerminal::start(&["-accel", "tcg"]);
    t.expect("runs on tcg");
    t.expect("checks ");
    assert!(t.is_raw());
    // The terminal is not this process's controlling one, so the key itself makes no signal here.
    t.signal(Signal::INT);
    assert_eq!(t.end(), Some(0));
}

#[test]
fn the_terminal_is_given_back_however_it_ends() {
    let s = Scratch::new("ends");
    let echo = echo(&s);
    for signal in [Signal::TERM, Signal::HUP, Signal::QUIT, Signal::ABORT] {
        let mut t = OnTerminal::start(&["-accel", "tcg", "-nographic", "-kernel", &echo]);
        t.expect("ready");
        assert!(t.is_raw());
        t.signal(signal);
        let clean = [Signal::TERM, Signal::HUP].contains(&signal);
        assert_eq!(t.end(), clean.then_some(0), "{signal:?}");
    }
    let exit = s.guest("exit", &[code::print("on"), code::outb(0xf4, 1), code::halt()].concat());
    let t =
        OnTerminal::start(&["-accel", "tcg", "-nographic", "-device", "isa-debug-exit,iobase=0xf4", "-kernel", &exit]);
    assert_eq!(t.end(), Some(3));
    let twice = ["-device", "isa-serial,index=0", "-device", "isa-serial,index=0"];
    let t = OnTerminal::start(&[&["-accel", "tcg", "-nographic", "-kernel", &exit], &twice[..]].concat());
    assert_eq!(t.end(), Some(1), "a machine that cannot be built");
}

#[test]
fn after_a_stop_the_terminal_is_raw_again() {
    let s = Scratch::new("stop");
    let mut t = OnTerminal::start(&["-accel", "tcg", "-nographic", "-kernel", &echo(&s)]);
    t.expect("ready");
    t.signal(Signal::STOP);
    // What a shell does to its terminal while the job is stopped.
    rustix::termios::tcsetattr(&t.slave, rustix::termios::OptionalActions::Now, &t.before).unwrap();
    assert!(!t.is_raw());
    t.signal(Signal::CONT);
    let end = Instant::now() + PATIENCE;
    while !t.is_raw() {
        assert!(Instant::now() < end);
    }
    t.send(b"more\x01x");
    assert_eq!(t.end(), Some(0));
}

#[test]
fn a_terminal_that_nobody_reads_does_not_keep_it() {
    let s = Scratch::new("flood");
    // l: mov edx, 3f8h; mov al, 'x'; out dx, al; jmp l
    let flood = s.guest("flood", &[0xba, 0xf8, 3, 0, 0, 0xb0, b'x', 0xee, 0xeb, 0xf6]);
    let mut t = OnTerminal::start(&["-accel", "tcg", "-nographic", "-kernel", &flood]);
    t.expect("xxxx");
    std::thread::sleep(Duration::from_millis(300));
    t.signal(Signal::TERM);
    assert_eq!(t.end(), Some(0));
}

#[test]
fn the_view_shows_the_monitor_and_gives_the_terminal_back() {
    let mut t = OnTerminal::start(&["-accel", "qtest", "-qtest", "null", "-display", "curses", "-S"]);
    t.expect("\x1b[?1049h");
    assert!(t.is_raw());
    // Alt and 2: the monitor. What stood there is drawn, and what is typed.
    t.send(b"\x1b2");
    t.expect("(gearbox)");
    t.send(b"info status\r");
    // Only what changes is drawn, so blanks are not.
    t.expect("VM");
    t.expect("paused");
    // The screen, and back.
    t.send(b"\x1b1");
    t.expect("\x1b[2J");
    t.send(b"\x1b2");
    t.expect("VM status");
    t.send(b"quit\r");
    t.expect("\x1b[?1049l");
    assert_eq!(t.end(), Some(0));
}

#[test]
fn the_view_shows_what_firmware_says_and_takes_keys_to_it() {
    if !std::path::Path::new("/usr/share/seabios/bios-256k.bin").exists() {
        eprintln!("skipped: no SeaBIOS (package seabios)");
        return;
    }
    let mut t = OnTerminal::start(&["-accel", "tcg", "-curses", "-boot", "menu=on"]);
    t.expect("SeaBIOS");
    t.expect("Press");
    t.expect("menu");
    t.send(b"\x1b");
    t.expect("Select");
    t.send(b"\x1b2");
    t.expect("(gearbox)");
    t.send(b"quit\r");
    assert_eq!(t.end(), Some(0));
}

#[test]
fn without_a_terminal_there_is_no_view() {
    let output = gearbox(&["-accel", "qtest", "-display", "curses"]).output().unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("-display curses: standard input and output are no terminal"), "{said}");
}
