//! `-numa`.

use super::properties::{Properties, unknown};
use super::{Problem, Problems};
use gearbox_core::machine::hmat::{Associativity, Cache, DataType, Hierarchy, Locality, WritePolicy};
use gearbox_core::machine::numa::{CpuOption, NodeOption, Numa, NumaOption};
use gearbox_core::object::{parse_size, parse_unsigned};
use gearbox_core::x86::topology::Topology;

/// Adds all `-numa` options to `numa`.
///
/// # Errors
/// Each that is not understood, or that the machine cannot honour.
pub fn nodes(mut numa: Numa, arguments: &[String], topology: &Topology) -> Result<Numa, Problems> {
    let mut problems = Problems::default();
    for text in arguments {
        let added = option(text).and_then(|o| numa.add(&o, topology).map_err(|e| Problem::new("numa", &**text, e)));
        problems.value(added);
    }
    problems.or(numa)
}

const KINDS: [&str; 5] = ["node", "dist", "cpu", "hmat-lb", "hmat-cache"];

fn option(text: &str) -> Result<NumaOption, Problem> {
    let mut p = Properties::parse("numa", text, Some("type"));
    let kind = p.take("type")?.unwrap_or_default();
    Ok(match &*kind {
        "node" => {
            let mut node = NodeOption {
                nodeid: number(&mut p, "nodeid")?,
                mem: size(&mut p, "mem", 20)?,
                memdev: p.take("memdev")?,
                initiator: number(&mut p, "initiator")?,
                cpus: Vec::new(),
            };
            for range in p.take_all("cpus")? {
                node.cpus.extend(cpus(&range).ok_or_else(|| p.problem(format!("'{range}' is no range of CPUs")))?);
            }
            p.end(&["nodeid", "cpus", "mem", "memdev", "initiator"])?;
            NumaOption::Node(node)
        }
        "dist" => {
            let distance = NumaOption::Distance {
                src: need(&mut p, "src")?,
                dst: need(&mut p, "dst")?,
                val: need(&mut p, "val")?,
            };
            p.end(&["src", "dst", "val"])?;
            distance
        }
        "cpu" => {
            let cpu = CpuOption {
                node: number(&mut p, "node-id")?,
                socket: number(&mut p, "socket-id")?,
                die: number(&mut p, "die-id")?,
                core: number(&mut p, "core-id")?,
                thread: number(&mut p, "thread-id")?,
            };
            p.end(&["node-id", "socket-id", "die-id", "core-id", "thread-id"])?;
            NumaOption::Cpu(cpu)
        }
        "hmat-lb" => {
            let locality = Locality {
                initiator: need(&mut p, "initiator")?,
                target: need(&mut p, "target")?,
                hierarchy: named(&mut p, "hierarchy", &Hierarchy::NAMES)?,
                data_type: named(&mut p, "data-type", &DataType::NAMES)?,
                latency: number(&mut p, "latency")?,
                bandwidth: size(&mut p, "bandwidth", 0)?,
            };
            p.end(&["initiator", "target", "hierarchy", "data-type", "latency", "bandwidth"])?;
            NumaOption::Locality(locality)
        }
        "hmat-cache" => {
            let bytes = size(&mut p, "size", 0)?;
            let cache = Cache {
                node: need(&mut p, "node-id")?,
                size: bytes.ok_or_else(|| missing(&p, "size"))?,
                level: need(&mut p, "level")?,
                associativity: named(&mut p, "associativity", &Associativity::NAMES)?,
                policy: named(&mut p, "policy", &WritePolicy::NAMES)?,
                line: need(&mut p, "line")?,
            };
            p.end(&["node-id", "size", "level", "associativity", "policy", "line"])?;
            NumaOption::Cache(cache)
        }
        other => return Err(p.problem(unknown("type", other, KINDS.into_iter()))),
    })
}

fn missing(p: &Properties, key: &str) -> Problem {
    p.problem(format!("Parameter '{key}' is missing"))
}

fn number<T: TryFrom<u64>>(p: &mut Properties, key: &str) -> Result<Option<T>, Problem> {
    let Some(text) = p.take(key)? else { return Ok(None) };
    let n = parse_unsigned(&text).and_then(|n| n.try_into().ok());
    n.map(Some).ok_or_else(|| p.problem(format!("'{key}' takes a whole number in range, not '{text}'")))
}

fn need<T: TryFrom<u64>>(p: &mut Properties, key: &str) -> Result<T, Problem> {
    number(p, key)?.ok_or_else(|| missing(p, key))
}

/// A number of bytes; without a suffix in units of `1 << shift`.
fn size(p: &mut Properties, key: &str, shift: u32) -> Result<Option<u64>, Problem> {
    let Some(text) = p.take(key)? else { return Ok(None) };
    let bytes = match parse_unsigned(&text) {
        Some(n) => n.checked_mul(1 << shift),
        None => parse_size(&text),
    };
    bytes.map(Some).ok_or_else(|| p.problem(format!("'{key}' takes a size, not '{text}'")))
}

fn named<T: Copy>(p: &mut Properties, key: &str, names: &[(&str, T)]) -> Result<T, Problem> {
    let text = p.take(key)?.ok_or_else(|| missing(p, key))?;
    let found = names.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
    found.ok_or_else(|| p.problem(unknown(key, &text, names.iter().map(|(name, _)| *name))))
}

/// `N` or `FIRST-LAST`.
fn cpus(range: &str) -> Option<std::ops::RangeInclusive<u32>> {
    /// More than any machine has.
    const MOST: u64 = 4096;
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last) = (parse_unsigned(first)?, parse_unsigned(last)?);
    (first <= last && last < MOST).then_some(first as u32..=last as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind() {
        let parsed = |text: &str| option(text).map_err(|p| p.reason);
        let node = NodeOption { nodeid: Some(1), cpus: vec![0, 1, 3], mem: Some(64 << 20), ..NodeOption::default() };
        assert_eq!(parsed("node,nodeid=1,cpus=0-1,cpus=3,mem=64"), Ok(NumaOption::Node(node.clone())));
        assert_eq!(parsed("node,nodeid=1,cpus=0-1,cpus=3,mem=64M"), Ok(NumaOption::Node(node)));
        assert_eq!(parsed("dist,src=0,dst=1,val=21"), Ok(NumaOption::Distance { src: 0, dst: 1, val: 21 }));
        let cpu = CpuOption { node: Some(0), socket: Some(1), ..CpuOption::default() };
        assert_eq!(parsed("cpu,node-id=0,socket-id=1"), Ok(NumaOption::Cpu(cpu)));
        assert!(parsed("hmat-lb,initiator=0,target=0,hierarchy=memory,data-type=access-latency,latency=5").is_ok());
        assert!(parsed("hmat-cache,node-id=0,size=10K,level=1,associativity=direct,policy=write-back,line=8").is_ok());
    }

    #[test]
    fn mistakes() {
        for (text, reason) in [
            ("nod", "unknown type 'nod'; did you mean 'node'?"),
            ("dist,src=0,dst=1", "Parameter 'val' is missing"),
            ("dist,src=0,dst=1,val=300", "'val' takes a whole number in range, not '300'"),
            ("node,cpus=3-1", "'3-1' is no range of CPUs"),
            ("node,cpus=0-99999999", "'0-99999999' is no range of CPUs"),
            ("node,mem=x", "'mem' takes a size, not 'x'"),
        ] {
            assert_eq!(option(text).map_err(|p| p.reason), Err(reason.to_owned()), "{text}");
        }
        let two = ["node".to_owned(), "dist,src=0,dst=9,val=20".to_owned(), "nonsense".to_owned()];
        assert_eq!(nodes(Numa::default(), &two, &Topology::default()).unwrap_err().iter().count(), 2);
    }
}
