//! Sense data: why a packet command was not carried out (MMC-3, annex F).

use serde::{Deserialize, Serialize};

/// A sense key with its additional sense code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Sense {
    pub(super) key: u8,
    pub(super) asc: u8,
}

const NOT_READY: u8 = 2;
const MEDIUM_ERROR: u8 = 3;
const ILLEGAL_REQUEST: u8 = 5;
const UNIT_ATTENTION: u8 = 6;

impl Sense {
    const fn new(key: u8, asc: u8) -> Self {
        Self { key, asc }
    }
    pub(super) const NO_MEDIUM: Self = Self::new(NOT_READY, 0x3a);
    pub(super) const UNREADABLE: Self = Self::new(MEDIUM_ERROR, 0x11);
    pub(super) const UNKNOWN_COMMAND: Self = Self::new(ILLEGAL_REQUEST, 0x20);
    pub(super) const OUT_OF_RANGE: Self = Self::new(ILLEGAL_REQUEST, 0x21);
    pub(super) const INVALID_FIELD: Self = Self::new(ILLEGAL_REQUEST, 0x24);
    pub(super) const NOT_SAVED: Self = Self::new(ILLEGAL_REQUEST, 0x39);
    pub(super) const MEDIUM_CHANGED: Self = Self::new(UNIT_ATTENTION, 0x28);
    /// The door is locked; the key depends on whether there is a medium.
    pub(super) const fn locked(medium: bool) -> Self {
        Self::new(if medium { NOT_READY } else { ILLEGAL_REQUEST }, 0x53)
    }
    pub(super) fn is_attention(self) -> bool {
        self.key == UNIT_ATTENTION
    }
    /// In the fixed format.
    pub(super) fn bytes(self) -> Vec<u8> {
        let mut b = vec![0; 18];
        // Valid, current; so many bytes follow.
        (b[0], b[2], b[7], b[12]) = (0xf0, self.key, 10, self.asc);
        b
    }
}
