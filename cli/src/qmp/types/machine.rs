//! Machines, CPUs and memory (QAPI `machine.json`, `machine-target.json`).

use crate::qmp::qapi::{qapi_enum, qapi_struct};
use serde_json::Value;

qapi_enum! {
    /// The guest's architecture.
    enum SysEmuTarget {
        /// 64-bit PC.
        X86_64 = "x86_64",
    }

    /// What a CPU model is expanded to (QAPI `CpuModelExpansionType`).
    enum CpuModelExpansionType {
        /// A model that never changes, with the properties that differ from it.
        Static = "static",
        /// All properties.
        Full = "full",
    }

    /// Where memory of the host comes from (QAPI `HostMemPolicy`).
    enum HostMemPolicy {
        /// As the host likes.
        Default = "default",
        /// From some nodes, if possible.
        Preferred = "preferred",
        /// From some nodes.
        Bind = "bind",
        /// From some nodes in turn.
        Interleave = "interleave",
    }
}

qapi_struct! {
    /// `query-target`.
    struct TargetInfo {
        /// The architecture.
        arch: SysEmuTarget,
    }

    /// A type of machine.
    struct MachineInfo {
        /// Its name.
        name: String,
        /// A second name.
        alias: Option<String>,
        /// Chosen without `-machine`.
        is_default = "is-default": Option<bool>,
        /// Most CPUs.
        cpu_max = "cpu-max": i64,
        /// CPUs can come while it runs.
        hotpluggable_cpus = "hotpluggable-cpus": bool,
        /// `-numa node,mem=` is taken.
        numa_mem_supported = "numa-mem-supported": bool,
        /// It will go.
        deprecated: bool,
        /// Type of its CPUs without `-cpu`.
        default_cpu_type = "default-cpu-type": Option<String>,
        /// Id of its memory.
        default_ram_id = "default-ram-id": Option<String>,
    }

    /// `query-current-machine`.
    struct CurrentMachineParams {
        /// It can sleep, and be woken.
        wakeup_suspend_support = "wakeup-suspend-support": bool,
    }

    /// Where a CPU is.
    struct CpuInstanceProperties {
        /// NUMA node.
        node_id = "node-id": Option<i64>,
        /// Package.
        socket_id = "socket-id": Option<i64>,
        /// Die in the package.
        die_id = "die-id": Option<i64>,
        /// Cluster in the die.
        cluster_id = "cluster-id": Option<i64>,
        /// Core.
        core_id = "core-id": Option<i64>,
        /// Thread of the core.
        thread_id = "thread-id": Option<i64>,
    }

    /// A CPU, in `query-cpus-fast`.
    struct CpuInfoFast {
        /// Its number.
        cpu_index = "cpu-index": i64,
        /// Path of its object.
        qom_path = "qom-path": String,
        /// The host's thread that runs it.
        thread_id = "thread-id": i64,
        /// Where it is.
        props: Option<CpuInstanceProperties>,
        /// What it executes.
        target: SysEmuTarget,
    }

    /// A place for a CPU, in `query-hotpluggable-cpus`.
    struct HotpluggableCpu {
        /// What goes there.
        ty = "type": String,
        /// How many CPUs that is.
        vcpus_count = "vcpus-count": i64,
        /// Which place.
        props: CpuInstanceProperties,
        /// What is there.
        qom_path = "qom-path": Option<String>,
    }

    /// A CPU model, in `query-cpu-definitions`.
    struct CpuDefinitionInfo {
        /// Its name, as in `-cpu`.
        name: String,
        /// The guest sees the same on every host.
        migration_safe = "migration-safe": Option<bool>,
        /// It never changes.
        is_static = "static": bool,
        /// What it needs and the accelerator lacks.
        unavailable_features = "unavailable-features": Option<Vec<String>>,
        /// Type of its CPUs.
        typename: String,
        /// The model that it is another name of.
        alias_of = "alias-of": Option<String>,
        /// It will go.
        deprecated: bool,
    }

    /// A CPU model with changes.
    struct CpuModelInfo {
        /// The model.
        name: String,
        /// Its properties.
        props: Option<Value>,
    }

    /// `query-cpu-model-expansion`.
    struct CpuModelExpansionInfo {
        /// What it is expanded to.
        model: CpuModelInfo,
    }

    /// `query-vm-generation-id`.
    struct GuidInfo {
        /// The id, in the form of a UUID.
        guid: String,
    }

    /// `query-memory-size-summary`.
    struct MemoryInfo {
        /// Bytes that were there from the start.
        base_memory = "base-memory": u64,
        /// Bytes that came later.
        plugged_memory = "plugged-memory": Option<u64>,
    }

    /// A memory back end.
    struct Memdev {
        /// Its id.
        id: Option<String>,
        /// Bytes.
        size: u64,
        /// The host may merge its pages with others.
        merge: bool,
        /// It is part of the process's core dumps.
        dump: bool,
        /// All pages were allocated at once.
        prealloc: bool,
        /// Others see what is written.
        share: bool,
        /// The host has reserved space for it.
        reserve: Option<bool>,
        /// Nodes of the host that it comes from.
        host_nodes = "host-nodes": Vec<u16>,
        /// How it comes from them.
        policy: HostMemPolicy,
    }

}
