//! `vmgenid`: a number that tells a guest apart from its copies (Microsoft, "Virtual Machine Generation ID"; QEMU, docs/specs/vmgenid).
//!
//! Firmware puts the number into memory and says where in a file of its own. The number does not change while a machine runs, so that the
//! notification of a change never comes.

use gearbox_core::board::{Device, DeviceSpec, DeviceState, Realize, RealizeError};
use gearbox_core::object::{Backends, Property, PropertyValue, TypeEntry, TypeInfo, Value};
use gearbox_core::property;
use uuid::Uuid;

/// The number as a property: a UUID, or `auto` for a random one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Guid {
    /// A random one.
    #[default]
    Auto,
    /// This one.
    Is(Uuid),
}

impl PropertyValue for Guid {
    const KIND: &'static str = "str";
    fn to_value(&self) -> Value {
        match self {
            Self::Auto => "auto".into(),
            Self::Is(uuid) => uuid.to_string().into(),
        }
    }
    fn parse(text: &str, _: &dyn Backends) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            _ => Uuid::try_parse(text).map(Self::Is).map_err(|_| format!("'{text}' is no UUID, and not 'auto'")),
        }
    }
}

/// Configuration of the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VmGenId {
    /// The number.
    pub guid: Guid,
}

/// The device.
#[derive(Debug)]
pub struct VmGenIdDevice {
    guid: Uuid,
}

/// Offset of the number in the page that firmware allocates: the space before it keeps firmware from taking the page for an ACPI table.
pub const GUID_OFFSET: usize = 40;
const PAGE: usize = 4096;

impl VmGenIdDevice {
    /// The number.
    pub fn guid(&self) -> Uuid {
        self.guid
    }
}

/// The page with the number in it. Its first three fields are little-endian.
pub fn page(guid: Uuid) -> Vec<u8> {
    let mut page = vec![0; PAGE];
    page.iter_mut().skip(GUID_OFFSET).zip(guid.to_bytes_le()).for_each(|(to, from)| *to = from);
    page
}

inventory::submit! {
    TypeEntry(&TypeInfo::device::<VmGenId>("device", "Virtual Machine Generation ID").not_hotpluggable())
}

impl DeviceSpec for VmGenId {
    type Device = VmGenIdDevice;
    type Pins = ();
    const TYPE: &'static str = "vmgenid";
    const PROPERTIES: &'static [&'static [Property<Self>]] =
        &[&[property!("guid", Guid, guid, "UUID (aka GUID) or \"auto\" for random value (default)")]];

    fn realize(self, r: &mut Realize<'_>) -> Result<(VmGenIdDevice, ()), RealizeError> {
        let guid = match self.guid {
            Guid::Auto => Uuid::new_v4(),
            Guid::Is(uuid) => uuid,
        };
        r.settle_property("guid", guid.to_string());
        r.firmware_file("etc/vmgenid_guid", page(guid), false);
        r.firmware_file("etc/vmgenid_addr", [0; 8], true);
        Ok((VmGenIdDevice { guid }, ()))
    }
}

impl Device for VmGenIdDevice {
    /// A machine that goes on from a saved state is of another generation, and so has another number.
    fn state(&mut self) -> DeviceState<'_> {
        DeviceState::none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::devices::fw_cfg::FwCfg;
    use gearbox_accel_qtest::Bench;
    use gearbox_core::object::NoBackends;

    const TEXT: &str = "324e6eaf-d1d1-4bf6-bf41-b9bb6c91fb87";

    #[test]
    fn firmware_reads_the_number_and_says_where_it_is() {
        let mut b = Bench::with_ram(0x1000);
        b.realize(FwCfg::new()).unwrap();
        b.realize(VmGenId { guid: Guid::parse(TEXT, &NoBackends).unwrap() }).unwrap();
        // Files by name: the address, the number.
        b.outw(0x510, 0x21);
        let page: Vec<u8> = (0..PAGE).map(|_| b.inb(0x511)).collect();
        let guid = [0xaf, 0x6e, 0x4e, 0x32, 0xd1, 0xd1, 0xf6, 0x4b, 0xbf, 0x41, 0xb9, 0xbb, 0x6c, 0x91, 0xfb, 0x87];
        assert_eq!(page[GUID_OFFSET..][..16], guid);
        assert_eq!(page.iter().filter(|&&b| b != 0).count(), 16);
        // A DMA descriptor: select, write, 8 bytes from 0x200.
        b.write(0x100, &[0, 0x20, 0, 0x18, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 2, 0]);
        b.writeq(0x200, 0x7ff0_0028);
        b.outl(0x518, 0x100u32.swap_bytes());
        assert_eq!(b.readl(0x100), 0);
        b.outw(0x510, 0x20);
        assert_eq!(b.inb(0x511), 0x28);
    }

    #[test]
    fn there_is_one_and_a_random_one_by_default() {
        let guid = |b: &mut Bench| {
            let id = b.realize(VmGenId::default()).unwrap().id;
            b.device(id, |d: &mut VmGenIdDevice| d.guid())
        };
        let mut b = Bench::new();
        assert_ne!(guid(&mut b), guid(&mut Bench::new()));
        assert!(b.realize(VmGenId::default()).is_err());
        assert!(Guid::parse("x", &NoBackends).is_err());
        assert_eq!(Guid::parse("auto", &NoBackends), Ok(Guid::Auto));
    }
}
