//! The PC with an i440FX chipset: QEMU's `pc-i440fx` machines.

mod direct;
mod flash;
mod setup;
mod tables;
mod versions;

use super::at::memory::{self, Layout};
use super::at::{self, CLOCK_IRQ, TIMER_IRQ, UNATTACHED, drives, firmware, fw_cfg, numa};
use crate::acpi::Processor;
use crate::boot;
use crate::devices::fw_cfg::key;
use crate::devices::hpet::{self, Hpet};
use crate::devices::ide::piix::{PiixIde, PiixIdeDevice};
use crate::devices::ioapic::IoApic;
use crate::devices::parallel::Parallel;
use crate::devices::pci::host::PciHost;
use crate::devices::pci::i440fx::I440fx;
use crate::devices::pci::piix3::Piix3;
use crate::devices::pci::piix4_pm::{Piix4Pm, SLEEP_S5};
use crate::devices::vga::Vga;
use crate::smbios;
use direct::DirectBoot;
use gearbox_core::backend::block::{DriveMedia, DrivePlace};
use gearbox_core::board::{Board, BoardState, DeviceSpec};
use gearbox_core::machine::{
    BootError, BuildError, CompatProperty, MachineConfig, MachineProperty, MachineType, Wiring,
};
use gearbox_core::mem::RegionId;
use gearbox_core::pci::Devfn;
use std::sync::Arc;
use versions::PcVersion;

/// Slot of the PIIX3 and its functions.
const PIIX_SLOT: u8 = 1;
/// Its power management.
const PM: Devfn = Devfn::new(PIIX_SLOT, 3);
/// The interrupt of ACPI.
const SCI: u8 = 9;
/// Interrupts that a PIRQ can be routed to (290550, PIRQRC).
const PIRQ_TARGETS: [u8; 11] = [3, 4, 5, 6, 7, 9, 10, 11, 12, 14, 15];
/// For S0 to S5, the sleep type, with bit 7 where the machine has the state. S3 and S4 are switched off.
const SLEEP_STATES: [u8; 6] = [0x80, 0, 0, 1, 2, 0x80 | SLEEP_S5];
/// Most vCPUs: what 8-bit APIC ids can name.
const MAX_CPUS: u32 = 255;

impl MachineType for PcVersion {
    fn name(&self) -> &'static str {
        self.name
    }
    fn alias(&self) -> Option<&'static str> {
        self.is_latest().then_some("pc")
    }
    fn description(&self) -> &'static str {
        "Standard PC (i440FX + PIIX, 1996)"
    }
    fn is_default(&self) -> bool {
        self.is_latest()
    }
    fn max_cpus(&self) -> u32 {
        MAX_CPUS
    }
    fn parent_type(&self) -> &'static str {
        "generic-pc-machine"
    }
    fn compat(&self) -> Vec<CompatProperty> {
        self.compat()
    }
    fn deprecated(&self) -> bool {
        self.deprecated()
    }
    fn default_cpu_type(&self) -> Option<&'static str> {
        Some("qemu64-x86_64-cpu")
    }
    fn properties(&self) -> &'static [MachineProperty] {
        const fn property(
            name: &'static str,
            (kind, values): (&'static str, &'static [&'static str]),
            default: Option<&'static str>,
            description: &'static str,
        ) -> MachineProperty {
            MachineProperty { name, kind, values, default, description }
        }
        const BOOL: (&str, &[&str]) = ("bool", &["on", "off"]);
        const ON_OFF_AUTO: (&str, &[&str]) = ("OnOffAuto", &["on", "off", "auto"]);
        const ALL: &[MachineProperty] = &[
            property("hpet", BOOL, Some("on"), "Enable/disable high precision event timer emulation"),
            property("pflash0", ("str", &[]), None, "Node name or drive of the flash chip with the firmware"),
            property(
                "pflash1",
                ("str", &[]),
                None,
                "Node name or drive of the flash chip with the firmware's variables",
            ),
            property("smbios-entry-point-type", ("str", &["32", "64"]), Some("32"), "SMBIOS Entry Point type [32, 64]"),
            property("smm", ON_OFF_AUTO, Some("auto"), "Enable SMM"),
        ];
        ALL
    }
    fn has_vga(&self) -> bool {
        true
    }
    fn default_drives(&self) -> &'static [(DrivePlace, DriveMedia)] {
        &drives::DEFAULT
    }
    fn default_firmware(&self) -> Option<&'static str> {
        Some("bios-256k.bin")
    }
    fn hotpluggable_cpus(&self) -> bool {
        true
    }
    fn numa_mem_supported(&self) -> bool {
        self.numa_mem_supported()
    }
    fn default_ram_id(&self) -> Option<&'static str> {
        Some("pc.ram")
    }
    fn build(&self, config: &MachineConfig, board: &Arc<Board>) -> Result<Wiring, BuildError> {
        check(config, self.properties())?;
        let layout = Layout::new(config.ram_size);
        let (wiring, platform, smbios) = board.with(|s| self.realize(config, layout, s))?;
        let boot = match &config.kernel {
            Some(kernel) if !firmware_given(config) => {
                let wrong = |reason| BootError { what: "firmware tables".into(), reason };
                let (smbios, start) = smbios.place(memory::TABLES.0);
                let mut tables = crate::acpi::build(&platform, start, memory::TABLES.1).map_err(wrong)?;
                tables.blobs.extend(smbios);
                let image = boot::prepare(kernel, &layout.map(), Some(tables.rsdp))?;
                let crate::acpi::Platform { serials, parallels, .. } = platform;
                let tables = tables.blobs;
                let common = at::direct::DirectBoot { image, tables, layout, serials, parallels };
                Some(Box::new(DirectBoot { common }) as _)
            }
            _ => None,
        };
        Ok(Wiring { boot, ..wiring })
    }
}

/// Refuses what the machine cannot be, all of it together.
fn check(config: &MachineConfig, properties: &[MachineProperty]) -> Result<(), BuildError> {
    let mut wrong = at::check(config, properties, firmware_given(config));
    let cpus = config.topology.total();
    if !(1..=MAX_CPUS).contains(&cpus) {
        let (value, reason) = (cpus.to_string(), format!("1 to {MAX_CPUS} CPUs are possible"));
        wrong.push(BuildError::Option { option: "smp", value, reason });
    }
    at::together(wrong)
}

/// Does the user want firmware, although there may be a kernel?
fn firmware_given(config: &MachineConfig) -> bool {
    config.firmware.is_some() || flash::given(config)
}

/// The ROMs, in PCI memory space where they are below 1 MiB; the firmware's may be flash chips.
fn roms(config: &MachineConfig, s: &mut BoardState, pci: RegionId) -> Result<(), BuildError> {
    if !flash::realize(config, s, pci)? {
        firmware::map_image(config, s, pci, firmware::Kind::Rom)?;
    }
    firmware::map_option_roms(s, pci, firmware::Kind::Rom)
}

impl PcVersion {
    /// The schematic.
    fn realize(
        &self,
        config: &MachineConfig,
        layout: Layout,
        s: &mut BoardState,
    ) -> Result<(Wiring, crate::acpi::Platform, smbios::Tables), BuildError> {
        let nodes = numa::nodes(config)?;
        let ram = layout.realize(config, &nodes, s)?;
        roms(config, s, ram.pci)?;
        let present = |n: usize| config.serials.get(n).is_some_and(Option::is_some);

        // The host bridge; the PIIX3 and its functions.
        s.realize("/machine/i440fx", PciHost)?;
        let smm = has_smm(config, s)?;
        let bridge = I440fx { ram: ram.low, ram_below_4g: layout.low, pci_memory: ram.pci, smm };
        s.realize(UNATTACHED, bridge)?;
        let piix3 = s.realize(UNATTACHED, Piix3 { slot: PIIX_SLOT })?;
        let ide = s.realize(UNATTACHED, PiixIde { at: Devfn::new(PIIX_SLOT, 1) })?;
        let cpus = processors(s, config).map(|p| (p.apic_id, p.present)).collect();
        // Users may bring it as a card; the function says whether it is there all the same.
        let on_board = config.parallels.iter().any(Option::is_some);
        let parallel = on_board || config.devices.iter().any(|d| d.type_name == Parallel::TYPE);
        let pm = Piix4Pm { at: PM, serials: [present(0), present(1)], parallel, cpus };
        let pm = s.realize(UNATTACHED, pm)?;
        PIRQ_TARGETS.into_iter().for_each(|irq| s.connect_isa_irq(piix3.irq[usize::from(irq)], irq));
        s.connect_isa_irq(pm.sci, SCI);
        if config.vga {
            s.realize(UNATTACHED, Vga::default())?;
        }

        // The ISA half.
        let cpus = processors(s, config).filter(|p| p.present).count() as u16;
        let isa = at::realize(config, layout, cpus, s)?;

        // Each interrupt goes to the I/O APIC too; the timer is on its input 2.
        let ioapic = s.realize("/machine/i440fx/ioapic", IoApic::default())?;
        for irq in at::irqs() {
            s.feed_isa_irq(irq, ioapic.intin.get(if irq == TIMER_IRQ { 2 } else { irq.into() }));
        }
        if has_hpet(config) {
            // It may take the place of the 8254 and of the RTC, so that their interrupts come through it.
            let hpet = s.realize(UNATTACHED, Hpet::default())?;
            s.connect(isa.timer, hpet.legacy.get(0));
            s.connect(isa.clock, hpet.legacy.get(1));
            s.connect_isa_irq(hpet.irq[0], TIMER_IRQ);
            s.connect_isa_irq(hpet.irq[8], CLOCK_IRQ);
            s.connect(hpet.irq[2], ioapic.intin.get(2));
        } else {
            s.connect_isa_irq(isa.timer, TIMER_IRQ);
            s.connect_isa_irq(isa.clock, CLOCK_IRQ);
        }

        // What firmware is told, and what users bring.
        let mut items = fw_cfg::items(config, cpus, &nodes, layout, firmware_given(config), s)?;
        items.set(key::HPET, hpet::item(has_hpet(config)));
        items
            .add_file("etc/system-states", SLEEP_STATES)
            .map_err(|e| fw_cfg::wrong("fw_cfg", "etc/system-states", &e))?;
        let fw_cfg = s.realize("/machine/fw_cfg", items)?;
        drives::realize(config, s)?;
        config.add_devices(s)?;
        drives::describe(s, isa.fdc, isa.rtc, |s, bus, unit| s.device::<PiixIdeDevice>(ide.id)?.geometry(bus, unit));

        let platform = direct::platform(s, config, nodes, layout);
        let smbios = smbios::build(&self.smbios(config, layout, s));
        tables::add(s, fw_cfg.id, platform.clone(), &smbios)?;
        let smi = smm.then_some(pm.smi);
        let wiring = Wiring { intr: Some(isa.pic.intr), smi, power_button: Some(pm.power_button), boot: None };
        Ok((wiring, platform, smbios))
    }
    /// What SMBIOS tells of the machine.
    fn smbios(&self, config: &MachineConfig, layout: Layout, s: &mut BoardState) -> smbios::System {
        smbios::System {
            product: self.description(),
            version: self.name,
            uuid: config.uuid,
            topology: config.topology,
            processor: s.cpu_signature(0).unwrap_or(0),
            ram: config.ram_size,
            areas: layout.areas(),
            user: config.smbios.clone(),
        }
    }
}

/// Whether there are event timers.
fn has_hpet(config: &MachineConfig) -> bool {
    config.property("hpet").is_none_or(|value| value == "on")
}

/// Whether there is system management mode: by default, where the accelerator has it.
fn has_smm(config: &MachineConfig, s: &BoardState) -> Result<bool, BuildError> {
    match config.property("smm") {
        Some("on") if !s.has_smm => Err(BuildError::Option {
            option: "machine",
            value: "smm=on".into(),
            reason: "System Management Mode not supported by this hypervisor.".into(),
        }),
        Some("off") => Ok(false),
        _ => Ok(s.has_smm),
    }
}

/// The processors that there can be.
fn processors(s: &BoardState, config: &MachineConfig) -> impl Iterator<Item = Processor> {
    let topology = config.topology;
    (0..topology.total()).map(move |n| Processor { apic_id: topology.apic_id(n), present: s.cpu(n).is_some() })
}
