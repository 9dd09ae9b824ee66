//! vCPU threads.

use crate::board::{Board, SystemRequest};
use crate::event::ShutdownCause;
use crate::vm::{Limit, Vcpu, VcpuConfig, VcpuExit, VcpuHandle, Vm, VmError};
use parking_lot::{Condvar, Mutex};
use std::any::Any;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

type Job = Box<dyn FnOnce(&mut dyn Vcpu) + Send>;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Want {
    Park,
    Run,
    Quit,
}

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    want: Want,
    parked: bool,
    jobs: VecDeque<Job>,
}

/// One vCPU on its thread. It is made there, parked.
pub(super) struct VcpuThread {
    handle: Arc<dyn VcpuHandle>,
    thread_id: i32,
    shared: Arc<Shared>,
    join: Option<JoinHandle<()>>,
}

impl VcpuThread {
    /// Starts the thread and makes the vCPU on it.
    pub(super) fn spawn(id: u32, vm: &Arc<dyn Vm>, config: VcpuConfig, board: &Arc<Board>) -> Result<Self, VmError> {
        let shared = Arc::new(Shared {
            state: Mutex::new(State { want: Want::Park, parked: false, jobs: VecDeque::new() }),
            changed: Condvar::new(),
        });
        let (tx, rx) = mpsc::channel();
        let (vm, board, theirs) = (vm.clone(), board.clone(), shared.clone());
        let join = std::thread::Builder::new()
            .name(format!("CPU {id}"))
            .spawn(move || match vm.create_vcpu(id, &config) {
                Ok(mut vcpu) => {
                    let thread_id = rustix::thread::gettid().as_raw_nonzero().get();
                    let _ = tx.send(Ok((vcpu.handle(), thread_id)));
                    // A panic is a mistake of ours. It ends the machine; nobody waits for a thread that is gone.
                    while let Err(panic) = catch_unwind(AssertUnwindSafe(|| theirs.serve(id, &mut *vcpu, &board))) {
                        theirs.hold();
                        let reason = format!("panic: {}", panic_text(&*panic));
                        board.request(SystemRequest::InternalError { vcpu: id, reason });
                    }
                }
                Err(e) => {
                    let _ = tx.send(Err(e));
                }
            })
            .map_err(|source| VmError::Host { what: format!("starting the thread of vCPU {id}"), source })?;
        let (handle, thread_id) =
            rx.recv().map_err(|_| VmError::Internal(format!("the thread of vCPU {id} died")))??;
        Ok(Self { handle, thread_id, shared, join: Some(join) })
    }

    pub(super) fn handle(&self) -> &Arc<dyn VcpuHandle> {
        &self.handle
    }

    /// The host's id of the thread.
    pub(super) fn thread_id(&self) -> i32 {
        self.thread_id
    }

    fn want(&self, want: Want) {
        self.shared.state.lock().want = want;
        self.shared.changed.notify_all();
        self.handle.kick();
    }

    /// Lets it run.
    pub(super) fn run(&self) {
        let mut s = self.shared.state.lock();
        s.want = Want::Run;
        s.parked = false;
        self.shared.changed.notify_all();
    }

    /// Asks it to stop; [`VcpuThread::wait_parked`] waits for that.
    pub(super) fn park(&self) {
        self.want(Want::Park);
    }

    /// Waits until it is parked. Never with the board locked.
    pub(super) fn wait_parked(&self) {
        let mut s = self.shared.state.lock();
        while !s.parked {
            self.shared.changed.wait(&mut s);
        }
    }

    /// Runs `f` on the vCPU's thread, between two runs, and gives its result.
    pub(super) fn call<R: Send + 'static>(&self, f: impl FnOnce(&mut dyn Vcpu) -> R + Send + 'static) -> Option<R> {
        let (tx, rx) = mpsc::channel();
        self.shared.state.lock().jobs.push_back(Box::new(move |vcpu| {
            let _ = tx.send(f(vcpu));
        }));
        self.shared.changed.notify_all();
        self.handle.kick();
        rx.recv().ok()
    }
}

/// What a panic said.
fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("without a word")
}

impl Drop for VcpuThread {
    fn drop(&mut self) {
        self.want(Want::Quit);
        if let Some(join) = self.join.take() {
            let _ = join.join();
        }
    }
}

impl Shared {
    /// The life of a vCPU thread.
    fn serve(&self, id: u32, vcpu: &mut dyn Vcpu, board: &Board) {
        let handle = vcpu.handle();
        while self.next_turn(vcpu) {
            let request = match vcpu.run(board, Limit::default()) {
                VcpuExit::Halted => {
                    handle.wait(None);
                    continue;
                }
                VcpuExit::Kicked | VcpuExit::Budget | VcpuExit::Debug => continue,
                VcpuExit::Reset => SystemRequest::Reset(ShutdownCause::GuestReset),
                VcpuExit::Shutdown => SystemRequest::Shutdown(ShutdownCause::GuestShutdown),
                VcpuExit::TripleFault => SystemRequest::TripleFault,
                VcpuExit::InternalError(reason) => SystemRequest::InternalError { vcpu: id, reason },
            };
            self.hold();
            board.request(request);
        }
    }

    /// Not another instruction until the machine has decided.
    fn hold(&self) {
        let mut s = self.state.lock();
        if s.want == Want::Run {
            s.want = Want::Park;
        }
    }

    /// Does jobs and parks until it is time to run; false to end the thread.
    fn next_turn(&self, vcpu: &mut dyn Vcpu) -> bool {
        let mut s = self.state.lock();
        loop {
            if let Some(job) = s.jobs.pop_front() {
                drop(s);
                job(vcpu);
                s = self.state.lock();
                continue;
            }
            match s.want {
                Want::Run => return true,
                Want::Quit => return false,
                Want::Park => {
                    s.parked = true;
                    self.changed.notify_all();
                    self.changed.wait(&mut s);
                }
            }
        }
    }
}
