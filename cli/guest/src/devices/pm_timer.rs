//! The ACPI power-management timer (ACPI 6.5, 4.8.3.3).

use crate::port;

/// Its frequency.
pub const HZ: u64 = 3_579_545;

/// The timer as the FADT describes it.
#[derive(Clone, Copy)]
pub struct PmTimer {
    port: u16,
    bits: u32,
}

impl PmTimer {
    /// A timer of `bits` width at `port`.
    pub fn new(port: u16, bits: u32) -> PmTimer {
        PmTimer { port, bits }
    }

    /// Its port.
    pub fn port(self) -> u16 {
        self.port
    }

    /// Its width.
    pub fn bits(self) -> u32 {
        self.bits
    }

    /// The counter.
    pub fn read(self) -> u32 {
        port::in32(self.port) & (u32::MAX >> (32 - self.bits))
    }

    /// Ticks from one reading to a later one.
    pub fn between(self, earlier: u32, later: u32) -> u32 {
        later.wrapping_sub(earlier) & (u32::MAX >> (32 - self.bits))
    }
}
