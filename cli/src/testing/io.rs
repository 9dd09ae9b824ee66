//! Ports and memory of a machine, whoever holds it.

use crate::vm::CpuBus;
use gearbox_accel_qtest::Bench;

macro_rules! ports {
    ($($width:literal $ty:ident: $inp:ident $outp:ident;)*) => {$(
        #[doc = concat!("IN of ", $width, ".")]
        fn $inp(&mut self, port: u16) -> $ty {
            self.port_in(port, size_of::<$ty>() as u8) as $ty
        }
        #[doc = concat!("OUT of ", $width, ".")]
        fn $outp(&mut self, port: u16, value: $ty) {
            self.port_out(port, size_of::<$ty>() as u8, value.into());
        }
    )*};
    (memory $($width:literal $ty:ident: $read:ident $write:ident;)*) => {$(
        #[doc = concat!("Load of ", $width, ".")]
        fn $read(&mut self, addr: u64) -> $ty {
            let mut bytes = [0; size_of::<$ty>()];
            self.load(addr, &mut bytes);
            $ty::from_le_bytes(bytes)
        }
        #[doc = concat!("Store of ", $width, ".")]
        fn $write(&mut self, addr: u64, value: $ty) {
            self.store(addr, &value.to_le_bytes());
        }
    )*};
}

/// The accesses that a CPU can make, made by a test: on a [`Bench`] in process, or by a [`Qtest`](super::Qtest) in another one. What is written
/// against it runs on both.
pub trait Io {
    /// IN of `size` bytes: 1, 2 or 4.
    fn port_in(&mut self, port: u16, size: u8) -> u32;
    /// OUT of `size` bytes: 1, 2 or 4.
    fn port_out(&mut self, port: u16, size: u8, value: u32);
    /// Loads bytes from guest-physical memory: as one access if there are 1, 2, 4 or 8.
    fn load(&mut self, addr: u64, data: &mut [u8]);
    /// Stores bytes to guest-physical memory: as one access if there are 1, 2, 4 or 8.
    fn store(&mut self, addr: u64, data: &[u8]);

    ports! {
        "a byte" u8: inb outb;
        "a word" u16: inw outw;
        "a doubleword" u32: inl outl;
    }
    ports! { memory
        "a byte" u8: readb writeb;
        "a word" u16: readw writew;
        "a doubleword" u32: readl writel;
        "a quadword" u64: readq writeq;
    }
}

impl Io for Bench {
    fn port_in(&mut self, port: u16, size: u8) -> u32 {
        self.board().pio_in(port, size)
    }
    fn port_out(&mut self, port: u16, size: u8, value: u32) {
        self.board().pio_out(port, size, value);
    }
    fn load(&mut self, addr: u64, data: &mut [u8]) {
        self.read(addr, data);
    }
    fn store(&mut self, addr: u64, data: &[u8]) {
        self.write(addr, data);
    }
}
