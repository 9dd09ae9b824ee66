//! Expansion ROMs (PCI Local Bus Specification 3.0, 6.3): a file of the host behind the ROM's base address register.

use super::{BarKind, PciPlace};
use crate::board::Realize;

/// The largest ROM.
const MOST: u64 = 16 << 20;
/// The smallest that a base address register can name.
const LEAST: u64 = 2048;

impl Realize<'_> {
    /// Gives the device's function the ROM that its properties name.
    pub(crate) fn pci_rom(&mut self, place: &PciPlace) {
        let Some(name) = place.romfile.as_deref().filter(|name| !name.is_empty() && place.rombar != 0) else { return };
        let image = match self.firmware_path().read(name, MOST) {
            Ok((image, _)) => image,
            Err(e) => return self.refuse(format!("failed to load romfile \"{name}\": {e}")),
        };
        let size = (image.len() as u64).next_power_of_two().max(LEAST);
        match self.ram_region(&format!("{name}.rom"), size, true) {
            Ok((block, region)) => {
                block.write(0, &image);
                self.pci_bar(0, BarKind::Rom, size, region);
            }
            Err(e) => self.refuse(e.to_string()),
        }
    }
}
