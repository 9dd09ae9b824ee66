//! The console: COM1 at 115200 baud, 8 data bits, no parity, 1 stop bit. Output polls; input is by interrupt and HLT.

use crate::devices::{pic, uart};
use crate::{interrupts, port, ring0};
use core::fmt;

const COM1: u16 = uart::PORTS[0];
const IRQ: u32 = 4;

/// The console as [`core::fmt::Write`]; line ends go out as CR LF. What the transmitter does not take within a bounded
/// number of polls is dropped.
pub struct Console;

impl fmt::Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for (i, line) in text.split('\n').enumerate() {
            if i > 0 {
                transmit(b"\r\n");
            }
            transmit(line.as_bytes());
        }
        Ok(())
    }
}

fn transmit(bytes: &[u8]) {
    if !bytes.is_empty() {
        // SAFETY: the routine reads the slice and touches COM1.
        unsafe { ring0::call(ring0::uart_write, bytes.as_ptr() as u64, bytes.len() as u64, COM1.into()) };
    }
}

/// Prints to the console.
macro_rules! print {
    ($($arg:tt)*) => {{
        use core::fmt::Write;
        // The console never fails.
        let _ = write!($crate::serial::Console, $($arg)*);
    }};
}

/// Prints a line to the console.
macro_rules! println {
    () => { print!("\n") };
    ($($arg:tt)*) => { print!("{}\n", format_args!($($arg)*)) };
}

/// Sets the line up: FIFOs on and empty, interrupts off, DTR, RTS and OUT2 (which on a PC connects the interrupt) on.
pub fn init() {
    port::out8(COM1 + uart::IER, 0);
    port::out8(COM1 + uart::LCR, 0x83);
    port::out8(COM1, 1);
    port::out8(COM1 + uart::IER, 0);
    port::out8(COM1 + uart::LCR, 0x03);
    port::out8(COM1 + uart::FCR, 0x07);
    port::out8(COM1 + uart::MCR, 0x0b);
}

/// Console input, with the receive interrupt open for as long as it lives.
pub struct Input(());

impl Input {
    /// Opens the receive interrupt.
    pub fn open() -> Input {
        interrupts::off();
        pic::unmask(IRQ);
        // Byte-wise: with a higher trigger level a single key would wait for the FIFO's time-out.
        port::out8(COM1 + uart::FCR, 0x01);
        port::out8(COM1 + uart::IER, uart::IER_RECEIVE);
        Input(())
    }

    /// The next byte; halts the CPU until there is one.
    pub fn byte(&mut self) -> u8 {
        loop {
            if port::in8(COM1 + uart::LSR) & uart::LSR_DATA != 0 {
                return port::in8(COM1);
            }
            interrupts::halt();
        }
    }

    /// A byte if one is waiting.
    pub fn poll(&mut self) -> Option<u8> {
        (port::in8(COM1 + uart::LSR) & uart::LSR_DATA != 0).then(|| port::in8(COM1))
    }
}

impl Drop for Input {
    fn drop(&mut self) {
        port::out8(COM1 + uart::IER, 0);
        pic::mask(IRQ);
    }
}

/// Waits until the transmitter is wholly empty, so that a mode change or power-off cuts nothing short.
pub fn drain() {
    for _ in 0..100_000 {
        if port::in8(COM1 + uart::LSR) & uart::LSR_EMPTY != 0 {
            return;
        }
    }
}
