//! Commands that move data between the medium and memory by DMA, or the host by the data register: that is so while SPECIFY or the digital output register
//! has DMA off. The back end is asked for one side of a track at a time.

use super::media::{Format, R500, SECTOR};
use super::{FdcDevice, Phase, bits, st0};
use gearbox_core::backend::block::{Completion, IoError, Request};
use gearbox_core::board::Cx;
use serde::{Deserialize, Serialize};

/// Errors in status register 1.
mod st1 {
    pub(super) const NO_ADDRESS_MARK: u8 = 0x01;
    pub(super) const NOT_WRITABLE: u8 = 0x02;
    pub(super) const NO_DATA: u8 = 0x04;
    pub(super) const DATA_ERROR: u8 = 0x20;
    pub(super) const END_OF_CYLINDER: u8 = 0x80;
}
/// Status register 2: the error is in the data.
const ST2_DATA: u8 = 0x20;
/// Sectors of 512 bytes, as parameters and results have it.
const SIZE_512: u8 = 2;

/// What is moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Kind {
    Read,
    Write,
    /// Read, and given to nobody.
    Verify,
    /// Addresses of sectors come in, and a track that has this byte everywhere goes out.
    Format(u8),
}

/// A transfer.
#[derive(Serialize, Deserialize)]
pub(super) struct Transfer {
    kind: Kind,
    dma: bool,
    /// The command's first byte says: on both sides.
    both_sides: bool,
    track: u8,
    head: u8,
    sector: u8,
    /// The last one that is moved of each track.
    last: u8,
    /// Heads had to move.
    sought: bool,
    /// Where on the medium the request of the back end is, and how many bytes are moved: at most, until they are known.
    at: u64,
    most: usize,
    /// Data on their way, and how much of them the host has had, or the medium.
    buffer: Vec<u8>,
    given: usize,
    /// The back end has a request.
    waiting: bool,
}

impl Transfer {
    /// One of one side, from a place (track, head, sector) to the last sector, of which nothing is known yet.
    fn new(kind: Kind, dma: bool, (track, head, sector): (u8, u8, u8), last: u8) -> Self {
        Self {
            kind,
            dma,
            both_sides: false,
            track,
            head,
            sector,
            last,
            sought: false,
            at: 0,
            most: 0,
            buffer: Vec::new(),
            given: 0,
            waiting: false,
        }
    }
    /// Can a transfer be like this?
    pub(super) fn is_sound(&self) -> bool {
        /// More than a cylinder has.
        const MOST: usize = 1 << 18;
        self.head < 2 && self.most <= MOST && self.buffer.len() <= MOST && self.given <= self.buffer.len()
    }
    /// What the main status register shows.
    pub(super) fn status(&self) -> u8 {
        let to_host = if self.kind == Kind::Read { bits::TO_HOST } else { 0 };
        match (self.dma, self.waiting) {
            (true, _) => 0,
            (false, true) => bits::NON_DMA,
            (false, false) => bits::REQUEST | bits::NON_DMA | to_host,
        }
    }
    fn reads(&self) -> bool {
        matches!(self.kind, Kind::Read | Kind::Verify)
    }
    /// How many bytes the back end has done.
    fn done(&self) -> usize {
        if self.reads() { self.buffer.len() } else { self.given }
    }
    /// What the back end does next: from a place to the end of that side of a track, or of the transfer.
    fn stretch(&self) -> ((u8, u8, u8), usize) {
        let done = self.done();
        let place = self.place((done / SECTOR as usize) as u32);
        let side = (usize::from(self.last.saturating_sub(place.2)) + 1) * SECTOR as usize;
        (place, side.min(self.most.saturating_sub(done)))
    }
    /// The place (track, head, sector) that is so many sectors behind the first one.
    fn place(&self, sectors: u32) -> (u8, u8, u8) {
        let per_track = u32::from(self.last).max(1);
        let n = u32::from(self.sector.max(1)) - 1 + sectors;
        let (tracks, sector) = (n / per_track, (n % per_track) as u8 + 1);
        let behind = |tracks| u8::try_from(u32::from(self.track) + tracks).unwrap_or(u8::MAX);
        if !self.both_sides {
            return (behind(tracks), self.head, sector);
        }
        let sides = u32::from(self.head) + tracks;
        (behind(sides / 2), (sides % 2) as u8, sector)
    }
}

impl FdcDevice {
    /// READ DATA and its like: drive, C, H, R, N, EOT, GPL, DTL.
    pub(super) fn start(&mut self, cx: &mut Cx<'_>, p: &[u8], kind: Kind) {
        let n = self.select(p[1]);
        let (track, head, sector, size, last) = (p[2], p[3], p[4], p[5], p[6]);
        let both_sides = p[0] & 0x80 != 0;
        self.last_sector = last;
        let rate = self.rate;
        let sought = self.drive(n).is_some_and(|d| d.seek(track));
        let transfer = Transfer {
            both_sides,
            sought,
            ..Transfer::new(kind, self.output & bits::DMA != 0, (track, head, sector), last)
        };
        let checked = match self.drive(n).and_then(|d| Some((&*d, d.format?))) {
            None => Err(st1::NO_ADDRESS_MARK),
            Some((_, f)) if f.rate != rate => Err(st1::NO_ADDRESS_MARK),
            Some((d, _)) if kind == Kind::Write && d.read_only() => Err(st1::NOT_WRITABLE),
            Some((_, f)) if sector > f.sectors => Err(st1::END_OF_CYLINDER),
            Some(_) if size != SIZE_512 => Err(st1::NO_DATA),
            Some((d, f)) => d.position(track, head, sector).ok_or(st1::NO_DATA).map(|at| {
                let (asked, last) = (last.max(sector), last.min(f.sectors).max(sector));
                // As in QEMU, a last sector that no track has is on the next one, where both sides are asked for.
                let sectors = match both_sides && head == 0 && f.heads == 2 {
                    true => u64::from(asked - sector) + 1 + u64::from(asked),
                    false => u64::from(last - sector) + 1,
                };
                (last, (sectors * SECTOR).min(f.size().saturating_sub(at)) as usize)
            }),
        };
        match checked {
            Err(error) => self.end_transfer(cx, &transfer, 0, (st0::ABNORMAL, error, 0)),
            Ok((last, most)) => self.begin(cx, Transfer { last, most, ..transfer }),
        }
    }
    /// FORMAT TRACK: drive, N, SC, GPL, D.
    pub(super) fn start_format(&mut self, cx: &mut Cx<'_>, p: &[u8]) {
        let n = self.select(p[1]);
        let (size, count, fill, rate) = (p[2], p[3], p[5], self.rate);
        let place = self.drive(n).map_or((0, 0), |d| (d.track, d.head));
        let transfer = Transfer {
            most: usize::from(count) * 4,
            ..Transfer::new(Kind::Format(fill), self.output & bits::DMA != 0, (place.0, place.1, 1), count)
        };
        let checked = match self.drive(n).and_then(|d| Some((&*d, d.format?))) {
            None => Err(st1::NO_ADDRESS_MARK),
            Some((_, f)) if f.rate != rate || size != SIZE_512 => Err(st1::NO_ADDRESS_MARK),
            Some((d, _)) if d.read_only() => Err(st1::NOT_WRITABLE),
            Some((_, f)) if count == 0 || count > f.sectors => Err(st1::NO_DATA),
            Some((d, _)) => d.position(place.0, place.1, 1).ok_or(st1::NO_DATA),
        };
        match checked {
            Err(error) => self.end_transfer(cx, &transfer, 0, (st0::ABNORMAL, error, 0)),
            Ok(_) => self.begin(cx, transfer),
        }
    }
    /// READ ID: the address of a sector under the head. As in QEMU, an empty drive has one, too, at 500 kb/s; READ DATA tells that there is nothing to
    /// read.
    pub(super) fn read_id(&mut self, cx: &mut Cx<'_>, p: &[u8]) {
        let n = self.select(p[1]);
        let rate = self.rate;
        let (track, head, readable) = self.drive(n).map_or((0, 0, false), |d| {
            let there = |f: Format| f.rate == rate && d.track < f.tracks && d.head < f.heads;
            let readable = d.format.map_or(rate == R500, there);
            (d.track, d.head, readable)
        });
        let (status, error) = if readable { (0, 0) } else { (st0::ABNORMAL, st1::NO_ADDRESS_MARK) };
        let status = self.status0(status);
        self.finish(cx, &[status, error, 0, track, head, 1, SIZE_512], true);
    }

    fn begin(&mut self, cx: &mut Cx<'_>, transfer: Transfer) {
        let (reads, by_host) = (transfer.reads(), !transfer.dma);
        self.phase = Phase::Execution(transfer);
        if reads {
            return self.submit(cx);
        }
        if by_host {
            self.set_interrupt(cx, true);
        }
        self.go_on(cx);
    }
    /// Has the back end do what is next.
    fn submit(&mut self, cx: &mut Cx<'_>) {
        let n = self.selected();
        let drive = self.drives.get(n).and_then(Option::as_ref);
        let Phase::Execution(t) = &mut self.phase else { return };
        let (place, bytes) = t.stretch();
        let at = drive.and_then(|d| d.position(place.0, place.1, place.2));
        let request = at.and_then(|at| match t.reads() {
            true => Some(Request::read(0, at, bytes)),
            false => Some(Request::write(0, at, t.buffer.get(t.given..t.given + bytes)?.to_vec())),
        });
        let Some((request, backend)) = request.zip(cx.drive(n as u32)) else {
            return self.completed(cx, Completion { tag: 0, result: Err(IoError::NoMedium), data: Vec::new() });
        };
        (t.at, t.waiting) = (request.offset, true);
        backend.submit(request);
    }
    /// Moves what can be moved by DMA.
    pub(super) fn go_on(&mut self, cx: &mut Cx<'_>) {
        let Phase::Execution(t) = &mut self.phase else { return };
        if !t.dma || t.waiting {
            return;
        }
        if t.kind == Kind::Read {
            let moved = self.dma.to_memory(cx, &t.buffer);
            if let Some((len, _)) = moved {
                self.over(cx, len);
            }
        } else if let Some((bytes, _)) = self.dma.from_memory(cx, t.most) {
            t.buffer = bytes;
            self.store(cx);
        }
    }
    /// All has come that is to be written.
    fn store(&mut self, cx: &mut Cx<'_>) {
        let Phase::Execution(t) = &mut self.phase else { return };
        if let Kind::Format(fill) = t.kind {
            t.buffer = vec![fill; usize::from(t.last) * SECTOR as usize];
        }
        t.buffer.resize(t.buffer.len().next_multiple_of(SECTOR as usize), 0);
        t.most = t.buffer.len();
        self.submit(cx);
    }
    /// The back end has done what it was asked for.
    pub(super) fn completed(&mut self, cx: &mut Cx<'_>, done: Completion) {
        let Phase::Execution(t) = &mut self.phase else { return };
        t.waiting = false;
        let error = match done.result {
            Ok(()) => None,
            Err(IoError::NoMedium) => Some((st1::NO_ADDRESS_MARK, 0)),
            Err(IoError::ReadOnly) => Some((st1::NOT_WRITABLE, 0)),
            Err(_) => Some((st1::DATA_ERROR, ST2_DATA)),
        };
        if let Some((first, second)) = error {
            let Phase::Execution(t) = std::mem::replace(&mut self.phase, Phase::Command(Vec::new())) else { return };
            return self.end_transfer(cx, &t, 0, (st0::ABNORMAL, first, second));
        }
        match t.reads() {
            true => t.buffer.extend(done.data),
            false => t.given += done.data.len(),
        }
        if t.done() < t.most {
            return self.submit(cx);
        }
        match (t.kind, t.dma, t.most) {
            (Kind::Read, true, _) => self.go_on(cx),
            (Kind::Read, false, _) => self.set_interrupt(cx, true),
            (_, _, len) => self.over(cx, len),
        }
    }
    /// So many bytes have been moved, and that is all.
    fn over(&mut self, cx: &mut Cx<'_>, len: usize) {
        let Phase::Execution(t) = std::mem::replace(&mut self.phase, Phase::Command(Vec::new())) else { return };
        let sectors = len.div_ceil(SECTOR as usize) as u32;
        let sought = t.sought | self.follow(&t, sectors);
        self.end_transfer(cx, &t, sectors, (if sought { st0::SEEK_END } else { 0 }, 0, 0));
    }
    /// The heads are where the last one of so many sectors is; says whether they had to move for it.
    fn follow(&mut self, t: &Transfer, sectors: u32) -> bool {
        let (track, head, _) = t.place(sectors.saturating_sub(1));
        let n = self.selected();
        let Some(drive) = self.drive(n) else { return false };
        drive.head = head;
        drive.seek(track)
    }
    /// The result: status, and the address of the sector that would be next.
    fn end_transfer(&mut self, cx: &mut Cx<'_>, t: &Transfer, sectors: u32, (first, second, third): (u8, u8, u8)) {
        let (track, head, sector) = t.place(sectors);
        let first = self.status0(first);
        self.status0 = first & !7;
        self.finish(cx, &[first, second, third, track, head, sector, SIZE_512], true);
    }

    /// The host reads a byte of the data.
    pub(super) fn give_byte(&mut self, cx: &mut Cx<'_>) -> u8 {
        let Phase::Execution(t) = &mut self.phase else { return 0 };
        if t.dma || t.waiting || t.kind != Kind::Read {
            cx.guest_error(format_args!("read of data that are not for the host"));
            return 0;
        }
        let byte = t.buffer.get(t.given).copied().unwrap_or(0);
        t.given += 1;
        if t.given >= t.buffer.len() {
            let len = t.buffer.len();
            self.over(cx, len);
        }
        byte
    }
    /// The host writes one.
    pub(super) fn take_byte(&mut self, cx: &mut Cx<'_>, byte: u8) {
        let Phase::Execution(t) = &mut self.phase else { return };
        if t.dma || t.waiting || matches!(t.kind, Kind::Read | Kind::Verify) {
            return cx.guest_error(format_args!("data that nobody asked for"));
        }
        t.buffer.push(byte);
        if t.buffer.len() >= t.most {
            self.set_interrupt(cx, false);
            self.store(cx);
        }
    }
}
