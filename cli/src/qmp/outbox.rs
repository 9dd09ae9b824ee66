//! What waits to be taken by a client, within bounds.

use crate::backend::chardev::CharBackend;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// No further command is served while this much waits.
const REPLIES: usize = 64 << 10;
/// Events are dropped while this much waits: a client that does not read does not hear of them.
const EVENTS: usize = 1 << 20;

/// Output of a QMP session.
pub(super) struct Outbox {
    backend: Arc<dyn CharBackend>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<u8>,
    /// Somebody is there.
    open: bool,
    /// An event was dropped, and that has been logged.
    deaf: bool,
    /// The end: nobody waits for a client any more.
    ending: bool,
}

impl Outbox {
    /// For whoever is at the other side of `backend`. Closed at first.
    pub(super) fn new(backend: Arc<dyn CharBackend>) -> Self {
        Self { backend, state: Mutex::default(), changed: Condvar::new() }
    }
    /// A client has come.
    pub(super) fn open(&self) {
        *self.state.lock() = State { open: true, ..State::default() };
    }
    /// The client has gone: what is for it is dropped.
    pub(super) fn close(&self) {
        let mut state = self.state.lock();
        *state = State { ending: state.ending, ..State::default() };
        self.changed.notify_all();
    }
    /// An answer, which is never dropped.
    pub(super) fn reply(&self, text: &[u8]) {
        let mut state = self.state.lock();
        if state.open {
            state.waiting.extend(text);
            self.pump_locked(&mut state);
        }
    }
    /// An event.
    pub(super) fn event(&self, text: &[u8]) {
        let mut state = self.state.lock();
        if !state.open {
            return;
        }
        if state.waiting.len() + text.len() <= EVENTS {
            state.deaf = false;
            state.waiting.extend(text);
            self.pump_locked(&mut state);
        } else if !std::mem::replace(&mut state.deaf, true) {
            tracing::warn!("a QMP client does not read; events are dropped");
        }
    }
    /// Gives the back end what it takes now. Never blocks.
    pub(super) fn pump(&self) {
        self.pump_locked(&mut self.state.lock());
    }
    /// Waits until a client that does not read has read some, or has gone.
    pub(super) fn wait_for_room(&self) {
        let mut state = self.state.lock();
        while state.waiting.len() > REPLIES && !state.ending {
            self.changed.wait(&mut state);
        }
    }
    /// From now on nobody waits for a client; it has a moment to take what is there.
    pub(super) fn end(&self) {
        const PATIENCE: Duration = Duration::from_secs(1);
        let end = Instant::now() + PATIENCE;
        let mut state = self.state.lock();
        state.ending = true;
        self.changed.notify_all();
        while !state.waiting.is_empty() && !self.changed.wait_until(&mut state, end).timed_out() {}
    }

    fn pump_locked(&self, state: &mut State) {
        while !state.waiting.is_empty() {
            let n = self.backend.write(state.waiting.as_slices().0);
            if n == 0 {
                return;
            }
            state.waiting.drain(..n);
        }
        // Most is a few hundred bytes; a schema of a hundred KiB is asked for once.
        state.waiting.shrink_to(REPLIES);
        self.changed.notify_all();
    }
}
