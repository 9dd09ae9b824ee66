//! `isabus-bridge`: the ISA bus of a board without PCI, where nothing stands between it and the processor.

use gearbox_core::board::{Device, DeviceSpec, DeviceState, Realize, RealizeError};
use gearbox_core::object::{TypeEntry, TypeInfo};

/// The name of the bus, whatever it hangs from.
pub const BUS: &str = "isa.0";

/// Configuration of the bridge: it has none.
#[derive(Clone, Copy, Debug, Default)]
pub struct IsaBus;

/// The bridge.
#[derive(Debug)]
pub struct IsaBusDevice;

impl DeviceSpec for IsaBus {
    type Device = IsaBusDevice;
    type Pins = ();
    const TYPE: &'static str = "isabus-bridge";

    fn realize(self, r: &mut Realize<'_>) -> Result<(IsaBusDevice, ()), RealizeError> {
        r.bus(BUS, "ISA", false).firmware_path = "/isa".to_owned();
        Ok((IsaBusDevice, ()))
    }
}

inventory::submit! { TypeEntry(&TypeInfo::onboard::<IsaBus>("sys-bus-device", "ISA bus")) }

impl Device for IsaBusDevice {
    fn state(&mut self) -> DeviceState<'_> {
        DeviceState::none()
    }
}
