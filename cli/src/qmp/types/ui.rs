//! Pictures, keys and mice (QAPI `ui.json`).

use crate::control::Error;
use crate::qmp::qapi::{Kind, Path, Qapi, Type, qapi_enum, qapi_struct, qapi_union};
use gearbox_core::backend::input::Key;
use serde_json::Value;

qapi_enum! {
    /// A format of pictures.
    enum ImageFormat {
        /// Portable pixmap.
        Ppm = "ppm",
        /// Portable network graphics.
        Png = "png",
    }

    /// A button of a mouse, or a step of its wheel.
    enum InputButton {
        /// Left.
        Left = "left",
        /// Middle.
        Middle = "middle",
        /// Right.
        Right = "right",
        /// Wheel, away from the person.
        WheelUp = "wheel-up",
        /// Wheel, towards the person.
        WheelDown = "wheel-down",
        /// At the side.
        Side = "side",
        /// The other one at the side.
        Extra = "extra",
    }

    /// An axis of a mouse.
    enum InputAxis {
        /// To the right.
        X = "x",
        /// Down.
        Y = "y",
    }
}

qapi_struct! {
    /// A key by its number: the scan code of set 1, with bit 7 for the prefix E0h.
    struct IntWrapper {
        /// The number.
        data: i64,
    }
    /// A key by its name.
    struct QKeyCodeWrapper {
        /// The name.
        data: QKeyCode,
    }
    /// A key that goes down or up.
    struct InputKeyEvent {
        /// The key.
        key: KeyValue,
        /// It goes down.
        down: bool,
    }
    /// A button that goes down or up.
    struct InputBtnEvent {
        /// The button.
        button: InputButton,
        /// It goes down.
        down: bool,
    }
    /// A movement, or a place.
    struct InputMoveEvent {
        /// Along which axis.
        axis: InputAxis,
        /// How far, or where.
        value: i64,
    }
    /// See [`InputKeyEvent`].
    struct InputKeyEventWrapper {
        /// The event.
        data: InputKeyEvent,
    }
    /// See [`InputBtnEvent`].
    struct InputBtnEventWrapper {
        /// The event.
        data: InputBtnEvent,
    }
    /// See [`InputMoveEvent`].
    struct InputMoveEventWrapper {
        /// The event.
        data: InputMoveEvent,
    }
}

qapi_union! {
    /// A key.
    union KeyValue {}
    /// How it is named.
    by: "type"
    /// Ways to name a key.
    enum KeyName("KeyValueKind") {
        /// A number.
        Number(IntWrapper) = "number",
        /// A name.
        Qcode(QKeyCodeWrapper) = "qcode",
    }

    /// Something that a person does.
    union InputEvent {}
    /// What it is.
    kind: "type"
    /// What a person can do.
    enum InputAction("InputEventKind") {
        /// A key.
        Key(InputKeyEventWrapper) = "key",
        /// A button.
        Btn(InputBtnEventWrapper) = "btn",
        /// A movement.
        Rel(InputMoveEventWrapper) = "rel",
        /// A place on a tablet.
        Abs(InputMoveEventWrapper) = "abs",
    }
}

/// A key that has a name, and its number.
type Named = (&'static str, u8);

/// The keys that a PC's keyboard has, by QEMU's names.
#[rustfmt::skip]
const KEYS: [Named; 135] = [
    ("shift", 0x2a), ("shift_r", 0x36), ("alt", 0x38), ("alt_r", 0xb8), ("ctrl", 0x1d), ("ctrl_r", 0x9d),
    ("menu", 0x9e), ("esc", 0x01), ("1", 0x02), ("2", 0x03), ("3", 0x04), ("4", 0x05), ("5", 0x06), ("6", 0x07),
    ("7", 0x08), ("8", 0x09), ("9", 0x0a), ("0", 0x0b), ("minus", 0x0c), ("equal", 0x0d), ("backspace", 0x0e),
    ("tab", 0x0f), ("q", 0x10), ("w", 0x11), ("e", 0x12), ("r", 0x13), ("t", 0x14), ("y", 0x15), ("u", 0x16),
    ("i", 0x17), ("o", 0x18), ("p", 0x19), ("bracket_left", 0x1a), ("bracket_right", 0x1b), ("ret", 0x1c),
    ("a", 0x1e), ("s", 0x1f), ("d", 0x20), ("f", 0x21), ("g", 0x22), ("h", 0x23), ("j", 0x24), ("k", 0x25),
    ("l", 0x26), ("semicolon", 0x27), ("apostrophe", 0x28), ("grave_accent", 0x29), ("backslash", 0x2b),
    ("z", 0x2c), ("x", 0x2d), ("c", 0x2e), ("v", 0x2f), ("b", 0x30), ("n", 0x31), ("m", 0x32), ("comma", 0x33),
    ("dot", 0x34), ("slash", 0x35), ("asterisk", 0x37), ("spc", 0x39), ("caps_lock", 0x3a), ("f1", 0x3b),
    ("f2", 0x3c), ("f3", 0x3d), ("f4", 0x3e), ("f5", 0x3f), ("f6", 0x40), ("f7", 0x41), ("f8", 0x42), ("f9", 0x43),
    ("f10", 0x44), ("num_lock", 0x45), ("scroll_lock", 0x46), ("kp_divide", 0xb5), ("kp_multiply", 0x37),
    ("kp_subtract", 0x4a), ("kp_add", 0x4e), ("kp_enter", 0x9c), ("kp_decimal", 0x53), ("sysrq", 0x54),
    ("kp_0", 0x52), ("kp_1", 0x4f), ("kp_2", 0x50), ("kp_3", 0x51), ("kp_4", 0x4b), ("kp_5", 0x4c), ("kp_6", 0x4d),
    ("kp_7", 0x47), ("kp_8", 0x48), ("kp_9", 0x49), ("less", 0x56), ("f11", 0x57), ("f12", 0x58), ("print", 0xb7),
    ("home", 0xc7), ("pgup", 0xc9), ("pgdn", 0xd1), ("end", 0xcf), ("left", 0xcb), ("up", 0xc8), ("down", 0xd0),
    ("right", 0xcd), ("insert", 0xd2), ("delete", 0xd3), ("pause", 0xc6), ("meta_l", 0xdb), ("meta_r", 0xdc),
    ("compose", 0xdd), ("ro", 0x73), ("hiragana", 0x77), ("henkan", 0x79), ("yen", 0x7d), ("muhenkan", 0x7b),
    ("katakanahiragana", 0x70), ("kp_comma", 0x7e), ("kp_equals", 0x59), ("power", 0xde), ("sleep", 0xdf),
    ("wake", 0xe3), ("audionext", 0x99), ("audioprev", 0x90), ("audiostop", 0xa4), ("audioplay", 0xa2),
    ("audiomute", 0xa0), ("volumeup", 0xb0), ("volumedown", 0xae), ("mediaselect", 0xed), ("mail", 0xec),
    ("calculator", 0xa1), ("computer", 0xeb), ("ac_home", 0xb2), ("ac_back", 0xea), ("ac_forward", 0xe9),
    ("ac_refresh", 0xe7), ("ac_bookmarks", 0xe6),
];

/// Their names.
const NAMES: [&str; KEYS.len()] = {
    let mut names = [""; KEYS.len()];
    let mut n = 0;
    while n < names.len() {
        names[n] = KEYS[n].0;
        n += 1;
    }
    names
};

/// A key by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QKeyCode(&'static Named);

impl QKeyCode {
    /// The key of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        KEYS.iter().find(|(known, _)| *known == name).map(Self)
    }
    /// All names.
    pub fn names() -> &'static [&'static str] {
        &NAMES
    }
    /// The key.
    pub fn key(self) -> Key {
        key_of_number(self.0.1)
    }
}

/// The key with that number.
pub fn key_of_number(number: u8) -> Key {
    match number {
        0xb7 => Key::PrintScreen,
        0xc6 => Key::Pause,
        n if n & 0x80 != 0 => Key::Extended(n & 0x7f),
        n => Key::Plain(n),
    }
}

impl Qapi for QKeyCode {
    fn ty() -> &'static Type {
        static TYPE: Type = Type { name: "QKeyCode", kind: Kind::Enum(&NAMES) };
        &TYPE
    }
    fn decode(value: Value, at: &Path<'_>) -> Result<Self, Error> {
        let name = String::decode(value, at)?;
        Self::from_name(&name).ok_or_else(|| Error::generic(format!("Parameter '{at}' does not accept value '{name}'")))
    }
    fn encode(&self) -> Value {
        self.0.0.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_lead_to_keys() {
        for name in QKeyCode::names() {
            assert_eq!(QKeyCode::names().iter().filter(|n| *n == name).count(), 1, "{name}");
        }
        let key = |name| QKeyCode::from_name(name).map(QKeyCode::key);
        assert_eq!((key("a"), key("up")), (Some(Key::Plain(0x1e)), Some(Key::Extended(0x48))));
        assert_eq!((key("pause"), key("print"), key("A")), (Some(Key::Pause), Some(Key::PrintScreen), None));
    }
}
