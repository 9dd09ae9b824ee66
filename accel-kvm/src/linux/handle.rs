//! What other threads do to a vCPU, and how they get it out of the guest.
//!
//! A request is first stored, then the shared page is told to leave at once (`immediate_exit`), then the thread gets a signal. The vCPU
//! clears `immediate_exit` *before* it looks at the requests. Whenever a request comes, one of the three is noticed: a lost kick would
//! need all of them to come too early and too late at once.

use super::run_page::RunPage;
use gearbox_core::vm::VcpuHandle;
use parking_lot::{Condvar, Mutex};
use std::cell::Cell;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering::SeqCst};
use std::time::{Duration, Instant};
use vmm_sys_util::{errno, signal};

/// The signal is this many after SIGRTMIN.
const SIGNAL_OFFSET: libc::c_int = 1;

/// The signal that interrupts KVM_RUN.
fn kick_signal() -> libc::c_int {
    signal::SIGRTMIN() + SIGNAL_OFFSET
}

/// Interrupting a system call is all that the signal is for.
extern "C" fn on_kick(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}

/// Makes the signal harmless for the process and deliverable to this thread.
pub(super) fn prepare_thread() -> std::io::Result<()> {
    static HANDLER: OnceLock<Result<(), errno::Error>> = OnceLock::new();
    (*HANDLER.get_or_init(|| signal::register_signal_handler(kick_signal(), on_kick)))?;
    signal::unblock_signal(kick_signal())
        .map_err(|e| std::io::Error::other(format!("unblocking the kick signal: {e:?}")))
}

/// The kernel's id of this thread.
fn thread_id() -> i32 {
    thread_local!(static ID: Cell<i32> = const { Cell::new(0) });
    ID.with(|id| {
        if id.get() == 0 {
            id.set(rustix::thread::gettid().as_raw_nonzero().get());
        }
        id.get()
    })
}

/// The kick signal, blocked and pending for this thread for as long as the value lives. A KVM_RUN that unblocks it returns before the
/// first instruction.
pub(super) struct PendingKick(());

impl PendingKick {
    /// Blocks and raises the signal.
    pub(super) fn new() -> Result<Self, errno::Error> {
        let refused = |_| errno::Error::new(libc::EINVAL);
        signal::block_signal(kick_signal()).map_err(refused)?;
        let pending = Self(());
        send_kick(thread_id());
        Ok(pending)
    }
}

impl Drop for PendingKick {
    fn drop(&mut self) {
        for undo in [signal::clear_signal, signal::unblock_signal] {
            if let Err(e) = undo(kick_signal()) {
                tracing::error!("the kick signal cannot be taken back: {e:?}");
            }
        }
    }
}

fn send_kick(thread: i32) {
    // SAFETY: tgkill has no effect on memory; the handler does nothing. A thread that has ended is an error without consequence.
    unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), thread, kick_signal()) };
}

/// The part of a vCPU that every thread may use.
pub(super) struct Handle {
    page: RunPage,
    /// The thread inside [`Handle::running`], or 0.
    thread: AtomicI32,
    kicked: AtomicBool,
    intr: AtomicBool,
    nmi: AtomicBool,
    init: AtomicBool,
    awake: Mutex<bool>,
    changed: Condvar,
}

impl Handle {
    pub(super) fn new(page: RunPage) -> Self {
        Self {
            page,
            thread: AtomicI32::new(0),
            kicked: AtomicBool::new(false),
            intr: AtomicBool::new(false),
            nmi: AtomicBool::new(false),
            init: AtomicBool::new(false),
            awake: Mutex::new(false),
            changed: Condvar::new(),
        }
    }

    pub(super) fn page(&self) -> &RunPage {
        &self.page
    }

    /// Runs `f`, in which this thread may be in KVM_RUN.
    pub(super) fn running<R>(&self, f: impl FnOnce() -> R) -> R {
        /// Also when `f` panics: a signal must not go to a thread that has become another one.
        struct Leave<'a>(&'a AtomicI32);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                self.0.store(0, SeqCst);
            }
        }
        self.thread.store(thread_id(), SeqCst);
        let _leave = Leave(&self.thread);
        f()
    }

    /// Gets the vCPU out of KVM_RUN, to look at its requests. No more is needed on the vCPU's own thread: it looks before it enters.
    pub(super) fn nudge(&self) {
        let thread = self.thread.load(SeqCst);
        if thread == thread_id() {
            return;
        }
        self.page.set_immediate_exit(true);
        // The vCPU may have begun to run since.
        let thread = self.thread.load(SeqCst);
        if thread != 0 {
            send_kick(thread);
        }
    }

    fn attention(&self) {
        *self.awake.lock() = true;
        self.changed.notify_all();
        self.nudge();
    }

    /// Clears the request to leave. Afterwards the vCPU looks at everything that could have asked for it.
    pub(super) fn begin_looking(&self) {
        self.page.set_immediate_exit(false);
    }
    pub(super) fn take_kick(&self) -> bool {
        self.kicked.swap(false, SeqCst)
    }
    pub(super) fn take_nmi(&self) -> bool {
        self.nmi.swap(false, SeqCst)
    }
    pub(super) fn take_init(&self) -> bool {
        self.init.swap(false, SeqCst)
    }
    pub(super) fn intr(&self) -> bool {
        self.intr.load(SeqCst)
    }
}

impl VcpuHandle for Handle {
    fn kick(&self) {
        self.kicked.store(true, SeqCst);
        self.attention();
    }
    fn set_intr(&self, level: bool) {
        if self.intr.swap(level, SeqCst) != level && level {
            self.attention();
        }
    }
    fn nmi(&self) {
        self.nmi.store(true, SeqCst);
        self.attention();
    }
    fn init(&self) {
        self.init.store(true, SeqCst);
        self.attention();
    }
    fn wait(&self, timeout: Option<Duration>) {
        let until = timeout.and_then(|t| Instant::now().checked_add(t));
        let mut awake = self.awake.lock();
        while !*awake {
            match until {
                None => self.changed.wait(&mut awake),
                Some(t) if self.changed.wait_until(&mut awake, t).timed_out() => break,
                Some(_) => {}
            }
        }
        *awake = false;
    }
}
