//! A character back end in memory, whose far end is the test.

use gearbox_core::backend::chardev::{CharBackend, Received};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;

/// The host's end of a serial port or console, in memory: the test types in and looks at the output.
///
/// ```
/// use gearbox_accel_qtest::BenchChardev;
/// use gearbox_core::backend::chardev::CharBackend;
///
/// let c = BenchChardev::new();
/// c.type_in(b"ab");
/// let mut one = [0];
/// assert_eq!((c.read(&mut one), one), (1, [b'a'])); // what a device does with it
/// assert_eq!(c.write(b"ok"), 2);
/// assert_eq!(c.output(), b"ok");
/// c.set_room(1);
/// assert_eq!(c.write(b"ok"), 1); // full
/// ```
#[derive(Default)]
pub struct BenchChardev {
    state: Mutex<State>,
    ready: Mutex<Option<Arc<dyn Fn() + Send + Sync>>>,
}

#[derive(Default)]
struct State {
    input: VecDeque<u8>,
    output: Vec<u8>,
    /// How many bytes of output are taken before the back end is full; without bound if `None`.
    room: Option<usize>,
    /// Whether somebody is there, where that matters, and whether the device has heard of it.
    connection: Option<(bool, bool)>,
    window: Option<(u16, u16)>,
}

impl BenchChardev {
    /// A back end with no input and endless room.
    pub fn new() -> Arc<Self> {
        Arc::default()
    }
    /// Gives input to the device.
    pub fn type_in(&self, bytes: &[u8]) {
        self.state.lock().input.extend(bytes);
        self.call_ready();
    }
    /// How many bytes of input the device has not taken yet.
    pub fn waiting(&self) -> usize {
        self.state.lock().input.len()
    }
    /// Takes the output so far.
    pub fn output(&self) -> Vec<u8> {
        std::mem::take(&mut self.state.lock().output)
    }
    /// Takes `bytes` more bytes of output, then is full.
    pub fn set_room(&self, bytes: usize) {
        self.state.lock().room = Some(bytes);
        self.call_ready();
    }
    /// Somebody comes or goes. From the first call on there is nobody else.
    pub fn connect(&self, connected: bool) {
        self.state.lock().connection = Some((connected, false));
        self.call_ready();
    }
    /// It is a terminal of so many columns and rows.
    pub fn set_window_size(&self, columns: u16, rows: u16) {
        self.state.lock().window = Some((columns, rows));
        self.call_ready();
    }
    fn call_ready(&self) {
        let ready = self.ready.lock().clone();
        if let Some(ready) = ready {
            ready();
        }
    }
}

impl CharBackend for BenchChardev {
    fn read(&self, buf: &mut [u8]) -> usize {
        let mut s = self.state.lock();
        let n = buf.len().min(s.input.len());
        for (to, from) in buf.iter_mut().zip(s.input.drain(..n)) {
            *to = from;
        }
        n
    }
    fn has_connections(&self) -> bool {
        self.state.lock().connection.is_some()
    }
    fn receive(&self, buf: &mut [u8]) -> Received {
        if let Some((connected, told @ false)) = &mut self.state.lock().connection {
            *told = true;
            return if *connected { Received::Connected } else { Received::Disconnected };
        }
        match self.read(buf) {
            0 => Received::Nothing,
            n => Received::Bytes(n),
        }
    }
    fn window_size(&self) -> Option<(u16, u16)> {
        self.state.lock().window
    }
    fn write(&self, data: &[u8]) -> usize {
        let mut s = self.state.lock();
        let n = s.room.map_or(data.len(), |room| room.min(data.len()));
        s.output.extend_from_slice(&data[..n]);
        if let Some(room) = &mut s.room {
            *room -= n;
        }
        n
    }
    fn on_ready(&self, ready: Box<dyn Fn() + Send + Sync>) {
        *self.ready.lock() = Some(ready.into());
    }
}
