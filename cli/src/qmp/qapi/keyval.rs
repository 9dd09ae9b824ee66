//! Values from text: `a.b=x,a.c=on` for `{"a": {"b": "x", "c": true}}` (QEMU's `util/keyval.c`). The schema says what a text stands for.

use super::{JsonType, Kind, Type};
use gearbox_core::object::parse_switch;
use serde_json::{Map, Value};

/// An object from its members, whose names have a dot before each part of a part.
///
/// # Errors
/// A name is both a member and an object of members.
pub fn nest(members: impl IntoIterator<Item = (String, String)>) -> Result<Value, String> {
    let mut root = Map::new();
    for (name, value) in members {
        let mut object = &mut root;
        let (path, last) = name.rsplit_once('.').unwrap_or(("", &name));
        for part in path.split('.').filter(|p| !p.is_empty()) {
            let inner = object.entry(part).or_insert_with(|| Value::Object(Map::new()));
            object = inner.as_object_mut().ok_or_else(|| format!("Parameters '{part}.*' used inconsistently"))?;
        }
        if object.get(last).is_some_and(Value::is_object) {
            return Err(format!("Parameters '{last}.*' used inconsistently"));
        }
        object.insert(last.to_owned(), Value::String(value));
    }
    Ok(Value::Object(root))
}

/// The same value with each text in it as what `ty` has there. What does not fit stays, for the reader to complain.
pub fn typed(value: Value, ty: &Type) -> Value {
    match (value, &ty.kind) {
        (Value::String(text), Kind::Builtin(JsonType::Boolean)) => {
            parse_switch(&text).map_or(Value::String(text), Value::Bool)
        }
        (Value::String(text), Kind::Builtin(JsonType::Int)) => {
            text.parse::<i64>().map_or(Value::String(text), Value::from)
        }
        (Value::Object(object), Kind::Alternate(cases)) => {
            let case = cases.iter().map(|c| c.get()).find(|c| matches!(c.kind, Kind::Object { .. }));
            case.map_or(Value::Object(object.clone()), |case| typed(Value::Object(object), case))
        }
        (Value::Object(object), Kind::Object { .. }) => {
            let type_of = |name: &str| member(ty, &object, name);
            let typed = object
                .iter()
                .map(|(name, v)| (name.clone(), type_of(name).map_or_else(|| v.clone(), |ty| typed(v.clone(), ty))));
            Value::Object(typed.collect())
        }
        (value, _) => value,
    }
}

/// The type of a member of an object.
fn member(ty: &Type, object: &Map<String, Value>, name: &str) -> Option<&'static Type> {
    let Kind::Object { members, variants } = &ty.kind else { return None };
    let own = members.iter().find(|m| m.name == name).map(|m| m.ty.get());
    own.or_else(|| {
        let variants = variants.as_ref()?;
        let tag = object.get(variants.tag)?.as_str()?;
        let (_, case) = variants.cases.iter().find(|(case, _)| *case == tag)?;
        member(case.get(), object, name)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qmp::qapi::Qapi;
    use crate::qmp::types::blockdev::BlockdevOptions;
    use serde_json::json;

    fn read(pairs: &[(&str, &str)]) -> Result<Value, String> {
        nest(pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))).map(|v| typed(v, BlockdevOptions::ty()))
    }

    #[test]
    fn text_becomes_what_the_schema_has() {
        let value = read(&[
            ("driver", "qcow2"),
            ("read-only", "on"),
            ("cache.direct", "off"),
            ("file.driver", "file"),
            ("file.filename", "on"),
            ("file.cache.no-flush", "on"),
            ("nonsense", "on"),
        ]);
        let expected = json!({
            "driver": "qcow2", "read-only": true, "cache": {"direct": false},
            "file": {"driver": "file", "filename": "on", "cache": {"no-flush": true}}, "nonsense": "on",
        });
        assert_eq!(value, Ok(expected));
        assert_eq!(read(&[("driver", "raw"), ("file", "on")]), Ok(json!({"driver": "raw", "file": "on"})));
        assert!(read(&[("file", "f"), ("file.driver", "file")]).is_err());
        assert!(read(&[("file.driver", "file"), ("file", "f")]).is_err());
    }
}
