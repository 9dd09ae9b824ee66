//! The choice of an accelerator: what was asked for, what each one answered, and who runs the machine.

use super::{Accelerator, OpenError, Options, OptionsError, Probe, Reason, Request, Speed};
use crate::vm::Vm;
use std::fmt;

/// One accelerator as asked for on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its name.
    pub name: String,
    /// Options behind the name; `None` where a key has no value.
    pub options: Vec<(String, Option<String>)>,
}

/// What was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// Nothing: every accelerator with a priority, best first.
    #[default]
    Automatic,
    /// These, in order.
    Named(Vec<Candidate>),
}

/// A choice that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChoiceError {
    /// No accelerator of that name.
    #[error("invalid accelerator '{name}'; {}", known(.close, .all))]
    Unknown {
        /// The name.
        name: String,
        /// One that is close to it.
        close: Option<&'static str>,
        /// All that there are.
        all: Vec<&'static str>,
    },
    /// A name is missing: an empty argument, or two colons in a row.
    #[error("an accelerator's name is missing")]
    Empty,
    /// Options stand behind a list of names.
    #[error("options cannot follow a list of accelerators; give each its own -accel")]
    OptionsOfList,
    /// An option is not understood.
    #[error(transparent)]
    Option(#[from] OptionsError),
}

fn known(close: &Option<&'static str>, all: &[&'static str]) -> String {
    match close {
        Some(c) => format!("did you mean '{c}'?"),
        None => format!("there are: {}", all.join(", ")),
    }
}

impl Choice {
    /// Reads the arguments of all `-accel` options (`kvm,kernel-irqchip=split`, `tcg`, `kvm:tcg`), in order. `-machine accel=kvm:tcg` is the same as one such argument.
    ///
    /// # Errors
    /// A name or an option that is missing, unknown or misplaced.
    pub fn parse<'a>(
        args: impl IntoIterator<Item = &'a str>,
        registry: &[&'static dyn Accelerator],
    ) -> Result<Self, ChoiceError> {
        let mut named = Vec::new();
        for arg in args {
            let mut parts = arg.split(',');
            let names = parts.next().unwrap_or_default();
            let names = names.strip_prefix("accel=").unwrap_or(names);
            let options: Vec<_> = parts
                .map(|p| match p.split_once('=') {
                    Some((k, v)) => (k.to_owned(), Some(v.to_owned())),
                    None => (p.to_owned(), None),
                })
                .collect();
            if names.contains(':') && !options.is_empty() {
                return Err(ChoiceError::OptionsOfList);
            }
            for name in names.split(':') {
                let candidate = Candidate { name: name.to_owned(), options: options.clone() };
                candidate.resolve(registry)?;
                named.push(candidate);
            }
        }
        Ok(if named.is_empty() { Self::Automatic } else { Self::Named(named) })
    }
}

impl Candidate {
    fn resolve(
        &self,
        registry: &[&'static dyn Accelerator],
    ) -> Result<(&'static dyn Accelerator, Options), ChoiceError> {
        if self.name.is_empty() {
            return Err(ChoiceError::Empty);
        }
        let accel = *registry.iter().find(|a| a.name() == self.name).ok_or_else(|| ChoiceError::Unknown {
            name: self.name.clone(),
            close: crate::closest(&self.name, registry.iter().map(|a| a.name())),
            all: registry.iter().map(|a| a.name()).collect(),
        })?;
        Ok((accel, Options::parse(&self.name, accel.options(), &self.options)?))
    }
}

/// An accelerator that was tried, or passed over, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// Its name.
    pub accel: &'static str,
    /// Why it does not run the machine.
    pub reason: Reason,
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.accel, self.reason)
    }
}

/// Who runs the machine, and who does not.
#[derive(Clone)]
pub struct Selection {
    /// The accelerator.
    pub accel: &'static dyn Accelerator,
    /// Its speed as probed.
    pub speed: Speed,
    /// Those that came before it in the order of preference.
    pub rejected: Vec<Rejection>,
}

impl Selection {
    /// The one line that tells the user of a fallback, or of a slow accelerator that obeys because it was named.
    pub fn warning(&self) -> Option<String> {
        if !self.rejected.is_empty() {
            let reasons: Vec<_> = self.rejected.iter().map(ToString::to_string).collect();
            return Some(format!("falling back to {}: {}", self.accel.name(), reasons.join("; ")));
        }
        match self.speed {
            Speed::Full => None,
            Speed::Slow { mips } => Some(format!("{} is slow here: {}", self.accel.name(), slow_text(mips))),
        }
    }
}

/// An opened accelerator.
pub struct Selected {
    /// Who it is.
    pub selection: Selection,
    /// The virtual machine.
    pub vm: Box<dyn Vm>,
}

impl fmt::Debug for Selected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Selected({}, rejected {:?})", self.selection.accel.name(), self.selection.rejected)
    }
}

/// Nobody can run the machine.
#[derive(Debug, thiserror::Error)]
pub enum SelectError {
    /// The choice is not understood.
    #[error(transparent)]
    Choice(#[from] ChoiceError),
    /// Each one's reason.
    #[error("{}", nobody(.0))]
    Nobody(Vec<Rejection>),
    /// An option's value cannot be honoured; no fallback hides a mistake of the user.
    #[error("{accel}: {error}")]
    Option {
        /// The accelerator.
        accel: &'static str,
        /// Which option, and why.
        error: OpenError,
    },
}

fn nobody(rejections: &[Rejection]) -> String {
    match rejections {
        [] => "no accelerator is built into this program".to_owned(),
        [one] => one.to_string(),
        many => {
            let reasons: Vec<_> = many.iter().map(ToString::to_string).collect();
            format!("no accelerator can run the machine: {}", reasons.join("; "))
        }
    }
}

fn slow_text(mips: u32) -> String {
    format!("it executes the guest's kernel at about {mips} million instructions a second")
}

/// Chooses and opens an accelerator. A list is tried in order; a single name never falls back; without a choice, those that are slow here rank
/// below those that are not.
///
/// # Errors
/// Nobody can run the machine, with every reason; or the choice itself is wrong.
pub fn select(
    registry: &[&'static dyn Accelerator],
    choice: &Choice,
    request: &Request,
) -> Result<Selected, SelectError> {
    let mut rejected = Vec::new();
    let mut slow = Vec::new();
    let (list, automatic) = match choice {
        Choice::Named(list) => (list.clone(), false),
        Choice::Automatic => {
            let names = registry.iter().filter(|a| a.auto_priority().is_some());
            (names.map(|a| Candidate { name: a.name().to_owned(), options: Vec::new() }).collect(), true)
        }
    };
    let candidates: Vec<_> = list.iter().map(|c| c.resolve(registry)).collect::<Result<_, _>>()?;
    for (accel, options) in &candidates {
        accel.check(options).map_err(|error| SelectError::Option { accel: accel.name(), error })?;
    }
    for (accel, options) in candidates {
        match accel.probe(request, &options) {
            Probe::Ready(speed @ Speed::Slow { mips }) if automatic => {
                slow.push((accel, options, speed));
                rejected.push(Rejection { accel: accel.name(), reason: Reason::new(slow_text(mips)) });
            }
            Probe::Ready(speed) => match open(accel, &options, request, &mut rejected)? {
                Some(vm) => return Ok(Selected { selection: Selection { accel, speed, rejected }, vm }),
                None => continue,
            },
            Probe::Absent(reason) | Probe::Unfit(reason) => rejected.push(Rejection { accel: accel.name(), reason }),
        }
    }
    for (accel, options, speed) in slow {
        rejected.retain(|r| r.accel != accel.name());
        if let Some(vm) = open(accel, &options, request, &mut rejected)? {
            return Ok(Selected { selection: Selection { accel, speed, rejected }, vm });
        }
    }
    Err(SelectError::Nobody(rejected))
}

fn open(
    accel: &'static dyn Accelerator,
    options: &Options,
    request: &Request,
    rejected: &mut Vec<Rejection>,
) -> Result<Option<Box<dyn Vm>>, SelectError> {
    match accel.open(request, options) {
        Ok(vm) => Ok(Some(vm)),
        Err(OpenError::Unusable(reason)) => {
            rejected.push(Rejection { accel: accel.name(), reason });
            Ok(None)
        }
        Err(error) => Err(SelectError::Option { accel: accel.name(), error }),
    }
}

/// A row of the table that `-accel help` and `query-accelerators` show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableRow {
    /// Name.
    pub name: &'static str,
    /// What it is.
    pub description: &'static str,
    /// Rank in the automatic choice.
    pub priority: Option<u8>,
    /// What its probe found.
    pub probe: Probe,
}

/// Probes every accelerator.
pub fn table(registry: &[&'static dyn Accelerator], request: &Request) -> Vec<TableRow> {
    registry
        .iter()
        .map(|a| TableRow {
            name: a.name(),
            description: a.description(),
            priority: a.auto_priority(),
            probe: a.probe(request, &Options::default()),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::accel::OptionSpec;
    use crate::testing::NullVm;

    struct Fake {
        name: &'static str,
        priority: Option<u8>,
        probe: fn() -> Probe,
    }

    impl Accelerator for Fake {
        fn name(&self) -> &'static str {
            self.name
        }
        fn description(&self) -> &'static str {
            "for tests"
        }
        fn auto_priority(&self) -> Option<u8> {
            self.priority
        }
        fn options(&self) -> &'static [OptionSpec] {
            &[OptionSpec { key: "thread", values: "single|multi", default: "multi", help: "threads" }]
        }
        fn check(&self, options: &Options) -> Result<(), OpenError> {
            match options.get("thread") {
                Some("bad") => Err(OpenError::Option { key: "thread".into(), reason: "takes single or multi".into() }),
                _ => Ok(()),
            }
        }
        fn probe(&self, _: &Request, _: &Options) -> Probe {
            (self.probe)()
        }
        fn open(&self, _: &Request, options: &Options) -> Result<Box<dyn Vm>, OpenError> {
            match options.get("thread") {
                Some("late") => Err(OpenError::Option { key: "thread".into(), reason: "the host has none".into() }),
                _ => Ok(Box::new(NullVm::default())),
            }
        }
    }

    fn ready() -> Probe {
        Probe::Ready(Speed::Full)
    }
    fn slow() -> Probe {
        Probe::Ready(Speed::Slow { mips: 3 })
    }
    fn absent() -> Probe {
        Probe::Absent(Reason::new("no /dev/x").hint("load the module"))
    }
    static FAST: Fake = Fake { name: "fast", priority: Some(20), probe: ready };
    static SLOW: Fake = Fake { name: "slow", priority: Some(30), probe: slow };
    static GONE: Fake = Fake { name: "gone", priority: Some(40), probe: absent };
    static NAMED: Fake = Fake { name: "named", priority: None, probe: ready };
    const ALL: [&'static dyn Accelerator; 4] = [&GONE, &SLOW, &FAST, &NAMED];

    fn run(args: &[&str]) -> Result<Selected, SelectError> {
        select(&ALL, &Choice::parse(args.iter().copied(), &ALL)?, &Request::default())
    }
    fn chosen(args: &[&str]) -> (&'static str, Option<String>) {
        let s = run(args).unwrap().selection;
        (s.accel.name(), s.warning())
    }

    #[test]
    fn automatic_choice_prefers_fast_and_says_why() {
        let (name, warning) = chosen(&[]);
        assert_eq!(name, "fast");
        assert_eq!(
            warning.unwrap(),
            "falling back to fast: gone: no /dev/x (load the module); slow: it executes the guest's kernel at about 3 million instructions a second"
        );
    }

    #[test]
    fn slow_one_obeys_when_named_or_alone() {
        let (name, warning) = chosen(&["slow"]);
        assert_eq!(name, "slow");
        assert!(warning.unwrap().contains("slow is slow here"));
        let only: [&'static dyn Accelerator; 1] = [&SLOW];
        let s = select(&only, &Choice::Automatic, &Request::default()).unwrap().selection;
        assert!(s.rejected.is_empty());
    }

    #[test]
    fn lists_in_every_spelling_fall_back_in_order() {
        for args in [&["gone", "fast"][..], &["gone:fast"], &["accel=gone:fast"]] {
            let (name, warning) = chosen(args);
            assert_eq!(name, "fast");
            assert_eq!(warning.unwrap(), "falling back to fast: gone: no /dev/x (load the module)");
        }
        assert_eq!(chosen(&["named:gone"]), ("named", None));
    }

    #[test]
    fn a_single_name_never_falls_back() {
        assert_eq!(run(&["gone"]).unwrap_err().to_string(), "gone: no /dev/x (load the module)");
    }

    #[test]
    fn mistakes_are_told_with_what_was_close() {
        let text = |args: &[&str]| run(args).unwrap_err().to_string();
        assert_eq!(text(&["fats"]), "invalid accelerator 'fats'; did you mean 'fast'?");
        assert_eq!(text(&["zzzzzz"]), "invalid accelerator 'zzzzzz'; there are: gone, slow, fast, named");
        assert_eq!(text(&["fast,thred=multi"]), "accelerator 'fast' has no option 'thred'; did you mean 'thread'?");
        assert_eq!(text(&["fast,thread"]), "option 'thread' needs a value ('thread=...')");
        assert_eq!(text(&["gone:"]), "an accelerator's name is missing");
        assert_eq!(
            text(&["gone:fast,thread=multi"]),
            "options cannot follow a list of accelerators; give each its own -accel"
        );
        let bad = "option 'thread': takes single or multi";
        assert_eq!(text(&["fast,thread=bad", "named"]), format!("fast: {bad}"));
        assert_eq!(text(&["gone,thread=bad", "fast"]), format!("gone: {bad}"));
        assert_eq!(text(&["fast", "gone,thread=bad"]), format!("gone: {bad}"));
        assert_eq!(text(&["fast,thread=late", "named"]), "fast: option 'thread': the host has none");
    }
}
