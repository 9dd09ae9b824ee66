//! The accelerator "tcg" in the registry, and the CPUID leaves that it offers.

use crate::fpu::xsave;
use crate::jit::Jit;
use crate::vcpu::TcgVm;
use gearbox_core::accel::{AccelEntry, Accelerator, OpenError, OptionSpec, Options, Probe, Reason, Request, Speed};
use gearbox_core::vm::{Threading, Vm};
use gearbox_core::x86::cpu_features::FeatureSet;
use gearbox_core::x86::cpuid::{CpuidLeaf, CpuidSet};

/// The software CPU.
pub struct Tcg;

const SPECS: &[OptionSpec] = &[
    OptionSpec {
        key: "jit",
        values: "on|off",
        default: "on where the host is x86-64 Linux",
        help: "translate hot code to code of the host",
    },
    OptionSpec {
        key: "thread",
        values: "single|multi",
        default: "multi; single with -icount, and on hosts that order memory accesses less strictly than x86",
        help: "host threads of the CPUs: one for all, which take turns, or one each",
    },
];

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
        SPECS
    }
    fn check(&self, options: &Options) -> Result<(), OpenError> {
        jit(options)?;
        thread(options, &Request::default()).map(|_| ())
    }
    fn probe(&self, request: &Request, options: &Options) -> Probe {
        match thread(options, request) {
            Ok(_) => Probe::Ready(Speed::Full),
            Err(e) => Probe::Unfit(Reason::new(e.to_string())),
        }
    }
    fn open(&self, request: &Request, options: &Options) -> Result<Box<dyn Vm>, OpenError> {
        Ok(Box::new(TcgVm::new(thread(options, request)?, request.icount, jit(options)?)))
    }
}

/// Whether hot code is translated.
fn jit(options: &Options) -> Result<bool, OpenError> {
    match options.get("jit") {
        Some("on") if !Jit::SUPPORTED => Err(OpenError::Option {
            key: "jit".into(),
            reason: "code is translated for x86-64 Linux hosts only".into(),
        }),
        Some("on") => Ok(true),
        None => Ok(Jit::SUPPORTED),
        Some("off") => Ok(false),
        Some(other) => {
            Err(OpenError::Option { key: "jit".into(), reason: format!("Invalid 'jit' setting {other}: on or off") })
        }
    }
}

/// How the CPUs are given threads. Code for x86 relies on the order of its memory accesses, which other hosts do not keep.
fn thread(options: &Options, request: &Request) -> Result<Threading, OpenError> {
    let refuse = |reason: String| Err(OpenError::Option { key: "thread".into(), reason });
    let ordered = cfg!(target_arch = "x86_64");
    match options.get("thread") {
        Some("multi") if request.icount.is_some() => refuse("No MTTCG when icount is enabled".into()),
        Some("multi") if !ordered => refuse("this host orders memory accesses less strictly than x86".into()),
        Some("multi") => Ok(Threading::PerVcpu),
        None if ordered && request.icount.is_none() => Ok(Threading::PerVcpu),
        Some("single") | None => Ok(Threading::RoundRobin),
        Some(other) => refuse(format!("Invalid 'thread' setting {other}")),
    }
}

inventory::submit! { AccelEntry(&Tcg) }

/// Feature names of what the engine executes.
const FEATURES: &str = "fpu vme de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 pni ssse3 cx16 \
    sse4.1 sse4.2 movbe popcnt x2apic rdrand hypervisor lahf_lm syscall nx pdpe1gb rdtscp lm abm bmi1 bmi2 adx smep smap fsgsbase erms \
    rdseed rdpid clflushopt clwb cldemote serialize movdiri movdir64b 3dnowprefetch cr8legacy clzero wbnoinvd \
    tsc-deadline tsc-adjust monitor pcid invpcid umip la57 pku pks \
    avx avx2 fma f16c aes vaes pclmulqdq vpclmulqdq sha-ni gfni sse4a xsave xsaveopt xsavec xgetbv1 xsaves";

/// The leaves that this engine can offer.
pub(crate) fn offered_cpuid() -> CpuidSet {
    let mut set = CpuidSet::new();
    set.set_vendor(0, 0xd, b"AuthenticAMD");
    // Family 15, model 107, as QEMU's: what systems know of older ones does not fit this processor.
    set.set(CpuidLeaf { function: 1, eax: 0x0006_0fb1, ..CpuidLeaf::default() });
    set.set_vendor(0x8000_0000, 0x8000_0008, b"AuthenticAMD");
    set.set_brand("Gearbox software CPU");
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
