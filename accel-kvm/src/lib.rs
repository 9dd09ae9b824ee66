//! The KVM accelerator: guest code on the host's own processor, through `/dev/kvm` of a Linux host on x86-64.
//!
//! The local APICs are the kernel's; the 8259A pair, the 8254 and the I/O APIC are the board's (KVM's "split" interrupt controller).
//! On other hosts the accelerator exists and says that it is absent. The kernel's side of everything here is described in
//! `Documentation/virt/kvm/api.rst`.

mod accel;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod linux;
mod options;

pub use accel::Kvm;

inventory::submit! { gearbox_core::accel::AccelEntry(&Kvm) }
