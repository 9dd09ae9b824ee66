//! The standard VGA of QEMU's PCs: a VGA with the Bochs display interface, a linear framebuffer and a monitor that describes itself, on a PCI
//! card with a BIOS of its own.
//!
//! Sources: IBM PS/2 Hardware Interface Technical Reference, "Video Subsystem"; QEMU, docs/specs/standard-vga. As there, the VGA's window and ports
//! answer whatever the command register says, and the memory has the bytes of the four maps side by side ([`planes`]).

pub mod dac;
pub mod dispi;
pub mod edid;
mod graphics;
pub mod planes;
pub mod registers;
#[cfg(test)]
mod tests;
mod text;

use crate::devices::pci::QEMU_SUBSYSTEM;
use dispi::{Change, Dispi};
use gearbox_core::backend::display::{Picture, TextScreen};
use gearbox_core::board::{Cx, Device, DeviceSpec, DeviceState, Realize, RealizeError, ResetKind, Saved};
use gearbox_core::mem::{MemTree, RamBlock, RegionId};
use gearbox_core::object::{Property, TypeEntry, TypeInfo};
use gearbox_core::pci::{BarKind, ConfigHeader, PciPlace};
use gearbox_core::{pci_properties, property};
use planes::Latches;
use registers::{Registers, crtc, gfx, seq};
use std::sync::Arc;

/// The card before it is realized.
#[derive(Clone, Debug)]
pub struct Vga {
    /// Where it is.
    pub place: PciPlace,
    /// MiB of video memory.
    pub vgamem_mb: u32,
    /// Registers in memory space, behind BAR 2.
    pub mmio: bool,
    /// Registers beyond those of Bochs.
    pub qemu_extended_regs: bool,
    /// The monitor describes itself.
    pub edid: bool,
    /// Size that the monitor prefers; 0 for the usual one.
    pub xres: u32,
    /// See `xres`.
    pub yres: u32,
}

impl Default for Vga {
    fn default() -> Self {
        Self {
            place: PciPlace::default(),
            vgamem_mb: 16,
            mmio: true,
            qemu_extended_regs: true,
            edid: true,
            xres: 0,
            yres: 0,
        }
    }
}

inventory::submit! {
    TypeEntry(
        &TypeInfo::device::<Vga>("pci-vga", "standard VGA with Bochs' display interface")
            .implements(&["conventional-pci-device"])
            .not_hotpluggable()
    )
}

/// Size that the monitor prefers if it is not said.
const PREFERRED: (u32, u32) = (1280, 800);
/// The BIOS of the card if no other one is asked for.
const ROM: &str = "vgabios-stdvga.bin";
/// The window at A0000h.
const WINDOW: (u64, u64) = (0xa_0000, 0x2_0000);
/// What banks show of the window.
const BANK: u64 = 0x1_0000;

/// I/O regions. The first ones are the ports, with the first port and the number of ports of each.
const PORTS: [(u16, u16); 5] = [(0x3b4, 2), (0x3ba, 1), (0x3c0, 16), (0x3d4, 2), (0x3da, 1)];
const DISPI: u32 = PORTS.len() as u32;
const WINDOW_REGION: u32 = DISPI + 1;
const MMIO: u32 = DISPI + 2;
/// Ports of the Bochs interface: index, data, and data once more where it is aligned.
const DISPI_PORTS: (u16, u16) = (0x1ce, 3);

/// Offsets in BAR 2.
mod mmio {
    pub(super) const SIZE: u64 = 0x1000;
    pub(super) const EDID: std::ops::Range<u64> = 0..0x400;
    /// Ports 3C0h to 3DFh.
    pub(super) const PORTS: std::ops::Range<u64> = 0x400..0x420;
    pub(super) const DISPI: std::ops::Range<u64> = 0x500..0x516;
    /// Size of the registers that follow, and the byte order of the framebuffer.
    pub(super) const EXTENDED: std::ops::Range<u64> = 0x600..0x608;
    pub(super) const LITTLE_ENDIAN: u32 = 0x1e1e_1e1e;
}

/// The card.
pub struct VgaDevice {
    registers: Registers,
    latches: Latches,
    dispi: Dispi,
    dispi_index: u16,
    vram: Arc<RamBlock>,
    /// The video memory itself in place of the window, where no map stands in between.
    linear: RegionId,
    edid: Option<[u8; edid::SIZE]>,
    extended: bool,
}

impl DeviceSpec for Vga {
    type Device = VgaDevice;
    type Pins = ();
    const TYPE: &'static str = "VGA";
    const PROPERTIES: &'static [&'static [Property<Self>]] = &[
        &[
            property!("vgamem_mb", u32, vgamem_mb, "MiB of video memory, a power of two"),
            property!("mmio", bool, mmio, "registers in memory space"),
            property!("qemu-extended-regs", bool, qemu_extended_regs, "registers beyond those of Bochs"),
            property!("edid", bool, edid, "the monitor describes itself"),
            property!("xres", u32, xres, "width that the monitor prefers"),
            property!("yres", u32, yres, "height that the monitor prefers"),
        ],
        pci_properties!(place),
    ];

    fn realize(mut self, r: &mut Realize<'_>) -> Result<(VgaDevice, ()), RealizeError> {
        if !(1..=512).contains(&self.vgamem_mb) || !self.vgamem_mb.is_power_of_two() {
            return Err(r.property_error("vgamem_mb", "it is a power of two from 1 to 512"));
        }
        for (name, value, usual) in [("xres", &mut self.xres, PREFERRED.0), ("yres", &mut self.yres, PREFERRED.1)] {
            if *value == 0 {
                *value = usual;
            }
            if !(64..=edid::MOST).contains(value) {
                return Err(r.property_error(name, format!("it is between 64 and {}", edid::MOST)));
            }
        }
        if self.place.romfile.is_none() {
            // Without firmware nobody needs it, so that it may be missing.
            self.place.romfile = r.firmware_path().find(ROM).map(|_| ROM.to_owned());
            r.settle_property("romfile", ROM);
        }
        let header = ConfigHeader {
            vendor: 0x1234,
            device: 0x1111,
            class: 0x03_00_00,
            revision: 2,
            subsystem: QEMU_SUBSYSTEM,
            ..ConfigHeader::default()
        };
        r.pci_function(self.place, &header);
        r.display();
        let size = u64::from(self.vgamem_mb) << 20;
        let (vram, framebuffer) = r.ram_region("vga.vram", size, false)?;
        r.pci_bar(0, BarKind::Memory32 { prefetchable: true }, size, framebuffer);
        if self.mmio {
            let region = r.mmio_region(MMIO, "vga.mmio", mmio::SIZE, 4);
            r.pci_bar(2, BarKind::Memory32 { prefetchable: false }, mmio::SIZE, region);
        }
        for (region, (first, count)) in (0..).zip(PORTS) {
            r.ports(region, "vga", first, count);
        }
        r.ports_wide(DISPI, "vbe", DISPI_PORTS.0, DISPI_PORTS.1, 2);

        let space = r.pci().memory_space().unwrap_or(r.memory().root());
        let window = r.mmio_region(WINDOW_REGION, "vga-lowmem", WINDOW.1, 8);
        r.memory().map(space, WINDOW.0, window, 1);
        let linear = r.alias_region("vga.chain4", framebuffer, 0, BANK);
        r.memory().set_enabled(linear, false);
        r.memory().map(space, WINDOW.0, linear, 2);

        let device = VgaDevice {
            registers: Registers::default(),
            latches: Latches::default(),
            dispi: Dispi::new(size),
            dispi_index: 0,
            vram,
            linear,
            edid: self.edid.then(|| edid::block(self.xres, self.yres)),
            extended: self.qemu_extended_regs,
        };
        Ok((device, ()))
    }
}

impl VgaDevice {
    /// What is shown, as a function of this state alone.
    fn screen(&self) -> Screen<'_> {
        Screen { registers: &self.registers, vram: &self.vram }
    }
    fn write_port(&mut self, tree: &mut MemTree, port: u16, value: u8) {
        self.registers.write(port, value);
        self.map_window(tree);
    }
    /// Shows the memory itself in the window, where nothing is between them.
    fn map_window(&self, tree: &mut MemTree) {
        let linear = planes::is_linear(&self.registers);
        if linear {
            tree.set_alias_offset(self.linear, self.dispi.bank());
        }
        tree.set_enabled(self.linear, linear);
    }
    fn write_dispi(&mut self, tree: &mut MemTree, register: u16, value: u16) {
        let change = self.dispi.write(register, value);
        self.registers.dac.eight_bits = self.dispi.eight_bit_dac();
        if let (Change::Mode | Change::Clear, Some(mode)) = (change, self.dispi.mode()) {
            self.enter(mode);
            if change == Change::Clear {
                let zeros = [0; 4096];
                let end = (mode.pitch * u64::from(mode.height)).min(self.vram.size());
                (0..end).step_by(zeros.len()).for_each(|at| {
                    let n = (end - at).min(zeros.len() as u64) as usize;
                    self.vram.write(at, &zeros[..n]);
                });
            }
        }
        if change != Change::None {
            self.map_window(tree);
        }
    }
    /// Sets the VGA's registers to what the mode makes of them, for the window and for drivers that read them.
    fn enter(&mut self, mode: dispi::Mode) {
        let r = &mut self.registers;
        r.gfx[gfx::MISCELLANEOUS] = r.gfx[gfx::MISCELLANEOUS] & !0x0c | 0x05;
        r.crtc[crtc::MODE_CONTROL] |= 3;
        r.crtc[crtc::OFFSET] = (mode.pitch >> 3) as u8;
        r.crtc[crtc::HORIZONTAL_DISPLAY_END] = (mode.width / 8).saturating_sub(1) as u8;
        r.set_height(mode.height);
        let start = mode.start / 4;
        (r.crtc[crtc::START_LOW], r.crtc[crtc::START_HIGH]) = (start as u8, (start >> 8) as u8);
        // One scan line for each row, and no split screen.
        r.crtc[crtc::LINE_COMPARE] = 0xff;
        r.crtc[crtc::OVERFLOW] |= crtc::LINE_COMPARE_8;
        r.crtc[crtc::MAXIMUM_SCAN_LINE] = r.crtc[crtc::MAXIMUM_SCAN_LINE] & !0x9f | 0x40;
        let shift = &mut r.gfx[gfx::MODE];
        if mode.bits == 4 {
            *shift &= !0x60;
            r.seq[seq::CLOCKING_MODE] &= !seq::HALF_DOT_CLOCK;
        } else {
            *shift = *shift & !0x60 | 0x40;
            r.seq[seq::MEMORY_MODE] |= seq::CHAIN_4;
            r.seq[seq::MAP_MASK] |= 0x0f;
        }
    }
    fn read_mmio(&mut self, now: u64, offset: u64, size: u8) -> u64 {
        let bytes = |all: &[u8], first: u64| {
            let at = usize::try_from(offset - first).unwrap_or(usize::MAX);
            let found = all.get(at..).unwrap_or_default().iter().take(size.into());
            found.rev().fold(0, |v, &b| v << 8 | u64::from(b))
        };
        match offset {
            o if mmio::EDID.contains(&o) => self.edid.map_or(0, |edid| bytes(&edid, mmio::EDID.start)),
            o if mmio::PORTS.contains(&o) => {
                let port = 0x3c0 + (o - mmio::PORTS.start) as u16;
                (0..u16::from(size)).rev().fold(0, |v, n| v << 8 | u64::from(self.registers.read(port + n, now)))
            }
            o if mmio::DISPI.contains(&o) => self.dispi.read(((o - mmio::DISPI.start) / 2) as u16).into(),
            o if mmio::EXTENDED.contains(&o) && self.extended => {
                let registers = u64::from(mmio::LITTLE_ENDIAN) << 32 | (mmio::EXTENDED.end - mmio::EXTENDED.start);
                bytes(&registers.to_le_bytes(), mmio::EXTENDED.start)
            }
            _ => 0,
        }
    }
    fn write_mmio(&mut self, tree: &mut MemTree, offset: u64, size: u8, value: u64) {
        if mmio::PORTS.contains(&offset) {
            let port = 0x3c0 + (offset - mmio::PORTS.start) as u16;
            for (n, byte) in (0..u16::from(size)).zip(value.to_le_bytes()) {
                self.write_port(tree, port + n, byte);
            }
        } else if mmio::DISPI.contains(&offset) && size == 2 {
            self.write_dispi(tree, ((offset - mmio::DISPI.start) / 2) as u16, value as u16);
        }
    }
}

impl Device for VgaDevice {
    fn state(&mut self) -> DeviceState<'_> {
        let Self { registers, latches, dispi, dispi_index, vram: _, linear: _, edid: _, extended: _ } = self;
        registers.saved().and(dispi.saved()).and(Saved::of((latches, dispi_index))).version(1)
    }
    fn loaded(&mut self, cx: &mut Cx<'_>) {
        self.map_window(cx.memory());
    }
    fn read(&mut self, cx: &mut Cx<'_>, region: u32, offset: u64, size: u8) -> u64 {
        match region {
            DISPI if offset == 0 => self.dispi_index.into(),
            DISPI => self.dispi.read(self.dispi_index).into(),
            WINDOW_REGION => {
                let bank = self.dispi.bank();
                // In order: each load leaves its bytes in the latches.
                (0..u64::from(size)).fold(0, |v, n| {
                    let byte = self.latches.load(&self.registers, &self.vram, offset + n, bank);
                    v | u64::from(byte) << (8 * n)
                })
            }
            MMIO => self.read_mmio(cx.now(), offset, size),
            ports => self.registers.read(PORTS[ports as usize].0 + offset as u16, cx.now()).into(),
        }
    }
    fn write(&mut self, cx: &mut Cx<'_>, region: u32, offset: u64, size: u8, value: u64) {
        match region {
            DISPI if size != 2 => cx.guest_error(format_args!("VBE DISPI: a store of {size} bytes")),
            DISPI if offset == 0 => self.dispi_index = value as u16,
            DISPI => self.write_dispi(cx.memory(), self.dispi_index, value as u16),
            WINDOW_REGION => {
                let bank = self.dispi.bank();
                for (n, byte) in (0..u64::from(size)).zip(value.to_le_bytes()) {
                    self.latches.store(&self.registers, &self.vram, offset + n, bank, byte);
                }
            }
            MMIO => self.write_mmio(cx.memory(), offset, size, value),
            ports => self.write_port(cx.memory(), PORTS[ports as usize].0 + offset as u16, value as u8),
        }
    }
    fn reset(&mut self, cx: &mut Cx<'_>, _kind: ResetKind) {
        self.registers = Registers::default();
        self.latches = Latches::default();
        self.dispi = Dispi::new(self.vram.size());
        self.dispi_index = 0;
        self.map_window(cx.memory());
    }
    fn picture(&mut self, _cx: &mut Cx<'_>) -> Option<Picture> {
        Some(match self.dispi.mode() {
            Some(mode) => graphics::draw_mode(&self.screen(), mode),
            None => self.screen().picture(),
        })
    }
    fn text_screen(&mut self, _cx: &mut Cx<'_>) -> Option<TextScreen> {
        let r = &self.registers;
        let text = self.dispi.mode().is_none() && !r.is_graphics() && r.screen_on();
        text.then(|| text::screen(&self.screen()))
    }
}

/// The state from which a picture is made.
struct Screen<'a> {
    registers: &'a Registers,
    vram: &'a RamBlock,
}

impl Screen<'_> {
    /// A byte of the video memory, which repeats without end.
    fn byte(&self, at: u64) -> u8 {
        let mut byte = [0];
        self.vram.read(at % self.vram.size(), &mut byte);
        byte[0]
    }
    /// Bytes of the video memory, which repeats without end.
    fn bytes(&self, at: u64, target: &mut [u8]) {
        let (mut done, size) = (0, self.vram.size());
        while done < target.len() {
            let from = (at + done as u64) % size;
            let n = (size - from).min((target.len() - done) as u64) as usize;
            self.vram.read(from, &mut target[done..done + n]);
            done += n;
        }
    }
    /// A byte of one of the four maps.
    fn map(&self, at: u64, map: u64) -> u8 {
        self.byte(at * 4 + map)
    }
    /// What the VGA's own registers show. A screen that is switched off is black, and of the size that it will have.
    fn picture(&self) -> Picture {
        let r = self.registers;
        if r.crtc[crtc::HORIZONTAL_DISPLAY_END] == 0 {
            // Nobody has set a mode yet.
            return Picture::new(640, 480);
        }
        let shown = if r.is_graphics() { graphics::draw(self) } else { text::draw(self) };
        if r.screen_on() { shown } else { Picture::new(shown.width, shown.height) }
    }
}
