//! Calls of a vCPU that kvm-ioctls does not have.

use kvm_bindings::{KVMIO, kvm_interrupt};
use kvm_ioctls::VcpuFd;
use vmm_sys_util::errno;
use vmm_sys_util::ioctl::{ioctl_with_ptr, ioctl_with_ref};
use vmm_sys_util::ioctl_iow_nr;

/// KVM_SET_SIGNAL_MASK's argument: a length, then the kernel's 64-bit signal set without padding between.
#[repr(C, packed(4))]
struct SignalMask {
    len: u32,
    set: u64,
}

/// The request's number is made from the size of the head alone (`struct kvm_signal_mask`).
type SignalMaskHead = u32;

ioctl_iow_nr!(KVM_INTERRUPT, KVMIO, 0x86, kvm_interrupt);
ioctl_iow_nr!(KVM_SET_SIGNAL_MASK, KVMIO, 0x8b, SignalMaskHead);

fn check(result: i32) -> Result<(), errno::Error> {
    if result < 0 { Err(errno::Error::last()) } else { Ok(()) }
}

/// Queues the vector of an external interrupt, which the guest must be able to take.
pub(super) fn interrupt(vcpu: &VcpuFd, vector: u8) -> Result<(), errno::Error> {
    let arg = kvm_interrupt { irq: u32::from(vector) };
    // SAFETY: the kernel reads a `kvm_interrupt` and keeps no pointer to it.
    check(unsafe { ioctl_with_ref(vcpu, KVM_INTERRUPT(), &arg) })
}

/// During KVM_RUN the thread's signal mask is empty (`true`), or as it is (`false`).
pub(super) fn unblock_signals_in_run(vcpu: &VcpuFd, on: bool) -> Result<(), errno::Error> {
    let none = SignalMask { len: 8, set: 0 };
    let arg = if on { &raw const none } else { std::ptr::null() };
    // SAFETY: the kernel reads a length and as many bytes, or is given a null pointer, which takes the mask back.
    check(unsafe { ioctl_with_ptr(vcpu, KVM_SET_SIGNAL_MASK(), arg) })
}
