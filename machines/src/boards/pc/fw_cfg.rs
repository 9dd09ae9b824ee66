//! What the firmware configuration device of a PC serves: facts of the board, and what the user adds.

use super::memory::Layout;
use super::{boot_order, kernel, numa};
use crate::acpi::Platform;
use crate::devices::fw_cfg::{BootList, Describe, FwCfg, FwCfgDevice, ItemError, key};
use crate::devices::hpet;
use crate::devices::pci::piix4_pm;
use crate::smbios;
use gearbox_core::board::{BoardState, DeviceId};
use gearbox_core::machine::numa::NumaNodes;
use gearbox_core::machine::{BuildError, MachineConfig, OptionRom};
use std::sync::Arc;

/// For S0 to S5, the sleep type, with bit 7 where the machine has the state. S3 and S4 are switched off.
const SLEEP_STATES: [u8; 6] = [0x80, 0, 0, 1, 2, 0x80 | piix4_pm::SLEEP_S5];

/// The items.
///
/// # Errors
/// An item of the user's that cannot be.
pub(super) fn items(config: &MachineConfig, cpus: u16, nodes: &NumaNodes, layout: Layout) -> Result<FwCfg, BuildError> {
    let files = [("etc/e820", layout.ram()), ("etc/system-states", SLEEP_STATES.to_vec())];
    let files = files.into_iter().map(|(name, bytes)| (name.to_owned(), bytes.into()));
    let mut items = FwCfg::with_files(files.collect());
    // One more than the highest local APIC id: firmware sizes tables by it.
    let limit = config.topology.apic_id(config.topology.total().saturating_sub(1)) as u16 + 1;
    items.set(key::UUID, config.uuid);
    items.set(key::RAM_SIZE, config.ram_size.to_le_bytes());
    items.set(key::NB_CPUS, cpus.to_le_bytes());
    items.set(key::MAX_CPUS, limit.to_le_bytes());
    items.set(numa::ITEM, numa::item(config, nodes));
    items.set(key::NOGRAPHIC, u16::from(config.nographic).to_le_bytes());
    boot_order::items(&config.boot, &mut items);
    items.set(key::IRQ0_OVERRIDE, 1u32.to_le_bytes());
    items.set(key::HPET, event_timers(super::has_hpet(config)));
    let loader = kernel::items(config, layout, &mut items)?;
    let option_roms: Vec<_> = loader.into_iter().chain(config.option_roms.iter().cloned()).collect();
    let roms = option_roms.iter().filter_map(|rom| Some((rom.bootindex?, format!("/rom@{}", file(rom)))));
    items.set_boot_list(BootList { roms: roms.collect(), strict: config.boot.strict });
    for rom in &option_roms {
        items.add_file(&file(rom), rom.image.clone()).map_err(|e| wrong("option-rom", &rom.name, e))?;
    }
    for (name, bytes) in &config.fw_cfg {
        items.add_file(name, bytes.clone()).map_err(|e| wrong("fw_cfg", name, e))?;
    }
    Ok(items)
}

/// Adds the ACPI and SMBIOS tables.
///
/// # Errors
/// The user has items of their names.
pub(super) fn add_tables(
    s: &mut BoardState,
    fw_cfg: DeviceId,
    platform: Platform,
    smbios: &smbios::Tables,
) -> Result<(), BuildError> {
    let smbios =
        [("etc/smbios/smbios-anchor", smbios.anchor.clone()), ("etc/smbios/smbios-tables", smbios.structures.clone())];
    let describe = acpi_tables(platform);
    let acpi = describe(&s.fabric.pci);
    let Some(items) = s.device::<FwCfgDevice>(fw_cfg).map(FwCfgDevice::items) else { return Ok(()) };
    smbios
        .into_iter()
        .try_for_each(|(name, bytes)| items.add_file(name, bytes).map_err(|e| wrong("fw_cfg", name, e)))?;
    items.add_description(acpi, describe).map_err(|e| wrong("fw_cfg", "ACPI tables", e))
}

/// The ACPI tables, with the power management ports where firmware has put them.
fn acpi_tables(platform: Platform) -> Describe {
    Arc::new(move |bus| {
        let mut platform = platform.clone();
        if let Some(pm) = &mut platform.pm {
            pm.base = piix4_pm::base(bus, super::PM);
        }
        crate::acpi::script(&platform).firmware_files().collect()
    })
}

/// The event timers: how many blocks there are, or that nothing is known of them, and id and address of each of up to eight.
fn event_timers(present: bool) -> [u8; 121] {
    let mut item = [0; 121];
    item[0] = u8::MAX;
    if present {
        item[0] = 1;
        item[1..5].copy_from_slice(&hpet::BLOCK_ID.to_le_bytes());
        item[5..13].copy_from_slice(&hpet::BASE.to_le_bytes());
    }
    item
}

fn wrong(option: &'static str, value: &str, e: ItemError) -> BuildError {
    BuildError::Option { option, value: value.to_owned(), reason: e.to_string() }
}

/// The name under which firmware finds a ROM.
fn file(rom: &OptionRom) -> String {
    format!("genroms/{}", rom.name)
}
