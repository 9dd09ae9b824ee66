//! The frame of an ACPI table (ACPI 6.4, 5.2.6), and values put into one by offset.

/// OEM id, OEM table id and creator id.
const OEM_ID: &[u8; 6] = b"GEARBX";
const TABLE_ID: &[u8; 8] = b"GEARBXPC";
const CREATOR_ID: &[u8; 4] = b"GBOX";
const REVISION: u32 = 1;
/// Bytes of the header.
pub const HEADER: usize = 36;
/// Where the OEM table id is in it.
pub const OEM_TABLE_ID: std::ops::Range<usize> = 16..24;
/// Offset of the checksum in it.
pub const CHECKSUM: usize = 9;
/// Addresses in the root pointer: offset and size.
pub const RSDP_POINTERS: [(usize, u8); 2] = [(16, 4), (24, 8)];
/// Checksums in the root pointer: offset, and how many bytes from its start add up. The first one covers what ACPI 1.0 defined.
pub const RSDP_SUMS: [(usize, usize); 2] = [(8, 20), (32, 36)];

/// The value that makes bytes add up to 0 when it takes the place of a zero among them.
pub fn checksum(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0u8, |sum, b| sum.wrapping_sub(*b))
}

/// A table of this signature and revision around its body.
pub fn table(signature: &[u8; 4], revision: u8, body: &[u8]) -> Vec<u8> {
    let mut t = Vec::with_capacity(HEADER + body.len());
    t.extend(signature);
    t.extend(((HEADER + body.len()) as u32).to_le_bytes());
    t.extend([revision, 0]);
    t.extend(OEM_ID);
    t.extend(TABLE_ID);
    t.extend(REVISION.to_le_bytes());
    t.extend(CREATOR_ID);
    t.extend(REVISION.to_le_bytes());
    t.extend(body);
    t[CHECKSUM] = checksum(&t);
    t
}

/// The root pointer (5.2.5.3), revision 2, without its sums.
pub fn rsdp(rsdt: u32, xsdt: u64) -> Vec<u8> {
    let mut t = b"RSD PTR \0".to_vec();
    t.extend(OEM_ID);
    t.push(2);
    t.extend(rsdt.to_le_bytes());
    t.extend(36u32.to_le_bytes());
    t.extend(xsdt.to_le_bytes());
    t.extend([0; 4]);
    t
}
