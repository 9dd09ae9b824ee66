//! Linux' bzImage, entered by the 32-bit boot protocol (Linux, Documentation/arch/x86/boot.rst).

use super::e820::MemoryMap;
use super::entry::Entry;
use super::image::{Blob, BootImage, Bytes, Table};
use super::{GDT_ADDR, INFO_ADDR, below};

/// Offsets in the image's first sectors, which are also those in the zero page.
pub(crate) mod header {
    pub(crate) const SETUP_SECTS: u64 = 0x1f1;
    pub(crate) const BOOT_FLAG: u64 = 0x1fe;
    /// Displacement of the jump over the header: the header ends at 0x202 + this.
    pub(crate) const JUMP: u64 = 0x201;
    pub(crate) const MAGIC: u64 = 0x202;
    pub(crate) const VERSION: u64 = 0x206;
    pub(crate) const LOADFLAGS: u64 = 0x211;
    pub(crate) const INITRD_ADDR_MAX: u64 = 0x22c;
    pub(crate) const RELOCATABLE: u64 = 0x234;
    pub(crate) const XLOADFLAGS: u64 = 0x236;
    pub(crate) const CMDLINE_SIZE: u64 = 0x238;
    pub(crate) const PREF_ADDRESS: u64 = 0x258;
    pub(crate) const INIT_SIZE: u64 = 0x260;
}

/// Offsets in the zero page (`struct boot_params`) that are filled in.
pub(crate) mod zero_page {
    pub(crate) const ACPI_RSDP_ADDR: usize = 0x070;
    pub(crate) const ALT_MEM_K: usize = 0x1e0;
    pub(crate) const E820_ENTRIES: usize = 0x1e8;
    pub(crate) const HEADER: usize = 0x1f1;
    pub(crate) const VID_MODE: usize = 0x1fa;
    pub(crate) const TYPE_OF_LOADER: usize = 0x210;
    pub(crate) const RAMDISK_IMAGE: usize = 0x218;
    pub(crate) const RAMDISK_SIZE: usize = 0x21c;
    pub(crate) const HEAP_END_PTR: usize = 0x224;
    pub(crate) const CMD_LINE_PTR: usize = 0x228;
    pub(crate) const E820_TABLE: usize = 0x2d0;
    pub(crate) const SIZE: usize = 4096;
}

const BOOT_FLAG: u16 = 0xaa55;
const MAGIC: [u8; 4] = *b"HdrS";
/// The oldest protocol with a command line anywhere and an initial RAM disk bound (Linux 2.4.18).
pub(crate) const OLDEST: u16 = 0x0203;
/// `loadflags`: the protected-mode code goes to 1 MiB.
pub(crate) const LOADED_HIGH: u8 = 1;
/// `type_of_loader`: one without a number of its own.
const LOADER: u8 = 0xff;
/// `vid_mode`: normal.
const VIDEO_NORMAL: u16 = 0xffff;
const KERNEL_ADDR: u64 = 0x10_0000;
const CMDLINE_ADDR: u64 = INFO_ADDR + 0x1_0000;
/// Room for the command line.
const CMDLINE_MOST: u64 = 0xffff;
/// Room in the zero page's table.
const E820_MOST: usize = 128;

/// Is this a Linux kernel with a boot protocol?
pub fn recognise(image: &[u8]) -> bool {
    Bytes(image).array(header::MAGIC) == Some(MAGIC)
}

/// The real-mode part with the header, and the rest; `None` if the image ends before.
pub(crate) fn split(image: &[u8]) -> Option<(&[u8], &[u8])> {
    let sectors = match Bytes(image).byte(header::SETUP_SECTS)? {
        0 => 4,
        n => usize::from(n),
    };
    image.split_at_checked((sectors + 1) * 512)
}

/// Lays the kernel out with its RAM disk and command line.
///
/// # Errors
/// What is wrong with the image, or what does not fit.
pub fn load(
    image: &[u8],
    initrd: Option<&[u8]>,
    cmdline: &str,
    map: &MemoryMap,
    rsdp: Option<u64>,
) -> Result<BootImage, String> {
    let b = Bytes(image);
    let short = || "the image ends within its header".to_owned();
    if b.word(header::BOOT_FLAG) != Some(BOOT_FLAG) {
        return Err("the boot sector has no signature".into());
    }
    let version = b.word(header::VERSION).ok_or_else(short)?;
    if version < OLDEST {
        return Err(format!(
            "boot protocol {}.{:02} is too old; 2.03 is the oldest supported",
            version >> 8,
            version & 0xff
        ));
    }
    if b.byte(header::LOADFLAGS).ok_or_else(short)? & LOADED_HIGH == 0 {
        return Err("this is a zImage, which is loaded below 1 MiB; only bzImages are supported".into());
    }
    let since = |v: u16, value: Option<u64>| value.filter(|_| version >= v);
    let (_, kernel) = split(image).filter(|(_, kernel)| !kernel.is_empty()).ok_or_else(short)?;

    // Once decompressed, the kernel needs its memory from where it then runs.
    let relocatable = since(0x0205, b.byte(header::RELOCATABLE).map(u64::from)).unwrap_or(0) != 0;
    let preferred = since(0x020a, b.qword(header::PREF_ADDRESS)).unwrap_or(KERNEL_ADDR);
    let start = if relocatable { preferred.max(KERNEL_ADDR) } else { preferred };
    let needs = since(0x020a, b.dword(header::INIT_SIZE).map(u64::from)).unwrap_or(0);
    if !map.is_ram(start, needs.max(1)) {
        return Err(format!("the kernel needs {} KiB of RAM at {start:#x}, which there is not", needs >> 10));
    }
    let kernel_end = start.saturating_add(needs).max(KERNEL_ADDR + kernel.len() as u64);

    let most = since(0x0206, b.dword(header::CMDLINE_SIZE).map(u64::from)).unwrap_or(255).min(CMDLINE_MOST);
    if cmdline.len() as u64 > most {
        return Err(format!("the command line has {} bytes; this kernel takes {most}", cmdline.len()));
    }

    let mut page = Table::<{ zero_page::SIZE }>::new();
    let header_end = header::MAGIC + u64::from(b.byte(header::JUMP).ok_or_else(short)?);
    let header_len = header_end.saturating_sub(header::SETUP_SECTS);
    page.put(zero_page::HEADER, b.slice(header::SETUP_SECTS, header_len).ok_or_else(short)?);
    page.byte(zero_page::TYPE_OF_LOADER, LOADER);
    page.word(zero_page::VID_MODE, VIDEO_NORMAL);
    page.dword(zero_page::CMD_LINE_PTR, CMDLINE_ADDR as u32);
    page.qword(zero_page::ACPI_RSDP_ADDR, rsdp.unwrap_or(0));
    let low = map.low_ram().ok_or("there is no RAM at 1 MiB")?;
    page.dword(zero_page::ALT_MEM_K, u32::try_from((low.end() - KERNEL_ADDR) >> 10).unwrap_or(u32::MAX));
    let entries = map.entries().get(..E820_MOST).unwrap_or(map.entries());
    page.byte(zero_page::E820_ENTRIES, entries.len() as u8);
    for (n, e) in entries.iter().enumerate() {
        page.put(zero_page::E820_TABLE + 20 * n, &e.to_bytes());
    }

    let mut command = cmdline.as_bytes().to_vec();
    command.push(0);
    let mut blobs = vec![
        Blob::new("the descriptor table", GDT_ADDR, Entry::gdt()),
        Blob::new("the command line", CMDLINE_ADDR, command),
        Blob::new("the kernel", KERNEL_ADDR, kernel),
    ];
    if let Some(initrd) = initrd.filter(|i| !i.is_empty()) {
        let limit = u64::from(b.dword(header::INITRD_ADDR_MAX).ok_or_else(short)?).saturating_add(1).min(low.end());
        let size = initrd.len() as u64;
        let addr = below(limit, size).filter(|&a| a >= kernel_end).ok_or_else(|| {
            format!("the initial RAM disk ({} KiB) does not fit between the kernel and {limit:#x}", size >> 10)
        })?;
        page.dword(zero_page::RAMDISK_IMAGE, addr as u32);
        page.dword(zero_page::RAMDISK_SIZE, size as u32);
        blobs.push(Blob::new("the initial RAM disk", addr, initrd));
    }
    blobs.push(Blob::new("the zero page", INFO_ADDR, page.0));
    let entry = Entry { eip: KERNEL_ADDR as u32, esi: INFO_ADDR as u32, gdt: GDT_ADDR as u32, ..Entry::default() };
    Ok(BootImage { blobs, entry })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::e820::Kind;

    fn map(ram: u64) -> MemoryMap {
        let mut m = MemoryMap::new();
        m.add(0, 0x9_fc00, Kind::Ram);
        m.add(0x9_fc00, 0x10_0000, Kind::Reserved);
        m.add(0x10_0000, ram, Kind::Ram);
        m
    }
    /// A kernel of protocol 2.15 with one setup sector and four bytes of code.
    fn kernel() -> Vec<u8> {
        let mut k = vec![0; 1024];
        k[0x1f1] = 1;
        k[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
        k[0x201] = 0x6a;
        k[0x202..0x206].copy_from_slice(b"HdrS");
        k[0x206..0x208].copy_from_slice(&[0x0f, 2]);
        k[0x211] = 1;
        k[0x22c..0x230].copy_from_slice(&0x7fff_ffffu32.to_le_bytes());
        k[0x234] = 1;
        k[0x238..0x23c].copy_from_slice(&2047u32.to_le_bytes());
        k[0x258..0x260].copy_from_slice(&0x100_0000u64.to_le_bytes());
        k[0x260..0x264].copy_from_slice(&0x100_0000u32.to_le_bytes());
        k.extend(b"code");
        k
    }
    fn blob<'a>(i: &'a BootImage, name: &str) -> &'a Blob {
        i.blobs.iter().find(|b| b.name == name).unwrap()
    }

    #[test]
    fn everything_is_where_the_protocol_says() {
        let (k, m) = (kernel(), map(128 << 20));
        assert!(recognise(&k));
        let i = load(&k, Some(&[7; 5000]), "quiet", &m, Some(0xf_0000)).unwrap();
        i.check(&m).unwrap();
        assert_eq!(*blob(&i, "the kernel").bytes, *b"code");
        assert_eq!(*blob(&i, "the command line").bytes, *b"quiet\0");
        let rd = blob(&i, "the initial RAM disk");
        assert_eq!(rd.addr, (128 << 20) - 0x2000);
        let z = Bytes(&blob(&i, "the zero page").bytes);
        assert_eq!(z.dword(0x218), Some(rd.addr as u32));
        assert_eq!(z.dword(0x21c), Some(5000));
        assert_eq!(z.dword(0x228), Some(CMDLINE_ADDR as u32));
        assert_eq!(z.qword(0x70), Some(0xf_0000));
        assert_eq!((z.byte(0x1e8), z.byte(0x210), z.word(0x1fe)), (Some(3), Some(0xff), Some(0xaa55)));
        assert_eq!(z.qword(0x2d0 + 40), Some(0x10_0000));
        assert_eq!(i.entry.eip, 0x10_0000);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let k = kernel();
        let e = load(&k, None, "", &map(16 << 20), None).unwrap_err();
        assert!(e.contains("16384 KiB"), "{e}");
        let e = load(&k, Some(&vec![0; 2 << 20]), "", &map(33 << 20), None).unwrap_err();
        assert!(e.contains("RAM disk"), "{e}");
        let e = load(&k, None, &"x".repeat(2048), &map(64 << 20), None).unwrap_err();
        assert!(e.contains("2047"), "{e}");
    }

    #[test]
    fn initrd_stays_below_what_the_kernel_can_reach() {
        let mut k = kernel();
        k[0x22c..0x230].copy_from_slice(&0x37ff_ffffu32.to_le_bytes());
        let i = load(&k, Some(&[1]), "", &map(2 << 30), None).unwrap();
        assert_eq!(blob(&i, "the initial RAM disk").addr, 0x37ff_f000);
    }

    #[test]
    fn broken_images_are_errors() {
        let good = kernel();
        for len in 0..good.len() {
            assert!(load(&good[..len], None, "", &map(64 << 20), None).is_err() || len > 1024);
        }
        for offset in 0x1f1..0x268 {
            for v in [0, 1, 0x7f, 0x80, 0xff] {
                let mut k = good.clone();
                k[offset] = v;
                if let Ok(i) = load(&k, Some(&[1; 100]), "x", &map(64 << 20), None) {
                    let _ = i.check(&map(64 << 20));
                }
            }
        }
    }
}
