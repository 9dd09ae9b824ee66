//! Messages about ports, on the control queues (5.3.6.2).

/// Bytes of a message without what follows it.
pub(super) const BYTES: usize = 8;

/// What a message is about.
pub(super) mod event {
    pub(in super::super) const DEVICE_READY: u16 = 0;
    pub(in super::super) const PORT_ADD: u16 = 1;
    pub(in super::super) const PORT_REMOVE: u16 = 2;
    pub(in super::super) const PORT_READY: u16 = 3;
    pub(in super::super) const CONSOLE_PORT: u16 = 4;
    pub(in super::super) const RESIZE: u16 = 5;
    pub(in super::super) const PORT_OPEN: u16 = 6;
    pub(in super::super) const PORT_NAME: u16 = 7;
}

/// A message (`struct virtio_console_control`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Message {
    /// The port.
    pub(super) id: u32,
    pub(super) event: u16,
    pub(super) value: u16,
}

impl Message {
    pub(super) fn from_bytes(bytes: [u8; BYTES]) -> Self {
        let [i0, i1, i2, i3, e0, e1, v0, v1] = bytes;
        let half = |low, high| u16::from_le_bytes([low, high]);
        Self { id: u32::from_le_bytes([i0, i1, i2, i3]), event: half(e0, e1), value: half(v0, v1) }
    }
    /// The message with what follows it.
    pub(super) fn with(self, more: &[u8]) -> Vec<u8> {
        let parts: [&[u8]; 4] = [&self.id.to_le_bytes(), &self.event.to_le_bytes(), &self.value.to_le_bytes(), more];
        parts.concat()
    }
}
