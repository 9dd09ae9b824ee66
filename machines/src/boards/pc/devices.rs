//! What `-device` can add to the board.

use super::super::args::Properties;
use super::IsaInterrupts;
use crate::devices::debug_exit::DebugExit;
use crate::devices::debugcon::Debugcon;
use crate::devices::serial::{COM, Serial};
use gearbox_core::board::BoardState;
use gearbox_core::machine::{BuildError, DeviceArg, DeviceInfo, MachineConfig};

/// What there is, for `-device help` and to refuse the rest.
pub(super) static TYPES: [DeviceInfo; 3] = [
    DeviceInfo {
        name: "isa-debug-exit",
        description: "ends the emulator with a status that the guest writes",
        properties: &[
            ("iobase", "PORT", "first port (default: 0x501)"),
            ("iosize", "BYTES", "number of ports (default: 2)"),
        ],
    },
    DeviceInfo {
        name: "isa-debugcon",
        description: "a console that takes a byte for each write to a port",
        properties: &[
            ("chardev", "ID", "the back end"),
            ("iobase", "PORT", "the port (default: 0xe9)"),
            ("readback", "BYTE", "what a read of the port gives (default: 0xe9)"),
        ],
    },
    DeviceInfo {
        name: "isa-serial",
        description: "a serial port, 16550A",
        properties: &[
            ("chardev", "ID", "the back end"),
            ("index", "0..3", "which of COM1 to COM4 it is (default: the next one)"),
            ("iobase", "PORT", "first port (default: that of its index)"),
            ("irq", "IRQ", "the interrupt (default: that of its index)"),
        ],
    },
];

/// Realizes the `n`th `-device`.
///
/// # Errors
/// A property that it does not have or cannot honour, or a conflict.
pub(super) fn realize(
    s: &mut BoardState,
    n: usize,
    arg: &DeviceArg,
    config: &MachineConfig,
    irqs: &mut IsaInterrupts,
    serials: &mut Vec<(u16, u8)>,
) -> Result<(), BuildError> {
    let id = arg.properties.iter().rev().find(|(k, _)| k == "id").map(|(_, v)| v);
    let path = match id {
        Some(id) => format!("/machine/peripheral/{id}"),
        None => format!("/machine/peripheral-anon/device[{n}]"),
    };
    let mut p = Properties::new(arg);
    match &*arg.type_name {
        "isa-debug-exit" => {
            let default = DebugExit::default();
            let spec = DebugExit {
                iobase: p.number("iobase")?.unwrap_or(default.iobase),
                iosize: p.number("iosize")?.unwrap_or(default.iosize),
            };
            p.finish()?;
            s.realize(&path, spec)?;
        }
        "isa-debugcon" => {
            let default = Debugcon::default();
            let spec = Debugcon {
                iobase: p.number("iobase")?.unwrap_or(default.iobase),
                readback: p.number("readback")?.unwrap_or(default.readback),
                chardev: p.chardev("chardev", config)?,
            };
            p.finish()?;
            s.realize(&path, spec)?;
        }
        "isa-serial" => {
            let index = p.number::<usize>("index")?.unwrap_or(serials.len());
            let (base, irq) = *COM.get(index).ok_or_else(|| p.error("index is not between 0 and 3"))?;
            let spec = Serial { iobase: p.number("iobase")?.unwrap_or(base), chardev: p.chardev("chardev", config)? };
            let irq = p.number::<u8>("irq")?.unwrap_or(irq);
            if !(3..16).contains(&irq) || [8, 13].contains(&irq) {
                return Err(p.error(format!("ISA cards have no interrupt {irq}")));
            }
            p.finish()?;
            let port = (spec.iobase, irq);
            let serial = s.realize(&path, spec)?;
            irqs.add(irq, serial.irq);
            serials.push(port);
        }
        other => return Err(p.error(format!("there is no such device as '{other}'"))),
    }
    Ok(())
}
