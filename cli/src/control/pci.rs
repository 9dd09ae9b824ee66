//! `query-pci`.

use super::{Control, Result};
use crate::board::{BoardState, DeviceId};
use crate::qmp::types::pci::{PciDeviceClass, PciDeviceId, PciDeviceInfo, PciInfo, PciMemoryRegion};
use gearbox_core::pci::{BarInfo, BarKind, ConfigSpace, Devfn, reg};

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
            let devices: Vec<_> =
                s.fabric.pci.functions().map(|(at, owner, config)| describe(s, at, owner, config)).collect();
            if devices.is_empty() { Vec::new() } else { vec![PciInfo { bus: 0, devices }] }
        }))
    }
}

fn describe(s: &BoardState, at: Devfn, owner: DeviceId, config: &ConfigSpace) -> PciDeviceInfo {
    // The byte below the class code is the programming interface.
    let class = config.word(reg::CLASS + 1);
    let number = |offset| i64::from(config.word(offset));
    let pin = config.interrupt_pin().map_or(0, |pin| pin as i64 + 1);
    PciDeviceInfo {
        bus: 0,
        slot: at.slot().into(),
        function: at.function().into(),
        class_info: PciDeviceClass {
            desc: CLASSES.iter().find(|(c, _)| *c == class).map(|(_, name)| (*name).to_owned()),
            class: class.into(),
        },
        id: PciDeviceId {
            device: number(reg::DEVICE_ID),
            vendor: number(reg::VENDOR_ID),
            subsystem: Some(number(reg::SUBSYSTEM_ID)),
            subsystem_vendor: Some(number(reg::SUBSYSTEM_VENDOR_ID)),
        },
        irq: (pin > 0).then(|| config.byte(reg::INTERRUPT_LINE).into()),
        irq_pin: pin,
        qdev_id: s.device_name(owner).unwrap_or_default().to_owned(),
        regions: s.fabric.pci.bars(owner).map(region).collect(),
    }
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
