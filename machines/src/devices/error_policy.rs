//! What a disk has done when its back end fails: the properties `rerror` and `werror`.

use gearbox_core::backend::block::{BlockBackend, OnError};
use gearbox_core::object::{Backends, PropertyValue, Value};

/// What happens when a request fails; `auto` is as the drive has it (QEMU's `BlockdevOnError`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ErrorPolicy(pub Option<OnError>);

const AUTO: &str = "auto";

impl PropertyValue for ErrorPolicy {
    const KIND: &'static str = "BlockdevOnError";
    fn to_value(&self) -> Value {
        self.0.map_or(AUTO, OnError::name).into()
    }
    fn parse(text: &str, _: &dyn Backends) -> Result<Self, String> {
        match OnError::from_name(text) {
            None if text != AUTO => Err("expects 'report', 'ignore', 'enospc', 'stop' or 'auto'".to_owned()),
            policy => Ok(Self(policy)),
        }
    }
}

/// What happens when the host cannot read, and when it cannot write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ErrorPolicies {
    /// `rerror`.
    pub read: ErrorPolicy,
    /// `werror`.
    pub write: ErrorPolicy,
}

impl ErrorPolicies {
    /// Has a back end do so.
    pub fn apply(self, backend: &BlockBackend) {
        backend.set_on_error(self.read.0, self.write.0);
    }
}
