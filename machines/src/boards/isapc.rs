//! The PC without PCI: QEMU's `isapc`, an AT with a 486.

use super::at::memory::Layout;
use super::at::{self, CLOCK_IRQ, TIMER_IRQ, UNATTACHED, drives, firmware, fw_cfg, numa};
use crate::boot;
use crate::devices::fw_cfg::key;
use crate::devices::ide::isa::{IsaIde, IsaIdeDevice};
use crate::devices::isa_bus::IsaBus;
use crate::devices::vga::IsaVga;
use crate::smbios::legacy;
use gearbox_core::backend::block::{DriveMedia, DrivePlace};
use gearbox_core::board::{Board, BoardState};
use gearbox_core::machine::{BuildError, MachineConfig, MachineEntry, MachineProperty, MachineType, Wiring};
use std::sync::Arc;

/// QEMU's `isapc`.
struct IsaPc;

inventory::submit! { MachineEntry(&IsaPc) }

impl MachineType for IsaPc {
    fn name(&self) -> &'static str {
        "isapc"
    }
    fn description(&self) -> &'static str {
        "ISA-only PC"
    }
    fn max_cpus(&self) -> u32 {
        1
    }
    fn parent_type(&self) -> &'static str {
        "generic-pc-machine"
    }
    fn default_cpu_type(&self) -> Option<&'static str> {
        Some("486-x86_64-cpu")
    }
    fn suits_own_guest(&self) -> bool {
        false
    }
    fn has_vga(&self) -> bool {
        true
    }
    fn default_drives(&self) -> &'static [(DrivePlace, DriveMedia)] {
        &drives::DEFAULT
    }
    fn default_firmware(&self) -> Option<&'static str> {
        Some("bios.bin")
    }
    fn hotpluggable_cpus(&self) -> bool {
        true
    }
    fn default_ram_id(&self) -> Option<&'static str> {
        Some("pc.ram")
    }
    /// The schematic.
    fn build(&self, config: &MachineConfig, board: &Arc<Board>) -> Result<Wiring, BuildError> {
        check(config, self.properties())?;
        let layout = Layout::without_pci(config.ram_size);
        let firmware_given = config.firmware.is_some();
        let (intr, serials, parallels) = board.with(|s| -> Result<_, BuildError> {
            let nodes = numa::nodes(config)?;
            layout.map_ram(config, &nodes, s)?;
            let root = s.memory().root();
            firmware::map_image(config, s, root, firmware::Kind::Ram)?;
            firmware::map_option_roms(s, root, firmware::Kind::Ram)?;

            s.realize(UNATTACHED, IsaBus)?;
            let isa = at::realize(config, layout, 1, s)?;
            s.connect_isa_irq(isa.timer, TIMER_IRQ);
            s.connect_isa_irq(isa.clock, CLOCK_IRQ);
            if config.vga {
                s.realize(UNATTACHED, IsaVga::default())?;
            }
            let [first, second] = IsaIde::AT;
            let ide = [s.realize(UNATTACHED, first)?.id, s.realize(UNATTACHED, second)?.id];

            let mut items = fw_cfg::items(config, 1, &nodes, layout, firmware_given, s)?;
            if let Some(entries) = smbios(config)? {
                items.set(key::SMBIOS_ENTRIES, entries);
            }
            s.realize("/machine/fw_cfg", items)?;
            drives::realize(config, s)?;
            config.add_devices(s)?;
            let disk = |s: &mut BoardState, bus: usize, unit| s.device::<IsaIdeDevice>(*ide.get(bus)?)?.geometry(unit);
            drives::describe(s, isa.fdc, isa.rtc, disk);
            Ok((isa.pic.intr, at::direct::serials(s), at::direct::parallels(s)))
        })?;
        let boot = match &config.kernel {
            Some(kernel) if !firmware_given => {
                let image = boot::prepare(kernel, &layout.map(), None)?;
                let tables = Vec::new();
                Some(Box::new(at::direct::DirectBoot { image, tables, layout, serials, parallels }) as _)
            }
            _ => None,
        };
        Ok(Wiring { intr: Some(intr), boot, ..Wiring::default() })
    }
}

/// What users say of SMBIOS; the firmware of this machine makes the tables.
fn smbios(config: &MachineConfig) -> Result<Option<Vec<u8>>, BuildError> {
    let wrong = |reason| BuildError::Option { option: "smbios", value: String::new(), reason };
    legacy::entries(&config.smbios, config.uuid).map_err(wrong)
}

/// Refuses what the machine cannot be, all of it together.
fn check(config: &MachineConfig, properties: &[MachineProperty]) -> Result<(), BuildError> {
    let mut wrong = at::check(config, properties, config.firmware.is_some());
    if !config.acpi_tables.is_empty() {
        let reason = "the machine has no ACPI".to_owned();
        wrong.push(BuildError::Option { option: "acpitable", value: String::new(), reason });
    }
    at::together(wrong)
}
