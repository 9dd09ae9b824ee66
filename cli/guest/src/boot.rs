//! Entry from the loader: the PVH note and stub (`boot.s`), and the `hvm_start_info` that the loader hands over
//! (Xen, `xen/include/public/arch-x86/hvm/start_info.h`).

use core::arch::global_asm;
use core::slice;

global_asm!(
    include_str!("boot.s"),
    start = sym crate::start,
    window = sym crate::paging::WINDOW_TABLE,
);

unsafe extern "C" {
    static image_start: u8;
    static image_end: u8;
}

/// The physical addresses that the guest's own image takes, its stacks and tables included.
pub fn image() -> core::ops::Range<u64> {
    (&raw const image_start) as u64..(&raw const image_end) as u64
}

const MAGIC: u32 = 0x336e_c578;

/// `struct hvm_start_info`.
#[repr(C)]
pub struct StartInfo {
    magic: u32,
    version: u32,
    flags: u32,
    nr_modules: u32,
    modlist_paddr: u64,
    cmdline_paddr: u64,
    rsdp_paddr: u64,
    // From version 1 on:
    memmap_paddr: u64,
    memmap_entries: u32,
    reserved: u32,
}

/// `struct hvm_memmap_table_entry`: a range of the E820 map.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct MapEntry {
    /// First address.
    pub addr: u64,
    /// Bytes.
    pub size: u64,
    /// E820 type; 1 is RAM.
    pub kind: u32,
    reserved: u32,
}

impl StartInfo {
    /// The structure that the loader left at `addr`, if it is one.
    pub fn at(addr: u64) -> Option<&'static StartInfo> {
        // SAFETY: the PVH protocol passes the address of the structure, which lies below 4 GiB, where all is mapped; it
        // is only read, and nothing in the guest writes there.
        unsafe { (addr as *const StartInfo).as_ref() }.filter(|info| info.magic == MAGIC && addr.is_multiple_of(4))
    }

    /// The kernel command line, empty if there is none or it is not UTF-8.
    pub fn command_line(&self) -> &'static str {
        if self.cmdline_paddr == 0 {
            return "";
        }
        // SAFETY: the loader says that a zero-terminated string is there; below 4 GiB all is mapped, and 1 KiB bounds
        // the search.
        let bytes = unsafe { slice::from_raw_parts(self.cmdline_paddr as *const u8, 1024) };
        let end = bytes.iter().position(|&b| b == 0).unwrap_or(0);
        core::str::from_utf8(&bytes[..end]).unwrap_or("")
    }

    /// Where the loader says that the ACPI root pointer is.
    pub fn rsdp(&self) -> Option<u64> {
        Some(self.rsdp_paddr).filter(|&addr| addr != 0)
    }

    /// The memory map, empty if the loader gave none.
    pub fn memory_map(&self) -> &'static [MapEntry] {
        if self.version < 1 || self.memmap_paddr == 0 {
            return &[];
        }
        // SAFETY: the loader says that so many entries are there; below 4 GiB all is mapped, and the number is bounded.
        unsafe { slice::from_raw_parts(self.memmap_paddr as *const MapEntry, self.memmap_entries.min(128) as usize) }
    }

    /// The end of what the loader left in RAM for the guest to read, so that no test writes over it.
    pub fn loader_data_end(&self) -> u64 {
        let own = self as *const Self as u64 + size_of::<Self>() as u64;
        let map = self.memmap_paddr + u64::from(self.memmap_entries) * size_of::<MapEntry>() as u64;
        let text = self.cmdline_paddr + self.command_line().len() as u64 + 1;
        own.max(map).max(text)
    }
}
