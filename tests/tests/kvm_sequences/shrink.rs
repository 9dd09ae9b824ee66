//! From a case that fails to a small one that fails in the same way.

use super::case::Case;

/// Cases that are a bit smaller.
fn smaller(case: &Case) -> Vec<Case> {
    let mut all = Vec::new();
    for n in (0..case.steps.len()).rev() {
        let mut c = case.clone();
        c.steps.remove(n);
        all.push(c);
    }
    for (n, step) in case.steps.iter().enumerate() {
        if step.intr {
            let mut c = case.clone();
            c.steps[n].intr = false;
            all.push(c);
        }
        for k in 0..step.sets.len() {
            let mut c = case.clone();
            c.steps[n].sets.remove(k);
            all.push(c);
        }
        for k in 0..step.pokes.len() {
            let mut c = case.clone();
            c.steps[n].pokes.remove(k);
            all.push(c);
        }
        if let [first, _, ..] = step.code[..]
            && matches!(first, 0x26 | 0x2e | 0x36 | 0x3e | 0x64..=0x67 | 0xf2 | 0xf3)
        {
            let mut c = case.clone();
            c.steps[n].code.remove(0);
            all.push(c);
        }
    }
    all.retain(|c| !c.steps.is_empty());
    all
}

/// The smallest that `fails`, by leaving away one thing after the other.
pub fn shrink(case: &Case, mut fails: impl FnMut(&Case) -> bool) -> Case {
    let mut best = case.clone();
    while let Some(better) = smaller(&best).into_iter().find(&mut fails) {
        best = better;
    }
    best
}
