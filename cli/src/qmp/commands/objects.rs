//! Objects and devices.

use crate::control::Control;
use crate::qmp::command::{Command, commands};
use crate::qmp::types::qom::{DeviceAdd, ObjectOptions, ObjectPropertyInfo, ObjectTypeInfo};
use serde_json::Value;

/// See the module.
pub(super) static COMMANDS: &[Command] = commands! {
    /// The properties of an object, and its parts.
    "qom-list"(path: String) -> Vec<ObjectPropertyInfo> [preconfig] = |call| call.control.qom_list(&path);
    /// The value of a property.
    "qom-get"(path: String, property: String) -> Value [preconfig] = |call| call.control.qom_get(&path, &property);
    /// Changes a property.
    "qom-set"(path: String, property: String, value: Value) [preconfig] =
        |call| call.control.qom_set(&path, &property, &value);
    /// The types that there are.
    "qom-list-types"(implements: Option<String>, with_abstract = "abstract": Option<bool>) -> Vec<ObjectTypeInfo>
        [preconfig] = |_| Ok(Control::qom_list_types(implements.as_deref(), with_abstract.unwrap_or(false)));
    /// The properties of a type.
    "qom-list-properties"(typename: String) -> Vec<ObjectPropertyInfo> [preconfig] =
        |_| Control::qom_list_properties(&typename);
    /// The properties that a device of a type is given.
    "device-list-properties"(typename: String) -> Vec<ObjectPropertyInfo> =
        |_| Control::device_list_properties(&typename);
    /// Makes an object.
    "object-add"{ options: ObjectOptions } [preconfig] = |call| call.control.object_add(options);
    /// Removes one.
    "object-del"(id: String) [preconfig] = |call| call.control.object_del(&id);
    /// Adds a device.
    "device_add"{ device: DeviceAdd } = |call| call.control.device_add(device);
    /// Asks for a device to go.
    "device_del"(id: String) = |call| call.control.device_del(&id);
};
