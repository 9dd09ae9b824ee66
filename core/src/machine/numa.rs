//! NUMA: which memory and which CPUs are near each other (`-numa`, `set-numa-node`).
//!
//! A [`Numa`] collects what the user says, option by option, before the machine exists; [`Numa::complete`] checks the whole. Rules, defaults and texts
//! are QEMU's (`docs/system/invocation`, `-numa`).

use super::config::MachineType;
use super::hmat::{Cache, Hmat, Locality};
use crate::backend::memory::MemoryBackend;
use crate::object::UserObjects;
use crate::x86::cpu_object::CpuPlace;
use crate::x86::topology::Topology;
use std::collections::BTreeMap;

/// Most nodes of a machine.
pub const MAX_NODES: u16 = 128;
/// Most CPUs that are looked at when they are assigned to nodes: more than any machine has.
const MAX_CPUS: u32 = 4096;
/// Distance of a node to itself (ACPI 6.4, 5.2.17).
const LOCAL: u8 = 10;
/// Distance of two nodes of which nothing is said.
const REMOTE: u8 = 20;

/// One `-numa` or `set-numa-node`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NumaOption {
    /// `node`
    Node(NodeOption),
    /// `dist`
    Distance {
        /// From this node
        src: u16,
        /// to this one
        dst: u16,
        /// it is so far.
        val: u8,
    },
    /// `cpu`
    Cpu(CpuOption),
    /// `hmat-lb`
    Locality(Locality),
    /// `hmat-cache`
    Cache(Cache),
}

/// `-numa node`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NodeOption {
    /// `nodeid`; the number of nodes so far if it is not given.
    pub nodeid: Option<u16>,
    /// `cpus`: indexes of CPUs.
    pub cpus: Vec<u32>,
    /// `mem`: bytes.
    pub mem: Option<u64>,
    /// `memdev`: id of a memory back end.
    pub memdev: Option<String>,
    /// `initiator`: the node whose CPUs have the best access.
    pub initiator: Option<u16>,
}

/// `-numa cpu`: all CPUs that have what is given belong to a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CpuOption {
    /// `node-id`
    pub node: Option<u16>,
    /// `socket-id`
    pub socket: Option<u32>,
    /// `die-id`
    pub die: Option<u32>,
    /// `core-id`
    pub core: Option<u32>,
    /// `thread-id`
    pub thread: Option<u32>,
}

/// Why an option was refused. The texts are QEMU's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NumaError(pub(super) String);

/// The nodes of a machine as the user describes them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numa {
    /// `-machine hmat=on`: there is a table of latencies and bandwidths.
    hmat_enabled: bool,
    /// `mem=` may be given: machines up to version 5.0.
    mem_supported: bool,
    nodes: BTreeMap<u16, Node>,
    /// Node of a CPU, by its local APIC id.
    cpus: BTreeMap<u32, u16>,
    distances: BTreeMap<(u16, u16), u8>,
    hmat: Hmat,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Node {
    memory: Memory,
    initiator: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Memory {
    None,
    Bytes(u64),
    Backend(String),
}

/// A node that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NumaNode {
    /// Bytes of memory.
    pub memory: u64,
    /// The back end that they are in.
    pub memdev: Option<String>,
    /// The node whose CPUs have the best access, if it is known.
    pub initiator: Option<u16>,
    /// It has CPUs.
    pub has_cpus: bool,
}

/// The nodes of a machine, complete: node `n` is the `n`th.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NumaNodes {
    /// The nodes.
    pub nodes: Vec<NumaNode>,
    /// Distance from the first to the second node, if the user gave any.
    pub distances: Option<Vec<Vec<u8>>>,
    /// Latencies, bandwidths and caches, if they are told of.
    pub hmat: Option<Hmat>,
}

pub(super) fn refuse<T>(text: String) -> Result<T, NumaError> {
    Err(NumaError(text))
}

impl Numa {
    /// For a machine of this type; `hmat` as in `-machine hmat=`.
    pub fn new(machine: &dyn MachineType, hmat: bool) -> Self {
        Self { hmat_enabled: hmat, mem_supported: machine.numa_mem_supported(), ..Self::default() }
    }
    /// Nothing was said of nodes: the machine has none.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Takes one option.
    ///
    /// # Errors
    /// It contradicts itself, what was said before, or the machine. Nothing has changed then.
    pub fn add(&mut self, option: &NumaOption, topology: &Topology) -> Result<(), NumaError> {
        let mut next = self.clone();
        match option {
            NumaOption::Node(node) => next.add_node(node, topology),
            NumaOption::Distance { src, dst, val } => next.add_distance(*src, *dst, *val),
            NumaOption::Cpu(cpu) => next.add_cpu(cpu, topology),
            NumaOption::Locality(locality) => next.add_locality(locality),
            NumaOption::Cache(cache) => next.add_cache(cache),
        }?;
        *self = next;
        Ok(())
    }
    fn present(&self, node: u16) -> bool {
        self.nodes.contains_key(&node)
    }
    fn has_cpus(&self, node: u16) -> bool {
        self.cpus.values().any(|n| *n == node)
    }
    fn hmat_only(&self) -> Result<(), NumaError> {
        if self.hmat_enabled {
            return Ok(());
        }
        refuse(
            "ACPI Heterogeneous Memory Attribute Table (HMAT) is disabled, enable it with -machine hmat=on before using any of \
             hmat specific options"
                .into(),
        )
    }

    fn add_node(&mut self, option: &NodeOption, topology: &Topology) -> Result<(), NumaError> {
        let id = option.nodeid.unwrap_or(self.nodes.len() as u16);
        if id >= MAX_NODES {
            return refuse(format!("Max number of NUMA nodes reached: {id}"));
        }
        if self.present(id) {
            return refuse(format!("Duplicate NUMA nodeid: {id}"));
        }
        if let Some(initiator) = option.initiator {
            self.hmat_only()?;
            if initiator >= MAX_NODES {
                let most = MAX_NODES - 1;
                return refuse(format!("The initiator id {initiator} expects an integer between 0 and {most}"));
            }
        }
        let memory = match (option.mem, &option.memdev) {
            (None, None) => Memory::None,
            (Some(_), _) if !self.mem_supported => {
                return refuse("Parameter -numa node,mem is not supported by this machine type".into());
            }
            (Some(bytes), None) => Memory::Bytes(bytes),
            (None, Some(id)) => Memory::Backend(id.clone()),
            (Some(_), Some(_)) => return refuse(MIXED.into()),
        };
        let mixes = |other: &Node| {
            matches!(
                (&memory, &other.memory),
                (Memory::Bytes(_), Memory::Backend(_)) | (Memory::Backend(_), Memory::Bytes(_))
            )
        };
        if self.nodes.values().any(mixes) {
            return refuse(MIXED.into());
        }
        self.nodes.insert(id, Node { memory, initiator: option.initiator });
        for index in &option.cpus {
            let all = topology.total();
            if *index >= all {
                return refuse(format!("CPU index ({index}) should be smaller than maxcpus ({all})"));
            }
            self.assign(&topology.place(topology.apic_id(*index)), id)?;
        }
        Ok(())
    }
    fn assign(&mut self, place: &CpuPlace, node: u16) -> Result<(), NumaError> {
        if let Some(other) = self.cpus.insert(place.apic_id, node).filter(|other| *other != node) {
            return refuse(format!("CPU is already assigned to node-id: {other}"));
        }
        match self.nodes.get_mut(&node) {
            Some(Node { initiator: Some(initiator), .. }) if self.hmat_enabled && *initiator != node => {
                refuse(format!("The initiator of CPU NUMA node {node} should be itself (got {initiator})"))
            }
            Some(n) if self.hmat_enabled => {
                n.initiator = Some(node);
                Ok(())
            }
            _ => Ok(()),
        }
    }
    fn add_cpu(&mut self, option: &CpuOption, topology: &Topology) -> Result<(), NumaError> {
        let Some(node) = option.node else { return refuse("Missing mandatory node-id property".into()) };
        if !self.present(node) {
            return refuse(format!(
                "Invalid node-id={node}, NUMA node must be defined with -numa node,nodeid=ID before it's used with -numa cpu,node-id=ID"
            ));
        }
        if option.die.is_some_and(|die| die != CpuPlace::DIE) {
            return refuse("die-id is not supported".into());
        }
        let fits = |asked: Option<u32>, has: u32| asked.is_none_or(|asked| asked == has);
        let all = (0..topology.total().min(MAX_CPUS)).map(|index| topology.place(topology.apic_id(index)));
        let meant: Vec<_> = all
            .filter(|p| fits(option.socket, p.socket) && fits(option.core, p.core) && fits(option.thread, p.thread))
            .collect();
        if meant.is_empty() {
            return refuse("no match found".into());
        }
        meant.iter().try_for_each(|place| self.assign(place, node))
    }
    fn add_distance(&mut self, src: u16, dst: u16, val: u8) -> Result<(), NumaError> {
        for (name, node) in [("src", src), ("dst", dst)] {
            if node >= MAX_NODES {
                return refuse(format!("Parameter '{name}' expects an integer between 0 and {}", MAX_NODES - 1));
            }
        }
        if !self.present(src) || !self.present(dst) {
            return refuse(
                "Source/Destination NUMA node is missing. Please use '-numa node' option to declare it first.".into(),
            );
        }
        if val < LOCAL {
            return refuse(format!("NUMA distance ({val}) is invalid, it shouldn't be less than {LOCAL}."));
        }
        if src == dst && val != LOCAL {
            return refuse(format!("Local distance of node {src} should be {LOCAL}."));
        }
        self.distances.insert((src, dst), val);
        Ok(())
    }
    fn add_locality(&mut self, locality: &Locality) -> Result<(), NumaError> {
        self.hmat_only()?;
        let count = self.nodes.len();
        for (name, node) in [("initiator", locality.initiator), ("target", locality.target)] {
            if usize::from(node) >= count {
                return refuse(format!("Invalid {name}={node}, it should be less than {count}"));
            }
        }
        let (initiator, target) = (locality.initiator, locality.target);
        if !self.has_cpus(initiator) {
            return refuse(format!("Invalid initiator={initiator}, it isn't an initiator proximity domain"));
        }
        if !self.present(target) {
            return refuse(format!("The target={target} should point to an existing node"));
        }
        self.hmat.add_locality(locality)
    }
    fn add_cache(&mut self, cache: &Cache) -> Result<(), NumaError> {
        self.hmat_only()?;
        let count = self.nodes.len() as u32;
        if cache.node >= count {
            return refuse(format!("Invalid node-id={}, it should be less than {count}", cache.node));
        }
        self.hmat.add_cache(cache)
    }

    /// The node of a CPU: the one that was said; if nothing was said of any CPU, sockets take turns; node 0 otherwise.
    pub fn node_of(&self, place: &CpuPlace) -> Option<u32> {
        let count = u32::try_from(self.nodes.len()).ok().filter(|n| *n > 0)?;
        let said = self.cpus.get(&place.apic_id).map(|n| u32::from(*n));
        Some(said.unwrap_or(if self.cpus.is_empty() { place.socket % count } else { 0 }))
    }

    /// The nodes of a machine with `ram_size` bytes of RAM, whose memory back ends are among `objects`.
    ///
    /// # Errors
    /// Nodes, memory or distances are missing.
    pub fn complete(&self, topology: &Topology, ram_size: u64, objects: &UserObjects) -> Result<NumaNodes, NumaError> {
        let count = self.nodes.len() as u16;
        let highest = self.nodes.keys().last().map_or(0, |id| id + 1);
        if let Some(missing) = (0..highest).rev().find(|id| !self.present(*id)) {
            return refuse(format!("numa: Node ID missing: {missing}"));
        }
        if count == 0 {
            return Ok(NumaNodes::default());
        }
        let cpus = (0..topology.total().min(MAX_CPUS)).map(|index| topology.place(topology.apic_id(index)));
        let with_cpus: Vec<_> = cpus.filter_map(|place| self.node_of(&place)).collect();
        let mut nodes = Vec::new();
        for (id, node) in &self.nodes {
            let (memory, memdev) = match &node.memory {
                Memory::None => (0, None),
                Memory::Bytes(bytes) => (*bytes, None),
                Memory::Backend(id) => {
                    let Some(backend) = objects.get::<MemoryBackend>(id) else {
                        return refuse(format!("memdev={id} is ambiguous"));
                    };
                    (backend.block.size(), Some(id.clone()))
                }
            };
            let has_cpus = with_cpus.contains(&u32::from(*id));
            let initiator = if self.hmat_enabled && has_cpus { Some(*id) } else { node.initiator };
            nodes.push(NumaNode { memory, memdev, initiator, has_cpus });
        }
        let total = nodes.iter().try_fold(0u64, |sum, n| sum.checked_add(n.memory));
        if total != Some(ram_size) {
            let total = total.unwrap_or(u64::MAX);
            return refuse(format!("total memory for NUMA nodes ({total:#x}) should equal RAM size ({ram_size:#x})"));
        }
        if self.hmat_enabled {
            check_initiators(&nodes)?;
        }
        let distances = if self.distances.is_empty() { None } else { Some(self.all_distances(count)?) };
        Ok(NumaNodes { nodes, distances, hmat: self.hmat_enabled.then(|| self.hmat.clone()) })
    }
    /// Distances in both directions are the same unless one pair says otherwise; then all must be said.
    fn all_distances(&self, count: u16) -> Result<Vec<Vec<u8>>, NumaError> {
        let said = |src, dst| self.distances.get(&(src, dst)).copied();
        let pairs = || (0..count).flat_map(|src| (0..count).map(move |dst| (src, dst))).filter(|(src, dst)| src != dst);
        if let Some((src, dst)) = pairs().find(|&(src, dst)| said(src, dst).or(said(dst, src)).is_none()) {
            return refuse(format!(
                "The distance between node {src} and {dst} is missing, at least one distance value between each nodes should be provided."
            ));
        }
        let differ = |(src, dst)| said(src, dst).zip(said(dst, src)).is_some_and(|(there, back)| there != back);
        if pairs().any(differ) && pairs().any(|(src, dst)| said(src, dst).is_none()) {
            return refuse(
                "At least one asymmetrical pair of distances is given, please provide distances for both directions of all node pairs."
                    .into(),
            );
        }
        let distance = |src, dst| match src == dst {
            true => LOCAL,
            false => said(src, dst).or(said(dst, src)).unwrap_or(REMOTE),
        };
        Ok((0..count).map(|src| (0..count).map(|dst| distance(src, dst)).collect()).collect())
    }
}

const MIXED: &str = "numa configuration should use either mem= or memdev=,mixing both is not allowed";

/// Every node has an initiator, which is there and has CPUs.
fn check_initiators(nodes: &[NumaNode]) -> Result<(), NumaError> {
    for (id, node) in nodes.iter().enumerate() {
        match node.initiator {
            None => {
                return refuse(format!(
                    "The initiator of NUMA node {id} is missing, use '-numa node,initiator' option to declare it"
                ));
            }
            Some(initiator) if nodes.get(usize::from(initiator)).is_none() => {
                return refuse(format!(
                    "NUMA node {initiator} is missing, use '-numa node' option to declare it first"
                ));
            }
            Some(initiator) if !nodes[usize::from(initiator)].has_cpus => {
                return refuse(format!("The initiator of NUMA node {id} is invalid"));
            }
            Some(_) => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn flat(cpus: u32) -> Topology {
        Topology { cores: cpus, ..Topology::default() }
    }
    fn node(cpus: std::ops::Range<u32>, memdev: Option<&str>) -> NumaOption {
        NumaOption::Node(NodeOption {
            cpus: cpus.collect(),
            memdev: memdev.map(str::to_owned),
            ..NodeOption::default()
        })
    }
    fn nodes_of(numa: &Numa, t: &Topology) -> Vec<u32> {
        (0..t.total()).map(|n| numa.node_of(&t.place(t.apic_id(n))).unwrap()).collect()
    }
    fn with(options: &[NumaOption], t: &Topology) -> Numa {
        let mut numa = Numa::default();
        options.iter().for_each(|o| numa.add(o, t).unwrap());
        numa
    }

    #[test]
    fn cpus_by_index_the_rest_on_node_0() {
        let t = flat(8);
        let numa = with(&[node(0..2, None), node(4..6, None)], &t);
        assert_eq!(nodes_of(&numa, &t), [0, 0, 0, 0, 1, 1, 0, 0]);
        let sockets = Topology { sockets: 8, ..Topology::default() };
        assert_eq!(
            nodes_of(&with(&[node(0..0, None), node(0..0, None)], &sockets), &sockets),
            [0, 1, 0, 1, 0, 1, 0, 1]
        );
        assert_eq!(Numa::default().node_of(&t.place(0)), None);
    }

    #[test]
    fn cpus_by_place() {
        let t = Topology { sockets: 2, cores: 2, threads: 2 };
        let cpu = |node, socket, core, thread| {
            NumaOption::Cpu(CpuOption { node: Some(node), socket: Some(socket), die: None, core, thread })
        };
        let mut numa = with(
            &[
                node(0..0, None),
                node(0..0, None),
                cpu(1, 0, None, None),
                cpu(0, 1, Some(0), None),
                cpu(0, 1, Some(1), Some(0)),
                cpu(1, 1, Some(1), Some(1)),
            ],
            &t,
        );
        assert_eq!(nodes_of(&numa, &t), [1, 1, 1, 1, 0, 0, 0, 1]);
        let mut error = |option: &NumaOption| numa.add(option, &t).unwrap_err().to_string();
        assert_eq!(error(&cpu(0, 0, Some(0), Some(0))), "CPU is already assigned to node-id: 1");
        assert_eq!(error(&cpu(0, 2, None, None)), "no match found");
        assert!(error(&cpu(5, 0, None, None)).starts_with("Invalid node-id=5"));
        assert_eq!(error(&node(8..9, None)), "CPU index (8) should be smaller than maxcpus (8)");
        let memory = NumaOption::Node(NodeOption { mem: Some(1), ..NodeOption::default() });
        assert!(error(&memory).contains("not supported by this machine type"));
        let initiator = NumaOption::Node(NodeOption { initiator: Some(0), ..NodeOption::default() });
        assert!(error(&initiator).contains("hmat=on"));
        let taken = NumaOption::Node(NodeOption { nodeid: Some(1), ..NodeOption::default() });
        assert_eq!(error(&taken), "Duplicate NUMA nodeid: 1");
        assert_eq!(nodes_of(&numa, &t), [1, 1, 1, 1, 0, 0, 0, 1], "nothing has changed");
    }

    #[test]
    fn memory_and_ids_must_be_complete() {
        let t = flat(2);
        let objects = UserObjects::default();
        let size = ("size".to_owned(), (64 * MIB).into());
        objects.add("memory-backend-ram", "m0", std::slice::from_ref(&size)).unwrap();
        let mut numa = with(&[node(0..1, Some("m0")), node(1..2, None)], &t);
        let nodes = numa.complete(&t, 64 * MIB, &objects).unwrap();
        assert_eq!((nodes.nodes[0].memory, nodes.nodes[1].memory, nodes.distances), (64 * MIB, 0, None));
        let e = numa.complete(&t, 128 * MIB, &objects).unwrap_err().to_string();
        assert_eq!(e, "total memory for NUMA nodes (0x4000000) should equal RAM size (0x8000000)");
        numa.add(&NumaOption::Node(NodeOption { nodeid: Some(4), ..NodeOption::default() }), &t).unwrap();
        let e = numa.complete(&t, 64 * MIB, &objects).unwrap_err().to_string();
        assert_eq!(e, "numa: Node ID missing: 3");
        assert!(with(&[node(0..1, Some("none"))], &t).complete(&t, 0, &objects).is_err());
        numa.mem_supported = true;
        let mixed = NumaOption::Node(NodeOption { mem: Some(1), ..NodeOption::default() });
        assert!(numa.add(&mixed, &t).unwrap_err().to_string().contains("mixing both"));
    }

    #[test]
    fn distances() {
        let t = flat(3);
        let d = |src, dst, val| NumaOption::Distance { src, dst, val };
        let three = [node(0..1, None), node(1..2, None), node(2..3, None)];
        let mut numa = with(&three, &t);
        for (option, part) in [
            (d(0, 1, 9), "shouldn't be less than 10"),
            (d(1, 1, 20), "Local distance of node 1"),
            (d(0, 3, 20), "is missing"),
            (d(128, 0, 20), "'src' expects"),
        ] {
            assert!(numa.add(&option, &t).unwrap_err().to_string().contains(part), "{option:?}");
        }
        numa.add(&d(0, 1, 20), &t).unwrap();
        let objects = UserObjects::default();
        assert!(
            numa.complete(&t, 0, &objects).unwrap_err().to_string().starts_with("The distance between node 0 and 2")
        );
        numa.add(&d(2, 0, 30), &t).unwrap();
        numa.add(&d(1, 2, 40), &t).unwrap();
        let all = numa.complete(&t, 0, &objects).unwrap().distances.unwrap();
        assert_eq!(all, [[10, 20, 30], [20, 10, 40], [30, 40, 10]]);
        numa.add(&d(1, 0, 21), &t).unwrap();
        assert!(numa.complete(&t, 0, &objects).unwrap_err().to_string().contains("asymmetrical"));
    }

    #[test]
    fn initiators() {
        let t = flat(2);
        let mut numa = Numa { hmat_enabled: true, ..Numa::default() };
        numa.add(&node(0..2, None), &t).unwrap();
        let far = |initiator| NumaOption::Node(NodeOption { initiator, ..NodeOption::default() });
        let objects = UserObjects::default();
        let complete = |last| {
            let mut numa = numa.clone();
            numa.add(&far(last), &t).unwrap();
            numa.complete(&t, 0, &objects).map(|n| n.nodes[1].initiator).map_err(|e| e.to_string())
        };
        assert_eq!(complete(Some(0)), Ok(Some(0)));
        assert!(complete(None).unwrap_err().contains("is missing, use"));
        assert!(complete(Some(1)).unwrap_err().contains("is invalid"));
        assert!(complete(Some(9)).unwrap_err().starts_with("NUMA node 9 is missing"));
    }
}
