//! A thread for each vCPU.

use super::{Job, VcpuThread, Want, panicked, request_of, thread_id};
use crate::board::Board;
use crate::vm::{CpuBus, Limit, Vcpu, VcpuConfig, VcpuExit, VcpuHandle, Vm, VmError};
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    want: Want,
    parked: bool,
    jobs: VecDeque<Job>,
}

/// One vCPU on its thread.
pub(super) struct OwnThread {
    handle: Arc<dyn VcpuHandle>,
    thread_id: i32,
    shared: Arc<Shared>,
    join: Option<JoinHandle<()>>,
}

impl OwnThread {
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
                    let _ = tx.send(Ok((vcpu.handle(), thread_id())));
                    while let Err(panic) = catch_unwind(AssertUnwindSafe(|| theirs.serve(id, &mut *vcpu, &board))) {
                        theirs.hold();
                        board.request(panicked(id, &*panic));
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

    fn want(&self, want: Want) {
        self.shared.state.lock().want = want;
        self.shared.changed.notify_all();
        self.handle.kick();
    }
}

impl VcpuThread for OwnThread {
    fn handle(&self) -> &Arc<dyn VcpuHandle> {
        &self.handle
    }
    fn thread_id(&self) -> i32 {
        self.thread_id
    }
    fn run(&self) {
        let mut s = self.shared.state.lock();
        s.want = Want::Run;
        s.parked = false;
        self.shared.changed.notify_all();
    }
    fn park(&self) {
        self.want(Want::Park);
    }
    fn wait_parked(&self) {
        self.shared.changed.wait_while(&mut self.shared.state.lock(), |s| !s.parked);
    }
    fn queue(&self, job: Job) {
        self.shared.state.lock().jobs.push_back(job);
        self.shared.changed.notify_all();
        self.handle.kick();
    }
}

impl Drop for OwnThread {
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
            if board.stop_pending() {
                self.hold();
                continue;
            }
            match vcpu.run(board, Limit::default()) {
                VcpuExit::Halted => handle.wait(None),
                exit => {
                    if let Some(request) = request_of(id, exit) {
                        self.hold();
                        board.request(request);
                    }
                }
            }
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
