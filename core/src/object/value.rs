//! The types that properties have, and how values come from a command line or from JSON.

use super::Value;
use crate::backend::block::{BlockBackend, Drive};
use crate::backend::chardev::{CharBackend, Chardev};
use crate::backend::rng::{Rng, RngSource};
use crate::pci::Devfn;
use std::sync::Arc;

/// Where properties that name a back end find it.
pub trait Backends {
    /// Takes the character back end of that id for a new user.
    ///
    /// # Errors
    /// There is none, or it has as many users as it can have; in words for the user.
    fn chardev(&self, id: &str) -> Result<Arc<dyn CharBackend>, String>;
    /// The drive of that id, or one around the image of that node name.
    ///
    /// # Errors
    /// There is neither; in words for the user.
    fn drive(&self, id: &str) -> Result<Arc<BlockBackend>, String>;
    /// The source of random numbers of that id.
    ///
    /// # Errors
    /// There is none; in words for the user.
    fn rng(&self, id: &str) -> Result<Arc<Rng>, String>;
}

/// There are no back ends.
pub struct NoBackends;

impl Backends for NoBackends {
    fn chardev(&self, id: &str) -> Result<Arc<dyn CharBackend>, String> {
        Err(format!("there is no chardev '{id}'"))
    }
    fn drive(&self, id: &str) -> Result<Arc<BlockBackend>, String> {
        Err(format!("there is no drive '{id}'"))
    }
    fn rng(&self, id: &str) -> Result<Arc<Rng>, String> {
        Err(format!("Device '{id}' not found"))
    }
}

/// A type that a property can have.
pub trait PropertyValue: Sized {
    /// QEMU's name of the type, such as `uint32`.
    const KIND: &'static str;
    /// As JSON.
    fn to_value(&self) -> Value;
    /// From the text of a command line.
    ///
    /// # Errors
    /// What is wrong with it, to follow the name of the property.
    fn parse(text: &str, backends: &dyn Backends) -> Result<Self, String>;
    /// From JSON; a string is read as the text of a command line.
    ///
    /// # Errors
    /// As [`PropertyValue::parse`].
    fn from_value(value: &Value, backends: &dyn Backends) -> Result<Self, String> {
        match value {
            Value::String(text) => Self::parse(text, backends),
            _ => Err(expected("string")),
        }
    }
}

fn expected(what: &str) -> String {
    format!("expected a {what}")
}

/// A whole number as QEMU's command line has it: decimal, hexadecimal after `0x`, octal after `0`.
pub fn parse_unsigned(text: &str) -> Option<u64> {
    let digits = |digits: &str, radix| {
        digits.bytes().all(|b| b.is_ascii_alphanumeric()).then(|| u64::from_str_radix(digits, radix).ok()).flatten()
    };
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => digits(hex, 16),
        None if text.len() > 1 && text.starts_with('0') => digits(&text[1..], 8),
        None => digits(text, 10),
    }
}

/// A switch as QEMU spells it: on, yes, true or y; off, no, false or n.
pub fn parse_switch(text: &str) -> Option<bool> {
    match text {
        "on" | "yes" | "true" | "y" => Some(true),
        "off" | "no" | "false" | "n" => Some(false),
        _ => None,
    }
}

/// A number of bytes with an optional suffix B, K, M, G, T, P or E (QEMU's `size`; without a suffix, bytes).
pub fn parse_size(text: &str) -> Option<u64> {
    let split = text.find(|c: char| !c.is_ascii_alphanumeric()).map_or(text.len(), |_| 0);
    let text = (split > 0).then_some(text)?;
    if let Some(n) = parse_unsigned(text) {
        return Some(n);
    }
    let (digits, suffix) = text.split_at(text.len() - 1);
    let shift = match suffix {
        "b" | "B" => 0,
        "k" | "K" => 10,
        "m" | "M" => 20,
        "g" | "G" => 30,
        "t" | "T" => 40,
        "p" | "P" => 50,
        "e" | "E" => 60,
        _ => return None,
    };
    parse_unsigned(digits)?.checked_mul(1 << shift)
}

impl PropertyValue for bool {
    const KIND: &'static str = "bool";
    fn to_value(&self) -> Value {
        (*self).into()
    }
    fn parse(text: &str, _: &dyn Backends) -> Result<Self, String> {
        parse_switch(text).ok_or_else(|| "expects 'on' or 'off'".to_owned())
    }
    fn from_value(value: &Value, backends: &dyn Backends) -> Result<Self, String> {
        match value {
            Value::Bool(on) => Ok(*on),
            Value::String(text) => Self::parse(text, backends),
            _ => Err(expected("boolean")),
        }
    }
}

macro_rules! unsigned {
    ($($ty:ident $kind:literal;)*) => {$(
        impl PropertyValue for $ty {
            const KIND: &'static str = $kind;
            fn to_value(&self) -> Value {
                (*self).into()
            }
            fn parse(text: &str, _: &dyn Backends) -> Result<Self, String> {
                let n = parse_unsigned(text).ok_or_else(|| format!("'{text}' is not a number"))?;
                Self::try_from(n).map_err(|_| format!("{text} is above {}", $ty::MAX))
            }
            fn from_value(value: &Value, backends: &dyn Backends) -> Result<Self, String> {
                match value {
                    Value::String(text) => Self::parse(text, backends),
                    value => {
                        let n = value.as_u64().ok_or_else(|| expected("number"))?;
                        Self::try_from(n).map_err(|_| format!("{n} is above {}", $ty::MAX))
                    }
                }
            }
        }
    )*};
}

unsigned! {
    u8 "uint8";
    u16 "uint16";
    u32 "uint32";
    u64 "uint64";
}

impl PropertyValue for i32 {
    const KIND: &'static str = "int32";
    fn to_value(&self) -> Value {
        (*self).into()
    }
    fn parse(text: &str, _: &dyn Backends) -> Result<Self, String> {
        let n = match text.strip_prefix('-') {
            Some(digits) => parse_unsigned(digits).and_then(|n| 0i64.checked_sub_unsigned(n)),
            None => parse_unsigned(text).and_then(|n| i64::try_from(n).ok()),
        };
        n.and_then(|n| n.try_into().ok()).ok_or_else(|| format!("'{text}' is not a number in range"))
    }
    fn from_value(value: &Value, backends: &dyn Backends) -> Result<Self, String> {
        match value {
            Value::String(text) => Self::parse(text, backends),
            value => {
                value.as_i64().and_then(|n| n.try_into().ok()).ok_or_else(|| "expected a number in range".to_owned())
            }
        }
    }
}

impl PropertyValue for String {
    const KIND: &'static str = "str";
    fn to_value(&self) -> Value {
        self.as_str().into()
    }
    fn parse(text: &str, _: &dyn Backends) -> Result<Self, String> {
        Ok(text.to_owned())
    }
}

/// A property that may be left out. What it is then, the device decides; it reads as its type's zero, or as the empty string.
impl<T: PropertyValue> PropertyValue for Option<T> {
    const KIND: &'static str = T::KIND;
    fn to_value(&self) -> Value {
        match self {
            Some(value) => value.to_value(),
            None if T::KIND.starts_with("uint") => u32::MAX.into(),
            None if T::KIND == "size" => u64::MAX.into(),
            None if T::KIND.starts_with("int") => (-1).into(),
            None if T::KIND == "bool" => false.into(),
            None => "".into(),
        }
    }
    fn parse(text: &str, backends: &dyn Backends) -> Result<Self, String> {
        T::parse(text, backends).map(Some)
    }
    fn from_value(value: &Value, backends: &dyn Backends) -> Result<Self, String> {
        T::from_value(value, backends).map(Some)
    }
}

/// `SLOT.FUNCTION` in hexadecimal, as QEMU's `addr`; in JSON also the number that [`Devfn`] wraps.
impl PropertyValue for Devfn {
    const KIND: &'static str = "int32";
    fn to_value(&self) -> Value {
        self.0.into()
    }
    fn parse(text: &str, _: &dyn Backends) -> Result<Self, String> {
        let (slot, function) = text.split_once('.').unwrap_or((text, "0"));
        let hex = |text: &str| {
            let digits = text.strip_prefix("0x").unwrap_or(text);
            digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u8::from_str_radix(digits, 16).ok()).flatten()
        };
        match (hex(slot), hex(function)) {
            (Some(slot @ 0..32), Some(function @ 0..8)) => Ok(Self::new(slot, function)),
            _ => Err(format!("'{text}' is no PCI address such as 05.0")),
        }
    }
    fn from_value(value: &Value, backends: &dyn Backends) -> Result<Self, String> {
        match value {
            Value::String(text) => Self::parse(text, backends),
            value => value.as_u64().and_then(|n| n.try_into().ok()).map(Self).ok_or_else(|| expected("PCI address")),
        }
    }
}

impl PropertyValue for Chardev {
    const KIND: &'static str = "str";
    fn to_value(&self) -> Value {
        self.id().into()
    }
    fn parse(text: &str, backends: &dyn Backends) -> Result<Self, String> {
        Ok(Self::named(text, backends.chardev(text)?))
    }
}

impl PropertyValue for Drive {
    const KIND: &'static str = "str";
    fn to_value(&self) -> Value {
        self.id().into()
    }
    fn parse(text: &str, backends: &dyn Backends) -> Result<Self, String> {
        Ok(Self::named(text, backends.drive(text)?))
    }
}

impl PropertyValue for RngSource {
    const KIND: &'static str = "link<rng-backend>";
    fn to_value(&self) -> Value {
        self.id().into()
    }
    fn parse(text: &str, backends: &dyn Backends) -> Result<Self, String> {
        Ok(Self::named(text, backends.rng(text)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text<T: PropertyValue>(text: &str) -> Result<T, String> {
        T::parse(text, &NoBackends)
    }

    #[test]
    fn numbers() {
        assert_eq!((text("0x1f"), text("010"), text("255")), (Ok(0x1fu32), Ok(8u16), Ok(255u8)));
        assert_eq!(text::<u8>("256"), Err("256 is above 255".to_owned()));
        assert!(text::<u32>("-1").is_err() && text::<u32>("").is_err() && text::<u32>("0x").is_err());
        assert_eq!((text("-5"), text("0x7fffffff")), (Ok(-5), Ok(i32::MAX)));
        assert!(text::<i32>("0x80000000").is_err() && text::<i32>("--1").is_err());
        assert_eq!(u16::from_value(&7.into(), &NoBackends), Ok(7));
        assert!(u16::from_value(&Value::Bool(true), &NoBackends).is_err());
    }

    #[test]
    fn sizes_and_switches() {
        assert_eq!(["1", "4k", "2M", "1G"].map(parse_size), [Some(1), Some(4096), Some(2 << 20), Some(1 << 30)]);
        assert_eq!(["", "k", "1x", "99999999999T", "é"].map(parse_size), [None; 5]);
        assert_eq!((text("yes"), text("off")), (Ok(true), Ok(false)));
        assert!(text::<bool>("maybe").is_err());
    }

    #[test]
    fn pci_addresses() {
        assert_eq!((text("5"), text("0x1f.7")), (Ok(Devfn::new(5, 0)), Ok(Devfn::new(31, 7))));
        for wrong in ["20", "1.8", "", "x", "1.", "+1"] {
            assert!(text::<Devfn>(wrong).is_err(), "{wrong}");
        }
    }
}
