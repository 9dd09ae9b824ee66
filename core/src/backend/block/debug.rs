//! Faults and breakpoints by which tests see how errors and delays are handled (QEMU's driver `blkdebug`, docs/devel/testing/blkdebug).
//!
//! What happens in the handling of requests are [events](DebugEvent). One may arm errors, which requests of certain kinds then meet; change a state, on which
//! other rules depend; or hold up the request at which it happens until somebody lets it go on.

use super::request::SECTOR;
use crate::named::named;
use parking_lot::{Condvar, Mutex};
use std::io;
use std::time::{Duration, Instant};

named! {
    /// Something that happens, by QEMU's name for it. Those that happen inside of images in the format qcow2 are not told.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum DebugEvent {
        /// A read begins.
        ReadAio = "read_aio",
        /// A write begins.
        WriteAio = "write_aio",
        /// A write goes to the image.
        Pwritev = "pwritev",
        /// A write of zeroes goes to the image.
        PwritevZero = "pwritev_zero",
        /// A write has been done.
        PwritevDone = "pwritev_done",
        /// A flush begins.
        FlushToOs = "flush_to_os",
        /// What has been written goes to stable storage.
        FlushToDisk = "flush_to_disk",
    }
}

named! {
    /// A kind of requests.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum IoType {
        /// Reads.
        Read = "read",
        /// Writes.
        Write = "write",
        /// Writes of zeroes.
        WriteZeroes = "write-zeroes",
        /// Discards.
        Discard = "discard",
        /// Flushes.
        Flush = "flush",
    }
}

/// An event arms an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InjectError {
    /// The event.
    pub event: DebugEvent,
    /// It counts in this state only.
    pub state: Option<u64>,
    /// Which requests meet the error; all of them without.
    pub io_type: Option<IoType>,
    /// The number that the host has for the error; with 0 there is none.
    pub errno: i32,
    /// Only requests that reach this sector meet it.
    pub sector: Option<u64>,
    /// It is met once.
    pub once: bool,
}

/// An event changes the state, which is 1 at first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetState {
    /// The event.
    pub event: DebugEvent,
    /// It counts in this state only.
    pub state: Option<u64>,
    /// The state that follows.
    pub new_state: u64,
}

/// All that is to happen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DebugOptions {
    /// Errors.
    pub inject_error: Vec<InjectError>,
    /// States.
    pub set_state: Vec<SetState>,
}

/// What watches over the requests of an image.
pub struct Debug {
    state: Mutex<State>,
    /// A request is held up, or goes on.
    changed: Condvar,
}

/// How long a request may take to its breakpoint: it is a worker's, which may not have begun when the device shows that it is busy.
const ON_ITS_WAY: Duration = Duration::from_secs(5);

struct State {
    now: u64,
    /// Errors, and whether each of them is armed.
    errors: Vec<(InjectError, bool)>,
    set_state: Vec<SetState>,
    breakpoints: Vec<(DebugEvent, String)>,
    /// Requests that are held up, by the tags of their breakpoints.
    held: Vec<String>,
}

impl Debug {
    pub(super) fn new(options: &DebugOptions) -> Self {
        let DebugOptions { inject_error, set_state } = options.clone();
        let errors = inject_error.into_iter().map(|e| (e, false)).collect();
        let state = State { now: 1, errors, set_state, breakpoints: Vec::new(), held: Vec::new() };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }
    /// Holds the next request up at which `event` happens, under the name `tag`.
    pub fn set_breakpoint(&self, event: DebugEvent, tag: &str) {
        self.state.lock().breakpoints.push((event, tag.to_owned()));
    }
    /// Takes the breakpoints of that name away, and lets a request go on that is held up by one. Says whether there was any.
    pub fn remove_breakpoint(&self, tag: &str) -> bool {
        let mut state = self.state.lock();
        let before = state.breakpoints.len();
        state.breakpoints.retain(|(_, t)| t != tag);
        let removed = state.breakpoints.len() < before;
        self.release(&mut state, tag) || removed
    }
    /// Lets a request go on that is held up under that name. Says whether there was one, for which it waits a little if the breakpoint is still there.
    pub fn resume(&self, tag: &str) -> bool {
        let end = Instant::now() + ON_ITS_WAY;
        let mut state = self.state.lock();
        loop {
            if self.release(&mut state, tag) {
                return true;
            }
            let expected = state.breakpoints.iter().any(|(_, t)| t == tag);
            if !expected || self.changed.wait_until(&mut state, end).timed_out() {
                return false;
            }
        }
    }
    fn release(&self, state: &mut State, tag: &str) -> bool {
        let found = state.held.iter().position(|t| t == tag);
        found.into_iter().for_each(|at| drop(state.held.remove(at)));
        self.changed.notify_all();
        found.is_some()
    }
    /// Ends all breakpoints, so that nobody waits for a request for ever.
    pub(super) fn let_go(&self) {
        let mut state = self.state.lock();
        state.breakpoints.clear();
        state.held.clear();
        self.changed.notify_all();
    }
    /// Something happens to a request of the caller's, which waits if a breakpoint says so.
    pub(super) fn happens(&self, event: DebugEvent) {
        let mut state = self.state.lock();
        let now = state.now;
        let counts = |e: DebugEvent, s: Option<u64>| e == event && s.is_none_or(|s| s == now);
        let arms = |e: &InjectError| counts(e.event, e.state);
        if state.errors.iter().any(|(e, _)| arms(e)) {
            state.errors.iter_mut().for_each(|(e, armed)| *armed = arms(e));
        }
        if let Some(next) = state.set_state.iter().find(|s| counts(s.event, s.state)).map(|s| s.new_state) {
            state.now = next;
        }
        let Some(at) = state.breakpoints.iter().position(|(e, _)| *e == event) else { return };
        let (_, tag) = state.breakpoints.remove(at);
        // Each request that is held up has a name of its own in there.
        let held = |state: &State| state.held.iter().filter(|t| **t == tag).count();
        state.held.push(tag.clone());
        self.changed.notify_all();
        let among = held(&state);
        while held(&state) >= among {
            self.changed.wait(&mut state);
        }
    }
    /// The error that a request meets.
    pub(super) fn check(&self, io_type: IoType, offset: u64, length: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        let meets = |e: &InjectError| {
            e.io_type.is_none_or(|t| t == io_type)
                && e.sector.is_none_or(|s| {
                    s.checked_mul(SECTOR).is_some_and(|at| (offset..offset.saturating_add(length)).contains(&at))
                })
        };
        let Some(n) = state.errors.iter().position(|(e, armed)| *armed && meets(e)) else { return Ok(()) };
        let InjectError { errno, once, .. } = state.errors[n].0;
        if errno == 0 {
            return Ok(());
        }
        if once {
            state.errors.remove(n);
        }
        Err(io::Error::from_raw_os_error(errno))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(event: DebugEvent) -> InjectError {
        InjectError { event, state: None, io_type: None, errno: libc::EIO, sector: None, once: false }
    }
    fn code(result: io::Result<()>) -> Option<i32> {
        result.err().and_then(|e| e.raw_os_error())
    }

    #[test]
    fn an_error_is_armed_by_an_event_in_a_state() {
        let once = InjectError { state: Some(1), once: true, ..error(DebugEvent::FlushToDisk) };
        let then = SetState { event: DebugEvent::FlushToDisk, state: None, new_state: 2 };
        let debug = Debug::new(&DebugOptions { inject_error: vec![once], set_state: vec![then] });
        assert_eq!(code(debug.check(IoType::Flush, 0, 0)), None);
        debug.happens(DebugEvent::FlushToDisk);
        assert_eq!([0; 2].map(|at| code(debug.check(IoType::Flush, at, 0))), [Some(libc::EIO), None]);
        debug.happens(DebugEvent::FlushToDisk);
        assert_eq!(code(debug.check(IoType::Flush, 0, 0)), None);
    }

    #[test]
    fn an_error_is_met_by_some_requests() {
        let space = InjectError { io_type: Some(IoType::Write), errno: libc::ENOSPC, ..error(DebugEvent::WriteAio) };
        let sector = InjectError { sector: Some(3), once: true, ..error(DebugEvent::WriteAio) };
        let debug = Debug::new(&DebugOptions { inject_error: vec![sector, space], set_state: Vec::new() });
        debug.happens(DebugEvent::WriteAio);
        assert_eq!(code(debug.check(IoType::Read, 0, 1536)), None);
        assert_eq!(code(debug.check(IoType::Read, 1024, 1024)), Some(libc::EIO));
        assert_eq!(code(debug.check(IoType::Read, 1024, 1024)), None);
        assert_eq!([0, 1].map(|_| code(debug.check(IoType::Write, 0, 512))), [Some(libc::ENOSPC); 2]);
    }

    #[test]
    fn a_request_waits_at_a_breakpoint() {
        let debug = Debug::new(&DebugOptions::default());
        let went_on = std::sync::atomic::AtomicUsize::new(0);
        let count = || went_on.load(std::sync::atomic::Ordering::SeqCst);
        let held = |n| {
            while debug.state.lock().held.len() < n {
                std::thread::yield_now()
            }
        };
        assert!(!debug.resume("A"));
        std::thread::scope(|s| {
            let request = || {
                debug.happens(DebugEvent::FlushToOs);
                went_on.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
            };
            debug.set_breakpoint(DebugEvent::FlushToOs, "A");
            let first = s.spawn(request);
            held(1);
            s.spawn(request).join().unwrap();
            assert_eq!((count(), debug.resume("B"), debug.resume("A")), (1, false, true), "once");
            first.join().unwrap();
            debug.set_breakpoint(DebugEvent::FlushToOs, "A");
            debug.set_breakpoint(DebugEvent::FlushToOs, "A");
            let others = [s.spawn(request), s.spawn(request)];
            held(2);
            assert!(debug.resume("A"));
            while count() < 3 {
                std::thread::yield_now();
            }
            debug.let_go();
            others.into_iter().for_each(|t| t.join().unwrap());
        });
        assert_eq!((count(), debug.remove_breakpoint("A")), (4, false));
    }
}
