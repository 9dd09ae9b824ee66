//! The accelerator "tcg" in the registry, and the CPUID leaves that it offers.

use crate::fpu::xsave;
use crate::vcpu::TcgVm;
use gearbox_core::accel::{AccelEntry, Accelerator, OpenError, OptionSpec, Options, Probe, Reason, Request, Speed};
use gearbox_core::vm::Vm;
use gearbox_core::x86::cpu_features::FeatureSet;
use gearbox_core::x86::cpuid::{CpuidLeaf, CpuidSet};

/// The software CPU.
pub struct Tcg;

impl Accelerator for Tcg {
    fn name(&self) -> &'static str {
        "tcg"
    }
    fn description(&self) -> &'static str {
        "software CPU, on any host"
    }
    fn auto_priority(&self) -> Option<u8> {
        Some(10)
    }
    fn options(&self) -> &'static [OptionSpec] {
        &[]
    }
    fn probe(&self, request: &Request, _options: &Options) -> Probe {
        match refusal(request) {
            Some(reason) => Probe::Unfit(reason),
            None => Probe::Ready(Speed::Full),
        }
    }
    fn open(&self, request: &Request, _options: &Options) -> Result<Box<dyn Vm>, OpenError> {
        match refusal(request) {
            Some(reason) => Err(OpenError::Unusable(reason)),
            None => Ok(Box::new(TcgVm::new())),
        }
    }
}

/// Why this cannot be run.
fn refusal(request: &Request) -> Option<Reason> {
    (request.cpus > 1).then(|| Reason::new(format!("tcg runs one CPU so far, not {}", request.cpus)).hint("use -smp 1"))
}

inventory::submit! { AccelEntry(&Tcg) }

/// Feature names of what the engine executes.
const FEATURES: &str = "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 pni ssse3 cx16 \
    sse4.1 sse4.2 movbe popcnt x2apic rdrand hypervisor lahf_lm syscall nx pdpe1gb rdtscp lm abm bmi1 bmi2 adx smep smap fsgsbase erms \
    rdseed rdpid clflushopt clwb cldemote serialize movdiri movdir64b 3dnowprefetch cr8legacy clzero wbnoinvd \
    tsc-deadline tsc-adjust monitor pcid invpcid umip la57 pks \
    avx avx2 fma f16c aes vaes pclmulqdq vpclmulqdq sha-ni gfni sse4a xsave xsaveopt xsavec xgetbv1 xsaves";

/// The leaves that this engine can offer.
pub(crate) fn offered_cpuid() -> CpuidSet {
    let mut set = CpuidSet::new();
    set.set_vendor(0, 0xd, b"AuthenticAMD");
    set.set(CpuidLeaf { function: 1, eax: 0x0000_0663, ..CpuidLeaf::default() });
    set.set_vendor(0x8000_0000, 0x8000_0008, b"AuthenticAMD");
    set.set_vendor(CpuidSet::HYPERVISOR, CpuidSet::HYPERVISOR, b"TCGTCGTCGTCG");
    xsave::offer(&mut set);
    // MONITOR watches lines of 64 bytes; MWAIT can be told to wake on masked interrupts (SDM vol. 2, CPUID leaf 5).
    set.set(CpuidLeaf { function: 5, eax: 64, ebx: 64, ecx: 3, ..CpuidLeaf::default() });
    set.set(CpuidLeaf { function: 0x8000_0008, eax: 57 << 8 | 40, ..CpuidLeaf::default() });
    match FeatureSet::from_names(FEATURES.split_whitespace()) {
        Ok(features) => set.set_features(&features),
        Err(name) => tracing::error!("the tcg table names an unknown CPU feature: {name}"),
    }
    set
}
