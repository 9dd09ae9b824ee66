//! The structures of a machine (DSP0134, 7), with the values and handles that they have in QEMU 7.2.

use super::System;
use super::structure::Structure;

/// Types.
pub(super) const BIOS: u8 = 0;
pub(super) const SYSTEM: u8 = 1;
pub(super) const BOARD: u8 = 2;
pub(super) const CHASSIS: u8 = 3;
pub(super) const PROCESSOR: u8 = 4;
const CONNECTOR: u8 = 8;
const OEM_STRINGS: u8 = 11;
const MEMORY_ARRAY: u8 = 16;
const MEMORY_DEVICE: u8 = 17;
const MAPPED_ADDRESSES: u8 = 19;
const BOOT: u8 = 32;
const ONBOARD_DEVICE: u8 = 41;
pub(super) const END: u8 = 127;

/// Handles: a type's number, times this.
fn handle(kind: u8, n: u32) -> u16 {
    u16::from(kind) << 8 | n as u16
}
const OEM_HANDLE: u16 = 0xe00;
const NO_ERROR_INFORMATION: u16 = 0xfffe;

const MANUFACTURER: &str = "QEMU";
/// Safe.
const STATE: u8 = 3;
/// Largest memory device.
const DIMM: u64 = 16 << 30;

/// Types of which there is one, with what makes each.
pub(super) const SINGLE: [(u8, fn(&System) -> Structure); 4] =
    [(BIOS, bios), (SYSTEM, system), (BOARD, board), (CHASSIS, chassis)];

impl System {
    fn manufacturer(&self, kind: u8) -> Option<&str> {
        self.text(kind, "manufacturer").or(Some(MANUFACTURER))
    }
    fn product(&self, kind: u8) -> Option<&str> {
        self.text(kind, "product").or(Some(self.product))
    }
    fn version(&self, kind: u8) -> Option<&str> {
        self.text(kind, "version").or(Some(self.version))
    }
    fn number(&self, kind: u8, key: &str) -> Option<u64> {
        number(self.text(kind, key)?)
    }
}

/// A number, which the command line has checked: decimal, or hexadecimal after 0x.
fn number(text: &str) -> Option<u64> {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).ok(),
        None => text.parse().ok(),
    }
}

fn bios(s: &System) -> Structure {
    const SEGMENT: u16 = 0xe800;
    const CHARACTERISTICS_UNKNOWN: u64 = 1 << 3;
    /// Content can be distributed to, it is a virtual machine; UEFI.
    const EXTENSION: u8 = 1 << 2 | 1 << 4;
    const UEFI: u8 = 1 << 3;
    let text = |key| s.text(BIOS, key);
    let uefi = if text("uefi") == Some("on") { UEFI } else { 0 };
    let release = text("release").and_then(|r| r.split_once('.'));
    let release = release.map_or([0; 2], |(a, b)| [a, b].map(|n| n.parse().unwrap_or(0)));
    let this = Structure::new(BIOS, 0).string(text("vendor")).string(text("version"));
    let this = this.word(SEGMENT).string(text("date")).bytes([0]).qword(CHARACTERISTICS_UNKNOWN);
    this.bytes([0, EXTENSION | uefi]).bytes(release).bytes([0xff, 0xff])
}

fn system(s: &System) -> Structure {
    const POWER_SWITCH: u8 = 6;
    let text = |key| s.text(SYSTEM, key);
    // The first three fields are little-endian numbers.
    let uuid = uuid::Uuid::from_bytes(s.uuid);
    let (a, b, c, rest) = uuid.as_fields();
    let this = Structure::new(SYSTEM, handle(SYSTEM, 0)).string(s.manufacturer(SYSTEM)).string(s.product(SYSTEM));
    let this = this.string(s.version(SYSTEM)).string(text("serial"));
    let this = this.dword(a).word(b).word(c).bytes(rest).bytes([POWER_SWITCH]);
    this.string(text("sku")).string(text("family"))
}

fn board(s: &System) -> Structure {
    const HOSTING: u8 = 1;
    const MOTHERBOARD: u8 = 10;
    let text = |key| s.text(BOARD, key);
    let this = Structure::new(BOARD, handle(BOARD, 0)).string(s.manufacturer(BOARD)).string(s.product(BOARD));
    let this = this.string(s.version(BOARD)).string(text("serial")).string(text("asset")).bytes([HOSTING]);
    this.string(text("location")).word(handle(CHASSIS, 0)).bytes([MOTHERBOARD, 0])
}

fn chassis(s: &System) -> Structure {
    const OTHER: u8 = 1;
    const NO_SECURITY_KNOWN: u8 = 2;
    let text = |key| s.text(CHASSIS, key);
    let this = Structure::new(CHASSIS, handle(CHASSIS, 0)).string(s.manufacturer(CHASSIS)).bytes([OTHER]);
    let this = this.string(s.version(CHASSIS)).string(text("serial")).string(text("asset"));
    this.bytes([STATE, STATE, STATE, NO_SECURITY_KNOWN]).bytes([0; 8]).string(text("sku"))
}

/// The processor in socket `n`.
pub(super) fn processor(s: &System, n: u32) -> Structure {
    const CENTRAL: u8 = 3;
    const FAMILY: u8 = 1;
    /// Populated, enabled.
    const STATUS: u8 = 0x41;
    const UPGRADE: u8 = 1;
    const NO_CACHE: u16 = 0xffff;
    const IS_64_BIT: u16 = 1 << 1;
    const MHZ: u64 = 2000;
    let text = |key| s.text(PROCESSOR, key);
    let mhz = |key| s.number(PROCESSOR, key).unwrap_or(MHZ) as u16;
    let name = format!("{}{n:2x}", text("sock_pfx").unwrap_or("CPU"));
    let id = s.number(PROCESSOR, "processor-id").filter(|id| *id != 0).unwrap_or(s.processor);
    let cores = s.topology.cores;
    let counts = [cores, cores, cores * s.topology.threads];
    let this = Structure::new(PROCESSOR, handle(PROCESSOR, n)).string(Some(&name)).bytes([CENTRAL, FAMILY]);
    let this = this.string(s.manufacturer(PROCESSOR)).qword(id).string(s.version(PROCESSOR)).bytes([0; 3]);
    let this = this.word(mhz("max-speed")).word(mhz("current-speed")).bytes([STATUS, UPGRADE]);
    let this = this.word(NO_CACHE).word(NO_CACHE).word(NO_CACHE);
    let this = this.string(text("serial")).string(text("asset")).string(text("part"));
    let this = this.bytes(counts.map(|n| n.min(0xff) as u8)).word(IS_64_BIT).word(FAMILY.into());
    if s.user.entry_64 { counts.into_iter().fold(this, |this, n| this.word(n as u16)) } else { this }
}

/// The value of a key in one `type=`.
fn of<'a>(pairs: &'a [(String, String)], key: &str) -> Option<&'a str> {
    pairs.iter().rfind(|(k, _)| k == key).map(|(_, value)| value.as_str())
}

pub(super) fn connectors(s: &System) -> Vec<Structure> {
    let connector = |(n, pairs): (u16, &[(String, String)])| {
        let number = |key| of(pairs, key).and_then(number).unwrap_or(0) as u8;
        let this = Structure::new(CONNECTOR, n).string(of(pairs, "internal_reference")).bytes([0]);
        this.string(of(pairs, "external_reference")).bytes([number("connector_type"), number("port_type")])
    };
    (0..).zip(s.several(CONNECTOR)).map(connector).collect()
}

pub(super) fn oem_strings(s: &System) -> Vec<Structure> {
    let texts: Vec<_> = s.several(OEM_STRINGS).flatten().filter(|(k, _)| k == "value").map(|(_, v)| v).collect();
    if texts.is_empty() {
        return Vec::new();
    }
    let this = Structure::new(OEM_STRINGS, OEM_HANDLE).bytes([texts.len().min(0xff) as u8]);
    vec![texts.into_iter().fold(this, |this, text| this.more(text))]
}

/// The array, its devices, and where they are.
pub(super) fn memory(s: &System) -> Vec<Structure> {
    /// System board; system memory; multi-bit ECC.
    const KIND: [u8; 3] = [1, 3, 6];
    let devices = s.ram.div_ceil(DIMM) as u32;
    let kib = s.ram >> 10;
    let array = Structure::new(MEMORY_ARRAY, handle(MEMORY_ARRAY, 0)).bytes(KIND);
    let array = match u32::try_from(kib).ok().filter(|k| *k < 0x8000_0000) {
        Some(kib) => array.dword(kib).word(NO_ERROR_INFORMATION).word(devices as u16).qword(0),
        None => array.dword(0x8000_0000).word(NO_ERROR_INFORMATION).word(devices as u16).qword(s.ram),
    };
    let device = |n: u32| {
        let size = if n + 1 < devices { DIMM } else { (s.ram - 1) % DIMM + 1 };
        memory_device(s, n, (size >> 20) as u32)
    };
    let area = |(n, &(first, last)): (u32, &(u64, u64))| {
        let [first, last] = [first, last].map(|at| (at >> 10) as u32);
        let this = Structure::new(MAPPED_ADDRESSES, handle(MAPPED_ADDRESSES, n)).dword(first).dword(last);
        this.word(handle(MEMORY_ARRAY, 0)).bytes([1]).bytes([0; 16])
    };
    std::iter::once(array).chain((0..devices).map(device)).chain((0..).zip(&s.areas).map(area)).collect()
}

/// The `n`th device, of so many MiB.
fn memory_device(s: &System, n: u32, mib: u32) -> Structure {
    const UNKNOWN_WIDTH: u16 = 0xffff;
    const EXTENDED: u16 = 0x7fff;
    const DIMM: u8 = 9;
    const RAM: u8 = 7;
    const OTHER: u16 = 1 << 1;
    let text = |key| s.text(MEMORY_DEVICE, key);
    let (size, extended) = match u16::try_from(mib) {
        Ok(size) if size < EXTENDED => (size, 0),
        _ => (EXTENDED, mib),
    };
    let name = format!("{} {n}", text("loc_pfx").unwrap_or("DIMM"));
    let speed = s.number(MEMORY_DEVICE, "speed").unwrap_or(0) as u16;
    let this = Structure::new(MEMORY_DEVICE, handle(MEMORY_DEVICE, n)).word(handle(MEMORY_ARRAY, 0));
    let this = this.word(NO_ERROR_INFORMATION).word(UNKNOWN_WIDTH).word(UNKNOWN_WIDTH).word(size);
    let this = this.bytes([DIMM, 0]).string(Some(&name)).string(text("bank")).bytes([RAM]).word(OTHER).word(speed);
    let this = this.string(s.manufacturer(MEMORY_DEVICE)).string(text("serial")).string(text("asset"));
    this.string(text("part")).bytes([0]).dword(extended).word(speed).bytes([0; 6])
}

/// It has booted without an error.
pub(super) fn boot() -> Vec<Structure> {
    vec![Structure::new(BOOT, handle(BOOT, 0)).bytes([0; 7])]
}

/// Kinds of devices on the board, by name; their numbers count from 1.
pub const ONBOARD_KINDS: [&str; 10] =
    ["other", "unknown", "video", "scsi", "ethernet", "tokenring", "sound", "pata", "sata", "sas"];

pub(super) fn onboard(s: &System) -> Vec<Structure> {
    const ENABLED: u8 = 1 << 7;
    let device = |(n, pairs): (u32, &[(String, String)])| {
        let kind = ONBOARD_KINDS.iter().position(|k| Some(*k) == of(pairs, "kind")).map_or(0, |k| k as u8 + 1);
        let instance = of(pairs, "instance").and_then(number).unwrap_or(0) as u8;
        let this = Structure::new(ONBOARD_DEVICE, handle(ONBOARD_DEVICE, n)).string(of(pairs, "designation"));
        this.bytes([kind | ENABLED, instance]).word(0).bytes([0, 0])
    };
    (0..).zip(s.several(ONBOARD_DEVICE)).map(device).collect()
}
