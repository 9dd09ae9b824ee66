//! The ROMs: the firmware's at the end of the first 4 GiB, with its last 128 KiB below 1 MiB too, and the space for expansion cards' before
//! it. On boards whose chipset can put RAM over what is below 1 MiB they are ROMs; on others they are RAM, as firmware has variables there.

use super::UNATTACHED;
use crate::devices::firmware_ram::FirmwareRam;
use gearbox_core::board::{BoardState, RealizeError, Rom, RomPlace};
use gearbox_core::machine::{BuildError, MachineConfig};
use gearbox_core::mem::{RamBlock, RegionId};
use std::sync::Arc;

/// The ROM comes in units of this.
const UNIT: usize = 64 << 10;
/// The largest ROM, so that it stays clear of the APICs.
const MOST: usize = 16 << 20;
/// How much of it is seen below 1 MiB.
pub(in crate::boards) const LOW: u64 = 128 << 10;

/// Where expansion cards have their ROMs, and how much space there is.
const OPTION_ROMS: (u64, u64) = (0xc_0000, 128 << 10);
/// What an empty socket reads as.
const NOTHING: u8 = 0xff;

/// How the ROMs can be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::boards) enum Kind {
    /// Not at all.
    Rom,
    /// As RAM; a reset brings the firmware back.
    Ram,
}

/// Maps the space for ROMs of expansion cards into `space`.
///
/// # Errors
/// The host has no memory for it.
pub(in crate::boards) fn map_option_roms(s: &mut BoardState, space: RegionId, kind: Kind) -> Result<(), BuildError> {
    let (at, size) = OPTION_ROMS;
    let block = memory("pc.rom", size)?;
    let rom = region(s, &block, kind);
    s.memory().map(space, at, rom, 1);
    Ok(())
}

fn region(s: &mut BoardState, block: &Arc<RamBlock>, kind: Kind) -> RegionId {
    match kind {
        Kind::Rom => s.memory().rom(block, 0, block.size()),
        Kind::Ram => s.memory().ram(block, 0, block.size()),
    }
}

/// Maps the image that `-bios` gives, its end below 1 MiB into `space`; without one the firmware's socket is empty.
///
/// # Errors
/// It has an impossible size, or the host has no memory for it.
pub(in crate::boards) fn map_image(
    config: &MachineConfig,
    s: &mut BoardState,
    space: RegionId,
    kind: Kind,
) -> Result<(), BuildError> {
    let path = config.firmware.as_ref().map(|(_, path)| path.display().to_string()).unwrap_or_default();
    let wrong = |reason: String| BuildError::Option { option: "bios", value: path.clone(), reason };
    let empty = [NOTHING; LOW as usize];
    let image = config.firmware.as_ref().map_or(&empty[..], |(image, _)| image);
    if image.is_empty() || !image.len().is_multiple_of(UNIT) || image.len() > MOST {
        let most = MOST >> 20;
        return Err(wrong(format!("{} bytes are not a multiple of 64 KiB up to {most} MiB", image.len())));
    }
    let size = image.len() as u64;
    let block = memory("pc.bios", size)?;
    block.write(0, image);
    let rom = region(s, &block, kind);
    let tree = s.memory();
    tree.map(tree.root(), (4 << 30) - size, rom, 0);
    let low = size.min(LOW);
    let alias = tree.alias("isa-bios", rom, size - low, low);
    tree.map(space, (1 << 20) - low, alias, 1);
    if let Some((_, path)) = &config.firmware {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        s.show_rom(Rom { name, place: RomPlace::Memory { addr: (4 << 30) - size, ram: kind == Kind::Ram }, size });
    }
    if kind == Kind::Ram {
        s.realize(UNATTACHED, FirmwareRam { block, image: image.into() })?;
    }
    Ok(())
}

/// Maps a copy of the end of firmware that is not a ROM below 1 MiB.
///
/// # Errors
/// The host has no memory for it.
pub(in crate::boards) fn map_low(s: &mut BoardState, pci: RegionId, bytes: &[u8]) -> Result<(), BuildError> {
    let size = bytes.len() as u64;
    let block = memory("isa-bios", size)?;
    block.write(0, bytes);
    let rom = s.memory().rom(&block, 0, size);
    s.memory().map(pci, (1 << 20) - size, rom, 1);
    Ok(())
}

fn memory(name: &str, size: u64) -> Result<Arc<RamBlock>, BuildError> {
    let host = |source| RealizeError::Host { what: format!("{size} bytes for {name}"), source };
    Ok(RamBlock::new(name, size).map_err(host)?)
}
