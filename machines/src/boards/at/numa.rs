//! The machine's NUMA nodes: their memory around the holes, and what firmware and operating system are told of them.

use super::memory::Layout;
use crate::acpi::{NodeMemory, NumaPlatform};
use gearbox_core::machine::numa::NumaNodes;
use gearbox_core::machine::{BuildError, MachineConfig};

/// The item of the firmware configuration device that tells of nodes.
pub(in crate::boards) const ITEM: u16 = 0x0d;

/// The nodes, checked.
///
/// # Errors
/// What is missing of them.
pub(in crate::boards) fn nodes(config: &MachineConfig) -> Result<NumaNodes, BuildError> {
    let nodes = config.numa.complete(&config.topology, config.ram_size, &config.objects);
    nodes.map_err(|e| BuildError::Option { option: "numa", value: "node".into(), reason: e.to_string() })
}

/// Node of each CPU that there can be; none if there are no nodes.
fn processors(config: &MachineConfig) -> Vec<u32> {
    let t = &config.topology;
    (0..t.total()).filter_map(|n| config.numa.node_of(&t.place(t.apic_id(n)))).collect()
}

/// What ACPI tells.
pub(in crate::boards) fn platform(config: &MachineConfig, nodes: NumaNodes, layout: Layout) -> Option<NumaPlatform> {
    if nodes.nodes.is_empty() {
        return None;
    }
    let sizes = (0..).zip(&nodes.nodes).map(|(id, n)| (id, n.memory));
    let memory = ranges(sizes, layout);
    Some(NumaPlatform { processors: processors(config), memory, nodes })
}

/// Memory of nodes of these sizes, one after the other, around the VGA window and the PCI hole.
fn ranges(sizes: impl Iterator<Item = (u32, u64)>, layout: Layout) -> Vec<NodeMemory> {
    let mut all = Vec::new();
    let mut next = 0;
    for (node, size) in sizes {
        let end = next + size;
        // RAM by its offset, and where it is in the address space.
        for (start, stop, at) in layout.usable() {
            let (from, to) = (start.max(next), stop.min(end));
            if from < to {
                all.push(NodeMemory { node, base: at + (from - start), len: to - from });
            }
        }
        next = end;
    }
    all
}

/// The item [`ITEM`]: number of nodes, the node of each local APIC id, memory of each node; little-endian 64-bit numbers.
pub(in crate::boards) fn item(config: &MachineConfig, nodes: &NumaNodes) -> Vec<u8> {
    let t = &config.topology;
    let limit = t.apic_id(t.total().saturating_sub(1)) as usize + 1;
    let mut of_ids = vec![0u64; limit];
    for (n, node) in (0..).zip(processors(config)) {
        if let Some(slot) = of_ids.get_mut(t.apic_id(n) as usize) {
            *slot = node.into();
        }
    }
    let count = nodes.nodes.len() as u64;
    let memory = nodes.nodes.iter().map(|n| n.memory);
    std::iter::once(count).chain(of_ids).chain(memory).flat_map(u64::to_le_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn memory_lies_around_the_holes() {
        let of = |sizes: &[u64]| {
            let layout = Layout::new(sizes.iter().sum());
            let all = ranges((0..).zip(sizes.iter().copied()), layout);
            all.into_iter().map(|m| (m.node, m.base, m.len)).collect::<Vec<_>>()
        };
        assert_eq!(of(&[64 * MIB, 64 * MIB]), [(0, 0, 0xa_0000), (0, MIB, 63 * MIB), (1, 64 * MIB, 64 * MIB)]);
        assert_eq!(
            of(&[2048 * MIB, 0, 2048 * MIB]),
            [(0, 0, 0xa_0000), (0, MIB, 2047 * MIB), (2, 0x8000_0000, 0x4000_0000), (2, 0x1_0000_0000, 0x4000_0000),]
        );
    }
}
