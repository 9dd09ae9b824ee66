//! Tables that firmware hands on: `-smbios` and `-acpitable`.

use super::{Options, Problem, Problems, Properties};

/// What a key of `-smbios` takes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Any text.
    Text,
    /// A number up to this.
    Number(u64),
    Switch,
    /// `MAJOR.MINOR`.
    Release,
    Uuid,
    /// One of these words.
    Word(&'static [&'static str]),
}
use Kind::{Number, Release, Switch, Text, Uuid, Word};

/// Kinds of devices on the board.
const ONBOARD: &[&str] =
    &["other", "unknown", "video", "scsi", "ethernet", "tokenring", "sound", "pata", "sata", "sas"];
const WORD: u64 = 0xffff;

/// A type with the keys that it has.
type Keys = (u8, &'static [(&'static str, Kind)]);

#[rustfmt::skip]
static TYPES: [Keys; 9] = [
    (0, &[("vendor", Text), ("version", Text), ("date", Text), ("release", Release), ("uefi", Switch)]),
    (1, &[("manufacturer", Text), ("product", Text), ("version", Text), ("serial", Text), ("uuid", Uuid), ("sku", Text), ("family", Text)]),
    (2, &[("manufacturer", Text), ("product", Text), ("version", Text), ("serial", Text), ("asset", Text), ("location", Text)]),
    (3, &[("manufacturer", Text), ("version", Text), ("serial", Text), ("asset", Text), ("sku", Text)]),
    (4, &[("sock_pfx", Text), ("manufacturer", Text), ("version", Text), ("serial", Text), ("asset", Text), ("part", Text),
          ("max-speed", Number(WORD)), ("current-speed", Number(WORD)), ("processor-id", Number(u64::MAX))]),
    (8, &[("internal_reference", Text), ("external_reference", Text), ("connector_type", Number(0xff)), ("port_type", Number(0xff))]),
    (11, &[("value", Text), ("path", Text)]),
    (17, &[("loc_pfx", Text), ("bank", Text), ("manufacturer", Text), ("serial", Text), ("asset", Text), ("part", Text), ("speed", Number(WORD))]),
    (41, &[("designation", Text), ("kind", Word(ONBOARD)), ("instance", Number(0xff))]),
];

/// `-smbios`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Smbios {
    /// A structure, from a file.
    File(String),
    /// What a structure of ours is to say.
    Fields(u8, Vec<(String, String)>),
}

/// An `-acpitable`: header fields as given, and where the rest comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AcpiTable {
    /// As given, for messages.
    pub given: String,
    /// `sig=` to `asl_compiler_rev=`: offset in the header, and the bytes for it.
    pub header: Vec<(usize, Vec<u8>)>,
    /// The files have a header of their own (`file=`).
    pub complete: bool,
    /// Files, one after the other.
    pub files: Vec<String>,
}

/// The UUID that `-smbios type=1` gives.
pub fn uuid(smbios: &[Smbios]) -> Option<[u8; 16]> {
    let fields = smbios.iter().rev().filter_map(|s| match s {
        Smbios::Fields(1, fields) => Some(fields),
        _ => None,
    });
    let (_, text) = fields.flatten().find(|(key, _)| key == "uuid")?;
    uuid::Uuid::parse_str(text).ok().map(uuid::Uuid::into_bytes)
}

/// `-smbios` and `-acpitable`, those that are understood.
pub fn all(o: &Options, problems: &mut Problems) -> (Vec<Smbios>, Vec<AcpiTable>) {
    let smbios = o.smbios.iter().filter_map(|text| problems.some(smbios(text))).collect();
    let acpi = o.acpitable.iter().filter_map(|text| problems.some(acpi_table(text))).collect();
    (smbios, acpi)
}

fn smbios(text: &str) -> Result<Smbios, Problem> {
    let mut p = Properties::parse("smbios", text, None);
    let (file, kind) = (p.take("file")?, p.take_number("type")?);
    let kind = match (file, kind) {
        (Some(file), None) => {
            p.end(&["file"])?;
            return Ok(Smbios::File(file));
        }
        (None, Some(kind)) => kind,
        _ => return Err(p.problem("Must specify type= or file=")),
    };
    let Some((kind, keys)) = TYPES.iter().find(|(k, _)| u32::from(*k) == kind) else {
        return Err(p.problem(format!("Don't know how to build fields for SMBIOS type {kind}")));
    };
    if *kind == 41 && p.take("pcidev")?.is_some() {
        return Err(p.problem("'pcidev' is not implemented yet"));
    }
    let mut fields = Vec::new();
    for (key, takes) in *keys {
        for value in p.take_all(key)? {
            if !takes.fits(&value) {
                return Err(p.problem(format!("'{key}' takes {}, not '{value}'", takes.words())));
            }
            fields.push(((*key).to_owned(), value));
        }
    }
    p.end(&keys.iter().map(|(key, _)| *key).collect::<Vec<_>>())?;
    Ok(Smbios::Fields(*kind, fields))
}

impl Kind {
    fn fits(self, value: &str) -> bool {
        match self {
            Text => true,
            Number(most) => number(value).is_some_and(|n| n <= most),
            Switch => ["on", "off"].contains(&value),
            Release => value.split_once('.').is_some_and(|(a, b)| [a, b].iter().all(|n| n.parse::<u8>().is_ok())),
            Uuid => uuid::Uuid::parse_str(value).is_ok(),
            Word(all) => all.contains(&value),
        }
    }
    fn words(self) -> String {
        match self {
            Text => "a text".into(),
            Number(most) => format!("a number up to {most}"),
            Switch => "on or off".into(),
            Release => "MAJOR.MINOR".into(),
            Uuid => "a UUID".into(),
            Word(all) => all.join(", "),
        }
    }
}

/// A number in decimal, or in hexadecimal after 0x.
fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

fn acpi_table(text: &str) -> Result<AcpiTable, Problem> {
    const TEXTS: [(&str, usize, usize); 4] =
        [("sig", 0, 4), ("oem_id", 10, 6), ("oem_table_id", 16, 8), ("asl_compiler_id", 28, 4)];
    const NUMBERS: [(&str, usize, usize); 3] = [("rev", 8, 1), ("oem_rev", 24, 4), ("asl_compiler_rev", 32, 4)];
    let mut p = Properties::parse("acpitable", text, None);
    let mut table = AcpiTable { given: text.to_owned(), ..AcpiTable::default() };
    for (key, at, size) in TEXTS {
        if let Some(value) = p.take(key)? {
            let mut bytes = value.into_bytes();
            bytes.resize(size, 0);
            table.header.push((at, bytes));
        }
    }
    for (key, at, size) in NUMBERS {
        if let Some(value) = p.take(key)? {
            let n = number(&value).filter(|n| *n >> (8 * size) == 0);
            let n = n.ok_or_else(|| p.problem(format!("'{key}' takes a number of {size} bytes, not '{value}'")))?;
            table.header.push((at, n.to_le_bytes()[..size].to_vec()));
        }
    }
    let files = match (p.take("file")?, p.take("data")?) {
        (Some(files), None) => {
            table.complete = true;
            files
        }
        (None, Some(files)) => files,
        _ => return Err(p.problem("'-acpitable' requires one of 'data' or 'file'")),
    };
    table.files = files.split(':').filter(|f| !f.is_empty()).map(str::to_owned).collect();
    let known: Vec<_> = TEXTS.iter().chain(&NUMBERS).map(|(key, ..)| *key).chain(["file", "data"]).collect();
    p.end(&known)?;
    Ok(table)
}

impl AcpiTable {
    /// The table, from what its files hold.
    ///
    /// # Errors
    /// There is no whole header in them.
    pub fn build(&self, content: Vec<u8>) -> Result<Vec<u8>, String> {
        /// Signature, length, revision, checksum, OEM id, OEM table id and revision, compiler and its revision.
        const HEADER: &[u8; 36] = b"QEMU\0\0\0\0\x01\0QEMUQEQEMUQEMU\x01\0\0\0QEMU\x01\0\0\0";
        const LENGTH: std::ops::Range<usize> = 4..8;
        const CHECKSUM: usize = 9;
        let mut table = if self.complete { content } else { [&HEADER[..], &content].concat() };
        if table.len() < HEADER.len() {
            return Err(format!("{} bytes are no ACPI table: its header alone has {}", table.len(), HEADER.len()));
        }
        for (at, bytes) in &self.header {
            table[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        let length = u32::try_from(table.len()).map_err(|_| "it is too long".to_owned())?;
        table[LENGTH].copy_from_slice(&length.to_le_bytes());
        table[CHECKSUM] = 0;
        table[CHECKSUM] = table.iter().fold(0u8, |sum, b| sum.wrapping_sub(*b));
        Ok(table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_checked_by_type() {
        let owned = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let one = smbios("type=1,serial=a,,b,sku=1").unwrap();
        assert_eq!(one, Smbios::Fields(1, owned(&[("serial", "a,b"), ("sku", "1")])));
        assert_eq!(
            smbios("type=11,value=a,value=b").unwrap(),
            Smbios::Fields(11, owned(&[("value", "a"), ("value", "b")]))
        );
        assert_eq!(smbios("file=x").unwrap(), Smbios::File("x".into()));
        for (text, reason) in [
            ("serial=1", "Must specify type= or file="),
            ("type=5", "Don't know how to build fields for SMBIOS type 5"),
            ("type=0,release=3", "'release' takes MAJOR.MINOR, not '3'"),
            ("type=4,max-speed=70000", "'max-speed' takes a number up to 65535, not '70000'"),
            (
                "type=41,kind=fan",
                "'kind' takes other, unknown, video, scsi, ethernet, tokenring, sound, pata, sata, sas, not 'fan'",
            ),
            ("type=41,pcidev=x", "'pcidev' is not implemented yet"),
            ("type=1,seriel=1", "unknown option 'seriel'; did you mean 'serial'?"),
        ] {
            assert_eq!(smbios(text).unwrap_err().reason, reason, "{text}");
        }
    }

    #[test]
    fn tables_get_a_header() {
        let t = acpi_table("sig=TEST,rev=2,oem_rev=0x10,data=a:b").unwrap();
        assert_eq!((t.complete, t.files.len()), (false, 2));
        let bytes = t.build(vec![1, 2, 3]).unwrap();
        assert_eq!((&bytes[..9], bytes.len()), (&b"TEST\x27\0\0\0\x02"[..], 39));
        assert_eq!((&bytes[10..24], bytes[24]), (&b"QEMUQEQEMUQEMU"[..], 0x10));
        assert_eq!(bytes.iter().fold(0u8, |s, b| s.wrapping_add(*b)), 0);
        let t = acpi_table("file=a").unwrap();
        assert!(t.build(vec![0; 35]).is_err());
        assert_eq!(t.build(bytes.clone()).unwrap(), bytes);
        for wrong in ["sig=A", "file=a,data=b", "rev=256,data=a", "date=a,data=b"] {
            assert!(acpi_table(wrong).is_err(), "{wrong}");
        }
    }
}
