//! The screen and the keyboard of a guest in the hands of a test.

use super::expect::{ExpectError, Found};
use super::qmp::QmpError;
use super::vm::Vm;
use gearbox_core::backend::display::{Picture, TextScreen};
use regex::Regex;
use serde_json::json;
use std::time::{Duration, Instant};

/// How often the screen is looked at.
const LOOK: Duration = Duration::from_millis(20);

impl Vm {
    /// What the first display shows now; `None` if there is no display.
    pub fn picture(&self) -> Option<Picture> {
        self.machine().board().with(|s| {
            let display = s.displays().first().copied()?;
            s.picture(display)
        })
    }
    /// The same as characters; `None` while it shows none.
    pub fn text_screen(&self) -> Option<TextScreen> {
        self.machine().board().with(|s| {
            let display = s.displays().first().copied()?;
            s.text_screen(display)
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
            if let Some(found) = Found::in_text(&regex, &text) {
                return Ok(found);
            }
            let what = || format!("/{pattern}/ on the screen");
            match self.outcome() {
                Some(outcome) => {
                    return Err(ExpectError::Ended { what: what(), outcome, scene: Box::new(self.scene()) });
                }
                None if Instant::now() > end => {
                    return Err(ExpectError::Late { what: what(), after: timeout, scene: Box::new(self.scene()) });
                }
                None => std::thread::sleep(LOOK),
            }
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
