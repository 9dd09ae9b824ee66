//! Commands that read and write I/O ports, as a CPU does.

use super::HumanMonitor;
use super::grammar::Arguments;
use super::output::{Done, Failure, Output};
use crate::vm::CpuBus;
use std::fmt::Write;

/// Width of an access in bytes, and the letter that shows it.
fn width(arguments: &Arguments) -> Result<(u8, char), Failure> {
    match arguments.format().size {
        1 => Ok((1, 'b')),
        2 => Ok((2, 'w')),
        4 => Ok((4, 'l')),
        size => Err(Failure::Plain(format!("ports are not {size} bytes wide"))),
    }
}

/// `i`.
pub(super) fn read(m: &mut HumanMonitor, arguments: &Arguments, out: &mut Output) -> Done {
    let (size, letter) = width(arguments)?;
    let port = arguments.unsigned("addr") as u16;
    let value = m.machine()?.board().pio_in(port, size);
    Ok(writeln!(out, "port{letter}[0x{port:04x}] = 0x{value:0width$x}", width = usize::from(size) * 2)?)
}

/// `o`.
pub(super) fn write(m: &mut HumanMonitor, arguments: &Arguments, _: &mut Output) -> Done {
    let (size, _) = width(arguments)?;
    let port = arguments.unsigned("addr") as u16;
    m.machine()?.board().pio_out(port, size, arguments.unsigned("value") as u32);
    Ok(())
}
