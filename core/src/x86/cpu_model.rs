//! CPU models: what `-cpu` names, as tables of CPUID facts, and the changes that a user asks for.
//!
//! The facts of each model are those of QEMU 7.2's model of the same name (`docs/system/cpu-models-x86`).

use super::cpu_features::{Feature, FeatureSet};
use super::cpuid::{CpuidLeaf, CpuidSet};

/// A CPU model as asked for by `-cpu`: one of the models known here, with changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuModel {
    /// Name as in `-cpu`.
    pub name: String,
    pub(super) base: &'static ModelInfo,
    /// Features switched on (true) or off, in the order in which they take effect.
    pub(super) changes: Vec<(Feature, bool)>,
    pub(super) props: Props,
}

/// Properties of a model besides its features.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Props {
    pub(super) vendor: Option<[u8; 12]>,
    pub(super) family: Option<u32>,
    pub(super) model: Option<u32>,
    pub(super) stepping: Option<u32>,
    pub(super) level: Option<u32>,
    pub(super) xlevel: Option<u32>,
    pub(super) model_id: Option<String>,
    pub(super) phys_bits: Option<u32>,
    pub(super) host_phys_bits: Option<bool>,
    /// `kvm=off` or `tcg-cpuid=off`: no hypervisor leaves.
    pub(super) hide_hypervisor: bool,
    pub(super) enforce: bool,
    pub(super) uncheck: bool,
}

/// Where a model takes its facts from.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A table.
    Table(Facts),
    /// Whatever the accelerator offers.
    Offered,
    /// The same, on accelerators that run guest code on the host's own processor.
    Host,
}

/// A known model.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct ModelInfo {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) source: Source,
}

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
    /// Names of features, by white space.
    pub(super) features: &'static str,
}

const INTEL: &[u8; 12] = b"GenuineIntel";
const AMD: &[u8; 12] = b"AuthenticAMD";

macro_rules! table {
    ($vendor:expr, $family:literal / $model:literal / $stepping:literal, $level:literal, $xlevel:literal, $id:literal, $($features:expr),+) => {
        Source::Table(Facts {
            vendor: $vendor, family: $family, model: $model, stepping: $stepping, level: $level, xlevel: $xlevel, model_id: $id,
            features: concat!($($features, " "),+),
        })
    };
}

macro_rules! pentium_pro {
    () => {
        "fpu de pse tsc msr mce cx8 pge cmov pat fxsr mmx sse sse2 pae sep apic"
    };
}

#[rustfmt::skip]
static MODELS: &[ModelInfo] = &[
    ModelInfo { name: "qemu64", about: "QEMU Virtual CPU (the default)", source: table!(AMD, 15/107/1, 0xd, 0x8000_000a,
        "QEMU Virtual CPU version 2.5+", pentium_pro!(), "mtrr clflush mca pse36 pni cx16 lm syscall nx lahf-lm svm") },
    ModelInfo { name: "qemu32", about: "QEMU Virtual CPU, 32 bits", source: table!(INTEL, 6/6/3, 4, 0x8000_0004,
        "QEMU Virtual CPU version 2.5+", pentium_pro!(), "pni") },
    ModelInfo { name: "kvm64", about: "Common KVM processor", source: table!(INTEL, 15/6/1, 0xd, 0x8000_0008,
        "Common KVM processor", pentium_pro!(), "vme mtrr clflush mca pse36 pni cx16 lm syscall nx") },
    ModelInfo { name: "kvm32", about: "Common 32-bit KVM processor", source: table!(INTEL, 15/6/1, 5, 0x8000_0008,
        "Common 32-bit KVM processor", pentium_pro!(), "vme mtrr clflush mca pse36 pni") },
    ModelInfo { name: "486", about: "Intel 486", source: table!(INTEL, 4/8/0, 1, 0, "", "fpu vme pse") },
    ModelInfo { name: "pentium", about: "Intel Pentium", source: table!(INTEL, 5/4/3, 1, 0, "",
        "fpu vme pse de tsc msr mce cx8 mmx") },
    ModelInfo { name: "pentium2", about: "Intel Pentium II", source: table!(INTEL, 6/5/2, 2, 0, "",
        "fpu vme pse de tsc msr mce cx8 mmx pae sep mtrr pge mca cmov pat pse36 fxsr") },
    ModelInfo { name: "pentium3", about: "Intel Pentium III", source: table!(INTEL, 6/7/3, 3, 0, "",
        "fpu vme pse de tsc msr mce cx8 mmx pae sep mtrr pge mca cmov pat pse36 fxsr sse") },
    ModelInfo { name: "core2duo", about: "Intel Core 2 Duo T7700", source: table!(INTEL, 6/15/11, 10, 0x8000_0008,
        "Intel(R) Core(TM)2 Duo CPU     T7700  @ 2.40GHz", pentium_pro!(),
        "vme mtrr clflush mca pse36 ss pni ssse3 cx16 lm syscall nx lahf-lm") },
    ModelInfo { name: "Nehalem", about: "Intel Core i7 9xx (Nehalem Class Core i7)", source: table!(INTEL, 6/26/3, 11, 0x8000_0008,
        "Intel Core i7 9xx (Nehalem Class Core i7)", pentium_pro!(),
        "vme mtrr clflush mca pse36 pni ssse3 cx16 sse4.1 sse4.2 popcnt lm syscall nx lahf-lm") },
    ModelInfo { name: "max", about: "Enables all features that the accelerator offers", source: Source::Offered },
    ModelInfo { name: "host", about: "The host's processor (KVM only)", source: Source::Host },
];

/// Why a model cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CpuModelError {
    /// No model of that name.
    #[error("unknown CPU model '{name}'{}", did_you_mean(.near))]
    UnknownModel {
        /// As given.
        name: String,
        /// The closest known name.
        near: Option<String>,
    },
    /// No feature or property of that name.
    #[error("unknown CPU feature or property '{name}'{}", did_you_mean(.near))]
    UnknownProperty {
        /// As given.
        name: String,
        /// The closest known name.
        near: Option<String>,
    },
    /// A property's value is not one that it can have.
    #[error("CPU property '{property}' takes {expected}, not '{value}'")]
    BadValue {
        /// The property.
        property: String,
        /// As given.
        value: String,
        /// What it takes.
        expected: &'static str,
    },
    /// `enforce` was asked for and the accelerator lacks features.
    #[error("the accelerator does not offer what CPU model '{model}' asks for: {}", .missing.join(", "))]
    Enforced {
        /// The model.
        model: String,
        /// The features.
        missing: Vec<String>,
    },
    /// `host` on an accelerator that does not run guest code on the host's processor.
    #[error("CPU model 'host' needs KVM; 'max' gives all that this accelerator offers")]
    HostNeedsKvm,
}

fn did_you_mean(near: &Option<String>) -> String {
    near.as_ref().map_or_else(String::new, |n| format!("; did you mean '{n}'?"))
}

fn closest<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<String> {
    crate::closest(name, names).map(str::to_owned)
}

type Setter = fn(&mut Props, &str) -> Result<(), &'static str>;

/// Properties besides features: name and how its value is taken; the error says what it takes.
static PROPERTIES: &[(&str, Setter)] = &[
    ("vendor", |p, v| {
        let vendor = v.as_bytes().try_into().map_err(|_| "exactly 12 characters")?;
        p.vendor = Some(vendor);
        Ok(())
    }),
    ("family", |p, v| number(v, 0xff + 0xf, "a number up to 270").map(|n| p.family = Some(n))),
    ("model", |p, v| number(v, 0xff, "a number up to 255").map(|n| p.model = Some(n))),
    ("stepping", |p, v| number(v, 0xf, "a number up to 15").map(|n| p.stepping = Some(n))),
    ("level", |p, v| number(v, 0xff, "a number up to 255").map(|n| p.level = Some(n))),
    ("xlevel", |p, v| {
        let n = number(v, u32::MAX, XLEVEL)?;
        if !(0x8000_0000..=0x8000_00ff).contains(&n) {
            return Err(XLEVEL);
        }
        p.xlevel = Some(n);
        Ok(())
    }),
    ("model-id", |p, v| {
        if v.len() > 48 {
            return Err("at most 48 characters");
        }
        p.model_id = Some(v.to_owned());
        Ok(())
    }),
    ("phys-bits", |p, v| {
        let n = number(v, 52, "a number from 32 to 52")?;
        if n < 32 {
            return Err("a number from 32 to 52");
        }
        p.phys_bits = Some(n);
        Ok(())
    }),
    ("host-phys-bits", |p, v| boolean(v).map(|b| p.host_phys_bits = Some(b))),
    ("kvm", |p, v| boolean(v).map(|b| p.hide_hypervisor = !b)),
    ("tcg-cpuid", |p, v| boolean(v).map(|b| p.hide_hypervisor = !b)),
    ("check", |p, v| boolean(v).map(|b| p.uncheck = !b)),
    ("enforce", |p, v| boolean(v).map(|b| p.enforce = b)),
];

const XLEVEL: &str = "a number from 0x80000000 to 0x800000ff";

fn number(v: &str, max: u32, expected: &'static str) -> Result<u32, &'static str> {
    let parsed = match v.strip_prefix("0x").or_else(|| v.strip_prefix("0X")) {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => v.parse(),
    };
    parsed.ok().filter(|n| *n <= max).ok_or(expected)
}

fn boolean(v: &str) -> Result<bool, &'static str> {
    match v {
        "on" | "yes" | "true" | "y" => Ok(true),
        "off" | "no" | "false" | "n" => Ok(false),
        _ => Err("'on' or 'off'"),
    }
}

impl Default for CpuModel {
    /// `qemu64`.
    fn default() -> Self {
        Self::plain(&MODELS[0])
    }
}

impl CpuModel {
    fn plain(base: &'static ModelInfo) -> Self {
        Self { name: base.name.to_owned(), base, changes: Vec::new(), props: Props::default() }
    }

    /// Reads the argument of `-cpu`: a model name, then features and properties by commas. `feat=on|off` and properties take effect in
    /// their order, then every `+feat`, then every `-feat`, as QEMU does it. A bare `feat` is `feat=on`.
    ///
    /// # Errors
    /// Unknown names, with what was close to them, and bad values.
    pub fn parse(arg: &str) -> Result<Self, CpuModelError> {
        let mut parts = arg.split(',');
        let name = parts.next().unwrap_or_default();
        let plain_name = name.strip_suffix("-v1").unwrap_or(name);
        let base = MODELS.iter().find(|m| m.name == plain_name).ok_or_else(|| CpuModelError::UnknownModel {
            name: name.to_owned(),
            near: closest(name, MODELS.iter().map(|m| m.name)),
        })?;
        let mut this = Self { name: name.to_owned(), ..Self::plain(base) };
        let (mut plus, mut minus) = (Vec::new(), Vec::new());
        for part in parts {
            if let Some(f) = part.strip_prefix('+') {
                plus.push((find_feature(f)?, true));
            } else if let Some(f) = part.strip_prefix('-') {
                minus.push((find_feature(f)?, false));
            } else {
                this.set_property(part)?;
            }
        }
        this.changes.append(&mut plus);
        this.changes.append(&mut minus);
        Ok(this)
    }

    fn set_property(&mut self, part: &str) -> Result<(), CpuModelError> {
        let (key, value) = part.split_once('=').unwrap_or((part, "on"));
        let plain_key = key.replace('_', "-");
        let bad = |expected| CpuModelError::BadValue { property: key.to_owned(), value: value.to_owned(), expected };
        if let Some((_, set)) = PROPERTIES.iter().find(|(name, _)| *name == plain_key) {
            return set(&mut self.props, value).map_err(bad);
        }
        let feature = find_feature(key)?;
        self.changes.push((feature, boolean(value).map_err(bad)?));
        Ok(())
    }

    /// Must the user hear of features that the accelerator lacks (`check`, which is the default)?
    pub fn check(&self) -> bool {
        !self.props.uncheck
    }

    /// Names and descriptions of all models, for `-cpu help`.
    pub fn known() -> impl Iterator<Item = (&'static str, &'static str)> {
        MODELS.iter().map(|m| (m.name, m.about))
    }
}

fn find_feature(name: &str) -> Result<Feature, CpuModelError> {
    Feature::find(name).ok_or_else(|| CpuModelError::UnknownProperty {
        name: name.to_owned(),
        near: closest(name, Feature::all().map(|f| f.name).chain(PROPERTIES.iter().map(|(n, _)| *n))),
    })
}

/// What an accelerator that makes up its own processor offers, by name. [`Offer::cpuid`] gives it as leaves.
#[derive(Clone, Copy, Debug)]
pub struct Offer<'a> {
    /// Vendor string.
    pub vendor: &'a [u8; 12],
    /// Family, model and stepping.
    pub signature: (u32, u32, u32),
    /// Brand string, at most 48 bytes.
    pub model_id: &'a str,
    /// Signature of the hypervisor leaves.
    pub hypervisor: &'a [u8; 12],
    /// Width of physical addresses.
    pub phys_bits: u32,
    /// Width of linear addresses.
    pub linear_bits: u32,
    /// Features, as named by [`Feature`].
    pub features: &'a [&'a str],
}

impl Offer<'_> {
    /// The leaves.
    ///
    /// # Errors
    /// A feature's name is unknown.
    pub fn cpuid(&self) -> Result<CpuidSet, CpuModelError> {
        let features = FeatureSet::from_names(self.features.iter().copied())
            .map_err(|name| CpuModelError::UnknownProperty { name: name.to_owned(), near: None })?;
        let (family, model, stepping) = self.signature;
        let signature = encode_signature(family, model, stepping);
        let mut set = CpuidSet::new();
        set.set_vendor(0, self.features_level(&features), self.vendor);
        set.set(CpuidLeaf { function: 1, eax: signature, ..CpuidLeaf::default() });
        set.set_vendor(0x4000_0000, 0x4000_0001, self.hypervisor);
        set.set_vendor(0x8000_0000, 0x8000_000a, self.vendor);
        set.set(CpuidLeaf { function: 0x8000_0001, eax: signature, ..CpuidLeaf::default() });
        set.set_brand(self.model_id);
        set.set(CpuidLeaf {
            function: 0x8000_0008,
            eax: self.phys_bits | self.linear_bits << 8,
            ..CpuidLeaf::default()
        });
        set.set_features(&features);
        Ok(set)
    }

    fn features_level(&self, features: &FeatureSet) -> u32 {
        if features.has_name("xsave") { 0xd } else { 0xb }
    }
}

/// CPUID.1:EAX (SDM vol. 2, CPUID, "Version Information"): the extended fields take what does not fit.
pub(super) fn encode_signature(family: u32, model: u32, stepping: u32) -> u32 {
    let (base, extended) = if family > 15 { (15, family - 15) } else { (family, 0) };
    extended << 20 | (model >> 4) << 16 | base << 8 | (model & 15) << 4 | stepping
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_name_known_features_only() {
        for m in MODELS {
            if let Source::Table(f) = &m.source {
                FeatureSet::from_names(f.features.split_whitespace()).unwrap();
                assert!(f.model_id.len() <= 48);
            }
        }
    }

    #[test]
    fn plus_and_minus_come_after_properties() {
        let m = CpuModel::parse("qemu64,-sse3,popcnt=off,+popcnt,vendor=GenuineIntel,enforce").unwrap();
        let changes: Vec<_> = m.changes.iter().map(|(f, on)| (f.name, *on)).collect();
        assert_eq!(changes, [("popcnt", false), ("popcnt", true), ("pni", false)]);
        assert!(m.props.enforce);
        assert_eq!(m.props.vendor.as_ref(), Some(INTEL));
        assert!(CpuModel::parse("max,check=off").is_ok_and(|m| !m.check()));
    }

    #[test]
    fn what_is_unknown_is_refused_with_what_was_close() {
        let text = |arg| CpuModel::parse(arg).unwrap_err().to_string();
        assert_eq!(text("qemu46"), "unknown CPU model 'qemu46'; did you mean 'qemu64'?");
        assert_eq!(text("max,+popcont"), "unknown CPU feature or property 'popcont'; did you mean 'popcnt'?");
        assert_eq!(text("max,vender=x"), "unknown CPU feature or property 'vender'; did you mean 'vendor'?");
        assert_eq!(text("max,vendor=x"), "CPU property 'vendor' takes exactly 12 characters, not 'x'");
        assert_eq!(text("max,avx=maybe"), "CPU property 'avx' takes 'on' or 'off', not 'maybe'");
        assert!(text("").starts_with("unknown CPU model ''"));
        assert!(text("max,").starts_with("unknown CPU feature or property ''"));
    }

    #[test]
    fn signatures() {
        assert_eq!(encode_signature(15, 107, 1), 0x0006_0fb1);
        assert_eq!(encode_signature(6, 26, 3), 0x0001_06a3);
        assert_eq!(encode_signature(0x17, 0x31, 0), 0x0083_0f10);
    }
}
