//! CPU models: `query-cpu-definitions` and `query-cpu-model-expansion`.

use super::{Control, Error, Result};
use crate::qmp::types::machine::{CpuDefinitionInfo, CpuModelExpansionInfo, CpuModelExpansionType, CpuModelInfo};
use crate::x86::RealizedCpu;
use crate::x86::cpu_model::CpuModel;
use crate::x86::cpu_object::expansion;
use serde_json::Value;

/// Models that are what the accelerator makes of them.
const CHANGING: [&str; 2] = ["host", "max"];
/// The model without features, of which others are made.
const BASE: &str = "base";

impl Control {
    /// A model as the accelerator of this machine would run it.
    fn realize_model(&self, model: &CpuModel) -> Result<RealizedCpu> {
        self.machine()?.realize_model(model).map_err(|e| Error::generic(e.to_string()))
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
                is_static: name == BASE,
                unavailable_features,
                typename: format!("{name}-x86_64-cpu"),
                alias_of: None,
                deprecated: false,
            }
        };
        Ok(CpuModel::known().map(define).collect())
    }
    /// `query-cpu-model-expansion`: the model itself with all its properties, or what makes the same of the model `base`, which never changes.
    ///
    /// # Errors
    /// There is no such model or property.
    pub fn cpu_model_expansion(
        &self,
        kind: CpuModelExpansionType,
        model: CpuModelInfo,
    ) -> Result<CpuModelExpansionInfo> {
        let changes = match &model.props {
            None => String::new(),
            Some(Value::Object(props)) => {
                props.iter().map(|(k, v)| Ok(format!(",{k}={}", text(k, v)?))).collect::<Result<_>>()?
            }
            Some(_) => return Err(Error::generic("Invalid parameter type for 'model.props', expected: object")),
        };
        let parsed = CpuModel::parse(&format!("{}{changes}", model.name));
        let parsed = parsed.map_err(|e| Error::generic(e.to_string()))?;
        let full = kind == CpuModelExpansionType::Full;
        let props = expansion(&self.realize_model(&parsed)?, &parsed, full);
        let props = props.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let name = if full { model.name } else { BASE.to_owned() };
        Ok(CpuModelExpansionInfo { model: CpuModelInfo { name, props: Some(Value::Object(props)) } })
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
