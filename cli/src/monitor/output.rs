//! The text that a command produces, and how it fails.

use crate::control;
use std::fmt;

/// Longest text of one command, in bytes. What a guest can make long (its page tables) must not fill the host.
const MOST: usize = 4 << 20;
const CUT: &str = "\n... (there is more)\n";

/// The text of a command. Once it is full, writing fails, so that whoever writes stops.
#[derive(Default)]
pub(super) struct Output {
    text: String,
    full: bool,
}

impl fmt::Write for Output {
    fn write_str(&mut self, s: &str) -> fmt::Result {
        if self.full {
            return Err(fmt::Error);
        }
        if self.text.len() + s.len() > MOST {
            self.full = true;
            self.text.push_str(CUT);
            return Err(fmt::Error);
        }
        self.text.push_str(s);
        Ok(())
    }
}

impl Output {
    /// All of it, with the reason for which the command failed.
    pub(super) fn finish(mut self, result: Done) -> String {
        match result {
            Ok(()) | Err(Failure::Full) => {}
            Err(Failure::Plain(reason)) => self.text.push_str(&format!("{reason}\n")),
            Err(Failure::Command(reason)) => self.text.push_str(&format!("Error: {reason}\n")),
        }
        self.text
    }
}

/// Why a command has not done what it was asked for. How each kind is shown is QEMU's.
#[derive(Debug)]
pub(super) enum Failure {
    /// It was not understood, or not found.
    Plain(String),
    /// It was tried.
    Command(String),
    /// Its text is as long as it may be.
    Full,
}

impl Failure {
    pub(super) fn plain(reason: impl Into<String>) -> Self {
        Self::Plain(reason.into())
    }
    pub(super) fn command(reason: impl fmt::Display) -> Self {
        Self::Command(reason.to_string())
    }
}

impl From<fmt::Error> for Failure {
    fn from(_: fmt::Error) -> Self {
        Self::Full
    }
}

impl From<control::Error> for Failure {
    fn from(e: control::Error) -> Self {
        Self::Command(e.desc)
    }
}

/// The result of a command.
pub(super) type Done = Result<(), Failure>;

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write;

    #[test]
    fn whoever_writes_without_end_is_stopped() {
        fn endless(out: &mut Output) -> Done {
            loop {
                writeln!(out, "more")?;
            }
        }
        let mut out = Output::default();
        let result = endless(&mut out);
        let text = out.finish(result);
        assert!(text.len() < MOST + 100 && text.ends_with(CUT));
    }
}
