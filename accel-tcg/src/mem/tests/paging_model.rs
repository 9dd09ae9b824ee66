//! What SDM vol. 3, chapter 4 says about one access, written down section by section. It shares nothing with the engine: the tables of
//! reserved bits, the rules of 4.6 and the error code of 4.7 are stated as the manual states them, and speed does not count.

use Level::*;

/// A paging mode (4.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Bits32,
    Pae,
    FourLevel,
    FiveLevel,
}

/// The registers and CPUID facts that count.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub mode: Mode,
    pub wp: bool,
    pub pse: bool,
    pub smep: bool,
    pub smap: bool,
    pub pke: bool,
    pub pks: bool,
    pub nxe: bool,
    pub pkru: u32,
    pub pkrs: u32,
    pub maxphyaddr: u32,
    pub huge_pages: bool,
    pub pse36: bool,
}

/// Who accesses (4.6: explicit and implicit supervisor-mode accesses).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Who {
    User,
    Supervisor { ac: bool },
    Implicit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum What {
    Read,
    Write,
    Fetch,
}

/// A table entry that the walk used.
#[derive(Clone, Copy, Debug)]
pub(super) struct Used {
    pub at: u64,
    pub value: u64,
    pub bytes: u64,
    pub is_page: bool,
}

/// What comes out: the physical address, or the error code.
#[derive(Debug)]
pub(super) struct Outcome {
    pub result: Result<u64, u32>,
    pub used: Vec<Used>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Pml5,
    Pml4,
    Pdpt,
    Pd,
    Pt,
}

fn bit(v: u64, n: u32) -> bool {
    v >> n & 1 == 1
}
/// Bits `high` to `low` of `v`, in place.
fn field(v: u64, high: u32, low: u32) -> u64 {
    if high < low {
        return 0;
    }
    let width = high - low + 1;
    v & (((1u128 << width) - 1) as u64) << low
}

impl Rules {
    fn levels(&self) -> &'static [Level] {
        match self.mode {
            Mode::Bits32 | Mode::Pae => &[Pd, Pt],
            Mode::FourLevel => &[Pml4, Pdpt, Pd, Pt],
            Mode::FiveLevel => &[Pml5, Pml4, Pdpt, Pd, Pt],
        }
    }
    /// Where the entry of a linear address lies in its table.
    fn offset(&self, level: Level, linear: u64) -> u64 {
        match (self.mode, level) {
            // Figure 4-2: bits 31:22 and 21:12, 4-byte entries.
            (Mode::Bits32, Pd) => field(linear, 31, 22) >> 22 << 2,
            (Mode::Bits32, _) => field(linear, 21, 12) >> 12 << 2,
            // Figures 4-5 and 4-8: nine bits each, 8-byte entries.
            (_, Pml5) => field(linear, 56, 48) >> 48 << 3,
            (_, Pml4) => field(linear, 47, 39) >> 39 << 3,
            (_, Pdpt) => field(linear, 38, 30) >> 30 << 3,
            (_, Pd) => field(linear, 29, 21) >> 21 << 3,
            (_, Pt) => field(linear, 20, 12) >> 12 << 3,
        }
    }
    /// Does the entry map a page?
    fn is_page(&self, level: Level, e: u64) -> bool {
        match (self.mode, level) {
            (_, Pt) => true,
            (Mode::Bits32, Pd) => self.pse && bit(e, 7),
            (_, Pd) => bit(e, 7),
            (_, Pdpt) => self.huge_pages && bit(e, 7),
            _ => false,
        }
    }
    /// Is a reserved bit set in a present entry (tables 4-4 to 4-6, 4-8 to 4-11, 4-14 to 4-20)?
    fn reserved_bit(&self, level: Level, e: u64) -> bool {
        let m = self.maxphyaddr;
        if self.mode == Mode::Bits32 {
            // Table 4-4: bits 21:(M-19), M the lesser of 40 and MAXPHYADDR, 32 without PSE-36. Nothing else is reserved.
            let m = if self.pse36 { m.min(40) } else { 32 };
            return level == Pd && self.is_page(level, e) && field(e, 21, m - 19) != 0;
        }
        let above = match self.mode {
            // 4.4.2: bits 62:MAXPHYADDR.
            Mode::Pae => field(e, 62, m),
            // 4.5.4: bits 51:MAXPHYADDR.
            _ => field(e, 51, m),
        };
        let nx = bit(e, 63) && !self.nxe;
        let in_page = match (self.is_page(level, e), level) {
            (true, Pdpt) => field(e, 29, 13),
            (true, Pd) => field(e, 20, 13),
            // PS must be 0 where it does not mean a page.
            (false, Pml5 | Pml4 | Pdpt) => field(e, 7, 7),
            _ => 0,
        };
        above != 0 || nx || in_page != 0
    }
    /// The physical address of the page's first byte, and log2 of its size.
    fn page(&self, level: Level, e: u64) -> (u64, u32) {
        match (self.mode, level) {
            (Mode::Bits32, Pd) => (field(e, 31, 22) | field(e, 20, 13) >> 13 << 32, 22),
            (Mode::Bits32, _) => (field(e, 31, 12), 12),
            (_, Pdpt) => (field(e, 51, 30), 30),
            (_, Pd) => (field(e, 51, 21), 21),
            _ => (field(e, 51, 12), 12),
        }
    }
    fn long(&self) -> bool {
        matches!(self.mode, Mode::FourLevel | Mode::FiveLevel)
    }

    /// The access. `root` is CR3, or the PDPTE register in PAE paging; `read` gives memory as (address, bytes).
    pub(super) fn access(
        &self,
        root: u64,
        linear: u64,
        who: Who,
        what: What,
        read: impl Fn(u64, u64) -> u64,
    ) -> Outcome {
        let mut used = Vec::new();
        let fail = |bits: u32, used: Vec<Used>| {
            let w = if what == What::Write { 2 } else { 0 };
            let u = if who == Who::User { 4 } else { 0 };
            // 4.7: I/D is given only where SMEP or execute-disable is in use.
            let nx_in_use = self.nxe && self.mode != Mode::Bits32;
            let i = if what == What::Fetch && (self.smep || nx_in_use) { 16 } else { 0 };
            Outcome { result: Err(bits | w | u | i), used }
        };
        if self.mode == Mode::Pae && !bit(root, 0) {
            return fail(0, used);
        }
        let mut table = match self.mode {
            Mode::Bits32 => field(root, 31, 12),
            _ => field(root, 51, 12),
        };
        for &level in self.levels() {
            let bytes = if self.mode == Mode::Bits32 { 4 } else { 8 };
            let at = table + self.offset(level, linear);
            let value = read(at, bytes);
            let is_page = bit(value, 0) && self.is_page(level, value);
            used.push(Used { at, value, bytes, is_page });
            if !bit(value, 0) {
                return fail(0, used);
            }
            if self.reserved_bit(level, value) {
                return fail(1 | 8, used);
            }
            if is_page {
                let (page, shift) = self.page(level, value);
                let key = self.key_forbids(&used, value, who, what);
                if key || !self.permitted(&used, who, what) {
                    return fail(1 | if key { 32 } else { 0 }, used);
                }
                return Outcome { result: Ok(page | linear & ((1 << shift) - 1)), used };
            }
            table = match self.mode {
                Mode::Bits32 => field(value, 31, 12),
                _ => field(value, 51, 12),
            };
        }
        unreachable!("the last level maps a page")
    }

    /// 4.6: a user-mode address has U/S = 1 in every entry.
    fn user_address(used: &[Used]) -> bool {
        used.iter().all(|e| bit(e.value, 2))
    }
    /// 4.6.1.
    fn permitted(&self, used: &[Used], who: Who, what: What) -> bool {
        let user_address = Self::user_address(used);
        let writable = used.iter().all(|e| bit(e.value, 1));
        let executable = self.mode == Mode::Bits32 || !self.nxe || used.iter().all(|e| !bit(e.value, 63));
        // "Access rights": whether a supervisor may touch data of this user-mode address.
        let smap_lets = match who {
            Who::Supervisor { ac } => !self.smap || ac,
            Who::Implicit => !self.smap,
            Who::User => true,
        };
        match (who, what, user_address) {
            (Who::User, _, false) => false,
            (Who::User, What::Read, true) => true,
            (Who::User, What::Write, true) => writable,
            (Who::User, What::Fetch, true) => executable,
            (_, What::Read, false) => true,
            (_, What::Read, true) => smap_lets,
            (_, What::Write, false) => !self.wp || writable,
            (_, What::Write, true) => smap_lets && (!self.wp || writable),
            (_, What::Fetch, false) => executable,
            (_, What::Fetch, true) => !self.smep && executable,
        }
    }
    /// 4.6.2, and the conditions of the PK flag in 4.7.
    fn key_forbids(&self, used: &[Used], page: u64, who: Who, what: What) -> bool {
        if !self.long() || what == What::Fetch {
            return false;
        }
        let key = (field(page, 62, 59) >> 59) as u32;
        let (on, register) = if Self::user_address(used) { (self.pke, self.pkru) } else { (self.pks, self.pkrs) };
        let (ad, wd) = (bit(register.into(), 2 * key), bit(register.into(), 2 * key + 1));
        on && (ad || wd && what == What::Write && (self.wp || who == Who::User))
    }
}
