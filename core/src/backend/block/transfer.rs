//! Moves data between an image and guest RAM: by the host, straight from one to the other, where nothing has to look at them in between.

use super::node::Node;
use super::request::{IoError, Operation, Segment};
use crate::mem::{AddressSpace, GuestRam, Written};
use arc_swap::Guard;
use imago::io_buffers::{IoVector, IoVectorMut};
use vm_memory::{GuestAddress, GuestMemory, Permissions, VolatileSlice};

/// Bytes that are moved at a time.
const PIECE: usize = 1 << 20;
/// Ranges of memory that the host takes at a time (IOV_MAX).
pub(super) const MOST_RANGES: usize = 1024;

/// Reads from `offset` on into guest memory, or writes from there.
///
/// # Errors
/// The memory is not RAM, or as [`Node::read`] and [`Node::write`]. What was moved before has been moved.
pub(super) fn transfer(
    node: &Node,
    memory: &AddressSpace,
    operation: Operation,
    offset: u64,
    segments: &[Segment],
) -> Result<(), IoError> {
    let view = Guard::into_inner(memory.view());
    let ram = GuestRam::new(memory, &view);
    let reads = operation == Operation::Read;
    let mut at = offset;
    for piece in (Pieces { segments, done: 0 }) {
        let slices = slices(&ram, &piece, reads)?;
        let length = piece.iter().map(|(_, len)| len).sum();
        // What is looked at must not be changed by the guest afterwards.
        let copies = slices.len() > MOST_RANGES || !reads && node.looks_at_writes(at);
        match (reads, copies) {
            (true, false) => {
                // Dropped behind the vector, when all is there: that marks the pages as written.
                let (vector, _written) = IoVectorMut::from_volatile_slice(&slices);
                node.readv(at, vector)?;
            }
            (true, true) => {
                let mut buffer = vec![0; length];
                node.read(at, &mut buffer)?;
                let mut rest = &buffer[..];
                for slice in &slices {
                    let (part, later) = rest.split_at(slice.len());
                    slice.copy_from(part);
                    rest = later;
                }
            }
            (false, false) => {
                let (vector, _mapped) = IoVector::from_volatile_slice(&slices);
                node.writev(at, vector)?;
            }
            (false, true) => {
                let mut buffer = vec![0; length];
                let mut rest = &mut buffer[..];
                for slice in &slices {
                    let (part, later) = rest.split_at_mut(slice.len());
                    slice.copy_to(part);
                    rest = later;
                }
                node.write(at, &buffer)?;
            }
        }
        at += length as u64;
    }
    Ok(())
}

/// Where a piece of guest memory is in the host's.
pub(super) fn slices<'a, 's>(
    ram: &'a GuestRam<'s>,
    piece: &[(u64, usize)],
    written: bool,
) -> Result<Vec<VolatileSlice<'a, Written<'s>>>, IoError> {
    let access = if written { Permissions::Write } else { Permissions::Read };
    let mut slices = Vec::with_capacity(piece.len());
    for &(addr, len) in piece {
        for slice in ram.get_slices(GuestAddress(addr), len, access).map_err(|_| IoError::NotRam)? {
            slices.push(slice.map_err(|_| IoError::NotRam)?);
        }
    }
    Ok(slices)
}

/// Cuts guest memory into lists of at most [`PIECE`] bytes.
struct Pieces<'a> {
    segments: &'a [Segment],
    /// Bytes of the first segment that are done.
    done: u64,
}

impl Iterator for Pieces<'_> {
    type Item = Vec<(u64, usize)>;
    fn next(&mut self) -> Option<Self::Item> {
        let (mut piece, mut room) = (Vec::new(), PIECE);
        while let Some((first, later)) = self.segments.split_first() {
            let n = (first.len - self.done).min(room as u64);
            if n > 0 {
                piece.push((first.addr.wrapping_add(self.done), n as usize));
            }
            room -= n as usize;
            self.done += n;
            if self.done < first.len {
                break;
            }
            (self.segments, self.done) = (later, 0);
        }
        (!piece.is_empty()).then_some(piece)
    }
}
