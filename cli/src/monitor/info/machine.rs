//! What is known of the machine as a whole.

use crate::monitor::HumanMonitor;
use crate::monitor::grammar::Arguments;
use crate::monitor::output::{Done, Output};
use std::fmt::Write;

/// `info status`.
pub(super) fn status(m: &mut HumanMonitor, _: &Arguments, out: &mut Output) -> Done {
    let status = m.control.status();
    let text = if status.running { "running" } else { "paused" };
    let plain = ["running", "paused"].contains(&status.status.name());
    let detail = if plain { String::new() } else { format!(" ({})", status.status.name()) };
    Ok(writeln!(out, "VM status: {text}{detail}")?)
}

/// `info name`.
pub(super) fn name(m: &mut HumanMonitor, _: &Arguments, out: &mut Output) -> Done {
    m.control.name().name.iter().try_for_each(|name| Ok(writeln!(out, "{name}")?))
}

/// `info uuid`.
pub(super) fn uuid(m: &mut HumanMonitor, _: &Arguments, out: &mut Output) -> Done {
    Ok(writeln!(out, "{}", m.control.uuid().uuid)?)
}

/// `info version`: the version whose commands these are, and who answers them.
pub(super) fn version(_: &mut HumanMonitor, _: &Arguments, out: &mut Output) -> Done {
    let v = crate::qmp::version();
    Ok(writeln!(out, "{}.{}.{}{}", v.qemu.major, v.qemu.minor, v.qemu.micro, v.package)?)
}

/// `info kvm`.
pub(super) fn kvm(m: &mut HumanMonitor, _: &Arguments, out: &mut Output) -> Done {
    let kvm = m.control.kvm();
    let state = if kvm.enabled { "enabled" } else { "disabled" };
    Ok(writeln!(out, "kvm support: {state}")?)
}

/// `info accel`: every accelerator with what speaks against it; the one in use is marked.
pub(super) fn accel(m: &mut HumanMonitor, _: &Arguments, out: &mut Output) -> Done {
    let all = m.control.accelerators();
    for a in &all {
        let mark = if a.selected { '*' } else { ' ' };
        write!(out, "{mark} {}: {}; {}", a.name, a.description, a.state.name())?;
        if let Some(reason) = &a.reason {
            write!(out, ": {reason}")?;
        }
        if let Some(hint) = &a.hint {
            write!(out, " ({hint})")?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// `info chardev`.
pub(super) fn chardevs(m: &mut HumanMonitor, _: &Arguments, out: &mut Output) -> Done {
    m.control.chardevs().iter().try_for_each(|c| Ok(writeln!(out, "{}: filename={}", c.label, c.filename)?))
}
