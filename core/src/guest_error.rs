//! Rate-limited log lines about mistakes of the guest (QEMU's `-d guest_errors`).

use crate::board::DeviceId;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, Instant};

/// How many lines one device may log in each [`WINDOW`].
const MOST: u32 = 10;
const WINDOW: Duration = Duration::from_secs(1);

/// Counts guest errors of each device and lets a few through each second.
#[derive(Default)]
pub struct GuestErrors(Mutex<BTreeMap<DeviceId, Window>>);

struct Window {
    since: Instant,
    count: u32,
}

impl GuestErrors {
    /// Logs a guest error, unless the device has logged many lately. Says once when lines are being dropped.
    pub fn report(&self, device: DeviceId, what: fmt::Arguments<'_>) {
        match self.admit(device, Instant::now()) {
            n if n < MOST => tracing::warn!(target: "guest_error", device = device.0, "{what}"),
            MOST => {
                tracing::warn!(target: "guest_error", device = device.0, "more guest errors are not logged for a second")
            }
            _ => {}
        }
    }
    /// Forgets a device that has gone.
    pub fn forget(&self, device: DeviceId) {
        self.0.lock().remove(&device);
    }
    fn admit(&self, device: DeviceId, now: Instant) -> u32 {
        let mut map = self.0.lock();
        let w = map.entry(device).or_insert(Window { since: now, count: 0 });
        if now.duration_since(w.since) >= WINDOW {
            *w = Window { since: now, count: 0 };
        }
        let n = w.count;
        w.count = n.saturating_add(1);
        n
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_cut_and_resumes() {
        let e = GuestErrors::default();
        let d = DeviceId::nth(1);
        let t = Instant::now();
        assert_eq!((0..20).map(|_| e.admit(d, t)).filter(|&n| n < MOST).count(), 10);
        assert_eq!(e.admit(DeviceId::nth(2), t), 0);
        assert_eq!(e.admit(d, t + WINDOW), 0);
    }
}
