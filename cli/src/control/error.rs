//! Errors of commands, with the classes that QMP clients may rely on.

use crate::backend::block::BlockError;
use crate::qmp::qapi::qapi_enum;

qapi_enum! {
    /// What kind of error it is (QAPI `QapiErrorClass`). All but the first exist for clients of long ago.
    enum ErrorClass {
        /// Any error.
        GenericError = "GenericError",
        /// There is no such command.
        CommandNotFound = "CommandNotFound",
        /// A device has not been activated by the guest.
        DeviceNotActive = "DeviceNotActive",
        /// There is no such device.
        DeviceNotFound = "DeviceNotFound",
        /// KVM lacks something.
        KvmMissingCap = "KVMMissingCap",
    }
}

/// Why a command failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{desc}")]
pub struct Error {
    /// Its kind.
    pub class: ErrorClass,
    /// For people.
    pub desc: String,
}

impl Error {
    /// An error of no particular kind.
    pub fn generic(desc: impl Into<String>) -> Self {
        Self { class: ErrorClass::GenericError, desc: desc.into() }
    }
    /// There is no such command.
    pub fn command_not_found(desc: impl Into<String>) -> Self {
        Self { class: ErrorClass::CommandNotFound, desc: desc.into() }
    }
    /// There is no such device.
    pub fn device_not_found(id: &str) -> Self {
        Self { class: ErrorClass::DeviceNotFound, desc: format!("Device '{id}' not found") }
    }
    /// A device that the guest has not activated, or that there is not.
    pub fn device_not_active(desc: impl Into<String>) -> Self {
        Self { class: ErrorClass::DeviceNotActive, desc: desc.into() }
    }
}

impl From<BlockError> for Error {
    fn from(e: BlockError) -> Self {
        match e {
            BlockError::NoDrive(name) => Self::device_not_found(&name),
            other => Self::generic(other.to_string()),
        }
    }
}

/// The result of a command.
pub type Result<T, E = Error> = std::result::Result<T, E>;
