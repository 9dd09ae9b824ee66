//! The buffers of one request, as the driver laid them out. Devices go by bytes, never by buffers (Virtual I/O Device 1.2, 2.7.4.1).

use gearbox_core::backend::block::Segment;
use gearbox_core::board::Cx;
use gearbox_core::mem::NotRam;
use serde::{Deserialize, Serialize};

/// Most descriptors of a chain, wherever they are.
pub(super) const MOST_DESCRIPTORS: usize = 1024;

/// A chain of buffers.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Chain {
    /// Its name: what is given back.
    pub(super) head: u16,
    /// What the device reads.
    pub(super) readable: Segments,
    /// What it writes.
    pub(super) writable: Segments,
}

/// Ranges of guest RAM, one after the other.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Segments(Vec<Segment>);

impl Chain {
    /// Can a driver have made it available?
    pub(super) fn is_sound(&self) -> bool {
        self.readable.is_sound() && self.writable.is_sound()
    }
}

impl Segments {
    /// Can a driver have named these?
    pub(super) fn is_sound(&self) -> bool {
        self.0.len() <= MOST_DESCRIPTORS && self.0.iter().all(|s| s.len <= u32::MAX.into())
    }
    pub(super) fn new(segments: Vec<Segment>) -> Self {
        Self(segments)
    }
    /// Bytes.
    pub(super) fn len(&self) -> u64 {
        self.0.iter().map(|s| s.len).sum()
    }
    pub(super) fn into_inner(self) -> Vec<Segment> {
        self.0
    }
    /// Takes the first `n` bytes, or as many as there are.
    pub(super) fn take_first(&mut self, n: u64) -> Self {
        let (mut taken, mut rest) = (Vec::new(), n);
        let mut whole = 0;
        for s in &mut self.0 {
            let part = rest.min(s.len);
            if part == 0 {
                break;
            }
            taken.push(Segment { addr: s.addr, len: part });
            (s.addr, s.len, rest) = (s.addr.wrapping_add(part), s.len - part, rest - part);
            whole += usize::from(s.len == 0);
        }
        self.0.drain(..whole);
        Self(taken)
    }
    /// Takes the last `n` bytes; nothing if there are not as many.
    pub(super) fn take_last(&mut self, n: u64) -> Option<Self> {
        let first = self.len().checked_sub(n)?;
        let front = self.take_first(first);
        Some(Self(std::mem::replace(&mut self.0, front.0)))
    }
    /// Reads as much as there is, up to the size of `data`; returns how much that was.
    pub(super) fn read(&self, cx: &mut Cx<'_>, data: &mut [u8]) -> Result<usize, NotRam> {
        let mut done = 0;
        for s in &self.0 {
            let n = (data.len() - done).min(s.len as usize);
            cx.dma_read(s.addr, &mut data[done..done + n])?;
            done += n;
        }
        Ok(done)
    }
    /// Reads all of it, but not more than `most` bytes.
    pub(super) fn bytes(&self, cx: &mut Cx<'_>, most: usize) -> Result<Vec<u8>, NotRam> {
        let mut data = vec![0; most.min(self.len() as usize)];
        self.read(cx, &mut data)?;
        Ok(data)
    }
    /// Reads the first bytes; `None` if there are not as many, or they cannot be read.
    pub(super) fn array<const N: usize>(&self, cx: &mut Cx<'_>) -> Option<[u8; N]> {
        let mut data = [0; N];
        (self.read(cx, &mut data) == Ok(N)).then_some(data)
    }
    /// Writes as much of `data` as there is room for; returns how much that was.
    pub(super) fn write(&self, cx: &mut Cx<'_>, data: &[u8]) -> Result<usize, NotRam> {
        let mut done = 0;
        for s in &self.0 {
            let n = (data.len() - done).min(s.len as usize);
            cx.dma_write(s.addr, &data[done..done + n])?;
            done += n;
        }
        Ok(done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn segments(list: &[(u64, u64)]) -> Segments {
        Segments(list.iter().map(|&(addr, len)| Segment { addr, len }).collect())
    }
    fn list(segments: &Segments) -> Vec<(u64, u64)> {
        segments.0.iter().map(|s| (s.addr, s.len)).collect()
    }

    #[test]
    fn cuts_go_by_bytes() {
        let mut s = segments(&[(0x100, 4), (0x200, 4), (0x300, 4)]);
        let last = s.take_last(5).unwrap();
        assert_eq!((list(&s), list(&last)), (vec![(0x100, 4), (0x200, 3)], vec![(0x203, 1), (0x300, 4)]));
        let first = s.take_first(4);
        assert_eq!((list(&first), list(&s)), (vec![(0x100, 4)], vec![(0x200, 3)]));
        assert!(s.take_last(4).is_none());
        assert_eq!((s.len(), list(&s.take_first(100)), s.len()), (3, vec![(0x200, 3)], 0));
        assert!(s.0.is_empty() && s.take_last(0).unwrap().0.is_empty());
    }
}
