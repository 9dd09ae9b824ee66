//! Memory-mapped device registers.

/// A block of 32-bit device registers.
#[derive(Clone, Copy)]
pub struct Mmio(u64);

impl Mmio {
    /// The registers at physical address `base`.
    ///
    /// # Safety
    /// `base` must be a device's, below 4 GiB, and not the guest's own memory.
    pub const unsafe fn new(base: u64) -> Mmio {
        Mmio(base)
    }

    /// Physical address of the block.
    pub fn base(self) -> u64 {
        self.0
    }

    /// Reads the register at `offset`.
    pub fn read(self, offset: u64) -> u32 {
        // SAFETY: a device register, by the contract of `new`.
        unsafe { ((self.0 + offset) as *const u32).read_volatile() }
    }

    /// Writes the register at `offset`.
    pub fn write(self, offset: u64, value: u32) {
        // SAFETY: as above.
        unsafe { ((self.0 + offset) as *mut u32).write_volatile(value) }
    }
}
