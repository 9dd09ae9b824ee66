//! What ends the program before, or instead of, a machine.

use crate::accel::SelectError;
use crate::args::Problems;
use crate::machine::{BuildError, MachineError};
use crate::messages::tell;

/// Lines for standard error.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure(Vec<String>);

impl Failure {
    /// One line.
    pub(crate) fn line(text: impl ToString) -> Self {
        Self(vec![text.to_string()])
    }
    /// Prints the lines as this program's.
    pub(crate) fn report(&self) {
        for line in &self.0 {
            tell(line);
        }
    }
    /// There is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// With what is wrong besides.
    pub(crate) fn and(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }
}

impl FromIterator<Self> for Failure {
    fn from_iter<T: IntoIterator<Item = Self>>(failures: T) -> Self {
        Self(failures.into_iter().flat_map(|f| f.0).collect())
    }
}

impl From<Problems> for Failure {
    fn from(problems: Problems) -> Self {
        Self(problems.iter().map(ToString::to_string).collect())
    }
}

impl From<anyhow::Error> for Failure {
    /// What was attempted, and what each layer below had to say, on one line.
    fn from(e: anyhow::Error) -> Self {
        Self::line(format!("{e:#}"))
    }
}

impl From<SelectError> for Failure {
    fn from(e: SelectError) -> Self {
        Self::line(match &e {
            SelectError::Choice(_) | SelectError::Option { .. } => format!("-accel {e}"),
            SelectError::Nobody(list) if list.len() == 1 => format!("-accel {e}; -accel help shows what works here"),
            SelectError::Nobody(_) => format!("{e}; -accel help shows what works here"),
        })
    }
}

impl Failure {
    /// Why a machine with this CPU model was not made. If that was not for `devices`, they may not have been looked at.
    pub(crate) fn machine(e: MachineError, cpu: &str, devices: impl FnOnce() -> Self) -> Self {
        let about_devices = matches!(&e, MachineError::Build(e) if is_of_device(e));
        let failure = match e {
            MachineError::Build(e) => Self(lines(e)),
            MachineError::Cpu(e) => Self::line(format!("-cpu {cpu}: {e}")),
            other => Self::line(other),
        };
        if about_devices { failure } else { failure.and(devices()) }
    }
}

fn is_of_device(e: &BuildError) -> bool {
    match e {
        BuildError::Several(all) => all.iter().any(is_of_device),
        one => matches!(one, BuildError::Device { .. }),
    }
}

fn lines(e: BuildError) -> Vec<String> {
    match e {
        BuildError::Several(all) => all.into_iter().flat_map(lines).collect(),
        one => vec![one.to_string()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_problems_are_several_lines() {
        let one = |value: &str| BuildError::Option { option: "device", value: value.into(), reason: "no".into() };
        let e = BuildError::Several(vec![one("a"), BuildError::Several(vec![one("b"), one("c")])]);
        let expected = ["-device a: no", "-device b: no", "-device c: no"].map(str::to_owned);
        let besides = || Failure::line("-device d: no");
        let all = [&expected[..], &["-device d: no".to_owned()]].concat();
        assert_eq!(Failure::machine(MachineError::Build(e), "max", besides), Failure(all));
    }
}
