//! Multiboot 1 kernels (Multiboot Specification 0.6.96): a.out kludge and 32-bit ELF, with modules.

use super::e820::MemoryMap;
use super::elf::{self, Elf};
use super::entry::Entry;
use super::image::{Blob, BootImage, Bytes, Table};
use super::{GDT_ADDR, Module};

/// Where the header may be: aligned to 4 within the first 8 KiB.
const SEARCH: usize = 8192;
const HEADER_MAGIC: u32 = 0x1bad_b002;
/// What EAX holds at entry.
const LOADER_MAGIC: u32 = 0x2bad_b002;
const PAGE: u64 = 4096;

/// Bits of the header's flags.
mod wants {
    pub(super) const VIDEO: u32 = 1 << 2;
    pub(super) const ADDRESSES: u32 = 1 << 16;
    /// What a loader must know or refuse; page-aligned modules and memory information are always given.
    pub(super) const MANDATORY: u32 = 0xffff & !(1 | 2 | VIDEO);
}

/// Bits of the information's flags.
mod gives {
    pub(super) const MEMORY: u32 = 1 << 0;
    pub(super) const CMDLINE: u32 = 1 << 2;
    pub(super) const MODULES: u32 = 1 << 3;
    pub(super) const MEMORY_MAP: u32 = 1 << 6;
    pub(super) const LOADER_NAME: u32 = 1 << 9;
}

const INFO_SIZE: usize = 88;
const LOADER_NAME: &[u8] = b"gearbox\0";

/// The header of a multiboot kernel.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    offset: u64,
    flags: u32,
}

/// Finds the header.
pub fn recognise(image: &[u8]) -> Option<Header> {
    let b = Bytes(image);
    (0..image.len().min(SEARCH) as u64).step_by(4).find_map(|offset| {
        let (magic, flags, sum) = (b.dword(offset)?, b.dword(offset + 4)?, b.dword(offset + 8)?);
        let fits = magic == HEADER_MAGIC && magic.wrapping_add(flags).wrapping_add(sum) == 0;
        fits.then_some(Header { offset, flags })
    })
}

/// Where the kernel goes and begins.
fn kernel(image: &[u8], h: Header) -> Result<(Vec<Blob>, u32), String> {
    let b = Bytes(image);
    if h.flags & wants::ADDRESSES == 0 {
        if !elf::recognise(image) {
            return Err("the multiboot header gives no addresses, and the file is no ELF file".into());
        }
        let elf = Elf::parse(image)?;
        if elf.wide {
            return Err("multiboot kernels are 32-bit; this is a 64-bit ELF file".into());
        }
        return Ok((elf.blobs()?, elf.entry as u32));
    }
    let field = |n: u64| b.dword(h.offset + 12 + 4 * n).map(u64::from).ok_or("the multiboot header is cut short");
    let (header, load, load_end, bss_end, entry) = (field(0)?, field(1)?, field(2)?, field(3)?, field(4)?);
    let wrong = || "the addresses in the multiboot header contradict one another".to_owned();
    let start = h.offset.checked_sub(header.checked_sub(load).ok_or_else(wrong)?).ok_or_else(wrong)?;
    let rest = (image.len() as u64).saturating_sub(start);
    let size = if load_end == 0 { rest } else { load_end.checked_sub(load).ok_or_else(wrong)? };
    let bytes = b.slice(start, size).ok_or("the kernel is cut short")?;
    let zeros = bss_end.saturating_sub(load + size);
    Ok((vec![Blob { zeros, ..Blob::new("the kernel", load, bytes) }], entry as u32))
}

/// Strings and tables behind the information structure.
struct Tail {
    at: u64,
    bytes: Vec<u8>,
}

impl Tail {
    fn push(&mut self, bytes: &[u8]) -> u32 {
        let addr = self.at + self.bytes.len() as u64;
        self.bytes.extend_from_slice(bytes);
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
        addr as u32
    }
    fn string(&mut self, s: &str) -> u32 {
        self.push(&[s.as_bytes(), &[0]].concat())
    }
}

/// Lays the kernel out with its modules, all behind it, and the information structure behind those.
///
/// # Errors
/// What is wrong with the image, or what does not fit.
pub fn load(
    image: &[u8],
    header: Header,
    modules: &[Module<'_>],
    cmdline: &str,
    map: &MemoryMap,
) -> Result<BootImage, String> {
    let unknown = header.flags & wants::MANDATORY;
    if unknown != 0 {
        return Err(format!("the multiboot header asks for features {unknown:#x}, which are not known"));
    }
    if header.flags & wants::VIDEO != 0 {
        tracing::warn!("the multiboot kernel asks for a video mode; there is no display");
    }
    let (mut blobs, eip) = kernel(image, header)?;
    let mut next = blobs.iter().map(Blob::end).max().unwrap_or(0).max(1 << 20);
    let mut placed = Vec::new();
    for m in modules {
        let start = next.checked_next_multiple_of(PAGE).ok_or("the kernel ends beyond memory")?;
        blobs.push(Blob::new("a module", start, m.bytes));
        next = start.saturating_add(m.bytes.len() as u64);
        placed.push((start, next, m.name));
    }

    let at = next.checked_next_multiple_of(PAGE).ok_or("the modules end beyond memory")?;
    let mut tail = Tail { at: at.saturating_add(INFO_SIZE as u64), bytes: Vec::new() };
    let mut info = Table::<INFO_SIZE>::new();
    let low = map.low_ram().ok_or("there is no RAM at 1 MiB")?;
    let base_end = map.entries().first().map_or(0, |e| e.end()).min(640 << 10);
    info.dword(4, (base_end >> 10) as u32);
    info.dword(8, ((low.end() - (1 << 20)) >> 10) as u32);
    info.dword(16, tail.string(cmdline));
    let mut list = Vec::new();
    for (start, end, name) in &placed {
        let string = tail.string(name);
        list.extend([*start as u32, *end as u32, string, 0].map(u32::to_le_bytes).concat());
    }
    info.dword(20, placed.len() as u32);
    info.dword(24, tail.push(&list));
    // Each entry is preceded by its own size.
    let entries: Vec<u8> =
        map.entries().iter().flat_map(|e| [&20u32.to_le_bytes()[..], &e.to_bytes()].concat()).collect();
    info.dword(44, entries.len() as u32);
    info.dword(48, tail.push(&entries));
    info.dword(64, tail.push(LOADER_NAME));
    let flags = gives::MEMORY | gives::CMDLINE | gives::MODULES | gives::MEMORY_MAP | gives::LOADER_NAME;
    info.dword(0, flags);

    blobs.push(Blob::new("the multiboot information", at, [&info.0[..], &tail.bytes].concat()));
    blobs.push(Blob::new("the descriptor table", GDT_ADDR, Entry::gdt()));
    let entry = Entry { eip, eax: LOADER_MAGIC, ebx: at as u32, gdt: GDT_ADDR as u32, ..Entry::default() };
    Ok(BootImage { blobs, entry })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::e820::Kind;
    use crate::boot::elf::tests::elf32;

    fn map() -> MemoryMap {
        let mut m = MemoryMap::new();
        m.add(0, 0x9_fc00, Kind::Ram);
        m.add(0x10_0000, 64 << 20, Kind::Ram);
        m
    }
    fn header(flags: u32, addresses: &[u32]) -> Vec<u8> {
        let sum = 0u32.wrapping_sub(HEADER_MAGIC).wrapping_sub(flags);
        [&[HEADER_MAGIC, flags, sum], addresses].concat().into_iter().flat_map(u32::to_le_bytes).collect()
    }

    #[test]
    fn elf_with_modules() {
        let f = elf32(&header(3, &[]), None);
        let h = recognise(&f).unwrap();
        let modules = [Module { bytes: b"one", name: "a x" }, Module { bytes: b"two!", name: "b" }];
        let i = load(&f, h, &modules, "k v", &map()).unwrap();
        i.check(&map()).unwrap();
        assert_eq!((i.entry.eax, i.entry.eip), (LOADER_MAGIC, 0x20_0000));
        let at = |addr: u32| {
            let b = i.blobs.iter().find(|b| b.addr <= addr.into() && u64::from(addr) < b.end()).unwrap();
            Bytes(&b.bytes[(u64::from(addr) - b.addr) as usize..])
        };
        let info = at(i.entry.ebx);
        assert_eq!(info.dword(0), Some(0x24d));
        assert_eq!((info.dword(4), info.dword(8)), (Some(639), Some(63 << 10)));
        assert!(at(info.dword(16).unwrap()).0.starts_with(b"k v\0"));
        let second = at(info.dword(24).unwrap() + 16);
        assert_eq!(at(second.dword(0).unwrap()).0, b"two!");
        assert_eq!(second.dword(4).unwrap() - second.dword(0).unwrap(), 4);
        assert!(at(second.dword(8).unwrap()).0.starts_with(b"b\0"));
        let m = at(info.dword(48).unwrap());
        assert_eq!((info.dword(44), m.dword(0), m.qword(28)), (Some(48), Some(20), Some(0x10_0000)));
    }

    #[test]
    fn addresses_in_the_header() {
        // header at 0x100010, load 0x100000, end of file, bss to 0x101000, entry 0x100030.
        let mut f = vec![0x90; 16];
        f.extend(header(0x1_0000, &[0x10_0010, 0x10_0000, 0, 0x10_1000, 0x10_0030]));
        f.extend(*b"code");
        let i = load(&f, recognise(&f).unwrap(), &[], "", &map()).unwrap();
        i.check(&map()).unwrap();
        assert_eq!((i.blobs[0].addr, i.blobs[0].size(), i.entry.eip), (0x10_0000, 0x1000, 0x10_0030));
    }

    #[test]
    fn contradictions_and_unknown_features_are_refused() {
        let f = [header(0x1_0000, &[0x10_0000, 0x20_0000, 0, 0, 0]), vec![0; 64]].concat();
        assert!(load(&f, recognise(&f).unwrap(), &[], "", &map()).is_err());
        let f = header(0x8, &[]);
        assert!(load(&f, recognise(&f).unwrap(), &[], "", &map()).unwrap_err().contains("0x8"));
        let good = elf32(&header(3, &[]), None);
        for offset in 0..good.len() {
            for v in [0, 1, 0x7f, 0xff] {
                let mut f = good.clone();
                f[offset] = v;
                if let Some(h) = recognise(&f)
                    && let Ok(i) = load(&f, h, &[], "", &map())
                {
                    let _ = i.check(&map());
                }
            }
        }
    }
}
