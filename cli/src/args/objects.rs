//! Options that make objects or set their properties: `-device`, `-object`, `-global`.

use super::properties::unknown;
use super::{Problem, Properties};
use crate::qmp::json;
use gearbox_core::board::Global;
use gearbox_core::machine::DeviceArg;
use gearbox_core::object::{TypeInfo, Value, types};

/// An `-object` as given.
#[derive(Clone, Debug, PartialEq)]
pub struct ObjectArg {
    /// QEMU's type name.
    pub type_name: String,
    /// Its id.
    pub id: String,
    /// Its properties.
    pub properties: Vec<(String, Value)>,
}

/// The members of an option that is given as properties or as a JSON object, `implied` among them.
fn members(option: &'static str, text: &str, implied: &str) -> Result<Vec<(String, Value)>, Problem> {
    if !text.starts_with('{') {
        let p = Properties::parse(option, text, Some(implied));
        return Ok(p.rest().into_iter().map(|(k, v)| (k, v.into())).collect());
    }
    match json::parse(text) {
        Ok(Value::Object(members)) => Ok(members.into_iter().collect()),
        Ok(_) => Err(Problem::new(option, text, "expected a JSON object")),
        Err(e) => Err(Problem::new(option, text, e)),
    }
}

/// Takes a member that is text out.
fn take(members: &mut Vec<(String, Value)>, key: &str) -> Option<String> {
    let at = members.iter().rposition(|(k, v)| k == key && v.is_string())?;
    members.remove(at).1.as_str().map(str::to_owned)
}

/// `-device`.
pub fn device(text: &str) -> Result<DeviceArg, Problem> {
    let mut properties = members("device", text, "driver")?;
    let wrong = |reason: String| Problem::new("device", text, reason);
    let type_name = take(&mut properties, "driver").ok_or_else(|| wrong("Parameter 'driver' is missing".into()))?;
    let known = types().user_creatable().map(|t| t.name);
    match types().get(&type_name) {
        Some(_) => Ok(DeviceArg { type_name, properties }),
        None => Err(wrong(unknown("device", &type_name, known))),
    }
}

/// Types that `-object` makes.
pub fn user_types() -> impl Iterator<Item = &'static TypeInfo> + Clone {
    types().all().filter(|t| t.user.is_some())
}

/// `-object`.
pub fn object(text: &str) -> Result<ObjectArg, Problem> {
    let mut properties = members("object", text, "qom-type")?;
    let wrong = |reason: String| Problem::new("object", text, reason);
    let type_name = take(&mut properties, "qom-type").ok_or_else(|| wrong("Parameter 'qom-type' is missing".into()))?;
    let id = take(&mut properties, "id").ok_or_else(|| wrong("Parameter 'id' is missing".into()))?;
    if !user_types().any(|t| t.name == type_name) {
        return Err(wrong(unknown("object", &type_name, user_types().map(|t| t.name))));
    }
    Ok(ObjectArg { type_name, id, properties })
}

/// `-global`: `DRIVER.PROPERTY=VALUE`, or `driver=DRIVER,property=PROPERTY,value=VALUE`.
pub fn global(text: &str) -> Result<Global, Problem> {
    let wrong = |reason: String| Problem::new("global", text, reason);
    let (driver, property, value) = match text.split_once('.').filter(|(driver, _)| !driver.contains('=')) {
        Some((driver, rest)) => {
            let (property, value) = rest.split_once('=').ok_or_else(|| wrong("write DRIVER.PROPERTY=VALUE".into()))?;
            (driver.to_owned(), property.to_owned(), value.to_owned())
        }
        None => {
            let mut p = Properties::parse("global", text, None);
            let mut need = |key| p.take(key)?.ok_or_else(|| wrong(format!("Parameter '{key}' is missing")));
            let all = (need("driver")?, need("property")?, need("value")?);
            p.end(&["driver", "property", "value"])?;
            all
        }
    };
    let info = types().get(&driver).ok_or_else(|| {
        let devices = types().all().filter(|t| types().is_a(t.name, "device")).map(|t| t.name);
        wrong(unknown("type", &driver, devices))
    })?;
    // A property of any type below will do: an abstract parent has none of its own.
    let below = types().all().filter(|t| types().is_a(t.name, info.name));
    let known: Vec<_> = below.flat_map(|t| t.properties()).map(|p| p.name).collect();
    if known.contains(&&*property) || types().is_a(info.name, "cpu") {
        Ok(Global { driver, property, value: value.into() })
    } else {
        Err(wrong(unknown("property", &property, known.into_iter())))
    }
}

/// `-set GROUP.ID.PROPERTY=VALUE`: adds a property to the option of that group and id.
///
/// # Errors
/// The form is another one, or there is no such option.
pub fn set(text: &str, group: impl Fn(&str) -> Option<usize>, options: &mut [&mut Vec<String>]) -> Result<(), Problem> {
    let wrong = |reason: String| Problem::new("set", text, reason);
    let parts = text.split_once('=').and_then(|(path, value)| {
        let (group, rest) = path.split_once('.')?;
        let (id, property) = rest.rsplit_once('.')?;
        Some((group, id, property, value))
    });
    let (name, id, property, value) = parts.ok_or_else(|| wrong("write GROUP.ID.PROPERTY=VALUE".into()))?;
    let n = group(name).ok_or_else(|| wrong(format!("There is no option group '{name}'")))?;
    let has_id = |text: &String| {
        !text.starts_with('{')
            && Properties::parse("set", text, Some("type")).take("id").is_ok_and(|i| i.as_deref() == Some(id))
    };
    let found = options[n].iter_mut().find(|text| has_id(text));
    let found = found.ok_or_else(|| wrong(format!("there is no {name} \"{id}\" defined")))?;
    found.push_str(&format!(",{property}={}", value.replace(',', ",,")));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_as_text_and_as_json() {
        let text = device("isa-debug-exit,iobase=0xf4,id=x").unwrap();
        assert_eq!(text.properties, [("iobase".to_owned(), "0xf4".into()), ("id".to_owned(), "x".into())]);
        let json = device("{'driver':'isa-debug-exit', 'iobase': 244}").unwrap();
        assert_eq!(
            (json.type_name.as_str(), &json.properties[..]),
            ("isa-debug-exit", &[("iobase".to_owned(), 244.into())][..])
        );
        let told = |text: &str| device(text).unwrap_err().reason;
        assert!(told("isa-debug-exot").contains("did you mean 'isa-debug-exit'?"));
        assert_eq!(told("{}"), "Parameter 'driver' is missing");
        assert!(device("{'driver':").is_err() && device("{]").is_err());
    }

    #[test]
    fn objects() {
        let o = object("memory-backend-ram,id=m0,size=1M").unwrap();
        assert_eq!((o.id.as_str(), o.properties.len()), ("m0", 1));
        assert!(object("memory-backend-ran,id=m").unwrap_err().reason.contains("did you mean 'memory-backend-ram'?"));
        assert_eq!(object("memory-backend-ram").unwrap_err().reason, "Parameter 'id' is missing");
    }

    #[test]
    fn globals_in_both_spellings() {
        let expect = Global { driver: "isa-serial".into(), property: "irq".into(), value: "5".into() };
        assert_eq!(global("isa-serial.irq=5"), Ok(expect.clone()));
        assert_eq!(global("driver=isa-serial,property=irq,value=5"), Ok(expect));
        assert!(global("isa-serial.irk=5").unwrap_err().reason.contains("did you mean 'irq'?"));
        assert!(global("isa-serail.irq=5").is_err() && global("nonsense").is_err());
        assert!(global("isa-device.irq=5").is_ok(), "all types below");
    }

    #[test]
    fn set_finds_its_option() {
        let mut devices = vec!["isa-serial,id=a".to_owned(), "isa-serial,id=b".to_owned()];
        let group = |g: &str| (g == "device").then_some(0);
        set("device.b.irq=5", group, &mut [&mut devices]).unwrap();
        assert_eq!(devices[1], "isa-serial,id=b,irq=5");
        for (text, reason) in [
            ("device.c.irq=5", "there is no device \"c\" defined"),
            ("drive.c.irq=5", "There is no option group 'drive'"),
            ("device.c", "write GROUP.ID.PROPERTY=VALUE"),
        ] {
            assert_eq!(set(text, group, &mut [&mut devices]).unwrap_err().reason, reason);
        }
    }
}
