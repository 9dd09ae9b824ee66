//! Tables for firmware from how users ask for them: files of `-smbios` and `-acpitable`, read and checked.

use crate::args::{Config, Problem, Problems, Smbios};
use crate::backend::firmware::read_file;
use crate::machine::SmbiosConfig;
use std::io;
use std::path::Path;

/// Most bytes of a file.
const MOST: u64 = 1 << 20;

/// `-smbios` and `-machine smbios-entry-point-type=`.
///
/// # Errors
/// A file that cannot be read, is no structure, or is of a type that fields are given for.
pub(crate) fn smbios(config: &Config) -> Result<SmbiosConfig, Problems> {
    let mut problems = Problems::default();
    let entry = config.properties.iter().rev().find(|(key, _)| key == "smbios-entry-point-type");
    let mut made = SmbiosConfig { entry_64: entry.is_some_and(|(_, value)| value == "64"), ..SmbiosConfig::default() };
    for option in &config.smbios {
        match option {
            Smbios::File(path) => {
                let wrong = |reason: String| Problem::new("smbios", format!("file={path}"), reason);
                let bytes = read_file(Path::new(path), MOST).map_err(|e| wrong(e.to_string()));
                let bytes = bytes.and_then(|b| structure(b).ok_or_else(|| wrong("Cannot read SMBIOS file".into())));
                made.structures.extend(problems.value(bytes.map(Some)));
            }
            Smbios::Fields(kind, fields) => {
                let fields = fields.iter().map(|(key, value)| match (*kind, key.as_str()) {
                    // Texts of type 11 may come from files.
                    (11, "path") => {
                        let wrong = |e: io::Error| Problem::new("smbios", format!("type=11,path={value}"), e);
                        let text = problems.value(read_file(Path::new(value), MOST).map_err(wrong));
                        ("value".to_owned(), String::from_utf8_lossy(&text).into_owned())
                    }
                    _ => (key.clone(), value.clone()),
                });
                made.fields.push((*kind, fields.collect()));
            }
        }
    }
    let both = |s: &&Vec<u8>| made.fields.iter().any(|(kind, _)| s.first() == Some(kind));
    if let Some(structure) = made.structures.iter().find(both) {
        let reason = format!("can't load type {} struct, fields already specified!", structure[0]);
        problems.add(Problem::new("smbios", "file=", reason));
    }
    problems.or(made)
}

/// A structure with its header, and two zeros where its strings end.
fn structure(bytes: Vec<u8>) -> Option<Vec<u8>> {
    const HEADER: usize = 4;
    let formatted = usize::from(*bytes.get(1)?);
    let strings = bytes.get(formatted..).filter(|_| formatted >= HEADER)?;
    let end = strings.windows(2).position(|pair| pair == [0, 0])?;
    (end + 2 == strings.len()).then_some(bytes)
}

/// `-acpitable`.
///
/// # Errors
/// A file that cannot be read, or is no table.
pub(crate) fn acpi(config: &Config) -> Result<Vec<Vec<u8>>, Problems> {
    let mut problems = Problems::default();
    let mut tables = Vec::new();
    for table in &config.acpi_tables {
        let wrong = |reason: String| Problem::new("acpitable", &*table.given, reason);
        let read = |path: &String| read_file(Path::new(path), MOST).map_err(|e| wrong(format!("{path}: {e}")));
        let content = table.files.iter().map(read).collect::<Result<Vec<_>, _>>();
        let made = content.and_then(|parts| table.build(parts.concat()).map_err(wrong));
        tables.extend(problems.value(made.map(Some)));
    }
    problems.or(tables)
}

#[cfg(test)]
mod tests {
    use super::structure;

    #[test]
    fn structures_end_with_two_zeros() {
        for good in [&b"\x01\x04\0\0\0\0"[..], b"\x80\x05\0\0\x01text\0\0"] {
            assert!(structure(good.to_vec()).is_some());
        }
        for wrong in
            [&b""[..], b"\x01", b"\x01\x03\0\0\0\0", b"\x01\x09\0\0\0\0", b"\x01\x04\0\0\0", b"\x01\x04\0\0a\0"]
        {
            assert!(structure(wrong.to_vec()).is_none(), "{wrong:?}");
        }
    }
}
