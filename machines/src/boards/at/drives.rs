//! The drives that users gave to the board itself (`-drive if=ide`, `if=floppy` and `if=virtio`, `-hda`, `-cdrom`), and what CMOS RAM tells the BIOS of them (QEMU's
//! `pc_cmos_init_late`).

use super::{ANONYMOUS, UNATTACHED};
use crate::devices::floppy::{DriveKind, FdcDevice, Floppy};
use crate::devices::ide::{Common, Geometry, IdeCd, IdeHd};
use crate::devices::mc146818::RtcDevice;
use crate::devices::virtio::blk::Blk;
use crate::devices::virtio::{Generic, VirtioPci};
use gearbox_core::backend::block::{DriveMedia, DrivePlace, Interface};
use gearbox_core::board::{BoardState, DeviceId, DeviceSpec, PlugError};
use gearbox_core::machine::{BuildError, MachineConfig};

/// Drives without a medium that are there by default: a CD-ROM drive, and the first floppy drive.
pub(in crate::boards) const DEFAULT: [(DrivePlace, DriveMedia); 2] = [
    (DrivePlace { interface: Interface::Ide, bus: 1, unit: 0 }, DriveMedia::Cdrom),
    (DrivePlace { interface: Interface::Floppy, bus: 0, unit: 0 }, DriveMedia::Disk),
];

/// Buses of the controller, and places on each.
const BUSES: usize = 2;
const UNITS: usize = 2;

/// CMOS RAM: the types of the first two disks, and where each one's extended type and geometry are.
const TYPES: u8 = 0x12;
const EXTENDED_TYPES: [u8; 2] = [0x19, 0x1a];
const GEOMETRIES: [u8; 2] = [0x1b, 0x24];
/// CMOS RAM: how the geometry of each disk is translated, two bits each.
const TRANSLATIONS: u8 = 0x39;
/// In place of a type: there is an extended one; and the one for which the geometry is given.
const SEE_EXTENDED: u8 = 0x0f;
const USER_DEFINED: u8 = 47;

/// Puts the drives on their buses, those that there are.
///
/// # Errors
/// All that cannot be.
pub(in crate::boards) fn realize(config: &MachineConfig, s: &mut BoardState) -> Result<(), BuildError> {
    let mut wrong = Vec::new();
    realize_floppies(config, s)?;
    for place in config.blocks.places(Interface::Ide) {
        let DrivePlace { bus, unit, .. } = place;
        let Some((drive, media)) = config.blocks.at(place).filter(|_| (bus as usize) < BUSES) else { continue };
        let common = Common { drive: drive.into(), bus: bus as usize, unit: Some(unit), ..Common::default() };
        let realized = match media {
            DriveMedia::Disk => s.realize(UNATTACHED, IdeHd { common, ..IdeHd::default() }).map(drop),
            DriveMedia::Cdrom => s.realize(UNATTACHED, IdeCd { common }).map(drop),
        };
        wrong.extend(realized.err().map(BuildError::from));
    }
    wrong.extend(virtio(config, s));
    super::together(wrong)
}

/// Makes a device of each drive for virtio; what is wrong with them.
fn virtio(config: &MachineConfig, s: &mut BoardState) -> Vec<BuildError> {
    type Disk = VirtioPci<Blk, Generic>;
    let mut wrong = Vec::new();
    for place in config.blocks.places(Interface::Virtio) {
        let Some((drive, _)) = config.blocks.at(place) else { continue };
        if !s.buses().iter().any(|bus| bus.kind == "PCI") {
            let reason = PlugError::NoBus { bus: "PCI", device: Disk::TYPE.to_owned() }.to_string();
            let value = format!("if=virtio,bus={},unit={}", place.bus, place.unit);
            wrong.push(BuildError::Option { option: "drive", value, reason });
            continue;
        }
        let kind = Blk { drive: drive.into(), ..Blk::default() };
        let realized = s.realize(ANONYMOUS, Disk { kind, ..Disk::default() });
        wrong.extend(realized.err().map(BuildError::from));
    }
    wrong
}

/// CMOS RAM: the types of the floppy drives; equipment.
const FLOPPIES: u8 = 0x10;
const EQUIPMENT: u8 = 0x14;

/// Puts the floppy drives on their bus.
fn realize_floppies(config: &MachineConfig, s: &mut BoardState) -> Result<(), BuildError> {
    for place in config.blocks.places(Interface::Floppy) {
        if place.bus != 0 || place.unit as usize >= UNITS {
            let value = format!("if=floppy,bus={},unit={}", place.bus, place.unit);
            let reason = format!("the machine has one floppy controller with {UNITS} drives");
            return Err(BuildError::Option { option: "drive", value, reason });
        }
        let Some((drive, _)) = config.blocks.at(place) else { continue };
        s.realize(UNATTACHED, Floppy { drive: drive.into(), unit: Some(place.unit), ..Floppy::default() })?;
    }
    Ok(())
}

/// Bytes of CMOS RAM for floppy drives of these kinds: types, and what is added to the equipment.
fn floppies([a, b]: [Option<DriveKind>; 2]) -> [(u8, u8); 2] {
    let kind = |k: Option<DriveKind>| k.map_or(0, DriveKind::cmos);
    let count = [a, b].iter().flatten().count();
    [(FLOPPIES, kind(a) << 4 | kind(b)), (EQUIPMENT, [0x00, 0x01, 0x41][count])]
}

/// Tells the BIOS of the drives that there are now. `disk` looks for the one at a bus and unit.
pub(in crate::boards) fn describe(
    s: &mut BoardState,
    fdc: DeviceId,
    rtc: DeviceId,
    disk: impl Fn(&mut BoardState, usize, usize) -> Option<Geometry>,
) {
    let kinds = s.device::<FdcDevice>(fdc).map(|fdc| fdc.kinds()).unwrap_or_default();
    if let Some(rtc) = s.device::<RtcDevice>(rtc) {
        let [types, (equipment, more)] = floppies(kinds);
        rtc.set_memory(types.0, types.1);
        rtc.set_memory(equipment, rtc.memory(equipment) | more);
    }
    let places = (0..BUSES * UNITS).map(|n| (n / UNITS, n % UNITS));
    let disks: Vec<_> = places.map(|(bus, unit)| disk(s, bus, unit)).collect();
    if let Some(rtc) = s.device::<RtcDevice>(rtc) {
        cmos(&disks).into_iter().for_each(|(index, value)| rtc.set_memory(index, value));
    }
}

fn cmos(disks: &[Option<Geometry>]) -> Vec<(u8, u8)> {
    let (mut bytes, mut types, mut translations) = (Vec::new(), 0, 0);
    for (n, disk) in disks.iter().enumerate() {
        let Some(g) = disk else { continue };
        translations |= (g.translation as u8) << (2 * n);
        if n >= GEOMETRIES.len() {
            continue;
        }
        types |= SEE_EXTENDED << (4 * (1 - n));
        bytes.push((EXTENDED_TYPES[n], USER_DEFINED));
        let [low, high, ..] = g.cylinders.to_le_bytes();
        // More than eight heads; no write precompensation; the landing zone is the end.
        let control = 0xc0 | u8::from(g.heads > 8) << 3;
        let fields = [low, high, g.heads as u8, 0xff, 0xff, control, low, high, g.sectors as u8];
        bytes.extend((GEOMETRIES[n]..).zip(fields));
    }
    bytes.extend([(TYPES, types), (TRANSLATIONS, translations)]);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::ide::Translation;

    #[test]
    fn floppies_in_cmos() {
        assert_eq!(floppies([None, None]), [(0x10, 0), (0x14, 0)]);
        assert_eq!(floppies([Some(DriveKind::K144), None]), [(0x10, 0x40), (0x14, 1)]);
        assert_eq!(floppies([Some(DriveKind::K288), Some(DriveKind::K120)]), [(0x10, 0x52), (0x14, 0x41)]);
    }

    #[test]
    fn disks_in_cmos() {
        let g = |cylinders, translation| Some(Geometry { cylinders, heads: 16, sectors: 63, translation });
        let bytes = cmos(&[None, g(0x208, Translation::None), g(16383, Translation::Lba), None]);
        let at = |index| bytes.iter().find(|(i, _)| *i == index).map(|(_, v)| *v);
        assert_eq!((at(0x12), at(0x19), at(0x1a), at(0x39)), (Some(0x0f), None, Some(47), Some(0x10)));
        let geometry: Vec<_> = (0x24..0x2d).filter_map(at).collect();
        assert_eq!(geometry, [0x08, 0x02, 16, 0xff, 0xff, 0xc8, 0x08, 0x02, 63]);
    }
}
