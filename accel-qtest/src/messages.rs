//! Message-signalled interrupts on a machine without a CPU: they are kept for whoever asks.

use gearbox_core::vm::MsiSink;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};

/// Records the messages that devices send, and the I/O APIC's routes. No CPU takes them.
#[derive(Default)]
pub struct Messages {
    sent: Mutex<VecDeque<(u64, u32)>>,
    routes: Mutex<BTreeMap<u32, (u64, u32)>>,
}

impl Messages {
    /// Of more messages than this that nobody takes, the oldest are forgotten.
    pub const MOST: usize = 4096;

    /// An empty record.
    pub fn new() -> Self {
        Self::default()
    }
    /// Takes the messages sent since the last call, oldest first, as (address, data).
    pub fn take(&self) -> Vec<(u64, u32)> {
        self.sent.lock().drain(..).collect()
    }
    /// The route that the I/O APIC announced for `pin`, if that is not masked.
    pub fn route(&self, pin: u32) -> Option<(u64, u32)> {
        self.routes.lock().get(&pin).copied()
    }
}

impl MsiSink for Messages {
    fn send_msi(&self, addr: u64, data: u32) {
        let mut sent = self.sent.lock();
        if sent.len() == Self::MOST {
            sent.pop_front();
        }
        sent.push_back((addr, data));
    }
    fn set_route(&self, pin: u32, msi: Option<(u64, u32)>) {
        match msi {
            Some(msi) => self.routes.lock().insert(pin, msi),
            None => self.routes.lock().remove(&pin),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_forgets_the_oldest() {
        let m = Messages::new();
        (0..=Messages::MOST as u32).for_each(|n| m.send_msi(0xfee0_0000, n));
        let taken = m.take();
        assert_eq!((taken.len(), taken[0]), (Messages::MOST, (0xfee0_0000, 1)));
        assert!(m.take().is_empty());
    }
}
