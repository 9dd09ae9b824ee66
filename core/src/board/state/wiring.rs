//! What the board keeps for a device.

use super::Invalid;
use crate::backend::block::DriveState;
use crate::board::{DeviceId, Fabric};
use crate::pci::FunctionState;
use serde::{Deserialize, Serialize};

/// All of it, in the order in which the device has claimed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Wiring {
    /// Levels of its lines.
    lines: Vec<bool>,
    /// When its timers are due, in ns of machine time.
    timers: Vec<Option<u64>>,
    /// Its PCI function.
    function: Option<FunctionState>,
    /// What firmware has written to its files.
    files: Vec<Vec<u8>>,
    drives: Vec<DriveState>,
}

impl Wiring {
    pub(super) fn save(fabric: &Fabric, device: DeviceId) -> Result<Self, Invalid> {
        let drives =
            fabric.backends_of(device).map(|drive| drive.save().ok_or(Invalid::Busy)).collect::<Result<_, _>>()?;
        Ok(Self {
            lines: fabric.lines.levels(device),
            timers: fabric.timers.deadlines(device),
            function: fabric.pci.save(device),
            files: fabric.firmware.written(device),
            drives,
        })
    }
    /// Can the device have this?
    pub(super) fn check(&self, fabric: &Fabric, device: DeviceId) -> Result<(), Invalid> {
        let lengths = |files: &[Vec<u8>]| files.iter().map(Vec::len).collect::<Vec<_>>();
        let function = match (&self.function, fabric.pci.config(device)) {
            (Some(saved), Some(config)) => saved.fits(config),
            (saved, here) => saved.is_none() == here.is_none(),
        };
        let checks = [
            ("lines", self.lines.len() == fabric.lines.levels(device).len()),
            ("timers", self.timers.len() == fabric.timers.deadlines(device).len()),
            ("PCI configuration", function),
            ("firmware files", lengths(&self.files) == lengths(&fabric.firmware.written(device))),
            ("drives", self.drives.len() == fabric.backends_of(device).count()),
        ];
        checks.iter().find(|(_, fits)| !fits).map_or(Ok(()), |(what, _)| Err(Invalid::Wiring(what)))
    }
    /// Gives it this, which has been checked.
    pub(super) fn load(&self, fabric: &mut Fabric, device: DeviceId) {
        for (drive, state) in fabric.backends_of(device).zip(&self.drives) {
            drive.load(state);
        }
        fabric.lines.set_levels(device, &self.lines);
        fabric.timers.set_deadlines(device, &self.timers);
        fabric.firmware.set_written(device, &self.files);
        if let Some(function) = &self.function {
            fabric.pci.load(device, function);
            fabric.apply_config(device);
        }
    }
}
