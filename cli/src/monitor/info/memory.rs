//! The machine's memory and its places for CPUs, as the board was ordered.

use crate::monitor::HumanMonitor;
use crate::monitor::grammar::Arguments;
use crate::monitor::output::{Done, Failure, Output};
use std::fmt::Write;

/// `info memory_size_summary`.
pub(super) fn memory_size_summary(m: &mut HumanMonitor, _: &Arguments, out: &mut Output) -> Done {
    let summary = m.control.memory_size_summary();
    writeln!(out, "base memory: {}", summary.base_memory)?;
    summary.plugged_memory.iter().try_for_each(|n| Ok(writeln!(out, "plugged memory: {n}")?))
}

/// `info balloon`.
pub(super) fn balloon(m: &mut HumanMonitor, _: &Arguments, out: &mut Output) -> Done {
    Ok(writeln!(out, "balloon: actual={}", m.control.balloon_info()?.actual >> 20)?)
}

/// `info memdev`.
pub(super) fn memdev(m: &mut HumanMonitor, _: &Arguments, out: &mut Output) -> Done {
    for d in m.control.memdevs() {
        writeln!(out, "memory backend: {}", d.id.as_deref().unwrap_or_default())?;
        writeln!(out, "  size:  {}", d.size)?;
        writeln!(out, "  merge: {}\n  dump: {}\n  prealloc: {}\n  share: {}", d.merge, d.dump, d.prealloc, d.share)?;
        if let Some(reserve) = d.reserve {
            writeln!(out, "  reserve: {reserve}")?;
        }
        let nodes: Vec<_> = d.host_nodes.iter().map(u16::to_string).collect();
        writeln!(out, "  policy: {}\n  host nodes: {}\n", d.policy.name(), nodes.join(","))?;
    }
    Ok(())
}

/// `info hotpluggable-cpus`.
pub(super) fn hotpluggable_cpus(m: &mut HumanMonitor, _: &Arguments, out: &mut Output) -> Done {
    let places = m.control.hotpluggable_cpus()?;
    writeln!(out, "Hotpluggable CPUs:")?;
    for place in places {
        writeln!(out, "  type: \"{}\"\n  vcpus_count: \"{}\"", place.ty, place.vcpus_count)?;
        if let Some(path) = &place.qom_path {
            writeln!(out, "  qom_path: \"{path}\"")?;
        }
        writeln!(out, "  CPUInstance Properties:")?;
        let p = &place.props;
        for (name, value) in [
            ("node-id", p.node_id),
            ("socket-id", p.socket_id),
            ("die-id", p.die_id),
            ("cluster-id", p.cluster_id),
            ("core-id", p.core_id),
            ("thread-id", p.thread_id),
        ] {
            if let Some(value) = value {
                writeln!(out, "    {name}: \"{value}\"")?;
            }
        }
    }
    Ok(())
}

/// `info numa`: the nodes, with the CPUs that are there and their memory in MiB.
pub(super) fn numa(m: &mut HumanMonitor, _: &Arguments, out: &mut Output) -> Done {
    let facts = m.control.facts();
    let nodes = m.control.numa().complete(&facts.topology, facts.ram_size, &facts.objects);
    let nodes = nodes.map_err(Failure::command)?.nodes;
    let cpus = if nodes.is_empty() { Vec::new() } else { m.control.cpus_fast()? };
    writeln!(out, "{} nodes", nodes.len())?;
    for (n, node) in (0..).zip(&nodes) {
        let here = cpus.iter().filter(|cpu| cpu.props.as_ref().is_some_and(|p| p.node_id == Some(n)));
        let here: String = here.map(|cpu| format!(" {}", cpu.cpu_index)).collect();
        writeln!(out, "node {n} cpus:{here}\nnode {n} size: {} MB\nnode {n} plugged: 0 MB", node.memory >> 20)?;
    }
    Ok(())
}
