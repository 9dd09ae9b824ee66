//! What else is wrong with a command line that is refused already. All of it is looked at, as far as that leaves no trace, and does not follow from what
//! has been told.

use crate::accel::{Accelerator, Request, select};
use crate::args::{Config, Problem, Problems, QtestLog, Target};
use crate::assemble::{describe, machine_config, read_kernel};
use crate::backend::chardev::ChardevSpec;
use crate::board::{PlugError, check_device, id_of};
use crate::curses;
use crate::failure::Failure;
use crate::machine::is_cpu;
use std::collections::HashSet;
use std::path::Path;

/// What is wrong with what is understood of a command line.
pub(crate) fn all(config: &Config, accelerators: &[&'static dyn Accelerator]) -> Failure {
    let request = Request { cpus: config.topology.total(), icount: config.icount };
    let selected = select(accelerators, &config.accel, &request).err().map(Failure::from);
    let kernel = config.kernel.as_ref().and_then(|files| read_kernel(files, None).err()).map(Failure::from);
    let made = machine_config(config, None).err().map(Failure::from);
    let log = config.log_file.as_deref().map(|path| to_file("D", path));
    [selected, kernel, made, log, Some(outside(config))].into_iter().flatten().collect()
}

/// What is wrong with what is opened last: the terminal, consoles; and with devices, which are made then.
pub(crate) fn outside(config: &Config) -> Failure {
    let view = config.curses.then(|| view().err()).flatten();
    let log = match &config.qtest_log {
        QtestLog::File(path) => Some(to_file("qtest-log", path)),
        QtestLog::Stderr | QtestLog::None => None,
    };
    view.into_iter().chain(log).chain([consoles(config), devices(config)]).collect()
}

/// What is wrong with a file to log to.
fn to_file(option: &str, path: &Path) -> Failure {
    let spec = ChardevSpec::File { path: path.to_owned(), append: false };
    let problem = spec.check().err().map(|e| Problem::new(option, path.display().to_string(), e));
    problem.into_iter().map(Failure::line).collect()
}

/// Whether there can be a view of the display in the terminal.
///
/// # Errors
/// Why not.
pub(crate) fn view() -> Result<(), Failure> {
    curses::check().map_err(|e| Failure::line(format!("-display curses: {e}")))
}

/// What is wrong with character back ends.
pub(crate) fn consoles(config: &Config) -> Failure {
    let mut problems = Problems::default();
    let mut check = |option: &str, value: String, spec: &ChardevSpec| {
        problems.value(spec.check().map_err(|e| Problem::new(option, value, e)));
    };
    for c in &config.consoles.chardevs {
        check("chardev", c.id.clone(), &c.spec);
    }
    for (option, target) in config.consoles.targets() {
        if let Target::New { spec, .. } = target {
            check(option, describe(spec), spec);
        }
    }
    problems.into()
}

/// What is wrong with `-device`, whatever else there is. CPUs are known to the machine only.
pub(crate) fn devices(config: &Config) -> Failure {
    let mut ids = HashSet::new();
    let wrong = config.devices.iter().filter(|d| !is_cpu(&d.type_name)).filter_map(|d| {
        let id = id_of(&d.properties).ok().flatten();
        let twice = id.filter(|id| !ids.insert(*id)).map(|id| PlugError::Duplicate(id.to_owned()));
        let error = check_device(&d.type_name, &d.properties).err().or(twice)?;
        Some(Failure::line(format!("-device {}: {error}", d.type_name)))
    });
    wrong.collect()
}
