//! What firmware is given: `-fw_cfg`, `-option-rom`; and `-vga`.

use super::{Problem, Properties};

/// Where the contents of an item come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ItemSource {
    /// A file.
    File(String),
    /// The text, without a final zero.
    Text(String),
}

/// `-fw_cfg`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FwCfgItem {
    /// The item's name.
    pub name: String,
    /// What is in it.
    pub source: ItemSource,
}

/// `-option-rom`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OptionRomFile {
    /// The file.
    pub file: String,
    /// When firmware boots from it.
    pub bootindex: Option<i32>,
}

/// Names of items with this prefix are the users'; others are QEMU's own.
pub const USERS: &str = "opt/";

/// A `-fw_cfg`.
///
/// # Errors
/// What is missing or unknown.
pub fn item(text: &str) -> Result<FwCfgItem, Problem> {
    let mut p = Properties::parse("fw_cfg", text, Some("name"));
    let name = p.take("name")?.filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| p.problem("name not specified"))?;
    if p.take("gen_id")?.is_some() {
        return Err(p.problem("'gen_id' is not implemented yet; give the contents with file= or string="));
    }
    let source = match (p.take("file")?, p.take("string")?) {
        (Some(file), None) => ItemSource::File(file),
        (None, Some(text)) => ItemSource::Text(text),
        _ => return Err(p.problem("exactly one of file=FILE and string=TEXT is needed")),
    };
    p.end(&["name", "file", "string"])?;
    Ok(FwCfgItem { name, source })
}

/// An `-option-rom`.
///
/// # Errors
/// What is missing or unknown.
pub fn option_rom(text: &str) -> Result<OptionRomFile, Problem> {
    let mut p = Properties::parse("option-rom", text, Some("romfile"));
    let file = p.take("romfile")?.ok_or_else(|| p.problem("a file is needed"))?;
    let index = p.take("bootindex")?.map(|text| {
        text.parse().map_err(|_| p.problem(format!("'bootindex' takes a whole number from -1 on, not '{text}'")))
    });
    let bootindex = index.transpose()?;
    p.end(&["romfile", "bootindex"])?;
    Ok(OptionRomFile { file, bootindex })
}

/// Devices that take the place of the machine's display adapter.
pub const ADAPTERS: [&str; 2] = ["VGA", "isa-vga"];

/// Whether the machine has its display adapter; if nothing is said, what is `usual`.
///
/// # Errors
/// An adapter that does not exist, or that the machine has no place for.
pub fn adapter(name: Option<&str>, possible: bool, usual: bool) -> Result<bool, Problem> {
    let Some(name) = name else { return Ok(usual) };
    match vga(name)? {
        true if !possible => Err(Problem::new("vga", name, "Standard VGA not available on this machine")),
        wanted => Ok(wanted),
    }
}

/// What `-vga` takes.
pub const VGA: [(&str, &str); 2] = [("none", "no graphic card"), ("std", "standard VGA (default)")];

/// `-vga`: whether there is an adapter.
///
/// # Errors
/// An adapter that does not exist.
fn vga(name: &str) -> Result<bool, Problem> {
    match name {
        _ if VGA.iter().any(|(known, _)| *known == name) => Ok(name != "none"),
        "cirrus" | "vmware" | "qxl" | "virtio" | "xenfb" | "tcx" | "cg3" => {
            Err(Problem::new("vga", name, "is not implemented yet; there are 'std' and 'none'"))
        }
        _ => Err(Problem::new("vga", name, "unknown vga type; there are 'std' and 'none'")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_have_a_name_and_one_source() {
        let text = |t: &str| ItemSource::Text(t.into());
        assert_eq!(item("opt/x,string=a,,b").unwrap(), FwCfgItem { name: "opt/x".into(), source: text("a,b") });
        let file = FwCfgItem { name: "opt/y".into(), source: ItemSource::File("f".into()) };
        assert_eq!(item("name=opt/y,file=f").unwrap(), file);
        for wrong in ["string=x", "opt/x", "opt/x,file=a,string=b", "opt/x,string=a,more=b", "opt/x,gen_id=i"] {
            assert!(item(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn roms_and_adapters() {
        let rom = OptionRomFile { file: "a.rom".into(), bootindex: Some(-1) };
        assert_eq!(option_rom("a.rom,bootindex=-1").unwrap(), rom);
        assert!(option_rom("a.rom,bootindex=x").is_err() && option_rom("bootindex=1").is_err());
        assert_eq!((vga("std").unwrap(), vga("none").unwrap()), (true, false));
        assert!(vga("qxl").is_err() && vga("sdt").is_err());
    }
}
