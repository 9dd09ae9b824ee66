//! One port: a character back end on one side, a queue for each direction on the other.
//!
//! Nothing is kept between them. A buffer that the driver sends is with the device until the back end has taken all of it; a buffer to be filled is taken
//! only when the back end has input. So each side makes the other wait.

use crate::devices::virtio::chain::{Chain, Segments};
use crate::devices::virtio::transport::Io;
use gearbox_core::backend::chardev::{CharBackend, Received};
use gearbox_core::board::{Cx, DeviceId, Saved};

/// Bytes that are moved in one call of the back end.
const CHUNK: u64 = 4 << 10;
/// Calls of it before others have their turn.
const TURN: usize = 256;

/// What a port is; a part of the device from when it is plugged in.
pub(super) struct Port {
    /// The device that users see.
    pub(super) owner: DeviceId,
    /// Its number.
    pub(super) nr: u32,
    /// Name for the driver.
    pub(super) name: Option<String>,
    /// A terminal, and not only a channel for bytes.
    pub(super) is_console: bool,
    /// The user's name for it.
    pub(super) id: Option<String>,
    /// Somebody is at the far end.
    pub(super) host_connected: bool,
    /// What the driver has been told of that.
    pub(super) told_open: bool,
    /// A program of the guest has it open, as far as the guest says.
    pub(super) guest_connected: bool,
    /// Columns and rows that the driver was told last.
    pub(super) size: Option<(u16, u16)>,
    /// What the back end has not taken yet, and of which request.
    sending: Option<(u16, Segments)>,
}

/// The queues of a port: the driver receives from the first and sends through the second (5.3.2).
pub(super) fn queues(nr: u32) -> (u16, u16) {
    let first = if nr == 0 { 0 } else { 2 * nr as u16 + 2 };
    (first, first + 1)
}
/// The port that has a queue, which is none of the control queues.
pub(super) fn of_queue(queue: u16) -> u32 {
    u32::from(queue / 2).saturating_sub(u32::from(queue >= 4))
}

impl Port {
    pub(super) fn new(owner: DeviceId, nr: u32, name: Option<String>, is_console: bool, id: Option<String>) -> Self {
        Self {
            owner,
            nr,
            name,
            is_console,
            id,
            host_connected: false,
            told_open: false,
            guest_connected: false,
            size: None,
            sending: None,
        }
    }
    /// What is saved of it. Who is at the far end is not: if that is another than the driver has been told, it will be.
    pub(super) fn saved(&mut self) -> Saved<'_> {
        let Self {
            owner: _,
            nr: _,
            name: _,
            is_console: _,
            id: _,
            host_connected: _,
            told_open,
            guest_connected,
            size,
            sending,
        } = self;
        let sound = |sending: &Option<(u16, Segments)>| sending.as_ref().is_none_or(|(_, rest)| rest.is_sound());
        Saved::of((told_open, guest_connected, size)).and(Saved::sound(sending, sound))
    }
    fn backend<'a>(&self, cx: &'a Cx<'_>) -> Option<&'a dyn CharBackend> {
        cx.chardev(self.nr)
    }
    /// A channel is open to those who are there; a console takes what comes, from the beginning.
    pub(super) fn connect(&mut self, cx: &Cx<'_>) {
        self.host_connected = self.backend(cx).is_some_and(|b| self.is_console || !b.has_connections());
        self.told_open = self.host_connected;
    }
    /// Takes back what a driver had sent, which starts anew.
    pub(super) fn reset(&mut self) {
        (self.sending, self.size) = (None, None);
    }
    /// Gives a request back that is only partly sent: the port goes, or nobody listens.
    pub(super) fn give_up(&mut self, io: &mut Io<'_, '_>) {
        if let Some((head, _)) = self.sending.take() {
            let (_, queue) = queues(self.nr);
            io.push(queue, head, 0);
            io.interrupt(queue);
        }
    }
    /// Moves what the driver sends, as far as the back end takes it. What is sent to nobody is lost.
    pub(super) fn send(&mut self, io: &mut Io<'_, '_>) {
        let (_, queue) = queues(self.nr);
        for _ in 0..TURN {
            if self.sending.is_none() {
                self.sending = io.pop(queue).map(|Chain { head, readable, .. }| (head, readable));
            }
            let Some((head, mut rest)) = self.sending.take() else { return io.interrupt(queue) };
            if self.host_connected && rest.len() > 0 {
                let data = rest.clone().take_first(CHUNK).bytes(io.cx, CHUNK as usize).unwrap_or_default();
                let sent = self.backend(io.cx).map_or(data.len(), |backend| backend.write(&data));
                // What cannot be read any more will not be sent.
                rest.take_first(if data.is_empty() { u64::MAX } else { sent as u64 });
                if rest.len() > 0 {
                    self.sending = Some((head, rest));
                    if sent < data.len() {
                        return io.interrupt(queue);
                    }
                    continue;
                }
            }
            io.push(queue, head, 0);
        }
        io.interrupt(queue);
        io.again(queue);
    }
    /// Fills buffers of the driver with input, and notes whether the far end has come or gone.
    pub(super) fn receive(&mut self, io: &mut Io<'_, '_>) {
        let (queue, _) = queues(self.nr);
        for _ in 0..TURN {
            match self.fill(io, queue) {
                Received::Bytes(_) => {}
                Received::Connected => self.host_connected = true,
                Received::Disconnected => self.host_connected = false,
                Received::Nothing => return io.interrupt(queue),
            }
        }
        io.interrupt(queue);
        io.again(queue);
    }
    /// Fills one buffer, if there is one and something to fill it with.
    fn fill(&self, io: &mut Io<'_, '_>, queue: u16) -> Received {
        let Some(chain) = self.guest_connected.then(|| io.pop(queue)).flatten() else {
            // Who comes and goes is heard of all the same.
            return self.input(io.cx, &mut []);
        };
        let room = chain.writable.len().min(CHUNK);
        if room == 0 {
            io.fail(format_args!("a buffer for input has no room for it"));
            return Received::Nothing;
        }
        let mut data = vec![0; room as usize];
        let received = self.input(io.cx, &mut data);
        match received {
            Received::Bytes(n) => {
                let written = chain.writable.write(io.cx, &data[..n]).unwrap_or(0);
                io.push(queue, chain.head, written as u32);
            }
            _ => io.unpop(queue),
        }
        received
    }
    fn input(&self, cx: &Cx<'_>, data: &mut [u8]) -> Received {
        match self.backend(cx) {
            // It is open to whoever comes, so it does not matter who that is.
            Some(backend) if self.is_console => match backend.read(data) {
                0 => Received::Nothing,
                n => Received::Bytes(n),
            },
            Some(backend) => backend.receive(data),
            None => Received::Nothing,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_of_ports() {
        assert_eq!([0, 1, 2, 30].map(queues), [(0, 1), (4, 5), (6, 7), (62, 63)]);
        assert_eq!([0, 1, 4, 5, 6, 63].map(of_queue), [0, 0, 1, 1, 2, 30]);
    }
}
