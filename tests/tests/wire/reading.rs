//! What a machine is asked, and how two machines' answers are compared.

use std::collections::BTreeMap;
use std::fmt::{self, Write as _};

/// Answers of one machine, by the name of what was asked, in the order of asking.
#[derive(Default)]
pub struct Readings(Vec<(String, String)>);

impl Readings {
    /// Notes an answer.
    pub fn note(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.push((name.into(), value.into()));
    }
    /// Notes a number, in hexadecimal.
    pub fn number(&mut self, name: impl Into<String>, value: impl Into<u64>) {
        self.note(name, format!("{:#x}", value.into()));
    }
    /// Notes bytes, in hexadecimal.
    pub fn bytes(&mut self, name: impl Into<String>, bytes: &[u8]) {
        let text = bytes.iter().fold(format!("{} bytes ", bytes.len()), |mut text, b| {
            let _ = write!(text, "{b:02x}");
            text
        });
        self.note(name, text);
    }
    /// Notes all that `other` has, under a topic of its own.
    pub fn append(&mut self, topic: &str, other: Self) {
        self.0.extend(other.0.into_iter().map(|(name, value)| (format!("{topic} {name}"), value)));
    }
    fn by_name(&self) -> BTreeMap<&str, &str> {
        let map: BTreeMap<_, _> = self.0.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(map.len(), self.0.len(), "each reading has a name of its own");
        map
    }
}

/// A difference between two machines.
#[derive(Debug, PartialEq, Eq)]
pub struct Difference {
    /// What was asked.
    pub name: String,
    /// Gearbox's answer; `None` where it was not asked.
    pub ours: Option<String>,
    /// QEMU's.
    pub theirs: Option<String>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [ours, theirs] = [&self.ours, &self.theirs].map(|v| v.as_deref().unwrap_or("-"));
        writeln!(f, "{}", self.name)?;
        // Tables of several KiB differ somewhere near the beginning of their difference.
        let start = ours.bytes().zip(theirs.bytes()).take_while(|(a, b)| a == b).count().saturating_sub(40);
        for (who, text) in [("Gearbox", ours), ("QEMU", theirs)] {
            let shown: String = text.chars().skip(start).take(240).collect();
            writeln!(f, "    {who:8}{}{shown}", if start > 0 { "..." } else { "" })?;
        }
        Ok(())
    }
}

/// What two machines answer differently. Where a thing is missing on one of them, `pci 01.1` for example, the readings about its parts, `pci 01.1 BAR 4`, are
/// missing with it and are not told.
pub fn differences(ours: &Readings, theirs: &Readings) -> Vec<Difference> {
    let (ours, theirs) = (ours.by_name(), theirs.by_name());
    let names = ours.keys().chain(theirs.keys().filter(|name| !ours.contains_key(*name)));
    let own = |value: Option<&&str>| value.map(|v| (*v).to_owned());
    let missing = |name: &str| ours.contains_key(name) != theirs.contains_key(name);
    let part_of_missing = |name: &str| name.match_indices(' ').any(|(end, _)| missing(&name[..end]));
    names
        .filter(|name| ours.get(*name) != theirs.get(*name) && !part_of_missing(name))
        .map(|name| Difference { name: (*name).to_owned(), ours: own(ours.get(name)), theirs: own(theirs.get(name)) })
        .collect()
}
