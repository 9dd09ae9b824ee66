//! What a guest was expected to say, and what it said instead.

use crate::machine::Outcome;
use regex::bytes::Regex;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// What [`Vm::expect`](super::Vm::expect) found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What came before it and had not been heard.
    pub before: String,
    groups: Vec<Option<String>>,
    names: BTreeMap<String, usize>,
}

impl Found {
    /// The first match in an output, and where it ends.
    pub(super) fn first(regex: &Regex, output: &[u8]) -> Option<(Self, usize)> {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let found = regex.captures(output)?;
        let whole = found.get(0)?;
        let groups = found.iter().map(|g| g.map(|g| text(g.as_bytes()))).collect();
        let names = regex.capture_names().enumerate().filter_map(|(n, name)| Some((name?.to_owned(), n))).collect();
        Some((Self { before: text(&output[..whole.start()]), groups, names }, whole.end()))
    }
    /// Group `n` of the expression, the whole match being 0; `None` if there is none or it took no part.
    pub fn get(&self, n: usize) -> Option<&str> {
        self.groups.get(n)?.as_deref()
    }
    /// The group of that name, likewise.
    pub fn name(&self, name: &str) -> Option<&str> {
        self.get(*self.names.get(name)?)
    }
}

impl std::ops::Index<usize> for Found {
    type Output = str;
    /// Group `n`.
    ///
    /// # Panics
    /// There is none, or it took no part in the match.
    fn index(&self, n: usize) -> &str {
        self.get(n).unwrap_or_else(|| panic!("group {n} took part in the match"))
    }
}

/// Why the guest did not do what was expected, with what is known of it.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ExpectError {
    /// The expression is wrong.
    #[error("{0}")]
    Pattern(#[from] regex::Error),
    /// The machine has no serial port that the test talks to.
    #[error("no serial port of this machine was given as Expect")]
    NoPort,
    /// The time is over.
    #[error("{what} did not come within {after:?}\n{scene}")]
    Late {
        /// What was expected.
        what: String,
        /// The time that it had.
        after: Duration,
        /// The guest at that moment.
        scene: Box<Scene>,
    },
    /// The machine ended first.
    #[error("the machine ended ({outcome:?}) before {what} came\n{scene}")]
    Ended {
        /// What was expected.
        what: String,
        /// How it ended.
        outcome: Outcome,
        /// The guest at its end.
        scene: Box<Scene>,
    },
}

/// The guest at the moment of a failure.
#[derive(Clone, Debug, Default)]
pub struct Scene {
    /// The last that its serial port said.
    pub serial: String,
    /// Its screen, as text.
    pub screen: String,
    /// Registers of its CPUs.
    pub registers: String,
}

impl fmt::Display for Scene {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "--- serial port, its end:\n{}\n", self.serial)?;
        if !self.screen.is_empty() {
            write!(f, "--- screen:\n{}\n", self.screen)?;
        }
        write!(f, "--- registers:\n{}", self.registers)
    }
}
