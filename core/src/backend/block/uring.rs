//! Reads, writes and flushes by the host's io_uring (io_uring(7)): nobody waits for each of them.
//!
//! Two threads belong to a ring. At any time one at most is telling what is done, for which it may have to wait for the board; so the other one can go on
//! taking what the host has done.

use super::request::{IoError, Segment};
use super::transfer::slices;
use crate::mem::{AddressSpace, FlatView, GuestRam};
use io_uring::{IoUring, opcode, squeue, types};
use parking_lot::{Mutex, MutexGuard};
use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Requests that are given to the host at a time. More can be under way.
const ENTRIES: u32 = 128;
/// What wakes the threads at the end, among the numbers of requests.
const WAKE: u64 = u64::MAX;

/// What the host is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    Read,
    /// The data are on stable storage afterwards if `through`.
    Write {
        through: bool,
    },
    /// Everything written is on stable storage afterwards.
    Sync,
}

/// Memory of this process that the host reads or writes.
pub(super) struct Memory {
    ranges: Vec<libc::iovec>,
    owner: Owner,
}

enum Owner {
    Buffer(Vec<u8>),
    /// The blocks in it stay mapped for as long as it lives.
    Guest(#[expect(dead_code, reason = "it is held")] Arc<FlatView>),
}

// SAFETY: the addresses are of memory that the owner keeps where it is, and that may be reached from every thread.
unsafe impl Send for Memory {}

impl Memory {
    /// A buffer; an empty one for what has no data.
    pub(super) fn buffer(mut bytes: Vec<u8>) -> Self {
        let range = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
        Self { ranges: vec![range], owner: Owner::Buffer(bytes) }
    }
    /// Guest memory in `view`, a view of `space`.
    ///
    /// # Errors
    /// It is not RAM, or not to be `written`.
    pub(super) fn guest(
        space: &AddressSpace,
        view: &Arc<FlatView>,
        segments: &[Segment],
        written: bool,
    ) -> Result<Self, IoError> {
        let ram = GuestRam::new(space, view);
        let pieces: Vec<_> = segments.iter().map(|s| (s.addr, s.len as usize)).collect();
        let range = |iov_base: *mut u8, iov_len| libc::iovec { iov_base: iov_base.cast(), iov_len };
        let slices = slices(&ram, &pieces, written)?;
        let ranges = slices.iter().map(|s| range(s.ptr_guard_mut().as_ptr(), s.len())).collect();
        Ok(Self { ranges, owner: Owner::Guest(view.clone()) })
    }
    /// How many ranges there are.
    pub(super) fn ranges(&self) -> usize {
        self.ranges.len()
    }
    /// All ranges begin at multiples of `start`, and have multiples of `length` bytes.
    pub(super) fn is_aligned(&self, start: usize, length: usize) -> bool {
        self.ranges.iter().all(|r| (r.iov_base as usize).is_multiple_of(start) && r.iov_len.is_multiple_of(length))
    }
    /// The buffer.
    pub(super) fn into_buffer(self) -> Option<Vec<u8>> {
        match self.owner {
            Owner::Buffer(bytes) => Some(bytes),
            Owner::Guest(_) => None,
        }
    }
}

/// What may wait, and is done when the other thread can go on.
pub(super) type Telling = Box<dyn FnOnce() + Send>;
/// Called with the number of bytes and the memory. It must not wait.
type Done = Box<dyn FnOnce(io::Result<usize>, Memory) -> Option<Telling> + Send>;

/// What the host is doing. All that it needs is kept until it says that it is done.
struct Flight {
    memory: Memory,
    _file: Arc<File>,
    done: Done,
}

/// A ring with its threads, which end when this has gone and nothing is under way.
pub(super) struct Ring(Arc<Shared>);

struct Shared {
    ring: IoUring,
    /// Held by whoever writes to the queue of submissions.
    submitting: Mutex<()>,
    /// Held by the thread that reads from the queue of completions.
    completing: Mutex<()>,
    flights: Mutex<Flights>,
    telling: Mutex<Tellings>,
    quit: AtomicBool,
}

#[derive(Default)]
struct Flights {
    all: HashMap<u64, Flight>,
    number: u64,
}

#[derive(Default)]
struct Tellings {
    waiting: VecDeque<Telling>,
    /// A thread is at it.
    busy: bool,
}

impl Ring {
    /// # Errors
    /// In words for the user: the host has none, or none for this process.
    pub(super) fn open() -> Result<Self, String> {
        let refused = |e: io::Error| format!("the host refuses io_uring: {e}; use aio=threads");
        let shared = Arc::new(Shared {
            ring: IoUring::new(ENTRIES).map_err(refused)?,
            submitting: Mutex::default(),
            completing: Mutex::default(),
            flights: Mutex::default(),
            telling: Mutex::default(),
            quit: AtomicBool::new(false),
        });
        // Ends a first thread if there is no second one.
        let ring = Self(shared);
        for _ in 0..2 {
            let shared = ring.0.clone();
            std::thread::Builder::new().name("io_uring".into()).spawn(move || shared.serve()).map_err(refused)?;
        }
        Ok(ring)
    }
    /// Begins a request. `aside` has it carried out by a thread of the kernel, where it would else be done here and now if it can: when data are in the page
    /// cache. `done` hears of the host's error, or that it has no room for it; what it returns is done by a thread of the ring.
    pub(super) fn begin(
        &self,
        file: &Arc<File>,
        action: Action,
        offset: u64,
        memory: Memory,
        aside: bool,
        done: impl FnOnce(io::Result<usize>, Memory) -> Option<Telling> + Send + 'static,
    ) {
        let shared = &self.0;
        let fd = types::Fd(file.as_raw_fd());
        let (ranges, count) = (memory.ranges.as_ptr(), memory.ranges.len() as u32);
        let entry = match action {
            Action::Read => opcode::Readv::new(fd, ranges, count).offset(offset).build(),
            Action::Write { through } => {
                let flags = if through { libc::RWF_DSYNC } else { 0 };
                opcode::Writev::new(fd, ranges, count).offset(offset).rw_flags(flags).build()
            }
            Action::Sync => opcode::Fsync::new(fd).flags(types::FsyncFlags::DATASYNC).build(),
        };
        let flags = if aside { squeue::Flags::ASYNC } else { squeue::Flags::empty() };
        let number = {
            let mut flights = shared.flights.lock();
            flights.number += 1;
            let number = flights.number;
            flights.all.insert(number, Flight { memory, _file: file.clone(), done: Box::new(done) });
            number
        };
        // SAFETY: the descriptor, the ranges and what they point to are the flight's, which is kept until the host is done with it.
        let began = unsafe { shared.submit(&entry.flags(flags).user_data(number)) };
        if !began && let Some(told) = shared.landed(number, -libc::EAGAIN) {
            shared.telling.lock().waiting.push_back(told);
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.0.quit.store(true, Ordering::Release);
        // Without room for it something is under way, which wakes a thread, too.
        // SAFETY: it has no descriptor and no memory.
        unsafe { self.0.submit(&opcode::Nop::new().build().user_data(WAKE)) };
    }
}

impl Shared {
    /// Gives an entry to the host; false if there is no room for it.
    ///
    /// # Safety
    /// The entry's descriptor and memory stay until the host is done.
    unsafe fn submit(&self, entry: &squeue::Entry) -> bool {
        let _turn = self.submitting.lock();
        // SAFETY: nobody else has this queue, by the lock; the caller answers for the entry.
        if unsafe { self.ring.submission_shared().push(entry) }.is_err() {
            return false;
        }
        while let Err(e) = self.ring.submit() {
            // Interrupted, or the host is short of memory: it is in the queue and cannot be taken back.
            if e.kind() != io::ErrorKind::Interrupted {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        true
    }
    /// What one of the threads does.
    fn serve(&self) {
        loop {
            {
                let _turn = self.completing.lock();
                if self.quit.load(Ordering::Acquire) && self.flights.lock().all.is_empty() {
                    return;
                }
                // It can be interrupted, and then there may be nothing.
                let _ = self.ring.submit_and_wait(1);
                // SAFETY: nobody else has this queue, by the lock.
                let done: Vec<_> =
                    unsafe { self.ring.completion_shared() }.map(|c| (c.user_data(), c.result())).collect();
                let told: Vec<_> = done.into_iter().filter_map(|(n, result)| self.landed(n, result)).collect();
                self.telling.lock().waiting.extend(told);
            }
            self.tell();
        }
    }
    fn landed(&self, number: u64, result: i32) -> Option<Telling> {
        let Flight { memory, done, .. } = self.flights.lock().all.remove(&number)?;
        let result = usize::try_from(result).map_err(|_| io::Error::from_raw_os_error(-result));
        done(result, memory)
    }
    /// Tells what is to be told, unless the other thread is at it.
    fn tell(&self) {
        let mut telling = self.telling.lock();
        if std::mem::replace(&mut telling.busy, true) {
            return;
        }
        while let Some(next) = telling.waiting.pop_front() {
            MutexGuard::unlocked(&mut telling, next);
        }
        telling.busy = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::sync::mpsc;

    #[test]
    fn what_is_told_may_wait() {
        let ring = match Ring::open() {
            Ok(ring) => ring,
            Err(reason) => return println!("skipped: {reason}"),
        };
        let mut file = tempfile_without_name();
        file.write_all(&[7; 512]).unwrap();
        let file = Arc::new(file);
        let (told, heard) = mpsc::channel();
        let (go, wait) = mpsc::channel::<()>();
        // The first telling waits until the second request has been carried out.
        let mut wait = Some(wait);
        for n in 0..2 {
            let (told, wait, done) = (told.clone(), wait.take(), told.clone());
            ring.begin(&file, Action::Read, 0, Memory::buffer(vec![0; 512]), n == 0, move |result, memory| {
                let bytes = memory.into_buffer().unwrap();
                done.send((n, "done", result.unwrap(), bytes[511])).unwrap();
                Some(Box::new(move || {
                    wait.iter().for_each(|w| w.recv().unwrap());
                    told.send((n, "told", 0, 0)).unwrap();
                }))
            });
            assert_eq!(heard.recv().unwrap(), (n, "done", 512, 7));
        }
        go.send(()).unwrap();
        assert_eq!([heard.recv().unwrap().0, heard.recv().unwrap().0], [0, 1]);
        // A thread ends with what is under way, also where the ring has gone before.
        ring.begin(&file, Action::Sync, 0, Memory::buffer(Vec::new()), false, move |result, _| {
            told.send((2, "done", result.unwrap(), 0)).unwrap();
            None
        });
        drop(ring);
        assert_eq!(heard.recv().unwrap(), (2, "done", 0, 0));
        assert!(heard.recv().is_err(), "the last sender went with the request");
    }

    fn tempfile_without_name() -> File {
        use rustix::fs::{Mode, OFlags, open};
        let flags = OFlags::TMPFILE | OFlags::RDWR;
        open(std::env::temp_dir().as_path(), flags, Mode::RUSR | Mode::WUSR).unwrap().into()
    }
}
