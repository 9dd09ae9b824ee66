//! The firmware's ROM: at the end of the first 4 GiB, with its last 128 KiB below 1 MiB too, where PAM may put RAM over it.

use gearbox_core::board::BoardState;
use gearbox_core::machine::{BuildError, MachineConfig};
use gearbox_core::mem::{RamBlock, RegionId};

/// The ROM comes in units of this.
const UNIT: usize = 64 << 10;
/// The largest ROM, so that it stays clear of the APICs.
const MOST: usize = 16 << 20;
/// How much of it is seen below 1 MiB.
const LOW: u64 = 128 << 10;

/// Maps the image that `-bios` gives, if it does.
///
/// # Errors
/// It has an impossible size, or the host has no memory for it.
pub(super) fn map(config: &MachineConfig, s: &mut BoardState, pci: RegionId) -> Result<(), BuildError> {
    let Some((image, path)) = &config.firmware else { return Ok(()) };
    let wrong = |reason: String| BuildError::Option { option: "bios", value: path.display().to_string(), reason };
    if image.is_empty() || !image.len().is_multiple_of(UNIT) || image.len() > MOST {
        let most = MOST >> 20;
        return Err(wrong(format!("{} bytes are not a multiple of 64 KiB up to {most} MiB", image.len())));
    }
    let size = image.len() as u64;
    let rom = RamBlock::new("pc.bios", size).map_err(|e| wrong(e.to_string()))?;
    rom.write(0, image);
    let tree = s.memory();
    let rom = tree.rom(&rom, 0, size);
    tree.map(tree.root(), (4 << 30) - size, rom, 0);
    let low = size.min(LOW);
    let alias = tree.alias("isa-bios", rom, size - low, low);
    tree.map(pci, (1 << 20) - low, alias, 1);
    Ok(())
}
