//! Keys of a terminal: as keys of the guest's keyboard, and as bytes for a console.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use gearbox_core::backend::input::Key;

const SHIFT: Key = Key::Plain(0x2a);
const CONTROL: Key = Key::Plain(0x1d);
const ALT: Key = Key::Plain(0x38);

/// The rows of a keyboard for the United States: scan code of the first key; characters without and with shift.
const ROWS: [(u8, &str, &str); 5] = [
    (0x02, "1234567890-=", "!@#$%^&*()_+"),
    (0x10, "qwertyuiop[]", "QWERTYUIOP{}"),
    (0x1e, "asdfghjkl;'`", "ASDFGHJKL:\"~"),
    (0x2b, "\\zxcvbnm,./", "|ZXCVBNM<>?"),
    (0x39, " ", " "),
];

/// Other keys: the key, and what a terminal sends for it.
const OTHERS: [(KeyCode, Key, &[u8]); 17] = [
    (KeyCode::Enter, Key::Plain(0x1c), b"\r"),
    (KeyCode::Esc, Key::Plain(0x01), b"\x1b"),
    (KeyCode::Backspace, Key::Plain(0x0e), b"\x7f"),
    (KeyCode::Tab, Key::Plain(0x0f), b"\t"),
    (KeyCode::BackTab, Key::Plain(0x0f), b"\x1b[Z"),
    (KeyCode::Up, Key::Extended(0x48), b"\x1b[A"),
    (KeyCode::Down, Key::Extended(0x50), b"\x1b[B"),
    (KeyCode::Right, Key::Extended(0x4d), b"\x1b[C"),
    (KeyCode::Left, Key::Extended(0x4b), b"\x1b[D"),
    (KeyCode::Home, Key::Extended(0x47), b"\x1b[H"),
    (KeyCode::End, Key::Extended(0x4f), b"\x1b[F"),
    (KeyCode::Insert, Key::Extended(0x52), b"\x1b[2~"),
    (KeyCode::Delete, Key::Extended(0x53), b"\x1b[3~"),
    (KeyCode::PageUp, Key::Extended(0x49), b"\x1b[5~"),
    (KeyCode::PageDown, Key::Extended(0x51), b"\x1b[6~"),
    (KeyCode::F(11), Key::Plain(0x57), b"\x1b[23~"),
    (KeyCode::F(12), Key::Plain(0x58), b"\x1b[24~"),
];

/// The key of a character, and whether shift belongs to it.
fn of_character(c: char) -> Option<(Key, bool)> {
    ROWS.iter().find_map(|(first, plain, shifted)| {
        let place = |row: &str| row.chars().position(|k| k == c).map(|n| Key::Plain(first + n as u8));
        place(plain).map(|key| (key, false)).or_else(|| place(shifted).map(|key| (key, true)))
    })
}

/// The keys of the guest's keyboard that are pressed together, modifiers first. None for a key that it does not have.
pub(super) fn pressed(event: KeyEvent) -> Vec<Key> {
    let other = |code| OTHERS.iter().find(|(c, ..)| *c == code).map(|(_, key, _)| *key);
    let (key, shifted) = match event.code {
        KeyCode::Char(c) => match of_character(c) {
            Some(found) => found,
            None => return Vec::new(),
        },
        KeyCode::F(n @ 1..=10) => (Key::Plain(0x3a + n), false),
        KeyCode::BackTab => (Key::Plain(0x0f), true),
        code => match other(code) {
            Some(key) => (key, false),
            None => return Vec::new(),
        },
    };
    let held = |modifier| event.modifiers.contains(modifier);
    let shift = shifted || held(KeyModifiers::SHIFT);
    let modifiers = [(CONTROL, held(KeyModifiers::CONTROL)), (ALT, held(KeyModifiers::ALT)), (SHIFT, shift)];
    modifiers.into_iter().filter(|(_, on)| *on).map(|(key, _)| key).chain([key]).collect()
}

/// What a terminal sends for it.
pub(super) fn bytes(event: KeyEvent) -> Vec<u8> {
    let mut bytes = match event.code {
        KeyCode::Char(c) if event.modifiers.contains(KeyModifiers::CONTROL) && c.is_ascii() => vec![c as u8 & 0x1f],
        KeyCode::Char(c) => c.to_string().into_bytes(),
        code => OTHERS.iter().find(|(c, ..)| *c == code).map(|(.., bytes)| bytes.to_vec()).unwrap_or_default(),
    };
    if event.modifiers.contains(KeyModifiers::ALT) && !bytes.is_empty() {
        bytes.insert(0, 0x1b);
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(code: KeyCode, modifiers: KeyModifiers) -> KeyEvent {
        KeyEvent::new(code, modifiers)
    }

    #[test]
    fn every_character_has_a_key() {
        for c in (b' '..=b'~').map(char::from) {
            assert!(!pressed(event(KeyCode::Char(c), KeyModifiers::NONE)).is_empty(), "{c}");
        }
        let none = KeyModifiers::NONE;
        assert_eq!(pressed(event(KeyCode::Char('a'), none)), [Key::Plain(0x1e)]);
        assert_eq!(pressed(event(KeyCode::Char('?'), none)), [SHIFT, Key::Plain(0x35)]);
        assert_eq!(pressed(event(KeyCode::Char('A'), KeyModifiers::SHIFT)), [SHIFT, Key::Plain(0x1e)]);
        assert_eq!(pressed(event(KeyCode::Char('c'), KeyModifiers::CONTROL)), [CONTROL, Key::Plain(0x2e)]);
        assert_eq!(pressed(event(KeyCode::Char('ü'), none)), []);
        assert_eq!(pressed(event(KeyCode::F(10), KeyModifiers::ALT)), [ALT, Key::Plain(0x44)]);
        assert_eq!(pressed(event(KeyCode::BackTab, none)), [SHIFT, Key::Plain(0x0f)]);
        assert_eq!(pressed(event(KeyCode::Left, none)), [Key::Extended(0x4b)]);
    }

    #[test]
    fn consoles_get_what_a_terminal_sends() {
        let of = |code, modifiers| bytes(event(code, modifiers));
        assert_eq!(of(KeyCode::Char('c'), KeyModifiers::CONTROL), [3]);
        assert_eq!(of(KeyCode::Char('ü'), KeyModifiers::NONE), "ü".as_bytes());
        assert_eq!(of(KeyCode::Char('x'), KeyModifiers::ALT), b"\x1bx");
        assert_eq!(of(KeyCode::Up, KeyModifiers::NONE), b"\x1b[A");
        assert_eq!(of(KeyCode::CapsLock, KeyModifiers::ALT), b"");
    }
}
