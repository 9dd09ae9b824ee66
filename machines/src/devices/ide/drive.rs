//! A drive: its registers, and how it moves data.
//!
//! Data go through a buffer, of which the back end fills or takes up to [`CHUNK`] bytes in one request. The host moves them by the data register, in blocks
//! with an interrupt each, or the bus master does; between a disk and guest RAM it has the back end do that, without a buffer. The protocols are those of
//! ATA/ATAPI-6, clause 9.

use super::bus_master::End;
use super::cdrom::Cdrom;
use super::disk::Disk;
use super::registers::{TaskFile, command, device, error, reason, status};
use gearbox_core::backend::block::{BlockBackend, Completion, IoError, Operation, Request, Segment};
use gearbox_core::board::Saved;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Bytes that are asked of the back end in one request.
pub(super) const CHUNK: u64 = 128 << 10;
/// The same where the bus master moves them from or to a buffer.
const DMA_CHUNK: u64 = 1 << 20;
/// Bytes of a command packet.
pub(super) const PACKET: usize = 12;

/// What a drive is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) serial: String,
    pub(super) model: String,
    pub(super) version: String,
    /// World-wide name; 0 for none.
    pub(super) wwn: u64,
}

/// What kind of drive it is.
pub(super) enum Kind {
    Disk(Disk),
    Cdrom(Cdrom),
}

/// What the drive is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Phase {
    /// Nothing.
    Idle,
    /// The host reads the buffer from `start` to `end`.
    In { start: usize, end: usize },
    /// The host writes it.
    Out { end: usize },
    /// The host writes a command packet.
    Packet,
    /// A request is with the back end.
    Waiting,
    /// The bus master is to say how much it takes, or to bring it.
    Dma,
    /// The buffer is for the bus master.
    DmaIn,
}

/// What is done with the data that the host brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Purpose {
    /// They go to the medium, or come from there.
    Medium,
    /// Ranges to discard.
    Trim,
    /// The buffer itself is all there is.
    Reply,
}

/// A transfer of data.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Transfer {
    pub(super) purpose: Purpose,
    /// Memory to medium.
    pub(super) write: bool,
    pub(super) dma: bool,
    /// By a packet command.
    pub(super) packet: bool,
    /// 48-bit registers show how far it is.
    pub(super) ext: bool,
    /// Position on the medium, and what is left, in bytes.
    pub(super) at: u64,
    pub(super) left: u64,
    /// Bytes between two interrupts.
    pub(super) block: usize,
}

/// What the request that is with the back end is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Wait {
    Fetch,
    Store,
    /// So many bytes move between the medium and guest RAM.
    Move(u64),
    /// The drive's cache is off: what was written goes on to the medium.
    Settle,
    /// FLUSH CACHE.
    Flush,
    Discard,
}

/// Can a drive be here with its data?
fn are_sound(phase: Phase, buffer: &[u8], at: usize, transfer: Option<Transfer>) -> bool {
    /// No medium is that large, and no block.
    const MOST: u64 = 1 << 60;
    const MOST_BLOCK: usize = 1 << 17;
    let there = match phase {
        Phase::In { start, end } => start <= at && at <= end && end <= buffer.len(),
        Phase::Out { end } => at <= end && end <= buffer.len(),
        Phase::Packet => at <= PACKET && buffer.len() == PACKET,
        Phase::Idle | Phase::Waiting | Phase::Dma | Phase::DmaIn => at <= buffer.len(),
    };
    // A reply is all there.
    let goes_on = |t: Transfer| {
        t.at <= MOST
            && t.left <= MOST
            && (1..=MOST_BLOCK).contains(&t.block)
            && (t.purpose != Purpose::Reply || t.left <= buffer.len() as u64)
    };
    there && transfer.is_none_or(goes_on)
}

/// A drive.
pub(super) struct Drive {
    pub(super) kind: Kind,
    pub(super) identity: Identity,
    pub(super) backend: Option<Arc<BlockBackend>>,
    pub(super) regs: TaskFile,
    pub(super) phase: Phase,
    pub(super) buffer: Vec<u8>,
    pub(super) at: usize,
    pub(super) transfer: Option<Transfer>,
    wait: Option<Wait>,
    /// The drive wants an interrupt: for the channel to take.
    pub(super) interrupt: bool,
    /// The tray is to open or to close: likewise.
    pub(super) tray: Option<bool>,
    /// What the bus master moves has come to its end: likewise.
    pub(super) dma_over: Option<End>,
    /// What was written is kept in the drive's cache.
    pub(super) write_cache: bool,
    /// The transfer mode that was set (word 63 or 88 of IDENTIFY DEVICE): (multiword, ultra).
    pub(super) modes: (u8, u8),
}

impl Drive {
    pub(super) fn new(kind: Kind, identity: Identity, backend: Option<Arc<BlockBackend>>) -> Self {
        let mut drive = Self {
            kind,
            identity,
            write_cache: backend.as_ref().and_then(|b| b.medium()).is_none_or(|m| m.info().cache.writeback),
            backend,
            regs: TaskFile::default(),
            phase: Phase::Idle,
            buffer: Vec::new(),
            at: 0,
            transfer: None,
            wait: None,
            interrupt: false,
            tray: None,
            dma_over: None,
            modes: (0, 1 << 5),
        };
        drive.power_on();
        drive
    }
    /// What is saved of it.
    pub(super) fn saved(&mut self) -> Saved<'_> {
        let Self {
            kind,
            identity: _,
            backend: _,
            regs,
            phase,
            buffer,
            at,
            transfer,
            wait,
            interrupt,
            tray,
            dma_over,
            write_cache,
            modes,
        } = self;
        let kind = match kind {
            Kind::Disk(disk) => disk.saved(),
            Kind::Cdrom(cdrom) => Saved::sound(cdrom, Cdrom::is_sound),
        };
        Saved::of((regs, wait, interrupt, tray, dma_over, write_cache, modes))
            .and(Saved::sound((phase, buffer, at, transfer), |(phase, buffer, at, t)| {
                are_sound(*phase, buffer, *at, *t)
            }))
            .and(kind)
    }
    pub(super) fn is_cdrom(&self) -> bool {
        matches!(self.kind, Kind::Cdrom(_))
    }
    /// The state after power-on.
    pub(super) fn power_on(&mut self) {
        self.modes = (0, 1 << 5);
        match &mut self.kind {
            Kind::Disk(disk) => disk.reset(),
            Kind::Cdrom(cdrom) => cdrom.reset(),
        }
        self.reset();
    }
    /// A software reset (9.2), or the end of one.
    pub(super) fn reset(&mut self) {
        self.stop();
        self.interrupt = false;
        self.regs = TaskFile { error: error::PASSED, ..TaskFile::default() };
        self.signature();
        self.regs.device = device::OBSOLETE;
    }
    /// Ends what is under way.
    pub(super) fn stop(&mut self) {
        if let Some(backend) = self.backend.as_ref().filter(|_| self.wait.take().is_some()) {
            backend.cancel();
        }
        self.phase = Phase::Idle;
        self.transfer = None;
        self.buffer.clear();
        self.at = 0;
    }
    /// The registers by which a drive says what it is (9.12).
    pub(super) fn signature(&mut self) {
        let (mid, high, status) = if self.is_cdrom() { (0x14, 0xeb, 0) } else { (0, 0, status::READY) };
        self.regs.count.set(1, 0);
        self.regs.lba_low.set(1, 0);
        self.regs.lba_mid.set(mid, 0);
        self.regs.lba_high.set(high, 0);
        self.regs.device &= !device::HEAD;
        self.regs.status = status;
    }
    /// Bytes of the medium.
    pub(super) fn size(&self) -> u64 {
        self.backend.as_ref().and_then(|b| b.medium()).map_or(0, |m| m.size())
    }
    /// It does something that a command may not interrupt.
    pub(super) fn is_busy(&self) -> bool {
        self.regs.status & (status::BSY | status::DRQ) != 0
    }

    /// The host wrote the command register.
    pub(super) fn command(&mut self, code: u8) {
        if self.is_busy() && !(code == command::DEVICE_RESET && self.is_cdrom()) {
            return;
        }
        self.regs.status = status::READY | self.regs.status & status::DF;
        self.regs.error = 0;
        match self.kind {
            Kind::Disk(_) => self.disk_command(code),
            Kind::Cdrom(_) => self.cdrom_command(code),
        }
    }
    /// A command is done, with an interrupt.
    pub(super) fn done(&mut self) {
        self.phase = Phase::Idle;
        self.transfer = None;
        self.regs.status = status::READY;
        self.interrupt = true;
    }
    /// A command is not done.
    pub(super) fn abort(&mut self) {
        self.stop();
        self.regs.status = status::DRDY | status::ERR;
        self.regs.error = error::ABRT;
        self.interrupt = true;
    }

    /// Begins a transfer; data for the host are in the buffer already if it is a reply.
    pub(super) fn begin(&mut self, transfer: Transfer) {
        self.at = 0;
        self.transfer = Some(transfer);
        if transfer.purpose != Purpose::Reply {
            self.buffer.clear();
        }
        if transfer.dma {
            self.phase = Phase::Dma;
            self.regs.status = status::READY | status::DRQ;
        } else if transfer.write {
            self.next_out(false);
        } else if transfer.purpose == Purpose::Reply {
            self.next_in();
        } else {
            self.fetch(CHUNK);
        }
    }
    /// A block of data is ready for the host.
    fn next_in(&mut self) {
        let Some(t) = self.transfer else { return };
        let end = (self.at + t.block).min(self.buffer.len());
        self.phase = Phase::In { start: self.at, end };
        self.regs.status = status::READY | status::DRQ;
        if t.packet {
            self.say_byte_count(end - self.at, reason::IO);
        }
        self.interrupt = true;
    }
    /// A block of data is expected of the host.
    fn next_out(&mut self, interrupt: bool) {
        let Some(t) = self.transfer else { return };
        if self.at == self.buffer.len() {
            (self.at, self.buffer) = (0, vec![0; t.left.min(CHUNK) as usize]);
        }
        let end = (self.at + t.block).min(self.buffer.len());
        self.phase = Phase::Out { end };
        self.regs.status = status::READY | status::DRQ;
        self.interrupt |= interrupt;
    }
    pub(super) fn say_byte_count(&mut self, bytes: usize, why: u8) {
        let [low, high, ..] = bytes.to_le_bytes();
        (self.regs.lba_mid.now, self.regs.lba_high.now) = (low, high);
        self.regs.count.now = self.regs.count.now & !7 | why;
    }
    /// The buffer as far as the host may read it now.
    pub(super) fn readable(&self) -> &[u8] {
        if let Phase::In { end, .. } = self.phase { &self.buffer[self.at..end] } else { &[] }
    }
    /// The host has read `n` bytes.
    pub(super) fn has_read(&mut self, n: usize) {
        let Phase::In { start, end } = self.phase else { return };
        self.at += n;
        if self.at < end {
            return;
        }
        self.advance((end - start) as u64);
        if self.at < self.buffer.len() {
            self.next_in();
        } else {
            self.buffer_read();
        }
    }
    /// The host has read all that there is in the buffer.
    fn buffer_read(&mut self) {
        let Some(t) = self.transfer else { return };
        let more = t.purpose == Purpose::Medium && t.left > 0;
        if more {
            self.fetch(CHUNK);
        } else if t.packet {
            self.packet_done();
        } else {
            self.phase = Phase::Idle;
            self.transfer = None;
            self.regs.status = status::READY;
        }
    }
    /// `n` bytes of the medium are done.
    fn advance(&mut self, n: u64) {
        let Some(t) = &mut self.transfer else { return };
        if t.purpose != Purpose::Medium || t.packet {
            return;
        }
        let n = n.min(t.left);
        (t.at, t.left) = (t.at + n, t.left - n);
        let t = *t;
        let left = (t.left / 512).to_le_bytes();
        self.regs.count = super::registers::Twice { now: left[0], before: if t.ext { left[1] } else { 0 } };
        // The address of the last sector that was done.
        let last = (t.at / 512).saturating_sub(1);
        self.show_address(last, t.ext);
    }
    /// How much of the buffer the host may write now.
    pub(super) fn writable(&mut self) -> &mut [u8] {
        match self.phase {
            Phase::Out { end } => &mut self.buffer[self.at..end],
            Phase::Packet => &mut self.buffer[self.at..PACKET],
            _ => &mut [],
        }
    }
    /// The host has written `n` bytes.
    pub(super) fn has_written(&mut self, n: usize) {
        self.at += n;
        match self.phase {
            Phase::Packet if self.at == PACKET => self.packet(),
            Phase::Out { end } if self.at == end && end < self.buffer.len() => self.next_out(true),
            Phase::Out { end } if self.at == end => {
                let data = std::mem::take(&mut self.buffer);
                self.at = 0;
                self.store(data);
            }
            _ => {}
        }
    }

    /// How many bytes the bus master moves next, directly or by a buffer.
    pub(super) fn dma_bytes(&self, room: u64, direct: bool) -> u64 {
        let Some(t) = self.transfer else { return 0 };
        match t.packet {
            // A drive for CDs sends what it has; what there is no room for is lost.
            true if room > 0 => t.left.min(DMA_CHUNK),
            true => 0,
            false if direct => t.left.min(room) / 512 * 512,
            false => t.left.min(room).min(DMA_CHUNK) / 512 * 512,
        }
    }
    /// Are the bus master's data those of a disk?
    pub(super) fn moves_directly(&self) -> bool {
        !self.is_cdrom() && self.transfer.is_some_and(|t| t.purpose == Purpose::Medium)
    }
    /// The bus master has the back end move data between the medium and these regions of guest RAM.
    pub(super) fn dma_move(&mut self, regions: Vec<Segment>) {
        let Some(t) = self.transfer else { return };
        let operation = if t.write { Operation::Write } else { Operation::Read };
        let request = Request::guest(0, operation, t.at, regions);
        self.ask(Wait::Move(request.length), request);
    }
    /// Is it the bus master that brings the data?
    pub(super) fn dma_writes(&self) -> bool {
        self.transfer.is_some_and(|t| t.write)
    }
    /// The bus master takes up to `bytes`.
    pub(super) fn dma_fetch(&mut self, bytes: u64) {
        match self.transfer {
            Some(Transfer { purpose: Purpose::Reply, .. }) => self.phase = Phase::DmaIn,
            _ => self.fetch(bytes),
        }
    }
    /// The bus master has taken `bytes` of the buffer, all that it had room for.
    pub(super) fn dma_taken(&mut self, bytes: usize) {
        let Some(t) = &mut self.transfer else { return };
        if t.purpose == Purpose::Reply || t.packet {
            t.at += bytes as u64;
            t.left -= (bytes as u64).min(t.left);
        }
        if !t.packet {
            self.advance(bytes as u64);
        }
        self.buffer.clear();
        self.dma_next();
    }
    fn dma_next(&mut self) {
        let Some(t) = self.transfer else { return };
        if t.left > 0 {
            self.phase = Phase::Dma;
            self.regs.status = status::READY | status::DRQ;
            return;
        }
        self.dma_over = Some(End::Complete);
        if t.packet {
            self.packet_done();
        } else {
            self.done();
        }
    }
    /// The bus master has too little memory.
    pub(super) fn dma_failed(&mut self) {
        self.stop();
        self.regs.status = status::READY;
    }

    fn ask(&mut self, wait: Wait, request: Request) {
        let Some(backend) = self.backend.clone() else { return self.abort() };
        self.phase = Phase::Waiting;
        self.regs.status = status::READY | status::BSY;
        self.wait = Some(wait);
        backend.submit(request);
    }
    /// Reads from the medium.
    fn fetch(&mut self, most: u64) {
        let Some(t) = self.transfer else { return };
        let bytes = t.left.min(most) as usize;
        match &self.kind {
            Kind::Cdrom(cdrom) => match cdrom.fetch(t.at, bytes) {
                Some(request) => self.ask(Wait::Fetch, request),
                None => self.packet_failed(&IoError::OutOfRange),
            },
            Kind::Disk(_) => self.ask(Wait::Fetch, Request::read(0, t.at, bytes)),
        }
    }
    /// Does what is to be done with data from the host.
    pub(super) fn store(&mut self, data: Vec<u8>) {
        let Some(t) = self.transfer else { return };
        match t.purpose {
            Purpose::Medium => self.ask(Wait::Store, Request::write(0, t.at, data)),
            Purpose::Trim => self.trim(&data),
            Purpose::Reply => self.abort(),
        }
    }
    /// FLUSH CACHE.
    pub(super) fn flush(&mut self) {
        match self.backend.as_ref().and_then(|b| b.medium()) {
            Some(_) => self.ask(Wait::Flush, Request::flush(0)),
            None => self.done(),
        }
    }
    /// Discards a range.
    pub(super) fn discard(&mut self, at: u64, bytes: u64) {
        self.ask(Wait::Discard, Request::discard(0, at, bytes));
    }

    /// The back end has done what it was asked for.
    pub(super) fn complete(&mut self, completion: Completion) {
        let Some(wait) = self.wait.take() else { return };
        let transfer = self.transfer;
        let dma = transfer.is_some_and(|t| t.dma);
        if let Err(e) = completion.result {
            let end = if e == IoError::NotRam { End::BusError } else { End::Aborted };
            self.dma_over = dma.then_some(end);
            if self.is_cdrom() {
                return self.packet_failed(&e);
            }
            if let Some(t) = transfer.filter(|t| t.purpose == Purpose::Medium) {
                self.show_address(t.at / 512, t.ext);
            }
            return self.abort();
        }
        match wait {
            Wait::Fetch => {
                let Some(t) = &mut self.transfer else { return };
                self.buffer = completion.data;
                if let Kind::Cdrom(cdrom) = &self.kind {
                    cdrom.frame(t.at, &mut self.buffer);
                }
                self.at = 0;
                if dma {
                    self.phase = Phase::DmaIn;
                    self.regs.status = status::READY | status::DRQ;
                } else {
                    if t.packet {
                        let n = self.buffer.len() as u64;
                        (t.at, t.left) = (t.at + n, t.left.saturating_sub(n));
                    }
                    self.next_in();
                }
            }
            Wait::Store => {
                self.advance(completion.data.len() as u64);
                self.settle();
            }
            Wait::Move(bytes) => {
                self.advance(bytes);
                if transfer.is_some_and(|t| t.write) { self.settle() } else { self.dma_next() }
            }
            Wait::Settle => self.stored(),
            Wait::Discard => self.trim_next(),
            Wait::Flush => self.done(),
        }
    }
    /// A chunk has been written, to the drive's cache if it is on.
    fn settle(&mut self) {
        if self.write_cache { self.stored() } else { self.ask(Wait::Settle, Request::flush(0)) }
    }
    /// It is where it belongs.
    fn stored(&mut self) {
        match self.transfer {
            Some(t) if t.dma => self.dma_next(),
            Some(t) if t.left > 0 => self.next_out(true),
            _ => self.done(),
        }
    }
}
