//! Starting, stopping, resetting and ending a machine.

use super::{Control, Error, Result, Stage};
use crate::board::SystemRequest;
use crate::machine::RunState as State;
use crate::qmp::types::control::{PanicAction, RebootAction, RunState, ShutdownAction, StatusInfo, WatchdogAction};
use gearbox_core::event::{self, Event, ShutdownCause};

impl Control {
    /// `query-status`.
    pub fn status(&self) -> StatusInfo {
        let state = self.machine().map_or(State::Prelaunch, |m| m.state());
        StatusInfo {
            running: state == State::Running,
            singlestep: false,
            status: RunState::from_name(state.name()).unwrap_or(RunState::InternalError),
        }
    }

    fn request(&self, request: SystemRequest) -> Result<()> {
        self.machine()?.board().request(request);
        Ok(())
    }

    /// `quit`.
    pub fn quit(&self) {
        self.end(ShutdownCause::HostQmpQuit);
    }
    /// Ends the machine; if it is yet to be made, it will not be.
    pub fn end(&self, cause: ShutdownCause) {
        let mut stage = self.stage.lock();
        if let Stage::Made { machine, .. } = &*stage {
            if let Some(machine) = machine.upgrade() {
                machine.board().request(SystemRequest::Quit(cause));
            }
        } else {
            *stage = Stage::Quit(cause);
            self.changed.notify_all();
            drop(stage);
            self.tell(&Event::Shutdown(cause));
        }
    }
    /// `x-exit-preconfig`: has the machine made, and waits until it is.
    ///
    /// # Errors
    /// It has been made, or will not be.
    pub fn exit_preconfig(&self) -> Result<()> {
        let mut stage = self.stage.lock();
        if !matches!(*stage, Stage::Preconfig) {
            return Err(Error::generic("The command is permitted only before machine initialization"));
        }
        *stage = Stage::Leaving;
        self.changed.notify_all();
        while matches!(*stage, Stage::Leaving) {
            self.changed.wait(&mut stage);
        }
        match *stage {
            Stage::Quit(_) => Err(Error::generic("The machine could not be made")),
            _ => Ok(()),
        }
    }
    /// Waits for `x-exit-preconfig`; false when the machine is not to be made.
    pub fn wait_for_configuration(&self) -> bool {
        let mut stage = self.stage.lock();
        while matches!(*stage, Stage::Preconfig) {
            self.changed.wait(&mut stage);
        }
        matches!(*stage, Stage::Leaving)
    }
    /// `stop`.
    ///
    /// # Errors
    /// There is no machine.
    pub fn stop(&self) -> Result<()> {
        let machine = self.machine()?;
        if machine.state() == State::Running {
            machine.stop();
        }
        Ok(())
    }
    /// `cont`.
    ///
    /// # Errors
    /// There is no machine, or it has come to an end.
    pub fn cont(&self) -> Result<()> {
        let machine = self.machine()?;
        match machine.state() {
            State::Shutdown | State::InternalError => Err(Error::generic("Resetting the Virtual Machine is required")),
            _ => {
                machine.cont();
                Ok(())
            }
        }
    }
    /// `system_reset`.
    ///
    /// # Errors
    /// There is no machine.
    pub fn system_reset(&self) -> Result<()> {
        self.request(SystemRequest::Reset(ShutdownCause::HostQmpSystemReset))
    }
    /// `system_powerdown`.
    ///
    /// # Errors
    /// There is no machine.
    pub fn system_powerdown(&self) -> Result<()> {
        self.request(SystemRequest::Powerdown)
    }
    /// `system_wakeup`.
    ///
    /// # Errors
    /// No machine sleeps.
    pub fn system_wakeup(&self) -> Result<()> {
        Err(Error::generic("wake-up from suspend is not supported by this guest"))
    }
    /// `inject-nmi`.
    ///
    /// # Errors
    /// There is no machine, or it has no CPU.
    pub fn inject_nmi(&self) -> Result<()> {
        let machine = self.machine()?;
        if machine.vcpu_count() == 0 {
            return Err(Error::generic("machine does not provide NMIs"));
        }
        machine.board().request(SystemRequest::Nmi);
        Ok(())
    }
    /// `set-action`: what is not given stays.
    ///
    /// # Errors
    /// There is no machine.
    pub fn set_action(
        &self,
        reboot: Option<RebootAction>,
        shutdown: Option<ShutdownAction>,
        panic: Option<PanicAction>,
        watchdog: Option<WatchdogAction>,
    ) -> Result<()> {
        let machine = self.machine()?;
        let mut policy = machine.policy();
        if let Some(action) = reboot.and_then(|a| event::RebootAction::from_name(a.name())) {
            policy.reboot = action;
        }
        if let Some(action) = shutdown.and_then(|a| event::ShutdownAction::from_name(a.name())) {
            policy.shutdown = action;
        }
        if let Some(action) = panic.and_then(|a| event::PanicAction::from_name(a.name())) {
            policy.panic = action;
        }
        if let Some(action) = watchdog.and_then(|a| event::WatchdogAction::from_name(a.name())) {
            policy.watchdog = action;
        }
        machine.set_policy(policy);
        Ok(())
    }
}
