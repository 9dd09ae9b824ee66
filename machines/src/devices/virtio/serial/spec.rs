//! `virtio-serial-pci`, `virtconsole` and `virtserialport` as users name them.

use super::SerialDevice;
use super::port::Port;
use crate::devices::virtio::pci::{Flavour, Function, Identity, OnOffAuto, VirtioPci, virtio_pci};
use crate::devices::virtio::{Generic, NonTransitional, Transitional};
use gearbox_core::backend::chardev::Chardev;
use gearbox_core::board::{Device, DeviceSpec, DeviceState, NoUnit, Realize, RealizeError};
use gearbox_core::object::{Category, Property, TypeEntry, TypeInfo};
use gearbox_core::{pci_properties, property};
use std::collections::{BTreeMap, VecDeque};
use virtio_bindings::virtio_ids::{VIRTIO_ID_CONSOLE, VIRTIO_TRANS_ID_CONSOLE};

/// Another kind of communication device.
const CLASS: u32 = 0x07_80_00;
/// Elements of the queues of a port, and of those for messages.
const PORT_QUEUE: u16 = 128;
const CONTROL_QUEUE: u16 = 32;
/// Most ports: each has two queues, of which there are 1024, and there are two more.
const MOST_PORTS: u32 = 511;
/// The type of the bus.
const BUS: &str = "virtio-serial-bus";
/// In place of the number of a port: the first that is free.
pub const ANY: u32 = u32::MAX;

/// The device with the ports' bus.
#[derive(Clone, Debug)]
pub struct Serial {
    /// Most ports.
    pub max_ports: u32,
    /// There is a register through which a driver can write a character before it is set up.
    pub emergency_write: bool,
}

impl Default for Serial {
    fn default() -> Self {
        Self { max_ports: 31, emergency_write: true }
    }
}

impl<F: Flavour> VirtioPci<Serial, F> {
    fn make(self, r: &mut Realize<'_>) -> Result<(Function<SerialDevice>, ()), RealizeError> {
        let Serial { max_ports, emergency_write } = self.kind;
        if max_ports == 0 {
            return Err(r.property_error("max_ports", "Maximum number of serial ports may not be zero"));
        }
        if max_ports > MOST_PORTS {
            return Err(r.property_error("max_ports", format!("maximum ports supported: {MOST_PORTS}")));
        }
        let device = SerialDevice { max_ports, emergency_write, ports: BTreeMap::new(), messages: VecDeque::new() };
        let mut queues = vec![PORT_QUEUE; 2 * max_ports as usize + 2];
        queues[usize::from(super::TO_DRIVER)..=usize::from(super::FROM_DRIVER)].fill(CONTROL_QUEUE);
        let identity = Identity {
            kind: VIRTIO_ID_CONSOLE as u16,
            transitional: VIRTIO_TRANS_ID_CONSOLE as u16,
            class: CLASS,
            queues,
            vectors: 2,
        };
        let bus = r.bus_name(BUS);
        r.bus_for(&bus, BUS, true, max_ports as usize);
        self.realize_as(r, identity, device)
    }
}

virtio_pci! { Serial, SerialDevice, Input, "virtio-serial-pci", "ports for consoles and channels", &[
    property!("max_ports", u32, kind.max_ports, "most ports"),
    property!("emergency-write", bool, kind.emergency_write, "a character can be written before the device is set up"),
] }

/// A port.
#[derive(Clone)]
pub struct PortSpec {
    /// The far end. Without one, what the guest sends is lost.
    pub chardev: Chardev,
    /// Name by which the guest finds it.
    pub name: Option<String>,
    /// Its number.
    pub nr: u32,
}

impl Default for PortSpec {
    fn default() -> Self {
        Self { chardev: Chardev::default(), name: None, nr: ANY }
    }
}

/// A port that is a terminal.
#[derive(Clone, Default)]
pub struct VirtConsole {
    /// What all ports have.
    pub port: PortSpec,
}

/// A port that is a channel for bytes.
#[derive(Clone, Default)]
pub struct VirtSerialPort {
    /// What all ports have.
    pub port: PortSpec,
}

/// The port's place in the device tree; what works is a part of the device that has the bus.
pub struct PortDevice;

impl Device for PortDevice {
    fn state(&mut self) -> DeviceState<'_> {
        DeviceState::none()
    }
}

impl PortSpec {
    /// Makes the port a part of its device. The first one is kept for a console: a driver that knows of one port only knows that one.
    fn realize(self, r: &mut Realize<'_>, is_console: bool) -> Result<(PortDevice, ()), RealizeError> {
        let bus = r.on_bus("virtio-serial-bus.0");
        let Some(owner) = r.bus_owner(&bus) else {
            return Err(r.property_error("bus", format!("Bus '{bus}' not found")));
        };
        let wanted = (self.nr != ANY).then_some(self.nr);
        if wanted == Some(0) && !is_console {
            let reason =
                "Port number 0 on virtio-serial devices reserved for virtconsole devices for backward compatibility.";
            return Err(r.property_error("nr", reason));
        }
        let nr = r.take_unit(&bus, wanted, u32::from(!is_console)).map_err(|why| {
            let reason = match why {
                NoUnit::Taken => format!("A port already exists at id {}", self.nr),
                NoUnit::Beyond(last) => format!("Out-of-range port id specified, max. allowed: {last}"),
                NoUnit::Full => "Maximum port limit for this device reached".to_owned(),
            };
            r.property_error("nr", format!("virtio-serial-bus: {reason}"))
        })?;
        r.settle_property("nr", nr);
        r.chardev_of(owner, nr, self.chardev.backend());
        let (device, id) = (r.id(), r.user_id().map(str::to_owned));
        r.part(Port::new(device, nr, self.name, is_console, id));
        Ok((PortDevice, ()))
    }
}

macro_rules! port_type {
    ($spec:ty, $name:literal, $is_console:literal) => {
        impl DeviceSpec for $spec {
            type Device = PortDevice;
            type Pins = ();
            const TYPE: &'static str = $name;
            const PROPERTIES: &'static [&'static [Property<Self>]] = &[&[
                property!("chardev", Chardev, port.chardev, "the back end"),
                property!("name", Option<String>, port.name, "name by which the guest finds it"),
                property!("nr", u32, port.nr, "number; by default the first that is free"),
            ]];
            fn realize(self, r: &mut Realize<'_>) -> Result<(PortDevice, ()), RealizeError> {
                self.port.realize(r, $is_console)
            }
        }
    };
}
port_type! { VirtConsole, "virtconsole", true }
port_type! { VirtSerialPort, "virtserialport", false }

inventory::submit! { TypeEntry(&TypeInfo::device::<VirtSerialPort>("virtio-serial-port", "a virtio-serial port: a channel for bytes").category(Category::Input)) }
inventory::submit! { TypeEntry(&TypeInfo::device::<VirtConsole>("virtserialport", "a virtio-serial port: a console").category(Category::Input)) }
