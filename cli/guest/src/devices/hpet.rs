//! The high-precision event timer (IA-PC HPET 1.0a): its main counter only.

use crate::acpi;
use crate::mmio::Mmio;

/// An HPET.
#[derive(Clone, Copy)]
pub struct Hpet(Mmio);

impl Hpet {
    /// The one that ACPI lists.
    pub fn find() -> Option<Hpet> {
        // SAFETY: firmware says that the device is there.
        acpi::hpet().map(|base| Hpet(unsafe { Mmio::new(base) }))
    }

    /// Period of the main counter in fs.
    pub fn period_fs(self) -> u32 {
        self.0.read(4)
    }

    /// Number of comparators.
    pub fn timers(self) -> u32 {
        (self.0.read(0) >> 8 & 31) + 1
    }

    /// Starts or stops the main counter; true if it ran before.
    pub fn enable(self, on: bool) -> bool {
        let before = self.0.read(0x10);
        self.0.write(0x10, before & !1 | u32::from(on));
        before & 1 != 0
    }

    /// The low half of the main counter.
    pub fn count(self) -> u32 {
        self.0.read(0xf0)
    }
}
