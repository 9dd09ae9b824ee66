//! `isa-vga`: the card on the ISA bus. Its linear framebuffer is where Bochs had it, and firmware gets its BIOS as a file.

use super::Adapter;
use gearbox_core::backend::display::{Picture, TextScreen};
use gearbox_core::board::{Cx, Device, DeviceSpec, DeviceState, Realize, RealizeError, ResetKind};
use gearbox_core::object::{Category, Property, TypeEntry, TypeInfo};
use gearbox_core::property;

/// Where the linear framebuffer is.
const FRAMEBUFFER: u64 = 0xe000_0000;
/// The BIOS of the card, the firmware's name for it, and the most bytes that it may have.
const ROM: &str = "vgabios.bin";
const ROM_FILE: &str = "vgaroms/vgabios.bin";
const ROM_MOST: u64 = 128 << 10;

/// The card before it is realized.
#[derive(Clone, Copy, Debug)]
pub struct IsaVga {
    /// MiB of video memory.
    pub vgamem_mb: u32,
}

impl Default for IsaVga {
    fn default() -> Self {
        Self { vgamem_mb: 8 }
    }
}

inventory::submit! {
    TypeEntry(
        &TypeInfo::device::<IsaVga>("isa-device", "standard VGA on the ISA bus with Bochs' display interface").category(Category::Display)
            .not_hotpluggable()
    )
}

/// The card.
pub struct IsaVgaDevice {
    adapter: Adapter,
}

impl DeviceSpec for IsaVga {
    type Device = IsaVgaDevice;
    type Pins = ();
    const TYPE: &'static str = "isa-vga";
    const PROPERTIES: &'static [&'static [Property<Self>]] =
        &[&[property!("vgamem_mb", u32, vgamem_mb, "MiB of video memory, a power of two")]];

    fn realize(self, r: &mut Realize<'_>) -> Result<(IsaVgaDevice, ()), RealizeError> {
        let (adapter, framebuffer) = Adapter::claim(r, self.vgamem_mb)?;
        let space = r.bus_memory();
        r.memory().map(space, FRAMEBUFFER, framebuffer, 0);
        // Without firmware nobody needs it, so that it may be missing.
        if r.firmware_path().find(ROM).is_some() {
            match r.firmware_path().read(ROM, ROM_MOST) {
                Ok((image, _)) => r.firmware_file(ROM_FILE, image, false),
                Err(e) => r.refuse(format!("failed to load {ROM}: {e}")),
            }
        }
        Ok((IsaVgaDevice { adapter }, ()))
    }
}

impl Device for IsaVgaDevice {
    fn state(&mut self) -> DeviceState<'_> {
        let Self { adapter } = self;
        adapter.saved().version(1)
    }
    fn loaded(&mut self, cx: &mut Cx<'_>) {
        self.adapter.map_window(cx.memory());
    }
    fn read(&mut self, cx: &mut Cx<'_>, region: u32, offset: u64, size: u8) -> u64 {
        self.adapter.read(cx, region, offset, size)
    }
    fn write(&mut self, cx: &mut Cx<'_>, region: u32, offset: u64, size: u8, value: u64) {
        self.adapter.write(cx, region, offset, size, value);
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
