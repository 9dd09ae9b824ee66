//! Objects and devices (QAPI `qom.json`, `qdev.json`).

use crate::control::Error;
use crate::qmp::qapi::{
    Kind, Member, Members, Path, Qapi, QapiObject, Type, TypeRef, Variants, check, decode_object, encode_object,
    qapi_struct, wrong_type,
};
use gearbox_core::object::{PropertyInfo, TypeInfo, types};
use serde_json::{Map, Value};
use std::sync::LazyLock;

qapi_struct! {
    /// A type, in `qom-list-types`.
    struct ObjectTypeInfo {
        /// Its name.
        name: String,
        /// It has no instances of its own.
        is_abstract = "abstract": Option<bool>,
        /// Its parent.
        parent: Option<String>,
    }

    /// A property, in `qom-list` and `device-list-properties`.
    struct ObjectPropertyInfo {
        /// Its name.
        name: String,
        /// Its type.
        ty = "type": String,
        /// For people.
        description: Option<String>,
        /// What it is when it is not set.
        default_value = "default-value": Option<Value>,
    }
}

/// The arguments of `device_add`: three that are known, and the properties of the device.
#[derive(Clone, Debug, PartialEq)]
pub struct DeviceAdd {
    /// The type.
    pub driver: String,
    /// The bus.
    pub bus: Option<String>,
    /// The id.
    pub id: Option<String>,
    /// Its properties.
    pub properties: Map<String, Value>,
}

impl Qapi for DeviceAdd {
    fn ty() -> &'static Type {
        const MEMBERS: &[Member] =
            &[Member::of::<String>("driver"), Member::of::<Option<String>>("bus"), Member::of::<Option<String>>("id")];
        static TYPE: Type =
            Type { name: "device_add arguments", kind: Kind::Object { members: MEMBERS, variants: None } };
        &TYPE
    }
    fn decode(value: Value, at: &Path<'_>) -> Result<Self, Error> {
        decode_object(value, at)
    }
    fn encode(&self) -> Value {
        encode_object(self)
    }
}

impl QapiObject for DeviceAdd {
    fn read(members: &mut Members<'_>) -> Result<Self, Error> {
        let (driver, bus, id) = (members.take("driver")?, members.take("bus")?, members.take("id")?);
        Ok(Self { driver, bus, id, properties: members.rest() })
    }
    fn write(&self, object: &mut Map<String, Value>) {
        self.driver.put("driver", object);
        self.bus.put("bus", object);
        self.id.put("id", object);
        object.extend(self.properties.clone());
    }
}

/// The arguments of `object-add`: a union over the types that users make, which are those that the program is linked from.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectOptions {
    /// The type.
    pub qom_type: String,
    /// The id.
    pub id: String,
    /// Its properties.
    pub properties: Map<String, Value>,
}

/// Types of objects that users make.
fn user_types() -> impl Iterator<Item = &'static TypeInfo> {
    types().all().filter(|t| t.user.is_some())
}

/// The schema's type for a property.
fn property_type(p: &PropertyInfo) -> TypeRef {
    TypeRef::Of(match p.kind {
        "bool" => bool::ty,
        kind if kind == "size" || kind.starts_with("uint") || kind.starts_with("int") => i64::ty,
        _ => String::ty,
    })
}

/// Makes the union's type. The registry of types never changes, so what is made from it may live as long as the program.
fn make_object_options() -> &'static Type {
    fn made(name: String, kind: Kind) -> TypeRef {
        TypeRef::Made(Box::leak(Box::new(Type { name: name.leak(), kind })))
    }
    let member = |p: PropertyInfo| Member { name: p.name, ty: property_type(&p), optional: true };
    let case = |t: &'static TypeInfo| {
        let members: Vec<_> = t.properties().into_iter().map(member).collect();
        (t.name, made(format!("{} properties", t.name), Kind::Object { members: members.leak(), variants: None }))
    };
    let names: Vec<_> = user_types().map(|t| t.name).collect();
    let tag = Member { name: "qom-type", ty: made("ObjectType".to_owned(), Kind::Enum(names.leak())), optional: false };
    let cases: Vec<_> = user_types().map(case).collect();
    let variants = Some(Variants { tag: "qom-type", cases: cases.leak() });
    let members = vec![tag, Member::of::<String>("id")];
    made("ObjectOptions".to_owned(), Kind::Object { members: members.leak(), variants }).get()
}

impl Qapi for ObjectOptions {
    fn ty() -> &'static Type {
        static TYPE: LazyLock<&'static Type> = LazyLock::new(make_object_options);
        *TYPE
    }
    fn decode(value: Value, at: &Path<'_>) -> Result<Self, Error> {
        decode_object(value, at)
    }
    fn encode(&self) -> Value {
        encode_object(self)
    }
}

impl QapiObject for ObjectOptions {
    fn read(members: &mut Members<'_>) -> Result<Self, Error> {
        let (qom_type, id): (String, _) = (members.take("qom-type")?, members.take("id")?);
        let Some(ty) = user_types().find(|t| t.name == qom_type) else {
            return Err(Error::generic(format!("Parameter 'qom-type' does not accept value '{qom_type}'")));
        };
        let mut properties = Map::new();
        for p in ty.properties() {
            if let Some(value) = members.take::<Option<Value>>(p.name)? {
                let expected = property_type(&p).get();
                let at = Path::Member(&Path::Root, p.name);
                check(&value, expected).map_err(|_| wrong_type(&at, expected.json_name()))?;
                properties.insert(p.name.to_owned(), value);
            }
        }
        Ok(Self { qom_type, id, properties })
    }
    fn write(&self, object: &mut Map<String, Value>) {
        self.qom_type.put("qom-type", object);
        self.id.put("id", object);
        object.extend(self.properties.clone());
    }
}
