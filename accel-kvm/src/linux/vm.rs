//! A virtual machine on KVM.

use super::clock::KvmClock;
use super::cpuid;
use super::device::{Device, Unusable};
use super::error::Context;
use super::gate::Gate;
use super::irq::KvmMsi;
use super::memory::KvmMemory;
use super::msrs;
use super::vcpu::KvmVcpu;
use gearbox_core::clock::ClockSource;
use gearbox_core::mem::MemoryListener;
use gearbox_core::vm::{DirtyLog, MsiSink, Threading, Vcpu, VcpuConfig, Vm, VmError, VmState};
use gearbox_core::x86::cpuid::CpuidSet;
use kvm_ioctls::VmFd;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the parts of a VM share.
pub(super) struct Shared {
    pub fd: VmFd,
    pub gate: Gate,
    /// MSRs that KVM may have.
    pub msrs: Vec<u32>,
    /// Bytes of a vCPU's shared page.
    pub run_size: usize,
}

/// The VM.
pub(super) struct KvmVm {
    shared: Arc<Shared>,
    clock: Arc<KvmClock>,
    memory: Arc<KvmMemory>,
    msi: Arc<KvmMsi>,
    offered: CpuidSet,
}

impl KvmVm {
    /// A VM without memory and vCPUs.
    pub(super) fn new(device: &Device) -> Result<Self, Unusable> {
        let kvm = device.kvm();
        let shared = Arc::new(Shared {
            fd: device.create_vm()?,
            gate: Gate::default(),
            msrs: msrs::listed(kvm).map_err(Unusable::call("KVM_GET_MSR_INDEX_LIST"))?,
            run_size: kvm.get_vcpu_mmap_size().map_err(Unusable::call("KVM_GET_VCPU_MMAP_SIZE"))?,
        });
        let slots = u32::try_from(kvm.get_nr_memslots()).unwrap_or(u32::MAX);
        Ok(Self {
            memory: Arc::new(KvmMemory::new(shared.clone(), slots)),
            msi: Arc::new(KvmMsi::new(shared.clone())),
            offered: cpuid::offered(device)?,
            clock: Arc::new(KvmClock::new(shared.clone())),
            shared,
        })
    }

    /// Makes a vCPU as what it is.
    pub(super) fn kvm_vcpu(&self, config: &VcpuConfig) -> Result<KvmVcpu, VmError> {
        KvmVcpu::new(&self.shared, config)
    }
}

impl Vm for KvmVm {
    fn threading(&self) -> Threading {
        Threading::PerVcpu
    }
    fn clock(&self) -> Arc<dyn ClockSource> {
        self.clock.clone()
    }
    fn memory_listener(&self) -> Option<Arc<dyn MemoryListener>> {
        Some(self.memory.clone())
    }
    fn cpuid(&self) -> &CpuidSet {
        &self.offered
    }
    fn create_vcpu(&self, _id: u32, config: &VcpuConfig) -> Result<Box<dyn Vcpu>, VmError> {
        let vcpu = self.kvm_vcpu(config)?;
        if config.bsp {
            cpuid::report_more(&vcpu.fd, &config.cpuid)?;
        }
        Ok(Box::new(vcpu))
    }
    fn msi(&self) -> Arc<dyn MsiSink> {
        self.msi.clone()
    }
    fn dirty_log(&self) -> Option<&dyn DirtyLog> {
        Some(self)
    }
    fn vm_state(&self) -> Option<&dyn VmState> {
        Some(self)
    }
}

impl DirtyLog for KvmVm {
    fn enable(&self, on: bool) -> Result<(), VmError> {
        self.memory.log_dirty(on).context("KVM_SET_USER_MEMORY_REGION")
    }
    fn sync(&self) -> Result<(), VmError> {
        self.memory.sync_dirty().context("KVM_GET_DIRTY_LOG")
    }
}

/// The name of the paravirtual clock's ns among the saved values.
const KVM_CLOCK: &str = "kvmclock";

impl VmState for KvmVm {
    fn save(&self) -> Result<BTreeMap<String, Vec<u8>>, VmError> {
        let clock = self.clock.guest_time().context("KVM_GET_CLOCK")?;
        Ok([(KVM_CLOCK.to_owned(), clock.to_le_bytes().to_vec())].into())
    }
    fn load(&self, values: &BTreeMap<String, Vec<u8>>) -> Result<(), VmError> {
        for (name, value) in values {
            let clock = match (name.as_str(), <[u8; 8]>::try_from(value.as_slice())) {
                (KVM_CLOCK, Ok(bytes)) => u64::from_le_bytes(bytes),
                _ => return Err(VmError::Unsupported(format!("KVM has no state '{name}' of {} bytes", value.len()))),
            };
            self.clock.set_guest_time(clock).context("KVM_SET_CLOCK")?;
        }
        Ok(())
    }
}
