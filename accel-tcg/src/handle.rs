//! What other threads may do to a vCPU.

use gearbox_core::clock::ClockSource;
use gearbox_core::mem::{FlatRange, MemoryListener, RamBlock};
use gearbox_core::vm::VcpuHandle;
use gearbox_core::x86::apic_bus::LapicPort;
use gearbox_core::x86::lapic::Lint;
use parking_lot::{Condvar, Mutex, RwLock};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Events that wait to be seen by the vCPU thread, as bits of one word.
pub(crate) mod event {
    /// `kick` was called.
    pub(crate) const KICK: u64 = 1;
    /// INIT pin.
    pub(crate) const INIT: u64 = 1 << 1;
    /// The local APIC has something new.
    pub(crate) const APIC: u64 = 1 << 2;
    /// The flat view changed.
    pub(crate) const MEMORY: u64 = 1 << 3;
    /// Code was overwritten by someone else; the queue says where.
    pub(crate) const CODE: u64 = 1 << 4;
}

/// Most code ranges that are kept one by one.
const MAX_RANGES: usize = 1024;

/// The part of a vCPU that every thread may reach without its APIC.
pub(crate) struct Shared {
    events: AtomicU64,
    /// Overwritten code as host addresses and lengths; `None` for "everything".
    code: Mutex<Option<Vec<(usize, usize)>>>,
    /// When the local APIC's timer is due, in ns of the machine clock.
    deadline: AtomicU64,
    clock: Arc<dyn ClockSource>,
    sleeping: Mutex<()>,
    wake: Condvar,
}

impl Shared {
    /// For one vCPU.
    pub(crate) fn new(clock: Arc<dyn ClockSource>) -> Arc<Self> {
        Arc::new(Self {
            events: AtomicU64::new(0),
            code: Mutex::new(Some(Vec::new())),
            deadline: AtomicU64::new(u64::MAX),
            clock,
            sleeping: Mutex::new(()),
            wake: Condvar::new(),
        })
    }
    /// Tells the vCPU of events, and wakes it.
    pub(crate) fn post(&self, bits: u64) {
        self.events.fetch_or(bits, Ordering::AcqRel);
        drop(self.sleeping.lock());
        self.wake.notify_all();
    }
    /// Has anything happened that a running vCPU should look at?
    #[inline(always)]
    pub(crate) fn attention(&self) -> bool {
        self.events.load(Ordering::Relaxed) != 0
    }
    /// Takes the events.
    pub(crate) fn take(&self) -> u64 {
        if self.attention() { self.events.swap(0, Ordering::AcqRel) } else { 0 }
    }
    /// Takes the overwritten ranges; `None` when there were too many.
    pub(crate) fn take_code(&self) -> Option<Vec<(usize, usize)>> {
        self.code.lock().replace(Vec::new())
    }
    /// `len` bytes of code at host address `start` were overwritten.
    fn code_changed(&self, start: usize, len: usize) {
        let mut q = self.code.lock();
        match q.as_mut() {
            Some(v) if v.len() < MAX_RANGES => v.push((start, len)),
            _ => *q = None,
        }
        drop(q);
        self.post(event::CODE);
    }
    /// When a halted vCPU has to look at its timer.
    pub(crate) fn set_deadline(&self, at: Option<u64>) {
        self.deadline.store(at.unwrap_or(u64::MAX), Ordering::Release);
    }
    fn wait(&self, timeout: Option<Duration>) {
        let deadline = self.deadline.load(Ordering::Acquire);
        let timer = if deadline == u64::MAX { None } else { self.clock.host_wait(deadline) };
        let mut guard = self.sleeping.lock();
        if self.attention() {
            return;
        }
        match timeout.into_iter().chain(timer).min() {
            Some(t) => {
                self.wake.wait_for(&mut guard, t);
            }
            None => self.wake.wait(&mut guard),
        }
    }
}

/// The handle of a vCPU.
pub(crate) struct Handle {
    pub(crate) shared: Arc<Shared>,
    pub(crate) lapic: Arc<LapicPort>,
}

impl VcpuHandle for Handle {
    fn kick(&self) {
        self.shared.post(event::KICK);
    }
    fn set_intr(&self, level: bool) {
        self.lapic.update(|l| l.set_lint(Lint::Lint0, level));
    }
    fn nmi(&self) {
        self.lapic.update(|l| {
            let new = l.set_lint(Lint::Lint1, true);
            l.set_lint(Lint::Lint1, false);
            new
        });
    }
    fn init(&self) {
        self.shared.post(event::INIT);
    }
    fn wait(&self, timeout: Option<Duration>) {
        self.shared.wait(timeout);
    }
}

/// Tells the vCPUs of changes to guest memory that they did not make.
#[derive(Default)]
pub(crate) struct Listener(RwLock<Vec<Weak<Shared>>>);

impl Listener {
    /// Adds a vCPU.
    pub(crate) fn add(&self, s: &Arc<Shared>) {
        self.0.write().push(Arc::downgrade(s));
    }
    fn each(&self, f: impl Fn(&Shared)) {
        self.0.read().iter().filter_map(Weak::upgrade).for_each(|s| f(&s));
    }
}

impl MemoryListener for Listener {
    fn removed(&self, _range: &FlatRange) {}
    fn commit(&self) {
        self.each(|s| s.post(event::MEMORY));
    }
    fn code_written(&self, block: &Arc<RamBlock>, offset: u64, len: u64) {
        let start = (block.host_ptr() as usize).wrapping_add(offset as usize);
        self.each(|s| s.code_changed(start, len as usize));
    }
}
