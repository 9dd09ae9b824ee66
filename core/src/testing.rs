//! Small stand-ins for unit tests of this crate.

use crate::clock::{ClockSource, ManualClock};
use crate::vm::{MsiSink, Threading, Vcpu, VcpuConfig, Vm, VmError};
use crate::x86::cpuid::CpuidSet;
use std::sync::Arc;

/// A VM without CPUs.
#[derive(Default)]
pub(crate) struct NullVm {
    cpuid: CpuidSet,
}

/// Drops every message.
pub(crate) struct NullMsi;

impl MsiSink for NullMsi {
    fn send_msi(&self, _addr: u64, _data: u32) {}
}

impl Vm for NullVm {
    fn threading(&self) -> Threading {
        Threading::NoCpu
    }
    fn clock(&self) -> Arc<dyn ClockSource> {
        Arc::new(ManualClock::new())
    }
    fn cpuid(&self) -> &CpuidSet {
        &self.cpuid
    }
    fn create_vcpu(&self, _: u32, _: &VcpuConfig) -> Result<Box<dyn Vcpu>, VmError> {
        Err(VmError::Unsupported("no CPU".into()))
    }
    fn msi(&self) -> Arc<dyn MsiSink> {
        Arc::new(NullMsi)
    }
}
