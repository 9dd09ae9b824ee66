//! KVM as an entry of the registry.

use crate::options::{KvmOptions, SPECS};
use gearbox_core::accel::{Accelerator, OpenError, OptionSpec, Options, Probe, Reason, Request};
use gearbox_core::vm::Vm;

/// The accelerator `kvm`.
pub struct Kvm;

impl Accelerator for Kvm {
    fn name(&self) -> &'static str {
        "kvm"
    }
    fn description(&self) -> &'static str {
        "guest code on the host's own processor, through Linux KVM"
    }
    fn auto_priority(&self) -> Option<u8> {
        Some(100)
    }
    fn options(&self) -> &'static [OptionSpec] {
        SPECS
    }
    fn check(&self, options: &Options) -> Result<(), OpenError> {
        KvmOptions::parse(options).map(drop)
    }
    fn probe(&self, request: &Request, options: &Options) -> Probe {
        if let Err(reason) = no_icount(request) {
            return Probe::Unfit(reason);
        }
        match KvmOptions::parse(options) {
            Ok(options) => host::probe(request, &options),
            Err(e) => Probe::Unfit(Reason::new(e.to_string())),
        }
    }
    fn open(&self, request: &Request, options: &Options) -> Result<Box<dyn Vm>, OpenError> {
        no_icount(request).map_err(OpenError::Unusable)?;
        host::open(request, &KvmOptions::parse(options)?)
    }
}

/// The host's processor does not say what it has executed.
fn no_icount(request: &Request) -> Result<(), Reason> {
    let refusal = || Reason::new("-icount is not allowed with hardware virtualization").hint("use -accel tcg");
    if request.icount.is_some() { Err(refusal()) } else { Ok(()) }
}

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
use crate::linux as host;

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
mod host {
    use super::*;

    fn reason() -> Reason {
        Reason::new("KVM needs a Linux host on x86-64")
    }
    pub(super) fn probe(_: &Request, _: &KvmOptions) -> Probe {
        Probe::Absent(reason())
    }
    pub(super) fn open(_: &Request, options: &KvmOptions) -> Result<Box<dyn Vm>, OpenError> {
        tracing::debug!(device = %options.device.display(), "no KVM on this host");
        Err(OpenError::Unusable(reason()))
    }
}
