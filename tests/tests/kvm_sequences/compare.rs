//! What of two states is compared, in a normal form without what a guest cannot see.
//!
//! | left out | because |
//! |---|---|
//! | of a segment that is unusable or not present, or null in long mode: all but the selector | it is used by no access; the bases of FS and GS are, in 64-bit mode |
//! | the upper halves of general registers outside 64-bit mode | they are nobody's (vol. 1, 3.4.1.1) |
//! | B0 to B3 of DR6 after a single step | it may clear them or not (vol. 3, 19.2.3) |
//! | memory after a triple fault | how far a delivery gets before it fails is not defined |
//! | x87, vectors | their instructions have oracles of their own |
//! | the time-stamp counter, the local APIC but for CR8, MSRs of performance and power | they change by themselves, or are the accelerator's own |

use super::generate::{bits, long};
use super::machine::Ending;
use gearbox_core::x86::state::{Seg, X86State};

/// MSRs that are compared where both accelerators have them.
const MSRS: [u32; 10] =
    [0x174, 0x175, 0x176, 0x277, 0xc000_0081, 0xc000_0082, 0xc000_0083, 0xc000_0084, 0xc000_0102, 0xc000_0103];

/// Segment registers by name.
pub const SEGMENTS: [(&str, Seg); 8] = [
    ("es", Seg::Es),
    ("cs", Seg::Cs),
    ("ss", Seg::Ss),
    ("ds", Seg::Ds),
    ("fs", Seg::Fs),
    ("gs", Seg::Gs),
    ("ldtr", Seg::Ldtr),
    ("tr", Seg::Tr),
];

/// The part of a state that a case goes on from: all that is compared, and nothing that differs between accelerators.
pub fn carried(s: &X86State) -> X86State {
    let msrs = s.msrs.iter().filter(|(n, _)| MSRS.contains(n)).map(|(n, v)| (*n, *v)).collect();
    X86State { msrs, lapic: None, tsc: 0, ..s.clone() }
}

/// A segment register: selector, base, limit, attributes.
fn segment(s: &X86State, seg: Seg) -> String {
    let g = s.seg(seg);
    let null = long(s) && g.selector & !3 == 0 && !matches!(seg, Seg::Cs | Seg::Tr);
    if g.unusable() || !g.present() || null {
        // In 64-bit mode the bases of FS and GS count even so.
        let base = if bits(s) == 64 && matches!(seg, Seg::Fs | Seg::Gs) { g.base } else { 0 };
        return format!("{:x} unusable base {base:x}", g.selector);
    }
    format!("{:x} base {:x} limit {:x} attr {:x}", g.selector, g.base, g.limit, g.attr)
}

/// Field by field: name and value.
pub fn normal(s: &X86State) -> Vec<(String, String)> {
    let mut fields = Vec::new();
    let mut add = |name: &str, value: String| fields.push((name.to_owned(), value));
    add("mode", format!("{}-bit{}", bits(s), if long(s) { " long" } else { "" }));
    for (n, v) in s.gpr.iter().enumerate() {
        let seen = if bits(s) == 64 { *v } else { v & 0xffff_ffff };
        add(&format!("gpr{n}"), format!("{seen:x}"));
    }
    for (name, v) in [
        ("rip", s.rip),
        ("rflags", s.rflags),
        ("cr0", s.cr0),
        ("cr2", s.cr2),
        ("cr3", s.cr3),
        ("cr4", s.cr4),
        ("cr8", s.cr8),
        ("efer", s.efer),
        ("xcr0", s.xcr0),
    ] {
        add(name, format!("{v:x}"));
    }
    for (n, v) in s.dr.iter().enumerate() {
        let stepped = n == 4 && v & 1 << 14 != 0;
        let seen = if stepped { v & !0xf } else { *v };
        add(["dr0", "dr1", "dr2", "dr3", "dr6", "dr7"][n], format!("{seen:x}"));
    }
    for (name, seg) in SEGMENTS {
        add(name, segment(s, seg));
    }
    for (name, t) in [("gdtr", &s.gdtr), ("idtr", &s.idtr)] {
        add(name, format!("{:x} limit {:x}", t.base, t.limit));
    }
    for n in MSRS {
        if let Some(v) = s.msrs.get(&n) {
            add(&format!("msr {n:x}"), format!("{v:x}"));
        }
    }
    add("nmi masked", s.events.nmi_masked.to_string());
    fields
}

/// A difference: the field, KVM's value, the software CPU's.
#[derive(Clone, Debug, PartialEq)]
pub struct Difference {
    pub field: String,
    pub kvm: String,
    pub tcg: String,
}

/// Where two runs of a step differ; both lists of RAM are from before any other step.
pub fn differences(kvm: (&Ending, &[u8]), tcg: (&Ending, &[u8])) -> Vec<Difference> {
    let new = |field: &str, kvm: String, tcg: String| Difference { field: field.to_owned(), kvm, tcg };
    let mut all = match (kvm.0, tcg.0) {
        (Ending::Stopped(a), Ending::Stopped(b)) => {
            let b = normal(b);
            let other = |name: &str| b.iter().find(|(n, _)| n == name).map(|(_, v)| v.clone());
            let pairs = normal(a).into_iter().filter_map(|(name, a)| Some((other(&name)?, name, a)));
            pairs.filter(|(b, _, a)| a != b).map(|(b, name, a)| new(&name, a, b)).collect()
        }
        (a, b) if a == b => Vec::new(),
        (a, b) => vec![new("ending", a.name(), b.name())],
    };
    if *kvm.0 == Ending::TripleFault {
        // What attempts to deliver the exceptions have written is the processor's own business.
        return all;
    }
    let mut at = 0;
    while kvm.1 != tcg.1 && all.len() < 40 {
        let Some(n) = kvm.1[at..].iter().zip(&tcg.1[at..]).position(|(a, b)| a != b) else { break };
        let from = (at + n) & !7;
        let (a, b) = (&kvm.1[from..from + 8], &tcg.1[from..from + 8]);
        let hex = |x: &[u8]| format!("{:016x}", u64::from_le_bytes(x.try_into().expect("8 bytes")));
        all.push(new(&format!("memory {from:x}"), hex(a), hex(b)));
        at = from + 8;
    }
    all
}

#[test]
fn what_differs_is_told() {
    let state = |rip, ss| {
        let mut s = X86State::reset(true, 0);
        s.rip = rip;
        *s.seg_mut(Seg::Ss) = ss;
        Ending::Stopped(Box::new(s))
    };
    use gearbox_core::x86::state::Segment;
    let (ram, other) = ([0; 64], [[0; 32], [1; 32]].concat());
    let null = |limit| Segment { limit, attr: Segment::UNUSABLE, ..Segment::default() };
    let a = state(7, null(0));
    assert_eq!(differences((&a, &ram), (&state(7, null(5)), &ram)), [], "nobody sees the limit of what cannot be used");
    let fields =
        |b: &Ending, ram_b: &[u8]| differences((&a, &ram), (b, ram_b)).into_iter().map(|d| d.field).collect::<Vec<_>>();
    assert_eq!(fields(&state(8, null(0)), &ram), ["rip"]);
    assert_eq!(fields(&state(7, Segment::real(0)), &ram), ["ss"]);
    assert_eq!(fields(&a, &other), ["memory 20", "memory 28", "memory 30", "memory 38"]);
    assert_eq!(fields(&Ending::TripleFault, &ram), ["ending"]);
}

impl Ending {
    fn name(&self) -> String {
        match self {
            Self::Stopped(s) => format!("stops at {:x}:{:x}", s.seg(Seg::Cs).selector, s.rip),
            Self::TripleFault => "triple fault".into(),
            Self::Endless => "does not end".into(),
            Self::Cannot(why) => why.clone(),
        }
    }
}
