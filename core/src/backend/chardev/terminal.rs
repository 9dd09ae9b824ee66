//! The terminal in raw mode, and back.

use rustix::process::getpgrp;
use rustix::stdio::stdin;
use rustix::termios::{
    InputModes, LocalModes, OptionalActions, OutputModes, Termios, isatty, tcgetattr, tcgetpgrp, tcsetattr,
};
use signal_hook::consts::{SIGABRT, SIGBUS, SIGQUIT, SIGSYS, SIGTRAP};
use signal_hook::low_level::{emulate_default_handler, register};
use std::io;
use std::sync::{Once, PoisonError, RwLock};

/// Signals that end the process at once.
const FATAL: [i32; 5] = [SIGABRT, SIGBUS, SIGQUIT, SIGSYS, SIGTRAP];

/// What the terminal must go back to.
static COOKED: RwLock<Option<Termios>> = RwLock::new(None);

/// Standard input in raw mode, for as long as this lives. A panic, a fatal signal and [`restore`] bring it back as well.
#[derive(Debug)]
pub struct RawTerminal {
    raw: Termios,
}

impl RawTerminal {
    /// Every key goes to the guest; with `signals` the interrupt, quit and suspend keys still make signals. `None` when standard input is no
    /// terminal, or when this process is in its background.
    ///
    /// # Errors
    /// The host refused the mode.
    pub fn enter(signals: bool) -> io::Result<Option<Self>> {
        if !isatty(stdin()) || in_background() {
            return Ok(None);
        }
        let cooked = tcgetattr(stdin())?;
        let raw = raw_mode(&cooked, signals);
        *COOKED.write().unwrap_or_else(PoisonError::into_inner) = Some(cooked);
        restore_when_dying();
        let this = Self { raw };
        this.resume()?;
        Ok(Some(this))
    }
    /// Makes it raw again, after somebody else had the terminal (`SIGCONT`), unless they still have it.
    ///
    /// # Errors
    /// The host refused the mode.
    pub fn resume(&self) -> io::Result<()> {
        if in_background() {
            return Ok(());
        }
        Ok(tcsetattr(stdin(), OptionalActions::Now, &self.raw)?)
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        restore();
        *COOKED.write().unwrap_or_else(PoisonError::into_inner) = None;
    }
}

fn raw_mode(cooked: &Termios, signals: bool) -> Termios {
    let mut raw = cooked.clone();
    raw.input_modes -= InputModes::IGNBRK
        | InputModes::BRKINT
        | InputModes::PARMRK
        | InputModes::ISTRIP
        | InputModes::INLCR
        | InputModes::IGNCR
        | InputModes::ICRNL
        | InputModes::IXON;
    // Guests send CR LF, our own messages only LF.
    raw.output_modes |= OutputModes::OPOST;
    raw.local_modes -= LocalModes::ECHO | LocalModes::ECHONL | LocalModes::ICANON | LocalModes::IEXTEN;
    raw.local_modes.set(LocalModes::ISIG, signals);
    raw
}

/// Does the terminal belong to another job? Whoever changes its mode all the same is stopped (POSIX.1-2017, 11.1.4).
fn in_background() -> bool {
    tcgetpgrp(stdin()).is_ok_and(|group| group != getpgrp())
}

/// Brings the terminal back to what it was before [`RawTerminal::enter`], if anybody entered. Safe in a signal handler: it waits for no lock.
pub fn restore() {
    if let Ok(cooked) = COOKED.try_read()
        && let Some(cooked) = &*cooked
        && !in_background()
    {
        let _ = tcsetattr(stdin(), OptionalActions::Now, cooked);
    }
}

/// Makes sure, once in a process, that a panic and a fatal signal find the terminal restored.
fn restore_when_dying() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            restore();
            report(info);
        }));
        for signal in FATAL {
            let die = move || {
                restore();
                let _ = emulate_default_handler(signal);
            };
            // SAFETY: `die` may run in a signal handler: try_read takes no lock that it would wait for; tcgetpgrp, getpgrp, tcsetattr and what the default handler
            // does are async-signal-safe (POSIX.1-2017, 2.4.3).
            if let Err(e) = unsafe { register(signal, die) } {
                tracing::warn!("signal {signal} will not restore the terminal: {e}");
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pty::{OpenptFlags, openpt};

    #[test]
    fn raw_mode_gives_every_key_to_the_guest() {
        let pty = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        let cooked = tcgetattr(&pty).unwrap();
        let raw = raw_mode(&cooked, false);
        assert!(
            !raw.local_modes.intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG | LocalModes::IEXTEN)
        );
        assert!(!raw.input_modes.intersects(InputModes::ICRNL | InputModes::IXON));
        assert!(raw.output_modes.contains(OutputModes::OPOST));
        assert!(raw_mode(&cooked, true).local_modes.contains(LocalModes::ISIG));
    }

    #[test]
    fn a_pipe_is_no_terminal() {
        // Under the test runner standard input is no terminal, or this process is not alone on it; either way nothing may be changed for good.
        if !isatty(stdin()) {
            assert!(RawTerminal::enter(false).unwrap().is_none());
        }
        restore();
    }
}
