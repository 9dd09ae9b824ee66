//! A 16550A as a value: registers, characters and modem lines in, characters and an interrupt out.
//!
//! Source: National Semiconductor PC16550D datasheet. Where that leaves room it does as QEMU's `isa-serial`: characters leave as fast as
//! the other end takes them, the interrupt output does not depend on OUT2, and modem inputs report a peer that is there.

use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Size of each FIFO.
pub const FIFO: usize = 16;
/// Clock of the baud generator after the fixed division by 16, in Hz.
pub const BAUD_BASE: u64 = 115_200;

/// Interrupt enable bits.
mod ier {
    pub(super) const RECEIVED: u8 = 1 << 0;
    pub(super) const THR_EMPTY: u8 = 1 << 1;
    pub(super) const LINE: u8 = 1 << 2;
    pub(super) const MODEM: u8 = 1 << 3;
}
/// Interrupt identifications, by falling priority.
mod iir {
    pub(super) const LINE: u8 = 0x06;
    pub(super) const TIMEOUT: u8 = 0x0c;
    pub(super) const RECEIVED: u8 = 0x04;
    pub(super) const THR_EMPTY: u8 = 0x02;
    pub(super) const MODEM: u8 = 0x00;
    pub(super) const NONE: u8 = 0x01;
    pub(super) const FIFO: u8 = 0xc0;
}
mod fcr {
    pub(super) const ENABLE: u8 = 1 << 0;
    pub(super) const CLEAR_RX: u8 = 1 << 1;
    pub(super) const CLEAR_TX: u8 = 1 << 2;
    /// Enable, DMA mode and trigger level are kept.
    pub(super) const KEPT: u8 = 0xc9;
}
mod lcr {
    pub(super) const STOP: u8 = 1 << 2;
    pub(super) const PARITY: u8 = 1 << 3;
    pub(super) const BREAK: u8 = 1 << 6;
    pub(super) const DLAB: u8 = 1 << 7;
}
mod mcr {
    pub(super) const DTR: u8 = 1 << 0;
    pub(super) const RTS: u8 = 1 << 1;
    pub(super) const OUT1: u8 = 1 << 2;
    pub(super) const OUT2: u8 = 1 << 3;
    pub(super) const LOOP: u8 = 1 << 4;
}
mod lsr {
    pub(super) const READY: u8 = 1 << 0;
    pub(super) const OVERRUN: u8 = 1 << 1;
    pub(super) const BREAK: u8 = 1 << 4;
    pub(super) const THR_EMPTY: u8 = 1 << 5;
    pub(super) const TX_EMPTY: u8 = 1 << 6;
    pub(super) const ERROR_IN_FIFO: u8 = 1 << 7;
    pub(super) const ERRORS: u8 = 0x1e;
}
mod msr {
    pub(super) const CTS: u8 = 1 << 4;
    pub(super) const DSR: u8 = 1 << 5;
    pub(super) const RI: u8 = 1 << 6;
    pub(super) const DCD: u8 = 1 << 7;
    pub(super) const DELTAS: u8 = 0x0f;
    /// The ring indicator tells of its trailing edge only.
    pub(super) const TERI: u8 = 1 << 2;
}

/// A received character and what was wrong with it (LSR bits).
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Received {
    byte: u8,
    errors: u8,
}

/// The UART.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Uart {
    ier: u8,
    fcr: u8,
    lcr: u8,
    mcr: u8,
    scratch: u8,
    divisor: u16,
    /// Modem inputs CTS, DSR, RI, DCD as the peer drives them, and the deltas as in MSR.
    modem: u8,
    deltas: u8,
    /// Receiver FIFO; one character when FIFOs are off.
    rx: VecDeque<Received>,
    /// The receiver buffer register of a UART without FIFOs, which can be read again.
    rbr: u8,
    /// Errors of characters that came to the top of the FIFO, until LSR is read.
    errors: u8,
    /// The characters in the FIFO have waited too long.
    timed_out: bool,
    /// The time-out begins anew.
    restart: bool,
    /// Transmitter FIFO, or the holding register; the shift register, while the other end does not take its character.
    tx: VecDeque<u8>,
    shift: Option<u8>,
    /// The transmitter has become empty, and that has not been told.
    thr_pending: bool,
}

impl Default for Uart {
    fn default() -> Self {
        Self {
            ier: 0,
            fcr: 0,
            lcr: 0,
            mcr: mcr::OUT2,
            scratch: 0,
            divisor: 12,
            modem: msr::CTS | msr::DSR | msr::DCD,
            deltas: 0,
            rx: VecDeque::with_capacity(FIFO),
            rbr: 0,
            errors: 0,
            timed_out: false,
            restart: false,
            tx: VecDeque::with_capacity(FIFO),
            shift: None,
            thr_pending: false,
        }
    }
}

impl Uart {
    /// A UART after reset.
    pub fn new() -> Self {
        Self::default()
    }
    /// Can a UART be like this?
    pub(super) fn is_sound(&self) -> bool {
        self.rx.len() <= FIFO && self.tx.len() <= FIFO
    }
    fn fifos(&self) -> bool {
        self.fcr & fcr::ENABLE != 0
    }
    fn capacity(&self) -> usize {
        if self.fifos() { FIFO } else { 1 }
    }
    /// How many characters make a receiver interrupt.
    fn trigger(&self) -> usize {
        if self.fifos() { [1, 4, 8, 14][usize::from(self.fcr >> 6)] } else { 1 }
    }
    fn loopback(&self) -> bool {
        self.mcr & mcr::LOOP != 0
    }
    fn dlab(&self) -> bool {
        self.lcr & lcr::DLAB != 0
    }
    /// How long one character takes on the line, in ns.
    pub fn char_ns(&self) -> u64 {
        let bits = 1
            + 5
            + u64::from(self.lcr & 3)
            + u64::from(self.lcr & lcr::PARITY != 0)
            + if self.lcr & lcr::STOP != 0 { 2 } else { 1 };
        1_000_000_000 * bits * u64::from(self.divisor.max(1)) / BAUD_BASE
    }

    /// A load of register `reg` (0 to 7).
    pub fn read(&mut self, reg: u8) -> u8 {
        let [dll, dlm] = self.divisor.to_le_bytes();
        match reg & 7 {
            0 if self.dlab() => dll,
            0 => self.take_received(),
            1 if self.dlab() => dlm,
            1 => self.ier,
            2 => {
                let id = self.interrupt();
                self.thr_pending &= id != iir::THR_EMPTY;
                id | if self.fifos() { iir::FIFO } else { 0 }
            }
            3 => self.lcr,
            4 => self.mcr,
            5 => {
                let v = self.line_status();
                self.errors = 0;
                v
            }
            6 => self.modem_lines() | std::mem::take(&mut self.deltas),
            _ => self.scratch,
        }
    }
    /// A store to register `reg`.
    pub fn write(&mut self, reg: u8, v: u8) {
        let [dll, dlm] = self.divisor.to_le_bytes();
        match reg & 7 {
            0 if self.dlab() => self.divisor = u16::from_le_bytes([v, dlm]),
            0 => {
                if self.tx.len() >= self.capacity() {
                    self.tx.pop_front();
                }
                self.tx.push_back(v);
                self.thr_pending = false;
            }
            1 if self.dlab() => self.divisor = u16::from_le_bytes([dll, v]),
            1 => {
                // Enabling the interrupt while the transmitter is empty asks for it anew.
                let changed = (self.ier ^ v) & ier::THR_EMPTY != 0;
                self.ier = v & 0x0f;
                if changed {
                    self.thr_pending = v & ier::THR_EMPTY != 0 && self.tx.is_empty();
                }
            }
            2 => self.set_fifo_control(v),
            3 => {
                let starts = v & !self.lcr & lcr::BREAK != 0;
                self.lcr = v;
                if starts && self.loopback() {
                    self.put(Received { byte: 0, errors: lsr::BREAK });
                }
            }
            4 => {
                let before = self.modem_lines();
                self.mcr = v & 0x1f;
                self.note_modem(before);
            }
            5 | 6 => {}
            _ => self.scratch = v,
        }
    }
    fn set_fifo_control(&mut self, v: u8) {
        let toggles = (v ^ self.fcr) & fcr::ENABLE != 0;
        if toggles || v & fcr::CLEAR_RX != 0 {
            self.rx.clear();
            self.errors &= !lsr::BREAK;
            self.timed_out = false;
        }
        if toggles || v & fcr::CLEAR_TX != 0 {
            self.tx.clear();
            self.thr_pending = true;
        }
        self.fcr = v & fcr::KEPT;
    }

    fn line_status(&self) -> u8 {
        let mut v = self.errors;
        if !self.rx.is_empty() {
            v |= lsr::READY;
        }
        if self.tx.is_empty() {
            v |= lsr::THR_EMPTY | if self.shift.is_none() { lsr::TX_EMPTY } else { 0 };
        }
        if self.fifos() && self.rx.iter().any(|r| r.errors != 0) {
            v |= lsr::ERROR_IN_FIFO;
        }
        v
    }
    /// Modem inputs, which in loopback are the modem outputs.
    fn modem_lines(&self) -> u8 {
        if !self.loopback() {
            return self.modem;
        }
        [(mcr::RTS, msr::CTS), (mcr::DTR, msr::DSR), (mcr::OUT1, msr::RI), (mcr::OUT2, msr::DCD)]
            .into_iter()
            .filter(|(out, _)| self.mcr & out != 0)
            .fold(0, |lines, (_, input)| lines | input)
    }
    /// Notes which modem inputs have changed since they were `before`.
    fn note_modem(&mut self, before: u8) {
        let now = self.modem_lines();
        let rang = before & !now & msr::RI != 0;
        self.deltas |= (before ^ now) >> 4 & !msr::TERI | if rang { msr::TERI } else { 0 };
    }

    /// What interrupts, as IIR identifies it.
    fn interrupt(&self) -> u8 {
        let on = |bit| self.ier & bit != 0;
        if on(ier::LINE) && self.errors & lsr::ERRORS != 0 {
            iir::LINE
        } else if on(ier::RECEIVED) && self.timed_out {
            iir::TIMEOUT
        } else if on(ier::RECEIVED) && self.rx.len() >= self.trigger() {
            iir::RECEIVED
        } else if on(ier::THR_EMPTY) && self.thr_pending {
            iir::THR_EMPTY
        } else if on(ier::MODEM) && self.deltas & msr::DELTAS != 0 {
            iir::MODEM
        } else {
            iir::NONE
        }
    }
    /// Level of the interrupt output.
    pub fn irq(&self) -> bool {
        self.interrupt() != iir::NONE
    }

    fn take_received(&mut self) -> u8 {
        let Some(r) = self.rx.pop_front() else { return if self.fifos() { 0 } else { self.rbr } };
        self.reveal();
        self.timed_out = false;
        self.restart = true;
        r.byte
    }
    /// Shows the errors of the character that is now at the top.
    fn reveal(&mut self) {
        if let Some(r) = self.rx.front_mut() {
            self.errors |= std::mem::take(&mut r.errors);
        }
    }
    fn put(&mut self, r: Received) {
        if self.rx.len() >= self.capacity() {
            self.errors |= lsr::OVERRUN;
            if self.fifos() {
                return;
            }
            self.rx.clear();
        }
        if !self.fifos() {
            self.rbr = r.byte;
        }
        self.rx.push_back(r);
        if self.rx.len() == 1 {
            self.reveal();
        }
        self.restart = true;
    }
    /// How many characters the receiver wants. It is kept filled to the trigger level and no further, so that the guest is interrupted
    /// as often as it asked to be, and whatever it does not read stays at the other end.
    pub fn wants(&self) -> usize {
        if self.loopback() { 0 } else { self.trigger().saturating_sub(self.rx.len()) }
    }
    /// A character arrives.
    pub fn receive(&mut self, byte: u8) {
        self.put(Received { byte, errors: 0 });
    }
    /// Sends what there is to send until `sink` refuses a character. In loopback it comes back instead.
    pub fn transmit(&mut self, mut sink: impl FnMut(u8) -> bool) {
        loop {
            if self.shift.is_none() {
                self.shift = self.tx.pop_front();
                self.thr_pending |= self.shift.is_some() && self.tx.is_empty();
            }
            match self.shift {
                Some(byte) if self.loopback() => self.receive(byte),
                Some(byte) if sink(byte) => {}
                _ => return,
            }
            self.shift = None;
        }
    }

    /// When the character time-out begins anew: how many ns it is, or `None` where there is nothing to wait for. Inside `None`, it
    /// goes on as it was.
    pub fn timeout_change(&mut self) -> Option<Option<u64>> {
        let waits = self.fifos() && !self.rx.is_empty() && !self.timed_out;
        if !waits {
            self.restart = false;
            return Some(None);
        }
        std::mem::take(&mut self.restart).then(|| Some(4 * self.char_ns()))
    }
    /// No character has arrived or been read for four character times.
    pub fn time_out(&mut self) {
        self.timed_out = self.fifos() && !self.rx.is_empty();
    }
}
