//! The page tables of a CPU, as they are in guest memory (SDM vol. 3, chapter 5).
//!
//! They are the guest's: they may point anywhere, into themselves too. What is read of them is bounded, and so is what is shown.

use crate::mem::AddressSpace;
use crate::monitor::HumanMonitor;
use crate::monitor::grammar::Arguments;
use crate::monitor::output::{Done, Failure, Output};
use crate::x86::state::{X86State, cr0, cr4, efer};
use std::fmt::Write;

/// Bits of an entry (tables 5-20 and others).
mod bit {
    pub(super) const PRESENT: u64 = 1 << 0;
    pub(super) const WRITABLE: u64 = 1 << 1;
    pub(super) const USER: u64 = 1 << 2;
    pub(super) const WRITE_THROUGH: u64 = 1 << 3;
    pub(super) const CACHE_DISABLE: u64 = 1 << 4;
    pub(super) const ACCESSED: u64 = 1 << 5;
    pub(super) const DIRTY: u64 = 1 << 6;
    /// The entry maps a page and not a table; in the last level it means something else.
    pub(super) const PAGE_SIZE: u64 = 1 << 7;
    pub(super) const GLOBAL: u64 = 1 << 8;
    pub(super) const NO_EXECUTE: u64 = 1 << 63;
}

/// Physical address bits of an entry.
const FRAME: u64 = 0x000f_ffff_ffff_f000;

/// One level of tables.
#[derive(Clone, Copy)]
struct Level {
    /// Lowest bit of a linear address that selects an entry here.
    shift: u32,
    entries: usize,
    /// An entry here can map a page.
    pages: bool,
    /// Entries here have rights.
    rights: bool,
}

/// A paging mode.
struct Mode {
    levels: &'static [Level],
    entry_bytes: usize,
    /// Bits of the root's address.
    root: u64,
    /// Width of linear addresses; the bits above repeat the highest one. 0 if they are as they are.
    canonical: u32,
}

const fn level(shift: u32, entries: usize, pages: bool, rights: bool) -> Level {
    Level { shift, entries, pages, rights }
}

const FIVE_LEVELS: [Level; 5] =
    [level(48, 512, false, true), FOUR_LEVELS[0], FOUR_LEVELS[1], FOUR_LEVELS[2], FOUR_LEVELS[3]];
const FOUR_LEVELS: [Level; 4] =
    [level(39, 512, false, true), level(30, 512, true, true), level(21, 512, true, true), level(12, 512, true, true)];
const PAE: [Level; 3] = [level(30, 4, false, false), level(21, 512, true, true), level(12, 512, true, true)];
const LEGACY: [Level; 2] = [level(22, 1024, false, true), level(12, 1024, true, true)];
const LEGACY_LARGE: [Level; 2] = [level(22, 1024, true, true), level(12, 1024, true, true)];

impl Mode {
    fn of(s: &X86State) -> Option<Self> {
        if s.cr0 & cr0::PG == 0 {
            return None;
        }
        Some(match (s.efer & efer::LMA != 0, s.cr4 & cr4::LA57 != 0, s.cr4 & cr4::PAE != 0, s.cr4 & cr4::PSE != 0) {
            (true, true, ..) => Self { levels: &FIVE_LEVELS, entry_bytes: 8, root: FRAME, canonical: 57 },
            (true, false, ..) => Self { levels: &FOUR_LEVELS, entry_bytes: 8, root: FRAME, canonical: 48 },
            (false, _, true, _) => Self { levels: &PAE, entry_bytes: 8, root: 0xffff_ffe0, canonical: 0 },
            (false, _, false, true) => Self { levels: &LEGACY_LARGE, entry_bytes: 4, root: 0xffff_f000, canonical: 0 },
            (false, _, false, false) => Self { levels: &LEGACY, entry_bytes: 4, root: 0xffff_f000, canonical: 0 },
        })
    }
    fn canonical(&self, addr: u64) -> u64 {
        canonical(addr, self.canonical)
    }
}

/// A page that is mapped.
struct Page {
    /// Linear address, not made canonical.
    addr: u64,
    size: u64,
    /// The entry that maps it.
    entry: u64,
    /// [`bit::USER`] and [`bit::WRITABLE`] as all levels together allow.
    rights: u64,
}

/// Most tables that are read for one command.
const MOST_TABLES: u32 = 1 << 16;

struct Walker<'a> {
    memory: &'a AddressSpace,
    mode: &'a Mode,
    tables: u32,
}

impl Walker<'_> {
    /// Calls `visit` with every page that the table at `table` maps, by rising address.
    fn walk(
        &mut self,
        table: u64,
        levels: &[Level],
        base: u64,
        rights: u64,
        visit: &mut dyn FnMut(&Page) -> Done,
    ) -> Done {
        let Some((level, below)) = levels.split_first() else { return Ok(()) };
        self.tables += 1;
        if self.tables > MOST_TABLES {
            return Err(Failure::plain("... (the page tables go on)"));
        }
        let mut bytes = vec![0; level.entries * self.mode.entry_bytes];
        if self.memory.read(table, &mut bytes).is_err() {
            return Ok(());
        }
        for (n, entry) in bytes.chunks(self.mode.entry_bytes).enumerate() {
            let entry = entry.iter().rev().fold(0u64, |v, &b| v << 8 | u64::from(b));
            if entry & bit::PRESENT == 0 {
                continue;
            }
            let addr = base + ((n as u64) << level.shift);
            let rights = if level.rights { rights & entry } else { rights };
            if below.is_empty() || (level.pages && entry & bit::PAGE_SIZE != 0) {
                visit(&Page { addr, size: 1 << level.shift, entry, rights })?;
            } else {
                self.walk(entry & FRAME, below, addr, rights, visit)?;
            }
        }
        Ok(())
    }
}

/// Calls `visit` with every page of the selected CPU; false where it has paging off.
fn pages(m: &HumanMonitor, visit: &mut dyn FnMut(&Mode, &Page) -> Done) -> Result<bool, Failure> {
    let state = m.registers(None)?;
    let Some(mode) = Mode::of(&state) else { return Ok(false) };
    let machine = m.machine()?;
    let mut walker = Walker { memory: machine.board().memory(), mode: &mode, tables: 0 };
    let all = bit::USER | bit::WRITABLE;
    walker.walk(state.cr3 & mode.root, mode.levels, 0, all, &mut |page| visit(&mode, page))?;
    Ok(true)
}

const OFF: &str = "PG disabled";

/// `info tlb`: every page with its entry.
pub(super) fn tlb(m: &mut HumanMonitor, _: &Arguments, out: &mut Output) -> Done {
    let on = pages(m, &mut |mode, page| show_page(mode, page, out))?;
    if on { Ok(()) } else { Ok(writeln!(out, "{OFF}")?) }
}

fn show_page(mode: &Mode, page: &Page, out: &mut Output) -> Done {
    let large = page.size > 4096;
    let marks = [
        (bit::NO_EXECUTE, 'X'),
        (bit::GLOBAL, 'G'),
        (if large { bit::PAGE_SIZE } else { 0 }, 'P'),
        (bit::DIRTY, 'D'),
        (bit::ACCESSED, 'A'),
        (bit::CACHE_DISABLE, 'C'),
        (bit::WRITE_THROUGH, 'T'),
        (bit::USER, 'U'),
        (bit::WRITABLE, 'W'),
    ];
    let marks: String = marks.iter().map(|(bit, c)| if page.entry & bit != 0 { *c } else { '-' }).collect();
    let frame = page.entry & FRAME & !(page.size - 1);
    Ok(writeln!(out, "{:016x}: {frame:016x} {marks}", mode.canonical(page.addr))?)
}

/// `info mem`: ranges of equal rights.
pub(super) fn mem(m: &mut HumanMonitor, _: &Arguments, out: &mut Output) -> Done {
    let mut range = None;
    let on = pages(m, &mut |mode, page| match &mut range {
        Some(Range { end, rights, .. }) if *end == page.addr && *rights == page.rights => {
            *end = page.addr + page.size;
            Ok(())
        }
        last => {
            let next =
                Range { start: page.addr, end: page.addr + page.size, rights: page.rights, canonical: mode.canonical };
            last.replace(next).map_or(Ok(()), |r| r.show(out))
        }
    })?;
    match range {
        _ if !on => Ok(writeln!(out, "{OFF}")?),
        Some(last) => last.show(out),
        None => Ok(()),
    }
}

/// Linear addresses with equal rights, one after the other.
struct Range {
    start: u64,
    end: u64,
    rights: u64,
    canonical: u32,
}

impl Range {
    fn show(&self, out: &mut Output) -> Done {
        let mark = |bit, c| if self.rights & bit != 0 { c } else { '-' };
        let (user, writable) = (mark(bit::USER, 'u'), mark(bit::WRITABLE, 'w'));
        let (start, end) = (canonical(self.start, self.canonical), canonical(self.end, self.canonical));
        Ok(writeln!(out, "{start:016x}-{end:016x} {:016x} {user}r{writable}", self.end - self.start)?)
    }
}

/// A linear address of so many bits, with its highest bit repeated above; 0 stands for no such rule.
fn canonical(addr: u64, bits: u32) -> u64 {
    match bits {
        0 => addr,
        bits => ((addr << (64 - bits)).cast_signed() >> (64 - bits)).cast_unsigned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mem::{MemTree, RamBlock};

    /// Memory of 1 MiB with these entries of 8 bytes.
    fn memory(entries: &[(u64, u64)]) -> AddressSpace {
        let ram = RamBlock::new("ram", 1 << 20).unwrap();
        let mut tree = MemTree::new("m", u64::MAX);
        let region = tree.ram(&ram, 0, 1 << 20);
        tree.map(tree.root(), 0, region, 0);
        let space = AddressSpace::new();
        space.install(tree.render());
        entries.iter().for_each(|(at, entry)| space.write(*at, &entry.to_le_bytes()).unwrap());
        space
    }
    fn long_mode() -> X86State {
        let mut s = X86State::reset(true, 0);
        s.cr0 |= cr0::PG | cr0::PE;
        s.cr4 |= cr4::PAE;
        s.efer |= efer::LMA;
        s.cr3 = 0x1000;
        s
    }
    fn walk(s: &X86State, memory: &AddressSpace) -> (Vec<(u64, u64, u64)>, Done) {
        let mode = Mode::of(s).unwrap();
        let mut walker = Walker { memory, mode: &mode, tables: 0 };
        let mut seen = Vec::new();
        let done = walker.walk(s.cr3 & mode.root, mode.levels, 0, bit::USER | bit::WRITABLE, &mut |p| {
            seen.push((mode.canonical(p.addr), p.size, p.rights));
            if seen.len() > 100 { Err(Failure::Full) } else { Ok(()) }
        });
        (seen, done)
    }

    #[test]
    fn four_levels_with_large_pages_and_rights_of_all_levels() {
        let m = memory(&[
            (0x1000 + 511 * 8, 0x2007),
            (0x2000, 0x3005),
            (0x2008, 0x4000_0083),
            (0x3000, 0x20_0087),
            (0x3008, 0x4007),
            (0x4000 + 8, 0x9007),
        ]);
        let (seen, done) = walk(&long_mode(), &m);
        assert!(done.is_ok());
        let top = 0xffff_ff80_0000_0000;
        assert_eq!(
            seen,
            [
                (top, 2 << 20, bit::USER),
                (top + (2 << 20) + 4096, 4096, bit::USER),
                (top + (1 << 30), 1 << 30, bit::WRITABLE)
            ]
        );
    }

    #[test]
    fn tables_that_lead_to_themselves_end() {
        // Every entry of the only table is the table itself.
        let all: Vec<_> = (0..512).map(|n| (0x1000 + 8 * n, 0x1003)).collect();
        let m = memory(&all);
        let mut walker = Walker { memory: &m, mode: &Mode::of(&long_mode()).unwrap(), tables: 0 };
        let mut count = 0u64;
        let done = walker.walk(0x1000, &FOUR_LEVELS, 0, 0, &mut |_| {
            count += 1;
            Ok(())
        });
        assert!(matches!(done, Err(Failure::Plain(_))) && count > 0);
        assert_eq!(walker.tables, MOST_TABLES + 1);
    }

    #[test]
    fn without_pae_and_without_memory() {
        let mut s = X86State::reset(true, 0);
        s.cr0 |= cr0::PG | cr0::PE;
        s.cr4 |= cr4::PSE;
        s.cr3 = 0x1000;
        // Two entries of 4 bytes: a page of 4 MiB, and a table where no memory is.
        let m = memory(&[(0x1000, 0xf000_0003_0040_0083)]);
        assert_eq!(walk(&s, &m).0, [(0, 4 << 20, bit::WRITABLE)]);
        s.cr3 = 0xffff_f000;
        assert_eq!(walk(&s, &m).0, []);
    }
}
