//! The PC with an i440FX chipset: QEMU's `pc-i440fx` machines.

mod boot_order;
mod direct;
mod drives;
mod firmware;
mod flash;
mod fw_cfg;
mod kernel;
mod memory;
mod numa;
mod versions;

use crate::acpi::Processor;
use crate::boot;
use crate::devices::a20::A20;
use crate::devices::floppy::{self, IsaFdc};
use crate::devices::hpet::Hpet;
use crate::devices::i8042::I8042;
use crate::devices::i8254::Pit;
use crate::devices::i8257::Dma;
use crate::devices::i8259::Pic;
use crate::devices::ide::piix::PiixIde;
use crate::devices::ioapic::IoApic;
use crate::devices::mc146818::Rtc;
use crate::devices::parallel::Parallel;
use crate::devices::pci::host::PciHost;
use crate::devices::pci::i440fx::I440fx;
use crate::devices::pci::piix3::Piix3;
use crate::devices::pci::piix4_pm::Piix4Pm;
use crate::devices::port92::Port92;
use crate::devices::serial::{COM, Serial};
use crate::devices::vga::Vga;
use crate::smbios;
use direct::DirectBoot;
use gearbox_core::backend::block::{DriveMedia, DrivePlace};
use gearbox_core::board::{Board, BoardState, DeviceSpec, ISA_IRQS};
use gearbox_core::machine::{BootError, BuildError, CompatProperty, MachineConfig, MachineType, Wiring};
use gearbox_core::pci::Devfn;
use memory::Layout;
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
/// The input through which the second interrupt controller reaches the first.
const CASCADE: u8 = 2;
/// Where devices are that have no better place.
const UNATTACHED: &str = "/machine/unattached/device[*]";
/// Where devices are that users ask for, and do not name.
const ANONYMOUS: &str = "/machine/peripheral-anon/device[*]";
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
    fn properties(&self) -> &'static [(&'static str, &'static str, &'static str)] {
        &[
            ("hpet", "on|off", "Enable High Precision Event Timers"),
            ("pflash0", "node or drive", "the flash chip with the firmware"),
            ("pflash1", "node or drive", "the flash chip with the firmware's variables"),
            ("smbios-entry-point-type", "32|64", "SMBIOS Entry Point type [32, 64]"),
            ("smm", "on|off|auto", "Enable SMM"),
        ]
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
        check(config)?;
        let layout = Layout::new(config.ram_size);
        let (wiring, platform, smbios) = board.with(|s| self.realize(config, layout, s))?;
        let boot = match &config.kernel {
            Some(kernel) if !firmware::given(config) => {
                let wrong = |reason| BootError { what: "firmware tables".into(), reason };
                let (smbios, start) = smbios.place(memory::TABLES.0);
                let mut tables = crate::acpi::build(&platform, start, memory::TABLES.1).map_err(wrong)?;
                tables.blobs.extend(smbios);
                let image = boot::prepare(kernel, &layout.map(), Some(tables.rsdp))?;
                Some(Box::new(DirectBoot { image, tables: tables.blobs, platform, layout }) as _)
            }
            _ => None,
        };
        Ok(Wiring { boot, ..wiring })
    }
}

/// Refuses what the machine cannot be, all of it together.
fn check(config: &MachineConfig) -> Result<(), BuildError> {
    let mut wrong = Vec::new();
    let mut refuse = |option, value: String, reason: String| wrong.push(BuildError::Option { option, value, reason });
    if !(memory::LEAST..=memory::MOST).contains(&config.ram_size) || !config.ram_size.is_multiple_of(4096) {
        refuse("m", config.ram_size.to_string(), "1 MiB to 64 GiB in whole pages are possible".into());
    }
    let cpus = config.topology.total();
    if !(1..=MAX_CPUS).contains(&cpus) {
        refuse("smp", cpus.to_string(), format!("1 to {MAX_CPUS} CPUs are possible"));
    }
    if config.serials.len() > COM.len() {
        refuse("serial", config.serials.len().to_string(), format!("the machine has {} serial ports", COM.len()));
    }
    for (name, value) in &config.properties {
        match (&**name, &**value) {
            ("smm", "on" | "off" | "auto") | ("hpet", "on" | "off") => {}
            ("hpet", _) => refuse("machine", format!("hpet={value}"), "it is on or off".into()),
            ("smbios-entry-point-type", "32" | "64") => {}
            ("smbios-entry-point-type", _) => {
                refuse("machine", format!("smbios-entry-point-type={value}"), "it is 32 or 64".into());
            }
            (property, _) if flash::PROPERTIES.contains(&property) => {}
            ("smm", _) => refuse("machine", format!("smm={value}"), "it is on, off or auto".into()),
            _ => refuse("machine", name.clone(), "the machine has no such property".into()),
        }
    }
    match wrong.len() {
        0 => Ok(()),
        1 => Err(wrong.remove(0)),
        _ => Err(BuildError::Several(wrong)),
    }
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
        firmware::map(config, s, ram.pci)?;
        let present = |n: usize| config.serials.get(n).is_some_and(Option::is_some);

        let a20 = s.realize(UNATTACHED, A20)?;

        // Host bridge, interrupt controllers.
        s.realize("/machine/i440fx", PciHost)?;
        let smm = has_smm(config, s)?;
        let bridge = I440fx { ram: ram.low, ram_below_4g: layout.low, pci_memory: ram.pci, smm };
        s.realize(UNATTACHED, bridge)?;
        let pic = s.realize(UNATTACHED, Pic)?;
        let ioapic = s.realize("/machine/i440fx/ioapic", IoApic::default())?;
        // Each interrupt goes to both controllers; the timer is on the I/O APIC's input 2.
        for irq in (0..ISA_IRQS as u8).filter(|&irq| irq != CASCADE) {
            s.feed_isa_irq(irq, pic.irq.get(irq.into()));
            s.feed_isa_irq(irq, ioapic.intin.get(if irq == 0 { 2 } else { irq.into() }));
        }

        // The PIIX3 and its functions.
        let piix3 = s.realize(UNATTACHED, Piix3 { slot: PIIX_SLOT })?;
        let ide = s.realize(UNATTACHED, PiixIde { at: Devfn::new(PIIX_SLOT, 1) })?;
        let cpus = processors(s, config).map(|p| (p.apic_id, p.present)).collect();
        // Users bring it, as they may any card; the function says whether it is there all the same.
        let parallel = config.devices.iter().any(|d| d.type_name == Parallel::TYPE);
        let pm = Piix4Pm { at: PM, serials: [present(0), present(1)], parallel, cpus };
        let pm = s.realize(UNATTACHED, pm)?;
        PIRQ_TARGETS.into_iter().for_each(|irq| s.connect_isa_irq(piix3.irq[usize::from(irq)], irq));
        s.connect_isa_irq(pm.sci, SCI);
        if config.vga {
            s.realize(UNATTACHED, Vga::default())?;
        }

        // ISA devices.
        let [bytes, words] = Dma::PC;
        let dma = s.realize(UNATTACHED, bytes)?;
        s.realize(UNATTACHED, words)?;
        let fdc = s.realize(UNATTACHED, IsaFdc { dma: dma.pins.clone() })?;
        s.connect(dma.ready[floppy::DMA], fdc.ready.get(0));
        let pit = s.realize(UNATTACHED, Pit)?;
        let [first, later] = boot_order::cmos(&config.boot)?;
        let cpus = processors(s, config).filter(|p| p.present).count() as u16;
        let memory = cmos(cpus, layout).into_iter().chain(first).collect();
        let rtc = s.realize(UNATTACHED, Rtc { config: config.rtc, memory, memory_at_reset: later.to_vec() })?;
        let keyboard = s.realize(UNATTACHED, I8042)?;
        let port92 = s.realize(UNATTACHED, Port92)?;
        s.connect(keyboard.a20, a20.enable.get(0));
        s.connect(port92.a20, a20.enable.get(1));
        s.connect_isa_irq(keyboard.irq_keyboard, 1);
        if has_hpet(config) {
            // It may take the place of the 8254 and of the RTC, so that their interrupts come through it.
            let hpet = s.realize(UNATTACHED, Hpet::default())?;
            s.connect(pit.out0, hpet.legacy.get(0));
            s.connect(rtc.irq, hpet.legacy.get(1));
            s.connect_isa_irq(hpet.irq[0], 0);
            s.connect_isa_irq(hpet.irq[8], 8);
            s.connect(hpet.irq[2], ioapic.intin.get(2));
        } else {
            s.connect_isa_irq(pit.out0, 0);
            s.connect_isa_irq(rtc.irq, 8);
        }
        s.connect_isa_irq(keyboard.irq_mouse, 12);
        for (n, chardev) in (0..).zip(&config.serials).filter(|(_, c)| c.is_some()) {
            s.realize(UNATTACHED, Serial::com(n, chardev.clone()))?;
        }
        let fw_cfg = s.realize("/machine/fw_cfg", fw_cfg::items(config, cpus, &nodes, layout)?)?;
        drives::realize(config, s)?;
        config.add_devices(s)?;
        drives::describe(s, ide.id, fdc.id, rtc.id);

        let platform = direct::platform(s, config, nodes, layout);
        let smbios = smbios::build(&self.smbios(config, layout, s));
        fw_cfg::add_tables(s, fw_cfg.id, platform.clone(), &smbios)?;
        let smi = smm.then_some(pm.smi);
        let wiring = Wiring { intr: Some(pic.intr), smi, power_button: Some(pm.power_button), boot: None };
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

/// Contents of CMOS RAM (QEMU's `pc_cmos_init`).
fn cmos(cpus: u16, layout: Layout) -> Vec<(u8, u8)> {
    /// Equipment: FPU, PS/2 mouse.
    const EQUIPMENT: u8 = 0x02 | 0x04;
    let mut bytes = layout.cmos();
    bytes.push((0x14, EQUIPMENT));
    bytes.push((0x5f, cpus.saturating_sub(1) as u8));
    bytes
}
