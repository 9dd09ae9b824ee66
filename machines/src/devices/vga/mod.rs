//! The standard VGA of QEMU's PCs: a VGA with the Bochs display interface and a linear framebuffer, on a card with a BIOS of its own. [`pci`] and [`isa`]
//! are the two cards, and an `Adapter` what they share.
//!
//! Sources: IBM PS/2 Hardware Interface Technical Reference, "Video Subsystem"; QEMU, docs/specs/standard-vga. As there, the VGA's window and ports
//! answer whatever the command register says, and the memory has the bytes of the four maps side by side ([`planes`]).

pub mod dac;
pub mod dispi;
pub mod edid;
mod graphics;
pub mod isa;
pub mod pci;
pub mod planes;
pub mod registers;
#[cfg(test)]
mod tests;
mod text;

pub use isa::IsaVga;
pub use pci::Vga;

use dispi::{Change, Dispi};
use gearbox_core::backend::display::{Picture, TextScreen};
use gearbox_core::board::{Cx, Realize, RealizeError, Saved};
use gearbox_core::mem::{MemTree, RamBlock, RegionId};
use planes::Latches;
use registers::{Registers, crtc, gfx, seq};
use std::sync::Arc;

/// The window at A0000h.
const WINDOW: (u64, u64) = (0xa_0000, 0x2_0000);
/// What banks show of the window.
const BANK: u64 = 0x1_0000;

/// I/O regions. The first ones are the ports, with the first port and the number of ports of each.
const PORTS: [(u16, u16); 5] = [(0x3b4, 2), (0x3ba, 1), (0x3c0, 16), (0x3d4, 2), (0x3da, 1)];
const DISPI: u32 = PORTS.len() as u32;
const WINDOW_REGION: u32 = DISPI + 1;
/// The first one that a card has for itself.
const FREE_REGION: u32 = DISPI + 2;
/// Ports of the Bochs interface: index, data, and data once more where it is aligned.
const DISPI_PORTS: (u16, u16) = (0x1ce, 3);

/// What every card has: registers, video memory and the window to it.
struct Adapter {
    registers: Registers,
    latches: Latches,
    dispi: Dispi,
    dispi_index: u16,
    vram: Arc<RamBlock>,
    /// The video memory itself in place of the window, where no map stands in between.
    linear: RegionId,
}

impl Adapter {
    /// Claims ports and window, and a display; the linear framebuffer of `vgamem_mb` MiB is not mapped yet.
    fn claim(r: &mut Realize<'_>, vgamem_mb: u32) -> Result<(Self, RegionId), RealizeError> {
        if !(1..=512).contains(&vgamem_mb) || !vgamem_mb.is_power_of_two() {
            return Err(r.property_error("vgamem_mb", "it is a power of two from 1 to 512"));
        }
        r.display();
        let size = u64::from(vgamem_mb) << 20;
        let (vram, framebuffer) = r.ram_region("vga.vram", size, false)?;
        for (region, (first, count)) in (0..).zip(PORTS) {
            r.ports(region, "vga", first, count);
        }
        r.ports_wide(DISPI, "vbe", DISPI_PORTS.0, DISPI_PORTS.1, 2);

        let space = r.bus_memory();
        let window = r.mmio_region(WINDOW_REGION, "vga-lowmem", WINDOW.1, 8);
        r.memory().map(space, WINDOW.0, window, 1);
        let linear = r.alias_region("vga.chain4", framebuffer, 0, BANK);
        r.memory().set_enabled(linear, false);
        r.memory().map(space, WINDOW.0, linear, 2);
        let (registers, latches) = (Registers::default(), Latches::default());
        Ok((Self { registers, latches, dispi: Dispi::new(size), dispi_index: 0, vram, linear }, framebuffer))
    }
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
    /// What is saved of it.
    fn saved(&mut self) -> Saved<'_> {
        let Self { registers, latches, dispi, dispi_index, vram: _, linear: _ } = self;
        registers.saved().and(dispi.saved()).and(Saved::of((latches, dispi_index)))
    }
    /// A load from one of the regions that all cards have.
    fn read(&mut self, cx: &mut Cx<'_>, region: u32, offset: u64, size: u8) -> u64 {
        match region {
            // Words only.
            DISPI if size != 2 => 0xff,
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
            ports => self.registers.read(PORTS[ports as usize].0 + offset as u16, cx.now()).into(),
        }
    }
    /// A store to one of them.
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
            ports => self.write_port(cx.memory(), PORTS[ports as usize].0 + offset as u16, value as u8),
        }
    }
    fn reset(&mut self, tree: &mut MemTree) {
        self.registers = Registers::default();
        self.latches = Latches::default();
        self.dispi = Dispi::new(self.vram.size());
        self.dispi_index = 0;
        self.map_window(tree);
    }
    fn picture(&self) -> Picture {
        match self.dispi.mode() {
            Some(mode) => graphics::draw_mode(&self.screen(), mode),
            None => self.screen().picture(),
        }
    }
    fn text_screen(&self) -> Option<TextScreen> {
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
