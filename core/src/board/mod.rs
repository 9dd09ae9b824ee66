//! The board.

/// A device of a board.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceId(pub(crate) u32);

#[cfg(test)]
impl DeviceId {
    pub(crate) fn for_test(n: u32) -> Self {
        Self(n)
    }
}
