//! CPU models: what `-cpu` names, and the changes that a user asks for.

use super::cpu_features::{Feature, FeatureSet, Word};
use super::cpu_models::{MODELS, TabledModel};
use super::cpuid::{CpuidLeaf, CpuidSet};

/// A CPU model as asked for by `-cpu`: one of the models known here, with changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuModel {
    /// Name as in `-cpu`.
    pub name: String,
    pub(super) base: Base,
    /// Features switched on (true) or off, in the order in which they take effect.
    pub(super) changes: Vec<(Feature, bool)>,
    pub(super) props: Props,
    /// What the user gave, in the order in which it takes effect: names and values of features and properties.
    given: Vec<(String, String)>,
    ambiguities: Vec<String>,
}

/// Properties of a model besides its features.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Props {
    pub(super) vendor: Option<[u8; 12]>,
    pub(super) family: Option<u32>,
    pub(super) model: Option<u32>,
    pub(super) stepping: Option<u32>,
    pub(super) levels: Levels,
    pub(super) xlevels: Levels,
    pub(super) xlevels2: Levels,
    pub(super) model_id: Option<String>,
    pub(super) phys_bits: Option<u32>,
    pub(super) host_phys_bits: Option<bool>,
    /// `kvm=off`: no KVM leaves.
    pub(super) hide_kvm: bool,
    /// `tcg-cpuid=off`: no leaves of the software CPU.
    pub(super) hide_tcg: bool,
    /// `full-cpuid-auto-level=off`: the leaves of most features do not raise the highest leaf.
    pub(super) no_auto_level: bool,
    /// `l3-cache=off`
    pub(super) no_l3_cache: bool,
    /// `cpuid-0xb=off`
    pub(super) no_leaf_b: bool,
    pub(super) enforce: bool,
    pub(super) uncheck: bool,
}

/// The highest leaf of a range, as asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Levels {
    /// It is this.
    pub(super) fixed: Option<u32>,
    /// It is at least this, instead of what the model has.
    pub(super) least: Option<u32>,
}

/// Where a model takes its facts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Base {
    /// A table.
    Table(&'static TabledModel),
    /// Whatever the accelerator offers.
    Offered,
    /// The same, on accelerators that run guest code on the host's own processor.
    Host,
}

/// The models that are in no table.
const UNTABLED: [(&str, &str, Base); 2] = [
    ("max", "Enables all features that the accelerator offers", Base::Offered),
    ("host", "The host's processor (KVM only)", Base::Host),
];

/// Why a model cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CpuModelError {
    /// No model of that name.
    #[error("unknown CPU model '{name}'{}", crate::did_you_mean(.near.as_deref()))]
    UnknownModel {
        /// As given.
        name: String,
        /// The closest known name.
        near: Option<String>,
    },
    /// No feature or property of that name.
    #[error("unknown CPU feature or property '{name}'{}", crate::did_you_mean(.near.as_deref()))]
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
    ("level", |p, v| leaf(v).map(|n| p.levels.fixed = Some(n))),
    ("min-level", |p, v| leaf(v).map(|n| p.levels.least = Some(n))),
    ("xlevel", |p, v| leaf(v).map(|n| p.xlevels.fixed = Some(n))),
    ("min-xlevel", |p, v| leaf(v).map(|n| p.xlevels.least = Some(n))),
    ("xlevel2", |p, v| leaf(v).map(|n| p.xlevels2.fixed = Some(n))),
    ("min-xlevel2", |p, v| leaf(v).map(|n| p.xlevels2.least = Some(n))),
    ("full-cpuid-auto-level", |p, v| boolean(v).map(|b| p.no_auto_level = !b)),
    ("cpuid-0xb", |p, v| boolean(v).map(|b| p.no_leaf_b = !b)),
    ("l3-cache", |p, v| boolean(v).map(|b| p.no_l3_cache = !b)),
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
    ("kvm", |p, v| boolean(v).map(|b| p.hide_kvm = !b)),
    ("tcg-cpuid", |p, v| boolean(v).map(|b| p.hide_tcg = !b)),
    ("check", |p, v| boolean(v).map(|b| p.uncheck = !b)),
    ("enforce", |p, v| boolean(v).map(|b| p.enforce = b)),
];

fn leaf(v: &str) -> Result<u32, &'static str> {
    number(v, u32::MAX, "a number of 32 bits")
}
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
        Self::plain(MODELS[0].name, Base::Table(&MODELS[0]))
    }
}

impl CpuModel {
    fn plain(name: &str, base: Base) -> Self {
        Self {
            name: name.to_owned(),
            base,
            changes: Vec::new(),
            props: Props::default(),
            given: Vec::new(),
            ambiguities: Vec::new(),
        }
    }

    /// Reads the argument of `-cpu`: a model name, then features and properties by commas. `feat=on|off` and properties take effect in
    /// their order, then every `+feat`, then every `-feat`, as QEMU does it. A bare `feat` is `feat=on`.
    ///
    /// # Errors
    /// Unknown names, with what was close to them, and bad values.
    pub fn parse(arg: &str) -> Result<Self, CpuModelError> {
        let mut parts = arg.split(',');
        let mut this = Self::named(parts.next().unwrap_or_default())?;
        let (mut plain, mut plus, mut minus) = (Vec::new(), Vec::new(), Vec::new());
        // QEMU takes an empty part as nothing, at the end.
        for part in parts.filter(|p| !p.is_empty()) {
            let switch = |name: &str, value: &str| (name.to_owned(), value.to_owned());
            if let Some(name) = part.strip_prefix('+') {
                find_feature(name)?;
                plus.push(switch(name, "on"));
            } else if let Some(name) = part.strip_prefix('-') {
                find_feature(name)?;
                minus.push(switch(name, "off"));
            } else {
                let (name, value) = part.split_once('=').unwrap_or((part, "on"));
                plain.push(switch(name, value));
            }
        }
        this.ambiguities = ambiguities(&plain, &plus, &minus);
        this.given = [plain, plus, minus].concat();
        this.apply(&this.given.clone())?;
        Ok(this)
    }
    /// The model of that name, as it is.
    ///
    /// # Errors
    /// There is none.
    pub fn named(name: &str) -> Result<Self, CpuModelError> {
        let plain_name = name.strip_suffix(FIRST_VERSION).filter(|n| has_versions(n)).unwrap_or(name);
        let tabled = MODELS.iter().find(|m| m.name == plain_name).map(Base::Table);
        let base = tabled.or_else(|| UNTABLED.iter().find(|(n, ..)| *n == name).map(|(.., base)| *base));
        let unknown = || CpuModelError::UnknownModel {
            name: name.to_owned(),
            near: closest(name, Self::known().map(|(name, _)| name)),
        };
        Ok(Self::plain(name, base.ok_or_else(unknown)?))
    }
    /// The model whose type has this name: `MODEL-x86_64-cpu`.
    ///
    /// # Errors
    /// There is none.
    pub fn of_type(type_name: &str) -> Result<Self, CpuModelError> {
        Self::named(type_name.strip_suffix(TYPE_SUFFIX).unwrap_or(type_name))
    }
    /// The name of its type, such as `qemu64-x86_64-cpu`.
    pub fn type_name(&self) -> String {
        format!("{}{TYPE_SUFFIX}", self.name)
    }
    /// The same with other defaults (`-global`, and what differs between versions of a machine), which take effect before what the user gave.
    ///
    /// # Errors
    /// Unknown names and bad values.
    pub fn with_defaults(&self, defaults: &[(String, String)]) -> Result<Self, CpuModelError> {
        let (given, ambiguities) = (self.given.clone(), self.ambiguities.clone());
        let mut this = Self { given, ambiguities, ..Self::plain(&self.name, self.base) };
        this.apply(defaults)?;
        this.apply(&self.given)?;
        Ok(this)
    }
    fn apply(&mut self, settings: &[(String, String)]) -> Result<(), CpuModelError> {
        settings.iter().try_for_each(|(name, value)| self.set(name, value))
    }

    /// Sets a feature or a property.
    ///
    /// # Errors
    /// There is none of that name, or it does not take the value.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), CpuModelError> {
        let plain_name = name.replace('_', "-");
        let bad = |expected| CpuModelError::BadValue { property: name.to_owned(), value: value.to_owned(), expected };
        if let Some((_, set)) = PROPERTIES.iter().find(|(name, _)| *name == plain_name) {
            return set(&mut self.props, value).map_err(bad);
        }
        let feature = find_feature(name)?;
        self.changes.push((feature, boolean(value).map_err(bad)?));
        Ok(())
    }

    /// What the user may have meant otherwise, in the form of QEMU's warnings.
    pub fn ambiguities(&self) -> &[String] {
        &self.ambiguities
    }
    /// Must the user hear of features that the accelerator lacks (`check`, which is the default)?
    pub fn check(&self) -> bool {
        !self.props.uncheck
    }

    /// Names and descriptions of the types of all models. A model in a table has a second one as its first version.
    pub fn types() -> impl Iterator<Item = (String, &'static str)> {
        let versioned = MODELS.iter().filter(|m| has_versions(m.name));
        let versions = versioned.map(|m| (format!("{}{FIRST_VERSION}{TYPE_SUFFIX}", m.name), m.about));
        Self::known().map(|(name, about)| (format!("{name}{TYPE_SUFFIX}"), about)).chain(versions)
    }
    /// Names and descriptions of all models, for `-cpu help`.
    pub fn known() -> impl Iterator<Item = (&'static str, &'static str)> + Clone {
        MODELS.iter().map(|m| (m.name, m.about)).chain(UNTABLED.iter().map(|(name, about, _)| (*name, *about)))
    }
}

/// What the first version of a model is called beyond the model's name.
const FIRST_VERSION: &str = "-v1";

/// Has a model versions? Those that are named for what was added or removed are versions themselves, of the model without that name.
fn has_versions(name: &str) -> bool {
    name != "base" && !["-IBRS", "-IBPB", "-noTSX"].iter().any(|variant| name.contains(variant))
}

/// What the type of a model is called beyond the model's name.
pub const TYPE_SUFFIX: &str = "-x86_64-cpu";

/// `+feat` and `-feat` win over `feat=`, whichever comes first: that is worth a word where they differ.
fn ambiguities(plain: &[(String, String)], plus: &[(String, String)], minus: &[(String, String)]) -> Vec<String> {
    let mut all = Vec::new();
    for (sign, value, switches) in [('+', "off", plus), ('-', "on", minus)] {
        let differ = |name: &&String| plain.iter().any(|(n, v)| n == *name && v == value);
        all.extend(
            switches.iter().map(|(name, _)| name).filter(differ).map(|name| {
                format!("Ambiguous CPU model string. Don't mix both \"{sign}{name}\" and \"{name}={value}\"")
            }),
        );
    }
    all
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
        let mut set = self.leaves(&features);
        set.set_vendor(CpuidSet::HYPERVISOR, CpuidSet::HYPERVISOR + 1, self.hypervisor);
        Ok(set)
    }

    /// The leaves without those of a hypervisor.
    fn leaves(&self, features: &FeatureSet) -> CpuidSet {
        let (family, model, stepping) = self.signature;
        let signature = encode_signature(family, model, stepping);
        let mut set = CpuidSet::new();
        set.set_vendor(0, self.features_level(features), self.vendor);
        set.set(CpuidLeaf { function: 1, eax: signature, ..CpuidLeaf::default() });
        set.set_vendor(0x8000_0000, 0x8000_000a, self.vendor);
        set.set(CpuidLeaf { function: 0x8000_0001, eax: signature, ..CpuidLeaf::default() });
        set.set_brand(self.model_id);
        set.set(CpuidLeaf {
            function: 0x8000_0008,
            eax: self.phys_bits | self.linear_bits << 8,
            ..CpuidLeaf::default()
        });
        set.set_features(features);
        set
    }

    fn features_level(&self, features: &FeatureSet) -> u32 {
        if features.has_name("xsave") { 0xd } else { 0xb }
    }
}

/// Every feature that has a name here, for machines without a CPU: a model is not cut down there. The rest is that of QEMU's `max` on its
/// software CPU.
pub fn everything() -> CpuidSet {
    let mut features = FeatureSet::default();
    Feature::all().filter(|f| !matches!(f.word, Word::KvmEax | Word::KvmEdx)).for_each(|f| features.set(f, true));
    let all = Offer {
        vendor: b"AuthenticAMD",
        signature: (15, 107, 1),
        model_id: "QEMU TCG CPU version 2.5+",
        hypervisor: &[0; 12],
        phys_bits: 40,
        linear_bits: 48,
        features: &[],
    };
    all.leaves(&features)
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
    fn plus_and_minus_come_after_properties() {
        let m = CpuModel::parse("qemu64,-sse3,popcnt=off,+popcnt,vendor=GenuineIntel,enforce").unwrap();
        let changes: Vec<_> = m.changes.iter().map(|(f, on)| (f.name, *on)).collect();
        assert_eq!(changes, [("popcnt", false), ("popcnt", true), ("pni", false)]);
        assert!(m.props.enforce);
        assert_eq!(m.props.vendor.as_ref(), Some(b"GenuineIntel"));
        assert!(CpuModel::parse("max,check=off").is_ok_and(|m| !m.check()));
        let m = CpuModel::parse("pentium,-fpu,+fpu,-mce,mce=on,+cx8,cx8=off,sse4_2=on").unwrap();
        let expect = [
            r#"Ambiguous CPU model string. Don't mix both "+cx8" and "cx8=off""#,
            r#"Ambiguous CPU model string. Don't mix both "-mce" and "mce=on""#,
        ];
        assert_eq!(m.ambiguities(), expect);
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
        assert!(CpuModel::parse("max,").is_ok());
    }

    #[test]
    fn defaults_come_before_what_is_given() {
        let m = CpuModel::parse("Haswell,-avx,min-level=7").unwrap();
        let defaults = [("avx", "on"), ("abm", "off"), ("min-level", "4"), ("stepping", "1")];
        let defaults = defaults.map(|(n, v)| (n.to_owned(), v.to_owned()));
        let m = m.with_defaults(&defaults).unwrap().with_defaults(&defaults).unwrap();
        let changes: Vec<_> = m.changes.iter().map(|(f, on)| (f.name, *on)).collect();
        assert_eq!(changes, [("avx", true), ("abm", false), ("avx", false)]);
        assert_eq!((m.props.levels.least, m.props.stepping), (Some(7), Some(1)));
        assert!(m.with_defaults(&[("x".into(), "y".into())]).is_err());
        assert_eq!(
            (m.type_name().as_str(), CpuModel::of_type("host-x86_64-cpu").unwrap().name.as_str()),
            ("Haswell-x86_64-cpu", "host")
        );
    }

    #[test]
    fn signatures() {
        assert_eq!(encode_signature(15, 107, 1), 0x0006_0fb1);
        assert_eq!(encode_signature(6, 26, 3), 0x0001_06a3);
        assert_eq!(encode_signature(0x17, 0x31, 0), 0x0083_0f10);
    }
}
