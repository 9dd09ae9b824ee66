//! The differences that are meant to be: rows of a table in `docs/compatibility.md`.

use super::reading::Difference;
use std::path::Path;

const HEADING: &str = "## On the wire";

/// A row: which readings differ, and why.
pub struct Row {
    /// Names of readings; `*` stands for any text.
    pub patterns: Vec<String>,
    /// The reason.
    pub why: String,
}

/// All rows.
pub fn rows() -> Vec<Row> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/compatibility.md");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let (_, section) = text.split_once(HEADING).unwrap_or_else(|| panic!("{}: no '{HEADING}'", path.display()));
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter(|l| l.starts_with("| `")).map(|line| {
        let cells: Vec<_> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [patterns, why] = cells[..] else { panic!("a row has two cells: {line}") };
        assert!(!why.is_empty(), "a difference has a reason: {line}");
        let patterns = patterns.split(", ").map(|p| p.trim_matches('`').to_owned());
        Row { patterns: patterns.collect(), why: why.to_owned() }
    });
    rows.collect()
}

/// Does `name` fit a pattern in which `*` stands for any text?
pub fn fits(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, rest)) => name.strip_prefix(head).is_some_and(|tail| {
            (0..=tail.len()).filter(|&at| tail.is_char_boundary(at)).any(|at| fits(rest, &tail[at..]))
        }),
    }
}

/// What is wrong with these differences: those without a row, and what rows say about these topics (first words of readings) without a difference.
pub fn wrong(topics: &[&str], found: &[Difference]) -> Vec<String> {
    let rows = rows();
    let patterns = || rows.iter().flat_map(|r| r.patterns.iter().map(|p| (p.as_str(), r.why.as_str())));
    let unknown = found.iter().filter(|d| !patterns().any(|(p, _)| fits(p, &d.name)));
    let about = |pattern: &str| pattern.split([' ', '*']).next().is_some_and(|topic| topics.contains(&topic));
    let stale = patterns()
        .filter(|(pattern, _)| about(pattern) && !found.iter().any(|d| fits(pattern, &d.name)))
        .map(|(pattern, why)| format!("`{pattern}`: there is no such difference any more ({why})"));
    unknown.map(Difference::to_string).chain(stale).collect()
}

#[test]
fn patterns() {
    assert!(fits("a b", "a b") && !fits("a b", "a bc"));
    assert!(fits("pci 01.*", "pci 01.3 space") && fits("*", "") && fits("a*c*", "abbcb") && !fits("a*c", "ab"));
}
