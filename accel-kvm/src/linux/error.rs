//! Errors of KVM calls in the terms of the accelerator traits.

use gearbox_core::vm::VmError;
use vmm_sys_util::errno;

/// Says which call failed.
pub(super) trait Context<T> {
    /// The error of `what`.
    fn context(self, what: impl Into<String>) -> Result<T, VmError>;
}

impl<T> Context<T> for Result<T, errno::Error> {
    fn context(self, what: impl Into<String>) -> Result<T, VmError> {
        self.map_err(|e| VmError::Host { what: what.into(), source: e.into() })
    }
}
