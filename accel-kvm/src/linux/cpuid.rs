//! What KVM offers by CPUID, and what a vCPU is given.

use super::device::{Device, Unusable};
use super::error::Context;
use gearbox_core::vm::VmError;
use gearbox_core::x86::cpu_features::Feature;
use gearbox_core::x86::cpuid::{CpuidLeaf, CpuidSet};
use kvm_bindings::{CpuId, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, KVM_MAX_CPUID_ENTRIES, kvm_cpuid_entry2};
use kvm_ioctls::{Cap, VcpuFd};

/// Features with state that the neutral CPU state does not carry (or, for nested virtualization and tracing, whole machines of state): a
/// guest that used them could not be saved. What depends on them goes as well.
const NOT_CARRIED: &[&str] = &[
    "vmx",
    "svm",
    "avx512f",
    "mpx",
    "pku",
    "pks",
    "amx-tile",
    "xfd",
    "intel-pt",
    "sgx",
    "sgxlc",
    "arch-lbr",
    "ds",
    "dtes64",
    "pdcm",
    "perfctr-core",
    "perfctr-nb",
    "ibs",
    "lwp",
    "smx",
    "skinit",
    "xsaves",
    "bus-lock-detect",
    "waitpkg",
];

/// XCR0 components that the neutral CPU state carries: x87, SSE, AVX.
const CARRIED_COMPONENTS: u32 = 7;

fn leaf(e: &kvm_cpuid_entry2) -> CpuidLeaf {
    let indexed = e.flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX != 0;
    CpuidLeaf {
        function: e.function,
        index: indexed.then_some(e.index),
        eax: e.eax,
        ebx: e.ebx,
        ecx: e.ecx,
        edx: e.edx,
    }
}

/// The host processor's brand string, which KVM does not repeat.
fn host_brand() -> String {
    use std::arch::x86_64::__cpuid;
    let mut host = CpuidSet::new();
    if __cpuid(0x8000_0000).eax >= 0x8000_0004 {
        for function in 0x8000_0002..=0x8000_0004 {
            let r = __cpuid(function);
            host.set(CpuidLeaf { function, index: None, eax: r.eax, ebx: r.ebx, ecx: r.ecx, edx: r.edx });
        }
    }
    host.brand()
}

/// The leaves that a model is cut down to.
pub(super) fn offered(device: &Device) -> Result<CpuidSet, Unusable> {
    let kvm = device.kvm();
    let supported =
        kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).map_err(Unusable::call("KVM_GET_SUPPORTED_CPUID"))?;
    let mut set = CpuidSet::new();
    supported.as_slice().iter().for_each(|e| set.set(leaf(e)));
    if set.brand().is_empty() {
        set.set_brand(&host_brand());
    }
    let mut features = set.features();
    let mut each = |names: &[&str], on: bool| {
        names.iter().filter_map(|n| Feature::find(n)).for_each(|f| features.set(f, on));
    };
    each(NOT_CARRIED, false);
    // The kernel's local APIC has them, whether or not the kernel lists them.
    each(&["hypervisor", "x2apic"], true);
    each(&["tsc-deadline"], kvm.check_extension(Cap::TscDeadlineTimer));
    features.drop_dependents();
    set.set_features(&features);
    if let Some(xsave) = set.get_mut(0xd, 0) {
        xsave.eax &= CARRIED_COMPONENTS;
        xsave.edx = 0;
    }
    Ok(set)
}

/// Gives a vCPU its leaves.
pub(super) fn set(vcpu: &VcpuFd, leaves: &CpuidSet) -> Result<(), VmError> {
    let entries: Vec<_> = leaves
        .leaves()
        .iter()
        .map(|l| kvm_cpuid_entry2 {
            function: l.function,
            index: l.index.unwrap_or(0),
            flags: l.index.map_or(0, |_| KVM_CPUID_FLAG_SIGNIFCANT_INDEX),
            eax: l.eax,
            ebx: l.ebx,
            ecx: l.ecx,
            edx: l.edx,
            ..Default::default()
        })
        .collect();
    let cpuid = CpuId::from_entries(&entries).map_err(|e| VmError::Unsupported(format!("CPUID leaves: {e:?}")))?;
    vcpu.set_cpuid2(&cpuid).context("KVM_SET_CPUID2")
}

/// The leaves that a vCPU has been given, as KVM tells.
pub(super) fn get(vcpu: &VcpuFd) -> Result<CpuidSet, VmError> {
    let mut set = CpuidSet::new();
    let all = vcpu.get_cpuid2(KVM_MAX_CPUID_ENTRIES).context("KVM_GET_CPUID2")?;
    all.as_slice().iter().for_each(|e| set.set(leaf(e)));
    Ok(set)
}

/// Says so where KVM shows features that the model leaves out, as KVMs that emulate ring 0 do: such a guest could not move elsewhere.
pub(super) fn report_more(vcpu: &VcpuFd, asked: &CpuidSet) -> Result<(), VmError> {
    let (asked, shown) = (asked.features(), get(vcpu)?.features());
    let more: Vec<_> = shown.iter().filter(|f| !asked.has(*f)).map(|f| f.name).collect();
    if !more.is_empty() {
        tracing::info!("the host's KVM shows the guest features beyond its CPU model: {}", more.join(" "));
    }
    Ok(())
}
