//! Commands that look at guest memory, and at values.

use super::grammar::{Arguments, Format, Style};
use super::output::{Done, Failure, Output};
use super::{HumanMonitor, NO_CPU, disassemble};
use crate::machine::Machine;
use crate::mem::PAGE_SIZE;
use crate::vm::CpuBus;
use std::fmt::Write;

/// Addresses of one kind, and how memory is reached by them.
enum Space<'a> {
    Physical(&'a Machine),
    Linear(Linear<'a>),
}

/// Linear addresses of a CPU. The last page looked up is kept: its neighbours are asked for next.
struct Linear<'a> {
    machine: &'a Machine,
    cpu: usize,
    page: Option<(u64, u64)>,
}

const OFFSET: u64 = PAGE_SIZE - 1;

impl Linear<'_> {
    fn translate(&mut self, addr: u64) -> Option<u64> {
        let page = addr & !OFFSET;
        let frame = match self.page {
            Some((p, frame)) if p == page => frame,
            _ => {
                let frame = self.machine.with_vcpu(self.cpu, move |v| v.translate(page))??;
                self.page = Some((page, frame));
                frame
            }
        };
        Some((frame & !OFFSET) | (addr & OFFSET))
    }
}

impl Space<'_> {
    /// Reads from `addr` on until there is nothing; how many bytes there are.
    fn read(&mut self, addr: u64, data: &mut [u8]) -> usize {
        let mut done = 0;
        while done < data.len() {
            let Some(at) = addr.checked_add(done as u64) else { break };
            let n = usize::try_from(PAGE_SIZE - (at & OFFSET)).unwrap_or(usize::MAX).min(data.len() - done);
            let piece = &mut data[done..done + n];
            let n = match self {
                Self::Physical(machine) => read_physical(machine, at, piece),
                Self::Linear(linear) => linear.translate(at).map_or(0, |at| read_physical(linear.machine, at, piece)),
            };
            if n == 0 {
                break;
            }
            done += n;
        }
        done
    }
}

/// Reads what answers at `addr`, up to where something else does.
fn read_physical(machine: &Machine, addr: u64, data: &mut [u8]) -> usize {
    let board = machine.board();
    let Some(n) = board.memory().view().find(addr).map(|r| r.clip(addr, data.len())) else { return 0 };
    board.mmio_read(addr, &mut data[..n]);
    n
}

/// `xp`.
pub(super) fn dump_physical(m: &mut HumanMonitor, arguments: &Arguments, out: &mut Output) -> Done {
    let machine = m.machine()?;
    dump(m, arguments, Space::Physical(&machine), out)
}

/// `x`.
pub(super) fn dump_virtual(m: &mut HumanMonitor, arguments: &Arguments, out: &mut Output) -> Done {
    let machine = m.machine()?;
    machine.with_vcpu(m.cpu, |_| ()).ok_or_else(|| Failure::plain(CANNOT_DUMP))?;
    dump(m, arguments, Space::Linear(Linear { machine: &machine, cpu: m.cpu, page: None }), out)
}

const CANNOT_DUMP: &str = "Can not dump without CPU";

fn dump(m: &HumanMonitor, arguments: &Arguments, mut space: Space<'_>, out: &mut Output) -> Done {
    let (format, addr) = (arguments.format(), arguments.unsigned("addr"));
    if format.style == Style::Instruction {
        let (bits, _) = m.registers(None).map_err(|_| Failure::plain(CANNOT_DUMP))?.mode();
        return disassemble::disassemble(bits, addr, format.count, |at, data| space.read(at, data), out);
    }
    values(format, addr, |at, data| space.read(at, data), out)
}

/// Shows values in lines of 16 bytes, or 8 if they are bytes.
fn values(format: Format, mut addr: u64, mut read: impl FnMut(u64, &mut [u8]) -> usize, out: &mut Output) -> Done {
    let size = usize::from(if format.style == Style::Char { 1 } else { format.size });
    let line: u64 = if format.size == 1 { 8 } else { 16 };
    let mut left = format.count.saturating_mul(format.size.into());
    while left > 0 {
        let mut data = [0; 16];
        let n = left.min(line) as usize;
        write!(out, "{addr:016x}:")?;
        if read(addr, &mut data[..n]) < n {
            return Ok(writeln!(out, " Cannot access memory")?);
        }
        for value in data[..n].chunks(size) {
            write!(out, " ")?;
            show(format.style, value, out)?;
        }
        writeln!(out)?;
        addr = addr.wrapping_add(n as u64);
        left -= n as u64;
    }
    Ok(())
}

/// Shows a little-endian value, as wide as its type can be.
fn show(style: Style, bytes: &[u8], out: &mut Output) -> Done {
    let bits = bytes.len() * 8;
    let value = bytes.iter().rev().fold(0u64, |v, &b| v << 8 | u64::from(b));
    let decimal = (bits * 10).div_ceil(33);
    let octal = bits.div_ceil(3);
    match style {
        Style::Hex | Style::Instruction => write!(out, "0x{value:0width$x}", width = bits / 4)?,
        Style::Unsigned => write!(out, "{value:decimal$}")?,
        Style::Decimal => {
            let unused = 64 - bits as u32;
            write!(out, "{:decimal$}", (value << unused).cast_signed() >> unused)?;
        }
        Style::Octal => write!(out, "{:>octal$}", c_octal(value))?,
        Style::Char => write!(out, "{}", c_char(value as u8))?,
    }
    Ok(())
}

/// As C's `%#o`.
fn c_octal(value: u64) -> String {
    if value == 0 { "0".to_owned() } else { format!("0{value:o}") }
}

/// A character constant.
fn c_char(c: u8) -> String {
    match c {
        b'\'' => "'\\''".to_owned(),
        b'\\' => "'\\\\'".to_owned(),
        b'\n' => "'\\n'".to_owned(),
        b'\r' => "'\\r'".to_owned(),
        b' '..=b'~' => format!("'{}'", char::from(c)),
        c => format!("'\\x{c:02x}'"),
    }
}

/// `print`.
pub(super) fn print(_: &mut HumanMonitor, arguments: &Arguments, out: &mut Output) -> Done {
    let value = arguments.unsigned("value");
    let text = match arguments.format().style {
        Style::Hex => format!("{value:#x}"),
        Style::Unsigned => value.to_string(),
        Style::Decimal | Style::Instruction => value.cast_signed().to_string(),
        Style::Octal => c_octal(value),
        Style::Char => c_char(value as u8),
    };
    Ok(writeln!(out, "{text}")?)
}

/// `balloon`: the memory that the guest is to do with, in MiB.
pub(super) fn balloon(m: &mut HumanMonitor, arguments: &Arguments, _: &mut Output) -> Done {
    let megabytes = arguments.number("value").unwrap_or_default();
    Ok(m.control.balloon(megabytes.saturating_mul(1 << 20))?)
}

/// `sum`: BSD's checksum of physical memory; what nothing answers counts as zeros.
pub(super) fn sum(m: &mut HumanMonitor, arguments: &Arguments, out: &mut Output) -> Done {
    let machine = m.machine()?;
    let (mut addr, size) = (arguments.unsigned("addr"), arguments.number("size").unwrap_or_default());
    let mut left = u64::try_from(size).unwrap_or_default();
    let mut sum = 0u16;
    let mut space = Space::Physical(&machine);
    while left > 0 {
        let mut data = [0; PAGE_SIZE as usize];
        let n = left.min(PAGE_SIZE) as usize;
        space.read(addr, &mut data[..n]);
        sum = data[..n].iter().fold(sum, |sum, &b| sum.rotate_right(1).wrapping_add(b.into()));
        addr = addr.wrapping_add(n as u64);
        left -= n as u64;
    }
    Ok(writeln!(out, "{sum:05}")?)
}

/// `memsave`.
pub(super) fn memsave(m: &mut HumanMonitor, arguments: &Arguments, _: &mut Output) -> Done {
    let (addr, size) = (arguments.unsigned("addr"), arguments.unsigned("size"));
    Ok(m.control.memsave(addr, size, arguments.word("file"), i64::try_from(m.cpu).ok())?)
}

/// `pmemsave`.
pub(super) fn pmemsave(m: &mut HumanMonitor, arguments: &Arguments, _: &mut Output) -> Done {
    let (addr, size) = (arguments.unsigned("addr"), arguments.unsigned("size"));
    Ok(m.control.pmemsave(addr, size, arguments.word("file"))?)
}

/// `gva2gpa`.
pub(super) fn gva2gpa(m: &mut HumanMonitor, arguments: &Arguments, out: &mut Output) -> Done {
    let machine = m.machine()?;
    let addr = arguments.unsigned("addr");
    let found = machine.with_vcpu(m.cpu, move |v| v.translate(addr)).ok_or_else(|| Failure::plain(NO_CPU))?;
    match found {
        Some(gpa) => writeln!(out, "gpa: {gpa:#x}")?,
        None => writeln!(out, "Unmapped")?,
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(style: Style, size: u8, count: u64, memory: &[u8]) -> String {
        let mut out = Output::default();
        let read = |at: u64, data: &mut [u8]| {
            let rest = memory.get(at as usize..).unwrap_or_default();
            let n = rest.len().min(data.len());
            data[..n].copy_from_slice(&rest[..n]);
            n
        };
        let done = values(Format { count, style, size }, 0, read, &mut out);
        out.finish(done)
    }

    #[test]
    fn formats_are_qemus() {
        let memory: Vec<u8> = [0xfe, 0xff, 0x00, 0x00, b'A', 0x0a, 0x27, 0x80].into_iter().cycle().take(32).collect();
        for (style, size, count, expected) in [
            (Style::Hex, 4, 2, "0000000000000000: 0x0000fffe 0x80270a41\n"),
            (Style::Decimal, 2, 2, "0000000000000000:    -2     0\n"),
            (Style::Unsigned, 1, 2, "0000000000000000: 254 255\n"),
            (Style::Octal, 2, 1, "0000000000000000: 0177776\n"),
            (Style::Char, 1, 8, "0000000000000000: '\\xfe' '\\xff' '\\x00' '\\x00' 'A' '\\n' '\\'' '\\x80'\n"),
        ] {
            assert_eq!(shown(style, size, count, &memory), expected);
        }
        let lines = shown(Style::Hex, 1, 40, &memory);
        assert_eq!(lines.lines().count(), 5);
        assert!(lines.ends_with("0000000000000020: Cannot access memory\n"), "{lines}");
    }

    #[test]
    fn more_than_there_is_room_for_ends() {
        let mut out = Output::default();
        let done = values(Format { count: u64::MAX, style: Style::Hex, size: 8 }, 0, |_, d| d.len(), &mut out);
        assert!(matches!(done, Err(Failure::Full)));
    }
}
