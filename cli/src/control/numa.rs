//! `set-numa-node`.

use super::{Control, Error, Result};
use crate::machine::hmat::{Associativity, Cache, DataType, Hierarchy, Locality, WritePolicy};
use crate::machine::numa::{CpuOption, NodeOption, Numa, NumaOption};
use crate::qmp::types::numa::{NumaOptions, NumaOptionsKind};

impl Control {
    /// The NUMA nodes of a machine that is yet to be made.
    pub fn numa(&self) -> Numa {
        self.numa.lock().clone()
    }
    /// `set-numa-node`.
    ///
    /// # Errors
    /// The machine has been made, or the option contradicts it or what was said before.
    pub fn set_numa_node(&self, options: NumaOptions) -> Result<()> {
        if !self.in_preconfig() {
            return Err(Error::generic("The command is permitted only before the machine has been created"));
        }
        let added = self.numa.lock().add(&option(options), &self.facts.topology);
        added.map_err(|e| Error::generic(e.to_string()))
    }
}

/// What a name means; the names of the schema are those of the table.
fn named<T: Copy>(names: &[(&str, T)], name: &str) -> T {
    let found = names.iter().find(|(known, _)| *known == name).map(|(_, value)| *value);
    found.expect("a test holds that the schema's names are the machine's")
}

fn option(options: NumaOptions) -> NumaOption {
    match options.kind {
        NumaOptionsKind::Node(node) => NumaOption::Node(NodeOption {
            nodeid: node.nodeid,
            cpus: node.cpus.unwrap_or_default().into_iter().map(Into::into).collect(),
            mem: node.mem,
            memdev: node.memdev,
            initiator: node.initiator,
        }),
        NumaOptionsKind::Dist(dist) => NumaOption::Distance { src: dist.src, dst: dist.dst, val: dist.val },
        NumaOptionsKind::Cpu(cpu) => NumaOption::Cpu(CpuOption {
            node: cpu.node_id,
            socket: cpu.socket_id,
            die: cpu.die_id,
            core: cpu.core_id,
            thread: cpu.thread_id,
        }),
        NumaOptionsKind::HmatLb(lb) => NumaOption::Locality(Locality {
            initiator: lb.initiator,
            target: lb.target,
            hierarchy: named(&Hierarchy::NAMES, lb.hierarchy.name()),
            data_type: named(&DataType::NAMES, lb.data_type.name()),
            latency: lb.latency,
            bandwidth: lb.bandwidth,
        }),
        NumaOptionsKind::HmatCache(cache) => NumaOption::Cache(Cache {
            node: cache.node_id,
            size: cache.size,
            level: cache.level,
            associativity: named(&Associativity::NAMES, cache.associativity.name()),
            policy: named(&WritePolicy::NAMES, cache.policy.name()),
            line: cache.line,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qmp::types::numa::{
        HmatCacheAssociativity, HmatCacheWritePolicy, HmatLbDataType, HmatLbMemoryHierarchy,
    };

    #[test]
    fn the_names_of_the_schema_are_those_of_the_machine() {
        for (at, (_, name)) in HmatLbMemoryHierarchy::ALL.iter().enumerate() {
            assert_eq!(named(&Hierarchy::NAMES, name) as usize, at);
        }
        for (at, (_, name)) in HmatLbDataType::ALL.iter().enumerate() {
            assert_eq!(named(&DataType::NAMES, name) as usize, at);
        }
        for (at, (_, name)) in HmatCacheAssociativity::ALL.iter().enumerate() {
            assert_eq!(named(&Associativity::NAMES, name) as usize, at);
        }
        for (at, (_, name)) in HmatCacheWritePolicy::ALL.iter().enumerate() {
            assert_eq!(named(&WritePolicy::NAMES, name) as usize, at);
        }
    }
}
