//! The PCI bus of the whole board: configuration spaces byte for byte, sizes, capabilities, write masks.

use super::reading::Readings;
use gearbox::testing::{Devfn, Io, Pci, PciFunction, Process};
use serde_json::json;

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

/// Registers of bridges: bus, slot, register, and what is written there.
const NUMBERS: [(u32, u32, u32, u32); 8] = [
    (0, 5, 0x18, 0x0002_0100),
    (0, 5, 0x1c, 0xd0c0),
    (0, 5, 0x20, 0xfe10_fe00),
    (0, 5, 0x24, 0xfd10_fd00),
    (0, 5, 0x04, 0x7),
    (1, 6, 0x18, 0x0002_0201),
    (1, 6, 0x1c, 0xc0c0),
    (1, 6, 0x04, 0x7),
];

/// What is behind bridges once they have numbers and windows; what answers at a port there; and lists of it.
pub fn bridges(p: &mut Process, r: &mut Readings) {
    let write = |p: &mut Process, (bus, slot, register, value): (u32, u32, u32, u32)| {
        p.qtest().outl(0xcf8, 1 << 31 | bus << 16 | slot << 11 | register);
        p.qtest().outl(0xcfc, value);
    };
    NUMBERS.into_iter().for_each(|step| write(p, step));
    // The card's ports.
    [(2, 3, 0x10, 0xc000), (2, 3, 0x04, 1)].into_iter().for_each(|step| write(p, step));
    for (bus, slot) in [(0, 5), (1, 6), (2, 3), (1, 5), (2, 6), (3, 0)] {
        for register in (0..0x68).step_by(4) {
            p.qtest().outl(0xcf8, 1 << 31 | bus << 16 | slot << 11 | register);
            r.number(format!("bridges {bus}:{slot} {register:02x}"), p.qtest().inl(0xcfc));
        }
    }
    let ports = |p: &mut Process, r: &mut Readings, when: &str| {
        let features = [0xc000, 0xc00c, 0xc012].map(|port| p.qtest().inw(port));
        r.note(format!("bridges ports {when}"), format!("{features:x?}"));
    };
    ports(p, r, "open");
    let lists = |p: &mut Process, r: &mut Readings, when: &str| {
        let all = p.qmp().execute("query-pci", json!({})).unwrap_or_else(|e| panic!("{e}"));
        let bridge = all[0]["devices"].as_array().and_then(|all| all.iter().find(|d| d["slot"] == 5));
        r.note(format!("bridges query-pci {when}"), sorted(bridge.expect("the bridge")));
        let command = json!({ "command-line": "info pci" });
        let text = p.qmp().execute("human-monitor-command", command).unwrap_or_else(|e| panic!("{e}"));
        let text = text.as_str().unwrap_or_default();
        r.note(format!("bridges info pci {when}"), text.split_once("PCI bridge").map_or(text, |(_, rest)| rest));
    };
    lists(p, r, "open");
    write(p, (1, 6, 0x1c, 0x00f0));
    ports(p, r, "closed");
    write(p, (1, 6, 0x1c, 0xc0c0));
    write(p, (0, 5, 0x04, 0));
    ports(p, r, "off");
    write(p, (0, 5, 0x04, 7));
    write(p, (0, 5, 0x3c, 0x0040_0000));
    write(p, (0, 5, 0x3c, 0));
    for register in [0x04, 0x18, 0x1c] {
        p.qtest().outl(0xcf8, 1 << 31 | 1 << 16 | 6 << 11 | register);
        r.number(format!("bridges 1:6 {register:02x} after a reset of the bus"), p.qtest().inl(0xcfc));
    }
}

/// An answer as text, members in the order of their names.
fn sorted(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Object(members) => {
            let members: std::collections::BTreeMap<_, _> = members.iter().map(|(k, v)| (k, sorted(v))).collect();
            format!("{members:?}")
        }
        serde_json::Value::Array(all) => format!("{:?}", all.iter().map(sorted).collect::<Vec<_>>()),
        other => other.to_string(),
    }
}
