//! A serial port whose far end is the test: what the guest says is kept to be expected, what the test types waits for the guest.

use crate::backend::chardev::CharBackend;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Output that is kept; of a guest that says more than this unheard, the oldest is forgotten.
const MOST_OUTPUT: usize = 16 << 20;
/// Output that a report shows.
const TAIL: usize = 4 << 10;

/// A serial port for [`VmBuilder::serial`](super::VmBuilder::serial) that a test talks to by [`Vm::expect`](super::Vm::expect) and
/// [`Vm::send`](super::Vm::send).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expect;

/// The wire between the guest's serial port and a test.
#[derive(Default)]
pub(super) struct Wire {
    state: Mutex<State>,
    changed: Condvar,
    ready: Mutex<Option<Arc<dyn Fn() + Send + Sync>>>,
}

#[derive(Default)]
struct State {
    input: VecDeque<u8>,
    output: Vec<u8>,
    /// How much of `output` has been heard.
    heard: usize,
    /// Bytes of output altogether.
    written: u64,
    /// Nothing more will come.
    over: bool,
}

/// Why [`Wire::find`] found nothing.
pub(super) enum Silence {
    /// The time is over.
    Late,
    /// The machine has ended.
    Over,
}

impl Wire {
    /// Waits until `find` finds something in the output that has not been heard: the answer, and where its text ends, up to which all has been heard
    /// from then on.
    pub(super) fn find<T>(&self, timeout: Duration, find: impl Fn(&[u8]) -> Option<(T, usize)>) -> Result<T, Silence> {
        /// Least time between two looks: a guest writes byte by byte.
        const PAUSE: Duration = Duration::from_millis(1);
        let end = Instant::now() + timeout;
        let mut s = self.state.lock();
        loop {
            let (written, over) = (s.written, s.over);
            if let Some((found, len)) = find(&s.output[s.heard..]) {
                s.heard += len;
                return Ok(found);
            }
            if over {
                return Err(Silence::Over);
            }
            while s.written == written && !s.over {
                if self.changed.wait_until(&mut s, end).timed_out() {
                    return Err(Silence::Late);
                }
            }
            parking_lot::MutexGuard::unlocked(&mut s, || std::thread::sleep(PAUSE));
        }
    }
    /// Types.
    pub(super) fn type_in(&self, text: &[u8]) {
        self.state.lock().input.extend(text);
        if let Some(ready) = self.ready() {
            ready();
        }
    }
    fn ready(&self) -> Option<Arc<dyn Fn() + Send + Sync>> {
        self.ready.lock().clone()
    }
    /// All output that is kept.
    pub(super) fn text(&self) -> String {
        String::from_utf8_lossy(&self.state.lock().output).into_owned()
    }
    /// The end of the output.
    pub(super) fn tail(&self) -> String {
        let s = self.state.lock();
        String::from_utf8_lossy(&s.output[s.output.len().saturating_sub(TAIL)..]).into_owned()
    }
    /// The machine has ended.
    pub(super) fn end(&self) {
        self.state.lock().over = true;
        self.changed.notify_all();
    }
}

impl CharBackend for Wire {
    fn read(&self, buf: &mut [u8]) -> usize {
        let input = &mut self.state.lock().input;
        let n = buf.len().min(input.len());
        for (to, from) in buf.iter_mut().zip(input.drain(..n)) {
            *to = from;
        }
        n
    }
    fn write(&self, data: &[u8]) -> usize {
        let mut s = self.state.lock();
        s.output.extend_from_slice(data);
        s.written += data.len() as u64;
        if s.output.len() > MOST_OUTPUT {
            let gone = s.output.len() - MOST_OUTPUT / 2;
            s.output.drain(..gone);
            s.heard = s.heard.saturating_sub(gone);
        }
        self.changed.notify_all();
        data.len()
    }
    fn on_ready(&self, ready: Box<dyn Fn() + Send + Sync>) {
        *self.ready.lock() = Some(ready.into());
    }
    fn call_again(&self) {
        // The caller holds the board's lock. Seldom is there input at such a moment, so no thread waits for it.
        if let (false, Some(ready)) = (self.state.lock().input.is_empty(), self.ready()) {
            std::thread::spawn(move || ready());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(text: &'static [u8]) -> impl Fn(&[u8]) -> Option<((), usize)> {
        move |out| out.windows(text.len()).position(|w| w == text).map(|at| ((), at + text.len()))
    }

    #[test]
    fn what_has_been_heard_is_not_heard_again() {
        let wire = Wire::default();
        wire.write(b"one two one");
        let soon = Duration::from_millis(5);
        assert!(wire.find(soon, word(b"one")).is_ok());
        assert!(wire.find(soon, word(b"one")).is_ok());
        assert!(matches!(wire.find(soon, word(b"two")), Err(Silence::Late)));
        wire.end();
        assert!(matches!(wire.find(Duration::from_secs(60), word(b"two")), Err(Silence::Over)));
    }

    #[test]
    fn a_flood_forgets_the_oldest() {
        let wire = Wire::default();
        (0..2 * MOST_OUTPUT / 4096).for_each(|_| assert_eq!(wire.write(&[b'x'; 4096]), 4096));
        wire.write(b"end");
        assert!(wire.text().len() <= MOST_OUTPUT);
        assert!(wire.find(Duration::ZERO, word(b"end")).is_ok());
    }
}
