//! A CPU as an object: the properties of QEMU's `x86_64-cpu`, with the values of one processor.

use super::RealizedCpu;
use super::cpu_features::{ALIASES, Feature, FeatureSet, Word};
use super::cpu_model::{CpuModel, Props};
use crate::object::{PropertyInfo, Value};
use serde_json::json;

/// Where a CPU sits in its machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CpuPlace {
    /// Local APIC id.
    pub apic_id: u32,
    /// Package.
    pub socket: u32,
    /// Core in the package.
    pub core: u32,
    /// Thread in the core.
    pub thread: u32,
    /// NUMA node.
    pub node: Option<u32>,
}

impl CpuPlace {
    /// Die in the package: there is one.
    pub const DIE: u32 = 0;
}

/// Features whose name may be written with `_` for `-` as a property, too.
const UNDERSCORED: [&str; 23] = [
    "cmp-legacy",
    "ds-cpl",
    "fxsr-opt",
    "kvm-asyncpf",
    "kvm-asyncpf-int",
    "kvm-mmu",
    "kvm-nopiodelay",
    "kvm-poll-control",
    "kvm-pv-eoi",
    "kvm-pv-unhalt",
    "kvm-steal-time",
    "lahf-lm",
    "nodeid-msr",
    "nrip-save",
    "pause-filter",
    "perfctr-core",
    "perfctr-nb",
    "sse4-1",
    "sse4-2",
    "svm-lock",
    "tsc-adjust",
    "tsc-scale",
    "vmcb-clean",
];

/// A processor, and what it was made from.
struct Shown<'a> {
    cpu: &'a RealizedCpu,
    model: &'a CpuModel,
    place: &'a CpuPlace,
}

type Read = fn(&Shown<'_>) -> Value;

/// Properties besides features: name, type, description, value.
const PROPERTIES: [(&str, &str, &str, Read); 30] = [
    ("apic-id", "uint32", "local APIC id", |s| s.place.apic_id.into()),
    ("socket-id", "int32", "package", |s| s.place.socket.into()),
    ("die-id", "int32", "die in the package", |_| CpuPlace::DIE.into()),
    ("core-id", "int32", "core in the die", |s| s.place.core.into()),
    ("thread-id", "int32", "thread in the core", |s| s.place.thread.into()),
    ("node-id", "int32", "NUMA node, or -1", |s| s.place.node.map_or(-1, i64::from).into()),
    ("vendor", "string", "vendor string", |s| s.cpu.identity.vendor_name().into()),
    ("family", "int", "family", |s| s.cpu.identity.family.into()),
    ("model", "int", "model", |s| s.cpu.identity.model.into()),
    ("stepping", "int", "stepping", |s| s.cpu.identity.stepping.into()),
    ("model-id", "string", "brand string", |s| s.cpu.identity.model_id.as_str().into()),
    ("level", "uint32", "highest basic CPUID leaf", |s| s.cpu.identity.level.value.into()),
    ("min-level", "uint32", "what level is at least", |s| s.cpu.identity.level.least.into()),
    ("xlevel", "uint32", "highest extended CPUID leaf", |s| s.cpu.identity.xlevel.value.into()),
    ("min-xlevel", "uint32", "what xlevel is at least", |s| s.cpu.identity.xlevel.least.into()),
    ("xlevel2", "uint32", "highest CPUID leaf of Centaur's range", |s| s.cpu.identity.xlevel2.value.into()),
    ("min-xlevel2", "uint32", "what xlevel2 is at least", |s| s.cpu.identity.xlevel2.least.into()),
    ("full-cpuid-auto-level", "bool", "features raise the levels", |s| (!props(s).no_auto_level).into()),
    ("cpuid-0xb", "bool", "CPUID.0BH tells the topology", |s| (!props(s).no_leaf_b).into()),
    ("l3-cache", "bool", "there is a third level of caches", |s| (!props(s).no_l3_cache).into()),
    ("phys-bits", "uint32", "width of physical addresses", |s| s.cpu.identity.phys_bits.into()),
    ("host-phys-bits", "bool", "phys-bits is the host's", |s| props(s).host_phys_bits.unwrap_or(false).into()),
    ("check", "bool", "tell of features that are not there", |s| (!props(s).uncheck).into()),
    ("enforce", "bool", "refuse to run without all features", |s| props(s).enforce.into()),
    ("kvm", "bool", "KVM's CPUID leaves are there", |s| (!props(s).hide_kvm).into()),
    ("tcg-cpuid", "bool", "the software CPU's CPUID leaves are there", |s| (!props(s).hide_tcg).into()),
    ("ucode-rev", "uint64", "IA32_BIOS_SIGN_ID", |s| microcode(&s.cpu.identity.vendor).into()),
    ("feature-words", "X86CPUFeatureWordInfo", "features that are there", |s| feature_words(&s.cpu.features)),
    ("filtered-features", "X86CPUFeatureWordInfo", "features that are not", |s| feature_words(&s.cpu.filtered)),
    ("unavailable-features", "strList", "their names", |s| s.cpu.filtered.iter().map(|f| f.name).collect()),
];

fn props<'a>(shown: &Shown<'a>) -> &'a Props {
    &shown.model.props
}

/// The microcode revision that QEMU gives to processors without one.
fn microcode(vendor: &[u8; 12]) -> u64 {
    if vendor == b"AuthenticAMD" { 0x0100_0065 } else { 1 << 32 }
}

/// All words of a set (QAPI `X86CPUFeatureWordInfo`).
fn feature_words(features: &FeatureSet) -> Value {
    let word = |w: Word| {
        let info = w.info();
        let mut entry = json!({
            "cpuid-input-eax": info.function,
            "cpuid-register": info.reg.name(),
            "features": features.word(w),
        });
        if let (Some(index), Some(entry)) = (info.index, entry.as_object_mut()) {
            entry.insert("cpuid-input-ecx".to_owned(), index.into());
        }
        entry
    };
    Word::all().map(word).collect()
}

/// Names of features as properties, with the feature: plain names, aliases, and those with underscores.
fn feature_names() -> impl Iterator<Item = (String, Feature)> {
    let plain = Feature::all().map(|f| (f.name.to_owned(), f));
    let aliases = ALIASES.iter().filter_map(|(alias, name)| Some(((*alias).to_owned(), Feature::find(name)?)));
    let underscored = UNDERSCORED.iter().filter_map(|name| Some((name.replace('-', "_"), Feature::find(name)?)));
    plain.chain(aliases).chain(underscored)
}

/// The same, made once for the life of the program.
fn feature_properties() -> &'static [(&'static str, Feature)] {
    static NAMES: std::sync::OnceLock<Vec<(&'static str, Feature)>> = std::sync::OnceLock::new();
    NAMES.get_or_init(|| feature_names().map(|(name, f)| (&*Box::leak(name.into_boxed_str()), f)).collect())
}

fn info(name: &'static str, kind: &'static str, description: &'static str, value: Option<Value>) -> PropertyInfo {
    PropertyInfo { name, kind, description, default: value }
}

/// The properties of every type of CPUs; their values depend on the accelerator and the machine.
pub fn property_list() -> Vec<PropertyInfo> {
    let plain = PROPERTIES.iter().map(|(name, kind, description, _)| info(name, kind, description, None));
    plain.chain(feature_properties().iter().map(|(name, _)| info(name, "bool", "CPU feature", None))).collect()
}

/// The properties of a CPU.
pub fn properties(cpu: &RealizedCpu, model: &CpuModel, place: &CpuPlace) -> Vec<PropertyInfo> {
    let shown = Shown { cpu, model, place };
    let plain =
        PROPERTIES.iter().map(|(name, kind, description, read)| info(name, kind, description, Some(read(&shown))));
    let features = feature_properties()
        .iter()
        .map(|(name, f)| info(name, "bool", "CPU feature", Some(cpu.features.has(*f).into())));
    plain.chain(features).collect()
}

/// What a model of static expansion is told by, besides its features (QMP `query-cpu-model-expansion`).
const STATIC: [&str; 7] = ["family", "min-level", "min-xlevel", "model", "model-id", "stepping", "vendor"];
/// What is of one CPU, or what an accelerator makes of a model.
const NOT_OF_MODELS: [&str; 9] = [
    "apic-id",
    "socket-id",
    "die-id",
    "core-id",
    "thread-id",
    "node-id",
    "feature-words",
    "filtered-features",
    "unavailable-features",
];

/// The properties of a model as it is asked for, whatever the accelerator lacks of it: `all` of them, or those that make the same model out of `base`.
pub fn expansion(cpu: &RealizedCpu, model: &CpuModel, all: bool) -> Vec<(&'static str, Value)> {
    let place = CpuPlace { apic_id: 0, socket: 0, core: 0, thread: 0, node: None };
    let shown = Shown { cpu, model, place: &place };
    let asked = cpu.features.or(&cpu.filtered);
    let wanted = |name: &str| if all { !NOT_OF_MODELS.contains(&name) } else { STATIC.contains(&name) };
    let plain = PROPERTIES.iter().filter(|(name, ..)| wanted(name)).map(|(name, .., read)| (*name, read(&shown)));
    plain.chain(Feature::all().map(|f| (f.name, asked.has(f).into()))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::cpu_model::everything;
    use super::super::topology::Topology;
    use super::*;

    fn get(model: &str, property: &str) -> Value {
        let model = CpuModel::parse(model).unwrap();
        let cpu = model.realize(&everything(), &Topology::default(), 0).unwrap();
        let place = CpuPlace { apic_id: 0, socket: 0, core: 0, thread: 0, node: None };
        let all = properties(&cpu, &model, &place);
        all.into_iter().find(|p| p.name == property).and_then(|p| p.default).unwrap()
    }

    #[test]
    fn switches_by_all_their_names() {
        let model = "pentium,-fpu,+fpu,-mce,mce=on,+cx8,cx8=off,+sse4_1,sse4_2=on";
        let on = |property| get(model, property) == true;
        assert!(!on("fpu") && !on("mce") && on("cx8"));
        assert!(["sse4-1", "sse4.1", "sse4_1", "sse4-2", "sse4.2", "sse4_2"].into_iter().all(on));
    }

    #[test]
    fn values_are_qemus() {
        assert_eq!(get("qemu64", "vendor"), "AuthenticAMD");
        assert_eq!(get("qemu64", "ucode-rev"), 16_777_317);
        assert_eq!(get("qemu64", "node-id"), -1);
        assert_eq!(get("qemu64", "phys-bits"), 40);
        let words = get("486,+arat", "feature-words");
        let arat = words.as_array().unwrap().iter().find(|w| w["cpuid-input-eax"] == 6).unwrap();
        assert_eq!(*arat, json!({ "cpuid-input-eax": 6, "cpuid-register": "EAX", "features": 4 }));
        assert!(words.as_array().unwrap().iter().any(|w| w["cpuid-input-ecx"] == 1));
        assert_eq!(get("486,+kvmclock", "unavailable-features"), json!(["kvmclock"]));
    }

    #[test]
    fn an_expansion_makes_the_same_model_out_of_base() {
        let realize = |m: &CpuModel| m.realize(&everything(), &Topology::default(), 0).unwrap();
        let model = CpuModel::parse("Haswell,-rtm,+invtsc").unwrap();
        let (cpu, mut base) = (realize(&model), CpuModel::named("base").unwrap());
        for (name, value) in expansion(&cpu, &model, false) {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            base.set(name, &value).unwrap();
        }
        let again = realize(&base);
        assert_eq!((again.features, again.identity), (cpu.features, cpu.identity));
        let all = expansion(&realize(&model), &model, true);
        assert!(all.iter().any(|(name, value)| *name == "l3-cache" && *value == true));
        assert!(all.iter().all(|(name, _)| *name != "apic-id"));
    }

    #[test]
    fn no_name_is_there_twice() {
        let mut names: Vec<_> = property_list().into_iter().map(|p| p.name).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
