//! MSI-X: a table of messages in memory, one for each vector (PCI Local Bus Specification 3.0, 6.8.2).

use super::config::ConfigSpace;
use crate::board::Cx;
use crate::board::state::{Saved, Slice};
use serde::{Deserialize, Serialize};

/// The capability's identifier.
const ID: u8 = 0x11;
/// Bits of the message control word.
const ENABLE: u16 = 1 << 15;
const FUNCTION_MASK: u16 = 1 << 14;
/// Bytes of a table entry: address, data, and vector control.
const ENTRY: u64 = 16;
/// Vector control: the vector is masked.
const MASKED: u32 = 1;
/// Where the pending bits are as long as the table leaves room before, and the least bytes of the base address register.
const PENDING: u64 = 0x800;
const LEAST: u64 = 0x1000;

/// One vector's message.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Entry {
    words: [u32; 4],
    pending: bool,
}

impl Entry {
    const RESET: Self = Self { words: [0, 0, 0, MASKED], pending: false };

    fn masked(&self) -> bool {
        self.words[3] & MASKED != 0
    }
    fn send(&mut self, cx: &mut Cx<'_>) {
        self.pending = false;
        cx.send_msi(u64::from(self.words[0]) | u64::from(self.words[1]) << 32, self.words[2]);
    }
}

/// The capability of one function, and the table and pending bits behind one of its base address registers.
pub struct Msix {
    entries: Vec<Entry>,
    at: u8,
    control: u16,
}

impl Msix {
    /// Most vectors.
    pub const MOST: u16 = 2048;

    /// Puts the capability at `at` in a configuration space: `vectors` vectors (1 to [`Msix::MOST`]) behind base address register `bar`, which is to
    /// have [`Msix::bytes`].
    pub fn new(config: &mut ConfigSpace, at: u8, bar: u8, vectors: u16) -> Self {
        let vectors = vectors.clamp(1, Self::MOST);
        let pending = Self::pending_at(vectors) as u32;
        let mut body = Vec::from((vectors - 1).to_le_bytes());
        body.extend(u32::from(bar).to_le_bytes());
        body.extend((pending | u32::from(bar)).to_le_bytes());
        config.add_capability(ID, at, &body);
        config.set_writable(at + 2, &(ENABLE | FUNCTION_MASK).to_le_bytes());
        Self { entries: vec![Entry::RESET; vectors.into()], at, control: 0 }
    }
    /// What is saved of it.
    pub fn saved(&mut self) -> Saved<'_> {
        let Self { entries, at: _, control } = self;
        Saved::of((Slice(entries), control))
    }
    fn pending_at(vectors: u16) -> u64 {
        (u64::from(vectors) * ENTRY).max(PENDING)
    }
    /// Bytes of the base address register for so many vectors.
    pub fn bytes(vectors: u16) -> u64 {
        let bits = u64::from(vectors).div_ceil(64) * 8;
        (Self::pending_at(vectors) + bits).next_power_of_two().max(LEAST)
    }
    /// Number of vectors.
    pub fn vectors(&self) -> u16 {
        self.entries.len() as u16
    }
    /// Messages are sent in place of pin interrupts.
    pub fn enabled(&self) -> bool {
        self.control & ENABLE != 0
    }
    fn open(&self) -> bool {
        self.control & (ENABLE | FUNCTION_MASK) == ENABLE
    }
    /// The function was reset.
    pub fn reset(&mut self) {
        self.entries.fill(Entry::RESET);
        self.control = 0;
    }
    /// The guest wrote to the configuration space.
    pub fn config_written(&mut self, cx: &mut Cx<'_>) {
        let at = self.at + 2;
        self.control = cx.config().map_or(0, |c| c.word(at));
        self.send_pending(cx);
    }
    fn send_pending(&mut self, cx: &mut Cx<'_>) {
        if self.open() {
            self.entries.iter_mut().filter(|e| e.pending && !e.masked()).for_each(|e| e.send(cx));
        }
    }
    /// Sends a vector's message, or keeps it until it is no longer masked. Nothing comes of vectors that are not there, or while MSI-X is disabled.
    pub fn notify(&mut self, cx: &mut Cx<'_>, vector: u16) {
        let (enabled, open) = (self.enabled(), self.open());
        let Some(entry) = self.entries.get_mut(usize::from(vector)).filter(|_| enabled) else { return };
        if open && !entry.masked() {
            entry.send(cx);
        } else {
            entry.pending = true;
        }
    }
    /// A load of an aligned doubleword behind the base address register.
    pub fn read(&self, offset: u64) -> u32 {
        match self.word(offset) {
            Some((n, word)) => self.entries[n].words[word],
            None => {
                let first =
                    offset.checked_sub(Self::pending_at(self.vectors())).map_or(usize::MAX, |at| at as usize * 8);
                let bits = self.entries.iter().skip(first).take(32).enumerate();
                bits.fold(0, |all, (n, e)| all | u32::from(e.pending) << n)
            }
        }
    }
    /// A store to it.
    pub fn write(&mut self, cx: &mut Cx<'_>, offset: u64, value: u32) {
        if let Some((n, word)) = self.word(offset) {
            self.entries[n].words[word] = value;
            self.send_pending(cx);
        }
    }
    /// The entry and the word in it.
    fn word(&self, offset: u64) -> Option<(usize, usize)> {
        let n = (offset / ENTRY) as usize;
        (n < self.entries.len()).then_some((n, (offset % ENTRY / 4) as usize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::{Board, Device, DeviceId, DeviceSpec, DeviceState, Realize, RealizeError};
    use crate::clock::ManualClock;
    use crate::pci::{ConfigHeader, Devfn, command, reg};
    use crate::vm::MsiSink;
    use parking_lot::Mutex;
    use std::sync::Arc;

    struct Card(Msix);
    struct Spec(u16);
    impl DeviceSpec for Spec {
        type Device = Card;
        type Pins = ();
        const TYPE: &'static str = "msix-card";
        fn realize(self, r: &mut Realize<'_>) -> Result<(Card, ()), RealizeError> {
            Ok((Card(Msix::new(r.pci_function(Some(Devfn::new(4, 0)), &ConfigHeader::default()), 0x98, 1, self.0)), ()))
        }
    }
    impl Device for Card {
        fn state(&mut self) -> DeviceState<'_> {
            self.0.saved().version(1)
        }
        fn config_written(&mut self, cx: &mut Cx<'_>, _: u8, _: u8) {
            self.0.config_written(cx);
        }
    }

    #[derive(Default)]
    struct Sent(Mutex<Vec<(u64, u32)>>);
    impl MsiSink for Sent {
        fn send_msi(&self, addr: u64, data: u32) {
            self.0.lock().push((addr, data));
        }
    }

    struct Rig {
        board: Arc<Board>,
        sent: Arc<Sent>,
        card: DeviceId,
    }

    impl Rig {
        fn new(vectors: u16) -> Self {
            let sent = Arc::new(Sent::default());
            let board = Board::new(Arc::new(ManualClock::new()), sent.clone());
            let card = board.with(|s| s.realize("/machine/card", Spec(vectors)).unwrap().id);
            Self { board, sent, card }
        }
        fn config(&self, register: u8, size: u8) -> u32 {
            self.board.with(|s| s.fabric.pci.config_read(4 << 11 | u32::from(register), size))
        }
        fn set_config(&self, register: u8, size: u8, value: u32) {
            self.board.with(|s| s.fabric.pci.config_write(4 << 11 | u32::from(register), size, value));
        }
        fn msix<R>(&self, f: impl FnOnce(&mut Msix, &mut Cx<'_>) -> R) -> R {
            let card = |d: &mut dyn Device, cx: &mut Cx<'_>| {
                let d: &mut dyn std::any::Any = d;
                f(&mut d.downcast_mut::<Card>().unwrap().0, cx)
            };
            self.board.with(|s| s.call(self.card, card))
        }
        fn sent(&self) -> Vec<(u64, u32)> {
            std::mem::take(&mut *self.sent.0.lock())
        }
    }

    #[test]
    fn the_capability_says_where_things_are() {
        let r = Rig::new(3);
        assert_eq!((r.config(reg::CAPABILITIES, 1), r.config(reg::STATUS, 2) & 0x10), (0x98, 0x10));
        assert_eq!([0x98, 0x9c, 0xa0].map(|at| r.config(at, 4)), [0x0002_0011, 1, 0x801]);
        r.set_config(0x98, 4, u32::MAX);
        r.set_config(0x9c, 4, u32::MAX);
        assert_eq!([0x98, 0x9c].map(|at| r.config(at, 4)), [0xc002_0011, 1]);
        assert_eq!([1, 128, 129, 2048].map(Msix::bytes), [0x1000, 0x1000, 0x1000, 0x1_0000]);
    }

    #[test]
    fn masks_keep_messages() {
        let r = Rig::new(2);
        r.set_config(reg::COMMAND, 2, command::MASTER.into());
        let program = |m: &mut Msix, cx: &mut Cx<'_>| {
            [0xfee0_1000, 0, 0x41, 0].into_iter().zip((16..).step_by(4)).for_each(|(v, at)| m.write(cx, at, v));
        };
        r.msix(|m, cx| {
            program(m, cx);
            m.notify(cx, 1);
        });
        assert_eq!(r.sent(), [], "disabled");
        r.set_config(0x9a, 2, 0xc000);
        r.msix(|m, cx| m.notify(cx, 1));
        assert_eq!((r.sent(), r.msix(|m, _| m.read(0x800))), (vec![], 2));
        r.set_config(0x9a, 2, 0x8000);
        assert_eq!((r.sent(), r.msix(|m, _| m.read(0x800))), (vec![(0xfee0_1000, 0x41)], 0));
        r.msix(|m, cx| {
            m.write(cx, 28, 1);
            m.notify(cx, 1);
            m.notify(cx, 0);
            m.notify(cx, 2);
            m.notify(cx, u16::MAX);
        });
        assert_eq!((r.sent(), r.msix(|m, _| m.read(0x800))), (vec![], 3));
        r.msix(|m, cx| m.write(cx, 28, 0));
        assert_eq!((r.sent(), r.msix(|m, _| m.read(0x800))), (vec![(0xfee0_1000, 0x41)], 1));
        assert_eq!(r.msix(|m, _| [m.read(16), m.read(24), m.read(0x7fc), m.read(0xffc)]), [0xfee0_1000, 0x41, 0, 0]);
        r.set_config(reg::COMMAND, 2, 0);
        r.msix(|m, cx| m.notify(cx, 1));
        assert_eq!(r.sent(), [], "no bus master");
        r.msix(|m, _| m.reset());
        assert_eq!(r.msix(|m, _| (m.enabled(), m.read(16), m.read(12))), (false, 0, 1));
    }
}
