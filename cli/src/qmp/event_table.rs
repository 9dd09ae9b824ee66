//! The events that there are, and how the machine's become them.

use super::events::Notice;
use super::qapi::{Empty, Path, Qapi, Type};
use super::types::control::{ShutdownCause, WatchdogAction};
use super::types::event::{
    AcpiDeviceOstData, AcpiOstInfo, BalloonChangeData, BlockErrorAction, BlockIoErrorData, DeviceData,
    DeviceTrayMovedData, GuestPanicAction, GuestPanicData, IoOperationType, RtcChangeData, ShutdownData,
    VserportChangeData, WatchdogData,
};
use gearbox_core::event::Event;

/// An event, as introspection shows it.
pub struct EventInfo {
    /// Its name.
    pub name: &'static str,
    /// Its data.
    pub data: fn() -> &'static Type,
}

/// All of them.
pub const EVENTS: &[EventInfo] = &[
    EventInfo { name: "SHUTDOWN", data: ShutdownData::ty },
    EventInfo { name: "POWERDOWN", data: Empty::ty },
    EventInfo { name: "RESET", data: ShutdownData::ty },
    EventInfo { name: "STOP", data: Empty::ty },
    EventInfo { name: "RESUME", data: Empty::ty },
    EventInfo { name: "DEVICE_DELETED", data: DeviceData::ty },
    EventInfo { name: "DEVICE_UNPLUG_GUEST_ERROR", data: DeviceData::ty },
    EventInfo { name: "GUEST_PANICKED", data: GuestPanicData::ty },
    EventInfo { name: "GUEST_CRASHLOADED", data: GuestPanicData::ty },
    EventInfo { name: "WATCHDOG", data: WatchdogData::ty },
    EventInfo { name: "RTC_CHANGE", data: RtcChangeData::ty },
    EventInfo { name: "BLOCK_IO_ERROR", data: BlockIoErrorData::ty },
    EventInfo { name: "DEVICE_TRAY_MOVED", data: DeviceTrayMovedData::ty },
    EventInfo { name: "VSERPORT_CHANGE", data: VserportChangeData::ty },
    EventInfo { name: "BALLOON_CHANGE", data: BalloonChangeData::ty },
    EventInfo { name: "ACPI_DEVICE_OST", data: AcpiDeviceOstData::ty },
];

/// The notice of something that happened in the machine; `None` for what QMP has no event for.
pub fn notice(event: &Event) -> Option<Notice> {
    let device = |id: &Option<String>, path: &String| DeviceData { device: id.clone(), path: path.clone() };
    let cause = |c: &gearbox_core::event::ShutdownCause| ShutdownData {
        guest: c.is_guest(),
        reason: ShutdownCause::from_name(c.name()).unwrap_or(ShutdownCause::None),
    };
    Some(match event {
        Event::Stop => Notice::new("STOP", &Empty {}),
        Event::Resume => Notice::new("RESUME", &Empty {}),
        Event::Reset(c) => Notice::new("RESET", &cause(c)),
        Event::Shutdown(c) => Notice::new("SHUTDOWN", &cause(c)),
        Event::Powerdown => Notice::new("POWERDOWN", &Empty {}),
        Event::DeviceDeleted { id, path } => Notice::new("DEVICE_DELETED", &device(id, path)),
        Event::DeviceUnplugGuestError { id, path } => Notice::new("DEVICE_UNPLUG_GUEST_ERROR", &device(id, path)),
        Event::GuestPanicked { action } => {
            let action = GuestPanicAction::from_name(action.name())?;
            Notice::new("GUEST_PANICKED", &GuestPanicData { action })
        }
        Event::GuestCrashloaded => Notice::new("GUEST_CRASHLOADED", &GuestPanicData { action: GuestPanicAction::Run }),
        Event::Watchdog { action } => {
            let action = WatchdogAction::from_name(action.name())?;
            Notice::new("WATCHDOG", &WatchdogData { action }).limited()
        }
        Event::RtcChange { offset, path } => {
            let data = RtcChangeData { offset: *offset, qom_path: path.clone() };
            Notice::new("RTC_CHANGE", &data).limited()
        }
        Event::BlockIoError { device, node, operation, action, nospace, reason } => {
            let data = BlockIoErrorData {
                device: device.clone(),
                node_name: (!node.is_empty()).then(|| node.clone()),
                operation: IoOperationType::from_name(operation)?,
                action: BlockErrorAction::from_name(action)?,
                nospace: Some(*nospace),
                reason: reason.clone(),
            };
            Notice::new("BLOCK_IO_ERROR", &data).limited()
        }
        Event::DeviceTrayMoved { device, id, tray_open } => {
            let data = DeviceTrayMovedData { device: device.clone(), id: id.clone(), tray_open: *tray_open };
            Notice::new("DEVICE_TRAY_MOVED", &data)
        }
        Event::VserportChange { id, open } => {
            Notice::new("VSERPORT_CHANGE", &VserportChangeData { id: id.clone(), open: *open }).limited_for(id)
        }
        Event::BalloonChange { actual } => {
            Notice::new("BALLOON_CHANGE", &BalloonChangeData { actual: *actual as i64 }).limited()
        }
        Event::AcpiDeviceOst { info } => {
            let info = AcpiOstInfo::decode(info.clone(), &Path::Root).ok()?;
            Notice::new("ACPI_DEVICE_OST", &AcpiDeviceOstData { info })
        }
    })
}
