//! What the monitor says of itself (VESA E-EDID 1.4, block 0).

/// Bytes of a block.
pub const SIZE: usize = 128;

/// Blanking of the preferred timing, in pixels and lines: front porch, sync, all of it (CVT reduced blanking).
const HORIZONTAL: (u32, u32, u32) = (48, 32, 160);
const VERTICAL: (u32, u32, u32) = (3, 6, 30);
/// Frames in a second of the preferred mode.
const REFRESH: u32 = 60;
/// The largest picture that the timing's fields have room for.
pub const MOST: u32 = 4095;
/// Pixels of a millimeter, as on a screen with 100 dots per inch, and more than fit: 254 / 1000.
const MM: (u32, u32) = (254, 1000);

/// Width and height of the standard timings, all at 60 Hz (3.9): 16:10, 4:3, 5:4 or 16:9.
const STANDARD: [(u32, u32); 8] =
    [(2048, 1152), (1920, 1080), (1920, 1200), (1600, 1200), (1680, 1050), (1440, 900), (1280, 1024), (1280, 960)];

/// The block of a monitor that prefers a mode of this size.
pub fn block(width: u32, height: u32) -> [u8; SIZE] {
    let mut b = [0; SIZE];
    let mut put = |at: usize, bytes: &[u8]| b[at..at + bytes.len()].copy_from_slice(bytes);
    put(0x00, &[0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0]);
    put(0x08, &maker(*b"GBX"));
    // Product 1, serial number 0, made in week 1 of 2025, EDID 1.4.
    put(0x0a, &[0x01, 0, 0, 0, 0, 0, 1, 35, 1, 4]);
    let (wide, high) = (millimeters(width), millimeters(height));
    // Digital with 8 bits for a color, size in cm, gamma 2.2, sRGB with a preferred timing of its own.
    put(0x14, &[0xa5, (wide / 10).min(255) as u8, (high / 10).min(255) as u8, 120, 0x06]);
    // Chromaticity of sRGB.
    put(0x19, &[0xee, 0x91, 0xa3, 0x54, 0x4c, 0x99, 0x26, 0x0f, 0x50, 0x54]);
    // Established timings: 640x480, 800x600 and 1024x768 at 60 Hz.
    put(0x23, &[0x21, 0x08, 0]);
    STANDARD.iter().enumerate().for_each(|(n, &mode)| put(0x26 + 2 * n, &standard(mode)));
    put(0x36, &timing(width, height, wide, high));
    // Range of frequencies: 50 to 125 Hz, 30 to 160 kHz, up to 2550 MHz, no more about it.
    put(0x48, &[0, 0, 0, 0xfd, 0, 50, 125, 30, 160, 255, 1, 10, 0x20, 0x20, 0x20, 0x20, 0x20, 0x20]);
    put(0x5a, b"\0\0\0\xfc\0Gearbox\n     ");
    // No fourth descriptor.
    put(0x6c, &[0, 0, 0, 0x10]);
    b[SIZE - 1] = b.iter().fold(0u8, |sum, v| sum.wrapping_sub(*v));
    b
}

/// Three letters of five bits.
fn maker(name: [u8; 3]) -> [u8; 2] {
    name.iter().fold(0u16, |v, c| v << 5 | u16::from(c - b'@')).to_be_bytes()
}

fn millimeters(pixels: u32) -> u32 {
    (pixels * MM.0 / MM.1).min(MOST)
}

/// A standard timing: width, and aspect ratio with the frequency.
fn standard((width, height): (u32, u32)) -> [u8; 2] {
    let ratio = [(16, 10), (4, 3), (5, 4), (16, 9)].iter().position(|(w, h)| width * h == height * w);
    match ratio {
        Some(ratio) => [(width / 8 - 31) as u8, (ratio as u8) << 6 | (REFRESH - 60) as u8],
        None => [1, 1],
    }
}

/// The detailed timing of the preferred mode (3.10.2).
fn timing(width: u32, height: u32, wide: u32, high: u32) -> [u8; 18] {
    let clock = (width + HORIZONTAL.2) * (height + VERTICAL.2) * REFRESH / 10_000;
    let [clock_low, clock_high, ..] = clock.min(u16::MAX.into()).to_le_bytes();
    let upper = |a: u32, b: u32| (a >> 8 << 4) as u8 & 0xf0 | (b >> 8) as u8;
    [
        clock_low,
        clock_high,
        width as u8,
        HORIZONTAL.2 as u8,
        upper(width, HORIZONTAL.2),
        height as u8,
        VERTICAL.2 as u8,
        upper(height, VERTICAL.2),
        HORIZONTAL.0 as u8,
        HORIZONTAL.1 as u8,
        (VERTICAL.0 << 4 | VERTICAL.1) as u8,
        0,
        wide as u8,
        high as u8,
        upper(wide, high),
        0,
        0,
        // Digital, separate sync, both negative.
        0x18,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_is_valid_and_says_the_size() {
        for (width, height) in [(640, 480), (1280, 800), (1920, 1080), (MOST, MOST)] {
            let b = block(width, height);
            assert_eq!(b.iter().fold(0u8, |sum, v| sum.wrapping_add(*v)), 0);
            let t = &b[0x36..0x48];
            let size = |low: u8, high: u8| u32::from(low) | u32::from(high >> 4) << 8;
            assert_eq!((size(t[2], t[4]), size(t[5], t[7])), (width, height));
        }
        assert_eq!(block(1280, 800)[8..10], [0x1c, 0x58]);
    }
}
