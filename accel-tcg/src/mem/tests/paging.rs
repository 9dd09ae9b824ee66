//! The engine's page walk held to the model: every combination of rights over the levels, of every bit at every level, of keys and of the
//! control bits, for every kind of access.

use super::paging_model::{Mode, Rules, What, Who};
use crate::cpu::Cpu;
use crate::fault::{Exception, Fault, vector};
use crate::mem::Access;
use crate::mem::paging::Facts;
use crate::mem::tlb::Privilege;
use crate::random::Random;
use crate::tests::vm_with;
use gearbox_core::mem::{AddressSpace, RamBlock};
use gearbox_core::x86::state::{cr0, cr4, efer, rflags};
use std::sync::Arc;

const P: u64 = 1;
const W: u64 = 1 << 1;
const U: u64 = 1 << 2;
const PS: u64 = 1 << 7;
const NX: u64 = 1 << 63;
/// One table for each level, one after the other.
const TABLES: u64 = 0x1000;
const PAGE: u64 = 0x8000;
/// Every level's index is another.
const LINEAR: u64 = 3 << 48 | 5 << 39 | 3 << 30 | 9 << 21 | 11 << 12 | 0x123;

const WHO: [Who; 4] = [Who::User, Who::Supervisor { ac: false }, Who::Supervisor { ac: true }, Who::Implicit];
const WHAT: [What; 3] = [What::Read, What::Write, What::Fetch];
const MODES: [Mode; 4] = [Mode::Bits32, Mode::Pae, Mode::FourLevel, Mode::FiveLevel];

struct Rig {
    cpu: Box<Cpu>,
    memory: Arc<AddressSpace>,
    rules: Rules,
    cases: u64,
}

impl Rig {
    /// A CPU with `phys_bits`, with or without what is optional.
    fn new(phys_bits: u32, modern: bool) -> Self {
        let (vm, mut cfg) = vm_with(&RamBlock::new("ram", 0x10000).unwrap());
        if !modern {
            cfg.cpuid.get_mut(0x8000_0001, 0).unwrap().edx &= !(1 << 26);
            cfg.cpuid.get_mut(1, 0).unwrap().edx &= !(1 << 17);
        }
        let mut cpu = vm.create_cpu(&cfg).unwrap();
        cpu.phys_bits = phys_bits;
        cpu.paging = Facts::of(&cfg.cpuid, phys_bits);
        let rules = Rules {
            mode: Mode::FourLevel,
            wp: false,
            pse: true,
            smep: false,
            smap: false,
            pke: false,
            pks: false,
            nxe: false,
            pkru: 0,
            pkrs: 0,
            maxphyaddr: phys_bits,
            huge_pages: modern,
            pse36: modern,
        };
        Self { cpu, memory: cfg.memory, rules, cases: 0 }
    }
    fn levels(&self) -> usize {
        match self.rules.mode {
            Mode::Bits32 | Mode::Pae => 2,
            Mode::FourLevel => 4,
            Mode::FiveLevel => 5,
        }
    }
    fn linear(&self) -> u64 {
        match self.rules.mode {
            Mode::Bits32 | Mode::Pae => LINEAR & 0xffff_ffff,
            Mode::FourLevel => LINEAR & 0x7fff_ffff_ffff,
            Mode::FiveLevel => LINEAR,
        }
    }
    /// Puts the rules in force. The bits of `controls` are the six switches.
    fn control(&mut self, controls: u32) {
        let on = |n: u32| controls >> n & 1 != 0;
        let r = &mut self.rules;
        (r.wp, r.smep, r.smap, r.nxe, r.pke, r.pks) = (on(0), on(1), on(2), on(3), on(4), on(5));
        self.apply();
    }
    fn apply(&mut self) {
        let (r, c) = (self.rules, &mut self.cpu);
        let when = |on: bool, bit: u64| if on { bit } else { 0 };
        let long = matches!(r.mode, Mode::FourLevel | Mode::FiveLevel);
        c.cr0 = cr0::PE | cr0::PG | when(r.wp, cr0::WP);
        c.cr4 = when(r.pse, cr4::PSE)
            | when(r.mode != Mode::Bits32, cr4::PAE)
            | when(r.mode == Mode::FiveLevel, cr4::LA57)
            | when(r.smep, cr4::SMEP)
            | when(r.smap, cr4::SMAP)
            | when(r.pke, cr4::PKE)
            | when(r.pks, cr4::PKS);
        c.efer = when(long, efer::LME | efer::LMA) | when(r.nxe, efer::NXE);
        c.cr3 = TABLES;
        c.pdpte = [TABLES | P; 4];
        (c.pkru, c.pkrs) = (r.pkru, r.pkrs);
    }
    /// Entry `n` of the walk, and where it lies.
    fn entry_address(&self, n: usize) -> u64 {
        let table = TABLES + 0x1000 * n as u64;
        let linear = self.linear();
        if self.rules.mode == Mode::Bits32 {
            return table + (linear >> [22, 12][n] & 0x3ff) * 4;
        }
        let shift = 12 + 9 * (self.levels() - 1 - n);
        table + (linear >> shift & 0x1ff) * 8
    }
    fn put(&self, n: usize, e: u64) {
        let bytes = e.to_le_bytes();
        let len = if self.rules.mode == Mode::Bits32 { 4 } else { 8 };
        self.memory.write(self.entry_address(n), &bytes[..len]).unwrap();
    }
    /// What entry `n` points to: the next table, or the page.
    fn target(&self, n: usize) -> u64 {
        if n + 1 == self.levels() { PAGE } else { TABLES + 0x1000 * (n as u64 + 1) }
    }
    fn read(&self, at: u64, bytes: u64) -> u64 {
        match bytes {
            4 => u32::from_le_bytes(self.memory.read_array(at).unwrap()).into(),
            _ => u64::from_le_bytes(self.memory.read_array(at).unwrap()),
        }
    }
    fn privilege(&mut self, who: Who) -> Privilege {
        let c = &mut self.cpu;
        c.cpl = if matches!(who, Who::User | Who::Implicit) { 3 } else { 0 };
        c.flags = if who == (Who::Supervisor { ac: true }) { rflags::AC | 2 } else { 2 };
        if who == Who::Implicit { Privilege::SupervisorNoUser } else { c.privilege() }
    }

    /// Holds one access to the model: outcome, error code, CR2, accessed and dirty flags. `entries` are put back before.
    fn check(&mut self, entries: &[u64], who: Who, what: What) {
        for (n, &e) in entries.iter().enumerate() {
            self.put(n, e);
        }
        self.cases += 1;
        let (rules, linear) = (self.rules, self.linear());
        let root = if rules.mode == Mode::Pae { TABLES | P } else { TABLES };
        let want = rules.access(root, linear, who, what, |at, bytes| self.read(at, bytes));
        let p = self.privilege(who);
        let access = [Access::Read, Access::Write, Access::Execute][what as usize];
        self.cpu.cr2 = 0;
        let got = match self.cpu.walk(linear, access, p) {
            Ok(info) => Ok(info.phys | linear & 0xfff),
            Err(Fault::Exception(Exception { vector: vector::PF, error_code: Some(code) })) => Err(code),
            Err(other) => panic!("{other:?}"),
        };
        assert_eq!(got, want.result, "{who:?} {what:?} {entries:x?} under {rules:x?}");
        assert_eq!(self.cpu.cr2, if got.is_err() { linear } else { 0 });
        const A: u64 = 1 << 5;
        const D: u64 = 1 << 6;
        for used in &want.used {
            let now = self.read(used.at, used.bytes);
            let d = if used.is_page && what == What::Write { D } else { 0 };
            let allowed = match want.result {
                Ok(_) => now == used.value | A | d,
                // 4.8: what the walk passed may be marked as accessed; what it stopped at is not.
                Err(_) => now == used.value || !used.is_page && now == used.value | A,
            };
            assert!(allowed, "{now:x} after {used:x?} for {who:?} {what:?} under {rules:x?}");
        }
    }
    fn every_access(&mut self, entries: &[u64]) {
        for who in WHO {
            for what in WHAT {
                self.check(entries, who, what);
            }
        }
    }
    fn plain(&self, flags: u64) -> Vec<u64> {
        (0..self.levels()).map(|n| self.target(n) | P | flags).collect()
    }
    fn set_rights(&self, entries: &mut [u64], mut rights: u64) {
        let wide = self.rules.mode != Mode::Bits32;
        for (n, e) in entries.iter_mut().enumerate() {
            *e = self.target(n) | P | (rights & 3) << 1 | if wide { (rights >> 2 & 1) << 63 } else { 0 };
            rights >>= 3;
        }
    }
}

/// R/W, U/S and XD of every level, under every setting of WP, SMEP, SMAP and NXE.
#[test]
fn rights_are_combined_over_the_levels() {
    let mut r = Rig::new(40, true);
    let mut random = Random(0x1234_5678_9abc_def1);
    for mode in MODES {
        r.rules.mode = mode;
        let all = 1u64 << (3 * r.levels());
        let mut entries = r.plain(0);
        for controls in 0..16 {
            r.control(controls);
            let sample = mode == Mode::FiveLevel;
            for n in 0..all.min(if sample { 1024 } else { 4096 }) {
                let rights = if sample { random.next() & (all - 1) } else { n };
                r.set_rights(&mut entries, rights);
                r.every_access(&entries);
            }
        }
    }
    println!("{} accesses", r.cases);
}

/// Every bit of every entry, for every page size: present, reserved, ignored, address and key bits.
#[test]
fn every_bit_of_every_level() {
    let mut cases = 0;
    for (phys_bits, modern) in [(40, true), (36, false), (52, true), (32, true)] {
        let mut r = Rig::new(phys_bits, modern);
        (r.rules.pkru, r.rules.pkrs) = (0x1234_5678, 0x8765_4321);
        for mode in MODES {
            r.rules.mode = mode;
            // Pages at the last level, the one before, and the one before that.
            for leaf in r.levels().saturating_sub(3)..r.levels() {
                let mut base = r.plain(W | U);
                base.truncate(leaf + 1);
                if leaf + 1 < r.levels() {
                    base[leaf] = P | W | U | PS;
                }
                // A stride without a common divisor with 64 meets every switch on and off.
                for controls in (0..64).step_by(if phys_bits == 40 { 5 } else { 21 }) {
                    r.rules.pse = controls & 1 == 0 || leaf + 1 == r.levels();
                    r.control(controls);
                    for level in 0..=leaf {
                        for bit in 0..if mode == Mode::Bits32 { 32 } else { 64 } {
                            // An address bit of a table leads out of the RAM that there is.
                            let mut entries = base.clone();
                            entries[level] ^= 1 << bit;
                            let points_away = level < leaf && (12..phys_bits).contains(&bit);
                            if !points_away && r.follows_tables(&entries) {
                                r.every_access(&entries);
                            }
                        }
                    }
                }
            }
        }
        cases += r.cases;
    }
    println!("{cases} accesses");
}

impl Rig {
    /// Does the walk stay in the tables that there are? (PS that became 0 makes a table of a page.)
    fn follows_tables(&self, entries: &[u64]) -> bool {
        entries.len() == self.levels() || entries.last().is_some_and(|e| e & PS != 0) && self.large_pages()
    }
    fn large_pages(&self) -> bool {
        self.rules.mode != Mode::Bits32 || self.rules.pse
    }
}

/// Every key, with all four of its rights in PKRU and IA32_PKRS.
#[test]
fn protection_keys() {
    let mut r = Rig::new(40, true);
    for mode in [Mode::FourLevel, Mode::FiveLevel, Mode::Pae, Mode::Bits32] {
        r.rules.mode = mode;
        for key in 0..16u32 {
            // A key in an entry of PAE paging has reserved bits; 32-bit entries have none.
            let bits = if mode == Mode::Bits32 { 0 } else { u64::from(key) << 59 };
            let halves: &[(u32, u32)] =
                if mode == Mode::Bits32 { &[(3, 3)] } else { &[(0, 3), (1, 2), (2, 1), (3, 0)] };
            for &(user, supervisor) in halves {
                (r.rules.pkru, r.rules.pkrs) = (user << (2 * key), supervisor << (2 * key));
                for controls in 0..64 {
                    r.control(controls);
                    for rights in [0, W, U, W | U] {
                        let mut entries = r.plain(rights);
                        *entries.last_mut().unwrap() |= bits;
                        r.every_access(&entries);
                    }
                }
            }
        }
    }
    println!("{} accesses", r.cases);
}

/// The same accesses one after the other through the TLB: what one may do, is not lent to another.
#[test]
fn the_tlb_keeps_rights_apart() {
    let mut r = Rig::new(40, true);
    let mut random = Random(0x0dd_ba11_5eed);
    for mode in MODES {
        r.rules.mode = mode;
        for _ in 0..3000 {
            (r.rules.pkru, r.rules.pkrs) = (random.next() as u32, random.next() as u32);
            let controls = random.next() as u32;
            r.control(controls);
            let mut entries = r.plain(0);
            let rights = random.next() | random.next();
            r.set_rights(&mut entries, rights);
            if mode == Mode::FourLevel || mode == Mode::FiveLevel {
                *entries.last_mut().unwrap() |= random.below(16) << 59;
            }
            for (n, &e) in entries.iter().enumerate() {
                r.put(n, e);
            }
            r.cpu.flush_tlb(true);
            for _ in 0..24 {
                let (who, what) = (random.pick(&WHO), random.pick(&WHAT));
                let (rules, linear) = (r.rules, r.linear());
                let root = if mode == Mode::Pae { TABLES | P } else { TABLES };
                let want = rules.access(root, linear, who, what, |at, bytes| r.read(at, bytes));
                let p = r.privilege(who);
                r.cpu.update_mode();
                let got = match what {
                    What::Read => r.cpu.load::<u8>(linear, p).map(|_| ()),
                    What::Write => r.cpu.store(linear, 0x5au8, p),
                    // Only the running program fetches.
                    What::Fetch if who == Who::Implicit => continue,
                    What::Fetch => r.cpu.fetch_page(linear).map(|_| ()),
                };
                let got = got.map_err(|f| match f {
                    Fault::Exception(Exception { vector: vector::PF, error_code: Some(code) }) => code,
                    other => panic!("{other:?}"),
                });
                assert_eq!(got, want.result.map(|_| ()), "{who:?} {what:?} {entries:x?} under {rules:x?}");
            }
        }
    }
}

/// Rights of the levels above a large page count too.
#[test]
fn a_large_page_inherits_from_above() {
    let mut r = Rig::new(40, true);
    r.rules.mode = Mode::FourLevel;
    for controls in 0..16 {
        r.control(controls);
        for upper in [W | U, U, W, W | U | NX] {
            for lower in [W | U, U, W, W | U | NX] {
                let entries = [r.target(0) | P | W | U, r.target(1) | P | upper, P | lower | PS];
                r.every_access(&entries);
            }
        }
    }
}
