//! `key=value` options of an accelerator.

use std::collections::BTreeMap;

/// An option that an accelerator takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OptionSpec {
    /// The key.
    pub key: &'static str,
    /// The values it takes, for people: `on|off|split`, `PATH`.
    pub values: &'static str,
    /// What it is where nobody says anything.
    pub default: &'static str,
    /// What it does, in one line.
    pub help: &'static str,
}

/// An option that is not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// No such key.
    #[error("accelerator '{accel}' has no option '{key}'{}", crate::did_you_mean(*.close))]
    Unknown {
        /// The accelerator.
        accel: String,
        /// The key.
        key: String,
        /// A known key that is close to it.
        close: Option<&'static str>,
    },
    /// A key without a value.
    #[error("option '{0}' needs a value ('{0}=...')")]
    NoValue(String),
}

/// Options as given, checked against an accelerator's [`OptionSpec`]s.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options(BTreeMap<&'static str, String>);

impl Options {
    /// Checks raw options.
    ///
    /// # Errors
    /// The first key that is not in `specs`, or that has no value.
    pub fn parse(accel: &str, specs: &[OptionSpec], raw: &[(String, Option<String>)]) -> Result<Self, OptionsError> {
        let mut map = BTreeMap::new();
        for (key, value) in raw {
            let spec = specs.iter().find(|s| s.key == key).ok_or_else(|| OptionsError::Unknown {
                accel: accel.to_owned(),
                key: key.clone(),
                close: crate::closest(key, specs.iter().map(|s| s.key)),
            })?;
            let value = value.clone().ok_or_else(|| OptionsError::NoValue(key.clone()))?;
            map.insert(spec.key, value);
        }
        Ok(Self(map))
    }
    /// The value of an option, if it was given.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }
}
