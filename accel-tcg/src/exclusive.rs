//! Exclusive sections: one vCPU goes on while all others of its VM stand between two instructions.
//!
//! For what a host cannot do in one access (a locked access that is misaligned or to a device), and for what every vCPU must have
//! noticed before another one goes on (a page whose code is going to be decoded, a changed memory map). A vCPU that is halted, parked or not
//! running is outside already, and is not waited for; one that waits to be alone itself is let go first. A vCPU inside a callback of the
//! board is waited for: it waits for nothing but the board's lock, which nobody holds while waiting to be alone.

use parking_lot::{Condvar, Mutex};

/// The sections of one VM.
#[derive(Default)]
pub(crate) struct Exclusive {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// vCPUs that may execute instructions.
    inside: u32,
    /// One of them is alone, or is going to be.
    owned: bool,
}

impl Exclusive {
    /// A vCPU begins to execute; waits while another one is alone. It has left when the guard is dropped.
    pub(crate) fn enter(&self) -> Inside<'_> {
        self.come_in();
        Inside(self)
    }
    /// Lets others be alone. For a vCPU that has entered and is between two instructions.
    pub(crate) fn step_aside(&self) {
        self.go_out();
        self.come_in();
    }
    /// Waits until the caller, which has entered, is alone. `stop` makes the others step aside soon.
    pub(crate) fn alone(&self, stop: impl FnOnce()) -> Alone<'_> {
        let mut s = self.state.lock();
        while s.owned {
            s.inside -= 1;
            self.changed.notify_all();
            self.changed.wait_while(&mut s, |s| s.owned);
            s.inside += 1;
        }
        s.owned = true;
        if s.inside > 1 {
            drop(s);
            stop();
            s = self.state.lock();
            self.changed.wait_while(&mut s, |s| s.inside > 1);
        }
        Alone(self)
    }
    fn come_in(&self) {
        let mut s = self.state.lock();
        self.changed.wait_while(&mut s, |s| s.owned);
        s.inside += 1;
    }
    fn go_out(&self) {
        let mut s = self.state.lock();
        s.inside -= 1;
        if s.owned {
            self.changed.notify_all();
        }
    }
}

/// A vCPU that may execute instructions.
pub(crate) struct Inside<'a>(&'a Exclusive);

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0.go_out();
    }
}

/// A vCPU that is alone.
pub(crate) struct Alone<'a>(&'a Exclusive);

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        self.0.state.lock().owned = false;
        self.0.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    #[test]
    fn one_at_a_time_without_deadlock() {
        let (x, busy, total) = (Exclusive::default(), AtomicBool::new(false), AtomicU32::new(0));
        // All have entered before one wants to be alone, which therefore has to stop somebody.
        let (stop, entered) = (AtomicU32::new(0), Barrier::new(4));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let _inside = x.enter();
                    entered.wait();
                    for n in 0..2000 {
                        if n % 3 == 0 {
                            let _alone = x.alone(|| {
                                stop.fetch_add(1, Ordering::Relaxed);
                            });
                            assert!(!busy.swap(true, Ordering::SeqCst));
                            total.fetch_add(1, Ordering::Relaxed);
                            busy.store(false, Ordering::SeqCst);
                        } else {
                            assert!(!busy.load(Ordering::SeqCst));
                            x.step_aside();
                        }
                    }
                });
            }
        });
        assert_eq!(total.into_inner(), 4 * 667);
        assert!(stop.into_inner() > 0);
    }
}
