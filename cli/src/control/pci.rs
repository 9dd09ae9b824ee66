//! `query-pci`.

use super::{Control, Result};
use crate::board::{BoardState, DeviceId};
use crate::qmp::types::pci::{
    PciBridgeInfo, PciBusInfo, PciDeviceClass, PciDeviceId, PciDeviceInfo, PciInfo, PciMemoryRange, PciMemoryRegion,
};
use gearbox_core::pci::bridge::{Range, reg as bridge};
use gearbox_core::pci::{BarInfo, BarKind, BusId, reg};

/// Class codes by name (PCI Code and ID Assignment Specification 1.11), those that a PC has.
const CLASSES: &[(u16, &str)] = &[
    (0x0001, "VGA controller"),
    (0x0100, "SCSI controller"),
    (0x0101, "IDE controller"),
    (0x0102, "Floppy controller"),
    (0x0106, "SATA controller"),
    (0x0200, "Ethernet controller"),
    (0x0280, "Network controller"),
    (0x0300, "VGA controller"),
    (0x0380, "Display controller"),
    (0x0401, "Audio controller"),
    (0x0500, "RAM controller"),
    (0x0600, "Host bridge"),
    (0x0601, "ISA bridge"),
    (0x0604, "PCI bridge"),
    (0x0680, "Bridge"),
    (0x0700, "Serial port"),
    (0x0701, "Parallel port"),
    (0x0c03, "USB controller"),
    (0x0c05, "SMBus"),
];

impl Control {
    /// `query-pci`: the bus and the functions on it; nothing on a machine without one.
    ///
    /// # Errors
    /// There is no machine.
    pub fn pci(&self) -> Result<Vec<PciInfo>> {
        Ok(self.machine()?.board().with(|s| {
            let devices = on_bus(s, BusId::ROOT);
            if devices.is_empty() { Vec::new() } else { vec![PciInfo { bus: 0, devices }] }
        }))
    }
}

fn on_bus(s: &BoardState, bus: BusId) -> Vec<PciDeviceInfo> {
    s.fabric.pci.functions(bus).filter_map(|(_, owner, _)| function(s, owner)).collect()
}

/// A device's function, with what is behind it.
pub(crate) fn function(s: &BoardState, owner: DeviceId) -> Option<PciDeviceInfo> {
    let pci = &s.fabric.pci;
    let (at, config) = (pci.address(owner)?, pci.config(owner)?);
    // The byte below the class code is the programming interface.
    let class = config.word(reg::CLASS + 1);
    let number = |offset| i64::from(config.word(offset));
    let pin = config.interrupt_pin().map_or(0, |pin| pin as i64 + 1);
    let mut regions: Vec<_> = pci.bars(owner).map(region).collect();
    regions.sort_by_key(|region| region.bar);
    // Bridges have no such ids.
    let subsystem = |offset| (!config.is_bridge()).then(|| number(offset));
    Some(PciDeviceInfo {
        bus: pci.number(pci.bus_of(owner)?).into(),
        slot: at.slot().into(),
        function: at.function().into(),
        class_info: PciDeviceClass {
            desc: CLASSES.iter().find(|(c, _)| *c == class).map(|(_, name)| (*name).to_owned()),
            class: class.into(),
        },
        id: PciDeviceId {
            device: number(reg::DEVICE_ID),
            vendor: number(reg::VENDOR_ID),
            subsystem: subsystem(reg::SUBSYSTEM_ID),
            subsystem_vendor: subsystem(reg::SUBSYSTEM_VENDOR_ID),
        },
        irq: (pin > 0).then(|| config.byte(reg::INTERRUPT_LINE).into()),
        irq_pin: pin,
        qdev_id: s.device_name(owner).unwrap_or_default().to_owned(),
        pci_bridge: pci.behind_bridge(owner).map(|bus| behind(s, owner, bus)),
        regions,
    })
}

fn behind(s: &BoardState, owner: DeviceId, bus: BusId) -> PciBridgeInfo {
    let config = s.fabric.pci.config(owner);
    let number = |register| config.map_or(0, |c| c.byte(register)).into();
    let range = |(base, limit): Range| PciMemoryRange { base: base.cast_signed(), limit: limit.cast_signed() };
    let [io_range, memory_range, prefetchable_range] =
        config.map_or([(0, 0); 3], |c| [c.io_window(), c.memory_window(), c.prefetchable_window()]).map(range);
    let secondary = number(bridge::SECONDARY);
    let numbers = PciBusInfo {
        number: number(bridge::PRIMARY),
        secondary,
        subordinate: number(bridge::SUBORDINATE),
        io_range,
        memory_range,
        prefetchable_range,
    };
    PciBridgeInfo { bus: numbers, devices: (secondary != 0).then(|| on_bus(s, bus)) }
}

fn region(bar: BarInfo) -> PciMemoryRegion {
    let (prefetch, wide) = match bar.kind {
        BarKind::Io => (None, None),
        BarKind::Memory32 { prefetchable } => (Some(prefetchable), Some(false)),
        BarKind::Memory64 { prefetchable } => (Some(prefetchable), Some(true)),
        BarKind::Rom => (Some(false), Some(false)),
    };
    PciMemoryRegion {
        bar: bar.index.into(),
        ty: if bar.kind.is_io() { "io" } else { "memory" }.to_owned(),
        address: bar.address.map_or(-1, u64::cast_signed),
        size: bar.size.cast_signed(),
        prefetch,
        mem_type_64: wide,
    }
}
