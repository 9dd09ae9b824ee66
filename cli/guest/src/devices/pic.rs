//! The pair of 8259A interrupt controllers.

use crate::interrupts::PIC_BASE;
use crate::port::{in8, out8};

const COMMAND: [u16; 2] = [0x20, 0xa0];
const DATA: [u16; 2] = [0x21, 0xa1];

/// Initializes both: edge-triggered, cascaded at input 2, vectors from [`PIC_BASE`] on, all inputs masked.
pub fn init() {
    for (i, cascade) in [0x04, 0x02].into_iter().enumerate() {
        out8(COMMAND[i], 0x11);
        out8(DATA[i], PIC_BASE as u8 + 8 * i as u8);
        out8(DATA[i], cascade);
        out8(DATA[i], 0x01);
        out8(DATA[i], 0xff);
    }
}

/// Opens an input; one of the second controller opens the cascade as well.
pub fn unmask(irq: u32) {
    let chip = irq as usize >> 3 & 1;
    out8(DATA[chip], in8(DATA[chip]) & !(1 << (irq & 7)));
    if chip == 1 {
        unmask(2);
    }
}

/// Closes an input.
pub fn mask(irq: u32) {
    let chip = irq as usize >> 3 & 1;
    out8(DATA[chip], in8(DATA[chip]) | 1 << (irq & 7));
}

/// The inputs that request service, IRQ 0 in bit 0.
pub fn requests() -> u16 {
    let [master, slave] = COMMAND.map(|port| {
        out8(port, 0x0a);
        in8(port)
    });
    u16::from_le_bytes([master, slave])
}

/// Both controllers are there: their mask registers hold what is written. The masks are as before afterwards.
pub fn present() -> bool {
    DATA.iter().all(|&port| {
        let before = in8(port);
        let holds = [0xaa, 0x55].into_iter().all(|mask| {
            out8(port, mask | 0x04);
            in8(port) == mask | 0x04
        });
        out8(port, before);
        holds
    })
}
