//! The machine `none`: RAM at address 0, and nothing else. For tests.

use gearbox_core::board::Board;
use gearbox_core::machine::{BuildError, MachineConfig, MachineEntry, MachineType, Wiring};
use std::sync::Arc;

/// QEMU's `none`.
pub(super) struct NoneMachine;

inventory::submit! { MachineEntry(&NoneMachine) }

impl MachineType for NoneMachine {
    fn name(&self) -> &'static str {
        "none"
    }
    fn suits_own_guest(&self) -> bool {
        false
    }
    fn description(&self) -> &'static str {
        "empty machine"
    }
    fn max_cpus(&self) -> u32 {
        1
    }
    fn default_ram_size(&self) -> u64 {
        0
    }
    fn default_ram_id(&self) -> Option<&'static str> {
        Some("ram")
    }
    fn has_cpus(&self) -> bool {
        false
    }
    fn build(&self, config: &MachineConfig, board: &Arc<Board>) -> Result<Wiring, BuildError> {
        let refuse = |option, value: String, reason: &str| BuildError::Option { option, value, reason: reason.into() };
        if let Some(k) = &config.kernel {
            return Err(refuse("kernel", k.path.display().to_string(), "the machine 'none' has no CPU to run it"));
        }
        if let Some((name, _)) = config.properties.first() {
            return Err(refuse("machine", name.clone(), "the machine 'none' has no such property"));
        }
        if config.ram_size > 0 {
            board.with(|s| -> Result<(), BuildError> {
                let ram = config.ram(s, "ram")?;
                let tree = s.memory();
                let region = tree.ram(&ram, 0, config.ram_size);
                tree.map(tree.root(), 0, region, 0);
                Ok(())
            })?;
        }
        board.with(|s| config.add_devices(s))?;
        Ok(Wiring::default())
    }
}
