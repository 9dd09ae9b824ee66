//! The software TLB: for each privilege three direct-mapped arrays (read, write, execute) of `{tag, addend}`.
//!
//! A hit is `tag == page of the access's last byte`, looked up by its first byte, so one compare catches a miss, a page crossing and,
//! through the low bit of the tag, a page that is not plain memory. A hit's host address is linear address + addend.

/// With which rights an access is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Privilege {
    /// CPL 3.
    User,
    /// CPL 0 to 2, user pages allowed (no SMAP, or RFLAGS.AC set).
    Supervisor,
    /// CPL 0 to 2 under SMAP; also implicit accesses (descriptor tables, TSS) from any CPL.
    SupervisorNoUser,
}

/// One translation.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct TlbEntry {
    /// Linear page, with [`TlbEntry::SLOW`] perhaps; [`TlbEntry::EMPTY`] matches nothing.
    pub tag: u64,
    /// Host address - linear address. Not used when slow.
    pub addend: u64,
}

impl TlbEntry {
    /// The page is a device, holds code (for stores) or is mixed: ask [`super::phys`].
    pub(crate) const SLOW: u64 = 1;
    const EMPTY: u64 = u64::MAX;
    const NONE: Self = Self { tag: Self::EMPTY, addend: 0 };
}

/// What is known of a translation besides the entry.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Info {
    /// Physical page address.
    pub phys: u64,
    /// Survives a CR3 load.
    pub global: bool,
    /// log2 of the size of the page in the guest's page tables.
    pub shift: u8,
}

/// Entries in each array.
pub(crate) const ENTRIES: usize = 4096;
/// Bytes of a page, as a mask for its offset.
pub(crate) const OFFSET: u64 = 0xfff;

/// Index of a linear address.
#[inline(always)]
pub(crate) fn index(linear: u64) -> usize {
    (linear >> 12) as usize & (ENTRIES - 1)
}

/// The arrays for one privilege.
pub(crate) struct TlbSet {
    pub(crate) read: Box<[TlbEntry; ENTRIES]>,
    pub(crate) write: Box<[TlbEntry; ENTRIES]>,
    pub(crate) exec: Box<[TlbEntry; ENTRIES]>,
    info: Box<[[Info; ENTRIES]; 3]>,
    /// Which entries were filled since the last flush, so that a flush need not visit the others: those that were global when they were
    /// filled apart. May hold duplicates, and entries that were filled again since.
    filled: [Vec<(u8, u16)>; 2],
}

impl TlbSet {
    fn new() -> Self {
        let a = || Box::new([TlbEntry::NONE; ENTRIES]);
        Self {
            read: a(),
            write: a(),
            exec: a(),
            info: Box::new([[Info::default(); ENTRIES]; 3]),
            filled: [Vec::new(), Vec::new()],
        }
    }
    fn array(&mut self, kind: usize) -> &mut [TlbEntry; ENTRIES] {
        match kind {
            0 => &mut self.read,
            1 => &mut self.write,
            _ => &mut self.exec,
        }
    }
    /// Keeps the entries of a list that `keep` wants.
    fn retain(&mut self, list: usize, keep: impl Fn(u64, &Info) -> bool) {
        let mut filled = std::mem::take(&mut self.filled[list]);
        filled.retain(|&(kind, i)| {
            let info = self.info[kind as usize][i as usize];
            let e = &mut self.array(kind as usize)[i as usize];
            let stays = e.tag != TlbEntry::EMPTY && keep(e.tag & !OFFSET, &info);
            if !stays {
                *e = TlbEntry::NONE;
            }
            stays
        });
        self.filled[list] = filled;
    }
}

/// Pages of paging structures that are kept.
const TABLES: usize = 128;
/// Not the address of a page.
const NO_TABLE: (u64, usize) = (u64::MAX, 0);
/// A range that holds no address.
const NOWHERE: (u64, u64) = (u64::MAX, 0);

/// All translations of one CPU.
pub(crate) struct Tlb {
    sets: [TlbSet; 3],
    empty: Box<[TlbEntry; ENTRIES]>,
    /// Host addresses of pages that page walks read, by physical page; direct-mapped.
    tables: [(u64, usize); TABLES],
    /// Lowest and highest address of entries that stem from large pages: there INVLPG has to look at all.
    large: (u64, u64),
}

impl Tlb {
    /// An empty one.
    pub(crate) fn new() -> Box<Self> {
        let empty = Box::new([TlbEntry::NONE; ENTRIES]);
        let sets = [TlbSet::new(), TlbSet::new(), TlbSet::new()];
        Box::new(Self { empty, sets, tables: [NO_TABLE; TABLES], large: NOWHERE })
    }
    /// The arrays for `p`. Their addresses never change.
    #[inline(always)]
    pub(crate) fn set_mut(&mut self, p: Privilege) -> &mut TlbSet {
        &mut self.sets[p as usize]
    }
    /// An array in which everything misses.
    pub(crate) fn nothing(&mut self) -> *mut TlbEntry {
        self.empty.as_mut_ptr()
    }
    /// The entry for `linear`, if it is in; it may be slow.
    #[inline(always)]
    pub(crate) fn lookup(&self, p: Privilege, a: super::Access, linear: u64) -> Option<(TlbEntry, u64)> {
        let (s, i) = (&self.sets[p as usize], index(linear));
        let e = match a {
            super::Access::Read => s.read[i],
            super::Access::Write => s.write[i],
            super::Access::Execute => s.exec[i],
        };
        (e.tag & !TlbEntry::SLOW == linear & !OFFSET).then(|| (e, s.info[a as usize][i].phys | linear & OFFSET))
    }
    /// Adds a translation; `host` is the address of the page, `None` for a slow one.
    pub(crate) fn insert(&mut self, p: Privilege, a: super::Access, linear: u64, host: Option<usize>, info: Info) {
        let (page, i, kind) = (linear & !OFFSET, index(linear), a as usize);
        if info.shift > 12 {
            let size = 1u64 << info.shift;
            self.large = (self.large.0.min(page & !(size - 1)), self.large.1.max(page | (size - 1)));
        }
        let s = &mut self.sets[p as usize];
        let filled = &mut s.filled[usize::from(info.global)];
        if filled.len() >= 8 * ENTRIES {
            filled.sort_unstable();
            filled.dedup();
        }
        filled.push((kind as u8, i as u16));
        s.info[kind][i] = info;
        s.array(kind)[i] = match host {
            Some(h) => TlbEntry { tag: page, addend: (h as u64).wrapping_sub(page) },
            None => TlbEntry { tag: page | TlbEntry::SLOW, addend: 0 },
        };
    }
    /// Forgets everything, or all but global entries.
    pub(crate) fn flush(&mut self, global_too: bool) {
        for s in &mut self.sets {
            s.retain(0, |_, i| !global_too && i.global);
            if global_too {
                s.retain(1, |_, _| false);
            }
        }
        if global_too {
            self.large = NOWHERE;
            self.tables = [NO_TABLE; TABLES];
        }
    }
    /// Where the physical page at `page` lies in the host's memory, if a page walk has said so by [`Tlb::keep_table`] since everything was
    /// last forgotten.
    #[inline(always)]
    pub(crate) fn table(&self, page: u64) -> Option<usize> {
        let (tag, host) = self.tables[(page >> 12) as usize % TABLES];
        (tag == page).then_some(host)
    }
    /// Keeps that.
    pub(crate) fn keep_table(&mut self, page: u64, host: usize) {
        self.tables[(page >> 12) as usize % TABLES] = (page, host);
    }
    /// Forgets what one page-table entry that maps `linear` gave.
    pub(crate) fn flush_page(&mut self, linear: u64) {
        for s in &mut self.sets {
            if (self.large.0..=self.large.1).contains(&linear) {
                for list in 0..2 {
                    s.retain(list, |page, i| page >> i.shift != linear >> i.shift);
                }
            } else {
                for kind in 0..3 {
                    let e = &mut s.array(kind)[index(linear)];
                    if e.tag & !TlbEntry::SLOW == linear & !OFFSET {
                        *e = TlbEntry::NONE;
                    }
                }
            }
        }
    }
    /// Stores to the host page at `host` take the slow way from now on: it holds code.
    pub(crate) fn protect(&mut self, host: usize) {
        for s in &mut self.sets {
            for &(kind, i) in s.filled.iter().flatten() {
                let e = &mut s.write[i as usize];
                if kind == 1 && e.tag & OFFSET == 0 && e.tag.wrapping_add(e.addend) == host as u64 {
                    e.tag |= TlbEntry::SLOW;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mem::Access;

    fn info(global: bool, shift: u8) -> Info {
        Info { phys: 0x5000, global, shift }
    }

    #[test]
    fn global_entries_survive_a_cr3_load() {
        let mut t = Tlb::new();
        t.insert(Privilege::User, Access::Read, 0x1234, Some(0x70000), info(false, 12));
        t.insert(Privilege::User, Access::Read, 0x2234, Some(0x70000), info(true, 12));
        assert_eq!(t.lookup(Privilege::User, Access::Read, 0x1fff).unwrap().1, 0x5fff);
        t.flush(false);
        assert!(t.lookup(Privilege::User, Access::Read, 0x1234).is_none());
        assert!(t.lookup(Privilege::User, Access::Read, 0x2000).is_some());
        t.flush(true);
        assert!(t.lookup(Privilege::User, Access::Read, 0x2000).is_none());
    }

    #[test]
    fn invlpg_takes_all_pieces_of_a_large_page() {
        let mut t = Tlb::new();
        t.insert(Privilege::Supervisor, Access::Write, 0x20_1000, None, info(false, 21));
        t.insert(Privilege::Supervisor, Access::Write, 0x40_2000, None, info(false, 12));
        t.flush_page(0x3f_f000);
        assert!(t.lookup(Privilege::Supervisor, Access::Write, 0x20_1000).is_none());
        assert!(t.lookup(Privilege::Supervisor, Access::Write, 0x40_2000).is_some());
    }

    #[test]
    fn an_empty_entry_matches_no_address() {
        let t = Tlb::new();
        for a in [0, 0xffff_ffff_ffff_f000, u64::MAX] {
            assert!(t.lookup(Privilege::User, Access::Read, a).is_none());
        }
    }
}
