//! From a CPU model to the CPUID leaves that one processor shows: cut down to what the accelerator offers, with topology and caches.

use super::cpu_features::{Feature, FeatureSet, Word};
use super::cpu_model::{CpuModel, CpuModelError, Facts, Source, encode_signature};
use super::cpuid::{CpuidLeaf, CpuidSet};
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

/// Bits of CPUID.80000001H:EDX that repeat CPUID.1:EDX on AMD processors (APM vol. 3, E.4.2).
const AMD_REPEATED: u32 = 0x0183_f3ff;

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
        if self.base.source == Source::Host && !on_host_cpu {
            return Err(CpuModelError::HostNeedsKvm);
        }
        let (features, missing) = self.cut_features(&offered.features(), hypervisor, topo);
        if self.props.enforce && !missing.is_empty() {
            let missing = missing.iter().map(|m| m.feature.to_string()).collect();
            return Err(CpuModelError::Enforced { model: self.name.clone(), missing });
        }
        let identity = self.identity(offered, on_host_cpu, &features);
        let mut b = Builder { set: CpuidSet::new(), features, topo, apic_id, offered };
        b.basic(&identity);
        b.extended(&identity);
        if !self.props.hide_hypervisor {
            b.hypervisor(hypervisor);
        }
        Ok(RealizedCpu { cpuid: b.set, missing })
    }

    fn cut_features(
        &self,
        offered: &FeatureSet,
        hypervisor: Option<[u8; 12]>,
        topo: &Topology,
    ) -> (FeatureSet, Vec<MissingFeature>) {
        let mut available = *offered;
        each(&mut available, ALWAYS, true);
        let defaults = defaults(hypervisor);
        let mut asked = match &self.base.source {
            Source::Table(facts) => {
                let mut f = FeatureSet::from_names(facts.features.split_whitespace()).unwrap_or_default();
                each(&mut f, defaults.off, false);
                f
            }
            Source::Offered | Source::Host => {
                let mut named = FeatureSet::default();
                offered.iter().for_each(|f| named.set(f, true));
                each(&mut named, NOT_MIGRATABLE, false);
                named.and(offered)
            }
        };
        each(&mut asked, &["hypervisor"], true);
        let by_name = |f: Feature| self.changes.iter().rev().find(|(g, _)| *g == f).map(|(_, on)| *on);
        self.changes.iter().for_each(|(f, on)| asked.set(*f, *on));
        let mut missing: Vec<_> = asked.drop_dependents().into_iter().filter(|f| by_name(*f) == Some(true)).collect();

        let mut have = asked.and(&available);
        missing.extend(asked.iter().filter(|f| asked.word(f.word) & f.mask & !available.word(f.word) != 0));
        missing.extend(have.drop_dependents());
        if matches!(self.base.source, Source::Table(_)) {
            let soft = defaults.on.iter().filter_map(|n| Feature::find(n)).filter(|f| by_name(*f).is_none());
            soft.for_each(|f| *have.word_mut(f.word) |= f.mask & available.word(f.word));
        }
        let many = topo.package_threads() > 1;
        each(&mut have, &["ht"], many);
        let missing =
            missing.into_iter().map(|feature| MissingFeature { feature, by_name: by_name(feature) == Some(true) });
        (have, missing.collect())
    }

    fn identity(&self, offered: &CpuidSet, on_host_cpu: bool, features: &FeatureSet) -> Identity {
        let offered_vendor = || offered.vendor(0).unwrap_or(*INTEL);
        let offered_bits = offered.get(0x8000_0008, 0).map_or(36, |l| l.eax & 0xff);
        let max_leaf = |f: u32| offered.get(f, 0).map_or(f, |l| l.eax);
        let mut id = match &self.base.source {
            Source::Table(Facts { vendor, family, model, stepping, level, xlevel, model_id, .. }) => Identity {
                // Guest code runs on the host's processor, and vendors differ in SYSENTER and SYSCALL: so QEMU, too.
                vendor: if on_host_cpu { offered_vendor() } else { **vendor },
                signature: encode_signature(*family, *model, *stepping),
                level: *level,
                xlevel: *xlevel,
                model_id: (*model_id).to_owned(),
                phys_bits: offered_bits.min(DEFAULT_PHYS_BITS),
            },
            Source::Offered | Source::Host => Identity {
                vendor: offered_vendor(),
                signature: offered.signature(),
                level: max_leaf(0).min(HIGHEST_LEVEL),
                xlevel: max_leaf(0x8000_0000).min(HIGHEST_XLEVEL),
                model_id: offered.brand(),
                phys_bits: offered_bits,
            },
        };
        let p = &self.props;
        let (family, model, stepping) = decode_signature(id.signature);
        id.signature =
            encode_signature(p.family.unwrap_or(family), p.model.unwrap_or(model), p.stepping.unwrap_or(stepping));
        id.vendor = p.vendor.unwrap_or(id.vendor);
        id.model_id = p.model_id.clone().unwrap_or(id.model_id);
        match p.host_phys_bits {
            Some(true) => id.phys_bits = offered_bits,
            Some(false) => id.phys_bits = offered_bits.min(DEFAULT_PHYS_BITS),
            None => {}
        }
        id.phys_bits = p.phys_bits.unwrap_or(id.phys_bits).min(offered_bits);
        // A feature shows the leaf that it is in, unless the user fixed the level.
        let shown = |range: u32| {
            let in_range = move |f: &u32| f & 0xf000_0000 == range;
            Word::all()
                .filter(|w| features.word(*w) != 0)
                .map(|w| w.info().function)
                .filter(in_range)
                .max()
                .unwrap_or(0)
        };
        id.level = p.level.unwrap_or_else(|| id.level.max(shown(0)));
        id.xlevel = p.xlevel.unwrap_or_else(|| id.xlevel.max(shown(0x8000_0000)));
        id
    }
}

/// The highest leaves that [`Builder`] makes.
const HIGHEST_LEVEL: u32 = 0xd;
const HIGHEST_XLEVEL: u32 = 0x8000_001e;

struct Identity {
    vendor: [u8; 12],
    signature: u32,
    level: u32,
    xlevel: u32,
    model_id: String,
    phys_bits: u32,
}

fn decode_signature(s: u32) -> (u32, u32, u32) {
    let family = s >> 8 & 15;
    let family = if family == 15 { family + (s >> 20 & 0xff) } else { family };
    (family, s >> 4 & 15 | s >> 12 & 0xf0, s & 15)
}

/// A cache as leaf 4 describes it.
struct Cache {
    /// 1 data, 2 instruction, 3 unified.
    kind: u32,
    level: u32,
    ways: u32,
    sets: u32,
    /// EDX of leaf 4: write-back behaviour, inclusiveness, indexing.
    flags: u32,
    shared_by: Sharing,
}

#[derive(Clone, Copy)]
enum Sharing {
    Core,
    Package,
}

const LINE: u32 = 64;

/// The caches of QEMU's tabled models in Intel's form: 32 KiB each for data and code, 4 MiB for a core, 16 MiB for a package.
const CACHES: [Cache; 4] = [
    Cache { kind: 1, level: 1, ways: 8, sets: 64, flags: 1, shared_by: Sharing::Core },
    Cache { kind: 2, level: 1, ways: 8, sets: 64, flags: 1, shared_by: Sharing::Core },
    Cache { kind: 3, level: 2, ways: 16, sets: 4096, flags: 1, shared_by: Sharing::Core },
    Cache { kind: 3, level: 3, ways: 16, sets: 16384, flags: 6, shared_by: Sharing::Package },
];

/// The same for leaf 2: descriptors of 32 KiB data (2CH) and code (30H), 2 MiB L2 (7DH), 16 MiB L3 (4DH).
const LEAF2: (u32, u32) = (0x4d, 0x2c_307d);

struct Builder<'a> {
    set: CpuidSet,
    features: FeatureSet,
    topo: &'a Topology,
    apic_id: u32,
    offered: &'a CpuidSet,
}

impl Builder<'_> {
    fn leaf(&mut self, function: u32, index: Option<u32>, [eax, ebx, ecx, edx]: [u32; 4]) {
        self.set.set(CpuidLeaf { function, index, eax, ebx, ecx, edx });
    }
    fn word(&self, w: Word) -> u32 {
        self.features.word(w)
    }

    fn basic(&mut self, id: &Identity) {
        self.set.set_vendor(0, id.level, &id.vendor);
        let logical = self.topo.package_threads().min(0xff);
        let ebx = (self.apic_id & 0xff) << 24 | if logical > 1 { logical << 16 } else { 0 } | (LINE / 8) << 8;
        self.leaf(1, None, [id.signature, ebx, self.word(Word::Leaf1Ecx), self.word(Word::Leaf1Edx)]);
        let within = |leaf: u32| id.level >= leaf;
        if within(2) {
            self.leaf(2, None, [1, 0, LEAF2.0, LEAF2.1]);
        }
        if within(4) {
            self.caches(4);
        }
        if within(5) && self.features.has_name("monitor") {
            let monitor = self.offered.get(5, 0).map_or([0; 4], |l| [l.eax, l.ebx, l.ecx, l.edx]);
            self.leaf(5, None, monitor);
        }
        if within(6) {
            self.leaf(6, None, [self.word(Word::Leaf6Eax), 0, 0, 0]);
        }
        if within(7) {
            let sub1 = self.word(Word::Leaf7Sub1Eax);
            let words = [Word::Leaf7Ebx, Word::Leaf7Ecx, Word::Leaf7Edx].map(|w| self.word(w));
            self.leaf(7, Some(0), [u32::from(sub1 != 0), words[0], words[1], words[2]]);
            self.leaf(7, Some(1), [sub1, 0, 0, 0]);
        }
        if within(0xb) {
            self.topology();
        }
        if within(0xd) {
            self.xsave();
        }
    }

    /// Leaf 4, or 8000001DH, which has the same form.
    fn caches(&mut self, function: u32) {
        let ids = |width: u32| (1u32 << width.min(12)) - 1;
        for (index, c) in (0..).zip(&CACHES) {
            let sharing = match c.shared_by {
                Sharing::Core => ids(self.topo.smt_width()),
                Sharing::Package => ids(self.topo.package_width()),
            };
            let cores = ids(self.topo.package_width() - self.topo.smt_width()).min(0x3f);
            let cores = if function == 4 { cores << 26 } else { 0 };
            let eax = c.kind | c.level << 5 | 1 << 8 | sharing << 14 | cores;
            self.leaf(function, Some(index), [eax, (c.ways - 1) << 22 | (LINE - 1), c.sets - 1, c.flags]);
        }
        self.leaf(function, Some(CACHES.len() as u32), [0; 4]);
    }

    /// Leaf 0BH: an SMT and a core level, then the end.
    fn topology(&mut self) {
        const SMT: u32 = 1 << 8;
        const CORE: u32 = 2 << 8;
        let (t, id) = (*self.topo, self.apic_id);
        self.leaf(0xb, Some(0), [t.smt_width(), t.threads & 0xffff, SMT, id]);
        self.leaf(0xb, Some(1), [t.package_width(), t.package_threads() & 0xffff, CORE | 1, id]);
        self.leaf(0xb, Some(2), [0, 0, 2, id]);
    }

    /// Leaf 0DH. EBX of the first two subleaves follows XCR0 and IA32_XSS at run time; here it is what RESET leaves.
    fn xsave(&mut self) {
        const LEGACY_AND_HEADER: u32 = 576;
        if !self.features.has_name("xsave") {
            self.leaf(0xd, Some(0), [0; 4]);
            return;
        }
        let wanted = [("avx", 2), ("mpx", 3), ("mpx", 4), ("avx512f", 5), ("avx512f", 6), ("avx512f", 7), ("pku", 9)];
        let (mut mask, mut size) = (3u32, LEGACY_AND_HEADER);
        for (feature, component) in wanted {
            let offered = self.offered.get(0xd, 0).is_some_and(|l| l.eax >> component & 1 != 0);
            if let Some(l) = self.offered.get(0xd, component).copied().filter(|_| offered)
                && self.features.has_name(feature)
            {
                mask |= 1 << component;
                size = size.max(l.eax.saturating_add(l.ebx));
                self.leaf(0xd, Some(component), [l.eax, l.ebx, l.ecx & !1, 0]);
            }
        }
        self.leaf(0xd, Some(0), [mask, LEGACY_AND_HEADER, size, 0]);
        self.leaf(0xd, Some(1), [self.word(Word::LeafDSub1Eax), 0, 0, 0]);
    }

    fn extended(&mut self, id: &Identity) {
        if id.xlevel < 0x8000_0000 {
            return;
        }
        self.set.set_vendor(0x8000_0000, id.xlevel, &id.vendor);
        let within = |leaf: u32| id.xlevel >= leaf;
        let intel = id.vendor == *INTEL;
        let many = self.topo.package_threads() > 1;
        let repeated = if intel { 0 } else { self.word(Word::Leaf1Edx) & AMD_REPEATED };
        if within(0x8000_0001) {
            let cmp_legacy = u32::from(many && !intel) << 1;
            let ecx = self.word(Word::Ext1Ecx) & !2 | cmp_legacy;
            self.leaf(0x8000_0001, None, [id.signature, 0, ecx, self.word(Word::Ext1Edx) & !AMD_REPEATED | repeated]);
        }
        if within(0x8000_0004) {
            self.set.set_brand(&id.model_id);
        }
        if within(0x8000_0005) {
            // AMD's form: 64 KiB, 2 ways, one line a tag, for data and for code; TLBs of 255 entries (APM vol. 3, E.4.4).
            const TLB: u32 = 0x01ff_01ff;
            const L1: u32 = 64 << 24 | 2 << 16 | 1 << 8 | LINE;
            self.leaf(0x8000_0005, None, [TLB, TLB, L1, L1]);
        }
        if within(0x8000_0006) {
            // 512 4-KiB TLB entries of 4 ways; 512 KiB and 16 MiB of 16 ways (code 8).
            const TLB: u32 = 0x4200_4200;
            const L2: u32 = 512 << 16 | 8 << 12 | 1 << 8 | LINE;
            const L3: u32 = 32 << 18 | 8 << 12 | 1 << 8 | LINE;
            self.leaf(0x8000_0006, None, [0, TLB, L2, L3]);
        }
        if within(0x8000_0007) {
            self.leaf(0x8000_0007, None, [0, 0, 0, self.word(Word::Ext7Edx)]);
        }
        if within(0x8000_0008) {
            let lm = self.features.has_name("lm");
            let linear = if self.features.has_name("la57") { 57 } else { 48 };
            let pse36 = if self.features.has_name("pse36") { 36 } else { 32 };
            let eax = if lm { id.phys_bits | linear << 8 } else { pse36 };
            let cores = if many { (self.topo.package_threads() - 1) & 0xff } else { 0 };
            self.leaf(0x8000_0008, None, [eax, self.word(Word::Ext8Ebx), cores | self.topo.package_width() << 12, 0]);
        }
        if within(0x8000_000a) && self.features.has_name("svm") {
            let (revision, asids) = (1, 16);
            self.leaf(0x8000_000a, None, [revision, asids, 0, self.word(Word::ExtAEdx)]);
        }
        if within(0x8000_001e) && self.features.has_name("topoext") {
            self.caches(0x8000_001d);
            let core = self.apic_id >> self.topo.smt_width();
            let ebx = (self.topo.threads.saturating_sub(1) & 0xff) << 8 | core & 0xff;
            let package = self.apic_id >> self.topo.package_width() & 0xff;
            self.leaf(0x8000_001e, None, [self.apic_id, ebx, package, 0]);
        }
    }

    /// The hypervisor's own leaves, as the accelerator names itself.
    fn hypervisor(&mut self, signature: Option<[u8; 12]>) {
        if let Some(signature) = signature {
            self.set.set_vendor(CpuidSet::HYPERVISOR, CpuidSet::HYPERVISOR + 1, &signature);
            self.leaf(CpuidSet::HYPERVISOR + 1, None, [self.word(Word::KvmEax), 0, 0, self.word(Word::KvmEdx)]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::cpu_model::Offer;
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
        let l1d = cpu.get(4, 0).unwrap();
        assert_eq!((l1d.eax >> 14 & 0xfff, l1d.eax >> 26), (1, 1));
        let l3 = cpu.get(4, 3).unwrap();
        assert_eq!(l3.eax >> 14 & 0xfff, 3);
        assert_eq!(u64::from(((l3.ebx >> 22) + 1) * LINE) * u64::from(l3.ecx + 1), 16 << 20);
        assert_eq!(cpu.get(0x8000_0008, 0).unwrap().ecx, 2 << 12 | 3);
        assert_eq!(cpu.get(0x8000_0001, 0).unwrap().ecx & 2, 2);
    }

    #[test]
    fn levels_follow_features_unless_fixed() {
        let offered = offer(TCG_SIGNATURE, &["smep"]);
        assert_eq!(realize("pentium,+smep", &offered).cpuid.get(0, 0).unwrap().eax, 7);
        assert_eq!(realize("pentium,+smep,level=1", &offered).cpuid.get(7, 0), None);
        assert_eq!(realize("pentium", &offered).cpuid.get(0x8000_0000, 0), None);
    }
}
