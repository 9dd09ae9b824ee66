//! What a back end has done, in numbers (`query-blockstats`).

use super::request::{IoError, Operation};
use std::time::{Duration, Instant};

/// Requests of one kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OperationStats {
    /// How many went well.
    pub done: u64,
    /// Bytes of those.
    pub bytes: u64,
    /// How long those took, together.
    pub time: Duration,
    /// How many the host refused.
    pub failed: u64,
    /// How many the guest should not have made.
    pub invalid: u64,
}

/// Requests of all kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockStats {
    /// Reads.
    pub read: OperationStats,
    /// Writes, also of zeroes.
    pub write: OperationStats,
    /// Flushes.
    pub flush: OperationStats,
    /// Discards.
    pub discard: OperationStats,
    /// Where the write that reached farthest ended.
    pub highest_write: u64,
    /// When the last one ended.
    pub last: Option<Instant>,
}

impl BlockStats {
    /// A request that began at `start` is over.
    pub(super) fn count(
        &mut self,
        operation: Operation,
        (at, bytes): (u64, u64),
        start: Instant,
        error: Option<&IoError>,
    ) {
        let now = Instant::now();
        self.last = Some(now);
        let of = match operation {
            Operation::Read => &mut self.read,
            Operation::Write | Operation::WriteZeroes { .. } => &mut self.write,
            Operation::Flush => &mut self.flush,
            Operation::Discard => &mut self.discard,
        };
        match error {
            Some(IoError::Host(_) | IoError::NoSpace) => of.failed += 1,
            Some(_) => of.invalid += 1,
            None => {
                of.done += 1;
                of.bytes += bytes;
                of.time += now - start;
                if matches!(operation, Operation::Write | Operation::WriteZeroes { .. }) {
                    self.highest_write = self.highest_write.max(at + bytes);
                }
            }
        }
    }
}
