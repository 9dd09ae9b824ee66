//! The balloon: how much memory the guest has left to itself.

use super::{Control, Error, Result};
use crate::qmp::types::misc::BalloonInfo;

impl Control {
    /// `query-balloon`.
    ///
    /// # Errors
    /// The machine has no balloon.
    pub fn balloon_info(&self) -> Result<BalloonInfo> {
        let actual = self.machine()?.board().with(|s| s.balloon_size()).ok_or_else(none)?;
        Ok(BalloonInfo { actual: i64::try_from(actual).unwrap_or(i64::MAX) })
    }
    /// `balloon`: asks the guest to do with so many bytes.
    ///
    /// # Errors
    /// That is no size, or the machine has no balloon.
    pub fn balloon(&self, bytes: i64) -> Result<()> {
        let machine = self.machine()?;
        if machine.board().with(|s| s.balloon_size()).is_none() {
            return Err(none());
        }
        let bytes = u64::try_from(bytes).ok().filter(|bytes| *bytes > 0);
        let bytes = bytes.ok_or_else(|| Error::generic("Parameter 'target' expects a size"))?;
        machine.board().with(|s| s.set_balloon_size(bytes));
        Ok(())
    }
}

fn none() -> Error {
    Error::device_not_active("No balloon device has been activated")
}
