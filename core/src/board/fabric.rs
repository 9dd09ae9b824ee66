//! What lies between the devices: lines, timers, address trees, back ends, requests to the machine.

use super::balloon::Balloon;
use super::boot::BootDevices;
use super::console::Consoles;
use super::firmware::FirmwareFiles;
use super::isa::IsaInterrupts;
use super::line::{Lines, Sink};
use super::timer::Timers;
use super::{Board, DeviceId, Events, Line, Mailbox, Pin};
use crate::backend::block::{BlockBackend, Blocks};
use crate::backend::chardev::CharBackend;
use crate::backend::firmware::FirmwarePath;
use crate::clock::ClockSource;
use crate::event::{Event, ShutdownCause};
use crate::guest_error::GuestErrors;
use crate::mem::{AddressSpace, MemTree};
use crate::pci::PciBus;
use crate::vm::MsiSink;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};

/// What a device or a monitor asks of the machine as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SystemRequest {
    /// System reset.
    Reset(ShutdownCause),
    /// Power off.
    Shutdown(ShutdownCause),
    /// A CPU is in shutdown state after a triple fault.
    TripleFault,
    /// End the process with this status (`isa-debug-exit`).
    Exit(u8),
    /// Stop the vCPUs.
    Stop,
    /// Let them run again.
    Cont,
    /// Press the power button.
    Powerdown,
    /// A non-maskable interrupt for every CPU.
    Nmi,
    /// Pulse INIT on every CPU (port 92h bit 0, the 8042's reset line).
    CpuReset,
    /// A vCPU cannot continue.
    InternalError {
        /// Its number.
        vcpu: u32,
        /// Why.
        reason: String,
    },
    /// A request to a block back end failed, and is to be tried again when the machine continues.
    IoError,
    /// The CPU with this index has left the board.
    CpuGone(u32),
    /// A watchdog has expired; what happens is the machine's policy.
    WatchdogExpired,
    /// The guest says that it has panicked; what happens is the machine's policy.
    GuestPanicked,
    /// End the process as if the user asked for it (quit, SIGTERM).
    Quit(ShutdownCause),
}

/// Everything between the devices of a board.
pub struct Fabric {
    /// Guest-physical memory.
    pub memory: MemTree,
    /// The 64 KiB of I/O ports.
    pub ports: MemTree,
    /// The PCI bus.
    pub pci: PciBus,
    pub(super) lines: Lines,
    pub(super) isa: IsaInterrupts,
    pub(super) timers: Timers,
    pub(super) claimed: Vec<super::realize::Claim>,
    /// Number of input pins that each device has claimed.
    pub(super) inputs: BTreeMap<DeviceId, Vec<(String, u32)>>,
    pub(super) firmware: FirmwareFiles,
    pub(super) firmware_path: FirmwarePath,
    pub(super) boot: BootDevices,
    pub(super) consoles: Consoles,
    pub(super) balloon: Balloon,
    /// The device that handles hot-plug.
    pub(super) hotplug: Option<DeviceId>,
    /// The CPUs that are there, by index.
    pub(super) cpus: BTreeMap<u32, DeviceId>,
    /// Devices that go when the board settles.
    pub(super) unplugs: Vec<DeviceId>,
    events: Arc<Events>,
    board: Weak<Board>,
    clock: Arc<dyn ClockSource>,
    dma: Arc<AddressSpace>,
    msi: Arc<dyn MsiSink>,
    /// Character back ends by the device that uses one, with the one that has it as a property.
    chardevs: BTreeMap<(DeviceId, u32), (Arc<dyn CharBackend>, DeviceId)>,
    /// Block back ends by the device that uses one, with the one that has it as a property.
    pub(super) drives: BTreeMap<(DeviceId, u32), (Arc<BlockBackend>, DeviceId)>,
    pub(super) blocks: Arc<Blocks>,
    pub(super) buses: Vec<super::Bus>,
    /// Back ends keep their input to themselves.
    input_held: bool,
    mailbox: Arc<Mailbox>,
    guest_errors: GuestErrors,
    intack: Option<DeviceId>,
    eoi: Vec<DeviceId>,
    taps: Vec<(DeviceId, Arc<dyn Fn(u32, bool) + Send + Sync>)>,
}

impl Fabric {
    pub(super) fn new(
        board: Weak<Board>,
        clock: Arc<dyn ClockSource>,
        dma: Arc<AddressSpace>,
        msi: Arc<dyn MsiSink>,
        mailbox: Arc<Mailbox>,
        events: Arc<Events>,
    ) -> Self {
        Self {
            memory: MemTree::new("system", u64::MAX),
            ports: MemTree::new("io", 0xffff),
            pci: PciBus::default(),
            lines: Lines::default(),
            isa: IsaInterrupts::default(),
            hotplug: None,
            cpus: BTreeMap::new(),
            unplugs: Vec::new(),
            events,
            timers: Timers::default(),
            claimed: Vec::new(),
            inputs: BTreeMap::new(),
            firmware: FirmwareFiles::default(),
            firmware_path: FirmwarePath::default(),
            boot: BootDevices::default(),
            consoles: Consoles::default(),
            balloon: Balloon::default(),
            board,
            clock,
            dma,
            msi,
            chardevs: BTreeMap::new(),
            drives: BTreeMap::new(),
            blocks: Arc::default(),
            buses: Vec::new(),
            input_held: false,
            mailbox,
            guest_errors: GuestErrors::default(),
            intack: None,
            eoi: Vec::new(),
            taps: Vec::new(),
        }
    }
    /// Machine time in ns.
    pub fn now(&self) -> u64 {
        self.clock.now()
    }
    /// Machine time goes on from `ns`.
    pub(super) fn set_time(&self, ns: u64) {
        self.clock.set(ns);
    }
    /// Names the device that answers interrupt-acknowledge cycles.
    pub fn set_intack(&mut self, device: DeviceId) {
        self.intack = Some(device);
    }
    pub(super) fn intack(&self) -> Option<DeviceId> {
        self.intack
    }
    /// Names a device that hears EOI broadcasts.
    pub fn add_eoi_listener(&mut self, device: DeviceId) {
        self.eoi.push(device);
    }
    pub(super) fn eoi_listeners(&self) -> Vec<DeviceId> {
        self.eoi.clone()
    }
    pub(super) fn connect(&mut self, line: Line, pin: Pin) {
        self.lines.connect(line, Sink::Pin(pin));
    }
    pub(super) fn connect_fn(&mut self, line: Line, f: Arc<dyn Fn(bool) + Send + Sync>) {
        self.lines.connect(line, Sink::Call(f));
    }
    /// Puts a device's PCI configuration space in force: base addresses and the interrupt wire.
    pub(super) fn apply_config(&mut self, device: DeviceId) {
        if let Some((line, level)) = self.pci.apply(device, &mut self.memory, &mut self.ports) {
            self.lines.set(line, level);
        }
    }
    /// Resets a device's PCI configuration space.
    pub(super) fn reset_pci_function(&mut self, device: DeviceId) {
        self.pci.reset_function(device);
        self.apply_config(device);
    }
    /// Resets all PCI configuration spaces.
    pub(super) fn reset_pci(&mut self) {
        for device in self.pci.reset() {
            self.apply_config(device);
        }
    }
    pub(super) fn tap_inputs(&mut self, device: DeviceId, tap: Arc<dyn Fn(u32, bool) + Send + Sync>) {
        self.taps.push((device, tap));
    }
    pub(super) fn tell_tap(&self, pin: Pin, level: bool) {
        self.taps.iter().filter(|(d, _)| *d == pin.device).for_each(|(_, tap)| tap(pin.index, level));
    }
    pub(super) fn level(&self, line: Line) -> bool {
        self.lines.settled(line)
    }
    /// Outputs of a device with their names, in the order in which it claimed them.
    pub fn outputs(&self, device: DeviceId) -> Vec<(Line, String)> {
        self.lines.of(device).map(|(l, n)| (l, n.to_owned())).collect()
    }
    /// Groups of input pins of a device: (name, number of pins), in the order in which it claimed them.
    pub fn inputs(&self, device: DeviceId) -> &[(String, u32)] {
        self.inputs.get(&device).map_or(&[], Vec::as_slice)
    }
    pub(super) fn dma(&self) -> &Arc<AddressSpace> {
        &self.dma
    }
    pub(super) fn msi(&self) -> &Arc<dyn MsiSink> {
        &self.msi
    }
    pub(super) fn chardev(&self, device: DeviceId, tag: u32) -> Option<&dyn CharBackend> {
        self.chardevs.get(&(device, tag)).map(|(c, _)| &**c)
    }
    /// Gives a back end to a device; it hears [`super::Device::backend_ready`] whenever the back end has input or room. `owner` has it as a property.
    pub(super) fn attach(&mut self, device: DeviceId, tag: u32, chardev: Arc<dyn CharBackend>, owner: DeviceId) {
        let board = self.board.clone();
        chardev.on_ready(Box::new(move || {
            if let Some(board) = board.upgrade() {
                board.with(|s| {
                    if !s.fabric.input_held {
                        s.try_call(device, |d, cx| d.backend_ready(cx, tag));
                    }
                });
            }
        }));
        self.chardevs.insert((device, tag), (chardev, owner));
    }
    /// Lets no device hear of input: what comes before the power-on reset would go down with it.
    pub(crate) fn hold_input(&mut self) {
        self.input_held = true;
    }
    /// Lets devices hear of input, of what has come meanwhile too.
    pub(crate) fn release_input(&mut self) {
        self.input_held = false;
        self.chardevs.values().for_each(|(c, _)| c.call_again());
    }
    pub(super) fn emit(&self, event: &Event) {
        self.events.emit(event);
    }
    /// The board, for callbacks of back ends.
    pub(super) fn board(&self) -> Weak<Board> {
        self.board.clone()
    }
    /// The drives that a device has, itself or as a part of another one.
    pub(super) fn drives_of(&self, device: DeviceId) -> Vec<Arc<BlockBackend>> {
        let of = |((user, _), (_, owner)): &(&(DeviceId, u32), &(Arc<BlockBackend>, DeviceId))| {
            *user == device || *owner == device
        };
        self.drives.iter().filter(of).map(|(_, (drive, _))| drive.clone()).collect()
    }
    /// The drives that a device uses, by their tags.
    pub(super) fn backends_of(&self, device: DeviceId) -> impl Iterator<Item = &Arc<BlockBackend>> {
        self.drives.range((device, 0)..=(device, u32::MAX)).map(|(_, (drive, _))| drive)
    }
    /// The devices on the buses of another one.
    pub(super) fn members_of(&self, device: DeviceId) -> Vec<DeviceId> {
        self.buses.iter().filter(|b| b.owner == device).flat_map(|b| b.members.clone()).collect()
    }
    /// Takes a device off its bus, whose owner and name are returned.
    pub(super) fn leave_bus(&mut self, device: DeviceId) -> Option<(DeviceId, String)> {
        let bus = self.buses.iter_mut().find(|b| b.members.contains(&device))?;
        bus.members.retain(|d| *d != device);
        Some((bus.owner, bus.name.clone()))
    }
    /// Forgets a device that goes; returns what the lines fed that it held high.
    pub(super) fn forget(&mut self, device: DeviceId) -> Vec<Sink> {
        self.buses.retain(|b| b.owner != device);
        self.buses.iter_mut().for_each(|b| b.units.retain(|_, d| *d != device));
        self.timers.remove(device);
        self.inputs.remove(&device);
        self.firmware.forget(device);
        self.boot.forget(device);
        self.consoles.forget(device);
        self.balloon.forget(device);
        self.claimed.retain(|c| c.device() != device);
        self.pci.remove(device);
        self.chardevs.retain(|(user, _), (chardev, owner)| {
            let goes = *user == device || *owner == device;
            if goes {
                chardev.on_ready(Box::new(|| {}));
            }
            !goes
        });
        self.drives.retain(|(user, _), (drive, owner)| {
            let goes = *user == device || *owner == device;
            if goes {
                drive.detach();
            }
            !goes
        });
        self.taps.retain(|(d, _)| *d != device);
        self.eoi.retain(|d| *d != device);
        self.intack = self.intack.filter(|d| *d != device);
        self.hotplug = self.hotplug.filter(|d| *d != device);
        self.cpus.retain(|_, d| *d != device);
        self.guest_errors.forget(device);
        self.lines.remove(device)
    }
    pub(super) fn request(&self, request: SystemRequest) {
        self.mailbox.push(request);
    }
    pub(super) fn guest_error(&self, device: DeviceId, what: fmt::Arguments<'_>) {
        self.guest_errors.report(device, what);
    }
}
