//! NUMA nodes before the machine is made (QAPI `machine.json`, `NumaOptions`).

use crate::qmp::qapi::{qapi_enum, qapi_struct, qapi_union};

qapi_enum! {
    /// Which memory a latency or bandwidth is about.
    enum HmatLbMemoryHierarchy {
        /// The memory.
        Memory = "memory",
        /// The cache of the first level in front of it.
        FirstLevel = "first-level",
        /// Of the second.
        SecondLevel = "second-level",
        /// Of the third.
        ThirdLevel = "third-level",
    }

    /// Which latency or bandwidth it is.
    enum HmatLbDataType {
        /// Latency of reads and writes.
        AccessLatency = "access-latency",
        /// Latency of reads.
        ReadLatency = "read-latency",
        /// Latency of writes.
        WriteLatency = "write-latency",
        /// Bandwidth of reads and writes.
        AccessBandwidth = "access-bandwidth",
        /// Bandwidth of reads.
        ReadBandwidth = "read-bandwidth",
        /// Bandwidth of writes.
        WriteBandwidth = "write-bandwidth",
    }

    /// How a cache finds its lines.
    enum HmatCacheAssociativity {
        /// It is not told.
        None = "none",
        /// Each address has one place.
        Direct = "direct",
        /// Each address has several.
        Complex = "complex",
    }

    /// How a cache writes.
    enum HmatCacheWritePolicy {
        /// It is not told.
        None = "none",
        /// Later.
        WriteBack = "write-back",
        /// At once.
        WriteThrough = "write-through",
    }
}

qapi_struct! {
    /// A node.
    struct NumaNodeOptions {
        /// Its number; the next one, if it is not given.
        nodeid: Option<u16>,
        /// Indexes of its CPUs.
        cpus: Option<Vec<u16>>,
        /// Bytes of its memory.
        mem: Option<u64>,
        /// Id of the back end that its memory is in.
        memdev: Option<String>,
        /// The node whose CPUs have the best access.
        initiator: Option<u16>,
    }

    /// The distance of two nodes.
    struct NumaDistOptions {
        /// From this node
        src: u16,
        /// to this one
        dst: u16,
        /// it is so far.
        val: u8,
    }

    /// CPUs of a node: all that have what is given.
    struct NumaCpuOptions {
        /// The node.
        node_id = "node-id": Option<u16>,
        /// Package.
        socket_id = "socket-id": Option<u32>,
        /// Die.
        die_id = "die-id": Option<u32>,
        /// Core.
        core_id = "core-id": Option<u32>,
        /// Thread.
        thread_id = "thread-id": Option<u32>,
    }

    /// A latency or bandwidth.
    struct NumaHmatLbOptions {
        /// Node of the CPUs.
        initiator: u16,
        /// Node of the memory.
        target: u16,
        /// Which memory.
        hierarchy: HmatLbMemoryHierarchy,
        /// Which latency or bandwidth.
        data_type = "data-type": HmatLbDataType,
        /// Nanoseconds.
        latency: Option<u64>,
        /// Bytes in a second.
        bandwidth: Option<u64>,
    }

    /// A cache in front of a node's memory.
    struct NumaHmatCacheOptions {
        /// The node.
        node_id = "node-id": u32,
        /// Bytes.
        size: u64,
        /// 1 to 3.
        level: u8,
        /// How it finds its lines.
        associativity: HmatCacheAssociativity,
        /// How it writes.
        policy: HmatCacheWritePolicy,
        /// Bytes of a line.
        line: u16,
    }
}

qapi_union! {
    /// What `set-numa-node` says.
    union NumaOptions {}
    /// What it is about.
    kind: "type"
    /// What there is to say of nodes.
    enum NumaOptionsKind("NumaOptionsType") {
        /// A node.
        Node(NumaNodeOptions) = "node",
        /// A distance.
        Dist(NumaDistOptions) = "dist",
        /// CPUs.
        Cpu(NumaCpuOptions) = "cpu",
        /// A latency or bandwidth.
        HmatLb(NumaHmatLbOptions) = "hmat-lb",
        /// A cache.
        HmatCache(NumaHmatCacheOptions) = "hmat-cache",
    }
}
