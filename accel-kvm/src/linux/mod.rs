//! KVM on a Linux x86-64 host.

mod clock;
mod cpuid;
mod device;
mod dump;
mod error;
mod gate;
mod handle;
mod ioctls;
mod irq;
mod memory;
mod msrs;
mod probe;
mod regs;
mod run_page;
mod state;
#[cfg(test)]
mod tests;
mod vcpu;
mod vm;

use crate::options::KvmOptions;
use gearbox_core::accel::{OpenError, Request};
use gearbox_core::vm::Vm;

pub(crate) use probe::probe;

pub(crate) fn open(request: &Request, options: &KvmOptions) -> Result<Box<dyn Vm>, OpenError> {
    let device = device::Device::open(&options.device).and_then(|d| d.fits(request).map(|()| d));
    let vm = device.and_then(|d| vm::KvmVm::new(&d)).map_err(|e| OpenError::Unusable(e.reason()))?;
    Ok(Box::new(vm))
}
