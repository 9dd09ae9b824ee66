//! Signals that end the process, turned into requests.

use crate::backend::chardev::terminal;
use crate::control::Control;
use crate::event::ShutdownCause;
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};
use signal_hook::low_level::emulate_default_handler;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;

/// Ends the machine, from wherever that is asked for.
#[derive(Clone)]
pub(crate) struct QuitSwitch {
    control: Weak<Control>,
    asked: Arc<AtomicBool>,
}

impl QuitSwitch {
    /// A switch for the machine of `control`, which may not be there yet.
    pub(crate) fn new(control: &Arc<Control>) -> Self {
        Self { control: Arc::downgrade(control), asked: Arc::default() }
    }
    /// Ends the machine. Says false when that has been asked for before.
    pub(crate) fn quit(&self) -> bool {
        if let Some(control) = self.control.upgrade() {
            control.end(ShutdownCause::HostSignal);
        }
        !self.asked.swap(true, Ordering::AcqRel)
    }
}

/// Listens to signals for as long as it lives.
pub(crate) struct SignalThread {
    handle: Handle,
    thread: Option<JoinHandle<()>>,
}

impl SignalThread {
    /// SIGINT, SIGTERM and SIGHUP end the machine in good order, the second one ends the process at once. After SIGCONT `resumed` is called: whoever had
    /// the terminal meanwhile may have changed its mode.
    pub(crate) fn start(quit: QuitSwitch, resumed: impl Fn() + Send + 'static) -> io::Result<Self> {
        let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGCONT])?;
        let handle = signals.handle();
        let thread = std::thread::Builder::new().name("signals".into()).spawn(move || {
            for signal in signals.forever() {
                if signal == SIGCONT {
                    resumed();
                } else if !quit.quit() {
                    terminal::restore();
                    let _ = emulate_default_handler(signal);
                }
            }
        })?;
        Ok(Self { handle, thread: Some(thread) })
    }
}

impl Drop for SignalThread {
    fn drop(&mut self) {
        self.handle.close();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
