//! A device alone: the 8254 timer counts down, and its first output is watched. No machine, no CPU, no thread; time moves when the test says so.
//!
//! `cargo run --example device_unit_test`

use gearbox::testing::Bench;
use gearbox_machines::devices::i8254::{PIT_HZ, Pit};

/// What runs.
pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    // ANCHOR: device
    let mut bench = Bench::new();
    let pit = bench.realize(Pit)?;
    bench.watch(pit.out0);

    // Counter 0, low byte then high byte, mode 0 (interrupt on terminal count), binary; then a count of 1000.
    bench.outb(0x43, 0b0011_0000);
    bench.outb(0x40, (1000u16 & 0xff) as u8);
    bench.outb(0x40, (1000u16 >> 8) as u8);
    assert!(!bench.level(pit.out0));

    // The output rises when the count is over.
    bench.clock_step_ns(1_000_000_000);
    let edges = bench.edges();
    let rise = edges.last().expect("the output rose");
    assert!(rise.level);
    assert_eq!(rise.ns, (1000u64 * 1_000_000_000).div_ceil(PIT_HZ));
    // ANCHOR_END: device
    println!("the output rose after {} ns", rise.ns);
    Ok(())
}
