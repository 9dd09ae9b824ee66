//! The ways out: ACPI soft-off, the debug exit port, reset.

use crate::acpi::{self, PowerControl};
use crate::{port, ring0, serial, time};

/// `isa-debug-exit`, which Gearbox gives to this guest: a value v written ends the emulator with the status `v << 1 |
/// 1`.
const DEBUG_EXIT: u16 = 0xf4;

/// How the guest ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// All checks passed: soft-off, exit status 0; 5 if that does not work.
    Passed,
    /// A check failed: exit status 3.
    Failed,
    /// The guest itself broke down, by a panic or an unexpected exception: exit status 7.
    Broken,
}

/// Ends the guest.
pub fn end(ending: Ending) -> ! {
    serial::drain();
    let code = match ending {
        Ending::Passed => {
            if let Some(control) = acpi::power_control() {
                soft_off(control);
            }
            println!("gearbox guest: ACPI soft-off did not end the machine");
            2
        }
        Ending::Failed => 1,
        Ending::Broken => 3,
    };
    serial::drain();
    port::out8(DEBUG_EXIT, code);
    println!("gearbox guest: no exit device at port {DEBUG_EXIT:#x}; halted");
    loop {
        // SAFETY: stops the CPU, which is the purpose.
        unsafe { ring0::call(ring0::halt_for_ever, 0, 0, 0) };
    }
}

/// Enters S5 (ACPI 6.5, 7.4.2.6 and 4.8.4.2.1).
fn soft_off(control: PowerControl) {
    const SLP_EN: u16 = 1 << 13;
    for (register, sleep_type) in control.registers() {
        let kept = port::in16(register) & 1;
        port::out16(register, kept | u16::from(sleep_type) << 10 | SLP_EN);
    }
    time::spin_ms(100);
}

/// Resets the machine: by the keyboard controller, by the PIIX3's reset control, and in the end by a triple fault.
pub fn reboot() -> ! {
    serial::drain();
    port::out8(0x64, 0xfe);
    time::spin_ms(100);
    port::out8(0xcf9, 0x02);
    port::out8(0xcf9, 0x06);
    time::spin_ms(100);
    // SAFETY: resets the CPU, which is the purpose.
    unsafe { ring0::call(ring0::triple_fault, 0, 0, 0) };
    end(Ending::Broken)
}
