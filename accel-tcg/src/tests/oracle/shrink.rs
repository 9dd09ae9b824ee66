//! From a case that fails to a small one that fails too.

use super::case::Case;
use gearbox_core::x86::state::FpuState;

/// Steps that make a case smaller. `None`: it does not apply.
fn smaller(c: &Case, step: usize) -> Option<Case> {
    let mut n = c.clone();
    match step {
        // Without its first byte, if that is a prefix.
        0..4 => {
            let at = step;
            let prefix = |b: u8| matches!(b, 0x26 | 0x2e | 0x36 | 0x3e | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3);
            if c.code().len() < at + 2 || !c.code()[..=at].iter().all(|b| prefix(*b) || b & 0xf0 == 0x40) {
                return None;
            }
            let mut code = c.code().to_vec();
            code.remove(at);
            n.set_code(&code);
            if n.next() == c.next() - 1 && c.at as u64 + u64::from(c.len) == super::case::CODE_LEN {
                n.at += 1;
            }
        }
        4..20 => n.gpr[step - 4] = 0,
        20..36 => n.gpr[step - 20] &= 0xff,
        36 => n.fpu = Case::new().fpu,
        37 => n.rflags = 2,
        38 => n.patch_len = 0,
        39 => n.patch = [0; super::case::PATCH],
        40 if c.next() <= super::case::CODE + super::case::CODE_LEN => n.at = Case::new().at,
        41..=56 => {
            let f = FpuState::from_xsave(&c.fpu);
            let mut s = f.clone();
            (s.xmm[step - 41], s.ymm_hi[step - 41]) = (0, 0);
            n.fpu = s.to_xsave();
        }
        57..=64 => {
            let mut s = FpuState::from_xsave(&c.fpu);
            s.st[step - 57] = 0;
            n.fpu = s.to_xsave();
        }
        65 => {
            let mut s = FpuState::from_xsave(&c.fpu);
            s.mxcsr = 0x1f80;
            n.fpu = s.to_xsave();
        }
        66 => {
            let mut s = FpuState::from_xsave(&c.fpu);
            (s.fcw, s.fsw) = (0x37f, s.fsw & 0x3800);
            n.fpu = s.to_xsave();
        }
        67 => n.patch_len = n.patch_len.min(8),
        _ => return None,
    }
    (n != *c).then_some(n)
}
const STEPS: usize = 68;

/// The smallest case that `fails`, by leaving away one thing after the other.
pub(super) fn shrink(case: &Case, mut fails: impl FnMut(&Case) -> bool) -> Case {
    let mut best = case.clone();
    loop {
        let mut progress = false;
        for step in 0..STEPS {
            if let Some(c) = smaller(&best, step)
                && fails(&c)
            {
                best = c;
                progress = true;
            }
        }
        if !progress {
            return best;
        }
    }
}
