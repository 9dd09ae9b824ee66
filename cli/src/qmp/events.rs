//! Events: who hears of them, and how often at most.

use super::qapi::QapiObject;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Somebody who hears of events, in their wire form. Called with locks of devices held: it may not wait.
pub trait Listener: Send + Sync {
    /// Something happened.
    fn hear(&self, event: &Value);
}

/// Events that a guest can cause as often as it likes are told once in this time; the last of them counts.
const INTERVAL: Duration = Duration::from_secs(1);

/// An event and its data.
pub struct Notice {
    name: &'static str,
    /// Events of the same name and this are told once in a while only.
    limited: Option<String>,
    data: Map<String, Value>,
}

impl Notice {
    /// An event.
    pub fn new<T: QapiObject>(name: &'static str, data: &T) -> Self {
        let mut members = Map::new();
        data.write(&mut members);
        Self { name, limited: None, data: members }
    }
    /// The same; a guest causes it as often as it likes.
    pub fn limited(self) -> Self {
        self.limited_for("")
    }
    /// The same; those of another `source` are apart.
    pub fn limited_for(self, source: &str) -> Self {
        Self { limited: Some(source.to_owned()), ..self }
    }

    fn stamped(self) -> (&'static str, Value) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let timestamp = json!({"seconds": now.as_secs(), "microseconds": now.subsec_micros()});
        let mut event = Map::new();
        event.insert("timestamp".to_owned(), timestamp);
        event.insert("event".to_owned(), self.name.into());
        if !self.data.is_empty() {
            event.insert("data".to_owned(), Value::Object(self.data));
        }
        (self.name, Value::Object(event))
    }
}

/// Tells everybody of everything.
#[derive(Default)]
pub struct Hub(Arc<Inner>);

#[derive(Default)]
struct Inner {
    listeners: Mutex<Vec<Weak<dyn Listener>>>,
    limited: Mutex<Limited>,
}

#[derive(Default)]
struct Limited {
    events: BTreeMap<(&'static str, String), Held>,
    /// There is a thread that tells what is held back.
    teller: bool,
}

/// An event of which one was told recently.
struct Held {
    until: Instant,
    last: Option<Value>,
}

impl Hub {
    /// Adds a listener, until it is dropped.
    pub fn subscribe(&self, listener: Weak<dyn Listener>) {
        let mut listeners = self.0.listeners.lock();
        listeners.retain(|l| l.strong_count() > 0);
        listeners.push(listener);
    }
    /// Tells an event, now or later.
    pub fn publish(&self, notice: Notice) {
        let limited = notice.limited.clone();
        let (name, event) = notice.stamped();
        let Some(source) = limited else { return self.0.tell(&event) };
        let key = (name, source);
        let mut limits = self.0.limited.lock();
        let now = Instant::now();
        match limits.events.get_mut(&key).filter(|held| held.until > now || held.last.is_some()) {
            Some(held) => {
                held.last = Some(event);
                if !std::mem::replace(&mut limits.teller, true) {
                    drop(limits);
                    self.start_teller();
                }
            }
            None => {
                limits.events.insert(key, Held { until: now + INTERVAL, last: None });
                drop(limits);
                self.0.tell(&event);
            }
        }
    }

    fn start_teller(&self) {
        let weak = Arc::downgrade(&self.0);
        let started = std::thread::Builder::new().name("qmp-events".into()).spawn(move || {
            while let Some(sleep) = weak.upgrade().and_then(|inner| inner.tell_due()) {
                std::thread::sleep(sleep);
            }
        });
        if let Err(e) = started {
            tracing::warn!("no thread for QMP events: {e}");
            self.0.limited.lock().teller = false;
        }
    }
}

impl Inner {
    fn tell(&self, event: &Value) {
        let listeners: Vec<_> = self.listeners.lock().iter().filter_map(Weak::upgrade).collect();
        listeners.iter().for_each(|l| l.hear(event));
    }
    /// Tells what was held back long enough; how long until the next is due, or `None` when nothing is held back.
    fn tell_due(&self) -> Option<Duration> {
        let mut limits = self.limited.lock();
        let now = Instant::now();
        let mut due = Vec::new();
        for held in limits.events.values_mut().filter(|held| held.until <= now) {
            if let Some(event) = held.last.take() {
                held.until = now + INTERVAL;
                due.push(event);
            }
        }
        let next = limits.events.values().filter(|held| held.last.is_some()).map(|held| held.until - now).min();
        limits.teller = next.is_some();
        drop(limits);
        due.iter().for_each(|event| self.tell(event));
        next
    }
}
