//! The table of CPU models.
//!
//! The facts of each model are those of QEMU 7.2's model of the same name (`docs/system/cpu-models-x86`), first version.

/// CPUID facts of a model.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) vendor: &'static [u8; 12],
    pub(super) family: u32,
    pub(super) model: u32,
    pub(super) stepping: u32,
    /// Highest basic leaf.
    pub(super) level: u32,
    /// Highest extended leaf, or 0.
    pub(super) xlevel: u32,
    /// Brand string.
    pub(super) model_id: &'static str,
    /// What `features` comes on top of.
    beyond: Beyond,
    /// Names of features, by white space; `-` before one takes it away.
    features: &'static str,
}

/// Features that a model has in common with others.
#[derive(Debug, PartialEq, Eq)]
enum Beyond {
    Nothing,
    Features(&'static str),
    Model(&'static str),
}

impl Facts {
    /// Names of the model's features.
    pub(super) fn features(&self) -> Vec<&'static str> {
        let mut names = match self.beyond {
            Beyond::Nothing => Vec::new(),
            Beyond::Features(names) => names.split_whitespace().collect(),
            Beyond::Model(name) => MODELS.iter().find(|m| m.name == name).map_or_else(Vec::new, |m| m.facts.features()),
        };
        for change in self.features.split_whitespace() {
            match change.strip_prefix('-') {
                Some(gone) => names.retain(|n| *n != gone),
                None => names.push(change),
            }
        }
        names
    }
}

/// A row of the table.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TabledModel {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) facts: Facts,
}

const INTEL: &[u8; 12] = b"GenuineIntel";
const AMD: &[u8; 12] = b"AuthenticAMD";
const HYGON: &[u8; 12] = b"HygonGenuine";
const NOBODY: &[u8; 12] = &[0; 12];

/// What everything since the Pentium Pro has.
const P6: &str = "fpu de pse tsc msr pae mce cx8 apic sep pge cmov pat mmx fxsr sse sse2";

/// Name (what `-cpu help` says, where that is not the brand string), vendor family/model/stepping, highest leaves, brand string, features.
macro_rules! model {
    (@about $id:literal) => { $id };
    (@about $id:literal $about:literal) => { $about };
    (@beyond) => { Beyond::Nothing };
    (@beyond P6) => { Beyond::Features(P6) };
    (@beyond $model:literal) => { Beyond::Model($model) };
    ($name:literal $(($about:literal))?, $vendor:ident $family:literal/$model:literal/$stepping:literal, $level:literal, $xlevel:literal,
     $id:literal, $features:literal $(beyond $beyond:tt)?) => {
        TabledModel {
            name: $name,
            about: model!(@about $id $($about)?),
            facts: Facts {
                vendor: $vendor, family: $family, model: $model, stepping: $stepping, level: $level, xlevel: $xlevel, model_id: $id,
                beyond: model!(@beyond $($beyond)?), features: $features,
            },
        }
    };
}

/// All of them, the default first.
#[rustfmt::skip]
pub(super) static MODELS: &[TabledModel] = &[
    model!("qemu64" ("QEMU Virtual CPU (the default)"), AMD 15/107/1, 0xd, 0x8000_000a, "QEMU Virtual CPU version 2.5+",
        "mtrr mca pse36 clflush pni cx16 syscall nx lm lahf-lm svm" beyond P6),
    model!("qemu32" ("QEMU Virtual CPU, 32 bits"), INTEL 6/6/3, 0x4, 0x8000_0004, "QEMU Virtual CPU version 2.5+",
        "pni" beyond P6),
    model!("kvm64", INTEL 15/6/1, 0xd, 0x8000_0008, "Common KVM processor",
        "vme mtrr mca pse36 clflush pni cx16 syscall nx lm" beyond P6),
    model!("kvm32", INTEL 15/6/1, 0x5, 0x8000_0008, "Common 32-bit KVM processor",
        "vme mtrr mca pse36 clflush pni" beyond P6),
    model!("486" ("Intel 486"), INTEL 4/8/0, 0x1, 0, "", "fpu vme pse"),
    model!("pentium" ("Intel Pentium"), INTEL 5/4/3, 0x1, 0, "", "de tsc msr mce cx8 apic mmx" beyond "486"),
    model!("pentium2" ("Intel Pentium II"), INTEL 6/5/2, 0x2, 0, "",
        "pae sep mtrr pge mca cmov pat pse36 fxsr" beyond "pentium"),
    model!("pentium3" ("Intel Pentium III"), INTEL 6/7/3, 0x3, 0, "", "sse" beyond "pentium2"),
    model!("coreduo", INTEL 6/14/8, 0xa, 0x8000_0008, "Genuine Intel(R) CPU           T2600  @ 2.16GHz",
        "vme mtrr mca clflush acpi ss pni monitor nx" beyond P6),
    model!("core2duo", INTEL 6/15/11, 0xa, 0x8000_0008, "Intel(R) Core(TM)2 Duo CPU     T7700  @ 2.40GHz",
        "vme mtrr mca pse36 clflush acpi ss pni monitor ssse3 cx16 syscall nx lm lahf-lm" beyond P6),
    model!("n270", INTEL 6/28/2, 0xa, 0x8000_0008, "Intel(R) Atom(TM) CPU N270   @ 1.60GHz",
        "vme mtrr mca clflush acpi ss pni monitor ssse3 movbe nx lahf-lm" beyond P6),
    model!("Conroe", INTEL 6/15/3, 0xa, 0x8000_0008, "Intel Celeron_4x0 (Conroe/Merom Class Core 2)",
        "vme mtrr mca pse36 clflush pni ssse3 syscall nx lm lahf-lm" beyond P6),
    model!("Penryn", INTEL 6/23/3, 0xa, 0x8000_0008, "Intel Core 2 Duo P9xxx (Penryn Class Core 2)",
        "cx16 sse4.1" beyond "Conroe"),
    model!("Nehalem", INTEL 6/26/3, 0xb, 0x8000_0008, "Intel Core i7 9xx (Nehalem Class Core i7)",
        "sse4.2 popcnt" beyond "Penryn"),
    model!("Nehalem-IBRS", INTEL 6/26/3, 0xb, 0x8000_0008, "Intel Core i7 9xx (Nehalem Core i7, IBRS update)",
        "spec-ctrl" beyond "Nehalem"),
    model!("Westmere", INTEL 6/44/1, 0xb, 0x8000_0008, "Westmere E56xx/L56xx/X56xx (Nehalem-C)",
        "pclmulqdq aes arat" beyond "Nehalem"),
    model!("Westmere-IBRS", INTEL 6/44/1, 0xb, 0x8000_0008, "Westmere E56xx/L56xx/X56xx (IBRS update)",
        "spec-ctrl" beyond "Westmere"),
    model!("SandyBridge", INTEL 6/42/1, 0xd, 0x8000_0008, "Intel Xeon E312xx (Sandy Bridge)",
        "x2apic tsc-deadline xsave avx xsaveopt rdtscp" beyond "Westmere"),
    model!("SandyBridge-IBRS", INTEL 6/42/1, 0xd, 0x8000_0008, "Intel Xeon E312xx (Sandy Bridge, IBRS update)",
        "spec-ctrl" beyond "SandyBridge"),
    model!("IvyBridge", INTEL 6/58/9, 0xd, 0x8000_0008, "Intel Xeon E3-12xx v2 (Ivy Bridge)",
        "f16c rdrand fsgsbase smep erms" beyond "SandyBridge"),
    model!("IvyBridge-IBRS", INTEL 6/58/9, 0xd, 0x8000_0008, "Intel Xeon E3-12xx v2 (Ivy Bridge, IBRS)",
        "spec-ctrl" beyond "IvyBridge"),
    model!("Haswell", INTEL 6/60/4, 0xd, 0x8000_0008, "Intel Core Processor (Haswell)",
        "fma pcid movbe bmi1 hle avx2 bmi2 invpcid rtm abm" beyond "IvyBridge"),
    model!("Haswell-IBRS", INTEL 6/60/4, 0xd, 0x8000_0008, "Intel Core Processor (Haswell, IBRS)",
        "spec-ctrl" beyond "Haswell"),
    model!("Haswell-noTSX", INTEL 6/60/1, 0xd, 0x8000_0008, "Intel Core Processor (Haswell, no TSX)",
        "-hle -rtm" beyond "Haswell"),
    model!("Haswell-noTSX-IBRS", INTEL 6/60/1, 0xd, 0x8000_0008, "Intel Core Processor (Haswell, no TSX, IBRS)",
        "-hle -rtm spec-ctrl" beyond "Haswell"),
    model!("Broadwell", INTEL 6/61/2, 0xd, 0x8000_0008, "Intel Core Processor (Broadwell)",
        "rdseed adx smap 3dnowprefetch" beyond "Haswell"),
    model!("Broadwell-IBRS", INTEL 6/61/2, 0xd, 0x8000_0008, "Intel Core Processor (Broadwell, IBRS)",
        "spec-ctrl" beyond "Broadwell"),
    model!("Broadwell-noTSX", INTEL 6/61/2, 0xd, 0x8000_0008, "Intel Core Processor (Broadwell, no TSX)",
        "-hle -rtm" beyond "Broadwell"),
    model!("Broadwell-noTSX-IBRS", INTEL 6/61/2, 0xd, 0x8000_0008, "Intel Core Processor (Broadwell, no TSX, IBRS)",
        "-hle -rtm spec-ctrl" beyond "Broadwell"),
    model!("Skylake-Client", INTEL 6/94/3, 0xd, 0x8000_0008, "Intel Core Processor (Skylake)",
        "xsavec xgetbv1" beyond "Broadwell"),
    model!("Skylake-Client-IBRS", INTEL 6/94/3, 0xd, 0x8000_0008, "Intel Core Processor (Skylake, IBRS)",
        "spec-ctrl" beyond "Skylake-Client"),
    model!("Skylake-Client-noTSX-IBRS", INTEL 6/94/3, 0xd, 0x8000_0008, "Intel Core Processor (Skylake, IBRS, no TSX)",
        "-hle -rtm spec-ctrl" beyond "Skylake-Client"),
    model!("Skylake-Server", INTEL 6/85/4, 0xd, 0x8000_0008, "Intel Xeon Processor (Skylake)",
        "avx512f avx512dq clflushopt clwb avx512cd avx512bw avx512vl pku pdpe1gb" beyond "Skylake-Client"),
    model!("Skylake-Server-IBRS", INTEL 6/85/4, 0xd, 0x8000_0008, "Intel Xeon Processor (Skylake, IBRS)",
        "-clflushopt spec-ctrl" beyond "Skylake-Server"),
    model!("Skylake-Server-noTSX-IBRS", INTEL 6/85/4, 0xd, 0x8000_0008, "Intel Xeon Processor (Skylake, IBRS, no TSX)",
        "-hle -rtm -clflushopt spec-ctrl" beyond "Skylake-Server"),
    model!("Cascadelake-Server", INTEL 6/85/6, 0xd, 0x8000_0008, "Intel Xeon Processor (Cascadelake)",
        "avx512vnni spec-ctrl ssbd" beyond "Skylake-Server"),
    model!("Cascadelake-Server-noTSX", INTEL 6/85/6, 0xd, 0x8000_0008, "Intel Xeon Processor (Cascadelake)",
        "-hle -rtm arch-capabilities" beyond "Cascadelake-Server"),
    model!("Cooperlake", INTEL 6/85/10, 0xd, 0x8000_0008, "Intel Xeon Processor (Cooperlake)",
        "stibp arch-capabilities avx512-bf16" beyond "Cascadelake-Server"),
    model!("Icelake-Server", INTEL 6/134/0, 0xd, 0x8000_0008, "Intel Xeon Processor (Icelake)",
        "avx512vbmi umip avx512vbmi2 gfni vaes vpclmulqdq avx512vnni avx512bitalg avx512-vpopcntdq la57 \
         spec-ctrl ssbd wbnoinvd" beyond "Skylake-Server"),
    model!("Icelake-Server-noTSX", INTEL 6/134/0, 0xd, 0x8000_0008, "Intel Xeon Processor (Icelake)",
        "-hle -rtm" beyond "Icelake-Server"),
    model!("Denverton", INTEL 6/95/1, 0x15, 0x8000_0008, "Intel Atom Processor (Denverton)",
        "monitor x2apic movbe tsc-deadline xsave rdrand fsgsbase smep erms mpx rdseed smap clflushopt \
         sha-ni spec-ctrl arch-capabilities ssbd xsaveopt xsavec xgetbv1 pdpe1gb rdtscp 3dnowprefetch" beyond "Westmere"),
    model!("Snowridge", INTEL 6/134/1, 0x1b, 0x8000_0008, "Intel Atom Processor (SnowRidge)",
        "clwb umip gfni cldemote movdiri movdir64b core-capability" beyond "Denverton"),
    model!("KnightsMill", INTEL 6/133/0, 0xd, 0x8000_0008, "Intel Xeon Phi Processor (Knights Mill)",
        "-pcid -hle -invpcid -rtm -smap -xsavec -xgetbv1 ss avx512f avx512pf avx512er avx512cd \
         avx512-vpopcntdq avx512-4vnniw avx512-4fmaps pdpe1gb" beyond "Skylake-Client"),
    model!("athlon" ("QEMU Virtual CPU (AMD Athlon)"), AMD 6/2/3, 0x2, 0x8000_0008, "QEMU Virtual CPU version 2.5+",
        "vme mtrr mca pse36 mmxext 3dnowext 3dnow" beyond P6),
    model!("phenom", AMD 16/2/3, 0x5, 0x8000_001a, "AMD Phenom(tm) 9550 Quad-Core Processor",
        "vme mtrr mca pse36 clflush pni monitor cx16 popcnt syscall nx mmxext fxsr-opt pdpe1gb rdtscp lm \
         3dnowext 3dnow lahf-lm svm abm sse4a npt" beyond P6),
    model!("Opteron_G1", AMD 15/6/1, 0x5, 0x8000_0008, "AMD Opteron 240 (Gen 1 Class Opteron)",
        "vme mtrr mca pse36 clflush pni syscall nx lm" beyond P6),
    model!("Opteron_G2", AMD 15/6/1, 0x5, 0x8000_0008, "AMD Opteron 22xx (Gen 2 Class Opteron)",
        "cx16 lahf-lm svm" beyond "Opteron_G1"),
    model!("Opteron_G3", AMD 16/2/3, 0x5, 0x8000_0008, "AMD Opteron 23xx (Gen 3 Class Opteron)",
        "monitor popcnt rdtscp abm sse4a misalignsse" beyond "Opteron_G2"),
    model!("Opteron_G4", AMD 21/1/2, 0xd, 0x8000_001a, "AMD Opteron 62xx class CPU",
        "-monitor pclmulqdq ssse3 sse4.1 sse4.2 aes xsave avx pdpe1gb 3dnowprefetch xop fma4 npt \
         nrip-save" beyond "Opteron_G3"),
    model!("Opteron_G5", AMD 21/2/0, 0xd, 0x8000_001a, "AMD Opteron 63xx class CPU",
        "fma f16c tbm" beyond "Opteron_G4"),
    model!("EPYC", AMD 23/1/2, 0xd, 0x8000_001e, "AMD EPYC Processor",
        "vme mtrr mca pse36 clflush pni pclmulqdq monitor ssse3 fma cx16 sse4.1 sse4.2 movbe popcnt aes \
         xsave avx f16c rdrand arat fsgsbase bmi1 avx2 smep bmi2 rdseed adx smap clflushopt sha-ni \
         xsaveopt xsavec xgetbv1 syscall nx mmxext fxsr-opt pdpe1gb rdtscp lm lahf-lm svm cr8legacy abm \
         sse4a misalignsse 3dnowprefetch osvw topoext npt nrip-save" beyond P6),
    model!("EPYC-IBPB", AMD 23/1/2, 0xd, 0x8000_001e, "AMD EPYC Processor (with IBPB)", "ibpb" beyond "EPYC"),
    model!("EPYC-Rome", AMD 23/49/0, 0xd, 0x8000_001e, "AMD EPYC-Rome Processor",
        "clwb umip rdpid xsaves perfctr-core clzero xsaveerptr wbnoinvd ibpb amd-stibp" beyond "EPYC"),
    model!("EPYC-Milan", AMD 25/1/1, 0xd, 0x8000_001e, "AMD EPYC-Milan Processor",
        "pcid erms invpcid pku fsrm ibrs amd-ssbd svme-addr-chk" beyond "EPYC-Rome"),
    model!("Dhyana", HYGON 24/0/1, 0xd, 0x8000_001e, "Hygon Dhyana Processor",
        "-pclmulqdq -aes -sha-ni ibpb" beyond "EPYC"),
    model!("base" ("No features at all"), NOBODY 0/0/0, 0, 0, "", ""),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::x86::cpu_features::{Feature, FeatureSet};

    #[test]
    fn rows_name_what_is_known_and_take_away_what_is_there() {
        for m in MODELS {
            let features = m.facts.features();
            FeatureSet::from_names(features.iter().copied()).unwrap();
            for (n, name) in features.iter().enumerate() {
                assert!(!features[..n].contains(name), "{} has {name} twice", m.name);
            }
            if let Beyond::Model(other) = m.facts.beyond {
                let other = MODELS.iter().find(|m| m.name == other).unwrap().facts.features();
                let gone = m.facts.features.split_whitespace().filter_map(|f| f.strip_prefix('-'));
                gone.for_each(|f| assert!(other.contains(&f), "{}: -{f}", m.name));
            }
            assert!(m.facts.model_id.len() <= 48);
        }
    }

    #[test]
    fn a_family_of_models() {
        let of = |name: &str| {
            let names = MODELS.iter().find(|m| m.name == name).unwrap().facts.features();
            FeatureSet::from_names(names).unwrap()
        };
        let (haswell, without) = (of("Haswell"), of("Haswell-noTSX"));
        let lost: Vec<_> = haswell.iter().filter(|f| !without.has(*f)).map(|f| f.name).collect();
        assert_eq!(lost, ["hle", "rtm"]);
        assert!(of("EPYC-Milan").has(Feature::find("sse4a").unwrap()) && haswell.has_name("fpu"));
    }
}
