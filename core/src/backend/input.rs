//! What people do with a keyboard and a mouse, on its way to the devices.

/// A key, by its scan code of set 1 without the break bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// A key of the PC/AT's keyboard: `Plain(0x1e)` is A.
    Plain(u8),
    /// A key with the prefix E0h: `Extended(0x48)` is the upper arrow.
    Extended(u8),
    /// Print Screen, which pretends a shift key.
    PrintScreen,
    /// Pause, which has no break code.
    Pause,
}

/// Something that a person did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputEvent {
    /// A key was pressed, or released.
    Key(Key, bool),
    /// The mouse was moved to the right and up, its wheel was turned towards the person; its buttons are left, right, middle, side, extra in bits 0 to
    /// 4.
    Mouse {
        /// To the right.
        right: i32,
        /// Up.
        up: i32,
        /// The wheel.
        wheel: i32,
        /// The buttons that are pressed now.
        buttons: u8,
    },
}

impl InputEvent {
    /// Which kind of device hears it.
    pub fn kind(&self) -> InputKind {
        match self {
            Self::Key(..) => InputKind::Keyboard,
            Self::Mouse { .. } => InputKind::Mouse,
        }
    }
}

/// What a device takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputKind {
    /// Keys.
    Keyboard,
    /// Movements and buttons.
    Mouse,
}
