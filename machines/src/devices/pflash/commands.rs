//! The chip's command user interface: what stores mean, by those that came before.

use super::query::BUFFER_SHIFT;
use gearbox_core::board::Saved;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// Bits of the status register.
pub(super) mod status {
    pub(in super::super) const READY: u8 = 1 << 7;
    pub(in super::super) const ERASE_ERROR: u8 = 1 << 5;
    pub(in super::super) const PROGRAM_ERROR: u8 = 1 << 4;
}

/// First bytes of commands.
mod command {
    /// Read array: what QEMU takes for it besides the datasheet's, and the reset of AMD's chips.
    pub(super) const READ_ARRAY: [u8; 3] = [0xff, 0x00, 0xf0];
    pub(super) const PROGRAM: [u8; 2] = [0x40, 0x10];
    pub(super) const ERASE: [u8; 2] = [0x20, 0x28];
    pub(super) const CLEAR_STATUS: u8 = 0x50;
    pub(super) const LOCK: u8 = 0x60;
    pub(super) const READ_STATUS: u8 = 0x70;
    pub(super) const READ_IDENTIFIER: u8 = 0x90;
    pub(super) const QUERY: u8 = 0x98;
    pub(super) const WRITE_BUFFER: u8 = 0xe8;
}
/// Second bytes.
const CONFIRM: u8 = 0xd0;
const SET_LOCK: u8 = 0x01;

/// What loads give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Mode {
    /// The contents.
    Array,
    /// The status register.
    Status,
    /// Manufacturer, device and lock bits.
    Identifier,
    /// The description of the chip.
    Query,
}

/// What a command does to the contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Nothing.
    None,
    /// Bytes and where they go.
    Program(Vec<(u64, u8)>),
    /// A block becomes all ones.
    Erase(Range<u64>),
}

/// Which store is next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Cycle {
    Command,
    ProgramByte,
    ConfirmErase,
    LockOperation,
    /// Number of bytes, less one.
    BufferCount,
    /// Bytes of a buffer, in one block, until there are `count`.
    BufferData {
        bytes: Vec<(u64, u8)>,
        count: usize,
    },
    ConfirmBuffer {
        bytes: Vec<(u64, u8)>,
    },
}

impl Cycle {
    /// Can a chip of that size wait for it?
    fn is_sound(&self, size: u64) -> bool {
        let (bytes, count) = match self {
            Self::BufferData { bytes, count } => (bytes, *count),
            Self::ConfirmBuffer { bytes } => (bytes, bytes.len()),
            _ => return true,
        };
        bytes.len() <= count && count <= 1 << BUFFER_SHIFT && bytes.iter().all(|(at, _)| *at < size)
    }
}

/// The interface.
#[derive(Debug)]
pub(super) struct Commands {
    block_size: u64,
    size: u64,
    mode: Mode,
    cycle: Cycle,
    /// The status register. As in QEMU, clearing it takes its ready bit, too, which the next operation sets again: OVMF knows flash by that.
    status: u8,
}

impl Commands {
    /// After power-on, for a chip of so many bytes.
    pub(super) fn new(block_size: u64, size: u64) -> Self {
        Self { block_size, size, mode: Mode::Array, cycle: Cycle::Command, status: status::READY }
    }
    pub(super) fn reset(&mut self) {
        *self = Self::new(self.block_size, self.size);
    }
    /// What is saved of it.
    pub(super) fn saved(&mut self) -> Saved<'_> {
        let Self { block_size: _, size, mode, cycle, status } = self;
        let size = *size;
        Saved::of((mode, status)).and(Saved::sound(cycle, move |cycle| cycle.is_sound(size)))
    }
    pub(super) fn mode(&self) -> Mode {
        self.mode
    }
    /// The status register of a chip that is, or is not, `busy`.
    pub(super) fn status(&self, busy: bool) -> u8 {
        if busy { self.status & !status::READY } else { self.status }
    }
    /// Notes an error, until it is cleared.
    pub(super) fn fail(&mut self, error: u8) {
        self.status |= error;
    }

    fn expect(&mut self, cycle: Cycle) -> Action {
        (self.mode, self.cycle) = (Mode::Status, cycle);
        Action::None
    }
    fn show(&mut self, mode: Mode) -> Action {
        (self.mode, self.cycle) = (mode, Cycle::Command);
        Action::None
    }
    fn finish(&mut self, action: Action) -> Action {
        self.status |= status::READY;
        (self.mode, self.cycle) = (Mode::Status, Cycle::Command);
        action
    }
    fn block(&self, offset: u64) -> Range<u64> {
        let first = offset & !(self.block_size - 1);
        first..(first + self.block_size).min(self.size)
    }

    /// A store.
    ///
    /// # Errors
    /// It makes no sense; the chip is back at its array.
    pub(super) fn write(&mut self, offset: u64, v: u8) -> Result<Action, String> {
        let cycle = std::mem::replace(&mut self.cycle, Cycle::Command);
        let wrong = match (cycle, v) {
            (Cycle::Command, v) => return self.command(v),
            (Cycle::ProgramByte, v) => return Ok(self.finish(Action::Program(vec![(offset, v)]))),
            (Cycle::ConfirmErase, CONFIRM) => {
                let block = self.block(offset);
                return Ok(self.finish(Action::Erase(block)));
            }
            // Nothing is ever locked, as in QEMU.
            (Cycle::LockOperation, SET_LOCK | CONFIRM) => return Ok(self.finish(Action::None)),
            (Cycle::ConfirmErase | Cycle::LockOperation, v) if command::READ_ARRAY.contains(&v) => {
                return Ok(self.show(Mode::Array));
            }
            (Cycle::BufferCount, v) if usize::from(v) < 1 << BUFFER_SHIFT => {
                return Ok(self.expect(Cycle::BufferData { bytes: Vec::new(), count: usize::from(v) + 1 }));
            }
            (Cycle::BufferData { mut bytes, count }, v) => {
                bytes.push((offset, v));
                let in_one_block = bytes.first().is_some_and(|(first, _)| self.block(*first).contains(&offset));
                if in_one_block {
                    let full = bytes.len() >= count;
                    let next = if full { Cycle::ConfirmBuffer { bytes } } else { Cycle::BufferData { bytes, count } };
                    return Ok(self.expect(next));
                }
                self.fail(status::PROGRAM_ERROR | status::ERASE_ERROR);
                "a buffer over the end of a block".to_owned()
            }
            (Cycle::ConfirmBuffer { bytes }, CONFIRM) => return Ok(self.finish(Action::Program(bytes))),
            (cycle, v) => format!("{v:#04x} where {cycle:?} was expected"),
        };
        self.show(Mode::Array);
        Err(wrong)
    }
    fn command(&mut self, v: u8) -> Result<Action, String> {
        Ok(match v {
            v if command::READ_ARRAY.contains(&v) => self.show(Mode::Array),
            v if command::PROGRAM.contains(&v) => self.expect(Cycle::ProgramByte),
            v if command::ERASE.contains(&v) => self.expect(Cycle::ConfirmErase),
            command::LOCK => self.expect(Cycle::LockOperation),
            command::WRITE_BUFFER => {
                self.status |= status::READY;
                self.expect(Cycle::BufferCount)
            }
            command::READ_STATUS => self.show(Mode::Status),
            command::READ_IDENTIFIER => self.show(Mode::Identifier),
            command::QUERY => self.show(Mode::Query),
            command::CLEAR_STATUS => {
                self.status = 0;
                self.show(Mode::Array)
            }
            v => {
                self.show(Mode::Array);
                return Err(format!("unknown command {v:#04x}"));
            }
        })
    }
}
