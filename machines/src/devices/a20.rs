//! The A20 gate. With address line 20 held low, the second MiB of memory is the first one once more, as on a 8086.
//!
//! Modelled as an alias in the memory tree, which holds on every accelerator. It covers the MiB that programs written for the 8086
//! wrap into, not the further odd MiBs, and bus masters see it too.

use gearbox_core::board::{Cx, Device, DeviceSpec, DeviceState, Pins, Realize, RealizeError, Saved};
use gearbox_core::mem::RegionId;
use gearbox_core::object::{TypeEntry, TypeInfo};

const MIB: u64 = 1 << 20;
/// Above everything that is mapped below 2 MiB.
const PRIORITY: i32 = 100;
/// Keyboard controller and port 92h.
const SOURCES: usize = 2;

/// An [`A20Device`] to be: open while any of its inputs is.
pub struct A20;

/// Pins.
pub struct A20Pins {
    /// High to let address line 20 through: keyboard controller, port 92h. Open until one of them has spoken.
    pub enable: Pins,
}

/// The gate.
pub struct A20Device {
    wrapped: RegionId,
    levels: [bool; SOURCES],
    open: bool,
}

impl A20Device {
    /// Address line 20 is let through.
    pub fn is_open(&self) -> bool {
        self.open
    }
}

impl DeviceSpec for A20 {
    type Device = A20Device;
    type Pins = A20Pins;
    const TYPE: &'static str = "a20-gate";

    fn realize(self, r: &mut Realize<'_>) -> Result<(A20Device, A20Pins), RealizeError> {
        let tree = r.memory();
        let wrapped = tree.alias("a20", tree.root(), 0, MIB);
        tree.set_enabled(wrapped, false);
        tree.map(tree.root(), MIB, wrapped, PRIORITY);
        let enable = r.inputs("enable", SOURCES as u32);
        Ok((A20Device { wrapped, levels: [false; SOURCES], open: true }, A20Pins { enable }))
    }
}

inventory::submit! { TypeEntry(&TypeInfo::onboard::<A20>("device", "gate of address line 20")) }

impl Device for A20Device {
    fn state(&mut self) -> DeviceState<'_> {
        let Self { wrapped: _, levels, open } = self;
        Saved::of((levels, open)).version(1)
    }
    fn loaded(&mut self, cx: &mut Cx<'_>) {
        cx.memory().set_enabled(self.wrapped, !self.open);
    }
    fn pin(&mut self, cx: &mut Cx<'_>, index: u32, level: bool) {
        if let Some(l) = self.levels.get_mut(index as usize) {
            *l = level;
        }
        self.open = self.levels.contains(&true);
        cx.memory().set_enabled(self.wrapped, !self.open);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gearbox_accel_qtest::Bench;

    #[test]
    fn the_second_mib_wraps_while_the_gate_is_shut() {
        let mut b = Bench::with_ram(4 * MIB);
        let a20 = b.realize(A20).unwrap();
        b.writel(0x10_0000, 0x1111_1111);
        b.writel(0x20_0000, 0x2222_2222);
        b.drive(a20.enable.get(1), true);
        b.drive(a20.enable.get(1), false);
        b.writel(0x10_0000, 0x3333_3333);
        assert_eq!([0, 0x10_0000, 0x20_0000].map(|a| b.readl(a)), [0x3333_3333, 0x3333_3333, 0x2222_2222]);
        b.drive(a20.enable.get(0), true);
        assert_eq!(b.readl(0x10_0000), 0x1111_1111);
        b.drive(a20.enable.get(1), true);
        b.drive(a20.enable.get(0), false);
        assert_eq!(b.readl(0x10_0000), 0x1111_1111);
    }
}
