//! Accelerators: what one is, the registry of those linked in, and the choice of one.

mod icount;
mod options;
mod select;

pub use icount::{Icount, IcountError, Shift};
pub use options::{OptionSpec, Options, OptionsError};
pub use select::{
    Candidate, Choice, ChoiceError, Rejection, SelectError, Selected, Selection, TableRow, select, table,
};

use crate::vm::Vm;

/// What the machine needs of an accelerator, known before it is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Number of vCPUs.
    pub cpus: u32,
    /// Time is to be a count of instructions (`-icount`).
    pub icount: Option<Icount>,
}

impl Default for Request {
    fn default() -> Self {
        Self { cpus: 1, icount: None }
    }
}

/// What a probe found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Probe {
    /// It can run the machine.
    Ready(Speed),
    /// What it needs is not there (no device node, no permission, another host).
    Absent(Reason),
    /// It is there and cannot run the machine (a missing capability, a vCPU that does not run).
    Unfit(Reason),
}

/// How fast an accelerator that is ready executes the guest's kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speed {
    /// As fast as this accelerator is meant to be.
    Full,
    /// Measured to be much slower, in million instructions a second: a KVM that emulates ring 0. It obeys when named, and
    /// ranks last in the automatic choice.
    Slow {
        /// Million instructions a second.
        mips: u32,
    },
}

/// Why not, and what the user can do about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reason {
    /// One line, without a full stop.
    pub text: String,
    /// What gets the user going, if anything does.
    pub hint: Option<String>,
}

impl Reason {
    /// A reason without a hint.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), hint: None }
    }
    /// Adds a hint.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.hint {
            Some(hint) => write!(f, "{} ({hint})", self.text),
            None => f.write_str(&self.text),
        }
    }
}

/// Why [`Accelerator::open`] failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The accelerator is not usable here.
    #[error("{0}")]
    Unusable(Reason),
    /// An option has a value that it cannot honour.
    #[error("option '{key}': {reason}")]
    Option {
        /// The option.
        key: String,
        /// What is wrong.
        reason: String,
    },
}

/// A thing that executes guest instructions: QEMU's `AccelClass`.
pub trait Accelerator: Sync {
    /// Name as in `-accel`.
    fn name(&self) -> &'static str;
    /// One line for `-accel help`.
    fn description(&self) -> &'static str;
    /// Rank in the automatic choice, higher first; `None` when it must be named.
    fn auto_priority(&self) -> Option<u8>;
    /// The options that it takes after its name.
    fn options(&self) -> &'static [OptionSpec];
    /// Are the options' values such that it could honour them? Asked of every accelerator that is named, before any is probed, so that no
    /// fallback hides a mistake of the user.
    ///
    /// # Errors
    /// [`OpenError::Option`] for one that is not.
    fn check(&self, _options: &Options) -> Result<(), OpenError> {
        Ok(())
    }
    /// Could it run this? Finds out by doing, in at most a few milliseconds.
    fn probe(&self, request: &Request, options: &Options) -> Probe;
    /// Opens it.
    ///
    /// # Errors
    /// Specifically why not.
    fn open(&self, request: &Request, options: &Options) -> Result<Box<dyn Vm>, OpenError>;
}

/// An entry of the registry: `inventory::submit! { AccelEntry(&Kvm) }`.
pub struct AccelEntry(pub &'static dyn Accelerator);

inventory::collect!(AccelEntry);

/// All accelerators linked into this program, the best automatic choice first, those that must be named last.
///
/// The linker drops a crate that nothing names, and its entry with it: a program says `use gearbox_accel_kvm as _;`.
pub fn registered() -> Vec<&'static dyn Accelerator> {
    let mut all: Vec<_> = inventory::iter::<AccelEntry>().map(|e| e.0).collect();
    all.sort_by_key(|a| (std::cmp::Reverse(a.auto_priority()), a.name()));
    all
}
