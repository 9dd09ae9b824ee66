//! The threads on which requests are carried out.

use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Most threads. What comes beyond waits for one of them.
const MOST: usize = 16;
/// How long a thread waits for work before it ends.
const IDLE: Duration = Duration::from_secs(10);

type Job = Box<dyn FnOnce() + Send>;

/// Threads that come when there is work for them, and go when there is none. They go with the last reference.
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
    /// Has `job` done, in the order of the calls as far as there are threads. Where the host has no more threads and there is none yet, it is done by the
    /// caller.
    pub(super) fn run(&self, job: impl FnOnce() + Send + 'static) {
        let mut queue = self.0.queue.lock();
        queue.jobs.push_back(Box::new(job));
        if queue.idle < queue.jobs.len() && queue.threads < MOST {
            let shared = self.0.clone();
            match std::thread::Builder::new().name("block".into()).spawn(move || shared.serve()) {
                Ok(_) => queue.threads += 1,
                Err(e) if queue.threads == 0 => {
                    tracing::warn!("no thread for block I/O: {e}");
                    let jobs = std::mem::take(&mut queue.jobs);
                    drop(queue);
                    jobs.into_iter().for_each(|job| job());
                    return;
                }
                Err(_) => {}
            }
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
            if waited.timed_out() && queue.jobs.is_empty() {
                break;
            }
        }
        queue.threads -= 1;
    }
}
