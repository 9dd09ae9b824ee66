//! 16550A serial ports: registers, and finding out what is there.

use crate::port::{in8, out8};

/// COM1 to COM4.
pub const PORTS: [u16; 4] = [0x3f8, 0x2f8, 0x3e8, 0x2e8];

/// Interrupt enable register.
pub const IER: u16 = 1;
/// Interrupt identification register (read).
pub const IIR: u16 = 2;
/// FIFO control register (write).
pub const FCR: u16 = 2;
/// Line control register.
pub const LCR: u16 = 3;
/// Modem control register.
pub const MCR: u16 = 4;
/// Line status register.
pub const LSR: u16 = 5;
/// Modem status register.
pub const MSR: u16 = 6;
/// Scratch register.
pub const SCR: u16 = 7;

/// IER: received data available.
pub const IER_RECEIVE: u8 = 1;
/// IER: transmitter holding register empty.
pub const IER_TRANSMIT: u8 = 2;
/// LSR: data ready.
pub const LSR_DATA: u8 = 0x01;
/// LSR: transmitter holding register empty.
pub const LSR_THRE: u8 = 0x20;
/// LSR: transmitter empty.
pub const LSR_EMPTY: u8 = 0x40;
/// MCR: loopback.
pub const MCR_LOOP: u8 = 0x10;

/// What kind of UART is at `base`, by its scratch and FIFO registers; `None` if nothing is there. A FIFO stays enabled.
pub fn identify(base: u16) -> Option<&'static str> {
    let before = in8(base + IER);
    out8(base + IER, 0x05);
    let answers = in8(base + IER) == 0x05;
    out8(base + IER, before);
    if !answers {
        return None;
    }
    let scratch = [0x5a, 0xa5].into_iter().all(|value| {
        out8(base + SCR, value);
        in8(base + SCR) == value
    });
    out8(base + FCR, 0x01);
    Some(match (in8(base + IIR) >> 6, scratch) {
        (3, _) => "16550A, FIFO of 16 bytes",
        (2, _) => "16550, FIFO unusable",
        (_, true) => "16450, no FIFO",
        (_, false) => "8250, no FIFO",
    })
}
