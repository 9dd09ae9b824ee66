//! `piix3-ide`: function 1 of the PIIX3 (Intel 290550, chapter 2.3), two channels at the ports and interrupts that they have had since the AT.
//!
//! As on QEMU's, the IDE timing registers can be written, and the channels answer whatever they say.

use super::channel::Channel;
use super::drive::Drive;
use super::geometry::Geometry;
use gearbox_core::backend::block::MediumEvent;
use gearbox_core::board::{Cx, Device, DeviceSpec, DeviceState, Line, Realize, RealizeError, ResetKind, Saved};
use gearbox_core::object::{TypeEntry, TypeInfo};
use gearbox_core::pci::{BarKind, ConfigHeader, Devfn, status};
use std::any::Any;

/// Names of the two buses.
pub const BUSES: [&str; 2] = ["ide.0", "ide.1"];
/// Ports of the command blocks, of the control registers; interrupts.
const COMMAND_BLOCKS: [u16; 2] = [0x1f0, 0x170];
const CONTROLS: [u16; 2] = [0x3f6, 0x376];
const IRQS: [u8; 2] = [14, 15];
/// IDE timing registers, one for each channel; bit 15 has it decoded.
pub const TIMING: [u8; 2] = [0x40, 0x42];
/// See [`TIMING`].
pub const DECODE_ENABLE: u16 = 0x8000;
/// Bytes of a bus master's registers.
const MASTER: u64 = 8;

/// Regions: the command blocks, then the control registers, then the bus masters.
const CONTROL: u32 = 2;
const BUS_MASTERS: u32 = 4;

/// Configuration of the function.
pub struct PiixIde {
    /// Where it is.
    pub at: Devfn,
}

/// The function.
pub struct PiixIdeDevice {
    channels: [Channel; 2],
}

/// A drive on its way to the controller.
pub(super) struct Part {
    pub(super) unit: usize,
    pub(super) drive: Drive,
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
        for (n, name) in BUSES.into_iter().enumerate() {
            r.ports_wide(n as u32, "ide", COMMAND_BLOCKS[n], 8, 4);
            r.ports(CONTROL + n as u32, "ide", CONTROLS[n], 1);
            r.bus_for(name, "IDE", false, 2);
        }
        let masters = r.port_region(BUS_MASTERS, "piix-bmdma-container", 2 * MASTER as u16, 1);
        r.pci_bar(4, BarKind::Io, 2 * MASTER, masters);
        let irqs: [Line; 2] = IRQS.map(|irq| r.isa_irq(irq));
        Ok((PiixIdeDevice { channels: [Channel::new(irqs[0], 0), Channel::new(irqs[1], 2)] }, ()))
    }
}

inventory::submit! {
    TypeEntry(&TypeInfo::onboard::<PiixIde>("pci-ide", "PIIX3 IDE controller").implements(&["conventional-pci-device"]))
}

impl PiixIdeDevice {
    /// The disk at a place on a bus: its geometry.
    pub fn geometry(&mut self, bus: usize, unit: usize) -> Option<Geometry> {
        Some(self.channels.get_mut(bus)?.drives.get_mut(unit)?.as_mut()?.disk()?.geometry)
    }
}

impl Device for PiixIdeDevice {
    fn state(&mut self) -> DeviceState<'_> {
        let Self { channels } = self;
        channels.iter_mut().map(Channel::saved).fold(Saved::nothing(), Saved::and).version(1)
    }
    fn read(&mut self, cx: &mut Cx<'_>, region: u32, offset: u64, size: u8) -> u64 {
        let channel = (region % 2) as usize;
        match region {
            BUS_MASTERS => {
                let master = &self.channels[usize::from(offset >= MASTER)].bus_master;
                master.read(offset % MASTER).into()
            }
            CONTROL.. => self.channels[channel].alternate_status().into(),
            _ if Channel::is_data(offset) => {
                let mut data = [0; 8];
                self.channels[channel].read_data(cx, &mut data[..usize::from(size)]);
                u64::from_le_bytes(data)
            }
            _ => (0..u64::from(size))
                .fold(0, |all, n| all | u64::from(self.channels[channel].read(cx, offset + n)) << (8 * n)),
        }
    }
    fn write(&mut self, cx: &mut Cx<'_>, region: u32, offset: u64, size: u8, value: u64) {
        let channel = (region % 2) as usize;
        let bytes = value.to_le_bytes();
        match region {
            BUS_MASTERS => {
                let channel = &mut self.channels[usize::from(offset >= MASTER)];
                channel.write_bus_master(cx, offset % MASTER, bytes[0]);
            }
            CONTROL.. => self.channels[channel].write_control(cx, bytes[0]),
            _ if Channel::is_data(offset) => self.channels[channel].write_data(cx, &bytes[..usize::from(size)]),
            _ => (offset..).zip(&bytes[..usize::from(size)]).for_each(|(at, &b)| {
                self.channels[channel].write(cx, at, b);
            }),
        }
    }
    fn read_string(&mut self, cx: &mut Cx<'_>, region: u32, offset: u64, size: u8, data: &mut [u8]) {
        if region < CONTROL && Channel::is_data(offset) {
            return self.channels[region as usize].read_data(cx, data);
        }
        for chunk in data.chunks_exact_mut(size.into()) {
            let value = self.read(cx, region, offset, size).to_le_bytes();
            chunk.copy_from_slice(&value[..usize::from(size)]);
        }
    }
    fn write_string(&mut self, cx: &mut Cx<'_>, region: u32, offset: u64, size: u8, data: &[u8]) {
        if region < CONTROL && Channel::is_data(offset) {
            return self.channels[region as usize].write_data(cx, data);
        }
        for chunk in data.chunks_exact(size.into()) {
            let mut value = [0; 8];
            value[..usize::from(size)].copy_from_slice(chunk);
            self.write(cx, region, offset, size, u64::from_le_bytes(value));
        }
    }
    fn plugged(&mut self, cx: &mut Cx<'_>, bus: &str, part: Box<dyn Any + Send>) -> Result<(), String> {
        let n = BUSES.iter().position(|b| *b == bus).ok_or("no such bus")?;
        let part = part.downcast::<Part>().map_err(|_| "no IDE drive".to_owned())?;
        let place =
            self.channels[n].drives.get_mut(part.unit).ok_or("Can't create IDE unit, bus supports only 2 units")?;
        if place.is_some() {
            return Err(format!("IDE unit {} is in use", part.unit));
        }
        *place = Some(part.drive);
        self.channels[n].settle(cx);
        Ok(())
    }
    fn backend_ready(&mut self, cx: &mut Cx<'_>, tag: u32) {
        self.channels[(tag / 2) as usize].completed(cx, (tag % 2) as usize);
    }
    fn medium(&mut self, cx: &mut Cx<'_>, tag: u32, event: MediumEvent) {
        let channel = &mut self.channels[(tag / 2) as usize];
        if let Some(drive) = &mut channel.drives[(tag % 2) as usize] {
            drive.medium_event(event);
        }
        channel.settle(cx);
    }
    fn reset(&mut self, cx: &mut Cx<'_>, _: ResetKind) {
        self.channels.iter_mut().for_each(|c| c.reset(cx));
    }
}
