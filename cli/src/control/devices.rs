//! Devices that come and go: `device_add`, `device_del`, `device-list-properties`.

use super::{Control, Error, Result};
use crate::board::{PlugError, UnplugError};
use crate::object::types;
use crate::qmp::types::qom::{DeviceAdd, ObjectPropertyInfo};
use serde_json::Value;

impl From<PlugError> for Error {
    fn from(e: PlugError) -> Self {
        Self::generic(e.to_string())
    }
}

impl From<UnplugError> for Error {
    fn from(e: UnplugError) -> Self {
        match e {
            UnplugError::NotFound(id) => Self::device_not_found(&id),
            other => Self::generic(other.to_string()),
        }
    }
}

impl Control {
    /// `device_add`.
    ///
    /// # Errors
    /// There is no such type or bus, or the device cannot be made with these properties.
    pub fn device_add(&self, device: DeviceAdd) -> Result<()> {
        let named = [("id", device.id), ("bus", device.bus)];
        let named = named.into_iter().filter_map(|(name, v)| Some((name.to_owned(), Value::String(v?))));
        let properties: Vec<_> = named.chain(device.properties).collect();
        self.machine()?.device_add(&device.driver, &properties)?;
        Ok(())
    }
    /// `device_del`, by id or path. `DEVICE_DELETED` tells when it has gone.
    ///
    /// # Errors
    /// There is no such device, or it stays.
    pub fn device_del(&self, id: &str) -> Result<()> {
        Ok(self.machine()?.device_del(id)?)
    }
    /// `device-list-properties`: what `-device` and `device_add` take for a type.
    ///
    /// # Errors
    /// There is no such type, or it is no type of devices.
    pub fn device_list_properties(name: &str) -> Result<Vec<ObjectPropertyInfo>> {
        let info = types().get(name).ok_or_else(|| Error::device_not_found(name))?;
        if info.is_abstract || !types().is_a(name, "device") {
            return Err(Error::generic("Parameter 'typename' expects a non-abstract device type"));
        }
        Ok(types().lineage(name).flat_map(|t| t.properties()).map(Into::into).collect())
    }
}
