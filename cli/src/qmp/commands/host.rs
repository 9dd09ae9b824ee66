//! The host's side of a machine: character back ends, files, the command line, the monitor for people.

use crate::control::{Control, Error, Result};
use crate::monitor::HumanMonitor;
use crate::qmp::command::{Command, commands};
use crate::qmp::types::chardev::{ChardevBackend, ChardevBackendInfo, ChardevInfo, ChardevReturn};
use crate::qmp::types::control::CommandLineOptionInfo;
use crate::qmp::types::misc::{BalloonInfo, IoThreadInfo, TpmInfo, TpmModel, TpmType};
use std::sync::Arc;

/// See the module.
pub(super) static COMMANDS: &[Command] = commands! {
    /// The character back ends.
    "query-chardev"() -> Vec<ChardevInfo> [preconfig] = |call| Ok(call.control.chardevs());
    /// The kinds of character back ends.
    "query-chardev-backends"() -> Vec<ChardevBackendInfo> = |_| Ok(Control::chardev_backends());
    /// Makes a character back end.
    "chardev-add"(id: String, backend: ChardevBackend) -> ChardevReturn = |call| call.control.chardev_add(&id, backend);
    /// Puts another one in its place.
    "chardev-change"(id: String, backend: ChardevBackend) -> ChardevReturn =
        |call| call.control.chardev_change(&id, backend);
    /// Removes one.
    "chardev-remove"(id: String) = |call| call.control.chardev_remove(&id);
    /// Writes memory as a CPU sees it to a file.
    "memsave"(val: u64, size: u64, filename: String, cpu_index = "cpu-index": Option<i64>) =
        |call| call.control.memsave(val, size, &filename, cpu_index);
    /// Writes physical memory to a file.
    "pmemsave"(val: u64, size: u64, filename: String) = |call| call.control.pmemsave(val, size, &filename);
    /// Runs a command of the monitor for people; the text that it shows.
    "human-monitor-command"(command_line = "command-line": String, cpu_index = "cpu-index": Option<i64>) -> String =
        |call| human_monitor_command(call.control, &command_line, cpu_index);
    /// The options of the command line, and their parameters.
    "query-command-line-options"(option: Option<String>) -> Vec<CommandLineOptionInfo> [preconfig] =
        |_| Control::command_line_options(option.as_deref());
    /// The threads that serve devices. There are none of their own.
    "query-iothreads"() -> Vec<IoThreadInfo> [preconfig] = |_| Ok(Vec::<IoThreadInfo>::new());
    /// The trusted platform modules of the machine. No machine has one.
    "query-tpm"() -> Vec<TpmInfo> = |_| Ok(Vec::<TpmInfo>::new());
    /// The models of trusted platform modules. There are none.
    "query-tpm-models"() -> Vec<TpmModel> = |_| Ok(Vec::<TpmModel>::new());
    /// The back ends of trusted platform modules. There are none.
    "query-tpm-types"() -> Vec<TpmType> = |_| Ok(Vec::<TpmType>::new());
    /// How much memory the guest has left to itself.
    "query-balloon"() -> BalloonInfo = |call| call.control.balloon_info();
    /// Asks the guest to do with less memory.
    "balloon"(value: i64) = |call| call.control.balloon(value);
};

fn human_monitor_command(control: &Arc<Control>, line: &str, cpu: Option<i64>) -> Result<String> {
    let mut monitor = HumanMonitor::new(control.clone());
    if let Some(cpu) = cpu {
        let wrong = || Error::generic("Parameter 'cpu-index' expects a CPU number");
        let cpu = u64::try_from(cpu).map_err(|_| wrong())?;
        monitor.select_cpu(cpu).map_err(|_| wrong())?;
    }
    // Lines end as on a terminal, as QEMU has it.
    Ok(monitor.run(line).replace('\n', "\r\n"))
}
