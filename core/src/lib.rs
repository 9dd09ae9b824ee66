//! The seam between accelerators and machines.
//!
//! An *accelerator* executes guest instructions (or, for qtest, deliberately does not); a *machine* is everything else. This crate holds
//! what both agree on: the accelerator traits and registry, the board with its lock, memory, clocks, CPU state and back ends. It
//! contains no accelerator and no device model.

pub mod accel;
pub mod backend;
pub mod board;
pub mod clock;
pub mod event;
pub mod guest_error;
pub mod machine;
pub mod mem;
mod named;
pub mod object;
pub mod pci;
#[cfg(test)]
mod testing;
pub mod vm;
pub mod x86;

/// `; did you mean 'x'?` to follow a text about a name that is not known, or nothing where nothing is close.
pub fn did_you_mean(close: Option<&str>) -> String {
    close.map(|name| format!("; did you mean '{name}'?")).unwrap_or_default()
}

/// The one of `names` that `typo` most likely means, if any is close enough to be worth proposing.
pub fn closest<'a>(typo: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    names
        .into_iter()
        .map(|n| (strsim::damerau_levenshtein(typo, n), n))
        .filter(|&(d, n)| d <= 2.max(n.len() / 3) && d < n.len())
        .min_by_key(|&(d, _)| d)
        .map(|(_, n)| n)
}
