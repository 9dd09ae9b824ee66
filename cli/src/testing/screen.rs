//! The screen and the keyboard of a guest in the hands of a test.

use super::expect::{ExpectError, Found};
use super::qmp::QmpError;
use super::serial::Silence;
use super::vm::Vm;
use crate::board::{BoardState, DeviceId};
use gearbox_core::backend::display::{Picture, TextScreen};
use regex::bytes::Regex;
use serde_json::json;
use std::time::{Duration, Instant};

/// How often the screen is looked at.
const LOOK: Duration = Duration::from_millis(20);

impl Vm {
    /// What the first display shows now; `None` if there is no display.
    pub fn picture(&self) -> Option<Picture> {
        self.on_display(BoardState::picture)
    }
    /// The same as characters; `None` while it shows none.
    pub fn text_screen(&self) -> Option<TextScreen> {
        self.on_display(BoardState::text_screen)
    }
    fn on_display<R>(&self, look: impl FnOnce(&mut BoardState, DeviceId) -> Option<R>) -> Option<R> {
        self.machine().board().with(|s| {
            let display = s.displays().first().copied()?;
            look(s, display)
        })
    }
    /// Waits until the first display shows text that matches. What was found before may be found again: it is still there.
    ///
    /// # Errors
    /// The time is over, or the machine ends first; the error shows the screen.
    pub fn expect_screen(&self, pattern: &str, timeout: Duration) -> Result<Found, ExpectError> {
        let (regex, end) = (Regex::new(pattern)?, Instant::now() + timeout);
        loop {
            let text = self.text_screen().map(|s| s.to_string()).unwrap_or_default();
            if let Some((found, _)) = Found::first(&regex, text.as_bytes()) {
                return Ok(found);
            }
            let silence = match self.outcome() {
                Some(_) => Silence::Over,
                None if Instant::now() > end => Silence::Late,
                None => {
                    std::thread::sleep(LOOK);
                    continue;
                }
            };
            return Err(self.failure(format!("/{pattern}/ on the screen"), timeout, silence));
        }
    }
    /// Presses keys one after the other and releases them, by their names in QMP: `["ctrl", "alt", "f1"]`.
    ///
    /// # Errors
    /// There is no such key.
    pub fn send_keys(&mut self, keys: &[&str]) -> Result<(), QmpError> {
        let keys: Vec<_> = keys.iter().map(|name| json!({ "type": "qcode", "data": name })).collect();
        self.qmp("send-key", json!({ "keys": keys })).map(drop)
    }
}
