//! `VGA`: the card as a PCI function, with registers in memory space and a monitor that describes itself.

use super::{Adapter, FREE_REGION, edid};
use crate::devices::pci::QEMU_SUBSYSTEM;
use gearbox_core::backend::display::{Picture, TextScreen};
use gearbox_core::board::{Cx, Device, DeviceSpec, DeviceState, Realize, RealizeError, ResetKind};
use gearbox_core::mem::MemTree;
use gearbox_core::object::{Category, Property, TypeEntry, TypeInfo};
use gearbox_core::pci::{BarKind, ConfigHeader, PciPlace};
use gearbox_core::{pci_properties, property};

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
        &TypeInfo::device::<Vga>("pci-vga", "standard VGA with Bochs' display interface").category(Category::Display)
            .implements(&["conventional-pci-device"])
            .not_hotpluggable()
    )
}

/// Size that the monitor prefers if it is not said.
const PREFERRED: (u32, u32) = (1280, 800);
/// The BIOS of the card if no other one is asked for.
const ROM: &str = "vgabios-stdvga.bin";
/// The region of the registers in memory space.
const MMIO: u32 = FREE_REGION;

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
    adapter: Adapter,
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
        let (adapter, framebuffer) = Adapter::claim(r, self.vgamem_mb)?;
        let size = u64::from(self.vgamem_mb) << 20;
        r.pci_bar(0, BarKind::Memory32 { prefetchable: true }, size, framebuffer);
        if self.mmio {
            let region = r.mmio_region(MMIO, "vga.mmio", mmio::SIZE, 4);
            r.pci_bar(2, BarKind::Memory32 { prefetchable: false }, mmio::SIZE, region);
        }
        let edid = self.edid.then(|| edid::block(self.xres, self.yres));
        Ok((VgaDevice { adapter, edid, extended: self.qemu_extended_regs }, ()))
    }
}

impl VgaDevice {
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
                (0..u16::from(size))
                    .rev()
                    .fold(0, |v, n| v << 8 | u64::from(self.adapter.registers.read(port + n, now)))
            }
            o if mmio::DISPI.contains(&o) => self.adapter.dispi.read(((o - mmio::DISPI.start) / 2) as u16).into(),
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
                self.adapter.write_port(tree, port + n, byte);
            }
        } else if mmio::DISPI.contains(&offset) && size == 2 {
            self.adapter.write_dispi(tree, ((offset - mmio::DISPI.start) / 2) as u16, value as u16);
        }
    }
}

impl Device for VgaDevice {
    fn state(&mut self) -> DeviceState<'_> {
        let Self { adapter, edid: _, extended: _ } = self;
        adapter.saved().version(1)
    }
    fn loaded(&mut self, cx: &mut Cx<'_>) {
        self.adapter.map_window(cx.memory());
    }
    fn read(&mut self, cx: &mut Cx<'_>, region: u32, offset: u64, size: u8) -> u64 {
        match region {
            MMIO => self.read_mmio(cx.now(), offset, size),
            _ => self.adapter.read(cx, region, offset, size),
        }
    }
    fn write(&mut self, cx: &mut Cx<'_>, region: u32, offset: u64, size: u8, value: u64) {
        match region {
            MMIO => self.write_mmio(cx.memory(), offset, size, value),
            _ => self.adapter.write(cx, region, offset, size, value),
        }
    }
    fn reset(&mut self, cx: &mut Cx<'_>, _kind: ResetKind) {
        self.adapter.reset(cx.memory());
    }
    fn picture(&mut self, _cx: &mut Cx<'_>) -> Option<Picture> {
        Some(self.adapter.picture())
    }
    fn text_screen(&mut self, _cx: &mut Cx<'_>) -> Option<TextScreen> {
        self.adapter.text_screen()
    }
}
