//! What users say of SMBIOS, for firmware that makes the tables itself: fields that it is to put into them, and whole structures (QEMU's machines of
//! before 2.1, and `isapc`).

use super::types::{BIOS, SYSTEM};
use gearbox_core::machine::SmbiosConfig;

/// Kinds of entries, each of which begins with its length and this.
const FIELD: u8 = 0;
const STRUCTURE: u8 = 1;

/// Fields that are strings: type, key, offset in the structure (DSP0134, 7.1 and 7.2).
const STRINGS: [(u8, &str, u16); 9] = [
    (BIOS, "vendor", 4),
    (BIOS, "version", 5),
    (BIOS, "date", 8),
    (SYSTEM, "manufacturer", 4),
    (SYSTEM, "product", 5),
    (SYSTEM, "version", 6),
    (SYSTEM, "serial", 7),
    (SYSTEM, "sku", 25),
    (SYSTEM, "family", 26),
];
/// Major and minor release of the BIOS.
const RELEASE: [u16; 2] = [20, 21];
/// Number of the machine.
const UUID: u16 = 8;

/// The entries behind their number; none if users say nothing.
///
/// # Errors
/// Something that such firmware cannot be told.
pub fn entries(user: &SmbiosConfig, uuid: [u8; 16]) -> Result<Option<Vec<u8>>, String> {
    if let Some((kind, _)) = user.fields.iter().find(|(kind, _)| ![BIOS, SYSTEM].contains(kind)) {
        return Err(format!("type={kind}: firmware of this machine is told of types {BIOS} and {SYSTEM} only"));
    }
    let text = |kind: u8, key: &str| {
        let mut given = user.fields.iter().filter(|(k, _)| *k == kind).flat_map(|(_, pairs)| pairs);
        given.rfind(|(k, _)| k == key).map(|(_, value)| value.as_str())
    };
    let structures = user.structures.iter().map(|bytes| entry(STRUCTURE, &[], bytes));
    let string = |text: &str| [text.as_bytes(), &[0]].concat();
    let strings =
        STRINGS.iter().filter_map(|(kind, key, offset)| Some(field(*kind, *offset, &string(text(*kind, key)?))));
    let release = text(BIOS, "release").and_then(|r| r.split_once('.'));
    let release = release.into_iter().flat_map(|(a, b)| [a, b]).zip(RELEASE);
    let release = release.map(|(number, offset)| field(BIOS, offset, &[number.parse().unwrap_or(0)]));
    let uuid = (uuid != [0; 16]).then(|| field(SYSTEM, UUID, &uuid));
    let all: Vec<_> = structures.chain(strings).chain(release).chain(uuid).collect();
    if all.iter().any(|entry| entry.len() > usize::from(u16::MAX)) {
        return Err("firmware of this machine takes 64 KiB of each".into());
    }
    let count = u16::try_from(all.len()).unwrap_or(u16::MAX);
    Ok((count > 0).then(|| [count.to_le_bytes().to_vec(), all.concat()].concat()))
}

fn field(kind: u8, offset: u16, bytes: &[u8]) -> Vec<u8> {
    let [low, high] = offset.to_le_bytes();
    entry(FIELD, &[kind, low, high], bytes)
}

fn entry(kind: u8, head: &[u8], bytes: &[u8]) -> Vec<u8> {
    let length = (2 + 1 + head.len() + bytes.len()) as u16;
    [&length.to_le_bytes()[..], &[kind], head, bytes].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_and_structures() {
        let pairs = |list: &[(&str, &str)]| list.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let mut user = SmbiosConfig::default();
        assert_eq!(entries(&user, [0; 16]), Ok(None));
        user.fields = vec![(0, pairs(&[("release", "3.4"), ("vendor", "v")])), (1, pairs(&[("sku", "s")]))];
        user.structures = vec![vec![9, 4, 0, 0, 0, 0]];
        let expected = [
            &[6, 0][..],
            &[9, 0, 1, 9, 4, 0, 0, 0, 0],
            &[8, 0, 0, 0, 4, 0, b'v', 0],
            &[8, 0, 0, 1, 25, 0, b's', 0],
            &[7, 0, 0, 0, 20, 0, 3],
            &[7, 0, 0, 0, 21, 0, 4],
            &[22, 0, 0, 1, 8, 0],
            &[7; 16],
        ];
        assert_eq!(entries(&user, [7; 16]), Ok(Some(expected.concat())));
        user.fields.push((4, Vec::new()));
        assert!(entries(&user, [0; 16]).unwrap_err().contains("type=4"));
    }
}
