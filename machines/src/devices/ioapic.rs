//! The 82093AA I/O APIC, with the EOI register of its successors.
//!
//! Sources: Intel 82093AA datasheet (290566); Intel I/O Controller Hub datasheets for version 20h and the EOI register at offset 40h. An
//! interrupt leaves as an MSI-format message (SDM vol. 3, 11.11), which is what reaches local APICs on every accelerator.

use gearbox_core::board::{Cx, Device, DeviceSpec, DeviceState, Pins, Realize, RealizeError, ResetKind, Saved};
use gearbox_core::object::{Backends, Property, PropertyValue, TypeEntry, TypeInfo, Value};
use gearbox_core::property;
use gearbox_core::vm::MsiSink;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// Number of inputs.
pub const PINS: usize = 24;

/// Where a PC has its I/O APIC.
pub const IOAPIC_BASE: u64 = 0xfec0_0000;

/// A redirection table entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry(u64);

impl Entry {
    const REMOTE_IRR: u64 = 1 << 14;
    const LEVEL: u64 = 1 << 15;
    const MASK: u64 = 1 << 16;
    /// Bits that hold what a guest writes: not delivery status, remote IRR and the reserved ones.
    const WRITABLE: u64 = 0xff00_0000_0001_afff;
    const RESET: Self = Self(Self::MASK);

    /// The entry as the guest reads it. Delivery status (bit 12) is always idle: messages are taken at once.
    pub fn bits(self) -> u64 {
        self.0
    }
    /// The pin is masked.
    pub fn masked(self) -> bool {
        self.0 & Self::MASK != 0
    }
    /// The pin is level-triggered.
    pub fn level(self) -> bool {
        self.0 & Self::LEVEL != 0
    }
    /// A level-triggered interrupt was sent and its EOI is still to come.
    pub fn remote_irr(self) -> bool {
        self.0 & Self::REMOTE_IRR != 0
    }
    /// The interrupt vector.
    pub fn vector(self) -> u8 {
        self.0 as u8
    }
    /// Address and data of the message that it sends. Delivery and destination mode, vector and destination move to where the MSI
    /// format has them; a level-triggered message asserts.
    pub fn message(self) -> (u64, u32) {
        let dest = self.0 >> 56;
        let logical = self.0 >> 11 & 1;
        let trigger = if self.level() { 0xc000 } else { 0 };
        (0xfee0_0000 | dest << 12 | logical << 2, (self.0 & 0x7ff) as u32 | trigger)
    }
    fn set(&mut self, bits: u64) {
        self.0 = bits & Self::WRITABLE | self.0 & Self::REMOTE_IRR;
        if !self.level() {
            // Old kernels end a lost level interrupt by making the entry edge-triggered for a moment.
            self.0 &= !Self::REMOTE_IRR;
        }
    }
}

/// Which generation it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Version {
    /// The 82093AA: version 11h.
    V11,
    /// Version 20h, with an EOI register. What QEMU's `pc` has.
    #[default]
    V20,
}

impl Version {
    /// What the version register reads as.
    const ALL: [(u8, Self); 2] = [(0x11, Self::V11), (0x20, Self::V20)];
}

impl PropertyValue for Version {
    const KIND: &'static str = "uint8";
    fn to_value(&self) -> Value {
        let number = Self::ALL.iter().find(|(_, v)| v == self).map(|(number, _)| *number);
        number.into()
    }
    fn parse(text: &str, backends: &dyn Backends) -> Result<Self, String> {
        let number = u8::parse(text, backends)?;
        let known = Self::ALL.iter().find(|(n, _)| *n == number).map(|(_, version)| *version);
        known.ok_or_else(|| format!("IOAPIC version {number:#x} is neither 0x11 nor 0x20"))
    }
    fn from_value(value: &Value, backends: &dyn Backends) -> Result<Self, String> {
        Self::parse(&value.to_string().replace('"', ""), backends)
    }
}

/// Configuration of the I/O APIC (`ioapic`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IoApic {
    /// Where its registers are.
    pub base: u64,
    /// Which generation it is.
    pub version: Version,
}

impl Default for IoApic {
    fn default() -> Self {
        Self { base: IOAPIC_BASE, version: Version::V20 }
    }
}

/// Pins of the I/O APIC.
#[derive(Clone, Copy, Debug)]
pub struct IoApicPins {
    /// INTIN0 to INTIN23, asserted high whatever the polarity bits say.
    pub intin: Pins,
}

/// The I/O APIC.
pub struct IoApicDevice {
    version: Version,
    id: u8,
    select: u8,
    /// Levels of the inputs.
    pins: u32,
    /// How often each input was raised.
    raised: [u64; PINS],
    table: [Entry; PINS],
    /// Routes as announced to the accelerator.
    routes: [Option<(u64, u32)>; PINS],
    msi: Arc<dyn MsiSink>,
}

/// Offsets of what the CPU addresses directly.
mod direct {
    pub(super) const SELECT: u64 = 0x00;
    pub(super) const WINDOW: u64 = 0x10;
    pub(super) const EOI: u64 = 0x40;
}

/// What the select register may select.
enum Register {
    Id,
    Version,
    Arbitration,
    Entry { n: usize, high: bool },
    None,
}

impl DeviceSpec for IoApic {
    type Device = IoApicDevice;
    type Pins = IoApicPins;
    const TYPE: &'static str = "ioapic";
    const PROPERTIES: &'static [&'static [Property<Self>]] =
        &[&[property!("version", Version, version, "0x11 or 0x20")]];

    fn realize(self, r: &mut Realize<'_>) -> Result<(IoApicDevice, IoApicPins), RealizeError> {
        r.mmio(0, "ioapic", self.base, 0x1000, 4);
        r.hear_eoi();
        let device = IoApicDevice {
            version: self.version,
            id: 0,
            select: 0,
            pins: 0,
            raised: [0; PINS],
            table: [Entry::RESET; PINS],
            routes: [None; PINS],
            msi: r.msi(),
        };
        Ok((device, IoApicPins { intin: r.inputs("intin", PINS as u32) }))
    }
}

inventory::submit! { TypeEntry(&TypeInfo::onboard::<IoApic>("ioapic-common", "I/O APIC, 82093AA")) }

impl IoApicDevice {
    /// The redirection table, for `info ioapic`.
    pub fn table(&self) -> &[Entry; PINS] {
        &self.table
    }
    /// Its id register.
    pub fn id(&self) -> u8 {
        self.id
    }
    /// The register that the data window shows.
    pub fn select(&self) -> u8 {
        self.select
    }
    /// Its version, as its version register gives it.
    pub fn version(&self) -> u8 {
        match self.version {
            Version::V11 => 0x11,
            Version::V20 => 0x20,
        }
    }
    /// How often each input was raised, for `info irq`.
    pub fn raised(&self) -> &[u64; PINS] {
        &self.raised
    }
    /// The inputs, one bit each.
    pub fn pins(&self) -> u32 {
        self.pins
    }
    fn register(&self) -> Register {
        match self.select {
            0 => Register::Id,
            1 => Register::Version,
            2 => Register::Arbitration,
            n @ 0x10.. if usize::from(n - 0x10) < 2 * PINS => {
                Register::Entry { n: usize::from(n - 0x10) / 2, high: n & 1 != 0 }
            }
            _ => Register::None,
        }
    }
    fn window(&self) -> u32 {
        match self.register() {
            Register::Id | Register::Arbitration => u32::from(self.id) << 24,
            Register::Version => {
                let version = u32::from(self.version());
                (PINS as u32 - 1) << 16 | version
            }
            Register::Entry { n, high } => (self.table[n].0 >> if high { 32 } else { 0 }) as u32,
            Register::None => 0,
        }
    }
    fn set_window(&mut self, v: u32) {
        match self.register() {
            Register::Id => self.id = (v >> 24) as u8 & 0xf,
            Register::Entry { n, high } => {
                let old = self.table[n].0;
                let v = u64::from(v);
                self.table[n].set(if high { old & 0xffff_ffff | v << 32 } else { old & !0xffff_ffff | v });
                self.announce(n);
                self.assert_level(n);
            }
            Register::Version | Register::Arbitration | Register::None => {}
        }
    }
    /// Tells the accelerator of the entry's message. A masked entry keeps the route that it had: the EOI of an interrupt that is in
    /// service must still be reported.
    fn announce(&mut self, n: usize) {
        let route = Some(self.table[n].message());
        if !self.table[n].masked() && self.routes[n] != route {
            self.routes[n] = route;
            self.msi.set_route(n as u32, route);
        }
    }
    fn send(&self, n: usize) {
        let (addr, data) = self.table[n].message();
        self.msi.send_msi(addr, data);
    }
    /// Sends a level-triggered interrupt that is asserted and not in service.
    fn assert_level(&mut self, n: usize) {
        let e = self.table[n];
        if e.level() && !e.masked() && !e.remote_irr() && self.pins >> n & 1 != 0 {
            self.table[n].0 |= Entry::REMOTE_IRR;
            self.send(n);
        }
    }
    fn end(&mut self, vector: u8) {
        for n in 0..PINS {
            let e = self.table[n];
            if e.level() && e.remote_irr() && e.vector() == vector {
                self.table[n].0 &= !Entry::REMOTE_IRR;
                self.assert_level(n);
            }
        }
    }
}

impl Device for IoApicDevice {
    fn state(&mut self) -> DeviceState<'_> {
        let Self { version: _, id, select, pins, raised, table, routes, msi: _ } = self;
        let message = |(addr, _): &(u64, u32)| addr >> 20 == 0xfee;
        let sound = move |(pins, table, routes): &(u32, [Entry; PINS], [Option<_>; PINS])| {
            pins >> PINS == 0
                && table.iter().all(|e| e.0 & !(Entry::WRITABLE | Entry::REMOTE_IRR) == 0)
                && routes.iter().flatten().all(message)
        };
        Saved::of((id, select, raised)).and(Saved::sound((pins, table, routes), sound)).version(1)
    }
    fn loaded(&mut self, _cx: &mut Cx<'_>) {
        (0..).zip(&self.routes).for_each(|(n, route)| self.msi.set_route(n, *route));
    }
    fn read(&mut self, _cx: &mut Cx<'_>, _region: u32, offset: u64, size: u8) -> u64 {
        match offset {
            direct::SELECT => self.select.into(),
            direct::WINDOW if size == 4 => self.window().into(),
            _ => 0,
        }
    }
    fn write(&mut self, cx: &mut Cx<'_>, _region: u32, offset: u64, size: u8, value: u64) {
        match (offset, size) {
            (direct::SELECT, _) => self.select = value as u8,
            (direct::WINDOW, 4) => self.set_window(value as u32),
            (direct::EOI, 4) if self.version == Version::V20 => self.end(value as u8),
            _ => cx.guest_error(format_args!("I/O APIC: store of {size} bytes at {offset:#x}, which is no register")),
        }
    }
    fn pin(&mut self, _cx: &mut Cx<'_>, index: u32, level: bool) {
        let n = index as usize;
        let was = self.pins >> n & 1 != 0;
        self.raised[n] = self.raised[n].wrapping_add(u64::from(level && !was));
        self.pins = self.pins & !(1 << n) | u32::from(level) << n;
        let e = self.table[n];
        if e.level() {
            self.assert_level(n);
        } else if level && !was && !e.masked() {
            // An edge at a masked pin is lost.
            self.send(n);
        }
    }
    fn eoi(&mut self, _cx: &mut Cx<'_>, vector: u8) {
        self.end(vector);
    }
    fn reset(&mut self, _cx: &mut Cx<'_>, _kind: ResetKind) {
        self.id = 0;
        self.select = 0;
        self.table = [Entry::RESET; PINS];
        for (n, route) in self.routes.iter_mut().enumerate().filter(|(_, r)| r.is_some()) {
            *route = None;
            self.msi.set_route(n as u32, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gearbox_accel_qtest::Bench;
    use gearbox_core::board::Realized;

    const BASE: u64 = IOAPIC_BASE;

    fn ioapic() -> (Bench, Realized<IoApicPins>) {
        let mut b = Bench::new();
        let pins = b.realize(IoApic::default()).unwrap();
        (b, pins)
    }
    fn get(b: &mut Bench, reg: u8) -> u32 {
        b.writel(BASE, reg.into());
        b.readl(BASE + 0x10)
    }
    fn set(b: &mut Bench, reg: u8, v: u32) {
        b.writel(BASE, reg.into());
        b.writel(BASE + 0x10, v);
    }
    fn route(b: &mut Bench, pin: u8, low: u32, dest: u32) {
        set(b, 0x11 + 2 * pin, dest << 24);
        set(b, 0x10 + 2 * pin, low);
    }

    #[test]
    fn registers_after_reset() {
        let (mut b, _) = ioapic();
        assert_eq!([0, 1, 2].map(|r| get(&mut b, r)), [0, 0x0017_0020, 0]);
        for pin in 0..24 {
            assert_eq!((get(&mut b, 0x10 + 2 * pin), get(&mut b, 0x11 + 2 * pin)), (0x1_0000, 0));
        }
        assert_eq!((get(&mut b, 0x40), get(&mut b, 0x0f)), (0, 0), "nothing beyond");
        set(&mut b, 0, 0xff00_0000);
        assert_eq!((get(&mut b, 0), get(&mut b, 2)), (0x0f00_0000, 0x0f00_0000));
        set(&mut b, 0x10, 0xffff_ffff);
        assert_eq!(get(&mut b, 0x10), 0x1_afff, "status bits are read-only, and the rest reserved");
        assert_eq!(b.readb(BASE), 0x10);
    }

    #[test]
    fn an_edge_sends_one_message() {
        let (mut b, p) = ioapic();
        b.pulse(p.intin.get(4));
        assert_eq!(b.messages(), [], "edges at a masked pin are lost");
        route(&mut b, 4, 0x31, 2);
        assert_eq!(b.messages(), []);
        b.drive(p.intin.get(4), true);
        b.drive(p.intin.get(4), false);
        assert_eq!(b.messages(), [(0xfee0_2000, 0x31)]);
        route(&mut b, 4, 0x931, 0xff);
        b.pulse(p.intin.get(4));
        assert_eq!(b.messages(), [(0xfeef_f004, 0x131)], "logical destination, lowest priority");
    }

    #[test]
    fn a_level_is_sent_again_after_its_eoi() {
        let (mut b, p) = ioapic();
        route(&mut b, 10, 0x8051, 0);
        b.drive(p.intin.get(10), true);
        assert_eq!(b.messages(), [(0xfee0_0000, 0xc051)]);
        assert_eq!(get(&mut b, 0x24), 0xc051, "remote IRR");
        b.drive(p.intin.get(10), false);
        b.drive(p.intin.get(10), true);
        assert_eq!(b.messages(), [], "in service");
        b.eoi(0x50);
        assert_eq!(b.messages(), []);
        b.eoi(0x51);
        assert_eq!(b.messages(), [(0xfee0_0000, 0xc051)], "still asserted");
        b.drive(p.intin.get(10), false);
        b.writel(BASE + 0x40, 0x51);
        assert_eq!((b.messages(), get(&mut b, 0x24)), (vec![], 0x8051));
    }

    #[test]
    fn a_level_that_waits_behind_the_mask_comes_out() {
        let (mut b, p) = ioapic();
        route(&mut b, 3, 0x1_8040, 1);
        b.drive(p.intin.get(3), true);
        assert_eq!(b.messages(), []);
        route(&mut b, 3, 0x8040, 1);
        assert_eq!(b.messages(), [(0xfee0_1000, 0xc040)]);
        route(&mut b, 3, 0x1_0040, 1);
        route(&mut b, 3, 0x1_8040, 1);
        assert_eq!(get(&mut b, 0x16) & 0x4000, 0, "a turn as edge-triggered forgets the remote IRR");
    }

    #[test]
    fn accelerators_hear_of_routes() {
        let (mut b, _) = ioapic();
        route(&mut b, 9, 0x8060, 3);
        assert_eq!(b.route(9), Some((0xfee0_3000, 0xc060)));
        route(&mut b, 9, 0x1_8060, 3);
        assert_eq!(b.route(9), Some((0xfee0_3000, 0xc060)), "the EOI may still be to come");
        b.reset();
        assert_eq!(b.route(9), None);
    }

    #[test]
    fn version_11_has_no_eoi_register() {
        let mut b = Bench::new();
        let p = b.realize(IoApic { version: Version::V11, ..IoApic::default() }).unwrap();
        assert_eq!(get(&mut b, 1), 0x0017_0011);
        route(&mut b, 1, 0x8044, 0);
        b.drive(p.intin.get(1), true);
        b.drive(p.intin.get(1), false);
        b.writel(BASE + 0x40, 0x44);
        assert_eq!(get(&mut b, 0x12) & 0x4000, 0x4000);
    }
}
