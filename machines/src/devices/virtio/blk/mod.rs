//! `virtio-blk`: a disk (5.2).
//!
//! `spec` is what users say of it, `config` what drivers read of it. Requests are checked here and carried out by the back end's workers, as many at a time
//! as the queues have room for.

mod config;
mod spec;

use super::chain::{Chain, Segments};
use super::transport::{Io, VirtioDevice};
use config::Config;
use gearbox_core::backend::block::{BlockBackend, Completion, MediumEvent, Operation, Request, SECTOR};
use gearbox_core::board::{Cx, Saved};
use serde::{Deserialize, Serialize};
pub use spec::Blk;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use virtio_bindings::virtio_blk::{
    VIRTIO_BLK_F_CONFIG_WCE, VIRTIO_BLK_F_FLUSH, VIRTIO_BLK_ID_BYTES, VIRTIO_BLK_S_IOERR, VIRTIO_BLK_S_OK,
    VIRTIO_BLK_S_UNSUPP, VIRTIO_BLK_T_BARRIER, VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_FLUSH, VIRTIO_BLK_T_GET_ID,
    VIRTIO_BLK_T_IN, VIRTIO_BLK_T_OUT, VIRTIO_BLK_T_WRITE_ZEROES, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP,
};

/// Bytes of a request's header: type, a word without meaning, sector.
const HEADER: u64 = 16;
/// Bytes that say what to discard or to fill with zeroes: sector, number of sectors, flags.
const RANGE: usize = 16;
/// The longest request.
const MOST_BYTES: u64 = i32::MAX as u64 / SECTOR * SECTOR;

/// What is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Status {
    Ok = VIRTIO_BLK_S_OK as u8,
    IoError = VIRTIO_BLK_S_IOERR as u8,
    Unsupported = VIRTIO_BLK_S_UNSUPP as u8,
}

/// A request that is not answered yet.
#[derive(Serialize, Deserialize)]
struct Pending {
    queue: u16,
    head: u16,
    /// Where the answer goes.
    status: Segments,
    /// Bytes that were written for the driver.
    written: u32,
    /// What was written to the disk has to be on stable storage first.
    settle: bool,
}

/// No machine runs for so many requests.
const MOST_TAG: u64 = 1 << 62;

impl Pending {
    /// Can there be such a one?
    fn is_sound(&self) -> bool {
        self.status.is_sound() && u64::from(self.written) <= MOST_BYTES
    }
}

/// A disk.
pub struct BlkDevice {
    backend: Arc<BlockBackend>,
    config: Config,
    serial: String,
    features: u64,
    pending: BTreeMap<u64, Pending>,
    next_tag: u64,
}

impl BlkDevice {
    fn capacity(&self) -> u64 {
        self.backend.medium().map_or(0, |m| m.size() / SECTOR)
    }
    /// Does a range of sectors lie on the disk, in whole blocks?
    fn is_on_disk(&self, sector: u64, bytes: u64) -> bool {
        let block = u64::from(self.config.block_size);
        let aligned = sector.is_multiple_of(block / SECTOR) && bytes.is_multiple_of(block);
        let end = sector.checked_add(bytes / SECTOR);
        aligned && bytes <= MOST_BYTES && end.is_some_and(|end| end <= self.capacity())
    }
    fn submit(&mut self, pending: Pending, request: impl FnOnce(u64) -> Request) {
        let tag = self.next_tag;
        self.next_tag += 1;
        self.pending.insert(tag, pending);
        self.backend.submit(request(tag));
    }
    fn answer(io: &mut Io<'_, '_>, pending: &Pending, status: Status) {
        if pending.status.write(io.cx, &[status as u8]).is_ok() {
            io.push(pending.queue, pending.head, pending.written + 1);
        }
    }
    fn request(&mut self, io: &mut Io<'_, '_>, queue: u16, chain: Chain) {
        let Chain { head, mut readable, mut writable } = chain;
        let Some(header) = readable.take_first(HEADER).array::<{ HEADER as usize }>(io.cx) else {
            return io.fail(format_args!("virtio-blk request outhdr too short"));
        };
        let Some(status) = writable.take_last(1) else {
            return io.fail(format_args!("virtio-blk request inhdr too short"));
        };
        let [a, b, c, d, _, _, _, _, sector @ ..] = header;
        let (kind, sector) = (u32::from_le_bytes([a, b, c, d]), u64::from_le_bytes(sector));
        let mut pending = Pending { queue, head, status, written: 0, settle: false };
        match kind & !VIRTIO_BLK_T_BARRIER {
            VIRTIO_BLK_T_IN => self.transfer(io, pending, Operation::Read, sector, writable),
            VIRTIO_BLK_T_OUT => self.transfer(io, pending, Operation::Write, sector, readable),
            VIRTIO_BLK_T_FLUSH => self.submit(pending, Request::flush),
            VIRTIO_BLK_T_GET_ID => {
                let text = self.serial.bytes().chain([0]).take(VIRTIO_BLK_ID_BYTES as usize).collect::<Vec<_>>();
                pending.written = writable.write(io.cx, &text).unwrap_or(0) as u32;
                Self::answer(io, &pending, Status::Ok);
            }
            kind @ (VIRTIO_BLK_T_DISCARD | VIRTIO_BLK_T_WRITE_ZEROES) => {
                let ranges = readable.bytes(io.cx, RANGE + 1).unwrap_or_default();
                match self.clear(kind, &ranges) {
                    Ok((offset, length, operation)) => {
                        pending.settle = operation != Operation::Discard && !self.config.write_cache;
                        self.submit(pending, |tag| match operation {
                            Operation::Discard => Request::discard(tag, offset, length),
                            _ => Request::write_zeroes(
                                tag,
                                offset,
                                length,
                                operation == Operation::WriteZeroes { unmap: true },
                            ),
                        });
                    }
                    Err(status) => Self::answer(io, &pending, status),
                }
            }
            _ => Self::answer(io, &pending, Status::Unsupported),
        }
    }
    fn transfer(
        &mut self,
        io: &mut Io<'_, '_>,
        mut pending: Pending,
        operation: Operation,
        sector: u64,
        data: Segments,
    ) {
        let bytes = data.len();
        let refused = operation == Operation::Write && self.config.read_only;
        if refused || !self.is_on_disk(sector, bytes) {
            return Self::answer(io, &pending, Status::IoError);
        }
        match operation {
            Operation::Read => pending.written = bytes as u32,
            _ => pending.settle = !self.config.write_cache,
        }
        self.submit(pending, |tag| Request::guest(tag, operation, sector * SECTOR, data.into_inner()));
    }
    /// The one range that a request discards or fills with zeroes: offset and length in bytes.
    fn clear(&self, kind: u32, range: &[u8]) -> Result<(u64, u64, Operation), Status> {
        let zeroes = kind == VIRTIO_BLK_T_WRITE_ZEROES;
        let most = if zeroes { self.config.most_zeroes } else { self.config.most_discard };
        let (Some(most), false) = (most, self.config.read_only) else {
            return Err(if most.is_none() { Status::Unsupported } else { Status::IoError });
        };
        let Ok([a, b, c, d, e, f, g, h, n0, n1, n2, n3, flags @ ..]) = <[u8; RANGE]>::try_from(range) else {
            return Err(Status::IoError);
        };
        let sector = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        let (sectors, flags) = (u32::from_le_bytes([n0, n1, n2, n3]), u32::from_le_bytes(flags));
        let unmap = flags & VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP != 0;
        if flags & !VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP != 0 || unmap && !zeroes {
            return Err(Status::Unsupported);
        }
        let length = u64::from(sectors) * SECTOR;
        if sectors > most || !self.is_on_disk(sector, length) {
            return Err(Status::IoError);
        }
        Ok((sector * SECTOR, length, if zeroes { Operation::WriteZeroes { unmap } } else { Operation::Discard }))
    }
    fn completed(&mut self, io: &mut Io<'_, '_>, completion: Completion) -> Option<u16> {
        let mut pending = self.pending.remove(&completion.tag)?;
        let queue = pending.queue;
        if completion.result.is_ok() && std::mem::take(&mut pending.settle) {
            self.submit(pending, Request::flush);
            return None;
        }
        let status = if completion.result.is_ok() { Status::Ok } else { Status::IoError };
        Self::answer(io, &pending, status);
        Some(queue)
    }
}

impl VirtioDevice for BlkDevice {
    fn saved(&mut self) -> Saved<'_> {
        let Self { backend: _, config, serial: _, features: _, pending, next_tag } = self;
        let sound = |(pending, next): &(BTreeMap<u64, Pending>, u64)| {
            *next <= MOST_TAG && pending.keys().all(|tag| tag < next) && pending.values().all(Pending::is_sound)
        };
        Saved::of(&mut config.write_cache).and(Saved::sound((pending, next_tag), sound))
    }
    fn features(&self) -> u64 {
        self.features
    }
    fn config(&self) -> Vec<u8> {
        self.config.bytes(self.capacity())
    }
    fn write_config(&mut self, io: &mut Io<'_, '_>, offset: usize, data: &[u8]) {
        if let (Some(&value), true) =
            (data.get(config::WRITE_CACHE.wrapping_sub(offset)), io.has(VIRTIO_BLK_F_CONFIG_WCE))
        {
            self.config.write_cache = value != 0;
        }
    }
    /// A driver that cannot flush does not have a cache (5.2.5.1).
    fn start(&mut self, io: &mut Io<'_, '_>) {
        if !io.has(VIRTIO_BLK_F_CONFIG_WCE) {
            self.config.write_cache = io.has(VIRTIO_BLK_F_FLUSH);
        }
    }
    fn notified(&mut self, io: &mut Io<'_, '_>, queue: u16) {
        io.serve(queue, |io, chain| self.request(io, queue, chain));
    }
    fn reset(&mut self, _: &mut Cx<'_>) {
        self.backend.cancel();
        self.pending.clear();
        self.config.reset();
    }
    fn backend_ready(&mut self, io: &mut Io<'_, '_>, _tag: u32) {
        let mut queues = BTreeSet::new();
        while let Some(completion) = self.backend.completed() {
            queues.extend(self.completed(io, completion));
        }
        queues.into_iter().for_each(|queue| io.interrupt(queue));
    }
    fn medium(&mut self, io: &mut Io<'_, '_>, _tag: u32, event: MediumEvent) {
        if event == MediumEvent::Resized {
            io.config_changed();
        }
    }
}
