//! Data of events.

use super::control::{ShutdownCause, WatchdogAction};
use crate::qmp::qapi::{qapi_enum, qapi_struct};

qapi_enum! {
    /// What was done about a panic of the guest (QAPI `GuestPanicAction`).
    enum GuestPanicAction {
        /// The CPUs were stopped.
        Pause = "pause",
        /// The machine ends.
        Poweroff = "poweroff",
        /// Nothing.
        Run = "run",
    }

    /// What was asked of a drive (QAPI `IoOperationType`).
    enum IoOperationType {
        /// A read.
        Read = "read",
        /// A write.
        Write = "write",
    }

    /// What is done about an error of a drive (QAPI `BlockErrorAction`).
    enum BlockErrorAction {
        /// The guest is told that it went well.
        Ignore = "ignore",
        /// The guest is told.
        Report = "report",
        /// The machine stops.
        Stop = "stop",
    }

    /// The kind of a slot (QAPI `ACPISlotType`).
    enum AcpiSlotType {
        /// A memory module.
        Dimm = "DIMM",
        /// A CPU.
        Cpu = "CPU",
    }
}

qapi_struct! {
    /// `SHUTDOWN`, `RESET`.
    struct ShutdownData {
        /// The guest did it.
        guest: bool,
        /// Why.
        reason: ShutdownCause,
    }

    /// `DEVICE_DELETED`, `DEVICE_UNPLUG_GUEST_ERROR`.
    struct DeviceData {
        /// The device's id, if it has one.
        device: Option<String>,
        /// Its path.
        path: String,
    }

    /// `GUEST_PANICKED`, `GUEST_CRASHLOADED`.
    struct GuestPanicData {
        /// What was done about it.
        action: GuestPanicAction,
    }

    /// `WATCHDOG`.
    struct WatchdogData {
        /// What was done.
        action: WatchdogAction,
    }

    /// `RTC_CHANGE`.
    struct RtcChangeData {
        /// Seconds between the clock and the host's time.
        offset: i64,
        /// Path of the clock.
        qom_path = "qom-path": String,
    }

    /// `BLOCK_IO_ERROR`.
    struct BlockIoErrorData {
        /// The drive.
        device: String,
        /// The image.
        node_name = "node-name": Option<String>,
        /// What was asked for.
        operation: IoOperationType,
        /// What is done about it.
        action: BlockErrorAction,
        /// The host has no space left.
        nospace: Option<bool>,
        /// Why it failed.
        reason: String,
    }

    /// `DEVICE_TRAY_MOVED`.
    struct DeviceTrayMovedData {
        /// The drive.
        device: String,
        /// The device that has it.
        id: String,
        /// The tray is open now.
        tray_open = "tray-open": bool,
    }

    /// The guest's last word on a slot (QAPI `ACPIOSTInfo`; ACPI 6.4, section 6.3.5).
    struct AcpiOstInfo {
        /// The id of the device in it.
        device: Option<String>,
        /// Number of the slot.
        slot: String,
        /// What it is for.
        slot_type = "slot-type": AcpiSlotType,
        /// What the guest speaks of.
        source: i64,
        /// What it says.
        status: i64,
    }

    /// `VSERPORT_CHANGE`.
    struct VserportChangeData {
        /// The port.
        id: String,
        /// The guest has it open.
        open: bool,
    }

    /// `BALLOON_CHANGE`.
    struct BalloonChangeData {
        /// Bytes that the guest has.
        actual: i64,
    }

    /// `ACPI_DEVICE_OST`.
    struct AcpiDeviceOstData {
        /// What the guest said.
        info: AcpiOstInfo,
    }
}
