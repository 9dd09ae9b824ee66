//! ELF kernels with a PVH entry point (Xen, docs/misc/pvh.pandoc; `hvm_start_info` of xen/include/public/arch-x86/hvm/start_info.h).

use super::e820::MemoryMap;
use super::elf::Elf;
use super::entry::Entry;
use super::image::{Blob, BootImage, Bytes, Table};
use super::{GDT_ADDR, INFO_ADDR, below};

/// `XEN_ELFNOTE_PHYS32_ENTRY` and its owner.
const NOTE_ENTRY: u32 = 18;
const NOTE_OWNER: &[u8] = b"Xen\0";
/// `hvm_start_info.magic`: "xEn3" with the top bit of the E set.
const MAGIC: u32 = 0x336e_c578;
/// Version of the structure: with a memory map.
const VERSION: u32 = 1;
const START_INFO: usize = 56;
const MODULE: usize = 32;
const MAP_ENTRY: usize = 24;
const CMDLINE_ADDR: u64 = INFO_ADDR + 0x1_0000;
const CMDLINE_MOST: usize = 0xffff;

/// The PVH entry point of an ELF file.
pub fn entry_point(elf: &Elf<'_>) -> Option<u32> {
    let note = Bytes(elf.note(NOTE_OWNER, NOTE_ENTRY)?);
    note.dword(0)
}

/// Lays the kernel out with one module and a command line.
///
/// # Errors
/// What is wrong with the image, or what does not fit.
pub fn load(
    elf: &Elf<'_>,
    eip: u32,
    initrd: Option<&[u8]>,
    cmdline: &str,
    map: &MemoryMap,
    rsdp: Option<u64>,
) -> Result<BootImage, String> {
    if cmdline.len() > CMDLINE_MOST {
        return Err(format!("the command line has {} bytes; {CMDLINE_MOST} are possible", cmdline.len()));
    }
    let mut blobs = elf.blobs()?;
    let kernel_end = blobs.iter().map(Blob::end).max().unwrap_or(0);
    let modules_at = INFO_ADDR + START_INFO as u64;
    let map_at = modules_at + MODULE as u64;

    let mut info = Table::<START_INFO>::new();
    info.dword(0, MAGIC);
    info.dword(4, VERSION);
    info.qword(24, CMDLINE_ADDR);
    info.qword(32, rsdp.unwrap_or(0));
    info.qword(40, map_at);
    info.dword(48, map.entries().len() as u32);
    let mut module = Table::<MODULE>::new();
    if let Some(initrd) = initrd.filter(|i| !i.is_empty()) {
        let top = map.low_ram().ok_or("there is no RAM at 1 MiB")?.end();
        let addr = below(top, initrd.len() as u64).filter(|&a| a >= kernel_end);
        let addr = addr.ok_or("the initial RAM disk does not fit behind the kernel")?;
        info.dword(12, 1);
        info.qword(16, modules_at);
        module.qword(0, addr);
        module.qword(8, initrd.len() as u64);
        blobs.push(Blob::new("the initial RAM disk", addr, initrd));
    }
    let mut structures = info.0.to_vec();
    structures.extend(module.0);
    for e in map.entries() {
        let mut entry = Table::<MAP_ENTRY>::new();
        entry.put(0, &e.to_bytes());
        structures.extend(entry.0);
    }
    let mut command = cmdline.as_bytes().to_vec();
    command.push(0);
    blobs.push(Blob::new("the start information", INFO_ADDR, structures));
    blobs.push(Blob::new("the command line", CMDLINE_ADDR, command));
    blobs.push(Blob::new("the descriptor table", GDT_ADDR, Entry::gdt()));
    let entry = Entry { eip, ebx: INFO_ADDR as u32, gdt: GDT_ADDR as u32, ..Entry::default() };
    Ok(BootImage { blobs, entry })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::e820::Kind;
    use crate::boot::elf::tests::elf32;

    #[test]
    fn start_information_names_module_map_and_command_line() {
        let mut m = MemoryMap::new();
        m.add(0, 0x9_fc00, Kind::Ram);
        m.add(0x10_0000, 64 << 20, Kind::Ram);
        let f = elf32(b"code", Some((b"Xen\0", 18, &0x20_0002u32.to_le_bytes())));
        let elf = Elf::parse(&f).unwrap();
        let eip = entry_point(&elf).unwrap();
        let i = load(&elf, eip, Some(b"disk"), "quiet", &m, Some(0xf_0000)).unwrap();
        i.check(&m).unwrap();
        assert_eq!((i.entry.eip, i.entry.ebx), (0x20_0002, INFO_ADDR as u32));
        let find = |addr: u64| Bytes(&i.blobs.iter().find(|b| b.addr == addr).unwrap().bytes);
        let info = find(INFO_ADDR);
        assert_eq!(info.dword(0), Some(MAGIC));
        assert_eq!((info.dword(12), info.dword(48), info.qword(32)), (Some(1), Some(2), Some(0xf_0000)));
        let module = info.qword(info.qword(16).unwrap() - INFO_ADDR).unwrap();
        assert_eq!(find(module).0, b"disk");
        assert_eq!(find(info.qword(24).unwrap()).0, b"quiet\0");
        let map_at = info.qword(40).unwrap() - INFO_ADDR;
        assert_eq!(info.qword(map_at + 24), Some(0x10_0000));
    }
}
