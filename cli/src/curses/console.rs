//! A console that is a terminal in memory (QEMU's `vc`): the monitor, a serial port.

use super::frame::Frame;
use crate::backend::chardev::CharBackend;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;

/// Its size at first: lines and columns.
const SIZE: (u16, u16) = (25, 80);
/// Keys that wait; what is typed beyond is lost, as on a terminal.
const MOST_KEYS: usize = 4 << 10;

/// The console.
pub(crate) struct VirtualConsole {
    screen: Mutex<vt100::Parser>,
    keys: Mutex<VecDeque<u8>>,
    ready: Mutex<Option<Arc<dyn Fn() + Send + Sync>>>,
}

impl Default for VirtualConsole {
    fn default() -> Self {
        let screen = vt100::Parser::new(SIZE.0, SIZE.1, 0);
        Self { screen: Mutex::new(screen), keys: Mutex::default(), ready: Mutex::new(None) }
    }
}

impl VirtualConsole {
    /// Types.
    pub(super) fn type_in(&self, bytes: &[u8]) {
        let mut keys = self.keys.lock();
        let room = MOST_KEYS.saturating_sub(keys.len());
        keys.extend(&bytes[..bytes.len().min(room)]);
        drop(keys);
        self.tell();
    }
    /// What it shows on a terminal of this size (columns and lines), which becomes its own.
    pub(super) fn frame(&self, size: (u16, u16)) -> Frame {
        let mut screen = self.screen.lock();
        if screen.screen().size() != (size.1, size.0) {
            screen.screen_mut().set_size(size.1, size.0);
        }
        Frame::of_terminal(size, screen.screen())
    }
    fn tell(&self) {
        let ready = self.ready.lock().clone();
        if let Some(ready) = ready {
            ready();
        }
    }
}

impl CharBackend for VirtualConsole {
    fn read(&self, buf: &mut [u8]) -> usize {
        let mut keys = self.keys.lock();
        let n = buf.len().min(keys.len());
        for (to, from) in buf.iter_mut().zip(keys.drain(..n)) {
            *to = from;
        }
        n
    }
    fn write(&self, data: &[u8]) -> usize {
        self.screen.lock().process(data);
        data.len()
    }
    fn on_ready(&self, ready: Box<dyn Fn() + Send + Sync>) {
        *self.ready.lock() = Some(ready.into());
    }
    fn call_again(&self) {
        // The caller may hold locks that whoever is told needs. Seldom are there keys at such a moment, so no thread waits for it.
        let ready = self.ready.lock().clone();
        if let (false, Some(ready)) = (self.keys.lock().is_empty(), ready) {
            std::thread::spawn(move || ready());
        }
    }
    fn window_size(&self) -> Option<(u16, u16)> {
        let (rows, columns) = self.screen.lock().screen().size();
        Some((columns, rows))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn keys_wait_and_output_is_shown() {
        let console = VirtualConsole::default();
        let called = Arc::new(AtomicUsize::new(0));
        let count = called.clone();
        console.on_ready(Box::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
        }));
        console.type_in(b"ab");
        let mut buf = [0; 3];
        assert_eq!((called.load(Ordering::Relaxed), console.read(&mut buf), &buf[..2]), (1, 2, &b"ab"[..]));
        console.type_in(&[b'x'; MOST_KEYS + 10]);
        assert_eq!(console.keys.lock().len(), MOST_KEYS);
        assert_eq!(console.write(b"one\r\n\x1b[31mtwo"), 11 + 2);
        let frame = console.frame((5, 2));
        assert_eq!((console.screen.lock().screen().contents(), frame.size()), ("one\ntwo".to_owned(), (5, 10)));
        assert_eq!(console.window_size(), Some((5, 2)));
    }
}
