//! One structure: a formatted part, and strings by number after it (DSP0134, 6.1).

/// A structure in the making.
#[derive(Clone, Debug)]
pub(super) struct Structure {
    formatted: Vec<u8>,
    strings: Vec<u8>,
    count: u8,
}

impl Structure {
    /// Nothing but its header.
    pub(super) fn new(kind: u8, handle: u16) -> Self {
        let [low, high] = handle.to_le_bytes();
        Self { formatted: vec![kind, 0, low, high], strings: Vec::new(), count: 0 }
    }
    pub(super) fn kind(&self) -> u8 {
        self.formatted[0]
    }
    /// Bytes of the formatted part.
    pub(super) fn bytes(mut self, bytes: impl AsRef<[u8]>) -> Self {
        self.formatted.extend(bytes.as_ref());
        self
    }
    pub(super) fn word(self, v: u16) -> Self {
        self.bytes(v.to_le_bytes())
    }
    pub(super) fn dword(self, v: u32) -> Self {
        self.bytes(v.to_le_bytes())
    }
    pub(super) fn qword(self, v: u64) -> Self {
        self.bytes(v.to_le_bytes())
    }
    /// The number of a string, which is 0 for none.
    pub(super) fn string(mut self, text: Option<&str>) -> Self {
        let text = text.filter(|t| !t.is_empty());
        let number = text.map_or(0, |_| self.count + 1);
        self = self.bytes([number]);
        match text {
            Some(text) => self.more(text),
            None => self,
        }
    }
    /// A string that no number in the formatted part is of. Beyond 255 there are none.
    pub(super) fn more(mut self, text: &str) -> Self {
        if let Some(count) = self.count.checked_add(1) {
            self.count = count;
            // A zero would end it.
            self.strings.extend(text.bytes().take_while(|b| *b != 0));
            self.strings.push(0);
        }
        self
    }
    /// Complete.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.formatted[1] = self.formatted.len() as u8;
        self.formatted.extend(&self.strings);
        if self.strings.is_empty() {
            self.formatted.push(0);
        }
        self.formatted.push(0);
        self.formatted
    }
}
