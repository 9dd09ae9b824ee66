//! Host threads for vCPUs, by the policy that the accelerator asks for.

mod own;
mod round_robin;

use crate::board::{Board, SystemRequest};
use crate::event::ShutdownCause;
use crate::vm::{Threading, Vcpu, VcpuConfig, VcpuExit, VcpuHandle, Vm, VmError};
use std::any::Any;
use std::sync::{Arc, mpsc};

/// Something to be done to a vCPU on its thread.
type Job = Box<dyn FnOnce(&mut dyn Vcpu) + Send>;

/// What a vCPU is wanted to do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Want {
    Park,
    Run,
    Quit,
}

/// A vCPU on a thread. It is made there, parked.
pub(super) trait VcpuThread: Send + Sync {
    fn handle(&self) -> &Arc<dyn VcpuHandle>;
    /// The host's id of the thread.
    fn thread_id(&self) -> i32;
    /// Lets it run.
    fn run(&self);
    /// Asks it to stop; [`VcpuThread::wait_parked`] waits for that.
    fn park(&self);
    /// Waits until it is parked. Never with the board locked.
    fn wait_parked(&self);
    /// Has a job done on the thread, between two runs.
    fn queue(&self, job: Job);
}

impl dyn VcpuThread {
    /// Runs `f` on the vCPU's thread, between two runs, and gives its result.
    pub(super) fn call<R: Send + 'static>(&self, f: impl FnOnce(&mut dyn Vcpu) -> R + Send + 'static) -> Option<R> {
        let (tx, rx) = mpsc::channel();
        self.queue(Box::new(move |vcpu| {
            let _ = tx.send(f(vcpu));
        }));
        rx.recv().ok()
    }
}

/// Where vCPUs of one VM are put.
pub(super) enum Threads {
    /// Each on a thread of its own.
    Own,
    /// All on one.
    RoundRobin(round_robin::Thread),
}

impl Threads {
    pub(super) fn new(vm: &Arc<dyn Vm>, board: &Arc<Board>) -> Result<Self, VmError> {
        Ok(match vm.threading() {
            Threading::NoCpu | Threading::PerVcpu => Self::Own,
            Threading::RoundRobin => Self::RoundRobin(round_robin::Thread::spawn(vm, board)?),
        })
    }
    /// Makes a vCPU on its thread.
    pub(super) fn make(
        &self,
        id: u32,
        vm: &Arc<dyn Vm>,
        config: VcpuConfig,
        board: &Arc<Board>,
    ) -> Result<Box<dyn VcpuThread>, VmError> {
        Ok(match self {
            Self::Own => Box::new(own::OwnThread::spawn(id, vm, config, board)?),
            Self::RoundRobin(thread) => Box::new(thread.seat(id, config)?),
        })
    }
}

/// What an exit asks of the machine: the vCPU does not go on until it has decided. `None` for exits that are the thread's own affair.
fn request_of(id: u32, exit: VcpuExit) -> Option<SystemRequest> {
    Some(match exit {
        VcpuExit::Halted | VcpuExit::Kicked | VcpuExit::Budget | VcpuExit::Debug => return None,
        VcpuExit::Reset => SystemRequest::Reset(ShutdownCause::GuestReset),
        VcpuExit::Shutdown => SystemRequest::Shutdown(ShutdownCause::GuestShutdown),
        VcpuExit::TripleFault => SystemRequest::TripleFault,
        VcpuExit::InternalError(reason) => SystemRequest::InternalError { vcpu: id, reason },
    })
}

/// The request that a panic leads to. It is a mistake of ours and ends the machine; nobody waits for a thread that is gone.
fn panicked(id: u32, panic: &(dyn Any + Send)) -> SystemRequest {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("without a word");
    SystemRequest::InternalError { vcpu: id, reason: format!("panic: {text}") }
}

fn thread_id() -> i32 {
    rustix::thread::gettid().as_raw_nonzero().get()
}
