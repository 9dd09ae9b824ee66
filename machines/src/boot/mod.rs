//! Direct kernel boot, without firmware: bzImage, ELF with a PVH note, multiboot 1.
//!
//! Loaders only compute a [`BootImage`]; they touch no machine. All of them take files as hostile: what is wrong with one is an error.

pub mod bzimage;
pub mod e820;
pub mod elf;
pub mod entry;
pub mod image;
pub mod multiboot;
pub mod pvh;

pub use e820::MemoryMap;
pub use image::{Blob, BootImage};

use gearbox_core::machine::{BootError, KernelArgs};

/// Where the descriptor table of the entry state goes.
const GDT_ADDR: u64 = 0x1000;
/// Where the zero page and its like go.
const INFO_ADDR: u64 = 0x1_0000;

/// A file besides the kernel.
#[derive(Clone, Copy)]
pub struct Module<'a> {
    /// Its contents.
    pub bytes: &'a [u8],
    /// Its name and arguments.
    pub name: &'a str,
}

/// The highest page-aligned address at which `size` bytes end at or below `limit`.
fn below(limit: u64, size: u64) -> Option<u64> {
    Some(limit.checked_sub(size)? & !0xfff)
}

/// Makes something bootable of `-kernel`, `-initrd` and `-append`, for a machine with this memory, whose ACPI tables begin at `rsdp`.
///
/// # Errors
/// The image is of no known kind, is broken, or does not fit.
pub fn prepare(kernel: &KernelArgs, map: &MemoryMap, rsdp: Option<u64>) -> Result<BootImage, BootError> {
    let image = load(kernel, map, rsdp).and_then(|i| i.check(map).map(|()| i));
    image.map_err(|reason| BootError::kernel(kernel, reason))
}

/// Whether [`prepare`] can make something of it.
///
/// # Errors
/// Why not.
pub fn check(kernel: &KernelArgs, map: &MemoryMap) -> Result<(), BootError> {
    prepare(kernel, map, None).map(drop)
}

fn load(kernel: &KernelArgs, map: &MemoryMap, rsdp: Option<u64>) -> Result<BootImage, String> {
    let (image, cmdline) = (&kernel.image[..], &kernel.cmdline[..]);
    if cmdline.contains('\0') {
        return Err("the command line holds a zero byte".into());
    }
    if let Some(header) = (!bzimage::recognise(image)).then(|| multiboot::recognise(image)).flatten() {
        let modules: Vec<_> = kernel.initrd.iter().map(|(bytes, name)| Module { bytes, name }).collect();
        let cmdline = format!("{} {cmdline}", kernel.path.display());
        return multiboot::load(image, header, &modules, cmdline.trim_end(), map);
    }
    let initrd = match &kernel.initrd[..] {
        [] => None,
        [(bytes, _)] => Some(&bytes[..]),
        more => return Err(format!("only multiboot kernels take {} modules; this one takes one -initrd", more.len())),
    };
    if bzimage::recognise(image) {
        return bzimage::load(image, initrd, cmdline, map, rsdp);
    }
    if elf::recognise(image) {
        let elf = elf::Elf::parse(image)?;
        let entry = pvh::entry_point(&elf)
            .ok_or("the ELF file has neither a PVH note (CONFIG_PVH of Linux) nor a multiboot header")?;
        return pvh::load(&elf, entry, initrd, cmdline, map, rsdp);
    }
    Err("this is neither a bzImage nor an ELF file with a PVH note nor a multiboot 1 kernel".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_is_not_is_said() {
        let mut map = MemoryMap::new();
        map.add(0, 64 << 20, e820::Kind::Ram);
        let kernel = KernelArgs { image: b"#!/bin/sh".to_vec(), path: "x.sh".into(), ..KernelArgs::default() };
        let e = prepare(&kernel, &map, None).unwrap_err().to_string();
        assert!(e.starts_with("-kernel x.sh: this is neither"), "{e}");
        let kernel = KernelArgs { image: elf::tests::elf32(b"code", None), ..kernel };
        assert!(prepare(&kernel, &map, None).unwrap_err().to_string().contains("PVH"));
    }
}
