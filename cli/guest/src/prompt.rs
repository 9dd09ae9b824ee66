//! The prompt: a line editor and a table of commands.

use crate::check::{self, Score, Subject};
use crate::interrupts::{self, COUNTS};
use crate::power::{self, Ending};
use crate::serial::Input;
use crate::text::Hertz;
use crate::{bench, cpu, devices, paging, time};
use core::sync::atomic::Ordering::Relaxed;

/// What the commands work with.
struct Session {
    subject: Subject,
    score: Score,
    input: Option<Input>,
}

/// Name, arguments, what it does, and the function that does it.
const COMMANDS: [(&str, &str, &str, fn(&mut Session, &[&str])); 13] = [
    ("help", "", "this list", |_, _| help()),
    ("check", "", "the self-check again", |session, _| session.check()),
    ("cpu", "", "what the CPU offers", |_, _| cpu::report()),
    ("mem", "", "the memory map", |session, _| session.subject.memory.report()),
    ("pci", "", "the functions on the PCI buses", |_, _| devices::report_pci()),
    ("devices", "", "the devices on the ISA bus, ACPI tables", |_, _| {
        devices::report_isa();
        devices::report_acpi();
    }),
    ("time", "", "date, time, clocks, and interrupts so far", |_, _| report_time()),
    ("bench", "", "small benches; any key stops them", |session, _| session.bench()),
    ("peek", "ADDR [BYTES]", "physical memory in hexadecimal", |_, arguments| peek(arguments)),
    ("poke", "ADDR BYTE...", "writes to physical memory", |_, arguments| poke(arguments)),
    ("echo", "TEXT...", "says it again", |_, arguments| echo(arguments)),
    ("reboot", "", "resets the machine", |_, _| power::reboot()),
    ("poweroff", "", "ends; the exit code is that of the last check", |session, _| session.power_off()),
];

/// Reads commands until one of them ends the guest.
pub fn run(subject: Subject, score: Score) -> ! {
    println!("Type help for the commands.");
    let mut session = Session { subject, score, input: None };
    let mut line = [0; 120];
    loop {
        print!("gearbox> ");
        let input = session.input.get_or_insert_with(Input::open);
        let text = read_line(input, &mut line);
        let mut words = [""; 24];
        let mut count = 0;
        for (slot, word) in words.iter_mut().zip(text.split_whitespace()) {
            *slot = word;
            count += 1;
        }
        let [name, arguments @ ..] = &words[..count] else { continue };
        match COMMANDS.iter().find(|(command, ..)| command == name) {
            Some((.., run)) => run(&mut session, arguments),
            None => println!("unknown command {name}; type help for the list"),
        }
    }
}

/// Reads a line, with Backspace, Ctrl-U (empties it) and Ctrl-C (gives it up). Ctrl-D on an empty line powers off.
fn read_line<'a>(input: &mut Input, line: &'a mut [u8]) -> &'a str {
    const CTRL_C: u8 = 3;
    const CTRL_D: u8 = 4;
    const BACKSPACE: u8 = 8;
    const CTRL_U: u8 = 21;
    const DELETE: u8 = 127;
    let mut length = 0;
    loop {
        let byte = input.byte();
        match byte {
            b'\r' | b'\n' => break,
            CTRL_C => {
                length = 0;
                print!("^C");
                break;
            }
            CTRL_D if length == 0 => {
                let text = b"poweroff";
                line[..text.len()].copy_from_slice(text);
                length = text.len();
                break;
            }
            BACKSPACE | DELETE if length > 0 => {
                length -= 1;
                print!("\x08 \x08");
            }
            CTRL_U => {
                while length > 0 {
                    length -= 1;
                    print!("\x08 \x08");
                }
            }
            b' '..=b'~' if length < line.len() => {
                line[length] = byte;
                length += 1;
                print!("{}", byte as char);
            }
            _ => (),
        }
    }
    println!();
    core::str::from_utf8(&line[..length]).unwrap_or("")
}

impl Session {
    fn check(&mut self) {
        self.input = None;
        self.score = check::run(&self.subject);
        self.score.report();
    }

    fn bench(&mut self) {
        let input = self.input.get_or_insert_with(Input::open);
        bench::run(&mut || input.poll().is_some());
    }

    fn power_off(&self) {
        power::end(if self.score.failed == 0 { Ending::Passed } else { Ending::Failed })
    }
}

fn help() {
    for (name, arguments, what, _) in COMMANDS {
        println!("  {name:9}{arguments:14}{what}");
    }
}

fn echo(arguments: &[&str]) {
    for word in arguments {
        print!("{word} ");
    }
    println!();
}

fn report_time() {
    match devices::rtc::now() {
        Some(now) => println!("{now}"),
        None => println!("no date and time"),
    }
    println!("TSC {} at {}", time::tsc(), Hertz(time::tsc_hz()));
    println!("{} interrupts", interrupts::total());
    for (vector, count) in COUNTS.iter().enumerate() {
        match count.load(Relaxed) {
            0 => (),
            count => println!("  vector {vector:#04x}: {count}"),
        }
    }
}

/// A number, hexadecimal with or without `0x`.
fn number(text: &str) -> Option<u64> {
    u64::from_str_radix(text.strip_prefix("0x").unwrap_or(text), 16).ok()
}

/// Physical addresses end here: what the window of page tables can map.
const ADDRESS_LIMIT: u64 = 1 << 46;

fn peek(arguments: &[&str]) {
    let (address, count) = match arguments {
        [address] => (number(address), Some(64)),
        [address, count] => (number(address), number(count)),
        _ => (None, None),
    };
    let (Some(address), Some(count)) = (address.filter(|a| *a < ADDRESS_LIMIT), count) else {
        println!("peek ADDR [BYTES], both hexadecimal");
        return;
    };
    let end = address + count.min(4096);
    let mut row = address;
    while row < end {
        let mut bytes = [0; 16];
        let length = (end - row).min(16) as usize;
        if !load(row, &mut bytes[..length]) {
            println!("{row:012x}  page fault");
            return;
        }
        print!("{row:012x} ");
        for byte in &bytes[..length] {
            print!(" {byte:02x}");
        }
        print!("{:1$}", "", 3 * (16 - length) + 2);
        for byte in &bytes[..length] {
            print!("{}", if (b' '..=b'~').contains(byte) { *byte as char } else { '.' });
        }
        println!();
        row += 16;
    }
}

fn poke(arguments: &[&str]) {
    let [address, values @ ..] = arguments else {
        println!("poke ADDR BYTE..., hexadecimal");
        return;
    };
    let Some(address) = number(address).filter(|a| *a < ADDRESS_LIMIT) else {
        println!("{address} is no physical address");
        return;
    };
    for (at, value) in (address..).zip(values) {
        let Some(byte) = number(value).and_then(|v| u8::try_from(v).ok()) else {
            println!("{value} is no byte");
            return;
        };
        if !store(at, byte) {
            println!("page fault at {at:#x}");
            return;
        }
    }
}

/// Reads physical memory, by aligned doublewords where it can, as device registers want it; false after a page fault.
fn load(physical: u64, out: &mut [u8]) -> bool {
    let mut done = 0;
    while done < out.len() {
        let at = paging::reach(physical + done as u64);
        let mut value = 0u64;
        let whole = at.is_multiple_of(4) && out.len() - done >= 4;
        // SAFETY: a read; a fault is caught. What a device does when it is read is what the user asks for.
        let fault = unsafe {
            if whole {
                catch!("mov {value:e}, [{at}]"; at = in(reg) at, value = inout(reg) value)
            } else {
                catch!("movzx {value:e}, byte ptr [{at}]"; at = in(reg) at, value = inout(reg) value)
            }
        };
        if fault.is_some() {
            return false;
        }
        let length = if whole { 4 } else { 1 };
        out[done..done + length].copy_from_slice(&value.to_le_bytes()[..length]);
        done += length;
    }
    true
}

/// Writes a byte of physical memory.
fn store(physical: u64, byte: u8) -> bool {
    let at = paging::reach(physical);
    // SAFETY: the user asks for it, and may break the guest by it; a fault is caught.
    unsafe { catch!("mov byte ptr [{at}], {byte}"; at = in(reg) at, byte = in(reg_byte) byte) }.is_none()
}
