//! `ide-hd` and `ide-cd`: drives as users name them. Realized, each becomes a part of the controller whose bus it is on.

use super::cdrom::Cdrom;
use super::channel::Part;
use super::disk::Disk;
use super::drive::{Drive as IdeDrive, Identity, Kind};
use super::geometry::{BiosTranslation, Geometry};
use super::ports::TAGS;
use crate::devices::error_policy::{ErrorPolicies, ErrorPolicy};
use gearbox_core::backend::block::{Drive, Media};
use gearbox_core::board::{BusPlace, Device, DeviceSpec, DeviceState, Realize, RealizeError};
use gearbox_core::object::{Category, Property, TypeEntry, TypeInfo};
use gearbox_core::property;

/// What both have.
#[derive(Clone, Debug, Default)]
pub struct Common {
    /// The back end.
    pub drive: Drive,
    /// What happens when the host cannot read or write.
    pub on_error: ErrorPolicies,
    /// The bus, for parts of a board; users choose it by `bus=`.
    pub bus: usize,
    /// Place on the bus; the first that is free without.
    pub unit: Option<u32>,
    /// Serial number; made up without.
    pub serial: Option<String>,
    /// Name.
    pub model: Option<String>,
    /// Version of the drive's software.
    pub version: Option<String>,
    /// World-wide name; 0 for none.
    pub wwn: u64,
    /// Place in the order in which firmware tries devices; not in it without.
    pub bootindex: Option<i32>,
}

/// A disk.
#[derive(Clone, Debug, Default)]
pub struct IdeHd {
    /// What a CD-ROM drive has, too.
    pub common: Common,
    /// Geometry; guessed without.
    pub cylinders: u32,
    /// See there.
    pub heads: u32,
    /// See there.
    pub sectors: u32,
    /// How the BIOS is told to translate it.
    pub translation: BiosTranslation,
    /// Revolutions per minute; 1 for a solid-state disk, 0 if it is not said.
    pub rotation_rate: u16,
}

/// A CD-ROM drive.
#[derive(Clone, Debug, Default)]
pub struct IdeCd {
    /// What a disk has, too.
    pub common: Common,
}

/// The drive's place in the device tree; what works is a part of the controller.
pub struct IdeDevice;

impl Device for IdeDevice {
    fn state(&mut self) -> DeviceState<'_> {
        DeviceState::none()
    }
}

macro_rules! common_properties {
    () => {
        &[
            property!("drive", Drive, common.drive, "the drive or node with the medium"),
            property!("rerror", ErrorPolicy, common.on_error.read, "what happens when the host cannot read"),
            property!("werror", ErrorPolicy, common.on_error.write, "what happens when the host cannot write"),
            property!("unit", Option<u32>, common.unit, "place on the bus, 0 or 1"),
            property!("ver", Option<String>, common.version, "version of the drive's software"),
            property!("wwn", u64, common.wwn, "world-wide name"),
            property!("serial", Option<String>, common.serial, "serial number"),
            property!("model", Option<String>, common.model, "name"),
            property!("bootindex", Option<i32>, common.bootindex, "place in the boot order"),
        ]
    };
}

impl Common {
    /// Makes the drive a part of its controller.
    fn realize(
        self,
        r: &mut Realize<'_>,
        model: &str,
        media: Media,
        writes: bool,
        kind: Kind,
    ) -> Result<(IdeDevice, ()), RealizeError> {
        for (name, text, most) in [("serial", &self.serial, 20), ("model", &self.model, 40), ("ver", &self.version, 8)]
        {
            if text.as_ref().is_some_and(|t| t.len() > most || !t.is_ascii()) {
                return Err(r.property_error(name, format!("it is longer than {most} characters, or not ASCII")));
            }
        }
        let bus = r.on_bus(&format!("ide.{}", self.bus));
        let Some(BusPlace { owner: controller, nth: channel, number, firmware_path }) = r.bus_place(&bus) else {
            return Err(r.property_error("bus", format!("Bus '{bus}' not found")));
        };
        let tag = |unit| channel as u32 * TAGS + unit;
        let free = (0..TAGS).find(|unit| !r.has_drive(controller, tag(*unit)));
        let unit = self.unit.or(free).unwrap_or(0);
        if unit >= TAGS {
            return Err(r.property_error("unit", format!("Can't create IDE unit {unit}, bus supports only 2 units")));
        }
        let tag = tag(unit);
        if r.has_drive(controller, tag) {
            return Err(r.property_error("unit", format!("IDE unit {unit} is in use")));
        }
        let identity = Identity {
            serial: self.serial.unwrap_or_else(|| format!("QM{:05}", number as u32 * TAGS + unit + 1)),
            model: self.model.unwrap_or_else(|| model.to_owned()),
            version: self.version.unwrap_or_else(|| "2.5+".to_owned()),
            wwn: self.wwn,
        };
        r.settle_property("unit", unit);
        r.settle_property("serial", &*identity.serial);
        r.settle_property("model", &*identity.model);
        r.settle_property("ver", &*identity.version);
        let backend = self.drive.backend().cloned();
        backend.iter().for_each(|b| self.on_error.apply(b));
        r.drive_of(controller, tag, &self.drive, media, writes);
        r.boot_device(self.bootindex, format!("{firmware_path}/drive@{channel:x}/disk@{unit:x}"));
        r.part(Part { unit: unit as usize, drive: IdeDrive::new(kind, identity, backend) });
        Ok((IdeDevice, ()))
    }
}

impl IdeHd {
    fn geometry(&self, r: &Realize<'_>) -> Result<Geometry, RealizeError> {
        let medium = self.common.drive.backend().and_then(|b| b.medium());
        let medium = medium.ok_or_else(|| r.property_error("drive", "Device needs media, but drive is empty"))?;
        let given = (self.cylinders, self.heads, self.sectors);
        if given == (0, 0, 0) {
            let mut first = [0; 512];
            // What cannot be read now is for the guest to find out.
            let _ = medium.read(0, &mut first);
            return Ok(Geometry::guess(medium.size() / 512, &first).translated(self.translation));
        }
        for (name, value, most) in [("cyls", given.0, 65535), ("heads", given.1, 16), ("secs", given.2, 255)] {
            if !(1..=most).contains(&value) {
                return Err(r.property_error(name, format!("{name} must be between 1 and {most}")));
            }
        }
        Ok(Geometry::given(given.0, given.1, given.2).translated(self.translation))
    }
}

impl DeviceSpec for IdeHd {
    type Device = IdeDevice;
    type Pins = ();
    const TYPE: &'static str = "ide-hd";
    const PROPERTIES: &'static [&'static [Property<Self>]] = &[
        common_properties!(),
        &[
            property!("cyls", u32, cylinders, "cylinders, guessed if 0"),
            property!("heads", u32, heads, "heads, guessed if 0"),
            property!("secs", u32, sectors, "sectors of a track, guessed if 0"),
            property!("bios-chs-trans", BiosTranslation, translation, "how the BIOS translates the geometry"),
            property!("rotation_rate", u16, rotation_rate, "revolutions per minute, 1 for none"),
        ],
    ];
    fn realize(self, r: &mut Realize<'_>) -> Result<(IdeDevice, ()), RealizeError> {
        let geometry = self.geometry(r)?;
        r.settle_property("cyls", geometry.cylinders);
        r.settle_property("heads", geometry.heads);
        r.settle_property("secs", geometry.sectors);
        r.settle_property("bios-chs-trans", geometry.translation.name());
        let disk = Disk::new(geometry, self.rotation_rate, true);
        self.common.realize(r, "QEMU HARDDISK", Media::default(), true, Kind::Disk(disk))
    }
}

impl DeviceSpec for IdeCd {
    type Device = IdeDevice;
    type Pins = ();
    const TYPE: &'static str = "ide-cd";
    const PROPERTIES: &'static [&'static [Property<Self>]] = &[common_properties!()];
    fn realize(mut self, r: &mut Realize<'_>) -> Result<(IdeDevice, ()), RealizeError> {
        if self.common.drive.backend().is_none() {
            self.common.drive = r.empty_drive();
        }
        let media = Media { removable: true, tray: true };
        self.common.realize(r, "QEMU DVD-ROM", media, false, Kind::Cdrom(Cdrom::default()))
    }
}

inventory::submit! { TypeEntry(&TypeInfo::device::<IdeHd>("ide-device", "virtual IDE disk").category(Category::Storage).not_hotpluggable()) }
inventory::submit! { TypeEntry(&TypeInfo::device::<IdeCd>("ide-device", "virtual IDE CD-ROM").category(Category::Storage).not_hotpluggable()) }
