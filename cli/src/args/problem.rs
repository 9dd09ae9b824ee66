//! What is wrong with a command line, all of it.

use std::fmt;

/// One thing that is wrong: an option, its value, why, and what would get the user going.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The option as given, or the word that is not one.
    pub option: String,
    /// Its value.
    pub value: Option<String>,
    /// What is wrong, with a hint.
    pub reason: String,
}

impl Problem {
    /// About an option and its value; the option without its dash.
    pub fn new(option: &str, value: impl Into<String>, reason: impl fmt::Display) -> Self {
        Self { option: format!("-{option}"), value: Some(value.into()), reason: reason.to_string() }
    }
    /// About a word of the command line.
    pub fn word(word: &str, reason: impl Into<String>) -> Self {
        Self { option: word.to_owned(), value: None, reason: reason.into() }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Some(value) => write!(f, "{} {value}: {}", self.option, self.reason),
            None => write!(f, "{}: {}", self.option, self.reason),
        }
    }
}

/// Everything that is wrong, in the order in which it was found. One line each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(Vec<Problem>);

impl Problems {
    /// Adds one.
    pub fn add(&mut self, problem: Problem) {
        self.0.push(problem);
    }
    /// Gives the value of a success; notes a failure and gives a stand-in, so that the search for problems goes on.
    pub fn value<T: Default>(&mut self, result: Result<T, impl Into<Self>>) -> T {
        result.unwrap_or_else(|e| {
            self.0.extend(e.into().0);
            T::default()
        })
    }
    /// The same without a stand-in.
    pub fn some<T>(&mut self, result: Result<T, impl Into<Self>>) -> Option<T> {
        self.value(result.map(Some).map_err(Into::into))
    }
    /// Nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
    /// The value, if nothing is wrong.
    ///
    /// # Errors
    /// These problems, if there are any.
    pub fn or<T>(self, value: T) -> Result<T, Self> {
        if self.0.is_empty() { Ok(value) } else { Err(self) }
    }
    /// The problems.
    pub fn iter(&self) -> impl Iterator<Item = &Problem> {
        self.0.iter()
    }
}

impl From<Problem> for Problems {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl std::error::Error for Problems {}
