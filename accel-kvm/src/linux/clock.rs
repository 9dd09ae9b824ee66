//! The machine's clock on KVM: the host's, and the kernel's paravirtual clock with it.

use super::vm::Shared;
use gearbox_core::clock::{ClockSource, HostClock};
use kvm_bindings::kvm_clock_data;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use vmm_sys_util::errno;

/// Follows the host while the machine runs. The clock that guests read through KVM's paravirtual page (kvmclock) would run on while the
/// machine is stopped; it is put back when the machine continues.
pub(super) struct KvmClock {
    host: HostClock,
    vm: Arc<Shared>,
    /// The paravirtual clock, in ns, while the machine is stopped.
    stopped_at: Mutex<Option<u64>>,
}

impl KvmClock {
    /// A stopped clock.
    pub(super) fn new(vm: Arc<Shared>) -> Self {
        Self { host: HostClock::new(), vm, stopped_at: Mutex::new(None) }
    }

    /// The paravirtual clock, in ns.
    pub(super) fn guest_time(&self) -> Result<u64, errno::Error> {
        match *self.stopped_at.lock() {
            Some(ns) => Ok(ns),
            None => Ok(self.vm.fd.get_clock()?.clock),
        }
    }

    /// Sets the paravirtual clock of a machine that is stopped.
    pub(super) fn set_guest_time(&self, ns: u64) -> Result<(), errno::Error> {
        *self.stopped_at.lock() = Some(ns);
        self.load(ns)
    }

    fn load(&self, clock: u64) -> Result<(), errno::Error> {
        self.vm.fd.set_clock(&kvm_clock_data { clock, ..Default::default() })
    }

    fn follow(&self, running: bool) -> Result<(), errno::Error> {
        let mut stopped_at = self.stopped_at.lock();
        match (running, *stopped_at) {
            (true, Some(ns)) => {
                *stopped_at = None;
                self.load(ns)
            }
            (false, None) => {
                *stopped_at = Some(self.vm.fd.get_clock()?.clock);
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

impl ClockSource for KvmClock {
    fn now(&self) -> u64 {
        self.host.now()
    }
    fn set_running(&self, running: bool) {
        self.host.set_running(running);
        if let Err(e) = self.follow(running) {
            tracing::error!("the kernel's paravirtual clock cannot be held: {e}");
        }
    }
    fn set(&self, ns: u64) {
        self.host.set(ns);
    }
    fn host_wait(&self, deadline: u64) -> Option<Duration> {
        self.host.host_wait(deadline)
    }
}
