//! The accelerator "qtest" in the registry: it runs no CPU, and its clock moves only when told.

use crate::Messages;
use gearbox_core::accel::{AccelEntry, Accelerator, OpenError, OptionSpec, Options, Probe, Reason, Request, Speed};
use gearbox_core::clock::{ClockSource, ManualClock};
use gearbox_core::vm::{MsiSink, Threading, Vcpu, VcpuConfig, Vm, VmError};
use gearbox_core::x86::cpuid::CpuidSet;
use std::sync::Arc;

/// No CPU at all. It must be named, as it runs no guest.
pub struct Qtest;

impl Accelerator for Qtest {
    fn name(&self) -> &'static str {
        "qtest"
    }
    fn description(&self) -> &'static str {
        "no CPU: devices are driven over -qtest"
    }
    fn auto_priority(&self) -> Option<u8> {
        None
    }
    fn options(&self) -> &'static [OptionSpec] {
        &[]
    }
    fn probe(&self, request: &Request, _options: &Options) -> Probe {
        match request.icount {
            Some(_) => Probe::Unfit(no_icount()),
            None => Probe::Ready(Speed::Full),
        }
    }
    fn open(&self, request: &Request, _options: &Options) -> Result<Box<dyn Vm>, OpenError> {
        match request.icount {
            Some(_) => Err(OpenError::Unusable(no_icount())),
            None => Ok(Box::new(QtestVm::new())),
        }
    }
}

fn no_icount() -> Reason {
    Reason::new("-icount has no instructions to count here").hint("use -accel tcg")
}

inventory::submit! { AccelEntry(&Qtest) }

/// A virtual machine without CPUs.
#[derive(Default)]
pub struct QtestVm {
    clock: Arc<ManualClock>,
    messages: Arc<Messages>,
    cpuid: CpuidSet,
}

impl QtestVm {
    /// A VM at machine time 0.
    pub fn new() -> Self {
        Self::default()
    }
    /// The message-signalled interrupts that no CPU takes.
    pub fn messages(&self) -> &Arc<Messages> {
        &self.messages
    }
}

impl Vm for QtestVm {
    fn threading(&self) -> Threading {
        Threading::NoCpu
    }
    fn clock(&self) -> Arc<dyn ClockSource> {
        self.clock.clone()
    }
    fn has_smm(&self) -> bool {
        true
    }
    fn cpuid(&self) -> &CpuidSet {
        &self.cpuid
    }
    fn create_vcpu(&self, id: u32, _cfg: &VcpuConfig) -> Result<Box<dyn Vcpu>, VmError> {
        Err(VmError::Unsupported(format!("qtest has no CPU, so there is no vCPU {id}")))
    }
    fn msi(&self) -> Arc<dyn MsiSink> {
        self.messages.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gearbox_core::accel::registered;

    #[test]
    fn it_is_registered_and_must_be_named() {
        let qtest = registered().into_iter().find(|a| a.name() == "qtest").expect("registered");
        assert_eq!(qtest.auto_priority(), None);
        let (request, options) = (Request::default(), Options::default());
        assert_eq!(qtest.probe(&request, &options), Probe::Ready(Speed::Full));
        let vm = qtest.open(&request, &options).unwrap();
        assert_eq!(vm.threading(), Threading::NoCpu);
        assert!(vm.clock().advance_to(5));
        assert_eq!(vm.clock().now(), 5);
    }
}
