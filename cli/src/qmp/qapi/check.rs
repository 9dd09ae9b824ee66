//! Does a value have the form that the schema says?

use super::{JsonType, Kind, Type};
use serde_json::Value;

/// Checks a value against its type, strictly: what the schema does not have may not be there.
///
/// # Errors
/// What is wrong, and where.
pub fn check(value: &Value, ty: &Type) -> Result<(), String> {
    let wrong = || Err(format!("{value} is no {}", ty.name));
    match &ty.kind {
        Kind::Builtin(json) => match json {
            JsonType::String if value.is_string() => Ok(()),
            JsonType::Number if value.is_number() => Ok(()),
            JsonType::Int if value.is_i64() || value.is_u64() => Ok(()),
            JsonType::Boolean if value.is_boolean() => Ok(()),
            JsonType::Value => Ok(()),
            _ => wrong(),
        },
        Kind::Enum(values) => match value.as_str() {
            Some(name) if values.contains(&name) => Ok(()),
            _ => wrong(),
        },
        Kind::Array(element) => match value {
            Value::Array(items) => items.iter().try_for_each(|item| check(item, element.get())),
            _ => wrong(),
        },
        Kind::Alternate(cases) if cases.iter().any(|case| check(value, case.get()).is_ok()) => Ok(()),
        Kind::Alternate(_) => wrong(),
        Kind::Object { .. } => match value {
            Value::Object(members) => {
                let mut known = Vec::new();
                object(members, ty, &mut known)?;
                match members.keys().find(|name| !known.contains(&name.as_str())) {
                    Some(name) => Err(format!("{}: unknown member '{name}'", ty.name)),
                    None => Ok(()),
                }
            }
            _ => wrong(),
        },
    }
}

/// Checks the members of an object that `ty` speaks of, and adds their names to those that are `known`.
fn object(value: &serde_json::Map<String, Value>, ty: &Type, known: &mut Vec<&'static str>) -> Result<(), String> {
    let Kind::Object { members, variants } = &ty.kind else { return Err(format!("{} is no object", ty.name)) };
    for member in *members {
        known.push(member.name);
        match value.get(member.name) {
            Some(value) => {
                check(value, member.ty.get()).map_err(|e| format!("{}.{}: {e}", ty.name, member.name))?;
            }
            None if member.optional => {}
            None => return Err(format!("{}: member '{}' is missing", ty.name, member.name)),
        }
    }
    let Some(variants) = variants else { return Ok(()) };
    let case = variants.cases.iter().find(|(case, _)| value.get(variants.tag).is_some_and(|tag| tag == case));
    case.map_or(Ok(()), |(_, ty)| object(value, ty.get(), known))
}
