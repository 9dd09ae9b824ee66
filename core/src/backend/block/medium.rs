//! Media that come and go, and the tray that they are in.

/// What a drive can do with its medium.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Media {
    /// The medium can be changed.
    pub removable: bool,
    /// There is a tray, which has to be open for that.
    pub tray: bool,
}

/// What a device is told of its medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediumEvent {
    /// The tray has moved, or where there is none, the medium has changed.
    Changed {
        /// It is closed now, or there is a medium now.
        loaded: bool,
    },
    /// Somebody pressed the eject button of a drive whose door is locked.
    EjectRequest {
        /// The lock has been overridden.
        force: bool,
    },
    /// The medium has another size now.
    Resized,
}

/// Why a medium stays. The texts are QEMU's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MediumRefusal {
    /// The device is no drive for media that can be changed.
    #[error("Device '{0}' is not removable")]
    NotRemovable(String),
    /// The guest keeps the door locked.
    #[error("Device '{0}' is locked and force was not specified, wait for tray to open and try again")]
    Locked(String),
    /// The tray is closed.
    #[error("Tray of device '{0}' is not open")]
    TrayClosed(String),
    /// The same, for a medium that is to be put in.
    #[error("Tray of the device is not open")]
    NoWayIn,
    /// There is a medium already.
    #[error("There already is a medium in device '{0}'")]
    Full(String),
    /// The device writes, and the medium cannot be written.
    #[error("Block node is read-only")]
    ReadOnly,
    /// Somebody else has it.
    #[error("Node '{0}' is in use")]
    InUse(String),
}
