//! QEMU's firmware configuration device (QEMU documentation, `specs/fw_cfg`).

use crate::port;
use core::sync::atomic::{Ordering::SeqCst, fence};

const SELECTOR: u16 = 0x510;
const DATA: u16 = 0x511;
const DMA: u16 = 0x514;

/// Item: "QEMU".
pub const SIGNATURE: u16 = 0x00;
/// Item: feature bits; bit 1 is the DMA interface.
pub const ID: u16 = 0x01;
/// Item: bytes of RAM, 64 bits.
pub const RAM_SIZE: u16 = 0x03;
/// Item: processors, 16 bits.
pub const CPU_COUNT: u16 = 0x05;
/// Item: the directory of files.
pub const DIRECTORY: u16 = 0x19;

/// Reads the beginning of an item through the data port.
pub fn read(item: u16, buffer: &mut [u8]) {
    port::out16(SELECTOR, item);
    port::in_string(DATA, buffer);
}

/// The beginning of an item as an array.
pub fn item<const N: usize>(item: u16) -> [u8; N] {
    let mut buffer = [0; N];
    read(item, &mut buffer);
    buffer
}

/// The device is there.
pub fn present() -> bool {
    item::<4>(SIGNATURE) == *b"QEMU"
}

/// The device has the DMA interface.
pub fn has_dma() -> bool {
    u32::from_le_bytes(item(ID)) & 2 != 0
}

/// Reads the beginning of an item by DMA.
///
/// # Errors
/// The control word, when the device reports an error or does not finish.
pub fn read_by_dma(item: u16, buffer: &mut [u8]) -> Result<(), u32> {
    const ERROR: u32 = 1;
    const READ: u32 = 2;
    const SELECT: u32 = 8;
    // Control, length, address; all big-endian.
    let mut request = [0u8; 16];
    request[..4].copy_from_slice(&(u32::from(item) << 16 | SELECT | READ).to_be_bytes());
    request[4..8].copy_from_slice(&(buffer.len() as u32).to_be_bytes());
    request[8..].copy_from_slice(&(buffer.as_mut_ptr() as u64).to_be_bytes());
    let at = (&raw mut request) as u64;
    fence(SeqCst);
    port::out32(DMA, ((at >> 32) as u32).to_be());
    port::out32(DMA + 4, (at as u32).to_be());
    let mut control = u32::MAX;
    for _ in 0..100_000 {
        // SAFETY: `request` is ours; volatile, because the device writes it.
        control = u32::from_be(unsafe { (at as *const u32).read_volatile() });
        if control & !ERROR == 0 {
            break;
        }
    }
    fence(SeqCst);
    if control == 0 { Ok(()) } else { Err(control) }
}

/// Number of files in the directory.
pub fn file_count() -> u32 {
    u32::from_be_bytes(item(DIRECTORY))
}
