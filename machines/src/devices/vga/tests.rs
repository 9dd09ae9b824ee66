//! The card on a bench: modes set register by register, as a BIOS does.

use super::*;
use gearbox_accel_qtest::Bench;
use gearbox_core::board::{DeviceId, RealizeError};
use gearbox_core::pci::{Devfn, PciPlace, command, reg};

/// Registers of a mode.
struct ModeTable {
    misc: u8,
    seq: [u8; 5],
    crtc: [u8; 25],
    gfx: [u8; 9],
    attr: [u8; 21],
}

/// 80x25 characters of 9x16.
const TEXT: ModeTable = ModeTable {
    misc: 0x67,
    seq: [3, 0x00, 0x03, 0x00, 0x02],
    crtc: [
        0x5f, 0x4f, 0x50, 0x82, 0x55, 0x81, 0xbf, 0x1f, 0, 0x4f, 0x0d, 0x0e, 0, 0, 0, 0, 0x9c, 0x8e, 0x8f, 0x28, 0x1f,
        0x96, 0xb9, 0xa3, 0xff,
    ],
    gfx: [0, 0, 0, 0, 0, 0x10, 0x0e, 0x0f, 0xff],
    attr: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0x0c, 0, 0x0f, 0x08, 0],
};
/// 640x480, 16 colors.
const PLANAR: ModeTable = ModeTable {
    misc: 0xe3,
    seq: [3, 0x01, 0x0f, 0x00, 0x06],
    crtc: [
        0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0x0b, 0x3e, 0, 0x40, 0, 0, 0, 0, 0, 0, 0xea, 0x8c, 0xdf, 0x28, 0, 0xe7,
        0x04, 0xe3, 0xff,
    ],
    gfx: [0, 0, 0, 0, 0, 0, 0x05, 0x0f, 0xff],
    attr: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0x01, 0, 0x0f, 0, 0],
};
/// 320x200, 256 colors: mode 13h.
const PACKED: ModeTable = ModeTable {
    misc: 0x63,
    seq: [3, 0x01, 0x0f, 0x00, 0x0e],
    crtc: [
        0x5f, 0x4f, 0x50, 0x82, 0x54, 0x80, 0xbf, 0x1f, 0, 0x41, 0, 0, 0, 0, 0, 0, 0x9c, 0x8e, 0x8f, 0x28, 0x40, 0x96,
        0xb9, 0xa3, 0xff,
    ],
    gfx: [0, 0, 0, 0, 0, 0x40, 0x05, 0x0f, 0xff],
    attr: [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0x41, 0, 0x0f, 0, 0],
};
/// 320x200, 4 colors, as on the CGA: mode 4.
const CGA: ModeTable = ModeTable {
    misc: 0x63,
    seq: [3, 0x09, 0x03, 0x00, 0x02],
    crtc: [
        0x2d, 0x27, 0x28, 0x90, 0x2b, 0x80, 0xbf, 0x1f, 0, 0xc1, 0, 0, 0, 0, 0, 0, 0x9c, 0x8e, 0x8f, 0x14, 0, 0x96,
        0xb9, 0xa2, 0xff,
    ],
    gfx: [0, 0, 0, 0, 0, 0x30, 0x0f, 0x0f, 0xff],
    attr: [0, 3, 5, 7, 2, 4, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 0x01, 0, 0x03, 0, 0],
};

const LFB: u64 = 0xe000_0000;
const BAR2: u64 = 0xe100_0000;

struct Rig {
    b: Bench,
    id: DeviceId,
}

fn made(vga: Vga) -> Result<Rig, RealizeError> {
    let mut b = Bench::new();
    let place = PciPlace { addr: Some(Devfn::new(2, 0)), romfile: Some(String::new()), ..PciPlace::default() };
    let id = b.realize(Vga { place, ..vga })?.id;
    let mut r = Rig { b, id };
    for (register, value) in [(reg::BAR0, LFB), (reg::BAR0 + 8, BAR2)] {
        r.set_config(register, value as u32);
    }
    r.set_config(reg::COMMAND, (command::IO | command::MEMORY).into());
    Ok(r)
}
fn rig() -> Rig {
    made(Vga::default()).unwrap()
}

impl Rig {
    fn config(&self, register: u8) -> u32 {
        self.b.with(|s| s.fabric.pci.config_read(2 << 11 | u32::from(register), 4))
    }
    fn set_config(&mut self, register: u8, value: u32) {
        self.b.with(|s| s.fabric.pci.config_write(2 << 11 | u32::from(register), 4, value));
    }
    fn indexed(&mut self, port: u16, first: u8, values: &[u8]) {
        for (n, &v) in (first..).zip(values) {
            self.b.outw(port, u16::from(v) << 8 | u16::from(n));
        }
    }
    fn set_mode(&mut self, mode: &ModeTable) {
        self.b.outb(0x3c2, mode.misc);
        self.indexed(0x3c4, 0, &mode.seq);
        self.indexed(0x3d4, 0x11, &[0x0e]);
        self.indexed(0x3d4, 0, &mode.crtc);
        self.indexed(0x3ce, 0, &mode.gfx);
        self.b.inb(0x3da);
        for (n, &v) in (0..).zip(&mode.attr) {
            self.b.outb(0x3c0, n);
            self.b.outb(0x3c0, v);
        }
        self.b.outb(0x3c0, 0x20);
        // Color n is (n, 0, 63 - n).
        self.b.outb(0x3c8, 0);
        (0..64).for_each(|n| [n, 0, 63 - n].into_iter().for_each(|v| self.b.outb(0x3c9, v)));
    }
    fn dispi(&mut self, registers: &[(u16, u16)]) {
        for &(index, value) in registers {
            self.b.outw(0x1ce, index);
            self.b.outw(0x1d0, value);
        }
    }
    fn picture(&self) -> Picture {
        self.b.with(|s| s.picture(self.id)).unwrap()
    }
    fn text(&self) -> Option<TextScreen> {
        self.b.with(|s| s.text_screen(self.id))
    }
}

/// What color `n` of [`Rig::set_mode`] looks like.
fn color(n: u8) -> [u8; 3] {
    let eight = |v: u8| v << 2 | if v & 1 != 0 { 3 } else { 0 };
    [eight(n), 0, eight(63 - n)]
}

#[test]
fn text_is_shown_with_the_font_of_map_2() {
    let mut r = rig();
    assert_eq!((r.picture().width, r.text()), (640, None), "before anybody sets a mode");
    r.set_mode(&TEXT);
    // The font: character 1 is a bar on the left edge, C4h on the right.
    r.indexed(0x3c4, 2, &[0x04, 0x00, 0x06]);
    r.indexed(0x3ce, 5, &[0x00, 0x04]);
    for line in 0..16 {
        r.b.writeb(0xa_0000 + 32 + line, 0x80);
        r.b.writeb(0xa_0000 + 0xc4 * 32 + line, 0x01);
    }
    r.indexed(0x3c4, 2, &[0x03, 0x00, 0x02]);
    r.indexed(0x3ce, 5, &[0x10, 0x0e]);
    // Line 1: the bar in color 2 on color 5, then the line-drawing character; the cursor is on the third.
    let at = 0xb_8000 + 160;
    r.b.write(at, &[1, 0x52, 0xc4, 0x0e, b'X', 0x07]);
    assert_eq!(r.b.readl(at), 0x0ec4_5201);
    r.indexed(0x3d4, 0x0e, &[0, 82]);
    let p = r.picture();
    assert_eq!((p.width, p.height), (720, 400));
    assert_eq!((p.pixel(0, 16), p.pixel(1, 16), p.pixel(8, 31)), (color(2), color(5), color(5)));
    assert_eq!((p.pixel(15, 16), p.pixel(16, 16), p.pixel(17, 16)), (color(0), color(14), color(14)), "it joins");
    assert_eq!((p.pixel(18, 28), p.pixel(18, 29), p.pixel(26, 30)), (color(0), color(7), color(7)), "the cursor");
    let t = r.text().unwrap();
    assert_eq!((t.columns, t.cells.len(), t.cursor), (80, 2000, Some((2, 1))));
    assert_eq!(t.lines().nth(1).unwrap(), "☺─X");
    assert_eq!((t.cells[80].ink, t.cells[80].paper), (color(2), color(5)));
    // Bit 7 of an attribute makes it blink, or is a color's.
    r.b.writeb(at + 1, 0xd2);
    assert_eq!(r.text().unwrap().cells[80].paper, color(5));
    r.b.inb(0x3da);
    [0x30, 0x04].into_iter().for_each(|v| r.b.outb(0x3c0, v));
    assert_eq!(r.text().unwrap().cells[80].paper, color(13));
    // 40 characters of 8 dots that are twice as wide.
    r.indexed(0x3c4, 1, &[0x08]);
    r.indexed(0x3d4, 0x11, &[0x0e]);
    r.indexed(0x3d4, 1, &[39]);
    assert_eq!(r.picture().width, 640);
    r.indexed(0x3c4, 1, &[0x20]);
    assert!(r.picture().rgb.iter().all(|v| *v == 0) && r.text().is_none(), "switched off");
}

#[test]
fn sixteen_colors_from_four_maps() {
    let mut r = rig();
    r.set_mode(&PLANAR);
    r.indexed(0x3c4, 2, &[0b1010]);
    r.b.writeb(0xa_0000 + 80 * 3 + 1, 0x81);
    let p = r.picture();
    assert_eq!((p.width, p.height), (640, 480));
    assert_eq!([7, 8, 9, 15].map(|x| p.pixel(x, 3)), [color(0), color(10), color(0), color(10)]);
    // Panning moves the picture left; a split screen begins anew with address 0.
    r.b.inb(0x3da);
    [0x33, 0x01].into_iter().for_each(|v| r.b.outb(0x3c0, v));
    assert_eq!(r.picture().pixel(7, 3), color(10));
    r.indexed(0x3d4, 0x18, &[99]);
    r.indexed(0x3d4, 0x07, &[0x2e]);
    r.indexed(0x3d4, 0x09, &[0x00]);
    assert_eq!(r.picture().pixel(7, 103), color(10));
}

#[test]
fn mode_13h_is_plain_memory() {
    let mut r = rig();
    r.set_mode(&PACKED);
    r.b.writeb(0xa_0000 + 320 * 5 + 7, 42);
    assert_eq!(r.b.readb(LFB + 320 * 5 + 7), 42);
    r.b.writeb(LFB + 1, 9);
    assert_eq!(r.b.readb(0xa_0001), 9);
    let plain = |r: &Rig| {
        let view = r.b.board().memory().view();
        view.find(0xa_0000).is_some_and(|range| range.host_ptr(0xa_0000).is_some())
    };
    assert!(plain(&r));
    let p = r.picture();
    assert_eq!((p.width, p.height), (640, 400));
    assert_eq!([14, 15].map(|x| p.pixel(x, 11)), [color(42); 2]);
    assert_eq!((p.pixel(14, 12), p.pixel(2, 0)), (color(0), color(9)));
    // Unchained, each map is written by itself.
    r.indexed(0x3c4, 4, &[0x06]);
    r.indexed(0x3c4, 2, &[0x02]);
    r.b.writeb(0xa_0000, 33);
    assert_eq!((r.b.readl(LFB), plain(&r)), (33 << 8, false));
}

#[test]
fn rows_of_the_cga_alternate() {
    let mut r = rig();
    r.set_mode(&CGA);
    r.b.writeb(0xb_8000, 0b01_10_11_00);
    r.b.writeb(0xb_8000 + 0x2000 + 1, 0b11_00_00_00);
    let p = r.picture();
    assert_eq!((p.width, p.height), (640, 400));
    assert_eq!([0, 2, 4, 6].map(|x| p.pixel(x, 1)), [color(3), color(5), color(7), color(0)]);
    assert_eq!([0, 8].map(|x| p.pixel(x, 2)), [color(0), color(7)]);
}

#[test]
fn every_depth_of_the_bochs_interface() {
    let mut r = rig();
    r.set_mode(&TEXT);
    for (bits, bytes, expect) in [
        (8, &[5, 6][..], [color(5), color(6)]),
        (15, &[0x00, 0x7c, 0x1f, 0x00], [[255, 0, 0], [0, 0, 255]]),
        (16, &[0xe0, 0x07, 0x10, 0x84], [[0, 255, 0], [132, 130, 132]]),
        (24, &[1, 2, 3, 4, 5, 6], [[3, 2, 1], [6, 5, 4]]),
        (32, &[1, 2, 3, 0, 4, 5, 6, 0], [[3, 2, 1], [6, 5, 4]]),
    ] {
        use dispi::index::{BPP, ENABLE, XRES, YRES};
        r.dispi(&[(ENABLE, 0), (XRES, 800), (YRES, 600), (BPP, bits), (ENABLE, 0x41)]);
        assert_eq!(r.b.readl(LFB), 0, "cleared");
        let at = LFB + 800 * u64::from(bits.div_ceil(8)) * 9;
        r.b.write(at, bytes);
        let p = r.picture();
        assert_eq!((p.width, p.height), (800, 600));
        assert_eq!([p.pixel(0, 9), p.pixel(1, 9)], expect, "{bits} bits");
        assert!(r.text().is_none());
    }
    r.dispi(&[(4, 0), (3, 4), (4, 0x41)]);
    r.b.write(LFB + 400, &[0x80, 0, 0x80, 0]);
    assert_eq!([0, 1].map(|x| r.picture().pixel(x, 1)), [color(5), color(0)]);
    // The palette of 8 bits for each component, and the bank of the window.
    r.dispi(&[(4, 0), (3, 8), (4, 0x61), (5, 2)]);
    r.b.writeb(0xa_0004, 7);
    assert_eq!((r.b.readb(LFB + 0x2_0004), r.picture().pixel(4, 0)), (7, [0, 0, 63]));
    r.b.reset();
    assert_eq!(r.picture().width, 640);
}

#[test]
fn registers_in_memory_space() {
    let mut r = made(Vga { xres: 1024, yres: 768, ..Vga::default() }).unwrap();
    let mut edid = [0; 128];
    r.b.read(BAR2, &mut edid);
    assert_eq!(edid, edid::block(1024, 768));
    assert_eq!((r.b.readl(BAR2 + 0x600), r.b.readl(BAR2 + 0x604)), (8, 0x1e1e_1e1e));
    r.b.writew(BAR2 + 0x504, 480);
    r.b.outw(0x1ce, 2);
    assert_eq!((r.b.inw(0x1cf), r.b.readw(BAR2 + 0x500), r.b.readw(BAR2 + 0x514)), (480, 0xb0c5, 256));
    r.b.writeb(BAR2 + 0x402, 1);
    r.b.writew(BAR2 + 0x404, 0x0f02);
    assert_eq!((r.b.inb(0x3cc), r.b.inb(0x3c5)), (1, 0x0f));
    assert_eq!((r.b.readl(BAR2 + 0x80), r.b.readl(BAR2 + 0xffc)), (0, 0));
}

#[test]
fn the_card_on_the_bus() {
    let r = rig();
    assert_eq!([0, 8].map(|n| r.config(n)), [0x1111_1234, 0x0300_0002]);
    let mut r = made(Vga { vgamem_mb: 32, ..Vga::default() }).unwrap();
    r.set_config(reg::BAR0, u32::MAX);
    r.set_config(reg::ROM_BAR, u32::MAX);
    assert_eq!((r.config(reg::BAR0), r.config(reg::ROM_BAR)), (0xfe00_0008, 0), "no ROM was asked for");
    for (vga, property) in
        [(Vga { vgamem_mb: 3, ..Vga::default() }, "vgamem_mb"), (Vga { xres: 5000, ..Vga::default() }, "xres")]
    {
        assert!(made(vga).err().unwrap().to_string().contains(property));
    }
    let place = PciPlace { romfile: Some("no-such.rom".into()), ..PciPlace::default() };
    let error = Bench::new().realize(Vga { place, ..Vga::default() }).unwrap_err().to_string();
    assert!(error.contains("no-such.rom"), "{error}");
}

#[test]
fn the_rom_is_a_file_behind_its_register() {
    let path = std::env::temp_dir().join(format!("gearbox-vga-rom-{}", std::process::id()));
    std::fs::write(&path, [0x55, 0xaa, 8, 1, 2, 3]).unwrap();
    let mut b = Bench::new();
    let romfile = Some(path.display().to_string());
    let place = PciPlace { addr: Some(Devfn::new(2, 0)), romfile, ..PciPlace::default() };
    let id = b.realize(Vga { place, ..Vga::default() }).unwrap().id;
    std::fs::remove_file(path).unwrap();
    let mut r = Rig { b, id };
    r.set_config(reg::ROM_BAR, u32::MAX);
    assert_eq!(r.config(reg::ROM_BAR), 0xffff_f801);
    r.set_config(reg::ROM_BAR, 0xe200_0001);
    r.set_config(reg::COMMAND, command::MEMORY.into());
    r.b.writeb(0xe200_0000, 0);
    assert_eq!((r.b.readl(0xe200_0000), r.b.readw(0xe200_0004)), (0x0108_aa55, 0x0302));
}

#[test]
fn whatever_a_guest_programs_is_drawn() {
    let mut r = rig();
    let mut x = 1u32;
    let mut random = move || {
        x = x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        x >> 8
    };
    for round in 0..16 {
        for _ in 0..200 {
            let v = random();
            match v % 5 {
                0 => r.b.outw(0x3c4, (v >> 4) as u16),
                1 => r.b.outw(0x3ce, (v >> 4) as u16),
                2 => r.b.outw(0x3d4, (v >> 4) as u16),
                3 => r.b.outb(0x3c0, (v >> 4) as u8),
                _ => r.b.writel(0xa_0000 + u64::from(v >> 4 & 0x1_ffff), v),
            }
        }
        r.b.outb(0x3c2, 1);
        if round % 4 == 3 {
            r.dispi(&[(random() as u16 % 12, random() as u16), (4, random() as u16)]);
        }
        let p = r.picture();
        assert_eq!(p.rgb.len(), p.width as usize * p.height as usize * 3);
        r.text();
    }
}

#[test]
fn the_card_without_pci() {
    let directory = std::env::temp_dir().join(format!("gearbox-isa-vga-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("vgabios.bin"), [0x55, 0xaa, 1]).unwrap();
    let mut b = Bench::new();
    let path = gearbox_core::backend::firmware::FirmwarePath::new([directory.clone()]);
    b.with(|s| s.set_firmware_path(path));
    let id = b.realize(IsaVga::default()).unwrap().id;
    let files = b.call(id, |_, cx| cx.firmware_files().to_vec());
    assert_eq!((files[0].name, &*files[0].bytes), ("vgaroms/vgabios.bin", &[0x55, 0xaa, 1][..]));
    std::fs::remove_dir_all(directory).unwrap();

    let mut r = Rig { b, id };
    r.set_mode(&PACKED);
    r.b.writeb(0xa_0001, 5);
    assert_eq!((r.b.readb(0xe000_0001), &r.picture().rgb[6..9]), (5, &color(5)[..]));
    // 800x600 in true color, by the Bochs interface: 8 MiB of memory, where it always is.
    r.dispi(&[(4, 0), (1, 800), (2, 600), (3, 32), (4, 0x41)]);
    r.b.writel(0xe000_0000, 0x0011_2233);
    r.b.writel(0xe07f_fffc, 7);
    let p = r.picture();
    assert_eq!((p.width, &p.rgb[..3], r.b.readl(0xe07f_fffc)), (800, &[0x11, 0x22, 0x33][..], 7));
    assert_eq!(r.b.readl(0xe080_0000), u32::MAX);
    r.b.outw(0x1ce, 10);
    assert_eq!(r.b.inw(0x1d0), 128, "units of 64 KiB");
    assert!(Bench::new().realize(IsaVga { vgamem_mb: 0 }).is_err());
    r.b.reset();
    assert_eq!(r.picture().width, 640);
}
