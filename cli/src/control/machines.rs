//! Machines, their memory and their places for CPUs.

use super::{Control, Error, Result};
use crate::backend::memory::MemoryBackend;
use crate::machine::{MachineType, PossibleCpu};
use crate::object::types;
use crate::qmp::types::machine::{
    CpuInfoFast, CpuInstanceProperties, CurrentMachineParams, GuidInfo, HostMemPolicy, HotpluggableCpu, MachineInfo,
    Memdev, MemoryInfo, SysEmuTarget, TargetInfo,
};
use crate::x86::cpu_object::CpuPlace;

fn describe(machine: &dyn MachineType) -> MachineInfo {
    MachineInfo {
        name: machine.name().to_owned(),
        alias: machine.alias().map(str::to_owned),
        is_default: machine.is_default().then_some(true),
        cpu_max: machine.max_cpus().into(),
        hotpluggable_cpus: machine.hotpluggable_cpus(),
        numa_mem_supported: machine.numa_mem_supported(),
        deprecated: machine.deprecated(),
        default_cpu_type: machine.default_cpu_type().map(str::to_owned),
        default_ram_id: machine.default_ram_id().map(str::to_owned),
    }
}

fn props(place: &CpuPlace) -> CpuInstanceProperties {
    CpuInstanceProperties {
        node_id: place.node.map(Into::into),
        socket_id: Some(place.socket.into()),
        die_id: None,
        cluster_id: None,
        core_id: Some(place.core.into()),
        thread_id: Some(place.thread.into()),
    }
}

impl Control {
    /// `query-machines`.
    pub fn machines() -> Vec<MachineInfo> {
        crate::machine_types().iter().map(|m| describe(*m)).collect()
    }
    /// `query-target`.
    pub fn target() -> TargetInfo {
        TargetInfo { arch: SysEmuTarget::X86_64 }
    }
    /// `query-current-machine`.
    pub fn current_machine() -> CurrentMachineParams {
        CurrentMachineParams { wakeup_suspend_support: false }
    }
    /// `query-memory-size-summary`.
    pub fn memory_size_summary(&self) -> MemoryInfo {
        let base_memory = if self.facts.machine.has_cpus() { self.facts.ram_size } else { 0 };
        MemoryInfo { base_memory, plugged_memory: Some(0) }
    }
    /// `query-vm-generation-id`.
    ///
    /// # Errors
    /// The machine has no such device.
    pub fn vm_generation_id(&self) -> Result<GuidInfo> {
        let guid = self.machine()?.board().with(|s| {
            let all = s.objects.descendants(s.objects.root());
            let (_, device) = all.into_iter().find(|(_, node)| s.objects.type_name(*node) == "vmgenid")?;
            s.object_get(device, "guid").ok()?.as_str().map(str::to_owned)
        });
        let guid = guid.ok_or_else(|| Error::generic("VM Generation ID device not found"))?;
        Ok(GuidInfo { guid })
    }
    /// `query-memdev`.
    pub fn memdevs(&self) -> Vec<Memdev> {
        let objects = self.facts.objects.list().into_iter().filter(|o| types().is_a(o.type_name, "memory-backend"));
        let describe = |o: crate::object::UserObjectInfo| {
            let backend = self.facts.objects.get::<MemoryBackend>(&o.id)?;
            Some(Memdev {
                id: Some(o.id),
                size: backend.block.size(),
                merge: false,
                dump: true,
                prealloc: backend.prealloc,
                share: backend.share,
                reserve: None,
                host_nodes: Vec::new(),
                policy: HostMemPolicy::Default,
            })
        };
        objects.filter_map(describe).collect()
    }

    /// `query-cpus-fast`.
    ///
    /// # Errors
    /// There is no machine.
    pub fn cpus_fast(&self) -> Result<Vec<CpuInfoFast>> {
        let machine = self.machine()?;
        let info = |cpu: PossibleCpu| {
            // Where no thread runs it, it is the emulator's.
            let thread = machine.vcpu_thread_id(cpu.index).unwrap_or_else(|| std::process::id().cast_signed());
            Some(CpuInfoFast {
                cpu_index: cpu.index.into(),
                qom_path: cpu.path?,
                thread_id: thread.into(),
                props: Some(props(&cpu.place)),
                target: SysEmuTarget::X86_64,
            })
        };
        Ok(machine.possible_cpus().into_iter().filter_map(info).collect())
    }
    /// `query-hotpluggable-cpus`: the places for CPUs, the last one first, as QEMU lists them.
    ///
    /// # Errors
    /// The machine's CPUs are there for good, or it has none.
    pub fn hotpluggable_cpus(&self) -> Result<Vec<HotpluggableCpu>> {
        if !self.facts.machine.hotpluggable_cpus() {
            return Err(Error::generic("The feature 'query-hotpluggable-cpus' is not enabled"));
        }
        let place = |cpu: PossibleCpu| HotpluggableCpu {
            ty: cpu.type_name,
            vcpus_count: 1,
            props: props(&cpu.place),
            qom_path: cpu.path,
        };
        let places = match self.machine() {
            Ok(machine) => machine.possible_cpus(),
            Err(_) => self.planned_cpus(),
        };
        Ok(places.into_iter().rev().map(place).collect())
    }
    /// The places for CPUs of a machine that is yet to be made.
    fn planned_cpus(&self) -> Vec<PossibleCpu> {
        let t = &self.facts.topology;
        let (threads, cores) = (t.threads.max(1), t.cores.max(1));
        let place = |index: u32| PossibleCpu {
            index,
            type_name: format!("{}-x86_64-cpu", self.facts.cpu.name),
            place: CpuPlace {
                apic_id: t.apic_id(index),
                socket: index / threads / cores,
                core: index / threads % cores,
                thread: index % threads,
                node: None,
            },
            path: None,
        };
        (0..t.total()).map(place).collect()
    }
}
