//! The 8042 keyboard controller.

use crate::port::{in8, out8};
use crate::time;

const DATA: u16 = 0x60;
const STATUS: u16 = 0x64;
const OUTPUT_FULL: u8 = 1;
const INPUT_FULL: u8 = 2;

/// A controller answers at all: the status does not float.
pub fn present() -> bool {
    in8(STATUS) != 0xff
}

fn ready(mask: u8, value: u8) -> bool {
    time::wait_ms(500, || in8(STATUS) & mask == value)
}

/// Throws away what is in the output buffer.
pub fn flush() {
    for _ in 0..64 {
        if in8(STATUS) & OUTPUT_FULL == 0 {
            return;
        }
        in8(DATA);
    }
}

/// Sends a command.
pub fn command(command: u8) {
    if ready(INPUT_FULL, 0) {
        out8(STATUS, command);
    }
}

/// Sends a data byte: the parameter of a command, or something for the keyboard.
pub fn send(data: u8) {
    if ready(INPUT_FULL, 0) {
        out8(DATA, data);
    }
}

/// The next byte of the output buffer, if one comes.
pub fn receive() -> Option<u8> {
    ready(OUTPUT_FULL, OUTPUT_FULL).then(|| in8(DATA))
}

/// Sends a command and receives its answer.
pub fn ask(question: u8) -> Option<u8> {
    flush();
    command(question);
    receive()
}
