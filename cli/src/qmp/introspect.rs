//! `query-qmp-schema`: the tables of commands and events, and the types that they reach, as data (QAPI `introspect.json`).

use super::commands;
use super::event_table::EVENTS;
use super::qapi::{JsonType, Kind, Type, TypeRef};
use super::types::introspect::{
    SchemaInfo, SchemaInfoAlternate, SchemaInfoAlternateMember, SchemaInfoArray, SchemaInfoBuiltin, SchemaInfoCommand,
    SchemaInfoEnum, SchemaInfoEnumMember, SchemaInfoEvent, SchemaInfoKind, SchemaInfoObject, SchemaInfoObjectMember,
    SchemaInfoObjectVariant,
};
use serde_json::Value;
use std::collections::HashMap;
use std::sync::LazyLock;

/// The schema. It never changes.
pub fn schema() -> &'static [SchemaInfo] {
    static SCHEMA: LazyLock<Vec<SchemaInfo>> = LazyLock::new(build);
    &SCHEMA
}

fn build() -> Vec<SchemaInfo> {
    let mut walk = Walk::default();
    for c in commands::all() {
        let command = SchemaInfoCommand {
            arg_type: walk.name((c.arguments)()),
            ret_type: walk.name((c.returns)()),
            allow_oob: c.availability.oob.then_some(true),
        };
        walk.add(c.name, SchemaInfoKind::Command(command));
    }
    for e in EVENTS {
        let event = SchemaInfoEvent { arg_type: walk.name((e.data)()) };
        walk.add(e.name, SchemaInfoKind::Event(event));
    }
    // Describing a type reaches others.
    let mut done = 0;
    while let Some((name, ty)) = walk.reached.get(done).cloned() {
        let kind = walk.describe(ty);
        walk.add(&name, kind);
        done += 1;
    }
    walk.infos
}

#[derive(Default)]
struct Walk {
    infos: Vec<SchemaInfo>,
    /// Types in the order in which they were reached, with the names that clients see.
    reached: Vec<(String, &'static Type)>,
    numbers: HashMap<&'static str, usize>,
}

impl Walk {
    fn add(&mut self, name: &str, kind: SchemaInfoKind) {
        self.infos.push(SchemaInfo { name: name.to_owned(), features: None, kind });
    }

    /// The name of a type: hidden behind a number, unless it is one of QAPI's own, for clients should not rely on it.
    fn name(&mut self, ty: &'static Type) -> String {
        let name = match &ty.kind {
            Kind::Builtin(_) => ty.name.to_owned(),
            Kind::Array(element) => format!("[{}]", self.name(element.get())),
            Kind::Enum(_) | Kind::Alternate(_) | Kind::Object { .. } => {
                let next = self.numbers.len();
                self.numbers.entry(ty.name).or_insert(next).to_string()
            }
        };
        if !self.reached.iter().any(|(reached, _)| *reached == name) {
            self.reached.push((name.clone(), ty));
        }
        name
    }

    fn describe(&mut self, ty: &'static Type) -> SchemaInfoKind {
        match &ty.kind {
            Kind::Builtin(json_type) => SchemaInfoKind::Builtin(SchemaInfoBuiltin { json_type: json_type.name() }),
            Kind::Array(element) => SchemaInfoKind::Array(SchemaInfoArray { element_type: self.name(element.get()) }),
            Kind::Alternate(cases) => SchemaInfoKind::Alternate(SchemaInfoAlternate {
                members: cases.iter().map(|c| SchemaInfoAlternateMember { ty: self.name(c.get()) }).collect(),
            }),
            Kind::Enum(values) => SchemaInfoKind::Enum(SchemaInfoEnum {
                members: values
                    .iter()
                    .map(|v| SchemaInfoEnumMember { name: (*v).to_owned(), features: None })
                    .collect(),
                values: values.iter().map(|v| (*v).to_owned()).collect(),
            }),
            Kind::Object { members, variants } => {
                let member = |m: &super::qapi::Member| SchemaInfoObjectMember {
                    name: m.name.to_owned(),
                    ty: self.name(m.ty.get()),
                    default: m.optional.then_some(Value::Null),
                    features: None,
                };
                let members = members.iter().map(member).collect();
                let cases = variants.as_ref().map(|v| {
                    let case = |(case, ty): &(&'static str, TypeRef)| SchemaInfoObjectVariant {
                        case: (*case).to_owned(),
                        ty: self.name(ty.get()),
                    };
                    v.cases.iter().map(case).collect()
                });
                let tag = variants.as_ref().map(|v| v.tag.to_owned());
                SchemaInfoKind::Object(SchemaInfoObject { members, tag, variants: cases })
            }
        }
    }
}

impl JsonType {
    fn name(self) -> super::types::introspect::JsonTypeName {
        use super::types::introspect::JsonTypeName as Name;
        match self {
            Self::String => Name::String,
            Self::Number => Name::Number,
            Self::Int => Name::Int,
            Self::Boolean => Name::Boolean,
            Self::Value => Name::Value,
        }
    }
}
