//! A short text without a heap.

use core::fmt;

/// Up to 100 bytes of text; what is longer is cut off.
#[derive(Clone)]
pub struct Text {
    bytes: [u8; 100],
    len: usize,
}

impl Text {
    /// No text.
    pub const fn new() -> Text {
        Text { bytes: [0; 100], len: 0 }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        core::str::from_utf8(&self.bytes[..self.len]).unwrap_or("")
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            let end = self.len + c.len_utf8();
            if end > self.bytes.len() {
                break;
            }
            c.encode_utf8(&mut self.bytes[self.len..end]);
            self.len = end;
        }
        Ok(())
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Formats to a [`Text`].
macro_rules! text {
    ($($arg:tt)*) => {{
        use core::fmt::Write;
        let mut text = $crate::text::Text::new();
        // A Text never fails.
        let _ = write!(text, $($arg)*);
        text
    }};
}

/// A number of bytes as people write it.
pub struct Bytes(pub u64);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let (mut value, mut unit) = (self.0, 0);
        while value >= 1_000_000 || (value >= 1024 && value.is_multiple_of(1024) && unit < 3) {
            value /= 1024;
            unit += 1;
        }
        f.pad(text!("{value} {}", ["B", "KiB", "MiB", "GiB", "TiB", "PiB"][unit]).as_str())
    }
}

/// A frequency in Hz as people write it.
pub struct Hertz(pub u64);

impl fmt::Display for Hertz {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self.0 {
            hz if hz >= 1_000_000 => write!(f, "{}.{:03} MHz", hz / 1_000_000, hz / 1000 % 1000),
            hz if hz >= 1000 => write!(f, "{}.{:03} kHz", hz / 1000, hz % 1000),
            hz => write!(f, "{hz} Hz"),
        }
    }
}

/// The bytes up to the first zero, as text.
pub fn until_zero(bytes: &[u8]) -> &str {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    core::str::from_utf8(&bytes[..end]).unwrap_or("?")
}
