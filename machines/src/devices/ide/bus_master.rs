//! The bus master of a channel: it moves data between a drive and the memory that a table of regions names (Intel, Programming Interface for Bus Master
//! IDE Controller, 2.1; Intel 290550, register BMISX).
//!
//! As in QEMU, a stop in the middle of a transfer waits for its end, and while the PCI command register forbids the function to be a master, it reads zeroes,
//! its table too, and what it writes is lost.

use gearbox_core::backend::block::Segment;
use gearbox_core::board::{Cx, Saved};
use gearbox_core::mem::NotRam;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;

/// Command register.
mod command {
    pub(super) const START: u8 = 1 << 0;
    /// Memory is written.
    pub(super) const TO_MEMORY: u8 = 1 << 3;
}
/// Status register.
mod status {
    pub(super) const ACTIVE: u8 = 1 << 0;
    /// Nobody on the PCI bus has answered. Errors of a drive are in its own registers.
    pub(super) const ERROR: u8 = 1 << 1;
    pub(super) const INTERRUPT: u8 = 1 << 2;
    /// What software has found out about the drives.
    pub(super) const CAPABLE: u8 = 3 << 5;
}
/// Bytes of a table at most.
const TABLE: u64 = 4096;
/// Bytes of an entry: address, length, and the bit that says that it is the last.
const ENTRY: u64 = 8;
const LAST: u32 = 1 << 31;

/// How a transfer has ended. The order is that of saved states.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum End {
    /// The drive has had or given all.
    Complete,
    /// There is no memory where the table says.
    BusError,
    /// The drive has given up.
    Aborted,
}

/// A bus master.
#[derive(Default)]
pub(super) struct BusMaster {
    command: u8,
    status: u8,
    table: u32,
    /// What is left of the table's regions: address and length.
    regions: VecDeque<(u64, u64)>,
}

impl BusMaster {
    /// What is saved of it.
    pub(super) fn saved(&mut self) -> Saved<'_> {
        let Self { command, status, table, regions } = self;
        let region = |&(addr, length): &(u64, u64)| addr <= u64::from(u32::MAX) + 0x1_0000 && length <= 0x1_0000;
        let sound = move |regions: &VecDeque<_>| regions.len() as u64 <= TABLE / ENTRY && regions.iter().all(region);
        Saved::of((command, status, table)).and(Saved::sound(regions, sound))
    }
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }
    /// A load of one byte of its eight registers.
    pub(super) fn read(&self, offset: u64) -> u8 {
        match offset {
            0 => self.command,
            2 => self.status,
            4..=7 => self.table.to_le_bytes()[offset as usize - 4],
            _ => 0xff,
        }
    }
    /// A store of one byte. A transfer that is under way goes on after a stop.
    pub(super) fn write(&mut self, cx: &mut Cx<'_>, offset: u64, value: u8, under_way: bool) {
        match offset {
            0 => {
                let (was, is) = (self.command & command::START != 0, value & command::START != 0);
                self.command = value & (command::START | command::TO_MEMORY);
                if is && !was {
                    self.status |= status::ACTIVE;
                    self.load(cx);
                } else if was && !is && !under_way {
                    self.stop();
                }
            }
            2 => {
                let cleared = value & (status::ERROR | status::INTERRUPT);
                self.status = value & status::CAPABLE | self.status & !status::CAPABLE & !cleared;
            }
            4..=7 => {
                let mut table = self.table.to_le_bytes();
                table[offset as usize - 4] = value;
                self.table = u32::from_le_bytes(table) & !3;
            }
            _ => {}
        }
    }
    /// Reads the table of regions.
    fn load(&mut self, cx: &mut Cx<'_>) {
        self.regions.clear();
        if !cx.may_master() {
            cx.guest_error(format_args!("the bus master is started while bus mastering is disabled"));
        }
        for n in 0..TABLE / ENTRY {
            let mut entry = [0; ENTRY as usize];
            if read_memory(cx, u64::from(self.table) + n * ENTRY, &mut entry).is_err() {
                return;
            }
            let word = |at: usize| u32::from_le_bytes([entry[at], entry[at + 1], entry[at + 2], entry[at + 3]]);
            let (addr, control) = (word(0) & !1, word(4));
            let length = match control & 0xfffe {
                0 => 0x1_0000,
                n => n,
            };
            self.regions.push_back((addr.into(), length.into()));
            if control & LAST != 0 {
                return;
            }
        }
    }
    /// A transfer may go on.
    pub(super) fn is_active(&self) -> bool {
        self.status & status::ACTIVE != 0
    }
    /// It has been stopped in the middle of a transfer, and waits for its end.
    pub(super) fn is_stopping(&self) -> bool {
        self.is_active() && self.command & command::START == 0
    }
    /// Moves nothing more.
    pub(super) fn stop(&mut self) {
        self.status &= !status::ACTIVE;
        self.regions.clear();
    }
    /// Bytes that the rest of the table has room for.
    pub(super) fn room(&self) -> u64 {
        self.regions.iter().map(|(_, length)| length).sum()
    }
    /// The next regions, for up to `bytes`.
    fn take(&mut self, bytes: usize) -> Vec<(u64, usize)> {
        let (mut taken, mut rest) = (Vec::new(), bytes as u64);
        while let Some((addr, length)) = self.regions.front_mut().filter(|_| rest > 0) {
            let n = rest.min(*length);
            taken.push((*addr, n as usize));
            (*addr, *length, rest) = (*addr + n, *length - n, rest - n);
            if *length == 0 {
                self.regions.pop_front();
            }
        }
        taken
    }
    /// The regions for `bytes`, for others to move data to and from; there is room for them.
    pub(super) fn lend(&mut self, bytes: u64) -> Vec<Segment> {
        self.take(bytes as usize).into_iter().map(|(addr, n)| Segment { addr, len: n as u64 }).collect()
    }
    /// Reads `bytes` from memory; there is room for them.
    pub(super) fn gather(&mut self, cx: &mut Cx<'_>, bytes: usize) -> Result<Vec<u8>, NotRam> {
        let mut data = Vec::with_capacity(bytes);
        for (addr, n) in self.take(bytes) {
            let at = data.len();
            data.resize(at + n, 0);
            read_memory(cx, addr, &mut data[at..])?;
        }
        Ok(data)
    }
    /// Writes data to memory, as much as there is room for.
    pub(super) fn scatter(&mut self, cx: &mut Cx<'_>, data: &[u8]) -> Result<(), NotRam> {
        let mut rest = data;
        for (addr, n) in self.take(data.len()) {
            let (part, later) = rest.split_at(n);
            write_memory(cx, addr, part)?;
            rest = later;
        }
        Ok(())
    }
    /// The drive has interrupted.
    pub(super) fn interrupt(&mut self) {
        self.status |= status::INTERRUPT;
    }
    /// The transfer is over. It stays active if the table named more memory than the drive had data for.
    pub(super) fn finish(&mut self, end: End, may_stay: bool) {
        if end == End::BusError {
            self.status |= status::ERROR;
        }
        if end != End::Complete || !may_stay || self.room() == 0 {
            self.status &= !status::ACTIVE;
        }
    }
}

/// Reads memory, if the function may be a master: what it cannot reach is zero.
fn read_memory(cx: &mut Cx<'_>, addr: u64, data: &mut [u8]) -> Result<(), NotRam> {
    if cx.may_master() {
        return cx.dma_read(addr, data);
    }
    data.fill(0);
    Ok(())
}

/// Writes memory, if the function may be a master.
fn write_memory(cx: &mut Cx<'_>, addr: u64, data: &[u8]) -> Result<(), NotRam> {
    if cx.may_master() { cx.dma_write(addr, data) } else { Ok(()) }
}
