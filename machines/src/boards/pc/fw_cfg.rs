//! What the firmware configuration device of a PC serves: facts of the board, and what the user adds.

use super::memory::Layout;
use super::{boot_order, numa};
use crate::acpi::Platform;
use crate::devices::fw_cfg::{BootList, FwCfg, ItemError, key};
use crate::devices::pci::piix4_pm;
use gearbox_core::machine::numa::NumaNodes;
use gearbox_core::machine::{BuildError, MachineConfig, OptionRom};

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
    let roms = config.option_roms.iter().filter_map(|rom| Some((rom.bootindex?, format!("/rom@{}", file(rom)))));
    items.set_boot_list(BootList { roms: roms.collect(), strict: config.boot.strict });
    for rom in &config.option_roms {
        items.add_file(&file(rom), rom.image.clone()).map_err(|e| wrong("option-rom", &rom.name, e))?;
    }
    for (name, bytes) in &config.fw_cfg {
        items.add_file(name, bytes.clone()).map_err(|e| wrong("fw_cfg", name, e))?;
    }
    Ok(items)
}

/// Adds the ACPI tables.
///
/// # Errors
/// The user has items of their names.
pub(super) fn add_tables(items: &mut FwCfg, platform: &Platform) -> Result<(), BuildError> {
    let mut files = crate::acpi::script(platform).firmware_files();
    files.try_for_each(|(name, bytes)| items.add_file(name, bytes).map_err(|e| wrong("fw_cfg", name, e)))
}

fn wrong(option: &'static str, value: &str, e: ItemError) -> BuildError {
    BuildError::Option { option, value: value.to_owned(), reason: e.to_string() }
}

/// The name under which firmware finds a ROM.
fn file(rom: &OptionRom) -> String {
    format!("genroms/{}", rom.name)
}
