//! Devices that come by name and go again: `-device`, `device_add`, `device_del`.

use super::{BoardState, DeviceId, Realize, RealizeError, Slot};
use crate::event::Event;
use crate::object::{AnySpec, Backends, DeviceClass, NodeId, SetError, TypeInfo, Value, types};
use crate::pci::PciAddress;
use std::any::Any;
use std::collections::BTreeMap;

/// A bus that devices plug into.
#[derive(Clone, Debug)]
pub struct Bus {
    /// Its name, such as `pci.0`.
    pub name: String,
    /// Its type, such as `PCI`.
    pub kind: &'static str,
    /// Devices can come and go while the machine runs.
    pub hotplug: bool,
    pub(super) node: NodeId,
    /// The device that has it.
    pub(super) owner: DeviceId,
    /// Most devices on it.
    pub(super) most: usize,
    /// Those that are.
    pub(super) members: Vec<DeviceId>,
    /// The places on it that are numbered and taken.
    pub(super) units: BTreeMap<u32, DeviceId>,
    /// The Open Firmware path of the device that has it, as boot orders begin; empty where none matters.
    pub firmware_path: String,
}

/// A bus as a device on it sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BusPlace {
    /// The device that has it.
    pub owner: DeviceId,
    /// Which one of its owner's buses it is.
    pub nth: usize,
    /// Which one of its kind it is on the board.
    pub number: usize,
    /// See [`Bus::firmware_path`].
    pub firmware_path: String,
}

/// What a hot-plug handler (QEMU's interface of that name, here a part of [`Device`](super::Device)) is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hotplug {
    /// A PCI function is there.
    PciPlugged(PciAddress),
    /// The user wants a PCI function to go; the guest is to be asked.
    PciUnplugRequest(PciAddress),
    /// A CPU is there: its index among the possible ones.
    CpuPlugged(u32),
    /// The user wants a CPU to go.
    CpuUnplugRequest(u32),
}

/// Why a device was not added. The texts are QEMU's.
#[derive(Debug, thiserror::Error)]
pub enum PlugError {
    /// No such type.
    #[error("'{name}' is not a valid device model name{hint}")]
    UnknownType {
        /// As given.
        name: String,
        /// `; did you mean 'x'?`, or nothing.
        hint: String,
    },
    /// There is such a type, but not for users.
    #[error("Parameter 'driver' expects a pluggable device type")]
    NotPluggable,
    /// The id is taken.
    #[error("Duplicate device ID '{0}'")]
    Duplicate(String),
    /// An id that could not be told from a path.
    #[error(
        "Parameter 'id' expects an identifier; Identifiers consist of letters, digits, '-', '.', '_', starting with a letter."
    )]
    Id,
    /// The board has no bus for it.
    #[error("No '{bus}' bus found for device '{device}'")]
    NoBus {
        /// Type of bus.
        bus: &'static str,
        /// Type of the device.
        device: String,
    },
    /// The bus that was asked for does not exist, or does not fit.
    #[error("{0}")]
    WrongBus(String),
    /// The bus does not take devices while the machine runs.
    #[error("Bus '{0}' does not support hotplugging")]
    ColdBus(String),
    /// The type does not.
    #[error("Device '{0}' does not support hotplugging")]
    ColdDevice(String),
    /// A property.
    #[error(transparent)]
    Property(#[from] crate::object::SetError),
    /// It is a CPU.
    #[error(transparent)]
    Cpu(Box<super::CpuPlugError>),
    /// Realization.
    #[error(transparent)]
    Realize(#[from] RealizeError),
}

impl From<super::CpuPlugError> for PlugError {
    fn from(error: super::CpuPlugError) -> Self {
        Self::Cpu(Box::new(error))
    }
}

/// Why a device does not go. The texts are QEMU's.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnplugError {
    /// No such device.
    #[error("Device '{0}' not found")]
    NotFound(String),
    /// It is part of the board.
    #[error("Device '{0}' not hotpluggable")]
    Fixed(String),
    /// The processor that the machine starts with stays.
    #[error("Boot CPU is unpluggable")]
    BootCpu,
    /// Its bus does not let devices go.
    #[error("Bus '{0}' does not support hotplugging")]
    ColdBus(String),
}

/// Why there is no place on a bus ([`Realize::take_unit`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoUnit {
    /// Somebody has it.
    Taken,
    /// There are none behind this one.
    Beyond(u32),
    /// All are taken.
    Full,
}

/// A value set for a type and its descendants before each of their instances is realized (`-global`, and what differs between versions of a machine).
#[derive(Clone, Debug, PartialEq)]
pub struct Global {
    /// The type.
    pub driver: String,
    /// The property.
    pub property: String,
    /// The value.
    pub value: Value,
}

/// Is this an identifier (QEMU's `id_wellformed`)?
pub fn well_formed_id(id: &str) -> bool {
    id.starts_with(|c: char| c.is_ascii_alphabetic())
        && id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'))
}

/// A type that users can plug, and an unrealized device of it.
pub(super) fn class_of(type_name: &str) -> Result<(&'static TypeInfo, DeviceClass, Box<dyn AnySpec>), PlugError> {
    let info = types().get(type_name).ok_or_else(|| {
        let hint = crate::did_you_mean(crate::closest(type_name, types().user_creatable().map(|t| t.name)));
        PlugError::UnknownType { name: type_name.to_owned(), hint }
    })?;
    let class = info.device.filter(|d| d.user_creatable).ok_or(PlugError::NotPluggable)?;
    let spec = class.make.ok_or(PlugError::NotPluggable)?();
    Ok((info, class, spec))
}

fn text<'a>(properties: &'a [(String, Value)], key: &str) -> Option<&'a str> {
    properties.iter().rev().find(|(k, _)| k == key).and_then(|(_, v)| v.as_str())
}

/// The id among a device's properties.
///
/// # Errors
/// It is not well-formed.
pub fn id_of(properties: &[(String, Value)]) -> Result<Option<&str>, PlugError> {
    match text(properties, "id") {
        Some(id) if !well_formed_id(id) => Err(PlugError::Id),
        id => Ok(id),
    }
}

/// Sets all but those that are about the place of a device.
pub(super) fn set_all(
    spec: &mut dyn AnySpec,
    properties: &[(String, Value)],
    backends: &dyn Backends,
) -> Result<(), SetError> {
    let own = properties.iter().filter(|(k, _)| !["id", "bus"].contains(&k.as_str()));
    own.into_iter().try_for_each(|(name, value)| spec.set(name, value, backends))
}

impl Bus {
    /// There is no room on it.
    pub fn is_full(&self) -> bool {
        self.members.len() >= self.most
    }
}

impl BoardState {
    /// The buses of the board.
    pub fn buses(&self) -> &[Bus] {
        &self.fabric.buses
    }
    pub(super) fn add_bus(&mut self, bus: Bus) {
        self.fabric.buses.push(bus);
    }
    /// Sets values for types, for devices that are realized from now on. Later ones win.
    pub fn set_globals(&mut self, globals: Vec<Global>) {
        self.globals = globals;
    }
    pub(super) fn apply_globals(&self, spec: &mut dyn AnySpec) -> Result<(), RealizeError> {
        let device = spec.type_name();
        for g in self.globals.iter().filter(|g| types().is_a(device, &g.driver)) {
            spec.set(&g.property, &g.value, &self.backends()).map_err(|error| RealizeError::Global {
                driver: g.driver.clone(),
                property: g.property.clone(),
                error,
            })?;
        }
        Ok(())
    }

    /// Adds a device by the name of its type: sets `properties` (with `id` and `bus` among them) and realizes it, under `/machine/peripheral/ID` or
    /// `/machine/peripheral-anon/device[N]`. With `hotplug`, while the machine runs, and the board's hot-plug handler is told.
    ///
    /// # Errors
    /// See [`PlugError`]; nothing has changed then.
    pub fn add_device(
        &mut self,
        type_name: &str,
        properties: &[(String, Value)],
        hotplug: bool,
    ) -> Result<DeviceId, PlugError> {
        let (info, class, mut spec) = class_of(type_name)?;
        let id = id_of(properties)?;
        let bus = self.bus_for(info.name, text(properties, "bus"))?;
        if hotplug {
            match bus.as_ref().filter(|b| !b.hotplug) {
                Some(bus) => return Err(PlugError::ColdBus(bus.name.clone())),
                None if !class.hotpluggable => return Err(PlugError::ColdDevice(info.name.to_owned())),
                None => {}
            }
        }
        let path = match id {
            Some(id) => {
                let path = format!("/machine/peripheral/{id}");
                if self.objects.resolve(&path).is_ok() {
                    return Err(PlugError::Duplicate(id.to_owned()));
                }
                path
            }
            None => "/machine/peripheral-anon/device[*]".to_owned(),
        };
        self.apply_globals(&mut *spec)?;
        set_all(&mut *spec, properties, &self.backends())?;
        let values = spec.properties();
        let on = bus.as_ref().map(|b| b.name.clone());
        let device = self.put(&path, info.name, values, on, |r| spec.realize_boxed(r).map(|d| (d, ())))?.id;
        let slot = self.slot_mut(device).expect("just made");
        slot.id = id.map(str::to_owned);
        slot.removable = class.hotpluggable;
        let node = slot.node;
        if class.hotpluggable {
            self.fabric.pci.set_removable(device);
        }
        self.objects.set_fixed(node, "hotplugged", "bool", hotplug);
        self.objects.set_fixed(node, "hotpluggable", "bool", class.hotpluggable);
        if hotplug {
            self.call(device, |d, cx| d.reset(cx, super::ResetKind::Power));
            if let Some(at) = self.fabric.pci.place(device) {
                self.tell_hotplug(Hotplug::PciPlugged(at));
            }
        }
        Ok(device)
    }
    fn bus_for(&self, type_name: &str, wanted: Option<&str>) -> Result<Option<Bus>, PlugError> {
        let Some(kind) = types().bus_of(type_name) else { return Ok(None) };
        let Some(name) = wanted else {
            let of_kind = || self.fabric.buses.iter().filter(|b| b.kind == kind);
            let found = of_kind().find(|b| !b.is_full()).or_else(|| of_kind().next()).cloned();
            return found.map(Some).ok_or_else(|| PlugError::NoBus { bus: kind, device: type_name.to_owned() });
        };
        let wrong = |text: String| Err(PlugError::WrongBus(text));
        match self.fabric.buses.iter().find(|b| b.name == name) {
            None => wrong(format!("Bus '{name}' not found")),
            Some(b) if b.kind != kind => wrong(format!("Device '{type_name}' can't go on {} bus", b.kind)),
            Some(b) => Ok(Some(b.clone())),
        }
    }
    /// Notes that a device is on a bus, and gives the bus's owner what becomes a part of it.
    pub(super) fn put_on_bus(
        &mut self,
        device: DeviceId,
        node: NodeId,
        bus: &str,
        part: Option<Box<dyn Any + Send>>,
    ) -> Result<(), String> {
        let bus =
            self.fabric.buses.iter_mut().find(|b| b.name == bus).ok_or_else(|| format!("Bus '{bus}' not found"))?;
        if bus.is_full() {
            return Err(format!("Bus '{}' is full", bus.name));
        }
        bus.members.push(device);
        let bus = bus.clone();
        if let Some(part) = part {
            let plugged = self.try_call(bus.owner, |d, cx| d.plugged(cx, &bus.name, part));
            if let Err(reason) = plugged.unwrap_or_else(|| Err(format!("Bus '{}' has gone", bus.name))) {
                self.fabric.leave_bus(device);
                return Err(reason);
            }
        }
        let target = self.objects.path(bus.node);
        self.objects.set_link(node, "parent_bus", bus.kind, target);
        Ok(())
    }
    /// Tells the board's hot-plug handler.
    pub fn tell_hotplug(&mut self, event: Hotplug) {
        if let Some(handler) = self.fabric.hotplug {
            self.try_call(handler, |d, cx| d.hotplug(cx, event));
        }
    }

    /// The device with that id, or at that path.
    pub fn by_id_or_path(&self, id_or_path: &str) -> Option<DeviceId> {
        let node = match id_or_path.starts_with('/') {
            true => self.objects.resolve(id_or_path),
            false => self.objects.resolve(&format!("/machine/peripheral/{id_or_path}")),
        };
        self.objects.device(node.ok()?)
    }
    /// Asks for a device to go, by id or path (`device_del`). It goes at once where there is nobody to ask; else when the guest ejects it. A
    /// [`Event::DeviceDeleted`] says that it has gone.
    ///
    /// # Errors
    /// There is no such device, or it stays.
    pub fn request_unplug(&mut self, id_or_path: &str) -> Result<(), UnplugError> {
        let device = self.by_id_or_path(id_or_path).ok_or_else(|| UnplugError::NotFound(id_or_path.to_owned()))?;
        let slot = self.slot(device).ok_or_else(|| UnplugError::NotFound(id_or_path.to_owned()))?;
        if !slot.removable {
            return Err(UnplugError::Fixed(id_or_path.to_owned()));
        }
        let cold = |b: &&Bus| b.members.contains(&device) && !b.hotplug;
        if let Some(bus) = self.fabric.buses.iter().find(cold) {
            return Err(UnplugError::ColdBus(bus.name.clone()));
        }
        let cpu = self.cpu_index(device);
        if cpu == Some(0) {
            return Err(UnplugError::BootCpu);
        }
        let pci = self.fabric.pci.place(device).map(Hotplug::PciUnplugRequest);
        match (pci.or(cpu.map(Hotplug::CpuUnplugRequest)), self.fabric.hotplug) {
            (Some(request), Some(_)) => self.tell_hotplug(request),
            _ => self.fabric.unplugs.push(device),
        }
        Ok(())
    }
    /// Takes a device off the board: everything that it claimed is given back, the lines that it drove are released, and its object goes. The
    /// device value is returned.
    pub fn unrealize(&mut self, id: DeviceId) -> Option<Box<dyn super::Device>> {
        let slot = *self.slots.get_mut(id.0 as usize)?.take()?;
        slot.claims.give_back(&mut self.fabric);
        if let Some((owner, bus)) = self.fabric.leave_bus(id) {
            self.try_call(owner, |d, cx| d.unplugged(cx, &bus, id));
        }
        for sink in self.fabric.forget(id) {
            self.deliver(sink, false);
        }
        self.objects.remove(slot.node);
        Some(slot.device)
    }
    /// Carries out what [`Cx::eject`](super::Cx::eject) and the like asked for. What is on a bus of the device goes first.
    pub(super) fn finish_unplug(&mut self, id: DeviceId) {
        for member in self.fabric.members_of(id) {
            self.finish_unplug(member);
        }
        let Some(Slot { id: name, path, .. }) = self.slot(id) else { return };
        let event = Event::DeviceDeleted { id: name.clone(), path: path.clone() };
        let cpu = self.cpu_index(id);
        let drives = self.fabric.drives_of(id);
        self.unrealize(id);
        drives.iter().for_each(|drive| self.fabric.blocks.device_gone(drive));
        cpu.into_iter().for_each(|index| self.cpu_gone(index));
        self.fabric.emit(&event);
    }
}

impl Realize<'_> {
    /// The device has a bus for others, as a part of its object.
    pub fn bus(&mut self, name: &str, kind: &'static str, hotplug: bool) -> &mut Bus {
        self.bus_for(name, kind, hotplug, usize::MAX)
    }
    /// The same with room for so many.
    pub fn bus_for(&mut self, name: &str, kind: &'static str, hotplug: bool, most: usize) -> &mut Bus {
        let node = self.child(name, kind);
        let (name, owner) = (name.to_owned(), self.id);
        let (members, units) = (Vec::new(), BTreeMap::new());
        let firmware_path = String::new();
        self.claims.buses.push(Bus { name, kind, hotplug, node, owner, most, members, units, firmware_path });
        self.claims.buses.last_mut().expect("just added")
    }
    /// The name that a bus of this device has unless its type says otherwise: after the device's id, or numbered among those of its kind.
    pub fn bus_name(&self, kind: &str) -> String {
        match self.user_id() {
            Some(id) => format!("{id}.0"),
            None => {
                let numbered = (0..).map(|n| format!("{}.{n}", kind.to_lowercase()));
                let mut free = numbered.filter(|name| self.fabric.buses.iter().all(|b| b.name != *name));
                free.next().expect("there are few buses")
            }
        }
    }
    /// Takes a numbered place on a bus: `wanted`, or the first one from `first` on.
    ///
    /// # Errors
    /// There is none, or somebody has it.
    pub fn take_unit(&mut self, bus: &str, wanted: Option<u32>, first: u32) -> Result<u32, NoUnit> {
        let id = self.id;
        let bus = self.fabric.buses.iter_mut().find(|b| b.name == bus).ok_or(NoUnit::Full)?;
        let end = u32::try_from(bus.most).unwrap_or(u32::MAX);
        let taken = |unit: &u32| bus.units.contains_key(unit);
        let unit = match wanted {
            Some(unit) if unit >= end => return Err(NoUnit::Beyond(end.saturating_sub(1))),
            Some(unit) if taken(&unit) => return Err(NoUnit::Taken),
            Some(unit) => unit,
            None => (first..end).find(|unit| !taken(unit)).ok_or(NoUnit::Full)?,
        };
        bus.units.insert(unit, id);
        Ok(unit)
    }
    /// The bus that the user chose for the device, or that was found for it. A part of the board says itself where it is.
    pub fn on_bus(&mut self, own: &str) -> String {
        self.on_bus.get_or_insert_with(|| own.to_owned()).clone()
    }
    /// The device that has a bus.
    pub fn bus_owner(&self, bus: &str) -> Option<DeviceId> {
        self.fabric.buses.iter().find(|b| b.name == bus).map(|b| b.owner)
    }
    /// A bus, and where it is among others.
    pub fn bus_place(&self, bus: &str) -> Option<BusPlace> {
        let all = || self.fabric.buses.iter();
        let Bus { kind, owner, firmware_path, .. } = all().find(|b| b.name == bus)?;
        let nth = all().filter(|b| b.owner == *owner).position(|b| b.name == bus)?;
        let number = all().filter(|b| b.kind == *kind).position(|b| b.name == bus)?;
        Some(BusPlace { owner: *owner, nth, number, firmware_path: firmware_path.clone() })
    }
    /// What the owner of the bus is given: the device is a part of it.
    pub fn part(&mut self, part: impl Any + Send) {
        self.part = Some(Box::new(part));
    }
    /// This device handles hot-plug for the board's PCI buses and CPUs: it hears [`super::Device::hotplug`].
    pub fn handle_hotplug(&mut self) {
        self.fabric.hotplug = Some(self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::{Board, Cx, Device, DeviceSpec, DeviceState, Line, Saved, Timer};
    use crate::clock::ManualClock;
    use crate::object::{Property, TypeEntry, TypeInfo};
    use crate::property;
    use crate::testing::NullMsi;
    use crate::vm::CpuBus;
    use parking_lot::Mutex;
    use std::sync::Arc;

    /// A card with a port, an interrupt and a timer: a store raises the interrupt and arms the timer.
    struct Card {
        irq: Line,
        timer: Timer,
    }
    struct CardSpec {
        iobase: u16,
        irq: u8,
    }
    impl Default for CardSpec {
        fn default() -> Self {
            Self { iobase: 0x300, irq: 5 }
        }
    }
    impl DeviceSpec for CardSpec {
        type Device = Card;
        type Pins = ();
        const TYPE: &'static str = "test-card";
        const PROPERTIES: &'static [&'static [Property<Self>]] =
            &[&[property!("iobase", u16, iobase, "the port"), property!("irq", u8, irq, "the interrupt")]];
        fn realize(self, r: &mut Realize<'_>) -> Result<(Card, ()), RealizeError> {
            r.ports(0, "card", self.iobase, 1);
            Ok((Card { irq: r.isa_irq(self.irq), timer: r.timer(0) }, ()))
        }
    }
    impl Device for Card {
        fn state(&mut self) -> DeviceState<'_> {
            DeviceState::none()
        }
        fn read(&mut self, _: &mut Cx<'_>, _: u32, _: u64, _: u8) -> u64 {
            0x5a
        }
        fn write(&mut self, cx: &mut Cx<'_>, _: u32, _: u64, _: u8, value: u64) {
            cx.set(self.irq, value != 0);
            cx.arm(self.timer, 1000);
        }
    }
    inventory::submit! { TypeEntry(&TypeInfo::device::<CardSpec>("device", "a card")) }

    /// Remembers the level of its one input.
    struct Input(bool);
    struct InputSpec;
    impl DeviceSpec for InputSpec {
        type Device = Input;
        type Pins = super::super::Pins;
        const TYPE: &'static str = "test-input";
        fn realize(self, r: &mut Realize<'_>) -> Result<(Input, Self::Pins), RealizeError> {
            Ok((Input(false), r.inputs("irq", 1)))
        }
    }
    impl Device for Input {
        fn state(&mut self) -> DeviceState<'_> {
            Saved::of(&mut self.0).version(1)
        }
        fn pin(&mut self, _: &mut Cx<'_>, _: u32, level: bool) {
            self.0 = level;
        }
    }

    fn board() -> Arc<Board> {
        Board::new(Arc::new(ManualClock::new()), Arc::new(NullMsi))
    }
    fn properties(p: &[(&str, &str)]) -> Vec<(String, Value)> {
        p.iter().map(|(k, v)| ((*k).to_owned(), (*v).into())).collect()
    }

    #[test]
    fn everything_is_given_back() {
        let board = board();
        let input = board.with(|s| {
            let input = s.realize("/machine/input", InputSpec).unwrap();
            s.feed_isa_irq(7, input.pins.get(0));
            input.id
        });
        let level = || board.with(|s| s.device::<Input>(input).unwrap().0);
        let events = Arc::new(Mutex::new(Vec::new()));
        let heard = events.clone();
        let listener: Arc<dyn Fn(&Event) + Send + Sync> = Arc::new(move |e| heard.lock().push(e.clone()));
        board.subscribe(&listener);
        for _ in 0..3 {
            let given = properties(&[("id", "c"), ("iobase", "0x310"), ("irq", "7")]);
            board.with(|s| s.add_device("test-card", &given, true)).unwrap();
            let node = board.with(|s| s.objects.resolve("/machine/peripheral/c")).unwrap();
            assert_eq!(board.with(|s| s.object_get(node, "irq")), Ok(7.into()));
            assert!(board.with(|s| s.object_set(node, "irq", &5.into())).unwrap_err().to_string().contains("realized"));
            board.pio_out(0x310, 1, 1);
            assert!(level() && board.next_deadline().is_some());
            board.with(|s| s.request_unplug("c")).unwrap();
            assert!(!level() && board.next_deadline().is_none());
            assert_eq!(board.pio_in(0x310, 1), 0xff);
            assert!(board.with(|s| s.objects.resolve("/machine/peripheral/c")).is_err());
        }
        let gone = Event::DeviceDeleted { id: Some("c".into()), path: "/machine/peripheral/c".into() };
        assert_eq!(*events.lock(), [gone.clone(), gone.clone(), gone]);
    }

    #[test]
    fn mistakes_change_nothing() {
        let board = board();
        let add = |name: &str, p: &[(&str, &str)]| {
            board.with(|s| s.add_device(name, &properties(p), true)).map(|_| ()).map_err(|e| e.to_string())
        };
        add("test-card", &[("id", "a")]).unwrap();
        let wrong = |r: Result<(), String>| r.unwrap_err();
        assert_eq!(wrong(add("test-card", &[("id", "a")])), "Duplicate device ID 'a'");
        assert!(wrong(add("test-card", &[("id", "b")])).contains("ports 0x300-0x300 belong to test-card"));
        assert!(
            wrong(add("test-card", &[("iobas", "1")])).contains("'test-card.iobas' not found; did you mean 'iobase'?")
        );
        assert!(wrong(add("test-card", &[("irq", "300")])).contains("'irq'"));
        assert!(wrong(add("test-cart", &[])).contains("did you mean 'test-card'?"));
        assert_eq!(wrong(add("device", &[])), "Parameter 'driver' expects a pluggable device type");
        assert!(wrong(add("test-card", &[("id", "1b")])).contains("identifier"));
        assert_eq!(board.with(|s| s.devices().count()), 1);
        let unplug = |id: &str| board.with(|s| s.request_unplug(id));
        assert_eq!(unplug("b"), Err(UnplugError::NotFound("b".into())));
        assert_eq!(unplug("/machine"), Err(UnplugError::NotFound("/machine".into())));
    }

    #[test]
    fn globals_come_before_what_is_given() {
        let board = board();
        board.with(|s| {
            let global = |property: &str, value: &str| Global {
                driver: "test-card".into(),
                property: property.into(),
                value: value.into(),
            };
            s.set_globals(vec![global("iobase", "0x320"), global("irq", "3")]);
            let id = s.add_device("test-card", &properties(&[("irq", "4")]), false).unwrap();
            let node = s.node(id).unwrap();
            assert_eq!((s.object_get(node, "iobase"), s.object_get(node, "irq")), (Ok(0x320.into()), Ok(4.into())));
            s.set_globals(vec![global("nothing", "1")]);
            assert!(
                s.realize("/machine/x", CardSpec::default()).unwrap_err().to_string().contains("can't apply global")
            );
        });
    }
}
