//! The controller and its drives as boards and users name them.

use super::media::Drive as FloppyDrive;
use super::{DRIVES, DriveKind, FdcDevice};
use crate::devices::i8257::DmaPins;
use gearbox_core::backend::block::{Drive, Media};
use gearbox_core::board::{Device, DeviceSpec, DeviceState, Pins, Realize, RealizeError};
use gearbox_core::object::{Backends, Category, Property, PropertyValue, TypeEntry, TypeInfo, Value};
use gearbox_core::property;

/// The controller's bus.
pub const BUS: &str = "floppy-bus.0";
/// Its ports: status register B to the data register, and the one behind the IDE channel's.
const BASE: u16 = 0x3f0;
pub(super) const FIRST_PORT: u64 = 1;
const FIRST_PORTS: u16 = 5;
pub(super) const LAST_PORT: u64 = 7;
/// I/O regions.
const FIRST: u32 = 0;
pub(super) const LAST: u32 = 1;
/// Its interrupt.
const IRQ: u8 = 6;
/// Its DMA channel.
pub const DMA: usize = 2;

/// The controller before it is realized.
pub struct IsaFdc {
    /// The DMA controller.
    pub dma: DmaPins,
}

/// What a board connects.
#[derive(Clone, Copy, Debug)]
pub struct FdcPins {
    /// The DMA channel can be used.
    pub ready: Pins,
}

/// A drive before it is realized.
#[derive(Clone, Debug, Default)]
pub struct Floppy {
    /// The back end.
    pub drive: Drive,
    /// Place on the bus; the first that is free without.
    pub unit: Option<u32>,
    /// The kind of drive.
    pub drive_type: DriveType,
}

/// What kind of drive is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DriveType {
    /// That of the medium.
    #[default]
    Auto,
    /// No drive.
    None,
    /// This one.
    Kind(DriveKind),
}

impl PropertyValue for DriveType {
    const KIND: &'static str = "FdcDriveType";
    fn to_value(&self) -> Value {
        match self {
            Self::Auto => "auto",
            Self::None => "none",
            Self::Kind(kind) => kind.name(),
        }
        .into()
    }
    fn parse(text: &str, _: &dyn Backends) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "none" => Ok(Self::None),
            _ => DriveKind::from_name(text)
                .map(Self::Kind)
                .ok_or_else(|| format!("'{text}' is none of 120, 144, 288, none, auto")),
        }
    }
}

/// A drive's place in the device tree; what works is a part of the controller.
pub struct FloppyDevice;

impl Device for FloppyDevice {
    fn state(&mut self) -> DeviceState<'_> {
        DeviceState::none()
    }
}

/// What a drive gives to the controller.
pub(super) struct Part {
    pub(super) unit: usize,
    pub(super) drive: FloppyDrive,
}

inventory::submit! { TypeEntry(&TypeInfo::onboard::<IsaFdc>("isa-device", "floppy disk controller, 82078")) }
inventory::submit! { TypeEntry(&TypeInfo::device::<Floppy>("device", "virtual floppy drive").category(Category::Storage).not_hotpluggable()) }

impl DeviceSpec for IsaFdc {
    type Device = FdcDevice;
    type Pins = FdcPins;
    const TYPE: &'static str = "isa-fdc";

    fn realize(self, r: &mut Realize<'_>) -> Result<(FdcDevice, FdcPins), RealizeError> {
        r.ports(FIRST, "fdc", BASE + FIRST_PORT as u16, FIRST_PORTS);
        r.ports(LAST, "fdc", BASE + LAST_PORT as u16, 1);
        r.bus_for(BUS, "floppy-bus", false, DRIVES);
        let irq = r.isa_irq(IRQ);
        let ready = r.inputs("dma-ready", 1);
        Ok((FdcDevice::new(self.dma.channels[DMA].clone(), irq), FdcPins { ready }))
    }
}

impl DeviceSpec for Floppy {
    type Device = FloppyDevice;
    type Pins = ();
    const TYPE: &'static str = "floppy";
    const PROPERTIES: &'static [&'static [Property<Self>]] = &[&[
        property!("drive", Drive, drive, "the drive or node with the medium"),
        property!("unit", Option<u32>, unit, "place on the bus, 0 or 1"),
        property!("drive-type", DriveType, drive_type, "120, 144, 288, none or auto"),
    ]];

    fn realize(mut self, r: &mut Realize<'_>) -> Result<(FloppyDevice, ()), RealizeError> {
        /// The kind of a drive without a medium.
        const FALLBACK: DriveKind = DriveKind::K288;
        let bus = r.on_bus(BUS);
        let Some(controller) = r.bus_owner(&bus) else {
            return Err(r.property_error("unit", format!("Bus '{bus}' not found")));
        };
        let free = (0..DRIVES as u32).find(|unit| !r.has_drive(controller, *unit));
        let unit = self.unit.or(free).unwrap_or(0);
        if unit as usize >= DRIVES {
            return Err(
                r.property_error("unit", format!("Can't create floppy unit {unit}, bus supports only {DRIVES} units"))
            );
        }
        if r.has_drive(controller, unit) {
            return Err(r.property_error("unit", format!("Floppy unit {unit} is in use")));
        }
        if self.drive.backend().is_none() {
            self.drive = r.empty_drive();
        }
        let backend = self.drive.backend().cloned();
        let kind = match self.drive_type {
            DriveType::None => None,
            DriveType::Auto => {
                let medium = backend.as_ref().and_then(|b| b.medium());
                Some(medium.map_or(FALLBACK, |m| super::media::Format::of(m.size(), None).kind))
            }
            DriveType::Kind(kind) => Some(kind),
        };
        r.settle_property("unit", unit);
        r.drive_of(controller, unit, &self.drive, Media { removable: true, tray: false }, false);
        r.part(Part { unit: unit as usize, drive: FloppyDrive::new(kind, backend) });
        Ok((FloppyDevice, ()))
    }
}
