//! The table loader: files with tables whose addresses nobody knows yet, and the commands by which firmware places them and fills in
//! addresses and sums (QEMU, `hw/acpi/bios-linker-loader.c`). Direct boot carries out the same commands.

use super::table::checksum;
use crate::boot::Blob;

/// Bytes of a command.
const COMMAND: usize = 128;
/// Bytes of a file's name in a command, the final zero included.
const NAME: usize = 56;

/// Where a file may be placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Zone {
    /// Anywhere below 4 GiB.
    High = 1,
    /// Between 0xf0000 and 0xfffff, where the root pointer is looked for.
    FSegment = 2,
}

/// What firmware does, in order. Files are given by name.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Command {
    Allocate {
        file: &'static str,
        align: u32,
        zone: Zone,
    },
    /// Adds the address of `to` to the little-endian value of `size` bytes at `offset`.
    AddPointer {
        file: &'static str,
        to: &'static str,
        offset: u32,
        size: u8,
    },
    /// Makes the bytes add up to 0 by the one at `offset`.
    AddChecksum {
        file: &'static str,
        offset: u32,
        start: u32,
        len: u32,
    },
    /// Writes the address of `to` into a file of a device.
    WritePointer {
        file: &'static str,
        to: &'static str,
        size: u8,
    },
}

/// A file to be placed.
#[derive(Clone, Debug)]
struct File {
    name: &'static str,
    bytes: Vec<u8>,
    /// A device hands it to firmware itself.
    of_device: bool,
}

/// Files, and what is to be done with them.
#[derive(Clone, Debug, Default)]
pub struct Script {
    files: Vec<File>,
    commands: Vec<Command>,
}

impl Script {
    /// Adds a file that is to be placed.
    pub(super) fn file(&mut self, name: &'static str, bytes: Vec<u8>, align: u32, zone: Zone) {
        self.add(File { name, bytes, of_device: false }, align, zone);
    }
    /// The same for a file that firmware gets from a device.
    pub(super) fn device_file(&mut self, name: &'static str, bytes: Vec<u8>, align: u32, zone: Zone) {
        self.add(File { name, bytes, of_device: true }, align, zone);
    }
    fn add(&mut self, file: File, align: u32, zone: Zone) {
        self.commands.push(Command::Allocate { file: file.name, align, zone });
        self.files.push(file);
    }
    /// The value of `size` bytes at `offset` of `file` is relative to the start of `to`.
    pub(super) fn pointer(&mut self, file: &'static str, offset: usize, size: u8, to: &'static str) {
        self.commands.push(Command::AddPointer { file, to, offset: offset as u32, size });
    }
    /// The `len` bytes from `start` on add up to 0, by the one at `offset`.
    pub(super) fn sum(&mut self, file: &'static str, offset: usize, start: usize, len: usize) {
        let [offset, start, len] = [offset, start, len].map(|n| n as u32);
        self.commands.push(Command::AddChecksum { file, offset, start, len });
    }
    /// A device's `file` is told where `to` is.
    pub(super) fn tell(&mut self, file: &'static str, size: u8, to: &'static str) {
        self.commands.push(Command::WritePointer { file, to, size });
    }

    /// What firmware reads, devices' files apart: every file, and the commands as `etc/table-loader`.
    pub fn firmware_files(self) -> impl Iterator<Item = (&'static str, Vec<u8>)> {
        let commands = self.commands.iter().flat_map(Command::encode).collect();
        let own = self.files.into_iter().filter(|f| !f.of_device);
        own.map(|f| (f.name, f.bytes)).chain([("etc/table-loader", commands)])
    }

    /// Carries the commands out for memory from `start` to `end`; where each file is, and the first address behind them.
    ///
    /// # Errors
    /// They need more room.
    pub(super) fn place(self, start: u64, end: u64) -> Result<(Vec<Blob>, u64), String> {
        let Self { mut files, commands } = self;
        let mut next = start;
        let mut at = Vec::new();
        for command in &commands {
            match *command {
                Command::Allocate { file, align, .. } => {
                    let addr = next.next_multiple_of(align.into());
                    next = addr + bytes(&mut files, file).len() as u64;
                    at.push((file, addr));
                }
                Command::AddPointer { file, to, offset, size } => {
                    let addr = at.iter().find(|(name, _)| *name == to).map_or(0, |(_, addr)| *addr);
                    let field = &mut bytes(&mut files, file)[offset as usize..][..usize::from(size)];
                    let mut value = [0; 8];
                    value[..field.len()].copy_from_slice(field);
                    let value = u64::from_le_bytes(value).wrapping_add(addr).to_le_bytes();
                    field.copy_from_slice(&value[..field.len()]);
                }
                Command::AddChecksum { file, offset, start, len } => {
                    let bytes = bytes(&mut files, file);
                    let rest = checksum(&bytes[start as usize..][..len as usize]);
                    bytes[offset as usize] = bytes[offset as usize].wrapping_add(rest);
                }
                // For firmware to do: the file is not in memory.
                Command::WritePointer { .. } => {}
            }
        }
        if next > end {
            return Err(format!("the ACPI and MP tables would end at {next:#x}; there is room up to {end:#x}"));
        }
        let blobs = at.into_iter().zip(files).map(|((name, addr), f)| Blob::new(name, addr, f.bytes));
        Ok((blobs.collect(), next))
    }
}

/// A file's contents. Commands only name files that were added before.
fn bytes<'a>(files: &'a mut [File], name: &str) -> &'a mut Vec<u8> {
    let file = files.iter_mut().find(|f| f.name == name);
    &mut file.unwrap_or_else(|| panic!("the table loader has no file {name}")).bytes
}

impl Command {
    /// As it stands in `etc/table-loader`.
    fn encode(&self) -> [u8; COMMAND] {
        let mut c = Encoder { bytes: [0; COMMAND], at: 0 };
        match *self {
            Self::Allocate { file, align, zone } => {
                c.put(&1u32.to_le_bytes()).name(file).put(&align.to_le_bytes()).put(&[zone as u8]);
            }
            Self::AddPointer { file, to, offset, size } => {
                c.put(&2u32.to_le_bytes()).name(file).name(to).put(&offset.to_le_bytes()).put(&[size]);
            }
            Self::AddChecksum { file, offset, start, len } => {
                c.put(&3u32.to_le_bytes()).name(file);
                [offset, start, len].iter().for_each(|n| {
                    c.put(&n.to_le_bytes());
                });
            }
            Self::WritePointer { file, to, size } => {
                c.put(&4u32.to_le_bytes()).name(file).name(to).put(&[0; 8]).put(&[size]);
            }
        }
        c.bytes
    }
}

/// Fills a command from its start.
struct Encoder {
    bytes: [u8; COMMAND],
    at: usize,
}

impl Encoder {
    fn put(&mut self, field: &[u8]) -> &mut Self {
        self.bytes[self.at..][..field.len()].copy_from_slice(field);
        self.at += field.len();
        self
    }
    fn name(&mut self, name: &str) -> &mut Self {
        let mut field = [0; NAME];
        field.iter_mut().take(NAME - 1).zip(name.bytes()).for_each(|(to, from)| *to = from);
        self.put(&field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn script() -> Script {
        let mut s = Script::default();
        s.file("a", vec![0, 5, 0, 0, 0, 7], 16, Zone::High);
        s.device_file("b", vec![9; 4], 64, Zone::FSegment);
        s.pointer("a", 1, 4, "b");
        s.sum("a", 0, 0, 6);
        s.tell("d", 8, "a");
        s
    }

    #[test]
    fn placed_by_ourselves() {
        let (blobs, end) = script().place(0xf_0008, 0xf_1000).unwrap();
        assert_eq!(blobs.iter().map(|b| b.addr).collect::<Vec<_>>(), [0xf_0010, 0xf_0040]);
        assert_eq!((&*blobs[0].bytes, end), (&[0xa5, 0x45, 0, 0x0f, 0, 7][..], 0xf_0044));
        assert!(script().place(0xf_0008, 0xf_0043).unwrap_err().contains("0xf0044"));
    }

    #[test]
    fn commands_as_firmware_reads_them() {
        let files: Vec<_> = script().firmware_files().collect();
        assert_eq!(files.iter().map(|(n, _)| *n).collect::<Vec<_>>(), ["a", "etc/table-loader"]);
        let c: Vec<_> = files[1].1.chunks(COMMAND).collect();
        assert_eq!(
            c.iter().map(|c| (c[0], c[4])).collect::<Vec<_>>(),
            [(1, b'a'), (1, b'b'), (2, b'a'), (3, b'a'), (4, b'd')]
        );
        assert_eq!((c[0][60], c[0][64], c[1][64]), (16, 1, 2));
        assert_eq!((c[2][60], c[2][116], c[2][120]), (b'b', 1, 4));
        assert_eq!((c[3][68], c[4][60], c[4][124]), (6, b'a', 8));
    }
}
