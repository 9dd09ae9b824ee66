//! Several front ends on one back end, one of which has the keyboard.
//!
//! Input goes to the front end that has the focus; output of all of them goes to the back end. Keys after the escape key `Ctrl-A` are commands
//! (QEMU, "Keys in the character backend multiplexer").

use super::CharBackend;
use super::stream::take;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;

/// `Ctrl-A`.
const ESCAPE: u8 = 0x01;
/// Input that is kept for each front end, give or take a chunk in which the focus moves on.
const INPUT: usize = 4 << 10;
/// Most front ends on one back end.
const MOST: usize = 4;

const HELP: &str = "\r\n\
    Ctrl-A h    this help\r\n\
    Ctrl-A x    end the emulator\r\n\
    Ctrl-A c    switch between the console and the monitor\r\n\
    Ctrl-A Ctrl-A  send Ctrl-A\r\n";

/// What the user asked of the multiplexer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MuxEvent {
    /// `Ctrl-A x`: end the process.
    Quit,
    /// The front end of that number has the keyboard now.
    Focus(usize),
}

type Ready = Arc<dyn Fn() + Send + Sync>;
type OnEvent = Arc<dyn Fn(MuxEvent) + Send + Sync>;

/// The multiplexer.
pub struct Mux {
    below: Arc<dyn CharBackend>,
    state: Mutex<State>,
    on_event: Mutex<Option<OnEvent>>,
}

#[derive(Default)]
struct State {
    fronts: Vec<Front>,
    focus: usize,
    /// The last key was the escape key.
    escaped: bool,
}

#[derive(Default)]
struct Front {
    input: VecDeque<u8>,
    ready: Option<Ready>,
}

/// What is left to do once the lock is released.
#[derive(Default)]
struct Afterwards {
    events: Vec<MuxEvent>,
    help: bool,
    ready: Vec<Ready>,
}

impl Mux {
    /// A multiplexer on `below`, without front ends.
    pub fn new(below: Arc<dyn CharBackend>) -> Arc<Self> {
        let this = Arc::new(Self { below, state: Mutex::default(), on_event: Mutex::new(None) });
        let weak = Arc::downgrade(&this);
        this.below.on_ready(Box::new(move || {
            if let Some(mux) = weak.upgrade() {
                mux.pump(true);
            }
        }));
        this
    }
    /// Sets who hears of events. Called on a thread of the back end with no lock held.
    pub fn on_event(&self, f: impl Fn(MuxEvent) + Send + Sync + 'static) {
        *self.on_event.lock() = Some(Arc::new(f));
    }
    /// Adds a front end; the first one has the focus. `None` when there are four already.
    pub fn port(self: &Arc<Self>) -> Option<MuxPort> {
        let mut s = self.state.lock();
        let index = s.fronts.len();
        (index < MOST).then(|| {
            s.fronts.push(Front::default());
            MuxPort { mux: self.clone(), index }
        })
    }
    /// Closes the back end below; see [`CharBackend::close`].
    pub fn close(&self) {
        self.below.close();
    }
    /// Gives the keyboard to a front end.
    pub fn focus(&self, index: usize) {
        let mut s = self.state.lock();
        if index < s.fronts.len() {
            s.focus = index;
        }
    }

    /// Moves input from the back end to the front ends, as far as there is room, and tells them; with `room`, that the back end has room again.
    fn pump(&self, room: bool) {
        let mut after = Afterwards::default();
        let mut s = self.state.lock();
        let mut fresh = false;
        while !s.fronts.is_empty() {
            let space = INPUT.saturating_sub(s.fronts[s.focus].input.len());
            let mut chunk = [0; 256];
            let space = space.min(chunk.len());
            let n = self.below.read(&mut chunk[..space]);
            if n == 0 {
                break;
            }
            fresh = true;
            chunk[..n].iter().for_each(|&key| s.key(key, &mut after));
        }
        if fresh || room {
            after.ready = s.fronts.iter().filter_map(|f| f.ready.clone()).collect();
        }
        drop(s);
        self.finish(after);
    }

    fn finish(&self, after: Afterwards) {
        if after.help {
            self.below.write(HELP.as_bytes());
        }
        let on_event = self.on_event.lock().clone();
        if let Some(on_event) = on_event {
            after.events.into_iter().for_each(|e| on_event(e));
        }
        after.ready.iter().for_each(|ready| ready());
    }
}

impl State {
    fn key(&mut self, key: u8, after: &mut Afterwards) {
        if !std::mem::take(&mut self.escaped) {
            match key {
                ESCAPE => self.escaped = true,
                _ => self.fronts[self.focus].input.push_back(key),
            }
            return;
        }
        match key {
            ESCAPE => self.fronts[self.focus].input.push_back(ESCAPE),
            b'x' => after.events.push(MuxEvent::Quit),
            b'c' => {
                self.focus = (self.focus + 1) % self.fronts.len();
                after.events.push(MuxEvent::Focus(self.focus));
            }
            b'h' | b'?' => after.help = true,
            _ => {}
        }
    }
}

/// One front end's side of a [`Mux`].
pub struct MuxPort {
    mux: Arc<Mux>,
    index: usize,
}

impl MuxPort {
    /// The multiplexer.
    pub fn mux(&self) -> &Arc<Mux> {
        &self.mux
    }
    /// Its number, as in [`MuxEvent::Focus`].
    pub fn index(&self) -> usize {
        self.index
    }
}

impl CharBackend for MuxPort {
    fn read(&self, buf: &mut [u8]) -> usize {
        let mut s = self.mux.state.lock();
        let input = &mut s.fronts[self.index].input;
        let was_full = input.len() >= INPUT;
        let n = take(input, buf);
        drop(s);
        if was_full && n > 0 {
            // Not here: the caller may hold locks that the other front ends need to take theirs.
            self.mux.below.call_again();
        }
        n
    }
    fn write(&self, data: &[u8]) -> usize {
        self.mux.below.write(data)
    }
    fn on_ready(&self, ready: Box<dyn Fn() + Send + Sync>) {
        self.mux.state.lock().fronts[self.index].ready = Some(ready.into());
        self.mux.below.call_again();
    }
    fn call_again(&self) {
        self.mux.below.call_again();
    }
    fn window_size(&self) -> Option<(u16, u16)> {
        self.mux.below.window_size()
    }
    fn flush(&self) {
        self.mux.below.flush();
    }
    fn close(&self) {
        self.mux.below.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::chardev::fake::FakeChardev;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn read(port: &MuxPort) -> Vec<u8> {
        let mut buf = [0; 16];
        let n = port.read(&mut buf);
        buf[..n].to_vec()
    }

    #[test]
    fn input_follows_the_focus_and_escapes_are_taken_out() {
        let below = Arc::new(FakeChardev::default());
        let mux = Mux::new(below.clone());
        let events = Arc::new(Mutex::new(Vec::new()));
        let seen = events.clone();
        mux.on_event(move |e| seen.lock().push(e));
        let (console, monitor) = (mux.port().unwrap(), mux.port().unwrap());
        below.type_in(b"a\x01\x01b\x01cinfo\x01c\x01qz");
        assert_eq!(read(&console), b"a\x01bz");
        assert_eq!(read(&monitor), b"info");
        below.type_in(b"\x01");
        below.type_in(b"x");
        assert_eq!(*events.lock(), [MuxEvent::Focus(1), MuxEvent::Focus(0), MuxEvent::Quit]);
        below.type_in(b"\x01h");
        assert!(String::from_utf8(below.output()).unwrap().contains("Ctrl-A x"));
    }

    #[test]
    fn nothing_is_lost_when_a_front_end_does_not_read() {
        let below = Arc::new(FakeChardev::default());
        let mux = Mux::new(below.clone());
        let console = mux.port().unwrap();
        let typed: Vec<u8> = (0..3 * INPUT).map(|n| (n % 97) as u8 + 32).collect();
        below.type_in(&typed);
        assert!(below.waiting() > INPUT, "the rest stays with the back end");
        let mut got = Vec::new();
        while got.len() < typed.len() {
            let fresh = read(&console);
            assert!(!fresh.is_empty());
            got.extend(fresh);
        }
        assert_eq!(got, typed);
    }

    #[test]
    fn all_front_ends_hear_of_room_and_write_below() {
        let below = Arc::new(FakeChardev::default());
        let mux = Mux::new(below.clone());
        let ports: Vec<_> = std::iter::from_fn(|| mux.port()).collect();
        assert_eq!(ports.len(), MOST);
        let calls = Arc::new(AtomicUsize::new(0));
        for port in &ports {
            let calls = calls.clone();
            port.on_ready(Box::new(move || {
                calls.fetch_add(1, Ordering::Relaxed);
            }));
        }
        let before = calls.load(Ordering::Relaxed);
        below.call_again();
        assert_eq!(calls.load(Ordering::Relaxed), before + MOST);
        assert_eq!(ports[0].write(b"x") + ports[3].write(b"y"), 2);
        assert_eq!(below.output(), b"xy");
    }
}
