//! Keeps vCPUs out of the guest while memory slots change.
//!
//! A slot cannot be changed in place: it is deleted and made anew. A vCPU that fetched an instruction or walked a page table in
//! between would find no memory. Closing the gate waits only for KVM_RUN to return, never for what a vCPU does afterwards, so it
//! may be closed with the board locked.

use super::handle::Handle;
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use std::sync::Weak;
use std::sync::atomic::{AtomicBool, Ordering};

/// The gate of one VM.
#[derive(Default)]
pub(super) struct Gate {
    inside: RwLock<()>,
    closing: AtomicBool,
    vcpus: Mutex<Vec<Weak<Handle>>>,
}

impl Gate {
    /// A vCPU that will pass.
    pub(super) fn register(&self, vcpu: Weak<Handle>) {
        let mut all = self.vcpus.lock();
        all.retain(|v| v.strong_count() > 0);
        all.push(vcpu);
    }

    /// Permission to be in KVM_RUN, or `None` when the vCPU has to try again. To be called *after* requests to leave have been cleared:
    /// the one made by [`Gate::closed`] comes after `closing` is set.
    pub(super) fn enter(&self) -> Option<RwLockReadGuard<'_, ()>> {
        let pass = self.inside.read();
        (!self.closing.load(Ordering::SeqCst)).then_some(pass)
    }

    /// Runs `f` while no vCPU is in KVM_RUN.
    pub(super) fn closed<R>(&self, f: impl FnOnce() -> R) -> R {
        self.closing.store(true, Ordering::SeqCst);
        for vcpu in self.vcpus.lock().iter().filter_map(Weak::upgrade) {
            vcpu.nudge();
        }
        let _alone = self.inside.write();
        let result = f();
        self.closing.store(false, Ordering::SeqCst);
        result
    }
}
