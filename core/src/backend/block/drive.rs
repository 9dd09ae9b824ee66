//! What a device holds on to: a place for a medium, with requests under way.

use super::medium::Media;
use super::node::Node;
use super::options::OnError;
use super::request::{Completion, Data, IoError, Operation, Request};
use super::stats::BlockStats;
use super::transfer::transfer;
use super::workers::Workers;
use crate::mem::AddressSpace;
use parking_lot::{Condvar, Mutex};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Instant;

/// A request that failed, for whoever watches the machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IoFailure {
    /// The back end's name.
    pub device: String,
    /// The node's.
    pub node: String,
    /// What was asked for.
    pub operation: Operation,
    /// What is done about it.
    pub action: OnError,
    /// Why it failed.
    pub error: IoError,
}

/// What is saved of a back end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DriveState {
    tray_open: bool,
    locked: bool,
    /// Requests that failed, and stopped the machine.
    held: Vec<Request>,
}

/// Who uses a back end.
pub struct BlockClient {
    /// The device, by its id or its path.
    pub device: String,
    /// Guest RAM.
    pub memory: Arc<AddressSpace>,
    /// Called, on a thread of the back end and with none of its locks held, when there is a [`Completion`].
    pub ready: Box<dyn Fn() + Send + Sync>,
    /// Called when a request has failed.
    pub failed: Box<dyn Fn(&IoFailure) + Send + Sync>,
}

/// A back end for one device (QEMU's `BlockBackend`). Its functions do not wait, except where they say so.
pub struct BlockBackend {
    name: String,
    workers: Arc<Workers>,
    /// When a read fails, and when a write does.
    on_errors: Mutex<[OnError; 2]>,
    inner: Mutex<Inner>,
    idle: Condvar,
    quiet: Condvar,
}

/// Why a device cannot have a back end.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttachError {
    /// It has a user.
    #[error("is already in use by another block device")]
    InUse,
    /// The host has no thread for its requests.
    #[error("has no thread for its requests: {0}")]
    NoThread(io::Error),
}

#[derive(Default)]
struct Inner {
    medium: Option<Arc<Node>>,
    client: Option<Arc<BlockClient>>,
    media: Media,
    tray_open: bool,
    locked: bool,
    /// Requests that no worker has begun.
    waiting: VecDeque<Waiting>,
    /// How often workers are going to look there. It can be too often after [`BlockBackend::cancel`].
    looks: usize,
    /// Requests that are being carried out.
    running: usize,
    /// All of these, and those of which the device is being told.
    in_flight: usize,
    done: VecDeque<Completion>,
    /// Requests that failed, to be tried again when the machine continues.
    held: Vec<Request>,
    /// Counts [`BlockBackend::cancel`], so that what was under way before is told from what came later.
    epoch: u64,
    stats: BlockStats,
    /// Why the machine stopped, until it continues.
    stopped_by: Option<IoError>,
}

/// A request, with the medium and the user that the back end had when it came.
struct Waiting {
    medium: Option<Arc<Node>>,
    client: Option<Arc<BlockClient>>,
    request: Request,
}

/// Somebody who is to hear of a request.
struct Told {
    client: Arc<BlockClient>,
    failure: Option<IoFailure>,
}

impl Told {
    fn tell(self) {
        let Self { client, failure } = self;
        if let Some(failure) = &failure {
            (client.failed)(failure);
        }
        if failure.is_none_or(|f| f.action != OnError::Stop) {
            (client.ready)();
        }
    }
}

impl BlockBackend {
    pub(super) fn new(
        name: &str,
        workers: Arc<Workers>,
        medium: Option<Arc<Node>>,
        on_read_error: OnError,
        on_write_error: OnError,
    ) -> Arc<Self> {
        let inner = Mutex::new(Inner { medium, ..Inner::default() });
        let (name, idle, quiet) = (name.to_owned(), Condvar::new(), Condvar::new());
        let on_errors = Mutex::new([on_read_error, on_write_error]);
        Arc::new(Self { name, workers, on_errors, inner, idle, quiet })
    }
    /// Its name; empty if it was made for a node and a device.
    pub fn name(&self) -> &str {
        &self.name
    }
    /// The name of the device that has it, or its own, for messages.
    pub fn label(&self) -> String {
        if self.name.is_empty() { self.device().unwrap_or_default() } else { self.name.clone() }
    }
    /// The device that has it.
    pub fn device(&self) -> Option<String> {
        self.inner.lock().client.as_ref().map(|c| c.device.clone())
    }
    /// The medium, if there is one.
    pub fn medium(&self) -> Option<Arc<Node>> {
        self.inner.lock().medium.clone()
    }
    /// Puts a medium in, or takes it out; returns the one that was there. The device is not told.
    pub fn set_medium(&self, medium: Option<Arc<Node>>) -> Option<Arc<Node>> {
        std::mem::replace(&mut self.inner.lock().medium, medium)
    }
    /// What the device can do with media.
    pub fn media(&self) -> Media {
        self.inner.lock().media
    }
    /// The tray is open.
    pub fn tray_open(&self) -> bool {
        self.inner.lock().tray_open
    }
    /// Says where the tray is; returns whether it has moved.
    pub fn set_tray_open(&self, open: bool) -> bool {
        std::mem::replace(&mut self.inner.lock().tray_open, open) != open
    }
    /// The door is locked.
    pub fn locked(&self) -> bool {
        self.inner.lock().locked
    }
    /// Locks or unlocks it.
    pub fn set_locked(&self, locked: bool) {
        self.inner.lock().locked = locked;
    }
    /// Where failures stop the machine: the one for which it stands.
    pub fn io_status(&self) -> Option<Result<(), IoError>> {
        let [read, write] = *self.on_errors.lock();
        let stops = matches!(write, OnError::Stop | OnError::Enospc) || read == OnError::Stop;
        let inner = self.inner.lock();
        (stops && inner.client.is_some()).then(|| inner.stopped_by.clone().map_or(Ok(()), Err))
    }
    /// What it has done so far.
    pub fn stats(&self) -> BlockStats {
        self.inner.lock().stats
    }
    /// What happens when a read or a write fails.
    pub fn on_error(&self, operation: Operation) -> OnError {
        let [read, write] = *self.on_errors.lock();
        if operation == Operation::Read { read } else { write }
    }
    /// Changes that, where the device says so.
    pub fn set_on_error(&self, read: Option<OnError>, write: Option<OnError>) {
        let on_errors = &mut *self.on_errors.lock();
        for (now, wanted) in on_errors.iter_mut().zip([read, write]) {
            *now = wanted.unwrap_or(*now);
        }
    }

    /// Makes `client` the user, until [`BlockBackend::detach`].
    ///
    /// # Errors
    /// There is one, or the host has no thread for it.
    pub(crate) fn attach(&self, client: BlockClient, media: Media) -> Result<(), AttachError> {
        let mut inner = self.inner.lock();
        if inner.client.is_some() {
            return Err(AttachError::InUse);
        }
        self.workers.start().map_err(AttachError::NoThread)?;
        inner.client = Some(Arc::new(client));
        inner.media = media;
        Ok(())
    }
    /// Lets the user go, after [`BlockBackend::cancel`].
    pub(crate) fn detach(&self) {
        self.cancel();
        let client = self.inner.lock().client.take();
        drop(client);
    }

    /// Begins a request. A [`Completion`] with its tag comes at some time.
    pub fn submit(self: &Arc<Self>, request: Request) {
        let (medium, client) = {
            let inner = self.inner.lock();
            (inner.medium.clone(), inner.client.clone())
        };
        let Some(next) = self.begin_in_ring(Waiting { medium, client, request }) else { return };
        let mut inner = self.inner.lock();
        inner.waiting.push_back(next);
        inner.in_flight += 1;
        let looks = inner.looks;
        inner.looks = looks.max(inner.waiting.len());
        if inner.looks > looks {
            drop(inner);
            let this = self.clone();
            self.workers.run(move || this.carry_out_next());
        }
    }
    /// Takes the oldest request that is done.
    pub fn completed(&self) -> Option<Completion> {
        self.inner.lock().done.pop_front()
    }
    /// Forgets all requests: no completion of them comes any more, and what no worker has begun is not carried out. Waits for what is being carried out, so
    /// that guest RAM is not touched any more. (That takes as long as the host takes, also where the board is locked: a worker needs it only afterwards.)
    pub fn cancel(&self) {
        self.let_go();
        let mut inner = self.inner.lock();
        inner.epoch += 1;
        inner.done.clear();
        inner.held.clear();
        let forgotten = std::mem::take(&mut inner.waiting).len();
        self.finished(&mut inner, forgotten);
        while inner.running > 0 {
            self.quiet.wait(&mut inner);
        }
    }
    /// Nobody waits for what is held up at a breakpoint.
    fn let_go(&self) {
        if let Some(medium) = self.medium()
            && let Some(debug) = medium.debug()
        {
            debug.let_go();
        }
    }
    /// Requests under way.
    pub fn in_flight(&self) -> usize {
        self.inner.lock().in_flight
    }
    /// Waits until no request is under way, and the device has heard of all. Not to be called with the board locked.
    pub fn drain(&self) {
        self.let_go();
        let mut inner = self.inner.lock();
        while inner.in_flight > 0 {
            self.idle.wait(&mut inner);
        }
    }
    /// What is saved of it, if no request is under way: the medium is the user's.
    pub(crate) fn save(&self) -> Option<DriveState> {
        let inner = self.inner.lock();
        let held = inner.held.clone();
        (inner.in_flight == 0 && inner.done.is_empty()).then_some(DriveState {
            tray_open: inner.tray_open,
            locked: inner.locked,
            held,
        })
    }
    /// Takes it back, in place of what was under way.
    pub(crate) fn load(&self, state: &DriveState) {
        self.cancel();
        let mut inner = self.inner.lock();
        (inner.tray_open, inner.locked) = (state.tray_open, state.locked);
        inner.held.clone_from(&state.held);
    }
    /// Tries again what failed and stopped the machine.
    pub fn resume(self: &Arc<Self>) {
        let held = {
            let mut inner = self.inner.lock();
            inner.stopped_by = None;
            std::mem::take(&mut inner.held)
        };
        held.into_iter().for_each(|request| self.submit(request));
    }

    /// Has the ring of the medium carry a request out, or returns it, for a worker.
    fn begin_in_ring(self: &Arc<Self>, mut next: Waiting) -> Option<Waiting> {
        let memory = next.client.as_ref().map(|c| &c.memory);
        let Some(node) = next.medium.clone() else { return Some(next) };
        let Some(prepared) = node.for_ring(&mut next.request, memory) else { return Some(next) };
        let epoch = {
            let mut inner = self.inner.lock();
            inner.in_flight += 1;
            inner.running += 1;
            inner.epoch
        };
        let (start, this) = (Instant::now(), self.clone());
        let Waiting { medium, client, request } = next;
        node.begin_in_ring(prepared, request, move |request, result| {
            let next = Waiting { medium, client, request };
            let Some(result) = result else {
                let workers = this.workers.clone();
                workers.run(move || {
                    this.carry_out(next, epoch);
                    this.finished(&mut this.inner.lock(), 1);
                });
                return None;
            };
            let told = this.conclude(next, epoch, start, result.map_err(IoError::from));
            Some(Box::new(move || {
                told.into_iter().for_each(Told::tell);
                this.finished(&mut this.inner.lock(), 1);
            }))
        });
        None
    }
    fn carry_out_next(&self) {
        let (next, epoch) = {
            let mut inner = self.inner.lock();
            inner.looks -= 1;
            let Some(next) = inner.waiting.pop_front() else { return };
            inner.running += 1;
            (next, inner.epoch)
        };
        self.carry_out(next, epoch);
        self.finished(&mut self.inner.lock(), 1);
    }
    /// So many requests are not in flight any more.
    fn finished(&self, inner: &mut Inner, requests: usize) {
        inner.in_flight -= requests;
        if inner.in_flight == 0 {
            self.idle.notify_all();
        }
    }
    fn carry_out(&self, mut next: Waiting, epoch: u64) {
        let memory = next.client.as_ref().map(|c| &*c.memory);
        let (start, medium) = (Instant::now(), next.medium.as_ref());
        let result = medium.ok_or(IoError::NoMedium).and_then(|node| perform(node, memory, &mut next.request));
        self.conclude(next, epoch, start, result).into_iter().for_each(Told::tell);
    }
    /// Notes how a request went that began at `start`; returns whom to tell, which may wait.
    fn conclude(&self, next: Waiting, epoch: u64, start: Instant, result: Result<(), IoError>) -> Option<Told> {
        let Waiting { medium, client, request } = next;
        let action = self.action(&request, &result);
        let failure = action.map(|action| IoFailure {
            device: self.name.clone(),
            node: medium.map(|m| m.name().to_owned()).unwrap_or_default(),
            operation: request.operation,
            action,
            error: result.as_ref().err().cloned().unwrap_or(IoError::NoMedium),
        });
        let completed = {
            let mut inner = self.inner.lock();
            let range = (request.offset, request.length);
            inner.stats.count(request.operation, range, start, result.as_ref().err());
            inner.running -= 1;
            if inner.running == 0 {
                self.quiet.notify_all();
            }
            let current = inner.epoch == epoch;
            match action {
                _ if !current => {}
                Some(OnError::Stop) => {
                    inner.stopped_by = result.err();
                    inner.held.push(request);
                }
                action => {
                    let data = if let Data::Owned(bytes) = request.data { bytes } else { Vec::new() };
                    let result = if action == Some(OnError::Ignore) { Ok(()) } else { result };
                    inner.done.push_back(Completion { tag: request.tag, result, data });
                }
            }
            current
        };
        client.filter(|_| completed).map(|client| Told { client, failure })
    }
    /// What is to be done about a failure of the host; nothing where it is the guest's.
    fn action(&self, request: &Request, result: &Result<(), IoError>) -> Option<OnError> {
        let error = result.as_ref().err().filter(|e| matches!(e, IoError::Host(_) | IoError::NoSpace))?;
        Some(match self.on_error(request.operation) {
            OnError::Enospc if *error == IoError::NoSpace => OnError::Stop,
            OnError::Enospc => OnError::Report,
            action => action,
        })
    }
}

impl std::fmt::Debug for BlockBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BlockBackend({})", self.name)
    }
}

fn perform(node: &Node, memory: Option<&AddressSpace>, request: &mut Request) -> Result<(), IoError> {
    let Request { operation, offset, length, data, .. } = request;
    let (operation, offset, length) = (*operation, *offset, *length);
    match operation {
        Operation::Flush => return node.flush(),
        Operation::Discard => return node.discard(offset, length),
        Operation::WriteZeroes { unmap } => return node.write_zeroes(offset, length, unmap),
        Operation::Read | Operation::Write if data.len() != length => return Err(IoError::OutOfRange),
        Operation::Read | Operation::Write => {}
    }
    match data {
        Data::None => Ok(()),
        Data::Owned(bytes) if operation == Operation::Read => node.read(offset, bytes),
        Data::Owned(bytes) => node.write(offset, bytes),
        Data::Guest(segments) => {
            let memory = memory.ok_or(IoError::NotRam)?;
            if offset.checked_add(length).is_none_or(|end| end > node.size()) {
                return Err(IoError::OutOfRange);
            }
            transfer(node, memory, operation, offset, segments)
        }
    }
}

/// A device's property that names a back end.
#[derive(Clone, Debug, Default)]
pub struct Drive {
    id: String,
    backend: Option<Arc<BlockBackend>>,
}

impl Drive {
    /// The back end `backend`, as it was asked for.
    pub fn named(id: &str, backend: Arc<BlockBackend>) -> Self {
        Self { id: id.to_owned(), backend: Some(backend) }
    }
    /// As it was asked for; empty without a back end.
    pub fn id(&self) -> &str {
        &self.id
    }
    /// The back end.
    pub fn backend(&self) -> Option<&Arc<BlockBackend>> {
        self.backend.as_ref()
    }
}

impl From<Arc<BlockBackend>> for Drive {
    fn from(backend: Arc<BlockBackend>) -> Self {
        Self::named(backend.name(), backend.clone())
    }
}
