//! The PCI bus (QAPI `pci.json`).

use crate::qmp::qapi::qapi_struct;

qapi_struct! {
    /// What a base address register decodes.
    struct PciMemoryRegion {
        /// Number of the register.
        bar: i64,
        /// `io` or `memory`.
        ty = "type": String,
        /// Where it is; -1 while it is not mapped.
        address: i64,
        /// Bytes.
        size: i64,
        /// Reads have no side effects; for memory.
        prefetch: Option<bool>,
        /// It may be above 4 GiB; for memory.
        mem_type_64: Option<bool>,
    }

    /// What kind of device a function is.
    struct PciDeviceClass {
        /// For people.
        desc: Option<String>,
        /// Base class and subclass.
        class: i64,
    }

    /// Who made a function.
    struct PciDeviceId {
        /// Device.
        device: i64,
        /// Vendor.
        vendor: i64,
        /// Subsystem.
        subsystem: Option<i64>,
        /// Vendor of the subsystem.
        subsystem_vendor = "subsystem-vendor": Option<i64>,
    }

    /// A function.
    struct PciDeviceInfo {
        /// Number of its bus.
        bus: i64,
        /// Device on the bus.
        slot: i64,
        /// Function of the device.
        function: i64,
        /// Its kind.
        class_info: PciDeviceClass,
        /// Its make.
        id: PciDeviceId,
        /// The interrupt line that firmware noted, if it has an interrupt.
        irq: Option<i64>,
        /// Its interrupt pin, 0 for none.
        irq_pin: i64,
        /// Id of the device that it is.
        qdev_id: String,
        /// What it passes, if it is a bridge.
        pci_bridge: Option<PciBridgeInfo>,
        /// Its base address registers.
        regions: Vec<PciMemoryRegion>,
    }

    /// A window of a bridge.
    struct PciMemoryRange {
        /// First address.
        base: i64,
        /// Last address.
        limit: i64,
    }

    /// What a bridge says of its buses.
    struct PciBusInfo {
        /// Number of the bus in front of it.
        number: i64,
        /// Number of the bus behind it.
        secondary: i64,
        /// Highest number of the buses behind it.
        subordinate: i64,
        /// Ports that pass.
        io_range: PciMemoryRange,
        /// Memory that passes.
        memory_range: PciMemoryRange,
        /// Memory that passes and may be prefetched.
        prefetchable_range: PciMemoryRange,
    }

    /// A bridge.
    struct PciBridgeInfo {
        /// Its registers.
        bus: PciBusInfo,
        /// What is behind it, once firmware has given the bus a number.
        devices: Option<Vec<PciDeviceInfo>>,
    }

    /// A bus.
    struct PciInfo {
        /// Its number.
        bus: i64,
        /// The functions on it.
        devices: Vec<PciDeviceInfo>,
    }
}
