//! What is known of a machine without asking it.

use super::Control;
use crate::args::Config;
use crate::backend::block::Blocks;
use crate::backend::chardev::Chardevs;
use crate::machine::numa::Numa;
use crate::machine::{MachineConfig, MachineType};
use crate::object::UserObjects;
use crate::qmp::types::accel::{AcceleratorInfo, AcceleratorState, KvmInfo, ReplayInfo, ReplayMode};
use crate::qmp::types::control::{NameInfo, UuidInfo};
use gearbox_core::accel::{Accelerator, Options, Probe, Reason, Request, Selection};
use gearbox_core::x86::cpu_model::CpuModel;
use gearbox_core::x86::topology::Topology;
use std::sync::{Arc, LazyLock};

/// What the command line says of a machine, and how its accelerator was chosen.
pub struct Facts {
    /// The machine's type.
    pub machine: &'static dyn MachineType,
    /// `-cpu`.
    pub cpu: CpuModel,
    /// `-smp`.
    pub topology: Topology,
    /// `-m`, in bytes.
    pub ram_size: u64,
    /// `-numa`.
    pub numa: Numa,
    /// Character back ends.
    pub chardevs: Arc<Chardevs>,
    /// Images and drives.
    pub blocks: Arc<Blocks>,
    /// Objects that the user made.
    pub objects: Arc<UserObjects>,
    /// `-name`.
    pub name: Option<String>,
    /// `-uuid`.
    pub uuid: [u8; 16],
    /// Every accelerator.
    pub accelerators: Accelerators,
}

/// Every accelerator as it is when somebody first asks: those that were not tried have to be probed for that.
pub type Accelerators = LazyLock<Vec<AcceleratorInfo>, Box<dyn FnOnce() -> Vec<AcceleratorInfo> + Send>>;

impl Facts {
    /// What `config` says of the machine that is made from `made`, on what was selected among `accelerators`.
    pub(crate) fn new(
        config: &Config,
        made: &MachineConfig,
        accelerators: &[&'static dyn Accelerator],
        selection: &Selection,
    ) -> Self {
        let (all, selection) = (accelerators.to_vec(), selection.clone());
        Self {
            machine: config.machine,
            cpu: config.cpu.clone(),
            topology: config.topology,
            ram_size: config.ram_size,
            numa: config.numa.clone(),
            chardevs: made.chardevs.clone(),
            blocks: made.blocks.clone(),
            objects: made.objects.clone(),
            name: config.name.clone(),
            uuid: config.uuid,
            accelerators: LazyLock::new(Box::new(move || all.iter().map(|a| describe(*a, &selection)).collect())),
        }
    }
}

fn describe(accel: &dyn Accelerator, selection: &Selection) -> AcceleratorInfo {
    let selected = selection.accel.name() == accel.name();
    let rejection = selection.rejected.iter().find(|r| r.accel == accel.name()).map(|r| r.reason.clone());
    let probed =
        if selected { Probe::Ready(selection.speed) } else { accel.probe(&Request::default(), &Options::default()) };
    let (state, reason) = match probed {
        Probe::Ready(_) => (AcceleratorState::Ready, rejection),
        Probe::Absent(reason) => (AcceleratorState::Absent, Some(reason)),
        Probe::Unfit(reason) => (AcceleratorState::Unfit, Some(reason)),
    };
    let (reason, hint) = reason.map_or((None, None), |Reason { text, hint }| (Some(text), hint));
    AcceleratorInfo {
        name: accel.name().to_owned(),
        description: accel.description().to_owned(),
        selected,
        state,
        priority: accel.auto_priority().map(i64::from),
        reason,
        hint,
    }
}

impl Control {
    /// `query-name`.
    pub fn name(&self) -> NameInfo {
        NameInfo { name: self.facts.name.clone() }
    }
    /// `query-uuid`.
    pub fn uuid(&self) -> UuidInfo {
        UuidInfo { uuid: uuid::Uuid::from_bytes(self.facts.uuid).to_string() }
    }
    /// `query-accelerators`.
    pub fn accelerators(&self) -> Vec<AcceleratorInfo> {
        self.facts.accelerators.clone()
    }
    /// `query-replay`.
    pub fn replay(&self) -> super::Result<ReplayInfo> {
        let icount = self.machine()?.board().clock().instructions().unwrap_or(0);
        Ok(ReplayInfo { mode: ReplayMode::None, icount: i64::try_from(icount).unwrap_or(i64::MAX) })
    }
    /// `query-kvm`.
    pub fn kvm(&self) -> KvmInfo {
        let kvm = self.facts.accelerators.iter().find(|a| a.name == "kvm");
        KvmInfo {
            enabled: kvm.is_some_and(|k| k.selected),
            present: kvm.is_some_and(|k| k.state == AcceleratorState::Ready),
        }
    }
}
