//! Latencies, bandwidths and memory-side caches of NUMA nodes (`-numa hmat-lb`, `-numa hmat-cache`), for ACPI's heterogeneous memory attribute table
//! (ACPI 6.4, 5.2.27).

use super::numa::{NumaError, refuse};
use std::collections::BTreeMap;

const MIB: u64 = 1 << 20;
/// Levels of memory-side caches: 1 to this.
const MAX_LEVEL: u8 = 3;
/// Entries of the table are 16 bits; this value says that there is no access.
const UNREACHABLE: u64 = 0xffff;

/// What a latency or bandwidth is about; the discriminant is that of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Hierarchy {
    Memory,
    FirstLevel,
    SecondLevel,
    ThirdLevel,
}

impl Hierarchy {
    /// QEMU's names.
    pub const NAMES: [(&str, Self); 4] = [
        ("memory", Self::Memory),
        ("first-level", Self::FirstLevel),
        ("second-level", Self::SecondLevel),
        ("third-level", Self::ThirdLevel),
    ];
}

/// Which latency or bandwidth it is; the discriminant is that of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum DataType {
    AccessLatency,
    ReadLatency,
    WriteLatency,
    AccessBandwidth,
    ReadBandwidth,
    WriteBandwidth,
}

impl DataType {
    /// QEMU's names.
    pub const NAMES: [(&str, Self); 6] = [
        ("access-latency", Self::AccessLatency),
        ("read-latency", Self::ReadLatency),
        ("write-latency", Self::WriteLatency),
        ("access-bandwidth", Self::AccessBandwidth),
        ("read-bandwidth", Self::ReadBandwidth),
        ("write-bandwidth", Self::WriteBandwidth),
    ];
    /// It is a latency.
    pub fn is_latency(self) -> bool {
        self <= Self::WriteLatency
    }
}

/// `-numa hmat-lb`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Locality {
    /// Node of the CPUs.
    pub initiator: u16,
    /// Node of the memory.
    pub target: u16,
    /// `hierarchy`
    pub hierarchy: Hierarchy,
    /// `data-type`
    pub data_type: DataType,
    /// Nanoseconds.
    pub latency: Option<u64>,
    /// Bytes in a second.
    pub bandwidth: Option<u64>,
}

/// How a cache finds its lines; the discriminant is that of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Associativity {
    None,
    Direct,
    Complex,
}

impl Associativity {
    /// QEMU's names.
    pub const NAMES: [(&str, Self); 3] = [("none", Self::None), ("direct", Self::Direct), ("complex", Self::Complex)];
}

/// How a cache writes; the discriminant is that of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum WritePolicy {
    None,
    WriteBack,
    WriteThrough,
}

impl WritePolicy {
    /// QEMU's names.
    pub const NAMES: [(&str, Self); 3] =
        [("none", Self::None), ("write-back", Self::WriteBack), ("write-through", Self::WriteThrough)];
}

/// `-numa hmat-cache`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cache {
    /// Node of the memory that it is in front of.
    pub node: u32,
    /// Bytes.
    pub size: u64,
    /// 1 to 3.
    pub level: u8,
    /// How it finds its lines.
    pub associativity: Associativity,
    /// How it writes.
    pub policy: WritePolicy,
    /// Bytes of a line.
    pub line: u16,
}

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hmat {
    tables: BTreeMap<(Hierarchy, DataType), LocalityTable>,
    caches: BTreeMap<(u32, u8), Cache>,
}

/// One latency or bandwidth, for pairs of nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalityTable(BTreeMap<(u16, u16), u64>);

impl LocalityTable {
    /// What an entry is a multiple of: the largest power of ten (latencies) or two (bandwidths) of which all values are multiples.
    pub fn base(&self, data_type: DataType) -> u64 {
        let values = self.0.values().copied().filter(|v| *v != 0);
        let unit = |value: u64| {
            if !data_type.is_latency() {
                return 1 << value.trailing_zeros();
            }
            let divides = |power: &u64| value.is_multiple_of(*power);
            std::iter::successors(Some(1u64), |p| p.checked_mul(10)).take_while(divides).last().unwrap_or(1)
        };
        values.map(unit).min().unwrap_or(1)
    }
    /// The value for a pair of nodes, initiator and target, or 0.
    pub fn value(&self, initiator: u16, target: u16) -> u64 {
        self.0.get(&(initiator, target)).copied().unwrap_or(0)
    }
    fn is_given_for(&self, target: u16) -> bool {
        self.0.iter().any(|((_, t), value)| *t == target && *value != 0)
    }
}

impl Hmat {
    /// Latencies and bandwidths, by what they are.
    pub fn tables(&self) -> impl Iterator<Item = (Hierarchy, DataType, &LocalityTable)> {
        self.tables.iter().map(|((hierarchy, data_type), table)| (*hierarchy, *data_type, table))
    }
    /// The caches of a node, by level.
    pub fn caches(&self, node: u32) -> impl Iterator<Item = &Cache> {
        self.caches.range((node, 0)..=(node, u8::MAX)).map(|(_, cache)| cache)
    }

    pub(super) fn add_locality(&mut self, l: &Locality) -> Result<(), NumaError> {
        let (given, missing, other, kind) = match l.data_type.is_latency() {
            true => (l.latency, "latency", l.bandwidth.map(|_| "bandwidth"), "latency"),
            false => (l.bandwidth, "bandwidth", l.latency.map(|_| "latency"), "bandwidth"),
        };
        let Some(value) = given else { return refuse(format!("Missing '{missing}' option")) };
        if let Some(other) = other {
            return refuse(format!("Invalid option '{other}' since the data type is {kind}"));
        }
        let pair = format!("initiator={} and target={}", l.initiator, l.target);
        if kind == "bandwidth" && !value.is_multiple_of(MIB) {
            return refuse(format!("Bandwidth {value} between {pair} should be 1MB aligned"));
        }
        let table = self.tables.entry((l.hierarchy, l.data_type)).or_default();
        if table.0.insert((l.initiator, l.target), value).is_some() {
            return refuse(format!("Duplicate configuration of the {kind} for {pair}"));
        }
        let base = table.base(l.data_type);
        if table.0.values().any(|v| v / base >= UNREACHABLE) {
            let most = UNREACHABLE - 1;
            return refuse(format!(
                "The {kind} {value} between {pair} should not differ from previously entered values on more than {most}"
            ));
        }
        Ok(())
    }

    pub(super) fn add_cache(&mut self, c: &Cache) -> Result<(), NumaError> {
        let (node, level, size) = (c.node, c.level, c.size);
        let target = u16::try_from(node).unwrap_or(u16::MAX);
        let given = |latency: bool| {
            self.tables.iter().any(|((_, t), table)| t.is_latency() == latency && table.is_given_for(target))
        };
        if !given(true) || !given(false) {
            return refuse(format!(
                "The latency and bandwidth information of node-id={node} should be provided before memory side cache attributes"
            ));
        }
        if !(1..=MAX_LEVEL).contains(&level) {
            return refuse(format!(
                "Invalid level={level}, it should be larger than 0 and less than or equal to {MAX_LEVEL}"
            ));
        }
        if self.caches.contains_key(&(node, level)) {
            return refuse(format!("Duplicate configuration of the side cache for node-id={node} and level={level}"));
        }
        if level > 1 {
            let below = level - 1;
            match self.caches.get(&(node, below)) {
                None => return refuse(format!("Cache level={below} shall be defined first")),
                Some(b) if size <= b.size => {
                    return refuse(format!(
                        "Invalid size={size}, the size of level={level} should be larger than the size({}) of level={below}",
                        b.size
                    ));
                }
                Some(_) => {}
            }
        }
        self.caches.insert((node, level), *c);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latency(target: u16, ns: u64) -> Locality {
        Locality {
            initiator: 0,
            target,
            hierarchy: Hierarchy::Memory,
            data_type: DataType::AccessLatency,
            latency: Some(ns),
            bandwidth: None,
        }
    }
    fn bandwidth(target: u16, bytes: u64) -> Locality {
        Locality { data_type: DataType::AccessBandwidth, latency: None, bandwidth: Some(bytes), ..latency(target, 0) }
    }
    fn cache(node: u32, level: u8, size: u64) -> Cache {
        Cache { node, size, level, associativity: Associativity::Direct, policy: WritePolicy::WriteBack, line: 8 }
    }

    #[test]
    fn values_share_a_base_of_16_bits() {
        let mut h = Hmat::default();
        h.add_locality(&latency(0, 1)).unwrap();
        assert!(h.clone().add_locality(&latency(1, 65535)).is_err());
        assert!(h.clone().add_locality(&latency(0, 5)).unwrap_err().0.starts_with("Duplicate"));
        h.add_locality(&latency(1, 65534)).unwrap();
        h.add_locality(&bandwidth(0, 65534 * MIB)).unwrap();
        h.add_locality(&bandwidth(1, 32767 * MIB)).unwrap();
        let tables: Vec<_> = h.tables().map(|(_, kind, t)| (kind, t.base(kind), t.value(0, 0))).collect();
        assert_eq!(tables, [(DataType::AccessLatency, 1, 1), (DataType::AccessBandwidth, MIB, 65534 * MIB)]);
        let mut h = Hmat::default();
        h.add_locality(&bandwidth(0, 0)).unwrap();
        assert!(h.add_locality(&bandwidth(1, 65535 * MIB)).is_err());
        let mut h = Hmat::default();
        h.add_locality(&latency(0, 4000)).unwrap();
        h.add_locality(&latency(1, 300)).unwrap();
        assert_eq!(h.tables().next().unwrap().2.base(DataType::AccessLatency), 100);
    }

    #[test]
    fn values_fit_their_type() {
        let mut h = Hmat::default();
        let mut error = |l: &Locality| h.add_locality(l).unwrap_err().0;
        assert_eq!(error(&Locality { latency: None, ..latency(0, 0) }), "Missing 'latency' option");
        assert!(error(&Locality { bandwidth: Some(1), ..latency(0, 5) }).starts_with("Invalid option 'bandwidth'"));
        assert!(error(&bandwidth(0, MIB - 1)).ends_with("1MB aligned"));
    }

    #[test]
    fn caches_grow_with_their_level_and_come_last() {
        let mut h = Hmat::default();
        assert!(h.add_cache(&cache(0, 1, 10240)).unwrap_err().0.contains("should be provided before"));
        h.add_locality(&latency(0, 1)).unwrap();
        h.add_locality(&bandwidth(0, MIB)).unwrap();
        for level in [0, 4] {
            assert!(h.add_cache(&cache(0, level, 1)).unwrap_err().0.starts_with("Invalid level"));
        }
        assert!(h.add_cache(&cache(0, 2, 1)).unwrap_err().0.contains("defined first"));
        h.add_cache(&cache(0, 1, 10240)).unwrap();
        assert!(h.add_cache(&cache(0, 1, 10240)).unwrap_err().0.starts_with("Duplicate"));
        assert!(h.add_cache(&cache(0, 2, 10240)).unwrap_err().0.contains("larger than the size(10240)"));
        h.add_cache(&cache(0, 2, 20480)).unwrap();
        assert_eq!((h.caches(0).count(), h.caches(1).count()), (2, 0));
    }
}
