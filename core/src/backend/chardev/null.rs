//! The back end with nothing behind it.

use super::CharBackend;

/// Takes all output and has no input: QEMU's `null`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Null;

impl CharBackend for Null {
    fn read(&self, _buf: &mut [u8]) -> usize {
        0
    }
    fn write(&self, data: &[u8]) -> usize {
        data.len()
    }
    fn on_ready(&self, _ready: Box<dyn Fn() + Send + Sync>) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_all_and_gives_nothing() {
        let mut buf = [7; 4];
        assert_eq!(Null.write(b"abc"), 3);
        assert_eq!((Null.read(&mut buf), buf), (0, [7; 4]));
    }
}
