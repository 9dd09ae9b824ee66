//! `-blockdev`.

use super::{Problem, Properties};
use crate::qmp::json;
use crate::qmp::qapi::{Kind, Path, Qapi, Type, keyval};
use crate::qmp::types::blockdev::BlockdevOptions;

/// A `-blockdev` as given, and what it means.
#[derive(Clone, Debug, PartialEq)]
pub struct BlockdevArg {
    /// As given, for messages.
    pub given: String,
    /// What it means.
    pub options: BlockdevOptions,
}

/// A `-blockdev`, as properties or as a JSON object.
///
/// # Errors
/// What is missing or unknown.
pub fn read(text: &str) -> Result<BlockdevArg, Problem> {
    let wrong = |reason: String| Problem::new("blockdev", text, reason);
    let value = if text.starts_with('{') {
        json::parse(text).map_err(|e| wrong(e.to_string()))?
    } else {
        let pairs = Properties::parse("blockdev", text, Some("driver")).rest();
        keyval::typed(keyval::nest(pairs).map_err(wrong)?, BlockdevOptions::ty())
    };
    let options = BlockdevOptions::decode(value, &Path::Root).map_err(|e| wrong(e.to_string()))?;
    Ok(BlockdevArg { given: text.to_owned(), options })
}

/// What all drivers take, and then each driver: names, and the properties that they have.
pub fn drivers() -> Vec<(String, String)> {
    let Kind::Object { members, variants } = &BlockdevOptions::ty().kind else { return Vec::new() };
    let names = |members: &[crate::qmp::qapi::Member]| -> String {
        let all: Vec<_> = members.iter().filter(|m| m.name != "driver").map(|m| describe(m.name, m.ty.get())).collect();
        all.join(" ")
    };
    let own = variants.iter().flat_map(|v| v.cases).map(|(driver, ty)| match &ty.get().kind {
        Kind::Object { members, .. } => ((*driver).to_owned(), names(members)),
        _ => ((*driver).to_owned(), String::new()),
    });
    std::iter::once(("(all)".to_owned(), names(members))).chain(own).collect()
}

fn describe(name: &str, ty: &Type) -> String {
    match &ty.kind {
        Kind::Enum(values) => format!("{name}={}", values.join("|")),
        Kind::Object { members, .. } => {
            let parts: Vec<_> = members.iter().map(|m| describe(&format!("{name}.{}", m.name), m.ty.get())).collect();
            parts.join(" ")
        }
        Kind::Alternate(_) => format!("{name}=NAME or {name}.driver=..."),
        _ => format!("{name}={}", ty.json_name().to_uppercase()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::qmp::types::blockdev::{BlockdevKind, BlockdevRef};

    #[test]
    fn both_forms_mean_the_same() {
        let text = read("qcow2,node-name=n,file.driver=file,file.filename=a,read-only=on").unwrap();
        let json =
            "{'driver': 'qcow2', 'node-name': 'n', 'file': {'driver': 'file', 'filename': 'a'}, 'read-only': true}";
        assert_eq!(text.options, read(json).unwrap().options);
        let BlockdevKind::Qcow2(format) = text.options.kind else { panic!("{:?}", text.options.kind) };
        assert!(matches!(format.file, BlockdevRef::Definition(_)));
        let on = read("driver=raw,node-name=n,file=f").unwrap();
        assert!(matches!(on.options.kind, BlockdevKind::Raw(f) if f.file == BlockdevRef::Reference("f".into())));
    }

    #[test]
    fn mistakes() {
        let told = |text: &str| read(text).unwrap_err().reason;
        assert_eq!(told("node-name=n"), "Parameter 'driver' is missing");
        assert_eq!(told("vmdk,node-name=n"), "Parameter 'driver' does not accept value 'vmdk'");
        assert_eq!(told("file,node-name=n"), "Parameter 'filename' is missing");
        assert_eq!(told("file,filename=a,fielname=b"), "Parameter 'fielname' is unexpected");
        assert_eq!(told("file,filename=a,aio=native"), "Parameter 'aio' does not accept value 'native'");
        assert_eq!(told("raw,file.driver=file,file.x=1"), "Parameter 'file.filename' is missing");
        assert!(told("file,filename=a,read-only=maybe").contains("expected: boolean"));
    }

    #[test]
    fn every_driver_is_shown() {
        let shown = drivers();
        assert!(shown[0].1.contains("cache.direct=BOOLEAN") && shown[0].1.contains("discard=ignore|unmap"));
        assert!(shown.iter().any(|(driver, keys)| driver == "qcow2" && keys == "file=NAME or file.driver=..."));
    }
}
