//! The device node: opening it, and what it has to be able to do.

use gearbox_core::accel::{Probe, Reason, Request};
use kvm_ioctls::{Cap, Kvm, VmFd};
use std::ffi::CString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The only version there has ever been since Linux 2.6.22.
const API_VERSION: i32 = 12;

/// Capabilities without which nothing here works.
const NEEDED: &[(Cap, &str)] = &[
    (Cap::UserMemory, "KVM_CAP_USER_MEMORY"),
    (Cap::ReadonlyMem, "KVM_CAP_READONLY_MEM"),
    (Cap::SplitIrqchip, "KVM_CAP_SPLIT_IRQCHIP"),
    (Cap::SignalMsi, "KVM_CAP_SIGNAL_MSI"),
    (Cap::IrqRouting, "KVM_CAP_IRQ_ROUTING"),
    (Cap::ImmediateExit, "KVM_CAP_IMMEDIATE_EXIT"),
    (Cap::ExtCpuid, "KVM_CAP_EXT_CPUID"),
    (Cap::MpState, "KVM_CAP_MP_STATE"),
    (Cap::VcpuEvents, "KVM_CAP_VCPU_EVENTS"),
    (Cap::Debugregs, "KVM_CAP_DEBUGREGS"),
    (Cap::Xsave, "KVM_CAP_XSAVE"),
    (Cap::SetTssAddr, "KVM_CAP_SET_TSS_ADDR"),
];

/// APIC ids are 8 bits wide without interrupt remapping, and 255 is the broadcast.
const MAX_CPUS: u32 = 255;

/// Why KVM cannot be used here.
#[derive(Debug)]
pub(super) enum Unusable {
    /// The node does not exist.
    Missing(PathBuf),
    /// The node exists and no driver stands behind it.
    NoDriver(PathBuf),
    /// The user may not open it.
    Denied(PathBuf),
    /// Opening it failed in another way.
    Open(PathBuf, io::Error),
    /// The node is not KVM's.
    NotKvm(PathBuf),
    /// Another KVM than this one.
    Version(i32),
    /// A capability is missing.
    Lacks(&'static str),
    /// Someone else has the processor's virtualization.
    Busy,
    /// More vCPUs than it can have.
    Cpus { asked: u32, most: u32 },
    /// A call that must work failed.
    Call { what: &'static str, source: io::Error },
    /// A vCPU was made and does not run as it should.
    DoesNotRun(String),
}

impl Unusable {
    /// The failure of the call `what`.
    pub(super) fn call(what: &'static str) -> impl FnOnce(vmm_sys_util::errno::Error) -> Self {
        move |e| Self::Call { what, source: e.into() }
    }

    /// For people, with what helps.
    pub(super) fn reason(&self) -> Reason {
        match self {
            Self::Missing(p) => Reason::new(format!("there is no {}", p.display()))
                .hint("load the module kvm_intel or kvm_amd; virtualization may be off in the firmware's settings"),
            Self::NoDriver(p) => Reason::new(format!("no driver stands behind {}", p.display()))
                .hint("load the module kvm_intel or kvm_amd"),
            Self::Denied(p) => Reason::new(format!("no permission to open {}", p.display()))
                .hint("add yourself to group kvm: sudo usermod -aG kvm $USER, then log in again"),
            Self::Open(p, e) => Reason::new(format!("cannot open {}: {e}", p.display())),
            Self::NotKvm(p) => Reason::new(format!("{} is not a KVM device", p.display())),
            Self::Version(v) => Reason::new(format!("the kernel speaks KVM API {v}, not {API_VERSION}")),
            Self::Lacks(cap) => Reason::new(format!("the host's KVM lacks {cap}")).hint("use a newer kernel"),
            Self::Busy => Reason::new("the host's KVM is busy")
                .hint("another hypervisor may be using the processor's virtualization"),
            Self::Cpus { asked, most } => Reason::new(format!("{asked} vCPUs asked for, KVM can have {most}")),
            Self::Call { what, source } => Reason::new(format!("{what}: {source}")),
            Self::DoesNotRun(why) => Reason::new(format!("KVM opens but cannot run a vCPU: {why}")),
        }
    }

    /// Is it not there at all, or there and of no use?
    pub(super) fn probe(&self) -> Probe {
        match self {
            Self::Missing(_) | Self::NoDriver(_) | Self::Denied(_) | Self::Open(..) | Self::NotKvm(_) => {
                Probe::Absent(self.reason())
            }
            _ => Probe::Unfit(self.reason()),
        }
    }
}

/// An open KVM device with all that is needed.
pub(super) struct Device {
    kvm: Kvm,
}

impl Device {
    /// Opens `path` and checks that it is a KVM of use.
    pub(super) fn open(path: &Path) -> Result<Self, Unusable> {
        let c_path = CString::new(path.as_os_str().as_bytes())
            .map_err(|_| Unusable::Open(path.to_owned(), io::ErrorKind::InvalidInput.into()))?;
        let kvm = Kvm::new_with_path(&c_path).map_err(|e| match e.errno() {
            libc::ENOENT | libc::ENOTDIR => Unusable::Missing(path.to_owned()),
            libc::EACCES | libc::EPERM => Unusable::Denied(path.to_owned()),
            libc::ENODEV | libc::ENXIO => Unusable::NoDriver(path.to_owned()),
            libc::EBUSY => Unusable::Busy,
            _ => Unusable::Open(path.to_owned(), e.into()),
        })?;
        match kvm.get_api_version() {
            API_VERSION => {}
            v if v < 0 => return Err(Unusable::NotKvm(path.to_owned())),
            v => return Err(Unusable::Version(v)),
        }
        let device = Self { kvm };
        match NEEDED.iter().find(|(cap, _)| !device.kvm.check_extension(*cap)) {
            Some((_, name)) => Err(Unusable::Lacks(name)),
            None => Ok(device),
        }
    }

    /// Can it have what the machine needs?
    pub(super) fn fits(&self, request: &Request) -> Result<(), Unusable> {
        let most = u32::try_from(self.kvm.get_max_vcpus()).unwrap_or(MAX_CPUS).min(MAX_CPUS);
        if request.cpus > most {
            return Err(Unusable::Cpus { asked: request.cpus, most });
        }
        Ok(())
    }

    /// The system ioctls.
    pub(super) fn kvm(&self) -> &Kvm {
        &self.kvm
    }

    /// A VM with a split interrupt controller, and no memory.
    pub(super) fn create_vm(&self) -> Result<VmFd, Unusable> {
        /// Pages that Intel processors without unrestricted guest need, in the hole below 4 GiB that firmware takes: one for
        /// the identity map, then three for the task-state segment.
        const IDENTITY_MAP: u64 = 0xfeff_c000;
        const TSS: usize = 0xfeff_d000;
        let vm = self.kvm.create_vm().map_err(|e| match e.errno() {
            libc::EBUSY => Unusable::Busy,
            _ => Unusable::Call { what: "KVM_CREATE_VM", source: e.into() },
        })?;
        if self.kvm.check_extension(Cap::SetIdentityMapAddr) {
            vm.set_identity_map_address(IDENTITY_MAP).map_err(Unusable::call("KVM_SET_IDENTITY_MAP_ADDR"))?;
        }
        vm.set_tss_address(TSS).map_err(Unusable::call("KVM_SET_TSS_ADDR"))?;
        super::irq::enable_split(&vm).map_err(Unusable::call("KVM_ENABLE_CAP of KVM_CAP_SPLIT_IRQCHIP"))?;
        Ok(vm)
    }
}
