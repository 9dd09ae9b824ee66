//! The flash chips that firmware comes in (QEMU's `pc_system_flash`): the first ends at 4 GiB and holds the reset vector, the second one, for
//! variables, ends where the first begins.

use crate::boards::at::firmware;
use crate::devices::pflash::Pflash;
use gearbox_core::backend::block::{BlockBackend, DrivePlace, Interface};
use gearbox_core::board::BoardState;
use gearbox_core::machine::{BuildError, MachineConfig};
use gearbox_core::mem::RegionId;
use std::sync::Arc;

/// The machine's properties that name their drives.
pub(super) const PROPERTIES: [&str; 2] = ["pflash0", "pflash1"];
const PATHS: [&str; 2] = ["/machine/system.flash0", "/machine/system.flash1"];
/// Bytes of an erase block.
const BLOCK: u64 = 4096;
/// Most bytes of all firmware together.
const MOST: u64 = 8 << 20;

/// Are there chips?
pub(super) fn given(config: &MachineConfig) -> bool {
    config.property(PROPERTIES[0]).is_some() || !config.blocks.places(Interface::Pflash).is_empty()
}

/// The drives of the chips: those that properties name, and those of `-drive if=pflash`.
fn drives(config: &MachineConfig) -> Result<[Option<Arc<BlockBackend>>; 2], BuildError> {
    if let Some(place) = config.blocks.places(Interface::Pflash).into_iter().find(|p| (p.bus, p.unit / 2) != (0, 0)) {
        let value = format!("if=pflash,bus={},unit={}", place.bus, place.unit);
        return Err(wrong("drive", value, "the machine has two flash chips, units 0 and 1 of bus 0".into()));
    }
    let mut drives = [None, None];
    for ((n, property), drive) in (0..).zip(PROPERTIES).zip(&mut drives) {
        let place = DrivePlace { interface: Interface::Pflash, bus: 0, unit: n };
        let legacy = config.blocks.at(place).map(|(drive, _)| drive);
        *drive = match (config.property(property), legacy) {
            (Some(id), legacy) => {
                let wrong = |reason| wrong("machine", format!("{property}={id}"), reason);
                if legacy.is_some() {
                    return Err(wrong(format!("clashes with -drive if=pflash,unit={n}")));
                }
                Some(config.blocks.drive(id).map_err(|e| wrong(e.to_string()))?)
            }
            (None, legacy) => legacy,
        };
    }
    match &drives {
        [None, Some(_)] => Err(wrong("drive", "if=pflash,unit=1".into(), "pflash1 requires pflash0".into())),
        _ => Ok(drives),
    }
}

fn wrong(option: &'static str, value: String, reason: String) -> BuildError {
    BuildError::Option { option, value, reason }
}

/// Puts the chips on the board, and shows the end of the first one below 1 MiB; false if there are none.
///
/// # Errors
/// A drive that is not there, or an image of an impossible size.
pub(super) fn realize(config: &MachineConfig, s: &mut BoardState, pci: RegionId) -> Result<bool, BuildError> {
    let drives = drives(config)?;
    let mut end = 4u64 << 30;
    let mut total = 0;
    for (n, (path, drive)) in PATHS.into_iter().zip(drives).enumerate() {
        let Some(drive) = drive else { break };
        let wrong = |reason| wrong("machine", format!("{}={}", PROPERTIES[n], drive.label()), reason);
        let size = drive.medium().map_or(0, |m| m.size());
        if size == 0 || size % BLOCK != 0 {
            let label = drive.label();
            return Err(wrong(format!(
                "system firmware block device {label} has invalid size {size}; its size must be a non-zero multiple of {BLOCK:#x}"
            )));
        }
        total += size;
        if total > MOST {
            return Err(wrong(format!("combined size of system firmware exceeds {MOST} bytes")));
        }
        end -= size;
        let name = path.trim_start_matches("/machine/").to_owned();
        let chip = Pflash { drive: drive.into(), num_blocks: (size / BLOCK) as u32, sector_length: BLOCK, name };
        let chip = s.realize(path, chip)?;
        let tree = s.memory();
        tree.map(tree.root(), end, chip.pins.region, 0);
        if n == 0 {
            let low = size.min(firmware::LOW);
            let mut bytes = vec![0; low as usize];
            chip.pins.memory.read(size - low, &mut bytes);
            firmware::map_low(s, pci, &bytes)?;
        }
    }
    Ok(total > 0)
}
