//! One thread on which all vCPUs take turns, in the order of their indices.
//!
//! A turn is a fixed number of instructions; a vCPU that halts, or that spins and says so by PAUSE, gives up the rest. Nothing else decides who
//! is next, so that vCPUs whose time is a count of instructions do the same in every run. When all have halted, the thread sleeps until the
//! next timer, or moves a clock there that it is to move.

use super::{Job, VcpuThread, Want, panicked, request_of, thread_id};
use crate::board::Board;
use crate::vm::{CpuBus, Limit, Vcpu, VcpuConfig, VcpuExit, VcpuHandle, Vm, VmError};
use parking_lot::{Condvar, Mutex, MutexGuard};
use std::collections::{BTreeMap, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Instructions of a turn.
const TURN: u64 = 50_000;

type Made = Result<Arc<dyn VcpuHandle>, VmError>;

/// What is to be done between two turns.
enum Errand {
    Make(u32, Box<VcpuConfig>, mpsc::Sender<Made>),
    Do(u32, Job),
    Drop(u32),
}

/// A vCPU as the rest of the machine wants it.
struct Place {
    handle: Arc<dyn VcpuHandle>,
    want: Want,
    parked: bool,
    /// It has halted, and nothing has woken it since.
    halted: bool,
}

#[derive(Default)]
struct State {
    errands: VecDeque<Errand>,
    places: BTreeMap<u32, Place>,
    /// Whose turn it is, or was last.
    turn: Option<u32>,
    quit: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// The thread.
pub(in crate::machine) struct Thread {
    shared: Arc<Shared>,
    thread_id: i32,
    join: Option<JoinHandle<()>>,
}

impl Thread {
    pub(super) fn spawn(vm: &Arc<dyn Vm>, board: &Arc<Board>) -> Result<Self, VmError> {
        let shared = Arc::new(Shared::default());
        let (tx, rx) = mpsc::channel();
        let mut worker =
            Worker { vm: vm.clone(), board: board.clone(), shared: shared.clone(), vcpus: BTreeMap::new() };
        let join = std::thread::Builder::new()
            .name("CPUs".into())
            .spawn(move || {
                let _ = tx.send(thread_id());
                while let Err(panic) = catch_unwind(AssertUnwindSafe(|| worker.serve())) {
                    let id = worker.shared.hold_turn();
                    worker.board.request(panicked(id, &*panic));
                }
            })
            .map_err(|source| VmError::Host { what: "starting the thread of the vCPUs".into(), source })?;
        let thread_id = rx.recv().map_err(|_| VmError::Internal("the thread of the vCPUs died".into()))?;
        Ok(Self { shared, thread_id, join: Some(join) })
    }
    /// Makes a vCPU there.
    pub(super) fn seat(&self, id: u32, config: VcpuConfig) -> Result<Seat, VmError> {
        let (tx, rx) = mpsc::channel();
        self.shared.errand(Errand::Make(id, Box::new(config), tx));
        let handle = rx.recv().map_err(|_| VmError::Internal("the thread of the vCPUs died".into()))??;
        Ok(Seat { id, handle, thread_id: self.thread_id, shared: self.shared.clone() })
    }
}

impl Drop for Thread {
    fn drop(&mut self) {
        self.shared.change(|s| s.quit = true);
        if let Some(join) = self.join.take() {
            let _ = join.join();
        }
    }
}

/// A vCPU among those that take turns.
pub(super) struct Seat {
    id: u32,
    handle: Arc<dyn VcpuHandle>,
    thread_id: i32,
    shared: Arc<Shared>,
}

impl Seat {
    fn place(&self, f: impl FnOnce(&mut Place)) {
        self.shared.change(|s| {
            if let Some(place) = s.places.get_mut(&self.id) {
                f(place);
            }
        });
    }
}

impl VcpuThread for Seat {
    fn handle(&self) -> &Arc<dyn VcpuHandle> {
        &self.handle
    }
    fn thread_id(&self) -> i32 {
        self.thread_id
    }
    fn run(&self) {
        self.place(|p| {
            p.want = Want::Run;
            p.parked = false;
            p.halted = false;
        });
    }
    fn park(&self) {
        self.place(|p| p.want = Want::Park);
    }
    fn wait_parked(&self) {
        let parked = |s: &State| s.places.get(&self.id).is_none_or(|p| p.parked);
        self.shared.changed.wait_while(&mut self.shared.state.lock(), |s| !parked(s));
    }
    fn queue(&self, job: Job) {
        self.shared.errand(Errand::Do(self.id, job));
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.shared.errand(Errand::Drop(self.id));
    }
}

impl Shared {
    /// Changes something that the thread has to look at soon.
    fn change(&self, f: impl FnOnce(&mut State)) {
        let executing = {
            let mut s = self.state.lock();
            f(&mut s);
            s.turn.and_then(|id| s.places.get(&id)).map(|p| p.handle.clone())
        };
        self.changed.notify_all();
        if let Some(handle) = executing {
            handle.kick();
        }
    }
    fn errand(&self, errand: Errand) {
        self.change(|s| s.errands.push_back(errand));
    }
    /// A vCPU was woken.
    fn woken(&self, id: u32) {
        if let Some(place) = self.state.lock().places.get_mut(&id) {
            place.halted = false;
        }
        self.changed.notify_all();
    }
    /// Whose turn it is does not go on until the machine has decided.
    fn hold_turn(&self) -> u32 {
        let mut s = self.state.lock();
        let id = s.turn.unwrap_or_default();
        if let Some(place) = s.places.get_mut(&id).filter(|p| p.want == Want::Run) {
            place.want = Want::Park;
        }
        id
    }
}

impl State {
    /// The next one after the last that is to run and has something to do.
    fn next(&self) -> Option<u32> {
        let after = self.turn.map_or(0, |id| id + 1);
        let mut order = self.places.range(after..).chain(self.places.range(..after));
        order.find(|(_, p)| p.want == Want::Run && !p.halted).map(|(&id, _)| id)
    }
    /// Those whose timer is due at `now` have something to do.
    fn wake(&mut self, now: u64) {
        for place in self.places.values_mut().filter(|p| p.halted) {
            place.halted = place.handle.turns().is_none_or(|t| t.timer().is_none_or(|due| due > now));
        }
    }
    fn running(&self) -> bool {
        self.places.values().any(|p| p.want == Want::Run)
    }
    /// Parks those that are wanted parked. Is there one that was not?
    fn park(&mut self) -> bool {
        let mut any = false;
        for place in self.places.values_mut().filter(|p| p.want == Want::Park && !p.parked) {
            place.parked = true;
            any = true;
        }
        any
    }
}

/// What lives on the thread.
struct Worker {
    vm: Arc<dyn Vm>,
    board: Arc<Board>,
    shared: Arc<Shared>,
    vcpus: BTreeMap<u32, Box<dyn Vcpu>>,
}

impl Worker {
    fn serve(&mut self) {
        let shared = self.shared.clone();
        let mut s = shared.state.lock();
        loop {
            if let Some(errand) = s.errands.pop_front() {
                drop(s);
                self.run_errand(errand);
                s = shared.state.lock();
                continue;
            }
            if s.quit {
                return;
            }
            if s.park() {
                shared.changed.notify_all();
            }
            s.wake(self.board.clock().now());
            match s.next() {
                Some(id) => {
                    s.turn = Some(id);
                    drop(s);
                    self.take_turn(id);
                    s = shared.state.lock();
                }
                None if s.running() => self.idle(&mut s),
                None => shared.changed.wait(&mut s),
            }
        }
    }

    fn run_errand(&mut self, errand: Errand) {
        match errand {
            Errand::Make(id, config, reply) => {
                let made = self.make(id, &config);
                let _ = reply.send(made);
            }
            Errand::Do(id, job) => {
                if let Some(vcpu) = self.vcpus.get_mut(&id) {
                    job(&mut **vcpu);
                }
            }
            Errand::Drop(id) => {
                self.vcpus.remove(&id);
                self.shared.state.lock().places.remove(&id);
            }
        }
    }
    fn make(&mut self, id: u32, config: &VcpuConfig) -> Made {
        let vcpu = self.vm.create_vcpu(id, config)?;
        let handle = vcpu.handle();
        let Some(turns) = handle.turns() else {
            return Err(VmError::Internal("a vCPU of this accelerator cannot take turns".into()));
        };
        let shared: Weak<Shared> = Arc::downgrade(&self.shared);
        turns.on_wake(Box::new(move || {
            if let Some(shared) = shared.upgrade() {
                shared.woken(id);
            }
        }));
        let place = Place { handle: handle.clone(), want: Want::Park, parked: true, halted: false };
        self.vcpus.insert(id, vcpu);
        self.shared.state.lock().places.insert(id, place);
        Ok(handle)
    }

    fn take_turn(&mut self, id: u32) {
        if self.board.stop_pending() {
            self.shared.hold_turn();
            return;
        }
        let Some(vcpu) = self.vcpus.get_mut(&id) else { return };
        let exit = vcpu.run(&*self.board, Limit { instructions: Some(TURN) });
        if exit == VcpuExit::Halted {
            let mut s = self.shared.state.lock();
            // It may have been woken between its look and this one.
            if let Some(place) = s.places.get_mut(&id) {
                place.halted = place.handle.turns().is_some_and(|t| !t.awake());
            }
            return;
        }
        if let Some(request) = request_of(id, exit) {
            self.shared.hold_turn();
            self.board.request(request);
        }
    }

    /// All that run have halted: waits until one is woken or a timer is due.
    fn idle(&self, s: &mut MutexGuard<'_, State>) {
        let clock = self.board.clock();
        let counted = clock.instructions().is_some();
        let timers = s.places.values().filter(|p| p.want == Want::Run).filter_map(|p| p.handle.turns()?.timer());
        // Timers of the board have a thread of their own where the clock follows the host.
        let due = timers.chain(self.board.deadline().filter(|_| counted)).min();
        let start = (clock.now(), Instant::now());
        match due.map(|due| (due, clock.host_wait(due))) {
            Some((due, Some(pause))) => {
                if pause > Duration::ZERO {
                    self.shared.changed.wait_for(s, pause);
                }
                let slept = u64::try_from(start.1.elapsed().as_nanos()).unwrap_or(u64::MAX);
                clock.advance_to(start.0.saturating_add(slept).min(due));
            }
            Some((due, None)) if clock.advance_to(due) => {}
            _ => self.shared.changed.wait(s),
        }
        if counted {
            // Lines that timers drive wake vCPUs, which needs the state.
            MutexGuard::unlocked(s, || self.board.settle_timers());
        }
    }
}
