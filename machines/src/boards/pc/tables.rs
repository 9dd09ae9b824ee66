//! The ACPI and SMBIOS tables as firmware gets them: items of the firmware configuration device.

use crate::acpi::Platform;
use crate::boards::at::fw_cfg::wrong;
use crate::devices::fw_cfg::{Describe, FwCfgDevice};
use crate::devices::pci::piix4_pm;
use crate::smbios;
use gearbox_core::board::{BoardState, DeviceId, Rom, RomPlace};
use gearbox_core::machine::BuildError;
use std::sync::Arc;

/// Adds the ACPI and SMBIOS tables.
///
/// # Errors
/// The user has items of their names.
pub(super) fn add(
    s: &mut BoardState,
    fw_cfg: DeviceId,
    platform: Platform,
    smbios: &smbios::Tables,
) -> Result<(), BuildError> {
    let smbios =
        [("etc/smbios/smbios-anchor", smbios.anchor.clone()), ("etc/smbios/smbios-tables", smbios.structures.clone())];
    let describe = acpi_tables(platform);
    let acpi = describe(&s.fabric.pci);
    for (name, bytes) in &acpi {
        let size = bytes.len() as u64;
        s.show_rom(Rom { name: (*name).to_owned(), place: RomPlace::Tables((*name).to_owned()), size });
    }
    let Some(items) = s.device::<FwCfgDevice>(fw_cfg).map(FwCfgDevice::items) else { return Ok(()) };
    smbios
        .into_iter()
        .try_for_each(|(name, bytes)| items.add_file(name, bytes).map_err(|e| wrong("fw_cfg", name, &e)))?;
    items.add_description(acpi, describe).map_err(|e| wrong("fw_cfg", "ACPI tables", &e))
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
