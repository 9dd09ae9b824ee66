//! CPU features by name: which CPUID bit each of QEMU's feature names stands for, and what needs what.
//!
//! Bits are from the CPUID pages of SDM vol. 2 and AMD APM vol. 3 (appendix E), the KVM word from the kernel's
//! `Documentation/virt/kvm/x86/cpuid.rst`, C0000001H from VIA's PadLock programming guide; names are those of QEMU's `-cpu help`.

use super::cpuid::{CpuidLeaf, CpuidSet};

/// An output register of CPUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum CpuidReg {
    Eax,
    Ebx,
    Ecx,
    Edx,
}

impl CpuidReg {
    /// Name as in the SDM.
    pub fn name(self) -> &'static str {
        ["EAX", "EBX", "ECX", "EDX"][self as usize]
    }
    /// The register's value in a leaf.
    pub fn of(self, leaf: &CpuidLeaf) -> u32 {
        [leaf.eax, leaf.ebx, leaf.ecx, leaf.edx][self as usize]
    }
    /// The register in a leaf, to change.
    pub fn of_mut(self, leaf: &mut CpuidLeaf) -> &mut u32 {
        match self {
            Self::Eax => &mut leaf.eax,
            Self::Ebx => &mut leaf.ebx,
            Self::Ecx => &mut leaf.ecx,
            Self::Edx => &mut leaf.edx,
        }
    }
}

/// A CPUID register whose bits are features. The discriminant indexes [`WORDS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
#[allow(missing_docs)]
pub enum Word {
    Leaf1Edx,
    Leaf1Ecx,
    Leaf6Eax,
    Leaf7Ebx,
    Leaf7Ecx,
    Leaf7Edx,
    Leaf7Sub1Eax,
    LeafDSub1Eax,
    Ext1Edx,
    Ext1Ecx,
    Ext7Edx,
    Ext8Ebx,
    ExtAEdx,
    ExtC1Edx,
    KvmEax,
    KvmEdx,
}

/// Where a [`Word`] is found and what its bits are called.
pub struct WordInfo {
    /// EAX on input.
    pub function: u32,
    /// ECX on input, where the leaf looks at it.
    pub index: Option<u32>,
    /// Register on output.
    pub reg: CpuidReg,
    /// Named bits. A name may stand for several bits of one word.
    pub bits: &'static [(u8, &'static str)],
}

/// Number of feature words.
pub const WORD_COUNT: usize = 16;

const fn word(function: u32, index: Option<u32>, reg: CpuidReg, bits: &'static [(u8, &'static str)]) -> WordInfo {
    WordInfo { function, index, reg, bits }
}

/// All feature words, in the order of [`Word`].
#[rustfmt::skip]
pub static WORDS: [WordInfo; WORD_COUNT] = [
    word(1, None, CpuidReg::Edx, &[
        (0, "fpu"), (1, "vme"), (2, "de"), (3, "pse"), (4, "tsc"), (5, "msr"), (6, "pae"), (7, "mce"), (8, "cx8"), (9, "apic"),
        (11, "sep"), (12, "mtrr"), (13, "pge"), (14, "mca"), (15, "cmov"), (16, "pat"), (17, "pse36"), (18, "pn"),
        (19, "clflush"), (21, "ds"), (22, "acpi"), (23, "mmx"), (24, "fxsr"), (25, "sse"), (26, "sse2"), (27, "ss"), (28, "ht"),
        (29, "tm"), (30, "ia64"), (31, "pbe"),
    ]),
    word(1, None, CpuidReg::Ecx, &[
        (0, "pni"), (1, "pclmulqdq"), (2, "dtes64"), (3, "monitor"), (4, "ds-cpl"), (5, "vmx"), (6, "smx"), (7, "est"), (8, "tm2"),
        (9, "ssse3"), (10, "cid"), (12, "fma"), (13, "cx16"), (14, "xtpr"), (15, "pdcm"), (17, "pcid"), (18, "dca"),
        (19, "sse4.1"), (20, "sse4.2"), (21, "x2apic"), (22, "movbe"), (23, "popcnt"), (24, "tsc-deadline"), (25, "aes"),
        (26, "xsave"), (28, "avx"), (29, "f16c"), (30, "rdrand"), (31, "hypervisor"),
    ]),
    word(6, None, CpuidReg::Eax, &[(2, "arat")]),
    word(7, Some(0), CpuidReg::Ebx, &[
        (0, "fsgsbase"), (1, "tsc-adjust"), (2, "sgx"), (3, "bmi1"), (4, "hle"), (5, "avx2"), (7, "smep"), (8, "bmi2"), (9, "erms"),
        (10, "invpcid"), (11, "rtm"), (14, "mpx"), (16, "avx512f"), (17, "avx512dq"), (18, "rdseed"), (19, "adx"), (20, "smap"),
        (21, "avx512ifma"), (22, "pcommit"), (23, "clflushopt"), (24, "clwb"), (25, "intel-pt"), (26, "avx512pf"),
        (27, "avx512er"), (28, "avx512cd"), (29, "sha-ni"), (30, "avx512bw"), (31, "avx512vl"),
    ]),
    word(7, Some(0), CpuidReg::Ecx, &[
        (1, "avx512vbmi"), (2, "umip"), (3, "pku"), (5, "waitpkg"), (6, "avx512vbmi2"), (8, "gfni"), (9, "vaes"),
        (10, "vpclmulqdq"), (11, "avx512vnni"), (12, "avx512bitalg"), (14, "avx512-vpopcntdq"), (16, "la57"), (22, "rdpid"),
        (24, "bus-lock-detect"), (25, "cldemote"), (27, "movdiri"), (28, "movdir64b"), (30, "sgxlc"), (31, "pks"),
    ]),
    word(7, Some(0), CpuidReg::Edx, &[
        (2, "avx512-4vnniw"), (3, "avx512-4fmaps"), (4, "fsrm"), (8, "avx512-vp2intersect"), (10, "md-clear"), (14, "serialize"),
        (16, "tsx-ldtrk"), (19, "arch-lbr"), (22, "amx-bf16"), (23, "avx512-fp16"), (24, "amx-tile"), (25, "amx-int8"),
        (26, "spec-ctrl"), (27, "stibp"), (28, "flush-l1d"), (29, "arch-capabilities"), (30, "core-capability"), (31, "ssbd"),
    ]),
    word(7, Some(1), CpuidReg::Eax, &[(4, "avx-vnni"), (5, "avx512-bf16")]),
    word(0xd, Some(1), CpuidReg::Eax, &[(0, "xsaveopt"), (1, "xsavec"), (2, "xgetbv1"), (3, "xsaves"), (4, "xfd")]),
    word(0x8000_0001, None, CpuidReg::Edx, &[
        (11, "syscall"), (19, "mp"), (20, "nx"), (22, "mmxext"), (25, "fxsr-opt"), (26, "pdpe1gb"), (27, "rdtscp"), (29, "lm"),
        (30, "3dnowext"), (31, "3dnow"),
    ]),
    word(0x8000_0001, None, CpuidReg::Ecx, &[
        (0, "lahf-lm"), (1, "cmp-legacy"), (2, "svm"), (3, "extapic"), (4, "cr8legacy"), (5, "abm"), (6, "sse4a"),
        (7, "misalignsse"), (8, "3dnowprefetch"), (9, "osvw"), (10, "ibs"), (11, "xop"), (12, "skinit"), (13, "wdt"), (15, "lwp"),
        (16, "fma4"), (17, "tce"), (19, "nodeid-msr"), (21, "tbm"), (22, "topoext"), (23, "perfctr-core"), (24, "perfctr-nb"),
    ]),
    word(0x8000_0007, None, CpuidReg::Edx, &[(8, "invtsc")]),
    word(0x8000_0008, None, CpuidReg::Ebx, &[
        (0, "clzero"), (2, "xsaveerptr"), (9, "wbnoinvd"), (12, "ibpb"), (14, "ibrs"), (15, "amd-stibp"), (24, "amd-ssbd"),
        (25, "virt-ssbd"), (26, "amd-no-ssb"),
    ]),
    word(0x8000_000a, None, CpuidReg::Edx, &[
        (0, "npt"), (1, "lbrv"), (2, "svm-lock"), (3, "nrip-save"), (4, "tsc-scale"), (5, "vmcb-clean"), (6, "flushbyasid"),
        (7, "decodeassists"), (10, "pause-filter"), (12, "pfthreshold"), (13, "avic"), (15, "v-vmsave-vmload"), (16, "vgif"),
        (28, "svme-addr-chk"),
    ]),
    word(0xc000_0001, None, CpuidReg::Edx, &[
        (2, "xstore"), (3, "xstore-en"), (6, "xcrypt"), (7, "xcrypt-en"), (8, "ace2"), (9, "ace2-en"), (10, "phe"), (11, "phe-en"),
        (12, "pmm"), (13, "pmm-en"),
    ]),
    word(0x4000_0001, None, CpuidReg::Eax, &[
        (0, "kvmclock"), (1, "kvm-nopiodelay"), (2, "kvm-mmu"), (3, "kvmclock"), (4, "kvm-asyncpf"), (5, "kvm-steal-time"),
        (6, "kvm-pv-eoi"), (7, "kvm-pv-unhalt"), (9, "kvm-pv-tlb-flush"), (11, "kvm-pv-ipi"), (12, "kvm-poll-control"),
        (13, "kvm-pv-sched-yield"), (14, "kvm-asyncpf-int"), (15, "kvm-msi-ext-dest-id"), (24, "kvmclock-stable-bit"),
    ]),
    word(0x4000_0001, None, CpuidReg::Edx, &[(0, "kvm-hint-dedicated")]),
];

/// Second names of features. Besides these, `_` may be written for `-` everywhere.
pub static ALIASES: &[(&str, &str)] = &[
    ("sse3", "pni"),
    ("pclmuldq", "pclmulqdq"),
    ("sse4-1", "sse4.1"),
    ("sse4-2", "sse4.2"),
    ("xd", "nx"),
    ("ffxsr", "fxsr-opt"),
    ("i64", "lm"),
    ("cmp", "cmp-legacy"),
    ("lahf", "lahf-lm"),
];

/// `(feature, what it cannot be without)`. Disabling the second takes the first with it.
pub(super) static NEEDS: &[(&str, &str)] = &[
    ("avx", "xsave"),
    ("xsaveopt", "xsave"),
    ("xsavec", "xsave"),
    ("xgetbv1", "xsave"),
    ("xsaves", "xsave"),
    ("xfd", "xsave"),
    ("pku", "xsave"),
    ("mpx", "xsave"),
    ("amx-tile", "xsave"),
    ("fma", "avx"),
    ("f16c", "avx"),
    ("avx2", "avx"),
    ("xop", "avx"),
    ("fma4", "avx"),
    ("vaes", "avx"),
    ("vpclmulqdq", "avx"),
    ("avx-vnni", "avx2"),
    ("avx512f", "avx2"),
    ("avx512dq", "avx512f"),
    ("avx512ifma", "avx512f"),
    ("avx512pf", "avx512f"),
    ("avx512er", "avx512f"),
    ("avx512cd", "avx512f"),
    ("avx512bw", "avx512f"),
    ("avx512vl", "avx512f"),
    ("avx512vbmi", "avx512f"),
    ("avx512vbmi2", "avx512f"),
    ("avx512vnni", "avx512f"),
    ("avx512bitalg", "avx512f"),
    ("avx512-vpopcntdq", "avx512f"),
    ("avx512-4vnniw", "avx512f"),
    ("avx512-4fmaps", "avx512f"),
    ("avx512-vp2intersect", "avx512f"),
    ("avx512-bf16", "avx512f"),
    ("avx512-fp16", "avx512bw"),
    ("amx-bf16", "amx-tile"),
    ("amx-int8", "amx-tile"),
    ("rdtscp", "tsc"),
    ("invtsc", "tsc"),
    ("pdpe1gb", "lm"),
    ("la57", "lm"),
    ("npt", "svm"),
    ("lbrv", "svm"),
    ("svm-lock", "svm"),
    ("nrip-save", "svm"),
    ("tsc-scale", "svm"),
    ("vmcb-clean", "svm"),
    ("flushbyasid", "svm"),
    ("decodeassists", "svm"),
    ("pause-filter", "svm"),
    ("pfthreshold", "svm"),
    ("avic", "svm"),
    ("v-vmsave-vmload", "svm"),
    ("vgif", "svm"),
    ("svme-addr-chk", "svm"),
];

/// A named feature: bits of one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feature {
    /// QEMU's name.
    pub name: &'static str,
    /// The word.
    pub word: Word,
    /// Its bits in the word.
    pub mask: u32,
}

const ALL_WORDS: [Word; WORD_COUNT] = [
    Word::Leaf1Edx,
    Word::Leaf1Ecx,
    Word::Leaf6Eax,
    Word::Leaf7Ebx,
    Word::Leaf7Ecx,
    Word::Leaf7Edx,
    Word::Leaf7Sub1Eax,
    Word::LeafDSub1Eax,
    Word::Ext1Edx,
    Word::Ext1Ecx,
    Word::Ext7Edx,
    Word::Ext8Ebx,
    Word::ExtAEdx,
    Word::ExtC1Edx,
    Word::KvmEax,
    Word::KvmEdx,
];

impl Word {
    /// All words.
    pub fn all() -> impl Iterator<Item = Self> {
        ALL_WORDS.into_iter()
    }
    /// Where it is found.
    pub fn info(self) -> &'static WordInfo {
        &WORDS[self as usize]
    }
}

impl Feature {
    /// The feature of that name (or alias; `_` and `-` are the same).
    pub fn find(name: &str) -> Option<Self> {
        let wanted = name.replace('_', "-");
        let wanted = ALIASES.iter().find(|(alias, _)| *alias == wanted).map_or(wanted.as_str(), |(_, name)| *name);
        Word::all().find_map(|word| {
            let bits = || word.info().bits.iter().filter(|(_, n)| *n == wanted);
            let name = bits().next()?.1;
            Some(Self { name, word, mask: bits().fold(0, |m, (bit, _)| m | 1 << bit) })
        })
    }
    /// Every feature, in the order of the words.
    pub fn all() -> impl Iterator<Item = Self> {
        Word::all().flat_map(|word| {
            let bits = word.info().bits;
            bits.iter().enumerate().filter(move |(i, (_, name))| bits[..*i].iter().all(|(_, n)| n != name)).map(
                move |(_, (_, name))| Self {
                    name,
                    word,
                    mask: bits.iter().filter(|(_, n)| n == name).fold(0, |m, (bit, _)| m | 1 << bit),
                },
            )
        })
    }
}

impl std::fmt::Display for Feature {
    /// As QEMU's warnings write it: `CPUID.01H:ECX.popcnt [bit 23]`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let w = self.word.info();
        write!(f, "CPUID.{:02X}H", w.function)?;
        if let Some(i) = w.index.filter(|i| *i != 0) {
            write!(f, ".{i}")?;
        }
        write!(f, ":{}.{} [bit {}]", w.reg.name(), self.name, self.mask.trailing_zeros())
    }
}

/// A set of features.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FeatureSet([u32; WORD_COUNT]);

impl FeatureSet {
    /// The features that a CPUID set shows.
    pub fn of(cpuid: &CpuidSet) -> Self {
        let mut s = Self::default();
        for w in Word::all() {
            let info = w.info();
            if let Some(leaf) = cpuid.get(info.function, info.index.unwrap_or(0)) {
                s.0[w as usize] = info.reg.of(leaf);
            }
        }
        s
    }
    /// The features of a list of names; `Err` is the first name that is unknown.
    ///
    /// # Errors
    /// The unknown name.
    pub fn from_names<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, &'a str> {
        let mut s = Self::default();
        for name in names {
            s.set(Feature::find(name).ok_or(name)?, true);
        }
        Ok(s)
    }
    /// Bits of one word.
    pub fn word(&self, w: Word) -> u32 {
        self.0[w as usize]
    }
    /// Bits of one word, to change.
    pub fn word_mut(&mut self, w: Word) -> &mut u32 {
        &mut self.0[w as usize]
    }
    /// Is every bit of `f` in the set?
    pub fn has(&self, f: Feature) -> bool {
        self.word(f.word) & f.mask == f.mask
    }
    /// Is the feature of that name in the set? Unknown names are not.
    pub fn has_name(&self, name: &str) -> bool {
        Feature::find(name).is_some_and(|f| self.has(f))
    }
    /// Adds or takes away a feature.
    pub fn set(&mut self, f: Feature, on: bool) {
        let w = self.word_mut(f.word);
        *w = if on { *w | f.mask } else { *w & !f.mask };
    }
    /// What is in both.
    pub fn and(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] & other.0[i]))
    }
    /// What is in either.
    pub fn or(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] | other.0[i]))
    }
    /// Named features in the set.
    pub fn iter(&self) -> impl Iterator<Item = Feature> + '_ {
        Feature::all().filter(|f| self.word(f.word) & f.mask != 0)
    }
    /// Takes away what lacks something that it cannot be without, and says what went.
    pub fn drop_dependents(&mut self) -> Vec<Feature> {
        self.drop_where(|_| true)
    }
    /// The same for those only that cannot be without one feature.
    pub fn drop_dependents_of(&mut self, needed: &str) -> Vec<Feature> {
        self.drop_where(|name| name == needed)
    }
    fn drop_where(&mut self, counts: impl Fn(&str) -> bool) -> Vec<Feature> {
        let mut gone = Vec::new();
        loop {
            let before = gone.len();
            for (name, needed) in NEEDS.iter().filter(|(_, needed)| counts(needed)) {
                if let Some(f) = Feature::find(name).filter(|f| self.word(f.word) & f.mask != 0)
                    && !self.has_name(needed)
                {
                    self.set(f, false);
                    gone.push(f);
                }
            }
            if gone.len() == before {
                return gone;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stand_at_their_own_index() {
        for (i, w) in Word::all().enumerate() {
            assert_eq!(w as usize, i);
        }
    }

    #[test]
    fn every_name_is_found_again_and_is_in_one_word_only() {
        for f in Feature::all() {
            assert_eq!(Feature::find(f.name), Some(f));
            assert_eq!(Feature::all().filter(|g| g.name == f.name).count(), 1, "{}", f.name);
        }
        for (alias, name) in ALIASES {
            assert_eq!(Feature::find(alias).map(|f| f.name), Some(*name));
            assert!(Feature::all().all(|f| f.name != *alias));
        }
        for (a, b) in NEEDS {
            assert!(Feature::find(a).is_some() && Feature::find(b).is_some(), "{a} {b}");
        }
    }

    #[test]
    fn spellings() {
        let f = Feature::find("sse4_1").unwrap();
        assert_eq!((f.name, f.word, f.mask), ("sse4.1", Word::Leaf1Ecx, 1 << 19));
        assert_eq!(Feature::find("sse4.1"), Some(f));
        assert_eq!(Feature::find("kvmclock").unwrap().mask, 0b1001);
        assert_eq!(Feature::find("popcnt").unwrap().to_string(), "CPUID.01H:ECX.popcnt [bit 23]");
        assert_eq!(Feature::find("xsavec").unwrap().to_string(), "CPUID.0DH.1:EAX.xsavec [bit 1]");
    }

    #[test]
    fn dependents_go_in_chains() {
        let mut s = FeatureSet::from_names(["avx", "avx2", "fma", "sse2"]).unwrap();
        let mut gone: Vec<_> = s.drop_dependents().iter().map(|f| f.name).collect();
        gone.sort_unstable();
        assert_eq!(gone, ["avx", "avx2", "fma"]);
        assert!(s.has_name("sse2"));
    }
}
