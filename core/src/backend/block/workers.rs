//! The threads on which requests are carried out.

use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::Duration;

/// Most threads. What comes beyond waits for one of them.
const MOST: usize = 16;
/// How long a thread waits for work before it ends.
const IDLE: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce() + Send>;

/// Threads that come when there is work for them, and go when there is none, but for the last one. They go with the last reference.
#[derive(Default)]
pub(super) struct Workers(Arc<Shared>);

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    work: Condvar,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
    quit: bool,
}

impl Workers {
    /// Has one thread at least from now on, so that [`Workers::run`] never depends on what the host has left.
    ///
    /// # Errors
    /// The host has no more threads.
    pub(super) fn start(&self) -> io::Result<()> {
        let mut queue = self.0.queue.lock();
        if queue.threads > 0 { Ok(()) } else { self.0.spawn(&mut queue) }
    }
    /// Has `job` done, in the order of the calls as far as there are threads. [`Workers::start`] has been called.
    pub(super) fn run(&self, job: impl FnOnce() + Send + 'static) {
        let mut queue = self.0.queue.lock();
        queue.jobs.push_back(Box::new(job));
        if queue.idle < queue.jobs.len() && queue.threads < MOST {
            // Without another thread it waits for one of those that there are.
            let _ = self.0.spawn(&mut queue);
        }
        drop(queue);
        self.0.work.notify_one();
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.0.queue.lock().quit = true;
        self.0.work.notify_all();
    }
}

impl Shared {
    fn spawn(self: &Arc<Self>, queue: &mut Queue) -> io::Result<()> {
        let shared = self.clone();
        std::thread::Builder::new().name("block".into()).spawn(move || shared.serve())?;
        queue.threads += 1;
        Ok(())
    }
    fn serve(&self) {
        let mut queue = self.queue.lock();
        loop {
            if let Some(job) = queue.jobs.pop_front() {
                drop(queue);
                job();
                queue = self.queue.lock();
                continue;
            }
            if queue.quit {
                break;
            }
            queue.idle += 1;
            let waited = self.work.wait_for(&mut queue, IDLE);
            queue.idle -= 1;
            // The last one stays.
            if waited.timed_out() && queue.jobs.is_empty() && queue.threads > 1 {
                break;
            }
        }
        queue.threads -= 1;
    }
}
