//! What `query-qmp-schema` returns (QAPI `introspect.json`).

use crate::qmp::qapi::{qapi_enum, qapi_struct, qapi_union};
use serde_json::Value;

qapi_enum! {
    /// A JSON type.
    enum JsonTypeName {
        /// String.
        String = "string",
        /// Any number.
        Number = "number",
        /// A number without fraction.
        Int = "int",
        /// True or false.
        Boolean = "boolean",
        /// Null.
        Null = "null",
        /// Object.
        Object = "object",
        /// Array.
        Array = "array",
        /// Anything.
        Value = "value",
    }
}

qapi_struct! {
    /// A type of QAPI's own.
    struct SchemaInfoBuiltin {
        /// Its form in JSON.
        json_type = "json-type": JsonTypeName,
    }

    /// A value of an enumeration.
    struct SchemaInfoEnumMember {
        /// The value.
        name: String,
        /// What is special about it.
        features: Option<Vec<String>>,
    }

    /// An enumeration.
    struct SchemaInfoEnum {
        /// Its values.
        members: Vec<SchemaInfoEnumMember>,
        /// Their names, for older clients.
        values: Vec<String>,
    }

    /// A list.
    struct SchemaInfoArray {
        /// Type of its items.
        element_type = "element-type": String,
    }

    /// A member of an object.
    struct SchemaInfoObjectMember {
        /// Its name.
        name: String,
        /// Its type.
        ty = "type": String,
        /// It may be missing; the value is null, as the default is not told.
        default: Option<Value>,
        /// What is special about it.
        features: Option<Vec<String>>,
    }

    /// Members that a value of the tag adds.
    struct SchemaInfoObjectVariant {
        /// The value.
        case: String,
        /// The object type whose members it adds.
        ty = "type": String,
    }

    /// An object.
    struct SchemaInfoObject {
        /// Members.
        members: Vec<SchemaInfoObjectMember>,
        /// The member that selects further ones.
        tag: Option<String>,
        /// Which.
        variants: Option<Vec<SchemaInfoObjectVariant>>,
    }

    /// A type that a value may have.
    struct SchemaInfoAlternateMember {
        /// The type.
        ty = "type": String,
    }

    /// One of several types, which the JSON type tells apart.
    struct SchemaInfoAlternate {
        /// The types.
        members: Vec<SchemaInfoAlternateMember>,
    }

    /// A command.
    struct SchemaInfoCommand {
        /// Type of its arguments.
        arg_type = "arg-type": String,
        /// Type of what it returns.
        ret_type = "ret-type": String,
        /// It can be run out of band.
        allow_oob = "allow-oob": Option<bool>,
    }

    /// An event.
    struct SchemaInfoEvent {
        /// Type of its data.
        arg_type = "arg-type": String,
    }
}

qapi_union! {
    /// Something in the schema.
    union SchemaInfo {
        /// Its name. Those of types mean nothing.
        name: String,
        /// What is special about it.
        features: Option<Vec<String>>,
    }
    /// What it is.
    kind: "meta-type"
    /// What there is in a schema.
    enum SchemaInfoKind("SchemaMetaType") {
        /// A type of QAPI's own.
        Builtin(SchemaInfoBuiltin) = "builtin",
        /// An enumeration.
        Enum(SchemaInfoEnum) = "enum",
        /// A list.
        Array(SchemaInfoArray) = "array",
        /// An object.
        Object(SchemaInfoObject) = "object",
        /// One of several types.
        Alternate(SchemaInfoAlternate) = "alternate",
        /// A command.
        Command(SchemaInfoCommand) = "command",
        /// An event.
        Event(SchemaInfoEvent) = "event",
    }
}
