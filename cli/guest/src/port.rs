//! Port I/O. Ports reach devices only: the one device that writes to memory (fw_cfg's DMA) guards itself in its own
//! file.

use crate::ring0::{self, Routine, call};

fn access(routine: Routine, port: u16, value: u32) -> u32 {
    // SAFETY: a single IN or OUT, which touches no memory.
    unsafe { call(routine, port.into(), value.into(), 0) as u32 }
}

/// IN, 8 bits.
pub fn in8(port: u16) -> u8 {
    access(ring0::in8, port, 0) as u8
}

/// IN, 16 bits.
pub fn in16(port: u16) -> u16 {
    access(ring0::in16, port, 0) as u16
}

/// IN, 32 bits.
pub fn in32(port: u16) -> u32 {
    access(ring0::in32, port, 0)
}

/// OUT, 8 bits.
pub fn out8(port: u16, value: u8) {
    access(ring0::out8, port, value.into());
}

/// OUT, 16 bits.
pub fn out16(port: u16, value: u16) {
    access(ring0::out16, port, value.into());
}

/// OUT, 32 bits.
pub fn out32(port: u16, value: u32) {
    access(ring0::out32, port, value);
}

/// REP INSB: fills `buffer` from one port.
pub fn in_string(port: u16, buffer: &mut [u8]) {
    // SAFETY: writes exactly the buffer.
    unsafe { call(ring0::in_string, port.into(), buffer.as_mut_ptr() as u64, buffer.len() as u64) };
}
