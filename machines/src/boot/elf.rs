//! ELF executables for 32- and 64-bit x86, as far as a loader needs them (System V ABI, chapters 4 and 5).

use super::image::{Blob, Bytes};

const MAGIC: [u8; 4] = *b"\x7fELF";
const CLASS_64: u8 = 2;
const LITTLE_ENDIAN: u8 = 1;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
const EM_386: u16 = 3;
const EM_X86_64: u16 = 62;

/// A program header.
#[derive(Clone, Copy, Debug)]
struct Segment {
    kind: u32,
    offset: u64,
    paddr: u64,
    file_size: u64,
    mem_size: u64,
}

/// An executable.
pub struct Elf<'a> {
    bytes: Bytes<'a>,
    /// 64-bit.
    pub wide: bool,
    /// Virtual entry address.
    pub entry: u64,
    segments: Vec<Segment>,
}

/// Is this an ELF file?
pub fn recognise(image: &[u8]) -> bool {
    image.starts_with(&MAGIC)
}

impl<'a> Elf<'a> {
    /// Reads the headers.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn parse(image: &'a [u8]) -> Result<Self, String> {
        let bytes = Bytes(image);
        Self::read_headers(bytes).ok_or("the ELF headers are cut short")?
    }
    fn read_headers(b: Bytes<'a>) -> Option<Result<Self, String>> {
        let wide = b.byte(4)? == CLASS_64;
        let machine = b.word(18)?;
        if b.byte(5)? != LITTLE_ENDIAN || ![EM_386, EM_X86_64].contains(&machine) {
            return Some(Err(format!("this ELF file is for another processor (machine {machine})")));
        }
        let (entry, table, size, count) = if wide {
            (b.qword(24)?, b.qword(32)?, b.word(54)?, b.word(56)?)
        } else {
            (b.dword(24)?.into(), b.dword(28)?.into(), b.word(42)?, b.word(44)?)
        };
        let mut segments = Vec::new();
        for n in 0..u64::from(count) {
            let at = table.checked_add(n * u64::from(size))?;
            let h = Bytes(b.slice(at, if wide { 56 } else { 32 })?);
            segments.push(if wide {
                Segment {
                    kind: h.dword(0)?,
                    offset: h.qword(8)?,
                    paddr: h.qword(24)?,
                    file_size: h.qword(32)?,
                    mem_size: h.qword(40)?,
                }
            } else {
                Segment {
                    kind: h.dword(0)?,
                    offset: h.dword(4)?.into(),
                    paddr: h.dword(12)?.into(),
                    file_size: h.dword(16)?.into(),
                    mem_size: h.dword(20)?.into(),
                }
            });
        }
        Some(Ok(Self { bytes: b, wide, entry, segments }))
    }

    /// The loadable segments at their physical addresses.
    ///
    /// # Errors
    /// A segment is not in the file.
    pub fn blobs(&self) -> Result<Vec<Blob>, String> {
        let loads = self.segments.iter().filter(|s| s.kind == PT_LOAD && s.mem_size > 0);
        let blobs: Option<Vec<_>> = loads
            .map(|s| {
                let bytes = self.bytes.slice(s.offset, s.file_size)?;
                let zeros = s.mem_size.checked_sub(s.file_size)?;
                Some(Blob { zeros, ..Blob::new("a segment of the kernel", s.paddr, bytes) })
            })
            .collect();
        match blobs {
            Some(b) if !b.is_empty() => Ok(b),
            Some(_) => Err("the ELF file has no segment to load".into()),
            None => Err("a segment of the ELF file is cut short".into()),
        }
    }

    /// The contents of the first note of this owner and type.
    pub fn note(&self, owner: &[u8], kind: u32) -> Option<&'a [u8]> {
        let notes = self.segments.iter().filter(|s| s.kind == PT_NOTE);
        notes.filter_map(|s| self.bytes.slice(s.offset, s.file_size)).find_map(|n| find_note(Bytes(n), owner, kind))
    }
}

/// Walks notes: sizes of name and contents, type, then both, each padded to 4 bytes.
fn find_note<'a>(notes: Bytes<'a>, owner: &[u8], kind: u32) -> Option<&'a [u8]> {
    let mut at = 0;
    loop {
        let (name_size, size) = (u64::from(notes.dword(at)?), u64::from(notes.dword(at + 4)?));
        let name_at = at + 12;
        let contents_at = name_at + name_size.next_multiple_of(4);
        if notes.dword(at + 8)? == kind && notes.slice(name_at, name_size)? == owner {
            return notes.slice(contents_at, size);
        }
        at = contents_at + size.next_multiple_of(4);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A 32-bit executable with one segment at 2 MiB and, if given, a note.
    pub(in crate::boot) fn elf32(code: &[u8], note: Option<(&[u8], u32, &[u8])>) -> Vec<u8> {
        let mut n = Vec::new();
        if let Some((owner, kind, contents)) = note {
            n.extend((owner.len() as u32).to_le_bytes());
            n.extend((contents.len() as u32).to_le_bytes());
            n.extend(kind.to_le_bytes());
            n.extend(owner);
            n.resize(n.len().next_multiple_of(4), 0);
            n.extend(contents);
        }
        let mut f = vec![0; 52];
        f[..6].copy_from_slice(b"\x7fELF\x01\x01");
        f[18] = EM_386 as u8;
        f[24..28].copy_from_slice(&0x20_0000u32.to_le_bytes());
        f[28] = 52;
        f[42] = 32;
        f[44] = 2;
        let code_at = 52 + 64;
        let mut header = |kind: u32, offset: usize, size: usize, mem: usize| {
            for v in [kind, offset as u32, 0xc020_0000, 0x20_0000, size as u32, mem as u32, 7, 4] {
                f.extend(v.to_le_bytes());
            }
        };
        header(PT_LOAD, code_at, code.len(), code.len() + 100);
        header(PT_NOTE, code_at + code.len(), n.len(), n.len());
        f.extend(code);
        f.extend(n);
        f
    }

    #[test]
    fn segments_and_notes() {
        let f = elf32(b"code", Some((b"Xen\0", 18, &[1, 2, 3, 4])));
        let e = Elf::parse(&f).unwrap();
        assert!(!e.wide);
        assert_eq!(e.entry, 0x20_0000);
        let b = e.blobs().unwrap();
        assert_eq!((b[0].addr, &*b[0].bytes, b[0].zeros), (0x20_0000, &b"code"[..], 100));
        assert_eq!(e.note(b"Xen\0", 18), Some(&[1, 2, 3, 4][..]));
        assert_eq!(e.note(b"Xen\0", 17), None);
    }

    #[test]
    fn broken_files_are_errors() {
        let good = elf32(b"code", Some((b"Xen\0", 18, &[1, 2, 3, 4])));
        for len in 0..good.len() {
            if let Ok(e) = Elf::parse(&good[..len]) {
                let _ = (e.blobs(), e.note(b"Xen\0", 18));
            }
        }
        for offset in 0..good.len() {
            for v in [0, 1, 0x7f, 0xff] {
                let mut f = good.clone();
                f[offset] = v;
                if let Ok(e) = Elf::parse(&f) {
                    let _ = (e.blobs(), e.note(b"Xen\0", 18));
                }
            }
        }
    }
}
