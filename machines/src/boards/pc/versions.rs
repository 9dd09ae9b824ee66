//! Versions of the machine: what each of them had that its successor has not.
//!
//! Names and properties are those of QEMU 7.2's `pc-i440fx` machines, for the devices and CPU features that are here.

use gearbox_core::machine::{CompatProperty, MachineEntry};

/// A version of the machine, with what differs from the next one.
pub(super) struct PcVersion {
    pub(super) name: &'static str,
    /// The next version: what differs there, differs here, too.
    newer: Option<&'static PcVersion>,
    compat: &'static [CompatProperty],
}

/// Up to this version NUMA nodes may be given memory by size.
const LAST_WITH_NUMA_MEM: (u32, u32) = (5, 0);
/// Versions up to this one may go away.
const LAST_DEPRECATED: (u32, u32) = (1, 7);
/// Every version is called so, with its number after it.
const PREFIX: &str = "pc-i440fx-";

impl PcVersion {
    /// Major and minor number.
    fn number(&self) -> (u32, u32) {
        let number = self.name.strip_prefix(PREFIX).and_then(|n| n.split_once('.'));
        let part = |n: &str| n.parse().unwrap_or(0);
        number.map_or((0, 0), |(major, minor)| (part(major), part(minor)))
    }
    pub(super) fn is_latest(&self) -> bool {
        self.newer.is_none()
    }
    pub(super) fn deprecated(&self) -> bool {
        self.number() <= LAST_DEPRECATED
    }
    pub(super) fn numa_mem_supported(&self) -> bool {
        self.number() <= LAST_WITH_NUMA_MEM
    }
    /// What differs from the latest version; what came first is last, and wins.
    pub(super) fn compat(&self) -> Vec<CompatProperty> {
        let mut all = self.newer.map_or_else(Vec::new, Self::compat);
        all.extend(self.compat);
        all
    }
}

/// Makes a version of each row, the latest first, and registers it. Until 2.4 the brand strings of QEMU's own CPU models were `named` by the version.
macro_rules! versions {
    ($newer:expr;) => {};
    ($newer:expr; $id:ident $name:literal named $number:literal [$($row:tt)*] $($rest:tt)*) => {
        versions! {
            $newer;
            $id $name [
                ("qemu32-x86_64-cpu", "model-id", concat!("QEMU Virtual CPU version ", $number)),
                ("qemu64-x86_64-cpu", "model-id", concat!("QEMU Virtual CPU version ", $number)),
                ("athlon-x86_64-cpu", "model-id", concat!("QEMU Virtual CPU version ", $number)),
                $($row)*
            ]
            $($rest)*
        }
    };
    ($newer:expr; $id:ident $name:literal [$($row:tt)*] $($rest:tt)*) => {
        static $id: PcVersion = PcVersion { name: concat!("pc-i440fx-", $name), newer: $newer, compat: &[$($row)*] };
        inventory::submit! { MachineEntry(&$id) }
        versions!(Some(&$id); $($rest)*);
    };
}

/// All CPU types.
const CPU: &str = "x86_64-cpu";
#[rustfmt::skip]
versions! {
    None;
    V7_2 "7.2" []
    V7_1 "7.1" []
    V7_0 "7.0" []
    V6_2 "6.2" []
    V6_1 "6.1" []
    V6_0 "6.0" [
        ("qemu64-x86_64-cpu", "family", "6"), ("qemu64-x86_64-cpu", "model", "6"),
        ("qemu64-x86_64-cpu", "stepping", "3"),
    ]
    V5_2 "5.2" []
    V5_1 "5.1" [
        ("pvpanic", "events", "1"), (CPU, "kvm-msi-ext-dest-id", "off"),
    ]
    V5_0 "5.0" []
    V4_2 "4.2" []
    V4_1 "4.1" []
    V4_0 "4.0" []
    V3_1 "3.1" [
        ("Opteron_G3-x86_64-cpu", "rdtscp", "off"), ("Opteron_G4-x86_64-cpu", "rdtscp", "off"),
        ("Opteron_G4-x86_64-cpu", "npt", "off"), ("Opteron_G4-x86_64-cpu", "nrip-save", "off"),
        ("Opteron_G5-x86_64-cpu", "rdtscp", "off"), ("Opteron_G5-x86_64-cpu", "npt", "off"),
        ("Opteron_G5-x86_64-cpu", "nrip-save", "off"), ("EPYC-x86_64-cpu", "npt", "off"),
        ("EPYC-x86_64-cpu", "nrip-save", "off"), ("EPYC-IBPB-x86_64-cpu", "npt", "off"),
        ("EPYC-IBPB-x86_64-cpu", "nrip-save", "off"), ("Skylake-Client-x86_64-cpu", "mpx", "on"),
        ("Skylake-Client-IBRS-x86_64-cpu", "mpx", "on"), ("Skylake-Server-x86_64-cpu", "mpx", "on"),
        ("Skylake-Server-IBRS-x86_64-cpu", "mpx", "on"), ("Cascadelake-Server-x86_64-cpu", "mpx", "on"),
        ("Icelake-Server-x86_64-cpu", "mpx", "on"), ("Cascadelake-Server-x86_64-cpu", "stepping", "5"),
    ]
    V3_0 "3.0" [
        ("Skylake-Server-x86_64-cpu", "pku", "off"), ("Skylake-Server-IBRS-x86_64-cpu", "pku", "off"),
    ]
    V2_12 "2.12" [
        (CPU, "topoext", "off"), ("EPYC-x86_64-cpu", "xlevel", "0x8000000a"),
        ("EPYC-IBPB-x86_64-cpu", "xlevel", "0x8000000a"),
    ]
    V2_11 "2.11" [
        ("Skylake-Server-x86_64-cpu", "clflushopt", "off"),
    ]
    V2_10 "2.10" []
    V2_9 "2.9" []
    V2_8 "2.8" [
        (CPU, "tcg-cpuid", "off"), ("Haswell-x86_64-cpu", "stepping", "1"),
    ]
    V2_7 "2.7" [
        ("ioapic", "version", "0x11"), (CPU, "l3-cache", "off"), (CPU, "full-cpuid-auto-level", "off"),
        ("Opteron_G3-x86_64-cpu", "family", "15"), ("Opteron_G3-x86_64-cpu", "model", "6"),
        ("Opteron_G3-x86_64-cpu", "stepping", "1"),
    ]
    V2_6 "2.6" [
        (CPU, "cpuid-0xb", "off"),
    ]
    V2_5 "2.5" []
    V2_4 "2.4" named "2.4.0" [
        ("Haswell-x86_64-cpu", "abm", "off"), ("Haswell-noTSX-x86_64-cpu", "abm", "off"),
        ("Broadwell-x86_64-cpu", "abm", "off"), ("Broadwell-noTSX-x86_64-cpu", "abm", "off"), (CPU, "check", "off"),
        ("qemu64-x86_64-cpu", "sse4a", "on"), ("qemu64-x86_64-cpu", "abm", "on"),
        ("qemu64-x86_64-cpu", "popcnt", "on"), ("qemu32-x86_64-cpu", "popcnt", "on"),
        ("Opteron_G2-x86_64-cpu", "rdtscp", "on"), ("Opteron_G3-x86_64-cpu", "rdtscp", "on"),
        ("Opteron_G4-x86_64-cpu", "rdtscp", "on"), ("Opteron_G5-x86_64-cpu", "rdtscp", "on"),
    ]
    V2_3 "2.3" named "2.3.0" [
        (CPU, "arat", "off"), ("qemu64-x86_64-cpu", "min-level", "4"), ("kvm64-x86_64-cpu", "min-level", "5"),
        ("pentium3-x86_64-cpu", "min-level", "2"), ("n270-x86_64-cpu", "min-level", "5"),
        ("Conroe-x86_64-cpu", "min-level", "4"), ("Penryn-x86_64-cpu", "min-level", "4"),
        ("Nehalem-x86_64-cpu", "min-level", "4"), ("n270-x86_64-cpu", "min-xlevel", "0x8000000a"),
        ("Penryn-x86_64-cpu", "min-xlevel", "0x8000000a"), ("Conroe-x86_64-cpu", "min-xlevel", "0x8000000a"),
        ("Nehalem-x86_64-cpu", "min-xlevel", "0x8000000a"), ("Westmere-x86_64-cpu", "min-xlevel", "0x8000000a"),
        ("SandyBridge-x86_64-cpu", "min-xlevel", "0x8000000a"), ("IvyBridge-x86_64-cpu", "min-xlevel", "0x8000000a"),
        ("Haswell-x86_64-cpu", "min-xlevel", "0x8000000a"), ("Haswell-noTSX-x86_64-cpu", "min-xlevel", "0x8000000a"),
        ("Broadwell-x86_64-cpu", "min-xlevel", "0x8000000a"),
        ("Broadwell-noTSX-x86_64-cpu", "min-xlevel", "0x8000000a"),
    ]
    V2_2 "2.2" named "2.2.0" [
        ("kvm64-x86_64-cpu", "vme", "off"), ("kvm32-x86_64-cpu", "vme", "off"), ("Conroe-x86_64-cpu", "vme", "off"),
        ("Penryn-x86_64-cpu", "vme", "off"), ("Nehalem-x86_64-cpu", "vme", "off"),
        ("Westmere-x86_64-cpu", "vme", "off"), ("SandyBridge-x86_64-cpu", "vme", "off"),
        ("Haswell-x86_64-cpu", "vme", "off"), ("Broadwell-x86_64-cpu", "vme", "off"),
        ("Opteron_G1-x86_64-cpu", "vme", "off"), ("Opteron_G2-x86_64-cpu", "vme", "off"),
        ("Opteron_G3-x86_64-cpu", "vme", "off"), ("Opteron_G4-x86_64-cpu", "vme", "off"),
        ("Opteron_G5-x86_64-cpu", "vme", "off"), ("Haswell-x86_64-cpu", "f16c", "off"),
        ("Haswell-x86_64-cpu", "rdrand", "off"), ("Broadwell-x86_64-cpu", "f16c", "off"),
        ("Broadwell-x86_64-cpu", "rdrand", "off"),
    ]
    V2_1 "2.1" named "2.1.0" [
        ("coreduo-x86_64-cpu", "vmx", "on"), ("core2duo-x86_64-cpu", "vmx", "on"),
    ]
    V2_0 "2.0" named "2.0.0" [
        ("pci-serial", "prog_if", "0"),
    ]
    V1_7 "1.7" named "1.7.0" [
    ]
    V1_6 "1.6" named "1.6.0" [
        ("qemu64-x86_64-cpu", "model", "2"), ("qemu32-x86_64-cpu", "model", "3"),
    ]
    V1_5 "1.5" named "1.5.0" [
        ("Conroe-x86_64-cpu", "model", "2"), ("Conroe-x86_64-cpu", "min-level", "2"),
        ("Penryn-x86_64-cpu", "model", "2"), ("Penryn-x86_64-cpu", "min-level", "2"),
        ("Nehalem-x86_64-cpu", "model", "2"), ("Nehalem-x86_64-cpu", "min-level", "2"),
    ]
    V1_4 "1.4" named "1.4.0" [
        ("486-x86_64-cpu", "model", "0"), ("n270-x86_64-cpu", "movbe", "off"),
        ("Westmere-x86_64-cpu", "pclmulqdq", "off"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boards::machine_types;
    use gearbox_core::object::types;
    use gearbox_core::x86::cpu_model::CpuModel;
    use gearbox_core::x86::cpu_object::property_list;

    fn versions() -> Vec<&'static PcVersion> {
        std::iter::successors(Some(&V1_4), |v| v.newer).collect()
    }

    #[test]
    fn every_version_is_registered() {
        let names: Vec<_> = machine_types().iter().map(|m| m.name()).filter(|n| n.starts_with(PREFIX)).collect();
        assert_eq!(names.len(), 31);
        assert!(versions().iter().all(|v| names.contains(&v.name)) && versions().len() == 31);
        let numbers: Vec<_> = versions().iter().map(|v| v.number()).collect();
        assert!(numbers.is_sorted() && numbers[0] == (1, 4));
        assert_eq!(versions().iter().filter(|v| v.deprecated()).count(), 4);
        assert!(V5_0.numa_mem_supported() && !V5_1.numa_mem_supported());
    }

    #[test]
    fn every_row_is_about_something_that_is_there() {
        for (driver, property, value) in V1_4.compat() {
            let info = types().get(driver).unwrap_or_else(|| panic!("{driver}"));
            if types().is_a(driver, "cpu") {
                assert!(property_list().iter().any(|p| p.name == property), "{driver}.{property}");
                CpuModel::default().set(property, value).unwrap();
            } else {
                assert!(info.properties().iter().any(|p| p.name == property), "{driver}.{property}");
            }
        }
    }

    #[test]
    fn what_came_first_wins() {
        let all = V2_0.compat();
        let ids: Vec<_> = all.iter().filter(|(d, p, _)| *d == "qemu64-x86_64-cpu" && *p == "model-id").collect();
        assert_eq!(ids.last().unwrap().2, "QEMU Virtual CPU version 2.0.0");
        assert!(V7_2.compat().is_empty() && V2_8.compat().iter().all(|(d, ..)| *d != "ioapic"));
    }
}
