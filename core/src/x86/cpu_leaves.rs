//! The CPUID leaves that one processor shows.

use super::cpu_features::{FeatureSet, Word};
use super::cpu_model::Props;
use super::cpu_realize::Identity;
use super::cpuid::{CpuidLeaf, CpuidSet};
use super::topology::Topology;

/// Bits of CPUID.80000001H:EDX that repeat CPUID.1:EDX on AMD processors (APM vol. 3, E.4.2).
pub(super) const AMD_REPEATED: u32 = 0x0183_f3ff;

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

pub(super) const LINE: u32 = 64;

/// The caches of QEMU's tabled models in Intel's form: 32 KiB each for data and code, 4 MiB for a core, 16 MiB for a package.
const CACHES: [Cache; 4] = [
    Cache { kind: 1, level: 1, ways: 8, sets: 64, flags: 1, shared_by: Sharing::Core },
    Cache { kind: 2, level: 1, ways: 8, sets: 64, flags: 1, shared_by: Sharing::Core },
    Cache { kind: 3, level: 2, ways: 16, sets: 4096, flags: 1, shared_by: Sharing::Core },
    Cache { kind: 3, level: 3, ways: 16, sets: 16384, flags: 6, shared_by: Sharing::Package },
];

/// The same for leaf 2: descriptors of 32 KiB data (2CH) and code (30H), 2 MiB L2 (7DH), 16 MiB L3 (4DH).
const LEAF2: (u32, u32) = (0x4d, 0x2c_307d);

/// Makes the leaves of one processor.
pub(super) struct Builder<'a> {
    set: CpuidSet,
    features: FeatureSet,
    topo: &'a Topology,
    apic_id: u32,
    offered: &'a CpuidSet,
    props: &'a Props,
}

impl<'a> Builder<'a> {
    pub(super) fn new(
        features: FeatureSet,
        topo: &'a Topology,
        apic_id: u32,
        offered: &'a CpuidSet,
        props: &'a Props,
    ) -> Self {
        Self { set: CpuidSet::new(), features, topo, apic_id, offered, props }
    }
    pub(super) fn finish(self) -> CpuidSet {
        self.set
    }
    fn leaf(&mut self, function: u32, index: Option<u32>, [eax, ebx, ecx, edx]: [u32; 4]) {
        self.set.set(CpuidLeaf { function, index, eax, ebx, ecx, edx });
    }
    fn word(&self, w: Word) -> u32 {
        self.features.word(w)
    }

    pub(super) fn basic(&mut self, id: &Identity) {
        self.set.set_vendor(0, id.level.value, &id.vendor);
        let logical = self.topo.package_threads().min(0xff);
        let ebx = (self.apic_id & 0xff) << 24 | if logical > 1 { logical << 16 } else { 0 } | (LINE / 8) << 8;
        self.leaf(1, None, [id.signature(), ebx, self.word(Word::Leaf1Ecx), self.word(Word::Leaf1Edx)]);
        let within = |leaf: u32| id.level.value >= leaf;
        // Intel's forms of what AMD has in extended leaves: AMD reserves leaves 2 and 4, and QEMU since 7.1 leaves them at zero (x-vendor-cpuid-only).
        let amd = id.vendor == *b"AuthenticAMD";
        if within(2) && !amd {
            let l3 = if self.props.no_l3_cache { 0 } else { LEAF2.0 };
            self.leaf(2, None, [1, 0, l3, LEAF2.1]);
        }
        if within(4) && !amd {
            self.caches(4);
        }
        if within(5) {
            // QEMU tells of the extensions of MWAIT also where there is none.
            const EXTENSIONS: u32 = 3;
            let there = self.features.has_name("monitor");
            let monitor = self.offered.get(5, 0).filter(|_| there).map_or([0; 4], |l| [l.eax, l.ebx, l.ecx, l.edx]);
            self.leaf(5, None, [monitor[0], monitor[1], monitor[2] | EXTENSIONS, monitor[3]]);
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
        match within(0xb) {
            true if self.props.no_leaf_b => self.leaf(0xb, None, [0; 4]),
            true => self.topology(),
            false => {}
        }
        if within(0xd) {
            self.xsave();
        }
    }

    /// Leaf 4, or 8000001DH, which has the same form.
    fn caches(&mut self, function: u32) {
        let ids = |width: u32| (1u32 << width.min(12)) - 1;
        let there = CACHES.iter().filter(|c| c.level < 3 || !self.props.no_l3_cache);
        let mut last = 0;
        for (index, c) in (0..).zip(there) {
            let sharing = match c.shared_by {
                Sharing::Core => ids(self.topo.smt_width()),
                Sharing::Package => ids(self.topo.package_width()),
            };
            let cores = ids(self.topo.package_width() - self.topo.smt_width()).min(0x3f);
            let cores = if function == 4 { cores << 26 } else { 0 };
            let eax = c.kind | c.level << 5 | 1 << 8 | sharing << 14 | cores;
            self.leaf(function, Some(index), [eax, (c.ways - 1) << 22 | (LINE - 1), c.sets - 1, c.flags]);
            last = index + 1;
        }
        self.leaf(function, Some(last), [0; 4]);
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

    pub(super) fn extended(&mut self, id: &Identity) {
        if id.xlevel2.value >= 0xc000_0000 {
            self.leaf(0xc000_0000, None, [id.xlevel2.value, 0, 0, 0]);
            self.leaf(0xc000_0001, None, [0, 0, 0, self.word(Word::ExtC1Edx)]);
        }
        if id.xlevel.value < 0x8000_0000 {
            return;
        }
        self.set.set_vendor(0x8000_0000, id.xlevel.value, &id.vendor);
        let within = |leaf: u32| id.xlevel.value >= leaf;
        let intel = id.vendor == *b"GenuineIntel";
        let many = self.topo.package_threads() > 1;
        let repeated = if intel { 0 } else { self.word(Word::Leaf1Edx) & AMD_REPEATED };
        if within(0x8000_0001) {
            let cmp_legacy = u32::from(many && !intel) << 1;
            let ecx = self.word(Word::Ext1Ecx) & !2 | cmp_legacy;
            self.leaf(0x8000_0001, None, [id.signature(), 0, ecx, self.word(Word::Ext1Edx) & !AMD_REPEATED | repeated]);
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
            let l3 = if self.props.no_l3_cache { 0 } else { L3 };
            self.leaf(0x8000_0006, None, [0, TLB, L2, l3]);
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
    pub(super) fn hypervisor(&mut self, signature: Option<[u8; 12]>) {
        if let Some(signature) = signature {
            self.set.set_vendor(CpuidSet::HYPERVISOR, CpuidSet::HYPERVISOR + 1, &signature);
            self.leaf(CpuidSet::HYPERVISOR + 1, None, [self.word(Word::KvmEax), 0, 0, self.word(Word::KvmEdx)]);
        }
    }
}
