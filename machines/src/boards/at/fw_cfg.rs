//! What the firmware configuration device of a PC serves: facts of the board, and what the user adds.

use super::memory::Layout;
use super::{boot_order, kernel, numa};
use crate::devices::fw_cfg::{BootList, FwCfg, ItemError, key};
use crate::devices::hpet;
use gearbox_core::board::{BoardState, Rom};
use gearbox_core::machine::numa::NumaNodes;
use gearbox_core::machine::{BuildError, MachineConfig, OptionRom};
use std::collections::BTreeMap;

/// The items of every board, to which it adds its own; a kernel is among them if firmware `boots_kernel`.
///
/// # Errors
/// An item of the user's that cannot be.
pub(in crate::boards) fn items(
    config: &MachineConfig,
    cpus: u16,
    nodes: &NumaNodes,
    layout: Layout,
    boots_kernel: bool,
    s: &mut BoardState,
) -> Result<FwCfg, BuildError> {
    let files = BTreeMap::from([("etc/e820".to_owned(), layout.ram().into())]);
    let mut items = FwCfg::with_files(files);
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
    items.set(key::HPET, hpet::item(false));
    let kernel = config.kernel.as_ref().filter(|_| boots_kernel);
    let loader = kernel.map(|kernel| kernel::items(config, kernel, layout, &mut items)).transpose()?;
    let option_roms: Vec<_> = loader.into_iter().chain(config.option_roms.iter().cloned()).collect();
    let roms = option_roms.iter().filter_map(|rom| Some((rom.bootindex?, format!("/rom@{}", file(rom)))));
    items.set_boot_list(BootList { roms: roms.collect(), strict: config.boot.strict });
    for rom in &option_roms {
        s.show_rom(Rom::file(&file(rom), rom.image.len()));
        items.add_file(&file(rom), rom.image.clone()).map_err(|e| wrong("option-rom", &rom.name, &e))?;
    }
    for (name, bytes) in &config.fw_cfg {
        items.add_file(name, bytes.clone()).map_err(|e| wrong("fw_cfg", name, &e))?;
    }
    Ok(items)
}

/// What is wrong with an item, by the option that brings it.
pub(in crate::boards) fn wrong(option: &'static str, value: &str, e: &ItemError) -> BuildError {
    BuildError::Option { option, value: value.to_owned(), reason: e.to_string() }
}

/// The name under which firmware finds a ROM.
fn file(rom: &OptionRom) -> String {
    format!("genroms/{}", rom.name)
}
