//! `piix3-ide`: function 1 of the PIIX3 (Intel 290550, chapter 2.3), two channels at the ports and interrupts that they have had since the AT.
//!
//! As on QEMU's, the IDE timing registers can be written, and the channels answer whatever they say.

use super::channel::Channel;
use super::geometry::Geometry;
use super::ports::{Place, REGIONS, TAGS};
use gearbox_core::backend::block::MediumEvent;
use gearbox_core::board::{Cx, Device, DeviceSpec, DeviceState, Realize, RealizeError, ResetKind, Saved};
use gearbox_core::object::{TypeEntry, TypeInfo};
use gearbox_core::pci::{BarKind, ConfigHeader, Devfn, status};
use gearbox_core::vm::{string_in, string_out};
use std::any::Any;

/// The two buses.
const BUSES: [&str; 2] = ["ide.0", "ide.1"];
/// IDE timing registers, one for each channel; bit 15 has it decoded.
pub const TIMING: [u8; 2] = [0x40, 0x42];
/// See [`TIMING`].
pub const DECODE_ENABLE: u16 = 0x8000;
/// Bytes of a bus master's registers.
const MASTER: u64 = 8;
/// The region after those of the channels.
const BUS_MASTERS: u32 = REGIONS * BUSES.len() as u32;

/// Configuration of the function.
pub struct PiixIde {
    /// Where it is.
    pub at: Devfn,
}

/// The function.
pub struct PiixIdeDevice {
    channels: [Channel; 2],
}

impl DeviceSpec for PiixIde {
    type Device = PiixIdeDevice;
    type Pins = ();
    const TYPE: &'static str = "piix3-ide";

    fn realize(self, r: &mut Realize<'_>) -> Result<(PiixIdeDevice, ()), RealizeError> {
        let header = ConfigHeader {
            vendor: 0x8086,
            device: 0x7010,
            // ISA compatibility mode only, with a bus master.
            class: 0x01_01_80,
            subsystem: crate::devices::pci::QEMU_SUBSYSTEM,
            status: status::FAST_BACK | status::DEVSEL_MEDIUM,
            ..ConfigHeader::default()
        };
        r.pci_function(Some(self.at), &header);
        let path = r.pci_path("ide").unwrap_or_default();
        for name in BUSES {
            r.bus_for(name, "IDE", false, 2).firmware_path.clone_from(&path);
        }
        let channels = [0, 1].map(|n| Channel::claim(r, n as u32, Place::AT[n]));
        let masters = r.port_region(BUS_MASTERS, "piix-bmdma-container", 2 * MASTER as u16, 1);
        r.pci_bar(4, BarKind::Io, 2 * MASTER, masters);
        Ok((PiixIdeDevice { channels }, ()))
    }
}

inventory::submit! {
    TypeEntry(&TypeInfo::onboard::<PiixIde>("pci-ide", "PIIX3 IDE controller").implements(&["conventional-pci-device"]))
}

impl PiixIdeDevice {
    /// The disk at a place on a bus: its geometry.
    pub fn geometry(&mut self, bus: usize, unit: usize) -> Option<Geometry> {
        self.channels.get_mut(bus)?.geometry(unit)
    }
    fn channel(&mut self, region: u32) -> &mut Channel {
        &mut self.channels[(region / REGIONS) as usize]
    }
    /// The channel of a bus master's register, and the register.
    fn bus_master(&mut self, offset: u64) -> (&mut Channel, u64) {
        (&mut self.channels[usize::from(offset >= MASTER)], offset % MASTER)
    }
}

impl Device for PiixIdeDevice {
    fn state(&mut self) -> DeviceState<'_> {
        let Self { channels } = self;
        channels.iter_mut().map(Channel::saved).fold(Saved::nothing(), Saved::and).version(2)
    }
    fn read(&mut self, cx: &mut Cx<'_>, region: u32, offset: u64, size: u8) -> u64 {
        if region == BUS_MASTERS {
            let (channel, register) = self.bus_master(offset);
            return channel.bus_master.read(register).into();
        }
        self.channel(region).load(cx, region, offset, size)
    }
    fn write(&mut self, cx: &mut Cx<'_>, region: u32, offset: u64, size: u8, value: u64) {
        if region == BUS_MASTERS {
            let (channel, register) = self.bus_master(offset);
            return channel.write_bus_master(cx, register, value as u8);
        }
        self.channel(region).store(cx, region, offset, size, value);
    }
    fn read_string(&mut self, cx: &mut Cx<'_>, region: u32, offset: u64, size: u8, data: &mut [u8]) {
        match region {
            BUS_MASTERS => string_in(size, data, || self.read(cx, region, offset, size)),
            _ => self.channel(region).load_string(cx, region, offset, size, data),
        }
    }
    fn write_string(&mut self, cx: &mut Cx<'_>, region: u32, offset: u64, size: u8, data: &[u8]) {
        match region {
            BUS_MASTERS => string_out(size, data, |value| self.write(cx, region, offset, size, value)),
            _ => self.channel(region).store_string(cx, region, offset, size, data),
        }
    }
    fn plugged(&mut self, cx: &mut Cx<'_>, bus: &str, part: Box<dyn Any + Send>) -> Result<(), String> {
        let n = BUSES.iter().position(|name| *name == bus).ok_or("no such bus")?;
        self.channels[n].plug(cx, part)
    }
    fn backend_ready(&mut self, cx: &mut Cx<'_>, tag: u32) {
        self.channels[(tag / TAGS) as usize].completed(cx, (tag % TAGS) as usize);
    }
    fn medium(&mut self, cx: &mut Cx<'_>, tag: u32, event: MediumEvent) {
        self.channels[(tag / TAGS) as usize].medium(cx, (tag % TAGS) as usize, event);
    }
    fn reset(&mut self, cx: &mut Cx<'_>, _: ResetKind) {
        self.channels.iter_mut().for_each(|c| c.reset(cx));
    }
}
