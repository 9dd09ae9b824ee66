//! A virtio device as a PCI function, and the types by which users know it.

use super::modern::{self, Access};
use super::queue::{MOST_SIZE, VirtQueue};
use super::transport::{Action, Io, Transport, VirtioDevice};
use super::{legacy, queue};
pub use crate::devices::on_off_auto::OnOffAuto;
use crate::devices::pci::QEMU_SUBSYSTEM;
use gearbox_core::backend::block::MediumEvent;
use gearbox_core::board::{Cx, Device, DeviceId, DeviceState, Realize, RealizeError, ResetKind};
use gearbox_core::object::{TypeEntry, TypeInfo};
use gearbox_core::pci::{BarKind, ConfigHeader, IntxPin, Msix, PciPlace};
use std::any::Any;
use std::collections::BTreeSet;
use std::marker::PhantomData;

/// In place of a vector: there is none (4.1.4.3, VIRTIO_MSI_NO_VECTOR).
pub(super) const NO_VECTOR: u16 = 0xffff;
/// Red Hat's vendor id, as which virtio devices are known.
const VENDOR: u16 = 0x1af4;
/// First device id of those that only serve drivers from version 1 on; the kind is added.
const MODERN_IDS: u16 = 0x1040;

/// I/O regions.
const LEGACY: u32 = 0;
const MODERN: u32 = 1;
const MSIX: u32 = 2;
/// The base address registers of the first and the last; the second is behind [`modern::BAR`].
const LEGACY_BAR: u8 = 0;
const MSIX_BAR: u8 = 1;
const MSIX_AT: u8 = 0x98;
/// The transport's timer; the others are the device's.
const TURN: u32 = u32::MAX;

/// The bytes of a field of the configuration; all ones where they are not all there.
pub(super) fn field(config: &[u8], at: u64, size: u8) -> u64 {
    let at = at as usize;
    let bytes = config.get(at..at.saturating_add(size.into()));
    bytes.map_or(u64::MAX, |b| b.iter().rev().fold(0, |all, b| all << 8 | u64::from(*b)))
}

/// Which drivers a type serves.
pub trait Flavour: 'static {
    /// Drivers from before version 1, and others, where the type says so; else the properties do.
    const SERVES: Option<(bool, bool)>;
}

/// By properties, all unless told otherwise.
pub struct Generic;
/// All.
pub struct Transitional;
/// Those from version 1 on.
pub struct NonTransitional;

impl Flavour for Generic {
    const SERVES: Option<(bool, bool)> = None;
}
impl Flavour for Transitional {
    const SERVES: Option<(bool, bool)> = Some((true, true));
}
impl Flavour for NonTransitional {
    const SERVES: Option<(bool, bool)> = Some((false, true));
}

/// Configuration of a device of the kind `K`.
pub struct VirtioPci<K, F> {
    /// What the kind has.
    pub kind: K,
    /// Where it is.
    pub place: PciPlace,
    /// Drivers from before version 1 are not served.
    pub disable_legacy: OnOffAuto,
    /// Others are not.
    pub disable_modern: bool,
    /// Number of MSI-X vectors, 0 for no MSI-X; as the kind has it without.
    pub vectors: Option<u32>,
    /// Which drivers its type serves.
    pub flavour: PhantomData<F>,
}

impl<K: Default, F> Default for VirtioPci<K, F> {
    fn default() -> Self {
        Self {
            kind: K::default(),
            place: PciPlace::default(),
            disable_legacy: OnOffAuto::Auto,
            disable_modern: false,
            vectors: None,
            flavour: PhantomData,
        }
    }
}

/// What PCI needs to know of a kind of device.
pub(super) struct Identity {
    /// The kind's number (5).
    pub(super) kind: u16,
    /// Device id of those that serve drivers from before version 1 too.
    pub(super) transitional: u16,
    /// Class code.
    pub(super) class: u32,
    /// Most elements of each queue.
    pub(super) queues: Vec<u16>,
    /// Number of MSI-X vectors unless told otherwise.
    pub(super) vectors: u32,
}

impl<K, F: Flavour> VirtioPci<K, F> {
    /// Puts the device on the bus.
    pub(super) fn realize_as<D: VirtioDevice>(
        &self,
        r: &mut Realize<'_>,
        identity: Identity,
        device: D,
    ) -> Result<(Function<D>, ()), RealizeError> {
        let (has_legacy, has_modern) = F::SERVES.unwrap_or((!self.disable_legacy.or(false), !self.disable_modern));
        if !has_legacy && !has_modern {
            let reason = "device cannot work as neither modern nor legacy mode is enabled";
            return Err(r.property_error("disable-modern", reason));
        }
        let vectors = self.vectors.unwrap_or(identity.vectors);
        if vectors > Msix::MOST.into() {
            return Err(r.property_error("vectors", format!("at most {} are possible", Msix::MOST)));
        }
        r.settle_property("vectors", vectors);
        let vectors = vectors as u16;
        let header = ConfigHeader {
            vendor: VENDOR,
            device: if has_legacy { identity.transitional } else { MODERN_IDS + identity.kind },
            class: identity.class,
            revision: u8::from(!has_legacy),
            subsystem: if has_legacy { (VENDOR, identity.kind) } else { QEMU_SUBSYSTEM },
            interrupt_pin: Some(IntxPin::A),
            ..ConfigHeader::default()
        };
        let queues = identity.queues.iter().map(|&size| VirtQueue::new(size)).collect();
        let mut transport = Transport::new(device.features(), queues, has_legacy, has_modern, r.timer(TURN));
        let config = r.pci_function(self.place.clone(), &header);
        if has_modern {
            modern::add_capabilities(config);
        }
        if vectors > 0 {
            transport.msix = Some(Msix::new(config, MSIX_AT, MSIX_BAR, vectors));
        }
        if has_legacy {
            let len = legacy::bytes(vectors > 0, device.config().len()).next_power_of_two();
            let ports = r.port_region(LEGACY, "virtio-pci", len, 4);
            r.pci_bar(LEGACY_BAR, BarKind::Io, len.into(), ports);
        }
        if vectors > 0 {
            let memory = r.mmio_region(MSIX, "msix", Msix::bytes(vectors), 4);
            r.pci_bar(MSIX_BAR, BarKind::Memory32 { prefetchable: false }, Msix::bytes(vectors), memory);
        }
        if has_modern {
            let memory = r.mmio_region(MODERN, "virtio-pci", modern::BYTES, 4);
            r.pci_bar(modern::BAR, BarKind::Memory64 { prefetchable: true }, modern::BYTES, memory);
        }
        Ok((Function { device, transport }, ()))
    }
    /// A size that queues can have.
    pub(super) fn check_queue_size(r: &Realize<'_>, name: &'static str, size: u16) -> Result<u16, RealizeError> {
        if (2..=queue::MOST_SIZE).contains(&size) && size.is_power_of_two() {
            return Ok(size);
        }
        Err(r.property_error(name, format!("invalid {name} ({size}), must be a power of 2 (max {MOST_SIZE})")))
    }
}

/// Of the states of all kinds, since they have the transport's in common.
const STATE_VERSION: u32 = 1;

/// The device as a PCI function.
pub struct Function<D> {
    pub(super) device: D,
    pub(super) transport: Transport,
}

impl<D: VirtioDevice> Function<D> {
    fn carry_out(&mut self, cx: &mut Cx<'_>, action: Action) {
        let mut io = Io { cx, transport: &mut self.transport };
        match action {
            Action::Notify(queue) => self.device.notified(&mut io, queue),
            Action::Start => self.device.start(&mut io),
            Action::Config(offset, data) if offset.saturating_add(data.len()) <= self.device.config().len() => {
                self.device.write_config(&mut io, offset, &data);
            }
            Action::Config(offset, _) => {
                io.cx.guest_error(format_args!("a write at {offset:#x}, behind the end of the device's configuration"));
            }
            Action::Reset => {
                self.device.reset(cx);
                self.transport.reset(cx);
            }
        }
    }
    fn modern_read(&mut self, cx: &mut Cx<'_>, offset: u64, size: u8, peek: bool) -> u64 {
        self.transport.modern_read(cx, offset, size, || self.device.config(), peek)
    }
    fn modern_write(&mut self, cx: &mut Cx<'_>, offset: u64, size: u8, value: u64) {
        let action = self.transport.modern_write(cx, offset, size, value);
        action.into_iter().for_each(|a| self.carry_out(cx, a));
    }
    /// Carries out what the guest does through the window, of which configuration reads see only what is there beforehand.
    fn window(&mut self, cx: &mut Cx<'_>, access: Access) {
        let Access { offset, size, store, takes_effect } = access;
        if let Some(value) = store {
            self.modern_write(cx, offset, size, value);
        }
        let value = self.modern_read(cx, offset, size, !takes_effect);
        if let Some(config) = cx.config() {
            modern::show_in_window(config, value);
        }
    }
    /// Shows in the window what can have changed.
    fn refresh_window(&mut self, cx: &mut Cx<'_>) {
        let access = cx.config().filter(|_| self.transport.has_modern).and_then(|c| modern::through_window(c, 0, 0));
        access.into_iter().for_each(|a| self.window(cx, a));
    }
    fn with_io<R>(&mut self, cx: &mut Cx<'_>, f: impl FnOnce(&mut D, &mut Io<'_, '_>) -> R) -> R {
        let result = f(&mut self.device, &mut Io { cx, transport: &mut self.transport });
        self.refresh_window(cx);
        result
    }
}

impl<D: VirtioDevice> Device for Function<D> {
    fn state(&mut self) -> DeviceState<'_> {
        let Self { device, transport } = self;
        transport.saved().and(device.saved()).version(STATE_VERSION)
    }
    fn loaded(&mut self, _cx: &mut Cx<'_>) {
        self.device.loaded();
    }
    fn read(&mut self, cx: &mut Cx<'_>, region: u32, offset: u64, size: u8) -> u64 {
        match region {
            LEGACY => self.transport.legacy_read(cx, offset, size, || self.device.config()),
            MODERN => self.modern_read(cx, offset, size, false),
            _ => {
                let word = self.transport.msix.as_ref().map_or(0, |m| m.read(offset & !3));
                u64::from(word >> (8 * (offset & 3)))
            }
        }
    }
    fn write(&mut self, cx: &mut Cx<'_>, region: u32, offset: u64, size: u8, value: u64) {
        match region {
            LEGACY => {
                let action = self.transport.legacy_write(cx, offset, size, value);
                action.into_iter().for_each(|a| self.carry_out(cx, a));
            }
            MODERN => self.modern_write(cx, offset, size, value),
            _ => {
                if let Some(msix) = &mut self.transport.msix {
                    // The table takes whole words (6.8.2).
                    if size == 4 && offset.is_multiple_of(4) {
                        msix.write(cx, offset, value as u32);
                    }
                }
            }
        }
        self.refresh_window(cx);
    }
    fn config_written(&mut self, cx: &mut Cx<'_>, offset: u8, len: u8) {
        if let Some(msix) = &mut self.transport.msix {
            msix.config_written(cx);
            if msix.enabled() {
                cx.set_intx(false);
            }
        }
        let access = cx.config().filter(|_| self.transport.has_modern);
        let access = access.and_then(|c| modern::through_window(c, offset, len));
        access.into_iter().for_each(|a| self.window(cx, a));
    }
    fn plugged(&mut self, cx: &mut Cx<'_>, _bus: &str, part: Box<dyn Any + Send>) -> Result<(), String> {
        self.with_io(cx, |device, io| device.plugged(io, part))
    }
    fn unplugged(&mut self, cx: &mut Cx<'_>, _bus: &str, device: DeviceId) {
        self.with_io(cx, |this, io| this.unplugged(io, device));
    }
    fn backend_ready(&mut self, cx: &mut Cx<'_>, tag: u32) {
        self.with_io(cx, |device, io| device.backend_ready(io, tag));
    }
    fn medium(&mut self, cx: &mut Cx<'_>, tag: u32, event: MediumEvent) {
        self.with_io(cx, |device, io| device.medium(io, tag, event));
    }
    fn balloon_size(&mut self, _: &mut Cx<'_>) -> u64 {
        self.device.balloon_size()
    }
    fn set_balloon_size(&mut self, cx: &mut Cx<'_>, bytes: u64) {
        self.with_io(cx, |device, io| device.set_balloon_size(io, bytes));
    }
    fn timer(&mut self, cx: &mut Cx<'_>, tag: u32) {
        let queues = if tag == TURN { self.transport.take_waiting() } else { BTreeSet::new() };
        self.with_io(cx, |device, io| match tag {
            TURN => queues.into_iter().for_each(|queue| device.notified(io, queue)),
            tag => device.timer(io, tag),
        });
    }
    fn reset(&mut self, cx: &mut Cx<'_>, _: ResetKind) {
        self.device.reset(cx);
        self.transport.reset(cx);
        if let Some(msix) = &mut self.transport.msix {
            msix.reset();
        }
    }
}

/// Makes the three types of a kind of device: `virtio_pci!(kind, name, class of users' help, properties)`. The kind has a `realize`.
macro_rules! virtio_pci {
    ($kind:ty, $device:ty, $category:ident, $name:literal, $about:literal, $properties:expr) => {
        $crate::devices::virtio::pci::virtio_pci! { one $kind, $device, Generic, $name, "", $properties, [
            property!("disable-legacy", OnOffAuto, disable_legacy, "drivers from before version 1 are not served"),
            property!("disable-modern", bool, disable_modern, "drivers from version 1 on are not served"),
        ] }
        $crate::devices::virtio::pci::virtio_pci! { one $kind, $device, Transitional, $name, "-transitional", $properties, [] }
        $crate::devices::virtio::pci::virtio_pci! { one $kind, $device, NonTransitional, $name, "-non-transitional", $properties, [] }
        inventory::submit! { TypeEntry(&TypeInfo::abstract_of(concat!($name, "-base"), "virtio-pci")) }
        inventory::submit! {
            TypeEntry(&TypeInfo::device::<VirtioPci<$kind, Generic>>(concat!($name, "-base"), $about).category(Category::$category).implements(&["conventional-pci-device"]))
        }
        inventory::submit! {
            TypeEntry(&TypeInfo::device::<VirtioPci<$kind, Transitional>>(concat!($name, "-base"), concat!($about, ", transitional"))
                .category(Category::$category).implements(&["conventional-pci-device"]))
        }
        inventory::submit! {
            TypeEntry(&TypeInfo::device::<VirtioPci<$kind, NonTransitional>>(concat!($name, "-base"), concat!($about, ", modern only"))
                .category(Category::$category).implements(&["conventional-pci-device"]))
        }
    };
    (one $kind:ty, $device:ty, $flavour:ty, $name:literal, $suffix:literal, $properties:expr, [$($own:expr,)*]) => {
        impl DeviceSpec for VirtioPci<$kind, $flavour> {
            type Device = Function<$device>;
            type Pins = ();
            const TYPE: &'static str = concat!($name, $suffix);
            const PROPERTIES: &'static [&'static [Property<Self>]] = &[
                $properties,
                &[$($own,)* property!("vectors", Option<u32>, vectors, "number of MSI-X vectors, 0 for no MSI-X")],
                pci_properties!(place),
            ];
            fn realize(self, r: &mut Realize<'_>) -> Result<(Self::Device, ()), RealizeError> {
                self.make(r)
            }
        }
    };
}
pub(super) use virtio_pci;

inventory::submit! { TypeEntry(&TypeInfo::abstract_of("virtio-pci", "pci-device")) }
