//! What a back end must tell of the other side besides its bytes: when it came and went, and the descriptors that it passed.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

/// The other side of a stream.
#[derive(Default)]
pub(super) struct Connection {
    connected: bool,
    /// Its begin must be told.
    begun: bool,
    /// Its end must be told.
    ended: bool,
    /// Somebody wants to be told.
    watched: bool,
    /// Descriptors that came with input that is still waiting: after how many bytes of it, counted from the group before.
    waiting: VecDeque<(usize, Vec<OwnedFd>)>,
    /// Descriptors that came with input that has been taken.
    current: Vec<OwnedFd>,
}

impl Connection {
    /// Most groups of descriptors that wait.
    const MOST: usize = 16;

    /// Notes whether somebody is there; whether that is news.
    pub(super) fn is(&mut self, connected: bool) -> bool {
        if self.connected == connected {
            return false;
        }
        self.connected = connected;
        if connected {
            (self.begun, self.ended) = (true, false);
        } else {
            self.ended = true;
        }
        true
    }
    /// May the next one come? Not before whoever wants to know has heard that the last one went.
    pub(super) fn may_begin(&self) -> bool {
        !(self.watched && self.ended)
    }
    /// Must a begin be told now?
    pub(super) fn tell_begin(&mut self) -> bool {
        self.watched = true;
        std::mem::take(&mut self.begun)
    }
    /// Must an end be told now, as all input has been taken?
    pub(super) fn tell_end(&mut self) -> bool {
        let ended = std::mem::take(&mut self.ended);
        if ended {
            self.current.clear();
        }
        ended
    }

    /// Descriptors came with input that `before` bytes of it precede.
    pub(super) fn received(&mut self, before: usize, fds: Vec<OwnedFd>) {
        if !fds.is_empty() {
            let others: usize = self.waiting.iter().map(|(after, _)| after).sum();
            self.waiting.push_back((before.saturating_sub(others), fds));
        }
    }
    /// Can no more of them wait?
    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= Self::MOST
    }
    /// How much input may be taken at once, so that it is known which descriptors belong to it.
    pub(super) fn until_fds(&self) -> usize {
        match self.waiting.front() {
            Some((0, _)) => self.waiting.get(1).map_or(usize::MAX, |(after, _)| *after),
            Some((after, _)) => *after,
            None => usize::MAX,
        }
    }
    /// So much input has been taken.
    pub(super) fn taken(&mut self, n: usize) {
        if n == 0 {
            return;
        }
        if self.waiting.front().is_some_and(|(after, _)| *after == 0) {
            self.current = self.waiting.pop_front().map(|(_, fds)| fds).unwrap_or_default();
        }
        if let Some((after, _)) = self.waiting.front_mut() {
            *after -= n.min(*after);
        }
    }
    /// Takes the descriptors of the input that was taken last.
    pub(super) fn take_fds(&mut self) -> Vec<OwnedFd> {
        std::mem::take(&mut self.current)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    fn fds(n: usize) -> Vec<OwnedFd> {
        (0..n).map(|_| File::open("/dev/null").unwrap().into()).collect()
    }

    #[test]
    fn descriptors_come_with_their_bytes() {
        let mut c = Connection::default();
        c.received(3, fds(1));
        c.received(10, fds(2));
        assert_eq!(c.until_fds(), 3);
        c.taken(3);
        assert!(c.take_fds().is_empty());
        assert_eq!(c.until_fds(), 7);
        c.taken(1);
        assert_eq!(c.until_fds(), 6);
        c.taken(6);
        assert_eq!(c.take_fds().len(), 1);
        c.taken(1);
        assert_eq!((c.take_fds().len(), c.until_fds()), (2, usize::MAX));
    }

    #[test]
    fn only_who_wants_to_know_keeps_the_next_one_out() {
        let mut c = Connection::default();
        assert!(c.is(true) && !c.is(true) && c.is(false));
        assert!(c.may_begin());
        assert!(c.is(true) && c.tell_begin() && !c.tell_end());
        assert!(c.is(false) && !c.may_begin());
        assert!(!c.tell_begin() && c.tell_end() && c.may_begin());
    }
}
