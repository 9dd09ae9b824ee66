//! A board in one file: RAM, a serial port, a way out, and a CPU that starts a boot sector. Registered, it is a machine like any other: `-machine tiny`.
//!
//! `cargo run --example own_board`

use gearbox::board::Board;
use gearbox::machine::{BuildError, MachineConfig, MachineEntry, MachineType, Wiring};
use gearbox::testing::{Expect, Vm};
use gearbox_machines::devices::debug_exit::DebugExit;
use gearbox_machines::devices::i8259::Pic;
use gearbox_machines::devices::serial::Serial;
use std::sync::Arc;
use std::time::Duration;

// ANCHOR: board
struct Tiny;

inventory::submit! { MachineEntry(&Tiny) }

impl MachineType for Tiny {
    fn name(&self) -> &'static str {
        "tiny"
    }
    fn description(&self) -> &'static str {
        "RAM, a serial port and a way out"
    }
    fn max_cpus(&self) -> u32 {
        1
    }
    fn default_ram_size(&self) -> u64 {
        1 << 20
    }
    /// The schematic: what is realized, and what is wired to what.
    fn build(&self, config: &MachineConfig, board: &Arc<Board>) -> Result<Wiring, BuildError> {
        board.with(|s| {
            let ram = config.ram(s, "tiny.ram")?;
            let tree = s.memory();
            let region = tree.ram(&ram, 0, config.ram_size);
            tree.map(tree.root(), 0, region, 0);

            let pic = s.realize("/machine/pic", Pic)?;
            s.feed_isa_irq(4, pic.irq.get(4));
            let com1 = config.serials.first().cloned().flatten();
            s.realize("/machine/serial", Serial::com(0, com1))?;
            s.realize("/machine/exit", DebugExit { iobase: 0xf4, iosize: 1 })?;
            config.add_devices(s)?;
            Ok(Wiring { intr: Some(pic.intr), ..Wiring::default() })
        })
    }
}
// ANCHOR_END: board

/// What runs.
pub fn main() -> Result<(), Box<dyn std::error::Error>> {
    // ANCHOR: use
    // As a bench: there is what the schematic says, and nothing else.
    let mut bench = Vm::of(&Tiny).bench()?;
    bench.writel(0x8_0000, 0x1234_5678);
    assert_eq!((bench.readw(0x8_0002), bench.inb(0x71)), (0x1234, 0xff));

    // And with a CPU: mov dx, 3f8h; mov al, '!'; out dx, al; mov al, 0; out 0f4h, al; hlt
    let mut sector = [0xf4; 512];
    sector[..10].copy_from_slice(&[0xba, 0xf8, 0x03, 0xb0, b'!', 0xee, 0xb0, 0x00, 0xe6, 0xf4]);
    let mut vm = Vm::of(&Tiny).accel("tcg").serial(Expect).boot_sector(sector).start()?;
    vm.expect("!", Duration::from_secs(20))?;
    assert_eq!(vm.wait(Duration::from_secs(20))?.status, 1);
    // ANCHOR_END: use
    println!("the board lives");
    Ok(())
}
