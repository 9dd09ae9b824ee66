//! Commands that start, stop, reset and end the machine.

use super::HumanMonitor;
use super::grammar::Arguments;
use super::output::{Done, Failure, Output};
use crate::qmp::types::control::WatchdogAction;

/// `quit`.
pub(super) fn quit(m: &mut HumanMonitor, _: &Arguments, _: &mut Output) -> Done {
    m.control.quit();
    Ok(())
}
/// `stop`.
pub(super) fn stop(m: &mut HumanMonitor, _: &Arguments, _: &mut Output) -> Done {
    Ok(m.control.stop()?)
}
/// `cont`.
pub(super) fn cont(m: &mut HumanMonitor, _: &Arguments, _: &mut Output) -> Done {
    Ok(m.control.cont()?)
}
/// `system_reset`.
pub(super) fn system_reset(m: &mut HumanMonitor, _: &Arguments, _: &mut Output) -> Done {
    Ok(m.control.system_reset()?)
}
/// `system_powerdown`.
pub(super) fn system_powerdown(m: &mut HumanMonitor, _: &Arguments, _: &mut Output) -> Done {
    Ok(m.control.system_powerdown()?)
}
/// `system_wakeup`.
pub(super) fn system_wakeup(m: &mut HumanMonitor, _: &Arguments, _: &mut Output) -> Done {
    Ok(m.control.system_wakeup()?)
}
/// `nmi`.
pub(super) fn nmi(m: &mut HumanMonitor, _: &Arguments, _: &mut Output) -> Done {
    Ok(m.control.inject_nmi()?)
}
/// `cpu`: the one that commands are about which say no other.
pub(super) fn cpu(m: &mut HumanMonitor, arguments: &Arguments, _: &mut Output) -> Done {
    m.select_cpu(arguments.unsigned("index")).map_err(|e| Failure::Plain(e.desc))
}
/// `watchdog_action`.
pub(super) fn watchdog_action(m: &mut HumanMonitor, arguments: &Arguments, _: &mut Output) -> Done {
    let name = arguments.word("action");
    let action = WatchdogAction::from_name(name);
    let action = action.ok_or_else(|| Failure::Command(format!("invalid parameter value: {name}")))?;
    Ok(m.control.set_action(None, None, None, Some(action))?)
}
