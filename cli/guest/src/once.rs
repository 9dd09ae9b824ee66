//! A global that is set once.

use core::cell::OnceCell;

/// A global set once, early, and read afterwards.
pub struct Once<T>(OnceCell<T>);

// SAFETY: there is one thread of execution in ring 3, and interrupt handlers are assembler that touches no Once.
unsafe impl<T> Sync for Once<T> {}

impl<T> Once<T> {
    /// Not set yet.
    pub const fn new() -> Once<T> {
        Once(OnceCell::new())
    }

    /// Sets the value, unless it is set.
    pub fn set(&self, value: T) {
        let _ = self.0.set(value);
    }

    /// The value, once it is set.
    pub fn get(&self) -> Option<&T> {
        self.0.get()
    }
}
