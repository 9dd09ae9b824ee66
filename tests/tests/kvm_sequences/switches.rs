//! Sequences that change the mode.

use super::generate::{Draft, IDTS, SCRATCH, TARGETS, bits, long, ring};
use super::kinds::{EFER, system_return};
use gearbox_core::x86::state::{X86State, cr0, cr4, efer, gpr, rflags};
use gearbox_tests::states::{CODE, CODE16, CODE32, CODE64, DATA0, GDT, STACK, TABLES, USER};

/// Tables of four levels for a CPU that enters long mode.
const LONG_TABLES: u64 = 0x20_8000;

/// A change of mode in several steps.
pub struct Switch {
    pub name: &'static str,
    /// May it begin in this state?
    pub from: fn(&X86State) -> bool,
    pub steps: &'static [fn(&mut Draft)],
}

fn is(s: &X86State, protection: bool, paging: bool) -> bool {
    let v86 = s.rflags & rflags::VM != 0;
    ring(s) == 0 && !v86 && (s.cr0 & cr0::PE != 0) == protection && (s.cr0 & cr0::PG != 0) == paging
}

/// All of them.
pub const SWITCHES: &[Switch] = &[
    Switch {
        name: "real to protected",
        from: |s| is(s, false, false),
        steps: &[
            |d| {
                load_good_table(d, 2, GDT, 0xff);
            },
            |d| {
                load_good_table(d, 3, IDTS[1], 0x7ff);
            },
            |d| mov_cr(d, 0, d.s.cr0 | cr0::PE),
            |d| {
                let code = *d.r.pick(&[CODE32, CODE16]);
                jump(d, code);
            },
            load_data,
            |d| move_selector(d, 0xd0, DATA0),
        ],
    },
    Switch {
        name: "protected to real",
        from: |s| is(s, true, false),
        steps: &[
            |d| jump(d, CODE16),
            |d| mov_cr(d, 0, d.s.cr0 & !cr0::PE),
            |d| {
                d.step.kind = "protected to real".into();
                let (ip, cs) = ((TARGETS - CODE) as u16, (CODE >> 4) as u16);
                d.op(&[0xea]);
                d.op(&ip.to_le_bytes());
                if d.bits == 32 {
                    d.op(&[0, 0]);
                }
                d.op(&cs.to_le_bytes());
            },
            |d| move_selector(d, 0xd8, 0),
            |d| load_good_table(d, 3, 0, 0x3ff),
        ],
    },
    Switch {
        name: "protected to long",
        from: |s| is(s, true, false) && !long(s),
        steps: &[
            |d| mov_cr(d, 4, d.s.cr4 | cr4::PAE),
            |d| {
                let entry = |v: u64| v.to_le_bytes();
                d.poke(LONG_TABLES, &entry(LONG_TABLES + 0x1007));
                d.poke(LONG_TABLES + 0x1000, &entry(LONG_TABLES + 0x2007));
                d.poke(LONG_TABLES + 0x2000, &[entry(0x87), entry(0x20_0087)].concat());
                mov_cr(d, 3, LONG_TABLES);
            },
            |d| {
                d.gpr(gpr::RCX, EFER.into());
                d.gpr(gpr::RDX, 0);
                d.gpr(gpr::RAX, d.s.efer | efer::LME);
                d.op(&[0x0f, 0x30]);
            },
            |d| mov_cr(d, 0, d.s.cr0 | cr0::PG),
            |d| jump(d, CODE64),
            |d| load_good_table(d, 3, IDTS[0], 0xfff),
            load_data,
        ],
    },
    Switch {
        name: "long to compatibility",
        from: |s| is(s, true, true) && long(s) && bits(s) == 64,
        steps: &[
            |d| {
                let to = *d.r.pick(&[CODE32, CODE16]);
                far_return_to(d, to);
            },
            |d| jump(d, CODE64),
        ],
    },
    Switch {
        name: "long to ring 3 and back",
        from: |s| is(s, true, true) && long(s) && bits(s) == 64,
        steps: &[
            |d| {
                let to = *d.r.pick(&[USER, USER + 16]) | 3;
                d.stack(8, &[TARGETS, to.into(), rflags::IF | 2, STACK - 0x40, u64::from(USER + 8) | 3]);
                d.op(&[0x48, 0xcf]);
            },
            |d| {
                d.op(&[0x0f, 0x05]);
            },
            |d| {
                system_return(d, 0x07);
            },
        ],
    },
    Switch {
        name: "out of long mode",
        from: |s| is(s, true, true) && long(s) && bits(s) != 64,
        steps: &[
            |d| mov_cr(d, 0, d.s.cr0 & !cr0::PG),
            |d| {
                d.gpr(gpr::RCX, EFER.into());
                d.gpr(gpr::RDX, 0);
                d.gpr(gpr::RAX, d.s.efer & !efer::LME);
                d.op(&[0x0f, 0x30]);
            },
            |d| mov_cr(d, 4, d.s.cr4 & !cr4::PAE),
            |d| load_good_table(d, 3, IDTS[1], 0x7ff),
        ],
    },
    Switch {
        name: "paging off and on",
        from: |s| is(s, true, true) && !long(s),
        steps: &[|d| mov_cr(d, 0, d.s.cr0 & !cr0::PG), |d| mov_cr(d, 3, TABLES), |d| mov_cr(d, 0, d.s.cr0 | cr0::PG)],
    },
];

fn mov_cr(d: &mut Draft, cr: u8, v: u64) {
    d.gpr(gpr::RAX, v);
    d.op(&[0x0f, 0x22, 0xc0 | cr << 3]);
}
fn load_good_table(d: &mut Draft, reg: u8, base: u64, limit: u16) {
    d.poke(SCRATCH, &[&limit.to_le_bytes()[..], &base.to_le_bytes()].concat());
    d.op(&[0x0f, 0x01]);
    d.memory(reg, SCRATCH);
}
/// A far jump within low memory.
fn jump(d: &mut Draft, selector: u16) {
    if d.bits == 64 {
        return far_return_to(d, selector);
    }
    let at = TARGETS;
    if d.bits == 16 {
        d.op(&[0x66]);
    }
    d.op(&[0xea]);
    d.op(&(at as u32).to_le_bytes());
    d.op(&selector.to_le_bytes());
}
fn far_return_to(d: &mut Draft, cs: u16) {
    d.stack(4, &[TARGETS, cs.into()]);
    d.op(&[0xcb]);
}
fn move_selector(d: &mut Draft, modrm: u8, selector: u16) {
    d.gpr(gpr::RAX, selector.into());
    d.op(&[0x8e, modrm]);
}
fn load_data(d: &mut Draft) {
    move_selector(d, 0xd8, DATA0);
}
