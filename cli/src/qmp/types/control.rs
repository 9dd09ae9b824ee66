//! The emulator itself (QAPI `control.json`, `misc.json`, `run-state.json`).

use crate::qmp::qapi::{qapi_enum, qapi_struct};

qapi_struct! {
    /// A version in three numbers.
    struct VersionTriple {
        /// Changes of bugs.
        micro: u32,
        /// Changes of features.
        minor: u32,
        /// Changes of everything.
        major: u32,
    }

    /// `query-version`.
    struct VersionInfo {
        /// The version of QEMU whose protocol is spoken.
        qemu: VersionTriple,
        /// What speaks it.
        package: String,
    }

    /// A command, in `query-commands`.
    struct CommandInfo {
        /// Its name.
        name: String,
    }

    /// `query-name`.
    struct NameInfo {
        /// The machine's name (`-name`), if it has one.
        name: Option<String>,
    }

    /// `query-uuid`.
    struct UuidInfo {
        /// The machine's UUID.
        uuid = "UUID": String,
    }

    /// `query-status`.
    struct StatusInfo {
        /// The CPUs run.
        running: bool,
        /// They run one instruction at a time.
        singlestep: bool,
        /// What the machine is doing.
        status: RunState,
    }

    /// A parameter of a command line option.
    struct CommandLineParameterInfo {
        /// Its name.
        name: String,
        /// What values it takes.
        ty = "type": CommandLineParameterType,
        /// For people.
        help: Option<String>,
        /// What it is when it is not given.
        default: Option<String>,
    }

    /// A command line option.
    struct CommandLineOptionInfo {
        /// Its name, without dashes.
        option: String,
        /// Its parameters.
        parameters: Vec<CommandLineParameterInfo>,
    }

    /// A descriptor in a set.
    struct FdsetFdInfo {
        /// Its number in this process.
        fd: i64,
        /// What the client said of it.
        opaque: Option<String>,
    }

    /// A set of descriptors (`add-fd`).
    struct FdsetInfo {
        /// Its number.
        fdset_id = "fdset-id": i64,
        /// Its descriptors.
        fds: Vec<FdsetFdInfo>,
    }

    /// What `add-fd` has added.
    struct AddfdInfo {
        /// The set.
        fdset_id = "fdset-id": i64,
        /// The descriptor's number in this process.
        fd: i64,
    }
}

qapi_enum! {
    /// What the machine is doing (QAPI `RunState`).
    enum RunState {
        /// Not started yet (`-S`, `--preconfig`).
        Prelaunch = "prelaunch",
        /// Running.
        Running = "running",
        /// Stopped by the user.
        Paused = "paused",
        /// The guest has shut down, and the process stays (`-no-shutdown`).
        Shutdown = "shutdown",
        /// A vCPU cannot continue.
        InternalError = "internal-error",
        /// The guest has panicked.
        GuestPanicked = "guest-panicked",
        /// A watchdog has expired.
        Watchdog = "watchdog",
        /// A request to a drive failed.
        IoError = "io-error",
    }

    /// What a parameter of a command line option takes.
    enum CommandLineParameterType {
        /// A text.
        String = "string",
        /// `on` or `off`.
        Boolean = "boolean",
        /// A number.
        Number = "number",
        /// A number with a suffix K, M, G or T.
        Size = "size",
    }

    /// Why a machine was reset or shut down (QAPI `ShutdownCause`).
    enum ShutdownCause {
        /// For no reason that is known.
        None = "none",
        /// A vCPU could not continue.
        HostError = "host-error",
        /// `quit`.
        HostQmpQuit = "host-qmp-quit",
        /// `system_reset`.
        HostQmpSystemReset = "host-qmp-system-reset",
        /// A signal.
        HostSignal = "host-signal",
        /// The user interface.
        HostUi = "host-ui",
        /// The guest powered off.
        GuestShutdown = "guest-shutdown",
        /// The guest reset.
        GuestReset = "guest-reset",
        /// The guest panicked.
        GuestPanic = "guest-panic",
        /// A reset inside of the machine.
        SubsystemReset = "subsystem-reset",
    }

    /// What a reset by the guest does (QAPI `RebootAction`).
    enum RebootAction {
        /// It resets.
        Reset = "reset",
        /// It ends the machine.
        Shutdown = "shutdown",
    }

    /// What a shutdown does (QAPI `ShutdownAction`).
    enum ShutdownAction {
        /// It ends the process.
        Poweroff = "poweroff",
        /// It stops the CPUs.
        Pause = "pause",
    }

    /// What a panic of the guest does (QAPI `PanicAction`).
    enum PanicAction {
        /// It stops the CPUs.
        Pause = "pause",
        /// It ends the process.
        Shutdown = "shutdown",
        /// It ends the process with status 1.
        ExitFailure = "exit-failure",
        /// Nothing.
        None = "none",
    }

    /// What an expired watchdog does (QAPI `WatchdogAction`).
    enum WatchdogAction {
        /// It resets the machine.
        Reset = "reset",
        /// It presses the power button.
        Shutdown = "shutdown",
        /// It ends the machine.
        Poweroff = "poweroff",
        /// It stops the CPUs.
        Pause = "pause",
        /// It writes a message.
        Debug = "debug",
        /// Nothing.
        None = "none",
        /// It sends a non-maskable interrupt.
        InjectNmi = "inject-nmi",
    }
}
