//! `isa-ide`: a card with one channel, as in computers before PCI. It has no bus master: data are moved by the CPU.

use super::channel::Channel;
use super::geometry::Geometry;
use super::ports::{COMMAND_PORTS, Place};
use crate::devices::{isa_bus, isa_card};
use gearbox_core::backend::block::MediumEvent;
use gearbox_core::board::{Cx, Device, DeviceSpec, DeviceState, Realize, RealizeError, ResetKind};
use gearbox_core::object::{Category, Property, TypeEntry, TypeInfo};
use gearbox_core::property;
use std::any::Any;

/// Configuration of a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IsaIde {
    /// First port of the command block.
    pub iobase: u16,
    /// Port of the control register.
    pub iobase2: u16,
    /// ISA interrupt.
    pub irq: u8,
}

impl IsaIde {
    /// The two cards that an AT has.
    pub const AT: [Self; 2] = [Self::at(Place::AT[0]), Self::at(Place::AT[1])];

    const fn at(Place { command, control, irq }: Place) -> Self {
        Self { iobase: command, iobase2: control, irq }
    }
}

impl Default for IsaIde {
    fn default() -> Self {
        Self::AT[0]
    }
}

/// The card.
pub struct IsaIdeDevice {
    channel: Channel,
}

impl IsaIdeDevice {
    /// The disk at a place on its bus: its geometry.
    pub fn geometry(&mut self, unit: usize) -> Option<Geometry> {
        self.channel.geometry(unit)
    }
}

inventory::submit! {
    TypeEntry(&TypeInfo::device::<IsaIde>("isa-device", "ISA IDE controller with one channel").category(Category::Storage).not_hotpluggable())
}

impl DeviceSpec for IsaIde {
    type Device = IsaIdeDevice;
    type Pins = ();
    const TYPE: &'static str = "isa-ide";
    const PROPERTIES: &'static [&'static [Property<Self>]] = &[&[
        property!("iobase", u16, iobase, "first port of the command block"),
        property!("iobase2", u16, iobase2, "port of the control register"),
        property!("irq", u8, irq, "the interrupt"),
    ]];

    fn realize(self, r: &mut Realize<'_>) -> Result<(IsaIdeDevice, ()), RealizeError> {
        isa_card::check(r, (self.iobase, COMMAND_PORTS), self.irq)?;
        let name = r.bus_name("IDE");
        let isa = r.bus_place(isa_bus::BUS).map(|bus| bus.firmware_path).unwrap_or_default();
        r.bus_for(&name, "IDE", false, 2).firmware_path = format!("{isa}/ide@{:04x}", self.iobase);
        let place = Place { command: self.iobase, control: self.iobase2, irq: self.irq };
        Ok((IsaIdeDevice { channel: Channel::claim(r, 0, place) }, ()))
    }
}

impl Device for IsaIdeDevice {
    fn state(&mut self) -> DeviceState<'_> {
        let Self { channel } = self;
        channel.saved().version(1)
    }
    fn read(&mut self, cx: &mut Cx<'_>, region: u32, offset: u64, size: u8) -> u64 {
        self.channel.load(cx, region, offset, size)
    }
    fn write(&mut self, cx: &mut Cx<'_>, region: u32, offset: u64, size: u8, value: u64) {
        self.channel.store(cx, region, offset, size, value);
    }
    fn read_string(&mut self, cx: &mut Cx<'_>, region: u32, offset: u64, size: u8, data: &mut [u8]) {
        self.channel.load_string(cx, region, offset, size, data);
    }
    fn write_string(&mut self, cx: &mut Cx<'_>, region: u32, offset: u64, size: u8, data: &[u8]) {
        self.channel.store_string(cx, region, offset, size, data);
    }
    fn plugged(&mut self, cx: &mut Cx<'_>, _: &str, part: Box<dyn Any + Send>) -> Result<(), String> {
        self.channel.plug(cx, part)
    }
    fn backend_ready(&mut self, cx: &mut Cx<'_>, tag: u32) {
        self.channel.completed(cx, tag as usize);
    }
    fn medium(&mut self, cx: &mut Cx<'_>, tag: u32, event: MediumEvent) {
        self.channel.medium(cx, tag as usize, event);
    }
    fn reset(&mut self, cx: &mut Cx<'_>, _: ResetKind) {
        self.channel.reset(cx);
    }
}
