//! What firmware does on this board before an operating system starts, for machines that boot a kernel without firmware.

use super::setup::Setup;
use super::{PM, SCI};
use crate::acpi::{Hotplug, HotplugBus, PciInterrupt, Platform, PowerManagement};
use crate::boards::at;
use crate::boards::at::memory::Layout;
use crate::devices::cpu_hotplug;
use crate::devices::floppy::FdcDevice;
use crate::devices::hpet;
use crate::devices::ioapic::IOAPIC_BASE;
use crate::devices::pci::{self, piix3, piix4_pm};
use crate::devices::pvpanic::PvPanicDevice;
use crate::devices::vmgenid::VmGenIdDevice;
use gearbox_core::board::{Board, BoardState};
use gearbox_core::machine::numa::NumaNodes;
use gearbox_core::machine::{Boot, BootError, MachineConfig};
use gearbox_core::pci::{BusId, Devfn, IntxPin, PciBus};
use gearbox_core::x86::state::X86State;

/// Interrupts that PIRQA to PIRQD are routed to.
pub(super) const PIRQ_IRQS: [u8; 4] = [10, 10, 11, 11];
/// Where the power management ports go.
pub(super) const PM_BASE: u16 = 0x600;

/// What the tables tell of this board.
pub(super) fn platform(s: &mut BoardState, config: &MachineConfig, nodes: NumaNodes, layout: Layout) -> Platform {
    let ids: Vec<_> = s.devices().map(|(id, ..)| id).collect();
    let (serials, parallels) = (at::direct::serials(s), at::direct::parallels(s));
    let generation = ids.iter().find_map(|&id| Some(s.device::<VmGenIdDevice>(id)?.guid()));
    let pvpanic = ids.iter().find_map(|&id| s.device::<PvPanicDevice>(id)?.port());
    let floppies = ids.iter().find_map(|&id| Some(s.device::<FdcDevice>(id)?.kinds())).unwrap_or_default();
    let pci = &s.fabric.pci;
    let pci_interrupts = pci.functions(BusId::ROOT).filter_map(|(_, owner, _)| Some(interrupt(pci.root_pin(owner)?)));
    let pci_interrupts = pci_interrupts.collect();
    Platform {
        processors: super::processors(s, config).collect(),
        numa: at::numa::platform(config, nodes, layout),
        ioapic: IOAPIC_BASE as u32,
        pci_memory: layout.hole(),
        pm: Some(PowerManagement {
            base: PM_BASE,
            gpe0: piix4_pm::GPE0,
            gpe0_len: piix4_pm::GPE0_LEN,
            sci: SCI,
            command: (piix4_pm::APM_CONTROL, piix4_pm::ACPI_ENABLE, piix4_pm::ACPI_DISABLE),
            reset: (piix3::RESET_CONTROL, piix3::RESET_EVERYTHING),
            s5: piix4_pm::SLEEP_S5,
        }),
        hotplug: Some(Hotplug {
            pci: pci::hotplug::BASE,
            pci_root: hotplug_bus(pci, BusId::ROOT),
            cpus: cpu_hotplug::BASE,
        }),
        serials,
        parallels,
        pvpanic,
        generation,
        floppies,
        mouse: true,
        hpet: super::has_hpet(config).then_some(hpet::BASE as u32),
        pci_interrupts,
        more: config.acpi_tables.clone(),
    }
}

/// A bus as hot-plug knows it.
fn hotplug_bus(pci: &PciBus, bus: BusId) -> HotplugBus {
    let behind = |owner| Some(hotplug_bus(pci, pci.behind_bridge(owner)?));
    let bridges = pci.functions(bus).filter_map(|(at, owner, _)| Some((at, behind(owner)?)));
    HotplugBus { bus, slots: !pci.fixed_slots(bus), bridges: bridges.collect() }
}

/// Where a pin of the root bus leads, once [`Setup`] has routed it.
pub(super) fn interrupt((at, pin): (Devfn, IntxPin)) -> PciInterrupt {
    let irq = match at {
        // Power management: its pin is the SCI.
        at if at == PM => SCI,
        at => PIRQ_IRQS[piix3::pirq(u32::from(at.slot()) * 4 + pin as u32)],
    };
    PciInterrupt { slot: at.slot(), pin: pin as u8, irq }
}

/// Direct boot on this board.
pub(super) struct DirectBoot {
    pub(super) common: at::direct::DirectBoot,
}

impl Boot for DirectBoot {
    fn enter(&self, board: &Board, state: &mut X86State) -> Result<(), BootError> {
        let setup = Setup(board);
        setup.chipset();
        setup.pci(self.common.layout);
        self.common.enter(board, state)
    }
}
