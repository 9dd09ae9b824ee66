//! `info block` and `info blockstats`.

use crate::img::describe;
use crate::monitor::HumanMonitor;
use crate::monitor::grammar::Arguments;
use crate::monitor::output::{Done, Output};
use crate::qmp::types::block::{BlockDeviceInfo, BlockInfo};
use crate::qmp::types::blockdev::BlockdevDetectZeroesOptions;
use std::fmt::Write;

/// `info block`: drives, or images with `-n`; those of one name, if it is given.
pub(super) fn block(m: &mut HumanMonitor, arguments: &Arguments, out: &mut Output) -> Done {
    let (verbose, name) = (arguments.flag("verbose"), arguments.text("device"));
    // A blank line comes before all but the first of all, as in QEMU, also where the first is not asked for.
    let begin = |n: usize, out: &mut Output| -> Done {
        if n > 0 {
            writeln!(out)?;
        }
        Ok(())
    };
    let drives = if arguments.flag("nodes") { Vec::new() } else { m.control.block_devices() };
    for (n, drive) in drives.iter().enumerate().filter(|(_, d)| name.is_none_or(|name| d.device == name)) {
        begin(n, out)?;
        show(Some(drive), drive.inserted.as_ref(), verbose, out)?;
    }
    if arguments.flag("nodes") || name.is_some() {
        let nodes = m.control.named_block_nodes();
        let is = |node: &BlockDeviceInfo| name.is_none_or(|name| node.node_name.as_deref() == Some(name));
        for (n, node) in nodes.iter().enumerate().filter(|(_, node)| is(node)) {
            begin(n, out)?;
            show(None, Some(node), verbose, out)?;
        }
    }
    Ok(())
}

fn show(drive: Option<&BlockInfo>, medium: Option<&BlockDeviceInfo>, verbose: bool, out: &mut Output) -> Done {
    let node = medium.and_then(|m| m.node_name.as_deref());
    match (drive.map(|d| &*d.device).filter(|name| !name.is_empty()), node) {
        (Some(drive), Some(node)) => write!(out, "{drive} ({node})")?,
        (Some(name), None) | (None, Some(name)) => write!(out, "{name}")?,
        // Neither has a name.
        (None, None) => write!(out, "{}", drive.and_then(|d| d.qdev.as_deref()).unwrap_or("<anonymous>"))?,
    }
    match medium {
        Some(m) => {
            let read_only = if m.ro { ", read-only" } else { "" };
            writeln!(out, ": {} ({}{read_only})", m.file, m.drv)?;
        }
        None => writeln!(out, ": [not inserted]")?,
    }
    if let Some(drive) = drive {
        if let Some(qdev) = &drive.qdev {
            writeln!(out, "    Attached to:      {qdev}")?;
        }
        if drive.removable {
            let locked = if drive.locked { "" } else { "not " };
            let tray = if drive.tray_open == Some(true) { "open" } else { "closed" };
            writeln!(out, "    Removable device: {locked}locked, tray {tray}")?;
        }
    }
    let Some(m) = medium else { return Ok(()) };
    let c = &m.cache;
    let modes = [
        (c.writeback, "writeback"),
        (!c.writeback, "writethrough"),
        (c.direct, "direct"),
        (c.no_flush, "ignore flushes"),
    ];
    let modes: Vec<_> = modes.iter().filter(|(is, _)| *is).map(|(_, name)| *name).collect();
    writeln!(out, "    Cache mode:       {}", modes.join(", "))?;
    if let Some(backing) = &m.backing_file {
        writeln!(out, "    Backing file:     {backing} (chain depth: {})", m.backing_file_depth)?;
    }
    if m.detect_zeroes != BlockdevDetectZeroesOptions::Off {
        writeln!(out, "    Detect zeroes:    {}", m.detect_zeroes.name())?;
    }
    if verbose {
        write!(out, "\nImages:\n{}", describe(&m.image))?;
    }
    Ok(())
}

/// `info blockstats`.
pub(super) fn stats(m: &mut HumanMonitor, _: &Arguments, out: &mut Output) -> Done {
    for drive in m.control.block_stats(false) {
        let s = drive.stats;
        write!(out, "{}:", drive.device.unwrap_or_default())?;
        for (name, value) in [
            ("rd_bytes", s.rd_bytes),
            ("wr_bytes", s.wr_bytes),
            ("rd_operations", s.rd_operations),
            ("wr_operations", s.wr_operations),
            ("flush_operations", s.flush_operations),
            ("wr_total_time_ns", s.wr_total_time_ns),
            ("rd_total_time_ns", s.rd_total_time_ns),
            ("flush_total_time_ns", s.flush_total_time_ns),
            ("rd_merged", s.rd_merged),
            ("wr_merged", s.wr_merged),
            ("idle_time_ns", s.idle_time_ns.unwrap_or(0)),
        ] {
            write!(out, " {name}={value}")?;
        }
        writeln!(out)?;
    }
    Ok(())
}
