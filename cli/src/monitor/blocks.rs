//! Commands about drives and their media.

use super::HumanMonitor;
use super::grammar::Arguments;
use super::output::{Done, Failure, Output};
use crate::args::drives::{drive, keys};
use crate::backend::block::Interface;
use crate::control::DriveName;
use crate::qmp::types::block::BlockdevChangeReadOnlyMode;
use gearbox_core::object::parse_size;
use std::fmt::Write;

/// The drive of that name.
fn named(name: &str) -> DriveName<'_> {
    DriveName { device: Some(name), id: None }
}

/// `eject`.
pub(super) fn eject(m: &mut HumanMonitor, arguments: &Arguments, _: &mut Output) -> Done {
    Ok(m.control.eject(named(arguments.word("device")), arguments.flag("force"))?)
}

/// `change`, of the medium of a drive.
pub(super) fn change(m: &mut HumanMonitor, arguments: &Arguments, _: &mut Output) -> Done {
    let mode = arguments.text("read-only-mode").map(|name| {
        BlockdevChangeReadOnlyMode::from_name(name)
            .ok_or_else(|| Failure::Command(format!("Invalid parameter '{name}'")))
    });
    let (file, format) = (arguments.word("target"), arguments.text("arg"));
    let force = arguments.flag("force");
    Ok(m.control.change_medium(named(arguments.word("device")), file, format, force, mode.transpose()?)?)
}

/// `block_resize`.
pub(super) fn resize(m: &mut HumanMonitor, arguments: &Arguments, _: &mut Output) -> Done {
    let text = arguments.word("size");
    // Without a unit, it is in MiB.
    let text = if text.ends_with(|c: char| c.is_ascii_digit()) { format!("{text}M") } else { text.to_owned() };
    let size = parse_size(&text).and_then(|n| i64::try_from(n).ok());
    let size = size.ok_or_else(|| Failure::Plain("block_resize: invalid size".to_owned()))?;
    Ok(m.control.block_resize(Some(arguments.word("device")), None, size)?)
}

/// `drive_add`.
pub(super) fn add(m: &mut HumanMonitor, arguments: &Arguments, out: &mut Output) -> Done {
    let text = arguments.word("opts");
    if super::devices::asks_for_help(text) {
        return keys().try_for_each(|(key, about)| Ok(writeln!(out, "{key} -- {about}")?));
    }
    let drive = drive(text, false).map_err(|p| Failure::plain(p.reason))?;
    if drive.interface != Interface::None {
        let name = drive.interface.name();
        return Err(Failure::Plain(format!(
            "Can't hot-add drive to type '{name}': give it if=none, and a device with device_add"
        )));
    }
    m.control.drive_add(&drive).map_err(|e| Failure::plain(e.desc))?;
    Ok(writeln!(out, "OK")?)
}

/// `drive_del`.
pub(super) fn del(m: &mut HumanMonitor, arguments: &Arguments, _: &mut Output) -> Done {
    m.control.drive_del(arguments.word("id")).map_err(|e| Failure::plain(e.desc))
}
