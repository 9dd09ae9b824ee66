//! Properties that are on, off, or left to the device.

use gearbox_core::object::{Backends, PropertyValue, Value, parse_switch};

/// A switch that may be left to the device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnOffAuto {
    /// As fits.
    #[default]
    Auto,
    /// On.
    On,
    /// Off.
    Off,
}

impl OnOffAuto {
    /// The switch, where the device would have it as `auto`.
    pub fn or(self, auto: bool) -> bool {
        match self {
            Self::Auto => auto,
            on => on == Self::On,
        }
    }
}

impl PropertyValue for OnOffAuto {
    const KIND: &'static str = "OnOffAuto";
    fn to_value(&self) -> Value {
        match self {
            Self::Auto => "auto",
            Self::On => "on",
            Self::Off => "off",
        }
        .into()
    }
    fn parse(text: &str, _: &dyn Backends) -> Result<Self, String> {
        match (text, parse_switch(text)) {
            ("auto", _) => Ok(Self::Auto),
            (_, Some(true)) => Ok(Self::On),
            (_, Some(false)) => Ok(Self::Off),
            _ => Err("expects 'on', 'off' or 'auto'".to_owned()),
        }
    }
}
