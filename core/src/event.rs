//! What a machine tells whoever watches it: the events of QMP, as types.

use crate::named::named;
use crate::object::Value;

/// Why a reset or a shutdown happened (QMP `ShutdownCause`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShutdownCause {
    /// A vCPU could not continue.
    HostError,
    /// `quit`.
    HostQmpQuit,
    /// `system_reset`.
    HostQmpSystemReset,
    /// A signal.
    HostSignal,
    /// The user interface.
    HostUi,
    /// The guest powered off.
    GuestShutdown,
    /// The guest reset.
    GuestReset,
    /// The guest panicked.
    GuestPanic,
    /// A device that ends the process (`isa-debug-exit`); no event tells of it.
    GuestExit,
}

impl ShutdownCause {
    /// QMP's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::HostError => "host-error",
            Self::HostQmpQuit => "host-qmp-quit",
            Self::HostQmpSystemReset => "host-qmp-system-reset",
            Self::HostSignal => "host-signal",
            Self::HostUi => "host-ui",
            Self::GuestShutdown => "guest-shutdown",
            Self::GuestReset => "guest-reset",
            Self::GuestPanic => "guest-panic",
            Self::GuestExit => "guest-shutdown",
        }
    }
    /// The guest did it.
    pub fn is_guest(self) -> bool {
        matches!(self, Self::GuestShutdown | Self::GuestReset | Self::GuestPanic | Self::GuestExit)
    }
}

named! {
    /// What happens when a watchdog expires (QMP `WatchdogAction`).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub enum WatchdogAction {
        /// System reset.
        #[default]
        Reset = "reset",
        /// Ask the guest to shut down, by the power button.
        Shutdown = "shutdown",
        /// End.
        Poweroff = "poweroff",
        /// Stop the vCPUs.
        Pause = "pause",
        /// Write a message.
        Debug = "debug",
        /// Nothing.
        None = "none",
        /// A non-maskable interrupt.
        InjectNmi = "inject-nmi",
    }

    /// What a reset does (QMP `RebootAction`).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub enum RebootAction {
        /// It resets.
        #[default]
        Reset = "reset",
        /// It ends the machine (`-no-reboot`).
        Shutdown = "shutdown",
    }

    /// What a shutdown does (QMP `ShutdownAction`).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub enum ShutdownAction {
        /// It ends the machine.
        #[default]
        Poweroff = "poweroff",
        /// It only stops the vCPUs (`-no-shutdown`).
        Pause = "pause",
    }

    /// What was done about a panic of the guest (QMP `GuestPanicAction`).
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub enum GuestPanicAction {
        /// The vCPUs were stopped.
        Pause = "pause",
        /// The machine ends.
        Poweroff = "poweroff",
        /// Nothing.
        Run = "run",
    }

    /// What happens when the guest says that it has panicked (QMP `PanicAction`).
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub enum PanicAction {
        /// Stop the vCPUs.
        Pause = "pause",
        /// End.
        #[default]
        Shutdown = "shutdown",
        /// End with status 1.
        ExitFailure = "exit-failure",
        /// Nothing.
        None = "none",
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// The vCPUs have stopped.
    Stop,
    /// They run again.
    Resume,
    /// The machine was reset.
    Reset(ShutdownCause),
    /// The machine ends, or with `-no-shutdown` stays without running.
    Shutdown(ShutdownCause),
    /// The power button was pressed.
    Powerdown,
    /// A device has gone, by request.
    DeviceDeleted {
        /// Its id, if it has one.
        id: Option<String>,
        /// Its path.
        path: String,
    },
    /// The guest refused to let a device go.
    DeviceUnplugGuestError {
        /// Its id, if it has one.
        id: Option<String>,
        /// Its path.
        path: String,
    },
    /// The guest says that it has panicked.
    GuestPanicked {
        /// What is done about it.
        action: GuestPanicAction,
    },
    /// The guest says that it has panicked, and has loaded a crash kernel.
    GuestCrashloaded,
    /// A watchdog has expired.
    Watchdog {
        /// What is done about it.
        action: WatchdogAction,
    },
    /// The guest has set the clock.
    RtcChange {
        /// How far it is from the host's time now, in seconds.
        offset: i64,
        /// Path of the clock.
        path: String,
    },
    /// A request to a block back end failed.
    BlockIoError {
        /// Name of the back end.
        device: String,
        /// Name of the image's node.
        node: String,
        /// `read` or `write`.
        operation: &'static str,
        /// What is done about it, in QMP's words.
        action: &'static str,
        /// The host has no space left.
        nospace: bool,
        /// Why it failed.
        reason: String,
    },
    /// The tray of a drive has moved.
    DeviceTrayMoved {
        /// Name of the back end.
        device: String,
        /// Id or path of the drive.
        id: String,
        /// It is open now.
        tray_open: bool,
    },
    /// The guest has opened or closed a port of a virtio-serial device.
    VserportChange {
        /// Id of the port.
        id: String,
        /// It is open now.
        open: bool,
    },
    /// The memory that a balloon leaves the guest has changed.
    BalloonChange {
        /// In bytes.
        actual: u64,
    },
    /// The guest's answer to a hot-plug, by ACPI's `_OST`.
    AcpiDeviceOst {
        /// QMP's `ACPIOSTInfo`: slot, slot-type, source, status and, if it has one, the device's id.
        info: Value,
    },
}
