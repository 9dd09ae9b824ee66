//! `-kernel` on a machine with firmware: the parts of a bzImage as items of the firmware configuration device, and the ROM that boots from them
//! (QEMU's `x86_load_linux`). Firmware with a boot manager of its own, as OVMF, reads the items itself.
//!
//! Source: Linux, Documentation/arch/x86/boot.rst.

use super::memory::Layout;
use crate::boot::bzimage::{self, LOADED_HIGH, OLDEST, header, zero_page};
use crate::boot::image::Bytes;
use crate::devices::fw_cfg::{FwCfg, key};
use gearbox_core::machine::{BootError, BuildError, KernelArgs, MachineConfig, OptionRom};

/// The ROM.
const LOADER: &str = "linuxboot_dma.bin";
const LOADER_MOST: u64 = 64 << 10;

/// Where the real-mode part goes, the command line after it, and the rest.
const SETUP_ADDR: u32 = 0x1_0000;
const CMDLINE_ADDR: u32 = 0x2_0000;
const KERNEL_ADDR: u32 = 0x10_0000;
/// What firmware takes at the end of RAM below 4 GiB for tables.
const TABLES: u64 = 0x2_8000;

/// `loadflags`: there is a heap.
const CAN_USE_HEAP: u8 = 1 << 7;
/// `xloadflags`, from protocol 2.12 on: the RAM disk may be above what `initrd_addr_max` says.
const ABOVE_4G: u16 = 1 << 1;
/// QEMU, as a loader.
const QEMU: u8 = 0xb0;

/// Adds the kernel, for firmware to boot; the ROM that does.
///
/// # Errors
/// It is no bzImage, or there is no ROM.
pub(in crate::boards) fn items(
    config: &MachineConfig,
    kernel: &KernelArgs,
    layout: Layout,
    items: &mut FwCfg,
) -> Result<OptionRom, BuildError> {
    let wrong = |reason: String| BootError::kernel(kernel, reason);
    add(kernel, layout, items).map_err(wrong)?;
    let rom = config.firmware_path.read(LOADER, LOADER_MOST);
    let (image, _) = rom.map_err(|e| wrong(format!("firmware boots it by {LOADER}: {e}")))?;
    Ok(OptionRom { name: LOADER.to_owned(), image, bootindex: Some(0) })
}

/// Whether firmware can be given the kernel.
///
/// # Errors
/// Why not.
pub(super) fn check(kernel: &KernelArgs, layout: Layout) -> Result<(), BootError> {
    add(kernel, layout, &mut FwCfg::new()).map_err(|reason| BootError::kernel(kernel, reason))
}

fn add(kernel: &KernelArgs, layout: Layout, items: &mut FwCfg) -> Result<(), String> {
    let image = &kernel.image[..];
    let b = Bytes(image);
    let version = b.word(header::VERSION).filter(|_| bzimage::recognise(image)).unwrap_or(0);
    let flags = b.byte(header::LOADFLAGS).filter(|flags| flags & LOADED_HIGH != 0);
    let Some(flags) = flags.filter(|_| version >= OLDEST && image.len() as u64 >= header::CMDLINE_SIZE) else {
        return Err("firmware boots bzImages; leave -bios and -pflash away for others".into());
    };
    let (setup, rest) = bzimage::split(image).ok_or("invalid kernel header")?;
    let mut setup = setup.to_vec();
    let mut put = |at: usize, bytes: &[u8]| setup[at..at + bytes.len()].copy_from_slice(bytes);
    put(zero_page::CMD_LINE_PTR, &CMDLINE_ADDR.to_le_bytes());
    // The flags follow.
    put(zero_page::TYPE_OF_LOADER, &[QEMU, flags | CAN_USE_HEAP]);
    put(zero_page::HEAP_END_PTR, &((CMDLINE_ADDR - SETUP_ADDR - 0x200) as u16).to_le_bytes());
    if let Some(mode) = video_mode(&kernel.cmdline)? {
        put(zero_page::VID_MODE, &mode.to_le_bytes());
    }
    if let Some((initrd, _)) = kernel.initrd.first() {
        let above = version >= 0x20c && b.word(header::XLOADFLAGS).is_some_and(|f| f & ABOVE_4G != 0);
        let bound = if above { u32::MAX } else { b.dword(header::INITRD_ADDR_MAX).unwrap_or(0) };
        let most = u64::from(bound).min(layout.low.saturating_sub(TABLES + 1));
        let size = initrd.len() as u64;
        let least = u64::from(KERNEL_ADDR) + rest.len() as u64;
        let at = most.checked_sub(size).map(|at| at & !0xfff).filter(|at| *at >= least);
        let at = at.ok_or("kernel and initial RAM disk are too large for the machine's memory")? as u32;
        put(zero_page::RAMDISK_IMAGE, &at.to_le_bytes());
        put(zero_page::RAMDISK_SIZE, &(size as u32).to_le_bytes());
        items.set(key::INITRD_ADDR, at.to_le_bytes());
        items.set(key::INITRD_SIZE, (size as u32).to_le_bytes());
        items.set(key::INITRD_DATA, &initrd[..]);
    }
    let mut cmdline = kernel.cmdline.clone().into_bytes();
    cmdline.push(0);
    items.set(key::CMDLINE_ADDR, CMDLINE_ADDR.to_le_bytes());
    items.set(key::CMDLINE_SIZE, (cmdline.len() as u32).to_le_bytes());
    items.set(key::CMDLINE_DATA, cmdline);
    items.set(key::KERNEL_ADDR, KERNEL_ADDR.to_le_bytes());
    items.set(key::KERNEL_SIZE, (rest.len() as u32).to_le_bytes());
    items.set(key::KERNEL_DATA, rest);
    items.set(key::SETUP_ADDR, SETUP_ADDR.to_le_bytes());
    items.set(key::SETUP_SIZE, (setup.len() as u32).to_le_bytes());
    items.set(key::SETUP_DATA, setup);
    Ok(())
}

/// `vga=` in the command line, which boot loaders take.
fn video_mode(cmdline: &str) -> Result<Option<u16>, String> {
    let Some(text) = cmdline.split(' ').find_map(|word| word.strip_prefix("vga=")) else { return Ok(None) };
    let hex = |digits| u16::from_str_radix(digits, 16);
    let mode = match text {
        "normal" => Ok(0xffff),
        "ext" => Ok(0xfffe),
        "ask" => Ok(0xfffd),
        number => number.strip_prefix("0x").map_or_else(|| number.parse(), hex),
    };
    mode.map(Some).map_err(|_| format!("can't parse 'vga' parameter: '{text}'"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(version: u16) -> KernelArgs {
        let mut image = vec![0; 4096];
        image[0x1f1] = 1;
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x206..0x208].copy_from_slice(&version.to_le_bytes());
        image[0x211] = LOADED_HIGH;
        image[0x22c..0x230].copy_from_slice(&0x37ff_ffffu32.to_le_bytes());
        image[1024..].fill(0x90);
        KernelArgs {
            image,
            cmdline: "quiet vga=ask".into(),
            initrd: vec![(vec![7; 5000], "i".into())],
            ..KernelArgs::default()
        }
    }

    #[test]
    fn a_kernel_in_parts() {
        let mut items = FwCfg::new();
        let layout = Layout::new(64 << 20);
        add(&kernel(0x20f), layout, &mut items).unwrap();
        let get = |key| items.plain(key).map(<[u8]>::to_vec).unwrap_or_default();
        let number = |key| u32::from_le_bytes(get(key).try_into().unwrap());
        assert_eq!((number(key::KERNEL_SIZE), get(key::KERNEL_DATA).len()), (3072, 3072));
        assert_eq!(get(key::CMDLINE_DATA), b"quiet vga=ask\0");
        let at = number(key::INITRD_ADDR);
        assert_eq!((at % 4096, number(key::INITRD_SIZE)), (0, 5000));
        assert!(u64::from(at) + 5000 <= (64 << 20) - TABLES);
        let setup = get(key::SETUP_DATA);
        assert_eq!((setup.len(), setup[0x210], setup[0x211]), (1024, QEMU, 0x81));
        assert_eq!((&setup[0x1fa..0x1fc], &setup[0x228..0x22c]), (&[0xfd, 0xff][..], &[0, 0, 2, 0][..]));
    }

    #[test]
    fn others_are_refused() {
        let layout = Layout::new(64 << 20);
        assert!(add(&kernel(0x202), layout, &mut FwCfg::new()).unwrap_err().contains("bzImages"));
        let large = KernelArgs { initrd: vec![(vec![0; 70 << 20], String::new())], ..kernel(0x20f) };
        assert!(add(&large, layout, &mut FwCfg::new()).unwrap_err().contains("too large"));
        let short = KernelArgs { image: kernel(0x20f).image[..600].to_vec(), ..kernel(0x20f) };
        assert!(add(&short, layout, &mut FwCfg::new()).is_err());
        assert!(video_mode("vga=0x317").unwrap() == Some(0x317) && video_mode("vga=x").is_err());
    }
}
