//! What a device is to the board, and what the board is to a device.

use super::fabric::{Fabric, SystemRequest};
use super::state::DeviceState;
use super::{DeviceId, Line, Realize, RealizeError, Timer};
use crate::backend::block::MediumEvent;
use crate::backend::chardev::CharBackend;
use crate::backend::display::{Picture, TextScreen};
use crate::backend::input::InputEvent;
use crate::event::Event;
use crate::mem::{AddressSpace, MemTree, NotRam, RegionId};
use crate::object::Property;
use crate::pci::{ConfigSpace, PciAddress, PciBus};
use crate::vm::{string_in, string_out};
use std::any::Any;
use std::fmt;

/// Which reset a device goes through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetKind {
    /// Power on: everything, contents of non-volatile memory apart.
    Power,
    /// The reset line of the platform (port 0xCF9, 8042 pulse, `system_reset`): what survives it by the datasheet survives.
    System,
}

/// A device on the board. It is a plain value; `cx` carries what it may touch.
pub trait Device: Any + Send {
    /// What of it is saved. Take the value apart in full, so that a new field has to be decided about.
    fn state(&mut self) -> DeviceState<'_>;
    /// All devices, and the board, have been given a state: whatever follows from it and is not saved is to be set up.
    fn loaded(&mut self, _cx: &mut Cx<'_>) {}
    /// A load of `size` bytes (1, 2, 4 or 8, at most what the region was claimed with) at `offset` in one of its I/O regions.
    fn read(&mut self, _cx: &mut Cx<'_>, _region: u32, _offset: u64, size: u8) -> u64 {
        all_ones(size)
    }
    /// A store.
    fn write(&mut self, _cx: &mut Cx<'_>, _region: u32, _offset: u64, _size: u8, _value: u64) {}
    /// INS: fills `data` with loads of `size` bytes at one `offset`.
    fn read_string(&mut self, cx: &mut Cx<'_>, region: u32, offset: u64, size: u8, data: &mut [u8]) {
        string_in(size, data, || self.read(cx, region, offset, size));
    }
    /// OUTS: stores of `size` bytes at one `offset`.
    fn write_string(&mut self, cx: &mut Cx<'_>, region: u32, offset: u64, size: u8, data: &[u8]) {
        string_out(size, data, |value| self.write(cx, region, offset, size, value));
    }
    /// A device on the bus `bus` of this one is a part of it, and this is what it is made of. A reason why it cannot be is an error of the other device.
    ///
    /// # Errors
    /// Why not, in words for the user.
    fn plugged(&mut self, _cx: &mut Cx<'_>, bus: &str, _part: Box<dyn Any + Send>) -> Result<(), String> {
        Err(format!("nothing can be plugged into {bus}"))
    }
    /// A device that was a part of this one has gone from the bus.
    fn unplugged(&mut self, _cx: &mut Cx<'_>, _bus: &str, _device: DeviceId) {}
    /// An input pin changed to `level`.
    fn pin(&mut self, _cx: &mut Cx<'_>, _index: u32, _level: bool) {}
    /// The timer claimed with `tag` is due.
    fn timer(&mut self, _cx: &mut Cx<'_>, _tag: u32) {}
    /// The back end claimed with `tag` has input, or room for output; a drive, requests that are done.
    fn backend_ready(&mut self, _cx: &mut Cx<'_>, _tag: u32) {}
    /// Something happened to the medium of the drive claimed with `tag`.
    fn medium(&mut self, _cx: &mut Cx<'_>, _tag: u32, _event: MediumEvent) {}
    /// Reset.
    fn reset(&mut self, _cx: &mut Cx<'_>, _kind: ResetKind) {}
    /// The guest wrote `len` bytes at `offset` of the device's PCI configuration space; the new contents are in
    /// `cx.pci()`. Base address registers have already been decoded.
    fn config_written(&mut self, _cx: &mut Cx<'_>, _offset: u8, _len: u8) {}
    /// INTA: an 8259A gives the vector. Only called on the device named by [`Fabric::set_intack`].
    fn interrupt_acknowledge(&mut self, _cx: &mut Cx<'_>) -> Option<u8> {
        None
    }
    /// EOI broadcast of a local APIC. Only called on devices named by [`Fabric::add_eoi_listener`].
    fn eoi(&mut self, _cx: &mut Cx<'_>, _vector: u8) {}
    /// Something was plugged in, or is to go. Only called on the device that said [`Realize::handle_hotplug`].
    fn hotplug(&mut self, _cx: &mut Cx<'_>, _event: super::Hotplug) {}
    /// What it shows now. Only called on devices that said [`Realize::display`].
    fn picture(&mut self, _cx: &mut Cx<'_>) -> Option<Picture> {
        None
    }
    /// The same as characters, if it shows characters.
    fn text_screen(&mut self, _cx: &mut Cx<'_>) -> Option<TextScreen> {
        None
    }
    /// How many bytes of RAM it leaves the guest. Only called on the device that said [`Realize::balloon`].
    fn balloon_size(&mut self, _cx: &mut Cx<'_>) -> u64 {
        0
    }
    /// The guest is to do with so many bytes. Only called on the device that said [`Realize::balloon`].
    fn set_balloon_size(&mut self, _cx: &mut Cx<'_>, _bytes: u64) {}
    /// Somebody did something. Only called on devices that said [`Realize::hear_input`].
    fn input(&mut self, _cx: &mut Cx<'_>, _event: InputEvent) {}
}

/// A value of `size` bytes with all bits set: what a load that nothing answers gives.
pub(crate) fn all_ones(size: u8) -> u64 {
    u64::MAX >> (64 - 8 * u32::from(size.clamp(1, 8)))
}

/// The configuration of a device, from which it is made. Construction *is* realization: the device value exists only once all that it
/// claims has been claimed.
pub trait DeviceSpec: Sized + 'static {
    /// The device.
    type Device: Device;
    /// Its pins and whatever else the board connects.
    type Pins;
    /// QEMU's type name, such as `isa-serial`.
    const TYPE: &'static str;
    /// Its properties, in groups so that those which many types share are said once.
    const PROPERTIES: &'static [&'static [Property<Self>]] = &[];
    /// Claims resources and makes the device.
    ///
    /// # Errors
    /// A property that cannot be honoured. Conflicts over ports and addresses are collected by `r`.
    fn realize(self, r: &mut Realize<'_>) -> Result<(Self::Device, Self::Pins), RealizeError>;
}

/// What a device may do during a callback.
pub struct Cx<'a> {
    pub(super) fabric: &'a mut Fabric,
    id: DeviceId,
}

impl<'a> Cx<'a> {
    pub(super) fn new(fabric: &'a mut Fabric, id: DeviceId) -> Self {
        Self { fabric, id }
    }
    /// The device itself.
    pub fn id(&self) -> DeviceId {
        self.id
    }
    /// Machine time in ns.
    pub fn now(&self) -> u64 {
        self.fabric.now()
    }
    /// Drives an output. Only a change does anything; it takes effect after the callback.
    pub fn set(&mut self, line: Line, level: bool) {
        self.fabric.lines.set(line, level);
    }
    /// Raises and lowers an output.
    pub fn pulse(&mut self, line: Line) {
        self.set(line, true);
        self.set(line, false);
    }
    /// Level of a line as last driven.
    pub fn level(&self, line: Line) -> bool {
        self.fabric.lines.driven(line)
    }
    /// Arms a timer for machine time `ns`, in place of what it was armed for.
    pub fn arm(&mut self, timer: Timer, ns: u64) {
        self.fabric.timers.arm(timer, ns);
    }
    /// Disarms a timer.
    pub fn disarm(&mut self, timer: Timer) {
        self.fabric.timers.disarm(timer);
    }
    /// Reads guest RAM, as a bus master.
    ///
    /// # Errors
    /// The address is not RAM, or the device is a PCI function whose bus-master bit is off; a guest error has been logged.
    pub fn dma_read(&mut self, addr: u64, data: &mut [u8]) -> Result<(), NotRam> {
        self.check_master(addr)?;
        let r = self.fabric.dma().read(addr, data);
        self.note_dma(r)
    }
    /// Writes guest RAM, as a bus master.
    ///
    /// # Errors
    /// The address is not writable RAM, or the device is a PCI function whose bus-master bit is off; a guest error has been logged.
    pub fn dma_write(&mut self, addr: u64, data: &[u8]) -> Result<(), NotRam> {
        self.check_master(addr)?;
        let r = self.fabric.dma().write(addr, data);
        self.note_dma(r)
    }
    fn check_master(&self, addr: u64) -> Result<(), NotRam> {
        if self.may_master() {
            return Ok(());
        }
        self.guest_error(format_args!("DMA to {addr:#x} while bus mastering is disabled"));
        Err(NotRam(addr))
    }
    fn note_dma(&self, r: Result<(), NotRam>) -> Result<(), NotRam> {
        r.inspect_err(|e| self.guest_error(format_args!("DMA to {:#x}, where there is no RAM", e.0)))
    }
    /// The address space for bus masters.
    pub fn address_space(&self) -> &AddressSpace {
        self.fabric.dma()
    }
    /// The memory tree; changes come into force after the callback.
    pub fn memory(&mut self) -> &mut MemTree {
        &mut self.fabric.memory
    }
    /// The tree of I/O ports.
    pub fn ports(&mut self) -> &mut MemTree {
        &mut self.fabric.ports
    }
    /// Moves a port region that the device claimed unmapped to `base`, or unmaps it.
    pub fn map_ports(&mut self, region: RegionId, base: Option<u16>) {
        let root = self.fabric.ports.root();
        match base {
            Some(base) => self.fabric.ports.map(root, u64::from(base), region, 1),
            None => self.fabric.ports.unmap(region),
        }
    }
    /// The PCI bus, to look at.
    pub fn pci_bus(&self) -> &PciBus {
        &self.fabric.pci
    }
    /// The PCI bus.
    pub fn pci(&mut self) -> &mut PciBus {
        &mut self.fabric.pci
    }
    /// The device's own PCI configuration space, if it has claimed one.
    pub fn config(&mut self) -> Option<&mut ConfigSpace> {
        self.fabric.pci.config_mut(self.id)
    }
    /// Drives the device's PCI interrupt pin (with the interrupt status bit; the interrupt disable bit is honoured).
    pub fn set_intx(&mut self, on: bool) {
        if let Some((line, level)) = self.fabric.pci.assert_intx(self.id, on) {
            self.fabric.lines.set(line, level);
        }
    }
    /// The character back end claimed with `tag`, if one is connected.
    pub fn chardev(&self, tag: u32) -> Option<&dyn CharBackend> {
        self.fabric.chardev(self.id, tag)
    }
    /// Sends a message-signalled interrupt. It is a write of a bus master, so none comes from a PCI function that may not be one; and where it goes to
    /// other addresses than those of local APICs (SDM vol. 3, 11.11.1), it is one of memory like others.
    pub fn send_msi(&mut self, addr: u64, data: u32) {
        const LOCAL_APICS: u64 = 0xfee;
        if addr >> 20 != LOCAL_APICS {
            // What cannot be written has been logged.
            let _ = self.dma_write(addr, &data.to_le_bytes());
        } else if self.may_master() {
            self.fabric.msi().send_msi(addr, data);
        }
    }
    /// May the device read and write memory by itself? It has not to ask where it uses [`Cx::dma_read`] and the like.
    pub fn may_master(&self) -> bool {
        self.fabric.pci.may_master(self.id)
    }
    /// Takes the PCI function at `at` off the board, after the callback: the guest has ejected it. Nothing happens if there is none, or if it is
    /// part of the board.
    pub fn eject(&mut self, at: PciAddress) {
        if let Some(device) = self.fabric.pci.removable(at) {
            self.fabric.unplugs.push(device);
        }
    }
    /// Tells those who watch the machine. They are called at once.
    pub fn emit(&self, event: &Event) {
        self.fabric.emit(event);
    }
    /// Asks something of the machine.
    pub fn request(&mut self, request: SystemRequest) {
        self.fabric.request(request);
    }
    /// Logs a mistake of the guest, at most a few of them each second.
    pub fn guest_error(&self, what: fmt::Arguments<'_>) {
        self.fabric.guest_error(self.id, what);
    }
}
