//! From a CPU model to the CPUID leaves that one processor shows: cut down to what the accelerator offers, with topology and caches.

use super::cpu_features::{Feature, FeatureSet, Word};
use super::cpu_leaves::Builder;
use super::cpu_model::{Base, CpuModel, CpuModelError, Levels, encode_signature};
use super::cpu_models::{Facts, TabledModel};
use super::cpuid::CpuidSet;
use super::topology::Topology;

/// A feature that the model asks for and the accelerator does not offer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissingFeature {
    /// The feature. Its `Display` is the form that QEMU's warnings have.
    pub feature: Feature,
    /// The user asked for it by its name; otherwise it came with the model.
    pub by_name: bool,
}

/// What [`CpuModel::realize`] gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RealizedCpu {
    /// The leaves that the guest sees.
    pub cpuid: CpuidSet,
    /// What the guest does not get, although the model asks for it.
    pub missing: Vec<MissingFeature>,
    /// The features that the guest gets.
    pub features: FeatureSet,
    /// The features that it does not get, although the model asks for them.
    pub filtered: FeatureSet,
    /// What the processor says of itself besides its features.
    pub identity: Identity,
}

/// What a processor says of itself besides its features.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// Vendor string.
    pub vendor: [u8; 12],
    /// Family, extended family included.
    pub family: u32,
    /// Model, extended model included.
    pub model: u32,
    /// Stepping.
    pub stepping: u32,
    /// Highest basic leaf.
    pub level: Level,
    /// Highest extended leaf, or 0.
    pub xlevel: Level,
    /// Highest leaf of the range of Centaur and VIA (C0000000H), or 0.
    pub xlevel2: Level,
    /// Brand string.
    pub model_id: String,
    /// Width of physical addresses.
    pub phys_bits: u32,
}

/// The highest leaf of a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Level {
    /// What the guest sees.
    pub value: u32,
    /// What the model and its features need.
    pub least: u32,
}

impl Level {
    fn new(asked: Levels, tabled: u32, raised: u32) -> Self {
        let least = asked.least.unwrap_or(tabled).max(raised);
        Self { value: asked.fixed.unwrap_or(least), least }
    }
}

const KVM_SIGNATURE: &[u8; 12] = b"KVMKVMKVM\0\0\0";
const TCG_SIGNATURE: &[u8; 12] = b"TCGTCGTCGTCG";
const INTEL: &[u8; 12] = b"GenuineIntel";

/// What QEMU 7.2 adds to, and takes from, every tabled model on an accelerator. Cut silently where not offered.
struct Defaults {
    on: &'static [&'static str],
    off: &'static [&'static str],
}

fn defaults(hypervisor: Option<[u8; 12]>) -> Defaults {
    match hypervisor.as_ref() {
        Some(KVM_SIGNATURE) => Defaults {
            on: &[
                "kvmclock",
                "kvm-nopiodelay",
                "kvm-asyncpf",
                "kvm-steal-time",
                "kvm-pv-eoi",
                "kvmclock-stable-bit",
                "x2apic",
            ],
            off: &["acpi", "monitor", "svm"],
        },
        Some(TCG_SIGNATURE) => Defaults { on: &[], off: &["vme"] },
        _ => Defaults { on: &[], off: &[] },
    }
}

/// Features that depend on no accelerator: a label, and what topology says.
const ALWAYS: &[&str] = &["hypervisor", "ht", "cmp-legacy"];

/// Features that pin a guest to its host; `max` and `host` leave them out unless asked by name.
const NOT_MIGRATABLE: &[&str] = &["invtsc"];

/// Width of physical addresses of tabled models, as QEMU's.
const DEFAULT_PHYS_BITS: u32 = 40;

fn each(set: &mut FeatureSet, names: &[&str], on: bool) {
    names.iter().filter_map(|n| Feature::find(n)).for_each(|f| set.set(f, on));
}

impl CpuModel {
    /// The CPUID leaves of the processor with `apic_id` in a machine of this topology, cut down to what the accelerator offers.
    ///
    /// # Errors
    /// [`CpuModelError::Enforced`] where `enforce` was asked for and something is missing; [`CpuModelError::HostNeedsKvm`].
    pub fn realize(&self, offered: &CpuidSet, topo: &Topology, apic_id: u32) -> Result<RealizedCpu, CpuModelError> {
        let hypervisor = offered.vendor(CpuidSet::HYPERVISOR);
        let on_host_cpu = hypervisor.as_ref() == Some(KVM_SIGNATURE);
        if self.base == Base::Host && !on_host_cpu {
            return Err(CpuModelError::HostNeedsKvm);
        }
        let defaults = defaults(hypervisor);
        let asked = self.asked_features(offered, &defaults);
        let (features, filtered, missing) =
            self.cut_features(asked, &offered.features(), &defaults, hypervisor.is_some(), topo);
        if self.props.enforce && !missing.is_empty() {
            let missing = missing.iter().map(|m| m.feature.to_string()).collect();
            return Err(CpuModelError::Enforced { model: self.name.clone(), missing });
        }
        let identity = self.identity(offered, on_host_cpu, &asked);
        let mut b = Builder::new(features, topo, apic_id, offered, &self.props);
        b.basic(&identity);
        b.extended(&identity);
        let hidden = match hypervisor.as_ref() {
            Some(KVM_SIGNATURE) => self.props.hide_kvm,
            Some(TCG_SIGNATURE) => self.props.hide_tcg,
            _ => false,
        };
        if !hidden {
            b.hypervisor(hypervisor);
        }
        Ok(RealizedCpu { cpuid: b.finish(), missing, features, filtered, identity })
    }

    /// What the user switched last.
    fn switched(&self, feature: Feature) -> Option<bool> {
        self.changes.iter().rev().find(|(f, _)| *f == feature).map(|(_, on)| *on)
    }

    fn asked_features(&self, offered: &CpuidSet, defaults: &Defaults) -> FeatureSet {
        let offered = offered.features();
        let mut asked = match self.base {
            Base::Table(model) => {
                let mut f = FeatureSet::from_names(model.facts.features()).unwrap_or_default();
                each(&mut f, defaults.off, false);
                f
            }
            Base::Offered | Base::Host => {
                let mut named = FeatureSet::default();
                offered.iter().for_each(|f| named.set(f, true));
                each(&mut named, NOT_MIGRATABLE, false);
                named.and(&offered)
            }
        };
        each(&mut asked, &["hypervisor"], true);
        self.changes.iter().for_each(|(f, on)| asked.set(*f, *on));
        asked
    }

    /// What of the features is there, what of them is not, and how that is told. Where no guest code `runs`, a feature may be without those
    /// that it needs, as in QEMU, except for those of SVM.
    fn cut_features(
        &self,
        mut asked: FeatureSet,
        offered: &FeatureSet,
        defaults: &Defaults,
        runs: bool,
        topo: &Topology,
    ) -> (FeatureSet, FeatureSet, Vec<MissingFeature>) {
        let mut available = *offered;
        each(&mut available, ALWAYS, true);
        let drop = |set: &mut FeatureSet| if runs { set.drop_dependents() } else { set.drop_dependents_of("svm") };
        let on_by_name = |f: &Feature| self.switched(*f) == Some(true);
        let mut missing: Vec<_> = drop(&mut asked).into_iter().filter(on_by_name).collect();

        let mut have = asked.and(&available);
        missing.extend(asked.iter().filter(|f| asked.word(f.word) & f.mask & !available.word(f.word) != 0));
        missing.extend(drop(&mut have));
        let mut filtered = FeatureSet::default();
        missing.iter().for_each(|f| filtered.set(*f, true));
        if matches!(self.base, Base::Table(_)) {
            let soft = defaults.on.iter().filter_map(|n| Feature::find(n)).filter(|f| self.switched(*f).is_none());
            soft.for_each(|f| *have.word_mut(f.word) |= f.mask & available.word(f.word));
        }
        each(&mut have, &["ht"], topo.package_threads() > 1);
        let missing = missing.into_iter().map(|feature| MissingFeature { feature, by_name: on_by_name(&feature) });
        (have, filtered, missing.collect())
    }

    fn identity(&self, offered: &CpuidSet, on_host_cpu: bool, asked: &FeatureSet) -> Identity {
        let p = &self.props;
        let offered_vendor = || offered.vendor(0).unwrap_or(*INTEL);
        let offered_bits = offered.get(0x8000_0008, 0).map_or(36, |l| l.eax & 0xff);
        let max_leaf = |f: u32| offered.get(f, 0).map_or(f, |l| l.eax);
        let raised = |range| raised_level(asked, range, !p.no_auto_level);
        let level = |tabled| Level::new(p.levels, tabled, raised(0));
        let xlevel = |tabled| Level::new(p.xlevels, tabled, raised(0x8000_0000));
        let xlevel2 = Level::new(p.xlevels2, 0, raised(0xc000_0000));
        let mut id = match self.base {
            Base::Table(TabledModel { facts, .. }) => {
                let Facts { vendor, family, model, stepping, model_id, .. } = *facts;
                Identity {
                    // Guest code runs on the host's processor, and vendors differ in SYSENTER and SYSCALL: so QEMU, too.
                    vendor: if on_host_cpu { offered_vendor() } else { *vendor },
                    family,
                    model,
                    stepping,
                    level: level(facts.level),
                    xlevel: xlevel(facts.xlevel),
                    xlevel2,
                    model_id: model_id.to_owned(),
                    phys_bits: offered_bits.min(DEFAULT_PHYS_BITS),
                }
            }
            Base::Offered | Base::Host => {
                let (family, model, stepping) = decode_signature(offered.signature());
                Identity {
                    vendor: offered_vendor(),
                    family,
                    model,
                    stepping,
                    level: level(max_leaf(0).min(HIGHEST_LEVEL)),
                    xlevel: xlevel(max_leaf(0x8000_0000).min(HIGHEST_XLEVEL)),
                    xlevel2,
                    model_id: offered.brand(),
                    phys_bits: offered_bits,
                }
            }
        };
        id.family = p.family.unwrap_or(id.family);
        id.model = p.model.unwrap_or(id.model);
        id.stepping = p.stepping.unwrap_or(id.stepping);
        id.vendor = p.vendor.unwrap_or(id.vendor);
        id.model_id = p.model_id.clone().unwrap_or(id.model_id);
        match p.host_phys_bits {
            Some(true) => id.phys_bits = offered_bits,
            Some(false) => id.phys_bits = offered_bits.min(DEFAULT_PHYS_BITS),
            None => {}
        }
        id.phys_bits = p.phys_bits.unwrap_or(id.phys_bits).min(offered_bits);
        id
    }
}

impl Identity {
    /// CPUID.1:EAX.
    pub fn signature(&self) -> u32 {
        encode_signature(self.family, self.model, self.stepping)
    }
    /// The vendor string as text, `AuthenticAMD`.
    pub fn vendor_name(&self) -> String {
        String::from_utf8_lossy(&self.vendor).trim_end_matches('\0').to_owned()
    }
}

/// The highest leaf of a range that features need. Leaf 7 always counts with its EBX, the others only with `auto`: versions of QEMU before 2.8
/// knew no more.
fn raised_level(features: &FeatureSet, range: u32, auto: bool) -> u32 {
    let counts = |w: &Word| match w {
        Word::Leaf7Ebx => true,
        Word::Leaf7Edx => false,
        _ => auto,
    };
    let in_range = |leaf: &u32| leaf & 0xf000_0000 == range;
    let leaves = Word::all().filter(counts).filter(|w| features.word(*w) != 0).map(|w| w.info().function);
    let svm = (auto && features.has_name("svm")).then_some(0x8000_000a);
    leaves.chain(svm).filter(in_range).max().unwrap_or(0)
}

/// The highest leaves that [`Builder`] makes.
const HIGHEST_LEVEL: u32 = 0xd;
const HIGHEST_XLEVEL: u32 = 0x8000_001e;

fn decode_signature(s: u32) -> (u32, u32, u32) {
    let family = s >> 8 & 15;
    let family = if family == 15 { family + (s >> 20 & 0xff) } else { family };
    (family, s >> 4 & 15 | s >> 12 & 0xf0, s & 15)
}

#[cfg(test)]
mod tests {
    use super::super::cpu_leaves::{AMD_REPEATED, LINE};
    use super::super::cpu_model::{Offer, everything};
    use super::*;

    const BASE: &[&str] = &[
        "fpu", "de", "pse", "tsc", "msr", "pae", "mce", "cx8", "apic", "sep", "mtrr", "pge", "mca", "cmov", "pat",
        "pse36", "clflush", "mmx", "fxsr", "sse", "sse2", "pni", "cx16", "popcnt", "lm", "syscall", "nx", "lahf-lm",
    ];

    fn offer(hypervisor: &[u8; 12], more: &[&str]) -> CpuidSet {
        let features: Vec<_> = BASE.iter().chain(more).copied().collect();
        Offer {
            vendor: b"GenuineIntel",
            signature: (6, 26, 3),
            model_id: "Test CPU",
            hypervisor,
            phys_bits: 46,
            linear_bits: 48,
            features: &features,
        }
        .cpuid()
        .unwrap()
    }
    fn realize(arg: &str, offered: &CpuidSet) -> RealizedCpu {
        CpuModel::parse(arg).unwrap().realize(offered, &Topology::default(), 0).unwrap()
    }
    fn names(missing: &[MissingFeature]) -> Vec<&str> {
        missing.iter().map(|m| m.feature.name).collect()
    }

    #[test]
    fn qemu64_is_cut_and_says_so() {
        let cpu = realize("qemu64,+popcnt,+avx,-sse3", &offer(TCG_SIGNATURE, &["xsave"]));
        let f = cpu.cpuid.features();
        assert!(f.has_name("popcnt") && f.has_name("sse2") && f.has_name("hypervisor"));
        assert!(!f.has_name("avx") && !f.has_name("pni") && !f.has_name("svm") && !f.has_name("xsave"));
        let mut missing: Vec<_> = cpu.missing.iter().map(|m| (m.feature.name, m.by_name)).collect();
        missing.sort_unstable();
        assert_eq!(missing, [("avx", true), ("svm", false)]);
        assert_eq!(cpu.cpuid.vendor(0).as_ref(), Some(b"AuthenticAMD"));
        assert_eq!(cpu.cpuid.get(0, 0).unwrap().eax, 0xd);
        assert_eq!(cpu.cpuid.get(0x8000_0000, 0).unwrap().eax, 0x8000_000a);
        assert_eq!(cpu.cpuid.signature(), 0x0006_0fb1);
        assert_eq!(cpu.cpuid.brand(), "QEMU Virtual CPU version 2.5+");
        assert_eq!(cpu.cpuid.vendor(CpuidSet::HYPERVISOR).as_ref(), Some(TCG_SIGNATURE));
        assert_eq!(cpu.cpuid.get(0x8000_0008, 0).unwrap().eax, 48 << 8 | 40);
    }

    #[test]
    fn amd_repeats_basic_features() {
        let edx = |vendor: &str| {
            let cpu = realize(&format!("qemu64,vendor={vendor}"), &offer(TCG_SIGNATURE, &[]));
            cpu.cpuid.get(0x8000_0001, 0).unwrap().edx & AMD_REPEATED
        };
        assert_ne!(edx("AuthenticAMD"), 0);
        assert_eq!(edx("GenuineIntel"), 0);
    }

    #[test]
    fn kvm_gives_its_own_features_and_the_hosts_vendor() {
        let offered = offer(KVM_SIGNATURE, &["kvmclock", "kvm-pv-eoi", "x2apic", "invtsc"]);
        let cpu = realize("qemu64", &offered);
        let f = cpu.cpuid.features();
        assert!(f.has_name("kvmclock") && f.has_name("kvm-pv-eoi") && f.has_name("x2apic"));
        assert!(!f.has_name("kvm-asyncpf"));
        assert_eq!(names(&cpu.missing), Vec::<&str>::new());
        assert_eq!(cpu.cpuid.vendor(0).as_ref(), Some(INTEL));
        let hidden = realize("qemu64,kvm=off,-kvmclock", &offered).cpuid;
        assert_eq!(hidden.get(CpuidSet::HYPERVISOR, 0), None);
    }

    #[test]
    fn host_and_max_are_what_is_offered() {
        let offered = offer(KVM_SIGNATURE, &["invtsc", "rdtscp"]);
        for name in ["host", "max"] {
            let cpu = realize(name, &offered);
            assert!(cpu.missing.is_empty());
            assert_eq!((cpu.cpuid.brand().as_str(), cpu.cpuid.signature()), ("Test CPU", offered.signature()));
            let f = cpu.cpuid.features();
            assert!(f.has_name("rdtscp") && !f.has_name("invtsc"));
            assert!(realize(&format!("{name},+invtsc"), &offered).cpuid.features().has_name("invtsc"));
            assert_eq!(cpu.cpuid.get(0x8000_0008, 0).unwrap().eax, 48 << 8 | 46);
        }
        let tcg = offer(TCG_SIGNATURE, &[]);
        let refused = CpuModel::parse("host").unwrap().realize(&tcg, &Topology::default(), 0);
        assert_eq!(refused, Err(CpuModelError::HostNeedsKvm));
    }

    #[test]
    fn enforce_refuses() {
        let tcg = offer(TCG_SIGNATURE, &[]);
        let e = CpuModel::parse("max,+avx2,enforce").unwrap().realize(&tcg, &Topology::default(), 0).unwrap_err();
        assert!(e.to_string().ends_with("CPUID.07H:EBX.avx2 [bit 5]"), "{e}");
    }

    #[test]
    fn topology_leaves() {
        let topo = Topology { sockets: 1, cores: 2, threads: 2 };
        let cpu = CpuModel::default().realize(&offer(TCG_SIGNATURE, &[]), &topo, 3).unwrap().cpuid;
        let l1 = cpu.get(1, 0).unwrap();
        assert_eq!((l1.ebx, l1.edx >> 28 & 1), (0x0304_0800, 1));
        let smt = cpu.get(0xb, 0).unwrap();
        assert_eq!((smt.eax, smt.ebx, smt.ecx, smt.edx), (1, 2, 0x100, 3));
        let core = cpu.get(0xb, 1).unwrap();
        assert_eq!((core.eax, core.ebx, core.ecx, core.edx), (2, 4, 0x201, 3));
        assert_eq!(cpu.query(0xb, 5), (0, 0, 5, 3), "behind the last level");
        assert_eq!((cpu.query(2, 0), cpu.query(4, 0)), ((0, 0, 0, 0), (0, 0, 0, 0)), "AMD has them elsewhere");
        assert_eq!(cpu.get(0x8000_0008, 0).unwrap().ecx, 2 << 12 | 3);
        assert_eq!(cpu.get(0x8000_0001, 0).unwrap().ecx & 2, 2);
        let intel = CpuModel::parse("qemu64,vendor=GenuineIntel").unwrap();
        let cpu = intel.realize(&offer(TCG_SIGNATURE, &[]), &topo, 3).unwrap().cpuid;
        let l1d = cpu.get(4, 0).unwrap();
        assert_eq!((l1d.eax >> 14 & 0xfff, l1d.eax >> 26), (1, 1));
        let l3 = cpu.get(4, 3).unwrap();
        assert_eq!(l3.eax >> 14 & 0xfff, 3);
        assert_eq!(u64::from(((l3.ebx >> 22) + 1) * LINE) * u64::from(l3.ecx + 1), 16 << 20);
    }

    #[test]
    fn levels_follow_features_unless_fixed() {
        let offered = offer(TCG_SIGNATURE, &["smep"]);
        assert_eq!(realize("pentium,+smep", &offered).cpuid.get(0, 0).unwrap().eax, 7);
        assert_eq!(realize("pentium,+smep,level=1", &offered).cpuid.get(7, 0), None);
        assert_eq!(realize("pentium", &offered).cpuid.get(0x8000_0000, 0), None);
    }

    #[test]
    fn levels_without_a_cpu_are_qemus() {
        let levels = |arg: &str| {
            let id = realize(arg, &everything()).identity;
            (id.level.value, id.xlevel.value, id.xlevel2.value)
        };
        for (arg, expect) in [
            ("phenom", (5, 0x8000_001a, 0)),
            ("486", (1, 0, 0)),
            ("phenom,avx512vbmi=on", (7, 0x8000_001a, 0)),
            ("phenom,xsaveopt=on,xstore=on", (0xd, 0x8000_001a, 0xc000_0001)),
            ("486,invtsc=on", (1, 0x8000_0007, 0)),
            ("athlon,svm=on", (2, 0x8000_000a, 0)),
            ("486,level=0,arat=on,fsgsbase=on", (0, 0, 0)),
            ("486,xlevel=0,3dnow=on,xlevel2=0xC0000002,xstore=on", (1, 0, 0xc000_0002)),
            ("486,full-cpuid-auto-level=off,arat=on,3dnow=on,xstore=on", (1, 0, 0)),
            ("Nehalem,min-level=2,full-cpuid-auto-level=off", (2, 0x8000_0008, 0)),
            ("Nehalem,min-level=2,full-cpuid-auto-level=off,smap=on", (7, 0x8000_0008, 0)),
        ] {
            assert_eq!(levels(arg), expect, "{arg}");
        }
    }

    #[test]
    fn without_a_cpu_nothing_is_filtered() {
        for (name, _) in CpuModel::known().filter(|(name, _)| *name != "host") {
            assert_eq!(names(&realize(name, &everything()).missing), Vec::<&str>::new(), "{name}");
        }
        let f = realize("max,-mmx,+invtsc", &everything()).features;
        assert!(!f.has_name("mmx") && f.has_name("invtsc") && f.has_name("amx-tile") && !f.has_name("kvmclock"));
        assert_eq!(
            realize("486,+kvmclock", &everything()).filtered.iter().map(|f| f.name).collect::<Vec<_>>(),
            ["kvmclock"]
        );
    }

    #[test]
    fn older_machines_hide_what_they_did_not_have() {
        let offered = offer(TCG_SIGNATURE, &[]);
        let cpu = realize("qemu64,vendor=GenuineIntel,l3-cache=off,cpuid-0xb=off,tcg-cpuid=off", &offered).cpuid;
        assert_eq!(cpu.get(2, 0).unwrap().ecx, 0);
        assert_eq!((cpu.get(4, 2).unwrap().eax & 0x1f, cpu.get(4, 3).unwrap().eax), (3, 0));
        assert_eq!((cpu.get(0x8000_0006, 0).unwrap().edx, cpu.get(0xb, 0).unwrap().ebx), (0, 0));
        assert_eq!(cpu.get(CpuidSet::HYPERVISOR, 0), None);
    }
}
