//! The thread that runs commands in their order, while those out of band overtake them.

use super::session::{Message, Peer};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

/// Commands that may wait; while there are more, nothing is read from the client. The value is QEMU's.
const WAITING: usize = 8;

/// Serves messages one after the other, until it is dropped.
pub(super) struct Worker {
    queue: Option<SyncSender<Message>>,
    /// The client has gone: what it has asked for is not done any more.
    gone: Arc<AtomicBool>,
    join: Option<JoinHandle<()>>,
}

impl Worker {
    /// Starts the thread.
    ///
    /// # Errors
    /// The host has none.
    pub(super) fn start(peer: Arc<Peer>) -> io::Result<Self> {
        let (queue, messages): (_, Receiver<Message>) = sync_channel(WAITING);
        let gone = Arc::new(AtomicBool::new(false));
        let flag = gone.clone();
        let join = std::thread::Builder::new().name("qmp-commands".into()).spawn(move || {
            for message in messages {
                if !flag.load(Ordering::Acquire) {
                    peer.serve(message);
                }
            }
        })?;
        Ok(Self { queue: Some(queue), gone, join: Some(join) })
    }
    /// Adds a message; waits while there are too many.
    pub(super) fn push(&self, message: Message) {
        if let Some(queue) = &self.queue {
            // It fails only when a command panicked, which the log tells.
            let _ = queue.send(message);
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::Release);
        self.queue = None;
        if let Some(join) = self.join.take() {
            let _ = join.join();
        }
    }
}
