//! The board: devices as plain values in an arena behind one lock, and the fabric between them.
//!
//! A device is called with `&mut self` and a [`Cx`], never holds another device, and reaches the outside only through what it claimed
//! when it was realized: I/O regions, lines, timers, back ends. Driving a line only queues the change; queued changes settle, in
//! order, after the callback returns, so that no device is ever re-entered and no pulse is lost.

mod balloon;
mod boot;
mod bus;
mod check;
mod console;
mod cpu;
mod device;
mod drive;
mod fabric;
mod firmware;
mod isa;
mod line;
mod plug;
mod realize;
pub mod state;
#[cfg(test)]
mod tests;
mod timer;

pub use check::check_device;
pub use cpu::CpuPlugError;
pub(crate) use cpu::NewCpu;
pub(crate) use device::all_ones;
pub use device::{Cx, Device, DeviceSpec, ResetKind};
pub use fabric::{Fabric, SystemRequest};
pub use firmware::{FirmwareFile, Rom, RomPlace};
pub use isa::IRQS as ISA_IRQS;
pub use line::{Line, Pin, Pins};
pub use plug::{Bus, BusPlace, Global, Hotplug, NoUnit, PlugError, UnplugError, id_of, well_formed_id};
use realize::{Claims, Finished};
pub use realize::{Realize, RealizeError, Realized};
pub use state::{DeviceState, Saved};
pub use timer::Timer;

use crate::backend::chardev::Chardevs;
use crate::backend::firmware::FirmwarePath;
use crate::clock::ClockSource;
use crate::event::Event;
use crate::mem::{AddressSpace, MemTree};
use crate::object::{NodeId, PropertyInfo, Tree, UserObject, UserObjects};
use crate::vm::MsiSink;
use parking_lot::{Condvar, Mutex};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Weak};

/// A device of a board.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceId(pub(crate) u32);

impl DeviceId {
    /// The `n`th device, for who has a memory tree without a board.
    pub fn nth(n: u32) -> Self {
        Self(n)
    }
}

/// One device in the arena.
struct Slot {
    path: String,
    type_name: &'static str,
    node: NodeId,
    device: Box<dyn Device>,
    claims: Claims,
    /// The user's name for it.
    id: Option<String>,
    /// It may be unplugged.
    removable: bool,
}

/// What the board lock protects.
pub struct BoardState {
    /// By [`DeviceId`], which is not used again when a device has gone.
    slots: Vec<Option<Box<Slot>>>,
    /// Everything under its path.
    pub objects: Tree,
    globals: Vec<Global>,
    chardevs: Arc<Chardevs>,
    user_objects: Arc<UserObjects>,
    /// User objects that the board is made of.
    held: Vec<Arc<dyn UserObject>>,
    /// ROMs of the board, for lists.
    roms: Vec<Rom>,
    /// The CPUs have system management mode.
    pub has_smm: bool,
    /// Lines, timers, memory trees, back ends: everything between the devices.
    pub fabric: Fabric,
}

/// A board: its lock, and what may be used without it.
pub struct Board {
    state: Mutex<BoardState>,
    events: Arc<Events>,
    memory: Arc<AddressSpace>,
    ports: Arc<AddressSpace>,
    clock: Arc<dyn ClockSource>,
    /// Earliest timer in ns, `u64::MAX` for none; written under the lock.
    deadline: AtomicU64,
    requests: Arc<Mailbox>,
    this: Weak<Board>,
}

/// Who hears of events.
#[derive(Default)]
struct Events(Mutex<Vec<Weak<Listener>>>);

type Listener = dyn Fn(&Event) + Send + Sync;

impl Events {
    fn emit(&self, event: &Event) {
        let listeners: Vec<_> = {
            let mut all = self.0.lock();
            all.retain(|l| l.strong_count() > 0);
            all.iter().filter_map(Weak::upgrade).collect()
        };
        listeners.iter().for_each(|l| l(event));
    }
}

/// What devices ask of the machine's control thread, and the wake-up for whoever waits on timers.
#[derive(Default)]
struct Mailbox {
    inner: Mutex<Mail>,
    changed: Condvar,
    /// One of the requests, waiting or being served, will stop the vCPUs.
    stop: AtomicBool,
}

#[derive(Default)]
struct Mail {
    requests: Vec<SystemRequest>,
    /// Counts re-arms of the earliest timer, so that a waiter notices one that came between its look and its sleep.
    deadline_epoch: u64,
}

impl Board {
    /// An empty board that runs by `clock` and sends message-signalled interrupts to `msi`.
    pub fn new(clock: Arc<dyn ClockSource>, msi: Arc<dyn MsiSink>) -> Arc<Self> {
        Arc::new_cyclic(|this| {
            let memory = Arc::new(AddressSpace::new());
            let requests = Arc::new(Mailbox::default());
            let events = Arc::new(Events::default());
            let fabric =
                Fabric::new(this.clone(), clock.clone(), memory.clone(), msi, requests.clone(), events.clone());
            let mut objects = Tree::new();
            for path in
                ["/machine/unattached", "/machine/peripheral", "/machine/peripheral-anon", "/objects", "/chardevs"]
            {
                objects.make_path(path, "container");
            }
            Self {
                state: Mutex::new(BoardState {
                    slots: Vec::new(),
                    objects,
                    globals: Vec::new(),
                    chardevs: Arc::default(),
                    user_objects: Arc::default(),
                    held: Vec::new(),
                    roms: Vec::new(),
                    has_smm: false,
                    fabric,
                }),
                events,
                memory,
                ports: Arc::new(AddressSpace::new()),
                clock,
                deadline: AtomicU64::new(u64::MAX),
                requests,
                this: this.clone(),
            }
        })
    }

    /// Guest-physical memory.
    pub fn memory(&self) -> &Arc<AddressSpace> {
        &self.memory
    }
    /// The machine's clock.
    pub fn clock(&self) -> &Arc<dyn ClockSource> {
        &self.clock
    }
    /// A weak reference to itself, for callbacks of back ends.
    pub fn weak(&self) -> Weak<Self> {
        self.this.clone()
    }

    /// Has `listener` told of every event for as long as it is held. It is called on any thread, with the board locked at times, and must not take the
    /// lock.
    pub fn subscribe(&self, listener: &Arc<dyn Fn(&Event) + Send + Sync>) {
        self.events.0.lock().push(Arc::downgrade(listener));
    }
    /// Tells those who listen.
    pub fn emit(&self, event: &Event) {
        self.events.emit(event);
    }

    /// Runs `f` with the board locked, then lets everything that it queued take effect: lines settle, changed memory trees come into
    /// force, the earliest timer is made known. Never wait for a vCPU inside `f`.
    pub fn with<R>(&self, f: impl FnOnce(&mut BoardState) -> R) -> R {
        let mut state = self.state.lock();
        let result = f(&mut state);
        self.settle(&mut state);
        result
    }

    fn settle(&self, state: &mut BoardState) {
        state.settle();
        if state.fabric.memory.changed() {
            let view = state.fabric.memory.render();
            self.memory.install_with_smm(view, state.fabric.memory.render_smm());
        }
        if state.fabric.ports.changed() {
            let view = state.fabric.ports.render();
            self.ports.install(view);
        }
        let next = state.fabric.timers.next().unwrap_or(u64::MAX);
        if self.deadline.swap(next, Ordering::AcqRel) != next {
            self.wake_timer_waiter();
        }
    }

    /// Makes whoever sleeps in [`Board::wait_timers`] look again.
    pub fn wake_timer_waiter(&self) {
        self.requests.inner.lock().deadline_epoch += 1;
        self.requests.changed.notify_all();
    }

    /// When the next timer is due, in machine ns.
    pub fn next_deadline(&self) -> Option<u64> {
        Some(self.deadline.load(Ordering::Acquire)).filter(|&d| d != u64::MAX)
    }

    /// Fires every timer that is due now.
    pub fn run_timers(&self) {
        if self.next_deadline().is_some_and(|d| d <= self.clock.now()) {
            self.with(|s| s.run_timers());
        }
    }

    /// Advances a clock that is moved by hand to `target` ns, firing timers on the way, each at its own time and in order. Returns false
    /// (and does nothing) when the clock follows the host.
    pub fn step_clock(&self, target: u64) -> bool {
        loop {
            match self.next_deadline().filter(|&d| d <= target) {
                Some(d) => {
                    if !self.clock.advance_to(d) {
                        return false;
                    }
                    self.with(|s| s.run_timers());
                }
                None => return self.clock.advance_to(target),
            }
        }
    }

    /// Sleeps until a timer is due, one is re-armed, or `quit` says to stop after [`Board::wake_timer_waiter`]; then fires what is due. For the
    /// one thread that drives timers of a clock which follows the host.
    pub fn wait_timers(&self, quit: impl Fn() -> bool) {
        let mut mail = self.requests.inner.lock();
        let epoch = mail.deadline_epoch;
        while !quit() && mail.deadline_epoch == epoch {
            let sleep = self.next_deadline().and_then(|d| self.clock.host_wait(d));
            match sleep {
                Some(d) if d.is_zero() => break,
                Some(d) => {
                    self.requests.changed.wait_for(&mut mail, d);
                }
                None => self.requests.changed.wait(&mut mail),
            }
        }
        drop(mail);
        self.run_timers();
    }

    /// Takes the oldest request that a device made of the machine, waiting up to `timeout` (for ever without one).
    pub fn wait_request(&self, timeout: Option<std::time::Duration>) -> Option<SystemRequest> {
        let deadline = timeout.map(|t| std::time::Instant::now() + t);
        let mut mail = self.requests.inner.lock();
        loop {
            if !mail.requests.is_empty() {
                return Some(mail.requests.remove(0));
            }
            match deadline {
                Some(d) => {
                    if self.requests.changed.wait_until(&mut mail, d).timed_out() {
                        return None;
                    }
                }
                None => self.requests.changed.wait(&mut mail),
            }
        }
    }

    /// Asks something of the machine from outside its devices (a monitor, a signal handler's thread).
    pub fn request(&self, request: SystemRequest) {
        self.requests.push(request);
    }
    /// The vCPUs have stopped, as [`CpuBus::stop_pending`](crate::vm::CpuBus::stop_pending) wanted it.
    pub(crate) fn cpus_have_stopped(&self) {
        self.requests.stop.store(false, Ordering::Release);
    }
}

impl Mailbox {
    /// Requests beyond this many are dropped: the first ones decide, and a guest must not grow the queue without bound.
    const MOST: usize = 64;

    fn push(&self, request: SystemRequest) {
        use SystemRequest::{Exit, Reset, Shutdown, TripleFault};
        // Before the request can be seen: whoever serves it takes this back.
        if matches!(request, Reset(_) | Shutdown(_) | Exit(_) | TripleFault) {
            self.stop.store(true, Ordering::Release);
        }
        let mut mail = self.inner.lock();
        if mail.requests.len() < Self::MOST && mail.requests.last() != Some(&request) {
            mail.requests.push(request);
        }
        self.changed.notify_all();
    }
}

impl BoardState {
    /// Makes a device and puts it on the board at `path`, such as `/machine/i440fx` or `/machine/unattached/device[*]`.
    ///
    /// # Errors
    /// Everything that it claimed and could not get, together.
    pub fn realize<S: DeviceSpec>(&mut self, path: &str, mut spec: S) -> Result<Realized<S::Pins>, RealizeError> {
        self.apply_globals(&mut spec)?;
        let values = crate::object::AnySpec::properties(&spec);
        self.put(path, S::TYPE, values, None, |r| spec.realize(r).map(|(device, pins)| (Box::new(device) as _, pins)))
    }

    /// Realizes a device whose properties have these `values`.
    fn put<P>(
        &mut self,
        path: &str,
        type_name: &'static str,
        values: Vec<PropertyInfo>,
        on_bus: Option<String>,
        realize: impl FnOnce(&mut Realize<'_>) -> Result<(Box<dyn Device>, P), RealizeError>,
    ) -> Result<Realized<P>, RealizeError> {
        let id = DeviceId(self.slots.len() as u32);
        let node = self.objects.make_path(path, type_name);
        let path = self.objects.path(node);
        self.objects.set_device(node, id);
        let mut r = Realize::new(&mut self.fabric, &mut self.objects, node, id, &path, type_name);
        r.on_bus = on_bus;
        let made = realize(&mut r);
        let Finished { mut claims, mut conflicts, settled, on_bus, part } = r.finish();
        if let (true, true, Some(bus)) = (made.is_ok(), conflicts.is_empty(), on_bus) {
            conflicts.extend(self.put_on_bus(id, node, &bus, part).err());
        }
        match made {
            Ok((device, pins)) if conflicts.is_empty() => {
                claims.buses.drain(..).for_each(|bus| self.add_bus(bus));
                for p in values {
                    let value = settled.iter().find(|(name, _)| *name == p.name).map(|(_, v)| v.clone());
                    self.objects.set_fixed(node, p.name, p.kind, value.or(p.default).unwrap_or_default());
                }
                self.objects.set_fixed(node, "realized", "bool", true);
                self.objects.set_fixed(node, "hotplugged", "bool", false);
                self.objects.set_fixed(node, "hotpluggable", "bool", false);
                let slot = Slot { path, type_name, node, device, claims, id: None, removable: false };
                self.slots.push(Some(Box::new(slot)));
                Ok(Realized { id, pins })
            }
            made => {
                claims.give_back(&mut self.fabric);
                self.fabric.forget(id);
                self.objects.remove(node);
                Err(match made {
                    Err(e) if conflicts.is_empty() => e,
                    _ => RealizeError::conflicts(&path, type_name, conflicts),
                })
            }
        }
    }
    fn slot(&self, id: DeviceId) -> Option<&Slot> {
        self.slots.get(id.0 as usize)?.as_deref()
    }
    fn slot_mut(&mut self, id: DeviceId) -> Option<&mut Slot> {
        self.slots.get_mut(id.0 as usize)?.as_deref_mut()
    }
    /// The back ends that devices find by name.
    pub fn chardevs(&self) -> &Arc<Chardevs> {
        &self.chardevs
    }
    /// Names them.
    pub fn set_chardevs(&mut self, chardevs: Arc<Chardevs>) {
        self.chardevs = chardevs;
    }
    /// The objects that users have made.
    pub fn user_objects(&self) -> &Arc<UserObjects> {
        &self.user_objects
    }
    /// Says where firmware images are.
    pub fn set_firmware_path(&mut self, path: FirmwarePath) {
        self.fabric.firmware_path = path;
    }
    /// Names them.
    pub fn set_user_objects(&mut self, objects: Arc<UserObjects>) {
        self.user_objects = objects;
        self.show_user_objects();
    }
    /// Shows the user objects that there are now under `/objects`.
    pub fn show_user_objects(&mut self) {
        let container = self.objects.make_path("/objects", "container");
        let stale: Vec<_> = self.objects.children(container).map(|(_, node)| node).collect();
        stale.into_iter().for_each(|node| self.objects.remove(node));
        for object in self.user_objects.list() {
            let node = self.objects.add(container, &object.id, object.type_name);
            for p in object.properties {
                self.objects.set_fixed(node, p.name, p.kind, p.default.unwrap_or_default());
            }
        }
    }
    /// Keeps a user object for as long as the board lives.
    pub fn hold(&mut self, object: Arc<dyn UserObject>) {
        self.held.push(object);
    }

    /// Connects an output to an input. One output may feed several inputs; an input that several outputs feed is driven by each of
    /// them separately, so give it a pin for each.
    pub fn connect(&mut self, line: Line, pin: Pin) {
        self.fabric.connect(line, pin);
    }
    /// Connects an output to something that is not a device of the board, such as a CPU's INTR pin. `f` is called with the board
    /// locked and must not take the lock.
    pub fn connect_fn(&mut self, line: Line, f: impl Fn(bool) + Send + Sync + 'static) {
        self.fabric.connect_fn(line, Arc::new(f));
    }
    /// Says where an ISA interrupt leads: to `input`, besides what has been said before.
    pub fn feed_isa_irq(&mut self, irq: u8, input: Pin) {
        self.fabric.isa.feed(irq, input);
    }
    /// Has an output drive an ISA interrupt, with whatever else drives it.
    pub fn connect_isa_irq(&mut self, line: Line, irq: u8) {
        self.fabric.lines.connect(line, line::Sink::Isa(irq));
    }
    /// Level of a line, once settled.
    pub fn level(&self, line: Line) -> bool {
        self.fabric.level(line)
    }
    /// Drives an input pin from outside, as qtest's `set_irq_in` does.
    pub fn drive(&mut self, pin: Pin, level: bool) {
        self.try_call(pin.device, |d, cx| d.pin(cx, pin.index, level));
        self.fabric.tell_tap(pin, level);
    }
    /// Has `tap` told of every level that reaches an input of `device`, as (pin index, level) and after the device has been (QEMU's
    /// `irq_intercept_in`). It is called with the board locked and must not take the lock. For outputs there is [`BoardState::connect_fn`].
    pub fn tap_inputs(&mut self, device: DeviceId, tap: impl Fn(u32, bool) + Send + Sync + 'static) {
        self.fabric.tap_inputs(device, Arc::new(tap));
    }
    /// Resets the PCI configuration spaces, then every device, in the order in which they were realized.
    pub fn reset(&mut self, kind: ResetKind) {
        self.fabric.reset_pci();
        for n in 0..self.slots.len() as u32 {
            self.try_call(DeviceId(n), |d, cx| d.reset(cx, kind));
        }
        self.settle();
    }
    /// Devices as (id, path, type name), in the order of realization.
    pub fn devices(&self) -> impl Iterator<Item = (DeviceId, &str, &'static str)> {
        let all = self.slots.iter().enumerate();
        all.filter_map(|(n, s)| s.as_ref().map(|s| (DeviceId(n as u32), s.path.as_str(), s.type_name)))
    }
    /// Finds a device by its path, or by the end of it if there is only one such device.
    pub fn find(&self, path: &str) -> Option<DeviceId> {
        let end = format!("/{path}");
        let ends = |p: &str| if path.starts_with('/') { p == path } else { p.ends_with(&end) };
        let mut all = self.devices().filter(|(_, p, _)| ends(p)).map(|(id, ..)| id);
        all.next().filter(|_| all.next().is_none())
    }
    /// The user's name for a device, if it has one.
    pub fn device_name(&self, id: DeviceId) -> Option<&str> {
        self.slot(id)?.id.as_deref()
    }
    /// The object that a device is.
    pub fn node(&self, id: DeviceId) -> Option<NodeId> {
        self.slot(id).map(|s| s.node)
    }
    /// A look at a device of known type, for tests and monitors.
    pub fn device<D: Device>(&mut self, id: DeviceId) -> Option<&mut D> {
        let d: &mut dyn std::any::Any = &mut *self.slot_mut(id)?.device;
        d.downcast_mut()
    }
    /// The memory tree.
    pub fn memory(&mut self) -> &mut MemTree {
        &mut self.fabric.memory
    }

    /// Calls a device with its context.
    ///
    /// # Panics
    /// The device has gone. Whoever cannot know uses [`BoardState::try_call`].
    pub fn call<R>(&mut self, id: DeviceId, f: impl FnOnce(&mut dyn Device, &mut Cx<'_>) -> R) -> R {
        self.try_call(id, f).expect("the device is there")
    }
    /// Calls a device with its context, if it has not gone.
    pub fn try_call<R>(&mut self, id: DeviceId, f: impl FnOnce(&mut dyn Device, &mut Cx<'_>) -> R) -> Option<R> {
        let slot = self.slots.get_mut(id.0 as usize)?.as_mut()?;
        Some(f(&mut *slot.device, &mut Cx::new(&mut self.fabric, id)))
    }

    fn run_timers(&mut self) {
        let now = self.fabric.now();
        // Timers armed for a moment that has passed, by a callback of this very loop, wait for the next call: a device that re-arms itself
        // without end must not hold the lock for ever.
        for (device, tag) in self.fabric.timers.take_due(now) {
            self.try_call(device, |d, cx| d.timer(cx, tag));
            self.settle();
        }
    }

    fn deliver(&mut self, sink: line::Sink, level: bool) {
        match sink {
            line::Sink::Pin(pin) => self.drive(pin, level),
            line::Sink::Isa(irq) => {
                for pin in self.fabric.isa.change(irq, level) {
                    self.drive(pin, level);
                }
            }
            line::Sink::Call(f) => f(level),
        }
    }

    /// Delivers queued line changes and configuration writes until nothing is queued.
    fn settle(&mut self) {
        // A guest could wire a loop that oscillates; hardware would too, but the host must come back.
        for _ in 0..100_000 {
            if let Some((line, level)) = self.fabric.lines.next_change() {
                for sink in self.fabric.lines.sinks(line) {
                    self.deliver(sink, level);
                }
            } else if let Some(write) = self.fabric.pci.next_write() {
                self.fabric.apply_config(write.device);
                self.try_call(write.device, |d, cx| d.config_written(cx, write.offset, write.len));
            } else if let Some(device) = self.fabric.pci.next_reset() {
                self.fabric.reset_pci_function(device);
                self.try_call(device, |d, cx| d.reset(cx, ResetKind::System));
            } else if let Some(device) = self.fabric.unplugs.pop() {
                self.finish_unplug(device);
            } else {
                return;
            }
        }
        tracing::error!("lines do not settle; the rest of the changes is dropped");
        self.fabric.lines.drop_changes();
    }
}
