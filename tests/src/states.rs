//! Starting states of a bare CPU: a mode of the processor with tables that work, for random steps to spoil and for sequences to be compared.

use crate::random::Random;
use gearbox_core::mem::AddressSpace;
use gearbox_core::x86::state::{DescriptorTable, Seg, Segment, X86State, cr0, cr4, efer, rflags};

/// Where programs are put: below 1 MiB, as real mode has to reach it.
pub const CODE: u64 = 0x1_0000;
/// The descriptor tables.
pub const GDT: u64 = 0x3000;
/// See [`GDT`].
pub const IDT: u64 = 0x4000;
/// Two task-state segments.
pub const TSS: u64 = 0x5000;
const OTHER_TSS: u64 = 0x5100;
/// One for each vector, 16 bytes apart.
pub const HANDLERS: u64 = 0x6000;
/// Stacks grow down from here.
pub const STACK: u64 = 0xa000;
/// Page tables, root first.
pub const TABLES: u64 = 0x20_0000;

/// A mode of the processor.
pub struct Mode {
    /// What it is called.
    pub name: &'static str,
    /// Width of code.
    pub bits: u32,
    paging: Paging,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Paging {
    /// Not even protection.
    Real,
    V86,
    None,
    Bits32,
    Pae,
    FourLevel,
    FiveLevel,
}

const fn mode(name: &'static str, bits: u32, paging: Paging) -> Mode {
    Mode { name, bits, paging }
}

/// All of them.
pub const MODES: [Mode; 10] = [
    mode("real", 16, Paging::Real),
    mode("v86", 16, Paging::V86),
    mode("protected16", 16, Paging::None),
    mode("protected32", 32, Paging::None),
    mode("paged32", 32, Paging::Bits32),
    mode("pae", 32, Paging::Pae),
    mode("compatibility16", 16, Paging::FourLevel),
    mode("compatibility32", 32, Paging::FourLevel),
    mode("long", 64, Paging::FourLevel),
    mode("long57", 64, Paging::FiveLevel),
];

/// Flat code and data for ring 0.
pub const CODE0: u16 = 0x08;
/// See [`CODE0`].
pub const DATA0: u16 = 0x10;
/// The task that runs.
pub const TASK: u16 = 0x28;
/// Flat 64-bit code for ring 0 (16-bit code outside long mode), where the others' width is that of the mode. The handlers of long mode use it.
pub const CODE64: u16 = 0xa0;
/// What follows [`CODE64`]: data for ring 0; 32-bit code, data and 64-bit code for ring 3.
pub const USER: u16 = 0xb0;
/// Flat 32-bit code for ring 0.
pub const CODE32: u16 = 0xd0;
/// 16-bit code and data for ring 0, with limits of 4 GiB.
pub const CODE16: u16 = 0x70;
const DATA16: u16 = 0x78;

/// Descriptors by their place in the table: base, limit (in units of G), attributes as in [`Segment::attr`].
fn descriptors(code: u64) -> [(u16, u64, u64, u64); 20] {
    [
        (CODE0, 0, 0xf_ffff, code),
        (DATA0, 0, 0xf_ffff, 0xc093),
        (0x18, 0, 0xf_ffff, code | 0x60),
        (0x20, 0, 0xf_ffff, 0xc0f3),
        (TASK, TSS, 0x2067, 0x8b),
        (0x38, OTHER_TSS, 0x67, 0x89),
        (0x48, GDT, 0xff, 0x82),
        (CODE16, 0, 0xf_ffff, 0x809b),
        (DATA16, 0, 0xf_ffff, 0x8093),
        (0x80, 0, 0xf_ffff, 0xc09f),
        (0x88, 0, 0xfff, 0xc097),
        (0x90, 0, 0xf_ffff, 0xc0fb),
        (0x98, 0, 0xffff, 0xf3),
        (CODE64, 0, 0xf_ffff, 0xa09b),
        (CODE64 + 8, 0, 0xf_ffff, 0xc093),
        (USER, 0, 0xf_ffff, 0xc0fb),
        (USER + 8, 0, 0xf_ffff, 0xc0f3),
        (USER + 16, 0, 0xf_ffff, 0xa0fb),
        (USER + 24, 0, 0xf_ffff, 0xc0f3),
        (CODE32, 0, 0xf_ffff, 0xc09b),
    ]
}

/// A selector that names one of them, or nearly.
pub fn selector(r: &mut Random) -> u16 {
    match r.below(4) {
        0 => r.number() as u16,
        1 => 0x38 | r.below(8) as u16,
        _ => (r.below(27) as u16 * 8) | r.below(4) as u16,
    }
}

/// Writes the tables of a mode and gives the state in which a program runs in it.
pub fn start(mode: &Mode, ring: u8, memory: &AddressSpace) -> X86State {
    let put = |at: u64, bytes: &[u8]| memory.write(at, bytes).expect("RAM");
    let long = matches!(mode.paging, Paging::FourLevel | Paging::FiveLevel);
    let code = match (mode.bits, long) {
        (64, _) => 0xa09b,
        (32, _) => 0xc09b,
        _ => 0x809b,
    };
    for (selector, base, limit, attr) in descriptors(code) {
        let d = limit & 0xffff
            | (base & 0xff_ffff) << 16
            | (attr & 0xff) << 40
            | (limit >> 16 & 15) << 48
            | (attr >> 12) << 52
            | (base >> 24) << 56;
        put(GDT + u64::from(selector), &d.to_le_bytes());
    }
    // Gates that calls go through: to code, and to the other task.
    let handler_code = if long { CODE64 } else { CODE0 };
    put(GDT + 0x58, &gate(handler_code, CODE, 0xec).to_le_bytes());
    put(GDT + 0x68, &gate(0x38, 0, 0xe5).to_le_bytes());
    handlers(long, mode.paging == Paging::Real, &put);
    interrupt_table(IDT, long, handler_code, &put);
    task_states(long, &put);
    page_tables(mode.paging, &put);

    let mut s = X86State::reset(true, 0);
    s.gdtr = DescriptorTable { base: GDT, limit: 0xff };
    s.idtr = DescriptorTable { base: IDT, limit: 0xfff };
    s.gpr[4] = STACK - 0x100;
    s.rip = CODE;
    registers(&mut s, mode.paging);
    *s.seg_mut(Seg::Ldtr) = Segment { attr: Segment::UNUSABLE, ..Segment::default() };
    *s.seg_mut(Seg::Tr) = Segment { selector: TASK, base: TSS, limit: 0x2067, attr: 0x8b };
    match mode.paging {
        Paging::Real => {
            s.idtr = DescriptorTable { base: 0, limit: 0x3ff };
            s.seg[..6].fill(Segment::real(0));
            *s.seg_mut(Seg::Cs) = Segment { attr: 0x9b, ..Segment::real((CODE >> 4) as u16) };
            s.rip = 0;
        }
        Paging::V86 => {
            s.seg[..6].fill(Segment { attr: 0xf3, ..Segment::real(0) });
            *s.seg_mut(Seg::Cs) = Segment { attr: 0xf3, ..Segment::real((CODE >> 4) as u16) };
            s.rip = 0;
            s.rflags |= rflags::VM | u64::from(ring & 3) << 12;
        }
        _ => {
            let (dpl, rpl) = (u32::from(ring) << 5, u16::from(ring));
            let narrow = mode.bits == 16;
            let data = if narrow { (DATA16, 0x8093) } else { (if ring == 3 { 0x20 } else { DATA0 }, 0xc093) };
            let data = Segment { selector: data.0 | rpl, base: 0, limit: u32::MAX, attr: data.1 | dpl };
            s.seg[..6].fill(data);
            let selector = if narrow {
                CODE16
            } else if ring == 3 {
                0x18
            } else {
                CODE0
            };
            *s.seg_mut(Seg::Cs) = Segment { selector: selector | rpl, attr: code as u32 | dpl, ..data };
        }
    }
    s
}

fn registers(s: &mut X86State, paging: Paging) {
    if paging == Paging::Real {
        return;
    }
    s.cr0 = cr0::PE | cr0::ET | cr0::NE;
    s.cr3 = TABLES;
    s.cr4 = cr4::OSFXSR | cr4::OSXMMEXCPT | cr4::PSE | cr4::PGE;
    if !matches!(paging, Paging::V86 | Paging::None) {
        s.cr0 |= cr0::PG | cr0::WP;
    }
    match paging {
        Paging::Pae => s.cr4 |= cr4::PAE,
        Paging::FourLevel => s.cr4 |= cr4::PAE,
        Paging::FiveLevel => s.cr4 |= cr4::PAE | cr4::LA57,
        _ => {}
    }
    if matches!(paging, Paging::FourLevel | Paging::FiveLevel) {
        s.efer = efer::SCE | efer::LME | efer::LMA | efer::NXE;
    }
}

/// What handlers do: stop, return, drop an error code and return, or go back to the program.
fn handlers(long: bool, real: bool, put: &impl Fn(u64, &[u8])) {
    let back: &[u8] = if long { &[0x48, 0xcf] } else { &[0xcf] };
    let drop: &[u8] = if long { &[0x48, 0x83, 0xc4, 8, 0x48, 0xcf] } else { &[0x83, 0xc4, 4, 0xcf] };
    for v in 0..256u64 {
        let at = HANDLERS + 16 * v;
        let distance = (CODE + 8 * (v % 16)).wrapping_sub(at + 5) as u32;
        let jump = [&[0xe9][..], &distance.to_le_bytes()].concat();
        put(
            at,
            match v {
                8 | 32.. => back,
                _ if real => back,
                10..=14 | 17 => drop,
                _ if v % 3 == 0 => &jump,
                _ => &[0xf4],
            },
        );
        if real {
            put(4 * v, &(at as u32).to_le_bytes());
        }
    }
}

/// The low 8 bytes of a gate.
fn gate(selector: u16, offset: u64, typ: u64) -> u64 {
    offset & 0xffff | u64::from(selector) << 16 | typ << 40 | (offset >> 16 & 0xffff) << 48
}

/// An IDT at `base` that leads to the handlers, in the form of long mode or the older one: every fourth is a trap gate for ring 3, and where there are
/// tasks, one leads to the other task.
pub fn interrupt_table(base: u64, long: bool, code: u16, put: &impl Fn(u64, &[u8])) {
    for v in 0..256u64 {
        let typ = if v % 4 == 3 { 0xef } else { 0x8e };
        let typ = if v == 33 && !long { 0xe5 } else { typ };
        let selector = if typ == 0xe5 { 0x38 } else { code };
        let low = gate(selector, HANDLERS + 16 * v, typ).to_le_bytes();
        if long {
            put(base + 16 * v, &low);
            put(base + 16 * v + 8, &[0; 8]);
        } else {
            put(base + 8 * v, &low);
        }
    }
}

fn task_states(long: bool, put: &impl Fn(u64, &[u8])) {
    let inner = STACK - 0x800;
    for tss in [TSS, OTHER_TSS] {
        for n in 0..3 {
            put(tss + 4 + 8 * n, &inner.to_le_bytes());
            if !long {
                put(tss + 8 + 8 * n, &u32::from(DATA0).to_le_bytes());
            }
        }
        for ist in 0..7 {
            put(tss + 0x24 + 8 * ist, &if long { inner } else { 0 }.to_le_bytes());
        }
        put(tss + 0x66, &0x68u16.to_le_bytes());
    }
    if !long {
        let words = [(0x1c, TABLES as u32), (0x20, CODE as u32), (0x24, 2), (0x38, STACK as u32)];
        for (at, v) in words {
            put(OTHER_TSS + at, &v.to_le_bytes());
        }
        for (k, s) in [DATA0, CODE0, DATA0, DATA0, DATA0, 0].into_iter().enumerate() {
            put(OTHER_TSS + 0x48 + 4 * k as u64, &u32::from(s).to_le_bytes());
        }
    }
}

/// Identity for the first GiB or so, everything allowed, with large pages but for the first.
fn page_tables(paging: Paging, put: &impl Fn(u64, &[u8])) {
    let table = |n: u64| TABLES + 0x1000 * n;
    let entry = |n: u64, index: u64, v: u64| put(table(n) + 8 * index, &v.to_le_bytes());
    // The directory is always the second to last table, the table of the first 2 MiB the last.
    let chain = |levels: u64| {
        (0..levels - 2).for_each(|n| entry(n, 0, table(n + 1) | 7));
        (0..512).for_each(|k| entry(levels - 2, k, k << 21 | 0xe7));
        (0..512).for_each(|k| entry(levels - 1, k, k << 12 | 7));
        entry(levels - 2, 0, table(levels - 1) | 7);
    };
    match paging {
        Paging::Real | Paging::V86 | Paging::None => {}
        Paging::Bits32 => {
            for k in 0..1024u64 {
                put(TABLES + 4 * k, &((k << 22 | 0xe7) as u32).to_le_bytes());
            }
        }
        Paging::Pae => {
            chain(3);
            (0..4).for_each(|k| entry(0, k, table(1) | 1));
        }
        Paging::FourLevel => chain(4),
        Paging::FiveLevel => chain(5),
    }
}
