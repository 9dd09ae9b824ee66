//! `vmcoreinfo`: a place where the guest's kernel says where its notes for crash dumps are (QEMU, docs/specs/vmcoreinfo).

use gearbox_core::board::{Cx, Device, DeviceSpec, DeviceState, Realize, RealizeError, ResetKind};
use gearbox_core::object::{TypeEntry, TypeInfo};

/// Configuration of the device: it has none.
#[derive(Clone, Copy, Debug, Default)]
pub struct VmCoreInfo;

/// The device.
#[derive(Debug)]
pub struct VmCoreInfoDevice;

/// The file, to which the guest writes: formats that the host and the guest use, size and address of the guest's notes; all little-endian.
const FILE: &str = "etc/vmcoreinfo";
/// The host takes ELF notes, and the guest has not said anything.
const BLANK: [u8; 16] = [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

impl DeviceSpec for VmCoreInfo {
    type Device = VmCoreInfoDevice;
    type Pins = ();
    const TYPE: &'static str = "vmcoreinfo";

    fn realize(self, r: &mut Realize<'_>) -> Result<(VmCoreInfoDevice, ()), RealizeError> {
        r.firmware_file(FILE, BLANK, true);
        Ok((VmCoreInfoDevice, ()))
    }
}

inventory::submit! {
    TypeEntry(&TypeInfo::device::<VmCoreInfo>("device", "where the guest says what crash dumps need").not_hotpluggable())
}

impl Device for VmCoreInfoDevice {
    /// What the guest says is in the file.
    fn state(&mut self) -> DeviceState<'_> {
        DeviceState::none()
    }
    /// What the kernel before said does not hold for the next one.
    fn reset(&mut self, cx: &mut Cx<'_>, _: ResetKind) {
        cx.write_firmware_file(FILE, 0, &BLANK);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::fw_cfg::FwCfg;
    use gearbox_accel_qtest::Bench;

    /// Reads the file whose key is the first one of files: there is no other.
    fn file(b: &mut Bench) -> [u8; 16] {
        b.outw(0x510, 0x20);
        [0; 16].map(|_| b.inb(0x511))
    }

    #[test]
    fn the_guest_says_where_its_notes_are_until_a_reset() {
        let mut b = Bench::with_ram(0x10000);
        b.realize(FwCfg::new()).unwrap();
        b.realize(VmCoreInfo).unwrap();
        assert_eq!(file(&mut b), BLANK);
        // A DMA write: select the file, and write 16 bytes from 2000h.
        let notes = [1, 0, 1, 0, 0x24, 0, 0, 0, 0, 0x30, 0, 0, 0, 0, 0, 0];
        b.write(0x2000, &notes);
        let descriptor = [&(0x20u32 << 16 | 8 | 16).to_be_bytes()[..], &16u32.to_be_bytes(), &0x2000u64.to_be_bytes()];
        b.write(0x1000, &descriptor.concat());
        b.outl(0x514, 0);
        b.outl(0x518, 0x1000u32.swap_bytes());
        assert_eq!((b.readl(0x1000), file(&mut b)), (0, notes));
        b.reset();
        assert_eq!(file(&mut b), BLANK);
        assert!(b.realize(VmCoreInfo).unwrap_err().to_string().contains("etc/vmcoreinfo"));
    }
}
