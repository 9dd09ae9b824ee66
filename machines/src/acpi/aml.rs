//! Short forms for the AML that the DSDT is made of.

use acpi_tables::aml::{
    Acquire, Device, EISAName, Field, FieldAccessType, FieldEntry, FieldLockRule, FieldUpdateRule, IO, Index, Local,
    Method, MethodCall, Mutex, Name, Notify, OpRegion, OpRegionSpace, Path, Release, ResourceTemplate, Scope, Store,
};
use acpi_tables::{Aml, AmlSink};

/// AML bytes that are made already.
pub struct Raw(pub Vec<u8>);

impl Aml for Raw {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.vec(&self.0);
    }
}

/// An AML object as its bytes, so that it can be put where it is needed more than once.
pub fn raw(aml: &dyn Aml) -> Raw {
    let mut bytes = Vec::new();
    aml.to_aml_bytes(&mut bytes);
    Raw(bytes)
}

/// Terms one after the other.
pub fn list(terms: &[Raw]) -> Raw {
    Raw(terms.iter().flat_map(|t| t.0.iter().copied()).collect())
}

/// `Name (NAME, value)`.
pub fn name(path: &str, value: &dyn Aml) -> Raw {
    raw(&Name::new(path.into(), value))
}

/// `Name (_HID, EisaId (ID))`.
pub fn hid(id: &str) -> Raw {
    name("_HID", &EISAName::new(id))
}

/// `Device (NAME) { … }`.
pub fn device(path: &str, terms: &[Raw]) -> Raw {
    raw(&Device::new(path.into(), terms.iter().map(|t| t as &dyn Aml).collect()))
}

/// `Scope (NAME) { … }`.
pub fn scope(path: &str, terms: &[Raw]) -> Raw {
    raw(&Scope::new(path.into(), terms.iter().map(|t| t as &dyn Aml).collect()))
}

/// `Method (NAME, args, Serialized) { … }`.
pub fn method(path: &str, args: u8, terms: &[&dyn Aml]) -> Raw {
    raw(&Method::new(path.into(), args, true, terms.to_vec()))
}

/// `Name (_CRS, ResourceTemplate () { … })` and its like.
pub fn resources(path: &str, items: &[&dyn Aml]) -> Raw {
    name(path, &ResourceTemplate::new(items.to_vec()))
}

/// Ports at a fixed place.
pub fn ports(base: u16, len: u8) -> IO {
    IO::new(base, base, 1, len)
}

/// A DMA channel, by its bit, of which bytes are moved at the usual speed.
pub fn dma(channels: u8) -> Raw {
    Raw(vec![0x2a, channels, 0x00])
}

/// A reference to a named object.
pub fn path(p: &str) -> Path {
    p.into()
}

/// `OperationRegion (NAME, SystemIO, base, len)`.
pub fn region(name: &str, base: u16, len: u8) -> Raw {
    raw(&OpRegion::new(name.into(), OpRegionSpace::SystemIO, &base, &len))
}

/// `Field (REGION, …) { … }` without a lock.
pub fn field(region: &str, access: FieldAccessType, update: FieldUpdateRule, entries: Vec<FieldEntry>) -> Raw {
    raw(&Field::new(region.into(), access, FieldLockRule::NoLock, update, entries))
}

/// Doubleword registers of a region: name, of four characters, and offset in bytes, in rising order.
pub fn dword_field(region: &str, registers: &[(&str, u64)]) -> Raw {
    let mut entries = Vec::new();
    let mut at = 0;
    for (name, offset) in registers {
        if *offset > at {
            entries.push(FieldEntry::Reserved((offset - at) as usize * 8));
        }
        let mut segment = [b'_'; 4];
        segment.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from);
        entries.push(FieldEntry::Named(segment, 32));
        at = offset + 4;
    }
    field(region, FieldAccessType::DWord, FieldUpdateRule::Preserve, entries)
}

/// A named object or a local variable that something is stored in.
pub trait Target {
    /// As AML.
    fn target(&self) -> Raw;
}

impl Target for str {
    fn target(&self) -> Raw {
        raw(&path(self))
    }
}

impl Target for Index<'_> {
    fn target(&self) -> Raw {
        raw(self)
    }
}

impl Target for Local {
    fn target(&self) -> Raw {
        raw(self)
    }
}

/// `Store (value, TARGET)`.
pub fn store(target: &(impl Target + ?Sized), value: &dyn Aml) -> Raw {
    raw(&Store::new(&target.target(), value))
}

/// `NAME (args)`.
pub fn call(name: &str, args: &[&dyn Aml]) -> Raw {
    raw(&MethodCall::new(name.into(), args.to_vec()))
}

/// `Notify (object, value)`; for the values of devices see [`notification`].
pub fn notify(object: &Path, value: &dyn Aml) -> Raw {
    raw(&Notify::new(object, value))
}

/// Notifications that every device understands (ACPI 6.4, table 5.164).
pub mod notification {
    /// Look whether it is there.
    pub const DEVICE_CHECK: u8 = 1;
    /// The user wants it gone.
    pub const EJECT_REQUEST: u8 = 3;
}

/// `Mutex (NAME, 0)`.
pub fn mutex(name: &str) -> Raw {
    raw(&Mutex::new(name.into(), 0))
}

/// `Acquire (NAME, 0xffff)`: waits without limit.
pub fn acquire(name: &str) -> Raw {
    raw(&Acquire::new(name.into(), 0xffff))
}

/// `Release (NAME)`.
pub fn release(name: &str) -> Raw {
    raw(&Release::new(name.into()))
}

/// An extended interrupt descriptor (ACPI 6.4, 6.4.3.6): one of these numbers, consumed, active high.
pub struct Interrupts<'a> {
    /// Edge-triggered and exclusive; otherwise level-triggered and shared.
    pub edge: bool,
    /// Global system interrupts.
    pub numbers: &'a [u32],
}

impl Aml for Interrupts<'_> {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        const CONSUMER: u8 = 1;
        const EDGE: u8 = 1 << 1;
        const SHARED: u8 = 1 << 3;
        sink.byte(0x89);
        sink.word(2 + 4 * self.numbers.len() as u16);
        sink.byte(CONSUMER | if self.edge { EDGE } else { SHARED });
        sink.byte(self.numbers.len() as u8);
        self.numbers.iter().for_each(|n| sink.dword(*n));
    }
}
