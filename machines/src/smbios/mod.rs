//! SMBIOS: tables by which an operating system knows the machine, its processors and its memory (DMTF DSP0134, 2.8 and 3.0).
//!
//! What is in them, and what of it users can say by `-smbios`, is as in QEMU. Firmware gets the structures and an entry point without addresses and sums,
//! and places both; direct boot does that itself.

pub mod legacy;
mod structure;
mod types;

use crate::acpi::checksum;
use crate::boot::Blob;
use gearbox_core::machine::SmbiosConfig;
use gearbox_core::x86::topology::Topology;
use structure::Structure;
use types::{BIOS, BOARD, CHASSIS, END, PROCESSOR, SYSTEM};

/// What the tables tell of.
#[derive(Clone, Debug, Default)]
pub struct System {
    /// The machine, in words.
    pub product: &'static str,
    /// Its name.
    pub version: &'static str,
    /// In the order of its text.
    pub uuid: [u8; 16],
    /// Sockets, cores, threads.
    pub topology: Topology,
    /// EDX and EAX of CPUID leaf 1.
    pub processor: u64,
    /// Bytes of RAM.
    pub ram: u64,
    /// Where it is, as first and last address.
    pub areas: Vec<(u64, u64)>,
    /// What the user says.
    pub user: SmbiosConfig,
}

impl System {
    /// The value of a key of a type that there is one structure of.
    fn text(&self, kind: u8, key: &str) -> Option<&str> {
        let mut given = self.user.fields.iter().filter(|(k, _)| *k == kind).flat_map(|(_, pairs)| pairs);
        given.rfind(|(k, _)| k == key).map(|(_, value)| value.as_str())
    }
    /// All values of each `type=` of a type that there may be several structures of.
    fn several(&self, kind: u8) -> impl Iterator<Item = &[(String, String)]> {
        self.user.fields.iter().filter(move |(k, _)| *k == kind).map(|(_, pairs)| pairs.as_slice())
    }
    /// Is there something of the user's in place of this type?
    fn replaced(&self, kind: u8) -> bool {
        self.user.structures.iter().any(|s| s.first() == Some(&kind))
    }
    fn asked_for(&self, kind: u8) -> bool {
        self.user.fields.iter().any(|(k, _)| *k == kind)
    }
}

/// Entry point and structures, not placed yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tables {
    /// The entry point, with an address and sums of 0.
    pub anchor: Vec<u8>,
    /// The structures.
    pub structures: Vec<u8>,
}

/// Builds the tables.
pub fn build(system: &System) -> Tables {
    let mut all = system.user.structures.clone();
    let optional = [BIOS, BOARD];
    for (kind, make) in types::SINGLE {
        let wanted = !optional.contains(&kind) || system.asked_for(kind);
        if wanted && !system.replaced(kind) {
            all.push(make(system).finish());
        }
        if kind == CHASSIS && !system.replaced(PROCESSOR) {
            all.extend((0..system.topology.sockets).map(|n| types::processor(system, n).finish()));
        }
    }
    for structures in [types::connectors(system), types::oem_strings(system), types::memory(system)] {
        all.extend(structures.into_iter().filter(|s| !system.replaced(s.kind())).map(Structure::finish));
    }
    all.extend([types::boot(), types::onboard(system)].into_iter().flatten().map(Structure::finish));
    all.push(Structure::new(END, 0x7f00).finish());
    let longest = all.iter().map(Vec::len).max().unwrap_or(0);
    let anchor = anchor(system.user.entry_64, all.len(), longest, all.iter().map(Vec::len).sum());
    debug_assert!(system.replaced(SYSTEM) || all.iter().any(|s| s[0] == SYSTEM));
    Tables { anchor, structures: all.concat() }
}

/// The entry point (DSP0134, 5.2).
fn anchor(entry_64: bool, count: usize, longest: usize, length: usize) -> Vec<u8> {
    let [count, longest] = [count, longest].map(|n| (n.min(0xffff) as u16).to_le_bytes());
    if entry_64 {
        let length = (length as u32).to_le_bytes();
        return [&b"_SM3_\0\x18\x03\0\0\x01\0"[..], &length, &[0; 8]].concat();
    }
    let length = (length.min(0xffff) as u16).to_le_bytes();
    [&b"_SM_\0\x1f\x02\x08"[..], &longest, &[0; 6], b"_DMI_\0", &length, &[0; 4], &count, &[0x28]].concat()
}

impl Tables {
    /// The tables as they are in memory from `start` on, and the first address behind them.
    pub fn place(&self, start: u64) -> ([Blob; 2], u64) {
        let at = start.next_multiple_of(16);
        let tables = at + (self.anchor.len() as u64).next_multiple_of(16);
        let mut anchor = self.anchor.clone();
        if anchor.starts_with(b"_SM3_") {
            anchor[16..24].copy_from_slice(&tables.to_le_bytes());
            anchor[5] = checksum(&anchor);
        } else {
            anchor[24..28].copy_from_slice(&(tables as u32).to_le_bytes());
            anchor[21] = checksum(&anchor[16..]);
            anchor[4] = checksum(&anchor);
        }
        let structures = Blob::new("SMBIOS structures", tables, self.structures.clone());
        let end = structures.end();
        ([Blob::new("the SMBIOS entry point", at, anchor), structures], end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system() -> System {
        System {
            product: "Standard PC (i440FX + PIIX, 1996)",
            version: "pc-i440fx-7.2",
            topology: Topology { sockets: 2, cores: 2, threads: 1 },
            processor: 0x078b_fbfd_0006_0fb1,
            ram: 5 << 30,
            areas: vec![(0, 0xbfff_ffff), (4 << 30, (6 << 30) - 1)],
            ..System::default()
        }
    }
    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|n| u8::from_str_radix(&text[n..n + 2], 16).unwrap()).collect()
    }
    /// Structures as kind, handle, the rest of the formatted part, and strings.
    fn split(mut bytes: &[u8]) -> Vec<(u8, u16, Vec<u8>, String)> {
        let mut all = Vec::new();
        while !bytes.is_empty() {
            let len = usize::from(bytes[1]);
            let end = (len..).find(|&n| bytes[n..n + 2] == [0, 0]).unwrap();
            let strings = String::from_utf8(bytes[len..end].to_vec()).unwrap().replace('\0', "|");
            all.push((bytes[0], u16::from_le_bytes([bytes[2], bytes[3]]), bytes[4..len].to_vec(), strings));
            bytes = &bytes[end + 2..];
        }
        all
    }

    /// What QEMU 7.2 says of `-m 5G -smp 4,sockets=2`.
    #[test]
    fn the_defaults_are_qemus() {
        let t = build(&system());
        assert_eq!(t.anchor, hex("5f534d5f001f020851000000000000005f444d495f00a601000000000a0028"));
        let cpu = "01030102b10f0600fdfb8b0703000000d007d0074101ffffffffffff00000002020202000100";
        let expected = [
            (
                1,
                0x100,
                "0102030000000000000000000000000000000000060000",
                "QEMU|Standard PC (i440FX + PIIX, 1996)|pc-i440fx-7.2",
            ),
            (3, 0x300, "010102000003030302000000000000000000", "QEMU|pc-i440fx-7.2"),
            (4, 0x400, cpu, "CPU 0|QEMU|pc-i440fx-7.2"),
            (4, 0x401, cpu, "CPU 1|QEMU|pc-i440fx-7.2"),
            (16, 0x1000, "01030600005000feff01000000000000000000", ""),
            (17, 0x1100, "0010feffffffffff00140900010007020000000200000000000000000000000000000000", "DIMM 0|QEMU"),
            (19, 0x1300, "00000000ffff2f0000100100000000000000000000000000000000", ""),
            (19, 0x1301, "00004000ffff5f0000100100000000000000000000000000000000", ""),
            (32, 0x2000, "00000000000000", ""),
            (127, 0x7f00, "", ""),
        ];
        let expected: Vec<_> = expected.map(|(k, h, bytes, s)| (k, h, hex(bytes), s.to_owned())).to_vec();
        assert_eq!(split(&t.structures), expected);
    }

    /// The same with everything said.
    #[test]
    fn what_users_say_is_there() {
        let mut s = system();
        (s.topology, s.ram, s.areas) = (Topology::default(), 128 << 20, vec![(0, 0x7ff_ffff)]);
        let text = "0,vendor=v,version=x,date=01/02/2003,release=3.4,uefi=on;1,sku=s,serial=77,family=f;2,manufacturer=m2,asset=as,\
            location=loc;3,manufacturer=m3,sku=s3;4,sock_pfx=S,max-speed=1000,current-speed=900,\
            processor-id=0x1122334455667788;8,internal_reference=i,external_reference=e,connector_type=2,port_type=3;\
            11,value=a,value=b;17,loc_pfx=LL,bank=bb,speed=1234,part=p;41,designation=d,kind=ethernet,instance=1";
        s.user.fields = text
            .split(';')
            .map(|option| {
                let (kind, rest) = option.split_once(',').unwrap();
                let pairs = rest.split(',').map(|p| p.split_once('=').unwrap());
                (kind.parse().unwrap(), pairs.map(|(k, v)| (k.to_owned(), v.to_owned())).collect())
            })
            .collect();
        s.uuid = hex("00112233445566778899aabbccddeeff").try_into().unwrap();
        s.user.entry_64 = true;
        let t = build(&s);
        assert_eq!(t.anchor, hex("5f534d335f00180300000100e80100000000000000000000"));
        let expected = [
            (0, 0, "010200e803000800000000000000001c0304ffff", "v|x|01/02/2003"),
            (
                1,
                0x100,
                "0102030433221100554477668899aabbccddeeff060506",
                "QEMU|Standard PC (i440FX + PIIX, 1996)|pc-i440fx-7.2|77|s|f",
            ),
            (2, 0x200, "0102030004010500030a00", "m2|Standard PC (i440FX + PIIX, 1996)|pc-i440fx-7.2|as|loc"),
            (3, 0x300, "010102000003030302000000000000000003", "m3|pc-i440fx-7.2|s3"),
            (
                4,
                0x400,
                "01030102887766554433221103000000e80384034101ffffffffffff00000001010102000100010001000100",
                "S 0|QEMU|pc-i440fx-7.2",
            ),
            (8, 0, "0100020203", "i|e"),
            (11, 0xe00, "02", "a|b"),
            (16, 0x1000, "01030600000200feff01000000000000000000", ""),
            (17, 0x1100, "0010feffffffffff800009000102070200d204030000040000000000d204000000000000", "LL 0|bb|QEMU|p"),
            (19, 0x1300, "00000000ffff010000100100000000000000000000000000000000", ""),
            (32, 0x2000, "00000000000000", ""),
            (41, 0x2900, "01850100000000", "d"),
            (127, 0x7f00, "", ""),
        ];
        let expected: Vec<_> = expected.map(|(k, h, bytes, s)| (k, h, hex(bytes), s.to_owned())).to_vec();
        assert_eq!(split(&t.structures), expected);
    }

    #[test]
    fn structures_of_the_user_take_the_place_of_ours() {
        let mut s = system();
        s.user.structures = vec![b"\x01\x05\x34\x12\x01mine\0\0".to_vec(), b"\x80\x04\x99\x99\0\0".to_vec()];
        let all = split(&build(&s).structures);
        assert_eq!((all[0].1, &*all[0].3, all[1].0), (0x1234, "mine", 0x80));
        assert_eq!(all.iter().filter(|s| s.0 == SYSTEM).count(), 1);
    }

    #[test]
    fn placed_tables_add_up() {
        for entry_64 in [false, true] {
            let mut s = system();
            s.user.entry_64 = entry_64;
            let t = build(&s);
            let ([anchor, structures], end) = t.place(0xf_0004);
            assert_eq!((anchor.addr % 16, structures.end()), (0, end));
            let sum = |bytes: &[u8]| bytes.iter().fold(0u8, |sum, b| sum.wrapping_add(*b));
            assert_eq!(sum(&anchor.bytes), 0);
            assert!(entry_64 || sum(&anchor.bytes[16..]) == 0);
        }
    }
}
