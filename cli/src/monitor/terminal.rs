//! A monitor at a prompt, over any character back end.

use super::line::{Edit, LineEditor};
use super::{HumanMonitor, completion};
use crate::backend::chardev::CharBackend;
use crate::control::Control;
use parking_lot::{Condvar, Mutex};
use std::io;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;

const PROMPT: &str = "(gearbox) ";

/// A monitor on a thread of its own.
pub(crate) struct Terminal {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    backend: Arc<dyn CharBackend>,
    signal: Mutex<Signal>,
    changed: Condvar,
}

/// Why the thread should wake.
#[derive(Default)]
struct Signal {
    ready: bool,
    greet: bool,
    quit: bool,
}

impl Shared {
    fn signal(&self, f: impl FnOnce(&mut Signal)) {
        f(&mut self.signal.lock());
        self.changed.notify_all();
    }
}

/// Makes a monitor that shares its back end show its prompt: it has the keyboard now.
#[derive(Clone)]
pub(crate) struct Greeter(Weak<Shared>);

impl Greeter {
    /// Shows the prompt.
    pub(crate) fn greet(&self) {
        if let Some(shared) = self.0.upgrade() {
            shared.signal(|s| s.greet = true);
        }
    }
}

impl Terminal {
    /// Starts a monitor.
    ///
    /// # Errors
    /// The host has no thread for it.
    pub(crate) fn start(backend: Arc<dyn CharBackend>, control: Arc<Control>) -> io::Result<Self> {
        let shared = Arc::new(Shared { backend, signal: Mutex::default(), changed: Condvar::new() });
        let weak = Arc::downgrade(&shared);
        shared.backend.on_ready(Box::new(move || {
            if let Some(shared) = weak.upgrade() {
                shared.signal(|s| s.ready = true);
            }
        }));
        let theirs = shared.clone();
        let thread = std::thread::Builder::new().name("monitor".into()).spawn(move || theirs.serve(control))?;
        Ok(Self { shared, thread: Some(thread) })
    }
    /// For whoever gives it the keyboard.
    pub(crate) fn greeter(&self) -> Greeter {
        Greeter(Arc::downgrade(&self.shared))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.shared.signal(|s| s.quit = true);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Shared {
    /// The life of the thread.
    fn serve(&self, control: Arc<Control>) {
        let mut monitor = HumanMonitor::new(control);
        let mut editor = LineEditor::default();
        while let Some(greet) = self.wait() {
            if greet {
                let version = env!("CARGO_PKG_VERSION");
                let line = editor.redraw();
                self.show(&format!("\nGearbox {version} monitor - type 'help' for more information\n{PROMPT}{line}"));
            }
            let mut keys = [0; 64];
            loop {
                let n = self.backend.read(&mut keys);
                if n == 0 {
                    break;
                }
                for &key in &keys[..n] {
                    let shown = match editor.key(key) {
                        Edit::Show(text) => text,
                        Edit::Complete => complete(&monitor, &mut editor),
                        Edit::Line(line) => {
                            self.show("\n");
                            format!("{}{PROMPT}", monitor.run(&line))
                        }
                    };
                    self.show(&shown);
                }
            }
        }
    }

    /// Waits for something to do; whether to greet, or `None` for the end.
    fn wait(&self) -> Option<bool> {
        let mut signal = self.signal.lock();
        while !(signal.ready || signal.greet || signal.quit) {
            self.changed.wait(&mut signal);
        }
        signal.ready = false;
        (!signal.quit).then(|| std::mem::take(&mut signal.greet))
    }

    /// Shows text, with line ends for a terminal in raw mode, however slow that is; or until the end.
    fn show(&self, text: &str) {
        let text = text.replace('\n', "\r\n");
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let n = self.backend.write(rest);
            rest = &rest[n..];
            if n == 0 {
                let mut signal = self.signal.lock();
                if signal.quit {
                    return;
                }
                self.changed.wait_for(&mut signal, std::time::Duration::from_millis(100));
            }
        }
    }
}

/// Most words that are listed for a completion.
const MOST_LISTED: usize = 100;

/// Completes the word before the cursor, or shows what it may become.
fn complete(monitor: &HumanMonitor, editor: &mut LineEditor) -> String {
    let completion = completion::complete(monitor, editor.before_cursor());
    let certain = completion.certain();
    if !certain.is_empty() || completion.words.len() < 2 {
        return editor.insert(&certain);
    }
    let more = if completion.words.len() > MOST_LISTED { " ..." } else { "" };
    let words = completion.words[..completion.words.len().min(MOST_LISTED)].join(" ");
    format!("\n{words}{more}\n{PROMPT}{}", editor.redraw())
}
