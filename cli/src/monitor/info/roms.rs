//! `info roms`.

use crate::board::RomPlace;
use crate::monitor::HumanMonitor;
use crate::monitor::grammar::Arguments;
use crate::monitor::output::{Done, Output};
use std::fmt::Write;

/// `info roms`: the firmware, ROMs that it finds as files, and tables that it places.
pub(super) fn roms(m: &mut HumanMonitor, _: &Arguments, out: &mut Output) -> Done {
    for rom in m.machine()?.board().with(|s| s.roms()) {
        match rom.place {
            RomPlace::File(name) => write!(out, "fw={name} size={:#08x}", rom.size)?,
            RomPlace::Memory { addr, ram } => {
                let kind = if ram { "ram" } else { "rom" };
                write!(out, "addr={addr:016x} size={:#08x} mem={kind}", rom.size)?;
            }
            RomPlace::Tables(name) => write!(out, "/rom@{name} size={:#08x}", rom.size)?,
        }
        writeln!(out, " name=\"{}\"", rom.name)?;
    }
    Ok(())
}
