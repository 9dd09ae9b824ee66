//! `virtio-serial`: consoles and named channels (5.3), as ports on a bus of the device's own, on which they come and go.
//!
//! `spec` is what users say of the device and its ports, `port` one of these at work, `control` the messages about them.

mod control;
mod port;
mod spec;

use super::transport::{Io, VirtioDevice};
use control::{Message, event};
use gearbox_core::board::{Cx, DeviceId, Saved};
use gearbox_core::event::Event;
use port::Port;
pub use spec::{Serial, VirtConsole, VirtSerialPort};
use std::any::Any;
use std::collections::{BTreeMap, VecDeque};

/// Features (5.3.3).
const MULTIPORT: u32 = 1;
const EMERGENCY_WRITE: u32 = 2;
/// The queues for messages to and from the driver.
const TO_DRIVER: u16 = 2;
const FROM_DRIVER: u16 = 3;
/// Where in the configuration a character is written in an emergency (5.3.4).
const EMERGENCY: usize = 8;
/// Messages that wait for a buffer of the driver's.
const MOST_MESSAGES: usize = 2048;

/// The device.
pub struct SerialDevice {
    max_ports: u32,
    emergency_write: bool,
    ports: BTreeMap<u32, Port>,
    /// To the driver.
    messages: VecDeque<Vec<u8>>,
}

impl SerialDevice {
    /// Tells the driver something about a port, if it knows of ports at all.
    fn tell(&mut self, io: &mut Io<'_, '_>, id: u32, event: u16, value: u16, more: &[u8]) {
        if !io.has(MULTIPORT) || !io.is_started() {
            return;
        }
        if self.messages.len() == MOST_MESSAGES {
            return io.cx.guest_error(format_args!("the driver does not take messages about its ports"));
        }
        self.messages.push_back(Message { id, event, value }.with(more));
        self.send_messages(io);
    }
    fn send_messages(&mut self, io: &mut Io<'_, '_>) {
        while !self.messages.is_empty() {
            let Some(chain) = io.pop(TO_DRIVER) else { break };
            let message = self.messages.pop_front().unwrap_or_default();
            let written = chain.writable.write(io.cx, &message).unwrap_or(0);
            io.push(TO_DRIVER, chain.head, written as u32);
        }
        io.interrupt(TO_DRIVER);
    }
    /// What the driver says about a port.
    fn message(&mut self, io: &mut Io<'_, '_>, message: Message) {
        let Message { id, event, value } = message;
        if event == event::DEVICE_READY {
            if value == 0 {
                return io.cx.guest_error(format_args!("Guest failure in adding device"));
            }
            let all: Vec<_> = self.ports.keys().copied().collect();
            return all.into_iter().for_each(|nr| self.tell(io, nr, event::PORT_ADD, 1, &[]));
        }
        let Some(port) = self.ports.get_mut(&id) else {
            return io.cx.guest_error(format_args!("Unexpected port id {id}"));
        };
        match event {
            event::PORT_READY if value == 0 => {
                io.cx.guest_error(format_args!("Guest failure in adding port {id}"));
            }
            event::PORT_READY => {
                let (is_console, open) = (port.is_console, port.host_connected);
                let name = port.name.as_ref().map(|name| [name.as_bytes(), &[0]].concat());
                if is_console {
                    self.tell(io, id, event::CONSOLE_PORT, 1, &[]);
                    self.tell_size(io, id);
                }
                if let Some(name) = name {
                    self.tell(io, id, event::PORT_NAME, 1, &name);
                }
                if open {
                    self.tell(io, id, event::PORT_OPEN, 1, &[]);
                }
            }
            event::PORT_OPEN => {
                guest_connected(port, io.cx, value != 0);
                self.move_bytes(io, id);
            }
            _ => io.cx.guest_error(format_args!("message {event} about port {id}")),
        }
    }
    /// Tells how large the terminal behind a console is, if that is known and not what it was (5.3.6.2, VIRTIO_CONSOLE_RESIZE). Rows come first, since
    /// Linux reads them so, though the standard has columns first.
    fn tell_size(&mut self, io: &mut Io<'_, '_>, nr: u32) {
        let Some(port) = self.ports.get_mut(&nr).filter(|p| p.is_console) else { return };
        let size = io.cx.chardev(nr).and_then(|backend| backend.window_size());
        if let (Some((columns, rows)), true) = (size, std::mem::replace(&mut port.size, size) != size) {
            let size = [rows, columns].map(u16::to_le_bytes).concat();
            self.tell(io, nr, event::RESIZE, 1, &size);
        }
    }
    /// Moves what can be moved through a port.
    fn move_bytes(&mut self, io: &mut Io<'_, '_>, nr: u32) {
        let Some(port) = self.ports.get_mut(&nr) else { return };
        port.receive(io);
        port.send(io);
        let open = port.host_connected;
        if std::mem::replace(&mut port.told_open, open) != open {
            self.tell(io, nr, event::PORT_OPEN, open.into(), &[]);
        }
    }
}

/// Notes whether the guest has a port open, and tells those who watch the machine if that has changed.
fn guest_connected(port: &mut Port, cx: &Cx<'_>, open: bool) {
    if std::mem::replace(&mut port.guest_connected, open) == open {
        return;
    }
    if let Some(id) = &port.id {
        cx.emit(&Event::VserportChange { id: id.clone(), open });
    }
}

impl VirtioDevice for SerialDevice {
    fn saved(&mut self) -> Saved<'_> {
        let Self { max_ports: _, emergency_write: _, ports, messages } = self;
        let messages = Saved::sound(messages, |messages| messages.len() <= MOST_MESSAGES);
        ports.values_mut().map(Port::saved).fold(messages, Saved::and)
    }
    fn features(&self) -> u64 {
        let multiport = u64::from(self.max_ports > 1) << MULTIPORT;
        multiport | u64::from(self.emergency_write) << EMERGENCY_WRITE
    }
    /// Columns and rows, which are not said here; number of ports; the register for emergencies.
    fn config(&self) -> Vec<u8> {
        let mut config = vec![0; 4];
        config.extend(self.max_ports.to_le_bytes());
        if self.emergency_write {
            config.extend([0; 4]);
        }
        config
    }
    fn write_config(&mut self, io: &mut Io<'_, '_>, offset: usize, data: &[u8]) {
        if let Some(byte) = data.get(EMERGENCY.wrapping_sub(offset))
            && let Some(console) = self.ports.values().find(|p| p.is_console)
            && let Some(backend) = io.cx.chardev(console.nr)
        {
            // One that is full loses it: there is nobody to wait.
            backend.write(&[*byte]);
        }
    }
    /// A driver that does not know of several ports has the first one open.
    fn start(&mut self, io: &mut Io<'_, '_>) {
        if let (false, Some(port)) = (io.has(MULTIPORT), self.ports.get_mut(&0)) {
            guest_connected(port, io.cx, true);
            self.move_bytes(io, 0);
        }
    }
    fn notified(&mut self, io: &mut Io<'_, '_>, queue: u16) {
        match queue {
            TO_DRIVER => self.send_messages(io),
            FROM_DRIVER => io.serve(queue, |io, chain| {
                if let Some(bytes) = chain.readable.array(io.cx) {
                    self.message(io, Message::from_bytes(bytes));
                }
                io.push(queue, chain.head, 0);
            }),
            _ => self.move_bytes(io, port::of_queue(queue)),
        }
    }
    fn reset(&mut self, cx: &mut Cx<'_>) {
        self.messages.clear();
        for port in self.ports.values_mut() {
            port.reset();
            guest_connected(port, cx, false);
        }
    }
    fn plugged(&mut self, io: &mut Io<'_, '_>, part: Box<dyn Any + Send>) -> Result<(), String> {
        let mut port = *part.downcast::<Port>().map_err(|_| "it is no port".to_owned())?;
        let nr = port.nr;
        if let Some(name) = &port.name
            && self.ports.values().any(|p| p.name.as_ref() == Some(name))
        {
            return Err(format!("virtio-serial-bus: A port already exists by name {name}"));
        }
        port.connect(io.cx);
        if nr == 0 && io.is_started() && !io.has(MULTIPORT) {
            guest_connected(&mut port, io.cx, true);
        }
        self.ports.insert(nr, port);
        self.tell(io, nr, event::PORT_ADD, 1, &[]);
        self.move_bytes(io, nr);
        Ok(())
    }
    fn unplugged(&mut self, io: &mut Io<'_, '_>, device: DeviceId) {
        let Some(nr) = self.ports.values().find(|p| p.owner == device).map(|p| p.nr) else { return };
        if let Some(mut port) = self.ports.remove(&nr) {
            port.give_up(io);
        }
        self.tell(io, nr, event::PORT_REMOVE, 1, &[]);
    }
    fn backend_ready(&mut self, io: &mut Io<'_, '_>, tag: u32) {
        if self.ports.get(&tag).is_some_and(|p| p.size.is_some()) {
            self.tell_size(io, tag);
        }
        self.move_bytes(io, tag);
    }
}
