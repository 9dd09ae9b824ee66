//! The 8254 interval timer and port 61h.

use crate::port::{in8, out8};
use crate::time;

/// Input clock.
pub const HZ: u64 = 1_193_182;
/// System control port B: bit 0 gates channel 2, bit 5 reads its output.
const PORT_B: u16 = 0x61;
const CONTROL: u16 = 0x43;

/// Operating mode of a channel.
#[derive(Clone, Copy)]
pub enum Mode {
    /// 0: output high when the count has run out.
    TerminalCount = 0,
    /// 2: a pulse each time that the count has run out.
    RateGenerator = 2,
}

/// Loads a channel with a count; 0 stands for 65536.
pub fn load(channel: u8, mode: Mode, count: u16) {
    out8(CONTROL, channel << 6 | 0x30 | (mode as u8) << 1);
    for byte in count.to_le_bytes() {
        out8(0x40 + u16::from(channel), byte);
    }
}

/// Latches and reads a count.
pub fn count(channel: u8) -> u16 {
    out8(CONTROL, channel << 6);
    let port = 0x40 + u16::from(channel);
    u16::from_le_bytes([in8(port), in8(port)])
}

/// The status byte by the read-back command.
pub fn status(channel: u8) -> u8 {
    out8(CONTROL, 0xe0 | 2 << channel);
    in8(0x40 + u16::from(channel))
}

/// Starts or stops channel 2 by its gate; the speaker stays off.
pub fn gate2(open: bool) {
    out8(PORT_B, in8(PORT_B) & !3 | u8::from(open));
}

/// Output of channel 2.
pub fn output2() -> bool {
    in8(PORT_B) & 0x20 != 0
}

/// Lets channel 2 count down from 65536 for about `units` and counts them against the TSC, see [`time::race`].
pub fn race(units: u64) -> Option<(u64, u64)> {
    start2();
    time::race(16, units, elapsed2)
}

/// Starts channel 2 as a free-running 16-bit counter for [`elapsed2`].
pub fn start2() {
    gate2(false);
    load(2, Mode::RateGenerator, 0);
    gate2(true);
}

/// Counts that channel 2 has made since it was loaded, modulo 65536.
pub fn elapsed2() -> u64 {
    count(2).wrapping_neg().into()
}
