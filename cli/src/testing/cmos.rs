//! The CMOS RAM of the MC146818, by its index and data ports.

use super::Io;

const INDEX: u16 = 0x70;
const DATA: u16 = 0x71;

/// CMOS RAM and clock registers of a machine.
///
/// ```
/// use gearbox::testing::{Cmos, Vm};
///
/// let mut bench = Vm::pc().memory(128 << 20).bench()?;
/// // KiB of memory above 1 MiB.
/// assert_eq!(Cmos::of(&mut bench).word(0x30), 0xffff);
/// # Ok::<(), gearbox::testing::StartError>(())
/// ```
pub struct Cmos<'a, T: Io + ?Sized>(&'a mut T);

impl<'a, T: Io + ?Sized> Cmos<'a, T> {
    /// The CMOS RAM of this machine.
    pub fn of(machine: &'a mut T) -> Self {
        Self(machine)
    }
    /// A byte: `index` is 0 to 7Fh.
    pub fn byte(&mut self, index: u8) -> u8 {
        self.0.outb(INDEX, index);
        self.0.inb(DATA)
    }
    /// Sets a byte.
    pub fn set(&mut self, index: u8, value: u8) {
        self.0.outb(INDEX, index);
        self.0.outb(DATA, value);
    }
    /// Two bytes, the lower one first.
    pub fn word(&mut self, index: u8) -> u16 {
        u16::from_le_bytes([self.byte(index), self.byte(index.wrapping_add(1))])
    }
}
