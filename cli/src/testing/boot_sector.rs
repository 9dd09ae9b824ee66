//! A boot sector on a machine: what a BIOS leaves behind when it jumps to one.

use crate::board::Board;
use crate::machine::{Boot, BootError, BuildError, CompatProperty, MachineConfig, MachineType, Wiring};
use crate::x86::state::{Seg, Segment, X86State};
use std::sync::Arc;

/// Where it is loaded, and started.
const START: u64 = 0x7c00;
/// The drive that it comes from: the first fixed disk.
const DRIVE: u64 = 0x80;
const RDX: usize = 2;
const RSP: usize = 4;

/// A boot sector: as many bytes as a sector has.
pub(super) type Sector = [u8; 512];

/// A machine that starts a boot sector after every reset.
pub(super) struct WithSector<'a> {
    pub(super) machine: &'a dyn MachineType,
    pub(super) sector: Box<Sector>,
}

impl MachineType for WithSector<'_> {
    fn name(&self) -> &'static str {
        self.machine.name()
    }
    fn description(&self) -> &'static str {
        self.machine.description()
    }
    fn max_cpus(&self) -> u32 {
        self.machine.max_cpus()
    }
    fn parent_type(&self) -> &'static str {
        self.machine.parent_type()
    }
    fn compat(&self) -> Vec<CompatProperty> {
        self.machine.compat()
    }
    fn has_cpus(&self) -> bool {
        self.machine.has_cpus()
    }
    fn default_cpu_type(&self) -> Option<&'static str> {
        self.machine.default_cpu_type()
    }
    fn hotpluggable_cpus(&self) -> bool {
        self.machine.hotpluggable_cpus()
    }
    fn build(&self, config: &MachineConfig, board: &Arc<Board>) -> Result<Wiring, BuildError> {
        let wiring = self.machine.build(config, board)?;
        Ok(Wiring { boot: Some(Box::new(Start(self.sector.clone()))), ..wiring })
    }
}

struct Start(Box<Sector>);

impl Boot for Start {
    fn enter(&self, board: &Board, state: &mut X86State) -> Result<(), BootError> {
        let refused = |e: crate::mem::NotRam| BootError { what: "boot sector".into(), reason: e.to_string() };
        board.memory().load(START, &*self.0).map_err(refused)?;
        for data in [Seg::Es, Seg::Ss, Seg::Ds, Seg::Fs, Seg::Gs] {
            *state.seg_mut(data) = Segment::real(0);
        }
        *state.seg_mut(Seg::Cs) = Segment { attr: state.seg(Seg::Cs).attr, ..Segment::real(0) };
        state.rip = START;
        state.gpr[RSP] = START;
        state.gpr[RDX] = DRIVE;
        Ok(())
    }
}
