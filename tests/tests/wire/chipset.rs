//! The chipset's own registers, where order and width of accesses matter.

use super::reading::Readings;
use gearbox::testing::Io;

/// Port, bytes, and what is written there before it is read.
type Step = (u16, u8, Option<u32>);

const STEPS: &[Step] = &[
    // Configuration address: doublewords only.
    (0xcf8, 4, Some(0x8000_0844)),
    (0xcf8, 1, Some(0x55)),
    (0xcf8, 2, Some(0x5566)),
    (0xcf8, 4, None),
    (0xcf8, 2, None),
    // Reset control, in the middle of it.
    (0xcf9, 1, Some(0x02)),
    (0xcf8, 4, None),
    (0xcf9, 1, Some(0xfb)),
    // Disabled, and a bus that is not there.
    (0xcf8, 4, Some(0)),
    (0xcfc, 4, None),
    (0xcf8, 4, Some(0x8001_0000)),
    (0xcfc, 4, None),
    // Power management at 0x600.
    (0xcf8, 4, Some(0x8000_0b40)),
    (0xcfc, 4, Some(0x0000_0601)),
    (0xcf8, 4, Some(0x8000_0b80)),
    (0xcfc, 1, Some(1)),
    (0x600, 2, None),
    (0x600, 2, Some(1)),
    // Across three ranges; while the enable register is 0, as QEMU's high bytes of PM1 registers always read 0.
    (0x603, 4, None),
    (0x602, 2, Some(0xffff)),
    (0x604, 2, Some(0xdfff)),
    (0x604, 4, None),
    (0x608, 4, None),
    (0x60c, 4, None),
    // ACPI mode.
    (0xb2, 1, Some(0xf1)),
    (0x604, 2, None),
    (0xb2, 1, Some(0xf0)),
    (0x604, 2, None),
    (0xb3, 1, Some(0x77)),
    (0xb2, 2, None),
    // General-purpose events.
    (0xafe0, 1, Some(0xff)),
    (0xafe2, 1, Some(0xff)),
    (0xafe3, 1, Some(0xff)),
    (0xafe0, 4, None),
    // PCI hot-plug: plugged, unplugged, ejectable, of the first bus.
    (0xae10, 4, Some(0)),
    (0xae00, 4, None),
    (0xae04, 4, None),
    (0xae0c, 4, None),
    // CPU hot-plug, in its old interface.
    (0xaf00, 4, None),
    // fw_cfg's DMA signature.
    (0x514, 4, None),
    (0x518, 4, None),
    (0x514, 1, None),
];

/// Runs all steps on one machine.
pub fn registers(m: &mut dyn Io, r: &mut Readings) {
    for (n, &(port, size, value)) in STEPS.iter().enumerate() {
        if let Some(value) = value {
            m.port_out(port, size, value);
        }
        r.number(format!("chipset {n:02} {port:#x}.{size} after {value:x?}"), m.port_in(port, size));
    }
}
