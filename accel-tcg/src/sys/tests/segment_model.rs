//! Segment loads as SDM vol. 2 (MOV, JMP, LAR, LSL, VERR, VERW) describes them, for every access byte, RPL and CPL. The model shares nothing
//! with the engine.

use super::*;

/// What a load or a look does.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Loads,
    /// ZF, for the instructions that only look.
    Sees(bool),
    /// The vector; the error code is the selector.
    Faults(u8),
}
use Verdict::*;

const NP: u8 = 11;
const SS: u8 = 12;
const GP: u8 = 13;

/// What an instruction asks about.
#[derive(Clone, Copy, Debug)]
struct Query {
    /// Type, S, DPL, P.
    access: u64,
    /// D/B and L.
    size: u64,
    rpl: u64,
    cpl: u64,
    long: bool,
}

impl Query {
    fn bit(self, n: u32) -> bool {
        self.access >> n & 1 == 1
    }
    fn system(self) -> bool {
        !self.bit(4)
    }
    fn code(self) -> bool {
        self.bit(4) && self.bit(3)
    }
    fn conforming(self) -> bool {
        self.code() && self.bit(2)
    }
    fn readable(self) -> bool {
        self.bit(4) && (!self.bit(3) || self.bit(1))
    }
    fn writable(self) -> bool {
        self.bit(4) && !self.bit(3) && self.bit(1)
    }
    fn dpl(self) -> u64 {
        self.access >> 5 & 3
    }
    fn present(self) -> bool {
        self.bit(7)
    }

    /// MOV to DS, ES, FS or GS.
    fn data(self) -> Verdict {
        if self.system() || !self.readable() {
            return Faults(GP);
        }
        if !self.conforming() && (self.rpl > self.dpl() || self.cpl > self.dpl()) {
            return Faults(GP);
        }
        if self.present() { Loads } else { Faults(NP) }
    }
    /// MOV to SS.
    fn stack(self) -> Verdict {
        if self.rpl != self.cpl || !self.writable() || self.dpl() != self.cpl {
            return Faults(GP);
        }
        if self.present() { Loads } else { Faults(SS) }
    }
    /// JMP to a far pointer; gates and tasks are not asked about.
    fn jump(self) -> Option<Verdict> {
        if self.system() {
            return None;
        }
        let allowed = match (self.code(), self.conforming()) {
            (false, _) => false,
            (true, true) => self.dpl() <= self.cpl,
            (true, false) => self.rpl <= self.cpl && self.dpl() == self.cpl,
        };
        // L and D are never both set in IA-32e mode.
        if !allowed || self.long && self.size == 3 {
            return Some(Faults(GP));
        }
        Some(if self.present() { Loads } else { Faults(NP) })
    }
    fn visible(self) -> bool {
        self.conforming() || (self.cpl <= self.dpl() && self.rpl <= self.dpl())
    }
    fn lar(self) -> Verdict {
        // Tables 3-54 (LAR): which system types it knows.
        let known = match (self.system(), self.long) {
            (false, _) => true,
            (true, false) => [1, 2, 3, 4, 5, 9, 11, 12].contains(&(self.access & 15)),
            (true, true) => [2, 9, 11, 12].contains(&(self.access & 15)),
        };
        Sees(known && self.visible())
    }
    fn lsl(self) -> Verdict {
        let known = match (self.system(), self.long) {
            (false, _) => true,
            (true, false) => [1, 2, 3, 9, 11].contains(&(self.access & 15)),
            (true, true) => [2, 9, 11].contains(&(self.access & 15)),
        };
        Sees(known && self.visible())
    }
    fn verr(self) -> Verdict {
        Sees(self.readable() && self.visible())
    }
    fn verw(self) -> Verdict {
        Sees(self.writable() && self.visible())
    }
}

/// Runs `code` with the selector in AX (and at [`CODE`] + 0x80 as a far pointer), and sees what comes of it.
fn verdict(r: &mut Rig, q: Query, code: &[u8], looks: bool) -> Verdict {
    let selector = SPARE | q.rpl as u16;
    r.set_descriptor(SPARE, descriptor(0, 0xf_ffff, q.access | q.size << 13 | 0x8000));
    r.put(GDT + u64::from(SPARE) + 8, &[0; 8]);
    r.state.gpr[0] = selector.into();
    let far = [&(HANDLERS as u32 + 16 * 40).to_le_bytes()[..], &selector.to_le_bytes()].concat();
    r.put(CODE + 0x80, &far);
    r.state.gpr[3] = CODE + 0x80;
    let (_, s) = r.bench.run(code, &r.state.clone(), 1);
    let faulted = s.rip.wrapping_sub(HANDLERS);
    if faulted % 16 == 0 && faulted / 16 < 32 {
        let sp = s.gpr[4];
        let error = if r.long { r.get64(sp) } else { r.get32(sp).into() };
        assert_eq!(error, u64::from(SPARE), "{q:x?}");
        return Faults((faulted / 16) as u8);
    }
    if looks { Sees(s.rflags & 0x40 != 0) } else { Loads }
}

#[test]
fn every_access_byte() {
    let rigs: [(u64, bool, fn() -> Rig); 4] = [
        (0, false, Rig::protected),
        (3, false, || Rig::protected().user()),
        (0, true, Rig::long),
        (3, true, || Rig::long().user()),
    ];
    for (cpl, long, make) in rigs {
        let mut r = make();
        for access in 0..256 {
            for rpl in 0..4 {
                let q = Query { access, size: 0, rpl, cpl, long };
                let mut check = |code: &[u8], looks, want: Verdict| {
                    let got = verdict(&mut r, q, code, looks);
                    assert_eq!(got, want, "{code:x?} with {q:x?}");
                };
                check(&[0x8e, 0xd8], false, q.data());
                check(&[0x8e, 0xe8], false, q.data());
                check(&[0x8e, 0xd0], false, q.stack());
                check(&[0x0f, 0x02, 0xc8], true, q.lar());
                check(&[0x0f, 0x03, 0xc8], true, q.lsl());
                check(&[0x0f, 0x00, 0xe0], true, q.verr());
                check(&[0x0f, 0x00, 0xe8], true, q.verw());
                for size in 0..4 {
                    let q = Query { size, ..q };
                    if let Some(want) = q.jump() {
                        let got = verdict(&mut r, q, &[0xff, 0x2b], false);
                        assert_eq!(got, want, "far jump with {q:x?}");
                    }
                }
            }
        }
    }
}
