//! The floppy controller and its drives (ACPI 6.4, 9.9: floppy controller device objects).

use super::aml::{Interrupts, Raw, device, dma, hid, name, ports, resources};
use crate::devices::floppy::DriveKind;
use acpi_tables::aml::{BufferData, Package};

/// For _FDE: there is a drive; there is none; there never is a tape drive.
const THERE: u32 = 1;
const NOT_THERE: u32 = 0;
const NEVER: u32 = 2;
/// For _FDI, what firmware answers to INT 13h, function 08h: both bytes of SPECIFY, the motor's delay, the size of sectors, the last one of a track, the gap,
/// the length of data, the gap and the byte of formatting, and how long heads settle and the motor starts.
const PARAMETERS: [u8; 11] = [0xaf, 0x02, 0x25, 0x02, 0x12, 0x1b, 0xff, 0x6c, 0xf6, 0x0f, 0x08];

/// The controller.
pub(super) fn controller(drives: [Option<DriveKind>; 2]) -> Raw {
    let irq = Interrupts { edge: true, numbers: &[6] };
    let crs = resources("_CRS", &[&ports(0x3f2, 4), &ports(0x3f7, 1), &irq, &dma(1 << 2)]);
    let there = |d: Option<DriveKind>| if d.is_some() { THERE } else { NOT_THERE };
    let [a, b] = drives.map(there);
    let there = [a, b, NOT_THERE, NOT_THERE, NEVER].iter().flat_map(|n| n.to_le_bytes()).collect();
    let mut terms = vec![hid("PNP0700"), crs];
    terms.extend(drives.into_iter().zip(0..).filter_map(|(kind, unit)| Some(drive(kind?, unit))));
    terms.push(name("_FDE", &BufferData::new(there)));
    device("FDC0", &terms)
}

/// A drive, with the numbers of its last cylinder, sector and head.
fn drive(kind: DriveKind, unit: u8) -> Raw {
    let [cylinders, heads, sectors] = kind.limits();
    let own = [unit, kind.cmos(), cylinders - 1, sectors, heads - 1];
    let all: Vec<u8> = own.into_iter().chain(PARAMETERS).collect();
    let information = Package::new(all.iter().map(|n| n as &dyn acpi_tables::Aml).collect());
    device(["FLPA", "FLPB"][usize::from(unit)], &[name("_ADR", &unit), name("_FDI", &information)])
}
