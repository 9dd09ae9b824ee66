//! What people see and do: pictures, keys, mice.

use crate::qmp::command::{Command, commands};
use crate::qmp::types::ui::{ImageFormat, InputEvent, KeyValue};

/// See the module.
pub(super) static COMMANDS: &[Command] = commands! {
    /// Writes a picture of what a display shows to a file.
    "screendump"(filename: String, device: Option<String>, head: Option<i64>, format: Option<ImageFormat>) =
        |call| call.control.screendump(&filename, device.as_deref(), head, format);
    /// Presses keys, and releases them after a time.
    "send-key"(keys: Vec<KeyValue>, hold_time = "hold-time": Option<i64>) =
        |call| call.control.send_key(&keys, hold_time);
    /// Does what a person would do with a keyboard and a mouse.
    "input-send-event"(device: Option<String>, head: Option<i64>, events: Vec<InputEvent>) = |call| {
        let _ = head;
        call.control.input_send_event(device.as_deref(), &events)
    };
};
