//! An OR gate, for an input that several outputs drive.

use gearbox_core::board::{Cx, Device, DeviceSpec, Line, Pins, Realize, RealizeError};

/// An [`OrGateDevice`] to be, with this many inputs (at most 64).
pub struct OrGate(pub u32);

/// Pins.
pub struct OrGatePins {
    /// Inputs.
    pub input: Pins,
    /// High while any input is.
    pub output: Line,
}

/// The gate.
pub struct OrGateDevice {
    levels: u64,
    output: Line,
}

impl DeviceSpec for OrGate {
    type Device = OrGateDevice;
    type Pins = OrGatePins;
    const TYPE: &'static str = "or-irq";

    fn realize(self, r: &mut Realize<'_>) -> Result<(OrGateDevice, OrGatePins), RealizeError> {
        if !(1..=64).contains(&self.0) {
            return Err(r.property_error("num-lines", format!("{} is not between 1 and 64", self.0)));
        }
        let output = r.output("out");
        Ok((OrGateDevice { levels: 0, output }, OrGatePins { input: r.inputs("in", self.0), output }))
    }
}

impl Device for OrGateDevice {
    fn pin(&mut self, cx: &mut Cx<'_>, index: u32, level: bool) {
        self.levels = self.levels & !(1 << index) | u64::from(level) << index;
        cx.set(self.output, self.levels != 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gearbox_accel_qtest::Bench;

    #[test]
    fn any_input_raises_the_output() {
        let mut b = Bench::new();
        let or = b.realize(OrGate(3)).unwrap();
        b.drive(or.input.get(2), true);
        b.drive(or.input.get(0), true);
        b.drive(or.input.get(2), false);
        assert!(b.level(or.output));
        b.drive(or.input.get(0), false);
        assert!(!b.level(or.output));
        assert!(b.realize(OrGate(65)).is_err());
    }
}
