//! The kinds of instructions, by name.

use super::case::Reg;
use super::generate::{Draft, SCRATCH, TARGETS, idt, long, real_like};
use gearbox_core::x86::state::{cr4, efer, gpr, rflags};
use gearbox_tests::states::{CODE, CODE64, GDT, STACK, TSS};

/// Makes a step, or says that the kind does not suit.
type Make = fn(&mut Draft) -> bool;

const MSRS: &[u32] = &[
    0x174,
    0x175,
    0x176,
    0x277,
    0x2ff,
    0x200,
    0x250,
    0xc000_0080,
    0xc000_0080,
    0xc000_0081,
    0xc000_0082,
    0xc000_0083,
    0xc000_0084,
    0xc000_0100,
    0xc000_0101,
    0xc000_0102,
    0xc000_0103,
    0x1234_5678,
];
pub const EFER: u32 = 0xc000_0080;

/// All of them.
pub const KINDS: &[(&str, Make)] = &[
    ("mov to cr", mov_to_cr),
    ("mov to cr", mov_to_cr),
    ("mov from cr", |d| {
        let cr = *d.r.pick(&[0, 2, 3, 4, 8, 1, 5]);
        (cr != 8 || d.bits == 64 && d.op(&[0x44])) && d.op(&[0x0f, 0x20, 0xc0 | (cr & 7) << 3])
    }),
    ("mov to dr", mov_to_dr),
    ("mov from dr", |d| {
        let dr = d.r.below(8) as u8;
        d.op(&[0x0f, 0x21, 0xc0 | dr << 3])
    }),
    ("lmsw", |d| {
        let v = d.s.cr0 ^ 1 << d.r.below(5);
        d.gpr(gpr::RAX, v);
        d.op(&[0x0f, 0x01, 0xf0])
    }),
    ("smsw", |d| {
        d.width();
        d.op(&[0x0f, 0x01]);
        d.register_or_memory(4)
    }),
    ("clts", |d| d.op(&[0x0f, 0x06])),
    ("lgdt", |d| load_table(d, 2, GDT)),
    ("lidt", |d| load_table(d, 3, idt(d.s))),
    ("sgdt", |d| {
        d.op(&[0x0f, 0x01]);
        d.memory(0, SCRATCH)
    }),
    ("sidt", |d| {
        d.op(&[0x0f, 0x01]);
        d.memory(1, SCRATCH)
    }),
    ("lldt", |d| with_selector(d, &[0x0f, 0x00, 0xd0])),
    ("ltr", |d| with_selector(d, &[0x0f, 0x00, 0xd8])),
    ("sldt", |d| {
        d.width();
        d.op(&[0x0f, 0x00]);
        d.register_or_memory(0)
    }),
    ("str", |d| {
        d.width();
        d.op(&[0x0f, 0x00]);
        d.register_or_memory(1)
    }),
    ("verr", |d| with_selector(d, &[0x0f, 0x00, 0xe0])),
    ("verw", |d| with_selector(d, &[0x0f, 0x00, 0xe8])),
    ("lar", |d| sized_with_selector(d, &[0x0f, 0x02, 0xc8])),
    ("lsl", |d| sized_with_selector(d, &[0x0f, 0x03, 0xc8])),
    ("mov to segment", move_to_segment),
    ("mov to segment", move_to_segment),
    ("mov from segment", |d| {
        d.width();
        let seg = d.r.below(7) as u8;
        d.op(&[0x8c]);
        d.register_or_memory(seg)
    }),
    ("pop segment", pop_segment),
    ("push segment", |d| {
        d.any_width();
        let n = if d.bits == 64 { 4 + d.r.index(2) } else { d.r.index(6) };
        d.op([&[0x06][..], &[0x0e], &[0x16], &[0x1e], &[0x0f, 0xa0], &[0x0f, 0xa8]][n])
    }),
    ("load far pointer", load_far_pointer),
    ("jmp far", |d| far_immediate(d, 0xea)),
    ("call far", |d| far_immediate(d, 0x9a)),
    ("jmp far memory", |d| far_memory(d, 5)),
    ("call far memory", |d| far_memory(d, 3)),
    ("retf", far_return),
    ("retf", far_return),
    ("iret", |d| iret(d)),
    ("iret", |d| iret(d)),
    ("int", software_interrupt),
    ("int", software_interrupt),
    ("int3", |d| d.op(&[0xcc])),
    ("int1", |d| d.op(&[0xf1])),
    ("into", |d| {
        d.set(Reg::Rflags, d.s.rflags | rflags::OF);
        d.op(&[0xce])
    }),
    ("bound", |d| {
        d.op(&[0x62]);
        d.memory(0, SCRATCH)
    }),
    ("ud2", |d| d.op(&[0x0f, 0x0b])),
    ("division by 0", |d| {
        d.gpr(gpr::RCX, 0);
        d.op(&[0xf7, 0xf1])
    }),
    ("syscall", |d| {
        system_call_msrs(d);
        d.op(&[0x0f, 0x05])
    }),
    ("sysret", |d| system_return(d, 0x07)),
    ("sysenter", |d| {
        system_call_msrs(d);
        d.op(&[0x0f, 0x34])
    }),
    ("sysexit", |d| system_return(d, 0x35)),
    ("swapgs", |d| d.op(&[0x0f, 0x01, 0xf8])),
    ("fs and gs base", |d| {
        let v = d.value();
        d.gpr(gpr::RAX, v);
        let how = d.r.below(4) as u8;
        d.op(&[0xf3]);
        if d.bits == 64 && d.r.one_in(2) {
            d.op(&[0x48]);
        }
        d.op(&[0x0f, 0xae, 0xc0 | how << 3])
    }),
    ("rdmsr", |d| {
        let msr = *d.r.pick(MSRS);
        d.gpr(gpr::RCX, msr.into());
        d.op(&[0x0f, 0x32])
    }),
    ("wrmsr", wrmsr),
    ("rdpmc", |d| {
        // What it counts is not compared.
        let refused = d.ring == 3 && d.s.cr4 & cr4::PCE == 0;
        refused && d.op(&[0x0f, 0x33])
    }),
    ("rdtsc refused", |d| {
        let refused = d.ring == 3 && d.s.cr4 & cr4::TSD != 0;
        refused && d.op(&[0x0f, 0x31])
    }),
    ("xgetbv", |d| {
        d.gpr(gpr::RCX, 0);
        d.op(&[0x0f, 0x01, 0xd0])
    }),
    ("xsetbv", |d| {
        let (index, v) = (u64::from(d.r.one_in(6)), *d.r.pick(&[1, 3, 7, 7, 0, 2, 5, 0x100]));
        d.gpr(gpr::RCX, index);
        d.gpr(gpr::RDX, 0);
        d.gpr(gpr::RAX, v);
        d.op(&[0x0f, 0x01, 0xd1])
    }),
    ("clac and stac", |d| {
        let which = d.r.below(2) as u8;
        d.op(&[0x0f, 0x01, 0xca | which])
    }),
    ("invlpg", |d| {
        let at = d.value();
        d.op(&[0x0f, 0x01]);
        d.memory(7, at)
    }),
    ("invpcid", |d| {
        let (typ, pcid, at) = (d.r.below(5), if d.r.one_in(4) { d.r.interesting() } else { 0 }, d.value());
        d.gpr(gpr::RAX, typ);
        d.poke(SCRATCH, &[pcid.to_le_bytes(), at.to_le_bytes()].concat());
        d.op(&[0x66, 0x0f, 0x38, 0x82]);
        d.memory(0, SCRATCH)
    }),
    ("invd and wbinvd", |d| {
        let which = d.r.below(2) as u8;
        d.op(&[0x0f, 0x08 | which])
    }),
    ("hlt refused", |d| d.ring != 0 && d.op(&[0xf4])),
    ("rsm", |d| d.op(&[0x0f, 0xaa])),
    ("pushf", |d| {
        d.any_width();
        d.op(&[0x9c])
    }),
    ("popf", popf),
    ("popf", popf),
    ("cli", |d| d.op(&[0xfa])),
    ("sti", |d| d.op(&[0xfb])),
    ("in", |d| port(d, &[0xe4, 0xe5, 0xec, 0xed])),
    ("out", |d| port(d, &[0xe6, 0xe7, 0xee, 0xef])),
    ("ins", |d| port(d, &[0x6c, 0x6d])),
    ("outs", |d| port(d, &[0x6e, 0x6f])),
    ("load", |d| access(d, &[0x8a, 0x8b])),
    ("load", |d| access(d, &[0x8a, 0x8b])),
    ("store", |d| access(d, &[0x88, 0x89])),
    ("store", |d| access(d, &[0x88, 0x89])),
    ("modify", |d| access(d, &[0x00, 0x01, 0x31])),
    ("push and pop", |d| {
        stack_pointer(d);
        d.any_width();
        let pop = u8::from(d.r.one_in(2));
        d.op(&[0x50 | pop << 3])
    }),
    ("enter and leave", |d| {
        stack_pointer(d);
        let level = if d.r.one_in(2) { 0 } else { d.r.below(4) as u8 };
        if d.r.one_in(2) { d.op(&[0xc8, 0x20, 0, level]) } else { d.op(&[0xc9]) }
    }),
    ("near transfer", near_transfer),
    ("arpl or movsxd", |d| with_selector(d, &[0x63, 0xc8])),
    ("x87 and sse", |d| {
        let op = *d.r.pick(&[&[0xd9, 0xd0][..], &[0x9b], &[0x0f, 0x28, 0xc1], &[0x0f, 0x77], &[0xdb, 0xe3]]);
        d.op(op)
    }),
];

fn mov_to_cr(d: &mut Draft) -> bool {
    let cr = *d.r.pick(&[0, 0, 0, 2, 3, 3, 4, 4, 4, 8, 1, 5]);
    let v = match cr {
        0 => {
            let bit = *d.r.pick(&[0, 0, 1, 2, 3, 4, 5, 16, 18, 29, 30, 31, 31, 6, 40]);
            d.s.cr0 ^ 1 << bit
        }
        3 => d.s.cr3 ^ *d.r.pick(&[0, 8, 0x10, 0x18, 1, 0x1000, 1 << 51, 1 << 63, 1 << 40]),
        4 => d.s.cr4 ^ 1 << d.r.below(26),
        8 => d.r.below(20),
        _ => d.value(),
    };
    d.gpr(gpr::RAX, v);
    if cr == 8 {
        if d.bits != 64 {
            return false;
        }
        d.op(&[0x44]);
    }
    d.op(&[0x0f, 0x22, 0xc0 | (cr & 7) << 3])
}

fn mov_to_dr(d: &mut Draft) -> bool {
    let dr = d.r.below(8) as u8;
    let v = match dr {
        7 => {
            let (enable, what) = (d.r.number() & 0xff & d.r.number(), d.r.number() & 0xffff_0000);
            enable | what | if d.r.one_in(4) { d.r.number() & 0xffff } else { 0x400 }
        }
        4..7 => d.r.interesting(),
        _ => *d.r.pick(&[SCRATCH, SCRATCH + 2, d.s.rip.wrapping_add(3), TARGETS, 0x80, 1 << 47, 1 << 32]),
    };
    d.gpr(gpr::RAX, v);
    d.op(&[0x0f, 0x23, 0xc0 | dr << 3])
}

fn load_table(d: &mut Draft, reg: u8, good: u64) -> bool {
    let limit = *d.r.pick(&[0xfff, 0xfff, 0xff, 0xff, 0x7f, 0x2f, 0, 0x3ff]);
    // Not where code is: descriptors that are loaded are written to.
    let odd = *d.r.pick(&[0, SCRATCH, STACK, 0x1_a000, 0x8000_0000, 1 << 47, 0xffff_8000_0000_0000]);
    let base = if d.r.one_in(4) { odd } else { good };
    d.poke(SCRATCH, &[&(limit as u16).to_le_bytes()[..], &base.to_le_bytes()].concat());
    if d.r.one_in(4) {
        d.op(&[0x66]);
    }
    d.op(&[0x0f, 0x01]);
    d.memory(reg, SCRATCH)
}

fn with_selector(d: &mut Draft, op: &[u8]) -> bool {
    let selector = d.selector();
    d.gpr(gpr::RAX, selector.into());
    d.op(op)
}
fn sized_with_selector(d: &mut Draft, op: &[u8]) -> bool {
    d.width();
    with_selector(d, op)
}

fn move_to_segment(d: &mut Draft) -> bool {
    let seg = *d.r.pick(&[0, 2, 2, 3, 4, 5, 1]);
    let selector = if d.r.one_in(2) { d.data_selector() } else { d.selector() };
    d.gpr(gpr::RAX, selector.into());
    d.op(&[0x8e, 0xc0 | seg << 3])
}
fn pop_segment(d: &mut Draft) -> bool {
    let width = match (d.any_width(), d.bits) {
        (4, 64) => 8,
        (n, _) => n,
    };
    let selector = d.data_selector();
    d.stack(width, &[selector.into()]);
    let n = if d.bits == 64 { 3 + d.r.index(2) } else { d.r.index(5) };
    d.op([&[0x07][..], &[0x17], &[0x1f], &[0x0f, 0xa1], &[0x0f, 0xa9]][n])
}
fn load_far_pointer(d: &mut Draft) -> bool {
    let width = d.any_width();
    let (offset, selector) = (d.value(), d.data_selector());
    d.poke(SCRATCH, &[&offset.to_le_bytes()[..width as usize], &selector.to_le_bytes()].concat());
    let n = if d.bits == 64 { d.r.index(3) } else { d.r.index(5) };
    d.op([&[0x0f, 0xb2][..], &[0x0f, 0xb4], &[0x0f, 0xb5], &[0xc4], &[0xc5]][n]);
    d.memory(1, SCRATCH)
}

/// A selector that a far transfer may name: code or anything, gates and tasks among them.
fn far_selector(d: &mut Draft) -> u16 {
    match d.r.below(5) {
        0 => d.selector(),
        1 if !real_like(d.s) => *d.r.pick(&[0x58, 0x58, 0x38, 0x68]) | u16::from(d.ring),
        _ => d.code_selector(),
    }
}
fn far_immediate(d: &mut Draft, op: u8) -> bool {
    if d.bits == 64 && !d.r.one_in(8) {
        return false;
    }
    let width = d.any_width();
    let (offset, selector) = (d.target(), far_selector(d));
    d.op(&[op]);
    d.op(&offset.to_le_bytes()[..width.min(4) as usize]);
    d.op(&selector.to_le_bytes())
}
fn far_memory(d: &mut Draft, reg: u8) -> bool {
    let width = d.any_width();
    let (offset, selector) = (d.target(), far_selector(d));
    d.poke(SCRATCH, &[&offset.to_le_bytes()[..width as usize], &selector.to_le_bytes()].concat());
    d.op(&[0xff]);
    d.memory(reg, SCRATCH)
}
fn far_return(d: &mut Draft) -> bool {
    let width = d.any_width();
    let (ip, cs, ss) = (d.target(), d.code_selector(), d.data_selector());
    let sp = if d.r.one_in(6) { d.value() } else { STACK - 0x40 };
    if d.r.one_in(4) {
        d.stack(width, &[ip, cs.into(), 0, 0, sp, ss.into()]);
        let n = (2 * width) as u8;
        d.op(&[0xca, n, 0])
    } else {
        d.stack(width, &[ip, cs.into(), sp, ss.into()]);
        d.op(&[0xcb])
    }
}

/// Flags for a register that is popped.
fn flags(d: &mut Draft) -> u64 {
    let bits = d.r.number() & 0x3f_7fd5 & !(rflags::VM | rflags::TF);
    let odd = if d.r.one_in(4) { d.r.number() & 0xffc0_802a } else { 2 };
    bits | odd | if d.r.one_in(4) { rflags::TF } else { 0 }
}
fn iret(d: &mut Draft) -> bool {
    let width = d.any_width();
    let (ip, cs, ss, fl) = (d.target(), d.code_selector(), d.data_selector(), flags(d));
    let sp = if d.r.one_in(6) { d.value() } else { STACK - 0x40 };
    if width == 4 && !long(d.s) && !real_like(d.s) && d.r.one_in(4) {
        let segment = CODE >> 4;
        d.stack(4, &[0x800, segment, fl | rflags::VM, 0xa000, 0, 0, segment, 0, 0]);
    } else {
        d.stack(width, &[ip, cs.into(), fl, sp, ss.into()]);
    }
    d.op(&[0xcf])
}
fn software_interrupt(d: &mut Draft) -> bool {
    let vector = if real_like(d.s) && !d.r.one_in(16) { d.r.below(0x80) } else { d.r.below(0x100) };
    if d.r.one_in(2) {
        d.interrupt_gate(vector);
    }
    d.op(&[0xcd, vector as u8])
}

fn system_call_msrs(d: &mut Draft) {
    match d.r.below(6) {
        0 => {
            let v = *d.r.pick(&[0, 3, u64::from(CODE64) + 3, 0xffff, 0x1_0000]);
            d.set(Reg::Msr(0x174), v);
        }
        1 => {
            let v = d.r.number() & 0x3f_7fd5;
            d.set(Reg::Msr(0xc000_0084), v);
        }
        2 => d.set(Reg::Efer, d.s.efer ^ efer::SCE),
        _ => {}
    }
}
pub fn system_return(d: &mut Draft, op: u8) -> bool {
    system_call_msrs(d);
    let to = if d.r.one_in(2) { d.target() } else { TARGETS };
    // SYSRET goes to RCX with the flags in R11, SYSEXIT to RDX with the stack in RCX.
    let (rcx, rdx) = if op == 0x07 { (to, 0) } else { (STACK - 0x80, to) };
    let fl = flags(d);
    d.gpr(gpr::RCX, rcx);
    d.gpr(gpr::RDX, rdx);
    d.gpr(11, fl);
    if d.bits == 64 && d.r.one_in(2) {
        d.op(&[0x48]);
    }
    d.op(&[0x0f, op])
}
fn wrmsr(d: &mut Draft) -> bool {
    let msr = *d.r.pick(MSRS);
    let v = match msr {
        EFER => d.s.efer ^ *d.r.pick(&[efer::SCE, efer::NXE, efer::LME, efer::LMA, efer::FFXSR, 1 << 13, 1 << 40]),
        0x277 => *d.r.pick(&[0x0007_0406_0007_0406, 0x0007_0106_0007_0406, 0x0002_0406_0007_0406, 8]),
        0xc000_0081 => d.s.msrs.get(&msr).copied().unwrap_or(0) ^ 1 << d.r.below(64),
        _ => d.value(),
    };
    d.gpr(gpr::RCX, msr.into());
    d.gpr(gpr::RDX, v >> 32);
    d.gpr(gpr::RAX, v & 0xffff_ffff);
    d.op(&[0x0f, 0x30])
}

fn popf(d: &mut Draft) -> bool {
    let width = match (d.any_width(), d.bits) {
        (4, 64) => 8,
        (n, _) => n,
    };
    let fl = flags(d);
    d.stack(width, &[fl]);
    d.op(&[0x9d])
}
fn port(d: &mut Draft, ops: &[u8]) -> bool {
    let op = *d.r.pick(ops);
    let port = d.r.below(0x80) | (u64::from(op & 8 != 0 && d.r.one_in(2)) << 8);
    if d.r.one_in(2) {
        let mask = d.r.number() as u8 & d.r.number() as u8;
        d.poke(TSS + 0x68 + port / 8, &[mask]);
    } else if d.r.one_in(8) {
        let base = *d.r.pick(&[0, 0x2060, 0xffff, 0x80]);
        d.poke(TSS + 0x66, &(base as u16).to_le_bytes());
    }
    d.gpr(gpr::RDX, port);
    if op < 0x70 {
        let at = SCRATCH;
        d.gpr(gpr::RSI, at);
        d.gpr(gpr::RDI, at);
    }
    d.op(&[op]);
    op & 8 != 0 || op < 0x70 || d.op(&[port as u8])
}
fn access(d: &mut Draft, ops: &[u8]) -> bool {
    if d.r.one_in(3) {
        let prefix = *d.r.pick(&[0x26, 0x2e, 0x36, 0x3e, 0x64, 0x65]);
        d.op(&[prefix]);
    }
    let op = *d.r.pick(ops);
    d.op(&[op]);
    let at = if d.r.one_in(2) { d.page() } else { d.value() };
    d.memory(0, at)
}
fn stack_pointer(d: &mut Draft) {
    if d.r.one_in(2) {
        let v = if d.r.one_in(2) { d.page() } else { d.value() };
        d.gpr(gpr::RSP, v);
    }
    if d.r.one_in(3) {
        let v = d.value();
        d.gpr(gpr::RBP, v);
    }
}
fn near_transfer(d: &mut Draft) -> bool {
    let to = d.target();
    match d.r.below(3) {
        0 => {
            let width = match (d.any_width(), d.bits) {
                (4, 64) => 8,
                (n, _) => n,
            };
            d.stack(width, &[to]);
            d.op(&[0xc3])
        }
        n => {
            d.gpr(gpr::RAX, to);
            d.op(&[0xff, if n == 1 { 0xd0 } else { 0xe0 }])
        }
    }
}
