//! CPU models: `query-cpu-definitions` and `query-cpu-model-expansion`.

use super::{Control, Error, Result};
use crate::qmp::types::machine::{CpuDefinitionInfo, CpuModelExpansionInfo, CpuModelExpansionType, CpuModelInfo};
use crate::x86::RealizedCpu;
use crate::x86::cpu_features::{Feature, FeatureSet};
use crate::x86::cpu_model::CpuModel;
use crate::x86::cpuid::CpuidSet;
use crate::x86::topology::Topology;
use serde_json::{Map, Value};

/// Models that are what the accelerator makes of them.
const CHANGING: [&str; 2] = ["host", "max"];

impl Control {
    /// A model as the accelerator of this machine would run it.
    fn realize_model(&self, model: &CpuModel) -> Result<RealizedCpu> {
        let machine = self.machine()?;
        let cpu = model.realize(machine.vm().cpuid(), &Topology::default(), 0);
        cpu.map_err(|e| Error::generic(e.to_string()))
    }
    /// `query-cpu-definitions`.
    ///
    /// # Errors
    /// There is no machine.
    pub fn cpu_definitions(&self) -> Result<Vec<CpuDefinitionInfo>> {
        self.machine()?;
        let define = |(name, _): (&str, &str)| {
            let realized = CpuModel::parse(name).ok().map(|model| self.realize_model(&model));
            let unavailable_features = match realized {
                Some(Ok(cpu)) => Some(cpu.missing.iter().map(|m| m.feature.name.to_owned()).collect()),
                // A model that cannot run here at all lacks what it is named for.
                Some(Err(_)) => Some(vec!["type".to_owned()]),
                None => None,
            };
            CpuDefinitionInfo {
                name: name.to_owned(),
                migration_safe: Some(!CHANGING.contains(&name)),
                is_static: false,
                unavailable_features,
                typename: format!("{name}-x86_64-cpu"),
                alias_of: None,
                deprecated: false,
            }
        };
        Ok(CpuModel::known().map(define).collect())
    }
    /// `query-cpu-model-expansion`: the properties of a model as the accelerator would run it. Models do not depend on the machine's version, so that
    /// what a model is expanded to is the model itself with all its properties, of either type.
    ///
    /// # Errors
    /// There is no such model or property.
    pub fn cpu_model_expansion(&self, _: CpuModelExpansionType, model: CpuModelInfo) -> Result<CpuModelExpansionInfo> {
        let changes = match &model.props {
            None => String::new(),
            Some(Value::Object(props)) => {
                props.iter().map(|(k, v)| Ok(format!(",{k}={}", text(k, v)?))).collect::<Result<_>>()?
            }
            Some(_) => return Err(Error::generic("Invalid parameter type for 'model.props', expected: object")),
        };
        let parsed = CpuModel::parse(&format!("{}{changes}", model.name));
        let cpu = self.realize_model(&parsed.map_err(|e| Error::generic(e.to_string()))?)?;
        let props = Some(Value::Object(properties(&cpu.cpuid)));
        Ok(CpuModelExpansionInfo { model: CpuModelInfo { name: model.name, props } })
    }
}

/// A property as `-cpu` has it.
fn text(name: &str, value: &Value) -> Result<String> {
    match value {
        Value::Bool(on) => Ok(if *on { "on" } else { "off" }.to_owned()),
        Value::Number(n) => Ok(n.to_string()),
        Value::String(s) if !s.contains(',') => Ok(s.clone()),
        _ => Err(Error::generic(format!("Invalid parameter type for 'model.props.{name}', expected: string"))),
    }
}

fn properties(cpuid: &CpuidSet) -> Map<String, Value> {
    let features = FeatureSet::of(cpuid);
    let mut props: Map<_, _> = Feature::all().map(|f| (f.name.to_owned(), features.has(f).into())).collect();
    let signature = cpuid.signature();
    let vendor = cpuid.vendor(0).unwrap_or_default();
    let level = |leaf| cpuid.get(leaf, 0).map_or(0, |l| l.eax);
    let family = (signature >> 8 & 15) + (signature >> 20 & 255);
    let model = (signature >> 4 & 15) | (signature >> 12 & 0xf0);
    for (name, value) in [
        ("family", Value::from(family)),
        ("model", model.into()),
        ("stepping", (signature & 15).into()),
        ("level", level(0).into()),
        ("xlevel", level(0x8000_0000).into()),
        ("vendor", String::from_utf8_lossy(&vendor).into_owned().into()),
        ("model-id", cpuid.brand().into()),
    ] {
        props.insert(name.to_owned(), value);
    }
    props
}
