//! Short forms for the AML that the DSDT is made of.

use acpi_tables::aml::{Device, EISAName, IO, Method, Name, Path, ResourceTemplate, Scope};
use acpi_tables::{Aml, AmlSink};

/// AML bytes that are made already.
pub struct Raw(pub Vec<u8>);

impl Aml for Raw {
    fn to_aml_bytes(&self, sink: &mut dyn AmlSink) {
        sink.vec(&self.0);
    }
}

fn raw(aml: &dyn Aml) -> Raw {
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

/// A reference to a named object.
pub fn path(p: &str) -> Path {
    p.into()
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
