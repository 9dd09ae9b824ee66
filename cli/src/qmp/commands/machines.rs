//! The machine: its type, CPUs, memory, and what is on its PCI bus.

use crate::control::Control;
use crate::qmp::command::{Command, commands};
use crate::qmp::types::machine::{
    CpuDefinitionInfo, CpuInfoFast, CpuModelExpansionInfo, CpuModelExpansionType, CpuModelInfo, CurrentMachineParams,
    GuidInfo, HotpluggableCpu, MachineInfo, Memdev, MemoryInfo, TargetInfo,
};
use crate::qmp::types::numa::NumaOptions;
use crate::qmp::types::pci::PciInfo;

/// See the module.
pub(super) static COMMANDS: &[Command] = commands! {
    /// The types of machines that there are.
    "query-machines"() -> Vec<MachineInfo> = |_| Ok(Control::machines());
    /// What this one can do.
    "query-current-machine"() -> CurrentMachineParams = |_| Ok(Control::current_machine());
    /// The guest's architecture.
    "query-target"() -> TargetInfo = |_| Ok(Control::target());
    /// The CPUs.
    "query-cpus-fast"() -> Vec<CpuInfoFast> = |call| call.control.cpus_fast();
    /// The places for CPUs.
    "query-hotpluggable-cpus"() -> Vec<HotpluggableCpu> [preconfig] = |call| call.control.hotpluggable_cpus();
    /// The CPU models that there are.
    "query-cpu-definitions"() -> Vec<CpuDefinitionInfo> = |call| call.control.cpu_definitions();
    /// What a CPU model means.
    "query-cpu-model-expansion"(ty = "type": CpuModelExpansionType, model: CpuModelInfo) -> CpuModelExpansionInfo =
        |call| call.control.cpu_model_expansion(ty, model);
    /// Describes a NUMA node, before the machine is made.
    "set-numa-node"{ options: NumaOptions } [preconfig] = |call| call.control.set_numa_node(options);
    /// How much memory the machine has.
    "query-memory-size-summary"() -> MemoryInfo = |call| Ok(call.control.memory_size_summary());
    /// The id that changes when the machine is copied.
    "query-vm-generation-id"() -> GuidInfo = |call| call.control.vm_generation_id();
    /// The memory back ends.
    "query-memdev"() -> Vec<Memdev> [preconfig] = |call| Ok(call.control.memdevs());
    /// The PCI bus.
    "query-pci"() -> Vec<PciInfo> = |call| call.control.pci();
};
