//! Which processors and which memory are near each other: SRAT, SLIT and HMAT (ACPI 6.4, 5.2.16, 5.2.17, 5.2.27).

use super::Processor;
use super::table::table;
use gearbox_core::machine::hmat::{Hmat, LocalityTable};
use gearbox_core::machine::numa::NumaNodes;

/// The nodes of a machine, with their memory in its address space.
#[derive(Clone, Debug, Default)]
pub struct NumaPlatform {
    /// The nodes.
    pub nodes: NumaNodes,
    /// Node of each processor, in the order of [`super::Platform::processors`].
    pub processors: Vec<u32>,
    /// Memory of the nodes.
    pub memory: Vec<NodeMemory>,
}

/// A range of memory that belongs to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeMemory {
    /// The node.
    pub node: u32,
    /// First address.
    pub base: u64,
    /// Bytes.
    pub len: u64,
}

const ENABLED: u32 = 1;

/// Where processors and memory belong.
pub(super) fn srat(processors: &[Processor], numa: &NumaPlatform) -> Vec<u8> {
    const LOCAL_APIC: u8 = 0;
    const MEMORY: u8 = 1;
    const LOCAL_X2APIC: u8 = 2;
    // Reserved, for compatibility it is 1.
    let mut b = [&1u32.to_le_bytes()[..], &[0; 8]].concat();
    for (processor, &node) in processors.iter().zip(&numa.processors) {
        match u8::try_from(processor.apic_id) {
            Ok(id) if id != u8::MAX => {
                let [low, high @ ..] = node.to_le_bytes();
                b.extend([LOCAL_APIC, 16, low, id]);
                b.extend(ENABLED.to_le_bytes());
                b.push(0);
                b.extend(high);
                b.extend([0; 4]);
            }
            _ => {
                b.extend([LOCAL_X2APIC, 24, 0, 0]);
                b.extend([node, processor.apic_id, ENABLED, 0, 0].map(u32::to_le_bytes).concat());
            }
        }
    }
    for m in &numa.memory {
        b.extend([MEMORY, 40]);
        b.extend(m.node.to_le_bytes());
        b.extend([0; 2]);
        b.extend([m.base, m.len].map(u64::to_le_bytes).concat());
        b.extend([0; 4]);
        b.extend(ENABLED.to_le_bytes());
        b.extend([0; 8]);
    }
    table(b"SRAT", 1, &b)
}

/// How far nodes are from each other.
pub(super) fn slit(distances: &[Vec<u8>]) -> Vec<u8> {
    let count = distances.len() as u64;
    table(b"SLIT", 1, &[&count.to_le_bytes()[..], &distances.concat()].concat())
}

/// How fast nodes reach the memory of others, and the caches before it.
pub(super) fn hmat(nodes: &NumaNodes, hmat: &Hmat) -> Vec<u8> {
    let mut b = vec![0; 4];
    for (node, n) in (0u32..).zip(&nodes.nodes) {
        const INITIATOR_VALID: u16 = 1;
        let flags = if n.initiator.is_some() { INITIATOR_VALID } else { 0 };
        let mut s = flags.to_le_bytes().to_vec();
        s.extend([0; 2]);
        s.extend([n.initiator.map_or(0, u32::from), node, 0].map(u32::to_le_bytes).concat());
        s.extend([0; 16]);
        b.extend(structure(0, &s));
    }
    let initiators: Vec<u16> = (0..).zip(&nodes.nodes).filter(|(_, n)| n.has_cpus).map(|(id, _)| id).collect();
    let targets: Vec<u16> = (0..).zip(&nodes.nodes).map(|(id, _)| id).collect();
    for (hierarchy, data_type, values) in hmat.tables() {
        let (base, unit) =
            (values.base(data_type), if data_type.is_latency() { Unit::Latency } else { Unit::Bandwidth });
        let mut s = vec![hierarchy as u8, data_type as u8, 0, 0];
        s.extend([initiators.len() as u32, targets.len() as u32, 0].map(u32::to_le_bytes).concat());
        s.extend(unit.base(base).to_le_bytes());
        s.extend(initiators.iter().chain(&targets).flat_map(|&node| u32::from(node).to_le_bytes()));
        s.extend(entries(values, base, &initiators, &targets));
        b.extend(structure(1, &s));
    }
    for (node, _) in (0u32..).zip(&nodes.nodes) {
        let levels = hmat.caches(node).count() as u32;
        for c in hmat.caches(node) {
            let attributes = levels
                | u32::from(c.level) << 4
                | (c.associativity as u32) << 8
                | (c.policy as u32) << 12
                | u32::from(c.line) << 16;
            let mut s = [node, 0].map(u32::to_le_bytes).concat();
            s.extend(c.size.to_le_bytes());
            s.extend(attributes.to_le_bytes());
            s.extend([0; 4]);
            b.extend(structure(2, &s));
        }
    }
    table(b"HMAT", 2, &b)
}

/// What the base of a table's entries is told in.
enum Unit {
    Latency,
    Bandwidth,
}

impl Unit {
    /// Nanoseconds to picoseconds, bytes to MiB.
    fn base(&self, base: u64) -> u64 {
        match self {
            Self::Latency => base.saturating_mul(1000),
            Self::Bandwidth => base >> 20,
        }
    }
}

fn entries(values: &LocalityTable, base: u64, initiators: &[u16], targets: &[u16]) -> Vec<u8> {
    let pairs = initiators.iter().flat_map(|i| targets.iter().map(move |t| (*i, *t)));
    pairs.flat_map(|(i, t)| ((values.value(i, t) / base) as u16).to_le_bytes()).collect()
}

/// The frame of a structure of the HMAT.
fn structure(kind: u16, body: &[u8]) -> Vec<u8> {
    const FRAME: usize = 8;
    let mut s = kind.to_le_bytes().to_vec();
    s.extend([0; 2]);
    s.extend(((FRAME + body.len()) as u32).to_le_bytes());
    s.extend(body);
    s
}

#[cfg(test)]
mod tests {
    use super::*;
    use gearbox_core::machine::hmat::{Associativity, Cache, DataType, Hierarchy, Locality, WritePolicy};
    use gearbox_core::machine::numa::{NodeOption, Numa, NumaOption};
    use gearbox_core::object::UserObjects;
    use gearbox_core::x86::topology::Topology;

    const HEADER: usize = super::super::table::HEADER;

    fn word(b: &[u8], at: usize) -> u16 {
        u16::from_le_bytes([b[at], b[at + 1]])
    }
    fn dword(b: &[u8], at: usize) -> u32 {
        u32::from_le_bytes(b[at..at + 4].try_into().unwrap())
    }

    #[test]
    fn affinities() {
        let processors = [0, 300].map(|apic_id| Processor { apic_id, present: true });
        let memory = vec![NodeMemory { node: 1, base: 1 << 32, len: 4096 }];
        let t = srat(&processors, &NumaPlatform { nodes: NumaNodes::default(), processors: vec![0, 1], memory });
        let b = &t[HEADER..];
        assert_eq!((dword(b, 0), b.len()), (1, 12 + 16 + 24 + 40));
        assert_eq!(b[12..20], [0, 16, 0, 0, 1, 0, 0, 0]);
        assert_eq!((b[28], dword(b, 32), dword(b, 36)), (2, 1, 300));
        assert_eq!((b[52], dword(b, 54), dword(b, 60), dword(b, 64), dword(b, 68)), (1, 1, 0, 1, 4096));
    }

    #[test]
    fn distances() {
        let t = slit(&[vec![10, 20], vec![21, 10]]);
        assert_eq!(t[HEADER..], [2, 0, 0, 0, 0, 0, 0, 0, 10, 20, 21, 10]);
    }

    #[test]
    fn latencies_and_caches() {
        let t = Topology::default();
        let mut numa = Numa::new(crate::boards::machine_types()[0], true);
        let node = |cpus: &[u32], initiator| {
            NumaOption::Node(NodeOption { cpus: cpus.to_vec(), initiator, ..NodeOption::default() })
        };
        let latency = |target, ns| Locality {
            initiator: 0,
            target,
            hierarchy: Hierarchy::Memory,
            data_type: DataType::AccessLatency,
            latency: Some(ns),
            bandwidth: None,
        };
        let bandwidth =
            Locality { data_type: DataType::AccessBandwidth, latency: None, bandwidth: Some(6 << 20), ..latency(1, 0) };
        let (associativity, policy) = (Associativity::Direct, WritePolicy::WriteBack);
        for option in [
            node(&[0], None),
            node(&[], Some(0)),
            NumaOption::Locality(latency(0, 20)),
            NumaOption::Locality(latency(1, 300)),
            NumaOption::Locality(bandwidth),
            NumaOption::Cache(Cache { node: 1, size: 10240, level: 1, associativity, policy, line: 8 }),
        ] {
            numa.add(&option, &t).unwrap();
        }
        let nodes = numa.complete(&t, 0, &UserObjects::default()).unwrap();
        let table = hmat(&nodes, nodes.hmat.as_ref().unwrap());
        let b = &table[HEADER + 4..];
        assert_eq!((dword(b, 4), word(b, 8), dword(b, 12), dword(b, 16)), (40, 1, 0, 0));
        assert_eq!((word(b, 48), dword(b, 52), dword(b, 56)), (1, 0, 1));
        let l = &b[80..];
        assert_eq!((word(l, 0), dword(l, 4), l[8], l[9], dword(l, 12), dword(l, 16)), (1, 48, 0, 0, 1, 2));
        assert_eq!((dword(l, 24), word(l, 44), word(l, 46)), (10_000, 2, 30));
        let bw = &l[48..];
        assert_eq!((bw[9], dword(bw, 24), word(bw, 44), word(bw, 46)), (3, 2, 0, 3));
        let cache = &bw[48..];
        assert_eq!((word(cache, 0), dword(cache, 4), dword(cache, 8), dword(cache, 16)), (2, 32, 1, 10240));
        assert_eq!((dword(cache, 24), cache.len()), (0x0008_1111, 32));
    }
}
