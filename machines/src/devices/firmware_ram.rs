//! RAM in the firmware's socket, on boards whose chipset cannot put RAM over a ROM: firmware has variables in its image, so that the image has to come back
//! with a reset.

use gearbox_core::board::{Cx, Device, DeviceSpec, DeviceState, Realize, RealizeError, ResetKind};
use gearbox_core::mem::RamBlock;
use gearbox_core::object::{TypeEntry, TypeInfo};
use std::sync::Arc;

/// Configuration of the socket.
pub struct FirmwareRam {
    /// The RAM, which the board maps.
    pub block: Arc<RamBlock>,
    /// The image.
    pub image: Arc<[u8]>,
}

/// The socket.
pub struct FirmwareRamDevice(FirmwareRam);

impl DeviceSpec for FirmwareRam {
    type Device = FirmwareRamDevice;
    type Pins = ();
    const TYPE: &'static str = "firmware-ram";

    fn realize(self, _: &mut Realize<'_>) -> Result<(FirmwareRamDevice, ()), RealizeError> {
        Ok((FirmwareRamDevice(self), ()))
    }
}

inventory::submit! { TypeEntry(&TypeInfo::onboard::<FirmwareRam>("device", "firmware in RAM")) }

impl Device for FirmwareRamDevice {
    fn state(&mut self) -> DeviceState<'_> {
        let Self(FirmwareRam { block: _, image: _ }) = self;
        DeviceState::none()
    }
    fn reset(&mut self, cx: &mut Cx<'_>, _: ResetKind) {
        let Self(FirmwareRam { block, image }) = self;
        cx.address_space().write_block(block, 0, image);
    }
}
