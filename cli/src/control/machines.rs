//! Machines, their memory and their places for CPUs.

use super::{Control, Error, Result};
use crate::backend::memory::MemoryBackend;
use crate::machine::MachineType;
use crate::object::types;
use crate::qmp::types::machine::{
    CpuInfoFast, CpuInstanceProperties, CurrentMachineParams, HostMemPolicy, HotpluggableCpu, MachineInfo, Memdev,
    MemoryInfo, SysEmuTarget, TargetInfo,
};

/// The type of a machine's CPUs without `-cpu`.
fn cpu_type(model: &str) -> String {
    format!("{model}-x86_64-cpu")
}

fn describe(machine: &dyn MachineType) -> MachineInfo {
    let default_model = gearbox_core::x86::cpu_model::CpuModel::default().name;
    MachineInfo {
        name: machine.name().to_owned(),
        alias: machine.alias().map(str::to_owned),
        is_default: machine.is_default().then_some(true),
        cpu_max: machine.max_cpus().into(),
        hotpluggable_cpus: false,
        numa_mem_supported: false,
        deprecated: false,
        default_cpu_type: machine.has_cpus().then(|| cpu_type(&default_model)),
        default_ram_id: machine.has_cpus().then(|| "pc.ram".to_owned()),
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

    /// How many CPUs the machine has, whether or not the accelerator runs them.
    fn cpu_count(&self) -> u32 {
        if self.facts.machine.has_cpus() { self.facts.topology.total() } else { 0 }
    }
    fn cpu_place(&self, index: u32) -> CpuInstanceProperties {
        let t = &self.facts.topology;
        let (threads, cores) = (t.threads.max(1), t.cores.max(1));
        CpuInstanceProperties {
            node_id: None,
            socket_id: Some((index / threads / cores).into()),
            die_id: None,
            cluster_id: None,
            core_id: Some((index / threads % cores).into()),
            thread_id: Some((index % threads).into()),
        }
    }
    /// Paths of the CPUs' objects, in the order of their numbers.
    fn cpu_paths(&self) -> Result<Vec<String>> {
        Ok(self.machine()?.board().with(|s| {
            let all = s.objects.descendants(s.objects.root());
            let cpus = all.iter().filter(|(_, node)| types().is_a(s.objects.type_name(*node), "cpu"));
            cpus.map(|(_, node)| s.objects.path(*node)).collect()
        }))
    }
    /// `query-cpus-fast`.
    ///
    /// # Errors
    /// There is no machine.
    pub fn cpus_fast(&self) -> Result<Vec<CpuInfoFast>> {
        let (machine, paths) = (self.machine()?, self.cpu_paths()?);
        let cpu = |(index, path): (u32, String)| {
            // Where no thread runs it, it is the emulator's.
            let thread = machine.with_vcpu(index as usize, |_| rustix::thread::gettid());
            let thread = thread.unwrap_or_else(rustix::process::getpid);
            CpuInfoFast {
                cpu_index: index.into(),
                qom_path: path,
                thread_id: thread.as_raw_nonzero().get().into(),
                props: Some(self.cpu_place(index)),
                target: SysEmuTarget::X86_64,
            }
        };
        Ok((0..self.cpu_count()).zip(paths).map(cpu).collect())
    }
    /// `query-hotpluggable-cpus`: the places for CPUs, the last one first, as QEMU lists them.
    ///
    /// # Errors
    /// The machine has none.
    pub fn hotpluggable_cpus(&self) -> Result<Vec<HotpluggableCpu>> {
        if self.cpu_count() == 0 {
            return Err(Error::generic("The feature 'query-hotpluggable-cpus' is not enabled"));
        }
        let paths = self.cpu_paths().unwrap_or_default();
        let place = |index: u32| HotpluggableCpu {
            ty: cpu_type(&self.facts.cpu.name),
            vcpus_count: 1,
            props: self.cpu_place(index),
            qom_path: paths.get(index as usize).cloned(),
        };
        Ok((0..self.cpu_count()).rev().map(place).collect())
    }
}
