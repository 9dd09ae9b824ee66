//! What came of the steps, by kind.

use super::play::{Played, Verdict};
use std::collections::BTreeMap;
use std::fmt;

/// With fewer cases than this, nothing is said about their number.
const ENOUGH_CASES: u64 = 100;

/// What may come of a step; the columns of the report.
const OUTCOMES: [&str; 5] = ["same", "differs", "gap", "cannot", "nowhere"];

/// Counts by kind of step.
#[derive(Default)]
pub struct Report {
    kinds: BTreeMap<String, [u64; OUTCOMES.len()]>,
    /// Known faults of KVM, and what it could not do.
    why: BTreeMap<String, u64>,
    cases: u64,
}

impl Report {
    /// Counts the steps of a case.
    pub fn add(&mut self, played: &Played) {
        self.cases += 1;
        for (step, verdict) in &played.steps {
            let (outcome, why) = match verdict {
                Verdict::Same => (0, None),
                Verdict::Differs(_) => (1, None),
                Verdict::Gap(name) => (2, Some(format!("gap: {name}"))),
                Verdict::Cannot(why) => (3, Some(format!("cannot: {why}"))),
                Verdict::Nowhere => (4, None),
            };
            self.kinds.entry(step.kind.clone()).or_default()[outcome] += 1;
            if let Some(why) = why {
                *self.why.entry(why).or_default() += 1;
            }
        }
    }
    fn totals(&self) -> [u64; OUTCOMES.len()] {
        std::array::from_fn(|n| self.kinds.values().map(|counts| counts[n]).sum())
    }
    /// Was enough compared for the result to say something?
    ///
    /// # Panics
    /// It was not.
    pub fn check(&self) {
        let (same, total) = (self.totals()[0], self.totals().iter().sum::<u64>());
        let compared = self.kinds.values().filter(|counts| counts[0] > 0).count();
        let enough = same * 2 > total && compared * 3 > self.kinds.len() * 2;
        assert!(
            self.cases < ENOUGH_CASES || enough,
            "{same} of {total} steps compared, of {compared} kinds: too little to say anything"
        );
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mut row = |name: &str, cells: [String; OUTCOMES.len()]| {
            write!(f, "{name:>25}")?;
            cells.iter().try_for_each(|c| write!(f, " {c:>8}"))?;
            writeln!(f)
        };
        row("", OUTCOMES.map(str::to_owned))?;
        for (name, counts) in &self.kinds {
            row(name, counts.map(|n| n.to_string()))?;
        }
        row(&format!("{} cases", self.cases), self.totals().map(|n| n.to_string()))?;
        self.why.iter().try_for_each(|(why, n)| writeln!(f, "{n} {why}"))
    }
}
