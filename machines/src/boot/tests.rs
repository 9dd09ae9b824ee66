//! Images of each format, whole and damaged.

use super::*;
use gearbox_core::mem::{MemTree, RamBlock};
use gearbox_core::x86::state::gpr;
use std::sync::Arc;

const MIB: u64 = 1 << 20;

fn space(size: u64) -> (Arc<AddressSpace>, Vec<E820Entry>) {
    let block = RamBlock::new("ram", size).unwrap();
    let mut tree = MemTree::new("system", u64::MAX);
    let ram = tree.ram(&block, 0, size);
    tree.map(tree.root(), 0, ram, 0);
    let space = AddressSpace::new();
    space.install(tree.render());
    let map = vec![
        E820Entry { base: 0, size: 0x9_fc00, kind: E820Kind::Usable },
        E820Entry { base: 0x9_fc00, size: 0x6_0400, kind: E820Kind::Reserved },
        E820Entry { base: MIB, size: size - MIB, kind: E820Kind::Usable },
    ];
    (Arc::new(space), map)
}

fn kernel(image: Vec<u8>) -> KernelArgs {
    KernelArgs { image, path: "k".into(), cmdline: "a=b".into(), ..KernelArgs::default() }
}

fn boot(args: &KernelArgs, size: u64) -> Result<(Arc<AddressSpace>, X86State), BootError> {
    let (memory, map) = space(size);
    let mut state = X86State::reset(true, 0);
    BootImage::parse(args)?.load(&memory, &map, Some(0xf_1234), &mut state)?;
    Ok((memory, state))
}

fn u32_at(m: &AddressSpace, at: u64) -> u32 {
    u32::from_le_bytes(m.read_array(at).unwrap())
}

/// A bzImage of protocol 2.12 with one setup sector and `kernel` behind.
fn bzimage(kernel: &[u8]) -> Vec<u8> {
    let mut b = vec![0u8; 1024];
    b[0x1f1] = 1;
    b[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    b[0x200..0x202].copy_from_slice(&[0xeb, 0x66]);
    b[0x202..0x206].copy_from_slice(b"HdrS");
    b[0x206..0x208].copy_from_slice(&0x20cu16.to_le_bytes());
    b[0x211] = 1;
    b[0x22c..0x230].copy_from_slice(&0x7fff_ffffu32.to_le_bytes());
    b[0x238..0x23c].copy_from_slice(&255u32.to_le_bytes());
    b[0x258..0x260].copy_from_slice(&(2 * MIB).to_le_bytes());
    b[0x260..0x264].copy_from_slice(&(MIB as u32).to_le_bytes());
    b.extend(kernel);
    b
}

/// An ELF file with one PT_LOAD segment at 1 MiB (twice as large in memory) and, for `note`, a PVH note.
fn elf(is_64: bool, note: bool, body: &[u8]) -> Vec<u8> {
    let (header, entry_size) = if is_64 { (64u64, 56u64) } else { (52, 32) };
    let body_at = header + 2 * entry_size;
    let note_at = body_at + body.len() as u64;
    let mut b = vec![0x7f, b'E', b'L', b'F', if is_64 { 2 } else { 1 }, 1, 1];
    b.resize(16, 0);
    let word = |b: &mut Vec<u8>, v: u64| {
        if is_64 { b.extend(v.to_le_bytes()) } else { b.extend((v as u32).to_le_bytes()) }
    };
    b.extend(2u16.to_le_bytes());
    b.extend(if is_64 { 62u16 } else { 3 }.to_le_bytes());
    b.extend(1u32.to_le_bytes());
    word(&mut b, MIB + 8);
    word(&mut b, header);
    word(&mut b, 0);
    b.extend(0u32.to_le_bytes());
    for v in [header, entry_size, 2, 0, 0, 0] {
        b.extend((v as u16).to_le_bytes());
    }
    for (kind, at, len, memory) in [(1u32, body_at, body.len() as u64, 2 * body.len() as u64), (4, note_at, 20, 20)] {
        b.extend(kind.to_le_bytes());
        if is_64 {
            b.extend(7u32.to_le_bytes());
        }
        for v in [at, MIB, MIB, len, memory] {
            word(&mut b, v);
        }
        if !is_64 {
            b.extend(7u32.to_le_bytes());
        }
        word(&mut b, 4);
    }
    b.extend(body);
    if note {
        b.extend([4u32, 4, 18].map(u32::to_le_bytes).concat());
        b.extend(b"Xen\0");
        b.extend((MIB as u32 + 4).to_le_bytes());
    } else {
        b.resize(b.len() + 20, 0);
    }
    b
}

#[test]
fn linux_gets_its_zero_page() {
    let mut args = kernel(bzimage(b"\x90kernel"));
    args.initrd = vec![(vec![7; 5000], String::new())];
    let (m, s) = boot(&args, 16 * MIB).unwrap();
    assert_eq!((s.rip, s.gpr[gpr::RSI], s.seg(Seg::Cs).selector), (MIB, low::INFO, 0x10));
    assert_eq!(m.read_array(MIB), Some(*b"\x90kernel"));
    let zero = low::INFO;
    assert_eq!(m.read_array(zero + 0x202), Some(*b"HdrS"));
    assert_eq!(u32_at(&m, zero + 0x70), 0xf_1234);
    assert_eq!(m.read_array(u64::from(u32_at(&m, zero + 0x228))), Some(*b"a=b\0"));
    let initrd = 16 * MIB - 0x2000;
    assert_eq!((u64::from(u32_at(&m, zero + 0x218)), u32_at(&m, zero + 0x21c)), (initrd, 5000));
    assert_eq!(m.read_array(initrd + 4999), Some([7u8, 0]));
    assert_eq!(m.read_array(zero + 0x1e8), Some([3u8]));
    assert_eq!(u32_at(&m, zero + 0x2d0 + 20 + 16), E820Kind::Reserved as u32);
}

#[test]
fn pvh_gets_its_start_info() {
    for is_64 in [false, true] {
        let mut args = kernel(elf(is_64, true, b"0123456789abcdef"));
        args.initrd = vec![(b"module".to_vec(), String::new())];
        let (m, s) = boot(&args, 16 * MIB).unwrap();
        assert_eq!((s.rip, s.gpr[gpr::RBX], s.cr0), (MIB + 4, low::INFO, cr0::PE | cr0::ET));
        assert_eq!(m.read_array(MIB), Some(*b"0123456789abcdef\0\0"));
        assert_eq!((u32_at(&m, low::INFO), u32_at(&m, low::INFO + 4), u32_at(&m, low::INFO + 12)), (0x336e_c578, 1, 1));
        let list = u64::from(u32_at(&m, low::INFO + 16));
        let module = u64::from(u32_at(&m, list));
        assert_eq!((m.read_array(module), u32_at(&m, list + 8)), (Some(*b"module"), 6));
        assert_eq!(u32_at(&m, low::INFO + 32), 0xf_1234);
        let map = u64::from(u32_at(&m, low::INFO + 40));
        assert_eq!((u32_at(&m, low::INFO + 48), u32_at(&m, map + 8), u32_at(&m, map + 16)), (3, 0x9_fc00, 1));
    }
}

fn multiboot_header(flags: u32) -> Vec<u8> {
    let sum = 0u32.wrapping_sub(HEADER_MAGIC).wrapping_sub(flags);
    [HEADER_MAGIC, flags, sum].map(u32::to_le_bytes).concat()
}
const HEADER_MAGIC: u32 = 0x1bad_b002;

#[test]
fn multiboot_gets_its_information() {
    let flat = {
        let mut b = vec![0x11; 16];
        b.extend(multiboot_header(1 << 16));
        // The header at 1 MiB + 16; load from 1 MiB, to the end of the file; no bss; entry.
        b.extend([MIB as u32 + 16, MIB as u32, 0, 0, MIB as u32 + 5].map(u32::to_le_bytes).concat());
        b
    };
    let mut body = multiboot_header(3);
    body.resize(32, 0x22);
    for (image, entry, first) in [(flat, MIB + 5, 0x11), (elf(false, false, &body), MIB + 8, 2)] {
        let mut args = kernel(image);
        args.initrd = vec![(b"one".to_vec(), "one x".into()), (b"two".to_vec(), "two".into())];
        let (m, s) = boot(&args, 16 * MIB).unwrap();
        assert_eq!((s.rip, s.gpr[gpr::RAX], s.gpr[gpr::RBX]), (entry, 0x2bad_b002, low::INFO));
        assert_eq!(m.read_array(MIB), Some([first]));
        let info = |at| u32_at(&m, low::INFO + at);
        assert_eq!((info(0), info(4), info(8), info(20)), (0x24d, 639, 15 * 1024, 2));
        let second = u64::from(info(24)) + 16;
        assert_eq!(m.read_array(u64::from(u32_at(&m, second))), Some(*b"two"));
        assert_eq!(m.read_array(u64::from(u32_at(&m, second + 8))), Some(*b"two\0"));
        assert_eq!((info(44), u32_at(&m, u64::from(info(48)))), (72, 20));
    }
}

#[test]
fn what_cannot_be_booted_is_told() {
    let text = |image: Vec<u8>| boot(&kernel(image), 4 * MIB).err().unwrap().to_string();
    assert!(text(vec![0; 4096]).starts_with("-kernel k: neither a bzImage"));
    assert!(text(elf(true, false, b"12345678")).contains("without a PVH entry note"));
    assert!(text(bzimage(b"")).contains("cut off"));
    assert!(text(bzimage(&vec![1; 4 << 20])).contains("does not fit the guest's RAM"));
    let mut old = bzimage(b"k");
    old[0x206] = 2;
    assert!(text(old).contains("boot protocol 2.02 is too old"));
    let mut args = kernel(bzimage(b"k"));
    args.cmdline = "x".repeat(256);
    assert!(
        boot(&args, 4 * MIB).err().unwrap().to_string().contains("-append is 256 bytes long; this kernel takes 255")
    );
    args = kernel(bzimage(b"k"));
    args.initrd = vec![(vec![0; 3 << 20], String::new())];
    assert!(boot(&args, 4 * MIB).err().unwrap().to_string().contains("-initrd"));
    assert!(text(multiboot_header(4)).contains("requires features 0x4"));
}

/// Every image, with every byte of its headers damaged in turn and cut at every length: an error or a boot, never a panic.
#[test]
fn damaged_images_do_no_harm() {
    let mut multiboot = multiboot_header(1 << 16);
    multiboot.extend([MIB as u32, MIB as u32, 0, 0, MIB as u32].map(u32::to_le_bytes).concat());
    for image in [bzimage(b"kernel"), elf(true, true, b"12345678"), elf(false, true, b"12345678"), multiboot] {
        let (memory, map) = space(4 * MIB);
        let attempt = |image: Vec<u8>| {
            if let Ok(b) = BootImage::parse(&kernel(image)) {
                let _ = b.load(&memory, &map, None, &mut X86State::reset(true, 0));
            }
        };
        for at in 0..image.len().min(700) {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut damaged = image.clone();
                damaged[at] = value;
                attempt(damaged);
            }
            attempt(image[..at].to_vec());
        }
    }
}
