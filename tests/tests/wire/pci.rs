//! The PCI bus of the whole board: configuration spaces byte for byte, sizes, capabilities, write masks.

use super::reading::Readings;
use gearbox::testing::{Devfn, Io, Pci, PciFunction};

/// Configuration spaces, base addresses and capabilities after power-on.
pub fn spaces(m: &mut dyn Io, r: &mut Readings) {
    let mut pci = Pci::of(m);
    for PciFunction { at, vendor, device, .. } in pci.functions() {
        r.note(format!("pci {at}"), format!("{vendor:04x}:{device:04x}"));
        bytes(&mut pci, at, "after reset", r);
        for bar in pci.bars(at) {
            r.note(format!("pci {at} BAR {}", bar.index), format!("{bar:?}"));
        }
        r.note(format!("pci {at} capabilities"), format!("{:02x?}", pci.capabilities(at)));
    }
}

/// Which bits can be written: the spaces after all ones, alternating ones, and zeros have been written to every doubleword.
pub fn masks(m: &mut dyn Io, r: &mut Readings) {
    let mut pci = Pci::of(m);
    for PciFunction { at, .. } in pci.functions() {
        for (name, value) in [("ones", u32::MAX), ("fives", 0x5555_5555), ("zeros", 0)] {
            (0..=252).step_by(4).for_each(|register| pci.write32(at, register, value));
            bytes(&mut pci, at, &format!("after {name}"), r);
        }
    }
}

fn bytes(pci: &mut Pci<'_, dyn Io + '_>, at: Devfn, when: &str, r: &mut Readings) {
    for (n, sixteen) in pci.space(at).chunks_exact(16).enumerate() {
        r.bytes(format!("pci {at} {n:x}0 {when}"), sixteen);
    }
}
