//! The host bridge of the 82440FX chipset (PMC) as a PCI function: what is RAM below 1 MiB. The other half of it is [`super::host`].
//!
//! Source: Intel 82441FX (PMC) datasheet (290549). Contents and write masks of the
//! configuration space are those of QEMU's `i440FX`.

use super::QEMU_SUBSYSTEM;
use gearbox_core::board::{Cx, Device, DeviceSpec, DeviceState, Realize, RealizeError, ResetKind, Saved};
use gearbox_core::mem::{MemTree, RegionId};
use gearbox_core::object::{TypeEntry, TypeInfo};
use gearbox_core::pci::{ConfigHeader, Devfn};

/// Configuration registers beyond the standard header.
pub mod config {
    /// Where coreboot reads the size of RAM below 4 GiB in units of 8 MiB, at most 255 (QEMU's own use of a reserved byte).
    pub const COREBOOT_RAM_SIZE: u8 = 0x57;
    /// First of the seven programmable attribute map registers.
    pub const PAM0: u8 = 0x59;
    /// System management RAM control.
    pub const SMRAM: u8 = 0x72;
}

/// PAM: reads go to DRAM.
const READ_ENABLE: u8 = 1;
/// PAM: writes go to DRAM.
const WRITE_ENABLE: u8 = 2;
/// SMRAM: 0xa0000-0xbffff is DRAM for everybody.
const D_OPEN: u8 = 0x40;
/// SMRAM: the register can no longer be written, and D_OPEN is off.
const D_LCK: u8 = 0x10;
/// SMRAM: 0xa0000-0xbffff is DRAM for a CPU in system management mode.
const G_SMRAME: u8 = 0x08;
/// SMRAM after reset: the base segment is 0xa0000.
const SMRAM_RESET: u8 = 0x02;

/// Number of PAM segments: 0xf0000 with 64 KiB, then twelve of 16 KiB from 0xc0000 on.
const SEGMENTS: usize = 13;

/// Address and size of a PAM segment.
fn segment(n: usize) -> (u64, u64) {
    match n {
        0 => (0xf_0000, 0x1_0000),
        n => (0xc_0000 + 0x4000 * (n as u64 - 1), 0x4000),
    }
}

/// Where the attributes of a segment are: register and shift. PAM0 has only a high half.
fn attribute(n: usize) -> (u8, u8) {
    (config::PAM0 + n.div_ceil(2) as u8, if n.is_multiple_of(2) { 4 } else { 0 })
}

/// A [`I440fxDevice`] to be.
pub struct I440fx {
    /// Guest RAM from address 0 on, which the board has mapped already.
    pub ram: RegionId,
    /// Bytes of RAM below 4 GiB.
    pub ram_below_4g: u64,
    /// The container of PCI memory space, mapped below RAM.
    pub pci_memory: RegionId,
    /// CPUs have system management mode.
    pub smm: bool,
}

/// The two views of a segment below 1 MiB: RAM, and what PCI has there.
struct Shadow {
    ram: RegionId,
    pci: RegionId,
}

/// The bridge's PCI function.
pub struct I440fxDevice {
    segments: [Shadow; SEGMENTS],
    /// PCI's view of 0xa0000-0xbffff.
    window: RegionId,
    /// RAM there, as CPUs in system management mode see it.
    smram: Option<RegionId>,
    /// SMRAM control as it was when D_LCK was set.
    locked: Option<u8>,
}

inventory::submit! {
    TypeEntry(&TypeInfo::onboard::<I440fx>("pci-device", "host bridge").implements(&["conventional-pci-device"]))
}

impl DeviceSpec for I440fx {
    type Device = I440fxDevice;
    type Pins = ();
    const TYPE: &'static str = "i440FX";

    fn realize(self, r: &mut Realize<'_>) -> Result<(I440fxDevice, ()), RealizeError> {
        let header = ConfigHeader {
            vendor: 0x8086,
            device: 0x1237,
            class: 0x06_00_00,
            revision: 2,
            subsystem: QEMU_SUBSYSTEM,
            ..ConfigHeader::default()
        };
        let c = r.pci_function(Some(Devfn::new(0, 0)), &header);
        c.init(config::COREBOOT_RAM_SIZE, &[u8::try_from(self.ram_below_4g >> 23).unwrap_or(u8::MAX)]);
        c.init(config::SMRAM, &[SMRAM_RESET]);
        r.pci().set_memory_space(self.pci_memory);

        let tree = r.memory();
        let mut overlay = |name, of, at, size, on| {
            let region = tree.alias(name, of, at, size);
            tree.set_enabled(region, on);
            tree.map(tree.root(), at, region, 1);
            region
        };
        let segments = std::array::from_fn(|n| {
            let (at, size) = segment(n);
            Shadow {
                ram: overlay("pam-ram", self.ram, at, size, false),
                pci: overlay("pam-pci", self.pci_memory, at, size, true),
            }
        });
        let window = overlay("smram-region", self.pci_memory, 0xa_0000, 0x2_0000, true);
        let smram = self.smm.then(|| smm_view(tree, self.ram));
        Ok((I440fxDevice { segments, window, smram, locked: None }, ()))
    }
}

/// The memory of CPUs in system management mode: everything, and the RAM behind the VGA window, which comes and goes.
fn smm_view(tree: &mut MemTree, ram: RegionId) -> RegionId {
    let view = tree.container("memory-smm", u64::MAX);
    let everything = tree.alias("smm-system", tree.root(), 0, u64::MAX);
    let smram = tree.alias("smram", ram, 0xa_0000, 0x2_0000);
    tree.map(view, 0, everything, 0);
    tree.map(view, 0xa_0000, smram, 1);
    tree.set_enabled(smram, false);
    tree.set_smm_root(view);
    smram
}

impl I440fxDevice {
    /// SMRAM control, which stays as it is once it is locked.
    fn smram_control(&mut self, cx: &mut Cx<'_>) -> u8 {
        let Some(c) = cx.config() else { return SMRAM_RESET };
        let written = c.byte(config::SMRAM);
        if written & D_LCK != 0 && self.locked.is_none() {
            self.locked = Some(written & !D_OPEN);
        }
        let value = self.locked.unwrap_or(written);
        if value != written {
            c.set(config::SMRAM, &[value]);
        }
        value
    }
    /// Puts PAM and SMRAM registers in force.
    fn map_shadow(&mut self, cx: &mut Cx<'_>) {
        let smram = self.smram_control(cx);
        let Some(c) = cx.config() else { return };
        let attributes: [u8; SEGMENTS] = std::array::from_fn(|n| {
            let (register, shift) = attribute(n);
            c.byte(register) >> shift
        });
        let tree = cx.memory();
        for (s, a) in self.segments.iter().zip(attributes) {
            s.set(tree, a);
        }
        tree.set_enabled(self.window, smram & D_OPEN == 0);
        if let Some(region) = self.smram {
            tree.set_enabled(region, smram & G_SMRAME != 0);
        }
    }
}

impl Shadow {
    /// As on QEMU, "write DRAM, read PCI" leaves both to PCI.
    fn set(&self, tree: &mut MemTree, attribute: u8) {
        let ram = attribute & READ_ENABLE != 0;
        tree.set_enabled(self.ram, ram);
        tree.set_readonly(self.ram, attribute & WRITE_ENABLE == 0);
        tree.set_enabled(self.pci, !ram);
    }
}

impl Device for I440fxDevice {
    fn state(&mut self) -> DeviceState<'_> {
        let Self { segments: _, window: _, smram: _, locked } = self;
        Saved::of(locked).version(1)
    }
    fn loaded(&mut self, cx: &mut Cx<'_>) {
        self.map_shadow(cx);
    }
    fn reset(&mut self, cx: &mut Cx<'_>, _: ResetKind) {
        self.locked = None;
        self.map_shadow(cx);
    }
    fn config_written(&mut self, cx: &mut Cx<'_>, _: u8, _: u8) {
        self.map_shadow(cx);
    }
}

#[cfg(test)]
mod tests {
    use super::super::host::{ENABLE, PciHost};
    use super::*;
    use gearbox_accel_qtest::Bench;
    use gearbox_core::mem::RamBlock;

    /// 2 MiB of RAM under the bridge, and ROMs in PCI space at 0xa0000-0xbffff and 0xe0000-0xfffff that read 0x5a.
    fn bench() -> Bench {
        let mut b = Bench::new();
        let ram = RamBlock::new("pc.ram", 0x20_0000).unwrap();
        let rom = RamBlock::new("pc.bios", 0x4_0000).unwrap();
        rom.write(0, &[0x5a; 0x4_0000]);
        let (ram, pci) = b.with(|s| {
            let m = s.memory();
            let (ram, pci) = (m.ram(&ram, 0, 0x20_0000), m.container("pci", 1 << 48));
            m.map(m.root(), 0, ram, 0);
            m.map(m.root(), 0, pci, -1);
            for (at, offset) in [(0xa_0000, 0), (0xe_0000, 0x2_0000)] {
                let rom = m.rom(&rom, offset, 0x2_0000);
                m.map(pci, at, rom, 1);
            }
            (ram, pci)
        });
        b.realize(PciHost).unwrap();
        b.realize(I440fx { ram, ram_below_4g: 512 << 20, pci_memory: pci, smm: true }).unwrap();
        b
    }
    fn config(b: &mut Bench, register: u32) -> u32 {
        b.outl(0xcf8, ENABLE | register);
        b.inl(0xcfc)
    }
    fn set_byte(b: &mut Bench, register: u8, value: u8) {
        b.outl(0xcf8, ENABLE | u32::from(register & !3));
        b.outb(0xcfc + u16::from(register & 3), value);
    }

    #[test]
    fn configuration_space_is_qemus() {
        let mut b = bench();
        let nonzero =
            [(0x00, 0x1237_8086), (0x08, 0x0600_0002), (0x2c, 0x1100_1af4), (0x54, 0x4000_0000), (0x70, 0x2_0000)];
        for register in (0..256).step_by(4) {
            let expect = nonzero.iter().find(|(r, _)| *r == register).map_or(0, |(_, v)| *v);
            assert_eq!(config(&mut b, register), expect, "{register:#x}");
        }
        b.outl(0xcf8, ENABLE | 4);
        b.outl(0xcfc, 0xffff_ffff);
        assert_eq!(config(&mut b, 4), 0x507);
    }

    #[test]
    fn mechanism_1_takes_doublewords_only_and_data_of_every_width() {
        let mut b = bench();
        b.outl(0xcf8, 0x8000_0844);
        b.outb(0xcf8, 0x55);
        b.outw(0xcf8, 0x55);
        assert_eq!(b.inl(0xcf8), 0x8000_0844);
        assert_eq!(b.inw(0xcf8), 0x844);
        b.outl(0xcf8, ENABLE);
        assert_eq!((b.inw(0xcfe), b.inb(0xcfd)), (0x1237, 0x80));
        b.outl(0xcf8, 0);
        assert_eq!(b.inl(0xcfc), 0xffff_ffff);
        b.outl(0xcf8, ENABLE | 0x1_0000);
        assert_eq!(b.inl(0xcfc), 0xffff_ffff, "no bus 1");
    }

    #[test]
    fn pam_chooses_between_rom_and_ram() {
        let mut b = bench();
        assert_eq!(b.readb(0xf_0000), 0x5a);
        set_byte(&mut b, 0x59, 0x30);
        assert_eq!(b.readb(0xf_0000), 0);
        b.writeb(0xf_0000, 0x11);
        set_byte(&mut b, 0x59, 0x10);
        b.writeb(0xf_0000, 0x22);
        assert_eq!(b.readb(0xf_0000), 0x11, "read-only now");
        assert_eq!(b.readb(0xe_c000), 0x5a, "another segment");
        set_byte(&mut b, 0x5f, 0x30);
        assert_eq!((b.readb(0xe_c000), b.readb(0xe_8000)), (0, 0x5a));
        set_byte(&mut b, 0x5f, 0x23);
        assert_eq!((b.readb(0xe_c000), b.readb(0xe_8000)), (0x5a, 0));
        b.reset();
        assert_eq!((b.readb(0xf_0000), b.readb(0xe_8000)), (0x5a, 0x5a));
    }

    #[test]
    fn smram_hides_and_shows_the_vga_window() {
        let mut b = bench();
        b.writeb(0xa_0000, 1);
        assert_eq!(b.readb(0xa_0000), 0x5a);
        set_byte(&mut b, 0x72, 0x42);
        b.writeb(0xa_0000, 1);
        assert_eq!(b.readb(0xa_0000), 1);
        b.reset();
        assert_eq!(b.readb(0xa_0000), 0x5a);
    }

    #[test]
    fn a_lock_closes_smram_until_reset() {
        let mut b = bench();
        let ram_for_smm = |b: &Bench| {
            let view = b.board().memory().smm_view();
            view.find(0xa_0000).is_some_and(
                |r| matches!(&r.kind, gearbox_core::mem::FlatKind::Ram { block, .. } if block.name() == "pc.ram"),
            )
        };
        assert!(!ram_for_smm(&b));
        set_byte(&mut b, 0x72, 0x5a);
        assert_eq!((config(&mut b, 0x70) >> 16 & 0xff, b.readb(0xa_0000)), (0x1a, 0x5a));
        assert!(ram_for_smm(&b));
        set_byte(&mut b, 0x72, 0x42);
        assert_eq!((config(&mut b, 0x70) >> 16 & 0xff, b.readb(0xa_0000)), (0x1a, 0x5a));
        b.reset();
        assert_eq!(config(&mut b, 0x70) >> 16 & 0xff, 2);
        assert!(!ram_for_smm(&b));
    }
}
