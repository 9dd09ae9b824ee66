//! Nonsense for the CPU to chew on: whatever a guest does, the engine neither panics nor gives up.

use super::*;
use crate::random::Random;
use gearbox_core::x86::state::{Activity, cr4, efer, rflags};

impl Random {
    /// Mostly values at which something changes.
    fn value(&mut self) -> u64 {
        let edges = [
            0,
            1,
            3,
            8,
            0x10,
            0x1b,
            0x28,
            0x38,
            0xffff,
            0x8000_0000,
            0xffff_ffff,
            1 << 47,
            0xffff_8000_0000_0000,
            u64::MAX,
        ];
        match self.below(4) {
            0 => self.next(),
            1 => self.below(0x40_0000),
            _ => self.pick(&edges).wrapping_add(self.below(8)).wrapping_sub(4),
        }
    }
}

/// Opcodes of the system instructions, to be followed by anything.
const OPCODES: [&[u8]; 40] = [
    &[0x0f, 0x00],
    &[0x0f, 0x01],
    &[0x0f, 0x02],
    &[0x0f, 0x03],
    &[0x0f, 0x05],
    &[0x0f, 0x06],
    &[0x0f, 0x07],
    &[0x0f, 0x20],
    &[0x0f, 0x21],
    &[0x0f, 0x22],
    &[0x0f, 0x23],
    &[0x0f, 0x30],
    &[0x0f, 0x32],
    &[0x0f, 0x34],
    &[0x0f, 0x35],
    &[0x0f, 0xa2],
    &[0x0f, 0xb2],
    &[0x0f, 0x0b],
    &[0x8e],
    &[0x8c],
    &[0x07],
    &[0x17],
    &[0x1f],
    &[0x9a],
    &[0xea],
    &[0xff],
    &[0xca],
    &[0xcb],
    &[0xcc],
    &[0xcd],
    &[0xce],
    &[0xcf],
    &[0xf1],
    &[0x9c],
    &[0x9d],
    &[0xfa],
    &[0xfb],
    &[0x63],
    &[0xc5],
    &[0x66],
];

fn program(r: &mut Random) -> Vec<u8> {
    let mut code = Vec::new();
    while code.len() < 96 {
        if r.below(4) == 0 {
            code.push(r.pick(&[0x66, 0x67, 0x48, 0xf3, 0xf0, 0x26, 0x36, 0x64]));
        }
        let op = r.pick(&OPCODES);
        code.extend(op);
        for _ in 0..r.below(7) {
            let byte = r.next() as u8;
            code.push(byte);
        }
    }
    code
}

fn rig(r: &mut Random) -> Rig {
    let mut rig = match r.below(6) {
        0 => Rig::real(),
        1 => Rig::protected(),
        2 => Rig::protected().user(),
        3 => Rig::protected().v86(r.below(4)),
        4 => Rig::long(),
        _ => Rig::long().user(),
    };
    for n in 0..16 {
        if n != 4 || r.below(4) == 0 {
            rig.state.gpr[n] = r.value();
        }
    }
    for selector in (8..0x100).step_by(8) {
        if r.below(3) == 0 {
            let d = descriptor(r.value() & 0xffff_ffff, r.next() & 0xf_ffff, r.next() & 0xf0ff);
            rig.set_descriptor(selector, d);
        }
    }
    for _ in 0..r.below(24) {
        let (vector, typ) = (r.below(40) as u8, r.pick(&[0x8e, 0xee, 0x8f, 0xef, 0x85, 0xe5, 0x86, 0x0e, 0x00]));
        let (selector, offset) = (r.value() as u16, r.below(0x8000));
        rig.set_gate(vector, selector, offset, typ);
    }
    for at in (TSS..TSS + 0x100).step_by(8) {
        if r.below(3) == 0 {
            rig.put(at, &r.value().to_le_bytes());
        }
    }
    for s in 0..8 {
        if r.below(8) == 0 {
            rig.state.seg[s] = Segment {
                selector: r.value() as u16,
                base: if rig.long { r.value() } else { r.value() & 0xffff_ffff },
                limit: r.value() as u32,
                attr: (r.next() & 0xf0ff) as u32 | if r.below(4) == 0 { Segment::UNUSABLE } else { 0 },
            };
        }
    }
    if r.below(4) == 0 {
        rig.state.rflags |= r.next() & (rflags::TF | rflags::IF | rflags::IOPL | rflags::NT | rflags::RF | rflags::AC);
    }
    if r.below(4) == 0 {
        rig.state.cr4 |= r.next() & (cr4::VME | cr4::PVI | cr4::TSD | cr4::DE | cr4::UMIP | cr4::FSGSBASE | cr4::SMEP);
    }
    if r.below(8) == 0 {
        rig.state.efer ^= r.next() & efer::SCE;
        rig.state.dr[5] = 0x400 | r.next() & 0x2fff;
        rig.state.dr[0] = CODE + r.below(64);
    }
    rig
}

#[test]
fn nonsense_neither_panics_nor_stops_the_engine() {
    for seed in 1..600u64 {
        let mut r = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut rig = rig(&mut r);
        rig.bench.vcpu.handle().set_intr(r.below(4) == 0);
        // Each program starts in the state that the one before it left.
        for _ in 0..6 {
            let code = program(&mut r);
            let o = rig.run(&code);
            assert!(!matches!(o.exit, VcpuExit::InternalError(_)), "seed {seed}: {:?}", o.exit);
            assert_eq!(o.state.rflags & 2, 2, "seed {seed}");
            let rip = CODE.wrapping_sub(o.state.seg(Seg::Cs).base) + r.below(16);
            rig.state = X86State { rip: rip & 0xffff_ffff, activity: Activity::Active, ..o.state };
        }
    }
}
