//! Model-specific registers of a vCPU.

use super::error::Context;
use gearbox_core::vm::VmError;
use kvm_bindings::{Msrs, kvm_msr_entry};
use kvm_ioctls::{Kvm, VcpuFd};
use std::collections::BTreeMap;

pub(super) const TSC: u32 = 0x10;
/// Takes effect according to the mode in the local APIC's timer entry, so it is written after the local APIC.
pub(super) const TSC_DEADLINE: u32 = 0x6e0;

/// IA32_MTRRphysBase0 to IA32_MTRRphysMask7, the fixed-range ones, IA32_MTRR_DEF_TYPE: kept by KVM but not in its list.
const MTRRS: &[std::ops::RangeInclusive<u32>] =
    &[0x200..=0x20f, 0x250..=0x250, 0x258..=0x259, 0x268..=0x26f, 0x2ff..=0x2ff];

/// IA32_MCG_STATUS and IA32_MCG_CTL, the same.
const MACHINE_CHECK: std::ops::RangeInclusive<u32> = 0x17a..=0x17b;

/// What is not read and written with the others: the TSC is a field of its own; the count of SMIs is the host's; Hyper-V's and VMX's are
/// of features that are not offered.
const LEFT_OUT: &[std::ops::RangeInclusive<u32>] = &[TSC..=TSC, 0x34..=0x34, 0x480..=0x493, 0x4000_0000..=0x4000_0fff];

/// The MSRs to try to read, by what the host's KVM lists.
pub(super) fn listed(kvm: &Kvm) -> Result<Vec<u32>, vmm_sys_util::errno::Error> {
    let list = kvm.get_msr_index_list()?;
    let mut all: Vec<u32> = list.as_slice().to_vec();
    all.extend(MTRRS.iter().cloned().flatten().chain(MACHINE_CHECK));
    all.retain(|i| !LEFT_OUT.iter().any(|r| r.contains(i)));
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

fn entries(msrs: &[(u32, u64)]) -> Result<Msrs, VmError> {
    let entries: Vec<_> =
        msrs.iter().map(|&(index, data)| kvm_msr_entry { index, data, ..Default::default() }).collect();
    Msrs::from_entries(&entries).map_err(|e| VmError::Unsupported(format!("a list of MSRs: {e:?}")))
}

/// More than KVM's call takes at once would be refused.
const BATCH: usize = 128;

/// Reads those of `indices` that this vCPU has. KVM stops at the first that it refuses; that one is left out.
pub(super) fn read(vcpu: &VcpuFd, indices: &[u32]) -> Result<BTreeMap<u32, u64>, VmError> {
    let mut values = BTreeMap::new();
    let mut rest = indices;
    while !rest.is_empty() {
        let batch = &rest[..rest.len().min(BATCH)];
        let mut msrs = entries(&batch.iter().map(|i| (*i, 0)).collect::<Vec<_>>())?;
        let read = vcpu.get_msrs(&mut msrs).context("KVM_GET_MSRS")?.min(batch.len());
        values.extend(msrs.as_slice()[..read].iter().map(|e| (e.index, e.data)));
        rest = &rest[if read < batch.len() { read + 1 } else { read }..];
    }
    Ok(values)
}

/// One MSR that must be readable.
pub(super) fn read_one(vcpu: &VcpuFd, index: u32) -> Result<u64, VmError> {
    let values = read(vcpu, &[index])?;
    values.get(&index).copied().ok_or_else(|| VmError::Internal(format!("KVM does not give MSR {index:#x}")))
}

/// Writes. A refusal counts unless the MSR has the value already, or is unknown here and 0 was to be written.
pub(super) fn write(vcpu: &VcpuFd, values: &[(u32, u64)]) -> Result<(), VmError> {
    let mut rest = values;
    while !rest.is_empty() {
        let batch = &rest[..rest.len().min(BATCH)];
        let written = vcpu.set_msrs(&entries(batch)?).context("KVM_SET_MSRS")?.min(batch.len());
        if let Some(&(index, value)) = batch.get(written) {
            let present = read(vcpu, &[index])?.get(&index).copied().unwrap_or(0);
            if present != value {
                return Err(VmError::Unsupported(format!("KVM refuses {value:#x} in MSR {index:#x}")));
            }
        }
        rest = &rest[if written < batch.len() { written + 1 } else { written }..];
    }
    Ok(())
}
