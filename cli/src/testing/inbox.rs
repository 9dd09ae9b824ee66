//! Events of a machine in process, kept until a test asks.

use crate::qmp::events::Listener;
use parking_lot::{Condvar, Mutex};
use serde_json::Value;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Of more events than this that nobody takes, the oldest are forgotten.
const MOST: usize = 4096;

/// The events, in their wire form.
#[derive(Default)]
pub(super) struct Inbox {
    events: Mutex<VecDeque<Value>>,
    changed: Condvar,
}

impl Inbox {
    /// Waits for an event of that name and takes it; others are kept.
    pub(super) fn wait(&self, name: &str, timeout: Duration) -> Option<Value> {
        let end = Instant::now() + timeout;
        let mut events = self.events.lock();
        loop {
            if let Some(at) = events.iter().position(|e| e.get("event").is_some_and(|n| n == name)) {
                return events.remove(at);
            }
            if self.changed.wait_until(&mut events, end).timed_out() {
                return None;
            }
        }
    }
}

impl Listener for Inbox {
    fn hear(&self, event: &Value) {
        let mut events = self.events.lock();
        if events.len() == MOST {
            events.pop_front();
        }
        events.push_back(event.clone());
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn one_event_is_taken_and_the_others_stay() {
        let inbox = Inbox::default();
        ["STOP", "RESET", "STOP"].iter().for_each(|name| inbox.hear(&json!({"event": name})));
        assert!(inbox.wait("RESET", Duration::ZERO).is_some());
        assert!(inbox.wait("RESET", Duration::ZERO).is_none());
        (0..2 * MOST).for_each(|_| inbox.hear(&json!({"event": "RTC_CHANGE"})));
        assert_eq!(inbox.events.lock().len(), MOST);
        assert!(inbox.wait("STOP", Duration::ZERO).is_none(), "forgotten");
    }
}
