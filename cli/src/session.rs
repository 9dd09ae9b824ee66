//! The life of one machine: made, run, ended, and everything put back.

use crate::accel::{Accelerator, Request, Selection, select};
use crate::args::{Config, Problem, QtestLog, Target};
use crate::assemble::{MonitorEnd, OpenConsoles, machine_config, read_kernel};
use crate::backend::chardev::MuxEvent;
use crate::backend::chardev::terminal::RawTerminal;
use crate::control::{self, Control};
use crate::failure::Failure;
use crate::guest;
use crate::machine::{DeviceArg, KernelArgs, Machine, RebootAction};
use crate::messages::{tell, warn};
use crate::monitor::{Facts, Monitor};
use crate::qmp;
use crate::signals::{QuitSwitch, SignalThread};
use crate::vm::{Threading, Vm};
use anyhow::Context as _;
use gearbox_accel_qtest::server::Server;
use parking_lot::Mutex;
use std::fs::File;
use std::io::{IsTerminal, Write};
use std::sync::Arc;

/// Runs a machine to its end; the exit status.
///
/// # Errors
/// Why it could not be started.
pub(crate) fn run(mut config: Config, accelerators: &[&'static dyn Accelerator]) -> Result<u8, Failure> {
    let kernel = config.kernel.as_ref().map(|files| read_kernel(files, &config)).transpose()?;
    let selected = select(accelerators, &config.accel, &Request { cpus: config.topology.total() })?;
    let selection = selected.selection;
    if let Some(warning) = selection.warning() {
        warn(warning);
    }
    let ours = boots_our_guest(&config, &*selected.vm);
    let kernel = if ours { Some(our_guest(&mut config, selection.accel.name())?) } else { kernel };
    let mut consoles = OpenConsoles::open(&config.consoles)?;
    if ours {
        // It has no use for the interrupt key; whoever meets Gearbox for the first time has.
        consoles.terminal = consoles.terminal.map(|_| true);
    }
    let machine_config = machine_config(&config, &mut consoles, kernel)?;
    let machine = Machine::new(selected.vm, config.machine, &machine_config)
        .map_err(|e| Failure::machine(e, &config.cpu.name))?;
    drop(machine_config);
    if config.cpu_given {
        warn_of_missing_features(&machine, selection.accel.name());
    }
    if ours || std::io::stderr().is_terminal() {
        let (accel, about) = (selection.accel.name(), selection.accel.description());
        let typist = consoles.terminal.is_some() && !consoles.muxes.is_empty() && std::io::stdin().is_terminal();
        let keys = if typist { "; Ctrl-A x ends it, Ctrl-A h shows more keys" } else { "" };
        tell(format_args!("{} runs on {accel}: {about}{keys}", config.machine.name()));
    }
    live(&config, &selection, machine, consoles)
}

/// Lets the machine run until it ends, with monitor, terminal and signals around it.
fn live(
    config: &Config,
    selection: &Selection,
    machine: Arc<Machine>,
    mut consoles: OpenConsoles,
) -> Result<u8, Failure> {
    let quit = QuitSwitch::default();
    quit.connect(machine.board());
    let terminal = Arc::new(Mutex::new(None::<RawTerminal>));
    let resumed = terminal.clone();
    let signals = SignalThread::start(quit.clone(), move || {
        if let Some(terminal) = &*resumed.lock() {
            let _ = terminal.resume();
        }
    })
    .context("signals")?;
    let monitor = start_monitor(config, selection, &machine, &mut consoles, &quit).context("monitor")?;
    let control = Control::new(control::Facts {
        name: config.name.clone(),
        uuid: config.uuid,
        accelerators: control::Facts::accelerators(&crate::accelerators(), selection),
        machine: config.machine,
        cpu: config.cpu.clone(),
        topology: config.topology,
        ram_size: config.ram_size,
        chardevs: machine.board().with(|s| s.chardevs().clone()),
        objects: machine.board().with(|s| s.user_objects().clone()),
    });
    control.attach(&machine);
    let qmp = start_qmp(&control, &mut consoles).context("QMP")?;
    let qtest = start_qtest(config, &machine, &mut consoles)?;
    if let Some(signals) = consoles.terminal {
        *terminal.lock() = RawTerminal::enter(signals).context("terminal")?;
    }
    if !config.stopped {
        machine.cont();
    }

    let outcome = machine.control(config.policy);

    drop(monitor);
    drop(qmp);
    drop(qtest);
    consoles.close();
    drop(machine);
    drop(consoles);
    drop(terminal.lock().take());
    drop(signals);
    if let Some(detail) = outcome.detail {
        tell(format_args!("internal error: {detail}"));
    }
    Ok(outcome.status)
}

/// Connects the monitor, and the keys that lead to it.
fn start_monitor(
    config: &Config,
    selection: &Selection,
    machine: &Arc<Machine>,
    consoles: &mut OpenConsoles,
    quit: &QuitSwitch,
) -> std::io::Result<Option<Monitor>> {
    let facts = Facts {
        name: config.name.clone(),
        uuid: config.uuid,
        accel: format!("{}: {}", selection.accel.name(), selection.accel.description()),
        rejected: selection.rejected.iter().map(ToString::to_string).collect(),
    };
    let machine = Arc::downgrade(machine);
    let (monitor, shared) = match consoles.monitor.take() {
        None => (None, None),
        Some(MonitorEnd::Own(backend)) => {
            let monitor = Monitor::start(backend, machine, facts)?;
            monitor.greeter().greet();
            (Some(monitor), None)
        }
        Some(MonitorEnd::Shared(port)) => {
            let shared = port.mux().clone();
            let index = port.index();
            let monitor = Monitor::start(port, machine, facts)?;
            let greeter = monitor.greeter();
            (Some(monitor), Some((shared, index, greeter)))
        }
    };
    for mux in &consoles.muxes {
        let quit = quit.clone();
        let monitor =
            shared.as_ref().filter(|(m, ..)| Arc::ptr_eq(m, mux)).map(|(_, index, greeter)| (*index, greeter.clone()));
        mux.on_event(move |event| match (event, &monitor) {
            (MuxEvent::Quit, _) => {
                quit.quit();
            }
            (MuxEvent::Focus(n), Some((index, greeter))) if n == *index => greeter.greet(),
            (MuxEvent::Focus(_), _) => {}
        });
    }
    Ok(monitor)
}

/// Starts the QMP servers.
fn start_qmp(control: &Arc<Control>, consoles: &mut OpenConsoles) -> std::io::Result<Vec<qmp::Server>> {
    let servers = std::mem::take(&mut consoles.qmp).into_iter();
    servers.map(|(backend, pretty)| qmp::Server::start(control.clone(), backend, pretty)).collect()
}

/// Starts the qtest server, if `-qtest` asks for it.
fn start_qtest(config: &Config, machine: &Machine, consoles: &mut OpenConsoles) -> Result<Option<Server>, Failure> {
    let Some(backend) = consoles.qtest.take() else { return Ok(None) };
    let log: Option<Box<dyn Write + Send>> = match &config.qtest_log {
        QtestLog::None => None,
        QtestLog::Stderr => Some(Box::new(std::io::stderr())),
        QtestLog::File(path) => {
            let wrong = |e| Failure::line(Problem::new("qtest-log", path.to_string_lossy(), e));
            Some(Box::new(File::create(path).map_err(wrong)?))
        }
    };
    let server = Server::start(machine.board().clone(), backend, log);
    Ok(Some(server.context("the qtest server")?))
}

/// Without a kernel, machines with CPUs boot the guest of our own.
fn boots_our_guest(config: &Config, vm: &dyn Vm) -> bool {
    config.kernel.is_none() && config.machine.name() != "none" && vm.threading() != Threading::NoCpu
}

/// The guest of our own, and what it needs of the machine.
fn our_guest(config: &mut Config, accel: &str) -> Result<KernelArgs, Failure> {
    let image = guest::embedded().map_err(|e| Failure::line(format!("{e}; boot something else with -kernel")))?;
    let on_terminal = config.consoles.serials.first().is_some_and(Target::is_stdio);
    let interactive = on_terminal && std::io::stdin().is_terminal();
    // Nobody is there to end a guest that resets again and again.
    if !interactive {
        config.policy.reboot = RebootAction::Shutdown;
    }
    if !config.devices.iter().any(|d| d.type_name == "isa-debug-exit") {
        let port = format!("{:#x}", guest::DEBUG_EXIT_PORT);
        let properties = [("iobase", port.as_str()), ("iosize", "4")].map(|(k, v)| (k.to_owned(), v.into()));
        config.devices.push(DeviceArg { type_name: "isa-debug-exit".to_owned(), properties: properties.to_vec() });
    }
    Ok(KernelArgs {
        image: image.to_vec(),
        path: "the guest of our own".into(),
        initrd: Vec::new(),
        cmdline: guest::command_line(accel, interactive),
    })
}

fn warn_of_missing_features(machine: &Machine, accel: &str) {
    let who = if accel == "tcg" { "TCG" } else { "host" };
    for feature in machine.missing_features() {
        warn(format_args!("{who} doesn't support requested feature: {feature}"));
    }
}
