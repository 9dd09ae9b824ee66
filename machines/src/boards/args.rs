//! `-device` as given on the command line, taken apart with every mistake named.

use gearbox_core::backend::chardev::CharBackend;
use gearbox_core::closest;
use gearbox_core::machine::{BuildError, DeviceArg, MachineConfig};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The properties of one `-device`, taken one by one; [`Properties::finish`] refuses what nobody has taken.
pub struct Properties<'a> {
    device: &'a DeviceArg,
    left: BTreeMap<&'a str, &'a str>,
    known: Vec<&'static str>,
}

impl<'a> Properties<'a> {
    /// The properties of `device`. The last of several values counts.
    pub fn new(device: &'a DeviceArg) -> Self {
        let mut left: BTreeMap<_, _> = device.properties.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        left.remove("id");
        Self { device, left, known: vec!["id"] }
    }
    /// An error about this device.
    pub fn error(&self, reason: impl Into<String>) -> BuildError {
        BuildError::Option { option: "device", value: self.device.type_name.clone(), reason: reason.into() }
    }
    /// The value of a property.
    pub fn text(&mut self, name: &'static str) -> Option<&'a str> {
        self.known.push(name);
        self.left.remove(name)
    }
    /// A number: decimal, or hexadecimal after `0x`.
    ///
    /// # Errors
    /// It is none, or too big.
    pub fn number<T: TryFrom<u64>>(&mut self, name: &'static str) -> Result<Option<T>, BuildError> {
        let Some(text) = self.text(name) else { return Ok(None) };
        let parsed = match text.strip_prefix("0x").or(text.strip_prefix("0X")) {
            Some(hex) => u64::from_str_radix(hex, 16),
            None => text.parse(),
        };
        let value = parsed.ok().and_then(|v| T::try_from(v).ok());
        value.map(Some).ok_or_else(|| self.error(format!("property '{name}': '{text}' is not a number in range")))
    }
    /// The back end that a property names.
    ///
    /// # Errors
    /// There is none of that id.
    pub fn chardev(
        &mut self,
        name: &'static str,
        config: &MachineConfig,
    ) -> Result<Option<Arc<dyn CharBackend>>, BuildError> {
        let Some(id) = self.text(name) else { return Ok(None) };
        let found = config.chardevs.get(id).cloned();
        let ids = config.chardevs.keys().map(String::as_str);
        found.map(Some).ok_or_else(|| self.error(format!("there is no -chardev '{id}'{}", hint(id, ids))))
    }
    /// Refuses what is left.
    ///
    /// # Errors
    /// The first property that the device does not have.
    pub fn finish(self) -> Result<(), BuildError> {
        match self.left.keys().next() {
            None => Ok(()),
            Some(name) => {
                Err(self.error(format!("there is no property '{name}'{}", hint(name, self.known.iter().copied()))))
            }
        }
    }
}

/// `; did you mean 'x'?`, or nothing.
pub fn hint<'a>(typo: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    closest(typo, names).map(|n| format!("; did you mean '{n}'?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arg(properties: &[(&str, &str)]) -> DeviceArg {
        DeviceArg {
            type_name: "isa-debug-exit".into(),
            properties: properties.iter().map(|(k, v)| (k.to_string(), v.to_string())).collect(),
        }
    }

    #[test]
    fn numbers_and_what_is_left_over() {
        let a = arg(&[("iobase", "0xf4"), ("iosize", "4"), ("id", "x"), ("iobas", "1")]);
        let mut p = Properties::new(&a);
        assert_eq!(p.number::<u16>("iobase").unwrap(), Some(0xf4));
        assert_eq!(p.number::<u8>("iosize").unwrap(), Some(4));
        let e = p.finish().unwrap_err().to_string();
        assert!(e.contains("'iobas'; did you mean 'iobase'?"), "{e}");
        let a = arg(&[("iobase", "0x10000")]);
        assert!(Properties::new(&a).number::<u16>("iobase").unwrap_err().to_string().contains("0x10000"));
    }

    #[test]
    fn a_chardev_must_exist() {
        let a = arg(&[("chardev", "c0")]);
        assert!(Properties::new(&a).chardev("chardev", &MachineConfig::default()).is_err());
    }
}
