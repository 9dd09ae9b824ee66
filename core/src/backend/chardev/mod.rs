//! Character back ends: what is behind a serial port, a debug console or a monitor.
//!
//! All of them are made by [`ChardevSpec::open`]. Those with a descriptor share one engine (`stream`): a thread that moves bytes between bounded
//! queues and the descriptor, so that a device never waits. [`mux`] puts several front ends on one of them, with the `Ctrl-A` escapes.

mod connection;
#[cfg(test)]
mod fake;
pub mod mux;
mod null;
mod port;
mod registry;
mod socket;
mod spec;
mod stream;
pub mod terminal;
mod wake;

pub use mux::{Mux, MuxEvent, MuxPort};
pub use null::Null;
pub use registry::{Chardev, ChardevError, ChardevInfo, Chardevs, Source};
pub use spec::{ChardevSpec, OpenChardev, SocketAddress, SocketRole};
pub use stream::Stream;

use std::os::fd::OwnedFd;

/// What [`CharBackend::receive`] met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// Nothing, for now.
    Nothing,
    /// So many bytes.
    Bytes(usize),
    /// Somebody is there, from now on.
    Connected,
    /// Whoever was there has gone. The next one is let in only now.
    Disconnected,
}

/// A character back end. Devices call it with the board locked, so nothing here may block.
///
/// Input is *pulled*: the back end keeps a bounded amount and stops reading from its source when it is full, so that nothing is lost
/// however slowly the guest reads.
pub trait CharBackend: Send + Sync {
    /// Takes up to `buf.len()` bytes of input; returns how many.
    fn read(&self, buf: &mut [u8]) -> usize;
    /// Does the other side come and go, as the clients of a socket do? Then [`CharBackend::receive`] tells of it.
    fn has_connections(&self) -> bool {
        false
    }
    /// As [`CharBackend::read`], for those who keep the other side's connections apart. The [`CharBackend::on_ready`] function is called for
    /// their beginnings and ends as well.
    fn receive(&self, buf: &mut [u8]) -> Received {
        match self.read(buf) {
            0 => Received::Nothing,
            n => Received::Bytes(n),
        }
    }
    /// Takes the descriptors that came with the input read last, or before it (`SCM_RIGHTS`, unix(7)). Later ones replace them.
    fn take_fds(&self) -> Vec<OwnedFd> {
        Vec::new()
    }
    /// Gives output; returns how many bytes were taken. When it is fewer than given, the back end is full and calls the
    /// [`CharBackend::on_ready`] function once there is room.
    fn write(&self, data: &[u8]) -> usize;
    /// Sets the function that is called, on some thread of the back end and with none of its locks held, when input arrives or
    /// room comes up. It replaces the one before.
    fn on_ready(&self, ready: Box<dyn Fn() + Send + Sync>);
    /// Asks for another call of the [`CharBackend::on_ready`] function, soon and from a thread of the back end. For those who stopped reading
    /// with input left. Back ends without input have nothing to do.
    fn call_again(&self) {}
    /// Columns and rows of the terminal that it is, if it is one.
    fn window_size(&self) -> Option<(u16, u16)> {
        None
    }
    /// Waits, for a bounded time, until the host has taken all output. Not to be called with the board locked.
    fn flush(&self) {}
    /// Flushes, and ends what works for this back end, so that no call of the [`CharBackend::on_ready`] function is under way any more. Its input
    /// is over, and output is no longer taken to the host. Not to be called with the board locked.
    fn close(&self) {}
}
