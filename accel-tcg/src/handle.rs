//! What other threads may do to a vCPU.

use gearbox_core::clock::ClockSource;
use gearbox_core::vm::{Turns, VcpuHandle};
use gearbox_core::x86::apic_bus::LapicPort;
use gearbox_core::x86::lapic::Lint;
use parking_lot::{Condvar, Mutex};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
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
    /// Pages that another vCPU decodes code of must not be written past it any more; the queue says which.
    pub(crate) const PROTECT: u64 = 1 << 5;
    /// Another vCPU wants to be alone.
    pub(crate) const EXCLUSIVE: u64 = 1 << 6;
    /// What a halted vCPU has to be woken for. It sees the rest before it executes anything.
    pub(crate) const WAKING: u64 = KICK | INIT | APIC;
    /// What changes translations.
    pub(crate) const TRANSLATIONS: u64 = MEMORY | PROTECT;
}

/// What waits for a vCPU one by one, up to a limit: `None` stands for "too much, take everything to be meant".
struct Pending<T>(Mutex<Option<Vec<T>>>);

impl<T> Pending<T> {
    const MOST: usize = 1024;

    fn new() -> Self {
        Self(Mutex::new(Some(Vec::new())))
    }
    fn add(&self, item: T) {
        let mut queue = self.0.lock();
        match queue.as_mut() {
            Some(v) if v.len() < Self::MOST => v.push(item),
            _ => *queue = None,
        }
    }
    fn take(&self) -> Option<Vec<T>> {
        self.0.lock().replace(Vec::new())
    }
}

/// The part of a vCPU that every thread may reach without its APIC.
pub(crate) struct Shared {
    events: AtomicU64,
    /// Overwritten code as host addresses and lengths.
    code: Pending<(usize, usize)>,
    /// Host addresses of pages to be protected.
    protect: Pending<usize>,
    /// When the local APIC's timer is due, in ns of the machine clock.
    deadline: AtomicU64,
    clock: Arc<dyn ClockSource>,
    sleeping: Mutex<()>,
    wake: Condvar,
    /// Whom to tell of a wake-up besides.
    waker: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl Shared {
    /// For one vCPU.
    pub(crate) fn new(clock: Arc<dyn ClockSource>) -> Arc<Self> {
        Arc::new(Self {
            events: AtomicU64::new(0),
            code: Pending::new(),
            protect: Pending::new(),
            deadline: AtomicU64::new(u64::MAX),
            clock,
            sleeping: Mutex::new(()),
            wake: Condvar::new(),
            waker: OnceLock::new(),
        })
    }
    /// Tells the vCPU of events, and wakes it where it has to be.
    pub(crate) fn post(&self, bits: u64) {
        self.events.fetch_or(bits, Ordering::SeqCst);
        if bits & event::WAKING != 0 {
            drop(self.sleeping.lock());
            self.wake.notify_all();
            if let Some(f) = self.waker.get() {
                f();
            }
        }
    }
    /// Has anything happened that a running vCPU should look at?
    #[inline(always)]
    pub(crate) fn attention(&self) -> bool {
        self.events.load(Ordering::Relaxed) != 0
    }
    /// Takes the events.
    pub(crate) fn take(&self) -> u64 {
        if self.attention() { self.events.swap(0, Ordering::SeqCst) } else { 0 }
    }
    /// Takes some of the events, in the middle of an instruction.
    pub(crate) fn take_only(&self, bits: u64) -> u64 {
        self.events.fetch_and(!bits, Ordering::SeqCst) & bits
    }
    /// Takes the overwritten ranges; `None` when there were too many.
    pub(crate) fn take_code(&self) -> Option<Vec<(usize, usize)>> {
        self.code.take()
    }
    /// Stores to the page at host address `page` are going to hit code.
    pub(crate) fn protect_page(&self, page: usize) {
        self.protect.add(page);
        self.post(event::PROTECT);
    }
    /// Takes the pages to be protected; `None` when there were too many.
    pub(crate) fn take_protect(&self) -> Option<Vec<usize>> {
        self.protect.take()
    }
    /// `len` bytes of code at host address `start` were overwritten.
    pub(crate) fn code_changed(&self, start: usize, len: usize) {
        self.code.add((start, len));
        self.post(event::CODE);
    }
    /// When a halted vCPU has to look at its timer.
    pub(crate) fn set_deadline(&self, at: Option<u64>) {
        self.deadline.store(at.unwrap_or(u64::MAX), Ordering::Release);
    }
    /// When it has to look at its timer, halted or not.
    pub(crate) fn deadline(&self) -> Option<u64> {
        Some(self.deadline.load(Ordering::Acquire)).filter(|&at| at != u64::MAX)
    }
    fn to_be_woken(&self) -> bool {
        self.events.load(Ordering::SeqCst) & event::WAKING != 0
    }
    /// Waits until something happens that a vCPU should look at.
    pub(crate) fn wait(&self, timeout: Option<Duration>) {
        let timer = self.deadline().and_then(|at| self.clock.host_wait(at));
        let mut guard = self.sleeping.lock();
        if self.to_be_woken() {
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
    fn smi(&self) {
        self.lapic.update(|l| {
            l.events_mut().smi = true;
            true
        });
    }
    fn init(&self) {
        self.shared.post(event::INIT);
    }
    fn wait(&self, timeout: Option<Duration>) {
        self.shared.wait(timeout);
    }
    fn turns(&self) -> Option<&dyn Turns> {
        Some(&*self.shared)
    }
}

impl Turns for Shared {
    fn awake(&self) -> bool {
        self.to_be_woken()
    }
    fn timer(&self) -> Option<u64> {
        self.deadline()
    }
    fn on_wake(&self, f: Box<dyn Fn() + Send + Sync>) {
        let _ = self.waker.set(f);
    }
}
