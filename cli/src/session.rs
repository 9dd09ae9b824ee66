//! The life of one machine: made, run, ended, and everything put back.

use crate::accel::{Accelerator, Request, select};
use crate::args::{Config, Problem, QtestLog, Target};
use crate::assemble::{MonitorEnd, OpenConsoles, machine_config, read_kernel};
use crate::backend::block::Interface;
use crate::backend::chardev::MuxEvent;
use crate::backend::chardev::terminal::RawTerminal;
use crate::board::Board;
use crate::check;
use crate::control::{Control, Facts};
use crate::curses::View;
use crate::event::ShutdownCause;
use crate::failure::Failure;
use crate::guest;
use crate::machine::{BootOrder, DeviceArg, KernelArgs, Machine, MachineConfig, RebootAction};
use crate::messages::{tell, warn};
use crate::monitor::Terminal;
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
    let request = Request { cpus: config.topology.total(), icount: config.icount };
    let selected = select(accelerators, &config.accel, &request).map_err(Failure::from);
    let executes = selected.as_ref().is_ok_and(|s| s.vm.threading() != Threading::NoCpu);
    let ours = executes && boots_our_guest(&config);
    if executes && !ours && config.kernel.is_none() && config.firmware.is_none() && !in_flash(&config) {
        config.firmware = config.machine.default_firmware().map(str::to_owned);
    }
    // All that is wrong is told together, before anything starts or waits for somebody.
    let kernel = match &selected {
        Ok(selected) if ours => our_guest(&mut config, selected.selection.accel.name()).map(Some),
        _ => config
            .kernel
            .as_ref()
            .map(|files| read_kernel(files, Some(config.ram_size)))
            .transpose()
            .map_err(Failure::from),
    };
    let (kernel, failed) = kernel.map_or_else(|e| (None, Some(e)), |kernel| (kernel, None));
    let made = machine_config(&config, kernel).map_err(Failure::from);
    let (selected, mut machine_config) = match (selected, made, failed) {
        (Ok(selected), Ok(made), None) => (selected, made),
        (selected, made, failed) => {
            let besides = check::outside(&config);
            return Err([selected.err(), failed, made.err(), Some(besides)].into_iter().flatten().collect());
        }
    };
    let selection = selected.selection;
    if let Some(warning) = selection.warning() {
        warn(warning);
    }
    config.cpu.ambiguities().iter().for_each(warn);
    if config.curses {
        check::view().map_err(|e| e.and(check::consoles(&config)).and(check::devices(&config)))?;
    }
    // Nobody is waited for, and no file is cut off, if it is seen before that another one cannot be opened.
    let opened = match check::consoles(&config) {
        fine if fine.is_empty() => OpenConsoles::open(&config.consoles).map_err(Failure::from),
        wrong => Err(wrong),
    };
    let mut consoles = opened.map_err(|e| e.and(check::devices(&config)))?;
    if config.curses {
        // The interrupt key is the guest's.
        consoles.terminal = Some(false);
    }
    if ours && !config.curses {
        // It has no use for the interrupt key; whoever meets Gearbox for the first time has.
        consoles.terminal = consoles.terminal.map(|_| true);
    }
    consoles.connect(&mut machine_config);
    let summary = summary(&config, &machine_config);
    let control = Control::new(Facts::new(&config, &machine_config, accelerators, &selection));
    let terminal = Arc::new(Mutex::new(None::<RawTerminal>));
    let resumed = terminal.clone();
    let quit = QuitSwitch::new(&control);
    let signals = SignalThread::start(quit.clone(), move || {
        if let Some(terminal) = &*resumed.lock() {
            let _ = terminal.resume();
        }
    })
    .context("signals")?;
    let mut outside = Outside { consoles, control, quit, terminal, _signals: signals };
    let qmp = if config.preconfig { outside.configure(&config, &*selected.vm)? } else { Some(Vec::new()) };
    let Some(qmp) = qmp else { return Ok(0) };
    machine_config.numa = outside.control.numa();
    let made = Machine::new(selected.vm, config.machine, &machine_config);
    // Whoever waits for the machine must not wait for ever.
    let machine = made.inspect_err(|_| outside.control.end(ShutdownCause::HostError));
    let machine = machine.map_err(|e| Failure::machine(e, &config.cpu.name, || check::devices(&config)))?;
    drop(machine_config);
    if config.cpu_given {
        warn_of_missing_features(&machine, selection.accel.name());
    }
    if ours || std::io::stderr().is_terminal() {
        let (accel, about) = (selection.accel.name(), selection.accel.description());
        let consoles = &outside.consoles;
        let typist = consoles.terminal.is_some() && !consoles.muxes.is_empty() && std::io::stdin().is_terminal();
        let keys = if typist { "; Ctrl-A x ends it, Ctrl-A h shows more keys" } else { "" };
        tell(format_args!("{} runs on {accel}: {about}; {summary}{keys}", config.machine.name()));
    }
    outside.live(&config, machine, qmp)
}

/// What is around a machine: its control, back ends, terminal and signals. They are there before it, and end after it.
struct Outside {
    consoles: OpenConsoles,
    control: Arc<Control>,
    quit: QuitSwitch,
    terminal: Arc<Mutex<Option<RawTerminal>>>,
    _signals: SignalThread,
}

impl Outside {
    /// Serves QMP, and qtest on an empty board, until the machine is to be made (`--preconfig`); the QMP servers. `None` when it is not to be made at
    /// all.
    fn configure(&mut self, config: &Config, vm: &dyn Vm) -> Result<Option<Vec<qmp::Server>>, Failure> {
        let servers = self.start_qmp().context("QMP")?;
        let backend = self.consoles.qtest.clone();
        let qtest = self.start_qtest(config, &Board::new(vm.clock(), vm.msi()))?;
        let go_on = self.control.wait_for_configuration();
        drop(qtest);
        self.consoles.qtest = backend;
        if !go_on {
            drop(servers);
            self.consoles.close();
            return Ok(None);
        }
        Ok(Some(servers))
    }

    /// Lets the machine run until it ends, with monitors and servers around it.
    fn live(mut self, config: &Config, machine: Arc<Machine>, mut qmp: Vec<qmp::Server>) -> Result<u8, Failure> {
        self.control.attach(&machine);
        let monitor = self.start_monitor().context("monitor")?;
        qmp.extend(self.start_qmp().context("QMP")?);
        let qtest = self.start_qtest(config, machine.board())?;
        if let Some(signals) = self.consoles.terminal {
            *self.terminal.lock() = RawTerminal::enter(signals).context("terminal")?;
        }
        let screens = std::mem::take(&mut self.consoles.screens);
        let view = config.curses.then(|| View::start(&machine, screens)).transpose().context("curses")?;
        if !config.stopped {
            machine.cont();
        }

        let outcome = machine.control(config.policy);

        drop(view);
        drop(monitor);
        drop(qmp);
        drop(qtest);
        self.consoles.close();
        drop(machine);
        drop(self.consoles);
        drop(self.terminal.lock().take());
        if let Some(detail) = outcome.detail {
            tell(format_args!("internal error: {detail}"));
        }
        Ok(outcome.status)
    }

    /// Connects the monitor, and the keys that lead to it.
    fn start_monitor(&mut self) -> std::io::Result<Option<Terminal>> {
        let control = self.control.clone();
        let (monitor, shared) = match self.consoles.monitor.take() {
            None => (None, None),
            Some(MonitorEnd::Own(backend)) => {
                let monitor = Terminal::start(backend, control)?;
                monitor.greeter().greet();
                (Some(monitor), None)
            }
            Some(MonitorEnd::Shared(port)) => {
                let shared = port.mux().clone();
                let index = port.index();
                let monitor = Terminal::start(port, control)?;
                let greeter = monitor.greeter();
                (Some(monitor), Some((shared, index, greeter)))
            }
        };
        for mux in &self.consoles.muxes {
            let quit = self.quit.clone();
            let monitor = shared
                .as_ref()
                .filter(|(m, ..)| Arc::ptr_eq(m, mux))
                .map(|(_, index, greeter)| (*index, greeter.clone()));
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

    /// Starts the QMP servers that do not serve yet.
    fn start_qmp(&mut self) -> std::io::Result<Vec<qmp::Server>> {
        let servers = std::mem::take(&mut self.consoles.qmp).into_iter();
        servers.map(|(backend, pretty)| qmp::Server::start(self.control.clone(), backend, pretty)).collect()
    }

    /// Starts the qtest server, if `-qtest` asks for it.
    fn start_qtest(&mut self, config: &Config, board: &Arc<Board>) -> Result<Option<Server>, Failure> {
        let Some(backend) = self.consoles.qtest.take() else { return Ok(None) };
        let log: Option<Box<dyn Write + Send>> = match &config.qtest_log {
            QtestLog::None => None,
            QtestLog::Stderr => Some(Box::new(std::io::stderr())),
            QtestLog::File(path) => {
                let wrong = |e| Failure::line(Problem::new("qtest-log", path.to_string_lossy(), e));
                Some(Box::new(File::create(path).map_err(wrong)?))
            }
        };
        let server = Server::start(board.clone(), backend, log);
        Ok(Some(server.context("the qtest server")?))
    }
}

/// Where nothing is said of what to boot, it is the guest of our own.
fn boots_our_guest(config: &Config) -> bool {
    let boot = BootOrder { floppy_check: config.boot.floppy_check, ..BootOrder::default() };
    config.kernel.is_none()
        && config.firmware.is_none()
        && config.machine.suits_own_guest()
        && config.drives.is_empty()
        && config.blockdevs.is_empty()
        && config.option_roms.is_empty()
        && config.boot == boot
        && !config.curses
}

/// The firmware is in flash chips.
fn in_flash(config: &Config) -> bool {
    config.drives.iter().any(|d| d.interface == Interface::Pflash)
        || config.properties.iter().any(|(name, _)| name == "pflash0")
}

/// What a machine has, in a few words.
fn summary(config: &Config, made: &MachineConfig) -> String {
    let cpus = made.boot_cpus();
    let mut parts = vec![
        format!("{cpus} {} CPU{}", config.cpu.name, if cpus == 1 { "" } else { "s" }),
        format!("{} MiB", made.ram_size >> 20),
    ];
    parts.extend(made.firmware.as_ref().map(|(_, path)| format!("firmware {}", path.display())));
    parts.extend(made.kernel.as_ref().map(|kernel| format!("boots {}", kernel.path.display())));
    parts.extend(made.blocks.list().into_iter().filter_map(|drive| {
        let (medium, _) = drive.inserted?;
        Some(format!("{} {} ({})", drive.name, medium.filename.display(), medium.format.name()))
    }));
    parts.join(", ")
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
