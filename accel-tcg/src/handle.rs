//! What other threads may do to a vCPU.

use gearbox_core::vm::{MsiSink, VcpuHandle};
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Events that wait to be seen by the vCPU thread, as bits of one word.
pub(crate) mod event {
    /// `kick` was called.
    pub(crate) const KICK: u64 = 1;
    /// NMI edge.
    pub(crate) const NMI: u64 = 1 << 1;
    /// INIT.
    pub(crate) const INIT: u64 = 1 << 2;
    /// A message for the local APIC is queued.
    pub(crate) const MSI: u64 = 1 << 3;
    /// The flat view changed.
    pub(crate) const MEMORY: u64 = 1 << 4;
    /// Code was overwritten by someone else; the queue says where.
    pub(crate) const CODE: u64 = 1 << 5;
    /// INTR is asserted (a level, not an edge: it is never taken).
    pub(crate) const INTR: u64 = 1 << 6;
}

/// Most messages and code ranges that are kept one by one.
const MAX_QUEUE: usize = 1024;

/// The part of a vCPU that every thread may reach.
#[derive(Default)]
pub(crate) struct Shared {
    events: AtomicU64,
    /// Messages for the local APIC.
    msi: Mutex<Vec<(u64, u32)>>,
    /// Overwritten code as host addresses; `None` for "everything".
    code: Mutex<Option<Vec<(usize, usize)>>>,
    /// The vCPU waits in [`VcpuHandle::wait`] or is about to.
    sleeping: Mutex<()>,
    wake: Condvar,
    /// Maskable interrupts wake a halted CPU: IF was set.
    pub(crate) interruptible: AtomicBool,
}

impl Shared {
    /// For one vCPU.
    pub(crate) fn new() -> Arc<Self> {
        let s = Self::default();
        *s.code.lock() = Some(Vec::new());
        Arc::new(s)
    }
    fn post(&self, bits: u64) {
        self.events.fetch_or(bits, Ordering::AcqRel);
        drop(self.sleeping.lock());
        self.wake.notify_all();
    }
    /// Has anything happened that a running vCPU should look at?
    #[inline(always)]
    pub(crate) fn attention(&self) -> bool {
        self.events.load(Ordering::Relaxed) != 0
    }
    /// Takes the edges among the events; INTR stays.
    pub(crate) fn take(&self) -> u64 {
        if !self.attention() {
            return 0;
        }
        self.events.fetch_and(event::INTR, Ordering::AcqRel)
    }
    /// Is INTR asserted?
    pub(crate) fn intr(&self) -> bool {
        self.events.load(Ordering::Acquire) & event::INTR != 0
    }
    /// Takes the queued messages.
    pub(crate) fn take_msi(&self) -> Vec<(u64, u32)> {
        std::mem::take(&mut self.msi.lock())
    }
    /// Takes the overwritten ranges; `None` when there were too many.
    pub(crate) fn take_code(&self) -> Option<Vec<(usize, usize)>> {
        self.code.lock().replace(Vec::new())
    }
    /// The flat view changed.
    pub(crate) fn memory_changed(&self) {
        self.post(event::MEMORY);
    }
    /// `len` bytes of code at host address `start` were overwritten.
    pub(crate) fn code_changed(&self, start: usize, len: usize) {
        let mut q = self.code.lock();
        if let Some(v) = q.as_mut() {
            if v.len() < MAX_QUEUE {
                v.push((start, len));
            } else {
                *q = None;
            }
        }
        drop(q);
        self.post(event::CODE);
    }
}

impl VcpuHandle for Shared {
    fn kick(&self) {
        self.post(event::KICK);
    }
    fn set_intr(&self, level: bool) {
        if level {
            self.post(event::INTR);
        } else {
            self.events.fetch_and(!event::INTR, Ordering::AcqRel);
        }
    }
    fn nmi(&self) {
        self.post(event::NMI);
    }
    fn init(&self) {
        self.post(event::INIT);
    }
    fn wait(&self, timeout: Option<Duration>) {
        let mut guard = self.sleeping.lock();
        let mut mask = !0;
        if !self.interruptible.load(Ordering::Acquire) {
            mask = !event::INTR;
        }
        if self.events.load(Ordering::Acquire) & mask != 0 {
            return;
        }
        match timeout {
            Some(t) => {
                self.wake.wait_for(&mut guard, t);
            }
            None => self.wake.wait(&mut guard),
        }
    }
}

impl MsiSink for Shared {
    fn send_msi(&self, addr: u64, data: u32) {
        let mut q = self.msi.lock();
        if q.len() < MAX_QUEUE && !q.contains(&(addr, data)) {
            q.push((addr, data));
        }
        drop(q);
        self.post(event::MSI);
    }
}
