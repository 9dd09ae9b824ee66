//! Commands about what people see and do: pictures, keys, mice.

use super::HumanMonitor;
use super::grammar::Arguments;
use super::output::{Done, Failure, Output};
use crate::qmp::types::ui::{ImageFormat, IntWrapper, KeyName, KeyValue, QKeyCode, QKeyCodeWrapper};

/// `screendump`.
pub(super) fn screendump(m: &mut HumanMonitor, arguments: &Arguments, _: &mut Output) -> Done {
    let format = arguments.text("format").map(|name| {
        ImageFormat::from_name(name).ok_or_else(|| Failure::Command(format!("invalid parameter value: {name}")))
    });
    let (device, head) = (arguments.text("device"), arguments.number("head"));
    Ok(m.control.screendump(arguments.word("filename"), device, head, format.transpose()?)?)
}

/// `sendkey`: names or numbers with a `-` in between.
pub(super) fn sendkey(m: &mut HumanMonitor, arguments: &Arguments, _: &mut Output) -> Done {
    let keys: Vec<_> = arguments.word("keys").split('-').map(key).collect::<Result<_, _>>()?;
    Ok(m.control.send_key(&keys, arguments.number("hold-time"))?)
}

fn key(name: &str) -> Result<KeyValue, Failure> {
    let unknown = || Failure::Plain(format!("invalid parameter: {name}"));
    let number = name.strip_prefix("0x").map(|hex| i64::from_str_radix(hex, 16).map_err(|_| unknown()));
    Ok(KeyValue {
        by: match number.transpose()? {
            Some(data) => KeyName::Number(IntWrapper { data }),
            None => {
                let name = if name == "<" { "less" } else { name };
                KeyName::Qcode(QKeyCodeWrapper { data: QKeyCode::from_name(name).ok_or_else(unknown)? })
            }
        },
    })
}

/// `mouse_move`.
pub(super) fn mouse_move(m: &mut HumanMonitor, arguments: &Arguments, _: &mut Output) -> Done {
    let part = |name| {
        let text = arguments.text(name).unwrap_or("0");
        text.parse::<i64>().map_err(|_| Failure::Plain(format!("mouse_move: '{text}' is not a number")))
    };
    Ok(m.control.mouse([part("dx_str")?, part("dy_str")?, part("dz_str")?], None)?)
}

/// `mouse_button`.
pub(super) fn mouse_button(m: &mut HumanMonitor, arguments: &Arguments, _: &mut Output) -> Done {
    Ok(m.control.mouse([0; 3], Some(arguments.unsigned("button_state") as u8))?)
}
