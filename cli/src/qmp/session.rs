//! One client's session: negotiation, commands in order, and those that overtake them.

use super::client::{Client, NamedFds};
use super::command::Call;
use super::dispatch::{dispatch, is_oob, reply};
use super::events::Listener;
use super::greeting;
use super::json::{JsonError, Reader};
use super::outbox::Outbox;
use super::text::encode;
use super::worker::Worker;
use crate::control::{Control, Error};
use serde_json::Value;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// What the threads of a session share.
pub(super) struct Peer {
    control: Arc<Control>,
    outbox: Arc<Outbox>,
    client: Client,
    pretty: bool,
}

/// A message of a client, with the descriptors that it passed.
pub(super) type Message = (Result<Value, JsonError>, Vec<OwnedFd>);

impl Peer {
    /// Answers a message, once the client has taken the answers before it.
    pub(super) fn serve(&self, (message, fds): Message) {
        self.outbox.wait_for_room();
        let answer = match message {
            Ok(request) => {
                self.client.pass(fds);
                dispatch(&Call { control: &self.control, client: &self.client }, request)
            }
            Err(e) => reply(None, Err(Error::generic(e.to_string()))),
        };
        self.outbox.reply(&encode(&answer, self.pretty));
    }
}

impl Listener for Peer {
    fn hear(&self, event: &Value) {
        if self.client.negotiated() {
            self.outbox.event(&encode(event, self.pretty));
        }
    }
}

/// A session, on the thread that reads from the client.
pub(super) struct Session {
    peer: Arc<Peer>,
    reader: Reader,
    /// Once commands may overtake each other, those that may not have a thread of their own.
    worker: Option<Worker>,
}

impl Session {
    /// Begins one: greets the client.
    pub(super) fn begin(control: &Arc<Control>, outbox: &Arc<Outbox>, named: &NamedFds, pretty: bool) -> Self {
        let client = Client::new(named.clone());
        let peer = Arc::new(Peer { control: control.clone(), outbox: outbox.clone(), client, pretty });
        outbox.open();
        outbox.reply(&encode(&greeting(), pretty));
        let weak = Arc::downgrade(&peer);
        control.events().subscribe(weak);
        Self { peer, reader: Reader::default(), worker: None }
    }

    /// Takes what the client sent; `fds` gives the descriptors that came with it.
    pub(super) fn feed(&mut self, mut bytes: &[u8], fds: impl Fn() -> Vec<OwnedFd>) {
        while let Some(message) = self.reader.next(&mut bytes) {
            let overtakes = message.as_ref().is_ok_and(is_oob);
            let message = (message, fds());
            if self.worker.is_none() && self.peer.client.oob() {
                let started = Worker::start(self.peer.clone());
                self.worker = started.inspect_err(|e| tracing::warn!("no thread for a QMP session: {e}")).ok();
            }
            match &self.worker {
                Some(worker) if !overtakes => worker.push(message),
                _ => self.peer.serve(message),
            }
        }
    }
}
