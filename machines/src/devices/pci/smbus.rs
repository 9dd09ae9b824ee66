//! The SMBus host of the 82371AB, and the EEPROMs that a board has on its bus: one in each socket for memory.
//!
//! Sources: Intel 82371AB (PIIX4) datasheet (290562), 7.3 and 11.3; System Management Bus Specification 2.0. A transaction is over at once. As on
//! QEMU's boards the EEPROMs are blank, and so they are after each reset.

use gearbox_core::board::state::{Saved, Slice};

/// Number of ports.
pub(super) const PORTS: u16 = 64;
/// Address of the first EEPROM, and their number.
const FIRST: u8 = 0x50;
const EEPROMS: usize = 8;
/// Bytes of a block at most.
const BLOCK: usize = 32;

/// Registers.
mod port {
    pub(super) const STATUS: u64 = 0;
    pub(super) const CONTROL: u64 = 2;
    pub(super) const COMMAND: u64 = 3;
    pub(super) const ADDRESS: u64 = 4;
    pub(super) const DATA0: u64 = 5;
    pub(super) const DATA1: u64 = 6;
    pub(super) const BLOCK_DATA: u64 = 7;
}
/// Bits of the host status; a store of ones clears them.
mod status {
    pub(super) const INTERRUPT: u8 = 0x02;
    pub(super) const DEVICE_ERROR: u8 = 0x04;
    pub(super) const FAILED: u8 = 0x10;
    pub(super) const CLEARED: u8 = 0x1e;
}
/// Bits of the host control.
mod control {
    pub(super) const INTERRUPTS: u8 = 0x01;
    pub(super) const KILL: u8 = 0x02;
    pub(super) const PROTOCOL: u8 = 0x1c;
    pub(super) const START: u8 = 0x40;
}
/// Protocols, as the control register has them.
mod protocol {
    pub(super) const QUICK: u8 = 0;
    pub(super) const BYTE: u8 = 1;
    pub(super) const BYTE_DATA: u8 = 2;
    pub(super) const WORD_DATA: u8 = 3;
    pub(super) const BLOCK: u8 = 5;
}

/// An EEPROM of 256 bytes: a byte that is written is a place, those that follow are stored from there on.
#[derive(Clone)]
struct Eeprom {
    data: [u8; 256],
    at: u8,
}

impl Eeprom {
    fn write(&mut self, bytes: &[u8]) {
        if let Some((at, data)) = bytes.split_first() {
            self.at = *at;
            for byte in data {
                self.data[usize::from(self.at)] = *byte;
                self.at = self.at.wrapping_add(1);
            }
        }
    }
    fn read(&mut self) -> u8 {
        let byte = self.data[usize::from(self.at)];
        self.at = self.at.wrapping_add(1);
        byte
    }
}

/// The host, and what is on the bus.
#[derive(Clone)]
pub(super) struct SmbusHost {
    status: u8,
    control: u8,
    command: u8,
    address: u8,
    data: [u8; 2],
    block: [u8; BLOCK],
    /// Where in the block the next access goes.
    next: usize,
    eeproms: Vec<Eeprom>,
}

impl Default for SmbusHost {
    fn default() -> Self {
        Self {
            status: 0,
            control: 0,
            command: 0,
            address: 0,
            data: [0; 2],
            block: [0; BLOCK],
            next: 0,
            eeproms: vec![Eeprom { data: [0; 256], at: 0 }; EEPROMS],
        }
    }
}

impl SmbusHost {
    /// What is saved of it, and of the EEPROMs.
    pub(super) fn saved(&mut self) -> Saved<'_> {
        let Self { status, control, command, address, data, block, next, eeproms } = self;
        let host = Saved::of((status, control, command, address, data, block));
        let eeproms = eeproms.iter_mut().map(|Eeprom { data, at }| Saved::of((Slice(data), at)));
        eeproms.fold(host.and(Saved::sound(next, |next| *next < BLOCK)), Saved::and)
    }
    /// It asks for an interrupt.
    pub(super) fn interrupts(&self) -> bool {
        self.control & control::INTERRUPTS != 0 && self.status & status::CLEARED != 0
    }
    pub(super) fn read(&mut self, offset: u64) -> u8 {
        match offset {
            port::STATUS => self.status,
            port::CONTROL => {
                self.next = 0;
                self.control
            }
            port::COMMAND => self.command,
            port::ADDRESS => self.address,
            port::DATA0 => self.data[0],
            port::DATA1 => self.data[1],
            port::BLOCK_DATA => *self.next_in_block(),
            _ => 0,
        }
    }
    pub(super) fn write(&mut self, offset: u64, value: u8) {
        match offset {
            port::STATUS => self.status &= !(value & status::CLEARED),
            port::CONTROL => {
                self.control = value & !control::START;
                if value & control::KILL != 0 {
                    self.status |= status::FAILED;
                } else if value & control::START != 0 {
                    self.status |= if self.transaction() { status::INTERRUPT } else { status::DEVICE_ERROR };
                }
            }
            port::COMMAND => self.command = value,
            port::ADDRESS => self.address = value,
            port::DATA0 => self.data[0] = value,
            port::DATA1 => self.data[1] = value,
            port::BLOCK_DATA => *self.next_in_block() = value,
            _ => {}
        }
    }
    fn next_in_block(&mut self) -> &mut u8 {
        let at = self.next;
        self.next = (at + 1) % BLOCK;
        &mut self.block[at]
    }
    /// Carries a transaction out; false where nobody answers, or the protocol is none.
    fn transaction(&mut self) -> bool {
        let (at, reads) = (self.address >> 1, self.address & 1 != 0);
        let Some(device) = at.checked_sub(FIRST).and_then(|n| self.eeproms.get_mut(usize::from(n))) else {
            return false;
        };
        let protocol = (self.control & control::PROTOCOL) >> 2;
        match (protocol, reads) {
            (protocol::QUICK, _) => {}
            (protocol::BYTE, true) => self.data[0] = device.read(),
            (protocol::BYTE, false) => device.write(&[self.command]),
            (protocol::BYTE_DATA | protocol::WORD_DATA, true) => {
                device.write(&[self.command]);
                let bytes = usize::from(protocol - protocol::BYTE);
                self.data[..bytes].iter_mut().for_each(|byte| *byte = device.read());
            }
            (protocol::BYTE_DATA, false) => device.write(&[self.command, self.data[0]]),
            (protocol::WORD_DATA, false) => device.write(&[self.command, self.data[0], self.data[1]]),
            (protocol::BLOCK, true) => {
                device.write(&[self.command]);
                // The device says first how many there are.
                let bytes = usize::from(device.read());
                if !(1..=BLOCK).contains(&bytes) {
                    return false;
                }
                self.data[0] = bytes as u8;
                self.block[..bytes].iter_mut().for_each(|byte| *byte = device.read());
                self.next = 0;
            }
            (protocol::BLOCK, false) => {
                let bytes = usize::from(self.data[0]);
                if !(1..=BLOCK).contains(&bytes) {
                    return false;
                }
                device.write(&[&[self.command, self.data[0]], &self.block[..bytes]].concat());
                self.next = 0;
            }
            _ => return false,
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const READ: u8 = 1;

    /// A transaction with the EEPROM of that number; the status that it leaves.
    fn start(host: &mut SmbusHost, n: u8, reads: u8, protocol: u8, command: u8) -> u8 {
        host.write(port::STATUS, 0xff);
        host.write(port::ADDRESS, (FIRST + n) << 1 | reads);
        host.write(port::COMMAND, command);
        host.write(port::CONTROL, protocol << 2 | control::START);
        host.read(port::STATUS)
    }

    #[test]
    fn each_protocol_reads_and_writes() {
        let mut h = SmbusHost::default();
        h.write(port::DATA0, 0x12);
        assert_eq!(start(&mut h, 3, 0, protocol::BYTE_DATA, 5), status::INTERRUPT);
        h.write(port::DATA0, 0x34);
        h.write(port::DATA1, 0x56);
        assert_eq!(start(&mut h, 3, 0, protocol::WORD_DATA, 6), status::INTERRUPT);
        assert_eq!(start(&mut h, 3, READ, protocol::BYTE_DATA, 5), status::INTERRUPT);
        assert_eq!(h.read(port::DATA0), 0x12);
        assert_eq!(start(&mut h, 3, READ, protocol::WORD_DATA, 6), status::INTERRUPT);
        assert_eq!([port::DATA0, port::DATA1].map(|p| h.read(p)), [0x34, 0x56]);
        // The place goes on from a byte that was sent.
        assert_eq!(start(&mut h, 3, 0, protocol::BYTE, 5), status::INTERRUPT);
        let next = [0; 3].map(|_| {
            start(&mut h, 3, READ, protocol::BYTE, 0);
            h.read(port::DATA0)
        });
        assert_eq!(next, [0x12, 0x34, 0x56]);
        assert_eq!(start(&mut h, 4, READ, protocol::BYTE_DATA, 5), status::INTERRUPT);
        assert_eq!(h.read(port::DATA0), 0, "another one is blank");
        assert_eq!(start(&mut h, 7, READ, protocol::QUICK, 0), status::INTERRUPT);
    }

    #[test]
    fn blocks() {
        let mut h = SmbusHost::default();
        h.read(port::CONTROL);
        [7, 8, 9].iter().for_each(|b| h.write(port::BLOCK_DATA, *b));
        h.write(port::DATA0, 3);
        assert_eq!(start(&mut h, 0, 0, protocol::BLOCK, 0x10), status::INTERRUPT);
        h.write(port::DATA0, 0);
        assert_eq!(start(&mut h, 0, READ, protocol::BLOCK, 0x10), status::INTERRUPT);
        assert_eq!((h.read(port::DATA0), [0; 3].map(|_| h.read(port::BLOCK_DATA))), (3, [7, 8, 9]));
        for length in [0, 33] {
            h.write(port::DATA0, length);
            assert_eq!(start(&mut h, 0, 0, protocol::BLOCK, 0), status::DEVICE_ERROR);
        }
        assert_eq!(start(&mut h, 0, READ, protocol::BLOCK, 0x80), status::DEVICE_ERROR, "a block of no bytes");
    }

    #[test]
    fn nobody_answers_elsewhere() {
        let mut h = SmbusHost::default();
        assert_eq!(start(&mut h, 8, READ, protocol::QUICK, 0), status::DEVICE_ERROR);
        assert_eq!(start(&mut h, 0x20, READ, protocol::BYTE, 0), status::DEVICE_ERROR);
        assert_eq!(start(&mut h, 0, READ, 7, 0), status::DEVICE_ERROR);
        h.write(port::CONTROL, control::INTERRUPTS);
        assert!(h.interrupts());
        h.write(port::STATUS, 0xff);
        assert!(!h.interrupts());
        h.write(port::CONTROL, control::KILL);
        assert_eq!(h.read(port::STATUS), status::FAILED);
        // Whatever is stored, nothing is out of bounds.
        let mut x = 1u32;
        for _ in 0..100_000 {
            x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            h.write(u64::from(x >> 29), (x >> 16) as u8);
            h.read(u64::from(x >> 26 & 7));
        }
    }
}
