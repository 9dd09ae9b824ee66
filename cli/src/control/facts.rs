//! What is known of a machine without asking it.

use super::Control;
use crate::backend::chardev::Chardevs;
use crate::machine::MachineType;
use crate::machine::numa::Numa;
use crate::object::UserObjects;
use crate::qmp::types::accel::{AcceleratorInfo, AcceleratorState, KvmInfo};
use crate::qmp::types::control::{NameInfo, UuidInfo};
use gearbox_core::accel::{Accelerator, Options, Probe, Reason, Request, Selection};
use gearbox_core::x86::cpu_model::CpuModel;
use gearbox_core::x86::topology::Topology;
use std::sync::Arc;

/// What the command line says of a machine, and how its accelerator was chosen.
#[derive(Clone)]
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
    /// Objects that the user made.
    pub objects: Arc<UserObjects>,
    /// `-name`.
    pub name: Option<String>,
    /// `-uuid`.
    pub uuid: [u8; 16],
    /// Every accelerator.
    pub accelerators: Vec<AcceleratorInfo>,
}

impl Facts {
    /// The accelerators among which `selection` was made, as they are.
    pub fn accelerators(all: &[&'static dyn Accelerator], selection: &Selection) -> Vec<AcceleratorInfo> {
        all.iter().map(|a| describe(*a, selection)).collect()
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
    /// `query-kvm`.
    pub fn kvm(&self) -> KvmInfo {
        let kvm = self.facts.accelerators.iter().find(|a| a.name == "kvm");
        KvmInfo {
            enabled: kvm.is_some_and(|k| k.selected),
            present: kvm.is_some_and(|k| k.state == AcceleratorState::Ready),
        }
    }
}
